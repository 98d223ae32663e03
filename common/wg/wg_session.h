/* wg_session: one pair of transport keys. Sealing and opening are pure over
 * (session's key, counter, bytes); who owns the session hands out counters
 * before and asks the replay window after. Sessions live in memory only (P5).
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
	struct aead *send, *receive;
	uint64_t send_counter; /* next to hand out */
	struct wg_replay replay;
	uint64_t born_ns; /* monotonic */
	uint8_t remote_index[4]; /* as on the wire */
	bool initiator;          /* we began it, so we renew it */
	bool renewal_asked;      /* once a session, on receiving */
};

/* Returns NULL when out of memory. The keys are the caller's to wipe. */
struct wg_session *wg_session_new(const struct wg_session_keys *keys,
    const uint8_t remote_index[4], bool initiator, uint64_t now_ns);
void wg_session_free(struct wg_session *s); /* wipes; NULL: no-op */

/* Turn a packet into a data message in place, under a counter that was handed
 * out for it alone. The packet is padded with zeros to a multiple of 16, but
 * not past mtu (a longer packet as its last mtu-sized part would be; mtu 0:
 * no bound). Needs WG_SEAL_HEADROOM and WG_SEAL_TAILROOM.
 * Returns 0; UK_ECRYPTO. */
int wg_session_seal(
    struct wg_session *s, uint64_t counter, uint32_t mtu, struct pbuf *p);

/* Open a data message (classified, so at least 32 bytes) in place: p becomes
 * the padded plaintext. Says nothing about replay. Returns 0 and the counter;
 * UK_EAUTH: p's bytes are garbage. */
int wg_session_open(struct wg_session *s, struct pbuf *p, uint64_t *counter);

#endif
