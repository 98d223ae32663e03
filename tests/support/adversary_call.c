#include "adversary.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "core/x25519.h"

/* Enough that a bit which never changes is no accident. */
#define INDICES 64

/* Messages that look like a flood are treated like one. */
static void
pause_between(unsigned i)
{
	if (i % 16 == 15)
		foe_sleep_ms(5);
}

/* The target serves as before. */
static bool
serves(struct foe *f, const struct foe_self *self)
{
	struct foe_socket s = foe_open(f, NULL, 0);
	struct foe_session session;
	bool ok =
	    foe_connect(&s, &session, self) && foe_echo(&s, &session, self);

	if (ok)
		foe_end(&session);
	foe_close(&s);
	return ok;
}

/* In the last byte of an index, as load_le32() gives it: which of up to 16
 * threads this peer is dealt to, always the same one. */
#define LANE_BITS UINT32_C(0x0f000000)

/* The indices say nothing about how many there are (P7). */
static bool
random_indices(struct foe *f)
{
	uint32_t seen[INDICES], all_or = 0, all_and = UINT32_MAX;
	struct foe_socket s = foe_open(f, NULL, 0);

	for (int i = 0; i < INDICES; i++) {
		struct foe_session session;

		if (!foe_call(&s, &session, &f->a))
			return false;
		seen[i] = load_le32(session.keys->remote_index);
		foe_end(&session);
		all_or |= seen[i];
		all_and &= seen[i];
		for (int j = 0; j < i; j++)
			if (seen[j] == seen[i])
				return false;
	}
	foe_close(&s);
	return (all_or | LANE_BITS) == UINT32_MAX &&
	       (all_and & ~LANE_BITS) == 0;
}

/* Send a call that is changed by one bit in every byte of [from, to). */
static bool
silent_when_flipped(struct foe *f, size_t from, size_t to, bool sign)
{
	struct foe_socket s = foe_open(f, NULL, 0);
	struct foe_call c = {.cookie.awaits_reply = false};
	bool ok;

	for (size_t i = from; i < to; i++) {
		foe_next_stamp(f);
		foe_make_call(f, &c, &f->a);
		((uint8_t *)&c.msg)[i] ^= (uint8_t)(1u << i % 8);
		if (sign)
			foe_sign_call(f, &c);
		foe_send(&s, &c.msg, sizeof(c.msg));
		pause_between((unsigned)i);
	}
	ok = foe_silent(&s);
	foe_close(&s);
	return ok;
}

/* mac1 made with what anybody could guess. */
static bool
silent_to_wrong_mac1(struct foe *f)
{
	struct foe_socket s = foe_open(f, NULL, 0);
	struct foe_call c = {.cookie.awaits_reply = false};
	struct wg_cookie_keys wrong;
	bool ok;

	foe_next_stamp(f);
	foe_make_call(f, &c, &f->a);
	memset(c.msg.mac1, 0, sizeof(c.msg.mac1));
	foe_send(&s, &c.msg, sizeof(c.msg));
	wg_cookie_keys(f->b2s, &wrong, &f->a.id.public_key);
	wg_cookie_sign(f->b2s, &c.cookie, &wrong, foe_now_ns(),
	    (uint8_t *)&c.msg, sizeof(c.msg));
	foe_send(&s, &c.msg, sizeof(c.msg));
	ok = foe_silent(&s);
	foe_close(&s);
	return ok && silent_when_flipped(f, 116, 132, false);
}

static bool
silent_to_lengths(struct foe *f)
{
	struct foe_socket s = foe_open(f, NULL, 0);
	uint8_t msg[400] = {0};
	struct foe_call c = {.cookie.awaits_reply = false};
	bool ok;

	foe_next_stamp(f);
	foe_make_call(f, &c, &f->a);
	memcpy(msg, &c.msg, sizeof(c.msg));
	for (size_t len = 0; len < sizeof(msg); len++) {
		if (len != sizeof(c.msg))
			foe_send(&s, msg, len);
		pause_between((unsigned)len);
	}
	ok = foe_silent(&s);
	foe_close(&s);
	return ok;
}

/* All other types, and ours at lengths that are not theirs. */
static bool
silent_to_types(struct foe *f)
{
	static const size_t lengths[] = {4, 31, 32, 64, 92, 148, 1500};
	struct foe_socket s = foe_open(f, NULL, 0);
	uint8_t msg[FOE_PACKET_MAX];
	bool ok;

	randombytes_buf(msg, sizeof(msg));
	memset(msg + 1, 0, 3);
	for (unsigned type = 0; type < 256; type++)
		for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
			msg[0] = (uint8_t)type;
			foe_send(&s, msg, lengths[i]);
			pause_between(type);
		}
	ok = foe_silent(&s);
	foe_close(&s);
	return ok;
}

/* Answers and cookies to calls that nobody made, at every length. */
static bool
silent_to_unasked(struct foe *f)
{
	struct foe_socket s = foe_open(f, NULL, 0);
	struct wg_response r;
	struct wg_cookie_reply k;
	struct wg_cookie_maker m = {.awaits_reply = false};
	bool ok;

	randombytes_buf(&r, sizeof(r));
	wg_msg_set_type(r.type, WG_MSG_RESPONSE);
	wg_cookie_sign(f->b2s, &m, &f->target_macs, foe_now_ns(), (uint8_t *)&r,
	    sizeof(r));
	for (size_t len = 0; len <= sizeof(r); len++) {
		foe_send(&s, &r, len);
		pause_between((unsigned)len);
	}
	randombytes_buf(&k, sizeof(k));
	wg_msg_set_type(k.type, WG_MSG_COOKIE);
	for (size_t len = 0; len <= sizeof(k); len++) {
		foe_send(&s, &k, len);
		pause_between((unsigned)len);
	}
	ok = foe_silent(&s);
	foe_close(&s);
	return ok;
}

/* A good call is answered; the same one again, and others whose stamp is not
 * greater, are not. */
static void
check_stamps(struct foe *f)
{
	struct foe_socket s = foe_open(f, NULL, 0),
			  other = foe_open(f, NULL, 0);
	struct foe_call c = {.cookie.awaits_reply = false};
	struct foe_session session;
	uint8_t msg[FOE_DATAGRAM_MAX];
	bool answered;
	size_t n;

	foe_sleep_ms(FOE_CALL_PAUSE_MS);
	foe_next_stamp(f);
	foe_make_call(f, &c, &f->a);
	foe_send(&s, &c.msg, sizeof(c.msg));
	n = foe_receive(&s, msg, FOE_PATIENCE_MS);
	answered = foe_finish_call(f, &session, &c, &f->a, msg, n);
	foe_result(f, "a call is answered", answered);
	if (answered)
		foe_end(&session);
	foe_sleep_ms(FOE_CALL_PAUSE_MS);
	foe_send(&s, &c.msg, sizeof(c.msg));
	foe_send(&other, &c.msg, sizeof(c.msg));
	foe_result(f, "9 replayed initiation: silence",
	    foe_silent(&s) && foe_silent(&other));
	foe_move_stamp(f, -1);
	foe_make_call(f, &c, &f->a);
	foe_send(&s, &c.msg, sizeof(c.msg));
	foe_result(f, "10 older timestamp: silence", foe_silent(&s));
	foe_move_stamp(f, 1);
	foe_make_call(f, &c, &f->a);
	foe_send(&s, &c.msg, sizeof(c.msg));
	foe_result(f, "11 equal timestamp: silence", foe_silent(&s));
	foe_close(&s);
	foe_close(&other);
}

static void
draw_identity(struct wg_identity *id)
{
	randombytes_buf(id->private_key.b, sizeof(id->private_key.b));
	x25519_clamp(id->private_key.b);
	x25519_base(id->public_key.b, id->private_key.b);
}

/* Somebody whom the target does not know. */
static bool
silent_to_stranger(struct foe *f)
{
	struct foe_socket s = foe_open(f, NULL, 0);
	struct foe_call c = {.cookie.awaits_reply = false};
	struct foe_self self = f->a;
	bool ok;

	draw_identity(&self.id);
	(void)x25519(self.remote.static_static.b, self.id.private_key.b,
	    f->target_key.b);
	foe_next_stamp(f);
	foe_make_call(f, &c, &self);
	foe_send(&s, &c.msg, sizeof(c.msg));
	ok = foe_silent(&s);
	foe_close(&s);
	return ok;
}

/* A says that it is B, with a stamp of later. B must be served after it:
 * nothing was remembered. */
static bool
silent_to_claim(struct foe *f)
{
	struct foe_socket s = foe_open(f, NULL, 0);
	struct foe_call c = {.cookie.awaits_reply = false};
	struct foe_self self = f->a;
	bool ok;

	self.id.public_key = f->b.id.public_key;
	foe_next_stamp(f);
	foe_move_stamp(f, 3600);
	foe_make_call(f, &c, &self);
	foe_send(&s, &c.msg, sizeof(c.msg));
	foe_move_stamp(f, -3600);
	ok = foe_silent(&s);
	foe_close(&s);
	return ok && serves(f, &f->b);
}

/* As the target would read it if it took a shared secret of zeros: then the
 * keys of this message are known to everybody. */
static void
make_zero_call(struct foe *f, struct foe_call *c, const uint8_t point[32])
{
	static const char protocol[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
	static const char prologue[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
	static const uint8_t zeros[32];
	struct wg_initiation *m = &c->msg;
	struct wg_symmetric s;
	struct wg_key k;

	wg_symmetric_init(f->b2s, &s, protocol, prologue, sizeof(prologue) - 1);
	wg_symmetric_mix_hash(f->b2s, &s, f->target_key.b, WG_KEY_LEN);
	wg_msg_set_type(m->type, WG_MSG_INITIATION);
	randombytes_buf(m->sender, sizeof(m->sender));
	memcpy(m->ephemeral, point, WG_KEY_LEN);
	blake2s_kdf(f->b2s, 1, s.ck, NULL, NULL, s.ck, point, WG_KEY_LEN);
	wg_symmetric_mix_hash(f->b2s, &s, point, WG_KEY_LEN);
	blake2s_kdf(f->b2s, 2, s.ck, k.b, NULL, s.ck, zeros, sizeof(zeros));
	wg_symmetric_seal(
	    f->b2s, &s, &k, m->static_key, f->a.id.public_key.b, WG_KEY_LEN);
	blake2s_kdf(f->b2s, 2, s.ck, k.b, NULL, s.ck,
	    f->a.remote.static_static.b, WG_KEY_LEN);
	wg_symmetric_seal(f->b2s, &s, &k, m->stamp, f->stamp, WG_STAMP_LEN);
	foe_sign_call(f, c);
}

static bool
silent_to_low_order(struct foe *f)
{
	/* Points of small order: 0, 1, two of order 8, p - 1, p, p + 1. */
	static const char *const points[] = {
	    "0000000000000000000000000000000000000000000000000000000000000000",
	    "0100000000000000000000000000000000000000000000000000000000000000",
	    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct foe_socket s = foe_open(f, NULL, 0);
	struct foe_call c = {.cookie.awaits_reply = false};
	uint8_t point[32];
	bool ok;

	for (size_t i = 0; i < ARRAY_LEN(points); i++) {
		foe_sleep_ms(FOE_CALL_PAUSE_MS);
		foe_next_stamp(f);
		(void)sodium_hex2bin(
		    point, sizeof(point), points[i], 64, NULL, NULL, NULL);
		make_zero_call(f, &c, point);
		foe_send(&s, &c.msg, sizeof(c.msg));
	}
	ok = foe_silent(&s);
	foe_close(&s);
	return ok;
}

void
foe_check_calls(struct foe *f)
{
	foe_result(f, "1 handshake and keys, both peers",
	    serves(f, &f->a) && serves(f, &f->b));
	foe_result(f, "5 random indices (P7)", random_indices(f));
	foe_result(f, "6 wrong mac1: silence (A2)", silent_to_wrong_mac1(f));
	foe_result(
	    f, "7 reserved bytes: silence", silent_when_flipped(f, 1, 4, true));
	foe_result(f, "8 every length but the right one: silence",
	    silent_to_lengths(f));
	foe_result(f, "8 every other type: silence", silent_to_types(f));
	foe_result(f, "16 unasked answers and cookies: silence (A2)",
	    silent_to_unasked(f));
	foe_result(f, "a call is served after that", serves(f, &f->a));
	check_stamps(f);
	foe_result(
	    f, "12 unknown static key: silence (A2)", silent_to_stranger(f));
	foe_result(f, "13 claimed static key: silence, nothing remembered",
	    silent_to_claim(f));
	foe_result(f, "14 ephemeral key of low order: silence",
	    silent_to_low_order(f));
	foe_result(f, "15 a flipped bit anywhere: silence",
	    silent_when_flipped(f, 8, 116, true));
	foe_result(f, "a call is served after all", serves(f, &f->a));
}
