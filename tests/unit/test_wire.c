#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/wire.h"
#include "core/bytes.h"
#include "core/csum.h"
#include "core/err.h"

#define OUTER 40
#define ROOM 64
#define BIG 70000
#define PIECES 2048

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint8_t memory[BIG];

/* A packet as the kernel gives it: IPv4 in IPv6 with a payload of len bytes
 * behind ihl and thl bytes of headers; segments of mss bytes, 0: one packet. */
static struct vnet_packet
make(bool tcp, uint32_t ihl, uint32_t thl, uint32_t len, uint16_t mss)
{
	uint32_t inner = ihl + thl + len;
	uint8_t *p = memory + ROOM, *ip = p + OUTER, *l4 = ip + ihl;
	struct vnet_packet v = {
	    .b = pbuf_make(memory, sizeof(memory), ROOM, OUTER + inner)};

	for (uint32_t i = 0; i < OUTER + inner; i++)
		p[i] = (uint8_t)rnd();
	store_be32(p, 0x60000000);
	store_be16(p + 4, (uint16_t)inner);
	p[6] = 4;
	ip[0] = (uint8_t)(0x40 | ihl / 4);
	store_be16(ip + 2, (uint16_t)inner);
	store_be16(ip + 6, 0x4000);
	ip[9] = tcp ? 6 : 17;
	store_be16(ip + 10, 0);
	store_be16(ip + 10, (uint16_t)~csum_fold(csum_add(0, ip, ihl)));
	if (tcp)
		l4[12] = (uint8_t)(thl / 4 << 4);
	else
		store_be16(l4 + 4, (uint16_t)(thl + len));
	store_be16(l4 + (tcp ? 16 : 6),
	    csum_fold(csum_pseudo(ip + 12, ip + 16, 4, ip[9], thl + len)));
	v.hdr = (struct vnet_hdr){.flags = VNET_F_NEEDS_CSUM,
	    .gso_type = mss == 0 ? VNET_GSO_NONE
			: tcp    ? VNET_GSO_TCPV4
				 : VNET_GSO_UDP_L4,
	    .hdr_len = 1,
	    .gso_size = mss,
	    .csum_start = (uint16_t)(OUTER + ihl),
	    .csum_offset = tcp ? 16 : 6};
	return v;
}

static bool
sum_is_right(const uint8_t *ip, uint32_t len)
{
	uint32_t ihl = (ip[0] & 0xfu) * 4;

	return csum_fold(
		   csum_add(csum_pseudo(ip + 12, ip + 16, 4, ip[9], len - ihl),
		       ip + ihl, len - ihl)) == 0xffff &&
	       csum_fold(csum_add(0, ip, ihl)) == 0xffff;
}

static void
agrees(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		bool tcp = i & 1, super = i & 2;
		uint32_t ihl = i & 4 ? 60 : 20, thl = tcp ? 32 : 8;
		struct vnet_packet p =
		    make(tcp, ihl, thl, 3000, super ? 1000 : 0);

		assert_int_equal(wire_agree(&p), 0);
		assert_int_equal(p.hdr.flags, VNET_F_NEEDS_CSUM);
		assert_int_equal(p.hdr.csum_start, OUTER + ihl);
		assert_int_equal(p.hdr.hdr_len, OUTER + ihl + thl);
		assert_int_equal(p.hdr.gso_size, super ? 1000 : 0);
	}
}

/* What is finished, or only said to be valid, has nothing left to do. */
static void
agrees_finished(void **state)
{
	struct vnet_packet p = make(true, 20, 20, 100, 0);
	static const struct vnet_hdr zero;

	(void)state;
	p.hdr = (struct vnet_hdr){
	    .flags = VNET_F_DATA_VALID, .hdr_len = 9, .csum_start = 7};
	assert_int_equal(wire_agree(&p), 0);
	assert_memory_equal(&p.hdr, &zero, sizeof(zero));
}

/* Each breaks one thing. */
enum broken {
	WHOLE,
	CUT_OUTER,
	VERSION,
	NEXT_HEADER,
	OUTER_LEN,
	INNER_VERSION,
	INNER_LEN,
	MORE_FRAGMENTS,
	PROTOCOL,
	CSUM_START,
	CSUM_OFFSET,
	TRANSPORT,
	TYPE,
	SIZE,
	NO_CSUM,
	BROKEN,
};

static void
break_one(struct vnet_packet *p, enum broken what, bool tcp)
{
	uint8_t *o = pbuf_data(&p->b), *ip = o + OUTER;

	if (what == CUT_OUTER)
		pbuf_trim(&p->b, 39);
	if (what == VERSION)
		o[0] = 0x40;
	if (what == NEXT_HEADER)
		o[6] = 41;
	if (what == OUTER_LEN)
		store_be16(o + 4, (uint16_t)(p->b.len - OUTER - 1));
	if (what == INNER_VERSION)
		ip[0] = 0x65;
	if (what == INNER_LEN)
		store_be16(ip + 2, (uint16_t)(p->b.len - OUTER - 1));
	if (what == MORE_FRAGMENTS)
		ip[6] = 0x20;
	if (what == PROTOCOL)
		ip[9] = tcp ? 17 : 6;
	if (what == CSUM_START)
		p->hdr.csum_start++;
	if (what == CSUM_OFFSET)
		p->hdr.csum_offset++;
	if (what == TRANSPORT)
		ip[20 + (tcp ? 12 : 4)] = 0x40;
	if (what == TYPE)
		p->hdr.gso_type = tcp ? VNET_GSO_UDP_L4 : VNET_GSO_TCPV4;
	if (what == SIZE)
		p->hdr.gso_size = 0;
	if (what == NO_CSUM)
		p->hdr.flags = 0;
}

/* D7: the kernel of another machine may have said anything of a super-packet.
 */
static void
d7_refuses_what_does_not_agree(void **state)
{
	(void)state;
	for (enum broken what = WHOLE; what < BROKEN; what++)
		for (int tcp = 0; tcp < 2; tcp++) {
			struct vnet_packet p =
			    make(tcp, 20, tcp ? 20 : 8, 3000, 1000);

			break_one(&p, what, tcp);
			assert_int_equal(
			    wire_agree(&p), what == WHOLE ? 0 : UK_EPROTO);
		}
}

static void
refuses_other_types(void **state)
{
	static const uint8_t type[] = {
	    2, 3, VNET_GSO_TCPV6, 6, 0x7f, VNET_GSO_UDP_L4 | VNET_GSO_ECN};
	struct vnet_packet p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(type); i++)
		for (int tcp = 0; tcp < 2; tcp++) {
			p = make(tcp, 20, tcp ? 20 : 8, 3000, 1000);
			p.hdr.gso_type = type[i];
			assert_int_equal(wire_agree(&p), UK_EPROTO);
		}
	p = make(true, 20, 20, 3000, 1000);
	p.hdr.gso_type |= VNET_GSO_ECN;
	assert_int_equal(wire_agree(&p), 0);
}

/* Of one packet the checksum is finished when it is not where translation looks
 * for it; without sense it is refused. */
static void
finishes_other_checksums(void **state)
{
	(void)state;
	for (enum broken what = VERSION; what <= PROTOCOL; what++) {
		struct vnet_packet p = make(true, 20, 20, 300, 0);

		break_one(&p, what, true);
		assert_int_equal(wire_agree(&p), 0);
		assert_int_equal(p.hdr.flags, 0);
		assert_int_equal(p.hdr.csum_start, 0);
		if (what == OUTER_LEN)
			assert_true(sum_is_right(pbuf_data(&p.b) + OUTER, 340));
	}
	struct vnet_packet p = make(true, 20, 20, 300, 0);
	p.hdr.csum_start = (uint16_t)(p.b.len - 17);
	assert_int_equal(wire_agree(&p), UK_EPROTO);
}

static void
split_checks(void **state)
{
	static uint8_t slab[BIG];
	struct vnet_room room = {slab, sizeof(slab), 16, 0};
	struct vnet_packet p = make(true, 20, 20, 3000, 1000);
	struct pbuf out[4];

	(void)state;
	assert_int_equal(wire_split(&p, &room, out, 4), 3);
	assert_int_equal(wire_split(&p, &room, out, 2), UK_EMSGSIZE);
	p.hdr.csum_start = 39;
	assert_int_equal(wire_split(&p, &room, out, 4), UK_EPROTO);
	p = make(true, 20, 20, 3000, 1000);
	pbuf_data(&p.b)[6] = 41;
	assert_int_equal(wire_split(&p, &room, out, 4), UK_EPROTO);
	p = make(true, 20, 20, 3000, 1000);
	pbuf_trim(&p.b, 39);
	assert_int_equal(wire_split(&p, &room, out, 4), UK_EPROTO);
	p = make(true, 20, 20, 1000, 0);
	assert_int_equal(wire_split(&p, &room, out, 4), 1);
	assert_true(sum_is_right(pbuf_data(out) + OUTER, 1040));
}

/* Pieces, put together by hand, are the packet. */
static void
split_random(void **state)
{
	static uint8_t slab[400000];
	static struct pbuf out[PIECES];
	struct vnet_room room = {slab, sizeof(slab), 16, 3};

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		bool tcp = rnd() & 1;
		uint32_t ihl = 20 + 4 * (uint32_t)(rnd() % 11);
		uint32_t thl = tcp ? 20 + 4 * (uint32_t)(rnd() % 11) : 8;
		uint32_t len = 1 + (uint32_t)(rnd() % 60000);
		uint16_t mss = (uint16_t)(len / 1000 + 1 + rnd() % 1400);
		struct vnet_packet p = make(tcp, ihl, thl, len, mss);
		const uint8_t *whole = pbuf_data(&p.b);
		uint32_t hlen = OUTER + ihl + thl, at = hlen;

		int n = wire_split(&p, &room, out, PIECES);
		assert_int_equal(n, (len + mss - 1) / mss);
		for (int i = 0; i < n; i++) {
			const uint8_t *b = pbuf_data(&out[i]);
			uint32_t part = out[i].len - hlen;

			assert_true(pbuf_headroom(&out[i]) >= 16);
			assert_int_equal(part, i < n - 1 ? mss : p.b.len - at);
			assert_int_equal(load_be16(b + 4), out[i].len - OUTER);
			assert_memory_equal(b, whole, 4);
			assert_memory_equal(b + 6, whole + 6, 34);
			assert_memory_equal(b + hlen, whole + at, part);
			assert_true(
			    sum_is_right(b + OUTER, out[i].len - OUTER));
			at += part;
		}
		assert_int_equal(at, p.b.len);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(agrees),
	    cmocka_unit_test(agrees_finished),
	    cmocka_unit_test(d7_refuses_what_does_not_agree),
	    cmocka_unit_test(refuses_other_types),
	    cmocka_unit_test(finishes_other_checksums),
	    cmocka_unit_test(split_checks),
	    cmocka_unit_test(split_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
