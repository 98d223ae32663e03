/* endpoint: where datagrams come from or go to, with the local address they
 * came to ("sticky source"). Our own type, so that the core needs no socket
 * header. */
#ifndef UKAI_ENDPOINT_H
#define UKAI_ENDPOINT_H

#include "base.h"

enum { FAMILY_NONE = 0, FAMILY_V4 = 4, FAMILY_V6 = 6 };

struct ip_addr {
	uint8_t family; /* FAMILY_* */
	uint8_t b[16];  /* network order; v4 uses the first 4, rest zero */
};

struct endpoint {
	struct ip_addr addr;
	uint16_t port;     /* host order */
	uint32_t scope_id; /* interface index for link-local v6, else 0 */
	struct ip_addr src; /* local address; FAMILY_NONE: the kernel chooses */
	uint32_t src_ifindex; /* interface it came in by; 0: any */
};

/* "[2001:db8::1]:51820" / "192.0.2.1:51820" and a terminating zero. */
#define ENDPOINT_TEXT_MAX 80
#define IP_ADDR_TEXT_MAX 46

/* Same remote address, port and scope (the local side is not compared). */
bool endpoint_same_remote(const struct endpoint *a, const struct endpoint *b);

bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b);

/* Parse a numeric address, v4 or v6, no brackets, no scope. Pure.
 * Returns 0; UK_EINVAL. */
int ip_addr_parse(struct ip_addr *a, const char *text, size_t len);

/* Write the canonical text (RFC 5952 for v6); returns text. */
const char *ip_addr_format(
    const struct ip_addr *a, char text[static IP_ADDR_TEXT_MAX]);

/* Write the text with port, brackets for v6, "%scope" (a number) when
 * scope_id is set; "(none)" for FAMILY_NONE. Returns text. */
const char *endpoint_format(
    const struct endpoint *e, char text[static ENDPOINT_TEXT_MAX]);

struct ip_prefix {
	struct ip_addr addr; /* host bits are zero */
	uint8_t bits;        /* 0..32 or 0..128 */
};

/* Bytes only: memcmp() puts prefixes in order, one before those inside it. */
_Static_assert(sizeof(struct ip_prefix) == 18, "ip_prefix has no padding");

#define IP_PREFIX_TEXT_MAX 50

/* An interface's own address: host bits are kept. */
struct ip_ifaddr {
	struct ip_addr addr;
	uint8_t bits; /* prefix length, 0..32 or 0..128 */
};

/* "192.0.2.7/24"; without "/N" all bits. Returns 0; UK_EINVAL. */
int ip_ifaddr_parse(struct ip_ifaddr *a, const char *text, size_t len);
/* The network that the address is in. */
void ip_ifaddr_prefix(const struct ip_ifaddr *a, struct ip_prefix *p);

/* "192.0.2.0/24", "2001:db8::/32"; without "/N" a host prefix. Host bits are
 * masked off. Returns 0; UK_EINVAL. */
int ip_prefix_parse(struct ip_prefix *p, const char *text, size_t len);
const char *ip_prefix_format(
    const struct ip_prefix *p, char text[static IP_PREFIX_TEXT_MAX]);
bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a);
/* Is there an address that lies in both? */
bool ip_prefix_overlap(const struct ip_prefix *a, const struct ip_prefix *b);

#endif
