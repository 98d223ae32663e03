#include "core/err.h"
#include "core/ip.h"
#include "wg_state.h"

#include <stdlib.h>

static uint8_t
packet_tos(const struct pbuf *packet)
{
	struct ip_view v;

	if (ip_parse_fixed(&v, pbuf_data(packet), packet->len) != 0)
		return 0;
	return ip_ecn_encap(v.tos);
}

/* Send the oldest queued packet; it lives on until the next call. */
static bool
flush_one(struct wg_peer *p, struct wg_session *s, struct uk_time now,
    struct dgram *out)
{
	struct wg_device *d = p->device;
	struct wg_queued *q = p->queue_head;

	p->queue_head = q->next;
	if (!p->queue_head)
		p->queue_tail = NULL;
	p->queued--;
	d->queued--;
	d->in_flight = q;
	return wg_data_seal(p, s, now, &q->buf, packet_tos(&q->buf), out);
}

static bool
send_keepalive(struct wg_peer *p, struct wg_session *s, struct uk_time now,
    struct dgram *out)
{
	struct wg_device *d = p->device;
	struct pbuf empty =
	    pbuf_make(d->out, sizeof(d->out), WG_SEAL_HEADROOM, 0);

	p->wishes &= ~(unsigned)WG_WISH_KEEPALIVE;
	return wg_data_seal(p, s, now, &empty, 0, out);
}

/* One step for a peer. A queued packet does for the keepalive. */
static bool
serve(struct wg_peer *p, struct uk_time now, struct dgram *out)
{
	struct wg_session *s = wg_peer_sender(p, now.mono_ns);

	if (p->wishes & WG_WISH_INITIATE) {
		p->wishes &= ~(unsigned)WG_WISH_INITIATE;
		return wg_handshake_initiate(p, now, out);
	}
	if (!s || p->endpoint.addr.family == FAMILY_NONE) {
		p->wishes = 0;
		if (!s)
			wg_peer_want_session(p, false, now.mono_ns);
		return false;
	}
	if (p->queue_head) {
		p->wishes &= ~(unsigned)WG_WISH_KEEPALIVE;
		p->wishes |= WG_WISH_FLUSH;
		return flush_one(p, s, now, out);
	}
	p->wishes &= ~(unsigned)WG_WISH_FLUSH;
	if (p->wishes & WG_WISH_KEEPALIVE)
		return send_keepalive(p, s, now, out);
	return false;
}

/* One step for the peer that has waited longest; then it queues up again, so
 * that one long queue does not hold the others up. */
static bool
serve_next(struct wg_device *d, struct uk_time now, struct dgram *out)
{
	struct wg_peer *p = d->wish_first;
	bool sent = serve(p, now, out);
	unsigned left = p->wishes;

	wg_peer_unwish(p);
	if (left)
		wg_peer_wish(p, left);
	return sent;
}

/* Others' handshakes and our own wishes take turns: a flood of the former must
 * not silence sessions that exist. */
int
wg_device_next(struct wg_device *d, struct uk_time now, struct dgram *out)
{
	bool own_turn = d->handshake_was_last || d->pending_count == 0;

	free(d->in_flight);
	d->in_flight = NULL;
	if (d->wish_first && own_turn) {
		d->handshake_was_last = false;
		return serve_next(d, now, out) ? 1 : UK_EAGAIN;
	}
	if (d->pending_count == 0)
		return 0;
	d->handshake_was_last = true;
	return wg_handshake_next(d, now, out);
}

bool
wg_device_is_flushing(const struct wg_device *d, uint64_t now_ns)
{
	for (const struct wg_peer *p = d->wish_first; p; p = p->wish_next)
		if (p->queue_head && wg_peer_sender(p, now_ns))
			return true;
	return false;
}

uint64_t
wg_device_deadline(const struct wg_device *d)
{
	return timerq_deadline(&d->timers);
}

static void
act(struct wg_peer *p, unsigned todo, uint64_t now_ns)
{
	if (todo & WG_DO_FORGET_SOURCE)
		p->endpoint.src.family = FAMILY_NONE;
	if (todo & WG_DO_DROP_QUEUE) {
		wg_peer_drop_queue(p);
		wg_peer_end_handshake(p);
	}
	if (todo & WG_DO_ZERO_KEYS) {
		wg_peer_end_handshake(p);
		wg_peer_end_sessions(p);
	}
	if (todo & (WG_DO_INITIATE | WG_DO_NEW_SESSION))
		wg_peer_want_session(p, !(todo & WG_DO_NEW_SESSION), now_ns);
	if (todo & WG_DO_KEEPALIVE)
		wg_peer_wish(p, WG_WISH_KEEPALIVE);
}

void
wg_device_tick(struct wg_device *d, struct uk_time now)
{
	struct timerq_node *n;

	while ((n = timerq_pop(&d->timers, now.mono_ns))) {
		struct wg_peer *p = CONTAINER_OF(n, struct wg_peer, timer);

		act(p,
		    wg_timers_expire(&p->timers, &d->conf.times, now.mono_ns),
		    now.mono_ns);
		wg_peer_rearm(p);
	}
}
