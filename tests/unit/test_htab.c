#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/err.h"

/* The module under test is compiled in here, so that its allocations can be
 * made to fail. */
static unsigned fail_at; /* fail this one of the next ones; 0: none */
static unsigned live;

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
#undef calloc
#undef free

#define ITEMS 3000

struct item {
	struct htab_node node;
	uint32_t id;
	bool in;
};

static const uint8_t key[16] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static struct item item[ITEMS];
static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint64_t
hash_id(const struct htab *t, uint32_t id)
{
	return htab_hash(t, &id, sizeof(id));
}

static struct item *
find(const struct htab *t, uint64_t hash, uint32_t id)
{
	struct htab_node *n = htab_first(t, hash);

	while (n != NULL && CONTAINER_OF(n, struct item, node)->id != id)
		n = htab_next(n);
	return n == NULL ? NULL : CONTAINER_OF(n, struct item, node);
}

static void
clear_items(void)
{
	for (uint32_t i = 0; i < ITEMS; i++)
		item[i] = (struct item){.id = i};
}

/* SipHash-2-4, appendix A of its paper; another key, another hash. */
static void
test_hash(void **state)
{
	(void)state;
	struct htab t;
	struct htab u;
	uint8_t other[16] = {1};
	uint8_t msg[15];

	for (uint8_t i = 0; i < sizeof(msg); i++)
		msg[i] = i;
	assert_int_equal(htab_init(&t, key), 0);
	assert_int_equal(htab_init(&u, other), 0);
	assert_true(htab_hash(&t, msg, sizeof(msg)) == 0xa129ca6149be45e5);
	assert_true(htab_hash(&u, msg, sizeof(msg)) != 0xa129ca6149be45e5);
	htab_fini(&t);
	htab_fini(&u);
	htab_fini(&u);
}

static void
test_empty(void **state)
{
	(void)state;
	struct htab t;

	assert_int_equal(htab_init(&t, key), 0);
	assert_int_equal(t.count, 0);
	assert_null(htab_first(&t, 0));
	assert_null(htab_first(&t, UINT64_MAX));
	htab_fini(&t);
	assert_int_equal(live, 0);
}

/* Equal hashes, and different ones in one bucket, from every place of the
 * chain. */
static void
test_chain(void **state)
{
	(void)state;
	for (unsigned victim = 0; victim < 4; victim++) {
		struct htab t;
		uint64_t h = 5;

		clear_items();
		assert_int_equal(htab_init(&t, key), 0);
		for (uint32_t i = 0; i < 3; i++)
			htab_insert(&t, &item[i].node, h);
		htab_insert(&t, &item[3].node, h + 1024);
		htab_remove(&t, &item[victim].node);
		assert_int_equal(t.count, 3);
		for (uint32_t i = 0; i < 4; i++)
			assert_ptr_equal(find(&t, i == 3 ? h + 1024 : h, i),
			    i == victim ? NULL : &item[i]);
		assert_null(find(&t, h, 3));
		htab_fini(&t);
	}
}

static void
test_twin(void **state)
{
	(void)state;
	struct htab t;
	size_t in = 0;

	clear_items();
	assert_int_equal(htab_init(&t, key), 0);
	for (int i = 0; i < 100000; i++) {
		struct item *x = &item[rnd() % ITEMS];
		uint64_t h = hash_id(&t, x->id);

		assert_ptr_equal(find(&t, h, x->id), x->in ? x : NULL);
		/* Mostly insert at first, mostly remove at the end. */
		bool insert = rnd() % 100000 > (uint64_t)i;
		if (insert && !x->in) {
			htab_insert(&t, &x->node, h);
			x->in = true;
			in++;
		} else if (!insert && x->in) {
			htab_remove(&t, &x->node);
			x->in = false;
			in--;
		}
		assert_int_equal(t.count, in);
	}
	for (uint32_t i = 0; i < ITEMS; i++)
		assert_ptr_equal(
		    find(&t, hash_id(&t, i), i), item[i].in ? &item[i] : NULL);
	assert_true(t.mask + 1 >= 1024);
	htab_fini(&t);
	assert_int_equal(live, 0);
}

/* Each node once, also when each is taken out as soon as the next one is
 * known. */
static void
test_walk(void **state)
{
	(void)state;
	struct htab t;
	struct htab_node *n;
	size_t seen = 0;

	clear_items();
	assert_int_equal(htab_init(&t, NULL), 0);
	assert_null(htab_walk(&t, NULL));
	for (uint32_t i = 0; i < ITEMS; i++) {
		/* Chains of up to three, and empty buckets. */
		htab_insert(&t, &item[i].node, i / 3 * 5);
		item[i].in = true;
	}
	n = htab_walk(&t, NULL);
	while (n != NULL) {
		struct item *x = CONTAINER_OF(n, struct item, node);

		assert_true(x->in);
		x->in = false;
		seen++;
		n = htab_walk(&t, n);
		htab_remove(&t, &x->node);
	}
	assert_int_equal(seen, ITEMS);
	assert_int_equal(t.count, 0);
	htab_fini(&t);
}

static void
test_no_memory(void **state)
{
	(void)state;
	struct htab t;

	fail_at = 1;
	assert_int_equal(htab_init(&t, key), UK_ENOMEM);
	htab_fini(&t);

	/* Growing fails each time: longer chains, nothing lost. */
	clear_items();
	assert_int_equal(htab_init(&t, key), 0);
	for (uint32_t i = 0; i < 200; i++) {
		fail_at = 1;
		htab_insert(&t, &item[i].node, hash_id(&t, i));
	}
	fail_at = 0;
	assert_int_equal(t.mask + 1, FIRST_BUCKETS);
	for (uint32_t i = 0; i < 200; i++)
		assert_ptr_equal(find(&t, hash_id(&t, i), i), &item[i]);
	htab_insert(&t, &item[200].node, hash_id(&t, 200));
	assert_int_equal(t.mask + 1, 2 * FIRST_BUCKETS);
	for (uint32_t i = 0; i <= 200; i++)
		assert_ptr_equal(find(&t, hash_id(&t, i), i), &item[i]);
	htab_fini(&t);
	assert_int_equal(live, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hash),
	    cmocka_unit_test(test_empty),
	    cmocka_unit_test(test_chain),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_walk),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
