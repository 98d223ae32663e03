#include "aead.h"

#include "aead_engine.h"
#include "err.h"

#include <sodium.h>
#include <string.h>

static const char *const kind_names[] = {
    [AEAD_BEST] = "best",
    [AEAD_OPENSSL] = "openssl",
    [AEAD_IPSEC_MB] = "ipsec-mb",
};

bool
aead_kind_parse(const char *s, enum aead_kind *kind)
{
	for (size_t i = 0; i < ARRAY_LEN(kind_names); i++) {
		if (strcmp(s, kind_names[i]) == 0) {
			*kind = (enum aead_kind)i;
			return true;
		}
	}
	return false;
}

const char *
aead_kind_name(enum aead_kind kind)
{
	return kind_names[kind];
}

/* The libraries bring tests of their own, but what must hold here is that all
 * are the same function. */
static struct aead_engine *
checked(struct aead_engine *e)
{
	if (e && !aead_self_test(e)) {
		e->free(e);
		return NULL;
	}
	return e;
}

struct aead_engine *
aead_engine_new(enum aead_kind kind)
{
	struct aead_engine *e = NULL;

	if (kind != AEAD_OPENSSL)
		e = checked(aead_ipsec_mb_new());
	if (!e && kind != AEAD_IPSEC_MB)
		e = checked(aead_openssl_new());
	return e;
}

void
aead_engine_free(struct aead_engine *e)
{
	if (e)
		e->free(e);
}

const char *
aead_engine_name(const struct aead_engine *e)
{
	return e->name;
}

void
aead_seal(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		UK_ASSERT(op[i].len <= AEAD_LEN_MAX);
	e->seal(e, op, n);
	for (unsigned i = 0; i < n; i++) {
		if (op[i].err) /* so that no plaintext is sent */
			memset(op[i].data, 0, op[i].len + AEAD_TAG_LEN);
	}
}

void
aead_open(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		UK_ASSERT(op[i].len >= AEAD_TAG_LEN);
		UK_ASSERT(op[i].len - AEAD_TAG_LEN <= AEAD_LEN_MAX);
	}
	e->open(e, op, n);
	/* Both implementations decrypt while they authenticate: a packet with
	 * a wrong tag would leave its plaintext behind. */
	for (unsigned i = 0; i < n; i++) {
		if (op[i].err)
			memset(op[i].data, 0, op[i].len);
	}
}

void
aead_engine_forget(struct aead_engine *e)
{
	e->forget(e);
}

void
aead_seal_once(uint8_t *out, const uint8_t key[AEAD_KEY_LEN], uint64_t counter,
    const uint8_t *ad, size_t ad_len, const uint8_t *in, size_t len)
{
	uint8_t nonce[AEAD_NONCE_LEN];

	aead_nonce(nonce, counter);
	crypto_aead_chacha20poly1305_ietf_encrypt(
	    out, NULL, in, len, ad, ad_len, NULL, nonce, key);
}

int
aead_open_once(uint8_t *out, const uint8_t key[AEAD_KEY_LEN], uint64_t counter,
    const uint8_t *ad, size_t ad_len, const uint8_t *in, size_t len)
{
	uint8_t nonce[AEAD_NONCE_LEN];

	aead_nonce(nonce, counter);
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
