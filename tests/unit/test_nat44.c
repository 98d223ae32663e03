#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client/mape/nat44_state.h"
#include "core/err.h"
#include "nat44_lab.h"

#define S UK_NS_PER_S

static unsigned fail_at; /* fail this one of the next ones; 0: none */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *
__wrap_calloc(size_t n, size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_calloc(n, size);
}

static const struct lab_end host = {LAB_HOST, 5000};
static const struct lab_end other = {LAB_HOST + 1, 5000};
static const struct lab_end web = {LAB_REMOTE, 443};

static struct nat44 *
make(const struct nat44_conf *c)
{
	struct nat44 *n = NULL;

	assert_int_equal(nat44_new(&n, c), 0);
	return n;
}

static struct nat44 *
make_default(void)
{
	struct nat44_conf c = lab_conf();

	return make(&c);
}

static void
assert_end(struct lab_end e, uint32_t a, uint16_t port)
{
	assert_int_equal(e.a, a);
	assert_int_equal(e.port, port);
}

/* The packet goes out; which port it has there. */
static uint16_t
out_ok(struct nat44 *n, uint64_t now, uint8_t proto, struct lab_end from,
    struct lab_end to, uint8_t flags)
{
	assert_int_equal(lab_out(n, now, proto, from, to, flags), MAP_OK);
	assert_false(lab_inside);
	assert_true(lab_valid(lab_p, lab_len));
	assert_int_equal(lab_p[8], 63);
	assert_int_equal(lab_src(lab_p).a, LAB_OURS);
	assert_int_equal(lab_dst(lab_p).a, to.a);
	assert_true(map_ports_has(&lab_ports, lab_src(lab_p).port));
	return lab_src(lab_p).port;
}

static void
in_ok(struct nat44 *n, uint64_t now, uint8_t proto, struct lab_end from,
    uint16_t port, uint8_t flags, struct lab_end to)
{
	assert_int_equal(lab_in(n, now, proto, from, port, flags), MAP_OK);
	assert_true(lab_inside);
	assert_true(lab_valid(lab_p, lab_len));
	assert_int_equal(lab_p[8], 63);
	assert_end(lab_dst(lab_p), to.a, to.port);
	assert_int_equal(lab_src(lab_p).a, from.a);
}

static void
test_conf(void **state)
{
	(void)state;
	struct nat44_conf good = lab_conf();
	struct nat44_forward f[2] = {
	    {6, 4928, {192, 168, 0, 1}, 80}, {6, 4929, {192, 168, 0, 1}, 80}};
	struct nat44 *n;

	assert_true(map_ports_has(&lab_ports, 4928));
	good.forward = f;
	good.forwards = 2;
	nat44_free(make(&good));
	struct nat44_conf c = good;
	c.sessions_max = 0;
	assert_int_equal(nat44_new(&n, &c), UK_EINVAL);
	c.sessions_max = (1 << 20) + 1;
	assert_int_equal(nat44_new(&n, &c), UK_EINVAL);
	c = good;
	c.host_sessions_max = 0;
	assert_int_equal(nat44_new(&n, &c), UK_EINVAL);
	c = good;
	c.host_ports_max = 0;
	assert_int_equal(nat44_new(&n, &c), UK_EINVAL);
	c = good;
	c.forwards = 481;
	assert_int_equal(nat44_new(&n, &c), UK_EINVAL);
	f[1].port = 4928;
	assert_int_equal(nat44_new(&n, &good), UK_EINVAL);
	/* TCP and UDP are apart; two UDP ports of one endpoint are not. */
	f[1].proto = 17;
	nat44_free(make(&good));
	f[0] = f[1];
	f[0].port = 4929;
	assert_int_equal(nat44_new(&n, &good), UK_EINVAL);
	f[0] = (struct nat44_forward){6, 4927, {192, 168, 0, 1}, 80};
	assert_int_equal(nat44_new(&n, &good), UK_EINVAL);
	f[0] = (struct nat44_forward){1, 4929, {192, 168, 0, 1}, 80};
	assert_int_equal(nat44_new(&n, &good), UK_EINVAL);
	nat44_free(NULL);
}

static void
test_memory(void **state)
{
	(void)state;
	struct nat44_conf c = lab_conf();
	struct nat44_forward f = {6, 4928, {192, 168, 0, 1}, 80};
	struct nat44 *n;
	unsigned k = 0;
	int err;

	c.forward = &f;
	c.forwards = 1;
	do {
		fail_at = ++k;
		err = nat44_new(&n, &c);
		assert_true(err == 0 || err == UK_ENOMEM);
	} while (err != 0);
	assert_int_equal(k, 17);
	fail_at = 0;
	nat44_free(n);
}

/* Every state of a connection, and what its timer is. RFC 5382 REQ-5, RFC 7857
 * 2.1 and 2.2 (N8). Steps: a letter for a segment from inside, a capital for
 * one from outside; then the seconds that it lives. */
static void
test_tcp_states(void **state)
{
	(void)state;
	static const struct {
		const char *steps;
		unsigned live_s;
	} t[] = {
	    {"s", 240},
	    {"a", 240},
	    {"sX", 240}, /* SYN, ACK came */
	    {"sXa", 7440},
	    {"sSxX", 240}, /* simultaneous open, REQ-2 */
	    {"sSxXa", 7440},
	    {"sSxXA", 7440},
	    {"sXaf", 7440}, /* half closed */
	    {"sXaF", 7440},
	    {"sXafF", 240},
	    {"sXaFfA", 240},
	    {"sR", 240},
	    {"sXaR", 240},
	    {"sXar", 240},
	    {"sXaRA", 7440}, /* somebody goes on talking */
	    {"sXara", 7440},
	    {"sXafFs", 240},
	    {"sXafFsXa", 7440}, /* the same ports again */
	    {"sXaRsXa", 7440},
	};
	static const char letters[] = "safrxSAFRX";
	static const uint8_t flags[] = {
	    LAB_SYN, LAB_ACK, LAB_FIN | LAB_ACK, LAB_RST, LAB_SYN | LAB_ACK};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		for (unsigned late = 0; late < 2; late++) {
			struct nat44 *n = make_default();
			uint64_t end = t[i].live_s * S + late;
			uint16_t port = 0;

			for (const char *c = t[i].steps; *c; c++) {
				size_t k =
				    (size_t)(strchr(letters, *c) - letters);

				if (k < 5)
					port = out_ok(
					    n, 0, LAB_TCP, host, web, flags[k]);
				else
					in_ok(n, 0, LAB_TCP, web, port,
					    flags[k - 5], host);
			}
			int got =
			    (int)lab_in(n, end, LAB_TCP, web, port, LAB_ACK);
			assert_int_equal(
			    got, late ? MAP_DROP_NO_SESSION : MAP_OK);
			nat44_free(n);
		}
	}
}

/* What makes a session, and what does not. D4, RFC 5382 REQ-4: dropped without
 * an answer. */
static void
test_tcp_first(void **state)
{
	(void)state;
	static const uint8_t none[] = {LAB_SYN | LAB_ACK, LAB_RST,
	    LAB_RST | LAB_ACK, LAB_FIN | LAB_ACK, LAB_FIN, 0};
	struct nat44 *n = make_default();
	struct nat44_stats st;

	for (size_t i = 0; i < sizeof(none); i++)
		assert_int_equal(lab_out(n, 0, LAB_TCP, host, web, none[i]),
		    MAP_DROP_NO_SESSION);
	assert_int_equal(
	    lab_in(n, 0, LAB_TCP, web, 4928, LAB_SYN), MAP_DROP_NO_SESSION);
	uint16_t port = out_ok(n, 0, LAB_TCP, host, web, LAB_SYN);
	/* N6: address and port, and another one. */
	struct lab_end near = {web.a, 80};
	assert_int_equal(lab_in(n, 0, LAB_TCP, near, port, LAB_SYN | LAB_ACK),
	    MAP_DROP_FILTERED);
	assert_int_equal(lab_in(n, 0, LAB_TCP, (struct lab_end){web.a + 1, 443},
			     port, LAB_SYN),
	    MAP_DROP_FILTERED);
	assert_int_equal(
	    lab_in(n, 0, LAB_UDP, web, port, 0), MAP_DROP_NO_SESSION);
	in_ok(n, 0, LAB_TCP, web, port, LAB_SYN | LAB_ACK, host);
	nat44_stats(n, &st);
	assert_int_equal(st.sessions, 1);
	assert_int_equal(st.made, 1);
	assert_int_equal(st.drop[MAP_DROP_FILTERED], 2);
	assert_int_equal(st.drop[MAP_DROP_NO_SESSION], 8);
	assert_int_equal(st.space[NAT44_TCP].ports, 1);
	assert_int_equal(load_be32(st.space[NAT44_TCP].busiest), web.a);
	assert_int_equal(st.space[NAT44_TCP].busiest_port, 443);
	assert_int_equal(st.space[NAT44_TCP].busiest_sessions, 1);
	nat44_free(n);
}

/* RFC 4787 REQ-1: one port for all remotes; REQ-3: not two endpoints on one;
 * REQ-8 b, N6: who was not sent to does not get in, at any port who was. */
static void
test_udp_mapping(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	struct lab_end a = {LAB_REMOTE, 3478}, a2 = {LAB_REMOTE, 9};
	struct lab_end b = {LAB_REMOTE + 1, 700}, c = {LAB_REMOTE + 2, 53};
	uint16_t port = out_ok(n, 0, LAB_UDP, host, a, 0);
	struct nat44_stats st;

	in_ok(n, 0, LAB_UDP, a, port, 0, host);
	in_ok(n, 0, LAB_UDP, a2, port, 0, host);
	in_ok(n, 0, LAB_UDP, web, port, 0, host); /* REMOTE:443, too */
	assert_int_equal(lab_in(n, 0, LAB_UDP, b, port, 0), MAP_DROP_FILTERED);
	assert_int_equal(out_ok(n, 0, LAB_UDP, host, b, 0), port);
	in_ok(n, 0, LAB_UDP, b, port, 0, host);
	/* Well-known ports of any remote share the mapping while it lives, and
	 * open the filter as well. */
	assert_int_equal(lab_in(n, 0, LAB_UDP, c, port, 0), MAP_DROP_FILTERED);
	assert_int_equal(out_ok(n, 0, LAB_UDP, host, c, 0), port);
	in_ok(n, 0, LAB_UDP, c, port, 0, host);
	in_ok(n, 0, LAB_UDP, (struct lab_end){c.a, 77}, port, 0, host);
	in_ok(n, 0, LAB_UDP, (struct lab_end){c.a, 443}, port, 0, host);
	nat44_stats(n, &st);
	assert_int_equal(st.space[NAT44_UDP].mappings, 1);
	assert_int_equal(st.space[NAT44_UDP].ports, 1);
	for (unsigned i = 1; i < 240; i++) {
		struct lab_end e = {LAB_HOST + 1, (uint16_t)(6000 + i)};

		assert_int_not_equal(out_ok(n, 0, LAB_UDP, e, a, 0), port);
	}
	struct lab_end last = {LAB_HOST + 1, 9999};
	assert_int_equal(lab_out(n, 0, LAB_UDP, last, a, 0), MAP_DROP_NO_PORT);
	assert_int_equal(
	    nat44_ports_left(n, 17, (uint8_t[]){1, 2, 3, 4}, 9), 0);
	/* Toward a resolver they are all free but one. */
	uint8_t dns[4];
	store_be32(dns, c.a);
	assert_int_equal(nat44_ports_left(n, 17, dns, 53), 239);
	nat44_free(n);
}

/* Where the mapping's port is another's toward this remote, a session has one
 * of its own, and both get their answers. */
static void
test_udp_taken(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	struct lab_end a = {LAB_REMOTE + 9, 3478};
	uint16_t mine, own;

	/* Somebody has every port toward web. */
	for (unsigned i = 0; i < 239; i++)
		out_ok(n, 0, LAB_UDP,
		    (struct lab_end){other.a, (uint16_t)(1000 + i)}, web, 0);
	mine = out_ok(n, 0, LAB_UDP, host, a, 0);
	own = out_ok(n, 0, LAB_UDP, host, web, 0);
	in_ok(n, 0, LAB_UDP, a, mine, 0, host);
	in_ok(n, 0, LAB_UDP, web, own, 0, host);
	assert_int_equal(
	    lab_out(n, 0, LAB_UDP, (struct lab_end){other.a, 7}, web, 0),
	    MAP_DROP_NO_PORT);
	nat44_free(n);
}

/* RFC 4787 REQ-5, RFC 5508 REQ-2: exactly so long; both directions count. */
static void
test_udp_timers(void **state)
{
	(void)state;
	static const struct {
		uint8_t proto;
		uint16_t to;
		unsigned live_s;
	} t[] = {{LAB_UDP, 3478, 300}, {LAB_UDP, 443, 300}, {LAB_UDP, 53, 60},
	    {LAB_UDP, 123, 60}, {LAB_ICMP, 0, 60}};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct nat44 *n = make_default();
		struct lab_end to = {LAB_REMOTE, t[i].to};
		uint64_t live = t[i].live_s * S;
		uint16_t port = out_ok(n, 0, t[i].proto, host, to, 0);

		in_ok(n, live, t[i].proto, to, port, 0, host);
		in_ok(n, 2 * live, t[i].proto, to, port, 0, host);
		assert_int_not_equal(
		    lab_in(n, 3 * live + 1, t[i].proto, to, port, 0), MAP_OK);
		nat44_free(n);
	}
}

/* RFC 5508: queries, with an id of the set; from outside only answers. */
static void
test_ping(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	struct lab_end to = {LAB_REMOTE, 0};
	uint16_t id = out_ok(n, 0, LAB_ICMP, host, to, 0);
	static const struct {
		uint8_t type;
		int out, in;
	} t[] = {{0, MAP_DROP_ICMP, MAP_OK}, {8, MAP_OK, MAP_DROP_NO_SESSION},
	    {13, MAP_OK, MAP_DROP_NO_SESSION}, {14, MAP_DROP_ICMP, MAP_OK},
	    {4, MAP_DROP_ICMP, MAP_DROP_ICMP},
	    {5, MAP_DROP_ICMP, MAP_DROP_ICMP},
	    {15, MAP_DROP_ICMP, MAP_DROP_ICMP},
	    {17, MAP_DROP_ICMP, MAP_DROP_ICMP}};

	in_ok(n, 0, LAB_ICMP, to, id, 0, host);
	assert_int_equal(
	    lab_in(n, 0, LAB_ICMP, (struct lab_end){LAB_REMOTE + 1, 0}, id, 0),
	    MAP_DROP_FILTERED);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		for (unsigned out = 0; out < 2; out++) {
			struct lab_end ours = {LAB_OURS, id};

			lab_len = out ? lab_make(lab_p, LAB_ICMP, host, to, 0)
				      : lab_make(lab_p, LAB_ICMP, to, ours, 0);
			lab_p[20] = t[i].type;
			lab_seal(lab_p, lab_len);
			assert_int_equal(lab_pass(n, 0, out, false),
			    out ? t[i].out : t[i].in);
		}
	}
	nat44_free(n);
}

/* RFC 4787 REQ-9: two hosts by their outside ends, source and all; and what is
 * another line's goes out. */
static void
test_hairpin(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	struct lab_end a = {LAB_REMOTE, 3478};
	uint16_t ph = out_ok(n, 0, LAB_UDP, host, a, 0);
	uint16_t po = out_ok(n, 0, LAB_UDP, other, a, 0);
	struct lab_end h_out = {LAB_OURS, ph}, o_out = {LAB_OURS, po};

	/* The filter is for our own, too. */
	assert_int_equal(
	    lab_out(n, 0, LAB_UDP, host, o_out, 0), MAP_DROP_FILTERED);
	assert_int_equal(lab_out(n, 0, LAB_UDP, other, h_out, 0), MAP_OK);
	assert_true(lab_inside);
	assert_true(lab_valid(lab_p, lab_len));
	assert_int_equal(lab_p[8], 63);
	assert_end(lab_src(lab_p), LAB_OURS, po);
	assert_end(lab_dst(lab_p), host.a, host.port);
	assert_int_equal(lab_out(n, 0, LAB_UDP, host, o_out, 0), MAP_OK);
	assert_end(lab_src(lab_p), LAB_OURS, ph);
	assert_end(lab_dst(lab_p), other.a, other.port);
	out_ok(n, 0, LAB_UDP, host, (struct lab_end){LAB_OURS, 4927}, 0);
	out_ok(n, 0, LAB_TCP, host, (struct lab_end){LAB_OURS, 443}, LAB_SYN);
	/* We answer no pings. */
	assert_int_equal(
	    lab_out(n, 0, LAB_ICMP, host, (struct lab_end){LAB_OURS, 0}, 0),
	    MAP_DROP_NO_SESSION);
	/* Nobody inside has our address. */
	assert_int_equal(lab_out(n, 0, LAB_UDP, h_out, a, 0), MAP_DROP_STRAY);
	nat44_free(n);
}

static void
test_forwards(void **state)
{
	(void)state;
	struct nat44_conf c = lab_conf();
	struct nat44_forward f[2] = {{6, 4928, {192, 168, 0, 1}, 80},
	    {17, 4929, {192, 168, 0, 1}, 5000}};

	c.forward = f;
	c.forwards = 2;
	struct nat44 *n = make(&c);
	struct lab_end server = {LAB_HOST, 80}, any = {LAB_REMOTE + 7, 999};
	/* The configuration was copied. */
	memset(f, 0, sizeof(f));
	assert_int_equal(
	    lab_in(n, 0, LAB_TCP, any, 4928, LAB_ACK), MAP_DROP_FILTERED);
	assert_int_equal(lab_in(n, 0, LAB_TCP, any, 4928, LAB_SYN | LAB_ACK),
	    MAP_DROP_FILTERED);
	in_ok(n, 0, LAB_TCP, any, 4928, LAB_SYN, server);
	assert_int_equal(
	    out_ok(n, 0, LAB_TCP, server, any, LAB_SYN | LAB_ACK), 4928);
	in_ok(n, 0, LAB_TCP, any, 4928, LAB_ACK, server);
	in_ok(n, 7440 * S, LAB_TCP, any, 4928, LAB_RST, server);
	/* A new connection from the same port. */
	in_ok(n, 7440 * S, LAB_TCP, any, 4928, LAB_SYN, server);
	assert_int_equal(lab_in(n, 7681 * S, LAB_TCP, any, 4928, LAB_ACK),
	    MAP_DROP_FILTERED);
	/* UDP: open to all, and the inside end's port for all. */
	in_ok(n, 0, LAB_UDP, any, 4929, 0, host);
	in_ok(n, 0, LAB_UDP, web, 4929, 0, host);
	assert_int_equal(out_ok(n, 0, LAB_UDP, host, any, 0), 4929);
	assert_int_equal(out_ok(n, 0, LAB_UDP, host, web, 0), 4929);
	assert_int_equal(
	    out_ok(n, 0, LAB_UDP, host, (struct lab_end){LAB_REMOTE + 8, 1}, 0),
	    4929);
	/* Hairpin: by the forward, from inside. */
	assert_int_equal(lab_out(n, 0, LAB_TCP, other,
			     (struct lab_end){LAB_OURS, 4928}, LAB_SYN),
	    MAP_OK);
	assert_true(lab_inside);
	assert_end(lab_dst(lab_p), server.a, server.port);
	assert_int_equal(lab_src(lab_p).a, LAB_OURS);
	/* It outlives its sessions. */
	for (unsigned i = 0; i < 16; i++)
		nat44_expire(n, 20000 * S);
	in_ok(n, 20000 * S, LAB_UDP, any, 4929, 0, host);
	nat44_free(n);
}

/* The port of a forward is nobody else's. */
static void
test_forward_ports(void **state)
{
	(void)state;
	struct nat44_conf c = lab_conf();
	struct nat44_forward f[2] = {{6, 4928, {192, 168, 0, 1}, 80},
	    {17, 4929, {192, 168, 0, 1}, 5000}};

	c.forward = f;
	c.forwards = 2;
	struct nat44 *n = make(&c);
	struct lab_end quic = {LAB_REMOTE + 9, 443};
	for (unsigned i = 0; i < 240; i++) {
		struct lab_end e = {LAB_HOST + 3, (uint16_t)(2000 + i)};
		struct lab_end stun = {LAB_REMOTE, 3478};
		int want = i < 239 ? MAP_OK : MAP_DROP_NO_PORT;

		assert_int_equal(
		    lab_out(n, 1000 * S, LAB_TCP, e, web, LAB_SYN), want);
		assert_int_not_equal(lab_src(lab_p).port, 4928);
		assert_int_equal(
		    lab_out(n, 1000 * S, LAB_UDP, e, stun, 0), want);
		assert_int_not_equal(lab_src(lab_p).port, 4929);
		e.a++;
		assert_int_equal(
		    lab_out(n, 1000 * S, LAB_UDP, e, quic, 0), want);
		assert_int_not_equal(lab_src(lab_p).port, 4929);
	}
	nat44_free(n);
}

/* D7, D8 and what else no packet may be. */
static void
test_refused(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	uint8_t before[64];

	assert_int_equal(lab_out(n, 0, 47, host, web, 0), MAP_DROP_PROTOCOL);
	for (uint8_t ttl = 0; ttl < 3; ttl++) {
		lab_len = lab_make(lab_p, LAB_TCP, host, web, LAB_SYN);
		lab_p[8] = ttl;
		lab_seal(lab_p, lab_len);
		memcpy(before, lab_p, lab_len);
		assert_int_equal(lab_pass(n, 0, true, false),
		    ttl < 2 ? MAP_DROP_TTL : MAP_OK);
		if (ttl < 2)
			assert_memory_equal(lab_p, before, lab_len);
	}
	static const struct {
		uint8_t proto;
		uint8_t at, v;
		uint8_t len; /* 0: all of it */
	} t[] = {{LAB_TCP, 32, 0x40, 0}, {LAB_TCP, 32, 0x90, 0},
	    {LAB_TCP, 0, 0x46, 40}, {LAB_UDP, 25, 7, 0}, {LAB_UDP, 25, 22, 0},
	    {LAB_UDP, 3, 27, 0}, {LAB_ICMP, 3, 27, 0}, {LAB_TCP, 3, 39, 0},
	    {LAB_UDP, 6, 0x20, 0}, {LAB_UDP, 7, 1, 0}, {LAB_UDP, 0, 0x65, 0},
	    {LAB_UDP, 0, 0x44, 0}};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		lab_len = lab_make(lab_p, t[i].proto, host, web, LAB_SYN);
		lab_p[t[i].at] = t[i].v;
		if (t[i].len != 0)
			lab_len = lab_p[3] = t[i].len;
		assert_int_equal(
		    lab_pass(n, 0, true, false), MAP_DROP_INNER_MALFORMED);
	}
	/* D2: not our address, not our port. */
	lab_len = lab_make(
	    lab_p, LAB_UDP, web, (struct lab_end){LAB_OURS + 1, 4928}, 0);
	assert_int_equal(
	    lab_pass(n, 0, false, false), MAP_DROP_INNER_DESTINATION);
	assert_int_equal(lab_in(n, 0, LAB_UDP, web, 4927, 0), MAP_DROP_PORT);
	nat44_free(n);
}

/* The sum of the pseudo header takes part, and no port does; UDP's zero stays;
 * one that becomes zero does not look like none (RFC 768). */
static void
test_checksums(void **state)
{
	(void)state;
	struct nat44 *n = make_default();

	for (unsigned i = 0; i < 2; i++) {
		uint8_t proto = i == 0 ? LAB_TCP : LAB_UDP;
		uint16_t port = out_ok(n, 0, proto, host, web, LAB_SYN);

		lab_len = lab_make(lab_p, proto, host, web, LAB_SYN);
		uint32_t at = lab_check_place(lab_p);
		store_be16(
		    lab_p + at, (uint16_t)lab_pseudo(lab_p, lab_len - 20));
		assert_int_equal(lab_pass(n, 0, true, true), MAP_OK);
		assert_int_equal(
		    load_be16(lab_p + at), lab_pseudo(lab_p, lab_len - 20));
		assert_int_equal(lab_src(lab_p).port, port);
	}
	lab_len = lab_make(lab_p, LAB_UDP, host, web, 0);
	store_be16(lab_p + 26, 0);
	assert_int_equal(lab_pass(n, 0, true, false), MAP_OK);
	assert_int_equal(load_be16(lab_p + 26), 0);
	/* The payload's last word goes through all values. */
	for (unsigned v = 0; v < 65536; v++) {
		lab_len = lab_make(lab_p, LAB_UDP, host, web, 0);
		store_be16(lab_p + 28, (uint16_t)v);
		lab_seal(lab_p, lab_len);
		assert_int_equal(lab_pass(n, 0, true, false), MAP_OK);
		assert_true(load_be16(lab_p + 26) != 0);
		if (v % 64 == 0)
			assert_true(lab_valid(lab_p, lab_len));
	}
	nat44_free(n);
}

static void
test_mss(void **state)
{
	(void)state;
	struct nat44_conf c = lab_conf();
	static const struct {
		uint8_t opt[8];
		uint16_t want; /* of the word at opt + at */
		uint8_t at;
		uint8_t flags;
	} t[] = {{{2, 4, 0x05, 0xb4}, 1420, 2, LAB_SYN},
	    {{2, 4, 0x05, 0x8d}, 1420, 2, LAB_SYN},
	    {{2, 4, 0x05, 0x8c}, 1420, 2, LAB_SYN},
	    {{2, 4, 0x05, 0x8b}, 1419, 2, LAB_SYN},
	    {{2, 4, 0x05, 0xb4}, 1460, 2, LAB_ACK},
	    {{1, 2, 4, 0x05, 0xb4}, 1420, 3, LAB_SYN},
	    {{3, 3, 7, 2, 4, 0x05, 0xb4}, 1420, 5, LAB_SYN},
	    {{0, 2, 4, 0x05, 0xb4}, 1460, 3, LAB_SYN},
	    {{3, 0, 2, 4, 0x05, 0xb4}, 1460, 4, LAB_SYN},
	    {{3, 9, 2, 4, 0x05, 0xb4}, 1460, 4, LAB_SYN},
	    {{1, 1, 1, 1, 2, 4, 0x05, 0xb4}, 1420, 6, LAB_SYN},
	    {{2, 3, 0x05, 0xb4, 0}, 0x05b4, 2, LAB_SYN},
	    {{3, 1, 2, 4, 0x05, 0xb4}, 1460, 4, LAB_SYN},
	    /* Its value is payload. */
	    {{1, 1, 1, 1, 1, 1, 2, 4}, 0x05b4, 8, LAB_SYN}};

	c.mss = 1420;
	struct nat44 *n = make(&c);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		lab_len = lab_make(lab_p, LAB_TCP, host, web, t[i].flags) + 8;
		lab_p[32] = 0x70;
		memcpy(lab_p + 40, t[i].opt, 8);
		store_be16(lab_p + 48, 0x05b4);
		lab_seal(lab_p, lab_len);
		assert_int_equal(lab_pass(n, 0, true, false), MAP_OK);
		assert_int_equal(load_be16(lab_p + 40 + t[i].at), t[i].want);
		assert_true(lab_valid(lab_p, lab_len));
	}
	/* And inward, by a checksum that is not there yet. */
	lab_len = lab_make(lab_p, LAB_TCP, host, web, LAB_SYN) + 8;
	lab_p[32] = 0x70;
	memcpy(lab_p + 40, t[0].opt, 8);
	lab_seal(lab_p, lab_len);
	store_be16(lab_p + 36, (uint16_t)lab_pseudo(lab_p, lab_len - 20));
	assert_int_equal(lab_pass(n, 0, true, true), MAP_OK);
	assert_int_equal(load_be16(lab_p + 42), 1420);
	assert_int_equal(
	    load_be16(lab_p + 36), lab_pseudo(lab_p, lab_len - 20));
	nat44_free(n);
}

/* RFC 7597 8.3.3, RFC 6864: ids of the set, in turn, where there is no DF. */
static void
test_ids(void **state)
{
	(void)state;
	struct nat44 *n = make_default();
	bool seen[65536] = {false};

	for (unsigned i = 0; i < 240; i++) {
		lab_len = lab_make(lab_p, LAB_UDP, host, web, 0);
		lab_p[6] = 0;
		store_be16(lab_p + 4, 7);
		lab_seal(lab_p, lab_len);
		assert_int_equal(lab_pass(n, 0, true, false), MAP_OK);
		assert_true(lab_valid(lab_p, lab_len));
		uint16_t id = load_be16(lab_p + 4);
		assert_true(map_ports_has(&lab_ports, id));
		assert_false(seen[id]);
		seen[id] = true;
	}
	lab_len = lab_make(lab_p, LAB_UDP, host, web, 0);
	store_be16(lab_p + 4, 7);
	lab_seal(lab_p, lab_len);
	assert_int_equal(lab_pass(n, 0, true, false), MAP_OK);
	assert_int_equal(load_be16(lab_p + 4), 7);
	nat44_free(n);
}

/* N10: a payload that names addresses and ports, as those of FTP and SIP do,
 * comes through as it was. */
static void
test_no_alg(void **state)
{
	(void)state;
	static const uint16_t ports[] = {21, 1720, 5060, 6667};
	static const char text[] = "PORT 192,1";
	struct nat44 *n = make_default();

	for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
		struct lab_end to = {LAB_REMOTE, ports[i]};
		uint8_t *payload = lab_p + 40;

		lab_len = lab_make(lab_p, LAB_TCP, host, to, LAB_SYN);
		memcpy(payload, text, sizeof(text));
		lab_seal(lab_p, lab_len);
		assert_int_equal(lab_pass(n, 0, true, false), MAP_OK);
		assert_memory_equal(payload, text, sizeof(text));
		assert_true(lab_valid(lab_p, lab_len));
	}
	struct nat44_stats st;
	nat44_stats(n, &st);
	assert_int_equal(st.sessions, 4);
	nat44_free(n);
}

/* A batch is the same as its packets one by one, whatever they do to each
 * other: here each second one needs the session that the one before makes. */
static void
test_batch(void **state)
{
	(void)state;
	static uint8_t slab[100][64];
	struct nat44_packet p[100];
	struct nat44 *n = make_default();

	for (unsigned i = 0; i < 100; i++) {
		struct lab_end e = {LAB_HOST, (uint16_t)(100 + i / 2)};

		p[i] = (struct nat44_packet){.p = slab[i]};
		p[i].len = lab_make(
		    slab[i], LAB_TCP, e, web, i % 2 == 0 ? LAB_SYN : LAB_ACK);
	}
	nat44_outward(n, 0, p, 100);
	for (unsigned i = 0; i < 100; i += 2) {
		assert_int_equal(p[i].verdict, MAP_OK);
		assert_int_equal(p[i + 1].verdict, MAP_OK);
		assert_int_equal(
		    lab_src(slab[i]).port, lab_src(slab[i + 1]).port);
	}
	struct nat44_stats st;
	nat44_stats(n, &st);
	assert_int_equal(st.made, 50);
	nat44_free(n);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_conf),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_tcp_states),
	    cmocka_unit_test(test_tcp_first),
	    cmocka_unit_test(test_udp_mapping),
	    cmocka_unit_test(test_udp_taken),
	    cmocka_unit_test(test_udp_timers),
	    cmocka_unit_test(test_ping),
	    cmocka_unit_test(test_hairpin),
	    cmocka_unit_test(test_forwards),
	    cmocka_unit_test(test_forward_ports),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_checksums),
	    cmocka_unit_test(test_mss),
	    cmocka_unit_test(test_ids),
	    cmocka_unit_test(test_no_alg),
	    cmocka_unit_test(test_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
