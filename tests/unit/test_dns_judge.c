#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "client/policy/dns_forward.h"
#include "client/policy/dns_forward_judge.h"

/* Rule k holds for a name when the letter 'a' + k is in it. */
size_t
matcher_names(
    const struct matcher *m, const char *name, uint32_t *rule, size_t cap)
{
	size_t n = 0;

	(void)m;
	for (uint32_t k = 0; k < 6; k++)
		if (strchr(name, (char)('a' + k)) && n < cap)
			rule[n++] = k;
	return n;
}

static struct rule rule[] = {
    {.target = TARGET_BLOCK, .conditions = 1}, /* a */
    {.target = TARGET_NATIVE}, /* b */
    {.target = TARGET_TUNNEL_ONLY}, /* c */
    {.target = TARGET_TUNNEL, .conditions = 1}, /* d */
    {.target = TARGET_TUNNEL}, /* e */
    {.target = TARGET_BLOCK}, /* f */
};
static const struct rules rules = {.rule = rule, .n = ARRAY_LEN(rule)};
static const struct dns_policy policy = {.rules = &rules};

static void
the_first_rule_without_conditions_decides(void **state)
{
	static const struct {
		const char *name[2];
		bool ruled;
		enum rule_target target;
		bool strict;
	} t[] = {
	    {{"x"}, false, TARGET_NATIVE, false},
	    {{"xa"}, true, TARGET_NATIVE, true},
	    {{"xb"}, true, TARGET_NATIVE, false},
	    {{"xab"}, true, TARGET_NATIVE, true},
	    {{"xbc"}, true, TARGET_NATIVE, false},
	    {{"xc"}, true, TARGET_TUNNEL_ONLY, true},
	    {{"xd"}, true, TARGET_NATIVE, false},
	    {{"xde"}, true, TARGET_TUNNEL, false},
	    {{"xef"}, true, TARGET_TUNNEL, false},
	    {{"xf"}, true, TARGET_BLOCK, true},
	    /* Of all names of an answer the earliest rule. */
	    {{"x", "xc"}, true, TARGET_TUNNEL_ONLY, true},
	    {{"xe", "xc"}, true, TARGET_TUNNEL_ONLY, true},
	    {{"xc", "xe"}, true, TARGET_TUNNEL_ONLY, true},
	    {{"xb", "xc"}, true, TARGET_NATIVE, false},
	    {{"xc", "xb"}, true, TARGET_NATIVE, false},
	    {{"xe", "xa"}, true, TARGET_TUNNEL, true},
	    {{"xc", "x"}, true, TARGET_TUNNEL_ONLY, true},
	    {{"x", "x"}, false, TARGET_NATIVE, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct dns_verdict v =
		    dns_judge(&policy, t[i].name, t[i].name[1] ? 2 : 1);

		assert_int_equal(v.ruled, t[i].ruled);
		assert_int_equal(v.target, t[i].target);
		assert_int_equal(v.strict, t[i].strict);
		assert_int_equal(
		    dns_verdict_guards(&v), t[i].target != TARGET_NATIVE);
		assert_int_equal(dns_verdict_tunnels(&v),
		    t[i].target == TARGET_TUNNEL ||
			t[i].target == TARGET_TUNNEL_ONLY);
	}
}

static void
private_addresses(void **state)
{
	static const struct {
		const char *text;
		bool private;
	} t[] = {
	    {"0.0.0.1", true},
	    {"1.0.0.0", false},
	    {"9.255.255.255", false},
	    {"10.0.0.0", true},
	    {"10.255.255.255", true},
	    {"11.0.0.0", false},
	    {"100.63.255.255", false},
	    {"100.64.0.0", true},
	    {"100.127.255.255", true},
	    {"100.128.0.0", false},
	    {"127.0.0.53", true},
	    {"128.0.0.0", false},
	    {"169.253.255.255", false},
	    {"169.254.0.1", true},
	    {"172.15.255.255", false},
	    {"172.16.0.0", true},
	    {"172.31.255.255", true},
	    {"172.32.0.0", false},
	    {"192.167.255.255", false},
	    {"192.168.0.0", true},
	    {"192.169.0.0", false},
	    {"223.255.255.255", false},
	    {"224.0.0.1", true},
	    {"255.255.255.255", true},
	    {"::", true},
	    {"::1", true},
	    {"::2", false},
	    {"2001:db8::1", false},
	    {"fbff::1", false},
	    {"fc00::1", true},
	    {"fdff::1", true},
	    {"fe80::1", true},
	    {"febf::1", true},
	    {"fec0::1", true},
	    {"ff02::1", true},
	    {"::ffff:10.0.0.1", true},
	    {"::ffff:192.0.2.1", false},
	    {"64:ff9b::10.0.0.1", true},
	    {"64:ff9b::192.0.2.1", false},
	    {"64:ff9c::10.0.0.1", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct ip_addr a;

		assert_int_equal(
		    ip_addr_parse(&a, t[i].text, strlen(t[i].text)), 0);
		if (dns_address_private(&a) != t[i].private)
			fail_msg("%s", t[i].text);
	}
}

static void
types_that_go_around(void **state)
{
	(void)state;
	assert_true(
	    dns_type_evades(64) && dns_type_evades(65) && dns_type_evades(255));
	assert_false(dns_type_evades(1) || dns_type_evades(28) ||
		     dns_type_evades(5) || dns_type_evades(63) ||
		     dns_type_evades(66));
}

static void
encrypted_resolvers(void **state)
{
	static const struct {
		const char *name;
		bool known;
	} t[] = {
	    {"dns.google", true},
	    {"dns64.dns.google", true},
	    {"chrome.cloudflare-dns.com", true},
	    {"public.dns.iij.jp", true},
	    {"www.one.one.one.one", true},
	    {"mydns.google", false},
	    {"google", false},
	    {"dns.google.example", false},
	    {"", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		if (dns_name_encrypted(t[i].name) != t[i].known)
			fail_msg("%s", t[i].name);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_first_rule_without_conditions_decides),
	    cmocka_unit_test(private_addresses),
	    cmocka_unit_test(types_that_go_around),
	    cmocka_unit_test(encrypted_resolvers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
