#include "token.h"

#include <string.h>

#include <sodium.h>

#include "bytes.h"
#include "err.h"

#define FLAG_V6 1
#define FLAG_V4 2
#define CHECK_LEN 4
/* flags, port, expires, pin, secret */
#define FIXED_LEN (1 + 2 + 8 + TOKEN_PIN_LEN + TOKEN_SECRET_LEN)
#define BYTES_MAX (FIXED_LEN + 16 + 4 + CHECK_LEN)
#define VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

static const char magic[] = "ukai1-";
#define MAGIC_LEN (sizeof(magic) - 1)

_Static_assert(
    sizeof(magic) + (BYTES_MAX * 4 + 2) / 3 <= TOKEN_TEXT_MAX, "room");

static void
put_check(uint8_t check[CHECK_LEN], const uint8_t *bytes, size_t len)
{
	uint8_t hash[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(hash, bytes, len);
	memcpy(check, hash, CHECK_LEN);
}

/* How many bytes a token with these flags has; 0: there is no such token. */
static size_t
bytes_of(uint8_t flags)
{
	if (flags == 0 || (flags & ~(FLAG_V6 | FLAG_V4)) != 0)
		return 0;
	return FIXED_LEN + (flags & FLAG_V6 ? 16u : 0u) +
	       (flags & FLAG_V4 ? 4u : 0u) + CHECK_LEN;
}

const char *
token_format(const struct token *t, char text[static TOKEN_TEXT_MAX])
{
	uint8_t b[BYTES_MAX], *at = b + FIXED_LEN;

	UK_ASSERT(t->port != 0);
	UK_ASSERT(t->v6.family == FAMILY_V6 || t->v4.family == FAMILY_V4);
	b[0] = 0;
	store_be16(b + 1, t->port);
	store_be64(b + 3, t->expires_s);
	memcpy(b + 11, t->pin, TOKEN_PIN_LEN);
	memcpy(b + 11 + TOKEN_PIN_LEN, t->secret, TOKEN_SECRET_LEN);
	if (t->v6.family == FAMILY_V6) {
		b[0] |= FLAG_V6;
		memcpy(at, t->v6.b, 16);
		at += 16;
	}
	if (t->v4.family == FAMILY_V4) {
		b[0] |= FLAG_V4;
		memcpy(at, t->v4.b, 4);
		at += 4;
	}
	put_check(at, b, (size_t)(at - b));
	memcpy(text, magic, MAGIC_LEN);
	sodium_bin2base64(text + MAGIC_LEN, TOKEN_TEXT_MAX - MAGIC_LEN, b,
	    (size_t)(at - b) + CHECK_LEN, VARIANT);
	sodium_memzero(b, sizeof(b));
	return text;
}

/* Not strspn(): the text has no end. And libsodium 1.0.18 takes some bytes
 * above 0x7f for letters. */
static bool
is_base64url(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (!(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
		    !(c >= '0' && c <= '9') && c != '-' && c != '_')
			return false;
	}
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* "ukai1-" or that of a later form, "ukai" DIGITS "-". Returns its length,
 * 0: neither. */
static size_t
magic_len(const char *text, size_t len, bool *later)
{
	size_t n = 4;

	if (len < n || memcmp(text, magic, n) != 0)
		return 0;
	while (n < len && text[n] >= '0' && text[n] <= '9')
		n++;
	if (n == 4 || n == len || text[n] != '-')
		return 0;
	n++;
	*later = n != MAGIC_LEN || memcmp(text, magic, n) != 0;
	return n;
}

/* Copy what the bytes say. They are as long as their flags want. */
static int
take(struct token *t, const uint8_t *b, size_t len)
{
	const uint8_t *at = b + FIXED_LEN;
	uint8_t check[CHECK_LEN];
	struct token r = {.port = load_be16(b + 1)};

	put_check(check, b, len - CHECK_LEN);
	if (memcmp(check, b + len - CHECK_LEN, CHECK_LEN) != 0 || r.port == 0)
		return UK_EPROTO;
	r.expires_s = load_be64(b + 3);
	memcpy(r.pin, b + 11, TOKEN_PIN_LEN);
	memcpy(r.secret, b + 11 + TOKEN_PIN_LEN, TOKEN_SECRET_LEN);
	if (b[0] & FLAG_V6) {
		r.v6.family = FAMILY_V6;
		memcpy(r.v6.b, at, 16);
		at += 16;
	}
	if (b[0] & FLAG_V4) {
		r.v4.family = FAMILY_V4;
		memcpy(r.v4.b, at, 4);
	}
	*t = r;
	sodium_memzero(&r, sizeof(r));
	return 0;
}

int
token_parse(struct token *t, const char *text, size_t len)
{
	uint8_t b[BYTES_MAX];
	bool later = false;
	size_t n, want;
	int err;

	while (len > 0 && is_blank(text[len - 1]))
		len--;
	for (; len > 0 && is_blank(*text); len--)
		text++;
	n = magic_len(text, len, &later);
	if (n == 0)
		return UK_EINVAL;
	text += n;
	len -= n;
	if (later || !is_base64url(text, len))
		return UK_EPROTO;
	/* The flags are in the first four letters, and tell the length. */
	if (len < 4)
		return UK_EMSGSIZE;
	sodium_base642bin(b, sizeof(b), text, 4, NULL, &n, NULL, VARIANT);
	want = bytes_of(b[0]);
	if (want == 0)
		return UK_EPROTO;
	if (len != sodium_base64_ENCODED_LEN(want, VARIANT) - 1)
		return UK_EMSGSIZE;
	err = UK_EPROTO; /* spare bits that are set: not what we write */
	if (sodium_base642bin(
		b, sizeof(b), text, len, NULL, &n, NULL, VARIANT) == 0)
		err = take(t, b, n);
	sodium_memzero(b, sizeof(b));
	return err;
}
