/* wg_device: a WireGuard interface as a machine without I/O: datagrams,
 * packets and time go in; datagrams, packets and a deadline come out. It owns
 * peers, handshakes, sessions, allowed IPs and queues, and nothing else.
 *
 *   packets from the host -> wg_device_route, ..._sent   -> data messages
 *   datagrams received    -> wg_device_sort, ..._accept  -> packets for it
 *   wg_device_next        -> handshakes, keepalives, queued packets to send
 *   wg_device_tick at wg_device_deadline, then wg_device_next
 *
 * The cipher runs between the two calls of each pair, see wg_batch.h. After
 * every call drain wg_device_next. Nothing calls back. Threads: one at a time;
 * an owner with several keeps a lock. Memory: fixed at creation and one block
 * for each peer and session; the queues have caps (WG_QUEUE_*), and nothing
 * that is not authenticated allocates (C2). */
#ifndef UKAI_WG_DEVICE_H
#define UKAI_WG_DEVICE_H

#include "core/dgram.h"
#include "core/lpm.h"
#include "wg_batch.h"
#include "wg_index.h"
#include "wg_msg.h"
#include "wg_timers.h"

/* Packets that wait for a session: for one peer, oldest dropped first, and in
 * all, newest dropped. */
#define WG_QUEUE_PEER 128
#define WG_QUEUE_ALL 16384
/* Handshake messages with a right mac1 that wait to be looked at. */
#define WG_QUEUE_HANDSHAKES 512
/* So many of them mean "under load", and for a second after. */
#define WG_LOAD_HANDSHAKES 64
#define WG_LOAD_HOLD (1 * UK_NS_PER_S)

/* Why something was dropped; counted one by one. */
enum wg_drop {
	WG_DROP_MALFORMED,     /* type, reserved bytes or length */
	WG_DROP_MAC1,          /* mac1 wrong: does not know our key */
	WG_DROP_INDEX,         /* names no handshake or session of ours */
	WG_DROP_AUTH,          /* does not decrypt */
	WG_DROP_REPLAY,        /* counter or stamp seen before */
	WG_DROP_EXPIRED,       /* session too old or used up */
	WG_DROP_UNKNOWN_PEER,  /* right handshake, static key not ours to serve */
	WG_DROP_STAMP_AHEAD,   /* stamp too far in the future (P1) */
	WG_DROP_FLOOD,         /* a peer's initiations under 20 ms apart */
	WG_DROP_COOKIE,        /* under load: answered by a cookie instead */
	WG_DROP_RATE,          /* under load: source over its rate */
	WG_DROP_HANDSHAKES_FULL,
	WG_DROP_NOT_IP,        /* decrypted, but no IP packet inside */
	WG_DROP_SOURCE,        /* inner source not this peer's (crypto-routing) */
	WG_DROP_ECN,           /* RFC 6040: CE on a packet that forbids it */
	WG_DROP_NO_PEER,       /* outgoing: no allowed IP covers it */
	WG_DROP_NO_ENDPOINT,   /* outgoing: peer's address not known yet */
	WG_DROP_LOOP,          /* outgoing: a message of ours, come back */
	WG_DROP_QUEUE_FULL,    /* outgoing: waited for a session in vain, or
	                          would overtake too much of what another
	                          thread has yet to send */
	WG_DROP_CRYPTO,        /* the crypto library failed or memory is out */
	WG_DROP_COUNT,
};
/* Lower-case words with hyphens, stable: "mac1", "unknown-peer". */
const char *wg_drop_name(enum wg_drop d);

struct wg_device;
struct wg_peer;

struct wg_device_conf {
	struct wg_times times;
	wg_random *random;
	/* Refuse initiations stamped this far ahead of our wall clock (P1); 0:
	 * never. Not applied while our own clock is before this release. */
	uint64_t stamp_ahead_ns;
	/* Threads that share the receiving, 1 to WG_LANES_MAX: see
	 * wg_lane_of(). */
	unsigned lanes;
};
void wg_device_conf_default(struct wg_device_conf *c);

/* Returns NULL when memory is out or the crypto library lacks something. The
 * device is down and empty. */
struct wg_device *wg_device_new(const struct wg_device_conf *c);
void wg_device_free(struct wg_device *d); /* wipes all; NULL: no-op */

/* ---- configuration ---- */

/* Down: sessions, handshakes and queues go; configuration stays. Up: peers
 * with persistent keepalive start a handshake at once. */
void wg_device_set_up(struct wg_device *d, bool up);
bool wg_device_is_up(const struct wg_device *d);

/* The interface's MTU, which bounds padding; 0: unknown. */
void wg_device_set_mtu(struct wg_device *d, uint32_t mtu);

/* Clamped here; zeros remove the identity; the key that is set already
 * changes nothing. A peer with our own public key is removed. All sessions
 * end; the next packet, or persistent keepalive, shakes hands at once. */
void wg_device_set_private_key(struct wg_device *d, const struct wg_key *key);
/* NULL when unset. */
const struct wg_key *wg_device_private_key(const struct wg_device *d);
const struct wg_key *wg_device_public_key(const struct wg_device *d);

/* The greatest stamp that a peer has answered (zeros: none), to be kept across
 * restarts and given back at start, so that stamps go on growing although the
 * clock stepped back (P1). One that nobody answered is not kept: a peer that
 * bounds stamps refuses those of a clock set years ahead, and would go on
 * refusing after that clock was put right. */
void wg_device_last_stamp(
    const struct wg_device *d, uint8_t stamp[WG_STAMP_LEN]);
void wg_device_set_last_stamp(
    struct wg_device *d, const uint8_t stamp[WG_STAMP_LEN]);

/* Find the peer with this key; NULL. */
struct wg_peer *wg_device_find(
    const struct wg_device *d, const struct wg_key *public_key);
/* Add one. NULL: out of memory, it is our own key, or there already. */
struct wg_peer *wg_device_add(
    struct wg_device *d, const struct wg_key *public_key);
/* Ends its sessions at once (P9); p is gone. */
void wg_device_remove(struct wg_device *d, struct wg_peer *p);
void wg_device_remove_all(struct wg_device *d);
unsigned wg_device_peer_count(const struct wg_device *d);
/* In order of addition; NULL: the first, and at the end. */
struct wg_peer *wg_device_next_peer(
    const struct wg_device *d, const struct wg_peer *p);

void wg_peer_set_psk(struct wg_peer *p, const struct wg_key *psk);
/* src of e is ignored: a remembered source is forgotten. A peer that had no
 * endpoint and wants a persistent keepalive gets one at once. */
void wg_peer_set_endpoint(struct wg_peer *p, const struct endpoint *e);
/* 0: off. Turned on: a keepalive at once. */
void wg_peer_set_keepalive(struct wg_peer *p, uint16_t seconds);
/* See whether it answers: begin a handshake although a session lives, and
 * although REKEY_TIMEOUT has not passed since the last one began, but not
 * within WG_ASK_INTERVAL of that: nothing happens then. The session stays in
 * use until the new one is there; timers and retries go on as if nothing had
 * been asked, until the answer, which ends them as any. */
void wg_peer_ask(struct wg_peer *p);
/* Greatest stamp accepted from the peer, kept across restarts like our own. */
void wg_peer_stamp(const struct wg_peer *p, uint8_t stamp[WG_STAMP_LEN]);
void wg_peer_set_stamp(struct wg_peer *p, const uint8_t stamp[WG_STAMP_LEN]);

/* Returns 0; UK_ENOMEM. Moves the prefix from another peer. */
int wg_peer_allow(
    struct wg_device *d, struct wg_peer *p, const struct ip_prefix *prefix);
/* Returns 0; UK_ENOENT: not this peer's. */
int wg_peer_disallow(
    struct wg_device *d, struct wg_peer *p, const struct ip_prefix *prefix);
void wg_peer_disallow_all(struct wg_device *d, struct wg_peer *p);
/* Walk with cursor NULL first; false at the end. */
bool wg_peer_next_allowed(const struct wg_peer *p,
    const struct lpm_node **cursor, struct ip_prefix *out);

struct wg_peer_info {
	struct wg_key public_key, psk;
	struct endpoint endpoint; /* FAMILY_NONE: unknown */
	uint16_t keepalive_s;
	uint64_t rx_bytes, tx_bytes; /* UDP payloads of authentic messages */
	uint64_t tx_data; /* packets from the host: sent, or in its queue */
	uint64_t handshakes; /* completed, both roles */
	uint64_t last_handshake_wall_ns; /* 0: never */
	bool session; /* a session is usable now */
	uint32_t allowed_count;
};
void wg_peer_info(
    const struct wg_peer *p, uint64_t now_ns, struct wg_peer_info *out);

struct wg_device_stats {
	uint64_t drop[WG_DROP_COUNT];
	uint64_t handshakes;    /* completed, both roles */
	uint64_t cookies_sent;
};
const struct wg_device_stats *wg_device_stats(const struct wg_device *d);

/* ---- data: the steps are explained in wg_batch.h ---- */

/* Find the peer of each of n <= WG_BATCH_MAX packets from the host, hand out
 * counters, and fill tx. The packets become messages where they are: each
 * needs WG_SEAL_HEADROOM and WG_SEAL_TAILROOM, and stays valid until tx is
 * done with. Those whose peer has no session are copied to its queue. tx is
 * empty before: new, or given back. */
void wg_device_route(struct wg_device *d, struct uk_time now,
    struct wg_tx *tx, const struct pbuf *p, unsigned n);
/* Give back what tx holds, sent or not; tx is empty after. Call it soon: a
 * session gets no more counters while too many of them are on their way. */
void wg_device_sent(struct wg_device *d, struct wg_tx *tx);

/* Take n <= WG_BATCH_MAX datagrams: find the session of each data message;
 * handshakes are copied and queued. The datagrams stay valid until accepted.
 * Each rx that was sorted must be accepted. */
void wg_device_sort(struct wg_device *d, struct uk_time now, struct wg_rx *rx,
    struct dgram *in, unsigned n);
/* What was authentic moves windows, timers and endpoints, and comes out as
 * packets in the order of the datagrams, each from a source that is its
 * peer's. rx is empty after, but for rx->packet. */
void wg_device_accept(
    struct wg_device *d, struct uk_time now, struct wg_rx *rx);

/* A message of the device's own making. Zero-initialised at first; several
 * may exist, one for each sender. Of these only one should look at others'
 * handshakes: how many wait tells the device that it is under load, which it
 * would never learn if they went as fast as they come. */
struct wg_own {
	struct dgram dgram; /* to send */
	struct endpoint to; /* sending may clear its source */
	bool no_handshakes; /* the caller's: leave others' to another sender */
	/* The device's: */
	bool had_source;
	uint8_t index[4]; /* ours, that the peer will answer to */
	struct wg_queued *queued;
	uint8_t room[WG_SEAL_HEADROOM + sizeof(struct wg_initiation)];
};

/* Do one piece of waiting work, after what own held was sent or given up.
 * Returns 1: own->dgram is to be sent; 0: nothing waits; UK_EAGAIN: call
 * again, there was work but no datagram. Each call costs at most one
 * handshake, so that a caller under a flood can bound what it spends. */
int wg_device_next(
    struct wg_device *d, struct uk_time now, struct wg_own *own);
/* Free what own holds. */
void wg_own_fini(struct wg_own *own);

/* Handshake messages of others that wait to be looked at. */
unsigned wg_device_handshakes(const struct wg_device *d);

/* Does a queue wait whose peer has a session by now? Packets that come
 * meanwhile must queue up behind it, so drain wg_device_next first. */
bool wg_device_is_flushing(const struct wg_device *d, uint64_t now_ns);

/* When to call wg_device_tick; UK_NEVER. */
uint64_t wg_device_deadline(const struct wg_device *d);
void wg_device_tick(struct wg_device *d, struct uk_time now);

#endif
