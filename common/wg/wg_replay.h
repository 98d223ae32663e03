/* wg_replay: which counters of a session have been received. RFC 6479: a ring
 * of bits that the newest counter drags along. Memory: caller's. Threads:
 * owner only. */
#ifndef UKAI_WG_REPLAY_H
#define UKAI_WG_REPLAY_H

#include "core/base.h"

#define WG_REPLAY_BITS 8192
#define WG_REPLAY_WORDS (WG_REPLAY_BITS / 64)

/* Counters down to this far behind the newest are still accepted: the word
 * that the newest one is in is not whole behind it. */
#define WG_REPLAY_WINDOW (WG_REPLAY_BITS - 64)

/* This counter and all above it are never sent nor accepted. */
#define WG_REJECT_AFTER_MESSAGES (UINT64_MAX - WG_REPLAY_BITS)

struct wg_replay {
	uint64_t next; /* newest accepted + 1; 0: none yet */
	uint64_t bits[WG_REPLAY_WORDS];
};

void wg_replay_init(struct wg_replay *r);

/* Record counter n of an *authenticated* packet. Returns 0; UK_EREPLAY if
 * seen or older than the window; UK_ELIMIT at or past the reject limit. */
int wg_replay_check(struct wg_replay *r, uint64_t n);

#endif
