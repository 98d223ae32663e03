/* The bulk cipher by OpenSSL's default provider. What a packet costs beside
 * the cipher is EVP's way to the provider. OpenSSL 3.0, ns per packet of 32 /
 * 1420 bytes, measured as in aead_ipsec_mb.c:
 *
 *   EncryptInit_ex(key, nonce), Update, Final, ctrl(GET_TAG)   723 / 1398
 *   the same with EVP_Cipher for Update and Final              749 / 1348
 *   and the tag by an OSSL_PARAM of our own, not by ctrl       718 / 1295
 *   and the key only when it changes                           567 / 1183
 *
 * What stands here is the last, but with Update and Final, which cost 10 more
 * and are right in every version: as a final call EVP_Cipher compared no tag
 * before 3.0.22 (CVE-2026-75803). Setting the key is cheap; asking the provider
 * how long a key is, which EVP does each time, is not. It asks for the length
 * of the nonce too, and there is no way around that. */
#include "aead_engine.h"
#include "err.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdlib.h>

struct openssl {
	struct aead_engine engine;
	EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *ctx;
	OSSL_PARAM tag[2]; /* where the tag is, and the end */
};

/* The whole text in place, then the tag: made, or compared by CRYPTO_memcmp. */
static bool
run(struct openssl *o, uint8_t *data, uint32_t len)
{
	int n = 0, end = 0;

	return EVP_CipherUpdate(o->ctx, data, &n, data, (int)len) &&
	       EVP_CipherFinal_ex(o->ctx, data + n, &end) &&
	       n + end == (int)len;
}

/* key NULL: the key of the operation before. */
static bool
seal_one(struct openssl *o, const struct aead_op *op, const uint8_t *key)
{
	uint8_t nonce[AEAD_NONCE_LEN];

	aead_nonce(nonce, op->counter);
	o->tag[0].data = op->data + op->len;
	return EVP_CipherInit_ex2(o->ctx, NULL, key, nonce, 1, NULL) &&
	       run(o, op->data, op->len) &&
	       EVP_CIPHER_CTX_get_params(o->ctx, o->tag);
}

static bool
open_one(struct openssl *o, const struct aead_op *op, const uint8_t *key)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	uint32_t len = op->len - AEAD_TAG_LEN;

	aead_nonce(nonce, op->counter);
	o->tag[0].data = op->data + len;
	return EVP_CipherInit_ex2(o->ctx, NULL, key, nonce, 0, o->tag) &&
	       run(o, op->data, len);
}

/* The key is given anew with the first operation of a call: only within a call
 * does the same place mean the same key. */
static void
openssl_seal(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	struct openssl *o = (struct openssl *)e;
	const uint8_t *last = NULL;

	for (; n > 0; n--, op++) {
		const uint8_t *key = op->key == last ? NULL : op->key;

		op->err = seal_one(o, op, key) ? 0 : UK_ECRYPTO;
		last = op->err ? NULL : op->key;
	}
}

static void
openssl_open(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	struct openssl *o = (struct openssl *)e;
	const uint8_t *last = NULL;

	for (; n > 0; n--, op++) {
		const uint8_t *key = op->key == last ? NULL : op->key;

		op->err = open_one(o, op, key) ? 0 : UK_EAUTH;
		last = op->err ? NULL : op->key;
	}
}

/* Resetting cleanses all the provider keeps: key, keystream and one-time key.
 * It is no dearer (130 ns) than to put a key of zeros in its place. If there is
 * no memory for the new state, operations fail until the next time. */
static void
openssl_forget(struct aead_engine *e)
{
	struct openssl *o = (struct openssl *)e;

	(void)EVP_CIPHER_CTX_reset(o->ctx);
	(void)EVP_CipherInit_ex2(o->ctx, o->cipher, NULL, NULL, 1, NULL);
}

static void
openssl_free(struct aead_engine *e)
{
	struct openssl *o = (struct openssl *)e;

	EVP_CIPHER_CTX_free(o->ctx); /* cleanses as reset does */
	EVP_CIPHER_free(o->cipher);
	free(o);
}

struct aead_engine *
aead_openssl_new(void)
{
	struct openssl *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->engine = (struct aead_engine){"openssl", openssl_seal, openssl_open,
	    openssl_forget, openssl_free};
	o->tag[0] = OSSL_PARAM_construct_octet_string(
	    OSSL_CIPHER_PARAM_AEAD_TAG, NULL, AEAD_TAG_LEN);
	o->tag[1] = OSSL_PARAM_construct_end();
	o->cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	o->ctx = EVP_CIPHER_CTX_new();
	if (!o->cipher || !o->ctx ||
	    !EVP_CipherInit_ex2(o->ctx, o->cipher, NULL, NULL, 1, NULL)) {
		openssl_free(&o->engine);
		return NULL;
	}
	return &o->engine;
}
