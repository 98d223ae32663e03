#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/aead.h"
#include "core/err.h"
#include "core/x25519.h"
#include "support/vectors.h"
#include "wg/wg_noise.h"

static struct blake2s *b;

/* ---- the Noise vector, through the building blocks ---- */

static void
mix_key(struct wg_symmetric *s, struct wg_key *k, const struct wg_key *x)
{
	blake2s_kdf(b, 2, s->ck, k->b, NULL, s->ck, x->b, sizeof(x->b));
}

static void
mix_dh(struct wg_symmetric *s, struct wg_key *k, const struct wg_key *priv,
    const struct wg_key *pub)
{
	struct wg_key dh;

	assert_int_equal(x25519(dh.b, priv->b, pub->b), 0);
	mix_key(s, k, &dh);
}

struct noise_vector {
	struct wg_key is, ie, rs, re, psk; /* private */
	struct wg_key is_pub, ie_pub, rs_pub, re_pub;
	struct wg_symmetric sym;
	struct wg_key k;
};

static void
load_noise(struct noise_vector *v, const json_t *j)
{
	const json_t *psks = json_object_get(j, "init_psks");
	uint8_t prologue[64];
	size_t len;

	vectors_bytes(j, "init_static", v->is.b, WG_KEY_LEN);
	vectors_bytes(j, "init_ephemeral", v->ie.b, WG_KEY_LEN);
	vectors_bytes(j, "resp_static", v->rs.b, WG_KEY_LEN);
	vectors_bytes(j, "resp_ephemeral", v->re.b, WG_KEY_LEN);
	vectors_unhex(
	    v->psk.b, WG_KEY_LEN, json_string_value(json_array_get(psks, 0)));
	x25519_base(v->is_pub.b, v->is.b);
	x25519_base(v->ie_pub.b, v->ie.b);
	x25519_base(v->rs_pub.b, v->rs.b);
	x25519_base(v->re_pub.b, v->re.b);
	len = vectors_hex(j, "init_prologue", prologue, sizeof(prologue));
	wg_symmetric_init(b, &v->sym,
	    json_string_value(json_object_get(j, "protocol_name")), prologue,
	    len);
	wg_symmetric_mix_hash(b, &v->sym, v->rs_pub.b, WG_KEY_LEN);
}

/* e: with a psk the ephemeral key is mixed into the chain, too. */
static void
token_e(struct noise_vector *v, const struct wg_key *pub, const uint8_t *wire)
{
	assert_memory_equal(wire, pub->b, WG_KEY_LEN);
	wg_symmetric_mix_hash(b, &v->sym, pub->b, WG_KEY_LEN);
	mix_key(&v->sym, &v->k, pub);
}

/* Seal, compare with the wire, and open a copy of the state with it. */
static void
token_sealed(struct noise_vector *v, const uint8_t *plain, size_t len,
    const uint8_t *wire)
{
	uint8_t out[256];
	struct wg_symmetric twin = v->sym;

	wg_symmetric_seal(b, &v->sym, &v->k, out, plain, len);
	assert_memory_equal(out, wire, len + AEAD_TAG_LEN);
	assert_int_equal(
	    wg_symmetric_open(b, &twin, &v->k, out, wire, len + AEAD_TAG_LEN),
	    0);
	assert_memory_equal(out, plain, len);
	assert_memory_equal(&twin, &v->sym, sizeof(twin));
}

static void
noise_first(struct noise_vector *v, const json_t *message)
{
	uint8_t payload[64], wire[256];
	size_t len = vectors_hex(message, "payload", payload, sizeof(payload));

	vectors_bytes(message, "ciphertext", wire, 32 + 48 + len + 16);
	token_e(v, &v->ie_pub, wire);
	mix_dh(&v->sym, &v->k, &v->ie, &v->rs_pub); /* es */
	token_sealed(v, v->is_pub.b, WG_KEY_LEN, wire + 32);
	mix_dh(&v->sym, &v->k, &v->is, &v->rs_pub); /* ss */
	token_sealed(v, payload, len, wire + 80);
}

static void
noise_second(struct noise_vector *v, const json_t *message)
{
	uint8_t payload[64], wire[256], t[BLAKE2S_LEN];
	size_t len = vectors_hex(message, "payload", payload, sizeof(payload));

	vectors_bytes(message, "ciphertext", wire, 32 + len + 16);
	token_e(v, &v->re_pub, wire);
	mix_dh(&v->sym, &v->k, &v->re, &v->ie_pub); /* ee */
	mix_dh(&v->sym, &v->k, &v->re, &v->is_pub); /* se */
	blake2s_kdf(b, 3, v->sym.ck, t, v->k.b, v->sym.ck, v->psk.b,
	    WG_KEY_LEN); /* psk */
	wg_symmetric_mix_hash(b, &v->sym, t, sizeof(t));
	token_sealed(v, payload, len, wire + 32);
}

/* Two messages each way under the split keys. */
static void
noise_transport(struct noise_vector *v, const json_t *messages)
{
	struct wg_key key[2];

	blake2s_kdf(b, 2, key[0].b, key[1].b, NULL, v->sym.ck, "", 0);
	for (size_t i = 2; i < json_array_size(messages); i++) {
		const json_t *m = json_array_get(messages, i);
		uint8_t payload[64], wire[128], out[128];
		size_t len =
		    vectors_hex(m, "payload", payload, sizeof(payload));

		vectors_bytes(m, "ciphertext", wire, len + AEAD_TAG_LEN);
		aead_seal_once(
		    out, key[i % 2].b, i / 2 - 1, NULL, 0, payload, len);
		assert_memory_equal(out, wire, len + AEAD_TAG_LEN);
	}
}

static void
test_noise_vector(void **state)
{
	json_t *file = vectors_load("noise-ikpsk2.json");
	const json_t *j = json_array_get(json_object_get(file, "vectors"), 0);
	const json_t *messages = json_object_get(j, "messages");
	uint8_t h[BLAKE2S_LEN];
	struct noise_vector v;

	(void)state;
	assert_int_equal(json_array_size(messages), 6);
	load_noise(&v, j);
	noise_first(&v, json_array_get(messages, 0));
	noise_second(&v, json_array_get(messages, 1));
	vectors_bytes(j, "handshake_hash", h, sizeof(h));
	assert_memory_equal(v.sym.h, h, sizeof(h));
	noise_transport(&v, messages);
	json_decref(file);
}

/* ---- WireGuard's messages ---- */

/* Both sides of the worked example and its messages. */
struct example {
	struct wg_identity i, r;
	struct wg_remote ir, ri; /* the responder as i sees it; reverse */
	struct wg_key ie, re;
	uint8_t stamp[WG_STAMP_LEN];
	struct wg_initiation m1;
	struct wg_response m2;
	struct wg_session_keys keys; /* the initiator's */
};

static struct example ex;

static void
load_identity(struct wg_identity *us, const json_t *j, const char *name)
{
	vectors_bytes(j, name, us->private_key.b, WG_KEY_LEN);
	x25519_base(us->public_key.b, us->private_key.b);
}

static void
load_remote(struct wg_remote *r, const struct wg_identity *us,
    const struct wg_identity *them, const json_t *j)
{
	r->public_key = them->public_key;
	vectors_bytes(j, "psk", r->psk.b, WG_KEY_LEN);
	assert_int_equal(
	    x25519(r->static_static.b, us->private_key.b, them->public_key.b),
	    0);
}

static void
load_example(void)
{
	json_t *j = vectors_load("handshake.json");

	load_identity(&ex.i, j, "initiator_static");
	load_identity(&ex.r, j, "responder_static");
	load_remote(&ex.ir, &ex.i, &ex.r, j);
	load_remote(&ex.ri, &ex.r, &ex.i, j);
	vectors_bytes(j, "initiator_ephemeral", ex.ie.b, WG_KEY_LEN);
	vectors_bytes(j, "responder_ephemeral", ex.re.b, WG_KEY_LEN);
	vectors_bytes(j, "timestamp", ex.stamp, sizeof(ex.stamp));
	vectors_bytes(j, "message1", (uint8_t *)&ex.m1, sizeof(ex.m1));
	vectors_bytes(j, "message2", (uint8_t *)&ex.m2, sizeof(ex.m2));
	vectors_bytes(j, "initiator_send_key", ex.keys.send.b, WG_KEY_LEN);
	vectors_bytes(
	    j, "initiator_receive_key", ex.keys.receive.b, WG_KEY_LEN);
	json_decref(j);
}

#define UP_TO_MACS(m) offsetof(struct m, mac1)

static void
test_example_initiate(void **state)
{
	struct wg_handshake hs;
	struct wg_initiation msg;

	(void)state;
	assert_int_equal(wg_noise_initiate(b, &hs, &msg, &ex.i, &ex.ir, &ex.ie,
			     ex.stamp, ex.m1.sender),
	    0);
	assert_memory_equal(&msg, &ex.m1, UP_TO_MACS(wg_initiation));
}

static void
test_example_respond(void **state)
{
	uint8_t stamp[WG_STAMP_LEN];
	struct wg_session_keys keys;
	struct wg_response msg;
	struct wg_draft d;

	(void)state;
	assert_int_equal(wg_noise_open_caller(b, &d, &ex.m1, &ex.r), 0);
	assert_memory_equal(&d.caller, &ex.i.public_key, WG_KEY_LEN);
	assert_int_equal(wg_noise_open_stamp(b, &d, stamp, &ex.m1, &ex.ri), 0);
	assert_memory_equal(stamp, ex.stamp, sizeof(stamp));
	assert_int_equal(wg_noise_respond(b, &keys, &msg, &d, &ex.ri, &ex.re,
			     ex.m2.sender, ex.m1.sender),
	    0);
	assert_memory_equal(&msg, &ex.m2, UP_TO_MACS(wg_response));
	assert_memory_equal(&keys.send, &ex.keys.receive, WG_KEY_LEN);
	assert_memory_equal(&keys.receive, &ex.keys.send, WG_KEY_LEN);
}

static void
start(struct wg_handshake *hs)
{
	struct wg_initiation msg;

	assert_int_equal(wg_noise_initiate(b, hs, &msg, &ex.i, &ex.ir, &ex.ie,
			     ex.stamp, ex.m1.sender),
	    0);
}

/* The state of an initiator is not touched by answers, right or wrong. */
static void
test_example_finish(void **state)
{
	struct wg_session_keys keys;
	struct wg_handshake hs, before;

	(void)state;
	start(&hs);
	before = hs;
	assert_int_equal(
	    wg_noise_finish(b, &keys, &ex.m2, &hs, &ex.i, &ex.ir), 0);
	assert_memory_equal(&keys, &ex.keys, sizeof(keys));
	assert_memory_equal(&hs, &before, sizeof(hs));
}

/* ---- refusals ---- */

static int
open_both(const struct wg_initiation *m)
{
	uint8_t stamp[WG_STAMP_LEN];
	struct wg_draft d;
	int err = wg_noise_open_caller(b, &d, m, &ex.r);

	return err ? err : wg_noise_open_stamp(b, &d, stamp, m, &ex.ri);
}

/* Ephemeral, static key and stamp: every bit matters. */
static void
test_flipped_initiation(void **state)
{
	struct wg_draft d;

	(void)state;
	for (size_t i = offsetof(struct wg_initiation, ephemeral);
	     i < UP_TO_MACS(wg_initiation); i++) {
		struct wg_initiation m = ex.m1;

		((uint8_t *)&m)[i] ^= (uint8_t)(1 << i % 7);
		assert_int_equal(open_both(&m), UK_EAUTH);
		assert_int_equal(wg_noise_open_caller(b, &d, &m, &ex.r),
		    i < offsetof(struct wg_initiation, stamp) ? UK_EAUTH : 0);
	}
	assert_int_equal(open_both(&ex.m1), 0);
}

static void
test_flipped_response(void **state)
{
	struct wg_session_keys keys;
	struct wg_handshake hs;

	(void)state;
	start(&hs);
	for (size_t i = offsetof(struct wg_response, ephemeral);
	     i < UP_TO_MACS(wg_response); i++) {
		struct wg_response m = ex.m2;

		((uint8_t *)&m)[i] ^= (uint8_t)(1 << i % 7);
		assert_int_equal(
		    wg_noise_finish(b, &keys, &m, &hs, &ex.i, &ex.ir),
		    UK_EAUTH);
	}
}

static void
test_other_psk(void **state)
{
	struct wg_remote other = ex.ir;
	struct wg_session_keys keys;
	struct wg_handshake hs;

	(void)state;
	start(&hs);
	other.psk.b[31] ^= 1;
	assert_int_equal(
	    wg_noise_finish(b, &keys, &ex.m2, &hs, &ex.i, &other), UK_EAUTH);
}

/* Points of low order and their non-canonical twins: a DH with them is zero
 * (check 14). */
static const char *const low_order[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static void
test_low_order_ephemeral(void **state)
{
	struct wg_session_keys keys;
	struct wg_handshake hs;
	struct wg_draft d;

	(void)state;
	start(&hs);
	for (size_t i = 0; i < ARRAY_LEN(low_order); i++) {
		struct wg_initiation m1 = ex.m1;
		struct wg_response m2 = ex.m2;

		vectors_unhex(m1.ephemeral, WG_KEY_LEN, low_order[i]);
		memcpy(m2.ephemeral, m1.ephemeral, WG_KEY_LEN);
		assert_int_equal(
		    wg_noise_open_caller(b, &d, &m1, &ex.r), UK_EAUTH);
		assert_int_equal(
		    wg_noise_finish(b, &keys, &m2, &hs, &ex.i, &ex.ir),
		    UK_EAUTH);
	}
}

/* ss would be zero, so anybody could seal this stamp. */
static void
test_zero_static_static(void **state)
{
	static const struct wg_key zero;
	struct wg_remote low = ex.ri;
	uint8_t stamp[WG_STAMP_LEN];
	struct wg_initiation m = ex.m1;
	struct wg_draft d;
	struct wg_symmetric sym;
	struct wg_key k;

	(void)state;
	assert_int_equal(wg_noise_open_caller(b, &d, &m, &ex.r), 0);
	sym = d.sym;
	mix_key(&sym, &k, &zero);
	wg_symmetric_seal(b, &sym, &k, m.stamp, ex.stamp, WG_STAMP_LEN);
	low.static_static = zero;
	assert_int_equal(wg_noise_open_stamp(b, &d, stamp, &m, &low), UK_EAUTH);
}

/* A peer whose static key is of low order: no initiation, no stamp opened, no
 * answer, each refused on its own. */
static void
test_low_order_static(void **state)
{
	static const struct wg_key zero;
	uint8_t stamp[WG_STAMP_LEN];
	struct wg_session_keys keys;
	struct wg_handshake hs;
	struct wg_initiation m1;
	struct wg_response m2;
	struct wg_remote low = ex.ir;
	struct wg_draft d;

	(void)state;
	low.static_static = zero;
	memset(&hs, 0xee, sizeof(hs));
	assert_int_equal(wg_noise_initiate(b, &hs, &m1, &ex.i, &low, &ex.ie,
			     ex.stamp, ex.m1.sender),
	    UK_EAUTH);
	assert_memory_equal(&hs.ephemeral, &zero, sizeof(zero));
	assert_int_equal(wg_noise_open_caller(b, &d, &ex.m1, &ex.r), 0);
	assert_int_equal(
	    wg_noise_open_stamp(b, &d, stamp, &ex.m1, &low), UK_EAUTH);
	for (size_t i = 0; i < ARRAY_LEN(low_order); i++) {
		low = ex.ir; /* as if ss had been overlooked: es is zero */
		vectors_unhex(low.public_key.b, WG_KEY_LEN, low_order[i]);
		assert_int_equal(wg_noise_initiate(b, &hs, &m1, &ex.i, &low,
				     &ex.ie, ex.stamp, ex.m1.sender),
		    UK_EAUTH);
		assert_memory_equal(&hs.ephemeral, &zero, sizeof(zero));
		assert_int_equal(wg_noise_respond(b, &keys, &m2, &d, &low,
				     &ex.re, ex.m2.sender, ex.m1.sender),
		    UK_EAUTH);
	}
}

/* With a crypto library that has failed, all keys are zeros that anybody
 * knows: nothing may be accepted under them. */
static void
test_broken_library(void **state)
{
	static const uint8_t zero[BLAKE2S_LEN];
	struct blake2s *broken = blake2s_new();
	uint8_t out[BLAKE2S_LEN], stamp[WG_STAMP_LEN];
	struct wg_session_keys keys;
	struct wg_initiation m1 = ex.m1;
	struct wg_response m2 = ex.m2;
	struct wg_handshake hs;
	struct wg_draft d;

	(void)state;
	start(&hs);
	blake2s_mac(broken, out, zero, 0, NULL, 0, NULL, 0);
	aead_seal_once(m1.static_key, zero, 0, zero, sizeof(zero),
	    ex.i.public_key.b, WG_KEY_LEN);
	aead_seal_once(
	    m1.stamp, zero, 0, zero, sizeof(zero), ex.stamp, WG_STAMP_LEN);
	aead_seal_once(m2.nothing, zero, 0, zero, sizeof(zero), zero, 0);
	assert_int_equal(
	    wg_noise_open_caller(broken, &d, &m1, &ex.r), UK_ECRYPTO);
	assert_int_equal(
	    wg_noise_open_stamp(broken, &d, stamp, &m1, &ex.ri), UK_ECRYPTO);
	assert_int_equal(wg_noise_respond(broken, &keys, &m2, &d, &ex.ri,
			     &ex.re, ex.m2.sender, ex.m1.sender),
	    UK_ECRYPTO);
	assert_int_equal(
	    wg_noise_finish(broken, &keys, &m2, &hs, &ex.i, &ex.ir),
	    UK_ECRYPTO);
	assert_int_equal(wg_noise_initiate(broken, &hs, &m1, &ex.i, &ex.ir,
			     &ex.ie, ex.stamp, ex.m1.sender),
	    UK_ECRYPTO);
	blake2s_free(broken);
}

/* ---- the door ---- */

static void
test_classify(void **state)
{
	static const struct {
		size_t len[2]; /* least, most */
	} want[] = {
	    [WG_MSG_INITIATION] = {{148, 148}},
	    [WG_MSG_RESPONSE] = {{92, 92}},
	    [WG_MSG_COOKIE] = {{64, 64}},
	    [WG_MSG_DATA] = {{32, 400}},
	};

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		uint8_t m[400] = {(uint8_t)type};

		for (size_t len = 0; len <= sizeof(m); len++) {
			bool ok = type >= 1 && type <= 4 &&
				  len >= want[type].len[0] &&
				  len <= want[type].len[1];

			assert_int_equal(wg_msg_classify(m, len),
			    ok ? type : WG_MSG_INVALID);
		}
	}
	for (size_t i = 1; i < 4; i++) { /* check 7: reserved bytes */
		uint8_t m[32] = {WG_MSG_DATA};

		m[i] = 1;
		assert_int_equal(wg_msg_classify(m, sizeof(m)), WG_MSG_INVALID);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_noise_vector),
	    cmocka_unit_test(test_example_initiate),
	    cmocka_unit_test(test_example_respond),
	    cmocka_unit_test(test_example_finish),
	    cmocka_unit_test(test_flipped_initiation),
	    cmocka_unit_test(test_flipped_response),
	    cmocka_unit_test(test_other_psk),
	    cmocka_unit_test(test_low_order_ephemeral),
	    cmocka_unit_test(test_zero_static_static),
	    cmocka_unit_test(test_low_order_static),
	    cmocka_unit_test(test_broken_library),
	    cmocka_unit_test(test_classify),
	};
	int failed;

	b = blake2s_new();
	load_example();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	blake2s_free(b);
	return failed;
}
