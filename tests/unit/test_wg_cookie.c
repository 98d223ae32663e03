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
#include "wg/wg_cookie.h"

#define S(n) ((n)*UK_NS_PER_S)
#define T0 S(UINT64_C(1000))

static struct blake2s *b;
static struct wg_key responder, initiator; /* public */
static struct wg_initiation m1, m1_with_mac2;
static struct wg_response m2;
static uint8_t cookie[WG_COOKIE_LEN];
static struct wg_cookie_checker checker;
static struct wg_cookie_keys peer_keys;

static void
load(void)
{
	json_t *j = vectors_load("handshake.json");
	struct wg_key k;

	vectors_bytes(j, "responder_static", k.b, WG_KEY_LEN);
	x25519_base(responder.b, k.b);
	vectors_bytes(j, "initiator_static", k.b, WG_KEY_LEN);
	x25519_base(initiator.b, k.b);
	vectors_bytes(j, "message1", (uint8_t *)&m1, sizeof(m1));
	vectors_bytes(j, "message1_with_mac2", (uint8_t *)&m1_with_mac2,
	    sizeof(m1_with_mac2));
	vectors_bytes(j, "message2", (uint8_t *)&m2, sizeof(m2));
	vectors_bytes(j, "cookie", cookie, sizeof(cookie));
	vectors_bytes(
	    j, "mac1_key_responder", peer_keys.mac1, sizeof(peer_keys.mac1));
	vectors_bytes(j, "cookie_key_responder", peer_keys.reply,
	    sizeof(peer_keys.reply));
	json_decref(j);
}

static int
setup(void **state)
{
	(void)state;
	memset(&checker, 0, sizeof(checker));
	wg_cookie_keys(b, &checker.keys, &responder);
	return 0;
}

static struct endpoint
from(const char *addr, uint16_t port)
{
	struct endpoint e = {.port = port};

	assert_int_equal(ip_addr_parse(&e.addr, addr, strlen(addr)), 0);
	return e;
}

static void
test_keys(void **state)
{
	(void)state;
	assert_memory_equal(&checker.keys, &peer_keys, sizeof(peer_keys));
}

/* The worked example: macs of both messages, with and without a cookie. */
static void
test_sign(void **state)
{
	struct wg_cookie_maker m = {.awaits_reply = false};
	struct wg_initiation i = m1;
	struct wg_response r = m2;
	struct wg_cookie_keys to_initiator;

	(void)state;
	memset(i.mac1, 0xee, 32);
	wg_cookie_sign(b, &m, &peer_keys, T0, (uint8_t *)&i, sizeof(i));
	assert_memory_equal(&i, &m1, sizeof(i));
	memcpy(m.cookie, cookie, sizeof(cookie));
	m.cookie_until_ns = T0 + 1;
	wg_cookie_sign(b, &m, &peer_keys, T0, (uint8_t *)&i, sizeof(i));
	assert_memory_equal(&i, &m1_with_mac2, sizeof(i));
	wg_cookie_sign(b, &m, &peer_keys, T0 + 1, (uint8_t *)&i, sizeof(i));
	assert_memory_equal(&i, &m1, sizeof(i));
	m.cookie_until_ns = 0;
	wg_cookie_keys(b, &to_initiator, &initiator);
	memset(r.mac1, 0xee, 32);
	wg_cookie_sign(b, &m, &to_initiator, T0, (uint8_t *)&r, sizeof(r));
	assert_memory_equal(&r, &m2, sizeof(r));
}

/* Check 6: all bits before and in mac1 count, those of mac2 do not. */
static void
test_mac1(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(m1); i++) {
		struct wg_initiation m = m1;

		((uint8_t *)&m)[i] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(
		    wg_cookie_check_mac1(b, &checker, (uint8_t *)&m, sizeof(m)),
		    i >= offsetof(struct wg_initiation, mac2));
	}
	/* Right for another responder is wrong here. */
	assert_false(wg_cookie_check_mac1(
	    b, &checker, (const uint8_t *)&m2, sizeof(m2)));
}

struct trip {
	struct wg_cookie_maker maker;
	struct wg_initiation msg;
	struct wg_cookie_reply reply;
	uint8_t random[WG_COOKIE_RANDOM];
};

/* Send, be refused with a cookie, take it, send again. */
static void
round_trip(struct trip *t, const struct endpoint *e, uint64_t now)
{
	memset(t->random, (int)(now / UK_NS_PER_S), sizeof(t->random));
	t->msg = m1;
	wg_cookie_sign(
	    b, &t->maker, &peer_keys, now, (uint8_t *)&t->msg, sizeof(t->msg));
	wg_cookie_reply(b, &checker, now, e, (uint8_t *)&t->msg, sizeof(t->msg),
	    t->random, &t->reply);
	assert_int_equal(
	    wg_cookie_take(&t->maker, &peer_keys, now, &t->reply), 0);
	wg_cookie_sign(
	    b, &t->maker, &peer_keys, now, (uint8_t *)&t->msg, sizeof(t->msg));
}

static bool
mac2_ok(const struct trip *t, const struct endpoint *e, uint64_t now)
{
	return wg_cookie_check_mac2(
	    b, &checker, now, e, (const uint8_t *)&t->msg, sizeof(t->msg));
}

static void
test_round_trip(void **state)
{
	struct endpoint v4 = from("192.0.2.7", 1000);
	struct endpoint v6 = from("2001:db8::7", 1000);
	struct trip t = {.maker = {.awaits_reply = false}};
	struct endpoint other;

	(void)state;
	t.msg = m1_with_mac2;
	assert_false(mac2_ok(&t, &v4, 0)); /* no secret made yet */
	round_trip(&t, &v4, T0);
	assert_int_equal(
	    wg_msg_classify((uint8_t *)&t.reply, 64), WG_MSG_COOKIE);
	assert_memory_equal(t.reply.receiver, m1.sender, 4);
	assert_true(mac2_ok(&t, &v4, T0));
	other = from("192.0.2.7", 1001); /* bound to the port */
	assert_false(mac2_ok(&t, &other, T0));
	other = from("192.0.2.8", 1000); /* and to the address */
	assert_false(mac2_ok(&t, &other, T0));
	other = from("c000:207::", 1000); /* and to the family */
	assert_false(mac2_ok(&t, &other, T0));
	t.msg.mac2[15] ^= 1;
	assert_false(mac2_ok(&t, &v4, T0));
	round_trip(&t, &v6, T0);
	assert_true(mac2_ok(&t, &v6, T0));
	other = from("2001:db8::8", 1000);
	assert_false(mac2_ok(&t, &other, T0));
}

/* The cookie as the whitepaper defines it, from the secret that was drawn. */
static void
test_cookie_value(void **state)
{
	struct endpoint v4 = from("192.0.2.7", 0x1234);
	static const uint8_t source[] = {192, 0, 2, 7, 0x12, 0x34};
	struct trip t = {.maker = {.awaits_reply = false}};
	uint8_t want[WG_COOKIE_LEN];

	(void)state;
	round_trip(&t, &v4, T0);
	blake2s_mac(
	    b, want, t.random, BLAKE2S_LEN, source, sizeof(source), NULL, 0);
	assert_memory_equal(t.maker.cookie, want, sizeof(want));
	assert_memory_equal(t.reply.nonce, t.random + BLAKE2S_LEN, 24);
}

/* Secrets and cookies get old: 120 s honoured, 115 s used. */
static void
test_ages(void **state)
{
	struct endpoint e = from("192.0.2.7", 1000);
	struct trip t = {.maker = {.awaits_reply = false}};
	uint8_t secret[BLAKE2S_LEN];

	(void)state;
	round_trip(&t, &e, T0);
	memcpy(secret, checker.secret, sizeof(secret));
	assert_true(mac2_ok(&t, &e, T0 + S(120) - 1));
	assert_false(mac2_ok(&t, &e, T0 + S(120)));
	wg_cookie_sign(b, &t.maker, &peer_keys, T0 + S(115) - 1,
	    (uint8_t *)&t.msg, sizeof(t.msg));
	assert_true(mac2_ok(&t, &e, T0 + S(115) - 1));
	wg_cookie_sign(b, &t.maker, &peer_keys, T0 + S(115), (uint8_t *)&t.msg,
	    sizeof(t.msg));
	assert_false(mac2_ok(&t, &e, T0 + S(115)));
	round_trip(&t, &e, T0 + S(119));
	assert_memory_equal(checker.secret, secret, sizeof(secret));
	round_trip(&t, &e, T0 + S(120));
	assert_memory_not_equal(checker.secret, secret, sizeof(secret));
	assert_true(mac2_ok(&t, &e, T0 + S(120)));
}

/* A reply is believed once, and only as an answer to the last message. */
static void
test_take(void **state)
{
	struct endpoint e = from("192.0.2.7", 1000);
	struct trip t = {.maker = {.awaits_reply = false}};
	struct wg_cookie_maker fresh = {.awaits_reply = false};
	struct wg_cookie_reply bad;

	(void)state;
	round_trip(&t, &e, T0); /* awaits again: it has signed again */
	bad = t.reply;
	assert_int_equal(
	    wg_cookie_take(&fresh, &peer_keys, T0, &bad), UK_EAUTH);
	wg_cookie_reply(b, &checker, T0, &e, (uint8_t *)&t.msg, sizeof(t.msg),
	    t.random, &t.reply);
	for (size_t i = 8; i < sizeof(bad); i++) {
		bad = t.reply;
		((uint8_t *)&bad)[i] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(
		    wg_cookie_take(&t.maker, &peer_keys, T0, &bad), UK_EAUTH);
	}
	assert_int_equal(wg_cookie_take(&t.maker, &peer_keys, T0, &t.reply), 0);
	assert_int_equal(
	    wg_cookie_take(&t.maker, &peer_keys, T0, &t.reply), UK_EAUTH);
	/* A later message makes the old answer stale. */
	t.msg.stamp[0] ^= 1;
	wg_cookie_sign(
	    b, &t.maker, &peer_keys, T0, (uint8_t *)&t.msg, sizeof(t.msg));
	assert_int_equal(
	    wg_cookie_take(&t.maker, &peer_keys, T0, &t.reply), UK_EAUTH);
}

/* Macs of a library that has failed are zeros that anybody can write. */
static void
test_broken_library(void **state)
{
	struct endpoint e = from("192.0.2.7", 1000);
	struct blake2s *broken = blake2s_new();
	struct wg_initiation m = m1;
	uint8_t out[BLAKE2S_MAC_LEN];

	(void)state;
	blake2s_mac(broken, out, out, 0, NULL, 0, NULL, 0);
	checker.secret_until_ns = T0 + 1;
	memset(m.mac1, 0, 32);
	assert_false(
	    wg_cookie_check_mac1(broken, &checker, (uint8_t *)&m, sizeof(m)));
	assert_false(wg_cookie_check_mac2(
	    broken, &checker, T0, &e, (uint8_t *)&m, sizeof(m)));
	blake2s_free(broken);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_keys, setup),
	    cmocka_unit_test_setup(test_sign, setup),
	    cmocka_unit_test_setup(test_mac1, setup),
	    cmocka_unit_test_setup(test_round_trip, setup),
	    cmocka_unit_test_setup(test_cookie_value, setup),
	    cmocka_unit_test_setup(test_ages, setup),
	    cmocka_unit_test_setup(test_take, setup),
	    cmocka_unit_test_setup(test_broken_library, setup),
	};
	int failed;

	b = blake2s_new();
	load();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	blake2s_free(b);
	return failed;
}
