#include "x25519.h"

#include "err.h"

#include <sodium.h>

/* libsodium and not OpenSSL 3.0, whose ladder alone is a little faster: EVP
 * takes each key as an object, which costs more than that gains, and its base
 * point multiplication is half as slow again (tests/bench/README.md). */
int
x25519(uint8_t out[X25519_LEN], const uint8_t priv[X25519_LEN],
    const uint8_t pub[X25519_LEN])
{
	if (crypto_scalarmult_curve25519(out, priv, pub) != 0) {
		sodium_memzero(out, X25519_LEN);
		return UK_EAUTH;
	}
	return 0;
}

void
x25519_base(uint8_t pub[X25519_LEN], const uint8_t priv[X25519_LEN])
{
	crypto_scalarmult_curve25519_base(pub, priv);
}

void
x25519_clamp(uint8_t priv[X25519_LEN])
{
	priv[0] &= 248;
	priv[31] = (uint8_t)((priv[31] & 127) | 64);
}
