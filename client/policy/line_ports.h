/* line_ports: which destinations take a port of the line. One list for the
 * matcher, the kernel's rules and the count of what is used. Pure. */
#ifndef UKAI_POLICY_LINE_PORTS_H
#define UKAI_POLICY_LINE_PORTS_H

#include "core/endpoint.h"

/* Addresses that no flow on the line has (RFC 6890), for nftables ... */
#define LINE_PORTS_NONE_V4                                                     \
	"0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, "                  \
	"169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/3"

/* ... and the same, with all of IPv6, which has no such limit. */
static inline bool
line_ports_needs(const struct ip_addr *dst)
{
	uint8_t a = dst->b[0], b = dst->b[1];

	if (dst->family != FAMILY_V4 || a == 0 || a == 10 || a == 127 ||
	    a >= 224)
		return false;
	return !(a == 100 && (b & 0xc0) == 64) && !(a == 169 && b == 254) &&
	       !(a == 172 && (b & 0xf0) == 16) && !(a == 192 && b == 168);
}

#endif
