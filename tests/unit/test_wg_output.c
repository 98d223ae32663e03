/* Time: what a device sends by itself, when, and when it stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/wg_lab.h"
#include "wg/wg_state.h"

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

/* The type of the next datagram of a side, which is thrown away; 0: none. */
static unsigned
sends(struct lab_side *s)
{
	struct lab_msg m;

	return lab_next(&l, s, &m) ? pbuf_data(&m.buf)[0] : 0;
}

/* Let time pass up to the side's next deadline; returns how much. */
static uint64_t
pass(struct lab_side *s)
{
	uint64_t ns = wg_device_deadline(s->d) - l.now.mono_ns;

	assert_true(wg_device_deadline(s->d) != UK_NEVER);
	lab_advance(&l, ns);
	wg_device_tick(s->d, l.now);
	return ns;
}

/* The same, over deadlines at which nothing happens, up to one datagram. */
static uint64_t
pass_until(struct lab_side *s, unsigned type)
{
	uint64_t ns = 0;
	unsigned got;

	do {
		ns += pass(s);
		got = sends(s);
	} while (got == 0);
	assert_int_equal(got, type);
	assert_int_equal(sends(s), 0);
	return ns;
}

static bool
within(uint64_t ns, uint64_t least)
{
	return ns >= least && ns <= least + WG_JITTER_MAX;
}

static void
enqueue(struct lab_side *from, struct lab_side *to)
{
	struct lab_msg packet, m;

	lab_packet(from, to, &packet);
	assert_false(lab_seal(&l, from, &packet, &m));
}

/* 20 initiations, 5 to 5.333 s apart, then the queue is dropped and there is
 * silence; new traffic begins anew. */
static void
test_retries_and_gives_up(void **state)
{
	(void)state;
	enqueue(&l.a, &l.b);
	assert_int_equal(sends(&l.a), WG_MSG_INITIATION);
	for (unsigned i = 1; i < 20; i++)
		assert_true(
		    within(pass_until(&l.a, WG_MSG_INITIATION), LAB_S(5)));
	assert_int_equal(l.a.peer->queued, 1);
	pass(&l.a);
	assert_int_equal(sends(&l.a), 0);
	assert_int_equal(l.a.peer->queued, 0);
	assert_false(l.a.peer->handshake_index.used);
	assert_true(pass(&l.a) == LAB_S(540));
	assert_int_equal(sends(&l.a), 0);
	assert_true(wg_device_deadline(l.a.d) == UK_NEVER);
	enqueue(&l.a, &l.b);
	assert_int_equal(sends(&l.a), WG_MSG_INITIATION);
	assert_int_equal(l.a.peer->timers.retries, 0);
}

/* Each retry has a new ephemeral key, stamp and index, and forgets the local
 * address that may be the trouble. */
static void
test_retry_is_new(void **state)
{
	struct lab_msg m[2];

	(void)state;
	enqueue(&l.a, &l.b);
	assert_true(lab_next(&l, &l.a, &m[0]));
	l.a.peer->endpoint.src = l.a.at.addr;
	pass(&l.a);
	assert_true(lab_next(&l, &l.a, &m[1]));
	assert_int_equal(m[1].to.src.family, FAMILY_NONE);
	assert_true(endpoint_same_remote(&m[1].to, &l.b.at));
	for (size_t i = 4; i < 116; i += 28)
		assert_memory_not_equal(
		    pbuf_data(&m[0].buf) + i, pbuf_data(&m[1].buf) + i, 4);
}

/* More packets within 5 s do not make more initiations. */
static void
test_one_initiation_for_many(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 49; i++) {
		enqueue(&l.a, &l.b);
		assert_int_equal(sends(&l.a), i == 0 ? WG_MSG_INITIATION : 0);
		lab_advance(&l, LAB_MS(100));
	}
}

/* The initiator renews a session of 120 s when it sends, not before, not by
 * itself; the responder does not. */
static void
test_rekey_on_send(void **state)
{
	uint64_t left;

	(void)state;
	left = l.a.peer->current->born_ns + LAB_S(120) - l.now.mono_ns;
	lab_advance(&l, left - 1);
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_int_equal(sends(&l.a), 0);
	lab_advance(&l, LAB_S(10));
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_int_equal(sends(&l.b), 0);
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_int_equal(sends(&l.a), WG_MSG_INITIATION);
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_int_equal(sends(&l.a), 0);
}

/* An initiator that only receives renews at 165 s, once a session. */
static void
test_rekey_on_receive(void **state)
{
	uint64_t left;

	(void)state;
	left = l.a.peer->current->born_ns + LAB_S(165) - l.now.mono_ns;
	lab_advance(&l, left - 1);
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_int_equal(sends(&l.a), 0);
	lab_advance(&l, 1);
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_int_equal(sends(&l.a), WG_MSG_INITIATION);
	lab_advance(&l, LAB_S(6)); /* an initiation may be sent again */
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_int_equal(sends(&l.a), 0);
}

/* The responder leaves the renewal of what it receives on to the other. */
static void
test_responder_does_not_renew(void **state)
{
	(void)state;
	lab_advance(&l, LAB_S(170));
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_int_equal(sends(&l.b), 0);
}

/* Data came, nothing went for 10 s: one keepalive and then silence. */
static void
test_keepalive(void **state)
{
	(void)state;
	lab_sleep(&l, &l.b, LAB_S(30)); /* answer to the first packet */
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(pass_until(&l.b, WG_MSG_DATA) == LAB_S(10));
	for (unsigned i = 0; i < 100; i++) {
		lab_advance(&l, LAB_S(1));
		wg_device_tick(l.b.d, l.now);
		assert_int_equal(sends(&l.b), 0);
	}
}

/* Data went, nothing came for 15 s: a new handshake, from any source. */
static void
test_new_handshake_when_unanswered(void **state)
{
	uint64_t ns;

	(void)state;
	lab_sleep(&l, &l.a, LAB_S(1));
	assert_true(lab_ping(&l, &l.b, &l.a));
	lab_advance(&l, LAB_S(1));
	assert_true(lab_ping(&l, &l.a, &l.b));
	l.a.peer->endpoint.src = l.a.at.addr;
	ns = pass_until(&l.a, WG_MSG_INITIATION);
	assert_true(within(ns, LAB_S(15)));
	assert_int_equal(l.a.peer->endpoint.src.family, FAMILY_NONE);
}

/* Anything authentic in return calls it off. */
static void
test_answer_disarms(void **state)
{
	struct lab_msg m, out;

	(void)state;
	lab_sleep(&l, &l.b, LAB_S(9));
	assert_true(lab_ping(&l, &l.a, &l.b));
	lab_advance(&l, LAB_S(10));
	wg_device_tick(l.b.d, l.now);
	assert_true(lab_next(&l, &l.b, &m)); /* a keepalive */
	assert_int_equal(m.buf.len, 32);
	assert_false(lab_open(&l, &l.a, &m, &l.b.at, &out));
	lab_advance(&l, LAB_S(30));
	wg_device_tick(l.a.d, l.now);
	assert_int_equal(sends(&l.a), 0);
}

/* Nothing to say: nothing is said, for an hour. */
static void
test_idle_is_silent(void **state)
{
	unsigned sent = 0;

	(void)state;
	for (unsigned i = 0; i < 3600; i++) {
		lab_advance(&l, LAB_S(1));
		wg_device_tick(l.a.d, l.now);
		wg_device_tick(l.b.d, l.now);
		if (i < 11) /* b's keepalive in answer to the packet */
			lab_settle(&l);
		sent += lab_discard(&l, &l.a) + lab_discard(&l, &l.b);
	}
	assert_int_equal(sent, 0);
	assert_true(wg_device_deadline(l.a.d) == UK_NEVER);
	assert_true(wg_device_deadline(l.b.d) == UK_NEVER);
}

/* 540 s after the last session all keys are gone. */
static void
test_zero_keys(void **state)
{
	(void)state;
	lab_sleep(&l, &l.a, LAB_S(540) - 1);
	assert_non_null(l.a.peer->current);
	lab_sleep(&l, &l.a, 1);
	assert_null(l.a.peer->current);
	assert_null(l.a.peer->previous);
	lab_sleep(&l, &l.b, LAB_S(540));
	assert_null(l.b.peer->current);
	assert_null(l.b.peer->previous);
	assert_int_equal(l.a.d->indices.by_wire.count, 0);
	assert_int_equal(l.b.d->indices.by_wire.count, 0);
}

/* ---- persistent keepalive ---- */

static void
test_persistent(void **state)
{
	(void)state;
	assert_true(lab_ping(&l, &l.b, &l.a)); /* no answer is missing */
	wg_peer_set_keepalive(l.a.peer, 25);
	assert_int_equal(sends(&l.a), WG_MSG_DATA); /* at once */
	assert_true(pass_until(&l.a, WG_MSG_DATA) == LAB_S(25));
	lab_advance(&l, LAB_S(20));
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_int_equal(sends(&l.a), 0);
	wg_peer_set_keepalive(l.a.peer, 30); /* was on: not at once */
	assert_int_equal(sends(&l.a), 0);
}

/* Turned off while its time is running: the tick must come to an end. */
static void
test_persistent_off(void **state)
{
	(void)state;
	wg_peer_set_keepalive(l.a.peer, 25);
	lab_discard(&l, &l.a);
	wg_peer_set_keepalive(l.a.peer, 0);
	lab_sleep(&l, &l.a, LAB_S(3600));
	assert_true(wg_device_deadline(l.a.d) == UK_NEVER);
}

/* It begins a session where there is none, and tries on for ever. */
static void
test_persistent_begins(void **state)
{
	unsigned initiations = 0;

	(void)state;
	wg_peer_set_keepalive(l.a.peer, 25);
	assert_int_equal(sends(&l.a), WG_MSG_INITIATION);
	for (unsigned i = 0; i < 3600; i++) {
		lab_advance(&l, LAB_S(1));
		wg_device_tick(l.a.d, l.now);
		initiations += lab_discard(&l, &l.a);
	}
	assert_true(initiations > 3600 / 6 / 2);
	for (unsigned i = 0; i < 26; i++) { /* b is there at last */
		lab_advance(&l, LAB_S(1));
		wg_device_tick(l.a.d, l.now);
		lab_settle(&l);
	}
	assert_non_null(l.a.peer->current);
}

/* For ever holds for the side that answered and was never confirmed, too. */
static void
test_persistent_after_lost_confirmation(void **state)
{
	struct lab_msg m, out;

	(void)state;
	enqueue(&l.a, &l.b);
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_int_equal(sends(&l.b), WG_MSG_RESPONSE); /* and a dies */
	wg_peer_set_keepalive(l.b.peer, 1);
	assert_int_equal(sends(&l.b), 0);
	assert_true(pass_until(&l.b, WG_MSG_INITIATION) <= LAB_S(6));
	assert_true(within(pass_until(&l.b, WG_MSG_INITIATION), LAB_S(5)));
}

/* So do packets that were queued then. */
static void
test_queue_after_lost_confirmation(void **state)
{
	struct lab_msg m, out;

	(void)state;
	enqueue(&l.a, &l.b);
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_int_equal(sends(&l.b), WG_MSG_RESPONSE);
	enqueue(&l.b, &l.a);
	assert_int_equal(sends(&l.b), 0);
	assert_true(pass_until(&l.b, WG_MSG_INITIATION) == LAB_S(5));
}

/* What was put off is taken back when the confirmation comes. */
static void
test_confirmation_takes_back(void **state)
{
	struct lab_msg m, out;

	(void)state;
	enqueue(&l.a, &l.b);
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_true(lab_next(&l, &l.b, &m));
	enqueue(&l.b, &l.a); /* while the answer is under way */
	assert_true(wg_device_deadline(l.b.d) == l.now.mono_ns + LAB_S(5));
	assert_false(lab_open(&l, &l.a, &m, &l.b.at, &out));
	assert_int_equal(lab_settle(&l), 2);
	lab_sleep(&l, &l.b, LAB_S(1));
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(lab_ping(&l, &l.b, &l.a));
	for (unsigned i = 0; i < 8; i++) {
		lab_advance(&l, LAB_S(1));
		wg_device_tick(l.b.d, l.now);
		assert_int_equal(sends(&l.b), 0);
	}
}

/* A peer that has no address yet gets its keepalive when it has one. */
static void
test_persistent_waits_for_endpoint(void **state)
{
	(void)state;
	wg_peer_set_keepalive(l.b.peer, 25);
	assert_int_equal(sends(&l.b), 0);
	wg_peer_set_endpoint(l.b.peer, &l.a.at);
	assert_int_equal(sends(&l.b), WG_MSG_INITIATION);
}

/* A clock that leaps an hour, as after a sleep: no old key is used, and the
 * next packet makes new ones. */
static void
test_leap(void **state)
{
	struct lab_msg packet, m;

	(void)state;
	wg_peer_set_keepalive(l.a.peer, 25);
	lab_settle(&l);
	lab_advance(&l, LAB_S(3600));
	lab_packet(&l.b, &l.a, &packet);
	assert_false(lab_seal(&l, &l.b, &packet, &m));
	assert_int_equal(sends(&l.b), WG_MSG_INITIATION);
	wg_device_tick(l.a.d, l.now);
	wg_device_tick(l.b.d, l.now);
	assert_null(l.a.peer->current);
	lab_settle(&l);
	assert_non_null(l.a.peer->current);
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(lab_ping(&l, &l.b, &l.a));
}

/* Each call of wg_device_next does one thing, in turn for all peers. */
static void
test_many_peers(void **state)
{
	struct endpoint e = lab_at("192.0.2.9", 9);
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct wg_peer *p;
		struct wg_key key;

		lab_random(key.b, sizeof(key.b));
		p = wg_device_add(l.a.d, &key);
		assert_non_null(p);
		wg_peer_set_endpoint(p, &e);
		wg_peer_set_keepalive(p, (uint16_t)(1 + i));
		if (i % 3 == 0)
			wg_device_remove(l.a.d, p);
	}
	while (sends(&l.a) == WG_MSG_INITIATION)
		n++;
	assert_int_equal(n, 133);
	assert_int_equal(l.a.d->indices.by_wire.count, 133);
	lab_sleep(&l, &l.a, LAB_S(60));
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CONNECTED(f)                                                           \
	cmocka_unit_test_setup_teardown(f, setup_connected, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    FRESH(test_retries_and_gives_up),
	    FRESH(test_retry_is_new),
	    FRESH(test_one_initiation_for_many),
	    CONNECTED(test_rekey_on_send),
	    CONNECTED(test_rekey_on_receive),
	    CONNECTED(test_responder_does_not_renew),
	    CONNECTED(test_keepalive),
	    CONNECTED(test_new_handshake_when_unanswered),
	    CONNECTED(test_answer_disarms),
	    CONNECTED(test_idle_is_silent),
	    CONNECTED(test_zero_keys),
	    CONNECTED(test_persistent),
	    CONNECTED(test_persistent_off),
	    FRESH(test_persistent_begins),
	    FRESH(test_persistent_after_lost_confirmation),
	    FRESH(test_queue_after_lost_confirmation),
	    FRESH(test_confirmation_takes_back),
	    FRESH(test_persistent_waits_for_endpoint),
	    CONNECTED(test_leap),
	    FRESH(test_many_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
