#include "apply.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/bytes.h"
#include "core/err.h"

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
ports_in_use(const struct apply *a, struct server_port_ranges *r)
{
	const struct port_set *used = place_services(a->place);

	for (unsigned port = 1; port <= UINT16_MAX; port++) {
		struct server_port_range *to;

		if (!port_set_has(used, (uint16_t)port))
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
	int err = ports_in_use(a, &in_use);

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

static bool
leads_into_tunnel(const struct apply *a, const struct ip_addr *to)
{
	struct netcfg_path path;

	return netcfg_path(a->netcfg, to, 0, &path) == 0 &&
	       path.ifindex == tunnel_ifindex(a->tunnel);
}

static int
add_route(const struct apply *a, const struct client *c, struct diag *d)
{
	const struct netcfg_route r = {
	    .dst = routed_prefix(c), .ifindex = tunnel_ifindex(a->tunnel)};
	struct search s = {.address = &c->global, .uplink = a->plan->uplink};
	char text[IP_ADDR_TEXT_MAX];
	int err = netcfg_route_add(a->netcfg, &r, NULL);

	if (err == UK_EEXIST && !leads_into_tunnel(a, &c->global)) {
		diag_error(d,
		    "this host has a route to %s that is not ours: remove it "
		    "first (see `ip route`)",
		    ip_addr_format(&c->global, text));
		return UK_EBUSY;
	}
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

/* A foreign route in the way of one client is no reason to leave the others
 * without a relay. */
static int
add_route_at_start(
    const struct apply *a, const struct client *c, struct diag *d)
{
	struct diag why;
	int err;

	diag_init(&why, NULL);
	err = add_route(a, c, &why);
	if (err < 0)
		diag_warn(d, "%s: %s", c->name,
		    why.n > 0 ? why.entry[0].text : uk_strerror(err));
	return err == UK_EBUSY ? 0 : err;
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
			err = add_route_at_start(a, c[i], d);
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

/* Not when it is gone, or seen at another address. A TCP connection that came
 * to a port that is not published any more may end by itself. */
static bool
connections_go_on(const struct client *before, const struct client *after)
{
	return after != NULL && before->way == after->way &&
	       ip_addr_equal(&before->global, &after->global);
}

static bool
publishes(const struct apply *a, const struct client *c,
    const struct client_forward *f, const struct ip_addr *at)
{
	if (c == NULL || !ip_addr_equal(registry_global(a->registry, c), at))
		return false;
	for (size_t i = 0; i < c->forwards; i++)
		if (c->forward[i].protocol == f->protocol &&
		    c->forward[i].first == f->first &&
		    c->forward[i].last == f->last &&
		    c->forward[i].target == f->target)
			return true;
	return false;
}

/* What c publishes by UDP and other does not. Returns the new n. */
static size_t
list_changed(const struct apply *a, const struct client *c,
    const struct client *other, struct conntrack_ports *p, size_t n)
{
	const struct ip_addr *at;

	if (c == NULL)
		return n;
	at = registry_global(a->registry, c);
	for (size_t i = 0; i < c->forwards; i++)
		if (c->forward[i].protocol == IPPROTO_UDP &&
		    !publishes(a, other, &c->forward[i], at))
			p[n++] = (struct conntrack_ports){load_be32(at->b),
			    c->forward[i].first, c->forward[i].last};
	return n;
}

/* Visitors that call all the time are to reach who has the port now. */
static int
change_visitors(const struct apply *a, const struct client *before,
    const struct client *after)
{
	struct conntrack_ports p[2 * CLIENT_FORWARDS_MAX + 1];
	size_t n = list_changed(a, before, after, p, 0);

	n = list_changed(a, after, before, p, n);
	if (after != NULL && after->way == CLIENT_EXCLUSIVE &&
	    !ip_addr_equal(&after->global, &a->plan->global) &&
	    (before == NULL || !connections_go_on(before, after)))
		p[n++] = (struct conntrack_ports){
		    load_be32(after->global.b), 1, UINT16_MAX};
	return conntrack_forget_ports(a->conntrack, p, n);
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
	return err == 0 ? change_visitors(a, before, after) : err;
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
	return err;
}

/* Out of memory, they end by themselves. */
void
apply_flows(const struct apply *a, const struct registry_change *c)
{
	if (c->before != NULL || c->after != NULL)
		(void)change_flows(a, c->before, c->after);
}
