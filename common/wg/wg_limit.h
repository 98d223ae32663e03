/* wg_limit: a token bucket for each source of handshakes: IPv4 /32, IPv6 /64,
 * never the port (A3). 20 a second, 5 at once. The table is a fixed array; a
 * source is forgotten once its bucket would be full again, and when no place
 * is left a newcomer is refused, not an acquaintance. */
#ifndef UKAI_WG_LIMIT_H
#define UKAI_WG_LIMIT_H

#include "core/endpoint.h"

#define WG_LIMIT_WAYS 8
#define WG_LIMIT_SETS 256
#define WG_LIMIT_PER_S 20
#define WG_LIMIT_BURST 5

struct wg_limit_bucket {
	uint64_t source;  /* the address or its upper half */
	uint64_t full_ns; /* when its tokens are all back */
};

struct wg_limit {
	uint8_t key[16]; /* hashes sources to sets */
	struct wg_limit_bucket bucket[WG_LIMIT_SETS][WG_LIMIT_WAYS];
};

void wg_limit_init(struct wg_limit *l, const uint8_t key[16]);

/* Take one token for this source. False: none left, or no place. */
bool wg_limit_allow(
    struct wg_limit *l, const struct ip_addr *source, uint64_t now_ns);

#endif
