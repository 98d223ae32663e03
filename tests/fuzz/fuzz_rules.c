#include <stdlib.h>
#include <string.h>

#include "client/policy/rules.h"
#include "core/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct rest {
	const uint8_t *b;
	size_t len;
};

static int
read_rest(
    void *arg, const char *path, char **bytes, size_t *len, struct diag *d)
{
	const struct rest *r = arg;

	if (r->len == 0) {
		diag_error(d, "%s: cannot open it", path);
		return UK_ENOENT;
	}
	*len = r->len;
	*bytes = malloc(r->len);
	if (*bytes == NULL)
		return UK_ENOMEM;
	memcpy(*bytes, r->b, r->len);
	return 0;
}

static void
use_entry(const struct rules *r, const struct rule_entry *e)
{
	UK_ASSERT(e->type < RULE_SET && e->line > 0);
	if ((e->type >= RULE_DOMAIN && e->type <= RULE_DOMAIN_KEYWORD) ||
	    e->type == RULE_PROCESS_NAME) {
		UK_ASSERT(e->name > 0 && e->name < r->names_len);
		UK_ASSERT(r->names[e->name - 1] == 0 && r->names[e->name] != 0);
	}
}

static void
use(const struct rules *r)
{
	static struct diag d;

	UK_ASSERT(r->n > 0 && r->rule[r->n - 1].type == RULE_DEFAULT);
	for (size_t i = 0; i < r->n; i++) {
		const struct rule *u = &r->rule[i];

		UK_ASSERT(u->target < TARGETS && u->file < r->files);
		UK_ASSERT(u->conditions < r->conditions);
		UK_ASSERT((size_t)u->first + u->entries <= r->entries);
		UK_ASSERT((size_t)u->text + u->text_len <= r->text_len);
	}
	for (size_t i = 0; i < r->entries; i++)
		use_entry(r, &r->entry[i]);
	diag_init(&d, "p");
	rules_warn(r, &d);
}

/* One byte says for which system and where the policy, in units of 16 bytes,
 * ends; what its lists are is the rest. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum rules_os os = RULES_LINUX;
	struct rules_reader reader = {.read = read_rest};
	static struct diag d;
	struct rules *r;
	struct rest rest;
	size_t len;

	if (size == 0)
		return 0;
	os = data[0] & 1 ? RULES_WINDOWS : RULES_LINUX;
	len = uk_min_u64((data[0] >> 1) * 16u, size - 1);
	rest = (struct rest){.b = data + 1 + len, .len = size - 1 - len};
	reader.arg = &rest;
	diag_init(&d, "p");
	if (rules_parse(&r, "p", (const char *)data + 1, len, &reader, os, &d) <
	    0) {
		UK_ASSERT(r == NULL && d.errors > 0);
		return 0;
	}
	UK_ASSERT(d.errors == 0);
	use(r);
	rules_free(r);
	return 0;
}
