#include "core/err.h"
#include "core/ip.h"
#include "wg_state.h"

#include <stdlib.h>

void
wg_own_address(struct wg_own *own, const struct endpoint *to,
    const uint8_t index[4], uint8_t tos)
{
	own->to = *to;
	own->had_source = index && to->src.family != FAMILY_NONE;
	if (index)
		memcpy(own->index, index, sizeof(own->index));
	own->dgram.ep = &own->to;
	own->dgram.tos = tos;
}

void
wg_forget_source(struct wg_device *d, const uint8_t index[4],
    const struct endpoint *to, bool had_source)
{
	struct wg_index *i;

	if (!had_source || to->src.family != FAMILY_NONE)
		return;
	i = wg_index_find(&d->indices, index);
	if (i)
		i->peer->endpoint.src = to->src;
}

/* What own held has been sent or given up. */
static void
reclaim(struct wg_device *d, struct wg_own *own)
{
	wg_forget_source(d, own->index, &own->to, own->had_source);
	own->had_source = false;
	wg_own_fini(own);
}

void
wg_own_fini(struct wg_own *own)
{
	free(own->queued);
	own->queued = NULL;
}

/* Seal the packet in own->dgram for the peer. */
static bool
seal(struct wg_peer *p, struct wg_session *s, struct uk_time now,
    struct wg_own *own, uint8_t tos)
{
	struct wg_device *d = p->device;
	bool keepalive = own->dgram.buf.len == 0;
	struct aead_op op;

	wg_session_seal(s, s->send_counter++, d->mtu, &own->dgram.buf, &op);
	aead_seal(d->engine, &op, 1);
	aead_engine_forget(d->engine);
	if (op.err != 0) {
		wg_drop(d, WG_DROP_CRYPTO);
		return false;
	}
	wg_own_address(own, &p->endpoint, s->index.wire, tos);
	p->tx_bytes += own->dgram.buf.len;
	wg_data_sent(p, s, keepalive, now.mono_ns);
	return true;
}

static uint8_t
packet_tos(const struct pbuf *packet)
{
	struct ip_view v;

	if (ip_parse_fixed(&v, pbuf_data(packet), packet->len) != 0)
		return 0;
	return ip_ecn_encap(v.tos);
}

/* Send the oldest queued packet; own keeps it. */
static bool
flush_one(struct wg_peer *p, struct wg_session *s, struct uk_time now,
    struct wg_own *own)
{
	struct wg_queued *q = p->queue_head;

	p->queue_head = q->next;
	if (!p->queue_head)
		p->queue_tail = NULL;
	p->queued--;
	p->device->queued--;
	own->queued = q;
	own->dgram.buf = q->buf;
	return seal(p, s, now, own, packet_tos(&q->buf));
}

static bool
send_keepalive(struct wg_peer *p, struct wg_session *s, struct uk_time now,
    struct wg_own *own)
{
	p->wishes &= ~(unsigned)WG_WISH_KEEPALIVE;
	own->dgram.buf =
	    pbuf_make(own->room, sizeof(own->room), WG_SEAL_HEADROOM, 0);
	return seal(p, s, now, own, 0);
}

/* One step for a peer. A queued packet does for the keepalive. */
static bool
serve(struct wg_peer *p, struct uk_time now, struct wg_own *own)
{
	struct wg_session *s = wg_peer_sender(p, now.mono_ns);

	if (p->wishes & WG_WISH_INITIATE) {
		p->wishes &= ~(unsigned)WG_WISH_INITIATE;
		return wg_handshake_initiate(p, now, own);
	}
	if (p->wishes & WG_WISH_ASK) {
		p->wishes &= ~(unsigned)WG_WISH_ASK;
		return wg_handshake_ask(p, now, own);
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
		return flush_one(p, s, now, own);
	}
	p->wishes &= ~(unsigned)WG_WISH_FLUSH;
	if (p->wishes & WG_WISH_KEEPALIVE)
		return send_keepalive(p, s, now, own);
	return false;
}

/* One step for the peer that has waited longest; then it queues up again, so
 * that one long queue does not hold the others up. */
static bool
serve_next(struct wg_device *d, struct uk_time now, struct wg_own *own)
{
	struct wg_peer *p = d->wish_first;
	bool sent = serve(p, now, own);
	unsigned left = p->wishes;

	wg_peer_unwish(p);
	if (left)
		wg_peer_wish(p, left);
	return sent;
}

/* Others' handshakes and our own wishes take turns: a flood of the former must
 * not silence sessions that exist. */
int
wg_device_next(struct wg_device *d, struct uk_time now, struct wg_own *own)
{
	bool others = d->pending_count > 0 && !own->no_handshakes;
	bool own_turn = d->handshake_was_last || !others;

	now = wg_now(d, now);
	reclaim(d, own);
	if (d->wish_first && own_turn) {
		d->handshake_was_last = false;
		return serve_next(d, now, own) ? 1 : UK_EAGAIN;
	}
	if (!others)
		return 0;
	d->handshake_was_last = true;
	return wg_handshake_next(d, now, own);
}

unsigned
wg_device_handshakes(const struct wg_device *d)
{
	return d->pending_count;
}

bool
wg_device_is_flushing(const struct wg_device *d, uint64_t now_ns)
{
	if (d->queued == 0)
		return false;
	now_ns = wg_now_ns(d, now_ns);
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

	now = wg_now(d, now);
	while ((n = timerq_pop(&d->timers, now.mono_ns))) {
		struct wg_peer *p = CONTAINER_OF(n, struct wg_peer, timer);

		act(p,
		    wg_timers_expire(&p->timers, &d->conf.times, now.mono_ns),
		    now.mono_ns);
		wg_peer_rearm(p);
	}
}
