#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/failing_alloc.h"
#include "core/bytes.h"
#include "core/err.h"

#define malloc failing_malloc
#define calloc failing_calloc
#define free failing_free
#include "../../server/nat.c"
#include "../../server/nat_difference.c"
#include "../../server/nat_ports.c"
#include "../../server/nat_update.c"
#include "core/conf_schema.c"
#undef malloc
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
		uint16_t listen, tls;
		struct server_port_range want[4];
		size_t nwant;
	} row[] = {
	    {{{0}}, 0, 51820, 0, {{1024, 51819}, {51821, 65535}}, 2},
	    {{{0}}, 0, 51820, 443, {{1024, 51819}, {51821, 65535}}, 2},
	    {{{0}}, 0, 2000, 3000, {{1024, 1999}, {2001, 2999}, {3001, 65535}},
		3},
	    {{{0}}, 0, 443, 0, {{1024, 65535}}, 1},
	    {{{0}}, 0, 1024, 1025, {{1026, 65535}}, 1},
	    {{{0}}, 0, 65535, 0, {{1024, 65534}}, 1},
	    {{{1, 65535}}, 1, 443, 0, {{0}}, 0},
	    {{{1024, 65535}}, 1, 443, 0, {{0}}, 0},
	    {{{1024, 65534}}, 1, 443, 0, {{65535, 65535}}, 1},
	    {{{1, 2000}}, 1, 443, 0, {{2001, 65535}}, 1},
	    /* Overlapping, adjacent, inside another, out of order. */
	    {{{9000, 65535}, {3000, 5000}, {5001, 6000}, {3500, 3600}}, 4, 443,
		0, {{1024, 2999}, {6001, 8999}}, 2},
	    {{{40000, 50000}, {50000, 65535}}, 2, 39999, 0, {{1024, 39998}}, 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct server_port_range item[4];
		struct server_port_ranges got, r = ranges(item, row[i].n);

		memcpy(item, row[i].reserved, sizeof(item));
		assert_int_equal(
		    nat_free_ports(&got, &r, row[i].listen, row[i].tls), 0);
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
		uint16_t tls = (uint16_t)(rand() % 65536);
		size_t k = 0;

		memset(taken, 0, sizeof(taken));
		memset(taken, 1, NAT_FIRST_PORT);
		taken[443] = taken[22] = taken[listen] = true;
		taken[tls] = true;
		for (size_t i = 0; i < n; i++) {
			unsigned first = (unsigned)(rand() % 65535 + 1);
			unsigned last = first + (unsigned)(rand() % 9000);

			last = last > 65535 ? 65535 : last;
			item[i].first = (uint16_t)first;
			item[i].last = (uint16_t)last;
			memset(taken + first, 1, last - first + 1);
		}
		assert_int_equal(nat_free_ports(&got, &r, listen, tls), 0);
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

static struct server_port_ranges no_ports;
static struct server_groups no_groups;

static struct nat_conf
conf(const struct server_port_ranges *r)
{
	struct nat_conf c = {.table = "t",
	    .tunnel = 7,
	    .uplink = 3,
	    .listen_port = 51820,
	    .tls_port = 443,
	    .reserved = r,
	    .groups = &no_groups};

	assert_int_equal(ip_ifaddr_parse(&c.address, "10.66.0.1/24", 12), 0);
	assert_int_equal(ip_addr_parse(&c.global, "192.0.2.1", 9), 0);
	return c;
}

static char *
body(const struct nat_conf *c)
{
	struct text t = {.s = NULL};
	struct nat *n;

	assert_int_equal(nat_new(&n, c), 0);
	assert_int_equal(nat_body(n, &t), 0);
	nat_free(n);
	return t.s;
}

static void
drop(char *text)
{
	text_fini(&(struct text){.s = text});
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

/* What must stand in the table, and before what (NULL: anywhere). */
static void
test_body(void **state)
{
	static const struct {
		const char *chain, *line, *stop;
	} row[] = {
	    /* R1 */
	    {"borders", "iif != { 1, 7 } ip daddr 10.66.0.0/24 drop\n", NULL},
	    {"borders", "iif != { 1, 7 } ip saddr 10.66.0.0/24 drop\n", NULL},
	    {"borders", "iif != { 1, 7 } ip saddr @routed drop\n", NULL},
	    {"borders", "iif 7 meta nfproto != ipv4 drop\n", NULL},
	    /* N1: the relay's ports are no forwards. */
	    {"to_clients",
		"ip daddr 192.0.2.1 tcp dport { 22, 80, 443, 8080-8089 } "
		"return\n",
		"dnat"},
	    {"to_clients",
		"ip daddr 192.0.2.1 udp dport { 80, 8080-8089, 51820 } "
		"return\n",
		"dnat"},
	    {"to_owner", "th dport != @reserved dnat", NULL},
	    /* N3 */
	    {"arriving", "iif 7 fib daddr type != unicast goto to_host\n",
		NULL},
	    {"input", "iif 7 goto to_host\n", NULL},
	    {"output", "oif 7 icmp type redirect drop\n", NULL},
	    {"to_host", "ip saddr != 10.66.0.0/24 ip saddr != @routed drop\n",
		"accept"},
	    {"to_host",
		"ip daddr 10.66.0.1 icmp type echo-request accept\ndrop\n",
		NULL},
	    {"outward", "ct status dnat drop\n", "\naccept"},
	    /* What a client may send, D6. */
	    {"outward", "ip saddr != 10.66.0.0/24 ip saddr != @routed drop\n",
		"accept"},
	    {"outward", "ct state invalid,untracked drop\n", "accept"},
	    {"outward", "meta l4proto != { icmp, tcp, udp } drop\n", "accept"},
	    {"outward", "ip daddr 169.254.0.0/16 drop\n", "\naccept"},
	    {"outward",
		"oif != 3 ip daddr { 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, "
		"192.168.0.0/16 } drop\n",
		"\naccept"},
	    {"outward", "ip daddr 10.66.0.0/24 drop\n", "\naccept"},
	    /* N4 */
	    {"outward", "oif 7 goto between\n", "ct status dnat"},
	    {"between", "ip daddr @routed accept\ndrop\n", NULL},
	    /* N5 */
	    {"inward", "ct state != new drop\n", "goto"},
	    {"inward",
		"ct status dnat goto to_published\n"
		"ip daddr @routed accept\ndrop\n",
		NULL},
	    {"to_published", "@targets accept\n", "drop"},
	    {"to_published", "@pairs accept\ndrop\n", NULL},
	    {"forward", "iif 7 goto outward\noif 7 goto inward\n", NULL},
	    /* Nothing leaves untranslated. */
	    {"shared", "drop\n", NULL},
	    {"owner_flows", "drop\n", NULL},
	    {"leaving", "meta nfproto ipv4 iif 7 goto from_client\n", NULL},
	};
	struct server_port_range item[] = {{8080, 8089}, {80, 80}};
	struct server_port_ranges r = ranges(item, 2);
	struct nat_conf c = conf(&r);
	char *t = body(&c);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		if (!holds(t, row[i].chain, row[i].line, row[i].stop))
			fail_msg("%s: %s", row[i].chain, row[i].line);
	drop(t);
}

/* N4: only asked for, and then only within the tunnel. */
static void
test_client_to_client(void **state)
{
	static const char line[] = "ip daddr 10.66.0.0/24 accept\n";
	struct nat_conf c = conf(&no_ports);
	char *t = body(&c);

	(void)state;
	assert_null(strstr(t, line));
	drop(t);
	c.client_to_client = true;
	t = body(&c);
	assert_true(holds(t, "between", line, "goto to_published"));
	assert_false(holds(t, "outward", line, NULL));
	drop(t);
}

/* ---- changes ---- */

static struct client_forward forwards[8][4];

static struct client
client(const char *name, uint8_t host, enum client_way way, const char *global)
{
	struct client c = {.way = way,
	    .networks = 1,
	    .network = {{{FAMILY_V4, {10, 66, 0, host}}, 32}},
	    .forward = forwards[host % 8]};

	snprintf(c.name, sizeof(c.name), "%s", name);
	if (global != NULL)
		assert_int_equal(
		    ip_addr_parse(&c.global, global, strlen(global)), 0);
	return c;
}

static void
add_port(struct client *c, uint8_t protocol, uint16_t first, uint16_t last,
    uint16_t target)
{
	c->forward[c->forwards++] =
	    (struct client_forward){protocol, first, last, target};
}

/* The commands from what n holds to these clients, which hold afterwards. */
static char *
change(struct nat *n, const struct client *const *c, size_t count,
    const struct server_port_ranges *in_use)
{
	const struct nat_view v = {c, count, in_use};
	struct text t = {.s = NULL};

	assert_int_equal(nat_update(n, &v, &t), 0);
	nat_settle(n, true);
	return t.s;
}

static void
expect(const char *text, const char *const *want)
{
	for (; *want != NULL; want++)
		if (text == NULL || strstr(text, *want) == NULL)
			fail_msg("no %s in\n%s", *want, text ? text : "");
}

static void
test_shared(void **state)
{
	static const char *const made[] = {"add element inet t forwards { ",
	    "192.0.2.1 . 6 . 8443 : 10.66.0.2 . 443",
	    "192.0.2.1 . 17 . 6000 : 10.66.0.2 . 7000",
	    "192.0.2.1 . 17 . 6001 : 10.66.0.2 . 7001",
	    "add element inet t forward_ranges "
	    "{ 192.0.2.1 . 6 . 5000-5015 : 10.66.0.2 }\n",
	    "add element inet t target_ranges { 10.66.0.2 . 6 . 5000-5015 }\n",
	    "10.66.0.2 . 17 . 7001",
	    /* Below 16 ports one by one. */
	    "192.0.2.1 . 6 . 9014 : 10.66.0.2 . 9014",
	    "flush chain inet t shared\n"
	    "add rule inet t shared meta l4proto icmp snat ip to 192.0.2.1 "
	    "fully-random\n"
	    "add rule inet t shared meta l4proto { tcp, udp } snat ip addr . "
	    "port to numgen random mod 64478 map { "
	    "0-3975 : 192.0.2.1 . 1024-4999, ",
	    " } fully-random\nadd rule inet t shared drop\n", NULL};
	static const char *const gone[] = {
	    "delete element inet t forward_ranges "
	    "{ 192.0.2.1 . 6 . 5000-5015 }\n",
	    "delete element inet t targets { ",
	    "numgen random mod 64511 map { 0-50795 : 192.0.2.1 . 1024-51819, "
	    "50796-64510 : 192.0.2.1 . 51821-65535 }",
	    NULL};
	struct client a = client("a", 2, CLIENT_SHARED, NULL);
	const struct client *all[] = {&a};
	struct nat_conf c = conf(&no_ports);
	struct nat *n;
	char *t;

	(void)state;
	add_port(&a, 6, 8443, 8443, 443);
	add_port(&a, 17, 6000, 6001, 7000);
	add_port(&a, 6, 5000, 5015, 5000);
	add_port(&a, 6, 9001, 9014, 9001);
	assert_int_equal(nat_new(&n, &c), 0);
	t = change(n, all, 1, NULL);
	expect(t, made);
	drop(t);
	t = change(n, all, 1, NULL);
	assert_null(t); /* nothing new, no commands */
	a.forwards = 0;
	t = change(n, all, 1, NULL);
	expect(t, gone);
	drop(t);
	nat_free(n);
}

static void
test_addresses(void **state)
{
	static const char *const made[] = {
	    "add element inet t exclusive { 192.0.2.9 : 10.66.0.3 }\n",
	    "add element inet t owner { 192.0.2.1 : 10.66.0.4 }\n",
	    "add element inet t pairs { 192.0.2.1 . 10.66.0.4,\n"
	    "192.0.2.9 . 10.66.0.3 }\n",
	    "add element inet t routed { 203.0.113.5 }\n",
	    "10.66.0.3 : 192.0.2.9", "10.66.0.5 : 203.0.113.5",
	    "10.66.0.16/28 : 192.0.2.9",
	    "add element inet t owner_sources { 10.66.0.4 }\n",
	    /* Its own address takes its forwards; a routed client has none. */
	    "add element inet t forwards { 192.0.2.9 . 6 . 2222 : "
	    "10.66.0.3 . 22 }\n",
	    "flush chain inet t owner_flows\n", NULL};
	struct client b = client("b", 3, CLIENT_EXCLUSIVE, "192.0.2.9");
	struct client o = client("o", 4, CLIENT_EXCLUSIVE, "192.0.2.1");
	struct client d = client("d", 5, CLIENT_ROUTED, "203.0.113.5");
	const struct client *all[] = {&b, &o, &d};
	struct nat_conf c = conf(&no_ports);
	struct nat *n;
	char *t;

	(void)state;
	b.networks = 4; /* the last two lie in others */
	b.network[1] = (struct ip_prefix){{FAMILY_V4, {10, 66, 0, 16}}, 28};
	b.network[2] = (struct ip_prefix){{FAMILY_V4, {10, 66, 0, 17}}, 32};
	b.network[3] = b.network[0];
	add_port(&b, 6, 2222, 2222, 22);
	add_port(&d, 6, 3333, 3333, 22);
	assert_int_equal(nat_new(&n, &c), 0);
	t = change(n, all, 3, NULL);
	expect(t, made);
	assert_null(strstr(t, "3333"));
	assert_null(strstr(t, "10.66.0.17"));
	drop(t);
	/* Not yet joined: nothing. */
	d.networks = b.networks = o.networks = 0;
	t = change(n, all, 3, NULL);
	expect(t, (const char *const[]){
		      "delete element inet t routed { 203.0.113.5 }\n", NULL});
	assert_null(strstr(t, "add element"));
	drop(t);
	nat_free(n);
}

static void
test_limits(void **state)
{
	static const char *const made[] = {
	    "add limit inet t u0a420005-800 { rate over 100000 bytes/second "
	    "burst 131072 bytes; }\n",
	    "add limit inet t d0a420005-800 {",
	    "add chain inet t c0a420005-9\n"
	    "add rule inet t c0a420005-9 ct count over 9 drop\n",
	    "203.0.113.5 : \"u0a420005-800\"", "10.66.0.5 : \"d0a420005-800\"",
	    "10.66.0.5 : jump c0a420005-9", NULL};
	static const char *const changed[] = {
	    "delete limit inet t u0a420005-800\n",
	    /* More than the kernel can count is no less a limit. */
	    "add limit inet t u0a420005-100000000 { rate over 12500000000 "
	    "bytes/second burst 131072 bytes; }\n",
	    NULL};
	struct client d = client("d", 5, CLIENT_ROUTED, "203.0.113.5");
	const struct client *all[] = {&d};
	struct nat_conf c = conf(&no_ports);
	struct nat *n;
	const char *removed;
	char *t;

	(void)state;
	d.rate_kbit = 800;
	d.connections = 9;
	assert_int_equal(nat_new(&n, &c), 0);
	t = change(n, all, 1, NULL);
	expect(t, made);
	/* Made before it is named. */
	assert_true(strstr(t, "add limit") < strstr(t, "limits_up"));
	drop(t);
	d.rate_kbit = UINT32_MAX;
	t = change(n, all, 1, NULL);
	expect(t, changed);
	assert_null(strstr(t, "c0a420005-9")); /* its count goes on */
	removed = strstr(t, "delete limit");
	assert_true(strstr(t, "delete element inet t limits_down") < removed);
	drop(t);
	nat_free(n);
}

/* N4 */
static void
test_groups(void **state)
{
	static struct server_name office[] = {
	    {"a", 1, 1}, {"b", 1, 1}, {"a", 1, 1}, {"nobody", 1, 1}};
	static struct server_name lab[] = {{"b", 1, 1}};
	static struct server_group item[] = {
	    {.members = {office, 4, 4}}, {.members = {lab, 1, 1}}};
	const struct server_groups groups = {item, 2, 2};
	struct client a = client("a", 2, CLIENT_ROUTED, "203.0.113.5");
	struct client b = client("b", 3, CLIENT_SHARED, NULL);
	struct client other = client("bb", 4, CLIENT_SHARED, NULL);
	const struct client *all[] = {&a, &b, &other};
	struct nat_conf c = conf(&no_ports);
	struct nat *n;
	char *t;

	(void)state;
	c.groups = &groups;
	t = body(&c);
	assert_true(holds(t, "between",
	    "ip saddr @group0 ip daddr @group0 accept\n"
	    "ip saddr @group1 ip daddr @group1 accept\ndrop\n",
	    NULL));
	drop(t);
	assert_int_equal(nat_new(&n, &c), 0);
	t = change(n, all, 3, NULL);
	expect(t,
	    (const char *const[]){"add element inet t group1 { 10.66.0.3 }\n",
		"add element inet t group0 { ", NULL});
	assert_null(strstr(t, "10.66.0.4"));
	assert_non_null(strstr(strstr(t, "group0"), "203.0.113.5"));
	assert_null(strstr(strstr(t, "group0") + 6, "group0"));
	drop(t);
	nat_free(n);
}

/* A change that did not hold is told again. */
static void
test_settle(void **state)
{
	struct client a = client("a", 2, CLIENT_ROUTED, "203.0.113.5");
	const struct client *all[] = {&a};
	const struct nat_view v = {all, 1, NULL};
	struct nat_conf c = conf(&no_ports);
	struct text t = {.s = NULL};
	struct nat *n;

	(void)state;
	assert_int_equal(nat_new(&n, &c), 0);
	for (unsigned i = 0; i < 2; i++) {
		text_clear(&t);
		assert_int_equal(nat_update(n, &v, &t), 0);
		assert_non_null(strstr(t.s, "routed { 203.0.113.5 }"));
		nat_settle(n, false);
	}
	assert_int_equal(nat_update(n, &v, &t), 0);
	nat_settle(n, true);
	text_clear(&t);
	assert_int_equal(nat_update(n, &v, &t), 0);
	assert_int_equal(t.len, 0);
	nat_settle(n, true);
	text_fini(&t);
	nat_free(n);
}

/* ---- ports: the rules' ranges against one flag a port ---- */

/* Flags of the ports that a chain's rule gives; their chances must add up. */
static void
read_ports(const char *text, const char *chain, bool given[65536])
{
	char begin[64];
	const char *at, *end;
	unsigned mod, sum = 0;

	memset(given, 0, 65536 * sizeof(*given));
	snprintf(begin, sizeof(begin), "add rule inet t %s meta l4proto { tcp",
	    chain);
	at = text != NULL ? strstr(text, begin) : NULL;
	if (at == NULL)
		return;
	end = strchr(at, '\n');
	assert_int_equal(sscanf(strstr(at, " mod "), " mod %u", &mod), 1);
	for (at = strstr(at, " . port");
	     (at = strstr(at + 4, "1 . ")) != NULL && at < end;) {
		unsigned first, last;

		assert_int_equal(sscanf(at, "1 . %u-%u", &first, &last), 2);
		assert_true(first <= last && last <= 65535);
		for (unsigned p = first; p <= last; p++, sum++)
			given[p] = true;
	}
	assert_int_equal(sum, mod);
}

/* N1, CVE-2021-3773: what others answer on is nobody's source port. */
static void
test_ports_twin_N1(void **state)
{
	static bool own[65536], shared[65536], mine[65536], got[65536];
	struct nat_conf c;

	(void)state;
	srand(3);
	for (int round = 0; round < 60; round++) {
		struct server_port_range reserved[3], used[3];
		struct server_port_ranges r = ranges(reserved, 3);
		struct server_port_ranges in_use = ranges(used, 3);
		struct client a = client("a", 2, CLIENT_SHARED, NULL);
		struct client o = client("o", 4, CLIENT_EXCLUSIVE, "192.0.2.1");
		const struct client *all[] = {&a, &o};
		struct nat *n;
		char *t;

		memset(own, 0, sizeof(own));
		memset(shared, 0, sizeof(shared));
		memset(mine, 0, sizeof(mine));
		own[22] = own[443] = own[51820] = own[0] = true;
		for (unsigned i = 0; i < 3; i++) {
			struct server_port_range *x = &reserved[i];
			unsigned from = (unsigned)(rand() % 60000 + 1);

			*x = (struct server_port_range){(uint16_t)from,
			    (uint16_t)(from + (unsigned)(rand() % 900))};
			memset(own + x->first, 1, x->last - x->first + 1u);
			x = &used[i];
			x->first = x->last = (uint16_t)(rand() % 65535 + 1);
			own[x->first] = true;
			from = (unsigned)(rand() % 64000 + 1);
			add_port(&a, 6, (uint16_t)from,
			    (uint16_t)(from + i * 300), (uint16_t)from);
			memset(shared + from, 1, i * 300 + 1);
			from = (unsigned)(rand() % 64000 + 1);
			add_port(
			    &o, 17, (uint16_t)from, (uint16_t)(from + i), 80);
			memset(mine + from, 1, i + 1);
		}
		c = conf(&r);
		assert_int_equal(nat_new(&n, &c), 0);
		t = change(n, all, 2, &in_use);
		read_ports(t, "shared", got);
		for (unsigned p = 0; p < 65536; p++)
			assert_int_equal(got[p], p >= NAT_SHARED_FIRST &&
						     !own[p] && !shared[p] &&
						     !mine[p]);
		read_ports(t, "owner_flows", got);
		for (unsigned p = 0; p < 65536; p++)
			assert_int_equal(got[p],
			    p < NAT_SHARED_FIRST && !own[p] && !shared[p]);
		drop(t);
		t = change(n, all + 1, 1, &in_use); /* nobody shares */
		read_ports(t, "owner_flows", got);
		for (unsigned p = 0; p < 65536; p++)
			assert_int_equal(got[p], !own[p]);
		drop(t);
		t = change(n, all, 1, &in_use); /* nobody owns */
		read_ports(t, "shared", got);
		for (unsigned p = 0; p < 65536; p++)
			assert_int_equal(got[p],
			    p >= NAT_FIRST_PORT && !own[p] && !shared[p]);
		assert_non_null(strstr(t, "add rule inet t owner_flows drop"));
		drop(t);
		nat_free(n);
	}
}

/* Every second port published: the widest gaps are taken. */
static void
test_many_gaps(void **state)
{
	static bool got[65536];
	static struct server_port_range item[5000];
	struct server_port_ranges r = ranges(item, ARRAY_LEN(item));
	struct client a = client("a", 2, CLIENT_SHARED, NULL);
	const struct client *all[] = {&a};
	struct nat_conf c = conf(&r);
	size_t count = 0;
	struct nat *n;
	char *t;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(item); i++)
		item[i].first = item[i].last =
		    (uint16_t)(1024 + 3 * i + (i % 5 == 0));
	assert_int_equal(nat_new(&n, &c), 0);
	t = change(n, all, 1, NULL);
	read_ports(t, "shared", got);
	for (unsigned p = 0; p < 65536; p++)
		count += got[p];
	for (size_t i = 0; i < ARRAY_LEN(item); i++)
		assert_false(got[item[i].first]);
	assert_true(count > 50000);
	assert_true(got[65535]);
	drop(t);
	nat_free(n);
}

static void
test_no_port_left(void **state)
{
	struct server_port_range item[] = {{1, 65535}};
	struct server_port_ranges r = ranges(item, 1);
	struct client a = client("a", 2, CLIENT_SHARED, NULL);
	struct client b = client("b", 3, CLIENT_EXCLUSIVE, "192.0.2.9");
	const struct client *all[] = {&b, &a};
	struct nat_view v = {all, 2, NULL};
	struct nat_conf c = conf(&r);
	struct text t = {.s = NULL};
	struct nat *n;

	(void)state;
	assert_int_equal(nat_new(&n, &c), 0);
	assert_int_equal(nat_update(n, &v, &t), UK_ELIMIT);
	nat_settle(n, false);
	v.n = 1; /* nobody who shares */
	assert_int_equal(nat_update(n, &v, &t), 0);
	nat_settle(n, true);
	text_fini(&t);
	nat_free(n);
}

/* ---- a naive table: lines "SET KEY" and "SET KEY : VALUE" ---- */

struct table {
	char line[400][80];
	size_t n;
};

static void
table_remove(struct table *t, const char *line)
{
	size_t len = strlen(line);

	for (size_t i = 0; i < t->n; i++) {
		if (strncmp(t->line[i], line, len) != 0 ||
		    (t->line[i][len] != '\0' &&
			strncmp(t->line[i] + len, " : ", 3) != 0))
			continue;
		memmove(t->line[i], t->line[--t->n], sizeof(t->line[0]));
		return;
	}
	fail_msg("%s is not there", line);
}

static void
table_add(struct table *t, const char *line)
{
	size_t len = strcspn(line, ":");

	assert_true(t->n < ARRAY_LEN(t->line));
	for (size_t i = 0; i < t->n; i++)
		if (strncmp(t->line[i], line, len) == 0 &&
		    (line[len] != '\0' || t->line[i][len] == '\0'))
			fail_msg("%s is there", line);
	snprintf(t->line[t->n++], sizeof(t->line[0]), "%s", line);
}

/* Elements, limits and chains; rules are not of interest. */
static void
table_run(struct table *t, const char *commands)
{
	while (commands != NULL && *commands != '\0') {
		char verb[16], what[16], set[40], line[120];
		size_t len = strcspn(commands, "\n");
		int skip = 0;

		assert_int_equal(sscanf(commands, "%15s %15s inet t %39s %n",
				     verb, what, set, &skip),
		    3);
		if (strcmp(what, "element") != 0) {
			snprintf(line, sizeof(line), "%s %s", what, set);
			if (strcmp(what, "rule") != 0 &&
			    strcmp(verb, "flush") != 0)
				(strcmp(verb, "add") == 0
					? table_add
					: table_remove)(t, line);
			commands += len + 1;
			continue;
		}
		commands += skip + 1; /* behind "{" */
		for (bool more = true; more;) {
			size_t key = strcspn(commands + 1, ",}");

			snprintf(line, sizeof(line), "%s %.*s", set,
			    (int)(commands[key + 1] == '}' ? key - 1 : key),
			    commands + 1);
			(strcmp(verb, "add") == 0 ? table_add : table_remove)(
			    t, line);
			more = commands[key + 1] == ',';
			commands += key + 2;
		}
		commands++;
	}
}

static int
compare_lines(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* A changed table is the one that would be made anew. */
static void
test_difference_twin(void **state)
{
	static struct table now, anew;
	static struct client_forward forward[6][4];
	struct nat_conf c = conf(&no_ports);
	struct nat *n;

	(void)state;
	srand(5);
	now.n = 0;
	assert_int_equal(nat_new(&n, &c), 0);
	for (int round = 0; round < 400; round++) {
		struct client item[6];
		const struct client *all[6];
		size_t count = (size_t)(rand() % 7);
		struct nat *fresh;
		char *t;

		for (unsigned i = 0; i < count; i++) {
			char global[20];

			snprintf(global, sizeof(global), "192.0.2.%u",
			    rand() % 4 == 0 && i == 0 ? 1 : 10 + i);
			item[i] = client("x", (uint8_t)(i + 2),
			    (enum client_way)(rand() % 3), global);
			item[i].forward = forward[i];
			for (unsigned k = (unsigned)(rand() % 4); k > 0; k--) {
				unsigned at = 2000 + i * 500 + k * 100;

				add_port(&item[i], rand() % 2 ? 6 : 17,
				    (uint16_t)at,
				    (uint16_t)(at + (unsigned)rand() % 20),
				    (uint16_t)(at + (unsigned)rand() % 2));
			}
			item[i].rate_kbit = (uint32_t)(rand() % 3);
			item[i].connections = (uint32_t)(rand() % 3);
			all[i] = &item[i];
		}
		t = change(n, all, count, NULL);
		table_run(&now, t);
		drop(t);
		anew.n = 0;
		assert_int_equal(nat_new(&fresh, &c), 0);
		t = change(fresh, all, count, NULL);
		table_run(&anew, t);
		drop(t);
		nat_free(fresh);
		qsort(now.line, now.n, sizeof(now.line[0]), compare_lines);
		qsort(anew.line, anew.n, sizeof(anew.line[0]), compare_lines);
		assert_int_equal(now.n, anew.n);
		for (size_t i = 0; i < now.n; i++)
			assert_string_equal(now.line[i], anew.line[i]);
	}
	nat_free(n);
}

static void
test_no_memory(void **state)
{
	struct client a = client("a", 2, CLIENT_SHARED, NULL);
	struct client o = client("o", 4, CLIENT_EXCLUSIVE, "192.0.2.1");
	const struct client *all[] = {&a, &o};
	const struct nat_view v = {all, 2, NULL};
	struct nat_conf c = conf(&no_ports);
	struct text t = {.s = NULL};
	unsigned steps = 0;
	struct nat *n;

	(void)state;
	add_port(&a, 6, 8443, 8443, 443);
	for (int err = UK_ENOMEM; err < 0; steps++) {
		alloc_live = 0;
		alloc_fail_at = steps + 1;
		n = NULL;
		err = nat_new(&n, &c);
		if (err == 0)
			err = nat_body(n, &t);
		if (err == 0)
			err = nat_update(n, &v, &t);
		if (n != NULL)
			nat_settle(n, err == 0);
		alloc_fail_at = 0;
		nat_free(n);
		text_clear(&t);
		assert_int_equal(alloc_live, 0);
		assert_true(err == 0 || err == UK_ENOMEM);
		assert_true(steps < 100);
	}
	assert_true(steps > 6);
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
	    cmocka_unit_test(test_shared),
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_groups),
	    cmocka_unit_test(test_settle),
	    cmocka_unit_test(test_ports_twin_N1),
	    cmocka_unit_test(test_many_gaps),
	    cmocka_unit_test(test_no_port_left),
	    cmocka_unit_test(test_difference_twin),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_table_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
