#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/err.h"
#include "core/vnet.h"

#define FIN 0x01
#define PSH 0x08
#define ACK 0x10
#define CWR 0x80

#define PACKETS 200
#define SLOT 9600

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* What a packet is made of: the twin reasons about this, never about bytes. */
struct spec {
	bool v6, tcp;
	uint8_t tos, ttl;
	uint16_t id, frag; /* v4; frag: flags and offset */
	uint32_t flow; /* v6 flow label */
	uint8_t src, dst; /* last byte of the addresses */
	uint8_t net; /* another one, of the source */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint16_t window, urgent;
	uint8_t flags, reserved;
	uint8_t opt_len; /* TCP options, times 4 */
	uint8_t opt; /* their bytes */
	uint8_t ext; /* bytes of IPv4 options or of a v6 extension */
	uint8_t other; /* protocol, when it is neither TCP nor UDP */
	bool frag6; /* the v6 extension is a fragment header, with frag */
	const uint8_t *payload;
	size_t len; /* of the payload */
	/* What is wrong with it. */
	bool bad_ip_csum, bad_l4_csum, no_csum;
	uint8_t pad, cut; /* bytes too many, too few */
};

static uint8_t noise[70000];

static const struct spec plain = {.tcp = true,
    .ttl = 64,
    .id = 0xfffe,
    .frag = 0x4000,
    .flow = 0x12345,
    .src = 1,
    .dst = 2,
    .sport = 40000,
    .dport = 443,
    .seq = 0xfffffff0,
    .ack = 77,
    .window = 501,
    .flags = ACK,
    .payload = noise,
    .len = 100};

static const struct {
	bool v6, tcp;
} kinds[] = {{false, true}, {true, true}, {false, false}, {true, false}};

static struct spec
plain_kind(size_t i)
{
	struct spec s = plain;

	s.v6 = kinds[i].v6;
	s.tcp = kinds[i].tcp;
	return s;
}

static uint32_t
slow_sum(uint32_t sum, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 == 0 ? (uint32_t)b[i] << 8 : b[i];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static size_t
l3_len(const struct spec *s)
{
	return (s->v6 ? 40u : 20u) + s->ext;
}

static size_t
header_len(const struct spec *s)
{
	return l3_len(s) + (s->tcp ? 20u + s->opt_len : 8u);
}

static uint32_t
pseudo_sum(const struct spec *s, const uint8_t *b, size_t l4_len)
{
	uint8_t tail[4] = {
	    0, s->tcp ? 6 : 17, (uint8_t)(l4_len >> 8), (uint8_t)l4_len};
	uint32_t sum = slow_sum(0, tail, sizeof(tail));

	return s->v6 ? slow_sum(sum, b + 8, 32) : slow_sum(sum, b + 12, 8);
}

static void
build_ip(const struct spec *s, uint8_t *b, size_t total)
{
	uint8_t proto = s->other != 0 ? s->other : s->tcp ? 6 : 17;

	memset(b, 0, header_len(s));
	if (s->v6) {
		store_be32(b, 6u << 28 | (uint32_t)s->tos << 20 | s->flow);
		store_be16(b + 4, (uint16_t)(total - 40));
		b[6] = s->ext == 0 ? proto : s->frag6 ? 44 : 60;
		b[7] = s->ttl;
		b[8] = b[24] = 0xfd;
		b[16] = s->net;
		b[23] = s->src;
		b[39] = s->dst;
		if (s->ext > 0) {
			b[40] = proto;
			b[41] = (uint8_t)(s->ext / 8 - 1);
			if (s->frag6)
				store_be16(b + 42, s->frag);
		}
		return;
	}
	b[0] = (uint8_t)(0x45 + s->ext / 4);
	b[1] = s->tos;
	store_be16(b + 2, (uint16_t)total);
	store_be16(b + 4, s->id);
	store_be16(b + 6, s->frag);
	b[8] = s->ttl;
	b[9] = proto;
	b[12] = b[16] = 10;
	b[13] = s->net;
	b[15] = s->src;
	b[19] = s->dst;
	memset(b + 20, 1, s->ext);
	store_be16(
	    b + 10, (uint16_t)(~slow_sum(0, b, l3_len(s)) ^ s->bad_ip_csum));
}

static void
build_l4(const struct spec *s, uint8_t *l4, size_t l4_len)
{
	store_be16(l4, s->sport);
	store_be16(l4 + 2, s->dport);
	if (!s->tcp) {
		store_be16(l4 + 4, (uint16_t)l4_len);
		return;
	}
	store_be32(l4 + 4, s->seq);
	store_be32(l4 + 8, s->ack);
	l4[12] = (uint8_t)((20 + s->opt_len) / 4 << 4 | s->reserved);
	l4[13] = s->flags;
	store_be16(l4 + 14, s->window);
	store_be16(l4 + 18, s->urgent);
	memset(l4 + 20, s->opt, s->opt_len);
}

/* Write the packet; super: with the pseudo header's sum for a checksum.
 * Returns its length as the header says it. */
static size_t
build(const struct spec *s, uint8_t *b, bool super)
{
	size_t total = header_len(s) + s->len;
	size_t l4_len = total - l3_len(s);
	uint8_t *l4 = b + l3_len(s);
	uint8_t *field = l4 + (s->tcp ? 16 : 6);

	build_ip(s, b, total);
	build_l4(s, l4, l4_len);
	if (s->len > 0)
		memcpy(b + header_len(s), s->payload, s->len);
	uint32_t sum = pseudo_sum(s, b, l4_len);
	if (super) {
		store_be16(field, (uint16_t)sum);
		return total;
	}
	uint16_t check = (uint16_t)~slow_sum(sum, l4, l4_len);
	if (check == 0 && !s->tcp)
		check = 0xffff;
	store_be16(field, (uint16_t)(check ^ s->bad_l4_csum));
	if (s->no_csum)
		store_be16(field, 0);
	return total;
}

static struct vnet_hdr
super_hdr(const struct spec *s, size_t gso_size)
{
	uint8_t type = !s->tcp ? VNET_GSO_UDP_L4
		       : s->v6 ? VNET_GSO_TCPV6
			       : VNET_GSO_TCPV4;

	return (struct vnet_hdr){.flags = VNET_F_NEEDS_CSUM,
	    .gso_type = type,
	    .hdr_len = (uint16_t)header_len(s),
	    .gso_size = (uint16_t)gso_size,
	    .csum_start = (uint16_t)l3_len(s),
	    .csum_offset = s->tcp ? 16 : 6};
}

/* The twin of vnet_split: packet i as if the sender had made it alone. */
static size_t
twin_segment(const struct spec *super, size_t gso_size, size_t i, uint8_t *b)
{
	struct spec s = *super;
	size_t at = i * gso_size;

	s.id = (uint16_t)(s.id + i);
	s.seq += (uint32_t)at;
	s.payload += at;
	s.len -= at;
	if (s.len > gso_size) {
		s.len = gso_size;
		s.flags &= (uint8_t) ~(FIN | PSH);
	}
	if (i > 0)
		s.flags &= (uint8_t)~CWR;
	return build(&s, b, false);
}

/* Split by both and compare every byte; returns the number of packets. */
static int
check_split(const struct spec *s, size_t gso_size)
{
	static uint8_t super[66000];
	static uint8_t slab[400000];
	static struct pbuf out[2000];
	static uint8_t want[66000];
	struct vnet_room room = {slab, sizeof(slab), 16, 16};
	struct vnet_hdr h = super_hdr(s, gso_size);
	size_t len = build(s, super, true);
	int n = vnet_split(&h, super, len, &room, out, ARRAY_LEN(out));
	size_t expect = s->len == 0 ? 1 : (s->len + gso_size - 1) / gso_size;

	assert_int_equal(n, expect);
	for (size_t i = 0; i < expect; i++) {
		size_t want_len = twin_segment(s, gso_size, i, want);

		assert_int_equal(out[i].len, want_len);
		assert_memory_equal(pbuf_data(&out[i]), want, want_len);
		assert_int_equal(pbuf_headroom(&out[i]), 16);
		assert_true(pbuf_tailroom(&out[i]) >= 16);
		assert_int_equal(out[i].cap % 16, 0);
		assert_ptr_equal(out[i].base, slab + i * out[0].cap);
	}
	return n;
}

static void
test_hdr(void **state)
{
	(void)state;
	struct vnet_hdr h = {1, 0x81, 0x1234, 0x5678, 0x9abc, 0xdef0};
	struct vnet_hdr g;
	uint8_t b[VNET_HDR_LEN];
	uint16_t native = 0x5678;

	vnet_hdr_store(&h, b);
	assert_int_equal(b[0], 1);
	assert_int_equal(b[1], 0x81);
	assert_memory_equal(b + 4, &native, 2);
	vnet_hdr_load(&g, b);
	assert_memory_equal(&g, &h, sizeof(h));
}

static void
test_complete_csum(void **state)
{
	(void)state;
	static const struct {
		uint8_t flags;
		uint16_t start, offset;
		size_t len;
		int want;
	} row[] = {
	    {1, 0, 0, 2, 0},
	    {1, 0, 0, 1, UK_EPROTO},
	    {1, 0, 0, 0, UK_EPROTO},
	    {1, 10, 4, 16, 0},
	    {1, 10, 4, 15, UK_EPROTO},
	    {1, 16, 0, 16, UK_EPROTO},
	    {1, 65535, 65535, 64, UK_EPROTO},
	    {0, 65535, 65535, 64, 0},
	    {2, 65535, 65535, 64, 0},
	};
	struct spec s = plain;
	uint8_t b[200];
	uint8_t want[200];

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct vnet_hdr h = {.flags = row[i].flags,
		    .csum_start = row[i].start,
		    .csum_offset = row[i].offset};
		uint8_t *exact = calloc(1, row[i].len + 1);

		assert_int_equal(
		    vnet_complete_csum(&h, exact, row[i].len), row[i].want);
		assert_int_equal(exact[row[i].len], 0);
		free(exact);
	}
	for (size_t i = 0; i < 4; i++) {
		for (s = plain_kind(i), s.len = 0; s.len < 50; s.len++) {
			struct vnet_hdr h = super_hdr(&s, 0);
			size_t len = build(&s, b, true);

			build(&s, want, false);
			assert_int_equal(vnet_complete_csum(&h, b, len), 0);
			assert_memory_equal(b, want, len);
		}
	}
}

static void
test_split_sizes(void **state)
{
	(void)state;
	static const struct {
		size_t payload, gso_size;
	} row[] = {{0, 100}, {1, 100}, {99, 100}, {100, 100}, {101, 100},
	    {199, 100}, {200, 100}, {201, 100}, {1500, 1}, {1501, 3},
	    {300, 65535}, {14600, 1460}, {9000, 8960}, {60000, 59999},
	    {65475, 65475}, {65475, 65535}};

	for (size_t i = 0; i < 4; i++) {
		struct spec s = plain_kind(i);

		for (size_t k = 0; k < ARRAY_LEN(row); k++) {
			s.len = row[k].payload;
			check_split(&s, row[k].gso_size);
		}
		/* as large as a packet gets */
		s.len = 65535 - header_len(&s);
		assert_true(check_split(&s, 1380) > 45);
		if (s.v6) {
			s.len += 40;
			assert_true(check_split(&s, 1380) > 45);
		}
		/* IPv4 options, v6 extension header */
		s.len = 1000;
		s.ext = 24;
		assert_int_equal(check_split(&s, 300), 4);
		s.ext = s.v6 ? 248 : 40;
		s.opt_len = 40;
		s.opt = 1;
		assert_int_equal(check_split(&s, 300), 4);
	}
}

/* All flags; the ECN bit of gso_type changes nothing. */
static void
test_split_flags(void **state)
{
	(void)state;
	struct spec s = plain;

	for (unsigned flags = 0; flags < 256; flags++) {
		s.flags = (uint8_t)flags;
		s.reserved = (uint8_t)(flags & 1);
		s.len = 250;
		assert_int_equal(check_split(&s, 100), 3);
		s.len = 100;
		assert_int_equal(check_split(&s, 100), 1);
	}
	static uint8_t b[500];
	static uint8_t slab[1000];
	struct pbuf out[3];
	struct vnet_room room = {slab, sizeof(slab), 0, 0};
	uint8_t want[500];
	s.flags = ACK | CWR;
	s.len = 250;
	size_t len = build(&s, b, true);
	struct vnet_hdr h = super_hdr(&s, 100);
	h.gso_type |= VNET_GSO_ECN;
	h.hdr_len = 0; /* not trusted */
	assert_int_equal(vnet_split(&h, b, len, &room, out, 3), 3);
	for (size_t i = 0; i < 3; i++) {
		len = twin_segment(&s, 100, i, want);
		assert_memory_equal(pbuf_data(&out[i]), want, len);
	}
}

enum spoil {
	NOTHING,
	NO_NEEDS_CSUM,
	GSO_SIZE_0,
	TYPE_UFO,
	TYPE_2,
	TYPE_ONLY_ECN,
	TYPE_TUNNEL,
	TYPE_OTHER_FAMILY,
	TYPE_OTHER_PROTO,
	START_LESS,
	START_MORE,
	START_FAR,
	OFFSET_LESS,
	OFFSET_OTHER,
	LONGER,
	SHORTER,
	VERSION,
	PROTO,
	FRAGMENT,
	L4_LEN_SHORT,
	L4_LEN_LONG,
	SPOILS
};

/* A first fragment, with all else in agreement. */
static void
spoil_fragment(const struct spec *s, struct vnet_hdr *h, uint8_t *b)
{
	if (!s->v6) {
		b[6] = 0x20;
		return;
	}
	b[6] = 44;
	memset(b + 40, 0, 16);
	b[40] = s->tcp ? 6 : 17;
	b[43] = 1;
	h->csum_start = 48;
	if (s->tcp)
		b[48 + 12] = 0x50;
	else
		b[48 + 5] = (uint8_t)(b[5] - 8);
}

static void
spoil(enum spoil how, const struct spec *s, struct vnet_hdr *h, uint8_t *b,
    size_t *len)
{
	uint8_t *l4_len = b + l3_len(s) + (s->tcp ? 12 : 5);
	uint8_t other_family = s->v6 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6;
	uint8_t other_proto = s->tcp  ? VNET_GSO_UDP_L4
			      : s->v6 ? VNET_GSO_TCPV6
				      : VNET_GSO_TCPV4;

	/* clang-format off */
	switch (how) {
	case NO_NEEDS_CSUM: h->flags = VNET_F_DATA_VALID; break;
	case GSO_SIZE_0: h->gso_size = 0; break;
	case TYPE_UFO: h->gso_type = 3; break;
	case TYPE_2: h->gso_type = 2; break;
	case TYPE_ONLY_ECN: h->gso_type = VNET_GSO_ECN; break;
	case TYPE_TUNNEL: h->gso_type |= 0x20; break;
	case TYPE_OTHER_FAMILY: h->gso_type = other_family; break;
	case TYPE_OTHER_PROTO: h->gso_type = other_proto; break;
	case START_LESS: h->csum_start--; break;
	case START_MORE: h->csum_start++; break;
	case START_FAR: h->csum_start = 65535; break;
	case OFFSET_LESS: h->csum_offset -= 2; break;
	case OFFSET_OTHER: h->csum_offset = s->tcp ? 6 : 16; break;
	case LONGER: (*len)++; break;
	case SHORTER: (*len)--; break;
	case VERSION: b[0] ^= 0x20; break;
	case PROTO: b[s->v6 ? 6 : 9] = s->tcp ? 17 : 6; break;
	case FRAGMENT: spoil_fragment(s, h, b); break;
	case L4_LEN_SHORT: *l4_len = s->tcp ? 0x40 : *l4_len - 1; break;
	case L4_LEN_LONG: *l4_len = s->tcp ? 0xf0 : *l4_len + 1; break;
	default: break;
	}
	/* clang-format on */
}

/* C1, C4: header and packet must agree; each disagreement by itself. */
static void
test_split_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct spec s = plain_kind(i);

		s.len = 30; /* a TCP header of 60 bytes would not fit */
		for (int how = NOTHING; how < SPOILS; how++) {
			uint8_t b[200];
			uint8_t slab[500];
			struct vnet_room room = {slab, sizeof(slab), 0, 0};
			struct pbuf out[10];
			struct vnet_hdr h = super_hdr(&s, 20);
			size_t len = build(&s, b, true);

			spoil((enum spoil)how, &s, &h, b, &len);
			uint8_t *exact = malloc(len);
			memcpy(exact, b, len);
			assert_int_equal(
			    vnet_split(&h, exact, len, &room, out, 10),
			    how == NOTHING ? 2 : UK_EPROTO);
			free(exact);
		}
	}
}

/* Too small by one packet view or one byte; nothing is written outside. */
static void
test_split_room(void **state)
{
	(void)state;
	struct spec s = plain;
	uint8_t b[400];
	struct pbuf out[3];
	struct vnet_hdr h = super_hdr(&s, 100);

	s.len = 250;
	size_t len = build(&s, b, true);
	for (uint32_t tail = 0; tail < 40; tail++) {
		size_t stride = (7 + 140 + tail + 15) / 16 * 16;
		uint8_t *slab = malloc(3 * stride);
		struct vnet_room room = {slab, 3 * stride, 7, tail};

		assert_int_equal(vnet_split(&h, b, len, &room, out, 3), 3);
		assert_int_equal(out[2].cap, stride);
		assert_int_equal(
		    vnet_split(&h, b, len, &room, out, 2), UK_EMSGSIZE);
		assert_int_equal(
		    vnet_split(&h, b, len, &room, out, 0), UK_EMSGSIZE);
		room.slab_len--;
		assert_int_equal(
		    vnet_split(&h, b, len, &room, out, 3), UK_EMSGSIZE);
		room.slab_len = 0;
		assert_int_equal(
		    vnet_split(&h, b, len, &room, out, 3), UK_EMSGSIZE);
		room.slab_len = 3 * stride;
		room.headroom = UINT32_MAX;
		assert_int_equal(
		    vnet_split(&h, b, len, &room, out, 3), UK_EMSGSIZE);
		free(slab);
	}
}

static void
test_split_whole(void **state)
{
	(void)state;
	struct spec s = plain;
	uint8_t b[200];
	uint8_t want[200];
	uint8_t slab[176];
	struct vnet_room room = {slab, sizeof(slab), 16, 16};
	struct pbuf out;
	struct vnet_hdr h = {0};

	size_t len = build(&s, b, false);
	assert_int_equal(vnet_split(&h, b, len, &room, &out, 1), 1);
	assert_int_equal(out.len, len);
	assert_int_equal(out.off, 16);
	assert_memory_equal(pbuf_data(&out), b, len);
	room.slab_len--;
	assert_int_equal(vnet_split(&h, b, len, &room, &out, 1), UK_EMSGSIZE);
	room.slab_len++;
	assert_int_equal(vnet_split(&h, b, len, &room, &out, 0), UK_EMSGSIZE);

	/* The kernel left the checksum to us. */
	build(&s, want, false);
	build(&s, b, true);
	h = super_hdr(&s, 0);
	h.gso_type = VNET_GSO_NONE;
	assert_int_equal(vnet_split(&h, b, len, &room, &out, 1), 1);
	assert_memory_equal(pbuf_data(&out), want, len);
	h.csum_start = (uint16_t)len;
	assert_int_equal(vnet_split(&h, b, len, &room, &out, 1), UK_EPROTO);
}

static void
test_split_random(void **state)
{
	(void)state;
	for (int i = 0; i < 1500; i++) {
		struct spec s = plain_kind(rnd() % 4);

		s.tos = (uint8_t)rnd();
		s.id = (uint16_t)rnd();
		s.frag = rnd() % 2 ? 0x4000 : 0;
		s.seq = (uint32_t)rnd();
		s.ack = (uint32_t)rnd();
		s.window = (uint16_t)rnd();
		s.flags = (uint8_t)rnd();
		s.opt_len = (uint8_t)(rnd() % 11 * 4);
		s.opt = (uint8_t)rnd();
		s.ext = (uint8_t)(rnd() % 3 * 8);
		s.payload = noise + rnd() % 5000;
		s.len = rnd() % 2000;
		check_split(&s, 1 + rnd() % 1500);
	}
}

/* Packets as they lie in the receiver's slab. */
static uint8_t slot[PACKETS][SLOT];
static uint8_t before[PACKETS][SLOT];
static struct pbuf view[PACKETS];
static struct vnet_join join;

static void
lay_out(const struct spec *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		size_t len = build(&s[i], slot[i], false);

		memset(slot[i] + len, 0xa5, SLOT - len);
		view[i] =
		    pbuf_make(slot[i], SLOT, 0, len + s[i].pad - s[i].cut);
		memcpy(before[i], slot[i], SLOT);
	}
}

/* May this packet be in a group at all? */
static bool
twin_fit(const struct spec *s, bool udp)
{
	if (s->pad || s->cut || s->ext || s->other || s->len == 0 ||
	    s->bad_ip_csum || s->bad_l4_csum)
		return false;
	if (!s->v6 && s->frag != 0 && s->frag != 0x4000)
		return false;
	if (!s->tcp)
		return udp && !s->no_csum;
	return s->reserved == 0 && (s->flags == ACK || s->flags == (ACK | PSH));
}

/* Is b the packet after k packets with `sent` bytes of payload that a begins?
 */
static bool
twin_next(const struct spec *a, const struct spec *b, unsigned k, size_t sent)
{
	if (a->v6 != b->v6 || a->tcp != b->tcp || a->net != b->net ||
	    a->src != b->src || a->dst != b->dst || a->sport != b->sport ||
	    a->dport != b->dport || a->tos != b->tos || a->ttl != b->ttl)
		return false;
	if (a->v6 ? a->flow != b->flow : a->frag != b->frag)
		return false;
	if (!a->v6 && a->frag == 0 && b->id != (uint16_t)(a->id + k))
		return false;
	if (a->tcp && (b->seq != (uint32_t)(a->seq + sent) ||
			  a->ack != b->ack || a->window != b->window ||
			  a->urgent != b->urgent || a->opt_len != b->opt_len ||
			  (a->opt_len > 0 && a->opt != b->opt)))
		return false;
	return b->len <= a->len && header_len(a) + sent + b->len <= 65535;
}

static bool
has_ports(const struct spec *s)
{
	if (s->other)
		return false;
	if (s->v6)
		return !s->frag6 || (s->frag & 0xfff9) == 0;
	return (s->frag & 0x3fff) == 0;
}

/* Must these two packets keep their order? */
static bool
twin_ordered(const struct spec *a, const struct spec *b)
{
	if (a->cut || b->cut || a->v6 != b->v6 || a->net != b->net ||
	    a->src != b->src || a->dst != b->dst)
		return false;
	if (!has_ports(a) || !has_ports(b))
		return true;
	return a->tcp == b->tcp && a->sport == b->sport && a->dport == b->dport;
}

/* The twin of vnet_join, which looks back over all packets and has no limit
 * to open groups. */
struct twin_group {
	struct spec whole;
	unsigned count;
	unsigned member[PACKETS];
	bool closed;
};

static struct twin_group twin[PACKETS];
static unsigned twin_of[PACKETS]; /* which group packet i is in */
static unsigned ntwins;

static bool
twin_append(struct twin_group *g, const struct spec *s, unsigned i)
{
	const struct spec *lead = &s[g->member[0]];

	if (g->closed || !twin_next(lead, &s[i], g->count, g->whole.len))
		return false;
	g->whole.len += s[i].len;
	g->whole.flags |= s[i].flags;
	g->member[g->count++] = i;
	g->closed = s[i].len < lead->len || (s[i].tcp && s[i].flags & PSH);
	return true;
}

static void
twin_join(const struct spec *s, unsigned n, bool udp)
{
	ntwins = 0;
	for (unsigned i = 0; i < n; i++) {
		bool fit = twin_fit(&s[i], udp);
		unsigned k = i;

		/* The last packet before that this one must not overtake. */
		while (k > 0 && !twin_ordered(&s[k - 1], &s[i]))
			k--;
		if (fit && k > 0 && twin_append(&twin[twin_of[k - 1]], s, i)) {
			twin_of[i] = twin_of[k - 1];
			continue;
		}
		twin[ntwins] = (struct twin_group){.whole = s[i],
		    .count = 1,
		    .member = {i},
		    .closed = !fit || (s[i].tcp && s[i].flags & PSH)};
		twin_of[i] = ntwins++;
	}
}

/* What went up must come apart into the packets that came in. */
static void
check_back(const struct vnet_group *g, const struct spec *s)
{
	static uint8_t super[66000];
	static uint8_t slab[300000];
	struct vnet_room room = {slab, sizeof(slab), 0, 0};
	struct pbuf out[PACKETS];
	size_t len = 0;
	unsigned at = g->first;

	for (unsigned i = 0; i < g->count; i++, at = join.next[at]) {
		size_t skip = i == 0 ? 0 : g->hlen;

		memcpy(super + len, slot[at] + skip, view[at].len - skip);
		len += view[at].len - skip;
	}
	assert_int_equal(
	    vnet_split(&g->hdr, super, len, &room, out, PACKETS), g->count);
	at = g->first;
	for (unsigned i = 0; i < g->count; i++, at = join.next[at]) {
		struct spec one = s[at];
		uint8_t want[SLOT];

		one.id = (uint16_t)(s[g->first].id + i);
		assert_int_equal(out[i].len, build(&one, want, false));
		assert_memory_equal(pbuf_data(&out[i]), want, out[i].len);
	}
}

/* The same packets as the twin's group, the header as the twin makes it, and
 * nothing else written. */
static void
check_group(const struct vnet_group *g, const struct spec *s)
{
	static uint8_t super[66000];
	struct twin_group *t = &twin[twin_of[g->first]];
	size_t hlen = t->count == 1 ? 0 : header_len(&s[g->first]);
	struct vnet_hdr h = {0};
	unsigned at = g->first;

	assert_int_equal(g->count, t->count);
	assert_int_equal(g->hlen, hlen);
	for (unsigned i = 0; i < g->count; i++, at = join.next[at]) {
		size_t from = i == 0 ? hlen : 0;

		assert_int_equal(at, t->member[i]);
		assert_memory_equal(
		    slot[at] + from, before[at] + from, SLOT - from);
	}
	if (t->count > 1) {
		h = super_hdr(&s[g->first], s[g->first].len);
		t->whole.payload = noise;
		build(&t->whole, super, true);
		assert_memory_equal(slot[g->first], super, hlen);
		check_back(g, s);
	}
	assert_memory_equal(&g->hdr, &h, sizeof(h));
}

/* order[k] is the packet that goes up as the k-th. */
static void
check_order(const struct spec *s, const unsigned *order, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		for (unsigned i = 0; i < k; i++)
			assert_false(order[i] > order[k] &&
				     twin_ordered(&s[order[i]], &s[order[k]]));
}

/* Join by both and compare; returns the number of packets that the first is
 * joined with, itself counted. */
static unsigned
check_join(const struct spec *s, unsigned n, bool udp)
{
	unsigned order[PACKETS];
	unsigned done = 0;
	struct vnet_group g;

	lay_out(s, n);
	twin_join(s, n, udp);
	vnet_join_begin(&join, view, n, udp);
	while (vnet_join_next(&join, &g)) {
		unsigned at = g.first;

		check_group(&g, s);
		for (unsigned i = 0; i < g.count; i++, at = join.next[at])
			order[done++] = at;
	}
	assert_int_equal(done, n);
	check_order(s, order, n);
	assert_false(vnet_join_next(&join, &g));
	return twin[0].count;
}

/* n packets of one flow that may be joined. */
static void
make_run(struct spec *s, const struct spec *first, unsigned n)
{
	s[0] = *first;
	for (unsigned i = 1; i < n; i++) {
		s[i] = s[i - 1];
		s[i].seq += (uint32_t)s[i - 1].len;
		s[i].id++;
	}
}

static void
test_join_plain(void **state)
{
	(void)state;
	static struct spec s[PACKETS];

	for (size_t i = 0; i < 4; i++) {
		struct spec first = plain_kind(i);

		make_run(s, &first, 10);
		assert_int_equal(check_join(s, 1, true), 1);
		assert_int_equal(check_join(s, 2, true), 2);
		assert_int_equal(check_join(s, 10, true), 10);
		assert_int_equal(check_join(s, 10, false), first.tcp ? 10 : 1);
		/* what lies behind the n-th is not looked at */
		assert_int_equal(check_join(s, 3, true), 3);
		/* what is never joined, however often it comes */
		first.ext = 8;
		make_run(s, &first, 10);
		assert_int_equal(check_join(s, 10, true), 1);
		first.ext = 0;
		first.frag = 0xc000; /* the reserved flag */
		make_run(s, &first, 10);
		assert_int_equal(check_join(s, 10, true), first.v6 ? 10 : 1);
		first.frag = 0; /* no DF: IDs that count, over the wrap */
		first.opt_len = 12;
		make_run(s, &first, 10);
		assert_int_equal(check_join(s, 10, true), 10);
		/* a smaller one is the last */
		s[4].len = 99;
		s[5].seq = s[4].seq + 99;
		assert_int_equal(check_join(s, 10, true), 5);
		s[4].len = 1;
		assert_int_equal(check_join(s, 10, true), 5);
		s[4].len = 0;
		assert_int_equal(check_join(s, 10, true), 4);
		s[4].len = 101;
		assert_int_equal(check_join(s, 10, true), 4);
	}
}

/* A sum of 0 must not look like "no checksum" (RFC 768), nor "no checksum"
 * like a sum of 0. */
static void
test_udp_zero(void **state)
{
	(void)state;
	uint8_t payload[4] = {0};
	uint8_t b[100];
	struct spec s = plain_kind(2);
	struct spec two[2];
	unsigned zeros = 0;

	s.payload = payload;
	s.len = sizeof(payload);
	for (uint32_t v = 0; v < 0x10000; v++) {
		store_be16(payload, (uint16_t)v);
		store_be16(payload + 2, (uint16_t)v);
		build(&s, b, false);
		if (load_be16(b + 26) != 0xffff)
			continue;
		zeros++;
		assert_int_equal(check_split(&s, 2), 2);
		assert_int_equal(check_split(&s, 4), 1);
		struct vnet_hdr h = super_hdr(&s, 0);
		size_t len = build(&s, b, true);
		assert_int_equal(vnet_complete_csum(&h, b, len), 0);
		assert_int_equal(load_be16(b + 26), 0xffff);
		two[0] = two[1] = s;
		assert_int_equal(check_join(two, 2, true), 2);
		two[1].no_csum = true;
		assert_int_equal(check_join(two, 2, true), 1);
	}
	assert_true(zeros > 0);
}

/* At most 65535 bytes; one more packet would be too many by one byte. */
static void
test_join_limit(void **state)
{
	(void)state;
	static struct spec s[PACKETS];

	for (size_t i = 0; i < 4; i++) {
		struct spec first = plain_kind(i);
		size_t room = 65535 - header_len(&first);

		first.len = 1380;
		make_run(s, &first, 60);
		assert_int_equal(check_join(s, 60, true), room / 1380);
		first.len = 9000; /* jumbo */
		make_run(s, &first, 10);
		assert_int_equal(check_join(s, 10, true), 7);
		s[7].len = room - 7 * 9000;
		assert_int_equal(check_join(s, 10, true), 8);
		s[7].len++;
		assert_int_equal(check_join(s, 10, true), 7);
	}
}

/* ECN, and all other flags: on the first, in the middle, on the last. */
static void
test_join_flags(void **state)
{
	(void)state;
	struct spec s[4];

	for (unsigned flags = 0; flags < 256; flags++) {
		bool psh = flags == (ACK | PSH);

		for (unsigned at = 0; at < 4; at++) {
			make_run(s, &plain, 4);
			s[at].flags = (uint8_t)flags;
			unsigned want = flags == ACK ? 4
					: at == 0    ? 1
					: psh        ? at + 1
						     : at;
			assert_int_equal(check_join(s, 4, true), want);
		}
		make_run(s, &plain, 4);
		for (unsigned at = 0; at < 4; at++)
			s[at].flags = (uint8_t)flags;
		assert_int_equal(check_join(s, 4, true), flags == ACK ? 4 : 1);
	}
	make_run(s, &plain, 4);
	s[2].reserved = 1; /* AE, once NS */
	assert_int_equal(check_join(s, 4, true), 2);
}

/* CE on one of them must not become CE on all, nor on none; with it on all
 * the group is as good as any. */
static void
test_join_ecn(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct spec s[4];
		struct spec first = plain_kind(i);

		first.tos = 2; /* ECT(0) */
		make_run(s, &first, 4);
		assert_int_equal(check_join(s, 4, true), 4);
		s[2].tos = 3;
		assert_int_equal(check_join(s, 4, true), 2);
		assert_int_equal(ntwins, 3);
		s[0].tos = s[1].tos = s[3].tos = 3;
		assert_int_equal(check_join(s, 4, true), 4);
	}
}

/* With DF the ID says nothing: equal, random, backwards. */
static void
test_join_ids(void **state)
{
	(void)state;
	struct spec s[4];

	make_run(s, &plain, 4);
	s[1].id = s[0].id;
	s[2].id = 5;
	s[3].id = 4;
	assert_int_equal(check_join(s, 4, true), 4);
	for (unsigned i = 0; i < 4; i++)
		s[i].frag = 0;
	assert_int_equal(check_join(s, 4, true), 1);
	s[1].id = (uint16_t)(s[0].id + 1);
	s[2].id = (uint16_t)(s[0].id + 2);
	assert_int_equal(check_join(s, 4, true), 3);
}

/* P8: every way in which one packet may differ from those before it. */
#define DIFFS 37

static void
differ(struct spec *s, unsigned how)
{
	/* clang-format off */
	switch (how) {
	case 0: s->seq++; break;
	case 1: s->seq--; break;
	case 2: s->seq -= 100; break; /* sent again */
	case 3: s->ack++; break;
	case 4: s->window ^= 0x100; break;
	case 5: s->urgent = 1; break;
	case 6: s->opt ^= 1; s->opt_len = 12; break;
	case 7: s->opt_len = (uint8_t)((s->opt_len + 4) % 44); break;
	case 8: s->tos ^= 1; break; /* ECN */
	case 9: s->tos ^= 3; break;
	case 10: s->tos ^= 0x40; break;
	case 11: s->ttl--; break;
	case 12: s->flow ^= 1; break;
	case 13: s->frag ^= 0x4000; break;
	case 14: s->frag ^= 0x8000; break;
	case 15: s->frag = 0x2000; break;
	case 16: s->frag = 0x0001; break;
	case 17: s->id++; break;
	case 18: s->src++; break;
	case 19: s->dst++; break;
	case 20: s->sport++; break;
	case 21: s->dport++; break;
	case 22: s->len--; break;
	case 23: s->len++; break;
	case 24: s->len = 0; break;
	case 25: s->bad_ip_csum = true; break;
	case 26: s->bad_l4_csum = true; break;
	case 27: s->no_csum = !s->tcp; break;
	case 28: s->pad = 1; break;
	case 29: s->cut = 1; break;
	case 30: s->ext = 8; break;
	case 31: s->tcp = !s->tcp; break;
	case 32: s->v6 = !s->v6; break;
	case 33: s->other = s->v6 ? 58 : 1; break;
	case 34: s->frag6 = true; s->ext = 8; s->frag = 0x0008; break;
	case 35: s->frag6 = true; s->ext = 8; s->frag = 0x0001; break;
	case 36: s->frag6 = true; s->ext = 8; s->frag = 0; break;
	}
	/* clang-format on */
}

/* The header checksum exists in v4 alone; the twin must know. */
static void
settle(struct spec *s)
{
	if (s->v6)
		s->bad_ip_csum = false;
}

static void
test_join_differ(void **state)
{
	(void)state;
	unsigned broken[DIFFS] = {0};

	for (unsigned how = 0; how < DIFFS; how++) {
		for (unsigned at = 0; at < 16; at++) {
			struct spec s[4];
			struct spec first = plain_kind(at % 4);

			first.opt_len = 12;
			first.frag = at % 3 ? 0x4000 : 0;
			make_run(s, &first, 4);
			differ(&s[at / 4], how);
			settle(&s[at / 4]);
			broken[how] += check_join(s, 4, true) < 4;
		}
	}
	for (unsigned how = 0; how < DIFFS; how++)
		assert_true(broken[how] > 0);
}

/* What stands between two packets that would be joined. */
static const struct between {
	const char *name;
	unsigned kind; /* of the two */
	struct {
		uint8_t flags, src, dst, net, other, ext, reserved;
		uint16_t sport, dport, frag;
		bool swap_proto, frag6, swap_family, cut, no_payload;
	} by;
	bool joined;
} betweens[] = {
    /* clang-format off */
    {"other port there", 0, {.dport = 1}, true},
    {"other port here", 1, {.sport = 1}, true},
    {"other source", 2, {.src = 1}, true},
    {"other destination", 3, {.dst = 1}, true},
    {"same host of another net", 0, {.net = 1}, true},
    {"same host of another v6 net", 1, {.net = 1}, true},
    {"UDP among TCP", 0, {.swap_proto = true}, true},
    {"TCP among UDP", 3, {.swap_proto = true}, true},
    {"IPv6 among IPv4", 0, {.swap_family = true}, true},
    {"SYN of another flow", 0, {.dport = 1, .flags = 2}, true},
    {"pure ACK of another flow", 1, {.dport = 1, .no_payload = true}, true},
    {"no IP packet", 0, {.cut = true}, true},
    {"no IPv6 packet", 3, {.cut = true}, true},
    {"pure ACK", 0, {.no_payload = true}, false},
    {"empty UDP", 2, {.no_payload = true}, false},
    {"SYN", 0, {.flags = 2}, false},
    {"FIN", 1, {.flags = 1}, false},
    {"RST", 0, {.flags = 4}, false},
    {"CWR", 0, {.flags = 0x80}, false},
    {"ECE", 1, {.flags = 0x40}, false},
    {"AE", 0, {.reserved = 1}, false},
    {"first fragment", 0, {.frag = 0x2000, .dport = 1}, false},
    {"fragment", 0, {.frag = 0x0001, .dport = 1}, false},
    {"fragment of UDP", 0, {.frag = 0x0001, .swap_proto = true}, false},
    {"fragment elsewhere", 0, {.frag = 0x0001, .dst = 1}, true},
    {"v6 first fragment", 1, {.frag = 1, .frag6 = true, .ext = 8}, false},
    {"v6 fragment", 3, {.frag = 8, .frag6 = true, .ext = 8}, false},
    {"v6 fragment elsewhere", 3,
	{.frag = 8, .frag6 = true, .ext = 8, .src = 1}, true},
    {"v6 fragment to elsewhere", 3,
	{.frag = 8, .frag6 = true, .ext = 8, .dst = 1}, true},
    {"v6 atomic fragment", 1, {.frag6 = true, .ext = 8}, false},
    {"v6 atomic fragment of another flow", 1,
	{.frag6 = true, .ext = 8, .dport = 1}, true},
    {"extension header", 3, {.ext = 16}, false},
    {"extension header of another flow", 3, {.ext = 16, .sport = 1}, true},
    {"IP options", 0, {.ext = 8}, false},
    {"IP options of another flow", 2, {.ext = 8, .sport = 1}, true},
    {"ICMP", 0, {.other = 1}, false},
    {"ICMPv6", 3, {.other = 58}, false},
    {"ICMP from elsewhere", 0, {.other = 1, .src = 1}, true},
    {"ESP", 2, {.other = 50}, false},
    /* clang-format on */
};

static struct spec
make_between(const struct between *b, const struct spec *first)
{
	struct spec s = *first;

	s.flags |= b->by.flags;
	s.src = (uint8_t)(s.src + b->by.src);
	s.dst = (uint8_t)(s.dst + b->by.dst);
	s.net = b->by.net;
	s.sport = (uint16_t)(s.sport + b->by.sport);
	s.dport = (uint16_t)(s.dport + b->by.dport);
	s.other = b->by.other;
	s.ext = b->by.ext;
	s.reserved = b->by.reserved;
	s.frag |= b->by.frag;
	s.frag6 = b->by.frag6;
	if (s.frag6)
		s.frag = b->by.frag;
	s.tcp = s.tcp != b->by.swap_proto;
	s.v6 = s.v6 != b->by.swap_family;
	s.cut = b->by.cut;
	s.len = b->by.no_payload ? 0 : s.len;
	return s;
}

static void
test_join_between(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(betweens); i++) {
		const struct between *b = &betweens[i];
		struct spec s[3];
		struct spec first = plain_kind(b->kind);

		make_run(s, &first, 2);
		s[2] = s[1];
		s[1] = make_between(b, &first);
		unsigned got = check_join(s, 3, true);
		if (got != (b->joined ? 2 : 1))
			fail_msg("%s: %u", b->name, got);
	}
}

/* Too short for ports, so of any flow between the two addresses. */
static void
test_join_no_ports(void **state)
{
	(void)state;
	for (uint8_t l4_len = 3; l4_len <= 4; l4_len++) {
		struct spec s[3];
		struct vnet_group g;

		make_run(s, &plain, 3);
		s[1].dport++;
		s[2].seq = s[1].seq;
		lay_out(s, 3);
		store_be16(slot[1] + 2, 20u + l4_len);
		view[1].len = 20u + l4_len;
		vnet_join_begin(&join, view, 3, true);
		assert_true(vnet_join_next(&join, &g));
		assert_int_equal(g.first, l4_len == 3 ? 0 : 1);
		assert_true(vnet_join_next(&join, &g));
		assert_int_equal(g.first, l4_len == 3 ? 1 : 0);
		assert_int_equal(g.count, l4_len == 3 ? 1 : 2);
		assert_int_equal(vnet_join_next(&join, &g), l4_len == 3);
	}
}

/* A flow more than there are open groups, and nothing is joined; one flow that
 * goes on all the time keeps its group. */
static void
test_join_table(void **state)
{
	(void)state;
	static struct spec s[PACKETS];
	struct vnet_group g;

	for (unsigned flows = VNET_OPEN_MAX; flows <= VNET_OPEN_MAX + 1;
	     flows++) {
		unsigned groups = 0;

		for (unsigned i = 0; i < 3 * flows; i++) {
			s[i] = plain_kind(i % flows % 4);
			s[i].sport = (uint16_t)(i % flows);
			s[i].seq = i / flows * 100;
		}
		lay_out(s, 3 * flows);
		vnet_join_begin(&join, view, 3 * flows, true);
		while (vnet_join_next(&join, &g))
			groups++;
		assert_int_equal(
		    groups, flows == VNET_OPEN_MAX ? flows : 3 * flows);
	}
	unsigned widest = 0;
	for (unsigned i = 0; i < PACKETS; i++) {
		s[i] = plain;
		s[i].len = 10;
		s[i].sport = (uint16_t)(i % 20 ? i : 0);
		s[i].seq = i / 20 * 10;
	}
	lay_out(s, PACKETS);
	vnet_join_begin(&join, view, PACKETS, true);
	while (vnet_join_next(&join, &g))
		widest = g.count > widest ? g.count : widest;
	assert_int_equal(widest, PACKETS / 20);
}

/* A batch as large as can be, of one flow: its groups are full before they are
 * long. */
static void
expect_full_groups(unsigned kind, unsigned most)
{
	static uint8_t b[VNET_JOIN_MAX][80];
	static struct pbuf p[VNET_JOIN_MAX];
	struct spec s = plain_kind(kind);
	struct vnet_group g;

	s.len = 2;
	for (unsigned i = 0; i < VNET_JOIN_MAX; i++, s.seq += 2)
		p[i] = pbuf_make(b[i], 80, 0, build(&s, b[i], false));
	vnet_join_begin(&join, p, VNET_JOIN_MAX, true);
	for (unsigned left = VNET_JOIN_MAX; left > 0; left -= g.count) {
		assert_true(vnet_join_next(&join, &g));
		assert_int_equal(g.count, left < most ? left : most);
	}
	assert_false(vnet_join_next(&join, &g));
}

static void
test_join_most(void **state)
{
	struct vnet_group g;

	(void)state;
	for (unsigned kind = 0; kind < 4; kind++)
		expect_full_groups(kind,
		    kind < 2 ? VNET_GROUP_MAX : VNET_GROUP_MAX_UDP);
	vnet_join_begin(&join, NULL, 0, true);
	assert_false(vnet_join_next(&join, &g));
}

static void
spoil_some(struct spec *s)
{
	if (rnd() % 8 == 0)
		differ(s, (unsigned)(rnd() % DIFFS));
	if (rnd() % 16 == 0)
		s->flags = (uint8_t)rnd();
	if (rnd() % 16 == 0)
		s->flags = ACK | PSH;
	settle(s);
}

static struct spec
random_flow(void)
{
	struct spec s = plain_kind(rnd() % 4);

	s.tos = (uint8_t)rnd();
	s.seq = (uint32_t)rnd();
	s.id = (uint16_t)rnd();
	s.frag = rnd() % 2 ? 0x4000 : 0;
	s.opt_len = (uint8_t)(rnd() % 11 * 4);
	s.payload = noise + rnd() % 9000;
	s.len = 2 + rnd() % 200;
	return s;
}

static void
test_join_random(void **state)
{
	(void)state;
	static struct spec s[PACKETS];
	size_t joined = 0;
	size_t alone = 0;

	for (int i = 0; i < 2000; i++) {
		struct spec first = random_flow();
		unsigned n = 1 + (unsigned)(rnd() % 12);

		make_run(s, &first, n);
		for (unsigned k = 0; k < n; k++) {
			s[k].payload =
			    k == 0 ? noise : s[k - 1].payload + s[k - 1].len;
			spoil_some(&s[k]);
		}
		unsigned got = check_join(s, n, rnd() % 4 != 0);
		joined += got > 1;
		alone += got == 1;
	}
	assert_true(joined > 500 && alone > 500);
}

/* Flows that take turns by chance, between few addresses. */
static void
test_join_mixed(void **state)
{
	(void)state;
	static struct spec s[PACKETS];
	size_t joined = 0;

	for (int i = 0; i < 400; i++) {
		struct spec flow[8];
		unsigned n = 1 + (unsigned)(rnd() % 60);

		for (unsigned k = 0; k < ARRAY_LEN(flow); k++) {
			flow[k] = random_flow();
			flow[k].sport = (uint16_t)(rnd() % 3);
			flow[k].src = (uint8_t)(rnd() % 2);
		}
		for (unsigned k = 0; k < n; k++) {
			struct spec *f = &flow[rnd() % ARRAY_LEN(flow)];

			s[k] = *f;
			spoil_some(&s[k]);
			f->seq += (uint32_t)f->len;
			f->id++;
		}
		check_join(s, n, true);
		joined += n - ntwins;
	}
	assert_true(joined > 2000);
}

static unsigned
joined_sum(const struct pbuf *p, unsigned n)
{
	struct vnet_group g;
	unsigned sum = 0;

	vnet_join_begin(&join, p, n, true);
	while (vnet_join_next(&join, &g))
		sum += g.count;
	return sum;
}

/* C1, C4: bytes at random, and good packets with bytes changed, in memory of
 * exactly their length. */
static void
test_hostile(void **state)
{
	(void)state;
	for (int i = 0; i < 4000; i++) {
		struct spec s = plain_kind(rnd() % 4);
		uint8_t b[400];
		uint8_t slab[4000];
		struct vnet_room room = {slab, sizeof(slab), 16, 16};
		struct pbuf out[40];

		s.len = rnd() % 150;
		struct vnet_hdr h = super_hdr(&s, 1 + rnd() % 60);
		size_t len = build(&s, b, true);
		for (int k = 0; k < 3; k++)
			b[rnd() % header_len(&s)] = (uint8_t)rnd();
		len -= rnd() % 3 == 0 ? rnd() % (len + 1) : 0;
		uint8_t *exact = malloc(len + 1);
		memcpy(exact, b, len);
		uint8_t raw[VNET_HDR_LEN];
		vnet_hdr_store(&h, raw);
		if (rnd() % 2)
			raw[rnd() % VNET_HDR_LEN] ^= (uint8_t)rnd();
		vnet_hdr_load(&h, raw);
		int n = vnet_split(&h, exact, len, &room, out, 40);
		assert_true(n >= UK_EPROTO && n <= 40 && n != 0);
		uint8_t *copy = malloc(len + 1);
		memcpy(copy, exact, len);
		struct pbuf p[2] = {pbuf_make(exact, len, 0, len),
		    pbuf_make(copy, len, 0, len)};
		assert_int_equal(joined_sum(p, 2), 2);
		if (n > 0)
			assert_int_equal(joined_sum(out, (unsigned)n), n);
		free(exact);
		free(copy);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hdr),
	    cmocka_unit_test(test_complete_csum),
	    cmocka_unit_test(test_udp_zero),
	    cmocka_unit_test(test_split_sizes),
	    cmocka_unit_test(test_split_flags),
	    cmocka_unit_test(test_split_refused),
	    cmocka_unit_test(test_split_room),
	    cmocka_unit_test(test_split_whole),
	    cmocka_unit_test(test_split_random),
	    cmocka_unit_test(test_join_plain),
	    cmocka_unit_test(test_join_limit),
	    cmocka_unit_test(test_join_flags),
	    cmocka_unit_test(test_join_ecn),
	    cmocka_unit_test(test_join_ids),
	    cmocka_unit_test(test_join_differ),
	    cmocka_unit_test(test_join_between),
	    cmocka_unit_test(test_join_no_ports),
	    cmocka_unit_test(test_join_table),
	    cmocka_unit_test(test_join_most),
	    cmocka_unit_test(test_join_random),
	    cmocka_unit_test(test_join_mixed),
	    cmocka_unit_test(test_hostile),
	};

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)rnd();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
