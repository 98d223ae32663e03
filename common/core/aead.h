/* aead: ChaCha20-Poly1305 (RFC 8439) and XChaCha20-Poly1305. The bulk cipher
 * of sessions runs in an engine, many packets a call; the few bytes of
 * handshakes and cookies go through libsodium, which needs no context. */
#ifndef UKAI_AEAD_H
#define UKAI_AEAD_H

#include "base.h"

#define AEAD_KEY_LEN 32
#define AEAD_TAG_LEN 16
#define AEAD_XNONCE_LEN 24

/* The longest plaintext of an operation; no packet comes near. */
#define AEAD_LEN_MAX (1U << 20)

/* What one thread needs to run the bulk cipher: scratch memory and the choice
 * of implementation. It holds no session: keys come with each operation.
 * Threads: one at a time; different engines may run at the same time. */
struct aead_engine;

enum aead_kind {
	AEAD_BEST, /* the fastest that works here */
	AEAD_OPENSSL, /* everywhere */
	AEAD_IPSEC_MB, /* x86-64, where the build and the processor have it */
};

/* "best", "openssl" or "ipsec-mb", for options and environment. Returns false
 * and leaves kind alone when s is none of them. */
bool aead_kind_parse(const char *s, enum aead_kind *kind);
const char *aead_kind_name(enum aead_kind kind); /* the word; static */

/* Returns NULL when out of memory, or when this kind is not to be had here:
 * not built with, no such processor, or its library failed the self-test
 * against libsodium. AEAD_BEST then is OpenSSL. Takes about a millisecond. */
struct aead_engine *aead_engine_new(enum aead_kind kind);
void aead_engine_free(struct aead_engine *e); /* wipes; NULL: no-op */

/* For status and log: "openssl", "ipsec-mb avx512", ... Static. */
const char *aead_engine_name(const struct aead_engine *e);

/* One packet under nonce (0, counter), with no additional data. */
struct aead_op {
	const uint8_t *key; /* AEAD_KEY_LEN bytes; borrowed for the call */
	uint64_t counter;
	uint8_t *data; /* any alignment */
	uint32_t len; /* 0 is fine; at most AEAD_LEN_MAX */
	int err; /* the outcome */
};

/* Seal n packets in place. Each one's tag goes to data + len. Keys and lengths
 * may differ; the packets must not overlap.
 * op->err: 0; UK_ECRYPTO: data and tag are zeros. */
void aead_seal(struct aead_engine *e, struct aead_op *op, unsigned n);

/* Open n packets in place. len counts the tag, so >= AEAD_TAG_LEN, and stays:
 * the plaintext is the first len - AEAD_TAG_LEN bytes.
 * op->err: 0; UK_EAUTH: all len bytes are zeros, nothing of the plaintext. */
void aead_open(struct aead_engine *e, struct aead_op *op, unsigned n);

/* Wipe what is left of keys in the engine. Cheap; once after a batch. */
void aead_engine_forget(struct aead_engine *e);

/* One message of a handshake: key, counter as nonce, additional data.
 * out has len + 16 bytes; it may be in. */
void aead_seal_once(uint8_t *out, const uint8_t key[AEAD_KEY_LEN],
    uint64_t counter, const uint8_t *ad, size_t ad_len, const uint8_t *in,
    size_t len);
/* len includes the tag, >= 16; out gets len - 16 bytes. Returns 0; UK_EAUTH. */
int aead_open_once(uint8_t *out, const uint8_t key[AEAD_KEY_LEN],
    uint64_t counter, const uint8_t *ad, size_t ad_len, const uint8_t *in,
    size_t len);

/* The same with XChaCha20 and a 24-byte nonce. */
void aead_xseal(uint8_t *out, const uint8_t key[AEAD_KEY_LEN],
    const uint8_t nonce[AEAD_XNONCE_LEN], const uint8_t *ad, size_t ad_len,
    const uint8_t *in, size_t len);
int aead_xopen(uint8_t *out, const uint8_t key[AEAD_KEY_LEN],
    const uint8_t nonce[AEAD_XNONCE_LEN], const uint8_t *ad, size_t ad_len,
    const uint8_t *in, size_t len);

#endif
