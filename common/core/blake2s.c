#include "blake2s.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_LEN 64

struct blake2s {
	EVP_MD_CTX *start; /* an empty message: to copy it costs a third less
			    * than to begin one */
	EVP_MD_CTX *hash;
	EVP_MAC_CTX *mac;
	bool failed;
};

static EVP_MAC_CTX *
mac_ctx_new(void)
{
	size_t len = BLAKE2S_MAC_LEN;
	const OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &len),
	    OSSL_PARAM_construct_end()};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
	EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;

	EVP_MAC_free(mac); /* the context holds its own reference */
	if (ctx && !EVP_MAC_CTX_set_params(ctx, params)) {
		EVP_MAC_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

static EVP_MD_CTX *
start_new(void)
{
	EVP_MD *md = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!md || !ctx || !EVP_DigestInit_ex2(ctx, md, NULL)) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	EVP_MD_free(md); /* as above */
	return ctx;
}

struct blake2s *
blake2s_new(void)
{
	struct blake2s *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->start = start_new();
	b->hash = EVP_MD_CTX_new();
	b->mac = mac_ctx_new();
	if (!b->start || !b->hash || !b->mac) {
		blake2s_free(b);
		return NULL;
	}
	return b;
}

void
blake2s_free(struct blake2s *b)
{
	if (!b)
		return;
	EVP_MAC_CTX_free(b->mac);
	EVP_MD_CTX_free(b->hash);
	EVP_MD_CTX_free(b->start);
	free(b);
}

bool
blake2s_ok(const struct blake2s *b)
{
	return !b->failed;
}

void
blake2s_begin(struct blake2s *b)
{
	b->failed = false;
}

/* Remember a failure and let nobody use half a result. */
static void
settle(struct blake2s *b, bool ok, uint8_t *out, size_t len)
{
	if (ok && !b->failed)
		return;
	b->failed = true;
	memset(out, 0, len);
}

void
blake2s_hash(struct blake2s *b, uint8_t out[BLAKE2S_LEN], const void *x,
    size_t xlen, const void *y, size_t ylen)
{
	bool ok = EVP_MD_CTX_copy_ex(b->hash, b->start) &&
		  EVP_DigestUpdate(b->hash, x, xlen) &&
		  (ylen == 0 || EVP_DigestUpdate(b->hash, y, ylen)) &&
		  EVP_DigestFinal_ex(b->hash, out, NULL);

	settle(b, ok, out, BLAKE2S_LEN);
}

void
blake2s_mac(struct blake2s *b, uint8_t out[BLAKE2S_MAC_LEN], const uint8_t *key,
    size_t klen, const void *x, size_t xlen, const void *y, size_t ylen)
{
	size_t n = 0;
	bool ok = EVP_MAC_init(b->mac, key, klen, NULL) &&
		  EVP_MAC_update(b->mac, x, xlen) &&
		  (ylen == 0 || EVP_MAC_update(b->mac, y, ylen)) &&
		  EVP_MAC_final(b->mac, out, &n, BLAKE2S_MAC_LEN) &&
		  n == BLAKE2S_MAC_LEN;

	settle(b, ok, out, BLAKE2S_MAC_LEN);
}

/* RFC 2104, section 2, over the plain hash: OpenSSL's own HMAC costs a third
 * more, for it prepares each key for many messages and ours see one to three.
 * Keeping what follows from the key alone (section 4) would gain nothing:
 * BLAKE2s compresses no block before the next one begins. */
void
blake2s_hmac(struct blake2s *b, uint8_t out[BLAKE2S_LEN],
    const uint8_t key[BLAKE2S_LEN], const void *x, size_t xlen)
{
	uint8_t pad[BLOCK_LEN], inner[BLAKE2S_LEN];

	memset(pad, 0x36, sizeof(pad));
	for (size_t i = 0; i < BLAKE2S_LEN; i++)
		pad[i] ^= key[i];
	blake2s_hash(b, inner, pad, sizeof(pad), x, xlen);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	blake2s_hash(b, out, pad, sizeof(pad), inner, sizeof(inner));
	sodium_memzero(pad, sizeof(pad));
	sodium_memzero(inner, sizeof(inner));
}

void
blake2s_kdf(struct blake2s *b, unsigned n, uint8_t *out1, uint8_t *out2,
    uint8_t *out3, const uint8_t ck[BLAKE2S_LEN], const void *x, size_t xlen)
{
	uint8_t *const out[3] = {out1, out2, out3};
	uint8_t t0[BLAKE2S_LEN];
	uint8_t block[BLAKE2S_LEN + 1]; /* t(i-1) || i */
	size_t have = 0; /* bytes of t(i-1) */

	UK_ASSERT(n >= 1 && n <= ARRAY_LEN(out));
	blake2s_hmac(b, t0, ck, x, xlen);
	for (unsigned i = 0; i < n; i++) {
		block[have] = (uint8_t)(i + 1);
		blake2s_hmac(b, block, t0, block, have + 1);
		have = BLAKE2S_LEN;
		memcpy(out[i], block, BLAKE2S_LEN);
	}
	sodium_memzero(t0, sizeof(t0));
	sodium_memzero(block, sizeof(block));
}
