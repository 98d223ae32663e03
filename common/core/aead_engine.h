/* aead_engine: what the implementations of the bulk cipher have in common.
 * Private to aead*.c. */
#ifndef UKAI_AEAD_ENGINE_H
#define UKAI_AEAD_ENGINE_H

#include "aead.h"
#include "bytes.h"

#define AEAD_NONCE_LEN 12

/* The first member of each implementation's struct. The functions are those of
 * aead.h, but lengths are checked already, and data that fails may be left as
 * it comes. */
struct aead_engine {
	const char *name;
	void (*seal)(struct aead_engine *e, struct aead_op *op, unsigned n);
	void (*open)(struct aead_engine *e, struct aead_op *op, unsigned n);
	void (*forget)(struct aead_engine *e);
	void (*free)(struct aead_engine *e);
};

/* Each returns NULL where it is not to be had, or out of memory. */
struct aead_engine *aead_openssl_new(void);
struct aead_engine *aead_ipsec_mb_new(void);

/* Whether e computes what libsodium computes and refuses what is wrong; false
 * when out of memory, too. */
bool aead_self_test(struct aead_engine *e);

/* WireGuard's nonce: 32 bits of zeros, then the counter (whitepaper 5.4.6). */
static inline void
aead_nonce(uint8_t nonce[AEAD_NONCE_LEN], uint64_t counter)
{
	store_le32(nonce, 0);
	store_le64(nonce + 4, counter);
}

#endif
