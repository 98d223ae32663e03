#include "vnet.h"

#include <string.h>

#include "bytes.h"
#include "csum.h"
#include "err.h"
#include "ip.h"

#define V4_HLEN 20
#define V6_HLEN 40
#define UDP_HLEN 8
#define TCP_HLEN 20
#define PORTS_LEN 4 /* at the begin of both */
#define SUPER_MAX 65535

#define TCP_CSUM_OFFSET 16
#define UDP_CSUM_OFFSET 6

#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_CWR 0x80

#define V4_DF 0x4000

void
vnet_hdr_load(struct vnet_hdr *h, const uint8_t b[VNET_HDR_LEN])
{
	h->flags = b[0];
	h->gso_type = b[1];
	memcpy(&h->hdr_len, b + 2, 2);
	memcpy(&h->gso_size, b + 4, 2);
	memcpy(&h->csum_start, b + 6, 2);
	memcpy(&h->csum_offset, b + 8, 2);
}

void
vnet_hdr_store(const struct vnet_hdr *h, uint8_t b[VNET_HDR_LEN])
{
	b[0] = h->flags;
	b[1] = h->gso_type;
	memcpy(b + 2, &h->hdr_len, 2);
	memcpy(b + 4, &h->gso_size, 2);
	memcpy(b + 6, &h->csum_start, 2);
	memcpy(b + 8, &h->csum_offset, 2);
}

int
vnet_complete_csum(const struct vnet_hdr *h, uint8_t *pkt, size_t len)
{
	if ((h->flags & VNET_F_NEEDS_CSUM) == 0)
		return 0;
	size_t at = (size_t)h->csum_start + h->csum_offset;
	if (at + 2 > len)
		return UK_EPROTO;
	/* The field holds the pseudo header's sum and is summed with the
	 * rest. 0 would mean "no checksum" in UDP (RFC 768) and is the same
	 * number as 0xffff elsewhere. */
	uint16_t check = (uint16_t)~csum_fold(
	    csum_add(0, pkt + h->csum_start, len - h->csum_start));
	store_be16(pkt + at, check == 0 ? 0xffff : check);
	return 0;
}

/* What is the same for all packets of one super-packet. */
struct split {
	const uint8_t *pkt;
	uint8_t family;
	bool tcp;
	uint32_t l3_len; /* IP header and extension headers */
	uint32_t hlen; /* and the transport header */
	uint32_t payload; /* of the super-packet */
	uint32_t seg_len; /* payload of all packets but the last */
	uint32_t count;
	uint64_t ip_sum; /* IPv4 header without length, ID, checksum */
	uint64_t l4_sum; /* pseudo and transport header without lengths,
			    sequence number, flags word, checksum */
};

/* Length of the transport header at b, n bytes to the packet's end.
 * 0: none. */
static uint32_t
transport_len(const uint8_t *b, uint32_t n, bool tcp)
{
	if (!tcp)
		return n < UDP_HLEN || load_be16(b + 4) != n ? 0 : UDP_HLEN;
	if (n < TCP_HLEN)
		return 0;
	uint32_t hlen = (b[12] >> 4) * 4u;
	return hlen < TCP_HLEN || hlen > n ? 0 : hlen;
}

/* The kernel must have said the same as the packet. hdr_len is not looked
 * at: on the forwarding path it counts payload too. */
static bool
gso_agrees(const struct vnet_hdr *h, const struct ip_view *v)
{
	if (h->csum_start != v->hlen || v->fragment)
		return false;
	switch (h->gso_type) {
	case VNET_GSO_TCPV4:
	case VNET_GSO_TCPV4 | VNET_GSO_ECN:
		return v->family == FAMILY_V4 && v->proto == IPPROTO_NUM_TCP &&
		       h->csum_offset == TCP_CSUM_OFFSET;
	case VNET_GSO_TCPV6:
	case VNET_GSO_TCPV6 | VNET_GSO_ECN:
		return v->family == FAMILY_V6 && v->proto == IPPROTO_NUM_TCP &&
		       h->csum_offset == TCP_CSUM_OFFSET;
	case VNET_GSO_UDP_L4:
		return v->proto == IPPROTO_NUM_UDP &&
		       h->csum_offset == UDP_CSUM_OFFSET;
	default:
		return false;
	}
}

/* Sums that stay the same: whole headers, less the fields that change. In
 * one's complement, adding ~x takes x away; a 32-bit value counts as its two
 * halves. */
static void
split_sums(struct split *s)
{
	const uint8_t *ip = s->pkt;
	const uint8_t *l4 = s->pkt + s->l3_len;
	uint32_t l4_len = s->hlen - s->l3_len + s->payload;

	s->ip_sum = 0;
	if (s->family == FAMILY_V4)
		s->ip_sum = csum_add(0, ip, s->l3_len) +
			    (uint16_t)~load_be16(ip + 2) +
			    (uint16_t)~load_be16(ip + 4) +
			    (uint16_t)~load_be16(ip + 10);

	/* The checksum field brings in the pseudo header with the length of
	 * the whole: it is the kernel's own, right even where a routing
	 * header hides the final destination. */
	s->l4_sum = csum_add(0, l4, s->hlen - s->l3_len) + (uint32_t)~l4_len;
	if (s->tcp)
		s->l4_sum += (uint32_t)~load_be32(l4 + 4) +
			     (uint64_t)(uint16_t)~load_be16(l4 + 12);
	else
		s->l4_sum += (uint16_t)~load_be16(l4 + 4);
}

static int
split_plan(
    struct split *s, const struct vnet_hdr *h, const uint8_t *pkt, size_t len)
{
	struct ip_view v;

	/* virtio 1.2, 5.1.6.2: GSO comes with NEEDS_CSUM. */
	if ((h->flags & VNET_F_NEEDS_CSUM) == 0 || h->gso_size == 0)
		return UK_EPROTO;
	if (ip_parse(&v, pkt, len) != 0 || v.total != len || !gso_agrees(h, &v))
		return UK_EPROTO;
	bool tcp = v.proto == IPPROTO_NUM_TCP;
	uint32_t l4_hlen = transport_len(pkt + v.hlen, v.total - v.hlen, tcp);
	if (l4_hlen == 0)
		return UK_EPROTO;
	*s = (struct split){.pkt = pkt,
	    .family = v.family,
	    .tcp = tcp,
	    .l3_len = v.hlen,
	    .hlen = v.hlen + l4_hlen,
	    .payload = v.total - v.hlen - l4_hlen,
	    .seg_len = h->gso_size};
	if (s->seg_len > s->payload)
		s->seg_len = s->payload;
	s->count =
	    s->payload == 0 ? 1 : (s->payload + s->seg_len - 1) / s->seg_len;
	split_sums(s);
	return 0;
}

/* Lengths, ID and header checksum of packet i, len bytes in all. */
static void
split_ip(const struct split *s, uint8_t *ip, uint32_t i, uint32_t len)
{
	if (s->family == FAMILY_V6) {
		store_be16(ip + 4, (uint16_t)(len - V6_HLEN));
		return;
	}
	uint16_t id = (uint16_t)(load_be16(s->pkt + 4) + i);

	store_be16(ip + 2, (uint16_t)len);
	store_be16(ip + 4, id);
	store_be16(ip + 10, (uint16_t)~csum_fold(s->ip_sum + len + id));
}

/* l4 holds the super-packet's transport header; sum is the payload's and the
 * transport length's. */
static void
split_tcp(const struct split *s, uint8_t *l4, uint32_t i, uint64_t sum)
{
	uint32_t seq = load_be32(l4 + 4) + i * s->seg_len;

	if (i > 0)
		l4[13] &= (uint8_t)~TCP_CWR; /* RFC 3168 6.1.2: said once */
	if (i < s->count - 1)
		l4[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	store_be32(l4 + 4, seq);
	sum += s->l4_sum + seq + load_be16(l4 + 12);
	store_be16(l4 + TCP_CSUM_OFFSET, (uint16_t)~csum_fold(sum));
}

static void
split_udp(const struct split *s, uint8_t *l4, uint32_t len, uint64_t sum)
{
	uint16_t check = (uint16_t)~csum_fold(s->l4_sum + len + sum);

	store_be16(l4 + 4, (uint16_t)len);
	store_be16(l4 + UDP_CSUM_OFFSET, check == 0 ? 0xffff : check);
}

/* Write packet i to `to`; returns its length. The payload is summed right
 * after it was copied, when it is in the first cache: as fast as one loop
 * that does both. */
static uint32_t
split_write(const struct split *s, uint8_t *to, uint32_t i)
{
	uint32_t at = i * s->seg_len;
	uint32_t seg_len = (uint32_t)uk_min_u64(s->seg_len, s->payload - at);
	uint32_t l4_len = s->hlen - s->l3_len + seg_len;
	uint8_t *l4 = to + s->l3_len;
	uint8_t *payload = to + s->hlen;

	memcpy(to, s->pkt, s->hlen);
	memcpy(payload, s->pkt + s->hlen + at, seg_len);
	uint64_t sum = csum_add(l4_len, payload, seg_len);
	if (s->tcp)
		split_tcp(s, l4, i, sum);
	else
		split_udp(s, l4, l4_len, sum);
	split_ip(s, to, i, s->hlen + seg_len);
	return s->hlen + seg_len;
}

/* Bytes from packet to packet. Returns 0 when n packets of len bytes do not
 * fit. */
static uint32_t
room_stride(const struct vnet_room *room, uint64_t len, uint64_t n)
{
	uint64_t stride =
	    ((uint64_t)room->headroom + len + room->tailroom + 15) & ~15ull;

	if (stride > UINT32_MAX || stride > room->slab_len / n)
		return 0;
	return (uint32_t)stride;
}

static int
copy_whole(const struct vnet_hdr *h, const uint8_t *pkt, size_t len,
    const struct vnet_room *room, struct pbuf *out)
{
	uint32_t stride = room_stride(room, len, 1);

	if (stride == 0)
		return UK_EMSGSIZE;
	memcpy(room->slab + room->headroom, pkt, len);
	if (vnet_complete_csum(h, room->slab + room->headroom, len) != 0)
		return UK_EPROTO;
	*out = pbuf_make(room->slab, stride, room->headroom, len);
	return 1;
}

int
vnet_split(const struct vnet_hdr *h, const uint8_t *pkt, size_t len,
    const struct vnet_room *room, struct pbuf *out, unsigned cap)
{
	struct split s;

	if (cap == 0)
		return UK_EMSGSIZE;
	if (h->gso_type == VNET_GSO_NONE)
		return copy_whole(h, pkt, len, room, out);
	int err = split_plan(&s, h, pkt, len);
	if (err != 0)
		return err;
	uint32_t stride = room_stride(room, s.hlen + s.seg_len, s.count);
	if (stride == 0 || s.count > cap)
		return UK_EMSGSIZE;
	for (uint32_t i = 0; i < s.count; i++) {
		uint8_t *base = room->slab + (size_t)i * stride;
		uint32_t n = split_write(&s, base + room->headroom, i);

		out[i] = pbuf_make(base, stride, room->headroom, n);
	}
	return (int)s.count;
}

/* Which packets must keep their order with this one. */
enum {
	PART_ALIEN, /* none: no IP packet */
	PART_PAIR, /* all between its addresses: it shows no ports */
	PART_FLOW, /* those of its flow; it goes up by itself */
	PART_FIT, /* those of its flow; it may be joined */
};

/* Nothing but ACK and PSH: SYN, FIN, RST, URG end or change a connection's
 * state; CWR and ECE (and AE, RFC 9768) are counted by packet. */
static bool
tcp_is_plain(const uint8_t *l4)
{
	return (l4[12] & 0xf) == 0 && (l4[13] & ~TCP_PSH) == TCP_ACK;
}

/* Options and extension headers of IP are not joined: rare, and what they
 * mean belongs to one packet. Nor is a packet that is shorter than the bytes
 * there are. */
static bool
part_fits(struct vnet_part *q, const struct ip_view *v, size_t len, bool udp)
{
	if (v->hlen != (q->v4 ? V4_HLEN : V6_HLEN) || v->total != len)
		return false;
	if (q->v4 && (load_be16(q->pkt + 6) & ~V4_DF) != 0)
		return false;
	uint32_t l4_hlen = transport_len(q->l4, v->total - v->hlen, q->tcp);
	if (l4_hlen == 0 || v->total == v->hlen + l4_hlen)
		return false;
	q->len = v->total;
	q->hlen = v->hlen + l4_hlen;
	q->payload = v->total - q->hlen;
	if (q->tcp)
		return tcp_is_plain(q->l4);
	/* Without a checksum (RFC 768): a super-packet would give it one. */
	return udp && load_be16(q->l4 + UDP_CSUM_OFFSET) != 0;
}

/* What tells most flows apart at once. */
static uint32_t
part_tag(const struct vnet_part *q)
{
	const uint8_t *last = q->pkt + (q->v4 ? 12 : 20);

	return load_be32(q->l4) + load_be32(last) * 0x9e3779b1u +
	       load_be32(last + (q->v4 ? 4 : 16)) * 0x85ebca77u;
}

static void
part_parse(struct vnet_part *q, const struct pbuf *p, bool udp)
{
	const uint8_t *pkt = pbuf_data(p);
	struct ip_view v;

	*q = (struct vnet_part){.pkt = pkt, .kind = PART_ALIEN};
	if (ip_parse(&v, pkt, p->len) != 0)
		return;
	q->v4 = v.family == FAMILY_V4;
	q->tcp = v.proto == IPPROTO_NUM_TCP;
	q->kind = PART_PAIR;
	/* Fragments belong together, and but the first they do not tell
	 * ports. */
	if (v.fragment || (!q->tcp && v.proto != IPPROTO_NUM_UDP) ||
	    v.total - v.hlen < PORTS_LEN)
		return;
	q->l4 = pkt + v.hlen;
	q->tag = part_tag(q);
	q->kind = part_fits(q, &v, p->len, udp) ? PART_FIT : PART_FLOW;
}

static bool
part_pushes(const struct vnet_part *q)
{
	return q->tcp && (q->l4[13] & TCP_PSH) != 0;
}

static bool
same_pair(const struct vnet_part *a, const struct vnet_part *b)
{
	return a->v4 == b->v4 &&
	       (a->v4 ? memcmp(a->pkt + 12, b->pkt + 12, 8) == 0
		      : memcmp(a->pkt + 8, b->pkt + 8, 32) == 0);
}

static bool
same_flow(const struct vnet_part *a, const struct vnet_part *b)
{
	return a->tag == b->tag && a->tcp == b->tcp && same_pair(a, b) &&
	       memcmp(a->l4, b->l4, PORTS_LEN) == 0;
}

/* All else that a super-packet says once for all its packets. */
static bool
same_headers(const struct vnet_part *a, const struct vnet_part *b)
{
	const uint8_t *x = a->pkt;
	const uint8_t *y = b->pkt;

	if (a->hlen != b->hlen)
		return false;
	/* v4: TOS; DF, TTL, protocol. v6: class, flow label; hop limit. */
	if (a->v4 ? x[1] != y[1] || memcmp(x + 6, y + 6, 4) != 0
		  : memcmp(x, y, 4) != 0 || memcmp(x + 6, y + 6, 2) != 0)
		return false;
	x = a->l4;
	y = b->l4;
	/* ACK number; window; urgent pointer and options. */
	return !a->tcp || (memcmp(x + 8, y + 8, 4) == 0 &&
			      memcmp(x + 14, y + 14, 2) == 0 &&
			      memcmp(x + 18, y + 18,
				  a->hlen - (size_t)(x - a->pkt) - 18) == 0);
}

/* Does q directly continue this group? */
static bool
part_follows(const struct vnet_open *o, const struct vnet_part *q)
{
	const struct vnet_part *lead = &o->lead;

	if (!same_headers(lead, q) || q->payload > lead->payload ||
	    o->total + q->payload > SUPER_MAX)
		return false;
	if (q->tcp &&
	    load_be32(q->l4 + 4) !=
		(uint32_t)(load_be32(lead->l4 + 4) + o->total - lead->hlen))
		return false;
	/* Whoever splits the super-packet again lets the ID count up from the
	 * first. With DF set and no fragment the ID means nothing and "MUST"
	 * be ignored (RFC 6864 4.1), whatever the sender put there: 0, a
	 * counter, chance. Without DF it may be needed to put fragments
	 * together further on, so that it must come out as it went in. */
	if (q->v4 && (load_be16(q->pkt + 6) & V4_DF) == 0 &&
	    load_be16(q->pkt + 4) !=
		(uint16_t)(load_be16(lead->pkt + 4) + o->count))
		return false;
	return true;
}

static uint64_t
part_pseudo(const struct vnet_part *q, uint32_t l4_len)
{
	uint8_t proto = q->tcp ? IPPROTO_NUM_TCP : IPPROTO_NUM_UDP;

	if (q->v4)
		return csum_pseudo(q->pkt + 12, q->pkt + 16, 4, proto, l4_len);
	return csum_pseudo(q->pkt + 8, q->pkt + 24, 16, proto, l4_len);
}

/* The kernel does not check again what a super-packet holds. */
static bool
part_verify(const struct vnet_part *q)
{
	uint32_t l4_len = q->len - (uint32_t)(q->l4 - q->pkt);

	if (q->v4 && csum_fold(csum_add(0, q->pkt, V4_HLEN)) != 0xffff)
		return false;
	return csum_fold(csum_add(part_pseudo(q, l4_len), q->l4, l4_len)) ==
	       0xffff;
}

/* Make the first packet's header the super-packet's. Returns the vnet header
 * for it. */
static struct vnet_hdr
finish_super(const struct vnet_open *o, uint8_t *pkt)
{
	const struct vnet_part *lead = &o->lead;
	uint32_t l3_len = lead->v4 ? V4_HLEN : V6_HLEN;
	uint32_t l4_len = o->total - l3_len;
	uint8_t *l4 = pkt + l3_len;
	uint16_t csum_offset = lead->tcp ? TCP_CSUM_OFFSET : UDP_CSUM_OFFSET;

	if (lead->v4) {
		store_be16(
		    pkt + 10, csum_update16(load_be16(pkt + 10),
				  load_be16(pkt + 2), (uint16_t)o->total));
		store_be16(pkt + 2, (uint16_t)o->total);
	} else {
		store_be16(pkt + 4, (uint16_t)(o->total - V6_HLEN));
	}
	if (o->push)
		l4[13] |= TCP_PSH;
	if (!lead->tcp)
		store_be16(l4 + 4, (uint16_t)l4_len);
	store_be16(l4 + csum_offset, csum_fold(part_pseudo(lead, l4_len)));
	return (struct vnet_hdr){.flags = VNET_F_NEEDS_CSUM,
	    .gso_type = !lead->tcp ? VNET_GSO_UDP_L4
			: lead->v4 ? VNET_GSO_TCPV4
				   : VNET_GSO_TCPV6,
	    .hdr_len = (uint16_t)lead->hlen,
	    .gso_size = (uint16_t)lead->payload,
	    .csum_start = (uint16_t)l3_len,
	    .csum_offset = csum_offset};
}

/* Close a group and give it out. */
static bool
give(struct vnet_join *j, struct vnet_open *o, struct vnet_group *g)
{
	*g = (struct vnet_group){
	    .first = o->first, .count = o->count, .tag = o->lead.tag};
	if (o->count > 1) {
		g->hlen = o->lead.hlen;
		g->hdr = finish_super(o, pbuf_data(&j->p[o->first]));
	}
	*o = j->open[--j->nopen];
	return true;
}

/* The open group that must not come after q. */
static struct vnet_open *
find_open(struct vnet_join *j, const struct vnet_part *q)
{
	if (q->kind == PART_ALIEN)
		return NULL;
	for (unsigned i = 0; i < j->nopen; i++) {
		struct vnet_open *o = &j->open[i];

		if (q->kind == PART_PAIR ? same_pair(&o->lead, q)
					 : same_flow(&o->lead, q))
			return o;
	}
	return NULL;
}

/* The one that has waited longest for a packet is the least likely to get
 * one. */
static struct vnet_open *
least_recent(struct vnet_join *j)
{
	struct vnet_open *least = &j->open[0];

	for (unsigned i = 1; i < j->nopen; i++)
		if (j->open[i].last < least->last)
			least = &j->open[i];
	return least;
}

/* Is q, which is of that flow, of that group too? */
static bool
belongs(const struct vnet_open *o, const struct vnet_part *q)
{
	/* Sums last: they cost more than all the rest. */
	return q->kind == PART_FIT && part_follows(o, q) &&
	       (o->count > 1 || part_verify(&o->lead)) && part_verify(q);
}

static bool
give_alone(struct vnet_join *j, const struct vnet_part *q, struct vnet_group *g)
{
	*g = (struct vnet_group){.first = j->at++, .count = 1, .tag = q->tag};
	return true;
}

/* Put packet j->at, which is q, at the group's end. Returns true when the
 * group is full. */
static bool
append(struct vnet_join *j, struct vnet_open *o, const struct vnet_part *q)
{
	j->next[o->last] = (uint16_t)j->at;
	o->last = (uint16_t)j->at;
	o->count++;
	o->total += q->payload;
	o->push = part_pushes(q);
	return o->push || q->payload < o->lead.payload ||
	       o->count == (q->tcp ? VNET_GROUP_MAX : VNET_GROUP_MAX_UDP);
}

static void
open_group(struct vnet_join *j, const struct vnet_part *q)
{
	j->open[j->nopen++] = (struct vnet_open){.lead = *q,
	    .total = q->len,
	    .first = (uint16_t)j->at,
	    .last = (uint16_t)j->at,
	    .count = 1};
}

void
vnet_join_begin(struct vnet_join *j, const struct pbuf *p, unsigned n, bool udp)
{
	UK_ASSERT(n <= VNET_JOIN_MAX);
	j->p = p;
	j->n = n;
	j->udp = udp;
	j->at = 0;
	j->nopen = 0;
}

bool
vnet_join_next(struct vnet_join *j, struct vnet_group *g)
{
	for (; j->at < j->n; j->at++) {
		struct vnet_part q;
		struct vnet_open *o;
		bool leads;

		part_parse(&q, &j->p[j->at], j->udp);
		o = find_open(j, &q);
		if (o != NULL && belongs(o, &q)) {
			if (!append(j, o, &q))
				continue;
			j->at++;
			return give(j, o, g);
		}
		leads = q.kind == PART_FIT && !part_pushes(&q);
		if (o == NULL && !leads)
			return give_alone(j, &q, g);
		if (o == NULL && j->nopen < VNET_OPEN_MAX) {
			open_group(j, &q);
			continue;
		}
		/* Earlier packets of q's flow are given out first; if there are
		 * none, q needs a free place. If it does not lead a group it is
		 * looked at again: more may have to be given out before it. */
		give(j, o != NULL ? o : least_recent(j), g);
		if (leads) {
			open_group(j, &q);
			j->at++;
		}
		return true;
	}
	return j->nopen > 0 && give(j, &j->open[0], g);
}
