#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../support/failing_json.h"
#include "client/mape/mape_status.h"
#include "io/tunnel_status.h"

#define NOW 1700000100

static struct ce_line line;

static struct mape_stats
example(void)
{
	struct mape_stats s = {.line = &line,
	    .link = "eth0",
	    .ce = {.out_packets = 1,
		.out_bytes = 2048,
		.in_packets = 3,
		.in_bytes = 4096,
		.direct = 5,
		.mtu = 1460,
		.nat = {.ports = 240,
		    .sessions = 300,
		    .sessions_max = 131072,
		    .hosts = 2},
		.inner = {.datagrams = 1},
		.outer = {.datagrams = 2}},
	    .address = {.state = CE_CLAIM_HELD, .announced = 3},
	    .wire = {.offload = true, .receive_dropped = 11, .split = 12}};

	line = (struct ce_line){
	    .rule = {.operator_name = "v6plus",
		.br = {.family = FAMILY_V6, .b = {0x20, [15] = 0x64}}},
	    .ce = {.ipv4 = {.addr = {.family = FAMILY_V4, .b = {192, 0, 2, 52}},
		       .bits = 32},
		.ports = {4, 8, 52},
		.address = {.family = FAMILY_V6, .b = {0x20, [15] = 1}}}};
	s.ce.nat.space[NAT44_TCP] = (struct nat44_space){.ports = 239,
	    .ports_peak = 240,
	    .sessions = 280,
	    .refused = 7,
	    .reclaimed = 8,
	    .busiest = {198, 51, 100, 10},
	    .busiest_port = 443,
	    .busiest_sessions = 239};
	s.ce.nat.space[NAT44_ICMP] = (struct nat44_space){.ports = 1,
	    .ports_peak = 1,
	    .sessions = 1,
	    .busiest = {198, 51, 100, 11},
	    .busiest_sessions = 1};
	s.ce.drop[MAP_DROP_NESTED] = 9;
	return s;
}

static void
test_json(void **state)
{
	struct mape_stats s = example();
	json_t *o = mape_status_json(&s), *tcp = json_object_get(o, "tcp");
	json_t *want = json_pack(
	    "{s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:i,s:b,s:i,s:i,s:i,s:i,s:i,s:i,s:i,"
	    "s:i,s:i,s:i}",
	    "interface", "ukai-map0", "link", "eth0", "operator", "v6plus",
	    "ipv4", "192.0.2.52", "psid", 52, "ce_ipv6", "2000::1", "br_ipv6",
	    "2000::64", "mtu", 1460, "offload", 1, "ports", 240, "sessions",
	    300, "sessions_max", 131072, "hosts", 2, "sent_packets", 1,
	    "sent_bytes", 2048, "received_packets", 3, "received_bytes", 4096,
	    "sent_direct", 5, "fragments_waiting", 3);
	const char *key;
	json_t *v;

	(void)state;
	assert_non_null(want);
	json_object_foreach(want, key, v)
	{
		if (!json_equal(json_object_get(o, key), v))
			fail_msg("%s", key);
	}
	/* These, "tcp", "udp", "icmp", "address", "wire" and "drops". */
	assert_int_equal(json_object_size(o), json_object_size(want) + 6);
	assert_int_equal(tunnel_status_number(tcp, "ports_in_use"), 239);
	assert_int_equal(tunnel_status_number(tcp, "ports_peak"), 240);
	assert_int_equal(tunnel_status_number(tcp, "sessions"), 280);
	assert_int_equal(tunnel_status_number(tcp, "mappings"), 0);
	assert_int_equal(tunnel_status_number(tcp, "refused"), 7);
	assert_int_equal(tunnel_status_number(tcp, "reclaimed"), 8);
	assert_true(json_is_null(
	    json_object_get(json_object_get(o, "udp"), "busiest")));
	assert_true(json_is_null(json_object_get(
	    json_object_get(json_object_get(o, "icmp"), "busiest"), "port")));
	v = json_object_get(o, "wire");
	assert_int_equal(tunnel_status_number(v, "receive_dropped"), 11);
	assert_int_equal(tunnel_status_number(v, "split"), 12);
	v = json_object_get(o, "drops");
	assert_int_equal(json_object_size(v), MAP_DROPS - 1);
	assert_int_equal(tunnel_status_number(v, "nested"), 9);
	v = json_object_get(o, "address");
	assert_string_equal(tunnel_status_text(v, "state", ""), "held");
	assert_true(json_is_null(json_object_get(v, "rival_mac")));
	assert_true(json_is_null(json_object_get(v, "rival_seen")));
	json_decref(want);
	json_decref(o);
}

static char *
print(const json_t *o)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	mape_status_print(o, NOW, f);
	fclose(f);
	return text;
}

static void
test_text(void **state)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 0xaa};
	struct mape_stats s = example();
	json_t *o;
	char *text;

	(void)state;
	s.address.rivals = 1;
	s.address.rival_wall_ns = (NOW - 12) * UK_NS_PER_S;
	memcpy(s.address.rival_mac, mac, 6);
	o = mape_status_json(&s);
	text = print(o);
	assert_non_null(
	    strstr(text, "192.0.2.52, 240 ports, by 2000::64 (v6plus)\n"));
	assert_non_null(strstr(text, "2000::1 on eth0, held\n"));
	assert_non_null(strstr(text,
	    "239 of 240 ports in use (240 at most), 280 sessions, 239 of them "
	    "to 198.51.100.10:443; 7 packets found no port\n"));
	assert_non_null(strstr(text, "1 of them to 198.51.100.11\n"));
	assert_non_null(strstr(text, "02:00:00:00:00:aa says"));
	assert_non_null(strstr(text, "12 s ago"));
	assert_non_null(strstr(text, "nested: 9\n"));
	assert_null(strstr(text, "spoofed"));
	assert_non_null(strstr(text, "too slow: 11\n"));
	assert_null(strstr(text, "would not take"));
	free(text);
	json_decref(o);
}

/* A status of another version, or of none. */
static void
test_text_of_anything(void **state)
{
	static const char *const row[] = {"null", "3", "[]", "{}",
	    "{\"tcp\":3,\"drops\":[],\"address\":\"x\",\"ports\":\"y\"}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		json_t *o = json_loads(row[i], JSON_DECODE_ANY, NULL);
		char *text = print(o);

		assert_non_null(o);
		assert_int_equal(text[0] == '\0', i < 3);
		free(text);
		json_decref(o);
	}
}

static json_t *
make(const void *s)
{
	return mape_status_json(s);
}

static void
test_allocation_failures(void **state)
{
	struct mape_stats s = example();

	(void)state;
	failing_json(make, &s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_text_of_anything),
	    cmocka_unit_test(test_allocation_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
