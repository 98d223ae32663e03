/* The bulk cipher by OpenSSL's default provider. */
#include "aead_engine.h"
#include "err.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct openssl {
	struct aead_engine engine;
	EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *ctx;
};

static bool
seal_one(EVP_CIPHER_CTX *ctx, const struct aead_op *op)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	int n = 0;

	aead_nonce(nonce, op->counter);
	return EVP_EncryptInit_ex(ctx, NULL, NULL, op->key, nonce) &&
	       EVP_EncryptUpdate(ctx, op->data, &n, op->data, (int)op->len) &&
	       EVP_EncryptFinal_ex(ctx, op->data + n, &n) &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN,
		   op->data + op->len);
}

/* The tag is compared by the provider, in constant time. */
static bool
open_one(EVP_CIPHER_CTX *ctx, const struct aead_op *op)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	uint32_t len = op->len - AEAD_TAG_LEN;
	int n = 0;

	aead_nonce(nonce, op->counter);
	return EVP_DecryptInit_ex(ctx, NULL, NULL, op->key, nonce) &&
	       EVP_CIPHER_CTX_ctrl(
		   ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, op->data + len) &&
	       EVP_DecryptUpdate(ctx, op->data, &n, op->data, (int)len) &&
	       EVP_DecryptFinal_ex(ctx, op->data + n, &n) == 1;
}

static void
openssl_seal(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	struct openssl *o = (struct openssl *)e;

	for (; n > 0; n--, op++) {
		op->err = seal_one(o->ctx, op) ? 0 : UK_ECRYPTO;
		if (op->err)
			memset(op->data, 0, op->len + AEAD_TAG_LEN);
	}
}

static void
openssl_open(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	struct openssl *o = (struct openssl *)e;

	for (; n > 0; n--, op++) {
		op->err = open_one(o->ctx, op) ? 0 : UK_EAUTH;
		if (op->err)
			memset(op->data, 0, op->len);
	}
}

/* A context cannot be wiped and kept, but its key can be replaced. */
static void
openssl_forget(struct aead_engine *e)
{
	static const uint8_t zeros[AEAD_KEY_LEN];
	struct openssl *o = (struct openssl *)e;

	(void)EVP_EncryptInit_ex(o->ctx, NULL, NULL, zeros, zeros);
}

static void
openssl_free(struct aead_engine *e)
{
	struct openssl *o = (struct openssl *)e;

	EVP_CIPHER_CTX_free(o->ctx); /* cleanses the key schedule */
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
	o->cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	o->ctx = EVP_CIPHER_CTX_new();
	if (!o->cipher || !o->ctx ||
	    !EVP_EncryptInit_ex(o->ctx, o->cipher, NULL, NULL, NULL)) {
		openssl_free(&o->engine);
		return NULL;
	}
	return &o->engine;
}
