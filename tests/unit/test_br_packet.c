/* The border relay of the test line: its arithmetic by the examples of RFC
 * 7597 appendix A and public ones, and each of its verdicts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "br_packet.h"
#include "core/base.h"
#include "core/bytes.h"

#define OURS UINT32_C(0xc0000234) /* 192.0.2.52 */
#define OTHER UINT32_C(0xc6336409) /* 198.51.100.9 */
#define PORT 4928 /* the first of PSID 52 */
#define BR_ADDRESS "2001:db8:ffff::64"
#define CE_ADDRESS "2001:db8:4634:3400:c0:2:3400:3400"
#define RULE "2001:db8:4600::/40,192.0.2.0/24,16,4,draft03"

enum { ICMP = 1, TCP = 6, UDP = 17 };

static uint64_t rng = 0x9e3779b97f4a7c15;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* ---- rules ---- */

struct vector {
	const char *rule;
	const char *ipv4;
	uint16_t psid;
	uint16_t first; /* port; 0: not shared */
	uint16_t last;
	const char *address;
};

/* RFC 7597 appendix A, examples 1 (with 2 and 3), 4 and 5; then the public
 * ones of the four Japanese operators' rules. */
static const struct vector vectors[] = {
    {"2001:db8::/40,192.0.2.0/24,16,6,rfc7597", "192.0.2.18", 52, 1232, 64723,
	"2001:db8:12:3400:0:c000:212:34"},
    {"2001:db8:12:3400::/56,192.0.2.18/32,0,6,rfc7597", "192.0.2.18", 0, 0, 0,
	"2001:db8:12:3400:0:c000:212:0"},
    {"2001:db8:12:3400::/56,192.0.2.18/32,0,6,rfc7597,8/52", "192.0.2.18", 52,
	1232, 64723, "2001:db8:12:3400:0:c000:212:34"},
    {"2001:db8::/40,192.0.2.0/24,16,6,draft03", "192.0.2.18", 52, 1232, 64723,
	"2001:db8:12:3400:c0:2:1200:3400"},
    {"240b:10::/31,106.72.0.0/15,25,4,draft03", "106.72.63.108", 212, 7488,
	64847, "240b:10:3f6c:d400:6a:483f:6c00:d400"},
    {"240b:10::/31,106.72.0.0/15,25,4,draft03", "106.72.0.0", 52, 4928, 62287,
	"240b:10:0:3400:6a:4800:0:3400"},
    {"2404:7a82:4c00::/38,133.209.12.0/22,18,4,draft03", "133.209.13.2", 65,
	5136, 62495, "2404:7a82:4d02:4100:85:d10d:200:4100"},
    {"2400:4050::/34,153.240.0.0/16,22,6,draft03", "153.240.0.0", 0, 1024,
	64527, "2400:4050::99:f000:0:0"},
    {"240b:12::/31,14.8.0.0/15,25,4,draft03", "14.8.52.86", 120, 6016, 63375,
	"240b:12:3456:7800:e:834:5600:7800"},
};

static uint32_t
ipv4_of(const char *s)
{
	struct in_addr a;

	assert_int_equal(inet_pton(AF_INET, s, &a), 1);
	return ntohl(a.s_addr);
}

static void
appendix_a(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct br_rules rules = {0};
		const struct br_rule *r;
		uint8_t want[16], got[16];
		uint16_t psid;
		uint32_t ipv4;

		assert_null(br_rules_add(&rules, v->rule));
		r = br_rule_by_ipv4(&rules, ipv4_of(v->ipv4));
		assert_non_null(r);
		assert_int_equal(inet_pton(AF_INET6, v->address, want), 1);
		br_rule_address(r, ipv4_of(v->ipv4), v->psid, got);
		assert_memory_equal(got, want, 16);
		assert_ptr_equal(br_rule_by_ipv6(&rules, want), r);
		br_rule_extract(r, want, &ipv4, &psid);
		assert_int_equal(ipv4, ipv4_of(v->ipv4));
		assert_int_equal(psid, v->psid);
		assert_int_equal(br_rule_shared(r), v->first != 0);
		if (!v->first)
			continue;
		assert_true(br_rule_psid(r, v->first, &psid));
		assert_int_equal(psid, v->psid);
		assert_true(br_rule_psid(r, v->last, &psid));
		assert_int_equal(psid, v->psid);
		/* The neighbours' ports, and those below the first range. */
		assert_false(br_rule_psid(r, (uint16_t)(v->last + 1), &psid) &&
			     psid == v->psid);
		assert_false(br_rule_psid(r, (uint16_t)(v->first - 1), &psid) &&
			     psid == v->psid);
		assert_false(br_rule_psid(r, 1023, &psid));
	}
}

static void
wrong_rules(void **state)
{
	static const char *const wrong[] = {
	    "",
	    "2001:db8::/40",
	    "2001:db8::/40,192.0.2.0/24,16,4,draft04",
	    "2001:db8::/40,192.0.2.0/24,16,4,draft03,",
	    "2001:db8::/40,192.0.2.0/24,16,4,draft03,8/52",
	    "2001:db8::1/40,192.0.2.0/24,16,4,draft03",
	    "2001:db8:80::/40,192.0.2.0/24,16,4,draft03",
	    "2001:db8::/65,192.0.2.0/24,16,4,draft03",
	    "2001:db8::/40,192.0.2.1/24,16,4,draft03",
	    "2001:db8::/40,192.0.2.0/33,16,4,draft03",
	    "2001:db8::/40,192.0.2.0/24,25,4,draft03",
	    "2001:db8::/40,192.0.2.0/24,49,4,draft03",
	    "2001:db8::/40,192.0.2.0/24,16,9,draft03",
	    "2001:db8::/40,192.0.2.0/24,16,16,draft03",
	    "2001:db8::/56,192.0.2.1/32,0,4,draft03,8/256",
	    "2001:db8::/56,192.0.2.1/32,0,4,draft03,13/1",
	    "x/40,192.0.2.0/24,16,4,draft03",
	    "2001:db8::/40,x/24,16,4,draft03",
	};
	struct br_rules rules = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_non_null(br_rules_add(&rules, wrong[i]));
	assert_int_equal(rules.n, 0);
	for (int i = 0; i < BR_RULES_MAX; i++)
		assert_null(br_rules_add(&rules, RULE));
	assert_non_null(br_rules_add(&rules, RULE));
}

static void
longest_match(void **state)
{
	struct br_rules rules = {0};
	uint8_t a[16];

	(void)state;
	assert_null(br_rules_add(
	    &rules, "2001:db8:4600::/40,192.0.2.0/24,16,4,draft03"));
	assert_null(br_rules_add(
	    &rules, "2001:db8:4620::/44,192.0.2.32/28,12,4,rfc7597"));
	inet_pton(AF_INET6, "2001:db8:462f::", a);
	assert_ptr_equal(br_rule_by_ipv6(&rules, a), &rules.rule[1]);
	inet_pton(AF_INET6, "2001:db8:4630::", a);
	assert_ptr_equal(br_rule_by_ipv6(&rules, a), &rules.rule[0]);
	inet_pton(AF_INET6, "2001:db8:4700::", a);
	assert_null(br_rule_by_ipv6(&rules, a));
	assert_ptr_equal(
	    br_rule_by_ipv4(&rules, ipv4_of("192.0.2.47")), &rules.rule[1]);
	assert_ptr_equal(
	    br_rule_by_ipv4(&rules, ipv4_of("192.0.2.48")), &rules.rule[0]);
	assert_null(br_rule_by_ipv4(&rules, ipv4_of("192.0.3.0")));
}

/* The address once more, bit by bit. */
static void
naive_address(
    const struct br_rule *r, uint32_t ipv4, uint16_t psid, uint8_t out[16])
{
	unsigned suffix = r->ea_len - r->psid_len, at = r->len6;
	uint8_t iid[8] = {0, 0, (uint8_t)(ipv4 >> 24), (uint8_t)(ipv4 >> 16),
	    (uint8_t)(ipv4 >> 8), (uint8_t)ipv4, (uint8_t)(psid >> 8),
	    (uint8_t)psid};

	memset(out, 0, 16);
	store_be64(out, r->prefix6);
	for (unsigned i = 0; i < suffix; i++, at++)
		if (ipv4 >> (31 - r->len4 - i) & 1)
			out[at / 8] |= (uint8_t)(0x80 >> at % 8);
	for (unsigned i = 0; i < r->psid_len; i++, at++)
		if (psid >> (r->psid_len - 1 - i) & 1)
			out[at / 8] |= (uint8_t)(0x80 >> at % 8);
	if (r->draft03)
		memcpy(out + 8, iid + 1, 7);
	else
		memcpy(out + 8, iid, 8);
}

static void
random_rules(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct br_rule r = {.draft03 = rnd() & 1};
		uint8_t want[16], got[16];
		uint32_t ipv4 = (uint32_t)rnd(), ipv4_got;
		uint16_t psid, psid_got;

		r.psid_len = (uint8_t)(rnd() % 17);
		r.psid_offset = (uint8_t)(rnd() % (17u - r.psid_len) % 16);
		r.len4 = (uint8_t)(rnd() % 33);
		r.ea_len = (uint8_t)(32 - r.len4 + r.psid_len);
		if (r.ea_len == 0 || r.ea_len > 48)
			continue;
		r.len6 = (uint8_t)(rnd() % (65u - r.ea_len));
		r.prefix6 = r.len6 ? rnd() << (64 - r.len6) : 0;
		r.prefix4 = r.len4 ? ipv4 & UINT32_MAX << (32 - r.len4) : 0;
		psid = (uint16_t)(rnd() & ((1u << r.psid_len) - 1));
		naive_address(&r, ipv4, psid, want);
		br_rule_address(&r, ipv4, psid, got);
		assert_memory_equal(got, want, 16);
		br_rule_extract(&r, got, &ipv4_got, &psid_got);
		assert_int_equal(ipv4_got, ipv4);
		assert_int_equal(psid_got, psid);
	}
}

/* ---- packets ---- */

struct bench {
	struct br br;
	uint8_t buf[4096]; /* outer packet; the inner one follows at 40 */
	size_t len;
	struct br_out out;
};

static struct bench b;

static uint16_t
sum(const uint8_t *p, size_t len)
{
	uint32_t s = 0;

	for (size_t i = 0; i < len; i++) {
		s += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		s = (s & 0xffff) + (s >> 16);
	}
	return (uint16_t)~s;
}

static void
ip_sum(uint8_t *p)
{
	store_be16(p + 10, 0);
	store_be16(p + 10, sum(p, (p[0] & 15u) * 4));
}

static void
ip_header(uint8_t *p, uint8_t protocol, uint32_t src, uint32_t dst, size_t len)
{
	memset(p, 0, 20);
	p[0] = 0x45;
	store_be16(p + 2, (uint16_t)len);
	p[8] = 64;
	p[9] = protocol;
	store_be32(p + 12, src);
	store_be32(p + 16, dst);
	ip_sum(p);
}

/* With this much behind the IPv4 header, whose first four bytes are ports. */
static void
make(uint8_t protocol, bool up, uint16_t ours, uint16_t theirs, size_t l4)
{
	uint8_t *p = b.buf + BR_OUTER_LEN;

	ip_header(p, protocol, up ? OURS : OTHER, up ? OTHER : OURS, 20 + l4);
	for (size_t i = 0; i < l4; i++)
		p[20 + i] = (uint8_t)i;
	store_be16(p + 20, up ? ours : theirs);
	store_be16(p + 22, up ? theirs : ours);
	b.len = 20 + l4;
}

static void
make_icmp(uint8_t type, bool up, uint16_t id)
{
	make(ICMP, up, 0, 0, 16);
	b.buf[60] = type;
	store_be16(b.buf + 64, id);
}

/* An error about a packet that ran the other way. */
static void
make_error(bool up, uint8_t protocol, uint32_t src, uint32_t dst,
    uint16_t sport, uint16_t dport)
{
	uint8_t *q = b.buf + 68;

	make(ICMP, up, 0, 0, 36);
	b.buf[60] = 3;
	ip_header(q, protocol, src, dst, 500);
	memset(q + 20, 0, 8);
	store_be16(q + 20, sport);
	store_be16(q + 22, dport);
}

/* The outer header around what make() left. */
static void
wrap(void)
{
	uint8_t br[16], ce[16];

	inet_pton(AF_INET6, BR_ADDRESS, br);
	inet_pton(AF_INET6, CE_ADDRESS, ce);
	br_outer_header(b.buf, ce, br, 4, b.buf[41], (uint32_t)b.len);
	b.len += BR_OUTER_LEN;
}

static enum br_verdict
up(void)
{
	return br_from_line(&b.br, 1, b.buf, b.len, &b.out);
}

static enum br_verdict
down(void)
{
	return br_to_line(&b.br, 1, b.buf + BR_OUTER_LEN, b.len, &b.out);
}

static int
begin(void **state)
{
	(void)state;
	memset(&b, 0, sizeof(b));
	inet_pton(AF_INET6, BR_ADDRESS, b.br.address);
	return br_rules_add(&b.br.rules, RULE) ? -1 : 0;
}

static void
up_forwards(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		make(i ? UDP : TCP, true, i == 2 ? 62287 : PORT, 80, 20);
		wrap();
		assert_int_equal(up(), BR_FORWARD);
		assert_ptr_equal(b.out.inner, b.buf + 40);
		assert_int_equal(b.out.len, 40);
		assert_false(b.out.reassembled);
	}
	assert_int_equal(b.br.up[BR_FORWARD], 3);
}

/* One byte of a good UDP packet from the line, and what is said about it. */
static const struct {
	uint16_t at;
	uint8_t value;
	enum br_verdict want;
	bool sum; /* make the inner header's checksum right again */
} up_bytes[] = {
    {0, 0x45, BR_DROP_OUTER_MALFORMED, false},
    {5, 0, BR_DROP_OUTER_MALFORMED, false},
    {5, 41, BR_DROP_OUTER_MALFORMED, false},
    {5, 39, BR_DROP_MALFORMED, false}, /* shorter than the inner packet */
    {6, 60, BR_DROP_EXTENSION, false}, /* encapsulation limit option */
    {6, 41, BR_DROP_EXTENSION, false},
    {7, 0, BR_DROP_HOP_LIMIT, false},
    {7, 1, BR_FORWARD, false},
    {12, 0x47, BR_DROP_NO_RULE, false},
    {13, 0x35, BR_DROP_SOURCE_ADDRESS, false}, /* another's IPv4 suffix */
    {14, 0x35, BR_DROP_SOURCE_PORT, false}, /* another PSID */
    {15, 1, BR_DROP_INTERFACE_ID, false}, /* not in the first subnet */
    {16, 1, BR_DROP_INTERFACE_ID, false},
    {21, 0x35, BR_DROP_INTERFACE_ID, false},
    {22, 0x35, BR_DROP_INTERFACE_ID, false},
    {23, 1, BR_DROP_INTERFACE_ID, false},
    {39, 0x65, BR_DROP_OUTER_MALFORMED, false}, /* not to the relay */
    {40, 0x65, BR_DROP_MALFORMED, false},
    {40, 0x44, BR_DROP_MALFORMED, true},
    {40, 0x4f, BR_DROP_MALFORMED, false},
    {43, 41, BR_DROP_MALFORMED, true},
    {48, 0, BR_DROP_TTL, true},
    {48, 1, BR_FORWARD, true},
    {48, 1, BR_DROP_CHECKSUM, false},
    {49, 4, BR_DROP_PROTOCOL, true}, /* nested */
    {49, 41, BR_DROP_PROTOCOL, true},
    {49, 47, BR_DROP_PROTOCOL, true},
    {55, 0x35, BR_DROP_SOURCE_ADDRESS, true},
    {52, 10, BR_DROP_SOURCE_ADDRESS, true},
    {56, 10, BR_DROP_RESERVED_DESTINATION, true},
    {56, 0, BR_DROP_RESERVED_DESTINATION, true},
    {56, 127, BR_DROP_RESERVED_DESTINATION, true},
    {56, 224, BR_DROP_RESERVED_DESTINATION, true},
    {56, 255, BR_DROP_RESERVED_DESTINATION, true},
    {56, 8, BR_FORWARD, true},
    {60, 0x03, BR_DROP_SOURCE_PORT, false}, /* 832: below 4096 */
    {60, 0xf3, BR_FORWARD, false}, /* 62272: the last range */
    {61, 0x3f, BR_DROP_SOURCE_PORT, false},
    {61, 0x4f, BR_FORWARD, false},
    {61, 0x50, BR_DROP_SOURCE_PORT, false},
};

static void
up_verdicts(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(up_bytes); i++) {
		begin(state);
		make(UDP, true, PORT, 53, 20);
		wrap();
		b.buf[up_bytes[i].at] = up_bytes[i].value;
		if (up_bytes[i].sum)
			ip_sum(b.buf + 40);
		if (up() != up_bytes[i].want)
			fail_msg("case %zu", i);
		assert_int_equal(b.br.up[up_bytes[i].want], 1);
	}
}

static void
up_short(void **state)
{
	size_t whole;

	make(TCP, true, PORT, 80, 20);
	wrap();
	whole = b.len;
	for (b.len = 0; b.len < whole; b.len++)
		assert_int_equal(up(), BR_DROP_OUTER_MALFORMED);
	for (size_t l4 = 0; l4 < 20; l4++) {
		begin(state);
		make(TCP, true, PORT, 80, 20);
		b.len = 20 + l4;
		store_be16(b.buf + 42, (uint16_t)b.len);
		ip_sum(b.buf + 40);
		wrap();
		assert_int_equal(up(), BR_DROP_MALFORMED);
	}
}

static void
interface_id_forms(void **state)
{
	(void)state;
	b.br.rules.rule[0].draft03 = false;
	make(UDP, true, PORT, 53, 20);
	wrap();
	assert_int_equal(up(), BR_DROP_INTERFACE_ID);
	make(UDP, true, PORT, 53, 20);
	wrap();
	inet_pton(AF_INET6, "2001:db8:4634:3400:0:c000:234:34", b.buf + 8);
	assert_int_equal(up(), BR_FORWARD);
	make(UDP, false, PORT, 53, 20);
	assert_int_equal(down(), BR_FORWARD);
	assert_memory_equal(b.out.outer + 24, b.buf + 8, 16);
}

/* RFC 7597 section 8.2. */
static void
icmp(void **state)
{
	(void)state;
	for (int u = 0; u < 2; u++) {
		enum br_verdict (*go)(void) = u ? up : down;
		enum br_verdict foreign = u ? BR_DROP_SOURCE_PORT : BR_FORWARD;
		uint32_t src = u ? OTHER : OURS, dst = u ? OURS : OTHER;

		for (int t = 0; t < 256; t++) {
			bool query = t == 0 || t == 8 || t == 13 || t == 14;
			bool error = t == 3 || t == 4 || t == 11 || t == 12;

			make_icmp((uint8_t)t, u, PORT);
			if (u)
				wrap();
			assert_int_equal(go(), query   ? BR_FORWARD
					       : error ? BR_DROP_QUOTE
						       : BR_DROP_ICMP_TYPE);
		}
		make_icmp(8, u, PORT + 16);
		if (u)
			wrap();
		assert_int_equal(go(), foreign);
		make_error(u, UDP, src, dst, u ? 53 : PORT, u ? PORT : 53);
		if (u)
			wrap();
		assert_int_equal(go(), BR_FORWARD);
		make_error(u, UDP, dst, src, u ? 53 : PORT, u ? PORT : 53);
		if (u)
			wrap();
		assert_int_equal(go(), BR_DROP_QUOTE);
		make_error(u, 47, src, dst, u ? 53 : PORT, u ? PORT : 53);
		if (u)
			wrap();
		assert_int_equal(go(), BR_DROP_QUOTE);
	}
	make_error(true, UDP, OTHER, OURS, PORT, 53);
	wrap();
	assert_int_equal(up(), BR_DROP_SOURCE_PORT);
}

static void
ecn(void **state)
{
	(void)state;
	make(UDP, true, PORT, 53, 20);
	wrap();
	b.buf[1] |= 0x30; /* outer CE */
	assert_int_equal(up(), BR_DROP_ECN);
	make(UDP, true, PORT, 53, 20);
	b.buf[41] = 2;
	ip_sum(b.buf + 40);
	wrap();
	b.buf[1] |= 0x30;
	assert_int_equal(up(), BR_FORWARD);
	assert_int_equal(b.out.inner[1], 3);
	assert_int_equal(sum(b.out.inner, 20), 0);
}

static void
down_forwards(void **state)
{
	uint8_t ce[16];

	(void)state;
	make(TCP, false, 62287, 80, 20);
	b.buf[41] = 0xb9;
	ip_sum(b.buf + 40);
	assert_int_equal(down(), BR_FORWARD);
	inet_pton(AF_INET6, CE_ADDRESS, ce);
	assert_int_equal(load_be32(b.out.outer), 0x6b900000);
	assert_int_equal(load_be16(b.out.outer + 4), 40);
	assert_int_equal(b.out.outer[6], 4);
	assert_int_equal(b.out.outer[7], 64);
	assert_memory_equal(b.out.outer + 8, b.br.address, 16);
	assert_memory_equal(b.out.outer + 24, ce, 16);
	/* A neighbour's port is the neighbour's packet. */
	make(TCP, false, PORT + 16, 80, 20);
	assert_int_equal(down(), BR_FORWARD);
	inet_pton(AF_INET6, "2001:db8:4634:3500:c0:2:3400:3500", ce);
	assert_memory_equal(b.out.outer + 24, ce, 16);
}

static void
down_verdicts(void **state)
{
	static const uint32_t reserved[] = {0x00000001, 0x0a000001, 0x64400001,
	    0x647fffff, 0x7f000001, 0xa9fe0001, 0xac1f0001, 0xc0a80001,
	    0xe0000001, 0xffffffff};
	static const uint32_t good[] = {0x01010101, 0x09ffffff, 0x643fffff,
	    0x64800000, 0xac200000, 0xac0fffff, 0xdfffffff, 0xc0000234};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(reserved) + ARRAY_LEN(good); i++) {
		bool bad = i < ARRAY_LEN(reserved);
		uint32_t src =
		    bad ? reserved[i] : good[i - ARRAY_LEN(reserved)];

		make(UDP, false, PORT, 53, 20);
		store_be32(b.buf + 52, src);
		ip_sum(b.buf + 40);
		assert_int_equal(
		    down(), bad ? BR_DROP_RESERVED_SOURCE : BR_FORWARD);
	}
	make(UDP, false, PORT, 53, 20);
	store_be32(b.buf + 56, 0xc0000334);
	ip_sum(b.buf + 40);
	assert_int_equal(down(), BR_DROP_DESTINATION);
	make(UDP, false, 4095, 53, 20);
	assert_int_equal(down(), BR_DROP_DESTINATION_PORT);
	make(UDP, false, 4096, 53, 20);
	assert_int_equal(down(), BR_FORWARD);
	make(47, false, PORT, 53, 20);
	assert_int_equal(down(), BR_DROP_PROTOCOL);
	make(TCP, false, PORT, 53, 19);
	assert_int_equal(down(), BR_DROP_MALFORMED);
}

/* ---- fragments ---- */

/* Inner fragment [from, to) of a UDP packet with 3000 bytes behind the IPv4
 * header, from or to the line. */
static void
make_piece(bool upward, size_t from, size_t to)
{
	uint8_t *p = b.buf + BR_OUTER_LEN;

	make(UDP, upward, PORT, 53, 3000);
	memmove(p + 20, p + 20 + from, to - from);
	store_be16(p + 2, (uint16_t)(20 + to - from));
	store_be16(p + 4, 77);
	store_be16(p + 6, (uint16_t)(from / 8 | (to < 3000 ? 0x2000 : 0)));
	p[8] = from ? 9 : 64;
	ip_sum(p);
	b.len = 20 + to - from;
	if (upward)
		wrap();
}

static void
check_whole(size_t l4)
{
	assert_true(b.out.reassembled);
	assert_int_equal(b.out.len, 20 + l4);
	assert_int_equal(load_be16(b.out.inner + 2), 20 + l4);
	assert_int_equal(load_be16(b.out.inner + 6), 0);
	assert_int_equal(sum(b.out.inner, 20), 0);
	for (size_t i = 4; i < l4; i++)
		assert_int_equal(b.out.inner[20 + i], (uint8_t)i);
}

/* Section 8.3.2: in every order, and only then is the port looked at. */
static void
inner_fragments(void **state)
{
	static const size_t cut[] = {0, 1000, 2000, 3000};
	static const int order[6][3] = {
	    {0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

	(void)state;
	for (int u = 0; u < 2; u++)
		for (int o = 0; o < 6; o++)
			for (int i = 0; i < 3; i++) {
				int k = order[o][i];

				make_piece(u, cut[k], cut[k + 1]);
				assert_int_equal(u ? up() : down(),
				    i < 2 ? BR_HELD : BR_FORWARD);
				if (i < 2)
					continue;
				check_whole(3000);
				/* The first one's header. */
				assert_int_equal(b.out.inner[8], 64);
			}
}

static void
broken_fragments(void **state)
{
	(void)state;
	make_piece(true, 0, 1000);
	assert_int_equal(up(), BR_HELD);
	make_piece(true, 992, 2000);
	assert_int_equal(up(), BR_DROP_OVERLAP);
	/* The datagram is gone: the rest does not complete it. */
	make_piece(true, 1000, 3000);
	assert_int_equal(up(), BR_HELD);
	begin(state);
	make_piece(true, 0, 1001); /* not a multiple of 8, and more follow */
	assert_int_equal(up(), BR_DROP_FRAGMENT);
	make_piece(true, 2000, 3000);
	assert_int_equal(up(), BR_HELD);
	make_piece(true, 1000, 2000);
	store_be16(b.buf + 46, 0x2000 | 3000 / 8); /* beyond the end */
	ip_sum(b.buf + 40);
	assert_int_equal(up(), BR_DROP_FRAGMENT);
	make_piece(true, 2000, 3000);
	store_be16(b.buf + 46, 0x1fff);
	ip_sum(b.buf + 40);
	assert_int_equal(up(), BR_DROP_FRAGMENT);
}

static void
fragments_are_bounded(void **state)
{
	struct br_reasm *r = &b.br.inner_up;

	(void)state;
	for (int i = 0; i < 3 * BR_REASM_DATAGRAMS; i++) {
		make_piece(true, 0, 1000);
		store_be16(b.buf + 44, (uint16_t)i);
		ip_sum(b.buf + 40);
		assert_int_equal(up(), BR_HELD);
	}
	assert_int_equal(r->evicted, 2 * BR_REASM_DATAGRAMS);
	br_reasm_expire(r, 1 + BR_REASM_NS - 1);
	assert_int_equal(r->timed_out, 0);
	br_reasm_expire(r, 1 + BR_REASM_NS);
	assert_int_equal(r->timed_out, BR_REASM_DATAGRAMS);
	for (size_t i = 0; i < BR_REASM_PIECES; i++) {
		make_piece(true, 16 * i, 16 * i + 8);
		assert_int_equal(up(), BR_HELD);
	}
	make_piece(true, 2000, 2008);
	assert_int_equal(up(), BR_DROP_FRAGMENT);
}

static void
make_outer_piece(size_t from, size_t to, uint32_t id)
{
	make(UDP, true, PORT, 53, 2000);
	wrap();
	memmove(b.buf + 48, b.buf + 40 + from, to - from);
	b.buf[6] = 44;
	b.buf[40] = 4;
	b.buf[41] = 0;
	store_be16(b.buf + 42, (uint16_t)(from | (to < 2020)));
	store_be32(b.buf + 44, id);
	store_be16(b.buf + 4, (uint16_t)(8 + to - from));
	b.len = 48 + to - from;
}

/* RFC 2473 section 7.2: what was too long inside the tunnel. */
static void
outer_fragments(void **state)
{
	(void)state;
	make_outer_piece(1448, 2020, 9);
	assert_int_equal(up(), BR_HELD);
	make_outer_piece(0, 1448, 8); /* another packet's */
	assert_int_equal(up(), BR_HELD);
	make_outer_piece(0, 1448, 9);
	assert_int_equal(up(), BR_FORWARD);
	check_whole(2000);
	make_outer_piece(0, 1448, 10);
	b.buf[40] = 17;
	assert_int_equal(up(), BR_DROP_EXTENSION);
	make_outer_piece(0, 1448, 11);
	b.len = 47;
	store_be16(b.buf + 4, 7);
	assert_int_equal(up(), BR_DROP_OUTER_MALFORMED);
	make_outer_piece(0, 1448, 9);
	b.buf[12] = 0x47;
	assert_int_equal(up(), BR_DROP_NO_RULE);
}

/* A line that shares its address with nobody: every port, and no PSID. */
static void
whole_address(void **state)
{
	uint8_t ce[16];

	(void)state;
	b.br.rules.n = 0;
	assert_null(br_rules_add(
	    &b.br.rules, "2001:db8:4634:3400::/56,192.0.2.52/32,0,6,rfc7597"));
	inet_pton(AF_INET6, "2001:db8:4634:3400:0:c000:234:0", ce);
	make(UDP, true, 5, 53, 20);
	wrap();
	memcpy(b.buf + 8, ce, 16);
	assert_int_equal(up(), BR_FORWARD);
	make(UDP, false, 5, 53, 20);
	assert_int_equal(down(), BR_FORWARD);
	assert_memory_equal(b.out.outer + 24, ce, 16);
	b.br.rules.n = 0;
	assert_null(br_rules_add(&b.br.rules,
	    "2001:db8:4634:3400::/56,192.0.2.52/32,0,6,rfc7597,8/52"));
	make(UDP, false, 1232, 53, 20);
	assert_int_equal(down(), BR_FORWARD);
	make(UDP, false, 1236, 53, 20);
	assert_int_equal(down(), BR_DROP_DESTINATION_PORT);
}

/* No bytes may lead out of the packet (the sanitizers look), and each packet
 * gets one verdict. */
static void
random_damage(void **state)
{
	uint64_t seen = 0;

	(void)state;
	for (int i = 0; i < 50000; i++) {
		bool upward = i & 1;

		if (i % 7 == 0)
			make_error(upward, UDP, upward ? OTHER : OURS,
			    upward ? OURS : OTHER, PORT, PORT);
		else
			make(i % 3 ? TCP : UDP, upward, PORT, 80, 40);
		if (upward)
			wrap();
		for (uint64_t n = rnd() % 3; n > 0; n--)
			b.buf[(upward ? 0 : 40) + rnd() % b.len] =
			    (uint8_t)rnd();
		ip_sum(b.buf + 40);
		if (rnd() % 4 == 0)
			b.len = rnd() % (b.len + 1);
		if (upward)
			up();
		else
			down();
	}
	for (int v = 0; v < BR_VERDICTS; v++) {
		seen += b.br.up[v] + b.br.down[v];
		assert_non_null(br_verdict_name((enum br_verdict)v));
	}
	assert_int_equal(seen, 50000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(appendix_a),
	    cmocka_unit_test(wrong_rules),
	    cmocka_unit_test(longest_match),
	    cmocka_unit_test(random_rules),
	    cmocka_unit_test_setup(up_forwards, begin),
	    cmocka_unit_test_setup(up_verdicts, begin),
	    cmocka_unit_test_setup(up_short, begin),
	    cmocka_unit_test_setup(interface_id_forms, begin),
	    cmocka_unit_test_setup(icmp, begin),
	    cmocka_unit_test_setup(ecn, begin),
	    cmocka_unit_test_setup(down_forwards, begin),
	    cmocka_unit_test_setup(down_verdicts, begin),
	    cmocka_unit_test_setup(inner_fragments, begin),
	    cmocka_unit_test_setup(broken_fragments, begin),
	    cmocka_unit_test_setup(fragments_are_bounded, begin),
	    cmocka_unit_test_setup(outer_fragments, begin),
	    cmocka_unit_test_setup(whole_address, begin),
	    cmocka_unit_test_setup(random_damage, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
