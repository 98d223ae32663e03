#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/explain.h"
#include "core/err.h"
#include "failing_json.h"

static struct diag d;
static struct rules *rules;
static struct matcher *matcher;

/* "lists/few" and an empty one. */
static int
read_list(
    void *arg, const char *path, char **bytes, size_t *len, struct diag *told)
{
	(void)arg;
	(void)told;
	assert_non_null(strstr(path, "few"));
	*bytes = strdup("10.1.0.0/16\nexample.org\n10.2.0.0/16\n");
	*len = strlen(*bytes);
	return 0;
}

static void
open_policy(const char *text)
{
	const struct rules_reader reader = {.read = read_list};

	diag_init(&d, "office.rules");
	assert_int_equal(rules_parse(&rules, "office.rules", text, strlen(text),
			     &reader, RULES_LINUX, &d),
	    0);
	assert_int_equal(matcher_new(&matcher, rules), 0);
}

static void
close_policy(void)
{
	matcher_free(matcher);
	rules_free(rules);
}

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text, strlen(text)), 0);
	return a;
}

static json_t *
explain(const struct flow *f)
{
	json_t *o = explain_json(rules, matcher, f, "somewhere");

	assert_non_null(o);
	return o;
}

static const char *
text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static json_t *
considered(const json_t *o, size_t i)
{
	return json_array_get(json_object_get(o, "considered"), i);
}

/* Of a policy whose first rule does not hold: why. */
static void
expect_reason(const char *line, const struct flow *f, const char *reason)
{
	char text[256];
	json_t *o;

	snprintf(text, sizeof(text), "%s\nDEFAULT,native\n", line);
	open_policy(text);
	o = explain(f);
	assert_string_equal(text_of(o, "target"), "native");
	assert_string_equal(text_of(considered(o, 0), "reason"), reason);
	json_decref(o);
	close_policy();
}

/* And with what it would. NULL: with nothing. */
static void
expect_would(
    const char *text, size_t rule, const struct flow *f, const char *with)
{
	const json_t *would;
	json_t *o;

	open_policy(text);
	o = explain(f);
	would = json_object_get(considered(o, rule), "would");
	if (with == NULL)
		assert_true(json_is_null(would));
	else
		assert_string_equal(text_of(would, "with"), with);
	json_decref(o);
	close_policy();
}

/* ---- what is known ---- */

static const char *const known_name[] = {
    "www.example.jp", "cdn.example.net", "a.example", "b.example"};

/* A flow of which everything is known. */
static struct flow
known(void)
{
	return (struct flow){.name = known_name,
	    .names = 1,
	    .dst = addr("192.168.1.7"),
	    .src = addr("fd00::1"),
	    .proto = RULE_UDP,
	    .sport = 5000,
	    .dport = 443,
	    .process = "rclone",
	    .has_uid = true,
	    .uid = 1000,
	    .has_ports_left = true,
	    .ports_left = 120};
}

struct reason {
	const char *line, *reason;
};

static void
expect_reasons(const struct reason *c, size_t n)
{
	const struct flow f = known();

	for (size_t i = 0; i < n; i++)
		expect_reason(c[i].line, &f, c[i].reason);
}

static void
test_reasons(void **state)
{
	static const struct reason c[] = {
	    {"IP-CIDR,10.0.0.0/8,block", "192.168.1.7 is not in 10.0.0.0/8"},
	    {"SRC-IP-CIDR,10.0.0.0/8,block",
		"the source fd00::1 is not in 10.0.0.0/8"},
	    {"DOMAIN,example.jp,block", "www.example.jp is not example.jp"},
	    {"DOMAIN-SUFFIX,example.com,block",
		"www.example.jp is not example.com, nor below it"},
	    {"DOMAIN-KEYWORD,exampel,block",
		"www.example.jp: no \"exampel\" in it"},
	    {"DST-PORT,80,block", "port 443 is not 80"},
	    {"DST-PORT,3478-3481,block", "port 443 is not in 3478-3481"},
	    {"SRC-PORT,80,block", "source port 5000 is not 80"},
	    {"NETWORK,tcp,block", "udp is not tcp"},
	    {"PROCESS-NAME,duplicati,block", "rclone is not duplicati"},
	    {"UID,0,block", "user 1000 is not 0"},
	    {"PORTS-LEFT,<40,block", "it takes none of the line's ports"},
	    {"RULE-SET,few,block", "it is none of the 3 entries of few"},
	};

	(void)state;
	expect_reasons(c, ARRAY_LEN(c));
}

static void
test_reasons_of_conditions(void **state)
{
	static const struct reason c[] = {
	    {"DOMAIN-SUFFIX,jp,block,proto=tcp/icmp", "udp is not tcp/icmp"},
	    {"DOMAIN-SUFFIX,jp,block,dport=80/8000-8080",
		"port 443 is not in 80/8000-8080"},
	    {"DOMAIN-SUFFIX,jp,block,sport=1", "source port 5000 is not 1"},
	    {"DOMAIN-SUFFIX,jp,block,src=10.0.0.0/8",
		"the source fd00::1 is not in 10.0.0.0/8"},
	    {"DOMAIN-SUFFIX,jp,block,dst=10.0.0.0/8",
		"192.168.1.7 is not in 10.0.0.0/8"},
	    {"DOMAIN-SUFFIX,jp,block,process=rsync", "rclone is not rsync"},
	    {"DOMAIN-SUFFIX,jp,block,uid=7", "user 1000 is not 7"},
	    /* The entry's reason, not the condition's of the same kind. */
	    {"IP-CIDR,10.0.0.0/8,block,dst=11.0.0.0/8",
		"192.168.1.7 is not in 10.0.0.0/8"},
	    {"IP-CIDR,192.168.0.0/16,block,dst=192.168.2.0/24",
		"192.168.1.7 is not in 192.168.2.0/24"},
	};

	(void)state;
	expect_reasons(c, ARRAY_LEN(c));
}

static void
test_reason_of_ports_left(void **state)
{
	struct flow f = known();

	(void)state;
	f.dst = addr("192.0.2.7");
	expect_reason("PORTS-LEFT,<40,block", &f,
	    "120 ports are left, not fewer than 40");
}

static void
test_reason_with_names(void **state)
{
	struct flow f = known();

	(void)state;
	f.names = 2;
	expect_reason("DOMAIN,x.jp,block", &f,
	    "www.example.jp, cdn.example.net is not x.jp");
	f.names = 4;
	expect_reason("DOMAIN,x.jp,block", &f,
	    "www.example.jp, cdn.example.net, a.example and 1 more names is "
	    "not x.jp");
}

static void
test_does_not_spill(void **state)
{
	const struct flow f = {.dst = addr("192.0.2.7"),
	    .dport = 443,
	    .has_ports_left = true,
	    .ports_left = 1};
	json_t *o;

	(void)state;
	open_policy("PORTS-LEFT,<40,block\nDST-PORT,443,tunnel\n"
		    "DEFAULT,native\n");
	o = explain(&f);
	assert_string_equal(text_of(o, "target"), "tunnel");
	assert_string_equal(text_of(considered(o, 0), "reason"),
	    "a later line takes it off the line");
	json_decref(o);
	close_policy();
}

/* ---- what is not ---- */

static void
test_unknown(void **state)
{
	const char *name = "www.example.jp";
	const struct flow by_addr = {.dst = addr("192.0.2.1")};
	const struct flow by_name = {.name = &name, .names = 1};
	static const struct {
		const char *line, *reason;
	} c[] = {
	    {"DOMAIN,x.jp,block", "no name is known for this address"},
	    {"DOMAIN-SUFFIX,x.jp,block", "no name is known for this address"},
	    {"DOMAIN-KEYWORD,x.jp,block", "no name is known for this address"},
	    {"SRC-IP-CIDR,10.0.0.0/8,block", "--src is not given"},
	    {"DST-PORT,80,block", "no port is given"},
	    {"SRC-PORT,80,block", "--sport is not given"},
	    {"NETWORK,tcp,block", "--proto is not given"},
	    {"PROCESS-NAME,x,block", "--process is not given"},
	    {"UID,0,block", "--uid is not given"},
	    {"PORTS-LEFT,<40,block", "--ports-left is not given"},
	    {"IP-CIDR,192.0.2.0/24,block,uid=0", "--uid is not given"},
	    {"UID,0,block,process=x",
		"--process is not given, and --uid is not given"},
	    {"RULE-SET,few,block", "no name is known for this address"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		expect_reason(c[i].line, &by_addr, c[i].reason);
	expect_reason("IP-CIDR,10.0.0.0/8,block", &by_name,
	    "no address is known for this name");
	expect_reason("RULE-SET,few,block", &by_name,
	    "no address is known for this name");
	/* What is known decides, however much is not. */
	expect_reason("UID,0,block,dst=10.0.0.0/8", &by_addr,
	    "192.0.2.1 is not in 10.0.0.0/8");
}

static void
test_would(void **state)
{
	const char *name = "www.example.jp";
	const struct flow by_addr = {
	    .dst = addr("192.0.2.1"), .proto = RULE_TCP};
	const struct flow by_name = {.name = &name, .names = 1};

	(void)state;
	expect_would("PROCESS-NAME,x,tunnel\n", 0, &by_addr, "--process x");
	expect_would("UID,7,tunnel\n", 0, &by_addr, "--uid 7");
	expect_would("SRC-PORT,7,tunnel\n", 0, &by_addr, "--sport 7");
	expect_would("DST-PORT,70-80,tunnel\n", 0, &by_addr, "port 80");
	expect_would("DOMAIN-SUFFIX,x.jp,tunnel\n", 0, &by_addr, "--name x.jp");
	expect_would("PORTS-LEFT,<40,tunnel\n", 0, &by_addr, "--ports-left 39");
	expect_would(
	    "SRC-IP-CIDR,10.0.0.0/8,tunnel\n", 0, &by_addr, "--src 10.0.0.0");
	expect_would(
	    "IP-CIDR,10.0.0.0/8,tunnel\n", 0, &by_name, "--address 10.0.0.0");
	expect_would("NETWORK,udp,tunnel\n", 0, &by_name, "--proto udp");
	expect_would(
	    "RULE-SET,few,tunnel\n", 0, &by_addr, "--name example.org");
	expect_would("PROCESS-NAME,x,tunnel,uid=0,sport=5,dport=9\n", 0,
	    &by_addr, "--process x port 9 --sport 5 --uid 0");
	expect_would("IP-CIDR,192.0.2.0/24,tunnel,process=x,src=::1\n", 0,
	    &by_addr, "--src ::1 --process x");
	expect_would("UID,0,tunnel,proto=udp,dst=10.0.0.0/8\n", 0, &by_name,
	    "--uid 0 --address 10.0.0.0 --proto udp");
	/* It would lead to the same target. */
	expect_would("PROCESS-NAME,x,native\n", 0, &by_addr, NULL);
	/* An earlier one would decide. */
	expect_would("PROCESS-NAME,x,native\nPROCESS-NAME,x,tunnel\n", 1,
	    &by_addr, NULL);
	/* It is known that it does not hold. */
	expect_would("NETWORK,udp,tunnel\n", 0, &by_addr, NULL);
}

/* ---- the object ---- */

static void
test_object(void **state)
{
	const struct flow f = {.dst = addr("10.2.3.4"), .proto = RULE_TCP};
	const json_t *entry;
	json_t *o;

	(void)state;
	open_policy("# lists\n"
		    "NETWORK,udp,native\n"
		    "  RULE-SET,few,tunnel!  # backup\n"
		    "DEFAULT,native\n");
	o = explain(&f);
	assert_string_equal(text_of(o, "destination"), "somewhere");
	assert_string_equal(text_of(o, "target"), "tunnel!");
	assert_string_equal(text_of(o, "file"), "office.rules");
	assert_string_equal(text_of(o, "text"), "RULE-SET,few,tunnel!");
	assert_int_equal(json_integer_value(json_object_get(o, "line")), 3);
	entry = json_object_get(o, "entry");
	assert_string_equal(text_of(entry, "file"), "few");
	assert_int_equal(json_integer_value(json_object_get(entry, "line")), 3);
	assert_int_equal(json_array_size(json_object_get(o, "considered")), 1);
	assert_int_equal(
	    json_integer_value(json_object_get(considered(o, 0), "line")), 2);
	assert_string_equal(
	    text_of(considered(o, 0), "text"), "NETWORK,udp,native");
	assert_int_equal(
	    json_integer_value(json_object_get(o, "considered_more")), 0);
	json_decref(o);
	close_policy();
}

static void
test_default(void **state)
{
	const struct flow f = {.dst = addr("10.2.3.4")};
	json_t *o;

	(void)state;
	open_policy("NETWORK,udp,tunnel\n");
	o = explain(&f);
	assert_true(json_is_null(json_object_get(o, "line")));
	assert_true(json_is_null(json_object_get(o, "entry")));
	assert_string_equal(text_of(o, "text"), "DEFAULT,native");
	json_decref(o);
	close_policy();
}

static void
test_considered_limit(void **state)
{
	const struct flow f = {.dst = addr("192.0.2.1")};
	static char text[EXPLAIN_CONSIDERED * 32];
	size_t at = 0;
	json_t *o;

	(void)state;
	for (unsigned i = 0; i < EXPLAIN_CONSIDERED + 2; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
		    "IP-CIDR,10.%u.%u.0/24,block\n", i / 256, i % 256);
	open_policy(text);
	o = explain(&f);
	assert_int_equal(json_array_size(json_object_get(o, "considered")),
	    EXPLAIN_CONSIDERED);
	assert_int_equal(
	    json_integer_value(json_object_get(o, "considered_more")), 2);
	assert_int_equal(
	    json_integer_value(json_object_get(considered(o, 0), "line")), 3);
	json_decref(o);
	close_policy();
}

static void
test_any_bytes(void **state)
{
	json_t *o = explain_text("a\xff\n", 3);

	(void)state;
	assert_string_equal(json_string_value(o), "a?\n");
	json_decref(o);
	o = explain_text("\xe6\x97\xa5", 3);
	assert_string_equal(json_string_value(o), "\xe6\x97\xa5");
	json_decref(o);
}

/* ---- for people ---- */

static void
expect_print(const json_t *o, const char *expected)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	explain_print(o, f);
	fclose(f);
	assert_string_equal(text, expected);
	free(text);
}

static void
test_print(void **state)
{
	const char *name = "backup.example.co.jp";
	const struct flow f = {.name = &name,
	    .names = 1,
	    .dst = addr("192.168.1.7"),
	    .proto = RULE_TCP};
	json_t *o;

	(void)state;
	open_policy("IP-CIDR,10.0.0.0/8,native\n"
		    "PROCESS-NAME,duplicati,native\n"
		    "DOMAIN-SUFFIX,example.co.jp,tunnel!\n");
	o = explain(&f);
	expect_print(o,
	    "tunnel!  by line 3: DOMAIN-SUFFIX,example.co.jp,tunnel!\n"
	    "  line 1: IP-CIDR,10.0.0.0/8,native\n"
	    "    no: 192.168.1.7 is not in 10.0.0.0/8\n"
	    "  line 2: PROCESS-NAME,duplicati,native\n"
	    "    no: --process is not given\n"
	    "line 2 would decide with --process duplicati (native)\n");
	json_decref(o);
	close_policy();
}

/* As policy_nft.c's, and their neighbours. */
static void
test_local(void **state)
{
	static const struct {
		const char *dst;
		bool local;
	} table[] = {
	    {"0.0.0.0", true},
	    {"0.0.0.1", false},
	    {"126.255.255.255", false},
	    {"127.0.0.1", true},
	    {"127.255.255.255", true},
	    {"128.0.0.0", false},
	    {"169.253.255.255", false},
	    {"169.254.0.0", true},
	    {"169.254.255.255", true},
	    {"169.255.0.0", false},
	    {"223.255.255.255", false},
	    {"224.0.0.0", true},
	    {"239.255.255.255", true},
	    {"240.0.0.0", false},
	    {"255.255.255.254", false},
	    {"255.255.255.255", true},
	    {"::", true},
	    {"::1", true},
	    {"::2", false},
	    {"1::", false},
	    {"fe7f::", false},
	    {"fe80::", true},
	    {"febf:ffff::1", true},
	    {"fec0::", false},
	    {"ff00::", true},
	    {"ff02::fb", true},
	};
	struct flow f = {.proto = RULE_UDP};
	json_t *o;

	(void)state;
	open_policy("DEFAULT,block\n");
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		bool local = table[i].local;

		f.dst = addr(table[i].dst);
		o = explain(&f);
		assert_int_equal(
		    json_is_true(json_object_get(o, "local")), local);
		assert_int_equal(
		    json_is_null(json_object_get(o, "line")), local);
		assert_string_equal(
		    text_of(o, "target"), local ? "native" : "block");
		if (local)
			expect_print(
			    o, "native   local, whatever the rules say\n");
		json_decref(o);
	}
	close_policy();
}

static void
test_print_list(void **state)
{
	const struct flow f = {.dst = addr("10.2.0.1")};
	json_t *o;

	(void)state;
	open_policy("RULE-SET,few,block\n");
	o = explain(&f);
	expect_print(o, "block    by line 1: RULE-SET,few,block\n"
			"         line 3 of few\n");
	json_object_set_new(o, "considered_more", json_integer(7));
	json_object_set_new(o, "text", json_string("\033[2J\177"));
	json_object_set_new(o, "entry", json_null());
	/* C5: what stands in a file does not drive the terminal. */
	expect_print(o, "block    by line 1: ?[2J?\n"
			"  7 lines before: no\n");
	json_object_set_new(o, "line", json_null());
	json_object_set_new(o, "considered_more", json_integer(0));
	expect_print(o, "block    by default: no line is about it\n");
	json_decref(o);
	close_policy();
}

static void
test_print_many_would(void **state)
{
	const struct flow f = {.dst = addr("10.2.0.1")};
	char text[512] = "", *printed = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&printed, &len);
	json_t *o;

	(void)state;
	for (unsigned i = 0; i < 7; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
		    "PROCESS-NAME,p%u,tunnel\n", i);
	open_policy(text);
	o = explain(&f);
	explain_print(o, to);
	fclose(to);
	assert_non_null(strstr(printed, "line 5 would decide"));
	assert_null(strstr(printed, "line 6 would decide"));
	assert_non_null(strstr(printed, "2 more lines would decide"));
	free(printed);
	json_decref(o);
	close_policy();
}

/* ---- no memory ---- */

static json_t *
make(const void *arg)
{
	return explain_json(rules, matcher, arg, "caf\xe9");
}

static void
test_alloc_failures(void **state)
{
	const struct flow f = {.dst = addr("10.2.3.4"), .proto = RULE_TCP};

	(void)state;
	open_policy("NETWORK,udp,native\n"
		    "UID,0,block\n"
		    "DOMAIN-SUFFIX,x.jp,native\n"
		    "PROCESS-NAME,x,block\n"
		    "RULE-SET,few,tunnel!\n");
	failing_json(make, &f);
	close_policy();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reasons),
	    cmocka_unit_test(test_reasons_of_conditions),
	    cmocka_unit_test(test_reason_of_ports_left),
	    cmocka_unit_test(test_reason_with_names),
	    cmocka_unit_test(test_does_not_spill),
	    cmocka_unit_test(test_unknown),
	    cmocka_unit_test(test_would),
	    cmocka_unit_test(test_object),
	    cmocka_unit_test(test_default),
	    cmocka_unit_test(test_considered_limit),
	    cmocka_unit_test(test_any_bytes),
	    cmocka_unit_test(test_print),
	    cmocka_unit_test(test_local),
	    cmocka_unit_test(test_print_list),
	    cmocka_unit_test(test_print_many_would),
	    cmocka_unit_test(test_alloc_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
