#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "core/err.h"
#include "host/hostfw.h"
#include "host/undo.h"
#include "io/clock.h"
#include "io/ctl.h"
#include "io/log.h"
#include "io/service.h"
#include "io/watch.h"
#include "nat.h"
#include "paths.h"
#include "stamps.h"
#include "status.h"

/* A kill loses at most so much of the clients' stamps. */
#define SAVE_EVERY (60 * UK_NS_PER_S)

struct relay {
	const struct server_conf *conf;
	uv_loop_t *loop;
	struct plan plan;
	uint64_t since_s;
	bool lost_interface;

	struct netcfg *netcfg;
	struct undo *undo;
	struct tunnel *tunnel;
	struct stamps stamps;
	char stamps_path[PATHS_MAX];
	struct hostfw *fw;
	struct ctl *ctl;
	struct watch *save_timer;
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
	if (stamps_take(&r->stamps, tunnel_hold(r->tunnel)) < 0)
		diag_error(d, "out of memory for the clients' stamps");
	tunnel_release(r->tunnel);
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

static void *
control_open(void *arg)
{
	return arg;
}

static void
answer_status(struct relay *r, struct text *out)
{
	struct status s = {.conf = r->conf, .plan = &r->plan};

	tunnel_status_collect(&s.tunnel, r->tunnel, r->since_s);
	tunnel_status_answer(status_json(&s), out);
}

static bool
control_line(void *session, const char *line, size_t len, struct text *out)
{
	static const char status[] = "status";

	if (len == 0)
		return true;
	if (len == strlen(status) && memcmp(line, status, len) == 0)
		answer_status(session, out);
	else
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
	int err = netcfg_open(&r->netcfg, d);

	return err < 0 ? err : plan_make(&r->plan, r->conf, r->netcfg, d);
}

static int
open_journal(struct relay *r, struct diag *d)
{
	char path[PATHS_MAX];
	int err = paths_make(path, PATHS_JOURNAL, r->conf->interface, d);

	if (err < 0)
		return err;
	err = undo_open(&r->undo, path, d);
	if (err < 0)
		return err;
	if (undo_count(r->undo) > 0)
		log_msg(LOG_WARN, "undoing what a killed relay left behind");
	return undo_all(r->undo, r->netcfg, d);
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
	return tunnel_open(&r->tunnel, r->loop, &c, d);
}

static void
set_endpoint(struct wg_peer *p, const struct conf_wg_endpoint *e)
{
	struct endpoint to = e->addr;

	if (e->addr.port == 0 || e->addr.addr.family == FAMILY_NONE)
		return;
	if (e->scope[0] != '\0')
		to.scope_id = if_nametoindex(e->scope);
	wg_peer_set_endpoint(p, &to);
}

static int
add_peer(struct wg_device *device, const struct conf_wg_peer *c, struct diag *d)
{
	struct wg_key key;
	struct wg_peer *p;
	int err = 0;

	memcpy(key.b, c->public_key.b, sizeof(key.b));
	p = wg_device_add(device, &key);
	if (p == NULL) {
		diag_error(d, "out of memory");
		return UK_ENOMEM;
	}
	memcpy(key.b, c->preshared_key.b, sizeof(key.b));
	wg_peer_set_psk(p, &key);
	sodium_memzero(&key, sizeof(key));
	set_endpoint(p, &c->endpoint);
	wg_peer_set_keepalive(p, c->keepalive_s);
	for (size_t i = 0; i < c->allowed.n && err == 0; i++)
		err = wg_peer_allow(device, p, &c->allowed.item[i].prefix);
	return err;
}

static int
configure(struct relay *r, struct wg_device *device, struct diag *d)
{
	struct wg_key key;
	int err = 0;

	memcpy(key.b, r->conf->private_key.b, sizeof(key.b));
	wg_device_set_private_key(device, &key);
	sodium_memzero(&key, sizeof(key));
	if (wg_device_public_key(device) == NULL) {
		diag_error(d, "PrivateKey is all zeros, which is no key");
		return UK_EINVAL;
	}
	r->stamps.relay = *wg_device_public_key(device);
	for (size_t i = 0; i < r->conf->peers.n && err == 0; i++)
		err = add_peer(device, &r->conf->peers.item[i].wg, d);
	return err;
}

static int
add_peers(struct relay *r, struct diag *d)
{
	int err = configure(r, tunnel_hold(r->tunnel), d);

	tunnel_release(r->tunnel);
	return err;
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
	stamps_give(&r->stamps, tunnel_hold(r->tunnel));
	tunnel_release(r->tunnel);
	return 0;
}

static int
set_address(struct relay *r, struct diag *d)
{
	const struct ip_ifaddr *a = &r->conf->address.ifaddr;

	return netcfg_addr_add(
	    r->netcfg, tunnel_ifindex(r->tunnel), &a->addr, a->bits, false, d);
}

/* Before the interface is up: no packet ever passes without the rules. */
static int
set_firewall(struct relay *r, struct diag *d)
{
	const struct nat_conf c = {
	    .tunnel = tunnel_ifindex(r->tunnel),
	    .uplink = r->plan.uplink,
	    .address = r->conf->address.ifaddr,
	    .global = r->plan.global,
	    .listen_port = r->conf->listen_port,
	    .reserved = &r->conf->reserved_ports,
	    .client_to_client = r->conf->allow_client_to_client,
	};
	char name[NAT_TABLE_NAME_MAX];
	struct text body = {.s = NULL};
	int err = nat_body(&body, &c);

	nat_table_name(name, r->conf->interface);
	if (err == 0)
		err = hostfw_open(&r->fw, d);
	if (err == 0)
		err = hostfw_apply(r->fw, name, body.s, d);
	text_fini(&body);
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
	(void)undo_sysctl(r->undo, name, "1", NULL);
	return netcfg_link_set(
	    r->netcfg, tunnel_ifindex(r->tunnel), true, r->conf->mtu, d);
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

/* Turning ip_forward on and off again leaves every interface's own
 * "forwarding" 0 and "accept_redirects" 1, whatever they were (the kernel's
 * inet_forward_change()). Each is given that last value first: the journal
 * holds what it was, and in reverse order finds what it expects. */
static int
note_forwarding(struct relay *r, struct diag *d)
{
	struct if_nameindex *links = if_nameindex();
	char name[32 + IF_NAMESIZE + 16];
	struct if_nameindex *l = links;
	int err =
	    undo_sysctl(r->undo, "net/ipv4/conf/all/accept_redirects", "1", d);

	if (err == 0)
		err = undo_sysctl(
		    r->undo, "net/ipv4/conf/default/forwarding", "0", d);
	for (; l != NULL && l->if_index != 0 && err == 0; l++) {
		snprintf(name, sizeof(name), "net/ipv4/conf/%s/forwarding",
		    l->if_name);
		/* One that goes away meanwhile needs no undoing. */
		if (l->if_index != tunnel_ifindex(r->tunnel))
			(void)undo_sysctl(r->undo, name, "0", NULL);
	}
	if (links != NULL)
		if_freenameindex(links);
	return err;
}

static int
set_forwarding(struct relay *r, struct diag *d)
{
	int err = 0;

	if (host_forwards())
		return 0;
	err = note_forwarding(r, d);
	if (err < 0)
		return err;
	return undo_sysctl(r->undo, "net/ipv4/ip_forward", "1", d);
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

	return err < 0 ? err : ctl_open(&r->ctl, r->loop, &c, d);
}

static int
start_saving(struct relay *r, struct diag *d)
{
	(void)d;
	r->save_timer = watch_timer(r->loop, save_is_due, r);
	if (r->save_timer == NULL)
		return UK_ENOMEM;
	watch_after(r->save_timer, SAVE_EVERY);
	return 0;
}

int
relay_open(struct relay **out, uv_loop_t *loop, const struct server_conf *c,
    struct diag *d)
{
	static int (*const steps[])(struct relay *, struct diag *) = {make_plan,
	    open_journal, open_tunnel, add_peers, load_stamps, set_address,
	    set_firewall, set_link_up, set_forwarding, open_control,
	    start_saving};
	struct relay *r = calloc(1, sizeof(*r));
	int err = r != NULL ? 0 : UK_ENOMEM;

	if (r != NULL) {
		r->conf = c;
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
	ctl_close(r->ctl);
	if (r->undo != NULL)
		(void)undo_all(r->undo, r->netcfg, d);
	hostfw_close(r->fw);
	if (r->stamps_path[0] != '\0')
		save_stamps(r, d);
	stamps_fini(&r->stamps);
	tunnel_close(r->tunnel);
	undo_close(r->undo);
	netcfg_close(r->netcfg);
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
	return r->tunnel;
}
