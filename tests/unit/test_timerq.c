#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/err.h"

/* The module under test is compiled in here, so that its allocations can be
 * made to fail. */
static int fail;

static void *
failing_realloc(void *p, size_t size)
{
	return fail ? NULL : realloc(p, size);
}

#define realloc failing_realloc
#include "core/timerq.c"
#undef realloc

#define NODES 200

static struct timerq_node node[NODES];
static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void
setup_queue(struct timerq *q)
{
	for (size_t i = 0; i < NODES; i++)
		node[i] = (struct timerq_node){0};
	timerq_init(q);
	assert_int_equal(timerq_reserve(q, NODES), 0);
}

static void
test_boundary(void **state)
{
	(void)state;
	struct timerq q;
	struct timerq_node *n = &node[0];

	setup_queue(&q);
	assert_true(timerq_deadline(&q) == UK_NEVER);
	assert_null(timerq_pop(&q, UINT64_MAX));
	timerq_remove(&q, n); /* not queued: no-op */
	timerq_set(&q, n, UK_NEVER);
	assert_int_equal(q.count, 0);

	timerq_set(&q, n, 100);
	assert_true(timerq_deadline(&q) == 100);
	assert_null(timerq_pop(&q, 99));
	assert_ptr_equal(timerq_pop(&q, 100), n);
	assert_true(n->deadline_ns == 100);
	assert_null(timerq_pop(&q, UINT64_MAX));

	timerq_set(&q, n, 0);
	assert_ptr_equal(timerq_pop(&q, 0), n);
	timerq_set(&q, n, UK_NEVER - 1);
	assert_null(timerq_pop(&q, UK_NEVER - 2));
	timerq_set(&q, n, UK_NEVER);
	assert_null(timerq_pop(&q, UINT64_MAX));
	assert_int_equal(n->slot, 0);
	timerq_fini(&q);
}

static void
test_move(void **state)
{
	(void)state;
	struct timerq q;

	setup_queue(&q);
	for (uint64_t i = 0; i < 10; i++)
		timerq_set(&q, &node[i], 10 * (i + 1));
	timerq_set(&q, &node[9], 5); /* last to first */
	timerq_set(&q, &node[0], 95); /* first to last */
	timerq_set(&q, &node[4], 50); /* where it is */
	timerq_remove(&q, &node[5]);
	static const size_t order[] = {9, 1, 2, 3, 4, 6, 7, 8, 0};
	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		assert_ptr_equal(timerq_pop(&q, 1000), &node[order[i]]);
	assert_null(timerq_pop(&q, 1000));
	timerq_fini(&q);
}

/* The twin: look at all nodes. */
static uint64_t
naive_deadline(const uint64_t *at)
{
	uint64_t min = UK_NEVER;

	for (size_t i = 0; i < NODES; i++)
		min = uk_min_u64(min, at[i]);
	return min;
}

static void
test_twin(void **state)
{
	(void)state;
	struct timerq q;
	uint64_t at[NODES];
	size_t popped = 0;

	setup_queue(&q);
	for (size_t i = 0; i < NODES; i++)
		at[i] = UK_NEVER;
	for (uint64_t now = 0; now < 50000; now++) {
		size_t i = rnd() % NODES;

		switch (rnd() % 5) {
		case 0:
			timerq_remove(&q, &node[i]);
			at[i] = UK_NEVER;
			break;
		case 1:
			timerq_set(&q, &node[i], UK_NEVER);
			at[i] = UK_NEVER;
			break;
		default: /* few values, so that many are equal */
			at[i] = now + rnd() % 300;
			timerq_set(&q, &node[i], at[i]);
		}
		assert_true(timerq_deadline(&q) == naive_deadline(at));
		struct timerq_node *n;
		while ((n = timerq_pop(&q, now)) != NULL) {
			assert_true(n->deadline_ns == naive_deadline(at));
			assert_true(n->deadline_ns <= now);
			at[n - node] = UK_NEVER;
			popped++;
		}
		assert_true(naive_deadline(at) > now);
	}
	assert_true(popped > 1000);
	timerq_fini(&q);
}

static void
test_no_memory(void **state)
{
	(void)state;
	struct timerq q;

	timerq_init(&q);
	fail = 1;
	assert_int_equal(timerq_reserve(&q, 1), UK_ENOMEM);
	assert_int_equal(timerq_reserve(&q, 0), 0);
	fail = 0;
	assert_int_equal(timerq_reserve(&q, 2), 0);
	node[0] = node[1] = (struct timerq_node){0};
	timerq_set(&q, &node[0], 7);
	timerq_set(&q, &node[1], 6);
	fail = 1;
	assert_int_equal(timerq_reserve(&q, 2), 0);
	assert_int_equal(timerq_reserve(&q, 3), UK_ENOMEM);
	fail = 0;
	assert_int_equal(timerq_reserve(&q, SIZE_MAX), UK_ENOMEM);
	assert_ptr_equal(timerq_pop(&q, 10), &node[1]);
	assert_ptr_equal(timerq_pop(&q, 10), &node[0]);
	timerq_fini(&q);
	timerq_fini(&q);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_boundary),
	    cmocka_unit_test(test_move),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
