/* tunnel_error: ICMPv6 errors about our outer packets, and the ICMP errors that
 * the inner packets' senders are told. RFC 2473 section 8, RFC 7597 8.2. Pure.
 * The source of an ICMPv6 error is any router of the path, so the packet it
 * quotes must be one that we could have sent: from our MAP address to the BR or
 * the right CE, protocol 4, from our IPv4 address and a port of our set (N7).
 * That it is of a live session is for the caller to find out. */
#ifndef UKAI_MAPE_TUNNEL_ERROR_H
#define UKAI_MAPE_TUNNEL_ERROR_H

#include "drop.h"
#include "ipip6.h"

enum tunnel_error_kind {
	TUNNEL_ERROR_TOO_BIG, /* mtu is set */
	TUNNEL_ERROR_UNREACHABLE, /* type 1, hop limit, parameter problem */
};

struct tunnel_error {
	enum tunnel_error_kind kind;
	uint8_t type, code; /* of ICMPv6 */
	uint32_t mtu; /* of the outer path, at least 1280 */
	uint8_t outer_dst[16]; /* the BR, or another CE */
	/* As much as is quoted of an IPv4 packet from us: its header, and at
	 * least 8 bytes behind it, with a port of ours. */
	const uint8_t *inner;
	uint32_t inner_len;
};

/* pkt passed ipip6_outer() as IPIP6_ICMPV6. Its checksum is verified. An error
 * that quotes too little, a later fragment or an ICMP error is dropped, as are
 * an MTU under 1280 or not under the quoted packet's size, and what we do not
 * act upon (lost fragments, unknown types). Returns MAP_OK or why not. */
enum map_drop tunnel_error_parse(const struct ipip6_conf *c,
    const uint8_t *pkt, size_t len, struct tunnel_error *e);

/* Write an ICMP error about an IPv4 packet pkt (whole header, at least 8 bytes
 * behind it) from src to its sender: type, code, and for type 3 code 4 the MTU.
 * Not about ICMP errors, later fragments, sources that are not one host (RFC
 * 1122 3.2.2): then returns 0. Else the bytes written to out, 576 at most. cap
 * is at least 576; pkt may be cut behind those 8 bytes. */
size_t icmp4_error(uint8_t *out, size_t cap, const uint8_t *pkt, size_t len,
    const uint8_t src[4], uint8_t type, uint8_t code, uint16_t mtu);

#endif
