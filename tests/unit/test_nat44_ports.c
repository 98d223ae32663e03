#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client/mape/nat44_state.h"
#include "nat44_lab.h"

#define S UK_NS_PER_S
#define PORTS 240

static const struct lab_end web = {LAB_REMOTE, 443};
static const struct lab_end stun = {LAB_REMOTE, 3478};

static struct nat44 *
make(const struct nat44_conf *c)
{
	struct nat44 *n;

	assert_int_equal(nat44_new(&n, c), 0);
	return n;
}

static struct nat44 *
make_default(void)
{
	struct nat44_conf c = lab_conf();

	return make(&c);
}

static struct lab_end
inside(uint32_t i)
{
	return (struct lab_end){LAB_HOST, (uint16_t)(1024 + i)};
}

static struct nat44_stats
stats(const struct nat44 *n)
{
	struct nat44_stats st;

	nat44_stats(n, &st);
	return st;
}

/* SYN, its answer, ACK: then it is never given up. */
static void
establish(struct nat44 *n, uint64_t now, struct lab_end from, struct lab_end to)
{
	assert_int_equal(lab_out(n, now, LAB_TCP, from, to, LAB_SYN), MAP_OK);
	uint16_t port = lab_src(lab_p).port;
	assert_int_equal(
	    lab_in(n, now, LAB_TCP, to, port, LAB_SYN | LAB_ACK), MAP_OK);
	assert_int_equal(lab_out(n, now, LAB_TCP, from, to, LAB_ACK), MAP_OK);
}

/* 240 sessions to each destination, and each port of the set in each of them
 * once. */
static void
test_each_destination(void **state)
{
	(void)state;
	static const struct {
		uint8_t proto;
		uint16_t port;
	} t[] = {{LAB_TCP, 443}, {LAB_TCP, 22}, {LAB_UDP, 53}, {LAB_UDP, 123},
	    {LAB_UDP, 443}, {LAB_ICMP, 0}};
	struct nat44 *n = make_default();

	for (size_t k = 0; k < 2 * ARRAY_LEN(t); k++) {
		struct lab_end to = {LAB_REMOTE + k % 2, t[k / 2].port};
		uint8_t proto = t[k / 2].proto, dst[4];
		bool seen[65536] = {false};

		store_be32(dst, to.a);
		for (uint32_t i = 0; i < PORTS; i++) {
			assert_int_equal(
			    nat44_ports_left(n, proto, dst, to.port),
			    PORTS - i);
			assert_int_equal(
			    lab_out(n, 0, proto, inside(i), to, LAB_SYN),
			    MAP_OK);
			uint16_t port = lab_src(lab_p).port;
			assert_true(map_ports_has(&lab_ports, port));
			assert_false(seen[port]);
			seen[port] = true;
		}
		assert_int_equal(
		    lab_out(n, 0, proto, inside(PORTS), to, LAB_SYN),
		    MAP_DROP_NO_PORT);
		assert_int_equal(nat44_ports_left(n, proto, dst, to.port), 0);
	}
	struct nat44_stats st = stats(n);
	assert_int_equal(st.sessions, 12 * PORTS);
	assert_int_equal(st.space[NAT44_TCP].refused, 4);
	assert_int_equal(st.space[NAT44_UDP].refused, 6);
	assert_int_equal(st.space[NAT44_ICMP].refused, 2);
	assert_int_equal(st.space[NAT44_TCP].ports, PORTS);
	assert_int_equal(st.space[NAT44_TCP].busiest_sessions, PORTS);
	assert_int_equal(st.drop[MAP_DROP_NO_PORT], 12);
	nat44_free(n);
}

/* N6: random over all ranges alike, for sessions and for mappings, and nothing
 * of the inside port in it. Of 240 * 100 draws each port has 100 give or take
 * ten (its standard deviation); five of these are allowed. */
static void
test_spread(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		unsigned hits[PORTS] = {0};
		struct nat44 *n = make_default();

		for (uint32_t i = 0; i < PORTS * 100; i++) {
			uint64_t now = i * 1000 * S;

			assert_int_equal(
			    lab_out(n, now, k ? LAB_UDP : LAB_TCP, inside(7),
				k ? stun : web, LAB_SYN),
			    MAP_OK);
			hits[map_ports_index(
			    &lab_ports, lab_src(lab_p).port)]++;
			for (unsigned e = 0; e < 2; e++)
				nat44_expire(n, now + 500 * S);
			assert_int_equal(stats(n).sessions, 0);
		}
		for (unsigned i = 0; i < PORTS; i++)
			assert_in_range(hits[i], 50, 150);
		nat44_free(n);
	}
}

/* What closed or never opened gives way by the stages of nat44_timers.h, when
 * its port is wanted: so long it keeps the port, and one second later it does
 * not. RFC 5382 REQ-5: established ones do not give way at all. */
static void
test_stages(void **state)
{
	(void)state;
	static const struct {
		const char *kind;
		unsigned keeps_s;
	} t[] = {{"opening", 30}, {"closed", 4}, {"reset", 10}, {"dns", 10},
	    {"answered", 4}, {"unanswered", 10}, {"quic", 120}, {"stun", 120},
	    {"ping", 60}, {"established", 7440}, {"half", 7440}};

	for (size_t k = 0; k < ARRAY_LEN(t); k++) {
		struct nat44 *n = make_default();
		char c = t[k].kind[0];
		bool tcp = strchr("ocreh", c);
		uint8_t proto = tcp ? LAB_TCP : c == 'p' ? LAB_ICMP : LAB_UDP;
		struct lab_end to = {LAB_REMOTE, tcp || c == 'q'    ? 443
						 : strchr("dau", c) ? 53
						 : c == 'p'         ? 0
								    : 3478};

		for (uint32_t i = 0; i < PORTS; i++) {
			if (tcp && c != 'o')
				establish(n, 0, inside(i), to);
			else
				lab_out(n, 0, proto, inside(i), to, LAB_SYN);
			uint16_t port = lab_src(lab_p).port;
			if (c == 'c' || c == 'h')
				lab_out(n, 0, proto, inside(i), to,
				    LAB_FIN | LAB_ACK);
			if (c == 'c')
				lab_in(
				    n, 0, proto, to, port, LAB_FIN | LAB_ACK);
			if (c == 'r')
				lab_in(n, 0, proto, to, port, LAB_RST);
			if (c == 'a' || c == 'u')
				lab_in(n, 0, proto, to, port, 0);
			if (c == 'u')
				lab_out(n, 0, proto, inside(i), to, 0);
		}
		uint64_t end = t[k].keeps_s * S;
		struct lab_end late = {LAB_HOST + 1, 1};
		assert_int_equal(lab_out(n, end, proto, late, to, LAB_SYN),
		    MAP_DROP_NO_PORT);
		assert_int_equal(
		    lab_out(n, end + S, proto, late, to, LAB_SYN), MAP_OK);
		assert_int_equal(stats(n)
				     .space[tcp        ? NAT44_TCP
					    : c == 'p' ? NAT44_ICMP
						       : NAT44_UDP]
				     .reclaimed,
		    t[k].keeps_s == 7440 || c == 'p' ? 0 : 1);
		nat44_free(n);
	}
}

/* The one that is most beyond its time goes, and no other. */
static void
test_oldest(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	uint16_t port[PORTS];

	for (uint32_t i = 0; i < PORTS; i++) {
		uint64_t now = (i == 77 ? 1 : 2 + i % 5) * S;

		assert_int_equal(
		    lab_out(n, now, LAB_TCP, inside(i), web, LAB_SYN), MAP_OK);
		port[i] = lab_src(lab_p).port;
	}
	assert_int_equal(
	    lab_out(n, 40 * S, LAB_TCP, inside(PORTS), web, LAB_SYN), MAP_OK);
	assert_int_equal(lab_src(lab_p).port, port[77]);
	nat44_free(n);
}

static void
ask(struct nat44 *n, uint64_t now, uint32_t i, enum map_drop want)
{
	assert_int_equal(
	    lab_out(n, now, LAB_TCP, inside(i), web, LAB_SYN), want);
}

/* A destination that is full is not searched again and again, but when the
 * first of its sessions has had its time. */
static void
test_retry(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	uint16_t port[2];

	for (uint32_t i = 0; i < PORTS; i++) {
		establish(n, 0, inside(i), web);
		port[i % 2] = lab_src(lab_p).port;
	}
	ask(n, 20 * S, 300, MAP_DROP_NO_PORT);
	lab_in(n, 20 * S, LAB_TCP, web, port[0], LAB_RST);
	/* That was a search, and is not repeated within 960 us. */
	ask(n, 30 * S, 300, MAP_DROP_NO_PORT);
	ask(n, 30 * S + 959999, 300, MAP_DROP_NO_PORT);
	ask(n, 30 * S + 960000, 300, MAP_OK);
	assert_int_equal(lab_src(lab_p).port, port[0]);
	/* It knows when the next one may be had. */
	lab_in(n, 30 * S, LAB_TCP, web, port[1], LAB_RST);
	ask(n, 39 * S + S / 2, 301, MAP_DROP_NO_PORT);
	ask(n, 40 * S, 301, MAP_DROP_NO_PORT);
	ask(n, 40 * S + 1, 301, MAP_OK);
	assert_int_equal(lab_src(lab_p).port, port[1]);
	nat44_free(n);
}

/* Short connections to one server, as many as can be had, for ten minutes:
 * every port is given again as soon as its last owner's time is over. */
static void
test_churn(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	const uint64_t step = S / 100;
	unsigned full_s = nat44_idle_s[NAT44_ENDED][NAT44_FULL];
	unsigned made = 0;

	for (uint32_t i = 0; i < 60000; i++) {
		uint64_t now = i * step;

		if (lab_out(n, now, LAB_TCP, inside(i), web, LAB_SYN) != MAP_OK)
			continue;
		uint16_t port = lab_src(lab_p).port;
		lab_in(n, now, LAB_TCP, web, port, LAB_SYN | LAB_ACK);
		lab_out(n, now, LAB_TCP, inside(i), web, LAB_FIN | LAB_ACK);
		lab_in(n, now, LAB_TCP, web, port, LAB_FIN | LAB_ACK);
		lab_out(n, now, LAB_TCP, inside(i), web, LAB_ACK);
		made++;
	}
	/* Some steps of waiting are rounding. */
	assert_in_range(
	    made, PORTS * 600 / full_s * 99 / 100, PORTS * (600 / full_s + 1));
	nat44_free(n);
}

/* The boundaries of the table in nat44_timers.h. */
static void
test_stage_of(void **state)
{
	(void)state;
	static const struct {
		uint32_t taken, all;
		enum nat44_stage want;
	} t[] = {{0, 240, NAT44_ROOMY}, {179, 240, NAT44_ROOMY},
	    {180, 240, NAT44_TIGHT}, {209, 240, NAT44_TIGHT},
	    {210, 240, NAT44_SCARCE}, {239, 240, NAT44_SCARCE},
	    {240, 240, NAT44_FULL}, {241, 240, NAT44_FULL}, {0, 1, NAT44_ROOMY},
	    {1, 1, NAT44_FULL}, {0, 0, NAT44_FULL}};

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(
		    nat44_stage_of(t[i].taken, t[i].all), t[i].want);
	for (unsigned i = 0; i < NAT44_TIMERS; i++) {
		for (unsigned k = 1; k < NAT44_STAGES; k++)
			assert_true(
			    nat44_idle_s[i][k] <= nat44_idle_s[i][k - 1]);
	}
}

/* N9: a host has its share of sessions and of ports, others have theirs; idle
 * UDP gives way, the oldest first. */
static void
test_host_sessions(void **state)
{
	(void)state;
	struct nat44_conf c = lab_conf();
	struct lab_end other = {LAB_HOST + 1, 1};

	c.host_sessions_max = 20;
	struct nat44 *n = make(&c);
	for (uint32_t i = 0; i < 10; i++) {
		lab_out(n, 0, LAB_TCP, inside(i), web, LAB_SYN);
		lab_out(n, (10 - i) * S, LAB_UDP, inside(i), web, 0);
	}
	/* The two kinds are past their last stage's time from 30 s and 120 s
	 * on; UDP goes first although it is not the longest idle. */
	assert_int_equal(lab_out(n, 29 * S, LAB_TCP, inside(50), web, LAB_SYN),
	    MAP_DROP_HOST_LIMIT);
	assert_int_equal(
	    lab_out(n, 29 * S, LAB_TCP, other, web, LAB_SYN), MAP_OK);
	assert_int_equal(
	    lab_out(n, 122 * S, LAB_UDP, inside(51), web, 0), MAP_OK);
	struct nat44_stats st = stats(n);
	assert_int_equal(st.sessions, 21);
	assert_int_equal(st.hosts, 2);
	assert_int_equal(st.space[NAT44_UDP].reclaimed, 1);
	assert_int_equal(st.space[NAT44_TCP].reclaimed, 0);
	assert_int_equal(st.drop[MAP_DROP_HOST_LIMIT], 1);
	/* Inside 9 was idle longest: the others are there, with their ports. */
	for (uint32_t i = 0; i < 9; i++) {
		uint64_t made = stats(n).made;

		lab_out(n, 122 * S, LAB_UDP, inside(i), web, 0);
		assert_int_equal(stats(n).made, made);
	}
	/* No UDP is idle any more: a connection that never opened. */
	assert_int_equal(
	    lab_out(n, 123 * S, LAB_UDP, inside(52), web, 0), MAP_OK);
	assert_int_equal(stats(n).space[NAT44_TCP].reclaimed, 1);
	nat44_free(n);
}

static void
test_host_ports(void **state)
{
	(void)state;
	struct nat44_conf c = lab_conf();
	struct lab_end other = {LAB_HOST + 1, 1};

	c.host_ports_max = 5;
	struct nat44 *n = make(&c);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(
		    lab_out(n, i * S, LAB_UDP, inside(i), stun, 0), MAP_OK);
	assert_int_equal(lab_out(n, 120 * S, LAB_UDP, inside(5), stun, 0),
	    MAP_DROP_HOST_LIMIT);
	assert_int_equal(lab_out(n, 120 * S, LAB_UDP, other, stun, 0), MAP_OK);
	/* To ports that are shared it may go on. */
	assert_int_equal(
	    lab_out(n, 120 * S, LAB_UDP, inside(5), web, 0), MAP_OK);
	assert_int_equal(
	    lab_out(n, 120 * S + S / 2, LAB_UDP, inside(6), stun, 0), MAP_OK);
	struct nat44_stats st = stats(n);
	assert_int_equal(st.space[NAT44_UDP].mappings, 6);
	assert_int_equal(st.space[NAT44_UDP].reclaimed, 1);
	assert_int_equal(st.drop[MAP_DROP_HOST_LIMIT], 1);
	nat44_free(n);
}

static void
test_table_full(void **state)
{
	(void)state;
	struct nat44_conf c = lab_conf();

	c.sessions_max = 32;
	struct nat44 *n = make(&c);
	for (uint32_t i = 0; i < 32; i++)
		assert_int_equal(
		    lab_out(n, 0, LAB_TCP, inside(i), web, LAB_SYN), MAP_OK);
	assert_int_equal(lab_out(n, 30 * S, LAB_TCP, inside(32), web, LAB_SYN),
	    MAP_DROP_TABLE_FULL);
	assert_int_equal(
	    lab_out(n, 31 * S, LAB_TCP, inside(32), web, LAB_SYN), MAP_OK);
	nat44_free(n);
	/* A table of one, again and again. */
	c.sessions_max = 1;
	n = make(&c);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(
		    lab_out(n, i * 31 * S, LAB_TCP, inside(i), web, LAB_SYN),
		    MAP_OK);
	assert_int_equal(stats(n).sessions, 1);
	nat44_free(n);
}

/* N9: SYNs from anywhere to a forward leave an eighth of the table, and of what
 * the server itself may have, to connections that are made inside. */
static void
test_flood(void **state)
{
	(void)state;
	static const struct nat44_forward f = {6, 4928, {192, 168, 0, 1}, 80};
	struct nat44_conf c = lab_conf();

	for (unsigned k = 0; k < 2; k++) {
		enum map_drop why =
		    k == 0 ? MAP_DROP_TABLE_FULL : MAP_DROP_HOST_LIMIT;

		c.forward = &f;
		c.forwards = 1;
		c.sessions_max = k == 0 ? 64 : 128;
		c.host_sessions_max = 192 - c.sessions_max;
		struct nat44 *n = make(&c);
		for (uint32_t i = 0; i < 70; i++) {
			struct lab_end any = {LAB_REMOTE + i, 999};
			enum map_drop got =
			    lab_in(n, 0, LAB_TCP, any, 4928, LAB_SYN);

			assert_int_equal(got, i < 56 ? MAP_OK : why);
		}
		for (uint32_t i = 0; i < 9; i++) {
			enum map_drop got =
			    lab_out(n, 0, LAB_TCP, inside(i), web, LAB_SYN);

			assert_int_equal(got == MAP_OK, i < 8);
		}
		nat44_free(n);
	}
}

/* Everything ends by nat44_expire() alone, and leaves nothing counted. */
static void
test_expire(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	struct lab_end quic = {LAB_REMOTE + 5000, 443};

	for (uint32_t i = 0; i < 900; i++) {
		struct lab_end h = {LAB_HOST + i % 9, (uint16_t)(1 + i)};

		establish(n, 0, h, (struct lab_end){LAB_REMOTE + i, 443});
		lab_out(n, 0, LAB_UDP, h, quic, 0);
		lab_out(n, 0, LAB_UDP, h, stun, 0);
		lab_out(n, 0, LAB_ICMP, h, (struct lab_end){LAB_REMOTE, 0}, 0);
	}
	assert_int_equal(stats(n).sessions, 900 + 3 * PORTS);
	for (unsigned i = 0; i < 9; i++)
		nat44_expire(n, 7440 * S);
	assert_int_equal(stats(n).sessions, 900);
	assert_int_equal(stats(n).space[NAT44_UDP].mappings, 0);
	for (unsigned i = 0; i < 9; i++)
		nat44_expire(n, 7440 * S + 1);
	struct nat44_stats st = stats(n);
	assert_int_equal(st.sessions, 0);
	assert_int_equal(st.hosts, 0);
	for (unsigned i = 0; i < NAT44_SPACES; i++) {
		assert_int_equal(st.space[i].ports, 0);
		assert_int_equal(st.space[i].sessions, 0);
		assert_int_equal(st.space[i].busiest_sessions, 0);
		assert_int_equal(st.space[i].reclaimed, 0);
	}
	assert_int_equal(st.space[NAT44_UDP].ports_peak, PORTS);
	nat44_free(n);
}

/* Lines of other shapes: the smallest set, and an address of one's own, of
 * which port 0 is not used. */
static void
test_other_sets(void **state)
{
	(void)state;
	static const struct map_ports one = {
	    .offset = 1, .psid_len = 15, .psid = 3};
	static const struct map_ports all = {.psid_len = 0};
	static const struct map_ports low = {.psid_len = 11};
	struct nat44_conf c = lab_conf();

	c.ports = one;
	struct nat44 *n = make(&c);
	assert_int_equal(
	    lab_out(n, 0, LAB_TCP, inside(0), web, LAB_SYN), MAP_OK);
	assert_int_equal(lab_src(lab_p).port, 0x8003);
	assert_int_equal(
	    lab_out(n, 0, LAB_TCP, inside(1), web, LAB_SYN), MAP_DROP_NO_PORT);
	nat44_free(n);
	c.ports = all;
	n = make(&c);
	assert_int_equal(
	    nat44_ports_left(n, 6, (uint8_t[]){1, 2, 3, 4}, 80), 65535);
	nat44_free(n);
	/* 32 ports from 0 on. */
	c.ports = low;
	n = make(&c);
	for (uint32_t i = 0; i < 32; i++) {
		int want = i < 31 ? MAP_OK : MAP_DROP_NO_PORT;

		assert_int_equal(
		    lab_out(n, 0, LAB_TCP, inside(i), web, LAB_SYN), want);
		if (want == MAP_OK)
			assert_int_not_equal(lab_src(lab_p).port, 0);
		assert_int_equal(
		    lab_out(n, 0, LAB_UDP, inside(i), stun, 0), want);
		if (want == MAP_OK)
			assert_int_not_equal(lab_src(lab_p).port, 0);
	}
	nat44_free(n);
}

/* Keys as alike as they come, neighbours in each part, spread as random ones
 * do: of 65536 in 8192 lines of 15 hardly one in 200 has to pass on. Another
 * secret, other places. */
static void
test_hash(void **state)
{
	(void)state;
	struct nat44 n = {.address = 0};

	for (unsigned k = 0; k < 8; k++) {
		static uint8_t load[4][8192];
		unsigned over[4] = {0};
		uint64_t first = nat44_hash(&n, 1, 1);

		lab_random(n.hash_key, sizeof(n.hash_key));
		n.hash_key[2] |= 1;
		n.hash_key[3] |= 1;
		assert_true(nat44_hash(&n, 1, 1) != first);
		memset(load, 0, sizeof(load));
		for (uint64_t i = 0; i < 65536; i++) {
			uint64_t h[4] = {
			    nat44_hash(&n, UINT64_C(6) << 48 | i, 443),
			    nat44_hash(&n, i << 16, i % 7),
			    nat44_hash(&n, 6, i << 16),
			    nat44_hash(&n, i % 256, i / 256),
			};

			for (unsigned a = 0; a < 4; a++)
				over[a] += ++load[a][h[a] % 8192] > 15;
		}
		for (unsigned a = 0; a < 4; a++)
			assert_in_range(over[a], 0, 65536 / 200);
	}
}

/* More sessions of one hash than a line holds: they pass on to later lines, and
 * when they are gone nothing of that is left. */
static void
test_index(void **state)
{
	(void)state;
	struct nat44_index x;

	assert_int_equal(nat44_index_init(&x, 64), 0);
	assert_int_equal(x.mask, 7);
	for (uint32_t i = 0; i < 64; i++)
		nat44_index_add(&x, 6 + i % 2, i);
	assert_true(x.bucket[6].passed > 0 && x.bucket[0].passed > 0);
	for (uint32_t i = 0; i < 64; i++)
		nat44_index_remove(&x, 6 + i * 27 % 2, i * 27 % 64);
	for (uint32_t i = 0; i < 8; i++) {
		assert_int_equal(x.bucket[i].passed, 0);
		for (unsigned k = 0; k < NAT44_BUCKET_SLOTS; k++)
			assert_int_equal(x.bucket[i].slot[k], 0);
	}
	nat44_index_fini(&x);
}

/* ---- destinations that run short ---- */

#define SHORT_ADDRS 4
#define SHORT_MANY 128

static const uint16_t short_ports[] = {22, 53, 123, 443, 3478};

/* The twin: who has opened what, counted from end to end. No time passes, so
 * nothing ends. */
struct opened {
	uint8_t proto;
	struct lab_end from, to;
};
static struct opened opened[8192];
static unsigned opened_n;

static bool
same_end(struct lab_end a, struct lab_end b)
{
	return a.a == b.a && a.port == b.port;
}

static bool
is_shared_udp(uint8_t proto, uint16_t port)
{
	return proto == LAB_UDP && port != 53 && port != 123 && port != 443;
}

/* Counts like the i-th one before it? */
static bool
repeats(unsigned i, bool of_all)
{
	for (unsigned k = 0; k < i; k++) {
		const struct opened *a = &opened[k], *b = &opened[i];

		if (a->proto == b->proto && same_end(a->from, b->from) &&
		    (of_all ? is_shared_udp(a->proto, a->to.port)
			    : same_end(a->to, b->to)))
			return true;
	}
	return false;
}

static uint32_t
twin_left(uint8_t proto, struct lab_end to)
{
	bool of_all = is_shared_udp(proto, to.port);
	uint32_t taken = 0;

	for (unsigned i = 0; i < opened_n; i++) {
		const struct opened *o = &opened[i];

		if (o->proto != proto || repeats(i, of_all))
			continue;
		taken += of_all ? is_shared_udp(proto, o->to.port)
				: same_end(o->to, to);
	}
	return 32 - taken;
}

static struct nat44_shortage found[SHORT_MANY];
static unsigned found_n;

static void
note_short(void *arg, const struct nat44_shortage *s)
{
	(void)arg;
	assert_true(found_n < SHORT_MANY);
	found[found_n++] = *s;
}

/* How often it was named, and what was said to be left. */
static unsigned
times_found(uint8_t proto, struct lab_end to, uint32_t *left)
{
	unsigned times = 0;

	for (unsigned i = 0; i < found_n; i++) {
		if (found[i].proto != proto ||
		    load_be32(found[i].dst) != to.a || found[i].port != to.port)
			continue;
		times++;
		*left = found[i].left;
	}
	return times;
}

static void
expect_found(const struct nat44 *n, uint8_t proto, struct lab_end to,
    uint32_t left, uint32_t below)
{
	uint8_t dst[4];
	uint32_t said = left;

	assert_int_equal(times_found(proto, to, &said), left < below);
	assert_int_equal(said, left);
	store_be32(dst, to.a);
	assert_int_equal(nat44_ports_left(n, proto, dst, to.port), left);
}

static void
look_for_short(const struct nat44 *n, uint32_t below)
{
	static const uint8_t protos[] = {LAB_TCP, LAB_UDP, LAB_ICMP};
	const struct lab_end any = {0, 0};
	unsigned want = 0;

	found_n = 0;
	nat44_short(n, below, note_short, NULL);
	for (unsigned i = 0; i < SHORT_ADDRS * ARRAY_LEN(short_ports); i++) {
		for (unsigned k = 0; k < ARRAY_LEN(protos); k++) {
			struct lab_end to = {LAB_REMOTE + i % SHORT_ADDRS,
			    short_ports[i / SHORT_ADDRS]};
			uint32_t left;

			if (is_shared_udp(protos[k], to.port))
				continue;
			if (protos[k] == LAB_ICMP && i >= SHORT_ADDRS)
				continue;
			if (protos[k] == LAB_ICMP)
				to.port = 0;
			left = twin_left(protos[k], to);
			expect_found(n, protos[k], to, left, below);
			want += left < below;
		}
	}
	expect_found(n, LAB_UDP, any, twin_left(LAB_UDP, any), below);
	want += twin_left(LAB_UDP, any) < below;
	assert_int_equal(found_n, want);
}

static void
open_any(struct nat44 *n)
{
	struct opened *o = &opened[opened_n];

	o->proto = (uint8_t[]){LAB_TCP, LAB_UDP, LAB_ICMP}[lab_rnd() % 3];
	o->from = inside((uint32_t)(lab_rnd() % 60));
	o->to = (struct lab_end){LAB_REMOTE + (uint32_t)(lab_rnd() % 4),
	    short_ports[lab_rnd() % ARRAY_LEN(short_ports)]};
	if (lab_rnd() % 2 == 0)
		o->to = (struct lab_end){LAB_REMOTE, 443}; /* a favourite */
	if (o->proto == LAB_ICMP)
		o->to.port = 0;
	if (lab_out(n, 0, o->proto, o->from, o->to, LAB_SYN) == MAP_OK)
		opened_n++;
}

/* Equal to the twin at each threshold, from no session to a full set. */
static void
test_short(void **state)
{
	static const struct map_ports ports = {
	    .offset = 0, .psid_len = 11, .psid = 5};
	struct nat44_conf c = lab_conf();
	struct nat44 *n;

	(void)state;
	c.ports = ports;
	n = make(&c);
	opened_n = 0;
	for (unsigned step = 0; step < 600; step++) {
		if (step % 20 == 0)
			look_for_short(n, (uint32_t)(lab_rnd() % 33));
		open_any(n);
	}
	look_for_short(n, 0);
	assert_int_equal(found_n, 0);
	look_for_short(n, 1);
	assert_true(found_n > 0);
	look_for_short(n, 32);
	nat44_expire(n, 10000 * S);
	for (unsigned k = 0; k < 100; k++)
		nat44_expire(n, 10000 * S);
	opened_n = 0;
	look_for_short(n, 32);
	assert_int_equal(found_n, 0);
	nat44_free(n);
}

/* A set that is too small from the beginning is so toward everybody, which is
 * said once for a protocol; sessions change nothing in that. */
static void
test_short_everywhere(void **state)
{
	static const uint16_t of_udp[] = {0, 53, 123, 443};
	struct nat44 *n = make_default();
	uint32_t left;

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		found_n = 0;
		nat44_short(n, PORTS + 1, note_short, NULL);
		assert_int_equal(found_n, 6);
		assert_int_equal(
		    times_found(LAB_TCP, (struct lab_end){0, 0}, &left), 1);
		assert_int_equal(left, PORTS);
		assert_int_equal(
		    times_found(LAB_ICMP, (struct lab_end){0, 0}, &left), 1);
		for (unsigned i = 0; i < ARRAY_LEN(of_udp); i++)
			assert_int_equal(
			    times_found(
				LAB_UDP, (struct lab_end){0, of_udp[i]}, &left),
			    1);
		establish(n, 0, inside(1), web);
		assert_int_equal(
		    lab_out(n, 0, LAB_UDP, inside(1), web, 0), MAP_OK);
	}
	nat44_free(n);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_destination),
	    cmocka_unit_test(test_spread),
	    cmocka_unit_test(test_stages),
	    cmocka_unit_test(test_oldest),
	    cmocka_unit_test(test_retry),
	    cmocka_unit_test(test_churn),
	    cmocka_unit_test(test_stage_of),
	    cmocka_unit_test(test_host_sessions),
	    cmocka_unit_test(test_host_ports),
	    cmocka_unit_test(test_table_full),
	    cmocka_unit_test(test_flood),
	    cmocka_unit_test(test_expire),
	    cmocka_unit_test(test_other_sets),
	    cmocka_unit_test(test_hash),
	    cmocka_unit_test(test_index),
	    cmocka_unit_test(test_short),
	    cmocka_unit_test(test_short_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
