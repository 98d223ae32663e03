#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/firewall.h"

static struct ip_ifaddr
address(const char *text)
{
	struct ip_ifaddr a;

	assert_int_equal(ip_ifaddr_parse(&a, text, strlen(text)), 0);
	return a;
}

/* nft itself reads this text in tests/net/30-client.sh. */
static void
test_whole_body_R1(void **state)
{
	static const char body[] =
	    "chain guard {\n"
	    "type filter hook prerouting priority raw; policy accept;\n"
	    "iifname != { \"lo\", \"ukai0\" } ip daddr 10.66.0.2 drop\n"
	    "iifname != { \"lo\", \"ukai0\" } ip6 daddr fd66::2 drop\n"
	    "}\n"
	    "chain incoming {\n"
	    "type filter hook prerouting priority mangle; policy accept;\n"
	    "meta l4proto udp ct mark 0xca6c meta mark set ct mark\n"
	    "iifname \"ukai0\" meta nfproto ipv4 tcp flags & (syn | rst) == "
	    "syn tcp option maxseg size > 1380 tcp option maxseg size set "
	    "1380\n"
	    "iifname \"ukai0\" meta nfproto ipv6 tcp flags & (syn | rst) == "
	    "syn tcp option maxseg size > 1360 tcp option maxseg size set "
	    "1360\n"
	    "}\n"
	    "chain outgoing {\n"
	    "type filter hook postrouting priority mangle; policy accept;\n"
	    "meta l4proto udp meta mark 0xca6c ct mark set meta mark\n"
	    "oifname \"ukai0\" tcp flags & (syn | rst) == syn tcp option "
	    "maxseg size set rt mtu\n"
	    "}\n";
	const struct ip_ifaddr a[] = {
	    address("10.66.0.2/24"), address("fd66::2/64")};
	const struct firewall_conf c = {.ifname = "ukai0",
	    .mtu = 1420,
	    .mark = 51820,
	    .address = a,
	    .n = ARRAY_LEN(a)};
	struct text t = {0};

	(void)state;
	firewall_body(&t, &c);
	assert_false(t.failed);
	assert_string_equal(t.s, body);
	text_fini(&t);
}

/* As a client with "Table = auto" has it. */
static void
answering_body(struct text *t)
{
	const struct ip_ifaddr a[] = {
	    address("10.66.0.2/24"), address("fd66::2/64")};
	const struct firewall_conf c = {.ifname = "ukai0",
	    .sockets = true,
	    .mtu = 1420,
	    .mark = 51820,
	    .answer_mark = 0x1000000,
	    .answer_mask = 0xff000000,
	    .address = a,
	    .n = ARRAY_LEN(a)};

	firewall_body(t, &c);
	assert_false(t->failed);
}

static const char answers[] =
    "set asked0 {\n"
    "typeof ip saddr . udp sport . udp dport\n"
    "flags dynamic,timeout; size 65535; timeout 2m;\n"
    "}\n"
    "set asked1 {\n"
    "typeof ip6 saddr . udp sport . udp dport\n"
    "flags dynamic,timeout; size 65535; timeout 2m;\n"
    "}\n"
    "chain asked {\n"
    "type filter hook input priority security; policy accept;\n"
    "iifname \"ukai0\" ct direction original meta l4proto udp "
    "ip daddr 10.66.0.2 socket wildcard 1 update @asked0 "
    "{ ip saddr . udp sport . udp dport }\n"
    "iifname != \"ukai0\" ct direction original meta l4proto udp "
    "delete @asked0 { ip saddr . udp sport . udp dport }\n"
    "iifname \"ukai0\" ct direction original meta l4proto udp "
    "ip6 daddr fd66::2 socket wildcard 1 update @asked1 "
    "{ ip6 saddr . udp sport . udp dport }\n"
    "iifname != \"ukai0\" ct direction original meta l4proto udp "
    "delete @asked1 { ip6 saddr . udp sport . udp dport }\n"
    "}\n"
    "chain sources {\n"
    "type filter hook output priority raw; policy accept;\n"
    "meta mark 0 meta l4proto udp "
    "ip daddr . udp dport . udp sport @asked0 ip saddr set 10.66.0.2\n"
    "meta mark 0 meta l4proto udp "
    "ip6 daddr . udp dport . udp sport @asked1 ip6 saddr set fd66::2\n"
    "}\n"
    "chain answers {\n"
    "type route hook output priority mangle; policy accept;\n"
    "ct direction original accept\n"
    "ct mark & 0xff000000 == 0x1000000 "
    "meta mark set meta mark & 0xffffff | 0x1000000\n"
    "meta l4proto udp ct mark & 0xff000000 == 0x1000000 "
    "ip saddr 10.66.0.2 update @asked0 "
    "{ ip daddr . udp dport . udp sport }\n"
    "meta l4proto udp ct mark & 0xff000000 == 0x1000000 "
    "ip6 saddr fd66::2 update @asked1 "
    "{ ip6 daddr . udp dport . udp sport }\n"
    "}\n";

static void
test_answers(void **state)
{
	struct text t = {0};

	(void)state;
	answering_body(&t);
	assert_non_null(strstr(t.s, answers));
	text_fini(&t);
}

/* After our own datagrams' mark is back, before the MSS. */
static void
test_answers_incoming(void **state)
{
	static const char incoming[] =
	    "iifname \"ukai0\" ct direction original ct state new "
	    "ct mark set ct mark & 0xffffff | 0x1000000\n"
	    "iifname \"ukai0\" ct direction original "
	    "ct mark & 0xff000000 != { 0x0, 0x1000000 } "
	    "ct mark set ct mark & 0xffffff | 0x1000000\n"
	    "iifname != \"ukai0\" ct direction reply "
	    "ct mark & 0xff000000 == 0x1000000 "
	    "meta mark set meta mark & 0xffffff | 0x1000000\n";
	struct text t = {0};
	const char *at;

	(void)state;
	answering_body(&t);
	at = strstr(t.s, incoming);
	assert_non_null(at);
	assert_true(at > strstr(t.s, "meta mark set ct mark\n"));
	assert_true(at < strstr(t.s, "tcp option maxseg"));
	text_fini(&t);
}

static unsigned
count(const char *in, const char *what)
{
	unsigned n = 0;

	for (in = strstr(in, what); in != NULL; in = strstr(in + 1, what))
		n++;
	return n;
}

/* Without a mark the connections' marks are not ours to touch. */
static void
test_no_mark(void **state)
{
	const struct firewall_conf c = {.ifname = "wg", .mtu = 576};
	struct text t = {0};

	(void)state;
	firewall_body(&t, &c);
	assert_int_equal(count(t.s, "mark"), 0);
	assert_int_equal(count(t.s, "drop"), 0);
	assert_int_equal(count(t.s, "set 536\n"), 1);
	assert_int_equal(count(t.s, "set 516\n"), 1);
	text_fini(&t);
}

/* R1: each address is guarded once, whatever their number. */
static void
test_addresses_are_not_told_R2(void **state)
{
	static const struct ip_ifaddr own[] = {
	    {{FAMILY_V4, {10, 66, 0, 2}}, 32},
	    {{FAMILY_V6, {0xfd, 0x66, [15] = 2}}, 128},
	    {{FAMILY_V4, {10, 66, 0, 3}}, 32},
	};
	struct firewall_conf c = {
	    .ifname = "ukai0", .address = own, .n = ARRAY_LEN(own)};
	struct text t = {0};

	(void)state;
	firewall_arp(&t, &c, "ukai-ukai0");
	assert_string_equal(t.s,
	    "table arp ukai-ukai0 {\n"
	    "flags owner\n"
	    "chain asked {\n"
	    "type filter hook input priority filter; policy accept;\n"
	    "iifname != \"ukai0\" arp operation request "
	    "arp daddr ip 10.66.0.2 drop\n"
	    "iifname != \"ukai0\" arp operation request "
	    "arp daddr ip 10.66.0.3 drop\n"
	    "}\n}\n");
	text_fini(&t);
	c.address = &own[1];
	c.n = 1;
	firewall_arp(&t, &c, "ukai-ukai0");
	assert_int_equal(t.len, 0);
	text_fini(&t);
}

static void
test_many_addresses_R1(void **state)
{
	static struct ip_ifaddr a[300];
	struct firewall_conf c = {.ifname = "ukai0",
	    .mtu = 1420,
	    .answer_mark = 0x2000000,
	    .answer_mask = 0xff000000,
	    .address = a};
	char line[120], text[IP_ADDR_TEXT_MAX];

	(void)state;
	srand(30);
	for (size_t n = 0; n < ARRAY_LEN(a); n += 37) {
		struct text t = {0};

		for (size_t i = 0; i < n; i++) {
			bool v6 = rand() % 2;

			memset(&a[i], 0, sizeof(a[i]));
			a[i].addr.family = v6 ? FAMILY_V6 : FAMILY_V4;
			for (size_t k = 0; k < (v6 ? 16 : 4); k++)
				a[i].addr.b[k] = (uint8_t)rand();
		}
		c.n = n;
		firewall_body(&t, &c);
		for (size_t i = 0; i < n; i++) {
			snprintf(line, sizeof(line), "} %s daddr %s drop\n",
			    a[i].addr.family == FAMILY_V6 ? "ip6" : "ip",
			    ip_addr_format(&a[i].addr, text));
			assert_true(count(t.s, line) >= 1);
		}
		assert_int_equal(count(t.s, "drop\n"), n);
		assert_int_equal(count(t.s, "{"), count(t.s, "}"));
		assert_int_equal(count(t.s, "set asked"), n);
		assert_int_equal(count(t.s, "saddr set "), n);
		text_fini(&t);
	}
}

static void
test_table_name(void **state)
{
	static const struct {
		const char *ifname, *table;
	} row[] = {
	    {"ukai0", "ukai-ukai0"},
	    {"wg-office_1", "ukai-wg-office_1"},
	    {"Office", "ukai-office"},
	    {"a.b+c=d", "ukai-a_b_c_d"},
	    {"123456789abcdef", "ukai-123456789abcdef"},
	};
	char table[FIREWALL_TABLE_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		firewall_table(table, row[i].ifname);
		assert_string_equal(table, row[i].table);
	}
}

/* A kernel without nft's socket expression has rules all the same. */
static void
test_without_sockets(void **state)
{
	const struct ip_ifaddr a = {{FAMILY_V4, {10, 66, 0, 2}}, 32};
	const struct firewall_conf c = {.ifname = "ukai0",
	    .mtu = 1420,
	    .answer_mark = 1,
	    .answer_mask = 0xff,
	    .address = &a,
	    .n = 1};
	struct text t = {.s = NULL};

	(void)state;
	firewall_body(&t, &c);
	assert_null(strstr(t.s, "socket"));
	assert_non_null(strstr(t.s, "ip daddr 10.66.0.2 update @asked0 "));
	text_fini(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_without_sockets),
	    cmocka_unit_test(test_whole_body_R1),
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_answers_incoming),
	    cmocka_unit_test(test_no_mark),
	    cmocka_unit_test(test_addresses_are_not_told_R2),
	    cmocka_unit_test(test_many_addresses_R1),
	    cmocka_unit_test(test_table_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
