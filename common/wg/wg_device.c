#include "core/err.h"
#include "core/x25519.h"
#include "wg_state.h"

#include <sodium.h>
#include <stdlib.h>

#define DAY_NS (UINT64_C(86400) * UK_NS_PER_S)

static const char *const drop_names[WG_DROP_COUNT] = {
    [WG_DROP_MALFORMED] = "malformed",
    [WG_DROP_MAC1] = "mac1",
    [WG_DROP_INDEX] = "unknown-index",
    [WG_DROP_AUTH] = "not-authentic",
    [WG_DROP_REPLAY] = "replayed",
    [WG_DROP_EXPIRED] = "session-expired",
    [WG_DROP_UNKNOWN_PEER] = "unknown-peer",
    [WG_DROP_STAMP_AHEAD] = "stamp-ahead",
    [WG_DROP_FLOOD] = "initiation-flood",
    [WG_DROP_COOKIE] = "cookie-demanded",
    [WG_DROP_RATE] = "over-rate",
    [WG_DROP_HANDSHAKES_FULL] = "handshakes-full",
    [WG_DROP_NOT_IP] = "not-ip",
    [WG_DROP_SOURCE] = "foreign-source",
    [WG_DROP_ECN] = "ecn",
    [WG_DROP_NO_PEER] = "no-peer",
    [WG_DROP_NO_ENDPOINT] = "no-endpoint",
    [WG_DROP_LOOP] = "loop",
    [WG_DROP_QUEUE_FULL] = "queue-full",
    [WG_DROP_CRYPTO] = "crypto",
};

const char *
wg_drop_name(enum wg_drop why)
{
	return drop_names[why];
}

void
wg_device_conf_default(struct wg_device_conf *c)
{
	*c = (struct wg_device_conf){
	    .times = wg_times_default,
	    .random = randombytes_buf,
	    .stamp_ahead_ns = DAY_NS,
	    .lanes = 1,
	};
}

/* ---- life ---- */

static int
init_tables(struct wg_device *d)
{
	uint8_t key[16];
	int err;

	d->conf.random(key, sizeof(key));
	err = htab_init(&d->by_key, key);
	if (err)
		return err;
	d->conf.random(key, sizeof(key));
	wg_limit_init(&d->limit, key);
	timerq_init(&d->timers);
	return wg_index_table_init(&d->indices, d->conf.random);
}

struct wg_device *
wg_device_new(const struct wg_device_conf *c)
{
	struct wg_device *d;

	UK_ASSERT(c->lanes >= 1 && c->lanes <= WG_LANES_MAX);
	if (sodium_init() < 0)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->conf = *c;
	d->b2s = blake2s_new();
	d->engine = aead_engine_new(AEAD_OPENSSL);
	d->us = sodium_malloc(sizeof(*d->us));
	d->allowed = lpm_new();
	d->pending = calloc(WG_QUEUE_HANDSHAKES, sizeof(*d->pending));
	if (!d->b2s || !d->engine || !d->us || !d->allowed || !d->pending ||
	    init_tables(d) != 0) {
		wg_device_free(d);
		return NULL;
	}
	return d;
}

void
wg_device_free(struct wg_device *d)
{
	if (!d)
		return;
	wg_device_remove_all(d);
	timerq_fini(&d->timers);
	wg_index_table_fini(&d->indices);
	htab_fini(&d->by_key);
	free(d->pending);
	lpm_free(d->allowed);
	sodium_free(d->us);
	aead_engine_free(d->engine);
	blake2s_free(d->b2s);
	sodium_memzero(d, sizeof(*d));
	free(d);
}

/* ---- interface ---- */

/* Everything that does not survive a change of state or identity. */
static void
quiesce(struct wg_peer *p)
{
	wg_peer_end_handshake(p);
	wg_peer_end_sessions(p);
	wg_timers_stop(&p->timers);
	timerq_remove(&p->device->timers, &p->timer);
	wg_peer_unwish(p);
}

void
wg_device_set_up(struct wg_device *d, bool up)
{
	if (up == d->up)
		return;
	for (struct wg_peer *p = d->first; p && !up; p = p->next) {
		quiesce(p);
		wg_peer_drop_queue(p);
	}
	d->up = up;
	d->pending_count = 0;
	for (struct wg_peer *p = d->first; p && up; p = p->next)
		if (p->timers.persistent_s)
			wg_peer_wish(p, WG_WISH_KEEPALIVE);
}

bool
wg_device_is_up(const struct wg_device *d)
{
	return d->up;
}

void
wg_device_set_mtu(struct wg_device *d, uint32_t mtu)
{
	d->mtu = mtu;
}

/* Is it ours already? wg(8) sets the key with every change of anything. */
static bool
is_private_key(const struct wg_device *d, const struct wg_key *key)
{
	struct wg_key clamped = *key;
	bool same;

	x25519_clamp(clamped.b);
	same =
	    d->has_identity && !sodium_is_zero(key->b, sizeof(key->b)) &&
	    sodium_memcmp(&clamped, &d->us->private_key, sizeof(clamped)) == 0;
	sodium_memzero(&clamped, sizeof(clamped));
	return same;
}

void
wg_device_set_private_key(struct wg_device *d, const struct wg_key *key)
{
	struct wg_peer *self;

	if (is_private_key(d, key))
		return;
	d->has_identity = !sodium_is_zero(key->b, sizeof(key->b));
	d->us->private_key = *key;
	if (d->has_identity)
		x25519_clamp(d->us->private_key.b);
	x25519_base(d->us->public_key.b, d->us->private_key.b);
	wg_cookie_keys(d->b2s, &d->checker.keys, &d->us->public_key);
	d->pending_count = 0;
	self = d->has_identity ? wg_device_find(d, &d->us->public_key) : NULL;
	if (self)
		wg_device_remove(d, self);
	for (struct wg_peer *p = d->first; p; p = p->next) {
		quiesce(p);
		p->static_static_known = false;
		sodium_memzero(
		    &p->remote.static_static, sizeof(p->remote.static_static));
		if (p->queue_head || p->timers.persistent_s)
			wg_peer_wish(p, WG_WISH_INITIATE);
	}
}

const struct wg_key *
wg_device_private_key(const struct wg_device *d)
{
	return d->has_identity ? &d->us->private_key : NULL;
}

const struct wg_key *
wg_device_public_key(const struct wg_device *d)
{
	return d->has_identity ? &d->us->public_key : NULL;
}

static void
start_stamps(struct wg_peer *p)
{
	memcpy(p->sent_stamp, p->device->first_stamp, WG_STAMP_LEN);
	memcpy(p->answered_stamp, p->device->first_stamp, WG_STAMP_LEN);
}

void
wg_device_last_stamp(const struct wg_device *d, uint8_t stamp[WG_STAMP_LEN])
{
	memcpy(stamp, d->first_stamp, WG_STAMP_LEN);
	for (const struct wg_peer *p = d->first; p; p = p->next)
		if (memcmp(p->answered_stamp, stamp, WG_STAMP_LEN) > 0)
			memcpy(stamp, p->answered_stamp, WG_STAMP_LEN);
}

void
wg_device_set_last_stamp(struct wg_device *d, const uint8_t stamp[WG_STAMP_LEN])
{
	memcpy(d->first_stamp, stamp, WG_STAMP_LEN);
	for (struct wg_peer *p = d->first; p; p = p->next)
		start_stamps(p);
}

const struct wg_device_stats *
wg_device_stats(const struct wg_device *d)
{
	return &d->stats;
}

/* ---- peers ---- */

struct wg_peer *
wg_device_find(const struct wg_device *d, const struct wg_key *public_key)
{
	uint64_t hash =
	    htab_hash(&d->by_key, public_key->b, sizeof(public_key->b));
	struct htab_node *n = htab_first(&d->by_key, hash);

	for (; n; n = htab_next(n)) {
		struct wg_peer *p = CONTAINER_OF(n, struct wg_peer, by_key);

		if (memcmp(p->remote.public_key.b, public_key->b,
			sizeof(public_key->b)) == 0)
			return p;
	}
	return NULL;
}

static bool
is_own_key(const struct wg_device *d, const struct wg_key *public_key)
{
	return d->has_identity && memcmp(d->us->public_key.b, public_key->b,
				      sizeof(public_key->b)) == 0;
}

static void
link_peer(struct wg_device *d, struct wg_peer *p)
{
	p->prev = d->last;
	if (d->last)
		d->last->next = p;
	else
		d->first = p;
	d->last = p;
	d->peer_count++;
	htab_insert(&d->by_key, &p->by_key,
	    htab_hash(&d->by_key, p->remote.public_key.b, WG_KEY_LEN));
}

struct wg_peer *
wg_device_add(struct wg_device *d, const struct wg_key *public_key)
{
	struct wg_peer *p;

	if (is_own_key(d, public_key) || wg_device_find(d, public_key) ||
	    timerq_reserve(&d->timers, (size_t)d->peer_count + 1) != 0)
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->device = d;
	start_stamps(p);
	p->remote.public_key = *public_key;
	wg_timers_init(&p->timers, wg_jitter(d));
	wg_cookie_keys(d->b2s, &p->cookie_keys, public_key);
	link_peer(d, p);
	return p;
}

void
wg_device_remove(struct wg_device *d, struct wg_peer *p)
{
	quiesce(p);
	wg_peer_drop_queue(p);
	lpm_remove_owner(d->allowed, &p->allowed);
	htab_remove(&d->by_key, &p->by_key);
	if (p->prev)
		p->prev->next = p->next;
	else
		d->first = p->next;
	if (p->next)
		p->next->prev = p->prev;
	else
		d->last = p->prev;
	d->peer_count--;
	sodium_memzero(p, sizeof(*p));
	free(p);
}

void
wg_device_remove_all(struct wg_device *d)
{
	while (d->first)
		wg_device_remove(d, d->first);
}

unsigned
wg_device_peer_count(const struct wg_device *d)
{
	return d->peer_count;
}

struct wg_peer *
wg_device_next_peer(const struct wg_device *d, const struct wg_peer *p)
{
	return p ? p->next : d->first;
}

void
wg_peer_set_psk(struct wg_peer *p, const struct wg_key *psk)
{
	p->remote.psk = *psk;
}

void
wg_peer_set_endpoint(struct wg_peer *p, const struct endpoint *e)
{
	bool was_unknown = p->endpoint.addr.family == FAMILY_NONE;

	p->endpoint = *e;
	p->endpoint.src = (struct ip_addr){.family = FAMILY_NONE};
	p->endpoint.src_ifindex = 0;
	if (was_unknown && p->timers.persistent_s)
		wg_peer_wish(p, WG_WISH_KEEPALIVE);
}

void
wg_peer_set_keepalive(struct wg_peer *p, uint16_t seconds)
{
	bool was_off = p->timers.persistent_s == 0;

	p->timers.persistent_s = seconds;
	if (seconds && was_off)
		wg_peer_wish(p, WG_WISH_KEEPALIVE);
}

void
wg_peer_stamp(const struct wg_peer *p, uint8_t stamp[WG_STAMP_LEN])
{
	memcpy(stamp, p->stamp, WG_STAMP_LEN);
}

void
wg_peer_set_stamp(struct wg_peer *p, const uint8_t stamp[WG_STAMP_LEN])
{
	memcpy(p->stamp, stamp, WG_STAMP_LEN);
}

int
wg_peer_allow(
    struct wg_device *d, struct wg_peer *p, const struct ip_prefix *prefix)
{
	return lpm_insert(d->allowed, prefix, &p->allowed);
}

int
wg_peer_disallow(
    struct wg_device *d, struct wg_peer *p, const struct ip_prefix *prefix)
{
	return lpm_remove(d->allowed, prefix, &p->allowed);
}

void
wg_peer_disallow_all(struct wg_device *d, struct wg_peer *p)
{
	lpm_remove_owner(d->allowed, &p->allowed);
}

bool
wg_peer_next_allowed(const struct wg_peer *p, const struct lpm_node **cursor,
    struct ip_prefix *out)
{
	return lpm_next(&p->allowed, cursor, out);
}

void
wg_peer_info(const struct wg_peer *p, uint64_t now_ns, struct wg_peer_info *out)
{
	*out = (struct wg_peer_info){
	    .public_key = p->remote.public_key,
	    .psk = p->remote.psk,
	    .endpoint = p->endpoint,
	    .keepalive_s = p->timers.persistent_s,
	    .rx_bytes = p->rx_bytes,
	    .tx_bytes = p->tx_bytes,
	    .tx_data = p->tx_data,
	    .handshakes = p->handshakes,
	    .last_handshake_wall_ns = p->last_handshake_wall_ns,
	    .session = wg_peer_sender(p, wg_now_ns(p->device, now_ns)) != NULL,
	    .allowed_count = p->allowed.count,
	};
}
