#include "tunnel.h"

#include "clock.h"
#include "core/err.h"
#include "ctl.h"
#include "log.h"
#include "watch.h"
#include "wg/uapi.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

/* How often to look at the interface: in another namespace the kernel does not
 * tell of everything. */
#define LOOK_AGAIN (1 * UK_NS_PER_S)

struct tunnel {
	struct tunnel_conf conf;
	uv_loop_t *loop;
	struct lane_shared shared;
	unsigned held; /* how deep */
	struct lane *lane[WG_LANES_MAX];
	struct tun *tun[WG_LANES_MAX]; /* its queues; the first is the device */
	unsigned lanes;
	struct ctl *ctl;
	struct uapi_host uapi_host;
	uint16_t wished_port; /* 0: any */
	uint16_t port; /* what it came to, last time */
	uint32_t mark;

	struct watch *on_tun_event, *on_gone, *on_call;
	struct watch *on_deadline, *on_look;
	bool up; /* the device; threads run, where there are sockets */
	bool ended;
};

/* ---- the device, and its time ---- */

struct wg_device *
tunnel_hold(struct tunnel *t)
{
	if (t->held++ == 0)
		lane_lock(&t->shared);
	return t->shared.device;
}

static void
let_go(struct tunnel *t)
{
	UK_ASSERT(t->held > 0);
	if (--t->held == 0)
		lane_unlock(&t->shared);
}

void
tunnel_release(struct tunnel *t)
{
	let_go(t);
	if (t->held == 0)
		lane_drain(t->lane[0]);
}

/* Let go of it entirely, for a while: lanes that are to end may be waiting for
 * it. Returns what resume() wants. */
static unsigned
suspend(struct tunnel *t)
{
	unsigned held = t->held;

	if (held > 0)
		lane_unlock(&t->shared);
	t->held = 0;
	return held;
}

static void
resume(struct tunnel *t, unsigned held)
{
	if (held > 0)
		lane_lock(&t->shared);
	t->held = held;
}

/* Wait for the device's deadline. */
static void
arm(void *arg)
{
	struct tunnel *t = arg;
	uint64_t now = clock_now().mono_ns;
	uint64_t at;

	lane_lock(&t->shared);
	at = wg_device_deadline(t->shared.device);
	t->shared.armed_ns = at;
	lane_unlock(&t->shared);
	watch_after(t->on_deadline, at == UK_NEVER ? UK_NEVER
				    : at > now     ? at - now
						   : 0);
}

static void
deadline_passed(void *arg)
{
	struct tunnel *t = arg;

	wg_device_tick(tunnel_hold(t), clock_now());
	tunnel_release(t);
	arm(t);
}

static void
on_lane_call(void *arg)
{
	struct tunnel *t = arg;

	watch_raise(t->on_call);
}

static void
called(void *arg)
{
	struct tunnel *t = arg;

	arm(t);
	lane_drain(t->lane[0]);
}

static void
on_lane_gone(void *arg)
{
	struct tunnel *t = arg;

	watch_raise(t->on_gone);
}

static void
end(struct tunnel *t, enum tunnel_end why)
{
	if (t->ended)
		return;
	t->ended = true;
	t->conf.ended(t->conf.arg, why);
}

/* ---- sockets ---- */

static bool
is_open(const struct tunnel *t)
{
	return lane_udp(t->lane[0]) != NULL;
}

static void
close_sockets(struct tunnel *t)
{
	unsigned held = suspend(t);

	for (unsigned i = 0; i < t->lanes; i++)
		lane_stop(t->lane[i]);
	resume(t, held);
}

/* One pair of sockets for each lane, all on one port. Returns an error, and
 * none is open. */
static int
open_all(struct tunnel *t, uint16_t port, struct udp **udp, struct diag *d)
{
	const struct udp_conf c = {.port = port,
	    .mark = t->mark,
	    .no_offload = t->conf.no_offload,
	    .shared = t->lanes > 1};
	int err = udp_open(&udp[0], &c, d);
	unsigned n = err ? 0 : 1;

	for (; n < t->lanes && err == 0; n += err == 0)
		err = udp_join(&udp[n], udp[0], &c, d);
	if (err == 0 && n > 1 && udp_spread(udp[0], n) != 0)
		log_msg(LOG_WARN,
		    "the kernel cannot spread peers over %u workers evenly", n);
	while (err && n > 0)
		udp_close(udp[--n]);
	return err;
}

/* Threads carry while the device is up, no sooner: what they read before that
 * would be lost. */
static int
run_lanes(struct tunnel *t)
{
	int err = 0;

	for (unsigned i = 0; i < t->lanes && err == 0; i++)
		err = lane_run(t->lane[i]);
	return err;
}

static void
drop_stale(struct tunnel *t)
{
	for (unsigned i = 0; i < t->lanes; i++)
		lane_drop_stale(t->lane[i]);
}

/* Open the new sockets first, then close the old ones. On error, which d tells,
 * the old ones stay open; after UK_ENOMEM or UK_ESYS possibly none is. */
static int
open_sockets(struct tunnel *t, uint16_t port, struct diag *d)
{
	struct udp *udp[WG_LANES_MAX];
	int err = open_all(t, port, udp, d);
	unsigned held, n = 0;

	if (err)
		return err;
	held = suspend(t);
	port = udp_port(udp[0]);
	close_sockets(t);
	for (; n < t->lanes && err == 0; n++)
		err = lane_start(t->lane[n], udp[n]);
	while (n < t->lanes)
		udp_close(udp[n++]);
	if (err == 0 && t->up)
		err = run_lanes(t);
	if (err == 0) {
		t->port = port;
	} else {
		diag_error(d, "no worker can start: %s", uk_strerror(err));
		close_sockets(t);
	}
	resume(t, held);
	return err;
}

/* On the port of last time; one that the kernel chose may be another's by
 * now, and then any other does. */
static int
reopen_sockets(struct tunnel *t, struct diag *d)
{
	int err = open_sockets(t, t->port, d);

	if (err == UK_EBUSY && t->wished_port == 0) {
		diag_init(d, NULL);
		err = open_sockets(t, 0, d);
	}
	return err;
}

int
tunnel_set_port(struct tunnel *t, uint16_t port, struct diag *d)
{
	int err = 0;

	if (!is_open(t) || port == 0 || port != t->port)
		err = open_sockets(t, port, d);
	if (err == 0)
		t->wished_port = port;
	return err;
}

int
tunnel_set_mark(struct tunnel *t, uint32_t mark)
{
	int err = 0;

	for (unsigned i = 0; i < t->lanes && is_open(t) && err == 0; i++)
		err = udp_set_mark(lane_udp(t->lane[i]), mark);
	if (err == 0)
		t->mark = mark;
	for (unsigned i = 0; i < t->lanes && is_open(t) && err != 0; i++)
		(void)udp_set_mark(lane_udp(t->lane[i]), t->mark);
	return err;
}

/* ---- the interface's state ---- */

static void
came_up(struct tunnel *t)
{
	struct diag d;

	diag_init(&d, NULL);
	log_msg(LOG_INFO, "%s: up", tun_name(t->tun[0]));
	if (!is_open(t) && reopen_sockets(t, &d) != 0)
		log_diag(&d);
	wg_device_set_up(tunnel_hold(t), true);
	t->up = true;
	if (is_open(t) && run_lanes(t) != 0) {
		log_msg(LOG_ERROR, "%s: no worker can start: %s",
		    tun_name(t->tun[0]), uk_strerror(UK_ESYS));
		close_sockets(t); /* catch_up() tries again */
	}
	tunnel_release(t);
}

/* What waits in the queues now is of no use when the link is up again. */
static void
went_down(struct tunnel *t)
{
	log_msg(LOG_INFO, "%s: down", tun_name(t->tun[0]));
	close_sockets(t);
	drop_stale(t);
	t->up = false;
	wg_device_set_up(tunnel_hold(t), false);
	tunnel_release(t);
}

/* Once a second: a port that was busy may be free; and the loop's timers do
 * not count the time that the machine was asleep, as ours do. */
static void
catch_up(struct tunnel *t, enum tun_state state)
{
	struct diag d;
	bool due;

	diag_init(&d, NULL);
	if (state == TUN_UP && !is_open(t))
		drop_stale(t);
	if (state == TUN_UP && !is_open(t) && reopen_sockets(t, &d) == 0)
		log_msg(LOG_INFO, "%s: UDP port %u is open now",
		    tun_name(t->tun[0]), t->port);
	due = wg_device_deadline(tunnel_hold(t)) <= clock_now().mono_ns;
	tunnel_release(t);
	if (due)
		deadline_passed(t);
}

static void
look(void *arg)
{
	struct tunnel *t = arg;
	enum tun_state state = tun_refresh(t->tun[0]);

	watch_after(t->on_look, LOOK_AGAIN);
	if (state == TUN_GONE) {
		end(t, TUNNEL_GONE);
		return;
	}
	wg_device_set_mtu(tunnel_hold(t), tun_mtu(t->tun[0]));
	tunnel_release(t);
	if ((state == TUN_UP) == t->up)
		catch_up(t, state);
	else if (state == TUN_UP)
		came_up(t);
	else
		went_down(t);
}

/* ---- UAPI ---- */

static uint16_t
host_port(void *arg)
{
	return tunnel_port(arg);
}

static int
host_set_port(void *arg, uint16_t port)
{
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = tunnel_set_port(arg, port, &d);
	if (err)
		log_diag(&d);
	return err;
}

static uint32_t
host_mark(void *arg)
{
	return tunnel_mark(arg);
}

static int
host_set_mark(void *arg, uint32_t mark)
{
	return tunnel_set_mark(arg, mark);
}

static unsigned
host_scope(void *arg, const char *name)
{
	(void)arg;
	return if_nametoindex(name);
}

struct uapi_client {
	struct uapi_session session;
	struct tunnel *tunnel;
};

static void *
uapi_open(void *arg)
{
	struct tunnel *t = arg;
	struct uapi_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->tunnel = t;
	c->session.device = t->shared.device;
	c->session.host = &t->uapi_host;
	return c;
}

static bool
uapi_input(void *session, const char *line, size_t len, struct text *out)
{
	struct uapi_client *c = session;
	bool go_on;

	(void)tunnel_hold(c->tunnel);
	go_on = uapi_line(&c->session, line, len, out);
	let_go(c->tunnel);
	if (len == 0) /* a partial request starts nothing */
		lane_drain(c->tunnel->lane[0]);
	return go_on;
}

static void
uapi_close(void *session)
{
	free(session);
}

static void
uapi_deleted(void *arg)
{
	end(arg, TUNNEL_UNLINKED);
}

static int
open_uapi(struct tunnel *t, struct diag *d)
{
	char path[64];
	const struct ctl_conf c = {
	    .path = path,
	    .fd = t->conf.uapi_fd,
	    .handler = {.arg = t,
		.open = uapi_open,
		.line = uapi_input,
		.close = uapi_close,
		.deleted = uapi_deleted},
	};

	t->uapi_host = (struct uapi_host){.arg = t,
	    .port = host_port,
	    .set_port = host_set_port,
	    .mark = host_mark,
	    .set_mark = host_set_mark,
	    .scope = host_scope};
	snprintf(path, sizeof(path), "/var/run/wireguard/%s.sock",
	    tun_name(t->tun[0]));
	return ctl_open(&t->ctl, t->loop, &c, d);
}

/* ---- life ---- */

void
tunnel_conf_default(struct tunnel_conf *c)
{
	*c = (struct tunnel_conf){
	    .tun_fd = -1, .uapi_fd = -1, .mtu = 1420, .workers = 1};
	wg_device_conf_default(&c->wg);
}

static int
open_device(struct tunnel *t, struct diag *d)
{
	struct wg_device_conf c = t->conf.wg;

	c.lanes = t->conf.tun_fd >= 0 ? 1 : t->conf.workers;
	t->shared.device = wg_device_new(&c);
	if (t->shared.device)
		return 0;
	diag_error(d, "out of memory, or OpenSSL lacks BLAKE2s or "
		      "ChaCha20-Poly1305");
	return UK_ENOMEM;
}

static int
open_lane(struct tunnel *t, const struct tun_conf *c, struct diag *d)
{
	unsigned i = t->lanes;
	int err = i == 0 ? tun_open(&t->tun[0], c, d)
			 : tun_join(&t->tun[i], t->tun[0], c, d);

	if (err)
		return err;
	t->lanes++;
	err = lane_open(&t->lane[i], &t->shared, i == 0 ? t->loop : NULL,
	    t->tun[i], t->conf.aead);
	if (err == UK_ECRYPTO)
		diag_error(d,
		    "no cipher: %s cannot be used here (not built with, no "
		    "such processor, no memory, or wrong results: then update "
		    "the library)",
		    aead_kind_name(t->conf.aead));
	return err;
}

static int
open_lanes(struct tunnel *t, struct diag *d)
{
	unsigned wanted = t->conf.tun_fd >= 0 ? 1 : t->conf.workers;
	const struct tun_conf c = {.name = t->conf.name,
	    .fd = t->conf.tun_fd,
	    .mtu = t->conf.mtu,
	    .no_offload = t->conf.no_offload ? TUN_NO_VNET_HDR : 0,
	    .shared = wanted > 1,
	    .headroom = WG_SEAL_HEADROOM,
	    .tailroom = WG_SEAL_TAILROOM};
	int err = 0;

	while (t->lanes < wanted && err == 0)
		err = open_lane(t, &c, d);
	return err;
}

static int
open_watches(struct tunnel *t, struct diag *d)
{
	(void)d;
	t->on_tun_event =
	    watch_fd(t->loop, tun_event_fd(t->tun[0]), look, NULL, t);
	t->on_gone = watch_call(t->loop, look, t);
	t->on_call = watch_call(t->loop, called, t);
	t->on_deadline = watch_timer(t->loop, deadline_passed, t);
	t->on_look = watch_timer(t->loop, look, t);
	if (!t->on_tun_event || !t->on_gone || !t->on_call || !t->on_deadline ||
	    !t->on_look)
		return UK_ENOMEM;
	watch_wait(t->on_tun_event, true, false);
	return 0;
}

static int
open_first_sockets(struct tunnel *t, struct diag *d)
{
	return t->conf.port ? open_sockets(t, t->conf.port, d) : 0;
}

static struct tunnel *
tunnel_new(uv_loop_t *loop, const struct tunnel_conf *c)
{
	struct tunnel *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->conf = *c;
	t->loop = loop;
	t->wished_port = t->port = c->port;
	t->mark = c->mark;
	t->shared = (struct lane_shared){.armed_ns = UK_NEVER,
	    .call = on_lane_call,
	    .gone = on_lane_gone,
	    .stirred = look,
	    .arg = t};
	if (uv_mutex_init(&t->shared.lock) != 0)
		goto free_tunnel;
	if (uv_mutex_init(&t->shared.turn) != 0)
		goto destroy_lock;
	return t;
destroy_lock:
	uv_mutex_destroy(&t->shared.lock);
free_tunnel:
	free(t);
	return NULL;
}

int
tunnel_open(struct tunnel **out, uv_loop_t *loop, const struct tunnel_conf *c,
    struct diag *d)
{
	static int (*const steps[])(struct tunnel *, struct diag *) = {
	    open_device, open_lanes, open_watches, open_uapi,
	    open_first_sockets};
	struct tunnel *t = tunnel_new(loop, c);
	int err = t ? 0 : UK_ENOMEM;

	UK_ASSERT(c->workers >= 1 && c->workers <= WG_LANES_MAX);
	for (size_t i = 0; i < ARRAY_LEN(steps) && err == 0; i++)
		err = steps[i](t, d);
	if (err == 0) {
		look(t);
		*out = t;
		return 0;
	}
	if (d->errors == 0)
		diag_error(d, "%s", uk_strerror(err));
	tunnel_close(t);
	return err;
}

void
tunnel_close(struct tunnel *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->lanes; i++)
		lane_close(t->lane[i]);
	if (t->ctl)
		ctl_close(t->ctl);
	watch_close(t->on_tun_event);
	watch_close(t->on_gone);
	watch_close(t->on_call);
	watch_close(t->on_look);
	watch_close(t->on_deadline);
	for (unsigned i = t->lanes; i-- > 0;)
		tun_close(t->tun[i]);
	wg_device_free(t->shared.device);
	uv_mutex_destroy(&t->shared.turn);
	uv_mutex_destroy(&t->shared.lock);
	free(t);
}

const char *
tunnel_name(const struct tunnel *t)
{
	return tun_name(t->tun[0]);
}

unsigned
tunnel_ifindex(const struct tunnel *t)
{
	return tun_ifindex(t->tun[0]);
}

uint32_t
tunnel_mtu(const struct tunnel *t)
{
	return tun_mtu(t->tun[0]);
}

uint16_t
tunnel_port(const struct tunnel *t)
{
	return t->port;
}

uint32_t
tunnel_mark(const struct tunnel *t)
{
	return t->mark;
}

void
tunnel_stats(struct tunnel *t, struct tunnel_stats *out)
{
	*out = (struct tunnel_stats){
	    .workers = t->lanes, .cipher = lane_cipher(t->lane[0])};
	(void)tunnel_hold(t);
	for (unsigned i = 0; i < t->lanes; i++) {
		const struct lane_stats *s = lane_stats(t->lane[i]);

		out->lanes.send_failed += s->send_failed;
		out->lanes.tun_dropped += s->tun_dropped;
		out->lanes.tun_malformed += s->tun_malformed;
	}
	tunnel_release(t);
}
