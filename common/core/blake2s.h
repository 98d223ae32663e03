/* blake2s: the hash functions of WireGuard, over OpenSSL: BLAKE2s-256, keyed
 * BLAKE2s with 16 bytes of output, HMAC and the KDF built from it. RFC 7693,
 * RFC 2104. One context serves one thread and is made once: fetching an
 * algorithm costs more than a handshake.
 * A failing library (it allocates) is sticky: outputs are zero from then on
 * until blake2s_begin(), and callers ask blake2s_ok() once before they act on a
 * chain of results. */
#ifndef UKAI_BLAKE2S_H
#define UKAI_BLAKE2S_H

#include "base.h"

#define BLAKE2S_LEN 32
#define BLAKE2S_MAC_LEN 16

struct blake2s;

/* Returns NULL when out of memory or when OpenSSL lacks BLAKE2s. */
struct blake2s *blake2s_new(void);
void blake2s_free(struct blake2s *b); /* NULL: no-op */
bool blake2s_ok(const struct blake2s *b);
/* Forget a failure: a new chain of results begins. */
void blake2s_begin(struct blake2s *b);

/* HASH(x || y); y may be NULL with ylen 0. out may be x. */
void blake2s_hash(struct blake2s *b, uint8_t out[BLAKE2S_LEN],
    const void *x, size_t xlen, const void *y, size_t ylen);

/* MAC(key, x || y): keyed, 16 bytes long (not a truncation). klen 1..32. */
void blake2s_mac(struct blake2s *b, uint8_t out[BLAKE2S_MAC_LEN],
    const uint8_t *key, size_t klen, const void *x, size_t xlen,
    const void *y, size_t ylen);

/* HMAC-BLAKE2s(key, x). */
void blake2s_hmac(struct blake2s *b, uint8_t out[BLAKE2S_LEN],
    const uint8_t key[BLAKE2S_LEN], const void *x, size_t xlen);

/* KDFn(ck, x), n = 1..3: t1 to out1 and so on; out pointers beyond n are not
 * used. out1 may be ck. Intermediate values are wiped. */
void blake2s_kdf(struct blake2s *b, unsigned n, uint8_t *out1, uint8_t *out2,
    uint8_t *out3, const uint8_t ck[BLAKE2S_LEN], const void *x, size_t xlen);

#endif
