#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "wg/wg_limit.h"

#define MS(n) ((n)*UK_NS_PER_MS)
#define T0 MS(UINT64_C(5000000))

static struct wg_limit l;
static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static int
setup(void **state)
{
	static const uint8_t key[16] = {9, 8, 7};

	(void)state;
	wg_limit_init(&l, key);
	return 0;
}

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text, strlen(text)), 0);
	return a;
}

static unsigned
burst(const struct ip_addr *a, uint64_t now)
{
	unsigned n = 0;

	while (n < 1000 && wg_limit_allow(&l, a, now))
		n++;
	return n;
}

/* 5 at once, 20 a second, never more than 5 saved. */
static void
test_rate(void **state)
{
	struct ip_addr a = addr("192.0.2.1");

	(void)state;
	assert_int_equal(burst(&a, T0), 5);
	assert_int_equal(burst(&a, T0 + MS(50) - 1), 0);
	assert_int_equal(burst(&a, T0 + MS(50)), 1);
	assert_int_equal(burst(&a, T0 + MS(150)), 2);
	assert_int_equal(burst(&a, T0 + MS(100000)), 5);
	assert_int_equal(burst(&a, T0 + MS(100000)), 0);
}

/* A3: one bucket for an IPv4 address, one for an IPv6 /64; there is no port to
 * get another one by. */
static void
test_source(void **state)
{
	struct ip_addr a = addr("192.0.2.1"), next = addr("192.0.2.2");
	struct ip_addr host = addr("2001:db8:0:1::1");
	struct ip_addr same64 = addr("2001:db8:0:1:ffff::9");
	struct ip_addr other64 = addr("2001:db8:0:2::1");

	(void)state;
	assert_int_equal(burst(&a, T0), 5);
	assert_int_equal(burst(&next, T0), 5);
	assert_int_equal(burst(&host, T0), 5);
	assert_int_equal(burst(&same64, T0), 0);
	assert_int_equal(burst(&other64, T0), 5);
}

/* With every place taken newcomers are refused, those inside go on, and
 * places come back by themselves. */
static void
test_full(void **state)
{
	struct ip_addr first = addr("198.51.100.1");
	struct ip_addr a = {.family = FAMILY_V4};
	unsigned refused = 0;

	(void)state;
	assert_true(wg_limit_allow(&l, &first, T0));
	for (uint32_t i = 1; i <= 8 * WG_LIMIT_SETS * WG_LIMIT_WAYS; i++) {
		store_be32(a.b, i);
		refused += !wg_limit_allow(&l, &a, T0);
	}
	assert_int_equal(refused, 7 * WG_LIMIT_SETS * WG_LIMIT_WAYS + 1);
	assert_int_equal(burst(&first, T0), 4);
	store_be32(a.b, 1u << 31);
	assert_int_equal(burst(&a, T0), 0);
	assert_int_equal(burst(&a, T0 + MS(250)), 5);
}

/* ---- naive twin: a float of tokens for each of a few sources ---- */

#define SOURCES 16

static struct {
	double tokens;
	uint64_t at_ns;
} twin[SOURCES];

static bool
naive(unsigned i, uint64_t now)
{
	twin[i].tokens += (double)(now - twin[i].at_ns) / 1e9 * 20;
	if (twin[i].tokens > 5)
		twin[i].tokens = 5;
	twin[i].at_ns = now;
	if (twin[i].tokens < 1 - 1e-6)
		return false;
	twin[i].tokens -= 1;
	return true;
}

static void
test_twin(void **state)
{
	uint64_t now = T0;
	struct ip_addr a = {.family = FAMILY_V6, .b = {0x20, 1}};

	(void)state;
	for (unsigned i = 0; i < SOURCES; i++)
		twin[i].tokens = 5;
	for (unsigned i = 0; i < 50000; i++) {
		unsigned who = rnd() % SOURCES;

		now += MS(rnd() % 8);
		a.b[7] = (uint8_t)who;
		store_be64(a.b + 8, rnd());
		assert_int_equal(wg_limit_allow(&l, &a, now), naive(who, now));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_rate, setup),
	    cmocka_unit_test_setup(test_source, setup),
	    cmocka_unit_test_setup(test_full, setup),
	    cmocka_unit_test_setup(test_twin, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
