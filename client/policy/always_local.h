/* always_local: destinations that stay local whatever the rules say, on every
 * host. One list for the kernel's rules and for what `policy explain` tells.
 * What a host adds, its own addresses, broadcast and LocalNetworks, is known to
 * the kernel's rules alone. Pure. */
#ifndef UKAI_POLICY_ALWAYS_LOCAL_H
#define UKAI_POLICY_ALWAYS_LOCAL_H

#include "core/endpoint.h"

/* For nftables (RFC 6890); it knows loopback by itself, as the host's own ...
 */
#define ALWAYS_LOCAL_V4 "0.0.0.0, 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255"
#define ALWAYS_LOCAL_V6 "::, fe80::/10, ff00::/8"

/* ... and the same, with loopback: how long the prefix is that this address is
 * local with. 0: it is not. */
static inline unsigned
always_local_bits_v4(const uint8_t *b)
{
	if (b[0] == 127)
		return 8;
	if ((b[0] & 0xf0) == 224)
		return 4;
	if (b[0] == 169 && b[1] == 254)
		return 16;
	return (b[0] == 0 || b[0] == 255) && b[1] == b[0] && b[2] == b[0] &&
		       b[3] == b[0]
		   ? 32
		   : 0;
}

static inline unsigned
always_local_bits_v6(const uint8_t *b)
{
	unsigned any = 0;

	if (b[0] == 0xff)
		return 8;
	if (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)
		return 10;
	for (unsigned i = 0; i < 15; i++)
		any |= b[i];
	return any == 0 && b[15] <= 1 ? 128 : 0;
}

static inline unsigned
always_local_bits(const struct ip_addr *a)
{
	if (a->family == FAMILY_V4)
		return always_local_bits_v4(a->b);
	return a->family == FAMILY_V6 ? always_local_bits_v6(a->b) : 0;
}

static inline bool
always_local(const struct ip_addr *a)
{
	return always_local_bits(a) > 0;
}

/* All of it? */
static inline bool
always_local_prefix(const struct ip_prefix *p)
{
	unsigned bits = always_local_bits(&p->addr);

	return bits > 0 && p->bits >= bits;
}

#endif
