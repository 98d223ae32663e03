#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "core/base.h"
#include "core/endpoint.h"

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* Text, and its canonical form; NULL: refused (C4). */
static const struct {
	const char *in, *out;
} addresses[] = {
    {"192.0.2.1", "192.0.2.1"},
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"256.0.0.1", NULL},
    {"1.2.3", NULL},
    {"1.2.3.4.5", NULL},
    {"1.2.3.04", NULL},
    {"0x1.2.3.4", NULL},
    {"1.2.3.4 ", NULL},
    {" 1.2.3.4", NULL},
    {"", NULL},
    {".", NULL},
    {"::", "::"},
    {"::1", "::1"},
    {"1::", "1::"},
    {"2001:DB8::0001", "2001:db8::1"},
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
    {"0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7"},
    {"1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"},
    {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
    {"::2:3:4:5:6:7", "::2:3:4:5:6:7"},
    {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
    {"::192.0.2.1", "::c000:201"},
    {"64:ff9b::192.0.2.1", "64:ff9b::c000:201"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"1:2:3:4:5:6:7", NULL},
    {"1:2:3:4:5:6:7:8:9", NULL},
    {"1::2::3", NULL},
    {":::", NULL},
    {":1:2:3:4:5:6:7", NULL},
    {"12345::", NULL},
    {"[::1]", NULL},
    {"fe80::1%1", NULL},
    {"::1/64", NULL},
    {"0000:0000:0000:0000:0000:0000:255.255.255.2555", NULL},
    {"0000000000000000000000000000000000000000000000::1", NULL},
};

static void
test_address(void **state)
{
	char text[IP_ADDR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		const char *in = addresses[i].in;
		struct ip_addr a, before;
		int err;

		memset(&a, 0xa5, sizeof(a));
		before = a;
		err = ip_addr_parse(&a, in, strlen(in));
		if (addresses[i].out == NULL) {
			assert_true(err < 0);
			assert_memory_equal(&a, &before, sizeof(a));
			continue;
		}
		assert_int_equal(err, 0);
		assert_string_equal(ip_addr_format(&a, text), addresses[i].out);
	}
}

/* The length decides, not a zero byte. */
static void
test_address_length_C4(void **state)
{
	struct ip_addr a;

	(void)state;
	assert_true(ip_addr_parse(&a, "1.2.3.4\0", 8) < 0);
	assert_true(ip_addr_parse(&a, "1.2.3.4\0x", 9) < 0);
	assert_int_equal(ip_addr_parse(&a, "1.2.3.45", 7), 0);
	assert_int_equal(a.b[3], 4);
}

/* Twin: the C library's own text. It writes ::/96 with dots, which we do only
 * for ::ffff:0:0/96. */
static void
test_address_twin(void **state)
{
	char text[IP_ADDR_TEXT_MAX], twin[INET6_ADDRSTRLEN];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct ip_addr a = {.family = FAMILY_V6}, back;
		uint64_t zero = rnd() | rnd();
		bool compatible = true;

		for (unsigned k = 0; k < 16; k++)
			a.b[k] = zero >> (k / 2) & 1 ? 0 : (uint8_t)rnd();
		for (unsigned k = 0; k < 12; k++)
			compatible = compatible && a.b[k] == 0;
		ip_addr_format(&a, text);
		inet_ntop(AF_INET6, a.b, twin, sizeof(twin));
		if (!compatible)
			assert_string_equal(text, twin);
		assert_int_equal(ip_addr_parse(&back, text, strlen(text)), 0);
		assert_true(ip_addr_equal(&a, &back));
		a = (struct ip_addr){.family = FAMILY_V4};
		for (unsigned k = 0; k < 4; k++)
			a.b[k] = (uint8_t)rnd();
		ip_addr_format(&a, text);
		inet_ntop(AF_INET, a.b, twin, sizeof(twin));
		assert_string_equal(text, twin);
	}
}

static const struct {
	const char *in, *out;
} prefixes[] = {
    {"192.0.2.0/24", "192.0.2.0/24"},
    {"192.0.2.255/24", "192.0.2.0/24"},
    {"192.0.2.255/25", "192.0.2.128/25"},
    {"192.0.2.1", "192.0.2.1/32"},
    {"192.0.2.1/32", "192.0.2.1/32"},
    {"255.255.255.255/0", "0.0.0.0/0"},
    {"255.255.255.255/1", "128.0.0.0/1"},
    {"192.0.2.1/33", NULL},
    {"192.0.2.1/", NULL},
    {"192.0.2.1/-1", NULL},
    {"192.0.2.1/+1", NULL},
    {"192.0.2.1/0024", NULL},
    {"192.0.2.1/2a", NULL},
    {"192.0.2.1/24/24", NULL},
    {"192.0.2/24", NULL},
    {"/24", NULL},
    {"", NULL},
    {"2001:db8:ffff::1/33", "2001:db8:8000::/33"},
    {"2001:db8::1", "2001:db8::1/128"},
    {"ffff::/0", "::/0"},
    {"::1/128", "::1/128"},
    {"::1/129", NULL},
    {"::1/256", NULL},
    {"::1/999", NULL},
};

static void
test_prefix(void **state)
{
	char text[IP_PREFIX_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		const char *in = prefixes[i].in;
		struct ip_prefix p, before;
		int err;

		memset(&p, 0xa5, sizeof(p));
		before = p;
		err = ip_prefix_parse(&p, in, strlen(in));
		if (prefixes[i].out == NULL) {
			assert_true(err < 0);
			assert_memory_equal(&p, &before, sizeof(p));
			continue;
		}
		assert_int_equal(err, 0);
		assert_string_equal(
		    ip_prefix_format(&p, text), prefixes[i].out);
	}
}

static void
test_ifaddr_keeps_host_bits(void **state)
{
	char text[IP_PREFIX_TEXT_MAX];
	struct ip_ifaddr a;
	struct ip_prefix p;

	(void)state;
	assert_int_equal(ip_ifaddr_parse(&a, "10.66.0.7/24", 12), 0);
	assert_string_equal(ip_addr_format(&a.addr, text), "10.66.0.7");
	assert_int_equal(a.bits, 24);
	ip_ifaddr_prefix(&a, &p);
	assert_string_equal(ip_prefix_format(&p, text), "10.66.0.0/24");
	assert_true(ip_ifaddr_parse(&a, "10.66.0.7/33", 12) < 0);
}

static bool
bit(const uint8_t *b, unsigned i)
{
	return b[i / 8] >> (7 - i % 8) & 1;
}

/* Twin: one bit at a time. */
static void
test_contains_twin(void **state)
{
	unsigned inside = 0;

	(void)state;
	for (int i = 0; i < 50000; i++) {
		bool v6 = rnd() & 1, want = true;
		unsigned max = v6 ? 128 : 32,
			 bits = (unsigned)rnd() % (max + 1);
		struct ip_addr a = {.family = v6 ? FAMILY_V6 : FAMILY_V4}, b;
		struct ip_ifaddr from;
		struct ip_prefix p;

		for (unsigned k = 0; k < max / 8; k++)
			a.b[k] = (uint8_t)rnd();
		b = a;
		if (rnd() & 1) {
			unsigned flip = (unsigned)rnd() % max;

			b.b[flip / 8] ^= (uint8_t)(0x80 >> flip % 8);
		}
		from = (struct ip_ifaddr){a, (uint8_t)bits};
		ip_ifaddr_prefix(&from, &p);
		for (unsigned k = 0; k < bits; k++)
			want = want && bit(a.b, k) == bit(b.b, k);
		for (unsigned k = 0; k < max; k++)
			assert_int_equal(
			    bit(p.addr.b, k), k < bits && bit(a.b, k));
		assert_int_equal(ip_prefix_contains(&p, &b), want);
		inside += want;
	}
	assert_in_range(inside, 30000, 45000);
}

static void
test_families_do_not_mix(void **state)
{
	struct ip_prefix all4, all6;
	struct ip_addr a4, a6, none = {.family = FAMILY_NONE};
	struct ip_prefix empty = {.bits = 0};

	(void)state;
	ip_prefix_parse(&all4, "0.0.0.0/0", 9);
	ip_prefix_parse(&all6, "::/0", 4);
	ip_addr_parse(&a4, "0.0.0.0", 7);
	ip_addr_parse(&a6, "::", 2);
	assert_true(ip_prefix_overlap(&all4, &(struct ip_prefix){a4, 32}));
	assert_true(ip_prefix_overlap(&(struct ip_prefix){a4, 32}, &all4));
	assert_false(ip_prefix_overlap(&all4, &all6));
	assert_false(ip_prefix_overlap(&(struct ip_prefix){a4, 32},
	    &(struct ip_prefix){{FAMILY_V4, {9, 9, 9, 9}}, 32}));
	assert_true(ip_prefix_contains(&all4, &a4));
	assert_true(ip_prefix_contains(&all6, &a6));
	assert_false(ip_prefix_contains(&all4, &a6));
	assert_false(ip_prefix_contains(&all6, &a4));
	assert_false(ip_prefix_contains(&empty, &none));
	assert_false(ip_addr_equal(&a4, &a6));
	assert_true(ip_addr_equal(&none, &none));
	/* Bytes beyond a v4 address do not count. */
	none = a4;
	none.b[4] = 1;
	assert_true(ip_addr_equal(&a4, &none));
	none.b[3] = 1;
	assert_false(ip_addr_equal(&a4, &none));
}

static void
test_endpoint_text(void **state)
{
	char text[ENDPOINT_TEXT_MAX];
	struct endpoint e = {.port = 65535}, same;

	(void)state;
	assert_string_equal(endpoint_format(&e, text), "(none)");
	ip_addr_parse(&e.addr, "192.0.2.1", 9);
	assert_string_equal(endpoint_format(&e, text), "192.0.2.1:65535");
	ip_addr_parse(&e.addr, "fe80::1", 7);
	assert_string_equal(endpoint_format(&e, text), "[fe80::1]:65535");
	e.scope_id = UINT32_MAX;
	assert_string_equal(
	    endpoint_format(&e, text), "[fe80::1%4294967295]:65535");
	memset(e.addr.b, 0xff, sizeof(e.addr.b));
	endpoint_format(&e, text);
	assert_int_equal(strlen(text), 39 + 11 + 2 + 6);

	same = e;
	same.src_ifindex = 3;
	same.src.family = FAMILY_V6;
	assert_true(endpoint_same_remote(&e, &same));
	same.scope_id = 2;
	assert_false(endpoint_same_remote(&e, &same));
	same = e;
	same.port = 1;
	assert_false(endpoint_same_remote(&e, &same));
	same = e;
	same.addr.b[15] = 0;
	assert_false(endpoint_same_remote(&e, &same));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_address),
	    cmocka_unit_test(test_address_length_C4),
	    cmocka_unit_test(test_address_twin),
	    cmocka_unit_test(test_prefix),
	    cmocka_unit_test(test_ifaddr_keeps_host_bits),
	    cmocka_unit_test(test_contains_twin),
	    cmocka_unit_test(test_families_do_not_mix),
	    cmocka_unit_test(test_endpoint_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
