#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nat44_lab.h"

#define S UK_NS_PER_S
#define ROUTER 0x08080808

static const struct lab_end host = {LAB_HOST, 5000};
static const uint8_t protos[] = {LAB_TCP, LAB_UDP, LAB_ICMP};

/* A packet of a session as it was inside, and as it is on the line. */
struct sample {
	uint8_t in[64], line[64];
	uint32_t len;
	struct lab_end remote;
};

static struct nat44 *
make(void)
{
	struct nat44_conf c = lab_conf();
	struct nat44 *n;

	assert_int_equal(nat44_new(&n, &c), 0);
	return n;
}

static void
sample(struct nat44 *n, uint8_t proto, uint16_t port, struct sample *m)
{
	m->remote = (struct lab_end){LAB_REMOTE, proto == 1 ? 0 : port};
	m->len = lab_make(m->in, proto, host, m->remote, LAB_SYN);
	memcpy(lab_p, m->in, m->len);
	lab_len = m->len;
	assert_int_equal(lab_pass(n, 0, true, false), MAP_OK);
	memcpy(m->line, lab_p, m->len);
	/* The header that the quote is compared with has its hop less. */
	m->in[8]--;
	lab_seal(m->in, m->len);
}

/* N7, RFC 5508 REQ-4: what is quoted becomes what the host has sent, byte for
 * byte, whatever is quoted of it. */
static void
test_inward(void **state)
{
	(void)state;
	static const uint16_t ports[] = {3478, 443};

	for (size_t k = 0; k < 6; k++) {
		struct nat44 *n = make();
		struct sample m;

		sample(n, protos[k / 2], ports[k % 2], &m);
		for (uint32_t q = 0; q <= m.len; q++) {
			lab_error(ROUTER, LAB_OURS, 3, 1, 0, m.line, q);
			int got = (int)lab_pass(n, 0, false, false);
			assert_int_equal(got, q < 28 ? MAP_DROP_ICMP : MAP_OK);
			if (q < 28)
				continue;
			assert_true(lab_inside);
			assert_true(lab_valid(lab_p, lab_len));
			assert_int_equal(lab_p[8], 63);
			assert_int_equal(load_be32(lab_p + 12), ROUTER);
			assert_int_equal(load_be32(lab_p + 16), host.a);
			/* Half a checksum cannot be put right. */
			assert_memory_equal(lab_p + 28, m.in,
			    protos[k / 2] == LAB_TCP && q == 37 ? 36 : q);
		}
		nat44_free(n);
	}
}

static void
test_restore(void **state)
{
	(void)state;
	for (size_t k = 0; k < 3; k++) {
		struct nat44 *n = make();
		struct sample m;
		uint8_t b[64];

		sample(n, protos[k], 443, &m);
		memcpy(b, m.line, m.len);
		assert_true(nat44_restore(n, b, m.len));
		assert_memory_equal(b, m.in, m.len);
		assert_false(nat44_restore(n, b, m.len));
		memcpy(b, m.line, m.len);
		assert_true(nat44_restore(n, b, 28));
		assert_memory_equal(b, m.in, 28);
		assert_false(nat44_restore(n, m.line, 27));
		nat44_free(n);
	}
}

/* From a host or a router inside, about a packet that came in; RFC 5508 REQ-5:
 * from our address. */
static void
test_outward(void **state)
{
	(void)state;
	static const uint16_t ports[] = {3478, 443};

	for (size_t k = 0; k < 6; k++) {
		struct nat44 *n = make();
		struct sample m;
		uint8_t line[64], in[64];
		uint8_t proto = protos[k / 2];

		sample(n, proto, ports[k % 2], &m);
		assert_int_equal(lab_in(n, 0, proto, m.remote,
				     lab_src(m.line).port, LAB_ACK),
		    MAP_OK);
		memcpy(in, lab_p, lab_len);
		struct lab_end ours = {LAB_OURS, lab_src(m.line).port};
		for (uint32_t from = LAB_HOST; from < LAB_HOST + 2; from++) {
			lab_error(from, LAB_REMOTE, 3, 3, 0, in, lab_len);
			lab_p[6] = 0;
			lab_seal(lab_p, lab_len);
			assert_int_equal(lab_pass(n, 0, true, false), MAP_OK);
			assert_false(lab_inside);
			assert_true(lab_valid(lab_p, lab_len));
			assert_int_equal(load_be32(lab_p + 12), LAB_OURS);
			assert_true(
			    map_ports_has(&lab_ports, load_be16(lab_p + 4)));
			/* As it came, but for the hop. */
			memcpy(line, lab_p + 28, lab_len - 28);
			assert_true(lab_valid(line, lab_len - 28));
			assert_int_equal(lab_dst(line).a, ours.a);
			assert_int_equal(lab_dst(line).port, ours.port);
			assert_int_equal(lab_src(line).a, LAB_REMOTE);
			lab_len -= 28;
		}
		/* To somebody who did not send it. */
		lab_error(LAB_HOST, LAB_REMOTE + 1, 3, 3, 0, in, lab_len);
		assert_int_equal(lab_pass(n, 0, true, false), MAP_DROP_ICMP);
		nat44_free(n);
	}
}

/* What is not about a live session, or about nothing that can be one. */
static void
test_invalid(void **state)
{
	(void)state;
	struct nat44 *n = make();
	struct sample m;
	static const struct {
		uint8_t at, v; /* of the quote */
		bool reseal;
		int why;
	} t[] = {{0, 0x45, true, MAP_OK}, {0, 0x55, true, MAP_DROP_ICMP},
	    {0, 0x44, true, MAP_DROP_ICMP}, {0, 0x4f, true, MAP_DROP_ICMP},
	    {7, 1, true, MAP_DROP_ICMP}, {6, 0x20, true, MAP_OK},
	    {8, 9, false, MAP_DROP_ICMP}, /* REQ-3 a: its sum is wrong */
	    {9, 47, true, MAP_DROP_ICMP}, {9, 17, true, MAP_DROP_ICMP},
	    {15, 99, true, MAP_DROP_ICMP}, {19, 99, true, MAP_DROP_ICMP},
	    {21, 99, true, MAP_DROP_ICMP}, {23, 99, true, MAP_DROP_ICMP}};

	sample(n, LAB_TCP, 443, &m);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		uint8_t q[64];

		memcpy(q, m.line, m.len);
		q[t[i].at] = t[i].v;
		if (t[i].reseal) {
			store_be16(q + 10, 0);
			store_be16(q + 10, (uint16_t)~lab_sum(0, q, 20));
		}
		lab_error(ROUTER, LAB_OURS, 3, 1, 0, q, m.len);
		assert_int_equal(lab_pass(n, 0, false, false), t[i].why);
	}
	/* An answer of ours to a question that nobody could ask. */
	sample(n, LAB_ICMP, 0, &m);
	memcpy(m.in, m.line, m.len);
	m.in[20] = 0;
	lab_len = m.len;
	lab_error(ROUTER, LAB_OURS, 3, 1, 0, m.in, lab_len);
	assert_int_equal(lab_pass(n, 0, false, false), MAP_DROP_ICMP);
	nat44_free(n);
}

/* An error neither refreshes a session nor ends it (RFC 5508 REQ-6), and is
 * nothing when that is over. Its checksum, and its own kind. */
static void
test_session(void **state)
{
	(void)state;
	struct nat44 *n = make();
	struct sample m;

	sample(n, LAB_TCP, 443, &m);
	for (unsigned i = 0; i < 2; i++) {
		lab_error(ROUTER, LAB_OURS, 3, 1, 0, m.line, m.len);
		assert_int_equal(lab_pass(n, 240 * S + i, false, false),
		    i == 0 ? MAP_OK : MAP_DROP_ICMP);
	}
	sample(n, LAB_TCP, 443, &m);
	lab_error(ROUTER, LAB_OURS, 3, 1, 0, m.line, m.len);
	lab_p[22] ^= 1;
	assert_int_equal(lab_pass(n, 0, false, false), MAP_DROP_CHECKSUM);
	lab_error(LAB_HOST, LAB_REMOTE, 3, 1, 0, m.in, m.len);
	lab_p[22] ^= 1;
	assert_int_equal(lab_pass(n, 0, true, false), MAP_DROP_CHECKSUM);
	static const struct {
		uint8_t type;
		int why;
	} t[] = {{3, MAP_OK}, {4, MAP_DROP_ICMP}, {5, MAP_DROP_ICMP},
	    {11, MAP_OK}, {12, MAP_OK}};
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		lab_error(ROUTER, LAB_OURS, t[i].type, 0, 0, m.line, m.len);
		assert_int_equal(lab_pass(n, 0, false, false), t[i].why);
	}
	lab_error(ROUTER, LAB_OURS + 1, 3, 1, 0, m.line, m.len);
	assert_int_equal(
	    lab_pass(n, 0, false, false), MAP_DROP_INNER_DESTINATION);
	nat44_free(n);
}

/* N7: no path is narrower than 576. */
static void
test_mtu(void **state)
{
	(void)state;
	static const struct {
		uint8_t code;
		uint16_t mtu, want;
	} t[] = {{4, 0, 0}, {4, 1, 576}, {4, 68, 576}, {4, 575, 576},
	    {4, 576, 576}, {4, 577, 577}, {4, 1460, 1460}, {1, 68, 68}};
	struct nat44 *n = make();
	struct sample m;

	sample(n, LAB_TCP, 443, &m);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		lab_error(
		    ROUTER, LAB_OURS, 3, t[i].code, t[i].mtu, m.line, m.len);
		assert_int_equal(lab_pass(n, 0, false, false), MAP_OK);
		assert_int_equal(load_be16(lab_p + 26), t[i].want);
		assert_true(lab_valid(lab_p, lab_len));
	}
	nat44_free(n);
}

/* RFC 5508 REQ-7: between two hosts inside. */
static void
test_hairpin(void **state)
{
	(void)state;
	struct nat44 *n = make();
	struct lab_end other = {LAB_HOST + 1, 6000};
	struct lab_end stun = {LAB_REMOTE, 3478};
	uint16_t ph, po;

	assert_int_equal(lab_out(n, 0, LAB_UDP, host, stun, 0), MAP_OK);
	ph = lab_src(lab_p).port;
	assert_int_equal(lab_out(n, 0, LAB_UDP, other, stun, 0), MAP_OK);
	po = lab_src(lab_p).port;
	lab_out(n, 0, LAB_UDP, host, (struct lab_end){LAB_OURS, po}, 0);
	assert_int_equal(
	    lab_out(n, 0, LAB_UDP, other, (struct lab_end){LAB_OURS, ph}, 0),
	    MAP_OK);
	/* Host says about it: port unreachable. */
	uint8_t q[64];
	memcpy(q, lab_p, lab_len);
	lab_error(host.a, LAB_OURS, 3, 3, 0, q, lab_len);
	assert_int_equal(lab_pass(n, 0, true, false), MAP_OK);
	assert_true(lab_inside);
	assert_true(lab_valid(lab_p, lab_len));
	assert_int_equal(load_be32(lab_p + 12), LAB_OURS);
	assert_int_equal(load_be32(lab_p + 16), other.a);
	assert_true(lab_valid(lab_p + 28, lab_len - 28));
	assert_int_equal(lab_src(lab_p + 28).a, other.a);
	assert_int_equal(lab_src(lab_p + 28).port, other.port);
	assert_int_equal(lab_dst(lab_p + 28).a, LAB_OURS);
	assert_int_equal(lab_dst(lab_p + 28).port, ph);
	nat44_free(n);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_inward),
	    cmocka_unit_test(test_restore),
	    cmocka_unit_test(test_outward),
	    cmocka_unit_test(test_invalid),
	    cmocka_unit_test(test_session),
	    cmocka_unit_test(test_mtu),
	    cmocka_unit_test(test_hairpin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
