/* wg_noise: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard uses it. It
 * knows keys and messages, neither peers' tables nor packets. Functions
 * compute on the stack and write their results last; ephemeral secrets are
 * wiped on every path. Randomness comes in as ready ephemeral keys. */
#ifndef UKAI_WG_NOISE_H
#define UKAI_WG_NOISE_H

#include "core/blake2s.h"
#include "wg_msg.h"

/* Who we are. */
struct wg_identity {
	struct wg_key private_key; /* clamped */
	struct wg_key public_key;
};

/* What both sides of a handshake know of each other beforehand. */
struct wg_remote {
	struct wg_key public_key;
	struct wg_key psk;           /* zeros: none */
	struct wg_key static_static; /* DH(our private, public_key) */
};

/* The running state: chaining key and transcript hash. */
struct wg_symmetric {
	uint8_t ck[BLAKE2S_LEN];
	uint8_t h[BLAKE2S_LEN];
};

/* An initiator between its message and the answer. */
struct wg_handshake {
	struct wg_symmetric sym;
	struct wg_key ephemeral; /* private */
};

struct wg_session_keys {
	struct wg_key send, receive;
};

/* The building blocks (Noise specification rev. 34, 5.2), each labelled at
 * its calls with the token it serves. */
void wg_symmetric_init(struct blake2s *b, struct wg_symmetric *s,
    const char *protocol, const void *prologue, size_t prologue_len);
void wg_symmetric_mix_hash(
    struct blake2s *b, struct wg_symmetric *s, const void *x, size_t len);
/* Seal len bytes under k with the transcript as additional data; out has
 * len + 16 bytes and is mixed in. */
void wg_symmetric_seal(struct blake2s *b, struct wg_symmetric *s,
    const struct wg_key *k, uint8_t *out, const uint8_t *in, size_t len);
/* The reverse: len includes the tag. Returns 0; UK_EAUTH. */
int wg_symmetric_open(struct blake2s *b, struct wg_symmetric *s,
    const struct wg_key *k, uint8_t *out, const uint8_t *in, size_t len);

/* Fill in a message 1 up to the macs: e, es, s, ss, {t}.
 * ephemeral: a fresh clamped private key. stamp: greater than every one sent
 * to this remote before. sender: bytes as they go on the wire.
 * Returns 0 and the state to await the answer with; UK_EAUTH: the remote's
 * key is of low order; UK_ECRYPTO. On error *hs is wiped. */
int wg_noise_initiate(struct blake2s *b, struct wg_handshake *hs,
    struct wg_initiation *msg, const struct wg_identity *us,
    const struct wg_remote *remote, const struct wg_key *ephemeral,
    const uint8_t stamp[WG_STAMP_LEN], const uint8_t sender[4]);

/* A message 1 on its way in: what is known before the peer is. */
struct wg_draft {
	struct wg_symmetric sym;
	struct wg_key caller; /* static public key it claims */
	struct wg_key ephemeral; /* public */
};

/* e, es, s: find out who calls. Returns 0; UK_EAUTH; UK_ECRYPTO. The draft
 * is the caller's to wipe. */
int wg_noise_open_caller(struct blake2s *b, struct wg_draft *d,
    const struct wg_initiation *msg, const struct wg_identity *us);
/* ss, {t}: prove it and read the stamp. Returns 0; UK_EAUTH; UK_ECRYPTO. */
int wg_noise_open_stamp(struct blake2s *b, struct wg_draft *d,
    uint8_t stamp[WG_STAMP_LEN], const struct wg_initiation *msg,
    const struct wg_remote *remote);
/* Answer a draft whose stamp was opened: message 2 up to the macs and the
 * session's keys. ephemeral: a fresh clamped private key.
 * Returns 0; UK_EAUTH (low-order caller); UK_ECRYPTO. */
int wg_noise_respond(struct blake2s *b, struct wg_session_keys *keys,
    struct wg_response *msg, struct wg_draft *d,
    const struct wg_remote *remote, const struct wg_key *ephemeral,
    const uint8_t sender[4], const uint8_t receiver[4]);

/* Message 2 for a waiting handshake: gives the session's keys. hs is left as
 * it is; a caller that commits wipes it at once, so that no answer is ever
 * consumed twice (P3). Returns 0; UK_EAUTH; UK_ECRYPTO. */
int wg_noise_finish(struct blake2s *b, struct wg_session_keys *keys,
    const struct wg_response *msg, const struct wg_handshake *hs,
    const struct wg_identity *us, const struct wg_remote *remote);

#endif
