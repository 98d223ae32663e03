/* The relay's part of its status; the rest: test_tunnel_status.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/err.h"
#include "failing_json.h"
#include "../../server/status.h"

#define KEY1 "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define KEY2 "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define KEY3 "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

static const char file[] = "[Relay]\n"
			   "PrivateKey = " KEY1 "\n"
			   "Address = 10.66.0.1/24\n"
			   "AllowClientToClient = true\n"
			   "[Peer]\n"
			   "Name = office\n"
			   "PublicKey = " KEY2 "\n"
			   "AllowedIPs = 10.66.0.2/32\n"
			   "[Peer]\n"
			   "PublicKey = " KEY3 "\n"
			   "AllowedIPs = 10.66.0.3/32\n";
static struct server_conf conf;
static struct plan plan = {.uplink = 2, .uplink_name = "eth0"};

static struct status
example(void)
{
	struct wg_device_conf c;
	struct wg_device *dev;
	struct wg_key key;
	struct diag d;

	diag_init(&d, NULL);
	assert_int_equal(server_conf_parse(&conf, file, strlen(file), &d), 0);
	assert_int_equal(ip_addr_parse(&plan.global, "192.0.2.1", 9), 0);
	wg_device_conf_default(&c);
	dev = wg_device_new(&c);
	for (size_t i = conf.peers.n; i-- > 0;) {
		memcpy(
		    key.b, conf.peers.item[i].wg.public_key.b, sizeof(key.b));
		assert_non_null(wg_device_add(dev, &key));
	}
	return (struct status){
	    .tunnel = {.interface = "ukai0",
		.since_s = 1699999000,
		.mtu = 1420,
		.port = 51820,
		.stats = {.lanes = {.tun_malformed = 12},
		    .workers = 2,
		    .cipher = "openssl"},
		.device = dev},
	    .conf = &conf,
	    .plan = &plan,
	};
}

static void
fini(struct status *s)
{
	wg_device_free((struct wg_device *)(uintptr_t)s->tunnel.device);
	server_conf_fini(&conf);
}

static void
test_json(void **state)
{
	struct status s = example();
	json_t *want = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:b}", "pid",
	    (int)getpid(), "interface", "ukai0", "address", "10.66.0.1", "pool",
	    "10.66.0.0/24", "global_address", "192.0.2.1", "uplink", "eth0",
	    "client_to_client", 1);
	json_t *o = status_json(&s), *peers = json_object_get(o, "peers"), *v;
	const char *key;

	(void)state;
	assert_non_null(want);
	json_object_foreach(want, key, v)
	{
		assert_true(json_equal(json_object_get(o, key), v));
	}
	assert_int_equal(json_object_size(o), 18);
	assert_true(
	    json_is_null(json_object_get(json_array_get(peers, 0), "name")));
	assert_string_equal(
	    tunnel_status_text(json_array_get(peers, 1), "name", ""), "office");
	json_decref(o);
	plan.uplink = 0;
	o = status_json(&s);
	plan.uplink = 2;
	assert_true(json_is_null(json_object_get(o, "uplink")));
	json_decref(o);
	json_decref(want);
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
	    "  address      10.66.0.1, clients in 10.66.0.0/24\n"
	    "  MTU          1420\n"
	    "  UDP port     51820\n"
	    "  public key   none\n"
	    "  internet     as 192.0.2.1 by eth0\n"
	    "  clients      2, may reach each other\n"
	    "  peer         " KEY3 "\n"
	    "    endpoint       not known yet\n"
	    "    last handshake never\n"
	    "    received       0 B\n"
	    "    sent           0 B\n"
	    "  peer         office\n"
	    "    public key     " KEY2 "\n"
	    "    endpoint       not known yet\n"
	    "    last handshake never\n"
	    "    received       0 B\n"
	    "    sent           0 B\n"
	    "  dropped      interface-malformed 12\n");
	free(text);
	json_decref(o);
	fini(&s);
}

/* What another version does not say, or says otherwise, ends nothing. */
static void
test_text_of_anything(void **state)
{
	static const char *const row[] = {"{}", "[]", "3", "{\"peers\":7}",
	    "{\"uplink\":[],\"pool\":1,\"listen_port\":\"a\"}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		json_t *o = json_loads(row[i], JSON_DECODE_ANY, NULL);
		char *text = print(o);

		assert_non_null(o);
		assert_non_null(strstr(text, "?, clients in ?"));
		assert_non_null(strstr(text, "as ?, no route yet\n"));
		assert_non_null(strstr(text, "0, may not reach each other"));
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

static void
test_is_private(void **state)
{
	static const struct {
		const char *text;
		bool yes;
	} row[] = {
	    {"9.255.255.255", false},
	    {"10.0.0.0", true},
	    {"10.255.255.255", true},
	    {"11.0.0.0", false},
	    {"100.63.255.255", false},
	    {"100.64.0.0", true},
	    {"100.127.255.255", true},
	    {"100.128.0.0", false},
	    {"127.0.0.1", true},
	    {"169.254.0.1", true},
	    {"172.15.255.255", false},
	    {"172.16.0.0", true},
	    {"172.31.255.255", true},
	    {"172.32.0.0", false},
	    {"192.167.255.255", false},
	    {"192.168.0.1", true},
	    {"192.169.0.0", false},
	    {"192.0.2.1", false},
	    {"203.0.113.1", false},
	};
	struct ip_addr a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(
		    ip_addr_parse(&a, row[i].text, strlen(row[i].text)), 0);
		assert_int_equal(plan_is_private(&a), row[i].yes);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_text_of_anything),
	    cmocka_unit_test(test_allocation_failures),
	    cmocka_unit_test(test_is_private),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
