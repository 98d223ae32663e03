#include "core/x25519.h"
#include "wg_state.h"

#include <sodium.h>
#include <stdlib.h>

struct wg_session *
wg_peer_sender(const struct wg_peer *p, uint64_t now_ns)
{
	struct wg_session *s = p->current;

	if (!s || s->send_counter >= WG_REJECT_AFTER_MESSAGES ||
	    now_ns - s->born_ns >= p->device->conf.times.reject_after_ns)
		return NULL;
	return s;
}

void
wg_peer_wish(struct wg_peer *p, unsigned wishes)
{
	struct wg_device *d = p->device;

	if (!d->up)
		return;
	p->wishes |= wishes;
	if (p->wishing)
		return;
	p->wishing = true;
	p->wish_next = NULL;
	if (d->wish_last)
		d->wish_last->wish_next = p;
	else
		d->wish_first = p;
	d->wish_last = p;
}

void
wg_peer_unwish(struct wg_peer *p)
{
	struct wg_device *d = p->device;
	struct wg_peer **at = &d->wish_first;
	struct wg_peer *before = NULL;

	p->wishes = 0;
	if (!p->wishing)
		return;
	for (; *at != p; at = &(*at)->wish_next)
		before = *at;
	*at = p->wish_next;
	if (d->wish_last == p)
		d->wish_last = before;
	p->wishing = false;
}

void
wg_peer_want_session(struct wg_peer *p, bool retry, uint64_t now_ns)
{
	if (!retry)
		p->timers.retries = 0;
	if (wg_timers_may_initiate(
		&p->timers, &p->device->conf.times, now_ns)) {
		wg_peer_wish(p, WG_WISH_INITIATE);
		return;
	}
	wg_timers_initiation_deferred(&p->timers, &p->device->conf.times);
	wg_peer_rearm(p);
}

void
wg_peer_ask(struct wg_peer *p)
{
	wg_peer_wish(p, WG_WISH_ASK);
}

void
wg_peer_add_index(struct wg_peer *p, struct wg_index *i, const uint8_t wire[4])
{
	i->peer = p;
	wg_index_add(&p->device->indices, i, wire);
	if (p->indices++ == 0)
		p->device->lane_peers[p->lane]++;
}

static void
remove_index(struct wg_peer *p, struct wg_index *i)
{
	if (!i->used)
		return;
	wg_index_remove(&p->device->indices, i);
	if (--p->indices == 0)
		p->device->lane_peers[p->lane]--;
}

static void
end_session(struct wg_peer *p, struct wg_session **slot)
{
	if (!*slot)
		return;
	remove_index(p, &(*slot)->index);
	wg_session_end(*slot);
	*slot = NULL;
}

static void
move_session(
    struct wg_peer *p, struct wg_session **to, struct wg_session **from)
{
	end_session(p, to);
	*to = *from;
	*from = NULL;
}

/* The one with the fewest peers; in turn, where they are equal. */
static unsigned
emptiest_lane(struct wg_device *d)
{
	unsigned best = d->lane_next;

	for (unsigned i = 1; i < d->conf.lanes; i++) {
		unsigned lane = (d->lane_next + i) % d->conf.lanes;

		if (d->lane_peers[lane] < d->lane_peers[best])
			best = lane;
	}
	d->lane_next = (best + 1) % d->conf.lanes;
	return best;
}

void
wg_peer_draw_index(struct wg_peer *p, uint8_t index[4])
{
	struct wg_device *d = p->device;

	if (p->indices == 0)
		p->lane = emptiest_lane(d);
	wg_index_draw(&d->indices, p->lane, d->conf.lanes, index);
}

void
wg_peer_add_session(
    struct wg_peer *p, struct wg_session *s, const uint8_t index[4])
{
	if (!s->initiator) {
		end_session(p, &p->previous);
		end_session(p, &p->fresh);
		p->fresh = s;
	} else {
		/* A fresh one has only waited for us to speak: the peer may
		 * still send with it, so it is worth more than current. */
		move_session(
		    p, &p->previous, p->fresh ? &p->fresh : &p->current);
		end_session(p, &p->current);
		p->current = s;
	}
	s->index.session = s;
	wg_peer_add_index(p, &s->index, index);
}

bool
wg_peer_confirm(struct wg_peer *p, const struct wg_session *s)
{
	if (s != p->fresh)
		return false;
	move_session(p, &p->previous, &p->current);
	move_session(p, &p->current, &p->fresh);
	return true;
}

void
wg_peer_end_sessions(struct wg_peer *p)
{
	end_session(p, &p->current);
	end_session(p, &p->previous);
	end_session(p, &p->fresh);
}

void
wg_peer_end_handshake(struct wg_peer *p)
{
	remove_index(p, &p->handshake_index);
	sodium_memzero(&p->handshake, sizeof(p->handshake));
}

static void
drop_oldest(struct wg_peer *p)
{
	struct wg_queued *q = p->queue_head;

	p->queue_head = q->next;
	if (!p->queue_head)
		p->queue_tail = NULL;
	p->queued--;
	p->device->queued--;
	free(q);
	wg_drop(p->device, WG_DROP_QUEUE_FULL);
}

void
wg_peer_enqueue(struct wg_peer *p, const struct pbuf *packet)
{
	size_t cap = WG_SEAL_HEADROOM + packet->len + WG_SEAL_TAILROOM;
	struct wg_queued *q;

	if (p->queued >= WG_QUEUE_PEER)
		drop_oldest(p);
	q = p->device->queued < WG_QUEUE_ALL ? malloc(sizeof(*q) + cap) : NULL;
	if (!q) {
		wg_drop(p->device, WG_DROP_QUEUE_FULL);
		return;
	}
	q->next = NULL;
	q->buf = pbuf_make(q->room, cap, WG_SEAL_HEADROOM, packet->len);
	memcpy(pbuf_data(&q->buf), pbuf_data(packet), packet->len);
	if (p->queue_tail)
		p->queue_tail->next = q;
	else
		p->queue_head = q;
	p->queue_tail = q;
	p->queued++;
	p->device->queued++;
}

void
wg_peer_drop_queue(struct wg_peer *p)
{
	while (p->queue_head)
		drop_oldest(p);
}

/* Most events push a deadline further away; the heap is only told when one
 * came nearer, and looks again when the old one passes. */
void
wg_peer_rearm(struct wg_peer *p)
{
	uint64_t at = wg_timers_deadline(&p->timers);

	if (p->timer.slot == 0 ? at != UK_NEVER : at < p->timer.deadline_ns)
		timerq_set(&p->device->timers, &p->timer, at);
}

void
wg_peer_know(struct wg_peer *p)
{
	if (p->static_static_known)
		return;
	p->static_static_known = true;
	/* A key of low order leaves zeros, which no handshake accepts. */
	(void)x25519(p->remote.static_static.b, p->device->us->private_key.b,
	    p->remote.public_key.b);
}

uint64_t
wg_jitter(const struct wg_device *d)
{
	uint32_t r;

	d->conf.random(&r, sizeof(r));
	return r * UINT64_C(1000) % WG_JITTER_MAX;
}

void
wg_peer_sent(struct wg_peer *p, size_t len, uint64_t now_ns)
{
	p->tx_bytes += len;
	wg_timers_any_sent(&p->timers, now_ns);
}

void
wg_peer_received(struct wg_peer *p, size_t len, uint64_t now_ns)
{
	p->rx_bytes += len;
	wg_timers_any_received(&p->timers, now_ns);
}

void
wg_peer_completed(struct wg_peer *p, struct uk_time now)
{
	wg_timers_handshake_complete(&p->timers);
	p->last_handshake_wall_ns = now.wall_ns;
	p->handshakes++;
	p->device->stats.handshakes++;
}
