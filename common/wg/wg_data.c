#include "core/bytes.h"
#include "core/err.h"
#include "core/ip.h"
#include "wg_state.h"

#define UDP_HEADER_LEN 8

/* When so many counters of a session are on their way, in all batches, it gets
 * no more: half of the window that Linux and wireguard-go have. The batch that
 * reaches it may go on. */
#define IN_FLIGHT_MAX (WG_REPLAY_WINDOW / 2)
static_assert(IN_FLIGHT_MAX + WG_BATCH_MAX < WG_REPLAY_WINDOW, "inside it");

/* ---- out ---- */

/* Remembers the last answer: packets come in runs to, or from, one address. */
struct route_cache {
	uint8_t family;
	uint8_t addr[16];
	struct wg_peer *peer;
};

static struct wg_peer *
owner_peer(struct lpm_owner *o)
{
	return o ? CONTAINER_OF(o, struct wg_peer, allowed) : NULL;
}

static struct wg_peer *
peer_of(const struct wg_device *d, uint8_t family, const uint8_t *addr)
{
	return owner_peer(family == FAMILY_V4 ? lpm_lookup4(d->allowed, addr)
					      : lpm_lookup6(d->allowed, addr));
}

/* Whose address is it? NULL: nobody's. */
static struct wg_peer *
route(const struct wg_device *d, uint8_t family, const uint8_t *addr,
    struct route_cache *cache)
{
	size_t alen = family == FAMILY_V4 ? 4 : 16;

	if (cache->family != family || memcmp(cache->addr, addr, alen) != 0) {
		cache->family = family;
		memcpy(cache->addr, addr, alen);
		cache->peer = peer_of(d, family, addr);
	}
	return cache->peer;
}

/* The initiator of a session renews it when it sends on an older one. */
static void
renew_on_send(struct wg_peer *p, const struct wg_session *s, uint64_t now_ns)
{
	if (s->send_counter >= WG_REKEY_AFTER_MESSAGES ||
	    (s->initiator &&
		now_ns - s->born_ns >= p->device->conf.times.rekey_after_ns))
		wg_peer_want_session(p, false, now_ns);
}

void
wg_data_sent(
    struct wg_peer *p, struct wg_session *s, bool keepalive, uint64_t now_ns)
{
	if (!keepalive)
		wg_timers_data_sent(&p->timers, &p->device->conf.times, now_ns);
	wg_timers_any_sent(&p->timers, now_ns);
	renew_on_send(p, s, now_ns);
	wg_peer_rearm(p);
}

/* Why a packet finds no way; WG_DROP_COUNT: it does. */
static enum wg_drop
no_way(const struct wg_peer *p)
{
	if (!p)
		return WG_DROP_NO_PEER;
	if (p->endpoint.addr.family == FAMILY_NONE)
		return WG_DROP_NO_ENDPOINT;
	return WG_DROP_COUNT;
}

/* Is it our own message, routed back into the tunnel that it came out of?
 * Wrapped again and again it would keep the host busy for ever. */
static bool
is_looping(const struct wg_peer *p, const struct wg_session *s,
    const struct ip_view *fixed, const struct pbuf *packet)
{
	const struct endpoint *e = &p->endpoint;
	const struct wg_data_header *h;
	const uint8_t *udp;
	struct ip_view v;

	if (fixed->family != e->addr.family ||
	    memcmp(fixed->dst, e->addr.b,
		fixed->family == FAMILY_V4 ? 4 : 16) != 0)
		return false;
	if (ip_parse(&v, pbuf_data(packet), packet->len) != 0 ||
	    v.proto != IPPROTO_NUM_UDP || !v.first ||
	    v.total - v.hlen < UDP_HEADER_LEN + sizeof(*h))
		return false;
	udp = pbuf_data(packet) + v.hlen;
	h = (const void *)(udp + UDP_HEADER_LEN);
	return load_be16(udp + 2) == e->port && h->type[0] == WG_MSG_DATA &&
	       memcmp(h->receiver, s->remote_index, sizeof(h->receiver)) == 0;
}

/* Where a batch is going at the moment. */
struct way {
	struct route_cache cache;
	struct wg_peer *peer;
	struct wg_session *session; /* NULL: packets have to wait */
	struct wg_flight *flight; /* NULL: nothing sent yet on this way */
	bool blocked; /* the session may hand out no counters now */
};

static void
end_flight(struct way *w, uint64_t now_ns)
{
	if (w->flight)
		wg_data_sent(w->peer, w->flight->session, false, now_ns);
	*w = (struct way){.cache = w->cache};
}

static uint64_t
oldest_on_its_way(const struct wg_device *d, const struct wg_session *s)
{
	uint64_t oldest = s->send_counter;

	for (const struct wg_tx *tx = d->out; tx; tx = tx->next)
		for (unsigned i = 0; i < tx->nflights; i++)
			if (tx->flight[i].session == s)
				oldest =
				    uk_min_u64(oldest, tx->flight[i].first);
	return oldest;
}

/* Would the session's next counters run so far ahead of one that another batch
 * has yet to send that the receiver's window could pass that by? */
static bool
runs_ahead(const struct wg_device *d, struct wg_session *s)
{
	if (s->send_counter - s->sent_below < IN_FLIGHT_MAX)
		return false;
	s->sent_below = oldest_on_its_way(d, s);
	return s->send_counter - s->sent_below >= IN_FLIGHT_MAX;
}

static void
take_way(const struct wg_device *d, struct way *w, struct wg_peer *p,
    uint64_t now_ns)
{
	if (w->peer == p)
		return;
	end_flight(w, now_ns);
	w->peer = p;
	w->session = wg_peer_sender(p, now_ns);
	w->blocked = w->session && runs_ahead(d, w->session);
}

static void
begin_flight(struct wg_device *d, struct wg_tx *tx, struct way *w)
{
	struct wg_flight *last =
	    tx->nflights ? &tx->flight[tx->nflights - 1] : NULL;

	if (w->flight)
		return;
	if (last && last->session == w->session) { /* nothing came between */
		w->flight = last;
		return;
	}
	if (tx->nflights == 0) {
		tx->next = d->out;
		d->out = tx;
	}
	w->flight = &tx->flight[tx->nflights++];
	*w->flight = (struct wg_flight){.session = w->session,
	    .first = w->session->send_counter,
	    .to = w->peer->endpoint,
	    .had_source = w->peer->endpoint.src.family != FAMILY_NONE};
	wg_session_hold(w->session);
}

/* Give the packet a counter and lay it out; the cipher is for later. */
static void
lay_out(struct wg_device *d, struct wg_tx *tx, struct way *w,
    const struct pbuf *packet, uint8_t tos)
{
	struct dgram *g = &tx->dgram[tx->n];

	begin_flight(d, tx, w);
	*g = (struct dgram){.buf = *packet, .ep = &w->flight->to, .tos = tos};
	wg_session_seal(w->session, w->session->send_counter++, d->mtu, &g->buf,
	    &tx->op[tx->n]);
	w->peer->tx_bytes += g->buf.len;
	tx->n++;
}

/* Behind what waits already, so that packets keep their order. */
static void
wait_in_queue(struct way *w, const struct pbuf *packet, uint64_t now_ns)
{
	wg_peer_enqueue(w->peer, packet);
	if (w->session)
		wg_peer_wish(w->peer, WG_WISH_FLUSH);
	else
		wg_peer_want_session(w->peer, false, now_ns);
}

static void
route_one(struct wg_device *d, uint64_t now_ns, struct wg_tx *tx,
    const struct pbuf *packet, struct way *w)
{
	struct ip_view v;
	struct wg_peer *p;
	enum wg_drop why;

	if (ip_parse_fixed(&v, pbuf_data(packet), packet->len) != 0) {
		wg_drop(d, WG_DROP_NOT_IP);
		return;
	}
	p = route(d, v.family, v.dst, &w->cache);
	why = no_way(p);
	if (why != WG_DROP_COUNT) {
		wg_drop(d, why);
		tx->rejected[tx->nrejected++] = *packet;
		return;
	}
	p->tx_data++;
	take_way(d, w, p, now_ns);
	if (w->session && w->session->send_counter >= WG_REJECT_AFTER_MESSAGES)
		w->session = NULL;
	if (w->session && is_looping(p, w->session, &v, packet)) {
		wg_drop(d, WG_DROP_LOOP);
		return;
	}
	if (!w->session || p->queue_head)
		wait_in_queue(w, packet, now_ns);
	else if (w->blocked)
		wg_drop(d, WG_DROP_QUEUE_FULL);
	else
		lay_out(d, tx, w, packet, ip_ecn_encap(v.tos));
}

void
wg_device_route(struct wg_device *d, struct uk_time now, struct wg_tx *tx,
    const struct pbuf *p, unsigned n)
{
	struct way w = {.cache = {.family = FAMILY_NONE}};

	UK_ASSERT(n <= WG_BATCH_MAX && tx->nflights == 0);
	now = wg_now(d, now);
	tx->n = 0;
	tx->nrejected = 0;
	tx->failed = 0;
	if (!d->up)
		return;
	for (unsigned i = 0; i < n; i++)
		route_one(d, now.mono_ns, tx, &p[i], &w);
	end_flight(&w, now.mono_ns);
}

static void
take_back(struct wg_device *d, struct wg_tx *tx)
{
	struct wg_tx **at = &d->out;

	while (*at != tx)
		at = &(*at)->next;
	*at = tx->next;
}

void
wg_device_sent(struct wg_device *d, struct wg_tx *tx)
{
	if (tx->nflights > 0)
		take_back(d, tx);
	for (unsigned i = 0; i < tx->nflights; i++) {
		struct wg_flight *f = &tx->flight[i];

		wg_forget_source(
		    d, f->session->index.wire, &f->to, f->had_source);
		wg_session_drop(f->session);
	}
	d->stats.drop[WG_DROP_CRYPTO] += tx->failed;
	tx->nflights = 0;
	tx->n = 0;
	tx->nrejected = 0;
	tx->failed = 0;
}

/* ---- in ---- */

/* The session that a message names, if it may still be used. */
static struct wg_session *
session_of(struct wg_device *d, uint64_t now_ns, const uint8_t receiver[4])
{
	struct wg_index *i = wg_index_find(&d->indices, receiver);

	if (!i || !i->session) {
		wg_drop(d, WG_DROP_INDEX);
		return NULL;
	}
	if (now_ns - i->session->born_ns >= d->conf.times.reject_after_ns) {
		wg_drop(d, WG_DROP_EXPIRED);
		return NULL;
	}
	return i->session;
}

static void
sort_data(struct wg_device *d, uint64_t now_ns, struct wg_rx *rx, uint16_t at)
{
	struct pbuf *p = &rx->in[at].buf;
	const struct wg_data_header *h = (const void *)pbuf_data(p);
	struct wg_session *last = rx->nheld ? rx->held[rx->nheld - 1] : NULL;
	struct wg_session *s = last;

	/* Messages come in runs of one session. */
	if (!last || memcmp(last->index.wire, h->receiver, 4) != 0)
		s = session_of(d, now_ns, h->receiver);
	if (!s)
		return;
	if (s != last) {
		wg_session_hold(s);
		rx->held[rx->nheld++] = s;
	}
	rx->session[rx->n] = s;
	rx->at[rx->n] = at;
	wg_session_open(s, p, &rx->op[rx->n++]);
}

void
wg_device_sort(struct wg_device *d, struct uk_time now, struct wg_rx *rx,
    struct dgram *in, unsigned n)
{
	UK_ASSERT(n <= WG_BATCH_MAX && rx->nheld == 0);
	now = wg_now(d, now);
	rx->in = in;
	rx->n = 0;
	if (!d->up || !d->has_identity)
		return;
	for (unsigned i = 0; i < n; i++) {
		switch (wg_msg_classify(pbuf_data(&in[i].buf), in[i].buf.len)) {
		case WG_MSG_DATA:
			sort_data(d, now.mono_ns, rx, (uint16_t)i);
			break;
		case WG_MSG_INVALID:
			wg_drop(d, WG_DROP_MALFORMED);
			break;
		default:
			wg_handshake_input(d, now.mono_ns, &in[i]);
		}
	}
}

/* An opened message counts once, in a session that has not ended since. */
static bool
is_fresh(struct wg_device *d, struct wg_session *s, const struct aead_op *op)
{
	if (op->err != 0) {
		wg_drop(d, WG_DROP_AUTH);
		return false;
	}
	if (s->ended) {
		wg_drop(d, WG_DROP_INDEX);
		return false;
	}
	switch (wg_replay_check(&s->replay, op->counter)) {
	case 0:
		return true;
	case UK_ELIMIT:
		wg_drop(d, WG_DROP_EXPIRED);
		return false;
	default:
		wg_drop(d, WG_DROP_REPLAY);
		return false;
	}
}

/* The initiator of a session that nears its end renews it on receiving, too,
 * once: who only downloads would otherwise fall silent. */
static void
renew_on_receive(struct wg_peer *p, uint64_t now_ns)
{
	const struct wg_times *t = &p->device->conf.times;
	struct wg_session *s = p->current;

	if (!s || !s->initiator || s->renewal_asked ||
	    now_ns - s->born_ns + t->keepalive_ns + t->rekey_timeout_ns <
		t->reject_after_ns)
		return;
	s->renewal_asked = true;
	wg_peer_want_session(p, false, now_ns);
}

/* Authentic messages of one session from one place. */
struct run {
	struct wg_session *session;
	const struct endpoint *from;
	bool data; /* one of them held more than a keepalive */
	struct route_cache source; /* the last one that the peer may use */
};

static void
end_run(struct run *r, uint64_t now_ns)
{
	struct wg_peer *p;

	if (!r->session)
		return;
	p = r->session->index.peer;
	if (r->data)
		wg_timers_data_received(
		    &p->timers, &p->device->conf.times, now_ns);
	wg_peer_rearm(p);
	*r = (struct run){.session = NULL};
}

/* What authentic messages mean, whatever is inside. */
static void
take_run(struct run *r, struct wg_session *s, const struct endpoint *from,
    struct uk_time now)
{
	struct wg_peer *p = s->index.peer;

	if (r->session == s && r->from == from)
		return;
	end_run(r, now.mono_ns);
	r->session = s;
	r->from = from;
	p->endpoint = *from;
	if (wg_peer_confirm(p, s)) {
		wg_peer_completed(p, now);
		wg_peer_wish(p, WG_WISH_FLUSH);
	}
	renew_on_receive(p, now.mono_ns);
	wg_timers_any_received(&p->timers, now.mono_ns);
}

/* Is it an IP packet, and may this peer send from its source? */
static bool
accept_inner(
    struct wg_device *d, struct run *r, struct pbuf *buf, uint8_t outer_tos)
{
	struct wg_peer *p = r->session->index.peer;
	struct ip_view v;

	if (ip_parse_fixed(&v, pbuf_data(buf), buf->len) != 0) {
		wg_drop(d, WG_DROP_NOT_IP);
		return false;
	}
	if (route(d, v.family, v.src, &r->source) != p) {
		wg_drop(d, WG_DROP_SOURCE);
		return false;
	}
	if (ip_ecn_decap(pbuf_data(buf), outer_tos) != 0) {
		wg_drop(d, WG_DROP_ECN);
		return false;
	}
	pbuf_trim(buf, v.total);
	return true;
}

static void
accept_one(struct wg_device *d, struct uk_time now, struct wg_rx *rx,
    unsigned i, struct run *r)
{
	struct wg_session *s = rx->session[i];
	struct dgram *in = &rx->in[rx->at[i]];

	if (!is_fresh(d, s, &rx->op[i]))
		return;
	take_run(r, s, in->ep, now);
	s->index.peer->rx_bytes += WG_DATA_OVERHEAD + in->buf.len;
	if (in->buf.len == 0)
		return;
	r->data = true;
	if (accept_inner(d, r, &in->buf, in->tos))
		rx->packet[rx->npackets++] = in->buf;
}

void
wg_device_accept(struct wg_device *d, struct uk_time now, struct wg_rx *rx)
{
	struct run r = {.session = NULL};

	now = wg_now(d, now);
	rx->npackets = 0;
	for (unsigned i = 0; i < rx->n; i++)
		accept_one(d, now, rx, i, &r);
	end_run(&r, now.mono_ns);
	for (unsigned i = 0; i < rx->nheld; i++)
		wg_session_drop(rx->held[i]);
	rx->n = 0;
	rx->nheld = 0;
}
