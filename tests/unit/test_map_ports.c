#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/map_ports.h"

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

struct row {
	struct map_ports p;
	uint32_t count, ranges;
	uint16_t first[2], second[2], last[2];
};

static const struct row row[] = {
    /* RFC 7597 appendix A, example 1. */
    {{6, 8, 0x34}, 252, 63, {1232, 1235}, {2256, 2259}, {64720, 64723}},
    /* v6plus, BIGLOBE, NURO; the first and the last PSID. */
    {{4, 8, 0}, 240, 15, {4096, 4111}, {8192, 8207}, {61440, 61455}},
    {{4, 8, 255}, 240, 15, {8176, 8191}, {12272, 12287}, {65520, 65535}},
    /* OCN. */
    {{6, 6, 0}, 1008, 63, {1024, 1039}, {2048, 2063}, {64512, 64527}},
    {{6, 6, 63}, 1008, 63, {2032, 2047}, {3056, 3071}, {65520, 65535}},
    /* One range; a whole address, whatever the offset is. */
    {{0, 2, 3}, 16384, 1, {49152, 65535}, {0, 0}, {49152, 65535}},
    {{0, 16, 4711}, 1, 1, {4711, 4711}, {0, 0}, {4711, 4711}},
    {{0, 0, 0}, 65536, 1, {0, 65535}, {0, 0}, {0, 65535}},
    {{6, 0, 0}, 65536, 1, {0, 65535}, {0, 0}, {0, 65535}},
    {{15, 0, 0}, 65536, 1, {0, 65535}, {0, 0}, {0, 65535}},
    /* Ranges of one port; half of all but A = 0. */
    {{15, 1, 1}, 32767, 32767, {3, 3}, {5, 5}, {65535, 65535}},
    {{1, 15, 0x7fff}, 1, 1, {65535, 65535}, {0, 0}, {65535, 65535}},
    {{1, 1, 1}, 16384, 1, {49152, 65535}, {0, 0}, {49152, 65535}},
};

static void
assert_range(const struct map_ports *p, uint32_t i, const uint16_t want[2])
{
	uint16_t low, high;

	map_ports_range(p, i, &low, &high);
	assert_int_equal(low, want[0]);
	assert_int_equal(high, want[1]);
}

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const struct row *w = &row[i];

		assert_int_equal(map_ports_count(&w->p), w->count);
		assert_int_equal(map_ports_ranges(&w->p), w->ranges);
		assert_range(&w->p, 0, w->first);
		if (w->ranges > 1)
			assert_range(&w->p, 1, w->second);
		assert_range(&w->p, w->ranges - 1, w->last);
		assert_int_equal(map_ports_nth(&w->p, 0), w->first[0]);
		assert_int_equal(
		    map_ports_nth(&w->p, w->count - 1), w->last[1]);
		assert_true(map_ports_has(&w->p, w->first[0]));
		assert_true(map_ports_has(&w->p, w->last[1]));
		if (w->first[0] > 0)
			assert_false(
			    map_ports_has(&w->p, (uint16_t)(w->first[0] - 1)));
	}
}

/* RFC 7597 appendix B, by its words: P = (R * M) * i + M * PSID + j. */
static void
twin(const struct map_ports *p, bool has[65536])
{
	uint32_t r = 1u << p->psid_len;
	uint32_t m = 1u << (16 - p->offset - p->psid_len);

	memset(has, p->psid_len == 0, 65536);
	if (p->psid_len == 0)
		return;
	for (uint32_t i = p->offset > 0; i < 1u << p->offset; i++)
		for (uint32_t j = 0; j < m; j++)
			has[r * m * i + m * p->psid + j] = true;
}

static void
check_ranges(const struct map_ports *p, const bool has[65536])
{
	uint32_t n = 0, at = 0;

	for (uint32_t i = 0; i < map_ports_ranges(p); i++) {
		uint16_t low, high;

		map_ports_range(p, i, &low, &high);
		assert_true(low <= high && (i == 0 || low >= at));
		for (at = low; at <= high; at++, n++)
			assert_true(has[at]);
	}
	assert_int_equal(n, map_ports_count(p));
}

static void
check_all(const struct map_ports *p)
{
	static bool has[65536];
	uint32_t n = 0;

	twin(p, has);
	for (uint32_t port = 0; port < 65536; port++) {
		if (map_ports_has(p, (uint16_t)port) != has[port])
			fail_msg("offset %u, length %u, PSID %u: port %u",
			    p->offset, p->psid_len, p->psid, (unsigned)port);
		if (!has[port])
			continue;
		if (map_ports_nth(p, n) != port ||
		    map_ports_index(p, (uint16_t)port) != n)
			fail_msg("port %u is not number %u", (unsigned)port,
			    (unsigned)n);
		n++;
	}
	assert_int_equal(n, map_ports_count(p));
	check_ranges(p, has);
}

/* Every offset and length, with the first, the last and another PSID. */
static void
test_twin(void **state)
{
	(void)state;
	for (unsigned offset = 0; offset <= 15; offset++) {
		for (unsigned len = 0; offset + len <= 16; len++) {
			uint16_t last = (uint16_t)((1u << len) - 1);
			struct map_ports p = {
			    (uint8_t)offset, (uint8_t)len, last};

			check_all(&p);
			p.psid = (uint16_t)(rnd() & last);
			check_all(&p);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		check_all(&row[i].p);
}

/* Every port is in exactly one line's set, but for those with A = 0 of an
 * offset, which nobody has (RFC 7597 5.1). */
static void
test_one_owner(void **state)
{
	(void)state;
	for (unsigned offset = 0; offset <= 15; offset++) {
		for (unsigned len = 0; offset + len <= 16; len++) {
			uint32_t free_ports =
			    offset > 0 && len > 0 ? 65536u >> offset : 0;
			uint32_t nobody = 0;

			for (uint32_t port = 0; port < 65536; port++) {
				struct map_ports p = {
				    (uint8_t)offset, (uint8_t)len, 0};
				bool owned = map_ports_psid(p.offset,
				    p.psid_len, (uint16_t)port, &p.psid);

				nobody += !owned;
				assert_int_equal(owned, port >= free_ports);
				if (owned != map_ports_has(&p, (uint16_t)port))
					fail();
				p.psid ^= 1;
				if (len > 0 &&
				    map_ports_has(&p, (uint16_t)port))
					fail();
			}
			assert_int_equal(nobody, free_ports);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_one_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
