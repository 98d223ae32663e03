/* ipip6: IPv4 in IPv6: RFC 2473, protocol 4, without the encapsulation limit
 * option, and the checks of RFC 7597 section 8.1 on what comes in. Pure. */
#ifndef UKAI_MAPE_IPIP6_H
#define UKAI_MAPE_IPIP6_H

#include "core/vnet.h"
#include "drop.h"
#include "map_addr.h"

#define IPIP6_HLEN 40
#define IPIP6_HOP_LIMIT 64

struct ipip6_conf {
	uint8_t address[16]; /* our MAP address */
	uint8_t br[16];
	uint8_t ipv4[4]; /* our IPv4 address */
	struct map_ports ports;
	/* FMRs: rules by which other CEs may be sent to and heard directly;
	 * borrowed. n 0: everything goes by the BR. */
	const struct map_rule *fmr;
	size_t n;
};

/* Write the outer header of len bytes of payload: flow label 0, the inner
 * packet's traffic class with RFC 6040 normal mode ECN. */
void ipip6_header(uint8_t out[IPIP6_HLEN], const uint8_t src[16],
    const uint8_t dst[16], uint8_t next_header, uint8_t inner_tos,
    uint16_t len);

/* Where an inner IPv4 packet to dst goes: the CE that has this port by the
 * longest matching FMR, else the BR. port is that of TCP or UDP, or an ICMP
 * query's id (of an error: that of the quoted packet); has_port false: the
 * BR. Never our own address. */
void ipip6_destination(const struct ipip6_conf *c, const uint8_t dst[4],
    bool has_port, uint16_t port, uint8_t out[16]);

/* Take out a destination options header between outer header and IPv4 packet
 * that has nothing in it but an encapsulation limit (RFC 2473 4.1.1) and
 * padding: Linux's ip6_tunnel puts one there unless told not to, and who
 * decapsulates has no use for it. Any other packet stays as it is. */
void ipip6_drop_limit(struct vnet_packet *p);

/* What is found behind the outer header. */
enum ipip6_what {
	IPIP6_INNER,    /* an IPv4 packet */
	IPIP6_FRAGMENT, /* a fragment of such, to be reassembled first */
	IPIP6_ICMPV6,   /* an ICMPv6 error message to our MAP address */
};

struct ipip6_view {
	enum ipip6_what what;
	uint8_t outer_tos;
	const uint8_t *outer_src; /* 16 bytes inside the packet */
	uint32_t off; /* of the payload; a fragment: of the fragment header */
	uint32_t len; /* of the payload, by the outer header */
};

/* Look at an IPv6 packet: outer form, headers, destination, and that the
 * source is the BR or, with FMRs, the MAP address of a CE (D1, D7, D9).
 * Hop-by-hop, routing and destination options are refused, whatever they hold.
 * From an ICMPv6 error no source is demanded; see tunnel_error.h.
 * Returns MAP_OK or why not. */
enum map_drop ipip6_outer(const struct ipip6_conf *c, const uint8_t *pkt,
    size_t len, struct ipip6_view *v);

/* Then at the inner packet: form, nesting, source, destination address (D2,
 * D3, D5, D7). What is behind v's payload in the outer packet is not looked
 * at; *inner_len is the IPv4 packet's own total length. */
enum map_drop ipip6_inner(const struct ipip6_conf *c, const uint8_t *inner,
    size_t len, uint32_t *inner_len);

/* An address that no packet on the Internet has: this, private, shared,
 * loopback and link-local networks, multicast and beyond (D3, RFC 6890). */
bool ipip6_is_martian(const uint8_t ipv4[4]);

/* A packet of ours that an ICMP error quotes, perhaps cut. */
struct ipip6_quote {
	uint8_t proto; /* TCP, UDP or ICMP */
	const uint8_t *dst; /* 4 bytes inside the quote */
	uint16_t port, remote_port; /* ICMP: both are the query's id */
};

/* Look at a quoted packet: whole IPv4 header and 8 bytes behind it, with ports
 * or the id of an ICMP query, from our address and a port of our set (N7).
 * Returns MAP_OK or why not. */
enum map_drop ipip6_quote(const struct ipip6_conf *c, const uint8_t *quoted,
    size_t len, struct ipip6_quote *q);

/* And, when it is no fragment any more, at its ports or ICMP id: ours, and the
 * sender's when it came from another CE (D1, D2). An ICMP error: by the packet
 * it quotes. */
enum map_drop ipip6_ports(const struct ipip6_conf *c,
    const uint8_t outer_src[16], const uint8_t *inner, size_t len);

#endif
