#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "wg/wg_stamp.h"

#define S(n) ((n)*UK_NS_PER_S)
#define NOW UINT64_C(1790000000) /* 2026, after this was written */

/* 1700000000 s of the worked example: 0x6553f100, plus ten. */
static void
test_format(void **state)
{
	static const uint8_t want[WG_STAMP_LEN] = {
	    0x40, 0, 0, 0, 0x65, 0x53, 0xf1, 0x0a, 0x07, 0, 0, 0};
	uint8_t last[WG_STAMP_LEN] = {0};

	(void)state;
	wg_stamp_next(last, S(UINT64_C(1700000000)) + 0x075bcd15);
	assert_memory_equal(last, want, sizeof(want));
}

/* Nanoseconds are multiples of 2^24: the clock is not published. */
static void
test_coarse(void **state)
{
	uint8_t last[WG_STAMP_LEN];

	(void)state;
	for (uint64_t ns = 0; ns < UK_NS_PER_S; ns += 7654321) {
		memset(last, 0, sizeof(last));
		wg_stamp_next(last, S(NOW) + ns);
		assert_int_equal(load_be32(last + 8) % (1 << 24), 0);
		assert_true(ns - load_be32(last + 8) < 1 << 24);
	}
}

/* P1: stamps grow strictly, whatever the clock does. */
static void
test_grows(void **state)
{
	static const uint64_t clocks[] = {S(NOW), S(NOW), S(NOW) + 1,
	    S(NOW - 3600), 0, S(NOW - 1), S(NOW) + (1 << 24), S(NOW) + 1,
	    S(NOW + 1), S(NOW + 86400), S(NOW), S(NOW) - 1};
	uint8_t last[WG_STAMP_LEN] = {0}, before[WG_STAMP_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(clocks); i++) {
		memcpy(before, last, sizeof(before));
		wg_stamp_next(last, clocks[i]);
		assert_true(memcmp(last, before, sizeof(last)) > 0);
		assert_true(load_be32(last + 8) < UK_NS_PER_S);
	}
}

static void
test_carry(void **state)
{
	uint8_t last[WG_STAMP_LEN];

	(void)state;
	store_be64(last, (UINT64_C(1) << 62) + 10 + NOW);
	store_be32(last + 8, (uint32_t)UK_NS_PER_S - 2);
	wg_stamp_next(last, 0);
	assert_int_equal(load_be32(last + 8), UK_NS_PER_S - 1);
	wg_stamp_next(last, 0);
	assert_int_equal(load_be32(last + 8), 0);
	assert_true(load_be64(last) == (UINT64_C(1) << 62) + 11 + NOW);
}

/* P1: a bound on stamps of others, by a clock that can be believed. */
static void
test_ahead(void **state)
{
	const uint64_t day = S(UINT64_C(86400));
	uint8_t stamp[WG_STAMP_LEN] = {0};

	(void)state;
	wg_stamp_next(stamp, S(NOW) + day);
	assert_false(wg_stamp_is_ahead(stamp, S(NOW), day));
	assert_true(wg_stamp_is_ahead(stamp, S(NOW - 1), day));
	assert_false(wg_stamp_is_ahead(stamp, S(NOW - 1), day + S(1)));
	assert_false(wg_stamp_is_ahead(stamp, 0, day)); /* 1970 */
	assert_false(wg_stamp_is_ahead(stamp, S(UINT64_C(1700000000)), day));
	memset(stamp, 0xff, sizeof(stamp));
	assert_true(wg_stamp_is_ahead(stamp, S(NOW), day));
	memset(stamp, 0, sizeof(stamp));
	assert_false(wg_stamp_is_ahead(stamp, S(NOW), day));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_format),
	    cmocka_unit_test(test_coarse),
	    cmocka_unit_test(test_grows),
	    cmocka_unit_test(test_carry),
	    cmocka_unit_test(test_ahead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
