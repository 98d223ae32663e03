#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/err.h"
#include "core/ip.h"

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint16_t
slow_sum(uint32_t sum, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 == 0 ? (uint32_t)b[i] << 8 : b[i];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

/* A packet of len bytes from 198.51.100.1 to 192.0.2.1. */
static void
make4(uint8_t *b, size_t len, uint8_t proto)
{
	memset(b, 0, len);
	b[0] = 0x45;
	store_be16(b + 2, (uint16_t)len);
	b[8] = 64;
	b[9] = proto;
	memcpy(b + 12, "\xc6\x33\x64\x01\xc0\x00\x02\x01", 8);
	store_be16(b + 10, (uint16_t)~slow_sum(0, b, 20));
}

/* From 2001:db8::1 to 2001:db8::2. */
static void
make6(uint8_t *b, size_t len, uint8_t next)
{
	memset(b, 0, len);
	b[0] = 0x60;
	store_be16(b + 4, (uint16_t)(len - 40));
	b[6] = next;
	b[7] = 64;
	memcpy(b + 8, "\x20\x01\x0d\xb8", 4);
	memcpy(b + 24, "\x20\x01\x0d\xb8", 4);
	b[23] = 1;
	b[39] = 2;
}

/* C4: what the fixed header says against the bytes there are. */
static void
test_fixed4(void **state)
{
	(void)state;
	static const struct {
		uint8_t first;
		uint16_t total;
		size_t len;
		int want;
	} row[] = {
	    {0x45, 20, 20, 0},
	    {0x45, 20, 19, UK_EPROTO},
	    {0x45, 20, 1, UK_EPROTO},
	    {0x45, 20, 0, UK_EPROTO},
	    {0x45, 19, 20, UK_EPROTO},
	    {0x45, 0, 20, UK_EPROTO},
	    {0x45, 21, 20, UK_EPROTO},
	    {0x45, 20, 60, 0}, /* padding behind it */
	    {0x45, 60, 60, 0},
	    {0x44, 20, 20, UK_EPROTO},
	    {0x40, 20, 20, UK_EPROTO},
	    {0x46, 24, 24, 0},
	    {0x46, 23, 24, UK_EPROTO},
	    {0x4f, 60, 60, 0},
	    {0x4f, 59, 60, UK_EPROTO},
	    {0x05, 20, 20, UK_EPROTO},
	    {0x55, 20, 20, UK_EPROTO},
	    {0xf5, 20, 20, UK_EPROTO},
	};
	uint8_t b[60];

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ip_view v;
		struct ip_view w;

		make4(b, sizeof(b), 17);
		b[0] = row[i].first;
		b[1] = 0xb9;
		store_be16(b + 2, row[i].total);
		assert_int_equal(
		    ip_parse_fixed(&v, b, row[i].len), row[i].want);
		assert_int_equal(ip_parse(&w, b, row[i].len), row[i].want);
		if (row[i].want != 0)
			continue;
		assert_int_equal(v.family, FAMILY_V4);
		assert_int_equal(v.total, row[i].total);
		assert_int_equal(v.tos, 0xb9);
		assert_ptr_equal(v.src, b + 12);
		assert_ptr_equal(v.dst, b + 16);
		assert_int_equal(w.total, row[i].total);
		assert_int_equal(w.hlen, (row[i].first & 15) * 4);
		assert_int_equal(w.proto, 17);
	}
}

static void
test_fixed6(void **state)
{
	(void)state;
	static const struct {
		uint16_t payload;
		size_t len;
		int want;
	} row[] = {
	    {0, 40, 0},
	    {0, 39, UK_EPROTO},
	    {1, 40, UK_EPROTO},
	    {1, 41, 0},
	    {1, 80, 0},
	    {41, 80, UK_EPROTO},
	    {65535, 80, UK_EPROTO},
	};
	uint8_t b[80];

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ip_view v;
		struct ip_view w;

		make6(b, sizeof(b), 6);
		store_be32(b, 0x6b912345);
		store_be16(b + 4, row[i].payload);
		assert_int_equal(
		    ip_parse_fixed(&v, b, row[i].len), row[i].want);
		assert_int_equal(ip_parse(&w, b, row[i].len), row[i].want);
		if (row[i].want != 0)
			continue;
		assert_int_equal(v.family, FAMILY_V6);
		assert_int_equal(v.total, 40 + row[i].payload);
		assert_int_equal(v.tos, 0xb9);
		assert_ptr_equal(v.src, b + 8);
		assert_ptr_equal(v.dst, b + 24);
		assert_int_equal(w.hlen, 40);
		assert_int_equal(w.proto, 6);
		assert_true(w.first && !w.fragment);
	}
}

static void
test_fragment4(void **state)
{
	(void)state;
	static const struct {
		uint16_t where;
		bool fragment, first;
	} row[] = {
	    {0x0000, false, true},
	    {0x4000, false, true},
	    {0x8000, false, true},
	    {0x2000, true, true},
	    {0x0001, true, false},
	    {0x2001, true, false},
	    {0x1fff, true, false},
	};
	uint8_t b[28];
	struct ip_view v;

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		make4(b, sizeof(b), 17);
		store_be16(b + 6, row[i].where);
		assert_int_equal(ip_parse(&v, b, sizeof(b)), 0);
		assert_int_equal(v.fragment, row[i].fragment);
		assert_int_equal(v.first, row[i].first);
	}
}

/* D7: chains of extension headers, each written as "type next words". */
static void
test_extensions(void **state)
{
	(void)state;
	static const struct {
		uint8_t first; /* next header of the fixed header */
		const char *ext; /* extension headers */
		size_t ext_len;
		size_t payload; /* bytes in all after the fixed header */
		uint8_t proto;
		uint32_t hlen;
		bool fragment, is_first;
	} row[] = {
	    {6, "", 0, 20, 6, 40, false, true},
	    {0, "\x06\0\0\0\0\0\0\0", 8, 28, 6, 48, false, true},
	    {60, "\x11\1\0\0\0\0\0\0", 8, 28, 17, 56, false, true},
	    {43, "\x06\0\0\0\0\0\0\0", 8, 8, 6, 48, false, true},
	    /* not whole: stay in front of it */
	    {43, "\x06\0\0\0\0\0\0\0", 8, 7, 43, 40, false, true},
	    {43, "\x06\1\0\0\0\0\0\0", 8, 15, 43, 40, false, true},
	    {43, "\x06\xff\0\0\0\0\0\0", 8, 28, 43, 40, false, true},
	    {44, "\x06\0\0\0\0\0\0\0", 8, 0, 44, 40, false, true},
	    /* fragments: atomic, first, later, last */
	    {44, "\x06\0\0\0\0\0\0\1", 8, 28, 6, 48, false, true},
	    {44, "\x06\0\0\1\0\0\0\1", 8, 28, 6, 48, true, true},
	    {44, "\x06\0\0\x09\0\0\0\1", 8, 28, 6, 48, true, false},
	    {44, "\x06\0\0\x08\0\0\0\1", 8, 28, 6, 48, true, false},
	    /* in a later fragment the rest is data */
	    {44, "\x3c\0\0\x08\0\0\0\1\x06\0\0\0\0\0\0\0", 16, 28, 60, 48, true,
		false},
	    {44, "\x3c\0\0\1\0\0\0\1\x06\0\0\0\0\0\0\0", 16, 28, 6, 56, true,
		true},
	    /* the second fragment header does not undo the first */
	    {44, "\x2c\0\0\1\0\0\0\1\x06\0\0\0\0\0\0\0", 16, 28, 6, 56, true,
		true},
	    /* hop-by-hop only in front */
	    {60, "\0\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0", 16, 28, 0, 48, false,
		true},
	    /* unknown: AH, ESP, no next header */
	    {51, "\x06\0\0\0\0\0\0\0", 8, 28, 51, 40, false, true},
	    {50, "\x06\0\0\0\0\0\0\0", 8, 28, 50, 40, false, true},
	    {60, "\x3b\0\0\0\0\0\0\0", 8, 8, 59, 48, false, true},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		size_t len = 40 + row[i].payload;
		uint8_t full[80];
		/* exactly long enough, so that a sanitizer sees a byte more */
		uint8_t *b = malloc(len);
		struct ip_view v;

		make6(full, sizeof(full), row[i].first);
		store_be16(full + 4, (uint16_t)row[i].payload);
		memcpy(full + 40, row[i].ext, row[i].ext_len);
		memcpy(b, full, len);
		assert_int_equal(ip_parse(&v, b, len), 0);
		assert_int_equal(v.proto, row[i].proto);
		assert_int_equal(v.hlen, row[i].hlen);
		assert_int_equal(v.fragment, row[i].fragment);
		assert_int_equal(v.first, row[i].is_first);
		free(b);
	}
}

static void
test_extension_count(void **state)
{
	(void)state;
	uint8_t b[40 + 10 * 8];
	struct ip_view v;

	for (unsigned n = 7; n <= 9; n++) {
		make6(b, sizeof(b), 60);
		for (unsigned i = 0; i < n; i++)
			b[40 + 8 * i] = i == n - 1 ? 17 : 60;
		assert_int_equal(ip_parse(&v, b, sizeof(b)), 0);
		assert_int_equal(v.proto, n <= 8 ? 17 : 60);
		assert_int_equal(v.hlen, 40 + 8 * (n <= 8 ? n : 8));
	}
}

/* RFC 6040 figure 4, row by row: inner Not-ECT, ECT(0), ECT(1), CE; outer
 * Not-ECT, ECT(0), ECT(1), CE. -1: drop. */
static void
test_ecn_decap(void **state)
{
	(void)state;
	static const uint8_t codepoint[4] = {0, 2, 1, 3};
	static const int figure4[4][4] = {
	    {0, 0, 0, -1},
	    {2, 2, 1, 3},
	    {1, 1, 1, 3},
	    {3, 3, 3, 3},
	};

	for (unsigned i = 0; i < 64; i++) {
		uint8_t inner = codepoint[i / 4 % 4];
		uint8_t outer = (uint8_t)(0xa8 | codepoint[i % 4]);
		int want = figure4[i / 4 % 4][i % 4];
		uint8_t dscp = i < 16 ? 0 : i < 32 ? 0xfc : 0x58;
		uint8_t b4[20];
		uint8_t b6[40];
		uint8_t was4[20];
		uint8_t was6[40];

		make4(b4, sizeof(b4), 17);
		b4[1] = dscp | inner;
		store_be16(b4 + 4, (uint16_t)rnd());
		store_be16(b4 + 10, 0);
		store_be16(b4 + 10, (uint16_t)~slow_sum(0, b4, 20));
		make6(b6, sizeof(b6), 17);
		store_be32(b6, 0x600abcdeu | (uint32_t)(dscp | inner) << 20);
		memcpy(was4, b4, sizeof(b4));
		memcpy(was6, b6, sizeof(b6));
		assert_int_equal(
		    ip_ecn_decap(b4, outer), want < 0 ? UK_EPROTO : 0);
		assert_int_equal(
		    ip_ecn_decap(b6, outer), want < 0 ? UK_EPROTO : 0);
		assert_int_equal(slow_sum(0, b4, 20), 0xffff);
		if (want >= 0) {
			was4[1] = (uint8_t)(dscp | want);
			memcpy(was4 + 10, b4 + 10, 2);
			store_be32(
			    was6, 0x600abcdeu | (uint32_t)(dscp | want) << 20);
		}
		assert_memory_equal(b4, was4, sizeof(b4));
		assert_memory_equal(b6, was6, sizeof(b6));
	}
}

static void
test_ecn_encap(void **state)
{
	(void)state;
	/* Normal mode copies, RFC 6040 4.1. */
	for (unsigned tos = 0; tos < 256; tos++)
		assert_int_equal(ip_ecn_encap((uint8_t)tos), tos % 4);
}

static const struct ip_addr none;

static size_t
unreachable(uint8_t out[1280], const uint8_t *pkt, size_t len)
{
	/* exactly long enough, so that a sanitizer sees a byte more */
	uint8_t *copy = malloc(len == 0 ? 1 : len);

	if (len > 0)
		memcpy(copy, pkt, len);
	size_t n = ip_icmp_unreachable(out, 1280, copy, len, &none, 1, 3);
	free(copy);
	return n;
}

/* RFC 1812 4.3.2.3: the answer is at most 576 bytes. */
static void
test_unreachable4(void **state)
{
	(void)state;
	static const size_t lens[] = {20, 28, 100, 547, 548, 549, 1420};
	uint8_t b[1420];
	uint8_t out[1280];
	struct ip_addr src = {.family = FAMILY_V4, .b = {10, 9, 8, 7}};
	struct ip_view v;

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		size_t quote = lens[i] < 548 ? lens[i] : 548;

		make4(b, lens[i], 17);
		for (size_t k = 20; k < lens[i]; k++)
			b[k] = (uint8_t)rnd();
		size_t n = ip_icmp_unreachable(
		    out, sizeof(out), b, sizeof(b), &src, 1, 3);
		assert_int_equal(n, 28 + quote);
		assert_int_equal(ip_parse(&v, out, n), 0);
		assert_int_equal(v.total, n);
		assert_int_equal(v.proto, 1);
		assert_memory_equal(v.src, src.b, 4);
		assert_memory_equal(v.dst, b + 12, 4);
		assert_int_equal(slow_sum(0, out, 20), 0xffff);
		assert_int_equal(slow_sum(0, out + 20, n - 20), 0xffff);
		assert_memory_equal(out + 20, "\x03\x01", 2);
		assert_memory_equal(out + 24, "\0\0\0\0", 4);
		assert_memory_equal(out + 28, b, quote);
	}
	/* Without a source of the family: the packet's destination. */
	src.family = FAMILY_V6;
	assert_int_equal(
	    ip_icmp_unreachable(out, sizeof(out), b, 1420, &src, 13, 3), 576);
	assert_memory_equal(out + 12, b + 16, 4);
	assert_int_equal(out[21], 13);
}

/* RFC 4443 2.4 (c): as much as fits 1280 bytes. */
static void
test_unreachable6(void **state)
{
	(void)state;
	static const size_t lens[] = {40, 41, 100, 1231, 1232, 1233, 1420};
	uint8_t b[1420];
	uint8_t out[1280];
	struct ip_addr src = {.family = FAMILY_V6, .b = {0xfd, 9, 8, 7}};
	struct ip_view v;

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		size_t quote = lens[i] < 1232 ? lens[i] : 1232;

		make6(b, lens[i], 17);
		for (size_t k = 40; k < lens[i]; k++)
			b[k] = (uint8_t)rnd();
		size_t n = ip_icmp_unreachable(
		    out, sizeof(out), b, sizeof(b), &src, 1, 3);
		assert_int_equal(n, 48 + quote);
		assert_int_equal(ip_parse(&v, out, n), 0);
		assert_int_equal(v.total, n);
		assert_int_equal(v.proto, 58);
		assert_memory_equal(v.src, src.b, 16);
		assert_memory_equal(v.dst, b + 8, 16);
		/* pseudo header: addresses, length, 58 */
		uint32_t sum = slow_sum((uint32_t)(n - 40 + 58), out + 8, 32);
		assert_int_equal(slow_sum(sum, out + 40, n - 40), 0xffff);
		assert_memory_equal(out + 40, "\x01\x03", 2);
		assert_memory_equal(out + 44, "\0\0\0\0", 4);
		assert_memory_equal(out + 48, b, quote);
	}
	assert_int_equal(unreachable(out, b, sizeof(b)), 1280);
	assert_memory_equal(out + 8, b + 24, 16);
}

static void
test_unreachable4_refused(void **state)
{
	(void)state;
	static const struct {
		const char *src, *dst;
		bool want;
	} row[] = {
	    {"\x01\0\0\1", "\xc0\0\2\1", true},
	    {"\0\0\0\0", "\xc0\0\2\1", false},
	    {"\0\0\0\1", "\xc0\0\2\1", false},
	    {"\x7e\xff\xff\xff", "\xc0\0\2\1", true},
	    {"\x7f\0\0\1", "\xc0\0\2\1", false},
	    {"\x80\0\0\1", "\xc0\0\2\1", true},
	    {"\xdf\xff\xff\xff", "\xc0\0\2\1", true},
	    {"\xe0\0\0\1", "\xc0\0\2\1", false},
	    {"\xef\xff\xff\xff", "\xc0\0\2\1", false},
	    {"\xf0\0\0\1", "\xc0\0\2\1", false},
	    {"\xff\xff\xff\xff", "\xc0\0\2\1", false},
	    {"\x01\0\0\1", "\xdf\xff\xff\xff", true},
	    {"\x01\0\0\1", "\xe0\0\0\xfb", false},
	    {"\x01\0\0\1", "\xff\xff\xff\xff", false},
	};
	uint8_t b[60];
	uint8_t out[1280];

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		make4(b, sizeof(b), 17);
		memcpy(b + 12, row[i].src, 4);
		memcpy(b + 16, row[i].dst, 4);
		assert_int_equal(
		    unreachable(out, b, sizeof(b)) != 0, row[i].want);
	}
	for (unsigned type = 0; type < 256; type++) {
		bool query = type == 0 || (type >= 8 && type <= 10) ||
			     (type >= 13 && type <= 18);

		make4(b, sizeof(b), 1);
		b[20] = (uint8_t)type;
		assert_int_equal(unreachable(out, b, sizeof(b)) != 0, query);
	}
	make4(b, 20, 1); /* ICMP without a type */
	assert_int_equal(unreachable(out, b, 20), 0);
	make4(b, 21, 1);
	assert_int_not_equal(unreachable(out, b, 21), 0);
	make4(b, sizeof(b), 17);
	store_be16(b + 6, 0x2000); /* first fragment */
	assert_int_not_equal(unreachable(out, b, sizeof(b)), 0);
	store_be16(b + 6, 0x2001);
	assert_int_equal(unreachable(out, b, sizeof(b)), 0);
	assert_int_equal(unreachable(out, b, 19), 0);
	assert_int_equal(unreachable(out, b, 0), 0);
}

static void
test_unreachable6_refused(void **state)
{
	(void)state;
	uint8_t b[60];
	uint8_t out[1280];

	for (unsigned type = 0; type < 256; type++) {
		make6(b, sizeof(b), 58);
		b[40] = (uint8_t)type;
		assert_int_equal(unreachable(out, b, sizeof(b)) != 0,
		    type >= 128 && type != 137);
		/* behind an extension header */
		make6(b, sizeof(b), 60);
		b[40] = 58;
		b[48] = (uint8_t)type;
		assert_int_equal(unreachable(out, b, sizeof(b)) != 0,
		    type >= 128 && type != 137);
	}
	make6(b, 40, 58);
	assert_int_equal(unreachable(out, b, 40), 0);
	make6(b, sizeof(b), 60);
	b[40] = 58;
	b[41] = 2; /* longer than the packet */
	assert_int_equal(unreachable(out, b, sizeof(b)), 0);
	make6(b, sizeof(b), 44);
	b[40] = 17;
	b[43] = 1;
	assert_int_not_equal(unreachable(out, b, sizeof(b)), 0);
	b[43] = 8;
	assert_int_equal(unreachable(out, b, sizeof(b)), 0);

	make6(b, sizeof(b), 17);
	memset(b + 8, 0, 16);
	assert_int_equal(unreachable(out, b, sizeof(b)), 0);
	b[23] = 1;
	assert_int_equal(unreachable(out, b, sizeof(b)), 0);
	b[23] = 2;
	assert_int_not_equal(unreachable(out, b, sizeof(b)), 0);
	b[8] = 0xff;
	assert_int_equal(unreachable(out, b, sizeof(b)), 0);
	b[8] = 0xfe;
	assert_int_not_equal(unreachable(out, b, sizeof(b)), 0);
	b[24] = 0xff;
	assert_int_equal(unreachable(out, b, sizeof(b)), 0);
}

/* C1, C4, D7: whatever the bytes, the view stays inside them. */
static void
test_random(void **state)
{
	(void)state;
	static const uint8_t likely[] = {0, 43, 44, 60, 6, 17, 58, 1};
	size_t accepted = 0;

	for (int i = 0; i < 20000; i++) {
		size_t len = rnd() % 120;
		uint8_t *b = malloc(len == 0 ? 1 : len);
		uint8_t out[1280];
		struct ip_view v;

		for (size_t k = 0; k < len; k++)
			b[k] = rnd() % 2 ? (uint8_t)(rnd() % 4)
					 : likely[rnd() % 8];
		if (len >= 8) {
			b[0] = rnd() % 2 ? 0x45 : 0x60;
			b[2] = b[4] = 0;
			b[3] = (uint8_t)(rnd() % 120);
			b[5] = (uint8_t)(rnd() % 80);
		}
		if (ip_parse(&v, b, len) == 0) {
			accepted++;
			assert_true(v.hlen <= v.total && v.total <= len);
			(void)ip_ecn_decap(b, (uint8_t)rnd());
		}
		size_t n =
		    ip_icmp_unreachable(out, sizeof(out), b, len, &none, 1, 3);
		assert_true(n <= 28 + 120 + 20);
		free(b);
	}
	assert_true(accepted > 1000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fixed4),
	    cmocka_unit_test(test_fixed6),
	    cmocka_unit_test(test_fragment4),
	    cmocka_unit_test(test_extensions),
	    cmocka_unit_test(test_extension_count),
	    cmocka_unit_test(test_ecn_decap),
	    cmocka_unit_test(test_ecn_encap),
	    cmocka_unit_test(test_unreachable4),
	    cmocka_unit_test(test_unreachable6),
	    cmocka_unit_test(test_unreachable4_refused),
	    cmocka_unit_test(test_unreachable6_refused),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
