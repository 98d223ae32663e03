#include "apply.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/err.h"
#include "listeners.h"

/* ---- peers ---- */

static struct ip_prefix
routed_prefix(const struct client *c)
{
	return (struct ip_prefix){c->global, 32};
}

static int
set_peer(struct wg_device *device, struct wg_peer *p, const struct client *c)
{
	struct ip_prefix address[CLIENT_ADDRESSES_MAX];
	size_t n = client_addresses(c, address);
	int err = 0;

	for (size_t i = 0; i < n && err == 0; i++)
		err = wg_peer_allow(device, p, &address[i]);
	return err;
}

static int
add_peer(struct wg_device *device, const struct client *c, struct diag *d)
{
	struct wg_peer *p = wg_device_add(device, &c->public_key);

	if (p == NULL) {
		diag_error(d,
		    "the key of %s is taken: somebody added it by wg(8)",
		    c->name);
		return UK_EBUSY;
	}
	wg_peer_set_psk(p, &c->preshared_key);
	if (c->endpoint.port != 0)
		wg_peer_set_endpoint(p, &c->endpoint);
	wg_peer_set_keepalive(p, c->keepalive_s);
	return set_peer(device, p, c);
}

static bool
has_key(const struct client *c, const struct wg_key *key)
{
	return c != NULL && client_has_joined(c) &&
	       sodium_memcmp(c->public_key.b, key->b, sizeof(key->b)) == 0;
}

/* The sessions of a client that goes end here (P9). */
static int
change_peer(struct wg_device *device, const struct client *before,
    const struct client *after, struct diag *d)
{
	struct ip_prefix routed;
	struct wg_peer *p = NULL;

	if (before != NULL && client_has_joined(before))
		p = wg_device_find(device, &before->public_key);
	if (p != NULL && !has_key(after, &before->public_key)) {
		wg_device_remove(device, p);
		p = NULL;
	}
	if (after == NULL || !client_has_joined(after))
		return 0;
	if (p == NULL)
		p = wg_device_find(device, &after->public_key);
	if (p == NULL)
		return add_peer(device, after, d);
	if (before != NULL && before->way == CLIENT_ROUTED) {
		routed = routed_prefix(before);
		(void)wg_peer_disallow(device, p, &routed);
	}
	return set_peer(device, p, after);
}

int
apply_peers(const struct apply *a, struct diag *d)
{
	struct wg_device *device = tunnel_hold(a->tunnel);
	struct client *const *c;
	int err = 0;
	size_t n;

	c = registry_clients(a->registry, &n);
	for (size_t i = 0; i < n && err == 0; i++)
		if (client_has_joined(c[i]))
			err = add_peer(device, c[i], d);
	tunnel_release(a->tunnel);
	return err;
}

/* ---- rules ---- */

/* Ports of this host as ranges. Returns 0; UK_ENOMEM. */
static int
ports_in_use(struct server_port_ranges *r)
{
	struct listeners l;
	struct port_set used = {{0}};

	listeners_read(&l);
	listeners_services(&l, &used);
	for (unsigned port = 1; port <= UINT16_MAX; port++) {
		struct server_port_range *to;

		if (!port_set_has(&used, (uint16_t)port))
			continue;
		if (r->n > 0 && r->item[r->n - 1].last + 1u == port) {
			r->item[r->n - 1].last = (uint16_t)port;
			continue;
		}
		to = conf_grow(r->item, r->n, &r->cap, sizeof(*to));
		if (to == NULL)
			return UK_ENOMEM;
		r->item = to;
		to[r->n++] =
		    (struct server_port_range){(uint16_t)port, (uint16_t)port};
	}
	return 0;
}

int
apply_rules(const struct apply *a, struct diag *d)
{
	struct server_port_ranges in_use = {.item = NULL};
	struct text commands = {.s = NULL};
	struct nat_view v = {.in_use = &in_use};
	int err = ports_in_use(&in_use);

	v.client =
	    (const struct client *const *)registry_clients(a->registry, &v.n);
	if (err == 0) {
		err = nat_update(a->nat, &v, &commands);
		if (err == 0 && commands.len > 0)
			err = hostfw_run(a->fw, commands.s, d);
		nat_settle(a->nat, err == 0);
	}
	if (err == UK_ELIMIT)
		diag_error(d,
		    "then no port is left for the clients that share the "
		    "relay's address");
	text_fini(&commands);
	free(in_use.item);
	/* Refused rules are no mistake of the user's. */
	return err == UK_EINVAL ? UK_ESYS : err;
}

/* ---- routes ---- */

/* Is the address on a network of the uplink, so that its hosts and its router
 * ask for it by ARP? */
struct search {
	const struct ip_addr *address;
	unsigned uplink;
	bool found;
};

static bool
look_at_network(
    void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	const struct ip_ifaddr own = {*a, bits};
	struct search *s = arg;
	struct ip_prefix net;

	ip_ifaddr_prefix(&own, &net);
	s->found = ifindex == s->uplink && bits < 32 &&
		   ip_prefix_contains(&net, s->address);
	return !s->found;
}

static int
add_route(const struct apply *a, const struct client *c, struct diag *d)
{
	const struct netcfg_route r = {
	    .dst = routed_prefix(c), .ifindex = tunnel_ifindex(a->tunnel)};
	struct search s = {.address = &c->global, .uplink = a->plan->uplink};
	int err = netcfg_route_add(a->netcfg, &r, NULL);

	if (err < 0 && err != UK_EEXIST) {
		diag_error(d, "cannot route %s's address into the tunnel: %s",
		    c->name, uk_strerror(err));
		return err;
	}
	err = netcfg_addr_each(a->netcfg, look_at_network, &s);
	if (err < 0 || !s.found)
		return err;
	err = undo_neigh_proxy(
	    a->undo, a->netcfg, a->plan->uplink, &c->global, d);
	return err == UK_EEXIST ? 0 : err;
}

static void
remove_route(const struct apply *a, const struct client *c)
{
	const struct netcfg_route r = {
	    .dst = routed_prefix(c), .ifindex = tunnel_ifindex(a->tunnel)};

	(void)netcfg_route_remove(a->netcfg, &r, NULL);
	(void)undo_neigh_proxy_remove(a->undo, a->netcfg, &c->global, NULL);
}

int
apply_routes(const struct apply *a, struct diag *d)
{
	struct client *const *c;
	int err = 0;
	size_t n;

	c = registry_clients(a->registry, &n);
	for (size_t i = 0; i < n && err == 0; i++)
		if (c[i]->way == CLIENT_ROUTED)
			err = add_route(a, c[i], d);
	return err;
}

static bool
is_routed_to(const struct client *c, const struct ip_addr *a)
{
	return c != NULL && c->way == CLIENT_ROUTED &&
	       ip_addr_equal(&c->global, a);
}

static int
change_route(const struct apply *a, const struct client *before,
    const struct client *after, struct diag *d)
{
	if (before != NULL && before->way == CLIENT_ROUTED &&
	    !is_routed_to(after, &before->global))
		remove_route(a, before);
	if (after == NULL || after->way != CLIENT_ROUTED)
		return 0;
	return add_route(a, after, d);
}

/* ---- changes ---- */

int
apply_counting(const struct apply *a)
{
	struct ip_prefix *p;
	struct client *const *c;
	size_t n, routed = 0;
	int err;

	c = registry_clients(a->registry, &n);
	p = calloc(n + 1, sizeof(*p));
	if (p == NULL)
		return UK_ENOMEM;
	p[routed++] = registry_pool(a->registry);
	for (size_t i = 0; i < n; i++)
		if (c[i]->way == CLIENT_ROUTED)
			p[routed++] = routed_prefix(c[i]);
	err = conntrack_watch(a->conntrack, p, routed);
	free(p);
	return err;
}

/* Not when it is gone, or seen at another address. What came to a port that is
 * not published any more may end by itself. */
static bool
connections_go_on(const struct client *before, const struct client *after)
{
	return after != NULL && before->way == after->way &&
	       ip_addr_equal(&before->global, &after->global);
}

static int
change_flows(const struct apply *a, const struct client *before,
    const struct client *after)
{
	struct ip_prefix address[CLIENT_ADDRESSES_MAX];
	bool was_routed = before != NULL && before->way == CLIENT_ROUTED;
	bool is_routed = after != NULL && after->way == CLIENT_ROUTED;
	int err = 0;

	if (was_routed || is_routed)
		err = apply_counting(a);
	if (err == 0 && before != NULL && !connections_go_on(before, after))
		err = conntrack_forget(
		    a->conntrack, address, client_addresses(before, address));
	return err;
}

int
apply_change(
    const struct apply *a, const struct registry_change *c, struct diag *d)
{
	int err, route;

	/* No packet of a new client passes before its rules hold. */
	err = apply_rules(a, d);
	route = change_route(a, c->before, c->after, d);
	if (err == 0)
		err = route;
	route = change_peer(tunnel_hold(a->tunnel), c->before, c->after, d);
	tunnel_release(a->tunnel);
	if (err == 0)
		err = route;
	if (a->conntrack != NULL && err == 0)
		err = change_flows(a, c->before, c->after);
	return err;
}
