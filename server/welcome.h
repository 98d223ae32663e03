/* welcome: what a new client needs to know of the relay: the token to call
 * with, and the answer when it has called. Pure. */
#ifndef UKAI_SERVER_WELCOME_H
#define UKAI_SERVER_WELCOME_H

#include "client.h"
#include "core/enrol.h"

/* Silence after which a client calls again, so that NATs and firewalls on its
 * way keep the flow: wg(8) names 25 s as right for nearly all. */
#define WELCOME_KEEPALIVE_S 25

struct welcome {
	struct ip_addr v6, v4; /* where clients reach the relay; one may be
				  FAMILY_NONE */
	uint16_t udp_port, tls_port; /* tls_port 0: no tokens */
	uint16_t mtu; /* told where it is less than usual: else a client knows
			 its own path better */
	struct ip_prefix pool;
	struct wg_key public_key;
	uint8_t pin[TOKEN_PIN_LEN];
};

void welcome_token(const struct welcome *w, const struct client *c,
    const uint8_t secret[TOKEN_SECRET_LEN], char text[static TOKEN_TEXT_MAX]);

/* enrol_answer_fini() it. Returns 0; UK_ENOMEM. */
int welcome_answer(
    const struct welcome *w, const struct client *c, struct enrol_answer *a);

#endif
