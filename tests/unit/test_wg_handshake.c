/* Messages 1, 2 and 3 through two devices.
 *
 * Check                                  Test that inverting it breaks (P8)
 *   mac1 right                           test_flipped_initiation, _response
 *   room in the queue of handshakes      test_flood
 *   under load: mac2, then the rate      test_cookie_round_trip, test_rate
 *   caller's static key opens            test_flipped_initiation
 *   caller is a peer                     test_unknown_static
 *   caller proves it, stamp opens        test_claimed_static
 *   stamp greater than the last          test_initiation_replay
 *   stamp not far ahead                  test_stamp_ahead
 *   20 ms since the last one             test_initiations_too_fast
 *   response names a waiting handshake   test_response_once
 *   response opens                       test_flipped_response
 *   cookie reply names one of ours       test_cookie_reply_refused
 *   cookie reply opens, was asked for    test_cookie_reply_refused
 *   DH results not zero                  test_wg_noise, test_low_order_peers
 *   asked, and how long ago              test_ask_interval
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "core/bytes.h"
#include "core/err.h"
#include "core/x25519.h"
#include "support/vectors.h"
#include "support/wg_lab.h"
#include "wg/wg_state.h"

/* The linker leads the core's allocations through here. */
static unsigned allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *
__wrap_malloc(size_t size)
{
	allocations++;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	allocations++;
	return __real_calloc(n, size);
}

static struct lab l;

static int
setup(void **state)
{
	(void)state;
	lab_init(&l);
	return 0;
}

static int
setup_connected(void **state)
{
	setup(state);
	lab_connect(&l);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	lab_fini(&l);
	return 0;
}

/* ---- steps of a handshake ---- */

/* Make a side want a session and take its initiation. */
static void
initiate(struct lab_side *s, struct lab_msg *m)
{
	wg_peer_want_session(s->peer, false, l.now.mono_ns);
	assert_true(lab_next(&l, s, m));
	assert_int_equal(pbuf_data(&m->buf)[0], WG_MSG_INITIATION);
	assert_int_equal(m->buf.len, 148);
}

static void
give(struct lab_side *s, const struct lab_msg *m, const struct endpoint *from)
{
	struct lab_msg out;

	assert_false(lab_open(&l, s, m, from, &out));
}

static void
expect_answer(struct lab_side *s, struct lab_msg *m)
{
	assert_true(lab_next(&l, s, m));
	assert_int_equal(pbuf_data(&m->buf)[0], WG_MSG_RESPONSE);
	assert_int_equal(m->buf.len, 92);
}

static void
expect_quiet(struct lab_side *s)
{
	struct lab_msg m;

	assert_false(lab_next(&l, s, &m));
}

/* A message is dropped for this reason alone, allocates nothing and is met
 * with silence (A1, A2). */
static void
expect_dropped(struct lab_side *s, const struct lab_msg *m,
    const struct endpoint *from, enum wg_drop why)
{
	uint64_t before = lab_dropped(s, why), all = lab_dropped_all(s);
	unsigned allocated = allocations;

	give(s, m, from);
	expect_quiet(s);
	assert_int_equal(lab_dropped(s, why), before + 1);
	assert_int_equal(lab_dropped_all(s), all + 1);
	assert_int_equal(allocations, allocated);
}

/* Put a right mac1 on a message that was changed. */
static void
sign(const struct lab_side *to, struct lab_msg *m)
{
	struct wg_cookie_maker maker = {.awaits_reply = false};
	struct blake2s *b = blake2s_new();
	struct wg_cookie_keys keys;

	wg_cookie_keys(b, &keys, &to->public_key);
	wg_cookie_sign(b, &maker, &keys, 0, pbuf_data(&m->buf), m->buf.len);
	blake2s_free(b);
}

static void
expect_endpoint(const struct lab_side *s, const struct endpoint *e)
{
	assert_true(endpoint_same_remote(&s->peer->endpoint, e));
}

/* ---- initiations ---- */

/* 6, 7, 15: flipped bits in every byte. With a wrong mac1 no DH is done, so
 * nobody can make us work who does not know our key. */
static void
test_flipped_initiation(void **state)
{
	struct lab_msg m, bad;

	(void)state;
	initiate(&l.a, &m);
	for (size_t i = 0; i < 132; i++) {
		lab_copy(&bad, &m);
		pbuf_data(&bad.buf)[i] ^= (uint8_t)(1 << i % 8);
		expect_dropped(&l.b, &bad, &l.a.at,
		    i < 4 ? WG_DROP_MALFORMED : WG_DROP_MAC1);
	}
	for (size_t i = 8; i < 116; i++) { /* mac1 made right again */
		lab_copy(&bad, &m);
		pbuf_data(&bad.buf)[i] ^= (uint8_t)(1 << i % 8);
		sign(&l.b, &bad);
		give(&l.b, &bad, &l.a.at);
		expect_quiet(&l.b);
	}
	assert_int_equal(lab_dropped(&l.b, WG_DROP_AUTH), 108);
	assert_null(l.b.peer->fresh);
	assert_int_equal(l.b.peer->endpoint.addr.family, FAMILY_NONE);
	pbuf_data(&m.buf)[147] ^= 1; /* mac2 is ignored without load */
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &bad);
}

/* 8 */
static void
test_lengths(void **state)
{
	struct lab_msg m, bad;

	(void)state;
	initiate(&l.a, &m);
	for (uint32_t len = 0; len < 300; len++) {
		if (len == 148)
			continue;
		lab_copy(&bad, &m);
		bad.buf.len = len;
		expect_dropped(&l.b, &bad, &l.a.at, WG_DROP_MALFORMED);
	}
}

/* 12: right in all ways, from somebody we do not serve. */
static void
test_unknown_static(void **state)
{
	struct lab_msg m;

	(void)state;
	initiate(&l.a, &m);
	wg_device_remove(l.b.d, l.b.peer);
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_UNKNOWN_PEER);
}

/* 13: a stranger claims to be a: he can do e, es and s, not ss. */
static void
test_claimed_static(void **state)
{
	struct wg_identity evil = {.private_key = {{1, 2, 3}}};
	struct wg_remote b = {.public_key = l.b.public_key};
	struct blake2s *hash = blake2s_new();
	struct wg_key ephemeral = {{4, 5, 6}};
	uint8_t stamp[WG_STAMP_LEN] = {0x40};
	struct wg_handshake hs;
	struct lab_msg m;

	(void)state;
	evil.public_key = l.a.public_key; /* the lie */
	assert_int_equal(
	    x25519(b.static_static.b, evil.private_key.b, b.public_key.b), 0);
	initiate(&l.a, &m);
	assert_int_equal(wg_noise_initiate(hash, &hs, (void *)pbuf_data(&m.buf),
			     &evil, &b, &ephemeral, stamp, stamp),
	    0);
	sign(&l.b, &m);
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_AUTH);
	blake2s_free(hash);
}

/* 9, 10, 11 (P1): the same message again, an older one, an equal stamp; the
 * session and the endpoint stay. */
static void
test_initiation_replay(void **state)
{
	struct endpoint evil = lab_at("203.0.113.66", 666);
	struct lab_msg old, m, answer;

	(void)state;
	initiate(&l.a, &old);
	lab_advance(&l, LAB_S(6));
	initiate(&l.a, &m);
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &answer);
	lab_advance(&l, LAB_S(1));
	expect_dropped(&l.b, &m, &evil, WG_DROP_REPLAY);
	expect_dropped(&l.b, &old, &evil, WG_DROP_REPLAY);
	expect_endpoint(&l.b, &l.a.at);
	wg_timers_stop(&l.a.peer->timers);
	memcpy(l.a.peer->sent_stamp, l.b.peer->stamp, WG_STAMP_LEN);
	store_be32(
	    l.a.peer->sent_stamp + 8, load_be32(l.a.peer->sent_stamp + 8) - 1);
	l.now.wall_ns = 0;
	initiate(&l.a, &m);
	assert_memory_equal(
	    l.a.peer->sent_stamp, l.b.peer->stamp, WG_STAMP_LEN);
	expect_dropped(&l.b, &m, &evil, WG_DROP_REPLAY);
	give(&l.a, &answer, &l.b.at); /* not this handshake's */
	assert_null(l.a.peer->current);
}

static void
stamped(uint64_t ahead_s, uint64_t now_s, struct lab_msg *m)
{
	wg_timers_stop(&l.a.peer->timers);
	memset(l.a.peer->sent_stamp, 0, WG_STAMP_LEN);
	l.now.wall_ns = LAB_S(now_s + ahead_s);
	initiate(&l.a, m);
	l.now.wall_ns = LAB_S(now_s);
}

/* P1: stamps up to a day ahead; more than that only when told so, or while
 * our own clock is plainly wrong. */
static void
test_stamp_ahead(void **state)
{
	const uint64_t now = 1790000000, day = 86400;
	struct lab_msg m, answer;

	(void)state;
	stamped(day + 1, now, &m);
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_STAMP_AHEAD);
	stamped(day * 1000, now, &m);
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_STAMP_AHEAD);
	stamped(day, now, &m);
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &answer);
	lab_advance(&l, LAB_S(1));
	stamped(day * 30000, 60, &m); /* a clock that begins in 1970 */
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &answer);
	lab_advance(&l, LAB_S(1));
	l.b.d->conf.stamp_ahead_ns = 0;
	stamped(day * 20000, now, &m);
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &answer);
}

/* P1: a clock that goes back an hour, and a restart with the last stamp kept,
 * do not keep a peer out. */
static void
test_clock_steps_back(void **state)
{
	uint8_t stamp[WG_STAMP_LEN];

	(void)state;
	lab_connect(&l);
	l.now.mono_ns += LAB_S(200);
	l.now.wall_ns -= LAB_S(3600);
	lab_connect(&l);
	wg_device_last_stamp(l.a.d, stamp);
	lab_restart(&l, &l.a, &l.b);
	wg_device_set_last_stamp(l.a.d, stamp);
	lab_advance(&l, LAB_S(1));
	lab_connect(&l);
	assert_int_equal(lab_dropped(&l.b, WG_DROP_REPLAY), 0);
}

/* P1: a clock that was years ahead for a while. A peer that bounds stamps
 * refused it and must accept us once the clock is right, also after a restart;
 * one that does not bound them has accepted it, and stamps go on from there. */
static void
test_clock_was_far_ahead(void **state)
{
	const uint64_t years = LAB_S(UINT64_C(86400) * 1000);
	uint8_t stamp[WG_STAMP_LEN];
	struct lab_msg m, answer;

	(void)state;
	l.now.wall_ns += years;
	initiate(&l.a, &m);
	l.now.wall_ns -= years;
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_STAMP_AHEAD);
	wg_device_last_stamp(l.a.d, stamp);
	assert_true(sodium_is_zero(stamp, sizeof(stamp)));
	lab_advance(&l, LAB_S(6));
	lab_connect(&l);

	l.b.d->conf.stamp_ahead_ns = 0;
	l.now.wall_ns += years;
	lab_advance(&l, LAB_S(200));
	lab_connect(&l);
	l.now.wall_ns -= years;
	wg_device_last_stamp(l.a.d, stamp);
	lab_restart(&l, &l.a, &l.b);
	wg_device_set_last_stamp(l.a.d, stamp);
	lab_advance(&l, LAB_S(6));
	initiate(&l.a, &m);
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &answer);
}

/* A responder that restarts with the peer's stamp accepts no old initiation. */
static void
test_responder_restarts(void **state)
{
	uint8_t stamp[WG_STAMP_LEN];
	struct lab_msg old;

	(void)state;
	initiate(&l.a, &old);
	lab_advance(&l, LAB_S(6));
	lab_connect(&l);
	wg_peer_stamp(l.b.peer, stamp);
	lab_restart(&l, &l.b, &l.a);
	wg_peer_set_stamp(l.b.peer, stamp);
	expect_dropped(&l.b, &old, &l.a.at, WG_DROP_REPLAY);
}

/* At most 50 initiations of a peer a second are accepted. */
static void
test_initiations_too_fast(void **state)
{
	struct lab_msg m, answer;

	(void)state;
	initiate(&l.a, &m);
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &answer);
	lab_advance(&l, LAB_MS(20) - 1);
	wg_timers_stop(&l.a.peer->timers);
	initiate(&l.a, &m);
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_FLOOD);
	lab_advance(&l, 1);
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &answer);
}

/* An initiation moves the endpoint, as any authentic message does. */
static void
test_initiation_roams(void **state)
{
	struct endpoint there = lab_at("2001:db8::9", 9);
	struct lab_msg m, answer;

	(void)state;
	lab_connect(&l);
	lab_advance(&l, LAB_S(6));
	initiate(&l.a, &m);
	give(&l.b, &m, &there);
	expect_answer(&l.b, &answer);
	assert_true(endpoint_same_remote(&answer.to, &there));
	expect_endpoint(&l.b, &there);
}

/* 14, uapi section 4: peers whose key is of low order are accepted and never
 * sent to, whatever is asked. */
static void
test_low_order_peers(void **state)
{
	static const char *const low_order[] = {
	    "0000000000000000000000000000000000000000000000000000000000000000",
	    "0100000000000000000000000000000000000000000000000000000000000000",
	    "e0eb7a7c3b41b8ae1656e3faf19fc46a"
	    "da098deb9c32b1fd866205165f49b800",
	    "5f9c95bca3508c24b1d0b1559c83ef5b"
	    "04445cc4581c8e86d8224eddd09f1157",
	    "ecffffffffffffffffffffffffffffff"
	    "ffffffffffffffffffffffffffffff7f",
	    "edffffffffffffffffffffffffffffff"
	    "ffffffffffffffffffffffffffffff7f",
	    "eeffffffffffffffffffffffffffffff"
	    "ffffffffffffffffffffffffffffff7f",
	};
	struct ip_prefix p = lab_prefix("10.7.0.0/24");
	struct lab_msg m, out;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(low_order); i++) {
		struct wg_peer *low;
		struct wg_key key;

		vectors_unhex(key.b, sizeof(key.b), low_order[i]);
		low = wg_device_add(l.a.d, &key);
		assert_non_null(low);
		wg_peer_set_endpoint(low, &l.b.at);
		assert_int_equal(wg_peer_allow(l.a.d, low, &p), 0);
		wg_peer_set_keepalive(low, 1);
		expect_quiet(&l.a);
		lab_ip4(&m, "10.0.0.1", "10.7.0.1", 60);
		assert_false(lab_seal(&l, &l.a, &m, &out));
		expect_quiet(&l.a);
		lab_advance(&l, LAB_S(10));
		wg_device_tick(l.a.d, l.now);
		expect_quiet(&l.a);
		assert_false(low->handshake_index.used);
	}
	assert_int_equal(wg_device_peer_count(l.a.d), 8);
}

/* ---- responses ---- */

static void
exchange(struct lab_msg *initiation, struct lab_msg *response)
{
	initiate(&l.a, initiation);
	give(&l.b, initiation, &l.a.at);
	expect_answer(&l.b, response);
}

static void
test_flipped_response(void **state)
{
	struct lab_msg m1, m2, bad;

	(void)state;
	exchange(&m1, &m2);
	for (size_t i = 0; i < 76; i++) {
		lab_copy(&bad, &m2);
		pbuf_data(&bad.buf)[i] ^= (uint8_t)(1 << i % 8);
		expect_dropped(&l.a, &bad, &l.b.at,
		    i < 4 ? WG_DROP_MALFORMED : WG_DROP_MAC1);
	}
	for (size_t i = 8; i < 60; i++) {
		lab_copy(&bad, &m2);
		pbuf_data(&bad.buf)[i] ^= (uint8_t)(1 << i % 8);
		sign(&l.a, &bad);
		expect_dropped(
		    &l.a, &bad, &l.b.at, i < 12 ? WG_DROP_INDEX : WG_DROP_AUTH);
	}
	assert_null(l.a.peer->current);
	give(&l.a, &m2, &l.b.at);
	assert_true(lab_next(&l, &l.a, &bad));
	assert_non_null(l.a.peer->current);
}

/* P3: a response is consumed once, so no key is used twice. */
static void
test_response_once(void **state)
{
	struct endpoint evil = lab_at("203.0.113.66", 666);
	const struct wg_session *s;
	struct lab_msg m1, m2, m;

	(void)state;
	exchange(&m1, &m2);
	give(&l.a, &m2, &l.b.at);
	give(&l.a, &m2, &l.b.at); /* both wait in the queue at once */
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_next(&l, &l.a, &m));
	s = l.a.peer->current;
	assert_non_null(s);
	assert_null(l.a.peer->previous);
	assert_int_equal(lab_dropped(&l.a, WG_DROP_INDEX), 1);
	expect_dropped(&l.a, &m2, &evil, WG_DROP_INDEX);
	assert_ptr_equal(l.a.peer->current, s);
	assert_int_equal(s->send_counter, 1);
	expect_endpoint(&l.a, &l.b.at);
}

/* P3: the same when a new initiation has gone out in between (as in the
 * attack on Linux): the handshake that waits now is another one. */
static void
test_response_crosses_initiation(void **state)
{
	struct lab_msg m1, m2, again, m;

	(void)state;
	exchange(&m1, &m2);
	give(&l.a, &m2, &l.b.at);
	assert_true(lab_next(&l, &l.a, &m));
	lab_advance(&l, LAB_S(6));
	initiate(&l.a, &again);
	assert_memory_not_equal(
	    pbuf_data(&again.buf) + 4, pbuf_data(&m1.buf) + 4, 4);
	expect_dropped(&l.a, &m2, &l.b.at, WG_DROP_INDEX);
	/* With the new index put in, it still does not open. */
	memcpy(pbuf_data(&m2.buf) + 8, pbuf_data(&again.buf) + 4, 4);
	sign(&l.a, &m2);
	expect_dropped(&l.a, &m2, &l.b.at, WG_DROP_AUTH);
	give(&l.b, &again, &l.a.at);
	expect_answer(&l.b, &m2);
	give(&l.a, &m2, &l.b.at);
	assert_true(lab_next(&l, &l.a, &m));
	assert_int_equal(wg_device_stats(l.a.d)->handshakes, 2);
}

/* A late answer to an initiation that was given up for another. */
static void
test_late_response(void **state)
{
	struct lab_msg m1, m2, again;

	(void)state;
	exchange(&m1, &m2);
	lab_advance(&l, LAB_S(6));
	initiate(&l.a, &again);
	expect_dropped(&l.a, &m2, &l.b.at, WG_DROP_INDEX);
}

/* The secrets of a handshake go with its end. */
static void
test_handshake_is_wiped(void **state)
{
	static const struct wg_handshake zero;
	struct lab_msg m1, m2, m;

	(void)state;
	exchange(&m1, &m2);
	assert_memory_not_equal(&l.a.peer->handshake, &zero, sizeof(zero));
	give(&l.a, &m2, &l.b.at);
	assert_true(lab_next(&l, &l.a, &m));
	assert_memory_equal(&l.a.peer->handshake, &zero, sizeof(zero));
}

/* Both call at once: every pair of messages crosses, and packets pass both
 * ways afterwards and while the handshakes go on. */
static void
test_crossing(void **state)
{
	struct lab_msg a1, b1, a2, b2;

	(void)state;
	wg_peer_set_endpoint(l.b.peer, &l.a.at);
	initiate(&l.a, &a1);
	initiate(&l.b, &b1);
	give(&l.a, &b1, &l.b.at);
	give(&l.b, &a1, &l.a.at);
	expect_answer(&l.a, &a2);
	expect_answer(&l.b, &b2);
	give(&l.a, &b2, &l.b.at);
	give(&l.b, &a2, &l.a.at);
	assert_true(lab_next(&l, &l.a, &a2)); /* a's own is current; b's, */
	assert_null(l.a.peer->fresh); /* not confirmed, only heard */
	assert_non_null(l.a.peer->previous);
	assert_false(l.a.peer->previous->initiator);
	lab_settle(&l);
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_int_equal(lab_dropped_all(&l.a) + lab_dropped_all(&l.b), 0);
}

/* The preshared key must be the same on both sides. */
static void
test_psk(void **state)
{
	struct wg_key psk = {{7}};
	struct lab_msg m1, m2;

	(void)state;
	wg_peer_set_psk(l.a.peer, &psk);
	exchange(&m1, &m2);
	expect_dropped(&l.a, &m2, &l.b.at, WG_DROP_AUTH);
	wg_peer_set_psk(l.b.peer, &psk);
	lab_advance(&l, LAB_S(6));
	lab_connect(&l);
	assert_true(lab_ping(&l, &l.b, &l.a));
}

/* P7: numbers that messages carry do not repeat or count up. */
static void
test_indices(void **state)
{
	uint32_t seen[64];
	struct lab_msg m1, m2;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(seen); i += 2) {
		exchange(&m1, &m2);
		seen[i] = load_le32(pbuf_data(&m1.buf) + 4);
		seen[i + 1] = load_le32(pbuf_data(&m2.buf) + 4);
		for (size_t j = 0; j < i; j++) {
			assert_true(seen[j] - seen[i] + 256 > 512);
			assert_true(seen[j] - seen[i + 1] + 256 > 512);
		}
		lab_advance(&l, LAB_S(6));
	}
}

/* ---- under load ---- */

static void
set_load(struct lab_side *s)
{
	s->d->loaded_until_ns = l.now.mono_ns + 1;
}

/* 30, A1: under load a right mac1 is answered by 64 bytes, no state changes
 * and nothing is allocated; the cookie in mac2 lets the retry in. */
static void
test_cookie_round_trip(void **state)
{
	struct lab_msg m, reply, answer;
	unsigned allocated;

	(void)state;
	initiate(&l.a, &m);
	set_load(&l.b);
	allocated = allocations;
	give(&l.b, &m, &l.a.at);
	assert_true(lab_next(&l, &l.b, &reply));
	assert_int_equal(allocations, allocated);
	assert_int_equal(reply.buf.len, 64);
	assert_int_equal(pbuf_data(&reply.buf)[0], WG_MSG_COOKIE);
	assert_true(endpoint_same_remote(&reply.to, &l.a.at));
	assert_int_equal(lab_dropped(&l.b, WG_DROP_COOKIE), 1);
	assert_int_equal(wg_device_stats(l.b.d)->cookies_sent, 1);
	assert_null(l.b.peer->fresh);
	expect_quiet(&l.b);

	give(&l.a, &reply, &l.b.at);
	expect_quiet(&l.a); /* not answered at once */
	lab_sleep(&l, &l.a, LAB_S(1));
	lab_advance(&l, LAB_S(5));
	initiate(&l.a, &m);
	set_load(&l.b);
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &answer);
	set_load(&l.b); /* mac2 is another source's */
	give(&l.b, &m, &l.b.at);
	assert_true(lab_next(&l, &l.b, &reply));
	assert_int_equal(reply.buf.len, 64);
}

/* A loaded initiator lets the responder prove itself in the same way; the
 * answer (64 bytes to 92) is shorter than the question. */
static void
test_cookie_for_response(void **state)
{
	struct lab_msg m1, m2, reply;

	(void)state;
	exchange(&m1, &m2);
	set_load(&l.a);
	give(&l.a, &m2, &l.b.at);
	assert_true(lab_next(&l, &l.a, &reply));
	assert_int_equal(reply.buf.len, 64);
	give(&l.b, &reply, &l.a.at);
	lab_advance(&l, LAB_S(6));
	exchange(&m1, &m2);
	set_load(&l.a);
	give(&l.a, &m2, &l.b.at);
	assert_true(lab_next(&l, &l.a, &reply));
	assert_int_equal(pbuf_data(&reply.buf)[0], WG_MSG_DATA);
}

/* A reply must be asked for, be for us, open; and it does not roam. */
static void
test_cookie_reply_refused(void **state)
{
	struct endpoint evil = lab_at("203.0.113.66", 666);
	struct lab_msg m, reply, bad;

	(void)state;
	initiate(&l.a, &m);
	set_load(&l.b);
	give(&l.b, &m, &l.a.at);
	assert_true(lab_next(&l, &l.b, &reply));
	for (size_t i = 0; i < 64; i++) {
		lab_copy(&bad, &reply);
		pbuf_data(&bad.buf)[i] ^= 0x80;
		expect_dropped(&l.a, &bad, &evil,
		    i < 4   ? WG_DROP_MALFORMED
		    : i < 8 ? WG_DROP_INDEX
			    : WG_DROP_AUTH);
	}
	give(&l.a, &reply, &evil);
	assert_int_equal(lab_dropped(&l.a, WG_DROP_AUTH), 56);
	expect_dropped(&l.a, &reply, &evil, WG_DROP_AUTH); /* a second time */
	expect_endpoint(&l.a, &l.b.at);
}

/* An initiation from e with a mac2 that is right there; *m is the answer, if
 * there is one. */
static bool
initiate_with_cookie(const struct endpoint *e, struct lab_msg *m)
{
	for (unsigned attempt = 0; attempt < 2; attempt++) {
		wg_timers_stop(&l.a.peer->timers);
		initiate(&l.a, m);
		set_load(&l.b);
		give(&l.b, m, e);
		if (!lab_next(&l, &l.b, m))
			return false;
		if (attempt == 0)
			give(&l.a, m, &l.b.at); /* a cookie */
	}
	assert_int_equal(pbuf_data(&m->buf)[0], WG_MSG_RESPONSE);
	return true;
}

/* A valid mac2 passes to the rate limiter: five at once of an address,
 * whatever the ports (A3); another address has its own five. */
static void
test_rate(void **state)
{
	struct lab_msg m;

	(void)state;
	for (uint16_t port = 1; port <= 20; port++) {
		struct endpoint e = lab_at("198.51.100.1", port);

		initiate_with_cookie(&e, &m);
	}
	assert_int_equal(lab_dropped(&l.b, WG_DROP_RATE), 15);
	lab_advance(&l, LAB_MS(20));
	assert_true(initiate_with_cookie(&l.a.at, &m));
	assert_int_equal(lab_dropped(&l.b, WG_DROP_RATE), 15);
}

/* 30: a flood that knows our public key fills a fixed queue and no memory,
 * puts us under load, gets no more bytes than it sends; and a second after
 * its end everything is as before. */
static void
test_flood(void **state)
{
	struct lab_msg m, out;
	unsigned allocated, sent = 0, replies = 0;

	(void)state;
	initiate(&l.a, &m);
	allocated = allocations;
	for (unsigned i = 0; i < 2000; i++) {
		struct endpoint e = lab_at("203.0.113.1", (uint16_t)(i + 1));

		m.room[WG_SEAL_HEADROOM + 8] = (uint8_t)i;
		m.room[WG_SEAL_HEADROOM + 9] = (uint8_t)(i >> 8);
		sign(&l.b, &m);
		give(&l.b, &m, &e);
		sent += m.buf.len;
	}
	assert_int_equal(
	    lab_dropped(&l.b, WG_DROP_HANDSHAKES_FULL), 2000 - 512);
	while (lab_next(&l, &l.b, &out)) {
		assert_int_equal(out.buf.len, 64);
		replies++;
	}
	assert_int_equal(replies, 512);
	assert_true(replies * 64 < sent);
	assert_int_equal(allocations - 2000, allocated); /* sign() has one */
	lab_advance(&l, LAB_S(6));
	lab_connect(&l);
	assert_true(lab_ping(&l, &l.b, &l.a));
}

/* Load begins at 64 waiting messages and is over a second after the last time
 * there were so many. */
static void
test_load_bounds(void **state)
{
	struct lab_msg m, out;

	(void)state;
	initiate(&l.a, &m);
	for (unsigned i = 0; i < 63; i++)
		give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &out); /* 63: each is looked at */
	expect_quiet(&l.b);
	assert_int_equal(lab_dropped(&l.b, WG_DROP_REPLAY), 62);
	for (unsigned i = 0; i < 64; i++)
		give(&l.b, &m, &l.a.at);
	assert_int_equal(lab_discard(&l, &l.b), 64);
	assert_int_equal(lab_dropped(&l.b, WG_DROP_COOKIE), 64);
	lab_advance(&l, LAB_S(1) - 1);
	give(&l.b, &m, &l.a.at);
	assert_int_equal(lab_discard(&l, &l.b), 1);
	lab_advance(&l, 1);
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_REPLAY);
}

/* Of two senders one leaves handshakes alone: what comes faster than the other
 * one looks at it puts us under load, however often the first one calls. */
static void
test_load_of_two_senders(void **state)
{
	struct wg_own other = {.no_handshakes = true};
	struct lab_msg m, out;

	(void)state;
	initiate(&l.a, &m);
	for (unsigned i = 0; i < 64; i++) {
		give(&l.b, &m, &l.a.at);
		assert_int_equal(wg_device_handshakes(l.b.d), i + 1);
		assert_int_equal(wg_device_next(l.b.d, l.now, &other), 0);
	}
	assert_true(lab_next(&l, &l.b, &out));
	assert_int_equal(out.buf.len, 64);
	assert_int_equal(wg_device_handshakes(l.b.d), 63);
	wg_peer_wish(l.b.peer, WG_WISH_INITIATE); /* but does its own work */
	wg_peer_set_endpoint(l.b.peer, &l.a.at);
	assert_int_equal(wg_device_next(l.b.d, l.now, &other), 1);
	assert_int_equal(other.dgram.buf.len, sizeof(struct wg_initiation));
	wg_own_fini(&other);
}

/* Data goes on under a flood of handshakes. */
static void
test_data_under_load(void **state)
{
	struct lab_msg m;

	(void)state;
	lab_advance(&l, LAB_S(6));
	initiate(&l.a, &m);
	for (unsigned i = 0; i < 600; i++)
		give(&l.b, &m, &l.a.at);
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(lab_ping(&l, &l.b, &l.a));
}

/* A1, A2: to who does not know our public key we do not exist. */
static void
test_silence(void **state)
{
	struct endpoint e = lab_at("203.0.113.1", 1);
	uint64_t before = lab_dropped_all(&l.b);
	struct lab_msg m;

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		static const uint16_t lens[] = {148, 92, 64, 32, 128, 1, 0};

		memset(&m, 0, sizeof(m));
		m.buf = pbuf_make(
		    m.room, sizeof(m.room), 0, lens[i % ARRAY_LEN(lens)]);
		lab_random(m.room, m.buf.len);
		if (m.buf.len >= 32 && i % 2)
			wg_msg_set_type(m.room, i % 5);
		give(&l.b, &m, &e);
		expect_quiet(&l.b);
	}
	assert_int_equal(lab_dropped_all(&l.b), before + 3000);
	assert_true(lab_ping(&l, &l.a, &l.b));
}

/* ---- asking whether somebody answers ---- */

static void
take_ask(struct lab_side *s, struct lab_msg *m)
{
	wg_peer_ask(s->peer);
	assert_true(lab_next(&l, s, m));
	assert_int_equal(pbuf_data(&m->buf)[0], WG_MSG_INITIATION);
	expect_quiet(s);
}

static void
expect_no_ask(struct lab_side *s)
{
	wg_peer_ask(s->peer);
	expect_quiet(s);
}

/* At once after a session began, and never within the interval, whichever kind
 * came before. */
static void
test_ask_interval(void **state)
{
	struct lab_msg m;

	(void)state;
	expect_no_ask(&l.a);
	lab_advance(&l, WG_ASK_INTERVAL - 1);
	expect_no_ask(&l.a);
	lab_advance(&l, 1);
	take_ask(&l.a, &m);
	lab_advance(&l, WG_ASK_INTERVAL - 1);
	expect_no_ask(&l.a);
	lab_advance(&l, 1);
	take_ask(&l.a, &m);
}

/* The session stays in use until there is another one, and what is on its way
 * in it is still taken. */
static void
test_ask_keeps_session(void **state)
{
	struct wg_peer_info before, after;
	struct lab_msg packet, late, m, out;

	(void)state;
	lab_advance(&l, LAB_S(1));
	wg_peer_info(l.a.peer, l.now.mono_ns, &before);
	take_ask(&l.a, &m);
	assert_true(lab_ping(&l, &l.a, &l.b) && lab_ping(&l, &l.b, &l.a));
	lab_packet(&l.a, &l.b, &packet);
	assert_true(lab_seal(&l, &l.a, &packet, &late));
	wg_peer_info(l.a.peer, l.now.mono_ns, &after);
	assert_int_equal(after.handshakes, before.handshakes);
	assert_int_equal(after.tx_data, before.tx_data + 2);
	give(&l.b, &m, &l.a.at);
	assert_int_equal(lab_settle(&l), 0);
	wg_peer_info(l.a.peer, l.now.mono_ns, &after);
	assert_int_equal(after.handshakes, before.handshakes + 1);
	assert_true(lab_open(&l, &l.b, &late, &l.a.at, &out));
	assert_true(lab_ping(&l, &l.a, &l.b) && lab_ping(&l, &l.b, &l.a));
}

/* Unanswered, it leaves no trace: no retry, no deadline. */
static void
test_ask_unanswered(void **state)
{
	struct lab_msg m;
	uint64_t at;

	(void)state;
	lab_advance(&l, LAB_S(1));
	at = wg_timers_deadline(&l.a.peer->timers);
	take_ask(&l.a, &m);
	assert_true(wg_timers_deadline(&l.a.peer->timers) == at);
	lab_sleep(&l, &l.a, LAB_S(100));
	assert_true(lab_ping(&l, &l.a, &l.b));
}

/* What the other side is owed comes when it is due. */
static void
test_ask_keeps_keepalive(void **state)
{
	struct lab_msg m;

	(void)state;
	lab_advance(&l, LAB_S(1));
	assert_true(lab_ping(&l, &l.b, &l.a));
	for (unsigned i = 0; i < 10; i++) {
		take_ask(&l.a, &m);
		lab_advance(&l, LAB_S(1));
	}
	wg_device_tick(l.a.d, l.now);
	assert_true(lab_next(&l, &l.a, &m));
	assert_int_equal(m.buf.len, WG_DATA_OVERHEAD);
}

/* Retries come every 5 s and end after 90 s, however often somebody asks. */
static void
test_ask_beside_retries(void **state)
{
	uint64_t begin = l.now.mono_ns, given_up = 0;
	unsigned others = 0;
	struct lab_msg packet, m;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_int_equal(lab_discard(&l, &l.a), 1);
	for (unsigned i = 0; i < 1500 && given_up == 0; i++) {
		lab_advance(&l, LAB_MS(100));
		wg_device_tick(l.a.d, l.now);
		others += lab_discard(&l, &l.a);
		if (i % 10 == 4)
			wg_peer_ask(l.a.peer);
		(void)lab_discard(&l, &l.a);
		if (l.a.peer->queued == 0)
			given_up = l.now.mono_ns - begin;
	}
	assert_int_equal(others, l.a.d->conf.times.max_retries);
	assert_in_range(given_up, LAB_S(100), LAB_S(108));
	/* And its answer ends them. */
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	(void)lab_discard(&l, &l.a);
	lab_advance(&l, LAB_S(1));
	take_ask(&l.a, &m);
	give(&l.b, &m, &l.a.at);
	assert_int_equal(lab_settle(&l), 1);
	lab_advance(&l, LAB_S(6));
	wg_device_tick(l.a.d, l.now);
	expect_quiet(&l.a);
}

/* One that has no answer may have left from the wrong address. */
static void
test_ask_forgets_source(void **state)
{
	struct endpoint from = l.b.at;
	struct lab_msg packet, m, out;

	(void)state;
	from.src = lab_at("192.0.2.1", 0).addr;
	lab_packet(&l.b, &l.a, &packet);
	assert_true(lab_seal(&l, &l.b, &packet, &m));
	assert_true(lab_open(&l, &l.a, &m, &from, &out));
	lab_advance(&l, LAB_S(1));
	take_ask(&l.a, &m);
	assert_int_equal(m.to.src.family, FAMILY_V4);
	lab_advance(&l, LAB_S(1));
	take_ask(&l.a, &m);
	assert_int_equal(m.to.src.family, FAMILY_NONE);
}

static void
test_ask_in_vain(void **state)
{
	static const struct wg_key none;
	struct lab_msg m;

	(void)state;
	lab_advance(&l, LAB_S(1));
	wg_device_set_up(l.a.d, false);
	expect_no_ask(&l.a);
	wg_device_set_up(l.a.d, true);
	expect_quiet(&l.a);
	wg_device_set_private_key(l.a.d, &none);
	expect_no_ask(&l.a);
	lab_restart(&l, &l.b, &l.a); /* knows no endpoint */
	expect_no_ask(&l.b);
	lab_restart(&l, &l.a, &l.b);
	take_ask(&l.a, &m);
}

/* Who is under load asks for a cookie, and gets it with the next one. */
static void
test_ask_under_load(void **state)
{
	struct lab_msg m, reply;

	(void)state;
	lab_advance(&l, LAB_S(1));
	l.b.d->loaded_until_ns = l.now.mono_ns + LAB_S(10);
	take_ask(&l.a, &m);
	give(&l.b, &m, &l.a.at);
	assert_true(lab_next(&l, &l.b, &reply));
	assert_int_equal(pbuf_data(&reply.buf)[0], WG_MSG_COOKIE);
	give(&l.a, &reply, &l.b.at);
	lab_advance(&l, LAB_S(1));
	take_ask(&l.a, &m);
	give(&l.b, &m, &l.a.at);
	expect_answer(&l.b, &reply);
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CONNECTED(f)                                                           \
	cmocka_unit_test_setup_teardown(f, setup_connected, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    FRESH(test_flipped_initiation),
	    FRESH(test_lengths),
	    FRESH(test_unknown_static),
	    FRESH(test_claimed_static),
	    FRESH(test_initiation_replay),
	    FRESH(test_stamp_ahead),
	    FRESH(test_clock_steps_back),
	    FRESH(test_clock_was_far_ahead),
	    FRESH(test_responder_restarts),
	    FRESH(test_initiations_too_fast),
	    FRESH(test_initiation_roams),
	    FRESH(test_low_order_peers),
	    FRESH(test_flipped_response),
	    FRESH(test_response_once),
	    FRESH(test_response_crosses_initiation),
	    FRESH(test_late_response),
	    FRESH(test_handshake_is_wiped),
	    FRESH(test_crossing),
	    FRESH(test_psk),
	    FRESH(test_indices),
	    FRESH(test_cookie_round_trip),
	    FRESH(test_cookie_for_response),
	    FRESH(test_cookie_reply_refused),
	    FRESH(test_rate),
	    FRESH(test_flood),
	    FRESH(test_load_bounds),
	    FRESH(test_load_of_two_senders),
	    CONNECTED(test_data_under_load),
	    CONNECTED(test_silence),
	    CONNECTED(test_ask_interval),
	    CONNECTED(test_ask_keeps_session),
	    CONNECTED(test_ask_unanswered),
	    CONNECTED(test_ask_keeps_keepalive),
	    FRESH(test_ask_beside_retries),
	    CONNECTED(test_ask_forgets_source),
	    CONNECTED(test_ask_in_vain),
	    CONNECTED(test_ask_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
