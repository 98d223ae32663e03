#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "napt_table.h"

#define S NAPT_NS_PER_S
#define PC UINT32_C(0xc0a8180a)
#define SRV UINT32_C(0xc633640a)

static const struct napt_table_config line = {
    .psid_offset = 4,
    .psid_length = 8,
    .psid = 52,
    .tcp_closed_ns = 240 * S,
    .tcp_idle_ns = 7440 * S,
    .udp_idle_ns = 300 * S,
    .icmp_idle_ns = 60 * S,
};

static uint64_t rng = 0x9e3779b97f4a7c15;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static struct napt_flow
tcp(uint16_t lan_port, uint32_t remote, uint16_t remote_port)
{
	return (struct napt_flow){
	    .space = NAPT_TCP,
	    .lan_addr = PC,
	    .lan_port = lan_port,
	    .remote_addr = remote,
	    .remote_port = remote_port,
	};
}

static unsigned
used(struct napt_table *t, uint64_t now, enum napt_space space)
{
	napt_table_expire(t, now);
	return napt_table_stats(t, space)->used;
}

static uint16_t
out(struct napt_table *t, uint64_t now, struct napt_flow f, uint8_t flags)
{
	uint16_t port = 0;

	assert_int_equal(napt_table_outward(t, now, &f, flags, &port), NAPT_OK);
	return port;
}

static void
in(struct napt_table *t, uint64_t now, struct napt_flow f, uint8_t flags,
    uint16_t port)
{
	struct napt_flow got = f;

	got.lan_addr = got.lan_port = 0;
	assert_int_equal(napt_table_inward(t, now, &got, flags, port), NAPT_OK);
	assert_int_equal(got.lan_addr, f.lan_addr);
	assert_int_equal(got.lan_port, f.lan_port);
}

/* RFC 7597 section 5.1, read the other way round: the PSID of a port. */
static void
test_port_sets(void **state)
{
	static const struct {
		unsigned a, k, psid, ports;
	} row[] = {
	    {4, 8, 52, 240},
	    {4, 8, 0, 240},
	    {4, 8, 255, 240},
	    {6, 6, 9, 1008},
	    {6, 8, 200, 252},
	    {4, 0, 0, 61440},
	    {4, 12, 4095, 15},
	    {15, 1, 1, 32767},
	    {0, 8, 52, 0},
	    {16, 0, 0, 0},
	    {4, 13, 0, 0},
	    {4, 8, 256, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct napt_table_config c = line;
		struct napt_table *t;
		unsigned m = 16 - row[i].a - row[i].k;

		c.psid_offset = row[i].a;
		c.psid_length = row[i].k;
		c.psid = row[i].psid;
		t = napt_table_new(&c);
		assert_int_equal(t != NULL, row[i].ports != 0);
		if (!t)
			continue;
		assert_int_equal(napt_table_ports(t), row[i].ports);
		for (uint32_t p = 0; p < 65536; p++)
			assert_int_equal(napt_table_owns(t, (uint16_t)p),
			    p >> (16 - row[i].a) != 0 &&
				(p >> m & ((1u << row[i].k) - 1)) ==
				    row[i].psid);
		napt_table_free(t);
	}
}

static void
test_endpoint_independent(void **state)
{
	struct napt_table *t = napt_table_new(&line);
	uint16_t port = out(t, 0, tcp(1000, SRV, 80), NAPT_SYN);

	(void)state;
	assert_int_equal(out(t, 0, tcp(1000, SRV, 443), NAPT_SYN), port);
	assert_int_equal(out(t, 0, tcp(1000, SRV + 1, 80), NAPT_SYN), port);
	assert_int_not_equal(out(t, 0, tcp(1001, SRV, 80), NAPT_SYN), port);
	assert_int_equal(used(t, 0, NAPT_TCP), 2);
	assert_int_equal(napt_table_sessions(t), 4);
	napt_table_free(t);
}

static void
test_no_overloading(void **state)
{
	struct napt_table *t = napt_table_new(&line);
	bool seen[65536] = {false};
	uint16_t port;
	struct napt_flow f = tcp(9999, SRV + 7, 25);

	(void)state;
	for (uint16_t i = 0; i < 240; i++) {
		port =
		    out(t, 0, tcp((uint16_t)(1000 + i), SRV + i, 80), NAPT_SYN);
		assert_true(napt_table_owns(t, port));
		assert_false(seen[port]);
		seen[port] = true;
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(napt_table_outward(t, S, &f, NAPT_SYN, &port),
		    NAPT_NO_PORT);
	f.lan_port++;
	assert_int_equal(
	    napt_table_outward(t, S, &f, NAPT_SYN, &port), NAPT_NO_PORT);
	assert_int_equal(napt_table_stats(t, NAPT_TCP)->refused_flows, 2);
	assert_int_equal(napt_table_stats(t, NAPT_TCP)->refused_packets, 4);
	assert_int_equal(napt_table_stats(t, NAPT_TCP)->peak, 240);
	/* An old mapping still takes new destinations; UDP is apart. */
	out(t, S, tcp(1000, SRV + 300, 80), NAPT_SYN);
	f.space = NAPT_UDP;
	out(t, S, f, 0);
	assert_int_equal(used(t, S, NAPT_UDP), 1);
	napt_table_free(t);
}

/* One connection: each row is an event at a time, and whether the port is
 * held just before and at the time that follows. */
struct event {
	uint64_t at_s;
	bool outward;
	uint8_t flags;
};

static void
play(const struct event *e, size_t n, uint64_t until_s)
{
	struct napt_table *t = napt_table_new(&line);
	struct napt_flow f = tcp(1000, SRV, 80);
	uint16_t port = 0;

	for (size_t i = 0; i < n; i++) {
		napt_table_expire(t, e[i].at_s * S);
		if (e[i].outward)
			port = out(t, e[i].at_s * S, f, e[i].flags);
		else
			in(t, e[i].at_s * S, f, e[i].flags, port);
	}
	assert_int_equal(used(t, until_s * S - 1, NAPT_TCP), 1);
	assert_int_equal(used(t, until_s * S, NAPT_TCP), 0);
	assert_int_equal(napt_table_sessions(t), 0);
	napt_table_free(t);
}

#define PLAY(until, ...)                                                       \
	play((const struct event[]){__VA_ARGS__},                              \
	    sizeof((const struct event[]){__VA_ARGS__}) /                      \
		sizeof(struct event),                                          \
	    until)
#define OUT(s, f)                                                              \
	{                                                                      \
		s, true, f                                                     \
	}
#define IN(s, f)                                                               \
	{                                                                      \
		s, false, f                                                    \
	}
#define OPEN(s) OUT(s, NAPT_SYN), IN(s, NAPT_SYN | NAPT_ACK), OUT(s, NAPT_ACK)

static void
test_tcp_times(void **state)
{
	(void)state;
	PLAY(240, OUT(0, NAPT_SYN));
	PLAY(243, OUT(0, NAPT_SYN), OUT(3, NAPT_SYN));
	PLAY(241, OUT(0, NAPT_SYN), IN(1, NAPT_RST | NAPT_ACK));
	PLAY(7440, OPEN(0));
	PLAY(7540, OPEN(0), IN(100, NAPT_ACK));
	/* Half closed is not closed. */
	PLAY(7445, OPEN(0), OUT(5, NAPT_FIN | NAPT_ACK));
	PLAY(7445, OPEN(0), IN(5, NAPT_FIN | NAPT_ACK));
	/* From the second FIN, whatever follows it. */
	PLAY(246, OPEN(0), OUT(5, NAPT_FIN | NAPT_ACK),
	    IN(6, NAPT_FIN | NAPT_ACK), OUT(7, NAPT_ACK), IN(9, NAPT_RST));
	PLAY(246, OPEN(0), IN(5, NAPT_FIN | NAPT_ACK),
	    OUT(6, NAPT_FIN | NAPT_ACK), IN(7, NAPT_ACK));
	PLAY(245, OPEN(0), OUT(5, NAPT_RST), IN(6, NAPT_ACK));
	PLAY(245, OPEN(0), IN(5, NAPT_RST), OUT(6, NAPT_ACK));
	/* The same two ends again. */
	PLAY(7640, OPEN(0), IN(5, NAPT_RST), OPEN(200));
	/* Only the LAN opens a closed connection again. */
	PLAY(245, OPEN(0), IN(5, NAPT_RST), IN(200, NAPT_SYN));
}

static void
test_udp_and_icmp(void **state)
{
	struct napt_table *t = napt_table_new(&line);
	struct napt_flow f = tcp(1000, SRV, 53);
	uint16_t port;

	(void)state;
	f.space = NAPT_UDP;
	port = out(t, 0, f, 0);
	f.remote_port = 54;
	in(t, 100 * S, f, 0, port);
	f.remote_addr++;
	assert_int_equal(
	    napt_table_inward(t, 100 * S, &f, 0, port), NAPT_FILTERED);
	f.space = NAPT_ICMP;
	assert_int_equal(
	    napt_table_inward(t, 100 * S, &f, 0, port), NAPT_NO_FLOW);
	out(t, 100 * S, f, 0);
	assert_int_equal(used(t, 160 * S - 1, NAPT_ICMP), 1);
	assert_int_equal(used(t, 160 * S, NAPT_ICMP), 0);
	assert_int_equal(used(t, 400 * S - 1, NAPT_UDP), 1);
	assert_int_equal(used(t, 400 * S, NAPT_UDP), 0);
	napt_table_free(t);
}

static void
test_tcp_starts_with_syn(void **state)
{
	static const uint8_t flags[] = {0, NAPT_ACK, NAPT_FIN, NAPT_RST,
	    NAPT_SYN | NAPT_ACK, NAPT_SYN | NAPT_RST};
	struct napt_table *t = napt_table_new(&line);
	struct napt_flow f = tcp(1000, SRV, 80);
	uint16_t port;

	(void)state;
	for (size_t i = 0; i < sizeof(flags); i++)
		assert_int_equal(napt_table_outward(t, 0, &f, flags[i], &port),
		    NAPT_NO_FLOW);
	port = out(t, 0, f, NAPT_SYN);
	f.remote_port++;
	assert_int_equal(
	    napt_table_inward(t, 0, &f, NAPT_SYN, port), NAPT_FILTERED);
	assert_false(napt_table_lookup_lan(t, &f, &port));
	assert_false(napt_table_lookup_port(t, &f, port));
	f.remote_port--;
	assert_true(napt_table_lookup_lan(t, &f, &port));
	assert_true(napt_table_lookup_port(t, &f, port));
	napt_table_free(t);
}

/* A freed port comes back last. */
static void
test_longest_free_first(void **state)
{
	struct napt_table *t = napt_table_new(&line);
	uint16_t first = out(t, 0, tcp(1, SRV, 80), NAPT_SYN);

	(void)state;
	assert_int_equal(used(t, 240 * S, NAPT_TCP), 0);
	for (uint16_t i = 0; i < 239; i++)
		assert_int_not_equal(
		    out(t, 240 * S, tcp(i, SRV, 80), NAPT_SYN), first);
	assert_int_equal(out(t, 240 * S, tcp(999, SRV, 80), NAPT_SYN), first);
	napt_table_free(t);
}

static void
test_session_table_full(void **state)
{
	struct napt_table *t = napt_table_new(&line);
	struct napt_flow f = tcp(1000, SRV, 80);
	uint16_t port;

	(void)state;
	f.space = NAPT_UDP;
	for (uint32_t i = 0; i < NAPT_SESSIONS_MAX; i++, f.remote_addr++)
		out(t, 0, f, 0);
	assert_int_equal(
	    napt_table_outward(t, 0, &f, 0, &port), NAPT_NO_MEMORY);
	f.lan_port++;
	assert_int_equal(
	    napt_table_outward(t, 0, &f, 0, &port), NAPT_NO_MEMORY);
	assert_int_equal(used(t, 0, NAPT_UDP), 1);
	assert_int_equal(used(t, 300 * S, NAPT_UDP), 0);
	out(t, 300 * S, f, 0);
	napt_table_free(t);
}

/* The naive twin: a plain array of UDP sessions, searched from end to end. */
struct twin {
	bool live;
	uint16_t lan_port, port;
	uint32_t remote;
	uint64_t last;
};

static void
twin_expire(struct twin *w, size_t n, uint64_t now)
{
	for (size_t i = 0; i < n; i++)
		if (w[i].live && now - w[i].last >= line.udp_idle_ns)
			w[i].live = false;
}

/* Returns the session, a free slot with port set when the LAN port has a
 * mapping, or a free slot with port 0. */
static struct twin *
twin_find(struct twin *w, size_t n, uint16_t lan_port, uint32_t remote)
{
	struct twin *slot = NULL;
	uint16_t port = 0;

	for (size_t i = 0; i < n; i++) {
		if (!w[i].live)
			slot = &w[i];
		else if (w[i].lan_port == lan_port && w[i].remote == remote)
			return &w[i];
		else if (w[i].lan_port == lan_port)
			port = w[i].port;
	}
	assert_non_null(slot);
	slot->port = port;
	return slot;
}

static unsigned
twin_used(const struct twin *w, size_t n)
{
	bool seen[65536] = {false};
	unsigned count = 0;

	for (size_t i = 0; i < n; i++) {
		if (w[i].live && !seen[w[i].port])
			count++;
		if (w[i].live)
			seen[w[i].port] = true;
	}
	return count;
}

static void
test_against_twin(void **state)
{
	static struct twin w[4096];
	const size_t n = sizeof(w) / sizeof(w[0]);
	struct napt_table *t = napt_table_new(&line);
	uint64_t now = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct napt_flow f = tcp(
		    (uint16_t)(rnd() % 400), SRV + (uint32_t)(rnd() % 3), 53);
		uint16_t port = 0;
		enum napt_result res;
		struct twin *s;

		f.space = NAPT_UDP;
		now += rnd() % S;
		napt_table_expire(t, now);
		twin_expire(w, n, now);
		s = twin_find(w, n, f.lan_port, f.remote_addr);
		res = napt_table_outward(t, now, &f, 0, &port);
		if (res == NAPT_NO_PORT) {
			assert_int_equal(s->port, 0);
			assert_int_equal(twin_used(w, n), 240);
			continue;
		}
		assert_int_equal(res, NAPT_OK);
		if (s->port)
			assert_int_equal(port, s->port);
		*s = (struct twin){true, f.lan_port, port, f.remote_addr, now};
		if (i % 100 == 0)
			assert_int_equal(
			    used(t, now, NAPT_UDP), twin_used(w, n));
	}
	napt_table_free(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_port_sets),
	    cmocka_unit_test(test_endpoint_independent),
	    cmocka_unit_test(test_no_overloading),
	    cmocka_unit_test(test_tcp_times),
	    cmocka_unit_test(test_udp_and_icmp),
	    cmocka_unit_test(test_tcp_starts_with_syn),
	    cmocka_unit_test(test_longest_free_first),
	    cmocka_unit_test(test_session_table_full),
	    cmocka_unit_test(test_against_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
