#include "welcome.h"

#include <string.h>

#include "core/err.h"

void
welcome_token(const struct welcome *w, const struct client *c,
    const uint8_t secret[TOKEN_SECRET_LEN], char text[static TOKEN_TEXT_MAX])
{
	struct token t = {.v6 = w->v6,
	    .v4 = w->v4,
	    .port = w->tls_port,
	    .expires_s = c->expires_s};

	memcpy(t.pin, w->pin, sizeof(t.pin));
	memcpy(t.secret, secret, sizeof(t.secret));
	token_format(&t, text);
}

static void
add_endpoint(struct enrol_answer *a, const struct ip_addr *addr, uint16_t port)
{
	if (addr->family != FAMILY_NONE)
		a->endpoint[a->endpoints++] =
		    (struct endpoint){.addr = *addr, .port = port};
}

static void
add_routes(struct enrol_answer *a, const struct client *c)
{
	struct conf_span rest = {.s = c->routes != NULL ? c->routes : ""};
	struct conf_span item;

	rest.len = strlen(rest.s);
	/* registry_invite() has looked at them. */
	while (a->routes < ENROL_ROUTES_MAX && conf_span_item(&rest, &item))
		if (ip_prefix_parse(&a->route[a->routes], item.s, item.len) ==
		    0)
			a->routes++;
}

int
welcome_answer(
    const struct welcome *w, const struct client *c, struct enrol_answer *a)
{
	*a = (struct enrol_answer){.status = ENROL_OK,
	    .mtu = w->mtu < SERVER_DEFAULT_MTU ? w->mtu : 0,
	    .keepalive_s = WELCOME_KEEPALIVE_S,
	    .network = {w->pool},
	    .networks = 1,
	    .address = {c->network[0].addr, 32}};
	memcpy(a->name, c->name, sizeof(a->name));
	memcpy(a->public_key, w->public_key.b, sizeof(a->public_key));
	memcpy(a->preshared_key, c->preshared_key.b, sizeof(a->preshared_key));
	if (c->way == CLIENT_ROUTED)
		a->address.addr = c->global;
	add_endpoint(a, &w->v6, w->udp_port);
	add_endpoint(a, &w->v4, w->udp_port);
	add_routes(a, c);
	if (c->policy != NULL)
		a->policy = strdup(c->policy);
	return c->policy != NULL && a->policy == NULL ? UK_ENOMEM : 0;
}
