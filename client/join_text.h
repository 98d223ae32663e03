/* join_text: the texts that `ukai join` writes. Pure. What a relay says has
 * been checked by enrol_answer_parse(); it is formatted anew here, and nothing
 * of its text is copied (C5). */
#ifndef UKAI_CLIENT_JOIN_TEXT_H
#define UKAI_CLIENT_JOIN_TEXT_H

#include "core/enrol.h"

struct join_conf {
	const struct enrol_answer *answer;
	const uint8_t *private_key; /* KEY_LEN */
	const struct endpoint *via; /* where the answer came from */
	const struct ip_prefix *local; /* what stays on the line */
	size_t locals;
	const char *policy; /* path of the policy; NULL: there is none */
};

/* The relay's endpoint of the family that enrolment went over, since that one
 * is known to work; else its first. */
const struct endpoint *join_endpoint(
    const struct enrol_answer *a, uint8_t family);

/* Append the configuration file. Returns 0; UK_ENOMEM. */
int join_conf_format(const struct join_conf *c, struct text *out);

/* NAME.joining: a key that a relay may know already, and the token that it was
 * shown with: a join that was cut off goes on with them. */
#define JOIN_HASH_LEN 32
struct join_state {
	uint8_t token_hash[JOIN_HASH_LEN];
	uint8_t private_key[KEY_LEN];
};

void join_token_hash(uint8_t hash[static JOIN_HASH_LEN], const struct token *t);

/* "ukai-joining 1 HASH KEY\n", both in base64, and a zero. */
#define JOIN_STATE_TEXT_MAX 128
size_t join_state_format(
    const struct join_state *s, char text[static JOIN_STATE_TEXT_MAX]);
/* Returns 0; UK_EPROTO: it is not such a text. */
int join_state_parse(struct join_state *s, const char *text, size_t len);

#endif
