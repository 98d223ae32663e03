#include "ipip6.h"

#include <string.h>

#include "core/bytes.h"
#include "core/csum.h"
#include "core/ip.h"

#define V4_HLEN 20
#define TCP_HLEN 20
#define UDP_HLEN 8
#define ICMP_HLEN 8
#define FRAGMENT_HLEN 8

enum { NEXT_IPV4 = 4, NEXT_FRAGMENT = 44, NEXT_OPTIONS = 60 };
enum { OPTION_PAD1 = 0, OPTION_PADN = 1, OPTION_LIMIT = 4 };
#define OPTIONS_HLEN 8u

void
ipip6_header(uint8_t out[IPIP6_HLEN], const uint8_t src[16],
    const uint8_t dst[16], uint8_t next_header, uint8_t inner_tos, uint16_t len)
{
	uint32_t tos = (inner_tos & 0xfcu) | ip_ecn_encap(inner_tos);

	store_be32(out, UINT32_C(6) << 28 | tos << 20);
	store_be16(out + 4, len);
	out[6] = next_header;
	out[7] = IPIP6_HOP_LIMIT;
	memcpy(out + 8, src, 16);
	memcpy(out + 24, dst, 16);
}

/* The FMR for an IPv4 address: the longest match (RFC 7597 5). Only that one
 * says whose a port is; no shorter one is tried after it (D9). */
static const struct map_rule *
fmr_of(const struct ipip6_conf *c, const uint8_t ipv4[4])
{
	const struct map_rule *best = NULL;
	uint32_t a = load_be32(ipv4);

	for (size_t i = 0; i < c->n; i++) {
		const struct map_rule *r = &c->fmr[i];
		uint64_t mask = UINT64_MAX << (32 - r->ipv4.bits);
		uint64_t differ = a ^ load_be32(r->ipv4.addr.b);

		if ((differ & mask) != 0)
			continue;
		if (best == NULL || r->ipv4.bits > best->ipv4.bits)
			best = r;
	}
	return best;
}

/* The MAP address of whoever has this port of this address; false: no FMR
 * says. */
static bool
locate(const struct ipip6_conf *c, const uint8_t ipv4[4], uint16_t port,
    uint8_t address[16])
{
	const struct map_rule *r = fmr_of(c, ipv4);

	return r != NULL && map_ce_locate(r, ipv4, port, address) == 0;
}

void
ipip6_destination(const struct ipip6_conf *c, const uint8_t dst[4],
    bool has_port, uint16_t port, uint8_t out[16])
{
	/* What an FMR would send to ourselves goes to the BR, which knows
	 * better or drops it: never a loop on this host. */
	if (has_port && locate(c, dst, port, out) &&
	    memcmp(out, c->address, 16) != 0)
		return;
	memcpy(out, c->br, 16);
}

/* Is this the MAP address of some CE under this rule, to the last bit? It names
 * the CE's IPv4 address and PSID (RFC 7597 6), and the rule leads from those
 * back to it (8.1); the prefix alone is for speed. */
static bool
is_ce(const struct ipip6_conf *c, const struct map_rule *r,
    const struct ip_addr *a)
{
	const uint8_t *ipv4 = a->b + (r->iid == MAP_IID_DRAFT03 ? 9 : 10);
	struct map_ports set = {r->psid_offset, r->psid_len, 0};
	uint8_t ce[16];

	if (!ip_prefix_contains(&r->ipv6, a))
		return false;
	set.psid = load_be16(ipv4 + 4);
	if (set.psid >> set.psid_len != 0)
		return false;
	return locate(c, ipv4, map_ports_nth(&set, 0), ce) &&
	       memcmp(ce, a->b, 16) == 0;
}

/* May this address send us anything (D1)? The BR, exactly; else, with FMRs, a
 * CE, which ipip6_ports() then holds against the inner source (D9). Nobody
 * outside has our own. */
static bool
may_send(const struct ipip6_conf *c, const uint8_t src[16])
{
	struct ip_addr a = {.family = FAMILY_V6};

	if (memcmp(src, c->br, 16) == 0)
		return true;
	if (memcmp(src, c->address, 16) == 0)
		return false;
	memcpy(a.b, src, 16);
	for (size_t i = 0; i < c->n; i++) {
		if (is_ce(c, &c->fmr[i], &a))
			return true;
	}
	return false;
}

/* Options of RFC 2473 4.1.1 and RFC 8200 4.2, in 6 bytes: all there is room for
 * in a header of 8. */
static bool
is_limit(const uint8_t option[6])
{
	unsigned at = 0, limits = 0;

	while (at < 6) {
		uint8_t type = option[at++];

		if (type == OPTION_PAD1)
			continue;
		if (at == 6 || (type != OPTION_PADN && type != OPTION_LIMIT))
			return false;
		if (type == OPTION_LIMIT && option[at] != 1)
			return false;
		limits += type == OPTION_LIMIT;
		at += 1u + option[at];
	}
	return at == 6 && limits == 1;
}

void
ipip6_drop_limit(struct vnet_packet *p)
{
	uint8_t *pkt = pbuf_data(&p->b);
	uint32_t off = OPTIONS_HLEN;

	if (p->b.len < IPIP6_HLEN + OPTIONS_HLEN || pkt[6] != NEXT_OPTIONS ||
	    load_be16(pkt + 4) < OPTIONS_HLEN || pkt[IPIP6_HLEN] != NEXT_IPV4 ||
	    pkt[IPIP6_HLEN + 1] != 0 || !is_limit(pkt + IPIP6_HLEN + 2))
		return;
	memmove(pkt + off, pkt, IPIP6_HLEN);
	pbuf_pull(&p->b, off);
	pkt += off;
	pkt[6] = NEXT_IPV4;
	store_be16(pkt + 4, (uint16_t)(load_be16(pkt + 4) - off));
	if (p->hdr.csum_start >= IPIP6_HLEN + off)
		p->hdr.csum_start = (uint16_t)(p->hdr.csum_start - off);
}

/* What is right behind the fixed header, and is it whole (D7)? Linux's
 * ip6_tunnel walked on through a fragment header that was not (CVE-2024-26633);
 * here nothing is walked: one header or none. Hop-by-hop, routing and
 * destination options are in no packet of a MAP-E domain, and so are refused,
 * but for what ipip6_drop_limit() takes out. */
static enum map_drop
classify(const uint8_t *pkt, struct ipip6_view *v)
{
	const uint8_t *next = pkt + IPIP6_HLEN;

	switch (pkt[6]) {
	case NEXT_IPV4:
		v->what = IPIP6_INNER;
		return MAP_OK;
	case NEXT_FRAGMENT:
		if (v->len < FRAGMENT_HLEN)
			return MAP_DROP_OUTER_MALFORMED;
		/* RFC 8200 4.5 lets later fragments name another header than
		 * the first. No sender does that. */
		if (next[0] != NEXT_IPV4)
			return MAP_DROP_OUTER_HEADER;
		v->what = IPIP6_FRAGMENT;
		return MAP_OK;
	case IPPROTO_NUM_ICMPV6:
		if (v->len < ICMP_HLEN)
			return MAP_DROP_OUTER_MALFORMED;
		/* Not a query: those are for the host (RFC 4443 2.1). */
		if (next[0] >= 128)
			return MAP_DROP_OUTER_HEADER;
		v->what = IPIP6_ICMPV6;
		return MAP_OK;
	default:
		return MAP_DROP_OUTER_HEADER;
	}
}

enum map_drop
ipip6_outer(const struct ipip6_conf *c, const uint8_t *pkt, size_t len,
    struct ipip6_view *v)
{
	struct ip_view ip;

	if (ip_parse_fixed(&ip, pkt, len) != 0 || ip.family != FAMILY_V6)
		return MAP_DROP_OUTER_MALFORMED;
	v->outer_tos = ip.tos;
	v->outer_src = ip.src;
	v->off = IPIP6_HLEN;
	v->len = ip.total - IPIP6_HLEN;

	enum map_drop why = classify(pkt, v);
	if (why != MAP_OK)
		return why;
	if (memcmp(ip.dst, c->address, 16) != 0)
		return MAP_DROP_OUTER_DESTINATION;
	if (v->what != IPIP6_ICMPV6 && !may_send(c, ip.src))
		return MAP_DROP_OUTER_SOURCE;
	return MAP_OK;
}

/* Sources that no packet from the Internet has (D3, RFC 6890). That holds for
 * ICMP errors too. Some operators number their routers privately, and RFC 5508
 * would let a NAT pass their errors; but the answer to what such an error says
 * would be traffic about an address of somebody's LAN, which is what D3 is for.
 * It costs such routers' lines in a traceroute and, where one of them is the
 * narrowest place, path MTU discovery, for which TCP has RFC 4821. */
bool
ipip6_is_martian(const uint8_t src[4])
{
	static const struct {
		uint32_t net;
		uint8_t bits;
	} martian[] = {
	    {0x00000000, 8}, {0x0a000000, 8},
	    {0x64400000, 10}, /* shared address space, RFC 6598 */
	    {0x7f000000, 8}, {0xa9fe0000, 16}, {0xac100000, 12},
	    {0xc0000000, 29}, /* our own TUN's, RFC 7335 */
	    {0xc0a80000, 16}, {0xe0000000, 4},
	    {0xf0000000, 4}, /* and the limited broadcast */
	};
	uint32_t a = load_be32(src);

	for (size_t i = 0; i < ARRAY_LEN(martian); i++) {
		if ((a ^ martian[i].net) >> (32 - martian[i].bits) == 0)
			return true;
	}
	return false;
}

/* Tunnels that may not come out of a tunnel (D5). */
static bool
is_tunnel(uint8_t proto)
{
	enum { IPV4 = 4, IPV6 = 41, GRE = 47 };

	return proto == IPV4 || proto == IPV6 || proto == GRE;
}

static bool
is_ours(const struct ipip6_conf *c, const uint8_t ipv4[4])
{
	return memcmp(ipv4, c->ipv4, 4) == 0;
}

enum map_drop
ipip6_inner(const struct ipip6_conf *c, const uint8_t *inner, size_t len,
    uint32_t *inner_len)
{
	struct ip_view v;

	if (ip_parse(&v, inner, len) != 0 || v.family != FAMILY_V4)
		return MAP_DROP_INNER_MALFORMED;
	/* RFC 1812 5.2.2: whoever forwards verifies it. */
	if (csum_fold(csum_add(0, inner, v.hlen)) != 0xffff)
		return MAP_DROP_INNER_MALFORMED;
	if (is_tunnel(v.proto))
		return MAP_DROP_NESTED;
	if (ipip6_is_martian(v.src))
		return MAP_DROP_INNER_SOURCE;
	/* The lines that share our address may be heard, with ports of their
	 * own; that is for ipip6_ports(). A whole address nobody shares. */
	if (c->ports.psid_len == 0 && is_ours(c, v.src))
		return MAP_DROP_INNER_SOURCE;
	if (!is_ours(c, v.dst))
		return MAP_DROP_INNER_DESTINATION;
	*inner_len = v.total;
	return MAP_OK;
}

/* ICMP messages with an identifier, RFC 792 and RFC 950. */
static bool
is_query(uint8_t type)
{
	return type == 0 || type == 8 || (type >= 13 && type <= 18);
}

/* Those that mean something across the Internet: unreachable, time exceeded,
 * parameter problem. Source quench is dead (RFC 6633), a redirect is for one
 * link. */
static bool
is_error(uint8_t type)
{
	return type == 3 || type == 11 || type == 12;
}

enum map_drop
ipip6_quote(const struct ipip6_conf *c, const uint8_t *quoted, size_t len,
    struct ipip6_quote *q)
{
	if (len < V4_HLEN || quoted[0] >> 4 != 4)
		return MAP_DROP_INNER_MALFORMED;
	uint32_t hlen = (quoted[0] & 0xfu) * 4;

	/* The quote may be cut, the packet itself was not: RFC 792. */
	if (hlen < V4_HLEN || hlen + ICMP_HLEN > len ||
	    hlen + ICMP_HLEN > load_be16(quoted + 2))
		return MAP_DROP_INNER_MALFORMED;
	if ((load_be16(quoted + 6) & 0x1fff) != 0 || !is_ours(c, quoted + 12))
		return MAP_DROP_ICMP;

	const uint8_t *l4 = quoted + hlen;
	q->proto = quoted[9];
	q->dst = quoted + 16;
	switch (q->proto) {
	case IPPROTO_NUM_TCP:
	case IPPROTO_NUM_UDP:
		q->port = load_be16(l4);
		q->remote_port = load_be16(l4 + 2);
		break;
	case IPPROTO_NUM_ICMP:
		if (!is_query(l4[0]))
			return MAP_DROP_ICMP;
		q->port = q->remote_port = load_be16(l4 + 4);
		break;
	default:
		return MAP_DROP_ICMP;
	}
	return map_ports_has(&c->ports, q->port) ? MAP_OK : MAP_DROP_PORT;
}

/* Is what came from outer_src really by whoever has this port of this address?
 *
 * Ours it cannot be (D3). Only address and port together are ours: up to 2^16
 * lines share the address, and one of them, with a port of its own set, may be
 * heard like anybody else.
 *
 * The BR is believed, as it made the same check where the packet came into the
 * domain (RFC 7597 8.1). Of a CE the address must be exactly what the rule
 * gives (D1). */
static enum map_drop
check_sender(const struct ipip6_conf *c, const uint8_t outer_src[16],
    const uint8_t ipv4[4], uint16_t port)
{
	uint8_t ce[16];

	if (is_ours(c, ipv4) && map_ports_has(&c->ports, port))
		return MAP_DROP_INNER_SOURCE;
	if (memcmp(outer_src, c->br, 16) == 0)
		return MAP_OK;
	if (!locate(c, ipv4, port, ce) || memcmp(ce, outer_src, 16) != 0)
		return MAP_DROP_SPOOFED;
	return MAP_OK;
}

/* An ICMP error has no port: those of the packet that it quotes, which we sent,
 * stand for it. From a CE it must be about a packet to that CE: or any CE could
 * end our sessions with anybody. */
static enum map_drop
check_error(const struct ipip6_conf *c, const uint8_t outer_src[16],
    const struct ip_view *v, const uint8_t *inner)
{
	uint32_t at = v->hlen + ICMP_HLEN;
	struct ipip6_quote q;
	enum map_drop why = ipip6_quote(c, inner + at, v->total - at, &q);

	if (why != MAP_OK)
		return why;
	why = check_sender(c, outer_src, q.dst, q.remote_port);
	if (why != MAP_OK)
		return why;
	/* A line that shares our address speaks of packets to itself (D3). */
	if (is_ours(c, v->src) && !is_ours(c, q.dst))
		return MAP_DROP_INNER_SOURCE;
	return check_sender(c, outer_src, v->src, q.remote_port);
}

/* Bytes of transport header without which a packet is not looked at; 0: not a
 * protocol with ports. */
static uint32_t
transport_min(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_NUM_TCP:
		return TCP_HLEN;
	case IPPROTO_NUM_UDP:
		return UDP_HLEN;
	case IPPROTO_NUM_ICMP:
		return ICMP_HLEN;
	default:
		return 0;
	}
}

enum map_drop
ipip6_ports(const struct ipip6_conf *c, const uint8_t outer_src[16],
    const uint8_t *inner, size_t len)
{
	struct ip_view v;

	if (ip_parse(&v, inner, len) != 0 || v.family != FAMILY_V4 ||
	    v.fragment)
		return MAP_DROP_INNER_MALFORMED;
	uint32_t need = transport_min(v.proto);

	/* Without ports it belongs to none of the lines (RFC 7597 8.1). */
	if (need == 0)
		return MAP_DROP_PROTOCOL;
	if (v.total - v.hlen < need)
		return MAP_DROP_INNER_MALFORMED;

	const uint8_t *l4 = inner + v.hlen;
	uint16_t theirs = load_be16(l4);
	uint16_t ours = load_be16(l4 + 2);
	if (v.proto == IPPROTO_NUM_ICMP) {
		if (is_error(l4[0]))
			return check_error(c, outer_src, &v, inner);
		if (!is_query(l4[0]))
			return MAP_DROP_ICMP;
		theirs = ours = load_be16(l4 + 4);
	}
	enum map_drop why = check_sender(c, outer_src, v.src, theirs);
	if (why != MAP_OK)
		return why;
	return map_ports_has(&c->ports, ours) ? MAP_OK : MAP_DROP_PORT;
}
