/* x25519: Diffie-Hellman on Curve25519 (RFC 7748), by libsodium. Pure. */
#ifndef UKAI_X25519_H
#define UKAI_X25519_H

#include "base.h"

#define X25519_LEN 32

/* out = DH(priv, pub); the scalar is clamped inside. Returns 0; UK_EAUTH when
 * the result is all zero (a public key of low order): out is wiped then. */
int x25519(uint8_t out[X25519_LEN], const uint8_t priv[X25519_LEN],
    const uint8_t pub[X25519_LEN]);

/* The public key of priv. */
void x25519_base(uint8_t pub[X25519_LEN], const uint8_t priv[X25519_LEN]);

/* Clamp a private key as RFC 7748 section 5 decodes it. */
void x25519_clamp(uint8_t priv[X25519_LEN]);

#endif
