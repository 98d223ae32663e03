#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/csum.h"

static uint64_t rng = 0x9e3779b97f4a7c15;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* RFC 1071 4.1, one word at a time, folded at every step. */
static uint16_t
naive_sum(uint16_t start, const uint8_t *b, size_t len)
{
	uint32_t sum = start;

	for (size_t i = 0; i < len; i++) {
		sum += i % 2 == 0 ? (uint32_t)b[i] << 8 : b[i];
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return (uint16_t)sum;
}

/* csum_add, whichever instructions it uses here, and without them. */
static void
check_add(uint16_t start, const uint8_t *b, size_t len)
{
	uint16_t want = naive_sum(start, b, len);

	assert_int_equal(csum_fold(csum_add(start, b, len)), want);
	assert_int_equal(csum_fold(csum_add_plain(start, b, len)), want);
}

static void
test_table(void **state)
{
	(void)state;
	/* RFC 1071 3 */
	static const uint8_t rfc[] = {0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7};
	static const struct {
		const char *bytes;
		size_t len;
		uint64_t start;
		uint16_t want;
	} row[] = {
	    {"", 0, 0, 0},
	    {"", 0, 0x12345, 0x2346},
	    {"\x12", 1, 0, 0x1200},
	    {"\x12\x34", 2, 0, 0x1234},
	    {"\x12\x34\x56", 3, 0, 0x6834},
	    {"\xff\xff", 2, 0, 0xffff},
	    {"\xff\xff\x00\x01", 4, 0, 0x0001},
	    {"\xff\xff\xff\xff\xff\xff\xff\xff", 8, 0, 0xffff},
	    {"\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01", 10, 0, 0x0001},
	};

	assert_int_equal(csum_fold(csum_add(0, rfc, sizeof(rfc))), 0xddf2);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		assert_int_equal(
		    csum_fold(csum_add(row[i].start,
			(const uint8_t *)row[i].bytes, row[i].len)),
		    row[i].want);
}

static void
test_fold(void **state)
{
	(void)state;
	assert_int_equal(csum_fold(0), 0);
	assert_int_equal(csum_fold(0xffff), 0xffff);
	assert_int_equal(csum_fold(0x10000), 1);
	assert_int_equal(csum_fold(0x1fffe), 0xffff);
	assert_int_equal(csum_fold(0xffffffff), 0xffff);
	assert_int_equal(csum_fold(0x100000000), 1);
	assert_int_equal(csum_fold(UINT64_MAX), 0xffff);
	assert_int_equal(csum_fold(UINT64_MAX - 1), 0xfffe);
	for (int i = 0; i < 100000; i++) {
		uint64_t v = rnd() >> rnd() % 64;

		assert_int_equal(csum_fold(v) % 0xffff, v % 0xffff);
		assert_int_equal(csum_fold(v) == 0, v == 0);
	}
}

/* Every length around the unrolled loops, every alignment, and all ones,
 * where every addition carries. */
static void
test_lengths(void **state)
{
	(void)state;
	static uint8_t b[2100];
	static uint8_t ones[65536];

	for (int fill = 0; fill < 2; fill++) {
		for (size_t i = 0; i < sizeof(b); i++)
			b[i] = fill == 0 ? 0xff : (uint8_t)rnd();
		for (size_t len = 0; len < 400; len++)
			for (size_t at = 0; at < 8; at++)
				check_add(0, b + at, len);
	}
	for (int i = 0; i < 2000; i++) {
		size_t len = rnd() % 2000;
		size_t at = rnd() % 64;
		uint16_t start = (uint16_t)rnd();

		for (size_t k = 0; k < 8; k++)
			b[rnd() % sizeof(b)] = (uint8_t)rnd();
		check_add(start, b + at, len);
	}
	memset(ones, 0xff, sizeof(ones));
	check_add(1, ones, sizeof(ones));
	/* lower halves that are all carries, upper ones that are none */
	for (size_t i = 0; i < sizeof(ones); i++)
		ones[i] = i % 8 < 4 ? 0xff : 0;
	check_add(1, ones, sizeof(ones));
	check_add(1, ones + 4, sizeof(ones) - 4);
}

static void
test_pieces(void **state)
{
	(void)state;
	uint8_t b[300];

	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)rnd();
	for (size_t cut = 0; cut < sizeof(b); cut += 2) {
		uint64_t sum = csum_add(0, b, cut);

		sum = csum_add(sum, b + cut, sizeof(b) - cut - 1);
		assert_int_equal(
		    csum_fold(sum), naive_sum(0, b, sizeof(b) - 1));
	}
}

static void
test_pseudo(void **state)
{
	(void)state;
	/* RFC 9293 3.1: source, destination, zero, protocol, length. */
	static const uint8_t v4[12] = {
	    192, 0, 2, 1, 198, 51, 100, 7, 0, 6, 0x12, 0x34};
	/* RFC 8200 8.1: source, destination, 32-bit length, zero, next. */
	uint8_t v6[40] = {0x20, 1, 0xd, 0xb8};

	assert_int_equal(csum_fold(csum_pseudo(v4, v4 + 4, 4, 6, 0x1234)),
	    naive_sum(0, v4, sizeof(v4)));
	memset(v6 + 16, 0xfe, 16);
	store_be32(v6 + 32, 0x1fffe);
	v6[39] = 58;
	assert_int_equal(csum_fold(csum_pseudo(v6, v6 + 16, 16, 58, 0x1fffe)),
	    naive_sum(0, v6, sizeof(v6)));
}

static void
test_update(void **state)
{
	(void)state;
	/* RFC 1624 4: the case in which RFC 1141's equation fails. */
	assert_int_equal(csum_update16(0xdd2f, 0x5555, 0x3285), 0x0000);

	for (int i = 0; i < 100000; i++) {
		uint8_t b[20];
		size_t at = rnd() % 10 * 2;

		for (size_t k = 0; k < sizeof(b); k++)
			b[k] = rnd() % 3 == 0 ? 0xff : (uint8_t)rnd();
		b[18] = 0x45; /* never all zero, as no header is */
		if (at == 18)
			at = 0;
		uint16_t check = (uint16_t)~naive_sum(0, b, sizeof(b));
		uint16_t old = load_be16(b + at);
		store_be16(b + at, (uint16_t)rnd());
		assert_int_equal(csum_update16(check, old, load_be16(b + at)),
		    (uint16_t)~naive_sum(0, b, sizeof(b)));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_fold),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_pieces),
	    cmocka_unit_test(test_pseudo),
	    cmocka_unit_test(test_update),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
