/* failover: does the other end of a tunnel answer? A machine: what is known of
 * a peer goes in every FAILOVER_EVERY, whether to ask and whether it is live
 * comes out. Pure; memory: caller's.
 *
 * What arrives proves that it is live: data, or the answer to a handshake,
 * which is what we ask with (wg_peer_ask()), as WireGuard has nothing cheaper
 * that must be answered. Nobody is asked while something comes in.
 *
 *   used        data went there in the last FAILOVER_IN_USE: after
 *               FAILOVER_QUIET without a word it is in doubt
 *   not used    it is not looked after; the first packet puts it in doubt
 *   in doubt    asked every FAILOVER_ASK; any word ends it
 *   down        FAILOVER_SILENCE after the last word; after the packet, when
 *               it was not used, and less the quiet time. Asked every
 *               FAILOVER_AGAIN; the first answer makes it live
 *
 * From the moment on that nothing passes any more that takes, where answers
 * take RTT, at most RTT / 2 + FAILOVER_EVERY + FAILOVER_SILENCE: 2.75 s with
 * 300 ms; and for a first packet less.
 *
 * A path that loses packets must not look like one that is dead. Where an ask
 * had no answer in the last FAILOVER_LOSSY, doubt begins earlier: 5 asks
 * instead of 4 are lost before it is down, 6 where answers take less than
 * 200 ms. With 5 % lost each way that is once in 13 hours of asking at 300 ms,
 * once in 5 days at less (simulated for 2000 hours). Answers that take longer
 * than FAILOVER_ASK make asks rarer, since only the last one is ever answered;
 * up to FAILOVER_AGAIN such a path works. */
#ifndef UKAI_FAILOVER_H
#define UKAI_FAILOVER_H

#include "core/base.h"

#define FAILOVER_EVERY (UK_NS_PER_S / 5)
#define FAILOVER_QUIET (3 * UK_NS_PER_S / 5)
#define FAILOVER_QUIET_LOSSY (UK_NS_PER_S / 5)
#define FAILOVER_SILENCE (12 * UK_NS_PER_S / 5)
#define FAILOVER_ASK (2 * UK_NS_PER_S / 5) /* between asks, while in doubt */
#define FAILOVER_AGAIN (UK_NS_PER_S)
#define FAILOVER_AGAIN_MOST (5 * UK_NS_PER_S) /* after a minute in vain */
#define FAILOVER_IN_USE (300 * UK_NS_PER_S)
#define FAILOVER_LOSSY (600 * UK_NS_PER_S)

/* As in struct wg_peer_info. */
struct failover_peer {
	uint64_t handshakes;
	uint64_t rx_bytes;
	uint64_t tx_data;
};

enum failover_state { FAILOVER_DOWN, FAILOVER_LIVE };

/* Times: UK_NEVER: never, or not now. */
struct failover {
	enum failover_state state; /* DOWN at first */
	struct failover_peer last;
	uint64_t step_ns; /* the last one */
	uint64_t heard_ns, sent_ns, asked_ns;
	uint64_t lost_ns; /* an ask had no answer */
	uint64_t answer_ns; /* how long the last answer took; 0: none yet */
	uint64_t down_at_ns; /* in doubt: when it will be down */
	uint64_t down_ns; /* since */
	bool asking; /* the last ask is not answered yet */
};

void failover_init(struct failover *f);
/* Returns whether to ask now. f->state is what holds. Counters may have any
 * value at first. Time in which nobody called it, as the machine slept or had
 * no time, is not held against the peer. */
bool failover_step(
    struct failover *f, uint64_t now_ns, const struct failover_peer *p);

#endif
