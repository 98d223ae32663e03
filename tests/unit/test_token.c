#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/err.h"
#include "core/token.h"

#define BYTES_MAX 83
#define VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

static struct token
example(void)
{
	struct token t = {.port = 443, .expires_s = 1795000000};

	assert_int_equal(ip_addr_parse(&t.v6, "2001:db8::1", 11), 0);
	assert_int_equal(ip_addr_parse(&t.v4, "192.0.2.1", 9), 0);
	for (unsigned i = 0; i < TOKEN_PIN_LEN; i++)
		t.pin[i] = (uint8_t)i;
	memset(t.secret, 0xa5, sizeof(t.secret));
	return t;
}

/* From the header's text alone, byte by byte. Returns the length. */
static size_t
twin_bytes(const struct token *t, uint8_t b[BYTES_MAX])
{
	uint8_t hash[32];
	size_t n = 0;

	b[n++] = (uint8_t)((t->v6.family ? 1 : 0) | (t->v4.family ? 2 : 0));
	b[n++] = (uint8_t)(t->port / 256);
	b[n++] = (uint8_t)(t->port % 256);
	for (int i = 7; i >= 0; i--)
		b[n++] = (uint8_t)(t->expires_s >> 8 * i);
	for (int i = 0; i < TOKEN_PIN_LEN; i++)
		b[n++] = t->pin[i];
	for (int i = 0; i < TOKEN_SECRET_LEN; i++)
		b[n++] = t->secret[i];
	for (int i = 0; t->v6.family && i < 16; i++)
		b[n++] = t->v6.b[i];
	for (int i = 0; t->v4.family && i < 4; i++)
		b[n++] = t->v4.b[i];
	crypto_hash_sha256(hash, b, n);
	memcpy(b + n, hash, 4);
	return n + 4;
}

static void
twin_text(const uint8_t *b, size_t len, char text[TOKEN_TEXT_MAX])
{
	memcpy(text, "ukai1-", 6);
	sodium_bin2base64(text + 6, TOKEN_TEXT_MAX - 6, b, len, VARIANT);
}

/* Wrong bytes with a check that is right. */
static int
parse_bytes(uint8_t *b, size_t len)
{
	char text[TOKEN_TEXT_MAX];
	uint8_t hash[32];
	struct token t;

	crypto_hash_sha256(hash, b, len - 4);
	memcpy(b + len - 4, hash, 4);
	twin_text(b, len, text);
	return token_parse(&t, text, strlen(text));
}

/* The form is for ever: tokens outlive the programs that print them. */
static void
test_known(void **state)
{
	static const char want[] =
	    "ukai1-AwG7AAAAAGr9hsAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eH6Wl"
	    "paWlpaWlpaWlpaWlpaUgAQ24AAAAAAAAAAAAAAABwAACAeUCicg";
	struct token t = example(), r;
	char text[TOKEN_TEXT_MAX];

	(void)state;
	assert_string_equal(token_format(&t, text), want);
	assert_int_equal(token_parse(&r, want, strlen(want)), 0);
	assert_memory_equal(&r, &t, sizeof(t));
}

static void
test_twin(void **state)
{
	char text[TOKEN_TEXT_MAX], want[TOKEN_TEXT_MAX];
	uint8_t b[BYTES_MAX];

	(void)state;
	srand(1);
	for (int i = 0; i < 2000; i++) {
		struct token t = {.port = (uint16_t)(rand() % 65535 + 1)}, r;
		int families = rand() % 3 + 1;

		t.expires_s = (uint64_t)rand() << (rand() % 33);
		for (unsigned k = 0; k < sizeof(t.pin); k++)
			t.pin[k] = (uint8_t)rand();
		for (unsigned k = 0; k < sizeof(t.secret); k++)
			t.secret[k] = (uint8_t)rand();
		t.v6.family = families & 1 ? FAMILY_V6 : FAMILY_NONE;
		t.v4.family = families & 2 ? FAMILY_V4 : FAMILY_NONE;
		for (unsigned k = 0; k < 16; k++)
			t.v6.b[k] = t.v6.family ? (uint8_t)rand() : 0;
		for (unsigned k = 0; k < 4; k++)
			t.v4.b[k] = t.v4.family ? (uint8_t)rand() : 0;
		twin_text(b, twin_bytes(&t, b), want);
		assert_string_equal(token_format(&t, text), want);
		assert_int_equal(token_parse(&r, text, strlen(text)), 0);
		assert_memory_equal(&r, &t, sizeof(t));
	}
}

static void
test_refused(void **state)
{
	struct token t = example();
	char good[TOKEN_TEXT_MAX], two[2 * TOKEN_TEXT_MAX];
	const struct {
		const char *text;
		int err;
	} row[] = {
	    {"", UK_EINVAL},
	    {" \n", UK_EINVAL},
	    {"ukai", UK_EINVAL},
	    {"ukai1", UK_EINVAL},
	    {"ukai-", UK_EINVAL},
	    {"ukaix-AAAA", UK_EINVAL},
	    {"UKAI1-AAAA", UK_EINVAL},
	    {"[Interface]", UK_EINVAL},
	    {"ukai1-", UK_EMSGSIZE},
	    {"ukai1-AAA", UK_EMSGSIZE},
	    {"ukai1-AwG7", UK_EMSGSIZE},
	    /* No flag, and one that we do not know. */
	    {"ukai1-AAG7", UK_EPROTO},
	    {"ukai1-BwG7", UK_EPROTO},
	    /* Of a later ukai. */
	    {"ukai2-AwG7", UK_EPROTO},
	    {"ukai12-AwG7", UK_EPROTO},
	    {"ukai01-AwG7", UK_EPROTO},
	    {"ukai1-Aw G7", UK_EPROTO},
	    {"ukai1-AwG+", UK_EPROTO},
	    {"ukai1-AwG=", UK_EPROTO},
	    /* libsodium 1.0.18 takes these for letters. */
	    {"ukai1-AwG\xc3", UK_EPROTO},
	    {two, UK_EMSGSIZE},
	};

	(void)state;
	token_format(&t, good);
	snprintf(two, sizeof(two), "%s%s", good, good);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct token r = {.port = 7};

		assert_int_equal(
		    token_parse(&r, row[i].text, strlen(row[i].text)),
		    row[i].err);
		assert_int_equal(r.port, 7);
	}
	snprintf(two, sizeof(two), " \t%s\r\n", good);
	assert_int_equal(token_parse(&t, two, strlen(two)), 0);
	/* A byte of zero is no end of it. */
	assert_int_equal(token_parse(&t, good, strlen(good) + 1), UK_EPROTO);
}

/* Cut anywhere, or one letter wrong anywhere: never taken. */
static void
test_cut_and_mistyped(void **state)
{
	struct token t = example(), r;
	char good[TOKEN_TEXT_MAX], bad[TOKEN_TEXT_MAX];
	size_t len;

	(void)state;
	len = strlen(token_format(&t, good));
	for (size_t n = 0; n < len; n++)
		assert_int_equal(
		    token_parse(&r, good, n), n < 6 ? UK_EINVAL : UK_EMSGSIZE);
	for (size_t i = 0; i < len; i++) {
		for (const char *c = "AZaz09-_"; *c != '\0'; c++) {
			memcpy(bad, good, len);
			bad[i] = *c;
			if (*c != good[i])
				assert_true(token_parse(&r, bad, len) < 0);
		}
	}
}

/* The check is right, and still. */
static void
test_checked_values(void **state)
{
	struct token t = example();
	uint8_t b[BYTES_MAX];
	size_t len = twin_bytes(&t, b);

	(void)state;
	assert_int_equal(parse_bytes(b, len), 0);
	b[1] = b[2] = 0;
	assert_int_equal(parse_bytes(b, len), UK_EPROTO);
	b[2] = 1;
	assert_int_equal(parse_bytes(b, len), 0);
	b[0] = 0;
	assert_int_equal(parse_bytes(b, len), UK_EPROTO);
	b[0] = 7;
	assert_int_equal(parse_bytes(b, len), UK_EPROTO);
	b[0] = 1;
	assert_int_equal(parse_bytes(b, len), UK_EMSGSIZE);
	assert_int_equal(parse_bytes(b, len - 4), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_cut_and_mistyped),
	    cmocka_unit_test(test_checked_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
