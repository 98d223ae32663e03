/* The machine against a path that is simulated: with every phase of its steps,
 * with loss, with long round trips, with a machine that stalls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/failover.h"
#include "wg/wg_timers.h"

#define S(n) ((uint64_t)(n)*UK_NS_PER_S)
#define MS(n) ((uint64_t)(n)*UK_NS_PER_MS)
#define T0 S(1000)

static struct {
	struct failover f;
	struct failover_peer peer;
	uint64_t now;
	uint64_t next_step;
	uint64_t rtt, jitter;
	unsigned loss; /* per mille, each way */
	uint64_t dead_from, dead_to; /* nothing passes the middle of the path */
	uint64_t answer_at; /* to the last ask; UK_NEVER */
	uint64_t asked, asks, downs, down_at;
	uint64_t traffic_ns, next_packet; /* 0: none */
	uint64_t rng;
} w;

static uint64_t
rnd(uint64_t below)
{
	w.rng ^= w.rng << 13;
	w.rng ^= w.rng >> 7;
	w.rng ^= w.rng << 17;
	return below != 0 ? w.rng % below : 0;
}

static void
world(uint64_t rtt, uint64_t seed)
{
	failover_init(&w.f);
	w.peer = (struct failover_peer){
	    .handshakes = 7, .rx_bytes = 5000, .tx_data = 60};
	w.now = w.next_step = T0;
	w.rtt = rtt;
	w.jitter = MS(15);
	w.loss = 0;
	w.dead_from = w.dead_to = UK_NEVER;
	w.answer_at = UK_NEVER;
	w.asked = w.asks = w.downs = 0;
	w.down_at = UK_NEVER;
	w.traffic_ns = 0;
	w.rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

/* A datagram that is answered: does the answer come? */
static bool
passes(void)
{
	uint64_t middle = w.now + w.rtt / 2;

	if (middle >= w.dead_from && middle < w.dead_to)
		return false;
	return rnd(1000) >= w.loss && rnd(1000) >= w.loss;
}

/* As wg_peer_ask() does: not too often, and the last one is all that can be
 * answered. */
static void
ask(void)
{
	if (w.asks > 0 && w.now < w.asked + WG_ASK_INTERVAL)
		return;
	w.asked = w.now;
	w.asks++;
	w.answer_at = passes() ? w.now + w.rtt : UK_NEVER;
}

static void
step(void)
{
	enum failover_state before = w.f.state;

	if (failover_step(&w.f, w.now, &w.peer))
		ask();
	if (before == FAILOVER_LIVE && w.f.state == FAILOVER_DOWN) {
		w.downs++;
		w.down_at = w.now;
	}
	w.next_step = w.now + FAILOVER_EVERY + rnd(w.jitter);
}

/* What comes back is taken as if it had come at once. */
static void
packet(void)
{
	w.peer.tx_data++;
	if (passes())
		w.peer.rx_bytes += 1400;
}

static void
run(uint64_t ns)
{
	uint64_t end = w.now + ns;

	for (;;) {
		uint64_t send = w.traffic_ns != 0 ? w.next_packet : UK_NEVER;
		uint64_t at =
		    uk_min_u64(w.next_step, uk_min_u64(send, w.answer_at));

		if (at >= end)
			break;
		if (at > w.now)
			w.now = at;
		if (at == w.answer_at) {
			w.answer_at = UK_NEVER;
			w.peer.handshakes++;
			w.peer.rx_bytes += 92;
		} else if (at == send) {
			packet();
			w.next_packet = w.now + w.traffic_ns;
		} else {
			step();
		}
	}
	w.now = end;
}

static void
traffic(uint64_t every_ns)
{
	w.traffic_ns = every_ns;
	w.next_packet = w.now;
}

static void
use(void)
{
	packet();
	run(S(5));
}

static void
begin(uint64_t rtt, uint64_t seed)
{
	world(rtt, seed);
	run(S(5));
	assert_int_equal(w.f.state, FAILOVER_LIVE);
	w.asks = 0;
}

static void
die_after(uint64_t ns)
{
	w.dead_from = w.now + ns;
}

/* Counters that stand there already prove nothing; the first ask does. */
static void
test_begins_down(void **state)
{
	(void)state;
	world(MS(20), 1);
	assert_int_equal(w.f.state, FAILOVER_DOWN);
	step();
	assert_int_equal(w.f.state, FAILOVER_DOWN);
	assert_int_equal(w.asks, 1);
	run(MS(450));
	assert_int_equal(w.f.state, FAILOVER_LIVE);
	assert_int_equal(w.asks, 1);
}

static void
test_idle_is_left_alone(void **state)
{
	(void)state;
	begin(MS(20), 1);
	run(S(7200));
	assert_int_equal(w.asks, 0);
	/* Until the time of being used is over. */
	use();
	run(S(290));
	assert_true(w.asks > 200);
	run(S(10));
	w.asks = 0;
	run(S(3600));
	assert_int_equal(w.asks, 0);
	assert_int_equal(w.downs, 0);
}

/* While anything comes in nobody is asked; else it costs little. */
static void
test_cost(void **state)
{
	(void)state;
	begin(MS(20), 1);
	traffic(MS(100));
	run(S(600));
	assert_int_equal(w.asks, 0);
	traffic(0);
	run(S(100));
	assert_in_range(w.asks, 100, 126);
	w.dead_from = w.now;
	run(S(3));
	assert_int_equal(w.f.state, FAILOVER_DOWN);
	w.asks = 0;
	run(S(50));
	assert_in_range(w.asks, 40, 50);
	run(S(10));
	w.asks = 0;
	run(S(100));
	assert_in_range(w.asks, 18, 20);
}

enum phase { BUSY, USED, FIRST, FIRST_LONG_AFTER, PHASES };

/* Brings the world to where nothing passes any more, and returns since when
 * somebody waits. */
static uint64_t
die(enum phase phase, uint64_t ns)
{
	if (phase == BUSY)
		traffic(MS(50));
	if (phase == BUSY || phase == USED)
		use();
	if (phase == FIRST_LONG_AFTER) {
		use();
		run(S(400));
	}
	die_after(ns);
	if (phase == BUSY || phase == USED)
		return w.dead_from;
	run(ns + S(1));
	packet();
	return w.now;
}

/* Within 3 s, whenever it happens. */
static void
test_dead(void **state)
{
	static const uint64_t rtt[] = {MS(1), MS(60), MS(150), MS(300)};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(rtt) * PHASES * 2; i++) {
		for (uint64_t ns = 0; ns < S(1); ns += MS(9)) {
			uint64_t since;

			begin(rtt[i % 4], ns + 1);
			if (i >= ARRAY_LEN(rtt) * PHASES)
				w.f.lost_ns = w.now; /* a lossy path */
			since = die((enum phase)(i / 4 % PHASES), ns);
			run(S(10));
			assert_int_equal(w.downs, 1);
			assert_int_equal(w.f.state, FAILOVER_DOWN);
			assert_true(w.down_at > since);
			assert_true(w.down_at - since < S(3));
		}
	}
}

/* And back with the first answer. */
static void
test_back(void **state)
{
	(void)state;
	for (uint64_t ns = 0; ns < S(2); ns += MS(13)) {
		begin(MS(80), ns + 1);
		use();
		die_after(0);
		run(S(20) + ns);
		assert_int_equal(w.f.state, FAILOVER_DOWN);
		w.dead_to = w.now;
		run(S(1) + MS(80) + FAILOVER_EVERY + 2 * w.jitter);
		assert_int_equal(w.f.state, FAILOVER_LIVE);
		w.dead_from = w.now;
		w.dead_to = UK_NEVER;
		run(S(200) + ns);
		assert_int_equal(w.f.state, FAILOVER_DOWN);
		w.dead_to = w.now;
		run(S(5) + MS(80) + FAILOVER_EVERY + 2 * w.jitter);
		assert_int_equal(w.f.state, FAILOVER_LIVE);
		assert_int_equal(w.downs, 2);
	}
}

/* What comes in while it is down may come from one that hears nothing. */
static void
test_one_way(void **state)
{
	(void)state;
	begin(MS(20), 1);
	use();
	die_after(0);
	run(S(3));
	assert_int_equal(w.f.state, FAILOVER_DOWN);
	for (unsigned i = 0; i < 20; i++) {
		w.peer.rx_bytes += 100;
		run(MS(500));
		assert_int_equal(w.f.state, FAILOVER_DOWN);
	}
}

/* 5 % lost each way, for five hours each: while it is asked all the time, and
 * with pauses in which it is not, so that each begins as on a good path. */
static void
test_loss(void **state)
{
	static const uint64_t rtt[] = {MS(5), MS(60), MS(190), MS(300)};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(rtt); i++) {
		begin(rtt[i], i + 1);
		w.loss = 50;
		traffic(S(100));
		run(S(5 * 3600));
		assert_true(w.asks > 3600);
		assert_int_equal(w.downs, 0);
		for (unsigned k = 0; k < 100; k++) {
			traffic(MS(40));
			run(S(700));
			traffic(0);
			run(S(20));
		}
		assert_int_equal(w.downs, 0);
	}
}

/* Such a path works, although an ask that comes too early undoes the one
 * before. */
static void
test_slow(void **state)
{
	static const uint64_t rtt[] = {
	    MS(350), MS(399), MS(450), MS(600), MS(750), MS(900)};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(rtt); i++) {
		world(rtt[i], i + 1);
		traffic(S(100));
		run(S(3600));
		assert_int_equal(w.f.state, FAILOVER_LIVE);
		assert_int_equal(w.downs, 0);
	}
}

/* A machine that has no time, or sleeps, does not hear what comes. */
static void
test_stalls(void **state)
{
	static const uint64_t pause[] = {
	    MS(450), S(1), S(3), S(10), S(8 * 3600)};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(pause) * 300; i++) {
		begin(MS(30), i + 1);
		use();
		run(rnd(S(3)));
		w.next_step = w.now + pause[i % ARRAY_LEN(pause)];
		run(pause[i % ARRAY_LEN(pause)] + S(10));
		assert_int_equal(w.downs, 0);
		assert_int_equal(w.f.state, FAILOVER_LIVE);
	}
}

/* What is lost by a stall is found after it. */
static void
test_dies_in_a_stall(void **state)
{
	(void)state;
	begin(MS(30), 1);
	use();
	die_after(0);
	w.next_step = w.now + S(100);
	run(S(100));
	assert_int_equal(w.f.state, FAILOVER_LIVE);
	run(S(3));
	assert_int_equal(w.f.state, FAILOVER_DOWN);
}

/* The machine falls asleep while it is in doubt, and what it has asked is lost:
 * the time it slept is not the peer's silence. */
static void
test_sleeps_in_doubt(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 300; i++) {
		begin(MS(30), i);
		use();
		die_after(0);
		packet();
		run(MS(900));
		w.dead_to = w.now + S(10);
		w.next_step = w.dead_to + MS(1);
		run(S(15));
		assert_int_equal(w.downs, 0);
		assert_int_equal(w.f.state, FAILOVER_LIVE);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_begins_down),
	    cmocka_unit_test(test_idle_is_left_alone),
	    cmocka_unit_test(test_cost),
	    cmocka_unit_test(test_dead),
	    cmocka_unit_test(test_back),
	    cmocka_unit_test(test_one_way),
	    cmocka_unit_test(test_loss),
	    cmocka_unit_test(test_slow),
	    cmocka_unit_test(test_stalls),
	    cmocka_unit_test(test_dies_in_a_stall),
	    cmocka_unit_test(test_sleeps_in_doubt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
