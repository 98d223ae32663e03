#include "wg_cookie.h"

#include "core/aead.h"
#include "core/bytes.h"
#include "core/err.h"

#include <sodium.h>

#define MACS_LEN (2 * WG_COOKIE_LEN)
#define LABEL_LEN 8

void
wg_cookie_keys(struct blake2s *b, struct wg_cookie_keys *k,
    const struct wg_key *public_key)
{
	blake2s_hash(b, k->mac1, "mac1----", LABEL_LEN, public_key->b,
	    sizeof(public_key->b));
	blake2s_hash(b, k->reply, "cookie--", LABEL_LEN, public_key->b,
	    sizeof(public_key->b));
}

static void
compute_mac1(struct blake2s *b, uint8_t mac1[WG_COOKIE_LEN],
    const struct wg_cookie_keys *k, const uint8_t *msg, size_t len)
{
	blake2s_mac(
	    b, mac1, k->mac1, sizeof(k->mac1), msg, len - MACS_LEN, NULL, 0);
}

static void
compute_mac2(struct blake2s *b, uint8_t mac2[WG_COOKIE_LEN],
    const uint8_t cookie[WG_COOKIE_LEN], const uint8_t *msg, size_t len)
{
	blake2s_mac(
	    b, mac2, cookie, WG_COOKIE_LEN, msg, len - WG_COOKIE_LEN, NULL, 0);
}

static void
make_cookie(struct blake2s *b, uint8_t cookie[WG_COOKIE_LEN],
    const struct wg_cookie_checker *c, const struct endpoint *from)
{
	size_t alen = from->addr.family == FAMILY_V4 ? 4 : 16;
	uint8_t port[2];

	store_be16(port, from->port);
	blake2s_mac(b, cookie, c->secret, sizeof(c->secret), from->addr.b, alen,
	    port, sizeof(port));
}

bool
wg_cookie_check_mac1(struct blake2s *b, const struct wg_cookie_checker *c,
    const uint8_t *msg, size_t len)
{
	uint8_t mac1[WG_COOKIE_LEN];

	compute_mac1(b, mac1, &c->keys, msg, len);
	return blake2s_ok(b) &&
	       sodium_memcmp(mac1, msg + len - MACS_LEN, sizeof(mac1)) == 0;
}

bool
wg_cookie_check_mac2(struct blake2s *b, const struct wg_cookie_checker *c,
    uint64_t now_ns, const struct endpoint *from, const uint8_t *msg,
    size_t len)
{
	uint8_t cookie[WG_COOKIE_LEN], mac2[WG_COOKIE_LEN];

	if (now_ns >= c->secret_until_ns)
		return false;
	make_cookie(b, cookie, c, from);
	compute_mac2(b, mac2, cookie, msg, len);
	return blake2s_ok(b) && sodium_memcmp(mac2, msg + len - WG_COOKIE_LEN,
				    sizeof(mac2)) == 0;
}

void
wg_cookie_reply(struct blake2s *b, struct wg_cookie_checker *c, uint64_t now_ns,
    const struct endpoint *to, const uint8_t *msg, size_t len,
    const uint8_t random[WG_COOKIE_RANDOM], struct wg_cookie_reply *reply)
{
	uint8_t cookie[WG_COOKIE_LEN];

	if (now_ns >= c->secret_until_ns) {
		memcpy(c->secret, random, sizeof(c->secret));
		c->secret_until_ns = now_ns + WG_COOKIE_SECRET_LIFE;
	}
	make_cookie(b, cookie, c, to);
	wg_msg_set_type(reply->type, WG_MSG_COOKIE);
	/* The sender index stands at one place in both messages. */
	memcpy(reply->receiver, ((const struct wg_initiation *)msg)->sender,
	    sizeof(reply->receiver));
	memcpy(reply->nonce, random + BLAKE2S_LEN, sizeof(reply->nonce));
	aead_xseal(reply->cookie, c->keys.reply, reply->nonce,
	    msg + len - MACS_LEN, WG_COOKIE_LEN, cookie, sizeof(cookie));
}

void
wg_cookie_sign(struct blake2s *b, struct wg_cookie_maker *m,
    const struct wg_cookie_keys *peer, uint64_t now_ns, uint8_t *msg,
    size_t len)
{
	uint8_t *mac1 = msg + len - MACS_LEN;
	uint8_t *mac2 = mac1 + WG_COOKIE_LEN;

	compute_mac1(b, mac1, peer, msg, len);
	memcpy(m->last_mac1, mac1, WG_COOKIE_LEN);
	m->awaits_reply = true;
	if (now_ns < m->cookie_until_ns)
		compute_mac2(b, mac2, m->cookie, msg, len);
	else
		memset(mac2, 0, WG_COOKIE_LEN);
}

int
wg_cookie_take(struct wg_cookie_maker *m, const struct wg_cookie_keys *peer,
    uint64_t now_ns, const struct wg_cookie_reply *reply)
{
	uint8_t cookie[WG_COOKIE_LEN];

	if (!m->awaits_reply ||
	    aead_xopen(cookie, peer->reply, reply->nonce, m->last_mac1,
		WG_COOKIE_LEN, reply->cookie, sizeof(reply->cookie)) != 0)
		return UK_EAUTH;
	memcpy(m->cookie, cookie, sizeof(m->cookie));
	m->cookie_until_ns = now_ns + WG_COOKIE_USE_LIFE;
	m->awaits_reply = false;
	return 0;
}
