#include "wg_noise.h"

#include "core/aead.h"
#include "core/err.h"
#include "core/x25519.h"

#include <sodium.h>

static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
static const uint8_t nothing[1];

void
wg_symmetric_init(struct blake2s *b, struct wg_symmetric *s,
    const char *protocol, const void *prologue, size_t prologue_len)
{
	/* Names longer than a hash are hashed; ours always is. */
	UK_ASSERT(strlen(protocol) > BLAKE2S_LEN);
	blake2s_hash(b, s->ck, protocol, strlen(protocol), NULL, 0);
	memcpy(s->h, s->ck, sizeof(s->h));
	wg_symmetric_mix_hash(b, s, prologue, prologue_len);
}

void
wg_symmetric_mix_hash(
    struct blake2s *b, struct wg_symmetric *s, const void *x, size_t len)
{
	blake2s_hash(b, s->h, s->h, sizeof(s->h), x, len);
}

void
wg_symmetric_seal(struct blake2s *b, struct wg_symmetric *s,
    const struct wg_key *k, uint8_t *out, const uint8_t *in, size_t len)
{
	aead_seal_once(out, k->b, 0, s->h, sizeof(s->h), in, len);
	wg_symmetric_mix_hash(b, s, out, len + AEAD_TAG_LEN);
}

int
wg_symmetric_open(struct blake2s *b, struct wg_symmetric *s,
    const struct wg_key *k, uint8_t *out, const uint8_t *in, size_t len)
{
	int err = aead_open_once(out, k->b, 0, s->h, sizeof(s->h), in, len);

	if (err == 0)
		wg_symmetric_mix_hash(b, s, in, len);
	return err;
}

/* ck, k = KDF2(ck, x) */
static void
mix_key2(struct blake2s *b, struct wg_symmetric *s, struct wg_key *k,
    const struct wg_key *x)
{
	blake2s_kdf(b, 2, s->ck, k->b, NULL, s->ck, x->b, sizeof(x->b));
}

/* ck, k = KDF2(ck, DH(priv, pub)); k may be NULL when it is not wanted. */
static int
mix_dh(struct blake2s *b, struct wg_symmetric *s, struct wg_key *k,
    const struct wg_key *priv, const uint8_t *pub)
{
	struct wg_key dh;
	int err = x25519(dh.b, priv->b, pub);

	if (err)
		return err;
	if (k)
		mix_key2(b, s, k, &dh);
	else
		blake2s_kdf(b, 1, s->ck, NULL, NULL, s->ck, dh.b, sizeof(dh.b));
	sodium_memzero(&dh, sizeof(dh));
	return 0;
}

/* e: ck = KDF1(ck, E_pub); mix(E_pub) */
static void
mix_ephemeral(struct blake2s *b, struct wg_symmetric *s, const uint8_t *pub)
{
	blake2s_kdf(b, 1, s->ck, NULL, NULL, s->ck, pub, WG_KEY_LEN);
	wg_symmetric_mix_hash(b, s, pub, WG_KEY_LEN);
}

/* Both sides begin with the responder's static public key known. */
static void
begin(struct blake2s *b, struct wg_symmetric *s, const struct wg_key *responder)
{
	wg_symmetric_init(
	    b, s, construction, identifier, sizeof(identifier) - 1);
	wg_symmetric_mix_hash(b, s, responder->b, sizeof(responder->b));
}

static bool
is_zero(const struct wg_key *k)
{
	return sodium_is_zero(k->b, sizeof(k->b));
}

int
wg_noise_initiate(struct blake2s *b, struct wg_handshake *hs,
    struct wg_initiation *msg, const struct wg_identity *us,
    const struct wg_remote *remote, const struct wg_key *ephemeral,
    const uint8_t stamp[WG_STAMP_LEN], const uint8_t sender[4])
{
	struct wg_symmetric *s = &hs->sym;
	struct wg_key k;
	int err = UK_EAUTH;

	if (is_zero(&remote->static_static))
		goto wipe;
	begin(b, s, &remote->public_key);
	memset(msg, 0, sizeof(*msg));
	wg_msg_set_type(msg->type, WG_MSG_INITIATION);
	memcpy(msg->sender, sender, sizeof(msg->sender));
	hs->ephemeral = *ephemeral;
	/* e */
	x25519_base(msg->ephemeral, ephemeral->b);
	mix_ephemeral(b, s, msg->ephemeral);
	/* es */
	err = mix_dh(b, s, &k, ephemeral, remote->public_key.b);
	if (err)
		goto wipe;
	/* s */
	wg_symmetric_seal(b, s, &k, msg->static_key, us->public_key.b,
	    sizeof(us->public_key.b));
	/* ss */
	mix_key2(b, s, &k, &remote->static_static);
	/* {t} */
	wg_symmetric_seal(b, s, &k, msg->stamp, stamp, WG_STAMP_LEN);
	err = blake2s_ok(b) ? 0 : UK_ECRYPTO;
wipe:
	sodium_memzero(&k, sizeof(k));
	if (err)
		sodium_memzero(hs, sizeof(*hs));
	return err;
}

int
wg_noise_open_caller(struct blake2s *b, struct wg_draft *d,
    const struct wg_initiation *msg, const struct wg_identity *us)
{
	struct wg_key k;
	int err;

	begin(b, &d->sym, &us->public_key);
	memcpy(d->ephemeral.b, msg->ephemeral, sizeof(d->ephemeral.b));
	/* e */
	mix_ephemeral(b, &d->sym, msg->ephemeral);
	/* es */
	err = mix_dh(b, &d->sym, &k, &us->private_key, msg->ephemeral);
	if (err)
		return err;
	/* s */
	err = wg_symmetric_open(b, &d->sym, &k, d->caller.b, msg->static_key,
	    sizeof(msg->static_key));
	sodium_memzero(&k, sizeof(k));
	if (err == 0 && !blake2s_ok(b))
		err = UK_ECRYPTO;
	return err;
}

int
wg_noise_open_stamp(struct blake2s *b, struct wg_draft *d,
    uint8_t stamp[WG_STAMP_LEN], const struct wg_initiation *msg,
    const struct wg_remote *remote)
{
	struct wg_key k;
	int err;

	if (is_zero(&remote->static_static))
		return UK_EAUTH;
	/* ss */
	mix_key2(b, &d->sym, &k, &remote->static_static);
	/* {t} */
	err = wg_symmetric_open(
	    b, &d->sym, &k, stamp, msg->stamp, sizeof(msg->stamp));
	sodium_memzero(&k, sizeof(k));
	if (err == 0 && !blake2s_ok(b))
		err = UK_ECRYPTO;
	return err;
}

/* psk: ck, t, k = KDF3(ck, Q); mix(t) */
static void
mix_psk(struct blake2s *b, struct wg_symmetric *s, struct wg_key *k,
    const struct wg_key *psk)
{
	uint8_t t[BLAKE2S_LEN];

	blake2s_kdf(b, 3, s->ck, t, k->b, s->ck, psk->b, sizeof(psk->b));
	wg_symmetric_mix_hash(b, s, t, sizeof(t));
	sodium_memzero(t, sizeof(t));
}

int
wg_noise_respond(struct blake2s *b, struct wg_session_keys *keys,
    struct wg_response *msg, struct wg_draft *d, const struct wg_remote *remote,
    const struct wg_key *ephemeral, const uint8_t sender[4],
    const uint8_t receiver[4])
{
	struct wg_symmetric *s = &d->sym;
	struct wg_key k;
	int err;

	memset(msg, 0, sizeof(*msg));
	wg_msg_set_type(msg->type, WG_MSG_RESPONSE);
	memcpy(msg->sender, sender, sizeof(msg->sender));
	memcpy(msg->receiver, receiver, sizeof(msg->receiver));
	/* e */
	x25519_base(msg->ephemeral, ephemeral->b);
	mix_ephemeral(b, s, msg->ephemeral);
	/* ee */
	err = mix_dh(b, s, NULL, ephemeral, d->ephemeral.b);
	if (err)
		return err;
	/* se */
	err = mix_dh(b, s, NULL, ephemeral, remote->public_key.b);
	if (err)
		return err;
	/* psk */
	mix_psk(b, s, &k, &remote->psk);
	/* {} */
	wg_symmetric_seal(b, s, &k, msg->nothing, nothing, 0);
	sodium_memzero(&k, sizeof(k));
	blake2s_kdf(
	    b, 2, keys->receive.b, keys->send.b, NULL, s->ck, nothing, 0);
	return blake2s_ok(b) ? 0 : UK_ECRYPTO;
}

int
wg_noise_finish(struct blake2s *b, struct wg_session_keys *keys,
    const struct wg_response *msg, const struct wg_handshake *hs,
    const struct wg_identity *us, const struct wg_remote *remote)
{
	struct wg_symmetric s = hs->sym;
	struct wg_key k = {{0}};
	uint8_t empty[1];
	int err;

	/* e */
	mix_ephemeral(b, &s, msg->ephemeral);
	/* ee */
	err = mix_dh(b, &s, NULL, &hs->ephemeral, msg->ephemeral);
	if (err)
		goto wipe;
	/* se */
	err = mix_dh(b, &s, NULL, &us->private_key, msg->ephemeral);
	if (err)
		goto wipe;
	/* psk */
	mix_psk(b, &s, &k, &remote->psk);
	/* {} */
	err = wg_symmetric_open(
	    b, &s, &k, empty, msg->nothing, sizeof(msg->nothing));
	if (err)
		goto wipe;
	blake2s_kdf(
	    b, 2, keys->send.b, keys->receive.b, NULL, s.ck, nothing, 0);
	err = blake2s_ok(b) ? 0 : UK_ECRYPTO;
wipe:
	sodium_memzero(&s, sizeof(s));
	sodium_memzero(&k, sizeof(k));
	return err;
}
