/* join: become a client of the relay that a token names, up to the
 * configuration file; starting the tunnel is the caller's.
 *
 * In the order of what is written, each whole or not at all: NAME.joining (a
 * new private key), then the relay is asked, NAME.rules (its policy, if any),
 * NAME.conf. A join that is killed anywhere, or loses the answer, is repeated
 * with the same token: it goes on with the same key, and the relay gives the
 * same answer to it. */
#ifndef UKAI_CLIENT_JOIN_H
#define UKAI_CLIENT_JOIN_H

#include "core/diag.h"
#include "core/token.h"
#include "paths.h"

/* This program was made after this time (Unix). */
#define JOIN_RELEASE_S UINT64_C(1793491200) /* 2026-11-01 */

#define JOIN_LOCALS_MAX 16

struct join_setup {
	const struct token *token;
	const struct client_paths *paths;
	struct ip_prefix local[JOIN_LOCALS_MAX]; /* what stays on the line */
	size_t locals;
	uint64_t now_s; /* Unix */
};

/* Only one at a time on a host. Returns 0: NAME.conf is there, and join_end()
 * comes when the tunnel was started. Errors, told to d: UK_EEXIST (a
 * configuration of that name is there; it is left as it is), UK_EAUTH (the
 * token or the relay is not, or no longer, right), UK_ENOENT, UK_EAGAIN (may
 * work another time), UK_EBUSY, UK_EPERM, UK_EPROTO, UK_EMSGSIZE, UK_ESYS,
 * UK_ENOMEM. After one NAME.joining is only there when the relay may know its
 * key. */
int join(const struct join_setup *s, struct diag *d);

/* Forget what a repeated join would go on with. */
void join_end(const struct client_paths *p);

#endif
