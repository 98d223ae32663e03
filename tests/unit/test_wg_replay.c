#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/err.h"
#include "wg/wg_replay.h"

#define W WG_REPLAY_WINDOW
#define LIMIT WG_REJECT_AFTER_MESSAGES

struct step {
	uint64_t n;
	int want;
};

static void
run(const struct step *steps, size_t n)
{
	struct wg_replay r;

	wg_replay_init(&r);
	for (size_t i = 0; i < n; i++)
		if (wg_replay_check(&r, steps[i].n) != steps[i].want)
			fail_msg("step %zu, counter %llu", i + 1,
			    (unsigned long long)steps[i].n);
}

static void
test_the_numbers(void **state)
{
	(void)state;
	assert_int_equal(W, 8128);
	assert_true(LIMIT == UINT64_MAX - 8192); /* 2^64 - 2^13 - 1 */
}

/* One history; steps are numbered from 1. */
static void
test_boundaries(void **state)
{
	static const struct step steps[] = {
	    /* 1 */ {0, 0},
	    /* 2 */ {0, UK_EREPLAY},
	    /* 3 */ {1, 0},
	    /* 4 */ {1, UK_EREPLAY},
	    /* 5 */ {9, 0},
	    /* 6 */ {8, 0},
	    /* 7 */ {7, 0},
	    /* 8 */ {7, UK_EREPLAY},
	    /* 9: newest behind by exactly the window */ {W + 2, 0},
	    /* 10 */ {2, 0},
	    /* 11 */ {2, UK_EREPLAY},
	    /* 12: one more behind, never seen */ {W + 4, 0},
	    /* 13 */ {3, UK_EREPLAY},
	    /* 14 */ {4, 0},
	    /* 15: a leap of the whole ring */ {W + 4 + 8192, 0},
	    /* 16: what was newest lies behind it all */ {W + 4, UK_EREPLAY},
	    /* 17: same place in the ring, another turn */ {8196, 0},
	    /* 18 */ {8196, UK_EREPLAY},
	    /* 19: a leap of many turns */ {UINT64_C(1) << 40, 0},
	    /* 20 */ {(UINT64_C(1) << 40) - W, 0},
	    /* 21 */ {(UINT64_C(1) << 40) - W, UK_EREPLAY},
	    /* 22 */ {(UINT64_C(1) << 40) - W - 1, UK_EREPLAY},
	    /* 23 */ {(UINT64_C(1) << 40) - 1, 0},
	    /* 24 */ {(UINT64_C(1) << 40) + 63, 0},
	    /* 25 */ {(UINT64_C(1) << 40) + 64, 0},
	    /* 26 */ {(UINT64_C(1) << 40) + 63, UK_EREPLAY},
	    /* 27 */ {0, UK_EREPLAY},
	};

	(void)state;
	run(steps, ARRAY_LEN(steps));
}

/* 22: counters up to the limit, never at it (P4). */
static void
test_limit(void **state)
{
	static const struct step steps[] = {
	    /* 1 */ {LIMIT, UK_ELIMIT},
	    /* 2 */ {UINT64_MAX, UK_ELIMIT},
	    /* 3: nothing was recorded */ {0, 0},
	    /* 4 */ {UINT64_MAX - 8194, 0}, /* 2^64 - 8195 */
	    /* 5 */ {LIMIT - 1, 0},
	    /* 6 */ {LIMIT - 1, UK_EREPLAY},
	    /* 7 */ {LIMIT, UK_ELIMIT},
	    /* 8 */ {UINT64_MAX - 1, UK_ELIMIT}, /* 2^64 - 2 */
	    /* 9 */ {LIMIT - 1 - W, 0},
	    /* 10 */ {LIMIT - 2 - W, UK_EREPLAY},
	};

	(void)state;
	run(steps, ARRAY_LEN(steps));
}

/* All of a window backwards from its newest, then forwards again. */
static void
test_backwards(void **state)
{
	struct wg_replay r;

	(void)state;
	for (uint64_t newest = W + 1000; newest < W + 1130; newest++) {
		wg_replay_init(&r);
		for (uint64_t n = newest; n >= newest - W; n--)
			assert_int_equal(wg_replay_check(&r, n), 0);
		assert_int_equal(
		    wg_replay_check(&r, newest - W - 1), UK_EREPLAY);
		for (uint64_t n = newest - W; n <= newest; n++)
			assert_int_equal(wg_replay_check(&r, n), UK_EREPLAY);
	}
}

/* ---- naive twin: remembers everything ---- */

#define HISTORY (1 << 20)

static uint8_t seen[HISTORY / 8 + 64];
static uint64_t newest;
static bool any;
static uint64_t rng;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static int
naive(uint64_t n)
{
	if (any && newest >= n && newest - n > W)
		return UK_EREPLAY;
	if (seen[n / 8] & 1 << n % 8)
		return UK_EREPLAY;
	seen[n / 8] |= (uint8_t)(1 << n % 8);
	if (!any || n > newest)
		newest = n;
	any = true;
	return 0;
}

/* A walk forward with reordering around the newest, far stragglers, and now
 * and then a leap. */
static uint64_t
draw(void)
{
	uint64_t kind = rnd() % 100;
	uint64_t back = 0;

	if (kind == 0)
		return newest + rnd() % 20000;
	if (kind < 40)
		return newest + 1 + rnd() % 3;
	if (kind < 70)
		back = rnd() % 64;
	else if (kind < 90)
		back = rnd() % (W + 200);
	else
		back = W - 66 + rnd() % 132;
	return newest > back ? newest - back : 0;
}

static void
test_twin(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct wg_replay r;

		rng = seed * UINT64_C(0x9e3779b97f4a7c15);
		memset(seen, 0, sizeof(seen));
		newest = 0;
		any = false;
		wg_replay_init(&r);
		while (newest < HISTORY - 20000) {
			uint64_t n = draw();

			assert_int_equal(wg_replay_check(&r, n), naive(n));
		}
	}
}

/* The same near the end of counters: what the twin knows is moved there. */
static void
test_twin_near_limit(void **state)
{
	const uint64_t base = (LIMIT - HISTORY) / 64 * 64;
	struct wg_replay r;

	(void)state;
	rng = 4711;
	memset(seen, 0, sizeof(seen));
	wg_replay_init(&r);
	newest = W + 100;
	any = false;
	assert_int_equal(wg_replay_check(&r, base + newest), naive(newest));
	while (base + newest < LIMIT - 20003) {
		uint64_t n = draw();

		assert_int_equal(wg_replay_check(&r, base + n), naive(n));
	}
	for (uint64_t n = newest; base + n < LIMIT + 100; n++)
		assert_int_equal(wg_replay_check(&r, base + n),
		    base + n >= LIMIT ? UK_ELIMIT : naive(n));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_numbers),
	    cmocka_unit_test(test_boundaries),
	    cmocka_unit_test(test_limit),
	    cmocka_unit_test(test_backwards),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_twin_near_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
