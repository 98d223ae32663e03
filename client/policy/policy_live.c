#include "core/err.h"
#include "io/clock.h"
#include "io/tunnel.h"
#include "mark.h"
#include "policy_state.h"

#define FORGOTTEN_AT_ONCE 512

struct forgetting {
	struct flow_tuple flow[FORGOTTEN_AT_ONCE];
	size_t n;
};

static bool
on_waiting(void *arg, const struct flow_entry *e)
{
	struct forgetting *f = arg;

	if (!e->answered)
		f->flow[f->n++] = e->original;
	return f->n < ARRAY_LEN(f->flow);
}

/* Returns how many. */
static size_t
forget_some(struct policy *p, uint8_t family, uint32_t mark)
{
	struct forgetting f = {.n = 0};
	size_t n = 0;

	(void)flows_each(
	    p->flows, family, mark, MARK_DECISION_MASK, on_waiting, &f);
	for (size_t i = 0; i < f.n; i++)
		n += flows_delete(p->flows, &f.flow[i]) == 0;
	return n;
}

/* What still waits for its first answer from the tunnel is decided on anew,
 * with its next packet. */
static void
forget_waiting(struct policy *p)
{
	static const uint8_t family[] = {FAMILY_V4, FAMILY_V6};
	static const uint32_t mark[] = {MARK_TUNNEL, MARK_TUNNEL_ONLY};

	for (size_t i = 0; i < ARRAY_LEN(family) * ARRAY_LEN(mark); i++)
		while (forget_some(p, family[i % 2], mark[i / 2]) ==
		       FORGOTTEN_AT_ONCE)
			continue;
}

static void
set_live(struct policy *p, bool live)
{
	static const uint8_t key[] = {2, 10}; /* NFPROTO_IPV4, _IPV6 */
	struct hostfw_change c[ARRAY_LEN(key)];
	struct diag d;
	size_t n = 0;

	if (policy_kernel_is_busy(p->kernel) || p->putting)
		return; /* the next turn tries again */
	for (size_t i = 0; i < ARRAY_LEN(key); i++) {
		if (!policy_takes(p, i == 0 ? FAMILY_V4 : FAMILY_V6))
			continue;
		c[n++] = (struct hostfw_change){.table = p->s.table,
		    .set = POLICY_NFT_LIVE,
		    .add = live,
		    .key = {key[i]},
		    .key_len = 1};
	}
	diag_init(&d, NULL);
	if (n > 0 && hostfw_elements(p->s.firewall, c, n, &d) < 0) {
		log_limited(&p->complaint, clock_now().mono_ns, LOG_WARN,
		    "the policy cannot follow the relay: %s",
		    d.n > 0 ? d.entry[0].text : "no reason is known");
		return;
	}
	p->live = live;
	log_msg(LOG_INFO, "%s: %s", p->s.name,
	    live ? "the relay answers: flows take the tunnel again"
		 : "the relay does not answer: new flows stay on the line, and "
		   "those of tunnel! are refused");
	if (!live)
		forget_waiting(p);
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
}
