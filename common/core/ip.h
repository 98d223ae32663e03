/* ip: checked views of IPv4 and IPv6 headers. Pure; every length is checked
 * against the bytes there are. RFC 791, RFC 8200, RFC 9293, RFC 768. */
#ifndef UKAI_IP_H
#define UKAI_IP_H

#include "endpoint.h"

enum { IPPROTO_NUM_ICMP = 1, IPPROTO_NUM_TCP = 6, IPPROTO_NUM_UDP = 17,
	IPPROTO_NUM_ICMPV6 = 58 };

struct ip_view {
	uint8_t family;    /* FAMILY_V4 or FAMILY_V6 */
	uint8_t tos;       /* TOS byte or traffic class; low 2 bits are ECN */
	uint8_t proto;     /* of the first upper-layer header; for v6 the one
	                      after known extension headers */
	bool fragment;     /* any fragment (offset != 0 or more fragments) */
	bool first;        /* offset 0: the upper-layer header is here */
	uint32_t hlen;     /* bytes before the upper-layer header */
	uint32_t total;    /* header's own idea of the packet's length */
	const uint8_t *src; /* 4 or 16 bytes inside the packet */
	const uint8_t *dst;
};

/* Look at a packet of len bytes. Only what the fixed header says is demanded:
 * version 4 or 6, header complete, header length <= total <= len. Extension
 * headers of v6 are followed as far as they are whole; hop-by-hop (first
 * only), routing, destination options and fragment are known, with at most 8
 * of them. Where the walk stops short, proto is the extension header's number
 * and hlen where it begins. Always hlen <= total.
 * Returns 0; UK_EPROTO. */
int ip_parse(struct ip_view *v, const uint8_t *pkt, size_t len);

/* The part of ip_parse that the fast path needs: version, the header's own
 * length between its header size and len, addresses. Sets family, total, tos,
 * src, dst (hlen, proto, fragment, first are left alone).
 * Returns 0; UK_EPROTO. */
int ip_parse_fixed(struct ip_view *v, const uint8_t *pkt, size_t len);

/* RFC 6040 normal mode. Encapsulation: the outer ECN bits for an inner TOS. */
uint8_t ip_ecn_encap(uint8_t inner_tos);
/* Decapsulation (figure 4): combine outer ECN into the inner packet in place,
 * updating the IPv4 header checksum. Returns 0; UK_EPROTO when the packet
 * must be dropped (outer CE on inner not-ECT). pkt passed ip_parse_fixed. */
int ip_ecn_decap(uint8_t *pkt, uint8_t outer_tos);

/* Write an ICMP or ICMPv6 destination unreachable that quotes pkt, from
 * address src (of pkt's family; else, and for FAMILY_NONE, the packet's own
 * destination).
 * code: ICMP 1 host unreachable (v4) / ICMPv6 3 address unreachable are what
 * callers use; v4code and v6code are given apart.
 * Not for ICMP errors, fragments but the first, sources that are not one host,
 * multicast or broadcast (RFC 1122 3.2.2, RFC 4443 2.4 e): then returns 0.
 * Returns bytes written to out, at most 576 (v4) or 1280 (v6); cap is at least
 * 1280; out does not overlap pkt. */
size_t ip_icmp_unreachable(uint8_t *out, size_t cap, const uint8_t *pkt,
    size_t len, const struct ip_addr *src, uint8_t v4code, uint8_t v6code);

#endif
