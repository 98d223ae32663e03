/* token: the line that `ukai-relay invite` prints and `ukai join` takes: where
 * the relay is, how to know it, and a secret that works once. Pure.
 *
 *   "ukai1-" and base64url (RFC 4648 section 5, no padding) of
 *   flags(1) port(2) expires(8) pin(32) secret(16) [v6(16)] [v4(4)] check(4)
 *
 * Integers are big-endian; flags: 1 v6, 2 v4; check: the first bytes of the
 * SHA-256 of what stands before it, so that a line that was cut or mistyped is
 * told from one that the relay does not know. */
#ifndef UKAI_TOKEN_H
#define UKAI_TOKEN_H

#include "endpoint.h"

#define TOKEN_PIN_LEN 32
#define TOKEN_SECRET_LEN 16
#define TOKEN_TEXT_MAX 128 /* with its zero */

struct token {
	struct ip_addr v6, v4; /* of the relay; FAMILY_NONE: none; not both */
	uint16_t port; /* TCP */
	uint64_t expires_s; /* Unix time */
	/* SHA-256 of the relay's SubjectPublicKeyInfo (RFC 7469 section 2.4). */
	uint8_t pin[TOKEN_PIN_LEN];
	uint8_t secret[TOKEN_SECRET_LEN];
};

const char *token_format(
    const struct token *t, char text[static TOKEN_TEXT_MAX]);
/* Blanks around it are allowed. Returns 0; UK_EINVAL: not a token at all;
 * UK_EMSGSIZE: cut short or longer than one; UK_EPROTO: the check is wrong, or
 * of a later form. Constant time in the secret is not needed: whoever has the
 * line has it. */
int token_parse(struct token *t, const char *text, size_t len);

#endif
