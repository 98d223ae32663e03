/* What people read of a running policy, from the object that status gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/policy.h"

#define NOW 1700000100

/* What policy_print() makes of o, which is taken. */
static char *
print(json_t *o)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	policy_print(o, NOW, f);
	fclose(f);
	json_decref(o);
	return text;
}

static json_t *
rule(int line, int last, const char *text, int flows, int bytes)
{
	json_t *o = json_pack("{s:i,s:i,s:s,s:s,s:i,s:i,s:i}", "line", line,
	    "last_line", last, "text", text, "target", "tunnel", "flows", flows,
	    "packets", flows, "bytes", bytes);

	assert_non_null(o);
	return o;
}

static json_t *
policy(json_t *rules, bool live)
{
	json_t *o =
	    json_pack("{s:s,s:i,s:b,s:o}", "file", "/etc/ukai/office.rules",
		"loaded", NOW - 65, "live", live, "rules", rules);

	assert_non_null(o);
	return o;
}

static void
expect(char *text, const char *want)
{
	assert_string_equal(text, want);
	free(text);
}

static void
test_none(void **state)
{
	(void)state;
	expect(print(NULL), "");
	expect(print(json_null()), "");
}

static void
test_whole(void **state)
{
	json_t *o, *rules = json_array();

	(void)state;
	json_array_append_new(rules, rule(4, 4, "UID,1000,tunnel", 0, 0));
	json_array_append_new(
	    rules, rule(5, 7, "IP-CIDR,192.0.2.0/24,tunnel", 1, 100));
	json_array_append_new(rules, rule(8, 8, "DEFAULT,native", 1234, 2048));
	o = policy(rules, true);
	json_object_set_new(o, "ports",
	    json_pack("{s:i,s:i,s:i,s:b}", "ports", 240, "used_tcp", 201,
		"used_udp", 14, "own_ce", 0));
	json_object_set_new(o, "names", json_integer(1));
	json_object_set_new(o, "addresses", json_integer(2));
	json_object_set_new(o, "dns",
	    json_pack("{s:i,s:i,s:i,s:i,s:s}", "questions", 14,
		"through_tunnel", 3, "refused_private", 2, "timeouts", 0,
		"encrypted_name", "dns.google"));
	json_object_set_new(o, "programs",
	    json_pack("[{s:s,s:i}]", "program", "rclone", "processes", 1));
	json_object_set_new(o, "collisions",
	    json_pack("[{s:s,s:[ss],s:[ii]}]", "address", "192.0.2.1", "names",
		"a.example", "b.example", "lines", 4, 8));
	expect(print(o),
	    "  policy       /etc/ukai/office.rules, loaded 1 min 5 s ago\n"
	    "    relay          answers\n"
	    "    lines 5-7      IP-CIDR,192.0.2.0/24,tunnel       1 flow "
	    "      100 B\n"
	    "    line 8         DEFAULT,native                 1234 flows"
	    "    2.0 KiB\n"
	    "    no flow yet    line 4\n"
	    "    ports          in use by flows that pass here: TCP 201 of 240, "
	    "UDP 14 of 240\n"
	    "    DNS            14 questions, 3 through the tunnel; 1 name and "
	    "2 addresses known\n"
	    "    DNS            a program has looked up dns.google: what it asks "
	    "there is not seen; see ukai.rules(5)\n"
	    "    DNS            2 private addresses left out of answers\n"
	    "    program        rclone: 1 process\n"
	    "    collision      192.0.2.1 is a.example (line 4) and b.example "
	    "(line 8): the first one wins\n");
}

static void
test_no_relay(void **state)
{
	char *text = print(policy(json_array(), false));

	(void)state;
	assert_non_null(strstr(text, "does not answer: new flows of tunnel "
				     "stay on the line, those of tunnel! are "
				     "refused\n"));
	free(text);
}

static void
test_own_ce(void **state)
{
	json_t *o = policy(json_array(), true);
	char *text;

	(void)state;
	json_object_set_new(o, "ports",
	    json_pack("{s:i,s:i,s:i,s:b}", "ports", 240, "used_tcp", 1,
		"used_udp", 2, "own_ce", 1));
	text = print(o);
	assert_non_null(strstr(text, " in use: TCP 1 of 240, UDP 2 of 240\n"));
	free(text);
}

/* 48 characters fit, however many bytes; of more, 48 are shown. */
static void
test_long_text(void **state)
{
	char same[3 * 48 + 1] = "", longer[3 * 49 + 1] = "", want[256];
	json_t *rules = json_array();
	char *text;

	(void)state;
	for (int i = 0; i < 49; i++) {
		if (i < 48)
			strcat(same, "\xe3\x81\x82");
		strcat(longer, "\xe3\x81\x82");
	}
	json_array_append_new(rules, rule(1, 1, same, 5, 0));
	json_array_append_new(rules, rule(2, 2, longer, 5, 0));
	text = print(policy(rules, true));
	snprintf(want, sizeof(want),
	    "    line 1         %s          5 flows        0 B\n", same);
	assert_non_null(strstr(text, want));
	snprintf(want, sizeof(want),
	    "    line 2         %s...       5 flows        0 B\n", same);
	assert_non_null(strstr(text, want));
	free(text);
}

static void
test_many(void **state)
{
	json_t *rules = json_array();
	char *text;

	(void)state;
	for (int i = 1; i <= 22; i++)
		json_array_append_new(rules, rule(i, i, "used", 1, 1));
	for (int i = 31; i <= 42; i++)
		json_array_append_new(rules, rule(i, i, "unused", 0, 0));
	text = print(policy(rules, true));
	assert_non_null(strstr(text, "    line 20 "));
	assert_null(strstr(text, "    line 21 "));
	assert_non_null(
	    strstr(text, "    more           2 rules with flows; --json"));
	assert_non_null(strstr(text,
	    "    no flow yet    lines 31, 32, 33, 34, 35, 36, 37, 38, 39, 40 "
	    "and 2 more\n"));
	free(text);
}

/* `ukai run`: no line of the file. */
static void
test_run(void **state)
{
	json_t *rules = json_pack("[{s:n,s:n,s:s,s:i,s:i},{s:n,s:s,s:i}]",
	    "line", "last_line", "text", "ukai run", "flows", 2, "bytes", 1,
	    "line", "text", "ukai run --fallback", "flows", 0);

	(void)state;
	expect(print(policy(rules, true)),
	    "  policy       /etc/ukai/office.rules, loaded 1 min 5 s ago\n"
	    "    relay          answers\n"
	    "    rule           ukai run       2 flows        1 B\n");
}

/* Anything may be missing. */
static void
test_poor(void **state)
{
	static const char *const text[] = {"{}", "{\"rules\":1}",
	    "{\"rules\":[1,{},{\"flows\":3},{\"flows\":1,\"text\":5}]}",
	    "{\"collisions\":[1,{},{\"names\":[1]},{\"lines\":[\"\"]}]}",
	    "{\"dns\":{},\"ports\":{},\"programs\":[{}]}"};

	(void)state;
	for (size_t i = 0; i < sizeof(text) / sizeof(*text); i++) {
		json_t *o = json_loads(text[i], 0, NULL);

		assert_non_null(o);
		free(print(o));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_none),
	    cmocka_unit_test(test_whole),
	    cmocka_unit_test(test_no_relay),
	    cmocka_unit_test(test_own_ce),
	    cmocka_unit_test(test_long_text),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_run),
	    cmocka_unit_test(test_poor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
