#include "core/bytes.h"
#include "core/err.h"
#include "core/x25519.h"
#include "wg_stamp.h"
#include "wg_state.h"

#include <sodium.h>

/* DSCP AF41, so that a congested path drops handshakes last. */
#define HANDSHAKE_TOS 0x88
/* One accepted initiation of a peer in this time. */
#define ACCEPT_INTERVAL (20 * UK_NS_PER_MS)
/* What responders of this kind refuse (wg_device_conf_default). */
#define STAMP_FAR (UINT64_C(86400) * UK_NS_PER_S)

/* ---- at the door ---- */

static void
take_cookie(struct wg_device *d, uint64_t now_ns, const struct dgram *in)
{
	const struct wg_cookie_reply *r = (const void *)pbuf_data(&in->buf);
	struct wg_index *i = wg_index_find(&d->indices, r->receiver);

	if (!i) {
		wg_drop(d, WG_DROP_INDEX);
		return;
	}
	if (wg_cookie_take(
		&i->peer->cookie, &i->peer->cookie_keys, now_ns, r) != 0)
		wg_drop(d, WG_DROP_AUTH);
}

void
wg_handshake_input(struct wg_device *d, uint64_t now_ns, const struct dgram *in)
{
	const uint8_t *msg = pbuf_data(&in->buf);
	struct wg_pending *at;

	if (msg[0] == WG_MSG_COOKIE) {
		take_cookie(d, now_ns, in);
		return;
	}
	blake2s_begin(d->b2s);
	if (!wg_cookie_check_mac1(d->b2s, &d->checker, msg, in->buf.len)) {
		wg_drop(d, blake2s_ok(d->b2s) ? WG_DROP_MAC1 : WG_DROP_CRYPTO);
		return;
	}
	if (d->pending_count == WG_QUEUE_HANDSHAKES) {
		wg_drop(d, WG_DROP_HANDSHAKES_FULL);
		return;
	}
	at = &d->pending[(d->pending_head + d->pending_count++) %
			 WG_QUEUE_HANDSHAKES];
	at->from = *in->ep;
	at->len = (uint16_t)in->buf.len;
	memcpy(at->msg, msg, in->buf.len);
	if (d->pending_count >= WG_LOAD_HANDSHAKES)
		d->loaded_until_ns = now_ns + WG_LOAD_HOLD;
}

/* ---- under load ---- */

/* Demand a cookie of the sender. The answer is shorter than what it answers
 * (A1). */
static int
demand_cookie(struct wg_device *d, uint64_t now_ns, const struct wg_pending *m,
    struct wg_own *own)
{
	struct wg_cookie_reply *reply = (void *)own->room;
	uint8_t random[WG_COOKIE_RANDOM];

	static_assert(sizeof(*reply) < sizeof(struct wg_response), "A1");
	d->conf.random(random, sizeof(random));
	wg_cookie_reply(d->b2s, &d->checker, now_ns, &m->from, m->msg, m->len,
	    random, reply);
	own->dgram.buf =
	    pbuf_make(own->room, sizeof(own->room), 0, sizeof(*reply));
	wg_own_address(own, &m->from, NULL, 0);
	d->stats.cookies_sent++;
	wg_drop(d, WG_DROP_COOKIE);
	return 1;
}

/* ---- message 1 in, message 2 out ---- */

/* May this peer's stamp be accepted? Reads nothing but copies. */
static enum wg_drop
judge_stamp(const struct wg_device *d, const struct wg_peer *p,
    const uint8_t stamp[WG_STAMP_LEN], struct uk_time now)
{
	if (memcmp(stamp, p->stamp, WG_STAMP_LEN) <= 0)
		return WG_DROP_REPLAY;
	if (d->conf.stamp_ahead_ns &&
	    wg_stamp_is_ahead(stamp, now.wall_ns, d->conf.stamp_ahead_ns))
		return WG_DROP_STAMP_AHEAD;
	if (p->accepted_ns && now.mono_ns - p->accepted_ns < ACCEPT_INTERVAL)
		return WG_DROP_FLOOD;
	return WG_DROP_COUNT;
}

static void
draw_ephemeral(const struct wg_device *d, struct wg_key *k)
{
	d->conf.random(k->b, sizeof(k->b));
	x25519_clamp(k->b);
}

/* Everything is checked: make the answer, and a session out of it. */
static int
respond(struct wg_peer *p, struct wg_draft *draft, const struct wg_pending *m,
    const uint8_t stamp[WG_STAMP_LEN], struct uk_time now, struct wg_own *own)
{
	struct wg_device *d = p->device;
	const struct wg_initiation *msg = (const void *)m->msg;
	struct wg_response *answer = (void *)own->room;
	struct wg_session_keys keys;
	struct wg_session *s = NULL;
	struct wg_key ephemeral;
	uint8_t index[4];

	draw_ephemeral(d, &ephemeral);
	wg_peer_draw_index(p, index);
	if (wg_noise_respond(d->b2s, &keys, answer, draft, &p->remote,
		&ephemeral, index, msg->sender) == 0)
		s = wg_session_new(&keys, msg->sender, false, now.mono_ns);
	sodium_memzero(&keys, sizeof(keys));
	sodium_memzero(&ephemeral, sizeof(ephemeral));
	if (!s) {
		wg_drop(d, WG_DROP_CRYPTO);
		return UK_EAGAIN;
	}
	memcpy(p->stamp, stamp, sizeof(p->stamp));
	p->accepted_ns = now.mono_ns;
	p->endpoint = m->from;
	wg_peer_received(p, m->len, now.mono_ns);
	wg_peer_add_session(p, s, index);
	wg_cookie_sign(d->b2s, &p->cookie, &p->cookie_keys, now.mono_ns,
	    own->room, sizeof(*answer));
	wg_timers_session_derived(&p->timers, &d->conf.times, now.mono_ns);
	wg_timers_responded(&p->timers, now.mono_ns);
	wg_peer_sent(p, sizeof(*answer), now.mono_ns);
	wg_peer_rearm(p);
	own->dgram.buf =
	    pbuf_make(own->room, sizeof(own->room), 0, sizeof(*answer));
	wg_own_address(own, &p->endpoint, index, HANDSHAKE_TOS);
	return 1;
}

/* Who calls, and is it them? Nothing of ours changes before it is certain. */
static int
consume_initiation(struct wg_device *d, const struct wg_pending *m,
    struct uk_time now, struct wg_own *own)
{
	const struct wg_initiation *msg = (const void *)m->msg;
	uint8_t stamp[WG_STAMP_LEN];
	enum wg_drop why = WG_DROP_AUTH;
	struct wg_draft draft;
	struct wg_peer *p;
	int did = UK_EAGAIN;

	if (wg_noise_open_caller(d->b2s, &draft, msg, d->us) != 0)
		goto wipe;
	p = wg_device_find(d, &draft.caller);
	if (!p) {
		why = WG_DROP_UNKNOWN_PEER;
		goto wipe;
	}
	wg_peer_know(p);
	if (wg_noise_open_stamp(d->b2s, &draft, stamp, msg, &p->remote) != 0)
		goto wipe;
	why = judge_stamp(d, p, stamp, now);
	if (why == WG_DROP_COUNT)
		did = respond(p, &draft, m, stamp, now, own);
wipe:
	sodium_memzero(&draft, sizeof(draft));
	if (why != WG_DROP_COUNT)
		wg_drop(d, why);
	return did;
}

/* ---- message 2 in ---- */

/* Check and forget are one step on one thread (P3): the handshake is wiped
 * before its session can be used, so a second copy of the answer finds
 * nothing to answer to. */
static int
consume_response(
    struct wg_device *d, const struct wg_pending *m, struct uk_time now)
{
	const struct wg_response *msg = (const void *)m->msg;
	struct wg_index *i = wg_index_find(&d->indices, msg->receiver);
	struct wg_session_keys keys;
	struct wg_session *s = NULL;
	struct wg_peer *p;
	int err;

	if (!i || i->session) {
		wg_drop(d, WG_DROP_INDEX);
		return UK_EAGAIN;
	}
	p = i->peer;
	err = wg_noise_finish(
	    d->b2s, &keys, msg, &p->handshake, d->us, &p->remote);
	if (err == 0)
		s = wg_session_new(&keys, msg->sender, true, now.mono_ns);
	sodium_memzero(&keys, sizeof(keys));
	if (!s) {
		wg_drop(d, err == UK_EAUTH ? WG_DROP_AUTH : WG_DROP_CRYPTO);
		return UK_EAGAIN;
	}
	wg_peer_end_handshake(p);
	memcpy(p->answered_stamp, p->sent_stamp, WG_STAMP_LEN);
	p->endpoint = m->from;
	wg_peer_received(p, m->len, now.mono_ns);
	wg_peer_add_session(p, s, msg->receiver);
	wg_timers_session_derived(&p->timers, &d->conf.times, now.mono_ns);
	wg_peer_completed(p, now);
	wg_peer_wish(p, WG_WISH_KEEPALIVE); /* or queued packets: confirms */
	wg_peer_rearm(p);
	return UK_EAGAIN;
}

int
wg_handshake_next(struct wg_device *d, struct uk_time now, struct wg_own *own)
{
	const struct wg_pending *m = &d->pending[d->pending_head];

	blake2s_begin(d->b2s);
	d->pending_head = (d->pending_head + 1) % WG_QUEUE_HANDSHAKES;
	d->pending_count--;
	if (now.mono_ns < d->loaded_until_ns) {
		if (!wg_cookie_check_mac2(d->b2s, &d->checker, now.mono_ns,
			&m->from, m->msg, m->len))
			return demand_cookie(d, now.mono_ns, m, own);
		if (!wg_limit_allow(&d->limit, &m->from.addr, now.mono_ns)) {
			wg_drop(d, WG_DROP_RATE);
			return UK_EAGAIN;
		}
	}
	if (m->msg[0] == WG_MSG_INITIATION)
		return consume_initiation(d, m, now, own);
	return consume_response(d, m, now);
}

/* ---- message 1 out ---- */

/* Stamps grow, but one far ahead of the clock that was never answered was
 * refused, and does not bind us once the clock is right. */
static void
next_stamp(struct wg_peer *p, uint64_t wall_ns)
{
	if (wg_stamp_is_ahead(p->sent_stamp, wall_ns, STAMP_FAR))
		memcpy(p->sent_stamp, p->answered_stamp, WG_STAMP_LEN);
	wg_stamp_next(p->sent_stamp, wall_ns);
}

/* It takes the place of a handshake that is not answered yet. */
static bool
initiation(struct wg_peer *p, struct uk_time now, struct wg_own *own)
{
	struct wg_device *d = p->device;
	struct wg_initiation *msg = (void *)own->room;
	struct wg_key ephemeral;
	uint8_t index[4];
	int err;

	if (!d->has_identity || p->endpoint.addr.family == FAMILY_NONE)
		return false;
	blake2s_begin(d->b2s);
	wg_peer_know(p);
	wg_peer_end_handshake(p);
	next_stamp(p, now.wall_ns);
	draw_ephemeral(d, &ephemeral);
	wg_peer_draw_index(p, index);
	err = wg_noise_initiate(d->b2s, &p->handshake, msg, d->us, &p->remote,
	    &ephemeral, p->sent_stamp, index);
	sodium_memzero(&ephemeral, sizeof(ephemeral));
	if (err) {
		/* Nothing will ever take these packets. */
		if (err == UK_EAUTH)
			wg_peer_drop_queue(p);
		else
			wg_drop(d, WG_DROP_CRYPTO);
		return false;
	}
	wg_peer_add_index(p, &p->handshake_index, index);
	wg_cookie_sign(d->b2s, &p->cookie, &p->cookie_keys, now.mono_ns,
	    own->room, sizeof(*msg));
	own->dgram.buf =
	    pbuf_make(own->room, sizeof(own->room), 0, sizeof(*msg));
	wg_own_address(own, &p->endpoint, index, HANDSHAKE_TOS);
	return true;
}

bool
wg_handshake_initiate(struct wg_peer *p, struct uk_time now, struct wg_own *own)
{
	struct wg_device *d = p->device;

	if (!wg_timers_may_initiate(&p->timers, &d->conf.times, now.mono_ns) ||
	    !initiation(p, now, own))
		return false;
	wg_timers_initiated(
	    &p->timers, &d->conf.times, now.mono_ns, wg_jitter(d));
	wg_peer_sent(p, own->dgram.buf.len, now.mono_ns);
	wg_peer_rearm(p);
	return true;
}

/* Keepalives stay due: what is lost now says to nobody that we live. As with
 * any retry, the local address may be why the last one had no answer. */
bool
wg_handshake_ask(struct wg_peer *p, struct uk_time now, struct wg_own *own)
{
	if (!wg_timers_may_ask(&p->timers, now.mono_ns))
		return false;
	if (p->handshake_index.used)
		p->endpoint.src.family = FAMILY_NONE;
	if (!initiation(p, now, own))
		return false;
	wg_timers_asked(&p->timers, now.mono_ns);
	p->tx_bytes += own->dgram.buf.len;
	return true;
}
