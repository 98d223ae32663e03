/* The client's part of its status; the rest: test_tunnel_status.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/status.h"
#include "core/err.h"
#include "failing_json.h"

#define KEY "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="

static const char file[] = "[Interface]\n"
			   "PrivateKey = " KEY "\n"
			   "Address = 10.66.0.2/24, fd66::2/64\n"
			   "DNS = 10.66.0.1, example.org, fd66::1\n"
			   "[Peer]\n"
			   "PublicKey = " KEY "\n"
			   "AllowedIPs = 0.0.0.0/0\n"
			   "Endpoint = relay.example.com:51820\n"
			   "[Ukai]\n"
			   "Routes = 198.51.100.0/24, 203.0.113.7\n";
static struct client_conf conf;

static struct status
example(void)
{
	struct wg_device_conf c;
	struct wg_device *dev;
	struct wg_peer *p;
	struct wg_key key = {{8}};
	struct diag d;

	diag_init(&d, NULL);
	assert_int_equal(client_conf_parse(&conf, file, strlen(file), &d), 0);
	wg_device_conf_default(&c);
	dev = wg_device_new(&c);
	assert_non_null(wg_device_add(dev, &key)); /* not in the file */
	memcpy(key.b, conf.peers.item[0].public_key.b, sizeof(key.b));
	p = wg_device_add(dev, &key);
	assert_non_null(p);
	assert_int_equal(
	    wg_peer_allow(dev, p, &conf.peers.item[0].allowed.item[0].prefix),
	    0);
	return (struct status){
	    .tunnel = {.interface = "ukai0",
		.since_s = 1699999000,
		.mtu = 1420,
		.mark = 0xca6c,
		.stats = {.lanes = {.tun_malformed = 12},
		    .workers = 2,
		    .cipher = "openssl"},
		.device = dev},
	    .table = 51820,
	    .answer_table = 52820,
	    .conf = &conf,
	};
}

static void
fini(struct status *s)
{
	wg_device_free((struct wg_device *)(uintptr_t)s->tunnel.device);
	client_conf_fini(&conf);
}

static void
test_json(void **state)
{
	struct status s = example();
	json_t *want =
	    json_pack("{s:s, s:s, s:i, s:i, s:[s,s], s:[s,s], s:[s,s], s:[s]}",
		"name", "ukai0", "interface", "ukai0", "table", 51820,
		"answer_table", 52820, "routes", "198.51.100.0/24",
		"203.0.113.7/32", "addresses", "10.66.0.2/24", "fd66::2/64",
		"dns", "10.66.0.1", "fd66::1", "dns_search", "example.org");
	json_t *o = status_json(&s), *peers = json_object_get(o, "peers"), *v;
	const char *key;

	(void)state;
	assert_non_null(want);
	json_object_foreach(want, key, v)
	{
		assert_true(json_equal(json_object_get(o, key), v));
	}
	assert_int_equal(json_object_size(o), 21);
	assert_true(json_is_null(json_object_get(o, "map_e")));
	assert_true(json_is_null(json_object_get(o, "policy")));
	assert_true(
	    json_is_null(json_object_get(json_array_get(peers, 0), "host")));
	assert_string_equal(
	    tunnel_status_text(json_array_get(peers, 1), "host", ""),
	    "relay.example.com");
	json_decref(want);
	json_decref(o);
	fini(&s);
}

static char *
print(const json_t *o)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	status_print(o, 1700000012, f);
	fclose(f);
	return text;
}

static void
test_text(void **state)
{
	struct status s = example();
	json_t *o = status_json(&s);
	char *text = print(o);

	(void)state;
	assert_string_equal(text,
	    "ukai0: up since 2023-11-14 21:56:40\n"
	    "  addresses    10.66.0.2/24, fd66::2/64\n"
	    "  MTU          1420\n"
	    "  routes       table 51820, mark 0xca6c\n"
	    "  routes to    198.51.100.0/24, 203.0.113.7/32\n"
	    "  answers      table 52820\n"
	    "  DNS          10.66.0.1, fd66::1\n"
	    "  DNS search   example.org\n"
	    "  peer         CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	    "    endpoint       not known yet\n"
	    "    last handshake never\n"
	    "    received       0 B\n"
	    "    sent           0 B\n"
	    "  peer         " KEY "\n"
	    "    endpoint       not known yet (relay.example.com)\n"
	    "    allowed IPs    0.0.0.0/0\n"
	    "    last handshake never\n"
	    "    received       0 B\n"
	    "    sent           0 B\n"
	    "  dropped      interface-malformed 12\n");
	free(text);
	json_decref(o);
	fini(&s);
}

/* Without Routes, with "Routes = off". */
static void
test_routes(void **state)
{
	struct status s = example();
	json_t *o;
	char *text;

	(void)state;
	conf.routes.list.n = 0;
	o = status_json(&s);
	assert_int_equal(json_array_size(json_object_get(o, "routes")), 0);
	text = print(o);
	assert_non_null(strstr(text, "  routes to    nothing\n"));
	free(text);
	json_decref(o);
	conf.routes.given = false;
	o = status_json(&s);
	assert_true(json_is_null(json_object_get(o, "routes")));
	text = print(o);
	assert_null(strstr(text, "routes to"));
	free(text);
	json_decref(o);
	fini(&s);
}

/* The policy's object is passed on as it is; its text: test_policy_status.c. */
static void
test_policy(void **state)
{
	struct status s = example();
	json_t *policy = json_pack("{s:s, s:i, s:b, s:[]}", "file",
	    "/etc/ukai/office.rules", "loaded", 1700000000, "live", 1, "rules");
	json_t *o;
	char *text;

	(void)state;
	o = status_json(&s);
	assert_true(json_is_null(json_object_get(o, "policy")));
	text = print(o);
	assert_null(strstr(text, "policy"));
	free(text);
	json_decref(o);
	assert_non_null(policy);
	s.policy = json_incref(policy);
	o = status_json(&s);
	assert_ptr_equal(json_object_get(o, "policy"), policy);
	text = print(o);
	assert_non_null(
	    strstr(text, "\n  policy       /etc/ukai/office.rules"));
	free(text);
	json_decref(o);
	assert_int_equal(policy->refcount, 1); /* taken, and given back */
	json_decref(policy);
	fini(&s);
}

/* An object of another version, or none at all, prints something. */
static void
test_text_of_anything(void **state)
{
	static const char *const row[] = {"{}", "[]", "\"x\"",
	    "{\"addresses\":[null],\"mtu\":\"a\",\"table\":-1,\"dns\":7}",
	    "{\"routes\":{\"a\":1},\"answer_table\":\"x\"}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		json_t *o = json_loads(row[i], JSON_DECODE_ANY, NULL);
		char *text = print(o);

		assert_non_null(o);
		assert_non_null(strstr(text, "  routes       none\n"));
		free(text);
		json_decref(o);
	}
}

static json_t *
make(const void *arg)
{
	return status_json(arg);
}

static void
test_allocation_failures(void **state)
{
	struct status s = example();

	(void)state;
	failing_json(make, &s);
	fini(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_routes),
	    cmocka_unit_test(test_policy),
	    cmocka_unit_test(test_text_of_anything),
	    cmocka_unit_test(test_allocation_failures),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
