#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/status.h"

static const struct wg_key own_key = {{7}}, peer_key = {{8}};
static struct wg_device_stats stats;
static struct ip_ifaddr address[2];
static struct conf_wg_dns dns[2];
static char domain[] = "example.org";
static struct ip_prefix allowed[2];
static struct status_peer peer[2];

static const struct conf_wg_addresses addresses = {address, 2, 2};
static const struct conf_wg_dns_list dns_list = {dns, 2, 2};

static struct status
example(void)
{
	ip_ifaddr_parse(&address[0], "10.66.0.2/24", 12);
	ip_ifaddr_parse(&address[1], "fd66::2/64", 10);
	ip_addr_parse(&dns[0].addr, "10.66.0.1", 9);
	dns[1].domain = domain;
	ip_prefix_parse(&allowed[0], "0.0.0.0/0", 9);
	ip_prefix_parse(&allowed[1], "::/0", 4);
	memset(peer, 0, sizeof(peer));
	peer[0].info.public_key = peer_key;
	ip_addr_parse(&peer[0].info.endpoint.addr, "2001:db8::2", 11);
	peer[0].info.endpoint.port = 51820;
	peer[0].info.session = true;
	peer[0].info.last_handshake_wall_ns = 1700000000 * UK_NS_PER_S + 5;
	peer[0].info.rx_bytes = 1536;
	peer[0].info.tx_bytes = UINT64_C(3) << 40;
	peer[0].info.keepalive_s = 25;
	peer[0].host = "relay.example.com";
	peer[0].allowed = allowed;
	peer[0].nallowed = 2;
	memset(&stats, 0, sizeof(stats));
	stats.handshakes = 4;
	stats.drop[WG_DROP_AUTH] = 3;
	stats.drop[WG_DROP_NO_PEER] = 12;
	return (struct status){
	    .name = "ukai0",
	    .since_s = 1699999000,
	    .mtu = 1420,
	    .mark = 0xca6c,
	    .table = 51820,
	    .port = 40000,
	    .public_key = &own_key,
	    .address = &addresses,
	    .dns = &dns_list,
	    .peer = peer,
	    .npeers = 2,
	    .device = &stats,
	    .tunnel = {.send_failed = 1, .tun_dropped = 2, .tun_malformed = 3},
	};
}

static const char *
dump(const json_t *o, const char *key)
{
	static char *last;

	free(last);
	last = json_dumps(json_object_get(o, key), JSON_ENCODE_ANY);
	return last != NULL ? last : "(none)";
}

static void
test_json(void **state)
{
	static const struct {
		const char *key, *value;
	} row[] = {
	    {"name", "\"ukai0\""},
	    {"since", "1699999000"},
	    {"mtu", "1420"},
	    {"listen_port", "40000"},
	    {"fwmark", "51820"},
	    {"table", "51820"},
	    {"public_key", "\"BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""},
	    {"addresses", "[\"10.66.0.2/24\", \"fd66::2/64\"]"},
	    {"dns", "[\"10.66.0.1\"]"},
	    {"dns_search", "[\"example.org\"]"},
	    {"handshakes", "4"},
	    {"cookies_sent", "0"},
	    {"send_failed", "1"},
	    {"tun_dropped", "2"},
	    {"tun_malformed", "3"},
	};
	static const struct {
		const char *key, *value[2];
	} peer_row[] = {
	    {"public_key",
		{"\"CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"",
		    "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""}},
	    {"host", {"\"relay.example.com\"", "null"}},
	    {"endpoint", {"\"[2001:db8::2]:51820\"", "null"}},
	    {"path", {"\"udp6\"", "null"}},
	    {"session", {"true", "false"}},
	    {"last_handshake", {"1700000000", "null"}},
	    {"received_bytes", {"1536", "0"}},
	    {"sent_bytes", {"3298534883328", "0"}},
	    {"keepalive", {"25", "0"}},
	    {"allowed_ips", {"[\"0.0.0.0/0\", \"::/0\"]", "[]"}},
	};
	struct status s = example();
	json_t *o = status_json(&s), *drops, *p;

	(void)state;
	assert_non_null(o);
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_string_equal(dump(o, row[i].key), row[i].value);
	assert_int_equal(json_object_size(o), ARRAY_LEN(row) + 2);
	for (size_t k = 0; k < 2; k++) {
		p = json_array_get(json_object_get(o, "peers"), k);
		for (size_t i = 0; i < ARRAY_LEN(peer_row); i++)
			assert_string_equal(
			    dump(p, peer_row[i].key), peer_row[i].value[k]);
		assert_int_equal(json_object_size(p), ARRAY_LEN(peer_row));
	}
	/* All reasons, also those of which there is nothing. */
	drops = json_object_get(o, "drops");
	assert_int_equal(json_object_size(drops), WG_DROP_COUNT);
	for (int i = 0; i < WG_DROP_COUNT; i++)
		assert_int_equal(json_integer_value(json_object_get(
				     drops, wg_drop_name((enum wg_drop)i))),
		    stats.drop[i]);
	json_decref(o);
}

static char *
print(const json_t *o, uint64_t now_s)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	status_print(o, now_s, f);
	fclose(f);
	return text;
}

static void
test_text(void **state)
{
	static const char want[] =
	    "ukai0: up since 2023-11-14 21:56:40\n"
	    "  addresses    10.66.0.2/24, fd66::2/64\n"
	    "  MTU          1420\n"
	    "  routes       table 51820, mark 0xca6c\n"
	    "  DNS          10.66.0.1\n"
	    "  DNS search   example.org\n"
	    "  peer         CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	    "    path           UDP over IPv6\n"
	    "    endpoint       [2001:db8::2]:51820 (relay.example.com)\n"
	    "    last handshake 12 s ago\n"
	    "    received       1.5 KiB\n"
	    "    sent           3.0 TiB\n"
	    "  peer         AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	    "    endpoint       not known yet\n"
	    "    last handshake never\n"
	    "    received       0 B\n"
	    "    sent           0 B\n"
	    "  dropped      %s 3, %s 12\n";
	struct status s = example();
	json_t *o = status_json(&s);
	char expected[2048];
	char *text = print(o, 1700000012);

	(void)state;
	snprintf(expected, sizeof(expected), want, wg_drop_name(WG_DROP_AUTH),
	    wg_drop_name(WG_DROP_NO_PEER));
	assert_string_equal(text, expected);
	free(text);
	json_decref(o);
}

/* An object of another version, or none at all, prints something. */
static void
test_text_of_anything(void **state)
{
	static const char *const row[] = {"{}", "[]", "\"x\"",
	    "{\"name\":1,\"peers\":[1,{\"path\":\"\"}],\"drops\":[],"
	    "\"addresses\":[null],\"since\":-1,\"mtu\":\"a\"}",
	    "{\"since\":9223372036854775807,\"peers\":[{\"last_handshake\":"
	    "9223372036854775807}]}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		json_t *o = json_loads(row[i], JSON_DECODE_ANY, NULL);
		char *text;

		assert_non_null(o);
		text = print(o, 1700000000);
		assert_true(strlen(text) > 0);
		free(text);
		json_decref(o);
	}
}

static void
test_numbers(void **state)
{
	static const struct {
		uint64_t n;
		const char *bytes;
	} row[] = {
	    {0, "0 B"},
	    {1023, "1023 B"},
	    {1024, "1.0 KiB"},
	    {1048524, "1023.9 KiB"},
	    {1048575, "1.0 MiB"},
	    {UINT64_C(1) << 30, "1.0 GiB"},
	    {UINT64_MAX, "16.0 EiB"},
	};
	static const struct {
		uint64_t s;
		const char *age;
	} age[] = {
	    {0, "0 s"},
	    {59, "59 s"},
	    {60, "1 min 0 s"},
	    {3599, "59 min 59 s"},
	    {3600, "1 h 0 min"},
	    {86399, "23 h 59 min"},
	    {90000, "1 d 1 h"},
	};
	char text[STATUS_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_string_equal(status_bytes(row[i].n, text), row[i].bytes);
	for (size_t i = 0; i < ARRAY_LEN(age); i++)
		assert_string_equal(status_age(age[i].s, text), age[i].age);
}

static unsigned allocations, fail_at;

static void *
failing(size_t size)
{
	return ++allocations == fail_at ? NULL : malloc(size);
}

/* Whole, or not at all. */
static void
test_allocation_failures(void **state)
{
	struct status s = example();
	unsigned whole = 0;
	json_t *o, *all = status_json(&s);

	(void)state;
	json_set_alloc_funcs(failing, free);
	for (fail_at = 1; whole == 0; fail_at++) {
		allocations = 0;
		o = status_json(&s);
		if (o != NULL) {
			assert_true(json_equal(o, all));
			whole = fail_at;
		}
		json_decref(o);
	}
	json_set_alloc_funcs(malloc, free);
	json_decref(all);
	assert_true(whole > 50);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_text_of_anything),
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_allocation_failures),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
