#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/err.h"
#include "core/ip.h"

static const char *const way_names[] = {
    [CLIENT_SHARED] = "shared",
    [CLIENT_EXCLUSIVE] = "exclusive",
    [CLIENT_ROUTED] = "routed",
};

void
client_fini(struct client *c)
{
	free(c->forward);
	free(c->routes);
	free(c->policy);
	sodium_memzero(c, sizeof(*c)); /* its preshared key too (X3) */
}

/* NULL stays NULL. False: out of memory. */
static bool
copy_text(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

static bool
copy_forwards(struct client *to, const struct client *from)
{
	to->forwards = from->forwards;
	to->forward = NULL;
	if (from->forwards == 0)
		return true;
	to->forward = calloc(from->forwards, sizeof(*to->forward));
	if (to->forward == NULL)
		return false;
	memcpy(
	    to->forward, from->forward, from->forwards * sizeof(*to->forward));
	return true;
}

int
client_copy(struct client *to, const struct client *from)
{
	bool forwards, routes, policy;

	*to = *from;
	forwards = copy_forwards(to, from);
	routes = copy_text(&to->routes, from->routes);
	policy = copy_text(&to->policy, from->policy);
	if (forwards && routes && policy)
		return 0;
	client_fini(to);
	return UK_ENOMEM;
}

bool
client_has_joined(const struct client *c)
{
	static const struct wg_key none;

	/* Public: time tells nothing. */
	return memcmp(c->public_key.b, none.b, sizeof(none.b)) != 0;
}

size_t
client_addresses(
    const struct client *c, struct ip_prefix to[static CLIENT_ADDRESSES_MAX])
{
	size_t n = c->networks;

	memcpy(to, c->network, n * sizeof(*to));
	if (c->way == CLIENT_ROUTED)
		to[n++] = (struct ip_prefix){c->global, 32};
	return n;
}

const char *
client_way_name(enum client_way w)
{
	UK_ASSERT((size_t)w < ARRAY_LEN(way_names));
	return way_names[w];
}

int
client_way_parse(enum client_way *w, const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(way_names); i++) {
		if (strcmp(text, way_names[i]) == 0) {
			*w = (enum client_way)i;
			return 0;
		}
	}
	return UK_EINVAL;
}

static const char *
protocol_name(uint8_t protocol)
{
	return protocol == IPPROTO_NUM_TCP ? "tcp" : "udp";
}

/* "tcp/"; returns what follows it, NULL: neither. */
static const char *
parse_protocol(uint8_t *protocol, const char *text)
{
	static const uint8_t known[] = {IPPROTO_NUM_TCP, IPPROTO_NUM_UDP};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		const char *name = protocol_name(known[i]);
		size_t len = strlen(name);

		if (strncmp(text, name, len) == 0 && text[len] == '/') {
			*protocol = known[i];
			return text + len + 1;
		}
	}
	return NULL;
}

static int
parse_port(uint16_t *port, const char *text, size_t len)
{
	uint64_t n;

	if (value_parse_u64(&n, text, len, UINT16_MAX, false) < 0 || n == 0)
		return UK_EINVAL;
	*port = (uint16_t)n;
	return 0;
}

/* Do the ports behind target, as many as first to last, exist? */
static bool
target_fits(const struct client_forward *f)
{
	return (uint32_t)f->target + f->last - f->first <= UINT16_MAX;
}

/* "8443" or "5000-5010" */
static int
parse_ports(struct client_forward *f, const char *text, struct diag *d)
{
	const char *dash = strchr(text, '-');
	size_t n = dash != NULL ? (size_t)(dash - text) : strlen(text);
	int err = parse_port(&f->first, text, n);

	f->last = f->first;
	if (err == 0 && dash != NULL)
		err = parse_port(&f->last, dash + 1, strlen(dash + 1));
	if (err < 0)
		diag_error(d,
		    "\"%s\" is neither a port from 1 to 65535 nor a range like "
		    "5000-5010",
		    text);
	if (err == 0 && f->first > f->last) {
		diag_error(d, "the range %s is reversed: write %u-%u", text,
		    f->last, f->first);
		return UK_EINVAL;
	}
	return err;
}

static int
parse_target(struct client_forward *f, const char *target, struct diag *d)
{
	if (parse_port(&f->target, target, strlen(target)) < 0) {
		diag_error(d,
		    "\"%s\" is not a port from 1 to 65535: of a range, name "
		    "the first one at the client",
		    target);
		return UK_EINVAL;
	}
	if (!target_fits(f)) {
		diag_error(d,
		    "%u ports from %u on go beyond port 65535 at the client",
		    f->last - f->first + 1u, f->target);
		return UK_EINVAL;
	}
	return 0;
}

int
client_forward_parse(struct client_forward *f, const char *ports,
    const char *target, struct diag *d)
{
	struct client_forward r = {0};
	const char *numbers = parse_protocol(&r.protocol, ports);

	if (numbers == NULL) {
		diag_error(d,
		    "\"%s\" begins with neither tcp/ nor udp/: write for "
		    "example tcp/8443 or udp/5000-5010",
		    ports);
		return UK_EINVAL;
	}
	if (parse_ports(&r, numbers, d) < 0)
		return UK_EINVAL;
	r.target = r.first;
	if (target != NULL && parse_target(&r, target, d) < 0)
		return UK_EINVAL;
	*f = r;
	return 0;
}

const char *
client_forward_format(
    const struct client_forward *f, char text[static CLIENT_FORWARD_TEXT_MAX])
{
	const char *protocol = protocol_name(f->protocol);

	if (f->first == f->last)
		snprintf(
		    text, CLIENT_FORWARD_TEXT_MAX, "%s/%u", protocol, f->first);
	else
		snprintf(text, CLIENT_FORWARD_TEXT_MAX, "%s/%u-%u", protocol,
		    f->first, f->last);
	return text;
}

bool
client_forwards_overlap(
    const struct client_forward *a, const struct client_forward *b)
{
	return a->protocol == b->protocol && a->first <= b->last &&
	       b->first <= a->last;
}

/* ---- is it one that the relay could have made? ---- */

static const char *
check_name(const struct client *c)
{
	size_t len = strnlen(c->name, sizeof(c->name));

	return server_is_name(c->name, len)
		   ? NULL
		   : "a name is made of 1 to 32 of a-z, 0-9 and '-'";
}

static const char *
check_times(const struct client *c)
{
	return c->created_s <= INT64_MAX && c->joined_s <= INT64_MAX &&
		       c->expires_s <= INT64_MAX
		   ? NULL
		   : "a time lies beyond the end of time";
}

static const char *
check_endpoint(const struct client *c)
{
	const struct endpoint *e = &c->endpoint;

	if (e->port == 0)
		return NULL;
	return conf_wg_is_host_address(&e->addr)
		   ? NULL
		   : "an endpoint is no address of a host";
}

static bool
is_whole_prefix(const struct ip_prefix *p)
{
	char text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix again;

	if (p->addr.family != FAMILY_V4 || p->bits > 32)
		return false;
	ip_prefix_format(p, text);
	return ip_prefix_parse(&again, text, strlen(text)) == 0 &&
	       memcmp(&again, p, sizeof(again)) == 0;
}

static const char *
check_networks(const struct client *c)
{
	if (c->networks > CLIENT_NETWORKS_MAX)
		return "too many networks";
	for (size_t i = 0; i < c->networks; i++) {
		if (!is_whole_prefix(&c->network[i]))
			return "a network is not an IPv4 prefix";
		for (size_t k = 0; k < i; k++)
			if (memcmp(&c->network[i], &c->network[k],
				sizeof(c->network[i])) == 0)
				return "a network is there twice";
	}
	return NULL;
}

static const char *
check_way(const struct client *c)
{
	if ((size_t)c->way >= ARRAY_LEN(way_names))
		return "neither shared, exclusive nor routed";
	if (c->way == CLIENT_SHARED)
		return c->global.family == FAMILY_NONE
			   ? NULL
			   : "shared, but with a global address";
	return c->global.family == FAMILY_V4 &&
		       conf_wg_is_host_address(&c->global)
		   ? NULL
		   : "the global address is not an IPv4 address of a host";
}

static bool
is_forward(const struct client_forward *f)
{
	return (f->protocol == IPPROTO_NUM_TCP ||
		   f->protocol == IPPROTO_NUM_UDP) &&
	       f->first != 0 && f->first <= f->last && f->target != 0 &&
	       target_fits(f);
}

static const char *
check_forwards(const struct client *c)
{
	if (c->forwards > CLIENT_FORWARDS_MAX)
		return "too many forwards";
	for (size_t i = 0; i < c->forwards; i++) {
		if (!is_forward(&c->forward[i]))
			return "a forward is not one of ports";
		for (size_t k = 0; k < i; k++)
			if (client_forwards_overlap(
				&c->forward[i], &c->forward[k]))
				return "two forwards take the same port";
	}
	return NULL;
}

static const char *
check_routes(const struct client *c)
{
	struct conf_span rest, item;
	struct ip_prefix p;

	if (c->routes == NULL)
		return NULL;
	rest = (struct conf_span){.s = c->routes, .len = strlen(c->routes)};
	if (rest.len > CLIENT_ROUTES_MAX)
		return "the list of routes is too long";
	while (conf_span_item(&rest, &item))
		if (ip_prefix_parse(&p, item.s, item.len) < 0)
			return "a route is not a prefix";
	return NULL;
}

static const char *
check_policy(const struct client *c)
{
	return c->policy == NULL || strlen(c->policy) <= CLIENT_POLICY_MAX
		   ? NULL
		   : "the policy is too long";
}

int
client_check(const struct client *c, struct diag *d)
{
	static const char *(*const check[])(const struct client *c) = {
	    check_name,
	    check_times,
	    check_endpoint,
	    check_networks,
	    check_way,
	    check_forwards,
	    check_routes,
	    check_policy,
	};

	for (size_t i = 0; i < ARRAY_LEN(check); i++) {
		const char *why = check[i](c);

		if (why != NULL) {
			diag_error(d, "client \"%.*s\": %s", SERVER_NAME_MAX,
			    c->name, why);
			return UK_EINVAL;
		}
	}
	return 0;
}
