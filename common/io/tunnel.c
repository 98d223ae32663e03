#include "tunnel.h"

#include "clock.h"
#include "core/err.h"
#include "core/ip.h"
#include "ctl.h"
#include "log.h"
#include "tun.h"
#include "udp.h"
#include "watch.h"
#include "wg/uapi.h"
#include "wg/wg_session.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

/* Datagrams of our own (handshakes, queued packets) sent in one turn of the
 * loop before data gets its turn again. */
#define OWN_BUDGET 64
/* Batches read from one descriptor in one turn. */
#define READ_BUDGET 8
/* How often to look at the interface: in another namespace the kernel does not
 * tell of everything. */
#define LOOK_AGAIN (1 * UK_NS_PER_S)

#define ICMP_HOST_UNREACHABLE 1
#define ICMPV6_ADDRESS_UNREACHABLE 3

struct tunnel {
	struct tunnel_conf conf;
	uv_loop_t *loop;
	struct wg_device *device;
	struct tun *tun;
	struct udp *udp;
	struct ctl *ctl;
	struct uapi_host uapi_host;
	uint16_t wished_port; /* 0: any */
	uint16_t port; /* what it came to, last time */
	uint32_t mark;
	uint64_t not_sent; /* by sockets closed since, or for want of one */

	struct watch *on_tun, *on_tun_event, *on_udp4, *on_udp6;
	struct watch *on_deadline, *on_look;
	uint64_t deadline_ns; /* what on_deadline is set to */
	int event_fd; /* what on_tun_event watches */
	bool ended;

	/* What the full UDP socket would not take yet. */
	struct dgram *unsent;
	unsigned unsent_count;

	struct dgram own; /* from wg_device_next */
	struct pbuf packet[TUN_READ_MAX]; /* one batch, either way */
	struct dgram dgram[TUN_READ_MAX];
	struct pbuf rejected[TUN_READ_MAX];
};

static_assert(UDP_RECV_MAX <= TUN_READ_MAX, "one batch array for both");

/* ---- out: tun -> device -> udp ---- */

/* Wait for room in the socket that is full, and read no more packets until
 * then; both sockets go on receiving. FAMILY_NONE: none is full. */
static void
wait_for_room(struct tunnel *t, int family)
{
	watch_wait(t->on_tun, family == FAMILY_NONE, false);
	if (t->on_udp4)
		watch_wait(t->on_udp4, true, family == FAMILY_V4);
	if (t->on_udp6)
		watch_wait(t->on_udp6, true, family == FAMILY_V6);
}

/* Send, or remember what there is no room for. True: all went. */
static bool
transmit(struct tunnel *t, struct dgram *d, unsigned n)
{
	unsigned done = n;

	if (t->udp)
		done = udp_send(t->udp, d, n);
	else
		t->not_sent += n;
	t->unsent = d + done;
	t->unsent_count = n - done;
	if (done < n)
		wait_for_room(t, d[done].ep->addr.family);
	return done == n;
}

void
tunnel_abandon(struct tunnel *t)
{
	if (t->unsent_count == 0)
		return;
	t->not_sent += t->unsent_count;
	t->unsent_count = 0;
	wait_for_room(t, FAMILY_NONE);
}

static void
arm(struct tunnel *t, struct uk_time now)
{
	uint64_t at = wg_device_deadline(t->device);

	if (at == t->deadline_ns)
		return;
	t->deadline_ns = at;
	watch_after(t->on_deadline, at == UK_NEVER     ? UK_NEVER
				    : at > now.mono_ns ? at - now.mono_ns
						       : 0);
}

/* Send what the device has of its own. More than the budget: go on after
 * other events had their turn, so that a flood of handshakes does not stop the
 * data. While a socket is full, udp_writable() goes on. */
static void
drain(struct tunnel *t, struct uk_time now)
{
	unsigned left = OWN_BUDGET;
	int did = 1;

	while (t->unsent_count == 0 && left-- > 0) {
		did = wg_device_next(t->device, now, &t->own);
		if (did == 0)
			break;
		if (did == 1)
			transmit(t, &t->own, 1);
	}
	if (did != 0 && t->unsent_count == 0) {
		t->deadline_ns = 0;
		watch_after(t->on_deadline, 0);
		return;
	}
	arm(t, now);
}

static void
answer_unreachable(struct tunnel *t, const struct pbuf *p, unsigned n)
{
	const struct ip_addr packets_own = {.family = FAMILY_NONE};
	uint8_t icmp[1280];

	for (unsigned i = 0; i < n; i++) {
		size_t len = ip_icmp_unreachable(icmp, sizeof(icmp),
		    pbuf_data(&p[i]), p[i].len, &packets_own,
		    ICMP_HOST_UNREACHABLE, ICMPV6_ADDRESS_UNREACHABLE);
		struct pbuf answer = pbuf_make(icmp, sizeof(icmp), 0, len);

		if (len > 0)
			tun_write(t->tun, &answer, 1);
	}
}

static void
end(struct tunnel *t, enum tunnel_end why)
{
	if (t->ended)
		return;
	t->ended = true;
	t->conf.ended(t->conf.arg, why);
}

static void look(void *arg);

static void
tun_readable(void *arg)
{
	struct tunnel *t = arg;
	struct uk_time now = clock_now();
	struct wg_sealed out = {.dgram = t->dgram, .rejected = t->rejected};
	unsigned left = READ_BUDGET;

	/* Packets prove that the interface is up, seen or not. */
	if (!wg_device_is_up(t->device))
		look(t);
	if (wg_device_is_flushing(t->device, now.mono_ns)) {
		drain(t, now);
		return;
	}
	while (t->unsent_count == 0 && left-- > 0) {
		int n = tun_read(t->tun, t->packet, TUN_READ_MAX);

		if (n < 0) {
			end(t, TUNNEL_GONE);
			return;
		}
		if (n == 0)
			break;
		wg_device_seal(t->device, now, t->packet, (unsigned)n, &out);
		answer_unreachable(t, out.rejected, out.nrejected);
		transmit(t, out.dgram, out.n);
	}
	drain(t, now);
}

static void
udp_writable(void *arg)
{
	struct tunnel *t = arg;

	if (!transmit(t, t->unsent, t->unsent_count))
		return;
	wait_for_room(t, FAMILY_NONE);
	drain(t, clock_now());
}

/* ---- in: udp -> device -> tun ---- */

static void
udp_readable(struct tunnel *t, int family)
{
	struct uk_time now = clock_now();
	unsigned left = READ_BUDGET;
	struct dgram *in;

	while (left-- > 0) {
		unsigned n = udp_recv(t->udp, family, &in);
		unsigned accepted;

		if (n == 0)
			break;
		accepted = wg_device_open(t->device, now, in, n, t->packet);
		if (accepted > 0)
			tun_write(t->tun, t->packet, accepted);
	}
	drain(t, now);
}

static void
udp4_readable(void *arg)
{
	udp_readable(arg, FAMILY_V4);
}

static void
udp6_readable(void *arg)
{
	udp_readable(arg, FAMILY_V6);
}

static void
deadline_passed(void *arg)
{
	struct tunnel *t = arg;
	struct uk_time now = clock_now();

	t->deadline_ns = UK_NEVER;
	wg_device_tick(t->device, now);
	drain(t, now);
}

/* ---- sockets ---- */

/* False: there is a socket, and it cannot be watched. */
static bool
watch_udp(struct tunnel *t, int family, watch_fn *readable, struct watch **w)
{
	int fd = udp_fd(t->udp, family);

	*w = NULL;
	if (fd < 0)
		return true;
	*w = watch_fd(t->loop, fd, readable, udp_writable, t);
	if (*w)
		watch_wait(*w, true, false);
	return *w != NULL;
}

static void
close_sockets(struct tunnel *t)
{
	tunnel_abandon(t);
	watch_close(t->on_udp4);
	watch_close(t->on_udp6);
	t->on_udp4 = t->on_udp6 = NULL;
	if (t->udp)
		t->not_sent += udp_stats(t->udp)->send_failed;
	udp_close(t->udp);
	t->udp = NULL;
}

static int
open_sockets(struct tunnel *t, uint16_t port, struct diag *d)
{
	const struct udp_conf c = {
	    .port = port, .mark = t->mark, .no_offload = t->conf.no_offload};
	struct udp *udp;
	int err = udp_open(&udp, &c, d);

	if (err)
		return err;
	close_sockets(t);
	t->udp = udp;
	t->port = udp_port(udp);
	if (watch_udp(t, FAMILY_V4, udp4_readable, &t->on_udp4) &&
	    watch_udp(t, FAMILY_V6, udp6_readable, &t->on_udp6))
		return 0;
	close_sockets(t);
	return UK_ENOMEM;
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

	if (!t->udp || port == 0 || port != udp_port(t->udp))
		err = open_sockets(t, port, d);
	if (err == 0)
		t->wished_port = port;
	return err;
}

int
tunnel_set_mark(struct tunnel *t, uint32_t mark)
{
	int err = t->udp ? udp_set_mark(t->udp, mark) : 0;

	if (err == 0)
		t->mark = mark;
	return err;
}

/* ---- the interface's state ---- */

static void
came_up(struct tunnel *t)
{
	struct diag d;

	diag_init(&d, NULL);
	log_msg(LOG_INFO, "%s: up", tun_name(t->tun));
	if (!t->udp && reopen_sockets(t, &d) != 0)
		log_diag(&d);
	wg_device_set_up(t->device, true);
}

static void
went_down(struct tunnel *t)
{
	log_msg(LOG_INFO, "%s: down", tun_name(t->tun));
	close_sockets(t);
	wg_device_set_up(t->device, false);
}

/* Once a second: a port that was busy may be free; and the loop's timers do
 * not count the time that the machine was asleep, as ours do. */
static void
catch_up(struct tunnel *t, enum tun_state state)
{
	struct uk_time now = clock_now();
	struct diag d;

	diag_init(&d, NULL);
	if (state == TUN_UP && !t->udp && reopen_sockets(t, &d) == 0)
		log_msg(LOG_INFO, "%s: UDP port %u is open now",
		    tun_name(t->tun), t->port);
	if (wg_device_deadline(t->device) <= now.mono_ns)
		deadline_passed(t);
}

static void
look(void *arg)
{
	struct tunnel *t = arg;
	enum tun_state state = tun_refresh(t->tun);

	watch_after(t->on_look, LOOK_AGAIN);
	if (state == TUN_GONE) {
		end(t, TUNNEL_GONE);
		return;
	}
	wg_device_set_mtu(t->device, tun_mtu(t->tun));
	if ((state == TUN_UP) == wg_device_is_up(t->device)) {
		catch_up(t, state);
		return;
	}
	if (state == TUN_UP)
		came_up(t);
	else
		went_down(t);
	drain(t, clock_now());
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
	c->session.device = t->device;
	c->session.host = &t->uapi_host;
	return c;
}

static bool
uapi_input(void *session, const char *line, size_t len, struct text *out)
{
	struct uapi_client *c = session;
	bool go_on;

	if (c->session.state == UAPI_SET) /* it may remove peers */
		tunnel_abandon(c->tunnel);
	go_on = uapi_line(&c->session, line, len, out);
	if (len == 0)
		tunnel_kick(c->tunnel);
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
	snprintf(
	    path, sizeof(path), "/var/run/wireguard/%s.sock", tun_name(t->tun));
	return ctl_open(&t->ctl, t->loop, &c, d);
}

/* ---- life ---- */

void
tunnel_conf_default(struct tunnel_conf *c)
{
	*c = (struct tunnel_conf){.tun_fd = -1, .uapi_fd = -1, .mtu = 1420};
	wg_device_conf_default(&c->wg);
}

static int
open_interface(struct tunnel *t, struct diag *d)
{
	const struct tun_conf c = {.name = t->conf.name,
	    .fd = t->conf.tun_fd,
	    .mtu = t->conf.mtu,
	    .no_offload = t->conf.no_offload,
	    .headroom = WG_SEAL_HEADROOM,
	    .tailroom = WG_SEAL_TAILROOM};
	int err = tun_open(&t->tun, &c, d);

	if (err)
		return err;
	t->on_tun = watch_fd(t->loop, tun_fd(t->tun), tun_readable, NULL, t);
	t->on_tun_event =
	    watch_fd(t->loop, tun_event_fd(t->tun), look, NULL, t);
	t->on_deadline = watch_timer(t->loop, deadline_passed, t);
	t->on_look = watch_timer(t->loop, look, t);
	if (!t->on_tun || !t->on_tun_event || !t->on_deadline || !t->on_look)
		return UK_ENOMEM;
	watch_wait(t->on_tun, true, false);
	watch_wait(t->on_tun_event, true, false);
	return 0;
}

int
tunnel_open(struct tunnel **out, uv_loop_t *loop, const struct tunnel_conf *c,
    struct diag *d)
{
	struct tunnel *t = calloc(1, sizeof(*t));
	int err = UK_ENOMEM;

	if (!t) {
		diag_error(d, "out of memory");
		return UK_ENOMEM;
	}
	t->conf = *c;
	t->loop = loop;
	t->wished_port = t->port = c->port;
	t->mark = c->mark;
	t->deadline_ns = UK_NEVER;
	t->device = wg_device_new(&c->wg);
	if (!t->device) {
		diag_error(d, "out of memory, or OpenSSL lacks BLAKE2s or "
			      "ChaCha20-Poly1305");
		goto close;
	}
	err = open_interface(t, d);
	if (err)
		goto close;
	err = open_uapi(t, d);
	if (err)
		goto close;
	err = c->port ? open_sockets(t, c->port, d) : 0;
	if (err)
		goto close;
	look(t);
	*out = t;
	return 0;
close:
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
	if (t->on_tun)
		close_sockets(t);
	if (t->ctl)
		ctl_close(t->ctl);
	watch_close(t->on_tun_event);
	watch_close(t->on_look);
	watch_close(t->on_deadline);
	watch_close(t->on_tun);
	tun_close(t->tun);
	wg_device_free(t->device);
	free(t);
}

struct wg_device *
tunnel_device(struct tunnel *t)
{
	return t->device;
}

void
tunnel_kick(struct tunnel *t)
{
	drain(t, clock_now());
}

const char *
tunnel_name(const struct tunnel *t)
{
	return tun_name(t->tun);
}

unsigned
tunnel_ifindex(const struct tunnel *t)
{
	return tun_ifindex(t->tun);
}

uint32_t
tunnel_mtu(const struct tunnel *t)
{
	return tun_mtu(t->tun);
}

uint16_t
tunnel_port(const struct tunnel *t)
{
	return t->udp ? udp_port(t->udp) : t->port;
}

uint32_t
tunnel_mark(const struct tunnel *t)
{
	return t->mark;
}

void
tunnel_stats(const struct tunnel *t, struct tunnel_stats *out)
{
	const struct tun_stats *tun = tun_stats(t->tun);

	*out = (struct tunnel_stats){
	    .send_failed =
		t->not_sent + (t->udp ? udp_stats(t->udp)->send_failed : 0),
	    .tun_dropped = tun->write_dropped,
	    .tun_malformed = tun->read_malformed,
	};
}
