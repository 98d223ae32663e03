#include "nat44_state.h"

#include "core/bytes.h"
#include "core/csum.h"
#include "core/ip.h"

#define IP_HEADER 20
#define ICMP_HEADER 8
#define QUOTE_LEAST 8 /* of the transport's header, RFC 792 */
#define MTU_LEAST 576 /* N7 */

enum { AT_SRC = 12, AT_DST = 16 };
enum {
	ECHO_REPLY = 0,
	UNREACHABLE = 3,
	ECHO = 8,
	TIMESTAMP = 13,
	TIMESTAMP_REPLY = 14,
	CODE_TOO_BIG = 4
};

/* The packet that an error is about. */
struct quote {
	struct nat44_rewrite r;
	uint64_t src, dst; /* address << 16 | port */
};

/* A query's identifier is the port of who asked: of the source in a query,
 * which is what goes out, of the destination in an answer. */
static bool
quote_icmp(struct quote *q, bool ours)
{
	uint8_t type = q->r.l4[0];
	uint16_t id = load_be16(q->r.l4 + 4);

	q->r.space = NAT44_ICMP;
	if (ours) {
		q->src |= id;
		return type == ECHO || type == TIMESTAMP;
	}
	q->dst |= id;
	return type == ECHO_REPLY || type == TIMESTAMP_REPLY;
}

/* ours: what went out. There may be less than its header says. RFC 5508 REQ-3 a
 * wants a look at the IP header's checksum. */
static bool
quote_parse(struct quote *q, uint8_t *b, uint32_t len, bool ours)
{
	if (len < IP_HEADER || b[0] >> 4 != 4)
		return false;
	uint32_t hlen = (uint32_t)(b[0] & 15) * 4;
	if (hlen < IP_HEADER || len < hlen + QUOTE_LEAST ||
	    (load_be16(b + 6) & 0x1fff) != 0 ||
	    csum_fold(csum_add(0, b, hlen)) != 0xffff)
		return false;
	*q =
	    (struct quote){.r = {.ip = b, .l4 = b + hlen, .l4_len = len - hlen},
		.src = (uint64_t)load_be32(b + AT_SRC) << 16,
		.dst = (uint64_t)load_be32(b + AT_DST) << 16};
	if (b[9] == IPPROTO_NUM_ICMP)
		return quote_icmp(q, ours);
	if (b[9] != IPPROTO_NUM_TCP && b[9] != IPPROTO_NUM_UDP)
		return false;
	q->r.space = b[9] == IPPROTO_NUM_TCP ? NAT44_TCP : NAT44_UDP;
	q->src |= load_be16(q->r.l4);
	q->dst |= load_be16(q->r.l4 + 2);
	return true;
}

bool
nat44_quote_inward(
    const struct nat44 *n, uint8_t *b, uint32_t len, uint32_t *inside)
{
	struct quote q;

	if (!quote_parse(&q, b, len, true) || q.src >> 16 != n->address)
		return false;
	const struct nat44_session *s =
	    nat44_session_inward(n, q.r.space, (uint16_t)q.src, q.dst);
	if (!s)
		return false;
	q.r.source = true;
	nat44_rewrite(n, &q.r, s);
	*inside = (uint32_t)(s->inside >> 16);
	return true;
}

static const struct nat44_session *
session_outward(const struct nat44 *n, const struct quote *q)
{
	uint64_t inside = nat44_inside_key(q->r.space, q->dst);
	uint64_t key = nat44_remote_key(q->r.space, q->src);
	uint64_t any = q->src & ~UINT64_C(0xffff);
	struct nat44_session *s = nat44_alive(
	    n, nat44_find_inside(n, inside, key, nat44_hash(n, inside, key)));

	if (s || q->r.space != NAT44_UDP || key == any)
		return s;
	return nat44_alive(
	    n, nat44_find_inside(n, inside, any, nat44_hash(n, inside, any)));
}

static bool
sum_is_right(const struct nat44_flow *f)
{
	return csum_fold(csum_add(0, f->l4, f->l4_len)) == 0xffff;
}

/* A next-hop MTU that no IPv4 path has would make TCP crawl (N7); 0 is that of
 * routers older than RFC 1191, and means that there is none. */
static void
finish(const struct nat44_flow *f)
{
	if (f->l4[0] == UNREACHABLE && f->l4[1] == CODE_TOO_BIG) {
		uint16_t mtu = load_be16(f->l4 + 6);

		if (mtu != 0 && mtu < MTU_LEAST)
			store_be16(f->l4 + 6, MTU_LEAST);
	}
	store_be16(f->l4 + 2, 0);
	store_be16(
	    f->l4 + 2, (uint16_t)~csum_fold(csum_add(0, f->l4, f->l4_len)));
}

/* Errors neither refresh nor end what they are about (RFC 5508 REQ-6). */
enum map_drop
nat44_error_inward(const struct nat44 *n, const struct nat44_flow *f)
{
	uint32_t inside;

	if (!sum_is_right(f))
		return MAP_DROP_CHECKSUM;
	if (!nat44_quote_inward(
		n, f->l4 + ICMP_HEADER, f->l4_len - ICMP_HEADER, &inside))
		return MAP_DROP_ICMP;
	nat44_set_address(f->ip, AT_DST, inside);
	finish(f);
	return MAP_OK;
}

/* What a host or a router inside says about a packet that came in: to whoever
 * sent that, and from our address whoever says it (RFC 5508 REQ-5). */
enum map_drop
nat44_error_outward(
    const struct nat44 *n, const struct nat44_flow *f, bool *inside)
{
	struct quote q;

	if (!sum_is_right(f))
		return MAP_DROP_CHECKSUM;
	if (!quote_parse(
		&q, f->l4 + ICMP_HEADER, f->l4_len - ICMP_HEADER, false))
		return MAP_DROP_ICMP;
	if (q.src >> 16 != f->dst >> 16)
		return MAP_DROP_ICMP;
	const struct nat44_session *s = session_outward(n, &q);
	if (!s)
		return MAP_DROP_ICMP;
	q.r.out = true;
	nat44_rewrite(n, &q.r, s);
	nat44_set_address(f->ip, AT_SRC, n->address);
	finish(f);
	*inside = f->dst >> 16 == n->address &&
		  map_ports_has(&n->conf.ports, (uint16_t)q.src);
	return MAP_OK;
}
