/* [MapE]: every key, and every mistake at its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/mape_conf.h"
#include "core/err.h"

static void *
begin(void *conf, unsigned line)
{
	struct mape_conf *c = conf;

	c->line = line;
	return c;
}

static const struct conf_section sections[] = {
    {"MapE", 0, {mape_conf_keys, NULL}, begin},
    {NULL, 0, {NULL, NULL}, NULL},
};

static int
parse(struct mape_conf *c, const char *text, struct diag *d)
{
	int err;

	*c = (struct mape_conf){.line = 0};
	diag_init(d, NULL);
	err = conf_schema_parse(sections, c, text, strlen(text), d);
	mape_conf_check(c, d);
	return err;
}

static void
test_all_keys(void **state)
{
	static const char text[] =
	    "[MapE]\nMode = self\nLink = eth0\nPrefix = 2001:db8:1200::/56\n"
	    "Rule = 2001:db8::/40, 192.0.2.0/24, 16, 4\n"
	    "Rule = 2001:db8:100::/40, 198.51.100.0/24, 16, 6, rfc7597\n"
	    "BorderRelay = 2001:db8:ffff::64\nMesh = yes\n"
	    "Networks = 192.168.24.0/24, 10.0.0.0/8\n"
	    "Forward = tcp/7488 192.168.24.10:80\n"
	    "Forward = udp/7488   192.0.0.2:53\n"
	    "Sessions = 1000\nHostSessions = 500\nHostPorts = 7\n";
	struct mape_conf c;
	struct diag d;

	(void)state;
	assert_int_equal(parse(&c, text, &d), 0);
	assert_int_equal(d.n, 0);
	assert_int_equal(c.mode, MAPE_SELF);
	assert_string_equal(c.link, "eth0");
	assert_int_equal(c.prefix.bits, 56);
	assert_int_equal(c.rule.n, 2);
	assert_int_equal(c.rule.item[0].psid_len, 8);
	assert_int_equal(c.rule.item[0].iid, MAP_IID_DRAFT03);
	assert_int_equal(c.rule.item[1].psid_offset, 6);
	assert_int_equal(c.rule.item[1].iid, MAP_IID_RFC7597);
	assert_int_equal(c.br.b[15], 0x64);
	assert_true(c.mesh);
	assert_int_equal(c.networks.n, 2);
	assert_int_equal(c.forwards.n, 2);
	assert_int_equal(c.forwards.item[0].f.proto, 6);
	assert_int_equal(c.forwards.item[0].f.port, 7488);
	assert_int_equal(c.forwards.item[0].f.inside[3], 10);
	assert_int_equal(c.forwards.item[0].f.inside_port, 80);
	assert_int_equal(c.forwards.item[1].f.proto, 17);
	assert_int_equal(c.forwards.item[1].f.inside_port, 53);
	assert_int_equal(c.sessions, 1000);
	assert_int_equal(c.host_sessions, 500);
	assert_int_equal(c.host_ports, 7);
	mape_conf_fini(&c);
}

static void
test_rules(void **state)
{
	static const struct {
		const char *text;
		enum mape_rules_kind kind;
	} row[] = {
	    {"[MapE]\n", MAPE_RULES_BUILTIN},
	    {"[MapE]\nRules = builtin\n", MAPE_RULES_BUILTIN},
	    {"[MapE]\nRules = ask\n", MAPE_RULES_ASK},
	    {"[MapE]\nRules = /etc/ukai/line.csv\n", MAPE_RULES_FILE},
	};
	struct mape_conf c;
	struct diag d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(parse(&c, row[i].text, &d), 0);
		assert_int_equal(c.rules, row[i].kind);
		assert_int_equal(c.mode, MAPE_GATEWAY);
		mape_conf_fini(&c);
	}
}

#define RULE "Rule = 2001:db8::/40, 192.0.2.0/24, 16, 4\n"
#define BR "BorderRelay = 2001:db8:ffff::64\n"

static void
test_mistakes(void **state)
{
	static const struct {
		const char *text, *said;
		unsigned line;
	} row[] = {
	    {"Mode = ce\n", "write gateway or self", 2},
	    {"Link = a/b\n", "is not the name", 2},
	    {"Prefix = 192.0.2.0/24\n", "IPv6 prefix", 2},
	    {"Prefix = 2001:db8::/129\n", "is not a prefix", 2},
	    {"Rules = line.csv\n", "absolute path", 2},
	    {"Rules =\n", "absolute path", 2},
	    {"BorderRelay = 192.0.2.1\n", "is not an IPv6 address", 2},
	    {"Mesh = maybe\n", "write no or yes", 2},
	    {BR "Rule = 2001:db8::/40, 192.0.2.0/24\n", "EA-LENGTH", 3},
	    {BR "Rule = 192.0.2.0/24, 2001:db8::/40, 16\n", "EA-LENGTH", 3},
	    {BR "Rule = 2001:db8::/40, 192.0.2.0/24, 49\n", "EA-LENGTH", 3},
	    {BR "Rule = 2001:db8::/40, 192.0.2.0/24, 16, 16\n", "EA-LENGTH", 3},
	    {BR "Rule = 2001:db8::/40, 192.0.2.0/24, 16, 4, x\n", "EA-LENGTH",
		3},
	    {BR "Rule = 2001:db8::/40, 192.0.2.0/24, 16, 4, draft03, 1\n",
		"EA-LENGTH", 3},
	    {BR "Rule = 2001:db8::/40, 192.0.2.0/24, 16, 12\n", "Rule: ", 3},
	    {BR "Rule = 2001:db8::/100, 192.0.2.0/24, 40\n", "Rule: ", 3},
	    {BR RULE "Rule = 2001:db8:1::/48, 198.51.100.0/24, 8\n",
		"2001:db8:1::/48 overlaps 2001:db8::/40", 4},
	    {BR RULE "Rule = 2001:db9::/40, 192.0.2.128/25, 15\n",
		"192.0.2.128/25 overlaps 192.0.2.0/24", 4},
	    {RULE, "Rule needs BorderRelay", 1},
	    {"Networks = 2001:db8::/32\n", "IPv4 network", 2},
	    {"Networks = 0.0.0.0/0\n", "IPv4 network", 2},
	    {"Forward = tcp/7488\n", "write a port", 2},
	    {"Forward = icmp/7488 192.168.24.10:80\n", "write a port", 2},
	    {"Forward = tcp/65536 192.168.24.10:80\n", "write a port", 2},
	    {"Forward = tcp/7488 [2001:db8::1]:80\n", "write a port", 2},
	    {"Forward = tcp/7488 192.168.24.10\n", "write a port", 2},
	    {"Forward = tcp/1 10.0.0.1:1\nForward = tcp/1 10.0.0.2:1\n",
		"port 1 is given away on line 2", 3},
	    {"Mode = self\nNetworks = 10.0.0.0/8\n"
	     "Forward = tcp/1 10.0.0.1:1\nForward = tcp/2 192.0.0.2:1\n"
	     "Forward = tcp/3 11.0.0.1:1\n",
		"11.0.0.1 is in none of Networks", 6},
	    {"Sessions = 0\n", "is not a number from 1", 2},
	    {"HostPorts = 1048577\n", "is not a number from 1", 2},
	};
	char text[512];
	struct mape_conf c;
	struct diag d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		snprintf(text, sizeof(text), "[MapE]\n%s", row[i].text);
		(void)parse(&c, text, &d);
		if (d.errors != 1 || d.entry[0].line != row[i].line ||
		    strstr(d.entry[0].text, row[i].said) == NULL)
			fail_msg("row %zu: %u errors: line %u: %s", i, d.errors,
			    d.entry[0].line, d.entry[0].text);
		mape_conf_fini(&c);
	}
}

static void
test_no_effect(void **state)
{
	struct mape_conf c;
	struct diag d;

	(void)state;
	(void)parse(&c, "[MapE]\nNetworks = 10.0.0.0/8\n", &d);
	assert_int_equal(d.warnings, 1);
	assert_int_equal(d.errors, 0);
	mape_conf_fini(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_keys),
	    cmocka_unit_test(test_rules),
	    cmocka_unit_test(test_mistakes),
	    cmocka_unit_test(test_no_effect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
