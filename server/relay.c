#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "accept.h"
#include "admin.h"
#include "apply.h"
#include "core/err.h"
#include "enrol_link.h"
#include "host/memory.h"
#include "io/clock.h"
#include "io/ctl.h"
#include "io/log.h"
#include "io/service.h"
#include "io/watch.h"
#include "metrics.h"
#include "paths.h"
#include "place.h"
#include "stamps.h"
#include "status.h"

/* A kill loses at most so much of the clients' stamps. */
#define SAVE_EVERY (60 * UK_NS_PER_S)
/* A program of this host that begins to listen on a port has it for itself
 * after so long at most (N1). */
#define LOOK_EVERY (10 * UK_NS_PER_S)
/* Reading what listens takes milliseconds, and a forward has up to 65,535 ports
 * that are asked for one by one. */

struct relay {
	const struct server_conf *conf;
	uv_loop_t *loop;
	struct plan plan;
	uint64_t since_s;
	bool lost_interface;
	bool told_status; /* of many clients it takes 2 KiB each for a moment */

	struct apply host; /* owns what it points to, but for the plan */
	char registry_path[PATHS_MAX];
	struct stamps stamps;
	char stamps_path[PATHS_MAX];
	char table[NAT_TABLE_NAME_MAX];
	struct nat_conf nat_conf;
	struct watch *save_timer, *look_timer;
	struct log_limit rules_complaint, enrol_complaint;
	struct place place;
	struct port_set services; /* as of the last look */
	bool rules_behind; /* what they should say */

	struct ctl *ctl;
	struct admin admin;
	struct welcome welcome;
	char no_tokens[DIAG_TEXT]; /* why; "": nothing stands in the way */
	struct tls_identity *identity;
	struct enrol_link *enrol_link;
	struct accept_protocol protocol;
	struct accept *accept;
	struct metrics *metrics;
};

/* ---- while it runs ---- */

static void
tunnel_ended(void *arg, enum tunnel_end why)
{
	struct relay *r = arg;

	r->lost_interface = why == TUNNEL_GONE;
	if (r->lost_interface)
		log_msg(LOG_ERROR, "ending: somebody deleted %s",
		    r->conf->interface);
	else
		log_msg(LOG_INFO, "ending: somebody deleted the socket of %s",
		    r->conf->interface);
	service_stop(r->loop);
}

static void
save_stamps(struct relay *r, struct diag *d)
{
	if (stamps_take(&r->stamps, tunnel_hold(r->host.tunnel)) < 0)
		diag_error(d, "out of memory for the clients' stamps");
	tunnel_release(r->host.tunnel);
	if (r->stamps.changed)
		(void)stamps_save(&r->stamps, r->stamps_path, d);
}

static void
save_is_due(void *arg)
{
	struct relay *r = arg;
	struct diag d;

	diag_init(&d, NULL);
	save_stamps(r, &d);
	log_diag(&d);
	watch_after(r->save_timer, SAVE_EVERY);
}

static int set_forwarding(struct relay *r, struct diag *d);

/* Also links that came since. */
static void
look_is_due(void *arg)
{
	const struct port_set *now;
	struct relay *r = arg;
	struct diag d;

	diag_init(&d, NULL);
	(void)set_forwarding(r, NULL);
	if (r->told_status)
		memory_trim();
	r->told_status = false;
	now = place_services(&r->place);
	if (r->rules_behind || memcmp(now, &r->services, sizeof(*now)) != 0) {
		r->services = *now;
		r->rules_behind = apply_rules(&r->host, &d) < 0;
	}
	if (r->rules_behind)
		log_limited(&r->rules_complaint, clock_now().mono_ns, LOG_WARN,
		    "cannot change the firewall rules: %s",
		    d.n > 0 ? d.entry[0].text : "out of memory");
	watch_after(r->look_timer, LOOK_EVERY);
}

/* ---- changes of the registry ---- */

/* Whoever goes is off the disk first: his session cannot be given back. What
 * is left of him in the rules goes with the next look. */
static int
settle_end(struct relay *r, const struct registry_change *c, struct diag *d)
{
	int err = registry_keep(r->host.registry, d);
	struct diag why;

	if (err < 0)
		return err;
	diag_init(&why, NULL);
	r->rules_behind = apply_change(&r->host, c, &why) < 0;
	if (r->rules_behind)
		diag_warn(d, "%s is revoked, but not all of it is undone: %s",
		    c->before->name,
		    why.n > 0 ? why.entry[0].text : "out of memory");
	return 0;
}

/* Nothing is taken from the host that cannot be given back before it is on the
 * disk. */
static int
settle_change(struct relay *r, const struct registry_change *c, struct diag *d)
{
	const struct registry_change back = {c->after, c->before};
	int err = apply_change(&r->host, c, d);

	if (err == 0)
		err = registry_keep(r->host.registry, d);
	if (err == 0)
		return 0;
	if (d->errors == 0)
		diag_error(d, "%s; nothing was changed", uk_strerror(err));
	/* What is there was there before: it can be again. */
	registry_withdraw(r->host.registry);
	r->rules_behind = apply_change(&r->host, &back, NULL) < 0;
	return err;
}

static int
settle(void *arg, struct diag *d)
{
	struct relay *r = arg;
	const struct registry_change c = registry_changed(r->host.registry);
	int err = 0;

	if (c.after != NULL)
		err = settle_change(r, &c, d);
	else if (c.before != NULL)
		err = settle_end(r, &c, d);
	if (err == 0)
		apply_flows(&r->host, &c);
	registry_end(r->host.registry);
	return err;
}

static void
enrol(void *arg, const struct enrol_request *request,
    const struct endpoint *from, struct enrol_answer *answer)
{
	const struct client *c = NULL;
	char text[ENDPOINT_TEXT_MAX];
	struct relay *r = arg;
	struct diag d;
	bool is_new;

	diag_init(&d, NULL);
	answer->status = registry_join(r->host.registry, request,
	    clock_now().wall_ns / UK_NS_PER_S, &c, &d);
	is_new = registry_changed(r->host.registry).after != NULL;
	if (answer->status == ENROL_OK && settle(r, &d) < 0)
		answer->status = ENROL_FAILED;
	if (answer->status == ENROL_OK &&
	    welcome_answer(&r->welcome, c, answer) < 0) {
		enrol_answer_fini(answer);
		answer->status = ENROL_FAILED;
	}
	if (answer->status == ENROL_OK && is_new)
		log_msg(LOG_INFO, "%s joined from %s", c->name,
		    endpoint_format(from, text));
	/* Whoever has a token can ask again and again. */
	if (d.n > 0)
		log_limited(&r->enrol_complaint, clock_now().mono_ns, LOG_ERROR,
		    "enrolment: %s", d.entry[0].text);
}

/* ---- the control socket ---- */

/* To be json_decref()'ed. */
static json_t *
enrolment_json(const struct relay *r)
{
	const struct enrol_link_stats *e = enrol_link_stats(r->enrol_link);
	const struct accept_stats *s = accept_stats(r->accept);
	json_t *o = json_object();

	o = tunnel_status_put(
	    o, "connections", json_integer((json_int_t)s->let_in));
	for (int i = 0; i < ACCEPT_REFUSALS; i++)
		o = tunnel_status_put(o,
		    accept_refusal_name((enum accept_refusal)i),
		    json_integer((json_int_t)s->refused[i]));
	for (int i = 0; i < ACCEPT_ENDS; i++)
		o = tunnel_status_put(o, accept_end_name((enum accept_end)i),
		    json_integer((json_int_t)s->ended[i]));
	for (int i = 0; i <= ENROL_FAILED; i++)
		o = tunnel_status_put(o,
		    enrol_status_name((enum enrol_status)i),
		    json_integer((json_int_t)e->answered[i]));
	return o;
}

static json_t *
status_of(void *arg)
{
	struct relay *r = arg;
	struct status s = {.conf = r->conf,
	    .plan = &r->plan,
	    .registry = r->host.registry,
	    .conntrack = r->host.conntrack,
	    .enrolment = r->accept != NULL ? enrolment_json(r) : NULL};

	json_t *o;

	tunnel_status_collect(&s.tunnel, r->host.tunnel, r->since_s);
	o = status_json(&s);
	json_decref(s.enrolment);
	r->told_status = true;
	return o;
}

static void
kept(void *arg, struct text *out)
{
	struct relay *r = arg;

	place_kept(&r->place, out);
}

static void *
control_open(void *arg)
{
	return arg;
}

static bool
control_line(void *session, const char *line, size_t len, struct text *out)
{
	static const char status[] = "status";
	struct relay *r = session;

	if (len == 0)
		return true;
	if (len == strlen(status) && memcmp(line, status, len) == 0)
		tunnel_status_answer(status_of(r), out);
	else if (!admin_line(&r->admin, line, len, out))
		text_add(out, "{\"error\":\"no such request\"}\n\n");
	return true;
}

static void
control_close(void *session)
{
	(void)session;
}

/* ---- the steps of opening, in order; each undone in relay_close() ---- */

static int
make_plan(struct relay *r, struct diag *d)
{
	int err = netcfg_open(&r->host.netcfg, d);

	r->place.netcfg = r->host.netcfg;
	return err < 0 ? err : plan_make(&r->plan, r->conf, r->host.netcfg, d);
}

static int
open_journal(struct relay *r, struct diag *d)
{
	char path[PATHS_MAX];
	int err = paths_make(path, PATHS_JOURNAL, r->conf->interface, d);

	if (err < 0)
		return err;
	err = undo_open(&r->host.undo, path, d);
	if (err < 0)
		return err;
	if (undo_count(r->host.undo) > 0)
		log_msg(LOG_WARN, "undoing what a killed relay left behind");
	return undo_all(r->host.undo, r->host.netcfg, d);
}

static unsigned
workers(const struct server_conf *c)
{
	if (c->workers != 0)
		return c->workers;
	return (unsigned)uk_min_u64(uv_available_parallelism(), WG_LANES_MAX);
}

static int
open_tunnel(struct relay *r, struct diag *d)
{
	struct tunnel_conf c;

	tunnel_conf_default(&c);
	c.name = r->conf->interface;
	c.mtu = r->conf->mtu;
	c.port = r->conf->listen_port;
	c.mark = r->conf->fwmark;
	c.workers = workers(r->conf);
	c.ended = tunnel_ended;
	c.arg = r;
	return tunnel_open(&r->host.tunnel, r->loop, &c, d);
}

static int
set_key(struct relay *r, struct wg_device *device, struct diag *d)
{
	struct wg_key key;

	memcpy(key.b, r->conf->private_key.b, sizeof(key.b));
	wg_device_set_private_key(device, &key);
	sodium_memzero(&key, sizeof(key));
	if (wg_device_public_key(device) == NULL) {
		diag_error(d, "PrivateKey is all zeros, which is no key");
		return UK_EINVAL;
	}
	r->stamps.relay = *wg_device_public_key(device);
	return 0;
}

static int
configure(struct relay *r, struct diag *d)
{
	int err = set_key(r, tunnel_hold(r->host.tunnel), d);

	tunnel_release(r->host.tunnel);
	return err;
}

/* ---- the registry ---- */

/* An address that was added by hand does not outlive a reboot. */
static void
warn_of_lost(struct relay *r, struct diag *d)
{
	char text[IP_ADDR_TEXT_MAX];
	struct client *const *c;
	size_t n;

	c = registry_clients(r->host.registry, &n);
	for (size_t i = 0; i < n; i++)
		if (c[i]->way == CLIENT_EXCLUSIVE &&
		    !ip_addr_equal(&c[i]->global, &r->plan.global) &&
		    !place_has(&r->place, &c[i]->global))
			diag_warn(d,
			    "%s is %s's, but not an address of this host any "
			    "more: make it permanent in the network's "
			    "configuration",
			    ip_addr_format(&c[i]->global, text), c[i]->name);
}

static int
open_registry(struct relay *r, struct diag *d)
{
	const struct registry_conf c = {.address = r->conf->address.ifaddr,
	    .global = r->plan.global,
	    .public_key = r->stamps.relay,
	    .arg = &r->place,
	    .is_own = place_has,
	    .unroutable = place_unroutable,
	    .reserved = place_reserved};
	int err = paths_registry(r->registry_path, r->conf, d);
	size_t n = 0;

	if (err == 0)
		err = registry_open(&r->host.registry, r->registry_path, &c, d);
	if (err == 0)
		err = registry_import(
		    r->host.registry, &r->conf->peers, r->since_s, &n, d);
	if (err == 0)
		warn_of_lost(r, d);
	if (n > 0)
		log_msg(LOG_INFO,
		    "%zu [Peer] sections of the configuration are in the "
		    "registry now",
		    n);
	return err;
}

static int
add_peers(struct relay *r, struct diag *d)
{
	return apply_peers(&r->host, d);
}

static int
load_stamps(struct relay *r, struct diag *d)
{
	int err =
	    paths_make(r->stamps_path, PATHS_STAMPS, r->conf->interface, d);

	if (err < 0)
		return err;
	/* Without them the relay still serves; it has warned. */
	(void)stamps_load(&r->stamps, r->stamps_path, d);
	stamps_give(&r->stamps, tunnel_hold(r->host.tunnel));
	tunnel_release(r->host.tunnel);
	return 0;
}

static int
set_address(struct relay *r, struct diag *d)
{
	const struct ip_ifaddr *a = &r->conf->address.ifaddr;

	return netcfg_addr_add(r->host.netcfg, tunnel_ifindex(r->host.tunnel),
	    &a->addr, a->bits, false, d);
}

/* A kernel without nftables' arp family still serves. */
static void
hide_pool(struct relay *r, struct diag *d)
{
	struct text arp = {.s = NULL};

	nat_arp(r->host.nat, &arp);
	if (arp.failed || hostfw_run(r->host.fw, arp.s, NULL) < 0)
		diag_warn(d,
		    "this kernel cannot filter ARP by nftables: hosts on a "
		    "link of this one may learn the tunnel's address");
	text_fini(&arp);
}

/* Before the interface is up: no packet ever passes without the rules. */
static int
set_firewall(struct relay *r, struct diag *d)
{
	struct text body = {.s = NULL};
	int err;

	nat_table_name(r->table, r->conf->interface);
	r->nat_conf = (struct nat_conf){
	    .table = r->table,
	    .tunnel = tunnel_ifindex(r->host.tunnel),
	    .uplink = r->plan.uplink,
	    .address = r->conf->address.ifaddr,
	    .global = r->plan.global,
	    .listen_port = r->conf->listen_port,
	    .tls_port = r->conf->tls_port,
	    .metrics_port = ip_addr_equal(&r->conf->metrics.addr,
				&r->conf->address.ifaddr.addr)
				? r->conf->metrics.port
				: 0,
	    .reserved = &r->conf->reserved_ports,
	    .groups = &r->conf->groups,
	    .client_to_client = r->conf->allow_client_to_client,
	};
	err = nat_new(&r->host.nat, &r->nat_conf);
	if (err == 0)
		err = nat_body(r->host.nat, &body);
	if (err == 0)
		err = hostfw_open(&r->host.fw, d);
	if (err == 0)
		err = hostfw_apply(r->host.fw, r->table, body.s, d);
	text_fini(&body);
	if (err == 0)
		err = apply_rules(&r->host, d);
	if (err == 0)
		hide_pool(r, d);
	/* Refused rules are no mistake of the user's. */
	return err == UK_EINVAL ? UK_ESYS : err;
}

/* IPv6 is not carried yet: without an address of its own there, the host has
 * nothing to say into the tunnel. A host without IPv6 has no such setting. */
static int
set_link_up(struct relay *r, struct diag *d)
{
	char name[64];

	snprintf(name, sizeof(name), "net/ipv6/conf/%s/disable_ipv6",
	    r->conf->interface);
	(void)undo_sysctl(r->host.undo, name, "1", NULL);
	return netcfg_link_set(r->host.netcfg, tunnel_ifindex(r->host.tunnel),
	    true, r->conf->mtu, d);
}

static bool
host_forwards(void)
{
	int fd = open("/proc/sys/net/ipv4/ip_forward", O_RDONLY | O_CLOEXEC);
	char c = '0';

	if (fd >= 0) {
		(void)!read(fd, &c, 1);
		close(fd);
	}
	return c != '0';
}

/* Of every link, and not of the whole host (ip_forward): what other software
 * switches on there later, for itself, stays when we end. */
static int
set_forwarding(struct relay *r, struct diag *d)
{
	struct if_nameindex *links, *l;
	char name[32 + IF_NAMESIZE + 16];
	int err = 0;

	if (host_forwards())
		return 0;
	links = if_nameindex();
	if (links == NULL)
		return UK_ENOMEM;
	for (l = links; l->if_index != 0 && err == 0; l++) {
		snprintf(name, sizeof(name), "net/ipv4/conf/%s/forwarding",
		    l->if_name);
		if (l->if_index == r->plan.uplink)
			err = undo_sysctl(r->host.undo, name, "1", d);
		else if (strcmp(l->if_name, "lo") != 0)
			/* One may go away meanwhile. */
			(void)undo_sysctl(r->host.undo, name, "1", NULL);
	}
	if_freenameindex(links);
	return err;
}

static int
open_control(struct relay *r, struct diag *d)
{
	char path[PATHS_MAX];
	const struct ctl_conf c = {
	    .path = path,
	    .fd = -1,
	    .handler = {.arg = r,
		.open = control_open,
		.line = control_line,
		.close = control_close},
	};
	int err = paths_make(path, PATHS_SOCKET, r->conf->interface, d);

	r->admin = (struct admin){.registry = r->host.registry,
	    .registry_path = r->registry_path,
	    .welcome = &r->welcome,
	    .no_tokens = r->no_tokens[0] != '\0' ? r->no_tokens : NULL,
	    .arg = r,
	    .settle = settle,
	    .kept = kept};
	return err < 0 ? err : ctl_open(&r->ctl, r->loop, &c, d);
}

static int
set_routes(struct relay *r, struct diag *d)
{
	return apply_routes(&r->host, d);
}

static int
start_counting(struct relay *r, struct diag *d)
{
	(void)d;
	r->host.conntrack = conntrack_new(r->loop);
	return r->host.conntrack != NULL ? apply_counting(&r->host) : UK_ENOMEM;
}

/* The key that tokens name. A relay that was set up by hand has none yet. */
static int
load_identity(struct relay *r, struct diag *d)
{
	int err = tls_identity_load(&r->identity, r->conf->tls_key, NULL);

	if (err == UK_ENOENT) {
		err = tls_identity_new(&r->identity, d);
		if (err == 0)
			err =
			    tls_identity_save(r->identity, r->conf->tls_key, d);
		return err;
	}
	return err == 0 ? 0
			: tls_identity_load(&r->identity, r->conf->tls_key, d);
}

static int
listen_for_clients(struct relay *r, struct diag *d)
{
	struct accept_conf c;
	int err = enrol_link_new(&r->enrol_link, enrol, r);

	if (err < 0)
		return err;
	r->protocol = enrol_link_protocol(r->enrol_link);
	accept_conf_default(&c);
	c.port = r->conf->tls_port;
	c.identity = r->identity;
	c.protocol = &r->protocol;
	c.protocols = 1;
	return accept_open(&r->accept, r->loop, &c, d);
}

/* What stands in the way is no reason to leave those who have joined without a
 * relay. */
static int
open_enrolment(struct relay *r, struct diag *d)
{
	char text[IP_ADDR_TEXT_MAX];
	struct diag why;
	int err;

	r->welcome = (struct welcome){.v6 = r->plan.v6,
	    .v4 = r->plan.global,
	    .udp_port = tunnel_port(r->host.tunnel),
	    .mtu = r->conf->mtu,
	    .public_key = r->stamps.relay};
	if (r->conf->public_v6.family != FAMILY_NONE)
		r->welcome.v6 = r->conf->public_v6;
	if (r->conf->public_v4.family != FAMILY_NONE)
		r->welcome.v4 = r->conf->public_v4;
	else if (plan_is_private(&r->plan.global))
		diag_warn(d,
		    "clients are told to call %s, which is no global address; "
		    "if the provider translates it, set PublicAddress",
		    ip_addr_format(&r->plan.global, text));
	ip_ifaddr_prefix(&r->conf->address.ifaddr, &r->welcome.pool);
	if (r->conf->tls_port == 0) {
		snprintf(r->no_tokens, sizeof(r->no_tokens),
		    "relay.conf says TlsPort = off");
		return 0;
	}
	diag_init(&why, NULL);
	err = load_identity(r, &why);
	if (err == 0)
		err = listen_for_clients(r, &why);
	if (err < 0) {
		snprintf(r->no_tokens, sizeof(r->no_tokens), "%s",
		    why.n > 0 ? why.entry[0].text : uk_strerror(err));
		diag_warn(d, "nobody can enrol: %s", r->no_tokens);
		return err == UK_ENOMEM ? err : 0;
	}
	tls_identity_pin(r->identity, r->welcome.pin);
	r->welcome.tls_port = r->conf->tls_port;
	return 0;
}

static int
open_metrics(struct relay *r, struct diag *d)
{
	const struct metrics_conf c = {.listen = r->conf->metrics,
	    .tunnel = r->conf->address.ifaddr.addr,
	    .status = status_of,
	    .arg = r};

	if (r->conf->metrics.port == 0)
		return 0;
	return metrics_open(&r->metrics, r->loop, &c, d);
}

static int
start_timers(struct relay *r, struct diag *d)
{
	(void)d;
	r->save_timer = watch_timer(r->loop, save_is_due, r);
	r->look_timer = watch_timer(r->loop, look_is_due, r);
	if (r->save_timer == NULL || r->look_timer == NULL)
		return UK_ENOMEM;
	watch_after(r->save_timer, SAVE_EVERY);
	watch_after(r->look_timer, LOOK_EVERY);
	return 0;
}

int
relay_open(struct relay **out, uv_loop_t *loop, const struct server_conf *c,
    struct diag *d)
{
	static int (*const steps[])(struct relay *, struct diag *) = {make_plan,
	    open_journal, open_tunnel, configure, open_registry, add_peers,
	    load_stamps, set_address, set_firewall, set_link_up, set_routes,
	    set_forwarding, start_counting, open_enrolment, open_metrics,
	    open_control, start_timers};
	struct relay *r = calloc(1, sizeof(*r));
	int err = r != NULL ? 0 : UK_ENOMEM;

	if (r != NULL) {
		r->conf = c;
		r->host.plan = &r->plan;
		place_init(&r->place, c);
		r->host.place = &r->place;
		r->loop = loop;
		r->since_s = clock_now().wall_ns / UK_NS_PER_S;
	}
	for (size_t i = 0; i < ARRAY_LEN(steps) && err == 0; i++)
		err = steps[i](r, d);
	if (err == 0) {
		*out = r;
		return 0;
	}
	if (d->errors == 0)
		diag_error(d, "cannot start: %s", uk_strerror(err));
	relay_close(r, d);
	return err;
}

void
relay_close(struct relay *r, struct diag *d)
{
	if (r == NULL)
		return;
	watch_close(r->save_timer);
	watch_close(r->look_timer);
	ctl_close(r->ctl);
	metrics_close(r->metrics);
	accept_close(r->accept);
	enrol_link_free(r->enrol_link);
	tls_identity_free(r->identity);
	if (r->host.undo != NULL)
		(void)undo_all(r->host.undo, r->host.netcfg, d);
	conntrack_free(r->host.conntrack);
	registry_close(r->host.registry);
	if (r->stamps_path[0] != '\0')
		save_stamps(r, d);
	stamps_fini(&r->stamps);
	tunnel_close(r->host.tunnel);
	/* No packet of a client ever passes without the rules. */
	hostfw_close(r->host.fw);
	nat_free(r->host.nat);
	undo_close(r->host.undo);
	netcfg_close(r->host.netcfg);
	free(r);
}

bool
relay_lost_interface(const struct relay *r)
{
	return r->lost_interface;
}

struct tunnel *
relay_tunnel(const struct relay *r)
{
	return r->host.tunnel;
}

size_t
relay_clients(const struct relay *r)
{
	struct client *const *c;
	size_t n, joined = 0;

	c = registry_clients(r->host.registry, &n);
	for (size_t i = 0; i < n; i++)
		joined += client_has_joined(c[i]);
	return joined;
}
