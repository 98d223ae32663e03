#include "matcher_index.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"

/* Letters from a name's end to its beginning, so that the hashes of all that
 * it ends with are had on the way to its own. */
static uint64_t
hash_letter(uint64_t h, char c)
{
	return (h ^ (uint8_t)c) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Low bits of the product depend on low bits alone: spread the high ones. */
static uint64_t
hash_end(uint64_t h)
{
	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

static uint64_t
hash_whole(const char *name)
{
	uint64_t h = 0;

	for (size_t i = strlen(name); i > 0; i--)
		h = hash_letter(h, name[i - 1]);
	return hash_end(h);
}

static uint32_t
bucket_of(const struct matcher_names *x, uint64_t hash)
{
	return (uint32_t)((hash >> 32) * x->buckets >> 32);
}

static int
count(struct matcher_names *x, const struct rules *r, uint32_t types)
{
	struct matcher_walk w = {.next = 0};
	size_t n = 0;

	while (matcher_walk(&w, r, types) != NULL)
		n++;
	if (n > UINT32_MAX / 2)
		return UK_ENOMEM;
	x->n = (uint32_t)n;
	/* Four a bucket: what a bucket costs is seldom more than a cache line
	 * of prints. */
	x->buckets = x->n / 4 + 1;
	return 0;
}

/* Counted one bucket further on, and filled one bucket further on: then first
 * is where each begins without another pass. */
static void
fill(struct matcher_names *x, const struct rules *r, uint32_t types)
{
	struct matcher_walk w = {.next = 0};
	const struct rule_entry *e;
	uint32_t *end = x->first + 1, at;
	uint64_t hash;

	while ((e = matcher_walk(&w, r, types)) != NULL)
		end[bucket_of(x, hash_whole(r->names + e->name)) + 1]++;
	for (uint32_t b = 1; b <= x->buckets; b++)
		end[b] += end[b - 1];
	w = (struct matcher_walk){.next = 0};
	while ((e = matcher_walk(&w, r, types)) != NULL) {
		hash = hash_whole(r->names + e->name);
		at = end[bucket_of(x, hash)]++;
		x->item[at] = w.at;
		x->name[at] = e->name;
		x->print[at] = (uint8_t)(hash | MATCHER_WHOLE);
		if (e->type == RULE_DOMAIN_SUFFIX)
			x->print[at] ^= MATCHER_WHOLE;
	}
}

int
matcher_names_init(
    struct matcher_names *x, const struct rules *r, uint32_t types)
{
	int err = count(x, r, types);

	if (err < 0 || x->n == 0)
		return err;
	x->item = calloc(x->n, sizeof(*x->item));
	x->name = calloc(x->n, sizeof(*x->name));
	x->print = calloc(x->n, sizeof(*x->print));
	x->first = calloc((size_t)x->buckets + 2, sizeof(*x->first));
	if (x->item == NULL || x->name == NULL || x->print == NULL ||
	    x->first == NULL)
		return UK_ENOMEM;
	fill(x, r, types);
	return 0;
}

void
matcher_names_fini(struct matcher_names *x)
{
	free(x->item);
	free(x->name);
	free(x->print);
	free(x->first);
	*x = (struct matcher_names){.n = 0};
}

static bool
may_hold(uint8_t print, uint64_t hash, bool whole)
{
	return ((print ^ hash) & (UINT8_MAX ^ MATCHER_WHOLE)) == 0 &&
	       (whole || (print & MATCHER_WHOLE) == 0);
}

/* whole: of a name, not of what it ends with alone. */
static void
look(const struct matcher_names *x, const char *name, uint64_t hash, bool whole,
    struct matcher_query *q)
{
	uint32_t b = bucket_of(x, hash), first = x->first[b];
	uint32_t end = x->first[b + 1];

	first +=
	    (uint32_t)matcher_list_from(x->item + first, end - first, q->floor);
	for (uint32_t i = first; i < end; i++) {
		if (!may_hold(x->print[i], hash, whole) ||
		    strcmp(q->r->names + x->name[i], name) != 0)
			continue;
		if (!matcher_offer(q, &x->item[i]))
			return;
	}
}

void
matcher_names_whole(
    const struct matcher_names *x, const char *name, struct matcher_query *q)
{
	if (x->n > 0)
		look(x, name, hash_whole(name), true, q);
}

void
matcher_names_suffixes(
    const struct matcher_names *x, const char *name, struct matcher_query *q)
{
	uint64_t h = 0;

	if (x->n == 0)
		return;
	for (size_t i = strlen(name); i > 0; i--) {
		h = hash_letter(h, name[i - 1]);
		if (i == 1 || name[i - 2] == '.')
			look(x, name + i - 1, hash_end(h), i == 1, q);
	}
}
