#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/ndp.h"
#include "core/bytes.h"
#include "core/csum.h"
#include "core/err.h"

static const uint8_t address[16] = {0x24, 0x0b, 0, 0x10, 0x3f, 0x6c, 0xd4, 0, 0,
    0x6a, 0x48, 0x3f, 0x6c, 0, 0x34, 0};
static const uint8_t mac[NDP_MAC_LEN] = {2, 0, 0, 0, 0, 0x2a};

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
fix_sum(uint8_t *pkt)
{
	uint16_t len = load_be16(pkt + 4);

	store_be16(pkt + 42, 0);
	store_be16(pkt + 42,
	    (uint16_t)~csum_fold(csum_add(
		csum_pseudo(pkt + 8, pkt + 24, 16, 58, len), pkt + 40, len)));
}

/* From an exact copy, so that a sanitizer sees every byte too far. */
static int
parse(struct ndp *m, const uint8_t *pkt, size_t len)
{
	uint8_t *copy = malloc(len + (len == 0));
	int r;

	assert_non_null(copy);
	memcpy(copy, pkt, len);
	r = ndp_parse(m, copy, len);
	free(copy);
	return r;
}

/* Byte for byte what RFC 4861 4.4 and RFC 4862 5.4.2 draw. */
static void
test_built(void **state)
{
	static const uint8_t announce_head[] = {0x60, 0, 0, 0, 0, 32, 58, 255};
	static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
	static const uint8_t group[16] = {0xff, 2, [11] = 1, 0xff, 0, 0x34, 0};
	static const uint8_t option[8] = {2, 1, 2, 0, 0, 0, 0, 0x2a};
	uint8_t a[NDP_ANNOUNCE_LEN], p[NDP_PROBE_LEN], to[NDP_MAC_LEN];
	struct ndp m;

	(void)state;
	ndp_announce(a, address, mac);
	assert_memory_equal(a, announce_head, sizeof(announce_head));
	assert_memory_equal(a + 8, address, 16);
	assert_memory_equal(a + 24, all_nodes, 16);
	assert_int_equal(a[40], 136);
	assert_int_equal(a[41], 0);
	assert_int_equal(load_be32(a + 44), 0x20000000);
	assert_memory_equal(a + 48, address, 16);
	assert_memory_equal(a + 64, option, sizeof(option));
	assert_int_equal(parse(&m, a, sizeof(a)), 0);
	assert_int_equal(m.type, NDP_ADVERTISE);
	assert_true(m.override && m.has_mac && !m.probe);
	assert_memory_equal(m.mac, mac, sizeof(mac));
	assert_memory_equal(m.target, address, 16);

	ndp_probe(p, address);
	assert_int_equal(load_be64(p + 8) | load_be64(p + 16), 0);
	assert_memory_equal(p + 24, group, 16);
	assert_int_equal(load_be32(p + 44), 0);
	assert_int_equal(parse(&m, p, sizeof(p)), 0);
	assert_int_equal(m.type, NDP_SOLICIT);
	assert_true(m.probe && !m.has_mac && !m.override);
	assert_memory_equal(m.target, address, 16);
	ndp_group_mac(to, p + 24);
	assert_memory_equal(to, "\x33\x33\xff\x00\x34\x00", sizeof(to));
}

/* C4, RFC 4861 7.1.1 and 7.1.2: one byte of a good message is another. */
static void
test_conditions(void **state)
{
	static const struct {
		bool probe; /* else the advertisement */
		uint8_t at, value;
		bool good;
		bool sum_stays; /* wrong */
	} row[] = {
	    {false, 0, 0x6f, true, false}, /* traffic class */
	    {false, 0, 0x40, false, false}, /* version */
	    {false, 6, 0, false, false}, /* hop-by-hop options first */
	    {false, 6, 44, false, false}, /* RFC 6980: a fragment */
	    {false, 7, 254, false, false}, /* a router passed it on */
	    {false, 40, 135, true, false}, /* a question from an address */
	    {false, 40, 134, false, false},
	    {false, 40, 137, false, false},
	    {false, 41, 1, false, false}, /* code */
	    {false, 43, 0x11, false, true}, /* checksum */
	    {false, 44, 0xa0, true, false}, /* a router's */
	    {false, 44, 0x60, false, false}, /* solicited, yet to all */
	    {false, 48, 0xff, false, false}, /* target: multicast */
	    {false, 64, 1, true, false}, /* another option */
	    {false, 64, 14, true, false}, /* unknown ones are skipped */
	    {false, 65, 0, false, false}, /* option of length 0 */
	    {false, 65, 2, false, false}, /* longer than the message */
	    {true, 24, 0xfe, false, false}, /* not to the solicited node */
	    {true, 37, 1, false, false},
	    {true, 39, 1, false, false},
	    {true, 63, 1, false, false}, /* target of another group */
	    {true, 23, 1, true, false}, /* asked from an address */
	    {true, 44, 0xff, true, false}, /* reserved: ignored */
	    {true, 48, 0xff, false, false},
	};
	uint8_t pkt[NDP_ANNOUNCE_LEN];
	struct ndp m;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		size_t len = row[i].probe ? NDP_PROBE_LEN : NDP_ANNOUNCE_LEN;

		if (row[i].probe)
			ndp_probe(pkt, address);
		else
			ndp_announce(pkt, address, mac);
		pkt[row[i].at] = row[i].value;
		if (!row[i].sum_stays)
			fix_sum(pkt);
		if ((parse(&m, pkt, len) == 0) != row[i].good)
			fail_msg("row %zu", i);
	}
}

/* A probe must not tell a MAC; a question from an address may. */
static void
test_source_option(void **state)
{
	uint8_t pkt[NDP_ANNOUNCE_LEN] = {0};
	struct ndp m;

	(void)state;
	ndp_probe(pkt, address);
	store_be16(pkt + 4, 32);
	memcpy(pkt + 64, "\x01\x01\x02\x00\x00\x00\x00\x2a", 8);
	fix_sum(pkt);
	assert_int_equal(parse(&m, pkt, sizeof(pkt)), UK_EPROTO);
	pkt[8] = 0xfe;
	pkt[9] = 0x80;
	fix_sum(pkt);
	assert_int_equal(parse(&m, pkt, sizeof(pkt)), 0);
	assert_true(m.has_mac && !m.probe);
	assert_memory_equal(m.mac, mac, sizeof(mac));
	/* Not the option of this type of message. */
	pkt[64] = 2;
	fix_sum(pkt);
	assert_int_equal(parse(&m, pkt, sizeof(pkt)), 0);
	assert_false(m.has_mac);
	/* Nor one of an address that is longer, which leaves none. */
	pkt[64] = 1;
	pkt[65] = 2;
	fix_sum(pkt);
	assert_int_equal(parse(&m, pkt, sizeof(pkt)), UK_EPROTO);
}

/* An advertisement to one node may be an answer. */
static void
test_solicited(void **state)
{
	uint8_t pkt[NDP_ANNOUNCE_LEN];
	struct ndp m;

	(void)state;
	ndp_announce(pkt, address, mac);
	pkt[24] = 0xfe;
	pkt[25] = 0x80;
	pkt[44] = 0x40;
	fix_sum(pkt);
	assert_int_equal(parse(&m, pkt, sizeof(pkt)), 0);
	assert_false(m.override);
	/* Nothing forbids one from no address; that makes it no probe. */
	memset(pkt + 8, 0, 16);
	fix_sum(pkt);
	assert_int_equal(parse(&m, pkt, sizeof(pkt)), 0);
	assert_false(m.probe);
}

/* C4: cut anywhere it is refused; padding of a short frame is ignored. */
static void
test_lengths(void **state)
{
	uint8_t pkt[NDP_ANNOUNCE_LEN + 20] = {0};
	struct ndp m;

	(void)state;
	ndp_announce(pkt, address, mac);
	for (size_t len = 0; len < NDP_ANNOUNCE_LEN; len++)
		assert_int_equal(parse(&m, pkt, len), UK_EPROTO);
	assert_int_equal(parse(&m, pkt, sizeof(pkt)), 0);
	for (uint16_t len = 0; len <= sizeof(pkt); len++) {
		ndp_announce(pkt, address, mac);
		store_be16(pkt + 4, len);
		/* The option is cut, or something incomplete follows it. */
		if (len <= sizeof(pkt) - 40)
			fix_sum(pkt);
		assert_int_equal(parse(&m, pkt, sizeof(pkt)),
		    len == 24 || len == 32 ? 0 : UK_EPROTO);
		if (len <= 32)
			assert_int_equal(parse(&m, pkt, 40u + len),
			    len == 24 || len == 32 ? 0 : UK_EPROTO);
	}
}

/* The twin reads the RFC's list of conditions top to bottom, with a sum of its
 * own and options by position. */
static uint16_t
naive_sum(const uint8_t *pkt, size_t len)
{
	uint32_t sum = 58 + (uint32_t)len;

	for (size_t i = 8; i < 40 + len; i += 2)
		sum += (uint32_t)pkt[i] << 8 |
		       (i + 1 < 40 + len ? pkt[i + 1] : 0u);
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static bool
naive_options(const uint8_t *pkt, size_t at, size_t end, uint8_t want,
    const uint8_t **found)
{
	if (at == end)
		return true;
	if (end - at < 8 || pkt[at + 1] == 0 || 8u * pkt[at + 1] > end - at)
		return false;
	if (pkt[at] == want && pkt[at + 1] == 1)
		*found = pkt + at + 2;
	return naive_options(pkt, at + 8u * pkt[at + 1], end, want, found);
}

static bool
naive(struct ndp *m, const uint8_t *pkt, size_t len)
{
	static const uint8_t node[13] = {0xff, 2, [11] = 1, 0xff}, zero[16];
	size_t n = len < 40 ? 0 : (size_t)pkt[4] * 256 + pkt[5];
	const uint8_t *option = NULL;
	bool ask, from_nobody;

	memset(m, 0, sizeof(*m));
	if (n < 24 || n + 40 > len || pkt[0] / 16 != 6 || pkt[6] != 58 ||
	    pkt[7] != 255 || naive_sum(pkt, n) != 0xffff)
		return false;
	ask = pkt[40] == 135;
	if ((!ask && pkt[40] != 136) || pkt[41] != 0 || pkt[48] == 255 ||
	    !naive_options(pkt, 64, 40 + n, ask ? 1 : 2, &option))
		return false;
	from_nobody = memcmp(pkt + 8, zero, 16) == 0;
	if (ask && from_nobody &&
	    (option != NULL || memcmp(pkt + 24, node, 13) != 0 ||
		memcmp(pkt + 37, pkt + 61, 3) != 0))
		return false;
	if (!ask && pkt[24] == 255 && (pkt[44] & 0x40) != 0)
		return false;
	m->type = ask ? NDP_SOLICIT : NDP_ADVERTISE;
	m->probe = ask && from_nobody;
	m->override = !ask && (pkt[44] & 0x20) != 0;
	memcpy(m->target, pkt + 48, 16);
	m->has_mac = option != NULL;
	if (option != NULL)
		memcpy(m->mac, option, 6);
	return true;
}

/* Up to three options, then some bytes changed. */
static size_t
random_packet(uint8_t *pkt)
{
	size_t len = NDP_PROBE_LEN;

	ndp_probe(pkt, address);
	if (rnd() % 2 == 0) {
		ndp_announce(pkt, address, mac);
		len = NDP_PROBE_LEN;
	}
	if (rnd() % 2 == 0)
		pkt[8 + rnd() % 16] ^= 1;
	for (uint64_t n = rnd() % 4; n > 0; n--) {
		size_t units = 1 + rnd() % 8 / 6;

		memset(pkt + len, (int)(rnd() & 0xff), 8 * units);
		pkt[len] = (uint8_t)(1 + rnd() % 3);
		pkt[len + 1] = (uint8_t)(rnd() % 16 == 0 ? rnd() : units);
		len += 8 * units;
	}
	store_be16(pkt + 4, (uint16_t)(len - 40 - (rnd() % 8 == 0)));
	for (uint64_t n = rnd() % 3; n > 0; n--)
		pkt[rnd() % len] = (uint8_t)(rnd() % 2 ? rnd() : 0xff);
	if (load_be16(pkt + 4) <= len - 40 && rnd() % 16 != 0)
		fix_sum(pkt);
	return len;
}

static void
test_twin(void **state)
{
	unsigned good = 0, bad = 0;
	uint8_t pkt[256];

	(void)state;
	for (int i = 0; i < 50000; i++) {
		size_t len = random_packet(pkt);
		struct ndp m, twin;

		memset(&m, 0, sizeof(m));
		if (naive(&twin, pkt, len)) {
			good++;
			assert_int_equal(parse(&m, pkt, len), 0);
			assert_int_equal(m.type, twin.type);
			assert_int_equal(m.probe, twin.probe);
			assert_int_equal(m.override, twin.override);
			assert_int_equal(m.has_mac, twin.has_mac);
			assert_memory_equal(m.target, twin.target, 16);
			assert_memory_equal(m.mac, twin.mac, 6);
		} else {
			bad++;
			assert_int_equal(parse(&m, pkt, len), UK_EPROTO);
		}
	}
	assert_true(good > 5000 && bad > 5000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_built),
	    cmocka_unit_test(test_conditions),
	    cmocka_unit_test(test_source_option),
	    cmocka_unit_test(test_solicited),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
