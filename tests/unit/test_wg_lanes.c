/* Peers and lanes: which thread's socket a peer's messages come to is said by
 * our indices, so peers are dealt to lanes evenly, and each stays on its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/err.h"
#include "support/wg_lab.h"
#include "wg/wg_state.h"

#define MANY 1000

static struct wg_device *d;
static struct wg_peer *peer[MANY];
static struct uk_time now;
static uint32_t keys;

static void
open_device(unsigned lanes)
{
	struct wg_device_conf c;
	struct wg_key key = {{8}};

	lab_seed(lanes);
	now = (struct uk_time){
	    .mono_ns = LAB_S(1000), .wall_ns = LAB_S(1790000000)};
	wg_device_conf_default(&c);
	c.random = lab_random;
	c.lanes = lanes;
	d = wg_device_new(&c);
	assert_non_null(d);
	wg_device_set_private_key(d, &key);
	wg_device_set_up(d, true);
}

/* With an address, so that it can be called. */
static struct wg_peer *
add_peer(void)
{
	struct wg_key key = {{9}};
	struct endpoint e = lab_at("192.0.2.1", 1);
	struct wg_peer *p;

	store_le32(key.b + 4, ++keys);
	p = wg_device_add(d, &key);
	assert_non_null(p);
	wg_peer_set_endpoint(p, &e);
	return p;
}

static void
add_many(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		peer[i] = add_peer();
}

/* A session, as after a handshake. Returns its lane. */
static unsigned
connect_peer(struct wg_peer *p)
{
	static const struct wg_session_keys session_keys;
	static const uint8_t remote[4];
	uint8_t index[4];

	wg_peer_draw_index(p, index);
	wg_peer_add_session(
	    p, wg_session_new(&session_keys, remote, true, now.mono_ns), index);
	assert_int_equal(wg_lane_of(index, d->conf.lanes), p->lane);
	return p->lane;
}

/* We begin a handshake; returns the lane that its answer will come to. */
static unsigned
call_peer(struct wg_peer *p)
{
	struct wg_own own = {.queued = NULL};
	const struct wg_initiation *m = (const void *)own.room;
	unsigned lane;

	wg_peer_wish(p, WG_WISH_INITIATE);
	assert_int_equal(wg_device_next(d, now, &own), 1);
	assert_ptr_equal(pbuf_data(&own.dgram.buf), m);
	lane = wg_lane_of(m->sender, d->conf.lanes);
	assert_int_equal(lane, p->lane);
	return lane;
}

struct deal {
	unsigned on[WG_LANES_MAX];
};

static void
expect_even(const struct deal *deal, unsigned n)
{
	for (unsigned i = 0; i < d->conf.lanes; i++) {
		assert_true(deal->on[i] >= n / d->conf.lanes);
		assert_true(deal->on[i] <= n / d->conf.lanes + 1);
	}
}

static const unsigned numbers[] = {1, 2, 3, 5, 8, 16};

/* Two peers get two lanes. */
static void
test_two(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		unsigned first;

		open_device(numbers[i]);
		first = connect_peer(add_peer());
		assert_int_equal(
		    connect_peer(add_peer()) != first, numbers[i] > 1);
		wg_device_free(d);
	}
}

/* A thousand are dealt evenly, by sessions and by handshakes that wait for an
 * answer, and so is whatever part of them there is at a time. */
static void
expect_dealt(unsigned (*begin)(struct wg_peer *p), unsigned before)
{
	struct deal deal = {{0}};

	for (unsigned i = 0; i < before; i++)
		deal.on[connect_peer(add_peer())]++;
	add_many(MANY - before);
	for (unsigned i = 0; i < MANY - before; i++) {
		deal.on[begin(peer[i])]++;
		if (i % 97 == 0)
			expect_even(&deal, before + i + 1);
	}
	expect_even(&deal, MANY);
}

static void
test_many(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		open_device(numbers[i]);
		expect_dealt(connect_peer, 0);
		wg_device_free(d);
	}
}

static void
test_many_called(void **state)
{
	(void)state;
	for (unsigned before = 0; before < 3; before++) {
		open_device(3);
		expect_dealt(call_peer, before);
		wg_device_free(d);
	}
}

/* Of peers that renew their sessions, each weighs as one all the same. */
static void
test_weight(void **state)
{
	struct deal deal = {{0}};

	(void)state;
	open_device(2);
	add_many(200);
	for (unsigned i = 0; i < 100; i++)
		deal.on[connect_peer(peer[i])]++;
	for (unsigned i = 0; i < 100; i++) /* two sessions on lane 0 */
		if (peer[i]->lane == 0)
			connect_peer(peer[i]);
	for (unsigned i = 100; i < 200; i++)
		deal.on[connect_peer(peer[i])]++;
	expect_even(&deal, 200);
	wg_device_free(d);
}

/* Who comes after others went takes their place. */
static void
test_leaving(void **state)
{
	struct deal deal = {{0}};

	(void)state;
	open_device(3);
	add_many(300);
	for (unsigned i = 0; i < 300; i++)
		connect_peer(peer[i]);
	for (unsigned i = 0; i < 300; i++) {
		if (peer[i]->lane != 2)
			continue;
		if (i % 2)
			wg_peer_end_sessions(peer[i]);
		else
			wg_device_remove(d, peer[i]);
	}
	for (unsigned i = 0; i < 100; i++)
		deal.on[connect_peer(add_peer())]++;
	assert_int_equal(deal.on[2], 100);
	wg_device_set_up(d, false);
	wg_device_set_up(d, true);
	deal = (struct deal){{0}};
	for (unsigned i = 0; i < 99; i++)
		deal.on[connect_peer(add_peer())]++;
	expect_even(&deal, 99);
	wg_device_free(d);
}

/* A handshake that came to nothing has no place. */
static void
test_given_up(void **state)
{
	struct deal deal = {{0}};

	(void)state;
	open_device(2);
	add_many(11);
	call_peer(peer[0]);
	wg_peer_end_handshake(peer[0]);
	for (unsigned i = 1; i < 11; i++)
		deal.on[connect_peer(peer[i])]++;
	expect_even(&deal, 10);
	wg_device_free(d);
}

/* A peer stays where it is as long as it has a session or a handshake,
 * whoever begins the next one, whatever becomes of the others. */
static void
test_stays(void **state)
{
	unsigned lane;

	(void)state;
	open_device(5);
	add_many(50);
	for (unsigned i = 0; i < 50; i++)
		connect_peer(peer[i]);
	lane = peer[7]->lane;
	for (unsigned i = 0; i < 40; i++) {
		if (i != 7)
			wg_device_remove(d, peer[i]);
		if (i % 3)
			assert_int_equal(connect_peer(peer[7]), lane);
		else
			assert_int_equal(call_peer(peer[7]), lane);
		now.mono_ns += LAB_S(6);
	}
	wg_device_free(d);
}

/* The same by real handshakes: forty of them, each side begins some. */
static void
test_stays_for_real(void **state)
{
	struct wg_device_conf c;
	struct lab l;
	unsigned lane_a, lane_b;

	(void)state;
	lab_init(&l);
	wg_device_conf_default(&c);
	assert_int_equal(c.lanes, 1);
	l.a.d->conf.lanes = 3;
	l.b.d->conf.lanes = 16;
	lab_connect(&l);
	lane_a = l.a.peer->lane;
	lane_b = l.b.peer->lane;
	for (unsigned i = 0; i < 40; i++) {
		lab_advance(&l, LAB_S(i % 5 == 4 ? 170 : 121));
		if (i % 4)
			lab_ping(&l, &l.a, &l.b);
		else
			wg_peer_wish(l.b.peer, WG_WISH_INITIATE);
		lab_settle(&l);
		assert_true(lab_ping(&l, &l.a, &l.b));
		assert_true(lab_ping(&l, &l.b, &l.a));
		assert_int_equal(
		    wg_lane_of(l.a.peer->current->index.wire, 3), lane_a);
		assert_int_equal(
		    wg_lane_of(l.b.peer->current->index.wire, 16), lane_b);
		lab_discard(&l, &l.a);
		lab_discard(&l, &l.b);
	}
	assert_true(wg_device_stats(l.a.d)->handshakes > 30);
	lab_fini(&l);
}

/* P7: an index says its lane and nothing else. It is the first number of the
 * random source that is of this lane, so its other bits are unpredictable,
 * and every number of the lane is drawn. */
static void
test_unpredictable(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		unsigned lanes = numbers[i], lane = lanes / 2, ones[32] = {0};
		unsigned seen[256] = {0};
		uint8_t wire[4], want[4];

		open_device(lanes);
		for (unsigned n = 0; n < 8192; n++) {
			lab_seed(n + 1);
			wg_index_draw(&d->indices, lane, lanes, wire);
			lab_seed(n + 1);
			do
				lab_random(want, 4);
			while (want[3] % lanes != lane);
			assert_memory_equal(wire, want, 4);
			for (unsigned bit = 0; bit < 24; bit++)
				ones[bit] += wire[bit / 8] >> (bit % 8) & 1;
			seen[wire[3]]++;
		}
		for (unsigned bit = 0; bit < 24; bit++)
			assert_in_range(ones[bit], 4096 - 400, 4096 + 400);
		for (unsigned b = 0; b < 256; b++)
			assert_int_equal(seen[b] > 0, b % lanes == lane);
		wg_device_free(d);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_two),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_many_called),
	    cmocka_unit_test(test_weight),
	    cmocka_unit_test(test_leaving),
	    cmocka_unit_test(test_given_up),
	    cmocka_unit_test(test_stays),
	    cmocka_unit_test(test_stays_for_real),
	    cmocka_unit_test(test_unpredictable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
