#include "plan.h"

#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "nat.h"

/* Any address for which only the route to the internet can hold: this is
 * a.root-servers.net. It is looked up in the routing table, never sent to. */
const struct ip_addr plan_somewhere = {FAMILY_V4, {198, 41, 0, 4}};
/* The same one, 2001:503:ba3e::2:30. */
static const struct ip_addr somewhere6 = {FAMILY_V6,
    {0x20, 0x01, 0x05, 0x03, 0xba, 0x3e, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0x30}};

bool
plan_is_private(const struct ip_addr *a)
{
	static const struct ip_prefix blocks[] = {
	    {{FAMILY_V4, {10}}, 8},
	    {{FAMILY_V4, {100, 64}}, 10},
	    {{FAMILY_V4, {127}}, 8},
	    {{FAMILY_V4, {169, 254}}, 16},
	    {{FAMILY_V4, {172, 16}}, 12},
	    {{FAMILY_V4, {192, 168}}, 16},
	};

	for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
		if (ip_prefix_contains(&blocks[i], a))
			return true;
	return false;
}

static void
find_uplink(struct plan *p, const struct server_conf *c, struct netcfg *n,
    struct diag *d)
{
	struct netcfg_path path;

	if (netcfg_path(n, &plan_somewhere, 0, &path) < 0)
		return;
	p->uplink = path.ifindex;
	if (if_indextoname(path.ifindex, p->uplink_name) == NULL)
		p->uplink_name[0] = '\0';
	if (p->global.family == FAMILY_NONE) {
		p->global = path.src;
		p->global_found = path.src.family == FAMILY_V4;
	}
	/* 80: an IPv6 and a UDP header and WireGuard's 32 bytes. */
	if (path.mtu < (uint32_t)c->mtu + 80)
		diag_warn(d,
		    "MTU %u does not fit into packets of %u bytes on %s; set "
		    "MTU = %u",
		    c->mtu, path.mtu, p->uplink_name,
		    path.mtu > 1360 ? path.mtu - 80 : 1280);
}

/* 2000::/3, global unicast (RFC 4291 2.4). */
static bool
is_global6(const struct ip_addr *a)
{
	return a->family == FAMILY_V6 && (a->b[0] & 0xe0) == 0x20;
}

/* The address that this host itself goes out with: of several it is the one
 * that is meant to stay. */
static void
find_v6(struct plan *p, struct netcfg *n)
{
	struct netcfg_path path;

	if (netcfg_path(n, &somewhere6, 0, &path) == 0 && is_global6(&path.src))
		p->v6 = path.src;
}

static int
check_global(const struct plan *p, struct diag *d)
{
	char text[IP_ADDR_TEXT_MAX];

	if (p->global.family != FAMILY_V4) {
		diag_error(d,
		    "this host has no IPv4 route to the internet, so there is "
		    "no address to give to clients; set one up, or write "
		    "GlobalAddress = ... into [Relay]");
		return UK_ENOENT;
	}
	if (plan_is_private(&p->global))
		diag_warn(d,
		    "%s is not a global address: clients reach the internet "
		    "only if a router before this host translates it%s",
		    ip_addr_format(&p->global, text),
		    p->global_found ? "; else set GlobalAddress" : "");
	if (p->uplink == 0)
		diag_warn(d, "this host has no IPv4 route to the internet");
	return 0;
}

/* What the host's addresses tell. */
struct look {
	struct plan *plan;
	const struct server_conf *conf;
	struct diag *d;
	struct ip_prefix pool;
	bool global_here;
	bool pool_taken;
};

static void
look_at_pool(
    struct look *l, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	const struct ip_ifaddr ifaddr = {.addr = *a, .bits = bits};
	char pool[IP_PREFIX_TEXT_MAX], text[IP_ADDR_TEXT_MAX];
	char name[IF_NAMESIZE] = "?";
	struct ip_prefix net;

	/* Our own, when the relay runs already. */
	if (if_indextoname(ifindex, name) != NULL &&
	    strcmp(name, l->conf->interface) == 0)
		return;
	ip_ifaddr_prefix(&ifaddr, &net);
	ip_prefix_format(&l->pool, pool);
	ip_addr_format(a, text);
	if (ip_prefix_contains(&l->pool, a)) {
		diag_error(l->d,
		    "the clients' pool %s holds this host's address %s on %s; "
		    "choose another Address",
		    pool, text, name);
		l->pool_taken = true;
	} else if (ip_prefix_contains(&net, &l->pool.addr)) {
		diag_warn(l->d,
		    "the clients' pool %s is a part of the network of %s/%u "
		    "on %s, which this host will not reach there any more",
		    pool, text, bits, name);
	}
}

static bool
visit_address(
    void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	struct look *l = arg;

	if (a->family == FAMILY_V6) {
		if (l->plan->v6.family == FAMILY_NONE && is_global6(a))
			l->plan->v6 = *a;
		return true;
	}
	l->global_here |= ip_addr_equal(a, &l->plan->global);
	look_at_pool(l, ifindex, a, bits);
	return true;
}

static int
check_addresses(struct plan *p, const struct server_conf *c, struct netcfg *n,
    struct diag *d)
{
	struct look l = {.plan = p, .conf = c, .d = d};
	char text[IP_ADDR_TEXT_MAX];
	int err;

	ip_ifaddr_prefix(&c->address.ifaddr, &l.pool);
	err = netcfg_addr_each(n, visit_address, &l);
	if (err < 0) {
		diag_error(d, "cannot list this host's addresses: %s",
		    uk_strerror(err));
		return err;
	}
	if (p->v6.family == FAMILY_NONE)
		diag_warn(d,
		    "this host has no global IPv6 address: clients can reach "
		    "it over IPv4 only");
	if (!l.global_here)
		diag_warn(d,
		    "GlobalAddress %s is not an address of this host: answers "
		    "must be routed to it",
		    ip_addr_format(&p->global, text));
	return l.pool_taken ? UK_EBUSY : 0;
}

static int
count_ports(struct plan *p, const struct server_conf *c, struct diag *d)
{
	struct server_port_ranges ports;
	int err = nat_free_ports(
	    &ports, &c->reserved_ports, c->listen_port, c->tls_port);

	if (err < 0)
		return err;
	for (size_t i = 0; i < ports.n; i++)
		p->ports +=
		    (size_t)ports.item[i].last - ports.item[i].first + 1;
	free(ports.item);
	if (p->ports > 0)
		return 0;
	diag_error(d,
	    "ReservedPorts leaves no port from %u to 65535 to the clients",
	    NAT_FIRST_PORT);
	return UK_ELIMIT;
}

static void
check_endpoints(const struct server_conf *c, struct diag *d)
{
	for (size_t i = 0; i < c->peers.n; i++) {
		const struct conf_wg_peer *p = &c->peers.item[i].wg;

		if (p->endpoint.host != NULL)
			diag_warn(d,
			    "the Endpoint %s of the [Peer] on line %u is not "
			    "used: clients call the relay, and it looks up no "
			    "names",
			    p->endpoint.host, p->line);
	}
}

int
plan_make(struct plan *p, const struct server_conf *c, struct netcfg *n,
    struct diag *d)
{
	int err;

	*p = (struct plan){.global = c->global_address};
	find_uplink(p, c, n, d);
	find_v6(p, n);
	err = check_global(p, d);
	if (err == 0)
		err = check_addresses(p, c, n, d);
	if (err == 0)
		err = count_ports(p, c, d);
	check_endpoints(c, d);
	return err;
}
