#include "core/bytes.h"
#include "core/err.h"
#include "core/ip.h"
#include "wg_state.h"

#define UDP_HEADER_LEN 8

/* ---- out ---- */

/* Remembers the last answer: packets come in runs toward one destination. */
struct route_cache {
	uint8_t family;
	uint8_t dst[16];
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

static struct wg_peer *
route(const struct wg_device *d, const struct ip_view *v,
    struct route_cache *cache)
{
	size_t alen = v->family == FAMILY_V4 ? 4 : 16;

	if (cache->family != v->family ||
	    memcmp(cache->dst, v->dst, alen) != 0) {
		cache->family = v->family;
		memcpy(cache->dst, v->dst, alen);
		cache->peer = peer_of(d, v->family, v->dst);
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

bool
wg_data_seal(struct wg_peer *p, struct wg_session *s, struct uk_time now,
    const struct pbuf *packet, uint8_t tos, struct dgram *out)
{
	struct wg_device *d = p->device;
	bool keepalive = packet->len == 0;

	*out = (struct dgram){.buf = *packet, .ep = &p->endpoint, .tos = tos};
	if (wg_session_seal(s, s->send_counter++, d->mtu, &out->buf) != 0) {
		wg_drop(d, WG_DROP_CRYPTO);
		return false;
	}
	if (!keepalive)
		wg_timers_data_sent(&p->timers, &d->conf.times, now.mono_ns);
	wg_peer_sent(p, out->buf.len, now.mono_ns);
	renew_on_send(p, s, now.mono_ns);
	wg_peer_rearm(p);
	return true;
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

static void
seal_one(struct wg_device *d, struct uk_time now, const struct pbuf *packet,
    struct route_cache *cache, struct wg_sealed *out)
{
	struct ip_view v;
	struct wg_peer *p;
	struct wg_session *s;
	enum wg_drop why;

	if (ip_parse_fixed(&v, pbuf_data(packet), packet->len) != 0) {
		wg_drop(d, WG_DROP_NOT_IP);
		return;
	}
	p = route(d, &v, cache);
	why = no_way(p);
	if (why != WG_DROP_COUNT) {
		wg_drop(d, why);
		out->rejected[out->nrejected++] = *packet;
		return;
	}
	s = wg_peer_sender(p, now.mono_ns);
	if (s && is_looping(p, s, &v, packet)) {
		wg_drop(d, WG_DROP_LOOP);
		return;
	}
	if (s && !p->queue_head) {
		if (wg_data_seal(p, s, now, packet, ip_ecn_encap(v.tos),
			&out->dgram[out->n]))
			out->n++;
		return;
	}
	wg_peer_enqueue(p, packet);
	if (s)
		wg_peer_wish(p, WG_WISH_FLUSH);
	else
		wg_peer_want_session(p, false, now.mono_ns);
}

void
wg_device_seal(struct wg_device *d, struct uk_time now, struct pbuf *p,
    unsigned n, struct wg_sealed *out)
{
	struct route_cache cache = {.family = FAMILY_NONE};

	out->n = 0;
	out->nrejected = 0;
	if (!d->up)
		return;
	for (unsigned i = 0; i < n; i++)
		seal_one(d, now, &p[i], &cache, out);
}

/* ---- in ---- */

/* Find, age, decrypt, then count. Returns the session and p as plaintext. */
static struct wg_session *
open_message(struct wg_device *d, uint64_t now_ns, struct pbuf *p)
{
	const struct wg_data_header *h = (const void *)pbuf_data(p);
	struct wg_index *i = wg_index_find(&d->indices, h->receiver);
	uint64_t counter;
	struct wg_session *s;

	if (!i || !i->session) {
		wg_drop(d, WG_DROP_INDEX);
		return NULL;
	}
	s = i->session;
	if (now_ns - s->born_ns >= d->conf.times.reject_after_ns) {
		wg_drop(d, WG_DROP_EXPIRED);
		return NULL;
	}
	if (wg_session_open(s, p, &counter) != 0) {
		wg_drop(d, WG_DROP_AUTH);
		return NULL;
	}
	switch (wg_replay_check(&s->replay, counter)) {
	case 0:
		return s;
	case UK_ELIMIT:
		wg_drop(d, WG_DROP_EXPIRED);
		return NULL;
	default:
		wg_drop(d, WG_DROP_REPLAY);
		return NULL;
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

/* Everything that an authentic message means, whatever is inside. */
static void
note_authentic(struct wg_peer *p, const struct wg_session *s,
    struct uk_time now, const struct dgram *in, uint32_t len)
{
	p->endpoint = *in->ep;
	if (wg_peer_confirm(p, s)) {
		wg_peer_completed(p, now);
		wg_peer_wish(p, WG_WISH_FLUSH);
	}
	renew_on_receive(p, now.mono_ns);
	wg_peer_received(p, len, now.mono_ns);
}

/* Is it an IP packet, and may this peer send from its source? */
static bool
accept_inner(struct wg_device *d, const struct wg_peer *p, struct pbuf *buf,
    uint8_t outer_tos)
{
	struct ip_view v;

	if (ip_parse_fixed(&v, pbuf_data(buf), buf->len) != 0) {
		wg_drop(d, WG_DROP_NOT_IP);
		return false;
	}
	if (peer_of(d, v.family, v.src) != p) {
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

static bool
open_one(struct wg_device *d, struct uk_time now, struct dgram *in)
{
	uint32_t len = in->buf.len;
	struct wg_session *s = open_message(d, now.mono_ns, &in->buf);
	struct wg_peer *p;

	if (!s)
		return false;
	p = s->index.peer;
	note_authentic(p, s, now, in, len);
	if (in->buf.len > 0)
		wg_timers_data_received(
		    &p->timers, &d->conf.times, now.mono_ns);
	wg_peer_rearm(p);
	return in->buf.len > 0 && accept_inner(d, p, &in->buf, in->tos);
}

unsigned
wg_device_open(struct wg_device *d, struct uk_time now, struct dgram *in,
    unsigned n, struct pbuf *out)
{
	unsigned accepted = 0;

	if (!d->up || !d->has_identity)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		switch (wg_msg_classify(pbuf_data(&in[i].buf), in[i].buf.len)) {
		case WG_MSG_DATA:
			if (open_one(d, now, &in[i]))
				out[accepted++] = in[i].buf;
			break;
		case WG_MSG_INVALID:
			wg_drop(d, WG_DROP_MALFORMED);
			break;
		default:
			wg_handshake_input(d, now.mono_ns, &in[i]);
		}
	}
	return accepted;
}
