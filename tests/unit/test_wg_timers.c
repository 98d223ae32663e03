#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wg/wg_timers.h"

#define S(n) ((uint64_t)(n)*UK_NS_PER_S)
#define T0 S(1000)
#define JITTER (123 * UK_NS_PER_MS)

static struct wg_timers t;
static const struct wg_times *const c = &wg_times_default;

static int
setup(void **state)
{
	(void)state;
	wg_timers_init(&t, JITTER);
	return 0;
}

/* The next deadline is at, and this is what it asks for; before it nothing. */
static void
expect(uint64_t at, unsigned todo)
{
	assert_true(wg_timers_deadline(&t) == at);
	assert_int_equal(wg_timers_expire(&t, c, at - 1), 0);
	assert_true(wg_timers_deadline(&t) == at);
	assert_int_equal(wg_timers_expire(&t, c, at), todo);
}

static void
expect_silence(void)
{
	assert_true(wg_timers_deadline(&t) == UK_NEVER);
	assert_int_equal(wg_timers_expire(&t, c, UINT64_MAX - 1), 0);
}

static void
test_constants(void **state)
{
	(void)state;
	assert_true(c->rekey_after_ns == S(120));
	assert_true(c->reject_after_ns == S(180));
	assert_true(c->rekey_timeout_ns == S(5));
	assert_true(c->keepalive_ns == S(10));
	expect_silence();
}

/* Data came and nothing went for 10 s: one keepalive. */
static void
test_keepalive(void **state)
{
	(void)state;
	wg_timers_data_received(&t, c, T0);
	expect(T0 + S(10), WG_DO_KEEPALIVE);
	wg_timers_any_sent(&t, T0 + S(10));
	expect_silence();
	wg_timers_data_received(&t, c, T0 + S(20));
	wg_timers_any_sent(&t, T0 + S(29));
	expect_silence();
}

/* Data that came while one was due does not move it; when that one was not
 * sent, another comes 10 s later. */
static void
test_another_keepalive(void **state)
{
	(void)state;
	wg_timers_data_received(&t, c, T0);
	wg_timers_data_received(&t, c, T0 + S(9));
	expect(T0 + S(10), WG_DO_KEEPALIVE);
	expect(T0 + S(20), WG_DO_KEEPALIVE);
	expect_silence();
}

/* Data went and nothing came for 15 s: a new session. Later data does not put
 * it off, anything received does. */
static void
test_new_session(void **state)
{
	(void)state;
	wg_timers_data_sent(&t, c, T0);
	wg_timers_data_sent(&t, c, T0 + S(14));
	wg_timers_any_sent(&t, T0 + S(14));
	expect(T0 + S(15) + JITTER, WG_DO_NEW_SESSION | WG_DO_FORGET_SOURCE);
	expect_silence();
	wg_timers_data_sent(&t, c, T0 + S(30));
	wg_timers_any_received(&t, T0 + S(31));
	expect_silence();
}

/* 20 initiations 5 s apart, the first not counted here; then the queue goes,
 * and with it a keepalive that was due, and keys later. */
static void
test_retransmit(void **state)
{
	uint64_t now = T0;

	(void)state;
	for (unsigned i = 0; i < 19; i++) {
		wg_timers_initiated(&t, c, now, i);
		now += S(5) + i;
		expect(now, WG_DO_INITIATE | WG_DO_FORGET_SOURCE);
	}
	wg_timers_initiated(&t, c, now, 0);
	wg_timers_data_received(&t, c, now);
	now += S(5);
	expect(now, WG_DO_DROP_QUEUE);
	expect(now + S(540), WG_DO_ZERO_KEYS);
	expect_silence();
}

/* Giving up does not put off the end of keys that is set already. */
static void
test_give_up_keeps_zero_keys(void **state)
{
	(void)state;
	wg_timers_session_derived(&t, c, T0);
	t.retries = c->max_retries;
	wg_timers_initiated(&t, c, T0 + S(400), 0);
	expect(T0 + S(405), WG_DO_DROP_QUEUE);
	expect(T0 + S(540), WG_DO_ZERO_KEYS);
}

static void
test_completed(void **state)
{
	(void)state;
	wg_timers_initiated(&t, c, T0, 0);
	t.retries = 7;
	wg_timers_handshake_complete(&t);
	assert_int_equal(t.retries, 0);
	expect_silence();
}

/* REKEY_TIMEOUT is the least distance of initiations, and of one after an
 * answer. */
static void
test_may_initiate(void **state)
{
	(void)state;
	assert_true(wg_timers_may_initiate(&t, c, 0));
	wg_timers_initiated(&t, c, T0, 0);
	assert_false(wg_timers_may_initiate(&t, c, T0));
	assert_false(wg_timers_may_initiate(&t, c, T0 + S(5) - 1));
	assert_true(wg_timers_may_initiate(&t, c, T0 + S(5)));
	wg_timers_responded(&t, T0 + S(7));
	assert_false(wg_timers_may_initiate(&t, c, T0 + S(12) - 1));
	assert_true(wg_timers_may_initiate(&t, c, T0 + S(12)));
	wg_timers_stop(&t);
	assert_true(wg_timers_may_initiate(&t, c, 0));
}

/* Beside all others: they neither hold it up nor are held up by it. */
static void
test_may_ask(void **state)
{
	(void)state;
	assert_true(wg_timers_may_ask(&t, T0));
	wg_timers_asked(&t, T0);
	assert_false(wg_timers_may_ask(&t, T0 + WG_ASK_INTERVAL - 1));
	assert_true(wg_timers_may_ask(&t, T0 + WG_ASK_INTERVAL));
	assert_true(wg_timers_may_initiate(&t, c, T0));
	expect_silence();
	wg_timers_initiated(&t, c, T0 + S(1), JITTER);
	assert_false(wg_timers_may_ask(&t, T0 + S(1) + WG_ASK_INTERVAL - 1));
	assert_true(wg_timers_may_ask(&t, T0 + S(1) + WG_ASK_INTERVAL));
	wg_timers_asked(&t, T0 + S(2));
	assert_false(wg_timers_may_initiate(&t, c, T0 + S(6) - 1));
	assert_true(wg_timers_may_initiate(&t, c, T0 + S(6)));
	wg_timers_stop(&t);
	assert_true(wg_timers_may_ask(&t, T0 + S(2)));
}

/* An initiation that came too soon goes when it may, once, and leaves a retry
 * that is due as it is. */
static void
test_deferred(void **state)
{
	(void)state;
	wg_timers_initiated(&t, c, T0, JITTER);
	wg_timers_initiation_deferred(&t, c);
	expect(T0 + S(5) + JITTER, WG_DO_INITIATE | WG_DO_FORGET_SOURCE);
	wg_timers_responded(&t, T0 + S(8));
	wg_timers_initiation_deferred(&t, c);
	wg_timers_initiation_deferred(&t, c);
	expect(T0 + S(13), WG_DO_INITIATE | WG_DO_FORGET_SOURCE);
	expect_silence();
	wg_timers_responded(&t, T0 + S(20));
	wg_timers_initiation_deferred(&t, c);
	wg_timers_handshake_complete(&t);
	expect_silence();
}

static void
test_zero_keys(void **state)
{
	(void)state;
	wg_timers_session_derived(&t, c, T0);
	wg_timers_session_derived(&t, c, T0 + S(120));
	expect(T0 + S(660), WG_DO_ZERO_KEYS);
	expect_silence();
}

static void
test_persistent(void **state)
{
	(void)state;
	t.persistent_s = 25;
	expect_silence(); /* counts from traffic */
	wg_timers_any_sent(&t, T0);
	wg_timers_any_received(&t, T0 + S(3));
	expect(T0 + S(28), WG_DO_KEEPALIVE);
	wg_timers_any_sent(&t, T0 + S(28));
	wg_timers_any_sent(&t, T0 + S(30));
	expect(T0 + S(55), WG_DO_KEEPALIVE);
	wg_timers_any_received(&t, T0 + S(60));
	wg_timers_stop(&t);
	assert_int_equal(t.persistent_s, 25);
	expect_silence();
}

/* Turned off while one was due: it passes without effect, and it passes. */
static void
test_persistent_off(void **state)
{
	(void)state;
	t.persistent_s = 25;
	wg_timers_any_sent(&t, T0);
	t.persistent_s = 0;
	assert_int_equal(wg_timers_expire(&t, c, T0 + S(25)), 0);
	expect_silence();
}

/* All deadlines passed in one leap of the clock: each asks once. */
static void
test_leap(void **state)
{
	(void)state;
	t.persistent_s = 25;
	wg_timers_session_derived(&t, c, T0);
	wg_timers_any_sent(&t, T0);
	wg_timers_data_sent(&t, c, T0);
	wg_timers_initiated(&t, c, T0, 0);
	wg_timers_data_received(&t, c, T0);
	assert_int_equal(wg_timers_expire(&t, c, T0 + S(3600)),
	    WG_DO_INITIATE | WG_DO_NEW_SESSION | WG_DO_KEEPALIVE |
		WG_DO_FORGET_SOURCE | WG_DO_ZERO_KEYS);
	expect_silence();
}

/* Whatever happens in whatever order: an expired deadline is over, and
 * expiring twice at one time asks for nothing. */
static void
test_random(void **state)
{
	uint64_t now = T0, rng = 1;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407;
		now += (rng >> 33) % S(7);
		switch (rng >> 60) {
		case 0:
			wg_timers_data_sent(&t, c, now);
			break;
		case 1:
			wg_timers_data_received(&t, c, now);
			break;
		case 2:
			wg_timers_any_sent(&t, now);
			break;
		case 3:
			wg_timers_any_received(&t, now);
			break;
		case 4:
			wg_timers_initiated(&t, c, now, rng % WG_JITTER_MAX);
			break;
		case 5:
			wg_timers_session_derived(&t, c, now);
			break;
		case 6:
			wg_timers_handshake_complete(&t);
			break;
		case 7:
			t.persistent_s = (uint16_t)(rng >> 20 & 31);
			break;
		default:
			wg_timers_expire(&t, c, now);
			assert_true(wg_timers_deadline(&t) > now);
			assert_int_equal(wg_timers_expire(&t, c, now), 0);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_constants, setup),
	    cmocka_unit_test_setup(test_keepalive, setup),
	    cmocka_unit_test_setup(test_another_keepalive, setup),
	    cmocka_unit_test_setup(test_new_session, setup),
	    cmocka_unit_test_setup(test_retransmit, setup),
	    cmocka_unit_test_setup(test_give_up_keeps_zero_keys, setup),
	    cmocka_unit_test_setup(test_completed, setup),
	    cmocka_unit_test_setup(test_may_initiate, setup),
	    cmocka_unit_test_setup(test_may_ask, setup),
	    cmocka_unit_test_setup(test_deferred, setup),
	    cmocka_unit_test_setup(test_zero_keys, setup),
	    cmocka_unit_test_setup(test_persistent, setup),
	    cmocka_unit_test_setup(test_persistent_off, setup),
	    cmocka_unit_test_setup(test_leap, setup),
	    cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
