#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/err.h"

/* The module under test, and its hash table, are compiled in here, so that
 * their allocations can be counted and made to fail. */
static unsigned fail_at; /* fail this one of the next ones; 0: none */
static size_t live;

static void *
failing_calloc(size_t n, size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	live++;
	return calloc(n, size);
}

static void
counting_free(void *p)
{
	live -= p != NULL;
	free(p);
}

#define calloc failing_calloc
#define free counting_free
#include "core/htab.c"
#include "core/lpm.c"
#undef calloc
#undef free

/* An empty table: itself and the buckets of two families. */
#define EMPTY 3

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static struct ip_prefix
prefix4(uint32_t a, unsigned bits)
{
	struct ip_prefix p = {.addr.family = FAMILY_V4, .bits = (uint8_t)bits};

	store_be32(p.addr.b, bits == 0 ? 0 : a & UINT32_MAX << (32 - bits));
	return p;
}

static void
mask_host(struct ip_prefix *p)
{
	unsigned width = p->addr.family == FAMILY_V4 ? 32 : 128;

	for (unsigned i = p->bits; i < width; i++)
		p->addr.b[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
}

static struct lpm_owner *
lookup4(const struct lpm *t, uint32_t a)
{
	uint8_t b[4];

	store_be32(b, a);
	return lpm_lookup4(t, b);
}

static void
test_boundary(void **state)
{
	(void)state;
	struct lpm *t = lpm_new();
	struct lpm_owner any = {0};
	struct lpm_owner ten = {0};
	struct lpm_owner host = {0};
	struct ip_prefix p = prefix4(0, 0);
	struct ip_prefix q = prefix4(0x0a000000, 8);
	struct ip_prefix r = prefix4(0x0a000001, 32);

	assert_null(lookup4(t, 0));
	assert_int_equal(lpm_insert(t, &r, &host), 0);
	assert_int_equal(lpm_insert(t, &p, &any), 0);
	assert_int_equal(lpm_insert(t, &q, &ten), 0);
	assert_ptr_equal(lookup4(t, 0), &any);
	assert_ptr_equal(lookup4(t, UINT32_MAX), &any);
	assert_ptr_equal(lookup4(t, 0x09ffffff), &any);
	assert_ptr_equal(lookup4(t, 0x0a000000), &ten);
	assert_ptr_equal(lookup4(t, 0x0a000001), &host);
	assert_ptr_equal(lookup4(t, 0x0a000002), &ten);
	assert_ptr_equal(lookup4(t, 0x0affffff), &ten);
	assert_ptr_equal(lookup4(t, 0x0b000000), &any);
	/* The families are apart. */
	assert_null(lpm_lookup6(t, (const uint8_t[16]){10, 0, 0, 1}));

	/* Exactly the prefix, exactly the owner. */
	struct ip_prefix near = prefix4(0x0a000000, 9);
	assert_int_equal(lpm_remove(t, &near, &ten), UK_ENOENT);
	assert_int_equal(lpm_remove(t, &q, &any), UK_ENOENT);
	assert_int_equal(lpm_remove(t, &q, &ten), 0);
	assert_int_equal(lpm_remove(t, &q, &ten), UK_ENOENT);
	assert_ptr_equal(lookup4(t, 0x0a000002), &any);
	assert_ptr_equal(lookup4(t, 0x0a000001), &host);
	lpm_free(t);
	assert_null(any.first);
	assert_int_equal(any.count, 0);
	assert_int_equal(host.count, 0);
	lpm_free(NULL);
	assert_int_equal(live, 0);
}

static void
test_boundary6(void **state)
{
	(void)state;
	struct lpm *t = lpm_new();
	struct lpm_owner o[130] = {0};
	uint8_t a[16];

	/* ::/0, 8000::/1, c000::/2 ... : the longest path there is; made from
	 * both ends. */
	for (unsigned i = 0; i <= 128; i++) {
		unsigned bits = i % 2 == 0 ? i / 2 : 128 - i / 2;
		struct ip_prefix p = {
		    .addr.family = FAMILY_V6, .bits = (uint8_t)bits};

		memset(p.addr.b, 0xff, 16);
		mask_host(&p);
		assert_int_equal(lpm_insert(t, &p, &o[bits]), 0);
	}
	for (unsigned bits = 0; bits <= 128; bits++) {
		memset(a, 0xff, 16);
		if (bits < 128)
			a[bits / 8] ^= (uint8_t)(0x80 >> bits % 8);
		assert_ptr_equal(lpm_lookup6(t, a), &o[bits]);
	}
	assert_null(lpm_lookup4(t, (const uint8_t[4]){255, 255, 255, 255}));
	assert_int_equal(live, EMPTY + 129);

	/* A sibling at every step: the most that lpm_free has to remember. */
	for (unsigned bits = 1; bits <= 128; bits++) {
		struct ip_prefix p = {
		    .addr.family = FAMILY_V6, .bits = (uint8_t)bits};

		memset(p.addr.b, 0xff, 16);
		p.addr.b[(bits - 1) / 8] ^= (uint8_t)(0x80 >> (bits - 1) % 8);
		mask_host(&p);
		assert_int_equal(lpm_insert(t, &p, &o[129]), 0);
	}
	assert_int_equal(o[129].count, 128);
	assert_int_equal(live, EMPTY + 129 + 128);
	lpm_free(t);
	assert_int_equal(o[129].count, 0);
	assert_int_equal(live, 0);
}

/* A single address hides what covers it, moves, and lets it be seen again. */
static void
test_host(void **state)
{
	(void)state;
	struct lpm *t = lpm_new();
	struct lpm_owner net = {0};
	struct lpm_owner a = {0};
	struct lpm_owner b = {0};
	struct ip_prefix pair = prefix4(0x0a000000, 31);
	struct ip_prefix host = prefix4(0x0a000001, 32);
	struct ip_prefix six = {
	    .addr = {FAMILY_V6, {0x0a, 0, 0, 1}}, .bits = 128};

	assert_int_equal(lpm_remove(t, &host, &a), UK_ENOENT);
	assert_int_equal(lpm_insert(t, &pair, &net), 0);
	assert_int_equal(lpm_insert(t, &host, &a), 0);
	assert_int_equal(lpm_insert(t, &host, &a), 0);
	assert_int_equal(a.count, 1);
	assert_ptr_equal(lookup4(t, 0x0a000000), &net);
	assert_ptr_equal(lookup4(t, 0x0a000001), &a);
	assert_null(lookup4(t, 0x0a000002));
	/* The families are apart here, too. */
	assert_null(lpm_lookup6(t, six.addr.b));
	assert_int_equal(lpm_insert(t, &six, &b), 0);
	assert_ptr_equal(lpm_lookup6(t, six.addr.b), &b);

	assert_int_equal(lpm_remove(t, &host, &b), UK_ENOENT);
	assert_int_equal(lpm_insert(t, &host, &b), 0);
	assert_int_equal(a.count, 0);
	assert_ptr_equal(lookup4(t, 0x0a000001), &b);
	assert_int_equal(lpm_remove(t, &host, &b), 0);
	assert_int_equal(lpm_remove(t, &host, &b), UK_ENOENT);
	assert_ptr_equal(lookup4(t, 0x0a000001), &net);
	lpm_free(t);
	assert_int_equal(b.count, 0);
	assert_int_equal(live, 0);
}

#define ROW 1024

static unsigned
longest_chain(const struct htab *t)
{
	unsigned longest = 0;

	for (size_t i = 0; i <= t->mask; i++) {
		unsigned n = 0;

		for (struct htab_node *h = t->bucket[i]; h; h = h->next)
			n++;
		longest = n > longest ? n : longest;
	}
	return longest;
}

static struct ip_prefix
host6(uint64_t i, unsigned shift)
{
	struct ip_prefix p = {.addr.family = FAMILY_V6, .bits = 128};

	store_be64(p.addr.b, shift >= 64 ? i << (shift - 64)
			     : shift > 0 ? i >> (64 - shift)
					 : 0);
	store_be64(p.addr.b + 8, shift < 64 ? i << shift : 0);
	return p;
}

/* Addresses in a row, in steps of every power of two: no long chains. */
static void
test_spread(void **state)
{
	(void)state;
	for (unsigned step = 0; step <= 118; step++) {
		struct lpm *t = lpm_new();
		struct lpm_owner o = {0};

		for (uint32_t i = 0; i < ROW; i++) {
			struct ip_prefix p = prefix4(i << step % 23, 32);
			struct ip_prefix q = host6(i, step);

			assert_int_equal(lpm_insert(t, &p, &o), 0);
			assert_int_equal(lpm_insert(t, &q, &o), 0);
		}
		assert_int_equal(o.count, 2 * ROW);
		assert_true(longest_chain(&t->v4.hosts) <= 10);
		assert_true(longest_chain(&t->v6.hosts) <= 10);
		lpm_free(t);
	}
	assert_int_equal(live, 0);
}

/* A prefix moves to who asked last; the list keeps the order of arrival. */
static void
test_move(void **state)
{
	(void)state;
	struct lpm *t = lpm_new();
	struct lpm_owner a = {0};
	struct lpm_owner b = {0};
	const struct lpm_node *cur = NULL;
	struct ip_prefix p;

	for (uint32_t i = 0; i < 4; i++) {
		p = prefix4(i << 24, 8);
		assert_int_equal(lpm_insert(t, &p, &a), 0);
	}
	assert_int_equal(lpm_insert(t, &p, &a), 0);
	assert_int_equal(a.count, 4);
	for (uint32_t i = 4; i-- > 2;) {
		p = prefix4(i << 24, 8);
		assert_int_equal(lpm_insert(t, &p, &b), 0);
	}
	assert_int_equal(a.count, 2);
	assert_int_equal(b.count, 2);
	static const uint8_t order[] = {3, 2};
	for (size_t i = 0; i < 2; i++) {
		assert_true(lpm_next(&b, &cur, &p));
		assert_int_equal(p.addr.b[0], order[i]);
		assert_int_equal(p.bits, 8);
	}
	assert_false(lpm_next(&b, &cur, &p));
	lpm_remove_owner(t, &b);
	lpm_remove_owner(t, &b);
	cur = NULL;
	assert_false(lpm_next(&b, &cur, &p));
	assert_null(lookup4(t, 0x03000000));
	assert_ptr_equal(lookup4(t, 0x01000000), &a);
	lpm_remove_owner(t, &a);
	assert_int_equal(live, EMPTY);
	lpm_free(t);
}

#define OWNERS 5
#define TWIN_MAX 400

/* The twin: a list, looked at from end to end. */
struct twin {
	struct ip_prefix p[TWIN_MAX];
	struct lpm_owner *o[TWIN_MAX];
	size_t n;
};

static size_t
twin_find(const struct twin *w, const struct ip_prefix *p)
{
	size_t i = 0;

	while (i < w->n && memcmp(&w->p[i], p, sizeof(*p)) != 0)
		i++;
	return i;
}

static void
twin_drop(struct twin *w, size_t i)
{
	w->n--;
	w->p[i] = w->p[w->n];
	w->o[i] = w->o[w->n];
}

static struct lpm_owner *
twin_lookup(const struct twin *w, const struct ip_addr *a)
{
	struct lpm_owner *best = NULL;
	int best_bits = -1;

	for (size_t i = 0; i < w->n; i++) {
		struct ip_prefix h = {.addr = *a, .bits = w->p[i].bits};

		mask_host(&h);
		if (memcmp(&h, &w->p[i], sizeof(h)) == 0 &&
		    h.bits > best_bits) {
			best = w->o[i];
			best_bits = h.bits;
		}
	}
	return best;
}

/* Few different bits, spread over the whole width, so that prefixes nest,
 * part everywhere and are met again. */
static struct ip_addr
random_addr(void)
{
	struct ip_addr a = {.family = rnd() % 2 ? FAMILY_V4 : FAMILY_V6};
	unsigned width = a.family == FAMILY_V4 ? 32 : 128;

	for (unsigned i = 0; i < 3; i++) {
		unsigned bit =
		    (unsigned)(rnd() % 8) * (width / 8) + (unsigned)(rnd() % 2);

		a.b[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
	}
	return a;
}

static struct ip_prefix
random_prefix(void)
{
	struct ip_prefix p = {.addr = random_addr()};
	unsigned width = p.addr.family == FAMILY_V4 ? 32 : 128;
	unsigned bits =
	    (unsigned)(rnd() % 9) * (width / 8) + (unsigned)(rnd() % 3);

	p.bits = (uint8_t)(bits > width ? width : bits);
	mask_host(&p);
	return p;
}

static struct lpm_owner *
lookup_any(const struct lpm *t, const struct ip_addr *a)
{
	return a->family == FAMILY_V4 ? lpm_lookup4(t, a->b)
				      : lpm_lookup6(t, a->b);
}

static void
check_lists(const struct twin *w, const struct lpm_owner *o)
{
	size_t sum = 0;

	for (unsigned k = 0; k < OWNERS; k++) {
		const struct lpm_node *cur = NULL;
		struct ip_prefix p;
		size_t n = 0;

		while (lpm_next(&o[k], &cur, &p)) {
			size_t i = twin_find(w, &p);

			assert_true(i < w->n && w->o[i] == &o[k]);
			n++;
		}
		assert_int_equal(n, o[k].count);
		sum += n;
	}
	assert_int_equal(sum, w->n);
	/* One node a prefix and at most one more, and the table. */
	assert_true(live - EMPTY <= 2 * w->n);
}

/* One random change, made to both; false: an allocation failed. */
static bool
change(struct lpm *t, struct twin *w, struct lpm_owner *o)
{
	struct lpm_owner *x = &o[rnd() % OWNERS];
	struct ip_prefix p = random_prefix();
	size_t i = twin_find(w, &p);
	bool mine = i < w->n && w->o[i] == x;
	uint64_t what = rnd() % 200;

	if (what == 0) {
		lpm_remove_owner(t, x);
		for (i = w->n; i-- > 0;)
			if (w->o[i] == x)
				twin_drop(w, i);
		assert_int_equal(x->count, 0);
		return true;
	}
	if (what < 60 || w->n == TWIN_MAX) {
		assert_int_equal(lpm_remove(t, &p, x), mine ? 0 : UK_ENOENT);
		if (mine)
			twin_drop(w, i);
		return true;
	}
	if (lpm_insert(t, &p, x) != 0)
		return false;
	w->n += i == w->n;
	w->p[i] = p;
	w->o[i] = x;
	return true;
}

static void
test_twin(void **state)
{
	(void)state;
	struct lpm *t = lpm_new();
	static struct twin w;
	struct lpm_owner o[OWNERS] = {0};
	size_t most = 0;
	size_t hits = 0;

	w.n = 0;
	for (int i = 0; i < 3000; i++) {
		assert_true(change(t, &w, o));
		most = w.n > most ? w.n : most;
		for (int k = 0; k < 4; k++) {
			struct ip_addr a = random_addr();
			struct lpm_owner *found = lookup_any(t, &a);

			assert_ptr_equal(found, twin_lookup(&w, &a));
			hits += found != NULL;
		}
		if (i % 50 == 0)
			check_lists(&w, o);
	}
	assert_true(most > 100 && hits > 500);
	for (unsigned k = 0; k < OWNERS; k++)
		lpm_remove_owner(t, &o[k]);
	assert_int_equal(live, EMPTY);
	lpm_free(t);
}

/* The first and the second allocation of inserts fail: nothing changes. */
static void
test_no_memory(void **state)
{
	(void)state;
	static struct twin w;
	struct lpm_owner o[OWNERS] = {0};
	size_t failed = 0;

	for (unsigned i = 1; i <= EMPTY; i++) {
		fail_at = i;
		assert_null(lpm_new());
		assert_int_equal(live, 0);
	}
	struct lpm *t = lpm_new();
	w.n = 0;
	for (int i = 0; i < 1500; i++) {
		fail_at = (unsigned)(rnd() % 3);
		size_t before = live;
		if (!change(t, &w, o)) {
			failed++;
			assert_int_equal(live, before);
		}
		fail_at = 0;
		struct ip_addr a = random_addr();
		assert_ptr_equal(lookup_any(t, &a), twin_lookup(&w, &a));
		if (i % 20 == 0)
			check_lists(&w, o);
	}
	assert_true(failed > 100);
	lpm_free(t);
	assert_int_equal(live, 0);
}

/* The hash table never gets memory to grow: slower, and right. */
static void
test_no_growth(void **state)
{
	(void)state;
	struct lpm *t = lpm_new();
	struct lpm_owner o = {0};

	for (uint32_t i = 0; i < 200; i++) {
		struct ip_prefix p = prefix4(i, 32);

		fail_at = 2;
		assert_int_equal(lpm_insert(t, &p, &o), 0);
		fail_at = 0;
	}
	assert_int_equal(t->v4.hosts.mask + 1, FIRST_BUCKETS);
	for (uint32_t i = 0; i < 201; i++)
		assert_ptr_equal(lookup4(t, i), i < 200 ? &o : NULL);
	lpm_free(t);
	assert_int_equal(live, 0);
}

/* So many prefixes of one owner: a quadratic step anywhere takes minutes, of
 * the processor's time. */
static void
check_many(uint32_t n, uint32_t step, unsigned bits)
{
	struct lpm *t = lpm_new();
	struct lpm_owner many = {0};
	struct lpm_owner other = {0};
	clock_t start = clock();

	for (uint32_t i = 0; i < n; i++) {
		struct ip_prefix p = prefix4(i * step, bits);

		assert_int_equal(lpm_insert(t, &p, &many), 0);
	}
	assert_int_equal(many.count, n);
	for (uint32_t i = 0; i < n; i += 2) {
		struct ip_prefix p = prefix4(i * step, bits);

		assert_int_equal(lpm_insert(t, &p, &other), 0);
	}
	for (uint32_t i = 0; i < n; i++)
		assert_ptr_equal(
		    lookup4(t, i * step), i % 2 == 0 ? &other : &many);
	lpm_remove_owner(t, &many);
	assert_null(lookup4(t, step));
	assert_int_equal(other.count, n / 2);
	assert_true(clock() - start < 20 * CLOCKS_PER_SEC);
	lpm_free(t);
	assert_int_equal(other.count, 0);
	assert_int_equal(live, 0);
}

static void
test_many(void **state)
{
	(void)state;
	check_many(130560, 2654435761u, 32);
	check_many(65536, 1u << 16, 16);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_boundary),
	    cmocka_unit_test(test_boundary6),
	    cmocka_unit_test(test_host),
	    cmocka_unit_test(test_spread),
	    cmocka_unit_test(test_move),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_no_growth),
	    cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
