#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/diag.h"
#include "core/enrol.h"
#include "core/err.h"
#include "../support/failing_alloc.h"

#define KEY "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define OTHER "6J9qTqbGO0cJYBWm8kXzJlSjkQ2lK3xMbz2EdRAlDwA="

/* ---- request ---- */

static void
test_request(void **state)
{
	struct enrol_request r, again;
	uint8_t b[ENROL_REQUEST_LEN + 1] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(r.secret); i++)
		r.secret[i] = (uint8_t)(0x10 + i);
	assert_int_equal(
	    value_parse_key_base64(r.public_key, KEY, KEY_BASE64_LEN), 0);
	enrol_request_format(&r, b);
	assert_int_equal(b[0], 1);
	assert_int_equal(b[1] | b[2] | b[3], 0);
	assert_memory_equal(b + 4, r.secret, 16);
	assert_memory_equal(b + 20, r.public_key, 32);
	assert_int_equal(enrol_request_parse(&again, b, 52), 0);
	assert_memory_equal(&again, &r, sizeof(r));
	for (size_t len = 0; len <= sizeof(b); len++)
		assert_int_equal(enrol_request_parse(&again, b, len),
		    len == 52 ? 0 : UK_EMSGSIZE);
	for (size_t i = 0; i < 4; i++) {
		b[i] ^= 2;
		assert_int_equal(enrol_request_parse(&again, b, 52), UK_EPROTO);
		b[i] ^= 2;
	}
}

/* A key without a handshake would be a client that never comes; zeros would be
 * one that has not joined. */
static void
test_request_low_order(void **state)
{
	static const uint8_t order8[KEY_LEN] = {0xe0, 0xeb, 0x7a, 0x7c, 0x3b,
	    0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
	    0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05,
	    0x16, 0x5f, 0x49, 0xb8, 0x00};
	uint8_t b[ENROL_REQUEST_LEN] = {1};
	struct enrol_request r;

	(void)state;
	assert_int_equal(enrol_request_parse(&r, b, sizeof(b)), UK_EINVAL);
	b[20] = 1;
	assert_int_equal(enrol_request_parse(&r, b, sizeof(b)), UK_EINVAL);
	memcpy(b + 20, order8, sizeof(order8));
	assert_int_equal(enrol_request_parse(&r, b, sizeof(b)), UK_EINVAL);
	b[20]++;
	assert_int_equal(enrol_request_parse(&r, b, sizeof(b)), 0);
	/* The same key once more, in other bytes. */
	b[51] |= 0x80;
	assert_int_equal(enrol_request_parse(&r, b, sizeof(b)), UK_EINVAL);
}

/* ---- answer ---- */

static int
parse(struct enrol_answer *a, const char *text, struct diag *d)
{
	diag_init(d, NULL);
	return enrol_answer_parse(a, text, strlen(text), d);
}

static struct enrol_answer
example(void)
{
	static char policy[] = "DEFAULT,native\n\t\"\\ 迂回\n";
	struct enrol_answer a = {
	    .name = "office-pc-1", .mtu = 1420, .keepalive_s = 25};
	char scope[16];

	ip_ifaddr_parse(&a.address, "10.66.0.2/32", 12);
	value_parse_key_base64(a.public_key, KEY, KEY_BASE64_LEN);
	value_parse_key_base64(a.preshared_key, OTHER, KEY_BASE64_LEN);
	value_parse_endpoint(&a.endpoint[0], scope, "[2001:db8::1]:51820", 19);
	value_parse_endpoint(&a.endpoint[1], scope, "192.0.2.1:51820", 15);
	a.endpoints = 2;
	ip_prefix_parse(&a.network[0], "10.66.0.0/16", 12);
	a.networks = 1;
	ip_prefix_parse(&a.route[0], "0.0.0.0/0", 9);
	a.routes = 1;
	a.policy = policy;
	return a;
}

static const char example_json[] =
    "{\"name\":\"office-pc-1\",\"address\":\"10.66.0.2/32\","
    "\"public_key\":\"" KEY "\",\"preshared_key\":\"" OTHER "\","
    "\"endpoints\":[\"[2001:db8::1]:51820\",\"192.0.2.1:51820\"],"
    "\"mtu\":1420,\"keepalive\":25,\"networks\":[\"10.66.0.0/16\"],"
    "\"routes\":[\"0.0.0.0/0\"],"
    "\"policy\":\"DEFAULT,native\\n\\t\\\"\\\\ 迂回\\n\"}";

static void
test_known_answer(void **state)
{
	struct enrol_answer a = example(), r;
	struct text t = {.s = NULL};
	struct diag d;

	(void)state;
	assert_int_equal(enrol_answer_format(&a, &t), 0);
	assert_string_equal(t.s, example_json);
	assert_int_equal(parse(&r, t.s, &d), 0);
	assert_int_equal(d.n, 0);
	assert_string_equal(r.policy, a.policy);
	free(r.policy);
	r.policy = a.policy;
	assert_memory_equal(&r, &a, sizeof(r));
	text_fini(&t);
}

static void
test_refusals(void **state)
{
	static const char *const word[] = {
	    "", "used", "expired", "unknown", "busy", "failed"};
	struct enrol_answer r;
	struct text t = {.s = NULL};
	struct diag d;
	char want[32];

	(void)state;
	for (int s = ENROL_USED; s <= ENROL_FAILED; s++) {
		struct enrol_answer a = {.status = (enum enrol_status)s};

		text_clear(&t);
		snprintf(want, sizeof(want), "{\"error\":\"%s\"}", word[s]);
		assert_int_equal(enrol_answer_format(&a, &t), 0);
		assert_string_equal(t.s, want);
		assert_int_equal(parse(&r, want, &d), 0);
		assert_int_equal(r.status, s);
	}
	text_fini(&t);
	assert_int_equal(parse(&r, "{\"error\":\"moon\"}", &d), 0);
	assert_int_equal(r.status, ENROL_FAILED);
	assert_int_equal(parse(&r, "{\"error\":null}", &d), UK_EPROTO);
	assert_int_equal(parse(&r, "{\"error\":1}", &d), UK_EPROTO);
}

/* The example with one value in place of another; NULL: without the key. */
static int
with(struct enrol_answer *a, const char *key, const char *value)
{
	json_t *o = json_loads(example_json, 0, NULL), *v = NULL;
	struct diag d;
	char *text;
	int err;

	if (value != NULL) {
		v = json_loads(value, JSON_DECODE_ANY, NULL);
		assert_non_null(v);
		assert_int_equal(json_object_set_new(o, key, v), 0);
	} else
		json_object_del(o, key);
	text = json_dumps(o, 0);
	err = parse(a, text, &d);
	assert_int_equal(err < 0, d.errors == 1);
	if (err < 0) {
		static const struct enrol_answer empty;

		assert_non_null(strstr(d.entry[0].text, key));
		assert_memory_equal(a, &empty, sizeof(*a));
	}
	free(text);
	json_decref(o);
	return err;
}

/* Values that are allowed, and the nearest that are not (C5, C6). */
static void
test_values(void **state)
{
	static const struct {
		const char *key, *value;
		int err;
	} row[] = {
	    {"name", "\"a\"", 0},
	    {"name", "\"abcdefghijklmnopqrstuvwxyz012345\"", 0},
	    {"name", "\"abcdefghijklmnopqrstuvwxyz0123456\"", UK_EPROTO},
	    {"name", "\"\"", UK_EPROTO},
	    {"name", "\"A\"", UK_EPROTO},
	    {"name", "\"a\\nPostUp = x\"", UK_EPROTO},
	    {"name", "\"a/b\"", UK_EPROTO},
	    {"name", "7", UK_EPROTO},
	    {"name", NULL, UK_EPROTO},
	    {"address", "\"192.0.2.7\"", 0},
	    {"address", "\"192.0.2.7/24\"", 0},
	    {"address", "\"192.0.2.7/33\"", UK_EPROTO},
	    {"address", "\"127.0.0.1/32\"", UK_EPROTO},
	    {"address", "\"0.0.0.0/32\"", UK_EPROTO},
	    {"address", "\"224.0.0.1/32\"", UK_EPROTO},
	    {"address", "\"fd00::2/128\"", UK_EPROTO},
	    {"address", "\"192.0.2.7/32\\n\"", UK_EPROTO},
	    {"address", "[\"192.0.2.7/32\"]", UK_EPROTO},
	    {"address", "null", UK_EPROTO},
	    {"address", NULL, UK_EPROTO},
	    {"public_key", "\"" OTHER "\"", 0},
	    {"public_key", "\"" OTHER "=\"", UK_EPROTO},
	    {"public_key", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"",
		UK_EPROTO},
	    {"public_key", "null", UK_EPROTO},
	    {"public_key", NULL, UK_EPROTO},
	    {"preshared_key", "null", 0},
	    {"preshared_key", NULL, 0},
	    {"preshared_key", "\"x\"", UK_EPROTO},
	    {"preshared_key", "false", UK_EPROTO},
	    {"endpoints", "[\"192.0.2.1:1\"]", 0},
	    {"endpoints",
		"[\"192.0.2.1:1\",\"192.0.2.1:2\",\"192.0.2.1:3\",\"192.0.2.1:"
		"4\"]",
		0},
	    {"endpoints", "[]", UK_EPROTO},
	    {"endpoints",
		"[\"192.0.2.1:1\",\"192.0.2.1:2\",\"192.0.2.1:3\",\"192.0.2.1:"
		"4\",\"192.0.2.1:5\"]",
		UK_EPROTO},
	    {"endpoints", "[\"192.0.2.1:0\"]", UK_EPROTO},
	    {"endpoints", "[\"192.0.2.1\"]", UK_EPROTO},
	    {"endpoints", "[\"127.0.0.1:53\"]", UK_EPROTO},
	    {"endpoints", "[\"[::1]:53\"]", UK_EPROTO},
	    {"endpoints", "[\"[ff02::1]:53\"]", UK_EPROTO},
	    {"endpoints", "[\"[fe80::1]:53\"]", 0},
	    {"endpoints", "[\"[fe80::1%eth0]:53\"]", UK_EPROTO},
	    {"endpoints", "[\"[fe80::1%3]:53\"]", UK_EPROTO},
	    {"endpoints", "[\"relay.example.com:53\"]", UK_EPROTO},
	    {"endpoints", "[7]", UK_EPROTO},
	    {"endpoints", "\"192.0.2.1:1\"", UK_EPROTO},
	    {"endpoints", NULL, UK_EPROTO},
	    {"mtu", "0", 0},
	    {"mtu", "576", 0},
	    {"mtu", "65455", 0},
	    {"mtu", "null", 0},
	    {"mtu", NULL, 0},
	    {"mtu", "575", UK_EPROTO},
	    {"mtu", "65456", UK_EPROTO},
	    {"mtu", "-1", UK_EPROTO},
	    {"mtu", "1420.0", UK_EPROTO},
	    {"mtu", "\"1420\"", UK_EPROTO},
	    {"mtu", "66956", UK_EPROTO}, /* 1420 in 16 bits */
	    {"keepalive", "0", 0},
	    {"keepalive", "65535", 0},
	    {"keepalive", NULL, 0},
	    {"keepalive", "65536", UK_EPROTO},
	    {"keepalive", "-1", UK_EPROTO},
	    {"networks", "[]", 0},
	    {"networks", NULL, 0},
	    {"networks", "{}", UK_EPROTO},
	    {"networks", "[\"10.66.0.0/33\"]", UK_EPROTO},
	    {"networks", "[\"fd00::/64\"]", UK_EPROTO},
	    {"routes", "[\"198.51.100.7/24\",\"192.0.2.1\"]", 0},
	    {"routes", "null", 0},
	    {"routes", "[\"::/0\"]", UK_EPROTO},
	    {"routes", "[null]", UK_EPROTO},
	    {"policy", "null", 0},
	    {"policy", NULL, 0},
	    {"policy", "\"\"", 0},
	    {"policy", "\"a\\tb\\n\"", 0},
	    {"policy", "\"a\\r\\n\"", UK_EPROTO},
	    {"policy", "\"\\u001b[2J\"", UK_EPROTO},
	    {"policy", "\"\\u007f\"", UK_EPROTO},
	    {"policy", "\"\\u009b\"", UK_EPROTO},
	    {"policy", "\"\\u00a0\"", 0},
	    {"policy", "[]", UK_EPROTO},
	    {"later", "{\"a\":[1,2,{}]}", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct enrol_answer a;
		int err = with(&a, row[i].key, row[i].value);

		if (err != row[i].err)
			print_error("%s: %s\n", row[i].key, row[i].value);
		assert_int_equal(err, row[i].err);
		enrol_answer_fini(&a);
	}
}

static void
test_not_an_answer(void **state)
{
	static const char *const row[] = {"", "{", "[]", "null", "7", "{} x",
	    "{\"error\":\"used\",\"error\":\"busy\"}", "\"x\"",
	    "{\"a\":\"\\u0000\"}", "{\"a\":\"\xff\"}",
	    "HTTP/1.1 400 Bad Request\r\n\r\n"};
	struct enrol_answer a;
	struct diag d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(parse(&a, row[i], &d), UK_EPROTO);
		assert_int_equal(d.errors, 1);
	}
}

/* C2: what fills the limits is taken, one more is not. */
static void
test_limits(void **state)
{
	struct enrol_answer a = example(), r;
	struct text t = {.s = NULL};
	char *policy = malloc(ENROL_POLICY_MAX + 2);
	struct diag d;

	(void)state;
	assert_non_null(policy);
	memset(policy, 'x', ENROL_POLICY_MAX + 1);
	policy[ENROL_POLICY_MAX] = policy[ENROL_POLICY_MAX + 1] = '\0';
	a.policy = policy;
	a.routes = a.networks = ENROL_ROUTES_MAX;
	for (unsigned i = 0; i < ENROL_ROUTES_MAX; i++) {
		ip_prefix_parse(&a.route[i], "198.51.100.0/24", 15);
		ip_prefix_parse(&a.network[i], "10.66.0.0/16", 12);
	}
	assert_int_equal(enrol_answer_format(&a, &t), 0);
	assert_int_equal(parse(&r, t.s, &d), 0);
	assert_int_equal(r.routes, ENROL_ROUTES_MAX);
	assert_int_equal(strlen(r.policy), ENROL_POLICY_MAX);
	enrol_answer_fini(&r);

	assert_true(enrol_policy_ok(policy, ENROL_POLICY_MAX));
	policy[ENROL_POLICY_MAX] = 'x';
	assert_false(enrol_policy_ok(policy, ENROL_POLICY_MAX + 1));
	text_clear(&t);
	assert_int_equal(enrol_answer_format(&a, &t), 0);
	assert_int_equal(parse(&r, t.s, &d), UK_EPROTO);
	/* Newlines become two bytes each. */
	memset(policy, '\n', ENROL_POLICY_MAX);
	policy[ENROL_POLICY_MAX] = '\0';
	text_clear(&t);
	assert_int_equal(enrol_answer_format(&a, &t), UK_EMSGSIZE);
	assert_int_equal(parse(&r, t.s, &d), UK_EMSGSIZE);
	free(policy);
	text_fini(&t);
}

static void
test_one_route_too_many(void **state)
{
	struct text t = {.s = NULL};
	struct enrol_answer a;

	(void)state;
	for (size_t i = 0; i <= ENROL_ROUTES_MAX; i++)
		text_add(&t, "%s\"10.0.0.0/8\"", i == 0 ? "[" : ",");
	text_add(&t, "]");
	assert_int_equal(with(&a, "routes", t.s), UK_EPROTO);
	assert_int_equal(with(&a, "networks", t.s), UK_EPROTO);
	text_fini(&t);
}

static void
test_policy(void **state)
{
	(void)state;
	assert_true(enrol_policy_ok("DEFAULT,native\n", 15));
	assert_false(enrol_policy_ok("a\0b", 3));
	assert_false(enrol_policy_ok("\xff", 1));
	assert_false(enrol_policy_ok("\xc2", 1));
	assert_false(enrol_policy_ok("\xed\xa0\x80", 3)); /* a surrogate */
	assert_false(enrol_policy_ok("\r\n", 2));
}

/* Whole or not at all, whichever allocation of jansson fails; and the secret
 * (X3) is not left in what it frees, but for the copy that it drops itself when
 * it gets no memory for the string's head. */
static void
test_format_without_memory(void **state)
{
	struct enrol_answer a = example();
	struct text t = {.s = NULL};
	bool failed = true;
	int err;

	(void)state;
	json_set_alloc_funcs(failing_malloc, failing_free);
	alloc_secret = OTHER;
	for (unsigned n = 1; failed; n++) {
		text_clear(&t);
		alloc_fail_at = n;
		alloc_secret_seen = false;
		err = enrol_answer_format(&a, &t);
		failed = alloc_fail_at == 0;
		assert_int_equal(err, failed ? UK_ENOMEM : 0);
		alloc_fail_at = 0;
		assert_int_equal(alloc_live, 0);
	}
	assert_false(alloc_secret_seen);
	alloc_secret = NULL;
	json_set_alloc_funcs(malloc, free);
	assert_string_equal(t.s, example_json);
	text_fini(&t);
}

static void
test_parse_without_memory(void **state)
{
	struct enrol_answer a;
	bool failed = true;
	struct diag d;
	int err;

	(void)state;
	json_set_alloc_funcs(failing_malloc, failing_free);
	for (unsigned n = 1; failed; n++) {
		alloc_fail_at = n;
		err = parse(&a, example_json, &d);
		failed = alloc_fail_at == 0;
		alloc_fail_at = 0;
		assert_true(failed ? err < 0 : err == 0);
		assert_int_equal(alloc_live, 0);
		enrol_answer_fini(&a);
	}
	json_set_alloc_funcs(malloc, free);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_request),
	    cmocka_unit_test(test_request_low_order),
	    cmocka_unit_test(test_known_answer),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_not_an_answer),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_one_route_too_many),
	    cmocka_unit_test(test_policy),
	    cmocka_unit_test(test_format_without_memory),
	    cmocka_unit_test(test_parse_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
