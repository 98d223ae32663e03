#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/policy/export_ips.h"
#include "core/err.h"
#include "failing_wrap.h"

static uint32_t seed = 20261123;

static uint32_t
rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

static struct diag d;
static const char list[] = "10.2.0.0/16\n10.3.0.0/16\nexample.com\n";

static int
read_list(
    void *arg, const char *path, char **bytes, size_t *len, struct diag *to)
{
	(void)arg;
	(void)path;
	(void)to;
	*bytes = strdup(list);
	*len = sizeof(list) - 1;
	return *bytes != NULL ? 0 : UK_ENOMEM;
}

static struct rules *
rules_of(const char *text)
{
	const struct rules_reader reader = {.read = read_list};
	struct rules *r = NULL;

	diag_init(&d, "office.rules");
	if (rules_parse(&r, "office.rules", text, strlen(text), &reader,
		RULES_LINUX, &d) < 0)
		diag_print(&d, "test", stderr);
	assert_non_null(r);
	diag_init(&d, "office.rules");
	return r;
}

static void
test_table(void **state)
{
	static const struct {
		const char *rules, *want;
		unsigned line; /* of the only warning; 0: there is none */
	} row[] = {
	    {"DEFAULT,native\n", "", 0},
	    {"DEFAULT,tunnel\n", "AllowedIPs = 0.0.0.0/0, ::/0\n", 0},
	    {"IP-CIDR,10.0.0.0/8,tunnel\nDEFAULT,native\n",
		"AllowedIPs = 10.0.0.0/8\n", 0},
	    {"IP-CIDR,10.0.0.0/8,tunnel!\nDEFAULT,native\n",
		"AllowedIPs = 10.0.0.0/8\n", 0},
	    {"IP-CIDR,10.0.0.0/9,tunnel\nIP-CIDR,10.128.0.0/9,tunnel!\n"
	     "DEFAULT,native\n",
		"AllowedIPs = 10.0.0.0/8\n", 0},
	    {"IP-CIDR,10.0.0.0/9,native\nIP-CIDR,10.0.0.0/8,tunnel\n"
	     "DEFAULT,native\n",
		"AllowedIPs = 10.128.0.0/9\n", 0},
	    {"IP-CIDR,10.0.0.0/8,tunnel\nIP-CIDR,10.0.0.0/9,native\n"
	     "DEFAULT,native\n",
		"AllowedIPs = 10.0.0.0/8\n", 0},
	    {"IP-CIDR,0.0.0.0/1,native\nIP-CIDR,::/1,native\nDEFAULT,tunnel\n",
		"AllowedIPs = 128.0.0.0/1, 8000::/1\n", 0},
	    /* First match: block, then the tunnel around it. */
	    {"IP-CIDR,10.0.0.0/9,block\nIP-CIDR,10.0.0.0/8,tunnel\n"
	     "DEFAULT,native\n",
		"AllowedIPs = 10.128.0.0/9\n", 1},
	    /* What is not about addresses alone is as if it were not there. */
	    {"IP-CIDR,10.0.0.0/8,tunnel,proto=tcp\nDEFAULT,native\n", "", 1},
	    {"IP-CIDR,10.0.0.0/8,native,dport=80\n"
	     "IP-CIDR,10.0.0.0/8,tunnel\nDEFAULT,native\n",
		"AllowedIPs = 10.0.0.0/8\n", 1},
	    {"DOMAIN,example.com,tunnel\nDEFAULT,native\n", "", 1},
	    {"DST-PORT,80,tunnel\nDEFAULT,native\n", "", 1},
	    {"SRC-IP-CIDR,10.0.0.0/8,tunnel\nDEFAULT,native\n", "", 1},
	    {"PROCESS-NAME,curl,tunnel\nDEFAULT,native\n", "", 1},
	    {"PORTS-LEFT,<40,tunnel\nDEFAULT,native\n", "", 1},
	    {"RULE-SET,list,tunnel\nDEFAULT,native\n",
		"AllowedIPs = 10.2.0.0/15\n", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct rules *r = rules_of(row[i].rules);
		struct cidr_set s = {.item = NULL};
		struct text t = {.s = NULL};

		assert_int_equal(export_ips(&s, r, &d), 0);
		export_ips_text(&t, &s);
		assert_string_equal(t.len > 0 ? t.s : "", row[i].want);
		assert_int_equal(d.n, row[i].line > 0);
		if (d.n > 0)
			assert_int_equal(d.entry[0].line, row[i].line);
		text_fini(&t);
		cidr_set_fini(&s);
		rules_free(r);
	}
}

/* The twin asks for each address of a small network which rule is its first:
 * 192.0.2.0/24 and 2001:db8::/120. */
struct naive {
	unsigned n;
	struct {
		struct ip_prefix p;
		bool tunnel, counts;
	} rule[24];
	bool tunnel; /* DEFAULT */
};

static void
random_policy(struct naive *n, struct text *t)
{
	static const char *const target[] = {
	    "tunnel", "tunnel!", "native", "block"};
	char text[IP_PREFIX_TEXT_MAX];

	n->n = rnd(ARRAY_LEN(n->rule) + 1);
	for (unsigned i = 0; i < n->n; i++) {
		bool v6 = rnd(2) == 0;
		uint32_t way = rnd(4), bits = rnd(9);
		struct ip_ifaddr a = {
		    .addr = {.family = FAMILY_V4, .b = {192, 0, 2}},
		    .bits = (uint8_t)(24 + bits)};

		if (v6)
			a = (struct ip_ifaddr){
			    .addr = {.family = FAMILY_V6,
				.b = {0x20, 0x01, 0x0d, 0xb8}},
			    .bits = (uint8_t)(120 + bits)};
		a.addr.b[v6 ? 15 : 3] = (uint8_t)rnd(256);
		ip_ifaddr_prefix(&a, &n->rule[i].p);
		n->rule[i].tunnel = way < 2;
		n->rule[i].counts = rnd(8) != 0;
		text_add(t, "IP-CIDR,%s,%s%s\n",
		    ip_prefix_format(&n->rule[i].p, text), target[way],
		    n->rule[i].counts ? "" : ",dport=80");
	}
	n->tunnel = rnd(2) == 0;
	text_add(t, "DEFAULT,%s\n", n->tunnel ? "tunnel" : "native");
}

static bool
naive_tunnel(const struct naive *n, const struct ip_addr *a)
{
	for (unsigned i = 0; i < n->n; i++) {
		if (n->rule[i].counts && ip_prefix_contains(&n->rule[i].p, a))
			return n->rule[i].tunnel;
	}
	return n->tunnel;
}

static bool
has(const struct cidr_set *s, const struct ip_addr *a)
{
	struct ip_prefix p = {
	    .addr = *a, .bits = a->family == FAMILY_V4 ? 32 : 128};

	return cidr_set_covers(s, &p);
}

static void
test_twin(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 400; round++) {
		struct ip_addr v4 = {.family = FAMILY_V4, .b = {192, 0, 2}};
		struct ip_addr v6 = {
		    .family = FAMILY_V6, .b = {0x20, 0x01, 0x0d, 0xb8}};
		struct cidr_set s = {.item = NULL};
		struct text t = {.s = NULL};
		struct naive n;
		struct rules *r;

		random_policy(&n, &t);
		r = rules_of(t.s);
		assert_int_equal(export_ips(&s, r, &d), 0);
		for (unsigned i = 0; i < 256; i++) {
			v4.b[3] = v6.b[15] = (uint8_t)i;
			assert_int_equal(has(&s, &v4), naive_tunnel(&n, &v4));
			assert_int_equal(has(&s, &v6), naive_tunnel(&n, &v6));
		}
		cidr_set_fini(&s);
		text_fini(&t);
		rules_free(r);
	}
}

static void
test_out_of_memory(void **state)
{
	struct rules *r = rules_of("IP-CIDR,10.0.0.0/8,tunnel\n"
				   "IP-CIDR,11.0.0.0/9,native\n"
				   "DEFAULT,tunnel\n");
	unsigned n = 1;

	(void)state;
	for (; n < 100; n++) {
		struct cidr_set s = {.item = NULL};
		int err;

		fail_at = n;
		err = export_ips(&s, r, &d);
		if (fail_at > 0) {
			cidr_set_fini(&s);
			break;
		}
		assert_int_equal(err, UK_ENOMEM);
		assert_null(s.item);
	}
	fail_at = 0;
	assert_true(n > 2 && n < 100);
	rules_free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
