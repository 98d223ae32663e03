#include "rules_build.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"

/* items with room for more behind n; NULL: out of memory, nothing changed. */
static void *
reserve(void *items, size_t n, size_t more, size_t *cap, size_t size)
{
	size_t want = *cap > 0 ? *cap : 64;
	void *p;

	if (more > UINT32_MAX - n)
		return NULL;
	if (n + more <= *cap)
		return items;
	while (want < n + more)
		want *= 2;
	p = realloc(items, want * size);
	if (p != NULL)
		*cap = want;
	return p;
}

int
rules_build_init(
    struct rules_build *b, const char *name, char *text, size_t len)
{
	static const struct rule_conditions none;
	struct rules *r = calloc(1, sizeof(*r));
	uint32_t at;

	*b = (struct rules_build){.r = r};
	if (r == NULL) {
		free(text);
		return UK_ENOMEM;
	}
	r->text = text;
	r->text_len = len;
	if (rules_build_name(b, &at, "", 0) < 0 ||
	    rules_build_condition(b, &at, &none, NULL) < 0 ||
	    rules_build_file(b, &at, name) < 0)
		goto free_build;
	return 0;
free_build:
	rules_build_fini(b);
	return UK_ENOMEM;
}

/* Smaller, if the system can. */
static void *
shrink(void *items, size_t n, size_t size)
{
	void *p = n > 0 ? realloc(items, n * size) : NULL;

	return p != NULL ? p : items;
}

struct rules *
rules_build_take(struct rules_build *b)
{
	struct rules *r = b->r;

	r->rule = shrink(r->rule, r->n, sizeof(*r->rule));
	r->entry = shrink(r->entry, r->entries, sizeof(*r->entry));
	r->condition =
	    shrink(r->condition, r->conditions, sizeof(*r->condition));
	r->names = shrink(r->names, r->names_len, 1);
	b->r = NULL;
	return r;
}

void
rules_build_fini(struct rules_build *b)
{
	rules_free(b->r);
	free(b->condition_slot);
	*b = (struct rules_build){.r = NULL};
}

void
rules_free(struct rules *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->files; i++)
		free(r->file[i]);
	free(r->rule);
	free(r->entry);
	free(r->condition);
	free(r->names);
	free(r->file);
	free(r->text);
	free(r);
}

int
rules_build_rule(struct rules_build *b, const struct rule *rule)
{
	struct rules *r = b->r;
	void *p = reserve(r->rule, r->n, 1, &b->rule_cap, sizeof(*rule));

	if (p == NULL)
		return UK_ENOMEM;
	r->rule = p;
	r->rule[r->n++] = *rule;
	return 0;
}

int
rules_build_entry(struct rules_build *b, const struct rule_entry *e)
{
	struct rules *r = b->r;
	void *p = reserve(r->entry, r->entries, 1, &b->entry_cap, sizeof(*e));

	if (p == NULL)
		return UK_ENOMEM;
	r->entry = p;
	r->entry[r->entries++] = *e;
	return 0;
}

int
rules_build_name(struct rules_build *b, uint32_t *at, const char *s, size_t len)
{
	struct rules *r = b->r;
	void *p = reserve(r->names, r->names_len, len + 1, &b->names_cap, 1);

	if (p == NULL)
		return UK_ENOMEM;
	r->names = p;
	*at = (uint32_t)r->names_len;
	memcpy(r->names + r->names_len, s, len + 1);
	r->names_len += len + 1;
	return 0;
}

int
rules_build_file(struct rules_build *b, uint32_t *at, const char *path)
{
	struct rules *r = b->r;
	void *p = reserve(r->file, r->files, 1, &b->file_cap, sizeof(*r->file));
	size_t size = strlen(path) + 1;
	char *copy;

	if (p == NULL)
		return UK_ENOMEM;
	r->file = p;
	copy = malloc(size);
	if (copy == NULL)
		return UK_ENOMEM;
	memcpy(copy, path, size);
	*at = (uint32_t)r->files;
	r->file[r->files++] = copy;
	return 0;
}

/* Bytes only, so that memcmp() tells equal ones. */
_Static_assert(sizeof(struct rule_conditions) ==
		   12 + 2 * sizeof(struct ip_prefix) +
		       2 * RULE_PORT_RANGES * sizeof(struct rule_ports),
    "rule_conditions has no padding");
_Static_assert(sizeof(struct rule_conditions) % 4 == 0, "it is whole words");

/* FNV-1a, but for the size of its steps. */
static uint64_t
hash_condition_words(const struct rule_conditions *c)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	uint32_t word[sizeof(*c) / 4];

	memcpy(word, c, sizeof(word));
	for (size_t i = 0; i < ARRAY_LEN(word); i++)
		h = (h ^ word[i]) * UINT64_C(0x100000001b3);
	return h;
}

static uint64_t
hash_condition(const struct rule_conditions *c, const char *process)
{
	struct rule_conditions bare = *c;
	uint64_t h;

	bare.process = 0;
	h = hash_condition_words(&bare);
	for (size_t i = 0; process[i] != 0; i++)
		h = (h ^ (unsigned char)process[i]) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

static bool
same_condition(const struct rules *r, uint32_t at,
    const struct rule_conditions *c, const char *process)
{
	struct rule_conditions a = r->condition[at], b = *c;

	if (strcmp(r->names + a.process, process) != 0)
		return false;
	a.process = b.process = 0;
	return memcmp(&a, &b, sizeof(a)) == 0;
}

/* Where these are, or the free slot where they belong. */
static uint32_t *
find_slot(const struct rules_build *b, const struct rule_conditions *c,
    const char *process)
{
	size_t mask = b->condition_slots - 1;
	size_t i = hash_condition(c, process) & mask;

	while (b->condition_slot[i] != 0 &&
	       !same_condition(b->r, b->condition_slot[i] - 1, c, process))
		i = (i + 1) & mask;
	return &b->condition_slot[i];
}

/* At most half of the slots are taken. */
static int
grow_slots(struct rules_build *b)
{
	size_t slots = b->condition_slots > 0 ? b->condition_slots * 2 : 64;
	uint32_t *old = b->condition_slot;

	if (b->r->conditions * 2 < b->condition_slots)
		return 0;
	b->condition_slot = calloc(slots, sizeof(*b->condition_slot));
	if (b->condition_slot == NULL) {
		b->condition_slot = old;
		return UK_ENOMEM;
	}
	b->condition_slots = slots;
	for (uint32_t i = 0; i < b->r->conditions; i++) {
		const struct rule_conditions *c = &b->r->condition[i];

		*find_slot(b, c, b->r->names + c->process) = i + 1;
	}
	free(old);
	return 0;
}

int
rules_build_condition(struct rules_build *b, uint32_t *at,
    const struct rule_conditions *c, const char *process)
{
	struct rules *r = b->r;
	struct rule_conditions own = *c;
	uint32_t *slot;
	void *p;

	process = process != NULL ? process : "";
	own.process = 0;
	if (grow_slots(b) < 0)
		return UK_ENOMEM;
	slot = find_slot(b, c, process);
	if (*slot != 0) {
		*at = *slot - 1;
		return 0;
	}
	p = reserve(
	    r->condition, r->conditions, 1, &b->condition_cap, sizeof(own));
	if (p == NULL)
		return UK_ENOMEM;
	r->condition = p;
	if (process[0] != 0 &&
	    rules_build_name(b, &own.process, process, strlen(process)) < 0)
		return UK_ENOMEM;
	*at = (uint32_t)r->conditions;
	r->condition[r->conditions++] = own;
	*slot = *at + 1;
	return 0;
}
