#include "aead.h"

#include "bytes.h"
#include "err.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <stdlib.h>

#define NONCE_LEN 12

/* One context for both directions of use: a session seals with one key and
 * opens with another, so each aead is only ever used one way, and EVP is told
 * which at every packet together with the nonce. */
struct aead {
	EVP_CIPHER_CTX *ctx;
};

static void
make_nonce(uint8_t nonce[NONCE_LEN], uint64_t counter)
{
	store_le32(nonce, 0);
	store_le64(nonce + 4, counter);
}

struct aead *
aead_new(const uint8_t key[AEAD_KEY_LEN])
{
	struct aead *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->ctx = EVP_CIPHER_CTX_new();
	if (!a->ctx || !EVP_EncryptInit_ex(
			   a->ctx, EVP_chacha20_poly1305(), NULL, key, NULL)) {
		aead_free(a);
		return NULL;
	}
	return a;
}

void
aead_free(struct aead *a)
{
	if (!a)
		return;
	EVP_CIPHER_CTX_free(a->ctx); /* cleanses the key schedule */
	free(a);
}

int
aead_seal(struct aead *a, uint64_t counter, uint8_t *data, size_t len)
{
	uint8_t nonce[NONCE_LEN];
	int n = 0;

	UK_ASSERT(len <= INT32_MAX);
	make_nonce(nonce, counter);
	if (!EVP_EncryptInit_ex(a->ctx, NULL, NULL, NULL, nonce) ||
	    !EVP_EncryptUpdate(a->ctx, data, &n, data, (int)len) ||
	    !EVP_EncryptFinal_ex(a->ctx, data + n, &n) ||
	    !EVP_CIPHER_CTX_ctrl(
		a->ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, data + len))
		return UK_ECRYPTO;
	return 0;
}

int
aead_open(struct aead *a, uint64_t counter, uint8_t *data, size_t len)
{
	uint8_t nonce[NONCE_LEN];
	int n = 0;

	UK_ASSERT(len >= AEAD_TAG_LEN && len <= INT32_MAX);
	len -= AEAD_TAG_LEN;
	make_nonce(nonce, counter);
	if (!EVP_DecryptInit_ex(a->ctx, NULL, NULL, NULL, nonce) ||
	    !EVP_CIPHER_CTX_ctrl(
		a->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, data + len) ||
	    !EVP_DecryptUpdate(a->ctx, data, &n, data, (int)len) ||
	    EVP_DecryptFinal_ex(a->ctx, data + n, &n) != 1)
		return UK_EAUTH;
	return 0;
}

void
aead_seal_once(uint8_t *out, const uint8_t key[AEAD_KEY_LEN], uint64_t counter,
    const uint8_t *ad, size_t ad_len, const uint8_t *in, size_t len)
{
	uint8_t nonce[NONCE_LEN];

	make_nonce(nonce, counter);
	crypto_aead_chacha20poly1305_ietf_encrypt(
	    out, NULL, in, len, ad, ad_len, NULL, nonce, key);
}

int
aead_open_once(uint8_t *out, const uint8_t key[AEAD_KEY_LEN], uint64_t counter,
    const uint8_t *ad, size_t ad_len, const uint8_t *in, size_t len)
{
	uint8_t nonce[NONCE_LEN];

	make_nonce(nonce, counter);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(
		out, NULL, NULL, in, len, ad, ad_len, nonce, key) != 0)
		return UK_EAUTH;
	return 0;
}

void
aead_xseal(uint8_t *out, const uint8_t key[AEAD_KEY_LEN],
    const uint8_t nonce[AEAD_XNONCE_LEN], const uint8_t *ad, size_t ad_len,
    const uint8_t *in, size_t len)
{
	crypto_aead_xchacha20poly1305_ietf_encrypt(
	    out, NULL, in, len, ad, ad_len, NULL, nonce, key);
}

int
aead_xopen(uint8_t *out, const uint8_t key[AEAD_KEY_LEN],
    const uint8_t nonce[AEAD_XNONCE_LEN], const uint8_t *ad, size_t ad_len,
    const uint8_t *in, size_t len)
{
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(
		out, NULL, NULL, in, len, ad, ad_len, nonce, key) != 0)
		return UK_EAUTH;
	return 0;
}
