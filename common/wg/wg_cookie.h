/* wg_cookie: mac1, mac2 and cookie replies (whitepaper 5.4.4, 5.4.7): what
 * lets a loaded responder demand proof of address before it spends a
 * Diffie-Hellman. The checker answers, the maker dials. Randomness is handed
 * in. */
#ifndef UKAI_WG_COOKIE_H
#define UKAI_WG_COOKIE_H

#include "core/blake2s.h"
#include "core/endpoint.h"
#include "wg_msg.h"

#define WG_COOKIE_SECRET_LIFE (120 * UK_NS_PER_S)
/* A cookie is used a little shorter than its maker honours it. */
#define WG_COOKIE_USE_LIFE (115 * UK_NS_PER_S)

/* The keys that follow from a public key: mac1's and the cookie reply's. */
struct wg_cookie_keys {
	uint8_t mac1[BLAKE2S_LEN];
	uint8_t reply[BLAKE2S_LEN];
};
void wg_cookie_keys(struct blake2s *b, struct wg_cookie_keys *k,
    const struct wg_key *public_key);

struct wg_cookie_checker {
	struct wg_cookie_keys keys; /* of our own public key */
	uint8_t secret[BLAKE2S_LEN];
	uint64_t secret_until_ns; /* 0: no secret yet */
};

/* msg: an initiation or a response of len bytes, both macs at its end. */

/* Is mac1 right? Always the first question. */
bool wg_cookie_check_mac1(struct blake2s *b, const struct wg_cookie_checker *c,
    const uint8_t *msg, size_t len);
/* Is mac2 made with the cookie of this sender? Never with an old secret. */
bool wg_cookie_check_mac2(struct blake2s *b, const struct wg_cookie_checker *c,
    uint64_t now_ns, const struct endpoint *from, const uint8_t *msg,
    size_t len);
/* Refuse msg with a cookie for its sender. receiver: the message's own sender
 * index. random: BLAKE2S_LEN bytes for a new secret, if one is due, and 24
 * for the nonce. */
#define WG_COOKIE_RANDOM (BLAKE2S_LEN + 24)
void wg_cookie_reply(struct blake2s *b, struct wg_cookie_checker *c,
    uint64_t now_ns, const struct endpoint *to, const uint8_t *msg, size_t len,
    const uint8_t random[WG_COOKIE_RANDOM], struct wg_cookie_reply *reply);

/* One for each peer we dial. */
struct wg_cookie_maker {
	uint8_t last_mac1[WG_COOKIE_LEN];
	bool awaits_reply; /* last_mac1 was sent and not answered by a cookie */
	uint8_t cookie[WG_COOKIE_LEN];
	uint64_t cookie_until_ns; /* 0: no cookie */
};

/* Write both macs at the end of a message for the peer with these keys. */
void wg_cookie_sign(struct blake2s *b, struct wg_cookie_maker *m,
    const struct wg_cookie_keys *peer, uint64_t now_ns, uint8_t *msg,
    size_t len);
/* A cookie reply from that peer: kept for the next message, not answered.
 * Returns 0; UK_EAUTH: not an answer to the last message. */
int wg_cookie_take(struct wg_cookie_maker *m,
    const struct wg_cookie_keys *peer, uint64_t now_ns,
    const struct wg_cookie_reply *reply);

#endif
