/* refresh: when a peer's name is looked up again. A machine: what is known of
 * the peer goes in every few seconds, a yes or no comes out.
 *
 * A relay that has moved does not answer: packets go out, nothing comes back,
 * and handshakes stop. An idle peer, too, has no handshakes, but sends
 * nothing. Pure; memory: caller's. */
#ifndef UKAI_REFRESH_H
#define UKAI_REFRESH_H

#include "core/base.h"

/* How often to call refresh_due(). */
#define REFRESH_EVERY (5 * UK_NS_PER_S)
/* In vain for so long: as long as WireGuard itself waits before it doubts a
 * session. */
#define REFRESH_VAIN (15 * UK_NS_PER_S)
/* A session is renewed after 120 s; later than this, that has failed. */
#define REFRESH_STALE (135 * UK_NS_PER_S)
/* Between look-ups at least. */
#define REFRESH_APART (30 * UK_NS_PER_S)
/* After a failed look-up without any address: from, doubling, to. */
#define REFRESH_RETRY_FIRST (5 * UK_NS_PER_S)
#define REFRESH_RETRY_MOST (60 * UK_NS_PER_S)

struct refresh_peer {
	bool known; /* has an endpoint */
	uint64_t handshake; /* changes with each; 0: never */
	uint64_t tx_bytes, rx_bytes;
};

struct refresh {
	struct refresh_peer last;
	uint64_t handshake_ns; /* when it changed last */
	uint64_t sent_ns; /* when tx_bytes changed last */
	uint64_t vain_ns; /* sending in vain since; UK_NEVER: not */
	uint64_t not_before_ns;
	uint64_t retry_ns; /* next delay after a failure; 0: the first */
};

void refresh_init(struct refresh *r);
/* Look the name up now? */
bool refresh_due(
    struct refresh *r, uint64_t now_ns, const struct refresh_peer *p);
/* A look-up has ended. */
void refresh_found(struct refresh *r, uint64_t now_ns);
void refresh_failed(struct refresh *r, uint64_t now_ns);

#endif
