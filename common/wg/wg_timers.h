/* wg_timers: when a peer's session is renewed, retried, kept alive and
 * forgotten. All timer policy is here, as named events in the past tense that
 * the device reports, and deadlines that come out.
 *
 *   retransmit   an initiation went unanswered: send another one
 *   keepalive    data came in and nothing went out: say that we live
 *   new session  data went out and nothing came in: the session may be dead
 *   zero keys    no new session for three of its lives: wipe everything
 *   persistent   the user wants a packet at least this often
 *
 * Beside these a peer may be asked whether it answers, by an initiation that
 * nobody waits for: it moves no deadline, and counts as no retry.
 *
 * Pure; memory: caller's. jitter_ns arguments: random, 0..WG_JITTER_MAX; kept
 * until the next one, so that no packet costs randomness. */
#ifndef UKAI_WG_TIMERS_H
#define UKAI_WG_TIMERS_H

#include "core/base.h"

#define WG_JITTER_MAX (333 * UK_NS_PER_MS)

/* Between an initiation and one that only asks. An answer to the former that
 * takes longer is lost: there is one handshake at a time. */
#define WG_ASK_INTERVAL (350 * UK_NS_PER_MS)

/* The constants of the whitepaper, section 6.1; tests inject others. */
struct wg_times {
	uint64_t rekey_after_ns;      /* 120 s */
	uint64_t reject_after_ns;     /* 180 s */
	uint64_t rekey_timeout_ns;    /* 5 s */
	uint64_t keepalive_ns;        /* 10 s */
	unsigned max_retries;         /* 19, so 20 initiations, as Linux counts */
};
extern const struct wg_times wg_times_default;

enum wg_timer {
	WG_TIMER_RETRANSMIT,
	WG_TIMER_KEEPALIVE,
	WG_TIMER_NEW_SESSION,
	WG_TIMER_ZERO_KEYS,
	WG_TIMER_PERSISTENT,
	WG_TIMER_COUNT,
};

struct wg_timers {
	uint64_t at_ns[WG_TIMER_COUNT]; /* UK_NEVER: not running */
	unsigned retries;
	bool another_keepalive; /* data came in while one was pending */
	uint16_t persistent_s;  /* 0: off */
	uint64_t initiated_ns;  /* last initiation sent */
	bool ever_initiated;    /* initiated_ns holds */
	uint64_t asked_ns;      /* the same, of those that only ask */
	bool ever_asked;
	uint64_t jitter_ns;
};

void wg_timers_init(struct wg_timers *t, uint64_t jitter_ns);
/* Interface went down or the peer's identity changed: stop all; the next
 * initiation may go at once. persistent_s stays. */
void wg_timers_stop(struct wg_timers *t);

/* A data packet with content was sent / received and accepted. */
void wg_timers_data_sent(
    struct wg_timers *t, const struct wg_times *c, uint64_t now_ns);
void wg_timers_data_received(
    struct wg_timers *t, const struct wg_times *c, uint64_t now_ns);
/* Anything (handshake, data, keepalive) was sent / authentically received. */
void wg_timers_any_sent(struct wg_timers *t, uint64_t now_ns);
void wg_timers_any_received(struct wg_timers *t, uint64_t now_ns);
/* An initiation was sent; call any_sent too. */
void wg_timers_initiated(struct wg_timers *t, const struct wg_times *c,
    uint64_t now_ns, uint64_t jitter_ns);
/* An answer to an initiation was sent; call any_sent too. Our own initiation
 * would only cross the peer's. */
void wg_timers_responded(struct wg_timers *t, uint64_t now_ns);
/* A session exists (initiator: answer accepted; responder: answer made). */
void wg_timers_session_derived(
    struct wg_timers *t, const struct wg_times *c, uint64_t now_ns);
/* The peer has proved the session; retries begin anew. */
void wg_timers_handshake_complete(struct wg_timers *t);

/* May an initiation be sent now (at least REKEY_TIMEOUT after the last)? */
bool wg_timers_may_initiate(
    const struct wg_timers *t, const struct wg_times *c, uint64_t now_ns);
/* May one be sent to ask, WG_ASK_INTERVAL after the last of either kind? It
 * was: nothing else is to be called. */
bool wg_timers_may_ask(const struct wg_timers *t, uint64_t now_ns);
void wg_timers_asked(struct wg_timers *t, uint64_t now_ns);
/* One was wanted and may not be sent yet: look again when it may, unless the
 * retry of the last one does that. A handshake that completes in the meantime,
 * as after our answer to the peer's, takes it back. */
void wg_timers_initiation_deferred(
    struct wg_timers *t, const struct wg_times *c);

/* The earliest deadline; UK_NEVER. */
uint64_t wg_timers_deadline(const struct wg_timers *t);

/* What the device has to do for deadlines that have passed. */
enum wg_timer_action {
	WG_DO_INITIATE = 1,      /* a retry: the attempt count goes on */
	WG_DO_NEW_SESSION = 2,   /* initiate, attempts counted from 0 */
	WG_DO_KEEPALIVE = 4,
	WG_DO_FORGET_SOURCE = 8, /* the local address may be the trouble */
	WG_DO_DROP_QUEUE = 16,   /* given up; wait for new traffic */
	WG_DO_ZERO_KEYS = 32,
};
unsigned wg_timers_expire(
    struct wg_timers *t, const struct wg_times *c, uint64_t now_ns);

#endif
