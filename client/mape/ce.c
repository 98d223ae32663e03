#include "ce.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/err.h"
#include "core/ip.h"
#include "frag6.h"
#include "tunnel_error.h"

/* Of one batch: what is put together is never more than reassembly holds, and
 * what is cut is hardly longer than it came. */
#define SCRATCH_LEN ((size_t)3 << 19)
#define OUT_MAX 512
#define PACKET_MAX 65535
/* A path may have become better (RFC 1981 section 4: not before 5 minutes). */
#define PATH_MTU_FOR (10 * 60 * UK_NS_PER_S)

#define ICMP_UNREACHABLE 3
#define ICMP_HOST 1
#define ICMP_TOO_BIG 4
#define ICMP_TIME_EXCEEDED 11

struct outputs {
	struct vnet_packet p[OUT_MAX];
	unsigned n;
};

struct ce {
	struct ce_conf conf;
	struct nat44 *nat;
	struct reasm *inner, *outer;
	uint32_t path_mtu; /* outer */
	uint64_t path_until_ns; /* UK_NEVER: it is the link's */
	uint32_t fragment_id;
	uint64_t tag_key[2];
	struct ce_stats stats;

	/* Of one batch. */
	struct vnet_packet work[CE_BATCH];
	struct nat44_packet nat_packet[CE_BATCH];
	unsigned works;
	struct outputs line, inside;
	uint8_t *scratch;
	size_t scratch_used;
};

static const uint8_t host_address[4] = CE_HOST_ADDRESS;
static const uint8_t router_address[4] = CE_ROUTER_ADDRESS;

int
ce_new(struct ce **out, const struct ce_conf *conf)
{
	struct ce *c = calloc(1, sizeof(*c));
	struct reasm_conf r;
	int err;

	if (c == NULL)
		return UK_ENOMEM;
	reasm_conf_default(&r);
	c->conf = *conf;
	c->path_mtu = conf->link_mtu;
	c->path_until_ns = UK_NEVER;
	c->inner = reasm_new(&r);
	c->outer = reasm_new(&r);
	c->scratch = malloc(SCRATCH_LEN);
	conf->nat.random(&c->fragment_id, sizeof(c->fragment_id));
	conf->nat.random(c->tag_key, sizeof(c->tag_key));
	err = nat44_new(&c->nat, &conf->nat);
	if (err == 0 &&
	    (c->inner == NULL || c->outer == NULL || c->scratch == NULL))
		err = UK_ENOMEM;
	if (err < 0) {
		ce_free(c);
		return err;
	}
	*out = c;
	return 0;
}

void
ce_free(struct ce *c)
{
	if (c == NULL)
		return;
	nat44_free(c->nat);
	reasm_free(c->inner);
	reasm_free(c->outer);
	free(c->scratch);
	free(c);
}

static void
begin_batch(struct ce *c)
{
	c->works = 0;
	c->line.n = 0;
	c->inside.n = 0;
	c->scratch_used = 0;
}

static void
drop(struct ce *c, enum map_drop why)
{
	c->stats.drop[why]++;
}

/* Room for a packet of len bytes, with CE_ROOM in front. Returns false: there
 * is none left in this batch. */
static bool
take_scratch(struct ce *c, size_t len, struct pbuf *b)
{
	size_t need = (CE_ROOM + len + 15) / 16 * 16;

	if (need > SCRATCH_LEN - c->scratch_used)
		return false;
	*b = pbuf_make(c->scratch + c->scratch_used, need, CE_ROOM, len);
	c->scratch_used += need;
	return true;
}

/* The same with a copy in it; counts what finds no room. */
static bool
keep(struct ce *c, const uint8_t *pkt, size_t len, struct pbuf *b)
{
	if (!take_scratch(c, len, b)) {
		drop(c, MAP_DROP_FRAGMENT_LIMIT);
		return false;
	}
	memcpy(pbuf_data(b), pkt, len);
	return true;
}

static void
push(struct ce *c, struct outputs *o, const struct vnet_packet *p)
{
	if (o->n == OUT_MAX)
		drop(c, MAP_DROP_FRAGMENT_LIMIT);
	else
		o->p[o->n++] = *p;
}

/* Tell a host inside about a packet of its own. */
static void
tell(struct ce *c, const uint8_t *pkt, size_t len, uint8_t type, uint8_t code,
    uint32_t mtu)
{
	struct vnet_packet p = {.hdr = {0}};
	size_t n;

	if (!take_scratch(c, 576, &p.b))
		return;
	n = icmp4_error(pbuf_data(&p.b), 576, pkt, len, router_address, type,
	    code, (uint16_t)uk_min_u64(mtu, PACKET_MAX));
	if (n == 0)
		return;
	pbuf_trim(&p.b, (uint32_t)n);
	push(c, &c->inside, &p);
}

/* ---- what the kernel says of a packet ---- */

static uint8_t
gso_of(const struct vnet_hdr *h)
{
	return h->gso_type & (uint8_t)~VNET_GSO_ECN;
}

static bool
is_partial(const struct vnet_hdr *h)
{
	return (h->flags & VNET_F_NEEDS_CSUM) != 0;
}

/* Does it agree with a whole IPv4 packet? An unfinished checksum is where the
 * protocol has it, and a super-packet is one of its protocol. */
static bool
hdr_agrees(const struct vnet_hdr *h, const struct ip_view *v)
{
	bool tcp = v->proto == IPPROTO_NUM_TCP;
	bool udp = v->proto == IPPROTO_NUM_UDP;
	uint8_t gso = gso_of(h);

	if (is_partial(h) &&
	    (v->fragment || h->csum_start != v->hlen || !(tcp || udp) ||
		h->csum_offset != (tcp ? 16 : 6)))
		return false;
	if (gso == VNET_GSO_NONE)
		return true;
	return is_partial(h) && h->gso_size > 0 &&
	       ((gso == VNET_GSO_TCPV4 && tcp) ||
		   (gso == VNET_GSO_UDP_L4 && udp));
}

/* Length of the longest packet on the line that it stands for: of a
 * super-packet that is headers and a segment. */
static uint32_t
longest(const struct vnet_packet *p, const struct ip_view *v)
{
	const uint8_t *l4 = pbuf_data(&p->b) + v->hlen;
	uint32_t hlen = v->hlen + 8;

	if (gso_of(&p->hdr) == VNET_GSO_NONE || p->b.len < v->hlen + 20)
		return v->total;
	if (v->proto == IPPROTO_NUM_TCP)
		hlen = v->hlen + (uint32_t)(l4[12] >> 4) * 4;
	return (uint32_t)uk_min_u64(hlen + p->hdr.gso_size, v->total);
}

/* ---- outward ---- */

static bool
is_inside(const struct ce *c, const uint8_t src[4])
{
	struct ip_addr a = {.family = FAMILY_V4};

	if (memcmp(src, host_address, 4) == 0)
		return true;
	memcpy(a.b, src, 4);
	for (size_t i = 0; i < c->conf.networks; i++)
		if (ip_prefix_contains(&c->conf.network[i], &a))
			return true;
	return false;
}

static bool
may_fragment(const uint8_t *ip)
{
	return (ip[6] & 0x40) == 0;
}

static void
add_work(struct ce *c, const struct vnet_packet *p)
{
	c->nat_packet[c->works] = (struct nat44_packet){
	    .p = pbuf_data(&p->b),
	    .len = p->b.len,
	    .partial = is_partial(&p->hdr),
	};
	c->work[c->works++] = *p;
}

/* A fragment: the datagram, when this was all that it lacked. */
static bool
put_together(struct ce *c, struct reasm *r, uint64_t now_ns, uint32_t tag,
    struct vnet_packet *p)
{
	const uint8_t *whole;
	size_t len;
	enum map_drop why = reasm_input(
	    r, now_ns, tag, pbuf_data(&p->b), p->b.len, &whole, &len);

	if (why != MAP_OK)
		drop(c, why);
	if (why != MAP_OK || whole == NULL)
		return false;
	p->hdr = (struct vnet_hdr){0};
	return keep(c, whole, len, &p->b);
}

static void
outward_one(struct ce *c, uint64_t now_ns, struct vnet_packet *p)
{
	uint32_t mtu = c->path_mtu - IPIP6_HLEN;
	struct ip_view v;

	/* What could never answer (D3) is not sent either. */
	if (ip_parse(&v, pbuf_data(&p->b), p->b.len) < 0 ||
	    v.family != FAMILY_V4 || !is_inside(c, v.src) ||
	    ipip6_is_martian(v.dst)) {
		drop(c, MAP_DROP_STRAY);
		return;
	}
	pbuf_trim(&p->b, v.total);
	if (!hdr_agrees(&p->hdr, &v)) {
		drop(c, MAP_DROP_INNER_MALFORMED);
		return;
	}
	/* Of what is cut outside the length does not matter. */
	if (longest(p, &v) > mtu && (!may_fragment(pbuf_data(&p->b)) ||
					gso_of(&p->hdr) != VNET_GSO_NONE)) {
		drop(c, MAP_DROP_TOO_BIG);
		tell(c, pbuf_data(&p->b), p->b.len, ICMP_UNREACHABLE,
		    ICMP_TOO_BIG, mtu);
		return;
	}
	if (v.fragment && !put_together(c, c->inner, now_ns, 0, p))
		return;
	add_work(c, p);
}

/* The outer packet, in fragments that fit the path. */
static void
send_in_fragments(struct ce *c, struct vnet_packet *p)
{
	struct vnet_packet piece = {.hdr = {0}};
	struct pbuf part[FRAG6_MAX];
	size_t room_len = p->b.len + FRAG6_MAX * 48;
	struct pbuf room;
	int n = UK_EMSGSIZE;

	if (take_scratch(c, room_len, &room))
		n = frag6_split(pbuf_data(&p->b), p->b.len, c->path_mtu,
		    c->fragment_id++, pbuf_data(&room), room_len, part,
		    FRAG6_MAX);
	if (n < 0)
		drop(c, MAP_DROP_FRAGMENT_LIMIT);
	for (int i = 0; i < n; i++) {
		if (!keep(c, pbuf_data(&part[i]), part[i].len, &piece.b))
			return;
		push(c, &c->line, &piece);
	}
}

/* Where only one rule says who has a port, and it is not known: to the BR. */
static bool
destination_port(
    const struct ip_view *v, const uint8_t *l4, size_t len, uint16_t *port)
{
	if (v->proto == IPPROTO_NUM_TCP || v->proto == IPPROTO_NUM_UDP) {
		*port = load_be16(l4 + 2);
		return true;
	}
	if (v->proto != IPPROTO_NUM_ICMP || len < 8 ||
	    (l4[0] != 0 && l4[0] != 8))
		return false;
	*port = load_be16(l4 + 4);
	return true;
}

static void
encapsulate(struct ce *c, struct vnet_packet *p)
{
	const uint8_t *inner = pbuf_data(&p->b);
	uint32_t len = p->b.len;
	uint8_t dst[16], tos = inner[1];
	bool has_port = false, cut;
	uint16_t port = 0;
	struct ip_view v;

	if (c->conf.ipip6.n > 0 && ip_parse(&v, inner, len) == 0)
		has_port =
		    destination_port(&v, inner + v.hlen, len - v.hlen, &port);
	ipip6_destination(&c->conf.ipip6, inner + 16, has_port, port, dst);
	c->stats.direct += memcmp(dst, c->conf.ipip6.br, 16) != 0;
	c->stats.out_packets++;
	c->stats.out_bytes += len;
	cut =
	    gso_of(&p->hdr) == VNET_GSO_NONE && len + IPIP6_HLEN > c->path_mtu;
	if (cut && is_partial(&p->hdr))
		(void)vnet_complete_csum(&p->hdr, pbuf_data(&p->b), len);
	ipip6_header(pbuf_push(&p->b, IPIP6_HLEN), c->conf.ipip6.address, dst,
	    4, tos, (uint16_t)len);
	if (cut) {
		send_in_fragments(c, p);
		return;
	}
	if (is_partial(&p->hdr)) {
		p->hdr.csum_start += IPIP6_HLEN;
		p->hdr.hdr_len += IPIP6_HLEN;
	}
	push(c, &c->line, p);
}

void
ce_outward(struct ce *c, uint64_t now_ns, struct vnet_packet *p, unsigned n)
{
	UK_ASSERT(n <= CE_BATCH);
	begin_batch(c);
	for (unsigned i = 0; i < n; i++)
		outward_one(c, now_ns, &p[i]);
	nat44_outward(c->nat, now_ns, c->nat_packet, c->works);
	for (unsigned i = 0; i < c->works; i++) {
		const struct nat44_packet *t = &c->nat_packet[i];

		if (t->verdict == MAP_DROP_TTL)
			tell(c, t->p, t->len, ICMP_TIME_EXCEEDED, 0, 0);
		if (t->verdict != MAP_OK)
			continue;
		if (t->inside)
			push(c, &c->inside, &c->work[i]);
		else
			encapsulate(c, &c->work[i]);
	}
}

/* ---- inward ---- */

/* What one outer source sent is never completed by what another did: the source
 * of the last fragment alone is held against the packet. A MAP address names
 * the PSID twice, so merely folding it would make one of all the CEs that share
 * an IPv4 address; this is a universal hash (multilinear, odd keys). */
static uint32_t
tag_of(const struct ce *c, const uint8_t outer_src[16])
{
	uint64_t h;

	if (memcmp(outer_src, c->conf.ipip6.br, 16) == 0)
		return 0;
	h = load_be64(outer_src) * (c->tag_key[0] | 1) +
	    load_be64(outer_src + 8) * (c->tag_key[1] | 1);
	return 1 | (uint32_t)(h >> 32);
}

/* A router on the way tells about a packet of ours: its sender is told. What
 * is about no live session changes nothing (N7). */
static void
take_error(struct ce *c, uint64_t now_ns, const uint8_t *pkt, size_t len)
{
	struct tunnel_error e;
	enum map_drop why = tunnel_error_parse(&c->conf.ipip6, pkt, len, &e);
	struct pbuf quoted;
	bool too_big;

	if (why != MAP_OK) {
		drop(c, why);
		return;
	}
	if (!keep(c, e.inner, e.inner_len, &quoted))
		return;
	if (!nat44_restore(c->nat, pbuf_data(&quoted), quoted.len)) {
		drop(c, MAP_DROP_ICMP);
		return;
	}
	too_big = e.kind == TUNNEL_ERROR_TOO_BIG;
	c->stats.too_big += too_big;
	if (too_big && e.mtu < c->path_mtu) {
		c->path_mtu = e.mtu;
		c->path_until_ns = now_ns + PATH_MTU_FOR;
	}
	tell(c, pbuf_data(&quoted), quoted.len, ICMP_UNREACHABLE,
	    too_big ? ICMP_TOO_BIG : ICMP_HOST,
	    too_big ? c->path_mtu - IPIP6_HLEN : 0);
}

/* What the outer packet holds goes to p. */
static enum map_drop
decapsulate(struct ce *c, struct vnet_packet *p, const struct ipip6_view *v)
{
	enum map_drop why;
	uint32_t len;

	pbuf_trim(&p->b, v->off + v->len);
	pbuf_pull(&p->b, v->off);
	why = ipip6_inner(&c->conf.ipip6, pbuf_data(&p->b), p->b.len, &len);
	if (why != MAP_OK)
		return why;
	pbuf_trim(&p->b, len);
	if (ip_ecn_decap(pbuf_data(&p->b), v->outer_tos) < 0)
		return MAP_DROP_OUTER_ECN;
	if (is_partial(&p->hdr)) {
		p->hdr.csum_start = (uint16_t)(p->hdr.csum_start - v->off);
		p->hdr.hdr_len = (uint16_t)(p->hdr.hdr_len - v->off);
	}
	return MAP_OK;
}

static void
inward_inner(struct ce *c, uint64_t now_ns, struct vnet_packet *p,
    const struct ipip6_view *outer)
{
	uint8_t outer_src[16];
	struct ip_view v;
	enum map_drop why;

	memcpy(outer_src, outer->outer_src, 16);
	why = decapsulate(c, p, outer);
	if (why == MAP_OK && ip_parse(&v, pbuf_data(&p->b), p->b.len) < 0)
		why = MAP_DROP_INNER_MALFORMED;
	if (why == MAP_OK && !hdr_agrees(&p->hdr, &v))
		why = MAP_DROP_INNER_MALFORMED;
	if (why == MAP_OK && v.fragment &&
	    !put_together(c, c->inner, now_ns, tag_of(c, outer_src), p))
		return;
	if (why == MAP_OK)
		why = ipip6_ports(
		    &c->conf.ipip6, outer_src, pbuf_data(&p->b), p->b.len);
	if (why == MAP_OK)
		add_work(c, p);
	else
		drop(c, why);
}

static void
inward_one(struct ce *c, uint64_t now_ns, struct vnet_packet *p)
{
	struct ipip6_view v;
	enum map_drop why =
	    ipip6_outer(&c->conf.ipip6, pbuf_data(&p->b), p->b.len, &v);

	if (why == MAP_OK && v.what == IPIP6_FRAGMENT) {
		if (!put_together(c, c->outer, now_ns, 0, p))
			return;
		why =
		    ipip6_outer(&c->conf.ipip6, pbuf_data(&p->b), p->b.len, &v);
		if (why == MAP_OK && v.what == IPIP6_FRAGMENT)
			why = MAP_DROP_FRAGMENT_MALFORMED;
	}
	if (why != MAP_OK)
		drop(c, why);
	else if (v.what == IPIP6_ICMPV6)
		take_error(c, now_ns, pbuf_data(&p->b), p->b.len);
	else
		inward_inner(c, now_ns, p, &v);
}

void
ce_inward(struct ce *c, uint64_t now_ns, struct vnet_packet *p, unsigned n)
{
	UK_ASSERT(n <= CE_BATCH);
	begin_batch(c);
	for (unsigned i = 0; i < n; i++)
		inward_one(c, now_ns, &p[i]);
	nat44_inward(c->nat, now_ns, c->nat_packet, c->works);
	for (unsigned i = 0; i < c->works; i++) {
		if (c->nat_packet[i].verdict != MAP_OK)
			continue;
		c->stats.in_packets++;
		c->stats.in_bytes += c->work[i].b.len;
		push(c, &c->inside, &c->work[i]);
	}
}

/* ---- the rest ---- */

struct vnet_packet *
ce_to_line(struct ce *c, unsigned *n)
{
	*n = c->line.n;
	return c->line.p;
}

struct vnet_packet *
ce_to_inside(struct ce *c, unsigned *n)
{
	*n = c->inside.n;
	return c->inside.p;
}

void
ce_set_link_mtu(struct ce *c, uint32_t mtu)
{
	c->conf.link_mtu = mtu;
	if (c->path_until_ns != UK_NEVER && c->path_mtu < mtu)
		return;
	c->path_mtu = mtu;
	c->path_until_ns = UK_NEVER;
}

void
ce_tick(struct ce *c, uint64_t now_ns)
{
	nat44_expire(c->nat, now_ns);
	c->stats.drop[MAP_DROP_FRAGMENT_AGE] +=
	    reasm_expire(c->inner, now_ns) + reasm_expire(c->outer, now_ns);
	if (now_ns >= c->path_until_ns) {
		c->path_mtu = c->conf.link_mtu;
		c->path_until_ns = UK_NEVER;
	}
}

void
ce_stats(const struct ce *c, struct ce_stats *out)
{
	*out = c->stats;
	out->mtu = c->path_mtu - IPIP6_HLEN;
	out->inner = *reasm_stats(c->inner);
	out->outer = *reasm_stats(c->outer);
	nat44_stats(c->nat, &out->nat);
	for (int i = 0; i < MAP_DROPS; i++)
		out->drop[i] += out->nat.drop[i];
}

void
ce_short(const struct ce *c, uint32_t below,
    void (*visit)(void *arg, const struct nat44_shortage *s), void *arg)
{
	nat44_short(c->nat, below, visit, arg);
}

uint64_t
ce_refused(const struct ce *c)
{
	return nat44_refused(c->nat);
}
