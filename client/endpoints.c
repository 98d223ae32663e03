#include "endpoints.h"

#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/watch.h"
#include "refresh.h"
#include "resolve.h"

/* How long `up` waits for a name before it goes on without. */
#define WAIT_AT_START (5 * UK_NS_PER_S)

struct place {
	struct endpoints *all;
	const struct conf_wg_peer *peer;
	struct endpoint now; /* what we set last */
	bool asking;
	bool complained; /* that the name is not found */
	struct refresh refresh;
};

struct endpoints {
	struct resolve *resolve; /* NULL: there are no names */
	struct netcfg *n;
	uint32_t mark;
	struct tunnel *tunnel; /* NULL: not there yet */
	struct watch *timer; /* end of waiting, then the next look */
	bool waited_enough;
	struct place *place;
	size_t nplaces;
};

const struct ip_addr *
endpoints_choose(
    const struct ip_addr *a, size_t n, const struct ip_addr *current)
{
	for (size_t i = 0; i < n; i++)
		if (ip_addr_equal(&a[i], current))
			return &a[(i + 1) % n];
	return &a[0];
}

/* Leave out what the host has no route to: a name with an IPv6 address is no
 * reason to try it on a line without IPv6. Returns how many are left. */
static size_t
keep_reachable(struct endpoints *e, struct ip_addr *a, size_t n)
{
	struct netcfg_path path;
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (netcfg_path(e->n, &a[i], e->mark, &path) == 0)
			a[kept++] = a[i];
	return kept;
}

static struct wg_peer *
peer_of(struct wg_device *dev, const struct place *p)
{
	struct wg_key key;

	memcpy(key.b, p->peer->public_key.b, sizeof(key.b));
	return wg_device_find(dev, &key);
}

/* Where the peer is now: it may have roamed, or been set by wg(8). */
static struct ip_addr
current(const struct place *p)
{
	struct wg_peer_info info = {.endpoint = p->now};
	struct wg_peer *peer;

	if (p->all->tunnel == NULL)
		return p->now.addr;
	peer = peer_of(tunnel_hold(p->all->tunnel), p);
	if (peer != NULL)
		wg_peer_info(peer, clock_now().mono_ns, &info);
	tunnel_release(p->all->tunnel);
	return info.endpoint.addr;
}

static void
set(struct place *p, const struct ip_addr *to)
{
	char text[ENDPOINT_TEXT_MAX];
	struct wg_peer *peer;

	p->now =
	    (struct endpoint){.addr = *to, .port = p->peer->endpoint.addr.port};
	if (p->all->tunnel == NULL)
		return;
	peer = peer_of(tunnel_hold(p->all->tunnel), p);
	if (peer != NULL)
		wg_peer_set_endpoint(peer, &p->now);
	tunnel_release(p->all->tunnel);
	if (peer != NULL)
		log_msg(LOG_INFO, "%s is tried at %s now",
		    p->peer->endpoint.host, endpoint_format(&p->now, text));
}

static void
not_found(struct place *p, const char *why)
{
	refresh_failed(&p->refresh, clock_now().mono_ns);
	if (p->complained)
		return;
	p->complained = true;
	log_msg(LOG_WARN, "cannot look up %s: %s; going on to try",
	    p->peer->endpoint.host, why);
}

static void
on_found(void *arg, const struct ip_addr *a, size_t n, const char *why)
{
	struct place *p = arg;
	struct ip_addr list[RESOLVE_MAX], now = current(p);
	const struct ip_addr *next;
	size_t reachable;

	p->asking = false;
	if (n == 0) {
		not_found(p, why);
		return;
	}
	memcpy(list, a, n * sizeof(*a));
	reachable = keep_reachable(p->all, list, n);
	next = reachable > 0 ? endpoints_choose(list, reachable, &now)
			     : endpoints_choose(a, n, &now);
	refresh_found(&p->refresh, clock_now().mono_ns);
	p->complained = false;
	if (!ip_addr_equal(next, &now))
		set(p, next);
}

static void
ask(struct place *p)
{
	p->asking = true;
	resolve_ask(p->all->resolve, p->peer->endpoint.host, on_found, p);
}

static void
look(struct place *p, struct wg_device *dev, uint64_t now_ns)
{
	struct wg_peer *peer = peer_of(dev, p);
	struct refresh_peer seen;
	struct wg_peer_info info;

	if (p->peer->endpoint.host == NULL || p->asking || peer == NULL)
		return;
	wg_peer_info(peer, now_ns, &info);
	seen = (struct refresh_peer){
	    .known = info.endpoint.addr.family != FAMILY_NONE,
	    .handshake = info.last_handshake_wall_ns,
	    .tx_bytes = info.tx_bytes,
	    .rx_bytes = info.rx_bytes,
	};
	if (refresh_due(&p->refresh, now_ns, &seen))
		ask(p);
}

static void
on_timer(void *arg)
{
	struct endpoints *e = arg;
	uint64_t now_ns = clock_now().mono_ns;
	struct wg_device *device;

	if (e->tunnel == NULL) {
		e->waited_enough = true;
		return;
	}
	device = tunnel_hold(e->tunnel);
	for (size_t i = 0; i < e->nplaces; i++)
		look(&e->place[i], device, now_ns);
	tunnel_release(e->tunnel);
	watch_after(e->timer, REFRESH_EVERY);
}

static bool
any_asking(const struct endpoints *e)
{
	for (size_t i = 0; i < e->nplaces; i++)
		if (e->place[i].asking)
			return true;
	return false;
}

static int
place_init(struct place *p, const struct conf_wg_peer *peer, struct diag *d)
{
	const struct conf_wg_endpoint *e = &peer->endpoint;

	p->peer = peer;
	refresh_init(&p->refresh);
	p->now = e->addr;
	if (e->scope[0] == '\0')
		return 0;
	p->now.scope_id = if_nametoindex(e->scope);
	if (p->now.scope_id != 0)
		return 0;
	diag_add(d, DIAG_ERROR, peer->line, 0,
	    "the Endpoint of this peer is on the interface \"%s\", which is "
	    "not there",
	    e->scope);
	return UK_ENOENT;
}

static int
look_up_all(struct endpoints *e, uv_loop_t *loop, struct diag *d)
{
	int err = resolve_open(&e->resolve, loop, e->mark, d);

	if (err < 0)
		return err;
	for (size_t i = 0; i < e->nplaces; i++)
		if (e->place[i].peer->endpoint.host != NULL)
			ask(&e->place[i]);
	watch_after(e->timer, WAIT_AT_START);
	while (any_asking(e) && !e->waited_enough)
		uv_run(loop, UV_RUN_ONCE);
	watch_after(e->timer, UK_NEVER);
	for (size_t i = 0; i < e->nplaces; i++)
		if (e->place[i].asking)
			not_found(&e->place[i], "no answer yet");
	return 0;
}

int
endpoints_open(struct endpoints **out, uv_loop_t *loop,
    const struct client_conf *conf, struct netcfg *n, uint32_t mark,
    struct diag *d)
{
	struct endpoints *e = calloc(1, sizeof(*e));
	bool names = false;
	int err = UK_ENOMEM;

	if (e == NULL)
		return UK_ENOMEM;
	e->n = n;
	e->mark = mark;
	e->timer = watch_timer(loop, on_timer, e);
	e->place = calloc(conf->peers.n + 1, sizeof(*e->place));
	if (e->timer == NULL || e->place == NULL)
		goto close_e;
	for (size_t i = 0; i < conf->peers.n; i++) {
		struct place *p = &e->place[e->nplaces++];

		p->all = e;
		err = place_init(p, &conf->peers.item[i], d);
		if (err < 0)
			goto close_e;
		names |= p->peer->endpoint.host != NULL;
	}
	err = names ? look_up_all(e, loop, d) : 0;
	if (err < 0)
		goto close_e;
	*out = e;
	return 0;

close_e:
	endpoints_close(e);
	return err;
}

void
endpoints_close(struct endpoints *e)
{
	if (e == NULL)
		return;
	resolve_close(e->resolve);
	watch_close(e->timer);
	free(e->place);
	free(e);
}

const struct endpoint *
endpoints_get(const struct endpoints *e, size_t i)
{
	return &e->place[i].now;
}

void
endpoints_watch(struct endpoints *e, struct tunnel *t)
{
	e->tunnel = t;
	if (e->resolve != NULL)
		watch_after(e->timer, REFRESH_EVERY);
}
