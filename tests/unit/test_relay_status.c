#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/plan.h"
#include "../../server/status.h"

static char *
printed(const char *json, int64_t now_s)
{
	json_t *o = json_loads(json, 0, NULL);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	status_print(o, now_s, f);
	fclose(f);
	json_decref(o);
	return text;
}

static void
test_print(void **state)
{
	char *t =
	    printed("{\"interface\":\"ukai0\",\"mtu\":1420,\"started\":1000,"
		    "\"listen_port\":51820,\"public_key\":\"KEY\","
		    "\"address\":\"10.66.0.1\",\"pool\":\"10.66.0.0/24\","
		    "\"global_address\":\"192.0.2.1\",\"uplink\":\"eth0\","
		    "\"client_to_client\":true,\"peers\":["
		    "{\"name\":\"office\",\"public_key\":\"A\","
		    "\"endpoint\":\"[2001:db8::2]:7\",\"last_handshake\":8000,"
		    "\"received_bytes\":1536,\"sent_bytes\":3221225472,"
		    "\"allowed_ips\":[\"10.66.0.2/32\",\"10.66.0.4/32\"]},"
		    "{\"name\":null,\"public_key\":\"B\",\"endpoint\":null,"
		    "\"last_handshake\":null,\"received_bytes\":0,"
		    "\"sent_bytes\":0,\"allowed_ips\":[]}],"
		    "\"drops\":{\"mac1\":3,\"cookie\":0,\"replayed\":1}}",
		8012);

	(void)state;
	assert_string_equal(t,
	    "interface         ukai0, MTU 1420, running for 116 min\n"
	    "UDP port          51820\n"
	    "public key        KEY\n"
	    "tunnel address    10.66.0.1, clients in 10.66.0.0/24\n"
	    "global address    192.0.2.1 by eth0\n"
	    "clients           2, may reach each other\n"
	    "\n"
	    "office\n"
	    "  key             A\n"
	    "  allowed IPs     10.66.0.2/32 10.66.0.4/32\n"
	    "  endpoint        [2001:db8::2]:7\n"
	    "  last handshake  12 s ago\n"
	    "  received, sent  1.5 KiB, 3.0 GiB\n"
	    "\n"
	    "B\n"
	    "  allowed IPs     none\n"
	    "  endpoint        not known yet\n"
	    "  last handshake  never\n"
	    "  received, sent  0 B, 0 B\n"
	    "\n"
	    "dropped           mac1 3, replayed 1\n");
	free(t);
}

/* What another version does not say, or says otherwise, ends nothing. */
static void
test_print_strange(void **state)
{
	static const char *const row[] = {"{}", "[]", "3", "{\"peers\":7}",
	    "{\"peers\":[3,null,{}],\"drops\":[1]}", "{\"interface\":[]}",
	    "{\"peers\":[{\"allowed_ips\":[7,null]}],\"drops\":{\"a\":\"b\"}}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		free(printed(row[i], 0));
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
	    cmocka_unit_test(test_print),
	    cmocka_unit_test(test_print_strange),
	    cmocka_unit_test(test_is_private),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
