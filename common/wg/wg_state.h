/* wg_state: what a device and its peers are made of. Private to the files
 * that implement wg_device.h:
 *
 *   wg_device.c     configuration: identity, peers, allowed IPs
 *   wg_peer.c       one peer's sessions, queue and wishes
 *   wg_handshake.c  messages 1, 2 and 3
 *   wg_data.c       message 4, both ways
 *   wg_output.c     what waits to be sent, and time
 */
#ifndef UKAI_WG_STATE_H
#define UKAI_WG_STATE_H

#include "core/timerq.h"
#include "wg_cookie.h"
#include "wg_device.h"
#include "wg_limit.h"
#include "wg_session.h"

/* A packet that waits for a session, with room to be sealed where it is. */
struct wg_queued {
	struct wg_queued *next;
	struct pbuf buf;
	uint8_t room[];
};

/* What wg_device_next has to do for a peer. */
enum wg_wish {
	WG_WISH_INITIATE = 1,
	WG_WISH_KEEPALIVE = 2,
	WG_WISH_FLUSH = 4,
	WG_WISH_ASK = 8,
};

struct wg_peer {
	struct wg_device *device;
	struct htab_node by_key;
	struct wg_peer *prev, *next;
	struct wg_remote remote;
	bool static_static_known; /* computed for our present identity */
	struct endpoint endpoint;
	struct lpm_owner allowed;

	struct wg_cookie_keys cookie_keys;
	struct wg_cookie_maker cookie;
	struct wg_handshake handshake; /* holds while its index is used */
	struct wg_index handshake_index;
	uint8_t stamp[WG_STAMP_LEN]; /* greatest accepted from it */
	uint8_t sent_stamp[WG_STAMP_LEN];
	uint8_t answered_stamp[WG_STAMP_LEN]; /* greatest it has accepted */
	uint64_t accepted_ns;        /* when; 0: never */

	struct wg_session *current, *previous, *fresh; /* fresh: responder's,
	                                          not confirmed yet ("next") */
	struct wg_timers timers;
	struct timerq_node timer;
	unsigned lane; /* of its sessions and handshakes */
	unsigned indices; /* of theirs, in use */

	unsigned wishes;
	struct wg_peer *wish_next;
	bool wishing; /* is in the device's list */

	struct wg_queued *queue_head, *queue_tail;
	unsigned queued;

	uint64_t rx_bytes, tx_bytes;
	uint64_t tx_data, handshakes; /* as in wg_peer_info */
	uint64_t last_handshake_wall_ns;
};

/* A handshake message that has passed mac1. */
struct wg_pending {
	struct endpoint from;
	uint16_t len;
	uint8_t msg[sizeof(struct wg_initiation)];
};

struct wg_device {
	struct wg_device_conf conf;
	struct blake2s *b2s;
	struct wg_identity *us; /* sodium_malloc'ed (X3) */
	bool has_identity;
	bool up;
	uint32_t mtu;
	uint8_t first_stamp[WG_STAMP_LEN]; /* from before a restart */

	struct htab by_key;
	struct wg_peer *first, *last;
	unsigned peer_count;
	struct lpm *allowed;
	struct wg_index_table indices;
	struct timerq timers;

	struct wg_cookie_checker checker;
	struct wg_limit limit;
	struct wg_pending *pending; /* ring of WG_QUEUE_HANDSHAKES */
	unsigned pending_head, pending_count;
	uint64_t loaded_until_ns;
	bool handshake_was_last; /* of what wg_device_next did */

	struct wg_peer *wish_first, *wish_last;
	unsigned queued; /* packets of all peers */
	struct wg_tx *out; /* batches that are on their way */
	struct uk_time latest; /* that anybody has come with */
	/* For keepalives and queued packets, which are few: the one that every
	 * machine has, and that takes the least memory. */
	struct aead_engine *engine;

	unsigned lane_peers[WG_LANES_MAX]; /* that have an index in use */
	unsigned lane_next; /* where ties are broken */

	struct wg_device_stats stats;
};

/* Threads look at the clock before they wait for the device, so they may come
 * with a time from before what has happened since. For us it never goes
 * back. */
static inline struct uk_time
wg_now(struct wg_device *d, struct uk_time now)
{
	if (now.mono_ns >= d->latest.mono_ns)
		d->latest = now;
	return d->latest;
}

/* The same, to look at something only. */
static inline uint64_t
wg_now_ns(const struct wg_device *d, uint64_t now_ns)
{
	return now_ns > d->latest.mono_ns ? now_ns : d->latest.mono_ns;
}

static inline void
wg_drop(struct wg_device *d, enum wg_drop why)
{
	d->stats.drop[why]++;
}

/* ---- wg_peer.c ---- */

/* The session to send with now; NULL: none is usable. */
struct wg_session *wg_peer_sender(const struct wg_peer *p, uint64_t now_ns);
void wg_peer_wish(struct wg_peer *p, unsigned wishes);
/* Take the peer out of the list of wishes. */
void wg_peer_unwish(struct wg_peer *p);
/* Ask for a new session: now, or as soon as it may be asked for. */
void wg_peer_want_session(struct wg_peer *p, bool retry, uint64_t now_ns);
/* An unused index for a session or handshake of the peer's, on its lane. */
void wg_peer_draw_index(struct wg_peer *p, uint8_t index[4]);
/* Enter i, of the peer's, under the number that was drawn for it. */
void wg_peer_add_index(
    struct wg_peer *p, struct wg_index *i, const uint8_t wire[4]);
/* Both roles: a new session takes its slot, others move or end. */
void wg_peer_add_session(struct wg_peer *p, struct wg_session *s,
    const uint8_t index[4]);
/* The first packet on a fresh session confirms it. True: it was the first. */
bool wg_peer_confirm(struct wg_peer *p, const struct wg_session *s);
void wg_peer_end_sessions(struct wg_peer *p);
void wg_peer_end_handshake(struct wg_peer *p);
/* Copy a packet to the queue's end. */
void wg_peer_enqueue(struct wg_peer *p, const struct pbuf *packet);
void wg_peer_drop_queue(struct wg_peer *p);
/* Put the peer's next deadline in the device's heap. */
void wg_peer_rearm(struct wg_peer *p);
/* DH of both static keys, computed once for an identity; all zero when the
 * peer's key is of low order. */
void wg_peer_know(struct wg_peer *p);
uint64_t wg_jitter(const struct wg_device *d);
/* Bookkeeping for an authentic handshake message of len bytes. */
void wg_peer_sent(struct wg_peer *p, size_t len, uint64_t now_ns);
void wg_peer_received(struct wg_peer *p, size_t len, uint64_t now_ns);
/* A handshake came to its end. */
void wg_peer_completed(struct wg_peer *p, struct uk_time now);

/* ---- wg_handshake.c ---- */

/* Check mac1 and queue an initiation or a response; take a cookie at once. */
void wg_handshake_input(
    struct wg_device *d, uint64_t now_ns, const struct dgram *in);
/* Look at one queued message. As wg_device_next. */
int wg_handshake_next(
    struct wg_device *d, struct uk_time now, struct wg_own *own);
/* Make an initiation. False: it may not or cannot be made now. */
bool wg_handshake_initiate(
    struct wg_peer *p, struct uk_time now, struct wg_own *own);
/* The same, to see whether there is an answer. */
bool wg_handshake_ask(
    struct wg_peer *p, struct uk_time now, struct wg_own *own);

/* ---- wg_data.c ---- */

/* Messages have been sent with s: their timers, and its renewal. */
void wg_data_sent(struct wg_peer *p, struct wg_session *s, bool keepalive,
    uint64_t now_ns);

/* ---- wg_output.c ---- */

/* own->dgram is a message to `to`, which names ourselves by index (NULL: does
 * not). */
void wg_own_address(struct wg_own *own, const struct endpoint *to,
    const uint8_t index[4], uint8_t tos);
/* Sending has found that the source is no longer this host's: the peer that
 * has this index forgets it, too. */
void wg_forget_source(struct wg_device *d, const uint8_t index[4],
    const struct endpoint *to, bool had_source);

#endif
