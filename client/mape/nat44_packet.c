#include "nat44_state.h"

#include "core/bytes.h"
#include "core/csum.h"
#include "core/ip.h"

#define TCP_HEADER 20
#define UDP_HEADER 8
#define DF 0x40 /* of the byte at 6 */

enum { AT_SRC = 12, AT_DST = 16 };

/* Queries that have an identifier, and errors (RFC 5508 3, 4). Redirects are
 * for routers of the same link, and source quench is no more (RFC 6633). */
enum {
	ECHO_REPLY = 0,
	UNREACHABLE = 3,
	ECHO = 8,
	TIME_EXCEEDED = 11,
	PARAMETER = 12,
	TIMESTAMP = 13,
	TIMESTAMP_REPLY = 14
};

static void
look_icmp(struct nat44_flow *f, bool out)
{
	uint8_t type = f->l4[0];
	uint16_t id = load_be16(f->l4 + 4);

	f->space = NAT44_ICMP;
	f->error =
	    type == UNREACHABLE || type == TIME_EXCEEDED || type == PARAMETER;
	if (f->error)
		return;
	if (type == ECHO || type == TIMESTAMP)
		/* Outside may not ask. */
		f->verdict = out ? MAP_OK : MAP_DROP_NO_SESSION;
	else if (type == ECHO_REPLY || type == TIMESTAMP_REPLY)
		f->verdict = out ? MAP_DROP_ICMP : MAP_OK;
	else
		f->verdict = MAP_DROP_ICMP;
	if (out)
		f->src |= id;
	else
		f->dst |= id;
}

static enum map_drop
look_ports(struct nat44_flow *f)
{
	if (f->space == NAT44_TCP) {
		uint32_t header = (uint32_t)(f->l4[12] >> 4) * 4;

		if (header < TCP_HEADER || header > f->l4_len)
			return MAP_DROP_INNER_MALFORMED;
		f->tcp_flags = f->l4[13];
	} else if (load_be16(f->l4 + 4) < UDP_HEADER ||
		   load_be16(f->l4 + 4) > f->l4_len) {
		return MAP_DROP_INNER_MALFORMED;
	}
	f->src |= load_be16(f->l4);
	f->dst |= load_be16(f->l4 + 2);
	return MAP_OK;
}

static void
look_l4(struct nat44_flow *f, uint8_t proto, bool out)
{
	uint32_t least = proto == IPPROTO_NUM_TCP ? TCP_HEADER : UDP_HEADER;

	if (proto != IPPROTO_NUM_TCP && proto != IPPROTO_NUM_UDP &&
	    proto != IPPROTO_NUM_ICMP) {
		f->verdict = MAP_DROP_PROTOCOL;
	} else if (f->l4_len < least) {
		f->verdict = MAP_DROP_INNER_MALFORMED;
	} else if (proto == IPPROTO_NUM_ICMP) {
		look_icmp(f, out);
	} else {
		f->space = proto == IPPROTO_NUM_TCP ? NAT44_TCP : NAT44_UDP;
		f->verdict = look_ports(f);
	}
}

void
nat44_look(const struct nat44 *n, struct nat44_packet *p, bool out,
    struct nat44_flow *f)
{
	struct ip_view v;

	*f = (struct nat44_flow){.ip = p->p, .partial = p->partial};
	if (ip_parse(&v, p->p, p->len) != 0 || v.family != FAMILY_V4 ||
	    v.fragment) {
		f->verdict = MAP_DROP_INNER_MALFORMED;
		return;
	}
	f->l4 = p->p + v.hlen;
	f->l4_len = v.total - v.hlen;
	f->src = (uint64_t)load_be32(v.src) << 16;
	f->dst = (uint64_t)load_be32(v.dst) << 16;
	look_l4(f, v.proto, out);
	if (f->verdict != MAP_OK || f->error)
		return;
	if (out)
		f->hash = nat44_hash(n, nat44_inside_key(f->space, f->src),
		    nat44_remote_key(f->space, f->dst));
	else
		f->hash = nat44_hash_ext(n, f->space, (uint16_t)f->dst,
		    nat44_remote_key(f->space, f->src));
}

static void
update(uint8_t *check, uint16_t delta)
{
	store_be16(check, nat44_check(load_be16(check), delta));
}

static uint16_t
sum32(uint32_t v)
{
	return nat44_fold((v >> 16) + (v & 0xffff));
}

void
nat44_set_address(uint8_t *ip, unsigned at, uint32_t address)
{
	uint16_t gone = (uint16_t)~sum32(load_be32(ip + at));

	update(ip + 10, nat44_fold((uint32_t)sum32(address) + gone));
	store_be32(ip + at, address);
}

void
nat44_hop(uint8_t *ip)
{
	ip[8]--;
	update(ip + 10, (uint16_t)~0x0100);
}

/* The transport's checksum, as far as it is there. */
static void
rewrite_check(const struct nat44_rewrite *r, uint16_t addr, uint16_t l4)
{
	static const uint8_t place[NAT44_SPACES] = {16, 6, 2};
	uint8_t *check = r->l4 + place[r->space];

	if (place[r->space] + 2u > r->l4_len)
		return;
	if (r->partial && r->space != NAT44_ICMP) {
		/* The sum of the pseudo header, not complemented. */
		store_be16(
		    check, nat44_fold((uint32_t)load_be16(check) + addr));
		return;
	}
	/* RFC 768: none, and a sum that would look like none. */
	if (r->space == NAT44_UDP && load_be16(check) == 0)
		return;
	update(check, l4);
	if (r->space == NAT44_UDP && load_be16(check) == 0)
		store_be16(check, 0xffff);
}

void
nat44_rewrite(const struct nat44 *n, const struct nat44_rewrite *r,
    const struct nat44_session *s)
{
	uint16_t turn = r->out ? 0 : 0xffff;
	uint16_t addr = s->addr_delta ^ turn;
	unsigned at = r->source ? AT_SRC : AT_DST;
	unsigned port = r->space == NAT44_ICMP ? 4 : r->source ? 0 : 2;

	update(r->ip + 10, addr);
	store_be32(
	    r->ip + at, r->out ? n->address : (uint32_t)(s->inside >> 16));
	store_be16(r->l4 + port, r->out ? s->ext : (uint16_t)s->inside);
	rewrite_check(r, addr, s->l4_delta ^ turn);
}

/* RFC 7597 8.3.3: lines that share the address keep their ids apart by taking
 * them from their port sets; in turn, so that one comes again as late as can
 * be. With DF they say nothing (RFC 6864 4.1). */
static void
set_id(struct nat44 *n, const struct nat44_flow *f)
{
	uint8_t *check = f->ip + 10;
	uint8_t *field = f->ip + 4;

	if (f->ip[6] & DF)
		return;
	uint16_t *last =
	    &n->id[nat44_hash(n, f->dst >> 16, 0) % NAT44_ID_COUNTERS];
	uint32_t next = *last + 1u < n->port_count ? *last + 1u : 0;
	uint16_t id = map_ports_nth(&n->conf.ports, next);
	*last = (uint16_t)next;
	store_be16(
	    check, csum_update16(load_be16(check), load_be16(field), id));
	store_be16(field, id);
}

static void
touch(struct nat44 *n, struct nat44_session *s, const struct nat44_flow *f,
    bool out)
{
	s->last_ns = n->now_ns;
	if (s->mapping != NAT44_NONE)
		nat44_mapping(n, s->mapping)->last_ns = n->now_ns;
	if (s->space != NAT44_TCP) {
		s->flags &= (uint8_t)~NAT44_SEEN_IN;
		s->flags |= out ? 0 : NAT44_SEEN_IN;
		return;
	}
	nat44_tcp_seen(s, out, f->tcp_flags);
	if (n->conf.mss != 0)
		nat44_tcp_clamp(f->l4, f->l4_len, n->conf.mss, f->partial);
}

static void
rewrite_packet(struct nat44 *n, const struct nat44_flow *f,
    struct nat44_session *s, bool out)
{
	struct nat44_rewrite r = {.ip = f->ip,
	    .l4 = f->l4,
	    .l4_len = f->l4_len,
	    .space = f->space,
	    .partial = f->partial,
	    .source = out,
	    .out = out};

	touch(n, s, f, out);
	nat44_rewrite(n, &r, s);
}

enum map_drop
nat44_translate_outward(
    struct nat44 *n, const struct nat44_flow *f, bool *inside)
{
	struct nat44_session *s;

	if (f->src >> 16 == n->address)
		return MAP_DROP_STRAY;
	if (f->error) {
		enum map_drop why = nat44_error_outward(n, f, inside);

		if (why == MAP_OK)
			set_id(n, f);
		return why;
	}
	s = nat44_find_inside(n, nat44_inside_key(f->space, f->src),
	    nat44_remote_key(f->space, f->dst), f->hash);
	if (s && !nat44_alive(n, s)) {
		nat44_session_remove(n, s);
		s = NULL;
	}
	if (!s) {
		enum map_drop why = nat44_open_outward(n, f, &s);

		if (why != MAP_OK)
			return why;
	}
	rewrite_packet(n, f, s, true);
	set_id(n, f);
	/* Hairpin, RFC 4787 REQ-9; another port is another line's (RFC 7597
	 * 5). */
	*inside = f->dst >> 16 == n->address &&
		  (f->space == NAT44_ICMP ||
		      map_ports_has(&n->conf.ports, (uint16_t)f->dst));
	return MAP_OK;
}

/* hash: of the session's own key. */
static struct nat44_session *
find_inward(const struct nat44 *n, uint8_t space, uint16_t ext, uint64_t remote,
    uint64_t hash)
{
	uint64_t key = nat44_remote_key(space, remote);
	uint64_t any = remote & ~UINT64_C(0xffff);
	struct nat44_session *s =
	    nat44_alive(n, nat44_find_ext(n, space, ext, key, hash));

	if (s || space != NAT44_UDP || key == any)
		return s;
	return nat44_alive(n, nat44_find_ext(n, space, ext, any,
				  nat44_hash_ext(n, space, ext, any)));
}

struct nat44_session *
nat44_session_inward(
    const struct nat44 *n, uint8_t space, uint16_t ext, uint64_t remote)
{
	return find_inward(n, space, ext, remote,
	    nat44_hash_ext(n, space, ext, nat44_remote_key(space, remote)));
}

/* What is over is in the way of a new one with the same key. */
static void
clear_inward(struct nat44 *n, const struct nat44_flow *f)
{
	struct nat44_session *s = nat44_find_ext(n, f->space, (uint16_t)f->dst,
	    nat44_remote_key(f->space, f->src), f->hash);

	if (s)
		nat44_session_remove(n, s);
}

enum map_drop
nat44_translate_inward(struct nat44 *n, const struct nat44_flow *f)
{
	struct nat44_session *s;

	if (f->dst >> 16 != n->address)
		return MAP_DROP_INNER_DESTINATION;
	if (f->error)
		return nat44_error_inward(n, f);
	if (!map_ports_has(&n->conf.ports, (uint16_t)f->dst))
		return MAP_DROP_PORT;
	s = find_inward(n, f->space, (uint16_t)f->dst, f->src, f->hash);
	if (!s) {
		clear_inward(n, f);
		enum map_drop why = nat44_open_inward(n, f, &s);

		if (why != MAP_OK)
			return why;
	}
	rewrite_packet(n, f, s, false);
	return MAP_OK;
}
