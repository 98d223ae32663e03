/* Two devices on a simulated network and clock, for hours: loss, duplicates,
 * reordering, corruption, outages, leaps of either clock, restarts of either
 * side. What must hold:
 *   no packet is delivered twice, none altered, none that was not sent;
 *   with the network whole again packets pass both ways within 15 s;
 *   sessions are renewed about every 120 s, and nothing is lost by it;
 *   without traffic there is silence;
 *   asking all the time whether somebody answers costs no packet.
 * Everything follows from a seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "support/wg_lab.h"

#define FLIGHTS 1024
#define IDS (1 << 19)
/* Who talks to a side that has lost its keys notices after 15 s and a third
 * without an answer, counted from the first packet. */
#define RESTART_S 20

struct weather {
	unsigned loss, twice, corrupt; /* per mille */
	uint64_t delay_ns, spread_ns;
	bool traffic;
	uint64_t ask_ns; /* a asks b so often; 0: never */
};

static const struct weather whole = {.delay_ns = LAB_MS(20), .traffic = true};
static const struct weather quiet = {.delay_ns = LAB_MS(20)};
static const struct weather storm = {.loss = 250,
    .twice = 100,
    .corrupt = 100,
    .delay_ns = LAB_MS(5),
    .spread_ns = LAB_MS(2500),
    .traffic = true};
static const struct weather rain = {.loss = 30,
    .twice = 30,
    .corrupt = 10,
    .delay_ns = LAB_MS(30),
    .spread_ns = LAB_MS(60),
    .traffic = true};
static const struct weather outage = {.loss = 1000, .traffic = true};

struct flight {
	uint64_t at_ns;
	struct lab_side *to;
	struct lab_msg m;
};

struct side {
	struct lab_side *lab;
	uint64_t mono_off; /* this side's clocks against the world's */
	int64_t wall_off;
	uint64_t sent, got; /* packets */
	uint64_t last_got_ns;
	uint8_t seen[IDS / 8]; /* of what this side received */
};

static struct {
	struct lab lab;
	uint64_t now, wall0;
	struct weather weather;
	struct flight flight[FLIGHTS];
	unsigned flights;
	struct side a, b;
	uint64_t next_send_ns, next_ask_ns;
	uint64_t datagrams;
	uint64_t rng;
} w;

static uint64_t
rnd(uint64_t below)
{
	w.rng ^= w.rng << 13;
	w.rng ^= w.rng >> 7;
	w.rng ^= w.rng << 17;
	return below ? w.rng % below : 0;
}

static bool
chance(unsigned per_mille)
{
	return rnd(1000) < per_mille;
}

/* Set the lab's clock to what this side's clocks show. */
static void
look_at_clock(const struct side *s)
{
	w.lab.now.mono_ns = w.now + s->mono_off;
	w.lab.now.wall_ns = w.wall0 + w.now + (uint64_t)s->wall_off;
}

static struct side *
side_of(const struct lab_side *l)
{
	return w.a.lab == l ? &w.a : &w.b;
}

/* ---- network ---- */

static void
launch(struct lab_side *to, const struct lab_msg *m)
{
	struct flight *f = &w.flight[w.flights];

	assert_true(w.flights++ < FLIGHTS);
	f->at_ns = w.now + w.weather.delay_ns + rnd(w.weather.spread_ns) + 1;
	f->to = to;
	lab_copy(&f->m, m);
	if (chance(w.weather.corrupt))
		pbuf_data(&f->m.buf)[rnd(m->buf.len)] ^= (uint8_t)(1 << rnd(8));
}

static void
post(struct side *from, const struct lab_msg *m)
{
	struct lab_side *to = from->lab == &w.lab.a ? &w.lab.b : &w.lab.a;

	w.datagrams++;
	assert_true(endpoint_same_remote(&m->to, &to->at));
	if (chance(w.weather.loss))
		return;
	launch(to, m);
	if (chance(w.weather.twice))
		launch(to, m);
}

static void
drain(struct side *s)
{
	struct lab_msg m;

	while (lab_next(&w.lab, s->lab, &m))
		post(s, &m);
}

/* ---- packets that can be told apart ---- */

static void
packet_of(struct lab_msg *m, const struct side *from, uint64_t id)
{
	bool a = from == &w.a;

	lab_ip4(m, a ? "10.0.0.1" : "10.0.0.2", a ? "10.0.0.2" : "10.0.0.1",
	    28 + id * 31 % 900);
	store_be64(pbuf_data(&m->buf) + 20, id);
}

static void
send_packet(struct side *s)
{
	struct lab_msg packet, m;

	assert_true(s->sent < IDS);
	look_at_clock(s);
	packet_of(&packet, s, s->sent++);
	if (lab_seal(&w.lab, s->lab, &packet, &m))
		post(s, &m);
	drain(s);
}

static void
receive_packet(struct side *s, const struct lab_msg *m)
{
	struct side *from = s == &w.a ? &w.b : &w.a;
	uint64_t id = load_be64(pbuf_data(&m->buf) + 20);
	struct lab_msg want;

	assert_true(id < from->sent);
	packet_of(&want, from, id);
	assert_int_equal(m->buf.len, want.buf.len);
	assert_memory_equal(
	    pbuf_data(&m->buf), pbuf_data(&want.buf), want.buf.len);
	assert_false(s->seen[id / 8] & 1 << id % 8);
	s->seen[id / 8] |= (uint8_t)(1 << id % 8);
	s->got++;
	s->last_got_ns = w.now;
}

static void
land(struct flight *f)
{
	struct side *s = side_of(f->to);
	struct endpoint from = f->to == &w.lab.a ? w.lab.b.at : w.lab.a.at;
	struct lab_msg m, out;

	look_at_clock(s);
	lab_copy(&m, &f->m);
	*f = w.flight[--w.flights];
	f->m.buf.base = f->m.room;
	if (lab_open(&w.lab, s->lab, &m, &from, &out))
		receive_packet(s, &out);
	drain(s);
}

/* ---- time ---- */

static struct flight *
next_flight(void)
{
	struct flight *first = NULL;

	for (unsigned i = 0; i < w.flights; i++)
		if (!first || w.flight[i].at_ns < first->at_ns)
			first = &w.flight[i];
	return first;
}

static uint64_t
deadline(const struct side *s)
{
	uint64_t at = wg_device_deadline(s->lab->d);

	if (at == UK_NEVER)
		return UK_NEVER;
	return at > s->mono_off ? at - s->mono_off : 0;
}

static void
tick(struct side *s)
{
	look_at_clock(s);
	wg_device_tick(s->lab->d, w.lab.now);
	drain(s);
}

static void
ask(void)
{
	look_at_clock(&w.a);
	wg_peer_ask(w.a.lab->peer);
	drain(&w.a);
	w.next_ask_ns = w.now + w.weather.ask_ns;
}

/* Up to end, or until both sides have got something since begin. */
static void
run(uint64_t end, bool until_both)
{
	uint64_t begin = w.now;

	for (;;) {
		struct flight *f = next_flight();
		uint64_t send = w.weather.traffic ? w.next_send_ns : UK_NEVER;
		uint64_t da = deadline(&w.a), db = deadline(&w.b);
		uint64_t asks = w.weather.ask_ns ? w.next_ask_ns : UK_NEVER;
		uint64_t at = uk_min_u64(
		    uk_min_u64(da, db), uk_min_u64(send, f ? f->at_ns : end));

		at = uk_min_u64(at, asks);
		if (at >= end)
			break;
		w.now = at > w.now ? at : w.now;
		if (f && f->at_ns == at) {
			land(f);
		} else if (send == at) {
			send_packet(chance(500) ? &w.a : &w.b);
			w.next_send_ns = w.now + LAB_MS(50) + rnd(LAB_MS(200));
		} else if (asks == at) {
			ask();
		} else {
			tick(da == at ? &w.a : &w.b);
		}
		if (until_both && w.a.last_got_ns > begin &&
		    w.b.last_got_ns > begin)
			return;
	}
	w.now = end;
}

static void
phase(const struct weather *weather, uint64_t seconds)
{
	w.weather = *weather;
	w.next_send_ns = uk_min_u64(w.next_send_ns, w.now + LAB_MS(250));
	if (w.next_send_ns < w.now)
		w.next_send_ns = w.now;
	run(w.now + LAB_S(seconds), false);
}

/* With the network whole packets pass both ways again. */
static void
heal(uint64_t within_s)
{
	uint64_t begin = w.now;

	w.weather = whole;
	w.next_send_ns = w.now;
	run(begin + LAB_S(within_s), true);
	assert_true(w.a.last_got_ns > begin);
	assert_true(w.b.last_got_ns > begin);
}

/* ---- what happens to a side ---- */

/* A program that ends and starts again: stamps are kept, nothing else. */
static void
restart(struct side *s, struct side *other)
{
	uint8_t sent[WG_STAMP_LEN], accepted[WG_STAMP_LEN];

	wg_device_last_stamp(s->lab->d, sent);
	wg_peer_stamp(s->lab->peer, accepted);
	lab_restart(&w.lab, s->lab, other->lab);
	wg_device_set_last_stamp(s->lab->d, sent);
	wg_peer_set_stamp(s->lab->peer, accepted);
}

static void
step_wall(struct side *s, int64_t seconds)
{
	s->wall_off += seconds * (int64_t)UK_NS_PER_S;
}

/* A side sleeps: its boot clock has gone on for an hour at once. */
static void
leap(struct side *s)
{
	s->mono_off += LAB_S(3600);
	tick(s);
}

/* ---- scenarios ---- */

static void
world(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	lab_init(&w.lab);
	lab_seed(seed);
	w.rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	w.now = LAB_S(10000);
	w.wall0 = LAB_S(1790000000);
	w.a.lab = &w.lab.a;
	w.b.lab = &w.lab.b;
	w.b.mono_off = LAB_S(777);
}

/* Each seed its own weather, for three hours and a half. */
static void
misfortune(struct side *s, struct side *other)
{
	switch (rnd(6)) {
	case 0:
		restart(s, other);
		break;
	case 1:
		step_wall(s, -3600);
		break;
	case 2:
		step_wall(s, 3600);
		break;
	case 3:
		leap(s);
		break;
	case 4:
		restart(s, other);
		step_wall(s, -3600);
		break;
	default:
		break;
	}
}

static void
test_weather(void **state)
{
	static const struct weather *const kinds[] = {
	    &rain, &storm, &outage, &quiet};

	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		world(seed);
		heal(5);
		for (unsigned i = 0; i < 40; i++) {
			phase(kinds[rnd(ARRAY_LEN(kinds))], 20 + rnd(400));
			if (chance(500))
				misfortune(&w.a, &w.b);
			else
				misfortune(&w.b, &w.a);
			if (chance(500))
				phase(kinds[rnd(ARRAY_LEN(kinds))], rnd(60));
			heal(RESTART_S);
			phase(&whole, 5);
		}
		assert_true(w.a.got > 1000 && w.b.got > 1000);
		lab_fini(&w.lab);
	}
}

/* A network that was gone for any time: 15 s. */
static void
test_heals(void **state)
{
	(void)state;
	world(11);
	heal(5);
	for (unsigned s = 1; s < 700; s += s < 30 ? 1 : 13) {
		phase(&outage, s);
		heal(15);
	}
	lab_fini(&w.lab);
}

/* An hour of traffic: a session every 120 s, and every packet arrives. */
static void
test_renewal(void **state)
{
	uint64_t handshakes;

	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		world(seed);
		send_packet(&w.a);
		phase(&quiet, 1);
		phase(&whole, 3600);
		phase(&quiet, 20);
		handshakes = wg_device_stats(w.lab.a.d)->handshakes;
		assert_in_range(handshakes, 29, 31);
		assert_int_equal(w.a.got, w.b.sent);
		assert_int_equal(w.b.got, w.a.sent);
		lab_fini(&w.lab);
	}
}

/* As often as it may, on a short and on a long path, where an answer comes
 * hardly before the next one would undo it: every packet arrives, and the
 * sessions do not grow old. Out of order by half of that, too. */
static void
test_asks(void **state)
{
	static const struct weather kinds[] = {
	    {.delay_ns = LAB_MS(20), .traffic = true, .ask_ns = LAB_MS(400)},
	    {.delay_ns = LAB_MS(150), .traffic = true, .ask_ns = LAB_MS(600)},
	    {.delay_ns = LAB_MS(20),
		.spread_ns = LAB_MS(150),
		.traffic = true,
		.ask_ns = LAB_MS(600)},
	};

	(void)state;
	for (uint64_t i = 0; i < ARRAY_LEN(kinds); i++) {
		world(51 + i);
		send_packet(&w.a);
		phase(&quiet, 1);
		phase(&kinds[i], 120);
		assert_in_range(wg_device_stats(w.lab.a.d)->handshakes,
		    LAB_S(118) / kinds[i].ask_ns, LAB_S(122) / kinds[i].ask_ns);
		phase(&quiet, 20);
		assert_int_equal(w.a.got, w.b.sent);
		assert_int_equal(w.b.got, w.a.sent);
		lab_fini(&w.lab);
	}
}

/* Asking neither wakes what is dead nor keeps what heals from healing. */
static void
test_asks_in_weather(void **state)
{
	static const struct weather rainy = {.loss = 50,
	    .delay_ns = LAB_MS(30),
	    .spread_ns = LAB_MS(60),
	    .traffic = true,
	    .ask_ns = LAB_MS(400)};
	static const struct weather gone = {
	    .loss = 1000, .traffic = true, .ask_ns = LAB_MS(1000)};

	(void)state;
	world(61);
	heal(5);
	for (unsigned i = 0; i < 9; i++) {
		phase(&rainy, 20 + rnd(20));
		phase(&gone, 1 + rnd(300));
		if (i % 3 == 0)
			restart(&w.a, &w.b);
		if (i % 3 == 1)
			restart(&w.b, &w.a);
		heal(RESTART_S);
	}
	lab_fini(&w.lab);
}

/* Clocks that step while all is well cost no packet. */
static void
test_wall_clock(void **state)
{
	(void)state;
	world(21);
	send_packet(&w.a);
	phase(&quiet, 1);
	for (unsigned i = 0; i < 20; i++) {
		phase(&whole, 200);
		step_wall(i % 2 ? &w.a : &w.b, i % 4 < 2 ? -3600 : 3600);
	}
	phase(&quiet, 20);
	assert_int_equal(w.a.got, w.b.sent);
	assert_int_equal(w.b.got, w.a.sent);
	lab_fini(&w.lab);
}

/* Both sides, again and again, alone and together. */
static void
test_restarts(void **state)
{
	(void)state;
	world(31);
	heal(5);
	for (unsigned i = 0; i < 60; i++) {
		phase(&whole, rnd(200));
		if (i % 3 != 0)
			restart(&w.a, &w.b);
		if (i % 3 != 1)
			restart(&w.b, &w.a);
		heal(RESTART_S);
	}
	lab_fini(&w.lab);
}

/* No traffic, no datagrams; the first packet after any time gets through. */
static void
test_idle(void **state)
{
	(void)state;
	world(41);
	heal(5);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t before;

		phase(&whole, 50 + 10 * i);
		phase(&quiet, 60); /* last keepalives, a last renewal */
		before = w.datagrams;
		phase(&quiet, 40 + 300 * i);
		assert_int_equal(w.datagrams, before);
		heal(2);
	}
	lab_fini(&w.lab);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_weather),
	    cmocka_unit_test(test_heals),
	    cmocka_unit_test(test_renewal),
	    cmocka_unit_test(test_asks),
	    cmocka_unit_test(test_asks_in_weather),
	    cmocka_unit_test(test_wall_clock),
	    cmocka_unit_test(test_restarts),
	    cmocka_unit_test(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
