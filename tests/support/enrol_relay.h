/* enrol_relay: a relay for one client, on a thread of its own and loopback
 * addresses: real TLS, and any answer that a test wants. */
#ifndef UKAI_ENROL_RELAY_H
#define UKAI_ENROL_RELAY_H

#include "core/enrol.h"

enum relay_way {
	RELAY_ANSWERS,    /* the first key gets the answer, again and again */
	RELAY_SAYS,       /* what say is, whatever was asked */
	RELAY_SAYS_HALF,  /* half of that, then the connection breaks */
	RELAY_HANGS_UP,   /* reads the request, and ends */
	RELAY_NO_TLS,     /* a web server */
	RELAY_SILENT,     /* lets connect, then nothing */
};

struct enrol_relay;

/* v6, v4: listen on ::1, 127.0.0.1; the token names both in any case. */
struct enrol_relay *enrol_relay_start(bool v6, bool v4);
void enrol_relay_stop(struct enrol_relay *r);

const struct token *enrol_relay_token(const struct enrol_relay *r);
/* Before the next connection. say: borrowed. */
void enrol_relay_set(
    struct enrol_relay *r, enum relay_way way, const char *say);
/* Only over IPv6 it is like that. */
void enrol_relay_v6_silent(struct enrol_relay *r, bool silent);
/* The policy of its answers; borrowed; NULL: none. */
void enrol_relay_policy(struct enrol_relay *r, char *policy);
/* Nobody has joined. */
void enrol_relay_forget(struct enrol_relay *r);
/* Who has; false: nobody. */
bool enrol_relay_joined(
    const struct enrol_relay *r, uint8_t public_key[static KEY_LEN]);

#endif
