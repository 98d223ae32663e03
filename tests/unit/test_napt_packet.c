#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "napt_packet.h"

#define S NAPT_NS_PER_S
#define PC UINT32_C(0xc0a8180a)
#define SHARED UINT32_C(0xc0000234)
#define SRV UINT32_C(0xc633640a)

enum { ICMP = 1, TCP = 6, UDP = 17 };

static uint64_t rng = 0x9e3779b97f4a7c15;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint32_t
get(const uint8_t *p, size_t n)
{
	uint32_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

static void
put(uint8_t *p, size_t n, uint32_t v)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

/* RFC 1071, folded at every step: the checksums are judged by this one. */
static uint16_t
sum(uint16_t start, const uint8_t *p, size_t len)
{
	uint32_t s = start;

	for (size_t i = 0; i < len; i++) {
		s += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		s = (s & 0xffff) + (s >> 16);
	}
	return (uint16_t)s;
}

static uint16_t
l4_sum(const uint8_t *p)
{
	size_t len = get(p + 2, 2) - 20;
	uint8_t pseudo[12] = {0};

	if (p[9] == ICMP)
		return sum(0, p + 20, len);
	memcpy(pseudo, p + 12, 8);
	pseudo[9] = p[9];
	put(pseudo + 10, 2, (uint32_t)len);
	return sum(sum(0, pseudo, 12), p + 20, len);
}

static uint8_t *
l4_field(uint8_t *p)
{
	return p + 20 + (p[9] == TCP ? 16 : p[9] == UDP ? 6 : 2);
}

static void
seal(uint8_t *p)
{
	put(p + 10, 2, 0);
	put(p + 10, 2, (uint16_t)~sum(0, p, 20));
	put(l4_field(p), 2, 0);
	put(l4_field(p), 2, (uint16_t)~l4_sum(p));
	if (p[9] == UDP && get(l4_field(p), 2) == 0)
		put(l4_field(p), 2, 0xffff);
}

static void
assert_sums(const uint8_t *p)
{
	assert_int_equal(sum(0, p, 20), 0xffff);
	assert_int_equal(l4_sum(p), 0xffff);
}

/* A packet with 40 random bytes of data. ICMP: an echo request, or a reply
 * when it comes from SRV, with sport as identifier. */
static size_t
make(uint8_t *p, uint8_t proto, uint32_t src, uint16_t sport, uint32_t dst,
    uint16_t dport)
{
	size_t len = (proto == TCP ? 40 : 28) + 40;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)rnd();
	p[0] = 0x45;
	put(p + 2, 2, (uint32_t)len);
	put(p + 6, 2, 0x4000);
	p[8] = 64;
	p[9] = proto;
	put(p + 12, 4, src);
	put(p + 16, 4, dst);
	put(p + 20, 2, sport);
	put(p + 22, 2, dport);
	if (proto == TCP)
		p[33] = NAPT_SYN;
	if (proto == UDP)
		put(p + 24, 2, (uint32_t)len - 20);
	if (proto == ICMP) {
		put(p + 20, 2, src == SRV ? 0 : 0x0800);
		put(p + 24, 2, sport);
	}
	seal(p);
	return len;
}

static void
setup(struct napt *n)
{
	static const struct napt_table_config line = {
	    .psid_offset = 4,
	    .psid_length = 8,
	    .psid = 52,
	    .tcp_closed_ns = 240 * S,
	    .tcp_idle_ns = 7440 * S,
	    .udp_idle_ns = 300 * S,
	    .icmp_idle_ns = 60 * S,
	};

	memset(n, 0, sizeof(*n));
	n->lan = PC & UINT32_C(0xffffff00);
	n->lan_mask = UINT32_C(0xffffff00);
	n->shared = SHARED;
	n->table = napt_table_new(&line);
	assert_non_null(n->table);
}

static uint16_t
port_of(const uint8_t *p, bool source)
{
	if (p[9] == ICMP)
		return (uint16_t)get(p + 24, 2);
	return (uint16_t)get(p + (source ? 20 : 22), 2);
}

/* Out and back, many times with random bytes: every checksum is right. */
static void
test_there_and_back(void **state)
{
	static const uint8_t protos[] = {ICMP, TCP, UDP};
	static struct napt n;
	uint8_t p[128];

	(void)state;
	setup(&n);
	for (int i = 0; i < 3000; i++) {
		uint8_t proto = protos[i % 3];
		uint16_t sport = (uint16_t)(i % 200 + 1), port;
		size_t len = make(p, proto, PC, sport, SRV, 80);

		assert_int_equal(napt_packet(&n, S, p, len), NAPT_FORWARD);
		assert_sums(p);
		assert_int_equal(get(p + 12, 4), SHARED);
		assert_int_equal(get(p + 16, 4), SRV);
		port = port_of(p, true);
		assert_true(napt_table_owns(n.table, port));
		len = make(
		    p, proto, SRV, proto == ICMP ? port : 80, SHARED, port);
		assert_int_equal(napt_packet(&n, S, p, len), NAPT_FORWARD);
		assert_sums(p);
		assert_int_equal(get(p + 16, 4), PC);
		assert_int_equal(port_of(p, false), sport);
	}
	napt_table_free(n.table);
}

/* RFC 768: no checksum stays none. And damage stays damage. */
static void
test_checksum_is_kept(void **state)
{
	static struct napt n;
	uint8_t p[128];
	size_t len = make(p, UDP, PC, 1000, SRV, 53);

	(void)state;
	setup(&n);
	put(p + 26, 2, 0);
	assert_int_equal(napt_packet(&n, 0, p, len), NAPT_FORWARD);
	assert_int_equal(get(p + 26, 2), 0);
	len = make(p, UDP, PC, 1000, SRV, 53);
	p[40] ^= 1;
	assert_int_equal(napt_packet(&n, 0, p, len), NAPT_FORWARD);
	assert_int_not_equal(l4_sum(p), 0xffff);
	napt_table_free(n.table);
}

/* An error of type and code from `from` about the packet q, cut to cut
 * bytes. */
static size_t
make_error(uint8_t *p, uint32_t from, uint32_t to, const uint8_t *q, size_t cut)
{
	memset(p, 0, 28);
	p[0] = 0x45;
	put(p + 2, 2, (uint32_t)(28 + cut));
	p[8] = 64;
	p[9] = ICMP;
	put(p + 12, 4, from);
	put(p + 16, 4, to);
	p[20] = 3;
	p[21] = 3;
	memcpy(p + 28, q, cut);
	seal(p);
	return 28 + cut;
}

static void
test_errors(void **state)
{
	static const uint8_t protos[] = {ICMP, TCP, UDP};
	static struct napt n;
	uint8_t sent[128], p[256];

	(void)state;
	setup(&n);
	for (size_t i = 0; i < 3; i++) {
		size_t len = make(sent, protos[i], PC, 777, SRV, 9);

		assert_int_equal(napt_packet(&n, 0, sent, len), NAPT_FORWARD);
		for (size_t cut = 28; cut <= len; cut += len - 28) {
			size_t e = make_error(p, SRV + 5, SHARED, sent, cut);

			assert_int_equal(
			    napt_packet(&n, 0, p, e), NAPT_FORWARD);
			assert_sums(p);
			assert_int_equal(get(p + 16, 4), PC);
			assert_int_equal(get(p + 28 + 12, 4), PC);
			assert_int_equal(port_of(p + 28, true), 777);
			assert_int_equal(sum(0, p + 28, 20), 0xffff);
		}
		/* Whole, the quoted packet is again what the LAN sent. */
		assert_sums(p + 28);
	}
	napt_table_free(n.table);
}

static void
test_errors_refused(void **state)
{
	static struct napt n;
	uint8_t sent[128], p[256];
	size_t len = make(sent, UDP, PC, 777, SRV, 9), e;

	(void)state;
	setup(&n);
	assert_int_equal(napt_packet(&n, 0, sent, len), NAPT_FORWARD);
	e = make_error(p, SRV, SHARED, sent, 27);
	assert_int_equal(napt_packet(&n, 0, p, e), NAPT_DROP_MALFORMED);
	e = make_error(p, SRV, SHARED, sent, len);
	p[22] ^= 1;
	assert_int_equal(napt_packet(&n, 0, p, e), NAPT_DROP_MALFORMED);
	put(sent + 16, 4, SRV + 1);
	e = make_error(p, SRV, SHARED, sent, len);
	assert_int_equal(napt_packet(&n, 0, p, e), NAPT_DROP_NO_FLOW);
	put(sent + 12, 4, SRV);
	e = make_error(p, SRV, SHARED, sent, len);
	assert_int_equal(napt_packet(&n, 0, p, e), NAPT_DROP_NO_FLOW);
	napt_table_free(n.table);
}

static void
test_error_from_the_lan(void **state)
{
	static struct napt n;
	uint8_t p[128], e[256];
	uint16_t port;
	size_t len = make(p, UDP, PC, 777, SRV, 9);

	(void)state;
	setup(&n);
	assert_int_equal(napt_packet(&n, 0, p, len), NAPT_FORWARD);
	port = port_of(p, true);
	len = make(p, UDP, SRV, 9, SHARED, port);
	assert_int_equal(napt_packet(&n, 0, p, len), NAPT_FORWARD);
	len = make_error(e, PC, SRV, p, len);
	assert_int_equal(napt_packet(&n, 0, e, len), NAPT_FORWARD);
	assert_sums(e);
	assert_int_equal(get(e + 12, 4), SHARED);
	assert_int_equal(get(e + 28 + 16, 4), SHARED);
	assert_int_equal(port_of(e + 28, false), port);
	napt_table_free(n.table);
}

static void
test_fragments(void **state)
{
	static struct napt n;
	uint8_t first[128], later[128];
	size_t len = make(first, UDP, PC, 777, SRV, 9);

	(void)state;
	setup(&n);
	put(first + 6, 2, 0x2000);
	memcpy(later, first, len);
	put(later + 6, 2, 100);
	assert_int_equal(napt_packet(&n, 0, later, len), NAPT_DROP_FRAGMENT);
	assert_int_equal(napt_packet(&n, 0, first, len), NAPT_FORWARD);
	put(later + 10, 2, 0);
	put(later + 10, 2, (uint16_t)~sum(0, later, 20));
	assert_int_equal(napt_packet(&n, S, later, len), NAPT_FORWARD);
	assert_int_equal(get(later + 12, 4), SHARED);
	assert_int_equal(get(later + 20, 2), 777);
	assert_int_equal(sum(0, later, 20), 0xffff);
	put(later + 12, 4, PC);
	assert_int_equal(
	    napt_packet(&n, 31 * S, later, len), NAPT_DROP_FRAGMENT);
	napt_table_free(n.table);
}

/* RFC 4787 REQ-9: two LAN hosts by way of the shared address. */
static void
test_hairpin(void **state)
{
	static struct napt n;
	uint8_t p[128];
	uint16_t a, b;

	(void)state;
	setup(&n);
	make(p, UDP, PC, 1, SRV, 9);
	assert_int_equal(napt_packet(&n, 0, p, 68), NAPT_FORWARD);
	a = port_of(p, true);
	make(p, UDP, PC + 1, 2, SRV, 9);
	assert_int_equal(napt_packet(&n, 0, p, 68), NAPT_FORWARD);
	b = port_of(p, true);
	make(p, UDP, PC, 1, SHARED, b);
	assert_int_equal(napt_packet(&n, 0, p, 68), NAPT_DROP_FILTERED);
	make(p, UDP, PC + 1, 2, SHARED, a);
	assert_int_equal(napt_packet(&n, 0, p, 68), NAPT_FORWARD);
	assert_sums(p);
	assert_int_equal(get(p + 12, 4), SHARED);
	assert_int_equal(get(p + 16, 4), PC);
	assert_int_equal(port_of(p, true), b);
	assert_int_equal(port_of(p, false), 1);
	napt_table_free(n.table);
}

static void
test_refused(void **state)
{
	static struct napt n;
	uint8_t p[128];
	size_t len = make(p, UDP, SRV, 9, SRV + 1, 9);

	(void)state;
	setup(&n);
	assert_int_equal(napt_packet(&n, 0, p, len), NAPT_DROP_STRAY);
	len = make(p, UDP, SRV, 9, SHARED, 4928);
	assert_int_equal(napt_packet(&n, 0, p, len), NAPT_DROP_NO_FLOW);
	len = make(p, UDP, PC, 9, SRV, 9);
	p[9] = 47;
	assert_int_equal(napt_packet(&n, 0, p, len), NAPT_DROP_PROTOCOL);
	len = make(p, TCP, PC, 9, SRV, 9);
	p[33] = NAPT_ACK;
	assert_int_equal(napt_packet(&n, 0, p, len), NAPT_DROP_NO_FLOW);
	for (uint16_t i = 0; i < 241; i++) {
		len = make(p, TCP, PC, i, SRV, 9);
		assert_int_equal(napt_packet(&n, 0, p, len),
		    i < 240 ? NAPT_FORWARD : NAPT_DROP_NO_PORT);
	}
	assert_int_equal(n.verdicts[NAPT_DROP_NO_PORT], 1);
	napt_table_free(n.table);
}

/* Every length, and random bytes, in a block of exactly that size: the
 * sanitizers see what is read past it. */
static void
test_any_bytes(void **state)
{
	static struct napt n;
	uint8_t whole[256];

	(void)state;
	setup(&n);
	for (int i = 0; i < 200000; i++) {
		size_t len = rnd() % 120;
		uint8_t *p = malloc(len ? len : 1);

		assert_non_null(p);
		make(whole, (uint8_t[]){ICMP, TCP, UDP}[i % 3], PC, 5, SRV, 9);
		make(whole + 28, (uint8_t[]){ICMP, TCP, UDP}[i / 3 % 3], SHARED,
		    5, SRV, 9);
		if (rnd() % 2)
			put(whole + 2, 2, (uint32_t)len);
		if (rnd() % 2)
			put(whole + 12, 8, 0), put(whole + 12, 4, SRV),
			    put(whole + 16, 4, SHARED);
		if (whole[9] == ICMP && rnd() % 2) {
			whole[20] = 3;
			put(whole + 22, 2, 0);
			if (len > 20)
				put(whole + 22, 2,
				    (uint16_t)~sum(0, whole + 20, len - 20));
		}
		for (uint64_t k = rnd() % 4; k; k--)
			whole[rnd() % 60] = (uint8_t)rnd();
		memcpy(p, whole, len);
		assert_in_range(
		    napt_packet(&n, (uint64_t)i, p, len), 0, NAPT_VERDICTS - 1);
		free(p);
	}
	assert_true(n.verdicts[NAPT_FORWARD] > 0);
	assert_true(n.verdicts[NAPT_DROP_MALFORMED] > 0);
	napt_table_free(n.table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_checksum_is_kept),
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_errors_refused),
	    cmocka_unit_test(test_error_from_the_lan),
	    cmocka_unit_test(test_fragments),
	    cmocka_unit_test(test_hairpin),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
