#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/tunnel_error.h"
#include "core/bytes.h"
#include "core/ip.h"

static uint16_t
slow_sum(uint32_t sum, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 == 0 ? (uint32_t)b[i] << 8 : b[i];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

#define PORT 0x1d41 /* of our set */
#define OTHERS 0x1d51

static const uint8_t router[16] = {0x20, 1, 0xd, 0xb8, [15] = 9};
static struct map_rule rule;
static struct ipip6_conf conf;
static uint8_t ce[16]; /* of 106.72.1.2 and PSID 0xd4 */

static void
line_address(uint8_t out[16], const char *text)
{
	struct ip_prefix line;
	char why[MAP_RULE_WHY_MAX];
	struct map_ce m;

	assert_int_equal(ip_prefix_parse(&line, text, strlen(text)), 0);
	assert_int_equal(map_ce_make(&m, &rule, &line, why), 0);
	memcpy(out, m.address.b, 16);
}

static int
setup(void **state)
{
	(void)state;
	rule = (struct map_rule){.ea_len = 24,
	    .psid_offset = 4,
	    .psid_len = 8,
	    .iid = MAP_IID_DRAFT03,
	    .fmr = true};
	assert_int_equal(ip_prefix_parse(&rule.ipv6, "240b:10::/32", 12), 0);
	assert_int_equal(ip_prefix_parse(&rule.ipv4, "106.72.0.0/16", 13), 0);
	conf.ports = (struct map_ports){4, 8, 0xd4};
	memcpy(conf.ipv4, "\x6a\x48\x6f\x6c", 4);
	memcpy(conf.br, "\x24\x04\x92\0\2\x25\1", 7);
	conf.br[15] = 0x64;
	line_address(conf.address, "240b:10:6f6c:d400::/56");
	line_address(ce, "240b:10:102:d400::/56");
	conf.fmr = &rule;
	conf.n = 1;
	return 0;
}

/* An ICMPv6 error as it comes; what it quotes begins at QUOTE. */
#define QUOTE 48
#define INNER (QUOTE + 40)
#define ERROR_LEN 200

static void
make_inner(uint8_t *b, size_t len)
{
	memset(b, 0, len);
	b[0] = 0x45;
	store_be16(b + 2, (uint16_t)len);
	b[8] = 64;
	b[9] = 17;
	memcpy(b + 12, conf.ipv4, 4);
	memcpy(b + 16, "\xc6\x33\x64\x07", 4);
	store_be16(b + 20, PORT);
	store_be16(b + 22, 53);
	store_be16(b + 10, (uint16_t)~slow_sum(0, b, 20));
}

/* About a tunnel packet with 1460 bytes inside. */
static void
make(uint8_t b[ERROR_LEN], uint8_t type, uint8_t code, uint32_t word)
{
	ipip6_header(b, router, conf.address, 58, 0, ERROR_LEN - 40);
	memset(b + 40, 0, ERROR_LEN - 40);
	b[40] = type;
	b[41] = code;
	store_be32(b + 44, word);
	ipip6_header(b + QUOTE, conf.address, conf.br, 4, 0, 1460);
	make_inner(b + INNER, ERROR_LEN - INNER);
	store_be16(b + INNER + 2, 1460);
}

/* With the checksum put right, on an exact copy of len bytes. */
static enum map_drop
parse_len(const uint8_t *pkt, size_t len, struct tunnel_error *e)
{
	static uint8_t *b;

	free(b); /* of the time before: e points into it */
	b = malloc(len);
	memcpy(b, pkt, len);
	store_be16(b + 4, (uint16_t)(len - 40));
	if (len >= 44) {
		store_be16(b + 42, 0);
		uint32_t sum = slow_sum((uint32_t)len - 40 + 58, b + 8, 32);
		store_be16(b + 42, (uint16_t)~slow_sum(sum, b + 40, len - 40));
	}
	enum map_drop why = tunnel_error_parse(&conf, b, len, e);
	if (why == MAP_OK) {
		assert_true(e->inner >= b && e->inner_len >= 28);
		assert_true(e->inner + e->inner_len <= b + len);
	}
	return why;
}

static enum map_drop
parse(const uint8_t pkt[ERROR_LEN], struct tunnel_error *e)
{
	return parse_len(pkt, ERROR_LEN, e);
}

static void
test_kinds(void **state)
{
	(void)state;
	uint8_t b[ERROR_LEN];
	struct tunnel_error e;

	for (unsigned type = 0; type < 128; type++) {
		for (unsigned code = 0; code < 8; code++) {
			bool good = type == 1 || type == 2 || type == 4 ||
				    (type == 3 && code == 0);

			make(b, (uint8_t)type, (uint8_t)code, 1400);
			assert_int_equal(
			    parse(b, &e), good ? MAP_OK : MAP_DROP_ICMP);
			if (!good)
				continue;
			assert_int_equal(e.type, type);
			assert_int_equal(e.code, code);
			assert_int_equal(
			    e.kind, type == 2 ? TUNNEL_ERROR_TOO_BIG
					      : TUNNEL_ERROR_UNREACHABLE);
			assert_int_equal(e.mtu, type == 2 ? 1400 : 0);
			assert_memory_equal(e.outer_dst, conf.br, 16);
			assert_int_equal(e.inner_len, ERROR_LEN - INNER);
			assert_memory_equal(
			    e.inner, b + INNER, ERROR_LEN - INNER);
		}
	}
}

/* N7, RFC 8201 4: never below 1280, and nothing that would have fitted. */
static void
test_mtu(void **state)
{
	(void)state;
	static const struct {
		uint32_t mtu;
		bool good;
	} row[] = {
	    {0, false},
	    {68, false},
	    {576, false},
	    {1279, false},
	    {1280, true},
	    {1499, true},
	    {1500, false},
	    {9000, false},
	    {UINT32_MAX, false},
	};
	uint8_t b[ERROR_LEN];
	struct tunnel_error e;

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		make(b, 2, 0, row[i].mtu);
		assert_int_equal(
		    parse(b, &e), row[i].good ? MAP_OK : MAP_DROP_ICMP);
		make(b, 1, 0, row[i].mtu);
		assert_int_equal(parse(b, &e), MAP_OK);
	}
}

/* N7: what is quoted is what we could have sent. */
static void
test_quote(void **state)
{
	(void)state;
	static const struct {
		unsigned at;
		uint8_t value;
		enum map_drop want;
	} row[] = {
	    {QUOTE, 0x40, MAP_DROP_ICMP}, /* not IPv6 */
	    {QUOTE + 6, 44, MAP_DROP_ICMP}, /* 0x45 is no next header of ours */
	    {QUOTE + 6, 41, MAP_DROP_ICMP},
	    {QUOTE + 6, 58, MAP_DROP_ICMP},
	    {QUOTE + 6, 60, MAP_DROP_ICMP},
	    {QUOTE + 7, 0, MAP_OK}, /* the hop limit is used up */
	    {QUOTE + 8, 0x25, MAP_DROP_ICMP}, /* not from us */
	    {QUOTE + 23, 0x55, MAP_DROP_ICMP},
	    {QUOTE + 24, 0x25, MAP_DROP_ICMP}, /* not to the BR */
	    {QUOTE + 39, 0x65, MAP_DROP_ICMP},
	    {INNER, 0x65, MAP_DROP_INNER_MALFORMED},
	    {INNER, 0x44, MAP_DROP_INNER_MALFORMED},
	    {INNER + 3, 0, MAP_OK},
	    {INNER + 6, 0x20, MAP_OK},
	    {INNER + 7, 1, MAP_DROP_ICMP}, /* a later fragment */
	    {INNER + 9, 6, MAP_OK},
	    {INNER + 9, 1, MAP_DROP_ICMP}, /* ICMP type 0x1d */
	    {INNER + 9, 50, MAP_DROP_ICMP},
	    {INNER + 12, 0x6b, MAP_DROP_ICMP}, /* not from our IPv4 address */
	    {INNER + 15, 0x6d, MAP_DROP_ICMP},
	    {INNER + 21, 0x51, MAP_DROP_PORT},
	    {INNER + 20, 0x0d, MAP_DROP_PORT},
	};
	uint8_t b[ERROR_LEN];
	struct tunnel_error e;

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		make(b, 2, 0, 1400);
		b[row[i].at] = row[i].value;
		assert_int_equal(parse(b, &e), row[i].want);
	}
}

/* N7: to another CE only what its address and port make go there. */
static void
test_destination(void **state)
{
	(void)state;
	uint8_t b[ERROR_LEN];
	struct tunnel_error e;

	make(b, 1, 3, 0);
	memcpy(b + QUOTE + 24, ce, 16);
	assert_int_equal(parse(b, &e), MAP_DROP_ICMP);
	memcpy(b + INNER + 16, "\x6a\x48\1\2", 4);
	assert_int_equal(parse(b, &e), MAP_DROP_ICMP); /* nobody has 53 */
	store_be16(b + INNER + 22, OTHERS);
	assert_int_equal(parse(b, &e), MAP_DROP_ICMP);
	store_be16(b + INNER + 22, PORT);
	assert_int_equal(parse(b, &e), MAP_OK);
	assert_memory_equal(e.outer_dst, ce, 16);
	/* fragments of it may have gone by the BR */
	memcpy(b + QUOTE + 24, conf.br, 16);
	assert_int_equal(parse(b, &e), MAP_OK);
	assert_memory_equal(e.outer_dst, conf.br, 16);
}

/* Our own fragments: the first holds the inner packet, later ones do not. */
static void
test_fragment(void **state)
{
	(void)state;
	static const struct {
		uint8_t next;
		uint16_t where;
		enum map_drop want;
	} row[] = {
	    {4, 1, MAP_OK},
	    {4, 0, MAP_OK},
	    {4, 8, MAP_DROP_ICMP},
	    {4, 9, MAP_DROP_ICMP},
	    {4, 0xfff8, MAP_DROP_ICMP},
	    {44, 1, MAP_DROP_ICMP},
	    {17, 1, MAP_DROP_ICMP},
	};
	uint8_t b[ERROR_LEN];
	struct tunnel_error e;

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		make(b, 2, 0, 1400);
		b[QUOTE + 6] = 44;
		memset(b + INNER, 0, 8);
		b[INNER] = row[i].next;
		store_be16(b + INNER + 2, row[i].where);
		make_inner(b + INNER + 8, ERROR_LEN - INNER - 8);
		assert_int_equal(parse(b, &e), row[i].want);
		if (row[i].want == MAP_OK)
			assert_int_equal(e.inner_len, ERROR_LEN - INNER - 8);
	}
	/* a fragment header that is not whole, and one with nothing behind */
	make(b, 2, 0, 1400);
	b[QUOTE + 6] = 44;
	memset(b + INNER, 0, 8);
	b[INNER] = 4;
	for (uint16_t n = 0; n <= 8; n++) {
		enum map_drop want =
		    n < 8 ? MAP_DROP_ICMP : MAP_DROP_INNER_MALFORMED;

		store_be16(b + QUOTE + 4, n);
		assert_int_equal(parse(b, &e), want);
		store_be16(b + QUOTE + 4, 1460);
		assert_int_equal(parse_len(b, INNER + n, &e), want);
	}
}

static void
test_checksum(void **state)
{
	(void)state;
	uint8_t b[ERROR_LEN];
	struct tunnel_error e;

	make(b, 2, 0, 1400);
	uint32_t sum = slow_sum(ERROR_LEN - 40 + 58, b + 8, 32);
	store_be16(b + 42, (uint16_t)~slow_sum(sum, b + 40, ERROR_LEN - 40));
	assert_int_equal(tunnel_error_parse(&conf, b, ERROR_LEN, &e), MAP_OK);
	for (size_t at = 8; at < ERROR_LEN; at++) {
		b[at] ^= 0x10;
		assert_int_equal(tunnel_error_parse(&conf, b, ERROR_LEN, &e),
		    MAP_DROP_CHECKSUM);
		b[at] ^= 0x10;
	}
}

/* D7: cut anywhere, also inside of the quote. */
static void
test_truncated(void **state)
{
	(void)state;
	uint8_t b[ERROR_LEN];
	struct tunnel_error e;

	make(b, 2, 0, 1400);
	for (size_t len = 40; len <= ERROR_LEN; len++) {
		enum map_drop want = MAP_OK;

		if (len < INNER)
			want = MAP_DROP_OUTER_MALFORMED;
		else if (len < INNER + 28)
			want = MAP_DROP_INNER_MALFORMED;
		assert_int_equal(parse_len(b, len, &e), want);
		/* The length says more than there is. */
		store_be16(b + 4, ERROR_LEN - 40);
		if (len < ERROR_LEN)
			assert_int_equal(tunnel_error_parse(&conf, b, len, &e),
			    MAP_DROP_OUTER_MALFORMED);
	}
	make_inner(b, ERROR_LEN); /* whole, but IPv4 */
	assert_int_equal(tunnel_error_parse(&conf, b, ERROR_LEN, &e),
	    MAP_DROP_OUTER_MALFORMED);
	for (size_t len = 0; len < 40; len++)
		assert_int_equal(tunnel_error_parse(&conf, b, len, &e),
		    MAP_DROP_OUTER_MALFORMED);
	/* Behind the quoted packet, or the inner one, nothing is quoted. */
	make(b, 1, 0, 0);
	store_be16(b + QUOTE + 4, 50);
	assert_int_equal(parse(b, &e), MAP_OK);
	assert_int_equal(e.inner_len, 50);
	store_be16(b + INNER + 2, 30);
	assert_int_equal(parse(b, &e), MAP_OK);
	assert_int_equal(e.inner_len, 30);
	store_be16(b + QUOTE + 4, 27);
	assert_int_equal(parse(b, &e), MAP_DROP_INNER_MALFORMED);
}

/* Every byte changed, the checksum right: no crash, and what is accepted is
 * still ours. */
static void
test_flipped(void **state)
{
	(void)state;
	uint8_t b[ERROR_LEN];
	struct tunnel_error e;

	make(b, 2, 0, 1400);
	for (size_t at = 40; at < ERROR_LEN; at++) {
		for (unsigned x = 1; x < 256; x++) {
			b[at] ^= (uint8_t)x;
			if (parse(b, &e) == MAP_OK) {
				assert_memory_equal(e.inner + 12, conf.ipv4, 4);
				assert_memory_equal(e.outer_dst, conf.br, 16);
				assert_true(e.type != 2 || e.mtu >= 1280);
			}
			b[at] ^= (uint8_t)x;
		}
	}
}

static const uint8_t gate[4] = {192, 0, 0, 2};

static size_t
answer(uint8_t out[576], const uint8_t *pkt, size_t len)
{
	uint8_t *copy = malloc(len == 0 ? 1 : len);

	if (len > 0)
		memcpy(copy, pkt, len);
	size_t n = icmp4_error(out, 576, copy, len, gate, 3, 4, 1240);
	free(copy);
	return n;
}

/* RFC 1812 4.3.2.3: at most 576 bytes. RFC 1191 4: where the MTU stands. */
static void
test_answer(void **state)
{
	(void)state;
	static const size_t lens[] = {28, 29, 100, 547, 548, 549, 1460};
	uint8_t b[1460], out[576];
	struct ip_view v;

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		size_t quote = lens[i] < 548 ? lens[i] : 548;

		make_inner(b, lens[i]);
		size_t n = answer(out, b, lens[i]);
		assert_int_equal(n, 28 + quote);
		assert_int_equal(ip_parse(&v, out, n), 0);
		assert_int_equal(v.total, n);
		assert_int_equal(v.proto, 1);
		assert_false(v.fragment);
		assert_memory_equal(v.src, gate, 4);
		assert_memory_equal(v.dst, b + 12, 4);
		assert_int_equal(slow_sum(0, out, 20), 0xffff);
		assert_int_equal(slow_sum(0, out + 20, n - 20), 0xffff);
		assert_memory_equal(out + 20, "\3\4", 2);
		assert_memory_equal(out + 24, "\0\0\x04\xd8", 4);
		assert_memory_equal(out + 28, b, quote);
	}
	size_t n = icmp4_error(out, 576, b, 1460, gate, 3, 1, 1240);
	assert_int_equal(n, 576);
	assert_memory_equal(out + 24, "\0\0\0\0", 4);
	n = icmp4_error(out, 576, b, 1460, gate, 11, 4, 1240);
	assert_int_equal(n, 576);
	assert_int_equal(out[20], 11);
	assert_memory_equal(out + 24, "\0\0\0\0", 4);
}

/* A packet out of a quote: cut, but not behind its own end. */
static void
test_answer_cut(void **state)
{
	(void)state;
	uint8_t b[100], out[576];

	make_inner(b, sizeof(b));
	for (size_t len = 0; len <= sizeof(b); len++)
		assert_int_equal(answer(out, b, len), len < 28 ? 0 : 28 + len);
	store_be16(b + 2, 1460);
	assert_int_equal(answer(out, b, sizeof(b)), 128);
	store_be16(b + 2, 30);
	assert_int_equal(answer(out, b, sizeof(b)), 58);
	store_be16(b + 2, 27);
	assert_int_equal(answer(out, b, sizeof(b)), 0);
	store_be16(b + 2, 100);
	b[0] = 0x65;
	assert_int_equal(answer(out, b, sizeof(b)), 0);
	b[0] = 0x44;
	assert_int_equal(answer(out, b, sizeof(b)), 0);
	b[0] = 0x4f;
	assert_int_equal(answer(out, b, 68), 96);
	assert_int_equal(answer(out, b, 67), 0);
}

/* RFC 1122 3.2.2. */
static void
test_answer_refused(void **state)
{
	(void)state;
	static const struct {
		const char *src, *dst;
		bool want;
	} row[] = {
	    {"\x0a\0\0\1", "\xc0\0\2\1", true},
	    {"\0\0\0\0", "\xc0\0\2\1", false},
	    {"\0\0\0\1", "\xc0\0\2\1", false},
	    {"\x01\0\0\0", "\xc0\0\2\1", true},
	    {"\x7e\xff\xff\xff", "\xc0\0\2\1", true},
	    {"\x7f\0\0\1", "\xc0\0\2\1", false},
	    {"\x80\0\0\1", "\xc0\0\2\1", true},
	    {"\xdf\xff\xff\xff", "\xdf\xff\xff\xff", true},
	    {"\xe0\0\0\1", "\xc0\0\2\1", false},
	    {"\xff\xff\xff\xff", "\xc0\0\2\1", false},
	    {"\x0a\0\0\1", "\xe0\0\0\xfb", false},
	    {"\x0a\0\0\1", "\xff\xff\xff\xff", false},
	};
	uint8_t b[60], out[576];

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		make_inner(b, sizeof(b));
		memcpy(b + 12, row[i].src, 4);
		memcpy(b + 16, row[i].dst, 4);
		assert_int_equal(answer(out, b, sizeof(b)) != 0, row[i].want);
	}
	for (unsigned type = 0; type < 256; type++) {
		bool query = type == 0 || (type >= 8 && type <= 10) ||
			     (type >= 13 && type <= 18);

		make_inner(b, sizeof(b));
		b[9] = 1;
		b[20] = (uint8_t)type;
		assert_int_equal(answer(out, b, sizeof(b)) != 0, query);
	}
	make_inner(b, sizeof(b));
	store_be16(b + 6, 0x2000);
	assert_int_not_equal(answer(out, b, sizeof(b)), 0);
	store_be16(b + 6, 0x2001);
	assert_int_equal(answer(out, b, sizeof(b)), 0);
	store_be16(b + 6, 0x1000);
	assert_int_equal(answer(out, b, sizeof(b)), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_mtu),
	    cmocka_unit_test(test_quote),
	    cmocka_unit_test(test_destination),
	    cmocka_unit_test(test_fragment),
	    cmocka_unit_test(test_checksum),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_flipped),
	    cmocka_unit_test(test_answer),
	    cmocka_unit_test(test_answer_cut),
	    cmocka_unit_test(test_answer_refused),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
