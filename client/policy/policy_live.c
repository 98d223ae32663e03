#include <stdlib.h>

#include "core/err.h"
#include "host/sock_destroy.h"
#include "io/clock.h"
#include "io/tunnel.h"
#include "mark.h"
#include "policy_state.h"

/* Each pass has the kernel walk over all of its flows. */
#define FORGOTTEN_AT_ONCE 32768
/* Somebody who begins flows all the time does not keep us for ever. */
#define PASSES_MAX 64

struct forgetting {
	struct flows *flows;
	uint32_t mark, mask; /* of flows that are meant */
	bool waiting; /* only while they have no answer */
	struct sock_destroy *sockets; /* end those of this host; NULL: do not */
	struct flow_tuple *flow;
	size_t n;
};

static bool
on_flow(void *arg, const struct flow_entry *e)
{
	struct forgetting *f = arg;

	if (!f->waiting || !e->answered)
		f->flow[f->n++] = e->original;
	return f->n < FORGOTTEN_AT_ONCE;
}

/* Who began it may be either end. */
static void
end_socket(struct sock_destroy *s, const struct flow_tuple *t)
{
	const struct flow_tuple back = {.src = t->dst,
	    .dst = t->src,
	    .sport = t->dport,
	    .dport = t->sport,
	    .protocol = t->protocol};

	if (s != NULL && sock_destroy_tcp(s, t) < 0)
		(void)sock_destroy_tcp(s, &back);
}

/* Returns whether there may be more. */
static bool
forget_some(struct forgetting *f, uint8_t family)
{
	size_t forgotten = 0;

	f->n = 0;
	(void)flows_each(f->flows, family, f->mark, f->mask, on_flow, f);
	for (size_t i = 0; i < f->n; i++) {
		end_socket(f->sockets, &f->flow[i]);
		forgotten += flows_delete(f->flows, &f->flow[i]) == 0;
	}
	return f->n == FORGOTTEN_AT_ONCE && forgotten > 0;
}

static void
forget(struct forgetting *f)
{
	static const uint8_t family[] = {FAMILY_V4, FAMILY_V6};

	f->flow = malloc(FORGOTTEN_AT_ONCE * sizeof(*f->flow));
	for (size_t i = 0; f->flow != NULL && i < ARRAY_LEN(family); i++)
		for (unsigned n = 0; n < PASSES_MAX; n++)
			if (!forget_some(f, family[i]))
				break;
	free(f->flow);
}

/* In a worker thread: with a few hundred thousand flows it takes seconds. */
static void
forget_waiting(uv_work_t *w)
{
	struct policy *p = w->data;
	/* What both decisions have in common. */
	struct forgetting f = {.flows = p->flows,
	    .mark = MARK_TUNNEL & MARK_TUNNEL_ONLY,
	    .mask = MARK_DECISION_MASK & ~(MARK_TUNNEL ^ MARK_TUNNEL_ONLY),
	    .waiting = true};

	forget(&f);
}

static void
has_forgotten(uv_work_t *w, int status)
{
	struct policy *p = w->data;

	(void)status; /* nobody cancels it */
	p->forgetting = false;
}

/* What still waits for its first answer from the tunnel is decided on anew,
 * with its next packet. Not now: the next turn tries again. */
static void
begin_forgetting(struct policy *p)
{
	if (p->forgetting)
		return;
	p->forget.data = p;
	p->forgetting = uv_queue_work(p->s.loop, &p->forget, forget_waiting,
			    has_forgotten) == 0;
	p->to_forget = !p->forgetting;
}

/* As the kernel has it, or is to have it. */
static int
put_live(struct policy *p, bool live, struct diag *d)
{
	static const uint8_t key[] = {2, 10}; /* NFPROTO_IPV4, _IPV6 */
	struct hostfw_change c[ARRAY_LEN(key)];
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < ARRAY_LEN(key); i++) {
		if (!policy_takes(p, i == 0 ? FAMILY_V4 : FAMILY_V6))
			continue;
		c[n++] = (struct hostfw_change){.set = POLICY_NFT_LIVE,
		    .add = live,
		    .key = {key[i]},
		    .key_len = 1};
	}
	if (n > 0)
		err = policy_kernel_change(p->kernel, c, n, d);
	if (err == 0)
		p->live = live;
	return err;
}

static void
set_live(struct policy *p, bool live)
{
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = put_live(p, live, &d);
	if (err == UK_EAGAIN)
		return; /* the next turn tries again */
	if (err < 0) {
		log_limited(&p->complaint, clock_now().mono_ns, LOG_WARN,
		    "the policy cannot follow the relay: %s",
		    d.n > 0 ? d.entry[0].text : "no reason is known");
		return;
	}
	log_msg(LOG_INFO, "%s: %s", p->s.name,
	    live ? "the relay answers: flows take the tunnel again"
		 : "the relay does not answer: new flows stay on the line, and "
		   "those of tunnel! are refused");
	p->to_forget = !live;
}

/* Their resets go through the tunnel, for which the loop has to turn. */
#define LAST_TURNS 4

void
policy_end_flows(struct policy *p)
{
	struct forgetting f = {.flows = p->flows,
	    .mark = p->s.routes->answer_mark,
	    .mask = ROUTES_ANSWER_MASK};

	if (p->live)
		(void)put_live(p, false, NULL);
	(void)sock_destroy_open(&f.sockets);
	forget(&f);
	sock_destroy_close(f.sockets);
	for (unsigned i = 0; i < LAST_TURNS; i++)
		uv_run(p->s.loop, UV_RUN_NOWAIT);
}

static bool
look_at_peers(struct policy *p)
{
	struct wg_device *dev = tunnel_hold(p->tunnel);
	struct uk_time now = clock_now();
	struct wg_peer *peer = NULL;
	bool live = false;

	for (size_t i = 0; i < p->peers; i++) {
		struct wg_peer_info info;
		struct failover_peer f;

		peer = wg_device_next_peer(dev, peer);
		if (peer == NULL)
			break;
		wg_peer_info(peer, now.mono_ns, &info);
		f = (struct failover_peer){.handshakes = info.handshakes,
		    .rx_bytes = info.rx_bytes,
		    .tx_data = info.tx_data};
		if (failover_step(&p->peer[i], now.mono_ns, &f))
			wg_peer_ask(peer);
		live |= p->peer[i].state == FAILOVER_LIVE;
	}
	tunnel_release(p->tunnel);
	return live;
}

void
policy_follow_peers(struct policy *p)
{
	bool live = look_at_peers(p);

	if (live != p->live)
		set_live(p, live);
	if (p->to_forget)
		begin_forgetting(p);
}
