#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/failing_alloc.h"
#include "core/err.h"

#define calloc failing_calloc
#define free failing_free
#include "../../server/nat.c"
#undef calloc
#undef free

static struct server_port_ranges
ranges(struct server_port_range *item, size_t n)
{
	return (struct server_port_ranges){item, n, n};
}

/* N1: what is reserved, and 22, 443 and our own port, is never free. */
static void
test_free_ports_table(void **state)
{
	static const struct {
		struct server_port_range reserved[4];
		size_t n;
		uint16_t listen;
		struct server_port_range want[4];
		size_t nwant;
	} row[] = {
	    {{{0}}, 0, 51820, {{1024, 51819}, {51821, 65535}}, 2},
	    {{{0}}, 0, 443, {{1024, 65535}}, 1},
	    {{{0}}, 0, 1024, {{1025, 65535}}, 1},
	    {{{0}}, 0, 65535, {{1024, 65534}}, 1},
	    {{{1, 65535}}, 1, 443, {{0}}, 0},
	    {{{1024, 65535}}, 1, 443, {{0}}, 0},
	    {{{1024, 65534}}, 1, 443, {{65535, 65535}}, 1},
	    {{{1, 2000}}, 1, 443, {{2001, 65535}}, 1},
	    /* Overlapping, adjacent, inside another, out of order. */
	    {{{9000, 65535}, {3000, 5000}, {5001, 6000}, {3500, 3600}}, 4, 443,
		{{1024, 2999}, {6001, 8999}}, 2},
	    {{{40000, 50000}, {50000, 65535}}, 2, 39999, {{1024, 39998}}, 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct server_port_range item[4];
		struct server_port_ranges got, r = ranges(item, row[i].n);

		memcpy(item, row[i].reserved, sizeof(item));
		assert_int_equal(nat_free_ports(&got, &r, row[i].listen), 0);
		assert_int_equal(got.n, row[i].nwant);
		for (size_t k = 0; k < got.n; k++) {
			assert_int_equal(
			    got.item[k].first, row[i].want[k].first);
			assert_int_equal(got.item[k].last, row[i].want[k].last);
		}
		failing_free(got.item);
	}
}

/* A naive twin: one flag a port. */
static void
test_free_ports_twin(void **state)
{
	static bool taken[65536];

	(void)state;
	srand(1);
	for (int round = 0; round < 300; round++) {
		struct server_port_range item[12];
		size_t n = (size_t)(rand() % 12);
		struct server_port_ranges got, r = ranges(item, n);
		uint16_t listen = (uint16_t)(rand() % 65535 + 1);
		size_t k = 0;

		memset(taken, 0, sizeof(taken));
		memset(taken, 1, NAT_FIRST_PORT);
		taken[443] = taken[22] = taken[listen] = true;
		for (size_t i = 0; i < n; i++) {
			unsigned first = (unsigned)(rand() % 65535 + 1);
			unsigned last = first + (unsigned)(rand() % 9000);

			last = last > 65535 ? 65535 : last;
			item[i].first = (uint16_t)first;
			item[i].last = (uint16_t)last;
			memset(taken + first, 1, last - first + 1);
		}
		assert_int_equal(nat_free_ports(&got, &r, listen), 0);
		for (unsigned port = 0; port <= 65535; port++) {
			while (k < got.n && port > got.item[k].last)
				k++;
			assert_int_equal(!taken[port],
			    k < got.n && port >= got.item[k].first);
		}
		/* Neither overlapping nor adjacent. */
		for (k = 1; k < got.n; k++)
			assert_true(
			    got.item[k].first > got.item[k - 1].last + 1);
		failing_free(got.item);
	}
}

static struct nat_conf
conf(const struct server_port_ranges *r)
{
	struct nat_conf c = {
	    .tunnel = 7, .uplink = 3, .listen_port = 51820, .reserved = r};

	assert_int_equal(ip_ifaddr_parse(&c.address, "10.66.0.1/24", 12), 0);
	assert_int_equal(ip_addr_parse(&c.global, "192.0.2.1", 9), 0);
	return c;
}

static char *
body(const struct nat_conf *c)
{
	struct text t = {.s = NULL};

	assert_int_equal(nat_body(&t, c), 0);
	return t.s;
}

/* The rules between "chain NAME {" and "}" hold line, before stop (NULL:
 * anywhere)? */
static bool
holds(const char *text, const char *chain, const char *line, const char *stop)
{
	char begin[64];
	const char *from, *to, *at;

	snprintf(begin, sizeof(begin), "chain %s {\n", chain);
	from = strstr(text, begin);
	assert_non_null(from);
	to = strstr(from, "\n}\n");
	assert_non_null(to);
	at = strstr(from, line);
	if (at == NULL || at > to)
		return false;
	return stop == NULL || (strstr(from, stop) > at);
}

static void
test_body(void **state)
{
	struct server_port_ranges none = ranges(NULL, 0);
	struct nat_conf c = conf(&none);
	char *t = body(&c);

	(void)state;
	/* R1 */
	assert_true(holds(t, "borders",
	    "iif != { 1, 7 } ip daddr 10.66.0.0/24 drop\n", NULL));
	assert_true(holds(t, "borders",
	    "iif != { 1, 7 } ip saddr 10.66.0.0/24 drop\n", NULL));
	assert_true(
	    holds(t, "borders", "iif 7 meta nfproto != ipv4 drop\n", NULL));
	/* N3 */
	assert_true(holds(t, "arriving",
	    "iif 7 fib daddr type != unicast goto to_host\n", NULL));
	assert_true(holds(t, "input", "iif 7 goto to_host\n", NULL));
	assert_true(
	    holds(t, "to_host", "ip saddr != 10.66.0.0/24 drop\n", "accept"));
	assert_true(holds(t, "to_host",
	    "ip daddr 10.66.0.1 icmp type echo-request accept\ndrop\n", NULL));
	/* What a client may send, D6; each before what accepts. */
	assert_true(
	    holds(t, "outward", "ip saddr != 10.66.0.0/24 drop\n", "accept"));
	assert_true(
	    holds(t, "outward", "ct state invalid,untracked drop\n", "accept"));
	assert_true(holds(t, "outward",
	    "meta l4proto != { icmp, tcp, udp } drop\n", "accept"));
	assert_true(
	    holds(t, "outward", "ip daddr 169.254.0.0/16 drop\n", "accept"));
	assert_true(
	    holds(t, "outward", "ip daddr 10.66.0.0/24 drop\n", "accept"));
	assert_true(holds(t, "outward",
	    "oif != { 3, 7 } ip daddr { 10.0.0.0/8, 100.64.0.0/10, "
	    "172.16.0.0/12, 192.168.0.0/16 } drop\n",
	    "accept"));
	/* N5 */
	assert_true(holds(t, "inward",
	    "meta nfproto ipv4 ct state established,related accept\ndrop\n",
	    NULL));
	assert_true(holds(
	    t, "forward", "iif 7 goto outward\noif 7 goto inward\n", NULL));
	text_fini(&(struct text){.s = t});
}

/* N4: only asked for, and then only within the tunnel. */
static void
test_client_to_client(void **state)
{
	static const char line[] = "ip daddr 10.66.0.0/24 oif 7 accept\n";
	struct server_port_ranges none = ranges(NULL, 0);
	struct nat_conf c = conf(&none);
	char *t = body(&c);

	(void)state;
	assert_false(holds(t, "outward", line, NULL));
	text_fini(&(struct text){.s = t});
	c.client_to_client = true;
	t = body(&c);
	assert_true(holds(t, "outward", line, "ip daddr 10.66.0.0/24 drop"));
	text_fini(&(struct text){.s = t});
}

/* N1, N2: ranges with their chances; every statement is fully random. */
static void
test_translation(void **state)
{
	struct server_port_range item[] = {
	    {1024, 39999}, {40010, 49999}, {50020, 59999}, {60001, 65535}};
	struct server_port_ranges r = ranges(item, 4);
	struct nat_conf c = conf(&r);
	char *t = body(&c);

	(void)state;
	assert_true(holds(t, "translate",
	    "meta l4proto icmp snat ip to 192.0.2.1 fully-random\n"
	    "meta l4proto { tcp, udp } numgen random mod 31 < 10 "
	    "snat ip to 192.0.2.1:40000-40009 fully-random\n"
	    "meta l4proto { tcp, udp } numgen random mod 21 < 20 "
	    "snat ip to 192.0.2.1:50000-50019 fully-random\n"
	    "meta l4proto { tcp, udp } "
	    "snat ip to 192.0.2.1:60000-60000 fully-random\n",
	    NULL));
	assert_true(holds(t, "leaving",
	    "iif 7 oif != 7 ip saddr 10.66.0.0/24 goto translate\n", NULL));
	text_fini(&(struct text){.s = t});
}

static void
test_no_port_left(void **state)
{
	struct server_port_range item[] = {{1, 65535}};
	struct server_port_ranges r = ranges(item, 1);
	struct nat_conf c = conf(&r);
	struct text t = {.s = NULL};

	(void)state;
	assert_int_equal(nat_body(&t, &c), UK_ELIMIT);
	text_fini(&t);
}

static void
test_no_memory(void **state)
{
	struct server_port_ranges none = ranges(NULL, 0);
	struct nat_conf c = conf(&none);
	struct text t = {.s = NULL};

	(void)state;
	for (unsigned i = 1; i <= 2; i++) {
		alloc_live = 0;
		alloc_fail_at = i;
		assert_int_equal(nat_body(&t, &c), UK_ENOMEM);
		assert_int_equal(alloc_live, 0);
	}
	alloc_fail_at = 0;
	t.failed = true;
	assert_int_equal(nat_body(&t, &c), UK_ENOMEM);
	assert_int_equal(alloc_live, 0);
	text_fini(&t);
}

/* C5: no byte of an interface's name can end the table's name. */
static void
test_table_name(void **state)
{
	static const char *const row[][2] = {
	    {"ukai0", "ukai-relay-ukai0"},
	    {"wg-a", "ukai-relay-wg-a"},
	    {"Wg.0", "ukai-relay-_g_0"},
	    {"a{};\"'$*\\#`", "ukai-relay-a__________"},
	    {"abcdefghijklmno", "ukai-relay-abcdefghijklmno"},
	};
	char name[NAT_TABLE_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		nat_table_name(name, row[i][0]);
		assert_string_equal(name, row[i][1]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_free_ports_table),
	    cmocka_unit_test(test_free_ports_twin),
	    cmocka_unit_test(test_body),
	    cmocka_unit_test(test_client_to_client),
	    cmocka_unit_test(test_translation),
	    cmocka_unit_test(test_no_port_left),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_table_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
