/* enrol: the client's side of core/enrol.h: ask the relay of a token once, and
 * wait for its answer. Blocking, and bounded in time and bytes. */
#ifndef UKAI_CLIENT_ENROL_H
#define UKAI_CLIENT_ENROL_H

#include "core/enrol.h"

/* All of it, and the first of two addresses. */
#define CLIENT_ENROL_LIMIT_NS (15 * UK_NS_PER_S)
#define CLIENT_ENROL_FIRST_NS (7 * UK_NS_PER_S)
/* So long has an address a start before the other is tried, too (RFC 8305 says
 * 250 ms; here a lost packet is no reason yet to leave IPv6). */
#define CLIENT_ENROL_HEAD_START_NS (2 * UK_NS_PER_S)

struct client_enrol_result {
	/* The request may have come to the relay: perhaps this key has joined,
	 * even if there is no answer. Set on errors, too. */
	bool asked;
	struct endpoint via; /* TCP, that answered; only without an error */
};

/* IPv6 is tried first, IPv4 when it fails or keeps silent. Whatever fails short
 * of an answer is a reason to try the other. Returns 0 with an answer (which
 * may be a refusal; enrol_answer_fini()); UK_ENOENT: nobody to be reached;
 * UK_EAUTH: somebody, but not this relay, or TLS failed; UK_EAGAIN: asked, and
 * no whole answer; UK_EPROTO, UK_EMSGSIZE: an answer that is none; UK_ENOMEM,
 * UK_ESYS: each told to d, with address and port. */
int client_enrol(struct enrol_answer *a, struct client_enrol_result *result,
    const struct token *t, const uint8_t public_key[static KEY_LEN],
    struct diag *d);

#endif
