#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/conf.h"
#include "client/join_text.h"
#include "core/err.h"

#define KEY "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define PSK "6J9qTqbGO0cJYBWm8kXzJlSjkQ2lK3xMbz2EdRAlDwA="
#define PRIVATE "UGxlYXNlIGRvIG5vdCB1c2UgdGhpcyBrZXkhISEhIWM="

static struct enrol_answer answer;
static struct endpoint via;
static uint8_t private_key[KEY_LEN];
static struct diag d;

static void
endpoint(struct endpoint *e, const char *text)
{
	char scope[16];

	assert_int_equal(value_parse_endpoint(e, scope, text, strlen(text)), 0);
}

static void
prefix(struct ip_prefix *p, const char *text)
{
	assert_int_equal(ip_prefix_parse(p, text, strlen(text)), 0);
}

static int
setup(void **state)
{
	(void)state;
	diag_init(&d, NULL);
	answer = (struct enrol_answer){
	    .name = "office-pc-1", .endpoints = 2, .keepalive_s = 25};
	ip_ifaddr_parse(&answer.address, "10.66.0.2/32", 12);
	value_parse_key_base64(answer.public_key, KEY, KEY_BASE64_LEN);
	value_parse_key_base64(private_key, PRIVATE, KEY_BASE64_LEN);
	endpoint(&answer.endpoint[0], "[2001:db8::1]:51820");
	endpoint(&answer.endpoint[1], "192.0.2.1:51821");
	endpoint(&via, "[2001:db8::1]:443");
	prefix(&answer.network[0], "10.66.0.0/16");
	prefix(&answer.route[0], "0.0.0.0/0");
	answer.networks = answer.routes = 1;
	return 0;
}

static void
expect(const char *want, const struct ip_prefix *local, size_t locals)
{
	const struct join_conf c = {
	    &answer, private_key, &via, local, locals, NULL};
	struct text t = {.s = NULL};
	struct client_conf conf;

	assert_int_equal(join_conf_format(&c, &t), 0);
	assert_string_equal(t.s, want);
	assert_int_equal(client_conf_parse(&conf, t.s, t.len, &d), 0);
	assert_int_equal(d.n, 0);
	client_conf_fini(&conf);
	text_fini(&t);
}

static void
test_usual(void **state)
{
	(void)state;
	expect("# office-pc-1, as the relay at [2001:db8::1]:443 calls this "
	       "PC.\n"
	       "# Written by ukai join; see ukai.conf(5).\n"
	       "\n"
	       "[Interface]\n"
	       "PrivateKey = " PRIVATE "\n"
	       "Address = 10.66.0.2/32\n"
	       "\n"
	       "[Peer]\n"
	       "PublicKey = " KEY "\n"
	       "Endpoint = [2001:db8::1]:51820\n"
	       "# Visitors of published ports come from anywhere.\n"
	       "AllowedIPs = 0.0.0.0/0\n"
	       "PersistentKeepalive = 25\n"
	       "\n"
	       "[Ukai]\n"
	       "# What takes the tunnel.\n"
	       "Routes = 0.0.0.0/0\n",
	    NULL, 0);
}

static void
test_everything(void **state)
{
	struct ip_prefix local[2];

	(void)state;
	value_parse_key_base64(answer.preshared_key, PSK, KEY_BASE64_LEN);
	answer.mtu = 1380;
	answer.keepalive_s = 0;
	endpoint(&via, "192.0.2.1:8443");
	prefix(&answer.route[0], "198.51.100.0/24");
	prefix(&answer.route[1], "203.0.113.7/32");
	prefix(&answer.route[2], "10.66.7.0/24"); /* in the network */
	prefix(&answer.route[3], "203.0.113.7/32");
	answer.routes = 4;
	prefix(&local[0], "192.168.0.0/24");
	prefix(&local[1], "192.168.7.0/24");
	expect("# office-pc-1, as the relay at 192.0.2.1:8443 calls this PC.\n"
	       "# Written by ukai join; see ukai.conf(5).\n"
	       "\n"
	       "[Interface]\n"
	       "PrivateKey = " PRIVATE "\n"
	       "Address = 10.66.0.2/32\n"
	       "MTU = 1380\n"
	       "\n"
	       "[Peer]\n"
	       "PublicKey = " KEY "\n"
	       "PresharedKey = " PSK "\n"
	       "Endpoint = 192.0.2.1:51821\n"
	       "# Visitors of published ports come from anywhere.\n"
	       "AllowedIPs = 0.0.0.0/0\n"
	       "\n"
	       "[Ukai]\n"
	       "# What takes the tunnel.\n"
	       "Routes = 198.51.100.0/24, 203.0.113.7/32, 10.66.0.0/16\n"
	       "LocalNetworks = 192.168.0.0/24, 192.168.7.0/24\n",
	    local, 2);
}

/* The policy says what takes the tunnel, not what the relay would have all
 * take. */
static void
test_policy(void **state)
{
	const struct join_conf c = {
	    .answer = &answer,
	    .private_key = private_key,
	    .via = &via,
	    .policy = "/etc/ukai/ukai0.rules",
	};
	struct text t = {.s = NULL};
	struct client_conf conf;

	(void)state;
	assert_int_equal(join_conf_format(&c, &t), 0);
	assert_int_equal(client_conf_parse(&conf, t.s, t.len, &d), 0);
	assert_int_equal(d.n, 0);
	assert_string_equal(conf.policy, "/etc/ukai/ukai0.rules");
	assert_int_equal(conf.routes.list.n, 1);
	assert_int_equal(conf.routes.list.item[0].prefix.bits, 16);
	client_conf_fini(&conf);
	text_fini(&t);
}

/* "Nothing" must not become "all of AllowedIPs". */
static void
test_no_routes(void **state)
{
	const struct join_conf c = {&answer, private_key, &via, NULL, 0, NULL};
	struct text t = {.s = NULL};
	struct client_conf conf;

	(void)state;
	answer.routes = answer.networks = 0;
	assert_int_equal(join_conf_format(&c, &t), 0);
	assert_int_equal(client_conf_parse(&conf, t.s, t.len, &d), 0);
	assert_true(conf.routes.given);
	assert_int_equal(conf.routes.list.n, 0);
	client_conf_fini(&conf);
	text_fini(&t);
}

static void
test_most_routes(void **state)
{
	const struct join_conf c = {&answer, private_key, &via, NULL, 0, NULL};
	struct text t = {.s = NULL};
	struct client_conf conf;

	(void)state;
	answer.routes = answer.networks = ENROL_ROUTES_MAX;
	for (unsigned i = 0; i < ENROL_ROUTES_MAX; i++) {
		answer.route[i] = (struct ip_prefix){
		    {FAMILY_V4, {198, 51, 100, (uint8_t)i}}, 32};
		answer.network[i] = (struct ip_prefix){
		    {FAMILY_V4, {198, 51, 101, (uint8_t)i}}, 32};
	}
	assert_int_equal(join_conf_format(&c, &t), 0);
	assert_int_equal(client_conf_parse(&conf, t.s, t.len, &d), 0);
	assert_int_equal(conf.routes.list.n, 2 * ENROL_ROUTES_MAX);
	client_conf_fini(&conf);
	text_fini(&t);
}

/* R7: the family that worked; where the relay has none of it, its first. */
static void
test_endpoint(void **state)
{
	(void)state;
	assert_ptr_equal(
	    join_endpoint(&answer, FAMILY_V6), &answer.endpoint[0]);
	assert_ptr_equal(
	    join_endpoint(&answer, FAMILY_V4), &answer.endpoint[1]);
	answer.endpoints = 1;
	assert_ptr_equal(
	    join_endpoint(&answer, FAMILY_V4), &answer.endpoint[0]);
}

static void
test_state(void **state)
{
	struct join_state s = {.token_hash = {1}}, r;
	char text[JOIN_STATE_TEXT_MAX + 1];
	size_t len;

	(void)state;
	memcpy(s.private_key, private_key, KEY_LEN);
	len = join_state_format(&s, text);
	assert_string_equal(text,
	    "ukai-joining 1 "
	    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= " PRIVATE "\n");
	assert_int_equal(strlen(text), len);
	assert_int_equal(join_state_parse(&r, text, len), 0);
	assert_memory_equal(&r, &s, sizeof(s));
	for (size_t n = 0; n < len; n++)
		assert_int_equal(join_state_parse(&r, text, n), UK_EPROTO);
	text[len] = '\n';
	assert_int_equal(join_state_parse(&r, text, len + 1), UK_EPROTO);
	for (size_t i = 0; i < len; i++) {
		char was = text[i];

		text[i] = '%';
		assert_int_equal(join_state_parse(&r, text, len), UK_EPROTO);
		text[i] = was;
	}
}

static void
test_token_hash(void **state)
{
	struct token t = {.port = 443, .v4 = {.family = FAMILY_V4}};
	uint8_t one[JOIN_HASH_LEN], other[JOIN_HASH_LEN];

	(void)state;
	join_token_hash(one, &t);
	join_token_hash(other, &t);
	assert_memory_equal(one, other, sizeof(one));
	t.secret[15] = 1;
	join_token_hash(other, &t);
	assert_memory_not_equal(one, other, sizeof(one));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_usual, setup),
	    cmocka_unit_test_setup(test_everything, setup),
	    cmocka_unit_test_setup(test_policy, setup),
	    cmocka_unit_test_setup(test_no_routes, setup),
	    cmocka_unit_test_setup(test_most_routes, setup),
	    cmocka_unit_test_setup(test_endpoint, setup),
	    cmocka_unit_test_setup(test_state, setup),
	    cmocka_unit_test(test_token_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
