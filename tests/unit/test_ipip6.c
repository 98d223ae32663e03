#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/ipip6.h"
#include "core/bytes.h"
#include "core/err.h"

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

/* The line: IPv4 106.72.111.108, PSID 0xd4; the v6plus rule. */
#define OURS "\x6a\x48\x6f\x6c"
#define PORT 0x1d41 /* of our set */
#define OTHERS 0x1d51 /* of PSID 0xd5 */
#define FAR "\xc6\x33\x64\x07" /* 198.51.100.7, behind the BR */
#define MESH "\x6a\x48\x01\x02" /* 106.72.1.2, another CE's */

static const uint8_t br[16] = {0x24, 0x04, 0x92, 0, 2, 0x25, 1, 0, [15] = 0x64};
static struct map_rule rule;
static struct ipip6_conf hub, mesh;

static void
line_address(uint8_t out[16], const char *text)
{
	struct ip_prefix line;
	char why[MAP_RULE_WHY_MAX];
	struct map_ce ce;

	assert_int_equal(ip_prefix_parse(&line, text, strlen(text)), 0);
	assert_int_equal(map_ce_make(&ce, &rule, &line, why), 0);
	memcpy(out, ce.address.b, 16);
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
	hub.ports = (struct map_ports){4, 8, 0xd4};
	memcpy(hub.ipv4, OURS, 4);
	memcpy(hub.br, br, 16);
	line_address(hub.address, "240b:10:6f6c:d400::/56");
	mesh = hub;
	mesh.fmr = &rule;
	mesh.n = 1;
	return 0;
}

/* A packet as it comes in; zero means: the usual. */
struct shape {
	const uint8_t *outer_src, *outer_dst;
	uint8_t next;
	const char *src, *dst;
	uint8_t proto;
	uint16_t sport, dport;
	uint8_t type; /* ICMP, + 1 */
};

/* An IPv4 packet of len bytes, len >= 28. */
static void
make_inner(uint8_t *b, const struct shape *s, size_t len)
{
	uint8_t proto = s->proto == 0 ? 17 : s->proto;

	memset(b, 0, len);
	b[0] = 0x45;
	store_be16(b + 2, (uint16_t)len);
	b[8] = 60;
	b[9] = proto;
	memcpy(b + 12, s->src == NULL ? FAR : s->src, 4);
	memcpy(b + 16, s->dst == NULL ? OURS : s->dst, 4);
	store_be16(b + 20, s->sport == 0 ? 53 : s->sport);
	store_be16(b + 22, s->dport == 0 ? PORT : s->dport);
	if (proto == 1) {
		store_be16(b + 20, (uint16_t)((s->type - 1) << 8));
		store_be16(b + 22, 0);
		store_be16(b + 24, s->dport == 0 ? PORT : s->dport);
	}
	store_be16(b + 10, (uint16_t)~slow_sum(0, b, 20));
}

#define INNER 60
#define WHOLE (IPIP6_HLEN + INNER)

static void
make(uint8_t b[WHOLE], const struct shape *s)
{
	make_inner(b + IPIP6_HLEN, s, INNER);
	ipip6_header(b, s->outer_src == NULL ? br : s->outer_src,
	    s->outer_dst == NULL ? hub.address : s->outer_dst,
	    s->next == 0 ? 4 : s->next, 0, INNER);
}

/* What the CE does: all of the checks, in order. */
static enum map_drop
check(const struct ipip6_conf *c, const uint8_t *pkt, size_t len)
{
	/* exactly long enough, so that a sanitizer sees a byte more */
	uint8_t *b = malloc(len == 0 ? 1 : len);
	uint32_t inner_len = 0;
	struct ipip6_view v;

	if (len > 0)
		memcpy(b, pkt, len);
	enum map_drop why = ipip6_outer(c, b, len, &v);
	if (why == MAP_OK)
		assert_true(v.off + v.len <= len);
	if (why == MAP_OK && v.what == IPIP6_INNER) {
		why = ipip6_inner(c, b + v.off, v.len, &inner_len);
		if (why == MAP_OK) {
			assert_true(inner_len <= v.len);
			why = ipip6_ports(c, v.outer_src, b + v.off, inner_len);
		}
	}
	free(b);
	return why;
}

static enum map_drop
check_shape(const struct ipip6_conf *c, const struct shape *s)
{
	uint8_t b[WHOLE];

	make(b, s);
	return check(c, b, sizeof(b));
}

static void
test_header(void **state)
{
	(void)state;
	uint8_t b[IPIP6_HLEN];

	/* RFC 6040 4.1, normal mode: ECN is copied. */
	for (unsigned tos = 0; tos < 256; tos++) {
		ipip6_header(b, hub.address, br, 4, (uint8_t)tos, 0xfedc);
		assert_int_equal(load_be32(b), 0x60000000u | tos << 20);
	}
	assert_int_equal(load_be16(b + 4), 0xfedc);
	assert_int_equal(b[6], 4);
	assert_int_equal(b[7], IPIP6_HOP_LIMIT);
	assert_memory_equal(b + 8, hub.address, 16);
	assert_memory_equal(b + 24, br, 16);
}

/* The CE that has a port, without map_ce_locate(): every PSID is tried. */
static void
slow_locate(uint8_t out[16], const uint8_t ipv4[4], uint16_t port)
{
	memcpy(out, br, 16);
	if (memcmp(ipv4, "\x6a\x48", 2) != 0)
		return;
	for (uint16_t psid = 0; psid < 256; psid++) {
		struct map_ports set = {4, 8, psid};

		if (!map_ports_has(&set, port))
			continue;
		memset(out, 0, 16);
		memcpy(out, "\x24\x0b\0\x10", 4);
		memcpy(out + 4, ipv4 + 2, 2);
		out[6] = (uint8_t)psid;
		memcpy(out + 9, ipv4, 4);
		out[14] = (uint8_t)psid;
		if (memcmp(out, mesh.address, 16) == 0)
			memcpy(out, br, 16);
		return;
	}
}

static void
test_destination(void **state)
{
	(void)state;
	uint8_t got[16], want[16], ipv4[4];

	for (int i = 0; i < 3000; i++) {
		store_be32(ipv4, 0x6a480000u ^ (uint32_t)(rnd() & 0x1ffff));
		if (rnd() % 8 == 0)
			memcpy(ipv4, OURS, 4);
		uint16_t port = (uint16_t)rnd();
		if (rnd() % 8 == 0)
			port = PORT;

		ipip6_destination(&mesh, ipv4, true, port, got);
		slow_locate(want, ipv4, port);
		assert_memory_equal(got, want, 16);
		ipip6_destination(&mesh, ipv4, false, port, got);
		assert_memory_equal(got, br, 16);
		ipip6_destination(&hub, ipv4, true, port, got);
		assert_memory_equal(got, br, 16);
	}
	/* Our own address and port: not to ourselves. */
	ipip6_destination(&mesh, hub.ipv4, true, PORT, got);
	assert_memory_equal(got, br, 16);
	/* Ports under 4096 are nobody's. */
	ipip6_destination(&mesh, (const uint8_t *)MESH, true, 4095, got);
	assert_memory_equal(got, br, 16);
}

/* D9: the longest rule decides, also when it says nobody, and in any order. */
static void
test_longest_match(void **state)
{
	(void)state;
	struct map_rule two[2] = {rule, rule};
	struct ipip6_conf c = mesh;
	uint8_t got[16];

	c.fmr = two;
	c.n = 2;
	for (unsigned longer = 0; longer < 2; longer++) {
		two[0] = two[1] = rule;
		two[longer].ea_len = 16;
		assert_int_equal(
		    ip_prefix_parse(&two[longer].ipv6, "240b:11::/40", 12), 0);
		assert_int_equal(
		    ip_prefix_parse(&two[longer].ipv4, "106.72.1.0/24", 13), 0);
		ipip6_destination(&c, (const uint8_t *)MESH, true, PORT, got);
		assert_memory_equal(got, "\x24\x0b\0\x11\0\x02\xd4", 7);
		ipip6_destination(
		    &c, (const uint8_t *)"\x6a\x48\2\2", true, PORT, got);
		assert_memory_equal(got, "\x24\x0b\0\x10\2\2\xd4", 7);
		/* PSID by DHCP, not in the EA bits: cannot be computed. */
		two[longer].ea_len = 8;
		two[longer].psid_given = true;
		ipip6_destination(&c, (const uint8_t *)MESH, true, PORT, got);
		assert_memory_equal(got, br, 16);
	}
}

static void
test_accepted(void **state)
{
	(void)state;
	static const struct shape row[] = {
	    {0},
	    {.proto = 6},
	    {.proto = 1, .type = 1},
	    {.proto = 1, .type = 9},
	    {.proto = 1, .type = 15},
	    {.dport = 0x1d40},
	    {.dport = 0x1d4f},
	    {.dport = 0xfd40},
	    /* D3: a line with our address and its own port, by the BR */
	    {.src = OURS, .sport = OTHERS},
	    {.src = OURS, .sport = OTHERS, .proto = 6},
	    /* D3: next to what is refused */
	    {.src = "\x01\0\0\1"},
	    {.src = "\x09\xff\xff\xff"},
	    {.src = "\x0b\0\0\0"},
	    {.src = "\x64\x3f\xff\xff"},
	    {.src = "\x64\x80\0\0"},
	    {.src = "\x7e\xff\xff\xff"},
	    {.src = "\x80\0\0\0"},
	    {.src = "\xa9\xfd\xff\xff"},
	    {.src = "\xa9\xff\0\0"},
	    {.src = "\xac\x0f\xff\xff"},
	    {.src = "\xac\x20\0\0"},
	    {.src = "\xbf\xff\xff\xff"},
	    {.src = "\xc0\0\0\x08"},
	    {.src = "\xc0\xa7\xff\xff"},
	    {.src = "\xc0\xa9\0\0"},
	    {.src = "\xdf\xff\xff\xff"},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(check_shape(&hub, &row[i]), MAP_OK);
		assert_int_equal(check_shape(&mesh, &row[i]), MAP_OK);
	}
}

static void
test_outer_refused(void **state)
{
	(void)state;
	uint8_t near_br[16], near_us[16], ce[16], beside[16];
	const uint8_t zero[16] = {0};

	memcpy(near_br, br, 16);
	near_br[15] ^= 1;
	memcpy(near_us, hub.address, 16);
	near_us[15] ^= 1;
	line_address(ce, "240b:10:102:d400::/56");
	memcpy(beside, ce, 16);
	beside[3] ^= 1;
	const struct {
		struct shape s;
		enum map_drop hub, mesh;
	} row[] = {
	    /* D1 */
	    {{.outer_dst = near_us}, MAP_DROP_OUTER_DESTINATION,
		MAP_DROP_OUTER_DESTINATION},
	    {{.outer_dst = br}, MAP_DROP_OUTER_DESTINATION,
		MAP_DROP_OUTER_DESTINATION},
	    {{.outer_src = near_br}, MAP_DROP_OUTER_SOURCE,
		MAP_DROP_OUTER_SOURCE},
	    {{.outer_src = zero}, MAP_DROP_OUTER_SOURCE, MAP_DROP_OUTER_SOURCE},
	    {{.outer_src = hub.address}, MAP_DROP_OUTER_SOURCE,
		MAP_DROP_OUTER_SOURCE},
	    {{.outer_src = beside, .src = MESH, .sport = PORT},
		MAP_DROP_OUTER_SOURCE, MAP_DROP_OUTER_SOURCE},
	    {{.outer_src = ce, .src = MESH, .sport = PORT},
		MAP_DROP_OUTER_SOURCE, MAP_OK},
	    /* D7: hop-by-hop, routing, destination options; others */
	    {{.next = 43}, MAP_DROP_OUTER_HEADER, MAP_DROP_OUTER_HEADER},
	    {{.next = 60}, MAP_DROP_OUTER_HEADER, MAP_DROP_OUTER_HEADER},
	    {{.next = 41}, MAP_DROP_OUTER_HEADER, MAP_DROP_OUTER_HEADER},
	    {{.next = 47}, MAP_DROP_OUTER_HEADER, MAP_DROP_OUTER_HEADER},
	    {{.next = 17}, MAP_DROP_OUTER_HEADER, MAP_DROP_OUTER_HEADER},
	    {{.next = 50}, MAP_DROP_OUTER_HEADER, MAP_DROP_OUTER_HEADER},
	    {{.next = 59}, MAP_DROP_OUTER_HEADER, MAP_DROP_OUTER_HEADER},
	    {{.next = 255}, MAP_DROP_OUTER_HEADER, MAP_DROP_OUTER_HEADER},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(check_shape(&hub, &row[i].s), row[i].hub);
		assert_int_equal(check_shape(&mesh, &row[i].s), row[i].mesh);
	}
	uint8_t b[WHOLE];
	make(b, &(struct shape){0});
	b[6] = 0; /* hop-by-hop */
	assert_int_equal(check(&hub, b, WHOLE), MAP_DROP_OUTER_HEADER);
}

/* D1: what another CE may say of itself. */
static void
test_spoofed(void **state)
{
	(void)state;
	uint8_t ce[16], sibling[16];

	line_address(ce, "240b:10:102:d400::/56");
	line_address(sibling, "240b:10:6f6c:d500::/56");
	const struct {
		struct shape s;
		enum map_drop want;
	} row[] = {
	    {{.outer_src = ce, .src = MESH, .sport = PORT}, MAP_OK},
	    {{.outer_src = ce, .src = MESH, .sport = PORT, .proto = 6}, MAP_OK},
	    {{.outer_src = ce, .src = MESH, .proto = 1, .type = 1}, MAP_OK},
	    /* a port of another line, or nobody's */
	    {{.outer_src = ce, .src = MESH, .sport = OTHERS}, MAP_DROP_SPOOFED},
	    {{.outer_src = ce, .src = MESH, .sport = 0xd41}, MAP_DROP_SPOOFED},
	    /* another address, in the rule and out of it */
	    {{.outer_src = ce, .src = "\x6a\x48\1\3", .sport = PORT},
		MAP_DROP_SPOOFED},
	    {{.outer_src = ce, .src = FAR, .sport = PORT}, MAP_DROP_SPOOFED},
	    /* the line with our address and the next PSID */
	    {{.outer_src = sibling, .src = OURS, .sport = OTHERS}, MAP_OK},
	    {{.outer_src = sibling, .src = OURS, .sport = PORT},
		MAP_DROP_INNER_SOURCE},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_int_equal(check_shape(&mesh, &row[i].s), row[i].want);
}

/* D1: from a CE only by its MAP address, in both forms; no bit of it is free.
 */
static void
test_ce_address(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct map_rule form = rule;
		struct ipip6_conf c = mesh;
		struct shape s = {.src = MESH, .sport = PORT};
		uint8_t ce[16];

		form.iid = i == 0 ? MAP_IID_DRAFT03 : MAP_IID_RFC7597;
		c.fmr = &form;
		assert_int_equal(
		    map_ce_locate(&form, (const uint8_t *)MESH, PORT, ce), 0);
		s.outer_src = ce;
		assert_int_equal(check_shape(&c, &s), MAP_OK);
		for (unsigned bit = 0; bit < 128; bit++) {
			ce[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(
			    check_shape(&c, &s), MAP_DROP_OUTER_SOURCE);
			ce[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

/* D1: a rule for whole addresses: every port, and only by the address. */
static void
test_ce_whole_address(void **state)
{
	(void)state;
	struct map_rule plain = rule;
	struct ipip6_conf c = mesh;
	struct shape s = {.src = MESH, .sport = 1};
	uint8_t ce[16];

	plain.ea_len = 16;
	plain.psid_len = 0;
	c.fmr = &plain;
	assert_int_equal(
	    map_ce_locate(&plain, (const uint8_t *)MESH, 1, ce), 0);
	s.outer_src = ce;
	assert_int_equal(check_shape(&c, &s), MAP_OK);
	s.src = "\x6a\x48\1\3";
	assert_int_equal(check_shape(&c, &s), MAP_DROP_SPOOFED);
	ce[14] = 1; /* a PSID where there is none */
	assert_int_equal(check_shape(&c, &s), MAP_DROP_OUTER_SOURCE);
}

static void
test_inner_refused(void **state)
{
	(void)state;
	static const struct {
		struct shape s;
		enum map_drop want;
	} row[] = {
	    /* D2 */
	    {{.dst = "\x6a\x48\x6f\x6d"}, MAP_DROP_INNER_DESTINATION},
	    {{.dst = "\xff\xff\xff\xff"}, MAP_DROP_INNER_DESTINATION},
	    {{.dst = "\xc0\0\0\2"}, MAP_DROP_INNER_DESTINATION},
	    {{.dport = 0x1d3f}, MAP_DROP_PORT},
	    {{.dport = 0x1d50}, MAP_DROP_PORT},
	    {{.dport = 0x0d41}, MAP_DROP_PORT},
	    {{.dport = OTHERS, .proto = 6}, MAP_DROP_PORT},
	    {{.dport = OTHERS, .proto = 1, .type = 1}, MAP_DROP_PORT},
	    {{.dport = OTHERS, .proto = 1, .type = 9}, MAP_DROP_PORT},
	    /* D3 */
	    {{.src = OURS, .sport = PORT}, MAP_DROP_INNER_SOURCE},
	    {{.src = OURS, .sport = 0xfd4f, .proto = 6}, MAP_DROP_INNER_SOURCE},
	    {{.src = OURS, .proto = 1, .type = 1}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\0\0\0\0"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\0\xff\xff\xff"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\x0a\0\0\0"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\x0a\xff\xff\xff"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\x64\x40\0\0"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\x64\x7f\xff\xff"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\x7f\0\0\1"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\x7f\xff\xff\xff"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xa9\xfe\0\0"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xa9\xfe\xff\xff"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xac\x10\0\0"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xac\x1f\xff\xff"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xc0\0\0\0"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xc0\0\0\2"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xc0\0\0\7"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xc0\xa8\0\0"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xc0\xa8\xff\xff"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xe0\0\0\0"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xef\xff\xff\xff"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xf0\0\0\0"}, MAP_DROP_INNER_SOURCE},
	    {{.src = "\xff\xff\xff\xff"}, MAP_DROP_INNER_SOURCE},
	    /* D5 */
	    {{.proto = 4}, MAP_DROP_NESTED},
	    {{.proto = 41}, MAP_DROP_NESTED},
	    {{.proto = 47}, MAP_DROP_NESTED},
	    /* what has no ports, and ICMP that is of one link or dead */
	    {{.proto = 50}, MAP_DROP_PROTOCOL},
	    {{.proto = 132}, MAP_DROP_PROTOCOL},
	    {{.proto = 1, .type = 5}, MAP_DROP_ICMP},
	    {{.proto = 1, .type = 6}, MAP_DROP_ICMP},
	    {{.proto = 1, .type = 10}, MAP_DROP_ICMP},
	    {{.proto = 1, .type = 11}, MAP_DROP_ICMP},
	    {{.proto = 1, .type = 20}, MAP_DROP_ICMP},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(check_shape(&hub, &row[i].s), row[i].want);
		assert_int_equal(check_shape(&mesh, &row[i].s), row[i].want);
	}
}

/* D2, D3: a line with a whole address has every port, and nobody shares it. */
static void
test_whole_address(void **state)
{
	(void)state;
	struct ipip6_conf c = hub;

	c.ports = (struct map_ports){0};
	assert_int_equal(check_shape(&c, &(struct shape){.dport = 1}), MAP_OK);
	assert_int_equal(
	    check_shape(&c, &(struct shape){.src = OURS, .sport = OTHERS}),
	    MAP_DROP_INNER_SOURCE);
	uint8_t b[INNER];
	uint32_t n;
	make_inner(b, &(struct shape){.src = OURS}, INNER);
	assert_int_equal(ipip6_inner(&c, b, INNER, &n), MAP_DROP_INNER_SOURCE);
	assert_int_equal(ipip6_inner(&hub, b, INNER, &n), MAP_OK);
}

/* An ICMP error from src in b, INNER bytes, that quotes a packet of ours. */
static void
make_error(uint8_t b[INNER], uint8_t type, const char *src, const char *dst,
    uint16_t port, uint16_t remote_port)
{
	make_inner(
	    b, &(struct shape){.src = src, .proto = 1, .type = 1}, INNER);
	make_inner(b + 28,
	    &(struct shape){
		.src = OURS, .dst = dst, .sport = port, .dport = remote_port},
	    INNER - 28);
	b[20] = type;
}

static enum map_drop
check_inner(const struct ipip6_conf *c, const uint8_t outer_src[16],
    uint8_t inner[INNER])
{
	uint8_t b[WHOLE];

	store_be16(inner + 10, 0);
	store_be16(
	    inner + 10, (uint16_t)~slow_sum(0, inner, (inner[0] & 15u) * 4));
	memcpy(b + IPIP6_HLEN, inner, INNER);
	ipip6_header(b, outer_src, c->address, 4, 0, INNER);
	return check(c, b, WHOLE);
}

/* D1, D2, D3, N7: an ICMP error is judged by the packet that it quotes. */
static void
test_error(void **state)
{
	(void)state;
	uint8_t ce[16], sibling[16], b[INNER];

	line_address(ce, "240b:10:102:d400::/56");
	line_address(sibling, "240b:10:6f6c:d500::/56");
	const struct {
		const uint8_t *outer_src;
		uint8_t type;
		const char *src, *dst;
		uint16_t port, remote_port;
		enum map_drop want;
	} row[] = {
	    {br, 3, FAR, FAR, PORT, 53, MAP_OK},
	    {br, 11, "\x08\x08\x08\x08", FAR, PORT, 53, MAP_OK},
	    {br, 12, FAR, FAR, PORT, 53, MAP_OK},
	    {br, 3, FAR, FAR, OTHERS, 53, MAP_DROP_PORT},
	    {br, 3, FAR, FAR, 80, 53, MAP_DROP_PORT},
	    /* D3 has no exception for routers */
	    {br, 11, "\x0a\0\0\1", FAR, PORT, 53, MAP_DROP_INNER_SOURCE},
	    {br, 11, "\xc0\xa8\0\1", FAR, PORT, 53, MAP_DROP_INNER_SOURCE},
	    /* our address: only a sibling, of packets to itself */
	    {br, 3, OURS, OURS, PORT, OTHERS, MAP_OK},
	    {br, 3, OURS, OURS, PORT, PORT, MAP_DROP_INNER_SOURCE},
	    {br, 3, OURS, FAR, PORT, 53, MAP_DROP_INNER_SOURCE},
	    {sibling, 3, OURS, OURS, PORT, OTHERS, MAP_OK},
	    {sibling, 3, OURS, FAR, PORT, OTHERS, MAP_DROP_SPOOFED},
	    /* a CE: of packets to itself, from itself */
	    {ce, 3, MESH, MESH, PORT, PORT, MAP_OK},
	    {ce, 3, MESH, MESH, PORT, OTHERS, MAP_DROP_SPOOFED},
	    {ce, 3, MESH, FAR, PORT, PORT, MAP_DROP_SPOOFED},
	    {ce, 3, FAR, MESH, PORT, PORT, MAP_DROP_SPOOFED},
	    {ce, 3, OURS, MESH, PORT, PORT, MAP_DROP_INNER_SOURCE},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		make_error(b, row[i].type, row[i].src, row[i].dst, row[i].port,
		    row[i].remote_port);
		assert_int_equal(
		    check_inner(&mesh, row[i].outer_src, b), row[i].want);
	}
	/* The other ways a quote can be wrong: at, byte, verdict. */
	static const struct {
		unsigned at;
		uint8_t value;
		enum map_drop want;
	} bad[] = {
	    {28, 0x65, MAP_DROP_INNER_MALFORMED},
	    {28, 0x44, MAP_DROP_INNER_MALFORMED},
	    {28, 0x46, MAP_DROP_PORT}, /* the ports are four bytes further */
	    {28, 0x47, MAP_DROP_INNER_MALFORMED}, {31, 28, MAP_OK},
	    {31, 27, MAP_DROP_INNER_MALFORMED},
	    {30, 5, MAP_OK}, /* it was longer than what is quoted */
	    {35, 1, MAP_DROP_ICMP}, /* a later fragment */
	    {34, 0x20, MAP_OK}, /* a first one */
	    {34, 0x10, MAP_DROP_ICMP},
	    {40, 0x6b, MAP_DROP_ICMP}, /* not from us */
	    {43, 0x6d, MAP_DROP_ICMP}, {37, 6, MAP_OK}, {37, 47, MAP_DROP_ICMP},
	    {37, 1, MAP_DROP_ICMP}, /* ICMP type 0x1d */
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		make_error(b, 3, FAR, FAR, PORT, 53);
		b[bad[i].at] = bad[i].value;
		assert_int_equal(check_inner(&hub, br, b), bad[i].want);
	}
}

/* Quotes of queries: the id is the port. */
static void
test_error_of_query(void **state)
{
	(void)state;
	uint8_t b[INNER];

	for (unsigned type = 0; type < 256; type++) {
		bool query =
		    type == 0 || type == 8 || (type >= 13 && type <= 18);

		make_error(b, 11, FAR, FAR, 0, 0);
		b[37] = 1;
		b[48] = (uint8_t)type;
		store_be16(b + 52, PORT);
		assert_int_equal(
		    check_inner(&hub, br, b), query ? MAP_OK : MAP_DROP_ICMP);
		store_be16(b + 52, OTHERS);
		assert_int_equal(check_inner(&hub, br, b),
		    query ? MAP_DROP_PORT : MAP_DROP_ICMP);
	}
}

/* D7: an inner packet that is not whole, or not IPv4. */
static void
test_inner_form(void **state)
{
	(void)state;
	uint8_t b[INNER];
	static const struct {
		unsigned at;
		uint8_t value;
		enum map_drop want;
	} row[] = {
	    {0, 0x45, MAP_OK},
	    {0, 0x65, MAP_DROP_INNER_MALFORMED},
	    {0, 0x44, MAP_DROP_INNER_MALFORMED},
	    {0, 0x4f, MAP_DROP_INNER_MALFORMED}, /* header 60, no transport */
	    {3, 27, MAP_DROP_INNER_MALFORMED},
	    {3, 28, MAP_OK},
	    {3, 61, MAP_DROP_INNER_MALFORMED},
	    {2, 1, MAP_DROP_INNER_MALFORMED},
	    /* fragments are not for ipip6_ports() */
	    {6, 0x20, MAP_DROP_INNER_MALFORMED},
	    {7, 1, MAP_DROP_INNER_MALFORMED},
	    {6, 0x40, MAP_OK},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		make_inner(b, &(struct shape){0}, INNER);
		b[row[i].at] = row[i].value;
		assert_int_equal(check_inner(&hub, br, b), row[i].want);
	}
	/* TCP needs 20 bytes, UDP and ICMP 8. */
	for (unsigned len = 20; len <= INNER; len++) {
		for (unsigned k = 0; k < 3; k++) {
			static const uint8_t proto[] = {1, 6, 17};
			unsigned need = proto[k] == 6 ? 40 : 28;

			make_inner(b,
			    &(struct shape){.proto = proto[k], .type = 1},
			    INNER);
			store_be16(b + 2, (uint16_t)len);
			assert_int_equal(check_inner(&hub, br, b),
			    len < need ? MAP_DROP_INNER_MALFORMED : MAP_OK);
		}
	}
}

/* D5, D7: an IPv6 packet is not IPv4, whatever its bytes look like. */
static void
test_inner_v6(void **state)
{
	(void)state;
	uint8_t b[INNER] = {0x60, [5] = INNER - 40, [6] = 17};
	uint32_t n = 0;

	memcpy(b + 8, FAR, 4);
	memcpy(b + 24, OURS, 4);
	store_be16(b + 38, (uint16_t)~slow_sum(0, b, 40));
	store_be16(b + 40, 53);
	store_be16(b + 42, PORT);
	assert_int_equal(
	    ipip6_inner(&hub, b, INNER, &n), MAP_DROP_INNER_MALFORMED);
	assert_int_equal(
	    ipip6_ports(&hub, br, b, INNER), MAP_DROP_INNER_MALFORMED);
}

/* What is behind the inner packet is not ours to look at. */
static void
test_inner_len(void **state)
{
	(void)state;
	uint8_t b[INNER];
	uint32_t n = 0;

	make_inner(b, &(struct shape){0}, INNER);
	assert_int_equal(ipip6_inner(&hub, b, INNER, &n), MAP_OK);
	assert_int_equal(n, INNER);
	make_inner(b, &(struct shape){0}, INNER - 7);
	assert_int_equal(ipip6_inner(&hub, b, INNER, &n), MAP_OK);
	assert_int_equal(n, INNER - 7);
}

static void
test_view(void **state)
{
	(void)state;
	uint8_t b[WHOLE];
	struct ipip6_view v;

	make(b, &(struct shape){0});
	b[0] = 0x6b;
	b[1] = 0x90;
	assert_int_equal(ipip6_outer(&hub, b, WHOLE, &v), MAP_OK);
	assert_int_equal(v.what, IPIP6_INNER);
	assert_int_equal(v.outer_tos, 0xb9);
	assert_ptr_equal(v.outer_src, b + 8);
	assert_int_equal(v.off, IPIP6_HLEN);
	assert_int_equal(v.len, INNER);
	store_be16(b + 4, INNER - 3); /* padding of the link behind it */
	assert_int_equal(ipip6_outer(&hub, b, WHOLE, &v), MAP_OK);
	assert_int_equal(v.len, INNER - 3);
	store_be16(b + 4, INNER + 1);
	assert_int_equal(
	    ipip6_outer(&hub, b, WHOLE, &v), MAP_DROP_OUTER_MALFORMED);
	b[0] = 0x4b;
	assert_int_equal(
	    ipip6_outer(&hub, b, WHOLE, &v), MAP_DROP_OUTER_MALFORMED);
}

/* D7, CVE-2024-26633: a fragment header is looked at when it is whole, and
 * nothing behind it. */
static void
test_outer_fragment(void **state)
{
	(void)state;
	uint8_t b[WHOLE];
	struct ipip6_view v;

	for (unsigned len = 0; len <= INNER; len++) {
		make(b, &(struct shape){.next = 44});
		b[40] = 4;
		store_be16(b + 4, (uint16_t)len);
		assert_int_equal(check(&hub, b, IPIP6_HLEN + len),
		    len < 8 ? MAP_DROP_OUTER_MALFORMED : MAP_OK);
	}
	assert_int_equal(ipip6_outer(&hub, b, WHOLE, &v), MAP_OK);
	assert_int_equal(v.what, IPIP6_FRAGMENT);
	assert_int_equal(v.off, IPIP6_HLEN);
	assert_int_equal(v.len, INNER);
	/* D1 holds for fragments */
	b[23] ^= 1;
	assert_int_equal(
	    ipip6_outer(&hub, b, WHOLE, &v), MAP_DROP_OUTER_SOURCE);
	b[23] ^= 1;
	for (unsigned next = 0; next < 256; next++) {
		b[40] = (uint8_t)next;
		assert_int_equal(ipip6_outer(&hub, b, WHOLE, &v),
		    next == 4 ? MAP_OK : MAP_DROP_OUTER_HEADER);
	}
}

/* ICMPv6 errors come from anywhere on the path; queries are not ours. */
static void
test_outer_icmpv6(void **state)
{
	(void)state;
	static const uint8_t router[16] = {0x20, 1, 0xd, 0xb8, [15] = 9};
	uint8_t b[WHOLE];
	struct ipip6_view v;

	make(b, &(struct shape){.next = 58, .outer_src = router});
	for (unsigned type = 0; type < 256; type++) {
		b[40] = (uint8_t)type;
		assert_int_equal(ipip6_outer(&hub, b, WHOLE, &v),
		    type < 128 ? MAP_OK : MAP_DROP_OUTER_HEADER);
	}
	b[40] = 1;
	assert_int_equal(ipip6_outer(&hub, b, WHOLE, &v), MAP_OK);
	assert_int_equal(v.what, IPIP6_ICMPV6);
	b[39] ^= 1;
	assert_int_equal(
	    ipip6_outer(&hub, b, WHOLE, &v), MAP_DROP_OUTER_DESTINATION);
	b[39] ^= 1;
	for (unsigned len = 0; len <= 9; len++) {
		store_be16(b + 4, (uint16_t)len);
		assert_int_equal(check(&hub, b, IPIP6_HLEN + len),
		    len < 8 ? MAP_DROP_OUTER_MALFORMED : MAP_OK);
	}
}

/* Valid packets of every kind, for what follows. Returns how many. */
static unsigned
make_valid(uint8_t b[][WHOLE])
{
	uint8_t ce[16];
	unsigned n = 0;

	line_address(ce, "240b:10:102:d400::/56");
	make(b[n++], &(struct shape){0});
	make(b[n++], &(struct shape){.proto = 6});
	make(b[n++], &(struct shape){.proto = 1, .type = 1});
	make(b[n++],
	    &(struct shape){.outer_src = ce, .src = MESH, .sport = PORT});
	make(b[n], &(struct shape){0});
	make_error(b[n++] + IPIP6_HLEN, 3, FAR, FAR, PORT, 53);
	return n;
}

/* D7: cut anywhere, with the outer length as it was, put right, and with the
 * inner one put right as well: refused, and no byte behind it is read. */
static void
test_truncated(void **state)
{
	(void)state;
	uint8_t pkt[5][WHOLE], b[WHOLE];
	unsigned n = make_valid(pkt);

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(check(&mesh, pkt[i], WHOLE), MAP_OK);
		for (unsigned len = 0; len < WHOLE; len++) {
			assert_int_equal(check(&mesh, pkt[i], len),
			    MAP_DROP_OUTER_MALFORMED);
			if (len < IPIP6_HLEN)
				continue;
			memcpy(b, pkt[i], WHOLE);
			store_be16(b + 4, (uint16_t)(len - IPIP6_HLEN));
			assert_int_equal(
			    check(&mesh, b, len), MAP_DROP_INNER_MALFORMED);
			if (len < IPIP6_HLEN + 20)
				continue;
			uint8_t *ip = b + IPIP6_HLEN;
			store_be16(ip + 2, (uint16_t)(len - IPIP6_HLEN));
			store_be16(ip + 10, 0);
			store_be16(ip + 10, (uint16_t)~slow_sum(0, ip, 20));
			/* headers, or the quote's */
			unsigned need = i == 1 ? 40 : i == 4 ? 56 : 28;
			assert_int_equal(check(&mesh, b, len),
			    len < IPIP6_HLEN + need ? MAP_DROP_INNER_MALFORMED
						    : MAP_OK);
		}
	}
}

/* D1, D7: no byte of the headers can change and go unnoticed, but for traffic
 * class, flow label and hop limit. */
static void
test_flipped(void **state)
{
	(void)state;
	uint8_t pkt[5][WHOLE];
	unsigned n = make_valid(pkt);

	for (unsigned i = 0; i < n; i++) {
		for (unsigned at = 0; at < WHOLE; at++) {
			for (unsigned x = 1; x < 256; x++) {
				pkt[i][at] ^= (uint8_t)x;
				enum map_drop why = check(&mesh, pkt[i], WHOLE);
				pkt[i][at] ^= (uint8_t)x;
				bool free_byte = at == 1 || at == 2 ||
						 at == 3 || at == 7 ||
						 (at == 0 && x < 16);
				if (free_byte)
					assert_int_equal(why, MAP_OK);
				else if (at < IPIP6_HLEN && at != 6)
					assert_int_not_equal(why, MAP_OK);
				else if (at >= IPIP6_HLEN &&
					 at < IPIP6_HLEN + 20)
					assert_int_equal(
					    why, MAP_DROP_INNER_MALFORMED);
			}
		}
	}
}

/* Each check fails or not by chance; the verdict is that of the first that
 * fails. */
static void
test_random(void **state)
{
	(void)state;
	static const char *const martian[] = {"\x0a\1\2\3", "\xc0\xa8\1\1",
	    "\x7f\0\0\1", "\x64\x40\0\1", "\xe0\0\0\1", "\0\1\2\3",
	    "\xac\x10\0\1", "\xa9\xfe\1\1", "\xff\xff\xff\xff"};
	static const uint8_t tunnel[] = {4, 41, 47};
	uint8_t stranger[16], ce[16], b[WHOLE];
	unsigned passed = 0;

	line_address(ce, "240b:10:102:d400::/56");
	for (int i = 0; i < 20000; i++) {
		struct shape s = {.proto = rnd() % 2 ? 6 : 17};
		enum map_drop want = MAP_OK;
		bool direct = rnd() % 2 == 0;

		memcpy(stranger, ce, 16);
		stranger[rnd() % 4] ^= (uint8_t)(1 + rnd() % 255);
		if (direct) {
			s.outer_src = ce;
			s.src = MESH;
			s.sport = PORT;
		}
		/* The last check first, so that the first one stays. */
		if (rnd() % 8 == 0) {
			s.dport = OTHERS;
			want = MAP_DROP_PORT;
		}
		if (direct && rnd() % 8 == 0) {
			s.sport = OTHERS;
			want = MAP_DROP_SPOOFED;
		}
		if (rnd() % 8 == 0) {
			s.dst = "\x6a\x48\x6f\x6d";
			want = MAP_DROP_INNER_DESTINATION;
		}
		if (rnd() % 8 == 0) {
			s.src = martian[rnd() % ARRAY_LEN(martian)];
			want = MAP_DROP_INNER_SOURCE;
		}
		if (rnd() % 8 == 0) {
			s.proto = tunnel[rnd() % 3];
			want = MAP_DROP_NESTED;
		}
		if (rnd() % 8 == 0) {
			s.outer_src = stranger;
			want = MAP_DROP_OUTER_SOURCE;
		}
		if (rnd() % 8 == 0) {
			s.outer_dst = stranger;
			want = MAP_DROP_OUTER_DESTINATION;
		}
		make(b, &s);
		assert_int_equal(check(&mesh, b, WHOLE), want);
		passed += want == MAP_OK;
	}
	assert_true(passed > 1000);
}

/* RFC 2473 4.1.1: what Linux's ip6_tunnel sends by default, and what is to be
 * refused (D7) and so stays. */
static void
test_limit(void **state)
{
	static const struct {
		uint8_t next, header[8];
		bool taken;
	} row[] = {
	    {60, {4, 0, 4, 1, 4, 1, 1, 0}, true},
	    {60, {4, 0, 1, 1, 0, 4, 1, 4}, true},
	    {60, {4, 0, 0, 0, 0, 4, 1, 0}, true},
	    {60, {4, 0, 1, 4, 0, 0, 0, 0}, false}, /* no limit at all */
	    {60, {4, 0, 4, 1, 4, 4, 1, 4}, false},
	    {60, {4, 0, 4, 2, 4, 0, 1, 0}, false},
	    {60, {4, 0, 4, 1, 4, 1, 2, 0}, false}, /* beyond its end */
	    {60, {4, 0, 4, 1, 4, 0, 0, 1}, false},
	    {60, {4, 0, 4, 1, 4, 5, 1, 0}, false}, /* another option */
	    {60, {4, 1, 4, 1, 4, 1, 1, 0}, false}, /* longer */
	    {60, {44, 0, 4, 1, 4, 1, 1, 0}, false},
	    {60, {60, 0, 4, 1, 4, 1, 1, 0}, false},
	    {0, {4, 0, 4, 1, 4, 1, 1, 0}, false},
	    {43, {4, 0, 4, 1, 4, 1, 1, 0}, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		for (size_t len = 0; len <= 40 + 8 + 20; len++) {
			uint8_t *b = malloc(len + 1), was[68] = {0x60};
			struct vnet_packet p = {
			    .b = pbuf_make(b + 1, len, 0, len),
			    .hdr = {.csum_start = 68}};
			bool taken = row[i].taken && len >= 48;

			store_be16(was + 4, 28);
			was[6] = row[i].next;
			memcpy(was + 40, row[i].header, 8);
			was[8] = 0x20;
			was[48] = 0x45;
			memcpy(b + 1, was, len);
			ipip6_drop_limit(&p);
			if (p.b.len != len - (taken ? 8 : 0))
				fail_msg("row %zu, %zu bytes", i, len);
			assert_int_equal(p.hdr.csum_start, taken ? 60 : 68);
			if (taken) {
				assert_int_equal(pbuf_data(&p.b)[6], 4);
				assert_int_equal(
				    load_be16(pbuf_data(&p.b) + 4), 20);
				assert_int_equal(pbuf_data(&p.b)[8], 0x20);
				assert_memory_equal(
				    pbuf_data(&p.b) + 40, was + 48, len - 48);
			} else {
				assert_memory_equal(pbuf_data(&p.b), was, len);
			}
			free(b);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_header),
	    cmocka_unit_test(test_destination),
	    cmocka_unit_test(test_longest_match),
	    cmocka_unit_test(test_accepted),
	    cmocka_unit_test(test_outer_refused),
	    cmocka_unit_test(test_spoofed),
	    cmocka_unit_test(test_ce_address),
	    cmocka_unit_test(test_ce_whole_address),
	    cmocka_unit_test(test_inner_refused),
	    cmocka_unit_test(test_whole_address),
	    cmocka_unit_test(test_error),
	    cmocka_unit_test(test_error_of_query),
	    cmocka_unit_test(test_inner_form),
	    cmocka_unit_test(test_inner_v6),
	    cmocka_unit_test(test_inner_len),
	    cmocka_unit_test(test_view),
	    cmocka_unit_test(test_outer_fragment),
	    cmocka_unit_test(test_outer_icmpv6),
	    cmocka_unit_test(test_limit),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_flipped),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
