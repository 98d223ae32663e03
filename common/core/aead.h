/* aead: ChaCha20-Poly1305 (RFC 8439) and XChaCha20-Poly1305. The bulk cipher
 * of a session is OpenSSL's, keyed once; the few bytes of handshakes and
 * cookies go through libsodium, which needs no context. */
#ifndef UKAI_AEAD_H
#define UKAI_AEAD_H

#include "base.h"

#define AEAD_KEY_LEN 32
#define AEAD_TAG_LEN 16
#define AEAD_XNONCE_LEN 24

/* One direction of a session under one key. One thread at a time. */
struct aead;

/* Returns NULL when out of memory or when OpenSSL lacks the cipher. */
struct aead *aead_new(const uint8_t key[AEAD_KEY_LEN]);
void aead_free(struct aead *a); /* wipes the key; NULL: no-op */

/* Seal len bytes in place under nonce (0, counter) with no additional data;
 * the tag goes to data + len. Returns 0; UK_ECRYPTO. */
int aead_seal(struct aead *a, uint64_t counter, uint8_t *data, size_t len);
/* Open len bytes, tag included (len >= 16), in place: data then holds
 * len - 16 bytes. Returns 0; UK_EAUTH: the data is garbage. */
int aead_open(struct aead *a, uint64_t counter, uint8_t *data, size_t len);

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
