/* The CE's path of packets as a whole: what goes in on one side comes out on
 * the other as it must, by packets written out by hand here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/ce.h"
#include "core/bytes.h"
#include "core/csum.h"
#include "core/err.h"

#define LINE_MTU 1500
#define SEC UK_NS_PER_S
#define ROOM 128

static const uint8_t map_address[16] = {0x20, 0x01, 0x0d, 0xb8, 0x46, 0x34,
    0x34, 0, 0, 0xc0, 0, 2, 0x34, 0, 0x34, 0};
static const uint8_t br[16] = {0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, [15] = 0x64};
static const uint8_t ours[4] = {192, 0, 2, 52};
static const uint8_t host[4] = CE_HOST_ADDRESS;
static const uint8_t router[4] = CE_ROUTER_ADDRESS;
static const uint8_t pc[4] = {192, 168, 24, 10};
static const uint8_t far[4] = {198, 51, 100, 10};
static const struct map_ports ports = {4, 8, 52};

struct lab {
	struct ce *ce;
	struct ip_prefix lan;
	uint64_t now;
	uint8_t room[4][70000];
	unsigned rooms;
};

static void
random_bytes(void *buf, size_t len)
{
	uint8_t *b = buf;

	while (len-- > 0)
		*b++ = (uint8_t)rand();
}

static int
setup_with(void **state, const struct map_rule *fmr)
{
	struct lab *l = calloc(1, sizeof(*l));
	struct ce_conf c = {
	    .ipip6 = {.ports = ports, .fmr = fmr, .n = fmr != NULL},
	    .link_mtu = LINE_MTU};

	srand(1);
	assert_int_equal(ip_prefix_parse(&l->lan, "192.168.24.0/24", 15), 0);
	memcpy(c.ipip6.address, map_address, 16);
	memcpy(c.ipip6.br, br, 16);
	memcpy(c.ipip6.ipv4, ours, 4);
	nat44_conf_default(&c.nat, &ports);
	memcpy(c.nat.address, ours, 4);
	c.nat.random = random_bytes;
	c.nat.mss = 1420;
	c.nat.sessions_max = 4096;
	c.network = &l->lan;
	c.networks = 1;
	assert_int_equal(ce_new(&l->ce, &c), 0);
	l->now = 1000 * SEC;
	*state = l;
	return 0;
}

static int
setup(void **state)
{
	return setup_with(state, NULL);
}

static int
setup_mesh(void **state)
{
	static const struct map_rule rule = {
	    .ipv6 = {.addr = {.family = FAMILY_V6,
			 .b = {0x20, 0x01, 0x0d, 0xb8, 0x46}},
		.bits = 40},
	    .ipv4 = {.addr = {.family = FAMILY_V4, .b = {192, 0, 2, 0}},
		.bits = 24},
	    .ea_len = 16,
	    .psid_offset = 4,
	    .psid_len = 8,
	    .iid = MAP_IID_DRAFT03};

	return setup_with(state, &rule);
}

static int
teardown(void **state)
{
	struct lab *l = *state;

	ce_free(l->ce);
	free(l);
	return 0;
}

/* ---- packets ---- */

static uint16_t
plain_sum(uint32_t sum, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)b[i] << 8 : b[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* One's complement sum of an IPv4 packet's TCP or UDP part with its pseudo
 * header: 0xffff when its checksum is right. */
static uint16_t
l4_sum(const uint8_t *ip)
{
	uint32_t len = load_be16(ip + 2) - 20u;

	return plain_sum(plain_sum(ip[9] + len, ip + 12, 8), ip + 20, len);
}

static void
finish(uint8_t *ip)
{
	size_t at = ip[9] == 6 ? 36 : ip[9] == 17 ? 26 : 22;

	store_be16(ip + 10, 0);
	store_be16(ip + 10, (uint16_t)~plain_sum(0, ip, 20));
	store_be16(ip + at, 0);
	if (ip[9] == 1)
		store_be16(ip + at,
		    (uint16_t)~plain_sum(0, ip + 20, load_be16(ip + 2) - 20u));
	else
		store_be16(ip + at, (uint16_t)~l4_sum(ip));
}

struct shape {
	const uint8_t *src, *dst;
	uint8_t proto;
	uint16_t sport, dport;
	uint8_t flags; /* of TCP */
	uint32_t payload;
	bool df;
};

/* With header and payload in order; TCP with an MSS of 1460 in a SYN. */
static size_t
write_ipv4(uint8_t *ip, const struct shape *s)
{
	uint32_t hlen = s->proto == 6 ? (s->flags & 2 ? 24 : 20) : 8;
	size_t len = 20 + hlen + s->payload;

	memset(ip, 0, 20 + hlen);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)len);
	store_be16(ip + 6, s->df ? 0x4000 : 0);
	ip[8] = 64;
	ip[9] = s->proto;
	memcpy(ip + 12, s->src, 4);
	memcpy(ip + 16, s->dst, 4);
	store_be16(ip + 20, s->sport);
	store_be16(ip + 22, s->dport);
	if (s->proto == 6) {
		ip[32] = (uint8_t)(hlen / 4 << 4);
		ip[33] = s->flags;
		memcpy(ip + 40, "\x02\x04\x05\xb4", hlen - 20);
	} else {
		store_be16(ip + 24, (uint16_t)(8 + s->payload));
	}
	for (uint32_t i = 0; i < s->payload; i++)
		ip[20 + hlen + i] = (uint8_t)(i * 7);
	finish(ip);
	return len;
}

static struct vnet_packet
packet(struct lab *l, const uint8_t *bytes, size_t len)
{
	uint8_t *room = l->room[l->rooms++ % 4];

	memcpy(room + ROOM, bytes, len);
	return (struct vnet_packet){
	    .b = pbuf_make(room, sizeof(l->room[0]), ROOM, len)};
}

static void
outward(struct lab *l, const uint8_t *bytes, size_t len)
{
	struct vnet_packet p = packet(l, bytes, len);

	ce_outward(l->ce, l->now, &p, 1);
}

static void
outward_shape(struct lab *l, const struct shape *s)
{
	static uint8_t ip[66000];

	outward(l, ip, write_ipv4(ip, s));
}

static void
inward(struct lab *l, const uint8_t *bytes, size_t len)
{
	struct vnet_packet p = packet(l, bytes, len);

	ce_inward(l->ce, l->now, &p, 1);
}

static size_t
write_outer(uint8_t *out, const uint8_t src[16], const uint8_t dst[16],
    uint8_t next, size_t payload)
{
	memset(out, 0, 40);
	out[0] = 0x60;
	store_be16(out + 4, (uint16_t)payload);
	out[6] = next;
	out[7] = 60;
	memcpy(out + 8, src, 16);
	memcpy(out + 24, dst, 16);
	return 40 + payload;
}

static void
inward_shape(struct lab *l, const struct shape *s)
{
	static uint8_t b[66000];
	size_t len = write_ipv4(b + 40, s);

	inward(l, b, write_outer(b, br, map_address, 4, len));
}

static uint64_t
dropped(const struct lab *l, enum map_drop why)
{
	struct ce_stats s;

	ce_stats(l->ce, &s);
	return s.drop[why];
}

/* The only packet to the line, or inside, and none on the other side. */
static const uint8_t *
only_outer(struct lab *l, size_t *len)
{
	unsigned n, other;
	struct vnet_packet *p = ce_to_line(l->ce, &n);

	(void)ce_to_inside(l->ce, &other);
	assert_int_equal(n, 1);
	assert_int_equal(other, 0);
	*len = p->b.len;
	return pbuf_data(&p->b);
}

static const uint8_t *
only_inside(struct lab *l, size_t *len)
{
	unsigned n, other;
	struct vnet_packet *p = ce_to_inside(l->ce, &n);

	(void)ce_to_line(l->ce, &other);
	assert_int_equal(n, 1);
	assert_int_equal(other, 0);
	assert_true(pbuf_headroom(&p->b) >= VNET_HDR_LEN);
	*len = p->b.len;
	return pbuf_data(&p->b);
}

static void
assert_nothing(struct lab *l)
{
	unsigned n, other;

	(void)ce_to_line(l->ce, &n);
	(void)ce_to_inside(l->ce, &other);
	assert_int_equal(n + other, 0);
}

/* The first one for this reason, and nothing comes of it. */
static void
assert_dropped(struct lab *l, enum map_drop why)
{
	assert_nothing(l);
	assert_int_equal(dropped(l, why), 1);
}

static void
assert_outer(const uint8_t *b, size_t len, uint8_t next)
{
	assert_int_equal(b[0] >> 4, 6);
	assert_int_equal(load_be16(b + 4) + 40u, len);
	assert_int_equal(b[6], next);
	assert_true(b[7] >= 32);
	assert_memory_equal(b + 8, map_address, 16);
	assert_memory_equal(b + 24, br, 16);
}

static void
assert_sums(const uint8_t *ip)
{
	assert_int_equal(plain_sum(0, ip, 20), 0xffff);
	if (ip[9] == 1)
		assert_int_equal(
		    plain_sum(0, ip + 20, load_be16(ip + 2) - 20u), 0xffff);
	else
		assert_int_equal(l4_sum(ip), 0xffff);
}

/* A session from inside; returns its port. */
static uint16_t
begin(struct lab *l, const uint8_t *src, uint8_t proto, uint16_t dport)
{
	const struct shape s = {.src = src,
	    .dst = far,
	    .proto = proto,
	    .sport = 40000,
	    .dport = dport,
	    .flags = 2,
	    .payload = proto == 17 ? 20 : 0};
	const uint8_t *b;
	size_t len;

	outward_shape(l, &s);
	b = only_outer(l, &len);
	return load_be16(b + 60);
}

/* ---- tests ---- */

static void
test_there_and_back(void **state)
{
	static const uint8_t *const from[] = {host, pc};
	struct lab *l = *state;
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(from); i++) {
		const struct shape syn = {.src = from[i],
		    .dst = far,
		    .proto = 6,
		    .sport = 50000,
		    .dport = 443,
		    .flags = 2,
		    .df = true};
		struct shape back = {.src = far,
		    .dst = ours,
		    .proto = 6,
		    .sport = 443,
		    .flags = 0x12};
		const uint8_t *b;

		outward_shape(l, &syn);
		b = only_outer(l, &len);
		assert_outer(b, len, 4);
		b += 40;
		assert_memory_equal(b + 12, ours, 4);
		assert_memory_equal(b + 16, far, 4);
		back.dport = load_be16(b + 20);
		assert_true(map_ports_has(&ports, back.dport));
		assert_int_equal(load_be16(b + 42), 1420); /* MSS */
		assert_int_equal(b[8], 63); /* D8 */
		assert_sums(b);
		inward_shape(l, &back);
		b = only_inside(l, &len);
		assert_memory_equal(b + 12, far, 4);
		assert_memory_equal(b + 16, from[i], 4);
		assert_int_equal(load_be16(b + 22), 50000);
		assert_sums(b);
	}
}

/* Who may use it, and where to: the rest stays here, counted. */
static void
test_stray(void **state)
{
	static const uint8_t other[4] = {192, 168, 25, 1};
	static const uint8_t to[][4] = {{10, 0, 0, 1}, {127, 0, 0, 1},
	    {169, 254, 1, 1}, {172, 16, 0, 1}, {172, 31, 9, 9},
	    {192, 168, 1, 1}, {224, 0, 0, 1}, {255, 255, 255, 255},
	    {0, 0, 0, 0}, {100, 64, 0, 1}, {192, 0, 0, 1}};
	struct shape s = {
	    .src = other, .dst = far, .proto = 17, .sport = 9, .dport = 99};
	struct lab *l = *state;
	static const uint8_t v6[60] = {0x60, [5] = 20};

	outward_shape(l, &s);
	assert_nothing(l);
	s.src = ours;
	outward_shape(l, &s);
	assert_nothing(l);
	outward(l, v6, sizeof(v6));
	assert_nothing(l);
	assert_int_equal(dropped(l, MAP_DROP_STRAY), 3);
	s.src = pc;
	for (size_t i = 0; i < ARRAY_LEN(to); i++) {
		s.dst = to[i];
		outward_shape(l, &s);
		assert_nothing(l);
	}
	assert_int_equal(dropped(l, MAP_DROP_STRAY), 3 + ARRAY_LEN(to));
	s.dst = (const uint8_t[4]){172, 32, 0, 1};
	outward_shape(l, &s);
	(void)only_outer(l, &(size_t){0});
}

/* D1 to D5, D7: what the line must not get through, although there is a live
 * session for the very same ports. */
static void
test_hostile(void **state)
{
	static const uint8_t stranger[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 9};
	static const uint8_t private[4] = {192, 168, 24, 1};
	struct lab *l = *state;
	uint16_t port = begin(l, pc, 17, 5000);
	const struct shape good = {.src = far,
	    .dst = ours,
	    .proto = 17,
	    .sport = 5000,
	    .dport = port,
	    .payload = 4};
	uint8_t b[200];
	struct shape s = good;
	size_t len = write_ipv4(b + 40, &s);

	inward(l, b, write_outer(b, stranger, map_address, 4, len));
	assert_dropped(l, MAP_DROP_OUTER_SOURCE); /* D1 */
	inward(l, b, write_outer(b, br, stranger, 4, len));
	assert_dropped(l, MAP_DROP_OUTER_DESTINATION);
	inward(l, b, write_outer(b, br, map_address, 60, len));
	assert_dropped(l, MAP_DROP_OUTER_HEADER); /* D7 */
	inward(l, b, write_outer(b, br, map_address, 4, len) - 1);
	assert_dropped(l, MAP_DROP_OUTER_MALFORMED);
	s.dst = private;
	inward_shape(l, &s);
	assert_dropped(l, MAP_DROP_INNER_DESTINATION); /* D2 */
	s = good;
	s.dport = (uint16_t)(port ^ 16);
	inward_shape(l, &s);
	assert_dropped(l, MAP_DROP_PORT); /* D2 */
	s = good;
	s.src = private;
	inward_shape(l, &s);
	assert_dropped(l, MAP_DROP_INNER_SOURCE); /* D3 */
	s = good;
	s.sport = 5001; /* D4: nobody asked this one, but its address */
	s.src = (const uint8_t[4]){198, 51, 100, 11};
	inward_shape(l, &s);
	assert_dropped(l, MAP_DROP_FILTERED);
	s = good;
	s.proto = 6;
	s.flags = 2;
	inward_shape(l, &s);
	assert_dropped(l, MAP_DROP_NO_SESSION); /* D4 */
	s = good;
	s.proto = 4;
	inward_shape(l, &s);
	assert_dropped(l, MAP_DROP_NESTED); /* D5 */
	len = write_outer(b, br, map_address, 4, write_ipv4(b + 40, &good));
	b[1] |= 3 << 4; /* RFC 6040 4.2: congestion that nobody asked about */
	inward(l, b, len);
	assert_dropped(l, MAP_DROP_OUTER_ECN);
	inward_shape(l, &good);
	(void)only_inside(l, &len);
}

/* D7: what the kernel says of a packet from the line is held against it. */
static void
test_hostile_header(void **state)
{
	struct lab *l = *state;
	const struct shape s = {.src = far,
	    .dst = ours,
	    .proto = 17,
	    .sport = 5000,
	    .dport = begin(l, pc, 17, 5000)};
	uint8_t b[100];
	size_t len = write_outer(b, br, map_address, 4, write_ipv4(b + 40, &s));
	struct vnet_packet p = packet(l, b, len);

	p.hdr = (struct vnet_hdr){
	    .flags = VNET_F_NEEDS_CSUM, .csum_start = 62, .csum_offset = 6};
	ce_inward(l->ce, l->now, &p, 1);
	assert_dropped(l, MAP_DROP_INNER_MALFORMED);
	p = packet(l, b, len);
	p.hdr = (struct vnet_hdr){
	    .flags = VNET_F_NEEDS_CSUM, .csum_start = 60, .csum_offset = 6};
	ce_inward(l->ce, l->now, &p, 1);
	(void)only_inside(l, &len);
}

/* What does not fit: DF is told, the rest is cut outside (RFC 2473 7.2). */
static void
test_too_big(void **state)
{
	struct lab *l = *state;
	struct shape s = {.src = pc,
	    .dst = far,
	    .proto = 17,
	    .sport = 7,
	    .dport = 5000,
	    .payload = LINE_MTU - 40 - 28,
	    .df = true};
	const uint8_t *b;
	struct vnet_packet *p;
	unsigned n;
	size_t len;

	outward_shape(l, &s);
	(void)only_outer(l, &len);
	assert_int_equal(len, LINE_MTU);
	s.payload++;
	outward_shape(l, &s);
	b = only_inside(l, &len);
	assert_memory_equal(b + 12, router, 4);
	assert_memory_equal(b + 16, pc, 4);
	assert_int_equal(b[20], 3);
	assert_int_equal(b[21], 4);
	assert_int_equal(load_be16(b + 26), LINE_MTU - 40);
	assert_memory_equal(b + 28 + 12, pc, 4); /* as it was */
	assert_sums(b);
	assert_int_equal(dropped(l, MAP_DROP_TOO_BIG), 1);
	s.df = false;
	outward_shape(l, &s);
	p = ce_to_line(l->ce, &n);
	assert_int_equal(n, 2);
	for (unsigned i = 0; i < n; i++) {
		assert_outer(pbuf_data(&p[i].b), p[i].b.len, 44);
		assert_true(p[i].b.len <= LINE_MTU);
	}
}

/* A datagram from inside, as two fragments; returns its port outside. */
static uint16_t
outward_in_two(struct lab *l)
{
	const struct shape s = {.src = pc,
	    .dst = far,
	    .proto = 17,
	    .sport = 7,
	    .dport = 5000,
	    .payload = 1600};
	uint8_t whole[2000], part[2000];
	size_t len = write_ipv4(whole, &s);
	struct vnet_packet *p;
	unsigned n;

	memcpy(part, whole, 20 + 1000);
	store_be16(part + 2, 20 + 1000);
	store_be16(part + 6, 0x2000);
	finish(part);
	memcpy(part + 20, whole + 20, 1000);
	outward(l, part, 20 + 1000);
	assert_nothing(l);
	memcpy(part + 20, whole + 20 + 1000, len - 20 - 1000);
	store_be16(part + 2, (uint16_t)(len - 1000));
	store_be16(part + 6, 1000 / 8);
	store_be16(part + 10, 0);
	store_be16(part + 10, (uint16_t)~plain_sum(0, part, 20));
	outward(l, part, len - 1000);
	p = ce_to_line(l->ce, &n);
	assert_int_equal(n, 2);
	return load_be16(pbuf_data(&p[0].b) + 48 + 20);
}

/* Fragments from inside are put together before the NAPT (8.3.3). */
static void
test_inner_fragments(void **state)
{
	assert_true(map_ports_has(&ports, outward_in_two(*state)));
}

/* One of the two outer fragments of an answer to that port. */
static size_t
write_answer(uint8_t *outer, uint16_t port, bool second)
{
	const struct shape s = {.src = far,
	    .dst = ours,
	    .proto = 17,
	    .sport = 5000,
	    .dport = port,
	    .payload = 1600};
	uint8_t whole[2000];
	size_t all = write_ipv4(whole, &s), from = second ? 1208 : 0;
	size_t n = second ? all - 1208 : 1208;
	size_t len = write_outer(outer, br, map_address, 44, n + 8);

	memcpy(outer + 40, "\x04\0\0\0\0\0\0\x07", 8);
	store_be16(outer + 42, (uint16_t)(from | !second));
	memcpy(outer + 48, whole + from, n);
	return len;
}

static void
test_outer_fragments(void **state)
{
	struct lab *l = *state;
	uint16_t port = outward_in_two(l);
	uint8_t first[2000], second[2000];
	size_t first_len = write_answer(first, port, false);
	size_t second_len = write_answer(second, port, true), len;
	const uint8_t *b;

	inward(l, second, second_len);
	assert_nothing(l);
	inward(l, first, first_len);
	b = only_inside(l, &len);
	assert_int_equal(len, 20 + 8 + 1600);
	assert_memory_equal(b + 16, pc, 4);
	assert_sums(b);
}

/* D11 */
static void
test_lone_fragment(void **state)
{
	struct lab *l = *state;
	uint8_t first[2000];

	inward(l, first, write_answer(first, outward_in_two(l), false));
	assert_nothing(l);
	l->now += 60 * SEC;
	ce_tick(l->ce, l->now);
	assert_int_equal(dropped(l, MAP_DROP_FRAGMENT_AGE), 1);
}

/* A router on the way takes less: believed, told inside, and forgotten after a
 * while (RFC 2473 8, N7). */
static void
test_path_mtu(void **state)
{
	struct lab *l = *state;
	const struct shape s = {.src = pc,
	    .dst = far,
	    .proto = 17,
	    .sport = 7,
	    .dport = 5000,
	    .payload = 1400,
	    .df = true};
	static const uint8_t on_the_way[16] = {0x20, 0x01, [15] = 1};
	uint8_t b[1300], quoted[1232];
	const uint8_t *told;
	size_t len, n;

	outward_shape(l, &s);
	told = only_outer(l, &len);
	memcpy(quoted, told, sizeof(quoted));
	for (unsigned i = 0; i < 3; i++) {
		n = write_outer(
		    b, on_the_way, map_address, 58, 8 + sizeof(quoted));
		memset(b + 40, 0, 8);
		b[40] = 2;
		/* The last one is about a packet from before, and old news. */
		store_be16(b + 46, i == 2 ? 1450 : 1400);
		memcpy(b + 48, quoted, sizeof(quoted));
		if (i == 0) /* about a packet of somebody else's */
			b[48 + 8 + 15] ^= 1;
		store_be16(
		    b + 42, (uint16_t)~plain_sum(
				plain_sum(58 + 8 + sizeof(quoted), b + 8, 32),
				b + 40, 8 + sizeof(quoted)));
		inward(l, b, n);
		if (i == 0) {
			assert_nothing(l);
			assert_int_equal(dropped(l, MAP_DROP_ICMP), 1);
		}
	}
	told = only_inside(l, &len);
	assert_memory_equal(told + 16, pc, 4);
	assert_int_equal(load_be16(told + 26), 1360);
	assert_memory_equal(told + 28 + 12, pc, 4);
	assert_int_equal(load_be16(told + 28 + 20), 7);
	outward_shape(l, &s);
	(void)only_inside(l, &len);
	l->now += 601 * SEC;
	ce_tick(l->ce, l->now);
	outward_shape(l, &s);
	(void)only_outer(l, &len);
}

/* A super-packet stays one, and says where its checksum is. */
static void
test_super(void **state)
{
	struct lab *l = *state;
	static uint8_t ip[66000];
	struct shape s = {.src = pc,
	    .dst = far,
	    .proto = 6,
	    .sport = 50000,
	    .dport = 443,
	    .flags = 2,
	    .df = true};
	struct vnet_hdr h = {.flags = VNET_F_NEEDS_CSUM,
	    .gso_type = VNET_GSO_TCPV4,
	    .hdr_len = 40,
	    .gso_size = 1420,
	    .csum_start = 20,
	    .csum_offset = 16};
	struct vnet_packet p, *out;
	unsigned n;

	outward_shape(l, &s);
	s.flags = 0x10;
	s.payload = 60000;
	p = packet(l, ip, write_ipv4(ip, &s));
	p.hdr = h;
	ce_outward(l->ce, l->now, &p, 1);
	out = ce_to_line(l->ce, &n);
	assert_int_equal(n, 1);
	assert_int_equal(out->b.len, 60080);
	assert_int_equal(out->hdr.csum_start, 60);
	assert_int_equal(out->hdr.gso_size, 1420);
	/* More than fits in a packet, and a header that is not true. */
	p = packet(l, ip, write_ipv4(ip, &s));
	h.gso_size = 1421;
	p.hdr = h;
	ce_outward(l->ce, l->now, &p, 1);
	assert_int_equal(dropped(l, MAP_DROP_TOO_BIG), 1);
	p = packet(l, ip, write_ipv4(ip, &s));
	h.gso_size = 1420;
	h.csum_start = 21;
	p.hdr = h;
	ce_outward(l->ce, l->now, &p, 1);
	assert_int_equal(dropped(l, MAP_DROP_INNER_MALFORMED), 1);
}

/* Outer packets from PSID 1 and 2 of 192.0.2.7, with half of a datagram each.
 */
static size_t
write_half(uint8_t *b, const uint8_t *ip, unsigned half, uint8_t psid)
{
	const uint8_t ce[16] = {0x20, 0x01, 0x0d, 0xb8, 0x46, 7, psid, 0, 0,
	    0xc0, 0, 2, 7, 0, psid, 0};
	size_t at = half == 0 ? 0 : 800, n = half == 0 ? 800 : 208;
	uint8_t *f = b + 40;

	memcpy(f, ip, 20);
	memcpy(f + 20, ip + 20 + at, n);
	store_be16(f + 2, (uint16_t)(20 + n));
	store_be16(f + 6, half == 0 ? 0x2000 : 100);
	store_be16(f + 10, 0);
	store_be16(f + 10, (uint16_t)~plain_sum(0, f, 20));
	return write_outer(b, ce, map_address, 4, 20 + n);
}

/* D1, D11: lines that share an address do not complete each other's
 * datagrams. */
static void
test_fragments_by_sender(void **state)
{
	static const uint8_t peer[4] = {192, 0, 2, 7};
	struct lab *l = *state;
	struct shape s = {.src = pc,
	    .dst = peer,
	    .proto = 17,
	    .sport = 7,
	    .dport = 4096 + 16};
	uint8_t ip[1100], b[1100];
	const uint8_t *told;
	size_t len;

	outward_shape(l, &s);
	told = only_outer(l, &len);
	assert_int_equal(told[24 + 6], 1); /* straight to PSID 1 */
	s = (struct shape){.src = peer,
	    .dst = ours,
	    .proto = 17,
	    .sport = 4096 + 16,
	    .dport = load_be16(told + 60),
	    .payload = 1000};
	for (uint8_t psid = 2; psid > 0; psid--) {
		write_ipv4(ip, &s);
		store_be16(ip + 4, 77);
		inward(l, b, write_half(b, ip, 0, psid));
		assert_nothing(l);
		inward(l, b, write_half(b, ip, 1, 1));
		if (psid == 1)
			(void)only_inside(l, &len);
		else
			assert_nothing(l);
		l->now += 20 * SEC;
		ce_tick(l->ce, l->now);
	}
	assert_int_equal(dropped(l, MAP_DROP_FRAGMENT_AGE), 2);
}

/* D1: a CE speaks for its own ports only, whatever session there is. */
static void
test_spoofed(void **state)
{
	static const uint8_t peer[4] = {192, 0, 2, 7};
	struct lab *l = *state;
	struct shape s = {.src = pc,
	    .dst = peer,
	    .proto = 17,
	    .sport = 7,
	    .dport = 4096 + 16};
	uint8_t b[100], ce[16];
	size_t len;

	outward_shape(l, &s);
	memcpy(b, only_outer(l, &len), 62);
	memcpy(ce, b + 24, 16);
	s = (struct shape){.src = peer,
	    .dst = ours,
	    .proto = 17,
	    .sport = 4096 + 16,
	    .dport = load_be16(b + 60)};
	len = write_ipv4(b + 40, &s);
	ce[6] = ce[14] = 2; /* PSID 2, of the same address */
	inward(l, b, write_outer(b, ce, map_address, 4, len));
	assert_dropped(l, MAP_DROP_SPOOFED);
	ce[6] = ce[14] = 1;
	inward(l, b, write_outer(b, ce, map_address, 4, len));
	(void)only_inside(l, &len);
}

/* The line's MTU may change while it is up, and does not undo what the path
 * said. */
static void
test_link_mtu(void **state)
{
	struct shape s = {.src = pc,
	    .dst = far,
	    .proto = 17,
	    .sport = 7,
	    .dport = 5000,
	    .payload = 1400,
	    .df = true};
	static const uint32_t mtu[] = {1400, 1280, 1500, 1467, 1468};
	struct lab *l = *state;
	const uint8_t *told;
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(mtu); i++) {
		ce_set_link_mtu(l->ce, mtu[i]);
		outward_shape(l, &s);
		if (mtu[i] >= 1468) {
			(void)only_outer(l, &len);
			continue;
		}
		told = only_inside(l, &len);
		assert_int_equal(load_be16(told + 26), mtu[i] - 40);
	}
}

static void
test_ttl(void **state)
{
	struct lab *l = *state;
	uint8_t ip[100];
	const struct shape s = {
	    .src = pc, .dst = far, .proto = 17, .sport = 7, .dport = 5000};
	const uint8_t *b;
	size_t len = write_ipv4(ip, &s);

	ip[8] = 1;
	finish(ip);
	outward(l, ip, len);
	b = only_inside(l, &len);
	assert_int_equal(b[20], 11);
	assert_memory_equal(b + 12, router, 4);
	assert_memory_equal(b + 28 + 12, pc, 4);
	assert_int_equal(dropped(l, MAP_DROP_TTL), 1);
}

int
main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_there_and_back),
	    T(test_stray),
	    T(test_hostile),
	    T(test_hostile_header),
	    T(test_too_big),
	    T(test_inner_fragments),
	    T(test_outer_fragments),
	    T(test_lone_fragment),
	    T(test_path_mtu),
	    T(test_super),
	    T(test_ttl),
	    T(test_link_mtu),
	    cmocka_unit_test_setup_teardown(
		test_fragments_by_sender, setup_mesh, teardown),
	    cmocka_unit_test_setup_teardown(test_spoofed, setup_mesh, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
