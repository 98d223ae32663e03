#include "mape.h"

#include <net/if.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/link.h"
#include "core/err.h"
#include "core/text.h"
#include "host/hostfw.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/tun.h"
#include "io/watch.h"

/* What lies behind the first link is 1500 on every such line. */
#define LINK_MTU_MOST_LINE 1500
#define LINK_MTU_LEAST 1280 /* RFC 8200 5 */
#define TICK UK_NS_PER_S
/* Between two looks whether the line is still the same. */
#define TICKS_TO_LOOK 5
#define CLAIM_PATIENCE (12 * UK_NS_PER_S)
/* In front of packets from inside: the outer header, and a vnet header. */
#define HEADROOM 64

struct mape {
	struct mape_setup s;
	struct ce_line line;
	struct netcfg_path path; /* to the BR */
	char link[16];
	struct tun *tun;
	unsigned ifindex; /* of ukai-map0 */
	bool down; /* somebody took it down */
	struct ce *ce;
	struct wire *wire;
	struct ce_address *address;
	struct hostfw *guard;
	struct nat44_forward *forward;
	struct watch *tun_watch, *event_watch, *wire_watch, *timer;
	uint32_t link_mtu; /* of the link when path was looked up; 0: never */
	unsigned ticks;
	bool two_lines; /* this host was on another one from the beginning */
	bool ended;
	/* Of the claim, while mape_open() waits. */
	struct watch *patience;
	bool opening, settled;
	struct diag *why;
	enum ce_claim_state claim;
};

/* What goes away together is told once. */
static void
end(struct mape *m, const char *why)
{
	if (m->ended)
		return;
	m->ended = true;
	log_msg(LOG_ERROR, "ending: %s", why);
	watch_close(m->tun_watch);
	watch_close(m->wire_watch);
	watch_close(m->event_watch);
	m->tun_watch = m->wire_watch = m->event_watch = NULL;
	m->s.ended(m->s.arg);
}

/* ---- packets ---- */

static void
forward_all(struct mape *m)
{
	struct vnet_packet *p;
	unsigned n;

	p = ce_to_line(m->ce, &n);
	if (n > 0)
		wire_send(m->wire, p, n);
	p = ce_to_inside(m->ce, &n);
	if (n > 0)
		tun_write_mixed(m->tun, p, n);
}

static void
interface_gone(struct mape *m)
{
	end(m, "somebody deleted " MAPE_IFNAME);
}

static void
link_gone(struct mape *m)
{
	char why[64];

	snprintf(why, sizeof(why), "the interface %s is gone", m->link);
	end(m, why);
}

static void
on_tun(void *arg)
{
	struct vnet_packet p[TUN_READ_WHOLE_MAX];
	uint64_t now_ns = clock_now().mono_ns;
	struct mape *m = arg;
	int n = tun_read_whole(m->tun, p, TUN_READ_WHOLE_MAX);

	if (n < 0) {
		interface_gone(m);
		return;
	}
	for (int i = 0; i < n; i += CE_BATCH) {
		ce_outward(m->ce, now_ns, p + i,
		    (unsigned)uk_min_u64((uint64_t)(n - i), CE_BATCH));
		forward_all(m);
	}
}

static void
on_wire(void *arg)
{
	struct mape *m = arg;
	struct vnet_packet *p;
	int n = wire_recv(m->wire, &p);

	if (n < 0)
		link_gone(m);
	if (n <= 0)
		return;
	ce_inward(m->ce, clock_now().mono_ns, p, (unsigned)n);
	forward_all(m);
}

/* A default route in two halves. */
static int
route_all(struct mape *m, struct diag *d)
{
	struct netcfg_route r = {
	    .dst = {.addr = {.family = FAMILY_V4}, .bits = 1},
	    .ifindex = m->ifindex};
	int err = netcfg_route_add(m->s.n, &r, d);

	r.dst.addr.b[0] = 128;
	return err < 0 ? err : netcfg_route_add(m->s.n, &r, d);
}

static void
on_event(void *arg)
{
	struct mape *m = arg;
	enum tun_state now = tun_refresh(m->tun);

	if (now == TUN_GONE) {
		interface_gone(m);
		return;
	}
	/* Taken down, it loses its routes. */
	if (now == TUN_UP && m->down && route_all(m, NULL) == 0)
		log_msg(LOG_INFO, "%s is up again", MAPE_IFNAME);
	m->down = now == TUN_DOWN;
}

static uint32_t
line_mtu(uint32_t path_mtu)
{
	if (path_mtu == 0 || path_mtu > LINK_MTU_MOST_LINE)
		return LINK_MTU_MOST_LINE;
	return path_mtu < LINK_MTU_LEAST ? LINK_MTU_LEAST : path_mtu;
}

/* ukai-map0 keeps its own: who sends more than fits now is told so. */
static void
follow_mtu(struct mape *m)
{
	struct ce_address_stats a;
	struct netcfg_path path;

	ce_address_stats(m->address, &a);
	if (a.mtu == 0 || a.mtu == m->link_mtu ||
	    netcfg_path(m->s.n, &m->line.rule.br, m->s.mark, &path) < 0)
		return;
	m->link_mtu = a.mtu;
	ce_set_link_mtu(m->ce, line_mtu(path.mtu));
}

/* With another prefix comes another IPv4 address or PSID, and no session of the
 * old ones lives on: begin anew, with a table that is empty (RFC 7596 5.1). */
static bool
has_moved(struct mape *m)
{
	char text[IP_PREFIX_TEXT_MAX], why[96];
	struct ip_prefix to;

	if (m->s.conf->prefix.addr.family != FAMILY_NONE || m->two_lines ||
	    m->ticks++ % TICKS_TO_LOOK != 0 || !ce_line_moved(&m->line, &to))
		return false;
	snprintf(why, sizeof(why), "the line's prefix is %s now",
	    ip_prefix_format(&to, text));
	end(m, why);
	return true;
}

static void
on_tick(void *arg)
{
	struct mape *m = arg;

	if (m->ended)
		return;
	if (wire_gone(m->wire)) {
		link_gone(m);
		return;
	}
	if (has_moved(m))
		return;
	follow_mtu(m);
	ce_tick(m->ce, clock_now().mono_ns);
	watch_after(m->timer, TICK);
}

/* ---- the MAP address ---- */

static void
on_claim(void *arg, enum ce_claim_state state, const char *why)
{
	struct mape *m = arg;

	m->claim = state;
	if (m->opening) {
		m->settled = state != CE_CLAIM_WAITING;
		if (state == CE_CLAIM_REFUSED)
			diag_error(m->why, "%s", why);
		return;
	}
	if (state != CE_CLAIM_REFUSED)
		return;
	end(m, why);
}

static void
on_patience(void *arg)
{
	struct mape *m = arg;

	m->settled = true;
}

static int
claim_address(struct mape *m, struct diag *d)
{
	const struct ce_address_conf c = {
	    .ifindex = m->path.ifindex,
	    .address = m->line.ce.address,
	    .n = m->s.n,
	    .u = m->s.undo,
	    .changed = on_claim,
	    .arg = m,
	};
	int err = ce_address_open(&m->address, m->s.loop, &c, d);

	if (err < 0)
		return err;
	m->patience = watch_timer(m->s.loop, on_patience, m);
	if (m->patience == NULL)
		return UK_ENOMEM;
	watch_after(m->patience, CLAIM_PATIENCE);
	m->opening = true;
	m->why = d;
	while (!m->settled)
		uv_run(m->s.loop, UV_RUN_ONCE);
	m->opening = false;
	watch_close(m->patience);
	m->patience = NULL;
	if (m->claim == CE_CLAIM_REFUSED)
		return UK_EBUSY;
	if (m->claim == CE_CLAIM_WAITING)
		diag_warn(d,
		    "%s has no carrier yet: MAP-E begins to work when it has",
		    m->link);
	return 0;
}

/* ---- the steps, in the order of the table below ---- */

static int
find_line(struct mape *m, struct diag *d)
{
	return ce_line_find(&m->line, m->s.conf, d);
}

static int
find_link(struct mape *m, struct diag *d)
{
	const char *name = m->s.conf->link;
	const struct ip_addr *br = &m->line.rule.br;
	char text[IP_ADDR_TEXT_MAX];

	if (netcfg_path(m->s.n, br, m->s.mark, &m->path) < 0) {
		diag_error(d,
		    "there is no route to the border relay %s: is IPv6 up?",
		    ip_addr_format(br, text));
		return UK_ENOENT;
	}
	if (if_indextoname(m->path.ifindex, m->link) == NULL)
		return UK_ENOENT;
	if (name[0] != '\0' && strcmp(name, m->link) != 0) {
		if (netcfg_link_index(m->s.n, name, &m->path.ifindex) < 0) {
			diag_error(d,
			    "[MapE] Link = %s: there is no such interface",
			    name);
			return UK_ENOENT;
		}
		diag_warn(d,
		    "[MapE] Link = %s, but the route to the border relay %s "
		    "is by %s",
		    name, ip_addr_format(br, text), m->link);
		memcpy(m->link, name, sizeof(m->link));
	}
	m->path.mtu = line_mtu(m->path.mtu);
	return 0;
}

static int
open_tun(struct mape *m, struct diag *d)
{
	const struct tun_conf c = {.name = MAPE_IFNAME,
	    .fd = -1,
	    .mtu = m->path.mtu - IPIP6_HLEN,
	    .headroom = HEADROOM};
	unsigned other;
	int err;

	if (netcfg_link_index(m->s.n, MAPE_IFNAME, &other) == 0) {
		diag_error(d,
		    "an interface %s exists already: another tunnel may be "
		    "this line's CE (`ukai status`)",
		    MAPE_IFNAME);
		return UK_EBUSY;
	}
	err = tun_open(&m->tun, &c, d);
	if (err == 0)
		m->ifindex = tun_ifindex(m->tun);
	return err;
}

static int
open_ce(struct mape *m, struct diag *d)
{
	const struct mape_conf *conf = m->s.conf;
	const struct map_ce *line = &m->line.ce;
	size_t n = conf->forwards.n;
	struct ce_conf c = {
	    .ipip6 = {.ports = line->ports,
		.fmr = m->line.domain.item,
		.n = m->line.domain.n},
	    .link_mtu = m->path.mtu,
	    .network = conf->networks.item,
	    .networks = conf->networks.n,
	};
	int err;

	memcpy(c.ipip6.address, line->address.b, 16);
	memcpy(c.ipip6.br, m->line.rule.br.b, 16);
	memcpy(c.ipip6.ipv4, line->ipv4.addr.b, 4);
	nat44_conf_default(&c.nat, &line->ports);
	memcpy(c.nat.address, line->ipv4.addr.b, 4);
	c.nat.random = randombytes_buf;
	c.nat.mss = (uint16_t)(m->path.mtu - IPIP6_HLEN - 40);
	if (conf->sessions != 0)
		c.nat.sessions_max = conf->sessions;
	if (conf->sessions != 0 || conf->host_sessions != 0)
		c.nat.host_sessions_max = conf->host_sessions != 0
					      ? conf->host_sessions
					      : conf->sessions;
	if (conf->host_ports != 0)
		c.nat.host_ports_max = conf->host_ports;
	m->forward = calloc(n + 1, sizeof(*m->forward));
	if (m->forward == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < n; i++)
		m->forward[i] = conf->forwards.item[i].f;
	c.nat.forward = m->forward;
	c.nat.forwards = n;
	err = ce_new(&m->ce, &c);
	if (err == UK_EINVAL)
		diag_error(d, "[MapE]: the limits make no sense");
	return err;
}

static int
open_wire(struct mape *m, struct diag *d)
{
	struct wire_conf c = {
	    .ifindex = m->path.ifindex, .tun = m->tun, .mark = m->s.mark};

	memcpy(c.address, m->line.ce.address.b, 16);
	return wire_open(&m->wire, &c, d);
}

/* The MAP address is for MAP-E alone, which has its packets before any rule has
 * them. No service of this host is to be had by it, and where the kernel knows
 * tunnels of its own (ip6_tunnel) it would refuse each packet to the BR. What
 * comes to our IPv4 address on another link than ours is a neighbour's who
 * tries it out (R1, CVE-2019-14899). */
static int
open_guard(struct mape *m, struct diag *d)
{
	static const struct ip_addr host = {
	    .family = FAMILY_V4, .b = CE_HOST_ADDRESS};
	char address[IP_ADDR_TEXT_MAX], inside[IP_ADDR_TEXT_MAX];
	struct text body = {.s = NULL};
	int err = hostfw_open(&m->guard, d);

	if (err < 0)
		return err;
	ip_addr_format(&m->line.ce.address, address);
	text_add(&body,
	    "chain prerouting {\n"
	    "type filter hook prerouting priority -450; policy accept;\n"
	    "ip6 daddr %s meta l4proto != ipv6-icmp drop\n"
	    "ip6 daddr %s exthdr frag exists drop\n"
	    "iifname != \"%s\" ip daddr %s fib saddr type != local drop\n"
	    "}\n",
	    address, address, MAPE_IFNAME, ip_addr_format(&host, inside));
	err = body.failed ? UK_ENOMEM
			  : hostfw_apply(m->guard, MAPE_IFNAME, body.s, d);
	text_fini(&body);
	return err;
}

static int
open_link(struct mape *m, struct diag *d)
{
	static const struct ip_ifaddr own = {
	    .addr = {.family = FAMILY_V4, .b = CE_HOST_ADDRESS}, .bits = 32};

	link_loosen(MAPE_IFNAME);
	return link_up(m->s.n, m->ifindex, MAPE_IFNAME, &own, 1, d);
}

static int
add_routes(struct mape *m, struct diag *d)
{
	int err = route_all(m, d);

	if (err == 0 && m->s.conf->networks.n > 0)
		err = undo_sysctl(m->s.undo, "net/ipv4/ip_forward", "1", d);
	return err;
}

static int
start(struct mape *m, struct diag *d)
{
	struct ip_prefix other;

	(void)d;
	m->two_lines = ce_line_moved(&m->line, &other);
	m->tun_watch = watch_fd(m->s.loop, tun_fd(m->tun), on_tun, NULL, m);
	m->event_watch =
	    watch_fd(m->s.loop, tun_event_fd(m->tun), on_event, NULL, m);
	m->wire_watch = watch_fd(m->s.loop, wire_fd(m->wire), on_wire, NULL, m);
	m->timer = watch_timer(m->s.loop, on_tick, m);
	if (m->tun_watch == NULL || m->event_watch == NULL ||
	    m->wire_watch == NULL || m->timer == NULL)
		return UK_ENOMEM;
	watch_wait(m->tun_watch, true, false);
	watch_wait(m->event_watch, true, false);
	watch_wait(m->wire_watch, true, false);
	watch_after(m->timer, TICK);
	return 0;
}

static int (*const steps[])(struct mape *m, struct diag *d) = {
    find_line,
    find_link,
    open_ce,
    claim_address, /* before anything of the host changes */
    open_tun,
    open_wire,
    open_guard,
    open_link,
    add_routes,
    start,
};

int
mape_open(struct mape **out, const struct mape_setup *s, struct diag *d)
{
	struct mape *m = calloc(1, sizeof(*m));
	int err = m != NULL ? 0 : UK_ENOMEM;

	if (m != NULL)
		m->s = *s;
	for (size_t i = 0; i < ARRAY_LEN(steps) && err == 0; i++)
		err = steps[i](m, d);
	if (err < 0) {
		mape_close(m);
		return err;
	}
	*out = m;
	return 0;
}

void
mape_close(struct mape *m)
{
	if (m == NULL)
		return;
	watch_close(m->tun_watch);
	watch_close(m->event_watch);
	watch_close(m->wire_watch);
	watch_close(m->timer);
	watch_close(m->patience);
	hostfw_close(m->guard);
	wire_close(m->wire);
	ce_address_close(m->address);
	tun_close(m->tun);
	ce_free(m->ce);
	ce_line_fini(&m->line);
	free(m->forward);
	free(m);
}

void
mape_stats(struct mape *m, struct mape_stats *out)
{
	*out = (struct mape_stats){.line = &m->line};
	memcpy(out->link, m->link, sizeof(out->link));
	ce_stats(m->ce, &out->ce);
	ce_address_stats(m->address, &out->address);
	wire_stats(m->wire, &out->wire);
}

void
mape_short(const struct mape *m, uint32_t below,
    void (*visit)(void *arg, const struct nat44_shortage *s), void *arg)
{
	ce_short(m->ce, below, visit, arg);
}

uint64_t
mape_refused(const struct mape *m)
{
	return ce_refused(m->ce);
}
