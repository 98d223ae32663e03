/* wg_session: one pair of transport keys. Laying a message out is pure over
 * (session, counter, bytes); the cipher itself is a struct aead_op, run
 * wherever the owner likes. Who owns the session hands out counters before and
 * asks the replay window after. Sessions live in memory only (P5).
 */
#ifndef UKAI_WG_SESSION_H
#define UKAI_WG_SESSION_H

#include "core/aead.h"
#include "core/pbuf.h"
#include "wg_index.h"
#include "wg_noise.h"
#include "wg_replay.h"

/* Room that sealing needs around a packet: header before, padding and tag
 * after. */
#define WG_SEAL_HEADROOM 16
#define WG_SEAL_TAILROOM (15 + WG_TAG_LEN)

#define WG_REKEY_AFTER_MESSAGES (UINT64_C(1) << 60)

struct wg_session {
	struct wg_index index; /* ours, in messages to us; the owner's */
	struct wg_key send, receive;
	uint64_t send_counter; /* next to hand out */
	uint64_t sent_below; /* lower counters have been sent, or given up */
	struct wg_replay replay;
	uint64_t born_ns; /* monotonic */
	uint32_t users; /* batches whose operations point at our keys */
	uint8_t remote_index[4]; /* as on the wire */
	bool initiator;          /* we began it, so we renew it */
	bool renewal_asked;      /* once a session, on receiving */
	bool ended;              /* goes with its last user */
};

/* Returns NULL when out of memory. The keys are the caller's to wipe. */
struct wg_session *wg_session_new(const struct wg_session_keys *keys,
    const uint8_t remote_index[4], bool initiator, uint64_t now_ns);
/* It is out of use: wiped and freed now, or by the last wg_session_drop().
 * NULL: no-op. */
void wg_session_end(struct wg_session *s);
/* Keep the keys, while operations that point at them are on their way. */
void wg_session_hold(struct wg_session *s);
void wg_session_drop(struct wg_session *s);

/* Lay a packet out as a data message in place, under a counter that was handed
 * out for it alone; op is what aead_seal() has to do. The packet is padded
 * with zeros to a multiple of 16, but not past mtu (a longer packet as its
 * last mtu-sized part would be; mtu 0: no bound). Needs WG_SEAL_HEADROOM and
 * WG_SEAL_TAILROOM. */
void wg_session_seal(const struct wg_session *s, uint64_t counter,
    uint32_t mtu, struct pbuf *p, struct aead_op *op);

/* Take a data message (classified, so at least 32 bytes) apart in place: op is
 * what aead_open() has to do, and once that has come right p is the padded
 * plaintext. op->counter says nothing about replay yet. */
void wg_session_open(
    const struct wg_session *s, struct pbuf *p, struct aead_op *op);

#endif
