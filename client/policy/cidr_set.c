#include "cidr_set.h"

#include <stdlib.h>
#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"

/* Families, then addresses: FAMILY_V4 is less than FAMILY_V6, and all bytes
 * behind it are an address in network order. */
static int
compare(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a, b, sizeof(*a));
}

static unsigned
address_bits(uint8_t family)
{
	return family == FAMILY_V4 ? 32 : 128;
}

/* The last address of the prefix of so many bits that a begins. */
static struct ip_addr
last_of(const struct ip_addr *a, unsigned bits)
{
	struct ip_addr last = *a;
	unsigned bytes = address_bits(a->family) / 8;

	if (bits / 8 < bytes)
		last.b[bits / 8] |= (uint8_t)(0xff >> bits % 8);
	for (unsigned i = bits / 8 + 1; i < bytes; i++)
		last.b[i] = 0xff;
	return last;
}

/* One further; false: there is none in its family. */
static bool
next(struct ip_addr *a)
{
	for (unsigned i = address_bits(a->family) / 8; i-- > 0;) {
		if (++a->b[i] != 0)
			return true;
	}
	return false;
}

/* One back; only where there is one. */
static void
previous(struct ip_addr *a)
{
	for (unsigned i = address_bits(a->family) / 8; i-- > 0;) {
		if (a->b[i]-- != 0)
			return;
	}
}

static int
add_range(struct cidr_set *s, const struct cidr_range *r)
{
	struct cidr_range *to =
	    conf_grow(s->item, s->n, &s->cap, sizeof(*s->item));

	if (to == NULL)
		return UK_ENOMEM;
	s->item = to;
	s->item[s->n++] = *r;
	return 0;
}

int
cidr_set_add(struct cidr_set *s, const struct ip_prefix *p)
{
	struct cidr_range r = {p->addr, last_of(&p->addr, p->bits)};

	return add_range(s, &r);
}

static int
compare_ranges(const void *a, const void *b)
{
	const struct cidr_range *x = a, *y = b;

	return compare(&x->first, &y->first);
}

/* Given that b does not begin before a: is there nothing between them? */
static bool
touches(const struct cidr_range *a, const struct cidr_range *b)
{
	struct ip_addr behind = a->last;

	if (a->first.family != b->first.family)
		return false;
	return !next(&behind) || compare(&b->first, &behind) <= 0;
}

void
cidr_set_settle(struct cidr_set *s)
{
	struct cidr_range *last = s->item;

	if (s->n < 2)
		return;
	qsort(s->item, s->n, sizeof(*s->item), compare_ranges);
	for (size_t i = 1; i < s->n; i++) {
		const struct cidr_range *r = &s->item[i];

		if (!touches(last, r))
			*++last = *r;
		else if (compare(&r->last, &last->last) > 0)
			last->last = r->last;
	}
	s->n = (size_t)(last - s->item) + 1;
}

/* What b's ranges from *at on leave of r goes to out; *at moves behind those
 * that end in r or before it. */
static int
add_rest(struct cidr_set *out, struct cidr_range r, const struct cidr_set *b,
    size_t *at)
{
	for (; *at < b->n; ++*at) {
		const struct cidr_range *cut = &b->item[*at];
		struct cidr_range before = {r.first, cut->first};

		if (compare(&cut->last, &r.first) < 0)
			continue;
		if (compare(&cut->first, &r.last) > 0)
			break;
		if (compare(&cut->first, &r.first) > 0) {
			previous(&before.last);
			if (add_range(out, &before) < 0)
				return UK_ENOMEM;
		}
		if (compare(&cut->last, &r.last) >= 0)
			return 0;
		r.first = cut->last;
		next(&r.first);
	}
	return add_range(out, &r);
}

int
cidr_set_subtract(struct cidr_set *s, const struct cidr_set *b)
{
	struct cidr_set out = {.item = NULL};
	size_t at = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (add_rest(&out, s->item[i], b, &at) == 0)
			continue;
		cidr_set_fini(&out);
		return UK_ENOMEM;
	}
	cidr_set_fini(s);
	*s = out;
	return 0;
}

/* The range that a is in; NULL: none. */
static const struct cidr_range *
find(const struct cidr_set *s, const struct ip_addr *a)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(&s->item[middle].last, a) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->n && compare(&s->item[low].first, a) <= 0
		   ? &s->item[low]
		   : NULL;
}

bool
cidr_set_covers(const struct cidr_set *s, const struct ip_prefix *p)
{
	const struct cidr_range *r = find(s, &p->addr);
	struct ip_addr last = last_of(&p->addr, p->bits);

	return r != NULL && compare(&last, &r->last) <= 0;
}

/* How many bits the largest prefix has that begins with a range's first
 * address and ends in it. */
static unsigned
widest(const struct cidr_range *r)
{
	unsigned bits = address_bits(r->first.family);

	while (bits > 0) {
		unsigned bit = bits - 1;
		struct ip_addr last;

		if (r->first.b[bit / 8] & (0x80 >> bit % 8))
			break;
		last = last_of(&r->first, bit);
		if (compare(&last, &r->last) > 0)
			break;
		bits--;
	}
	return bits;
}

static bool
range_prefixes(struct cidr_range r,
    bool (*visit)(void *arg, const struct ip_prefix *p), void *arg)
{
	for (;;) {
		struct ip_prefix p = {
		    .addr = r.first, .bits = (uint8_t)widest(&r)};
		struct ip_addr last = last_of(&p.addr, p.bits);

		if (!visit(arg, &p))
			return false;
		if (compare(&last, &r.last) == 0)
			return true;
		next(&last);
		r.first = last;
	}
}

bool
cidr_set_prefixes(const struct cidr_set *s,
    bool (*visit)(void *arg, const struct ip_prefix *p), void *arg)
{
	for (size_t i = 0; i < s->n; i++) {
		if (!range_prefixes(s->item[i], visit, arg))
			return false;
	}
	return true;
}

void
cidr_set_fini(struct cidr_set *s)
{
	free(s->item);
	*s = (struct cidr_set){.item = NULL};
}
