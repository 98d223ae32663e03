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
			   "AllowedIPs = 10.66.0.2/32\n";
static struct server_conf conf;
static struct plan plan = {.uplink = 2, .uplink_name = "eth0", .ports = 9};
static char folder[] = "/tmp/ukai-status.XXXXXX";

static const char *
not_reserved(void *arg, uint8_t protocol, uint16_t port)
{
	(void)arg;
	(void)protocol;
	(void)port;
	return NULL;
}

/* office, with a forward, and one that is invited. */
static struct registry *
example_registry(void)
{
	const struct registry_conf c = {.address = conf.address.ifaddr,
	    .global = plan.global,
	    .reserved = not_reserved};
	const struct registry_invitation i = {.name = "later", .hours = 1};
	struct client_forward f;
	struct registry *r;
	uint8_t secret[16];
	char path[64];
	struct diag d;
	size_t n;

	diag_init(&d, NULL);
	snprintf(path, sizeof(path), "%s/registry.db", folder);
	(void)unlink(path);
	assert_int_equal(registry_open(&r, path, &c, &d), 0);
	assert_int_equal(
	    registry_import(r, &conf.peers, 1700000000, &n, &d), 0);
	assert_int_equal(client_forward_parse(&f, "tcp/8443", "443", &d), 0);
	assert_int_equal(registry_forward_add(r, "office", &f, &d), 0);
	assert_int_equal(registry_keep(r, &d), 0);
	assert_int_equal(registry_invite(r, &i, 1700000000, secret, &d), 0);
	assert_int_equal(registry_keep(r, &d), 0);
	return r;
}

static void
add_peer(struct wg_device *dev, const char *text)
{
	struct wg_key key;

	assert_int_equal(value_parse_key_base64(key.b, text, strlen(text)), 0);
	assert_non_null(wg_device_add(dev, &key));
}

static struct status
example(void)
{
	struct wg_device_conf c;
	struct wg_device *dev;
	struct diag d;

	diag_init(&d, NULL);
	assert_int_equal(server_conf_parse(&conf, file, strlen(file), &d), 0);
	assert_int_equal(ip_addr_parse(&plan.global, "192.0.2.1", 9), 0);
	wg_device_conf_default(&c);
	dev = wg_device_new(&c);
	add_peer(dev, KEY3); /* by wg(8): no client */
	add_peer(dev, KEY2);
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
	    .registry = example_registry(),
	};
}

static void
fini(struct status *s)
{
	wg_device_free((struct wg_device *)(uintptr_t)s->tunnel.device);
	registry_close((struct registry *)(uintptr_t)s->registry);
	server_conf_fini(&conf);
}

static int
make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
remove_folder(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
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
	assert_int_equal(json_object_size(o), 23);
	assert_int_equal(tunnel_status_number(o, "nat_ports"), 9);
	assert_true(json_is_null(json_object_get(o, "tls_port")));
	assert_true(
	    json_is_null(json_object_get(json_array_get(peers, 0), "name")));
	assert_string_equal(
	    tunnel_status_text(json_array_get(peers, 1), "name", ""), "office");
	assert_true(
	    json_is_null(json_object_get(json_array_get(peers, 0), "way")));
	assert_string_equal(
	    tunnel_status_text(json_array_get(peers, 1), "way", ""), "shared");
	assert_string_equal(
	    tunnel_status_text(json_array_get(peers, 1), "global_address", ""),
	    "192.0.2.1");
	v = json_object_get(json_array_get(peers, 1), "forwards");
	assert_int_equal(
	    tunnel_status_number(json_array_get(v, 0), "target"), 443);
	v = json_array_get(json_object_get(o, "invited"), 0);
	assert_string_equal(tunnel_status_text(v, "name", ""), "later");
	assert_int_equal(tunnel_status_number(v, "expires"), 1700003600);
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
	    "  invited      1 more\n"
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
	    "    internet       192.0.2.1, shared\n"
	    "    published      tcp/8443 to 443\n"
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

static char *
print_clients(const json_t *o, uint64_t now_s)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	status_print_clients(o, now_s, f);
	status_print_forwards(o, "office", f);
	status_print_forwards(o, "later", f);
	fclose(f);
	return text;
}

static void
test_clients(void **state)
{
	struct status s = example();
	json_t *o = status_json(&s), *list = status_clients(o);
	char *text = print_clients(o, 1700000001);

	(void)state;
	assert_int_equal(json_array_size(list), 3);
	json_decref(list);
	list = status_forwards(o, NULL);
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(
	    tunnel_status_text(json_array_get(list, 0), "name", ""), "office");
	json_decref(list);
	assert_non_null(strstr(text, "\noffice "));
	assert_non_null(strstr(text, "never seen"));
	assert_non_null(strstr(text, " invited "));
	assert_non_null(strstr(text, "192.0.2.1       tcp/8443 to 443\n"));
	free(text);
	text = print_clients(o, 1700003600);
	assert_non_null(strstr(text, "invitation expired"));
	free(text);
	json_decref(o);
	o = json_object();
	text = print_clients(o, 0);
	assert_string_equal(text,
	    "no clients yet: ukai-relay invite NAME\n"
	    "nothing is published\n"
	    "nothing is published\n");
	free(text);
	json_decref(o);
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
	    cmocka_unit_test(test_clients),
	    cmocka_unit_test(test_allocation_failures),
	    cmocka_unit_test(test_is_private),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
