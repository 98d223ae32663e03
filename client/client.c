#include "client.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "core/err.h"
#include "dns.h"
#include "endpoints.h"
#include "firewall.h"
#include "host/hostfw.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/service.h"
#include "io/watch.h"
#include "link.h"
#include "mape/mape.h"
#include "policy/policy.h"
#include "policy/policy_others.h"
#include "routes.h"
#include "stamp.h"

#define STAMP_EVERY (30 * UK_NS_PER_S)
#define ROUTES_EVERY (UK_NS_PER_S)
/* More than dns_set() takes of both kinds together. */
#define DNS_MAX 64

struct client {
	struct client_setup s;
	struct netcfg *n;
	struct undo *undo;
	struct undo *keep; /* what stays when we are killed */
	bool was_guarded; /* by a killed run */
	bool is_open;
	struct routes routes;
	struct endpoints *endpoints;
	uint32_t mtu;
	struct mape *mape; /* NULL: somebody else is the line's CE */
	struct tunnel *tunnel;
	struct hostfw *firewall;
	char table[FIREWALL_TABLE_MAX];
	bool sockets; /* the kernel has nft's socket expression */
	struct policy *policy; /* NULL: none is configured */
	struct dns *dns;
	struct watch *stamp_timer, *routes_timer;
	bool overtaken; /* by somebody's rule; it has been told */
	struct wg_key public_key; /* ours */
	uint8_t stamp[WG_STAMP_LEN]; /* as saved */
	struct log_limit stamp_complaint;
	struct control *control;
	bool lost_interface;
};

static const struct conf_wg_interface *
interface_of(const struct client *c)
{
	return &c->s.conf->interface;
}

/* ---- the steps, in the order of the table below ---- */

/* *u is NULL after an error. */
static int
undo_leftovers(struct client *c, struct undo **u, struct diag *d)
{
	unsigned left = undo_count(*u);
	int err = left > 0 ? undo_all(*u, c->n, d) : 0;

	if (err < 0) {
		undo_close(*u);
		*u = NULL;
	} else if (left > 0) {
		log_msg(LOG_INFO,
		    "%s: undid %u change%s that a killed run had left",
		    c->s.name, left, left == 1 ? "" : "s");
	}
	return err;
}

static bool
has_policy(const struct client *c)
{
	return c->s.conf->policy[0] != '\0';
}

/* What a killed run's policy refuses stays refused until ours does. */
static int
open_journal(struct client *c, struct diag *d)
{
	int err = netcfg_open(&c->n, d);

	if (err == 0)
		err = undo_open(&c->undo, c->s.paths->journal, d);
	if (err == 0)
		err = undo_leftovers(c, &c->undo, d);
	if (err == 0)
		err = undo_open(&c->keep, c->s.paths->guard, d);
	if (err == 0)
		c->was_guarded = undo_count(c->keep) > 0;
	return err;
}

static void
on_mape_ended(void *arg)
{
	struct client *c = arg;

	c->lost_interface = true;
	service_stop(c->s.loop);
}

/* Before the relay is looked for: its address may be IPv4. */
static int
open_mape(struct client *c, struct diag *d)
{
	const struct mape_setup s = {.loop = c->s.loop,
	    .conf = &c->s.conf->mape,
	    .n = c->n,
	    .undo = c->undo,
	    .mark = c->routes.mark,
	    .ended = on_mape_ended,
	    .arg = c};

	if (c->s.conf->mape.mode != MAPE_SELF)
		return 0;
	return mape_open(&c->mape, &s, d);
}

static int
plan_routes(struct client *c, struct diag *d)
{
	const struct conf_wg_table *t = &interface_of(c)->table;
	uint32_t free_table = 0;
	int err = 0;

	if (t->kind == CONF_WG_TABLE_AUTO)
		err = routes_free_table(c->n, &free_table, d);
	else if (c->s.conf->local_networks.n > 0)
		diag_warn(d,
		    "LocalNetworks has no effect without Table = auto: "
		    "no rules are made");
	if (t->kind == CONF_WG_TABLE_OFF && c->s.conf->routes.given)
		diag_warn(d, "Routes has no effect with Table = off");
	if (err == 0)
		err = routes_plan(&c->routes, c->s.conf, c->s.name, free_table);
	if (err == 0 && t->kind == CONF_WG_TABLE_AUTO &&
	    c->routes.answer_table == 0)
		diag_warn(d,
		    "FwMark = 0x%x uses bits that mark answers (0x%x): "
		    "connections that come in through the tunnel are answered "
		    "by the host's routes",
		    (unsigned)c->routes.mark, (unsigned)ROUTES_ANSWER_MASK);
	if (err == 0)
		err = routes_warn(&c->routes, c->s.conf, c->n, d);
	return err;
}

static int
look_up(struct client *c, struct diag *d)
{
	return endpoints_open(
	    &c->endpoints, c->s.loop, c->s.conf, c->n, c->routes.mark, d);
}

static bool
has_inner_v6(const struct client_conf *conf)
{
	for (size_t i = 0; i < conf->interface.address.n; i++)
		if (conf->interface.address.item[i].addr.family == FAMILY_V6)
			return true;
	return false;
}

/* The smallest path to a peer; 0: none is known. */
static uint32_t
smallest_path(const struct client *c)
{
	struct netcfg_path path;
	uint32_t least = 0;

	for (size_t i = 0; i < c->s.conf->peers.n; i++) {
		const struct endpoint *e = endpoints_get(c->endpoints, i);

		if (e->addr.family == FAMILY_NONE ||
		    netcfg_path(c->n, &e->addr, c->routes.mark, &path) < 0)
			continue;
		if (least == 0 || path.mtu < least)
			least = path.mtu;
	}
	return least;
}

static int
choose_mtu(struct client *c, struct diag *d)
{
	bool v6 = has_inner_v6(c->s.conf);
	uint32_t path;

	c->mtu = interface_of(c)->mtu;
	if (c->mtu != 0 && c->mtu < 1280 && v6) {
		diag_error(d,
		    "MTU = %u is too small for the IPv6 address of %s: 1280 "
		    "at least",
		    (unsigned)c->mtu, c->s.name);
		return UK_EINVAL;
	}
	if (c->mtu != 0)
		return 0;
	path = smallest_path(c);
	c->mtu = link_mtu(path, v6);
	if (path != 0 && path < c->mtu + LINK_OVERHEAD)
		diag_warn(d,
		    "the path to the relay takes only %u bytes: large packets "
		    "will travel in fragments",
		    (unsigned)path);
	return 0;
}

static void
on_ended(void *arg, enum tunnel_end why)
{
	struct client *c = arg;

	c->lost_interface = why == TUNNEL_GONE;
	if (c->lost_interface)
		log_msg(LOG_ERROR, "ending: somebody deleted %s", c->s.name);
	else
		log_msg(LOG_INFO, "ending: somebody deleted the socket of %s",
		    c->s.name);
	service_stop(c->s.loop);
}

static int
open_tunnel(struct client *c, struct diag *d)
{
	struct tunnel_conf t;

	tunnel_conf_default(&t);
	t.name = c->s.name;
	t.mtu = c->mtu;
	t.port = interface_of(c)->listen_port;
	t.mark = c->routes.mark;
	t.ended = on_ended;
	t.arg = c;
	return tunnel_open(&c->tunnel, c->s.loop, &t, d);
}

static int
add_peer(struct client *c, struct wg_device *dev, size_t i)
{
	struct conf_wg_peer *conf = &c->s.conf->peers.item[i];
	struct wg_peer *p;
	struct wg_key key;
	int err = 0;

	memcpy(key.b, conf->public_key.b, sizeof(key.b));
	p = wg_device_add(dev, &key);
	if (p == NULL)
		return UK_ENOMEM;
	memcpy(key.b, conf->preshared_key.b, sizeof(key.b));
	wg_peer_set_psk(p, &key);
	sodium_memzero(key.b, sizeof(key.b));
	sodium_memzero(conf->preshared_key.b, sizeof(conf->preshared_key.b));
	if (endpoints_get(c->endpoints, i)->addr.family != FAMILY_NONE)
		wg_peer_set_endpoint(p, endpoints_get(c->endpoints, i));
	for (size_t k = 0; k < conf->allowed.n && err == 0; k++)
		err = wg_peer_allow(dev, p, &conf->allowed.item[k].prefix);
	wg_peer_set_keepalive(p, conf->keepalive_s);
	return err;
}

static int
set_device(struct client *c, struct wg_device *dev, struct diag *d)
{
	struct conf_wg_key *private = &c->s.conf->interface.private_key;
	struct wg_key key;
	int err = 0;

	memcpy(key.b, private->b, sizeof(key.b));
	wg_device_set_private_key(dev, &key);
	sodium_memzero(key.b, sizeof(key.b));
	sodium_memzero(private->b, sizeof(private->b));
	if (wg_device_public_key(dev) == NULL)
		return UK_ECRYPTO;
	c->public_key = *wg_device_public_key(dev);
	stamp_load(c->stamp, c->s.paths->stamp, &c->public_key, d);
	wg_device_set_last_stamp(dev, c->stamp);
	for (size_t i = 0; i < c->s.conf->peers.n && err == 0; i++)
		err = add_peer(c, dev, i);
	return err;
}

static int
configure_device(struct client *c, struct diag *d)
{
	int err = set_device(c, tunnel_hold(c->tunnel), d);

	tunnel_release(c->tunnel);
	return err;
}

static int
open_link(struct client *c, struct diag *d)
{
	const struct conf_wg_addresses *a = &interface_of(c)->address;

	if (c->routes.answer_v4)
		link_loosen(c->s.name);
	return link_up(
	    c->n, tunnel_ifindex(c->tunnel), c->s.name, a->item, a->n, d);
}

static struct firewall_conf
describe_firewall(const struct client *c)
{
	return (struct firewall_conf){.ifname = c->s.name,
	    .mtu = c->mtu,
	    .mark = c->routes.src_valid_mark ? c->routes.mark : 0,
	    .answer_mark = c->routes.answer_mark,
	    .answer_mask = ROUTES_ANSWER_MASK,
	    .address = interface_of(c)->address.item,
	    .n = interface_of(c)->address.n,
	    .sockets = c->sockets};
}

/* What the tunnel's table has whatever the policy. In any thread. */
static void
add_firewall(void *arg, struct text *body)
{
	const struct firewall_conf f = describe_firewall(arg);

	firewall_body(body, &f);
}

static int
apply_firewall(struct client *c, bool sockets, struct diag *d)
{
	struct text body = {0};
	int err = UK_ENOMEM;

	c->sockets = sockets;
	add_firewall(c, &body);
	if (!body.failed)
		err = hostfw_apply(c->firewall, c->table, body.s, d);
	text_fini(&body);
	return err;
}

static int
hide_addresses(struct client *c, struct diag *d)
{
	const struct firewall_conf f = describe_firewall(c);
	struct text arp = {0};

	firewall_arp(&arp, &f, c->table);
	if (arp.failed ||
	    (arp.len > 0 && hostfw_run(c->firewall, arp.s, NULL) < 0))
		diag_warn(d,
		    "hosts on the line can find out the tunnel's address by "
		    "ARP: this kernel has no nftables of the family arp");
	text_fini(&arp);
	return 0;
}

static int
apply_firewall_once(struct client *c, struct diag *d)
{
	if (apply_firewall(c, true, NULL) == 0)
		return 0;
	return apply_firewall(c, false, d);
}

static int
open_firewall(struct client *c, struct diag *d)
{
	firewall_table(c->table, c->s.name);
	return hostfw_open(&c->firewall, d);
}

/* Marks for programs, and a table that takes them into the tunnel. */
static bool
can_run(const struct client *c)
{
	return c->routes.answer_table != 0 &&
	       interface_of(c)->fwmark <= UINT16_MAX;
}

static int
open_policy(struct client *c, struct diag *d)
{
	const struct policy_setup s = {.loop = c->s.loop,
	    .name = c->s.name,
	    .table = c->table,
	    .conf = c->s.conf,
	    .routes = &c->routes,
	    .n = c->n,
	    .keep = c->keep,
	    .names = c->s.paths->names,
	    .firewall = c->firewall,
	    .body = add_firewall,
	    .arg = c};
	int err = policy_others_check(c->firewall, c->table, true, d);

	return err < 0 ? err : policy_open(&c->policy, &s, d);
}

/* Also where a killed run had none but for `ukai run`: what that has started
 * takes the tunnel again (R8). */
static int
open_policy_at_start(struct client *c, struct diag *d)
{
	if (has_policy(c) || (c->was_guarded && can_run(c)))
		return open_policy(c, d);
	return c->was_guarded ? undo_leftovers(c, &c->keep, d) : 0;
}

/* Another tunnel may have been started at the same time. */
static int
start_policy(struct client *c, struct diag *d)
{
	int err;

	if (c->policy == NULL)
		return 0;
	err = policy_others_check(c->firewall, c->table, false, d);
	if (err < 0)
		return err;
	if (c->s.conf->networks.n > 0 &&
	    undo_sysctl(c->undo, "net/ipv4/ip_forward", "1", d) < 0)
		return UK_ESYS;
	err = policy_start(c->policy, c->tunnel, c->mape, d);
	/* Of two that start at once at least one finds the other. */
	return err < 0 ? err
		       : policy_others_check(c->firewall, c->table, false, d);
}

static int
add_routes(struct client *c, struct diag *d)
{
	return routes_add(&c->routes, c->n, tunnel_ifindex(c->tunnel), d);
}

static int
add_rules(struct client *c, struct diag *d)
{
	return routes_add_rules(&c->routes, c->undo, c->n, d);
}

static int
set_dns(struct client *c, struct diag *d)
{
	const struct conf_wg_dns_list *l = &interface_of(c)->dns;
	struct ip_addr server[DNS_MAX];
	const char *search[DNS_MAX];
	size_t n = 0, nsearch = 0;

	if (has_policy(c))
		return 0; /* those servers are for names in the tunnel only */
	for (size_t i = 0; i < l->n && i < DNS_MAX; i++) {
		if (l->item[i].addr.family != FAMILY_NONE)
			server[n++] = l->item[i].addr;
		else
			search[nsearch++] = l->item[i].domain;
	}
	return dns_set(
	    &c->dns, c->undo, c->s.name, server, n, search, nsearch, d);
}

static void
save_stamp(struct client *c)
{
	uint8_t now[WG_STAMP_LEN];

	wg_device_last_stamp(tunnel_hold(c->tunnel), now);
	tunnel_release(c->tunnel);
	if (memcmp(now, c->stamp, sizeof(now)) == 0)
		return;
	if (stamp_save(c->s.paths->stamp, &c->public_key, now) == 0)
		memcpy(c->stamp, now, sizeof(now));
	else
		log_limited(&c->stamp_complaint, clock_now().mono_ns, LOG_WARN,
		    "cannot write %s", c->s.paths->stamp);
}

static void
on_stamp_timer(void *arg)
{
	struct client *c = arg;

	save_stamp(c);
	watch_after(c->stamp_timer, STAMP_EVERY);
}

static void
go_first(struct client *c)
{
	struct diag d;
	int r;

	diag_init(&d, NULL);
	r = routes_go_first(
	    &c->routes, c->undo, c->n, tunnel_ifindex(c->tunnel), &d);
	if (r > 0)
		log_msg(LOG_WARN,
		    "%s: an ip rule of somebody's took away what goes into the "
		    "tunnel; the tunnel's own go before it now",
		    c->s.name);
	else if (r < 0 && !c->overtaken)
		log_msg(LOG_WARN,
		    "%s: what goes into the tunnel is taken elsewhere, and "
		    "dropped there: look at `ip rule`%s%s",
		    c->s.name, d.n > 0 ? ": " : "",
		    d.n > 0 ? d.entry[0].text : "");
	c->overtaken = r < 0;
}

/* What has another route than the tunnel's would be dropped. */
static void
on_routes_timer(void *arg)
{
	struct client *c = arg;

	if (routes_mend(&c->routes, c->n, tunnel_ifindex(c->tunnel)))
		log_msg(LOG_WARN,
		    "%s: somebody removed routes or rules of the tunnel; they "
		    "are put back",
		    c->s.name);
	go_first(c);
	watch_after(c->routes_timer, ROUTES_EVERY);
}

static int
watch_tunnel(struct client *c, struct diag *d)
{
	(void)d;
	c->routes_timer = watch_timer(c->s.loop, on_routes_timer, c);
	if (c->routes_timer == NULL)
		return UK_ENOMEM;
	watch_after(c->routes_timer, 0);
	c->stamp_timer = watch_timer(c->s.loop, on_stamp_timer, c);
	if (c->stamp_timer == NULL)
		return UK_ENOMEM;
	watch_after(c->stamp_timer, STAMP_EVERY);
	endpoints_watch(c->endpoints, c->tunnel);
	return 0;
}

/* Of control.h. */
static int
policy_for_run(void *arg, struct policy **out, struct diag *d)
{
	struct client *c = arg;
	int err = 0;

	if (c->policy == NULL && !can_run(c)) {
		diag_error(d, "programs are told apart by marks: ukai run "
			      "needs Table = auto and a FwMark below 0x10000");
		return UK_EINVAL;
	}
	if (c->policy == NULL) {
		err = open_policy(c, d);
		if (err == 0)
			err = start_policy(c, d);
	}
	if (err < 0) {
		policy_close(c->policy, false, NULL);
		c->policy = NULL;
	}
	*out = c->policy;
	return err;
}

static int
open_control(struct client *c, struct diag *d)
{
	const struct control_conf conf = {.loop = c->s.loop,
	    .path = c->s.paths->control,
	    .since_s = clock_now().wall_ns / UK_NS_PER_S,
	    .table = c->routes.table,
	    .answer_table = c->routes.answer_table,
	    .tunnel = c->tunnel,
	    .mape = c->mape,
	    .policy = has_policy(c) ? c->policy : NULL,
	    .policy_for_run = policy_for_run,
	    .arg = c,
	    .conf = c->s.conf};
	int err = client_paths_make(d);

	return err < 0 ? err : control_open(&c->control, &conf, d);
}

static int (*const steps[])(struct client *c, struct diag *d) = {
    open_journal,
    plan_routes,
    open_firewall,
    open_policy_at_start,
    open_mape,
    look_up,
    choose_mtu,
    open_tunnel,
    configure_device,
    apply_firewall_once, /* before there is an address to guard (R1) */
    hide_addresses,
    open_link,
    add_routes,
    add_rules,
    set_dns,
    start_policy,
    watch_tunnel,
    open_control,
};

int
client_open(struct client **out, const struct client_setup *s, struct diag *d)
{
	struct client *c = calloc(1, sizeof(*c));
	int err = c != NULL ? 0 : UK_ENOMEM;

	if (c != NULL)
		c->s = *s;
	for (size_t i = 0; i < ARRAY_LEN(steps) && err == 0; i++)
		err = steps[i](c, d);
	if (err == 0) {
		c->is_open = true;
		*out = c;
		return 0;
	}
	if (err == UK_ENOMEM || err == UK_ECRYPTO)
		diag_error(d, "%s", uk_strerror(err));
	client_close(c, d);
	return err;
}

/* A start that fails is no reason to let go what a killed run's policy
 * refuses, nor is it that somebody took the interface away: only who says so
 * ends it (R8). */
static bool
guard_stays(const struct client *c)
{
	return c->lost_interface || (!c->is_open && c->was_guarded);
}

static int
end_guard(struct client *c, struct diag *d)
{
	int err = 0;

	if (c->keep != NULL && !guard_stays(c))
		err = undo_all(c->keep, c->n, d);
	undo_close(c->keep);
	return err;
}

bool
client_lost_interface(const struct client *c)
{
	return c->lost_interface;
}

int
client_close(struct client *c, struct diag *d)
{
	int err = 0;

	if (c == NULL)
		return 0;
	control_end(c->control);
	watch_close(c->routes_timer);
	watch_close(c->stamp_timer);
	if (c->stamp_timer != NULL)
		save_stamp(c);
	if (dns_clear(c->dns, d) < 0)
		err = UK_ESYS;
	policy_close(c->policy, guard_stays(c), d);
	mape_close(c->mape);
	if (c->undo != NULL && undo_all(c->undo, c->n, d) < 0)
		err = UK_ESYS;
	hostfw_close(c->firewall);
	endpoints_close(c->endpoints);
	tunnel_close(c->tunnel);
	routes_fini(&c->routes);
	undo_close(c->undo);
	if (end_guard(c, d) < 0)
		err = UK_ESYS;
	netcfg_close(c->n);
	/* Last: who asked us to stop waits for this. */
	control_close(c->control);
	free(c);
	return err;
}
