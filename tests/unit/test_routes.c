#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/failing_alloc.h"

#define calloc failing_calloc
#define free failing_free
#include "../../client/routes.c"
#undef calloc
#undef free

#define KEY1 "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define KEY2 "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

static struct client_conf conf;
static struct routes plan;

/* A configuration with these lines in its sections. */
static void
parse(const char *interface, const char *peer, const char *ukai)
{
	char text[4096];
	struct diag d;

	snprintf(text, sizeof(text),
	    "[Interface]\nPrivateKey = " KEY1 "\n"
	    "Address = 10.66.0.2/24\n%s\n"
	    "[Peer]\nPublicKey = " KEY2 "\n%s\n"
	    "[Ukai]\n%s\n",
	    interface, peer, ukai);
	diag_init(&d, "test.conf");
	if (client_conf_parse(&conf, text, strlen(text), &d) < 0) {
		diag_print(&d, "test", stderr);
		fail();
	}
}

/* The plan as text: "table mark valid v4 v6: ROUTE... | RULE...", but for the
 * rules of answers. */
static const char *
plan_text(void)
{
	static char out[2048];
	char prefix[IP_PREFIX_TEXT_MAX];
	size_t at = (size_t)snprintf(out, sizeof(out),
	    "%u %u%s%s%s:", (unsigned)plan.table, (unsigned)plan.mark,
	    plan.src_valid_mark ? " valid" : "", plan.all_v4 ? " all4" : "",
	    plan.all_v6 ? " all6" : "");

	for (size_t i = 0; i < plan.n; i++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, " %s",
		    ip_prefix_format(&plan.prefix[i], prefix));
	at += (size_t)snprintf(out + at, sizeof(out) - at, " |");
	for (size_t i = 0; i < plan.nrules; i++) {
		const struct netcfg_rule *r = &plan.rule[i];

		if (r->priority == ROUTES_PRIORITY_ANSWER)
			continue;
		assert_int_equal(r->suppress_prefixlength, -1);
		assert_string_equal(r->iif, "");
		assert_int_equal(r->from.addr.family, FAMILY_NONE);
		at += (size_t)snprintf(out + at, sizeof(out) - at, " v%u@%u%s",
		    r->family, (unsigned)r->priority, r->invert ? " not" : "");
		if (r->mask != 0) {
			assert_int_equal(r->mask, UINT32_MAX);
			at += (size_t)snprintf(out + at, sizeof(out) - at,
			    " mark %u", (unsigned)r->mark);
		}
		if (r->to.addr.family != FAMILY_NONE)
			at += (size_t)snprintf(out + at, sizeof(out) - at,
			    " to %s", ip_prefix_format(&r->to, prefix));
		at += (size_t)snprintf(
		    out + at, sizeof(out) - at, " -> %u", (unsigned)r->table);
	}
	return out;
}

static void
test_table_of_plans_R3_R5_R6(void **state)
{
	static const struct {
		const char *interface, *peer, *local, *plan;
	} row[] = {
	    {"", "", "", "51821 51821 valid: |"},
	    /* R3: before main. R6: only the mark is exempt, no address. */
	    {"", "AllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.1:51820", "",
		"51821 51821 valid all4: 0.0.0.0/0 | "
		"v4@20002 not mark 51821 -> 51821"},
	    {"", "AllowedIPs = ::/0, 0.0.0.0/0", "",
		"51821 51821 valid all4 all6: 0.0.0.0/0 ::/0 | "
		"v4@20002 not mark 51821 -> 51821 "
		"v6@20002 not mark 51821 -> 51821"},
	    {"", "AllowedIPs = 128.0.0.0/1, 0.0.0.0/1", "",
		"51821 51821 valid all4: 0.0.0.0/1 128.0.0.0/1 | "
		"v4@20002 not mark 51821 -> 51821"},
	    {"", "AllowedIPs = 8000::/1, ::/1", "",
		"51821 51821 valid all6: ::/1 8000::/1 | "
		"v6@20002 not mark 51821 -> 51821"},
	    /* Half of it is not all. */
	    {"", "AllowedIPs = 0.0.0.0/1, 2001:db8::/32", "",
		"51821 51821 valid: 0.0.0.0/1 2001:db8::/32 | "
		"v4@20001 not mark 51821 -> 51821 "
		"v6@20001 not mark 51821 -> 51821"},
	    {"FwMark = 7", "AllowedIPs = 10.0.0.0/8, 10.0.0.0/8", "",
		"51821 7 valid: 10.0.0.0/8 | v4@20001 not mark 7 -> 51821"},
	    /* R5: what is named stays, in families that are tunnelled; the
	     * subnet of an address does not stay by itself. */
	    {"", "AllowedIPs = 0.0.0.0/0",
		"LocalNetworks = 192.168.0.0/24, fd12::/16, 172.16.0.0/12",
		"51821 51821 valid all4: 0.0.0.0/0 | "
		"v4@19001 to 192.168.0.0/24 -> 254 "
		"v4@19001 to 172.16.0.0/12 -> 254 "
		"v4@20002 not mark 51821 -> 51821"},
	    {"Table = 1234", "AllowedIPs = 0.0.0.0/0",
		"LocalNetworks = 192.168.0.0/24", "1234 0: 0.0.0.0/0 |"},
	    {"Table = 1234\nFwMark = 9", "AllowedIPs = ::/0", "",
		"1234 9: ::/0 |"},
	    {"Table = off\nFwMark = 9", "AllowedIPs = 0.0.0.0/0", "", "0 9: |"},
	    /* Into main: the kernel makes the address' own route itself. */
	    {"Table = 254", "AllowedIPs = 10.66.0.0/24, 10.66.1.0/24", "",
		"254 0: 10.66.1.0/24 |"},
	    {"Table = 253", "AllowedIPs = 10.66.0.0/24", "",
		"253 0: 10.66.0.0/24 |"},
	    /* Routes: only these, once each, with their own rule. */
	    {"", "AllowedIPs = 0.0.0.0/0, ::/0",
		"Routes = 203.0.113.0/24, 198.51.100.0/24, 203.0.113.0/24",
		"51821 51821 valid: 198.51.100.0/24 203.0.113.0/24 | "
		"v4@20001 not mark 51821 -> 51821"},
	    {"", "AllowedIPs = 0.0.0.0/0, ::/0", "Routes = ::/0",
		"51821 51821 valid all6: ::/0 | v6@20002 not mark 51821 -> 51821"},
	    {"", "AllowedIPs = 0.0.0.0/0", "Routes = off", "51821 51821 valid: |"},
	    {"", "AllowedIPs = 0.0.0.0/0",
		"Routes = 10.0.0.0/8\nLocalNetworks = 10.9.0.0/16",
		"51821 51821 valid: 10.0.0.0/8 | v4@19001 to 10.9.0.0/16 -> "
		"254 v4@20001 not mark 51821 -> 51821"},
	    {"Table = 1234", "AllowedIPs = 0.0.0.0/0", "Routes = 10.0.0.0/8",
		"1234 0: 10.0.0.0/8 |"},
	    {"Table = off", "AllowedIPs = 0.0.0.0/0", "Routes = 10.0.0.0/8",
		"0 0: |"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		parse(row[i].interface, row[i].peer, row[i].local);
		assert_int_equal(routes_plan(&plan, &conf, "ukai0", 51821), 0);
		assert_string_equal(plan_text(), row[i].plan);
		routes_fini(&plan);
		client_conf_fini(&conf);
		assert_int_equal(alloc_live, 0);
	}
}

/* Rules of answers as text. */
static const char *
answers_text(void)
{
	static char out[512];
	size_t at = (size_t)snprintf(out, sizeof(out),
	    "%u 0x%x%s%s:", (unsigned)plan.answer_table,
	    (unsigned)plan.answer_mark, plan.answer_v4 ? " v4" : "",
	    plan.answer_v6 ? " v6" : "");

	for (size_t i = 0; i < plan.nrules; i++) {
		const struct netcfg_rule *r = &plan.rule[i];

		if (r->priority != ROUTES_PRIORITY_ANSWER)
			continue;
		/* Before all others, or they would not be asked. */
		assert_true(i == 0 || plan.rule[i - 1].priority ==
					  ROUTES_PRIORITY_ANSWER);
		assert_false(r->invert);
		assert_int_equal(r->suppress_prefixlength, -1);
		assert_int_equal(r->from.addr.family, FAMILY_NONE);
		assert_int_equal(r->to.addr.family, FAMILY_NONE);
		at += (size_t)snprintf(out + at, sizeof(out) - at,
		    " v%u%s%s 0x%x/0x%x -> %u", r->family,
		    r->iif[0] ? " iif " : "", r->iif, (unsigned)r->mark,
		    (unsigned)r->mask, (unsigned)r->table);
	}
	return out;
}

/* Whatever the routes are; only what the interface has addresses for; not
 * where the tables are the user's, nor where our own datagrams would look like
 * answers. */
static void
test_answers(void **state)
{
	static const struct {
		const char *interface, *peer, *ukai;
		uint32_t table;
		const char *answers;
	} row[] = {
	    {"", "", "", 51820,
		"52820 0x1000000 v4: "
		"v4 iif ukai0 0x1000000/0xff000000 -> 254 "
		"v4 0x1000000/0xff000000 -> 52820"},
	    {"Address = fd66::2/64", "AllowedIPs = 0.0.0.0/0", "Routes = off",
		51821,
		"52821 0x2000000 v4 v6: "
		"v4 iif ukai0 0x2000000/0xff000000 -> 254 "
		"v4 0x2000000/0xff000000 -> 52821 "
		"v6 iif ukai0 0x2000000/0xff000000 -> 254 "
		"v6 0x2000000/0xff000000 -> 52821"},
	    {"FwMark = 0xffffff", "AllowedIPs = 0.0.0.0/0",
		"LocalNetworks = 10.0.0.0/8", TABLE_END - 1,
		"53074 0xff000000 v4: "
		"v4 iif ukai0 0xff000000/0xff000000 -> 254 "
		"v4 0xff000000/0xff000000 -> 53074"},
	    {"FwMark = 0x1000000", "AllowedIPs = 0.0.0.0/0", "", 51820,
		"0 0x0:"},
	    {"FwMark = 0x80000007", "AllowedIPs = 0.0.0.0/0", "", 51820,
		"0 0x0:"},
	    {"Table = 1234", "AllowedIPs = 0.0.0.0/0", "", 51820, "0 0x0:"},
	    {"Table = off", "AllowedIPs = 0.0.0.0/0", "", 51820, "0 0x0:"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		parse(row[i].interface, row[i].peer, row[i].ukai);
		assert_int_equal(
		    routes_plan(&plan, &conf, "ukai0", row[i].table), 0);
		assert_string_equal(answers_text(), row[i].answers);
		routes_fini(&plan);
		client_conf_fini(&conf);
	}
	/* A name of full length. */
	parse("", "", "");
	assert_int_equal(
	    routes_plan(&plan, &conf, "123456789abcdef", 51820), 0);
	assert_string_equal(plan.rule[0].iif, "123456789abcdef");
	routes_fini(&plan);
	client_conf_fini(&conf);
	assert_int_equal(alloc_live, 0);
}

/* R5: which on-link networks are warned of. */
static void
test_taken_networks_R5(void **state)
{
	static const struct {
		const char *allowed, *local, *own, *network;
	} row[] = {
	    {"0.0.0.0/0", "10.9.0.0/16", "192.168.0.7/24", "192.168.0.0/24"},
	    {"0.0.0.0/0", "192.168.0.0/24", "192.168.0.7/24", NULL},
	    {"0.0.0.0/0", "192.168.0.0/16", "192.168.0.7/24", NULL},
	    /* Named only in part: the rest is still taken. */
	    {"0.0.0.0/0", "192.168.0.0/25", "192.168.0.7/24", "192.168.0.0/24"},
	    {"0.0.0.0/0", "10.9.0.0/16", "127.0.0.1/8", NULL},
	    {"0.0.0.0/0", "10.9.0.0/16", "192.0.2.1/32", NULL},
	    {"0.0.0.0/0", "10.9.0.0/16", "2001:db8::7/64", NULL},
	    {"10.0.0.0/8", "10.9.0.0/16", "192.168.0.7/24", NULL},
	    {"::/0", "10.9.0.0/16", "2001:db8::7/64", "2001:db8::/64"},
	    {"::/0", "2001:db8::/32", "2001:db8::7/64", NULL},
	    {"::/0", "10.9.0.0/16", "fe80::1/64", NULL},
	    {"::/0", "10.9.0.0/16", "::1/128", NULL},
	    {"::/0", "10.9.0.0/16", "2001:db8::7/128", NULL},
	};
	char allowed[64], local[64], text[IP_PREFIX_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ip_ifaddr own;
		struct ip_prefix p;

		snprintf(allowed, sizeof(allowed), "AllowedIPs = %s",
		    row[i].allowed);
		snprintf(
		    local, sizeof(local), "LocalNetworks = %s", row[i].local);
		parse("", allowed, local);
		assert_int_equal(routes_plan(&plan, &conf, "ukai0", 51820), 0);
		assert_int_equal(
		    ip_ifaddr_parse(&own, row[i].own, strlen(row[i].own)), 0);
		assert_int_equal(routes_take(&plan, &conf, &own, &p),
		    row[i].network != NULL);
		if (row[i].network != NULL)
			assert_string_equal(
			    ip_prefix_format(&p, text), row[i].network);
		routes_fini(&plan);
		client_conf_fini(&conf);
	}
}

/* Each prefix once and none lost, against a twin that compares each with
 * each. */
static void
test_random_prefixes(void **state)
{
	struct conf_wg_allowed list[60];
	struct conf_wg_peer peer[2] = {{.line = 1}, {.line = 2}};

	(void)state;
	srand(31);
	for (int round = 0; round < 300; round++) {
		size_t n = (size_t)rand() % ARRAY_LEN(list), distinct = 0;
		size_t first = n > 0 ? (size_t)rand() % n : 0;

		for (size_t i = 0; i < n; i++) {
			bool seen = false;

			memset(&list[i], 0, sizeof(list[i]));
			list[i].prefix.addr.family =
			    rand() % 2 ? FAMILY_V4 : FAMILY_V6;
			list[i].prefix.addr.b[0] = (uint8_t)(rand() % 8);
			list[i].prefix.bits = (uint8_t)(8 + rand() % 3);
			for (size_t k = 0; k < i; k++)
				seen |= memcmp(&list[k].prefix, &list[i].prefix,
					    sizeof(struct ip_prefix)) == 0;
			distinct += !seen;
		}
		peer[0].allowed = (struct conf_wg_allowed_list){list, first, 0};
		peer[1].allowed =
		    (struct conf_wg_allowed_list){list + first, n - first, 0};
		conf = (struct client_conf){.peers = {peer, 2, 2}};
		assert_int_equal(routes_plan(&plan, &conf, "ukai0", 51820), 0);
		assert_int_equal(plan.n, distinct);
		for (size_t i = 0; i < n; i++)
			assert_non_null(bsearch(&list[i].prefix, plan.prefix,
			    plan.n, sizeof(struct ip_prefix), compare));
		routes_fini(&plan);
	}
	assert_int_equal(alloc_live, 0);
}

static void
test_allocation_failures(void **state)
{
	int err = UK_ENOMEM;
	unsigned at;

	(void)state;
	parse("", "AllowedIPs = 0.0.0.0/0", "LocalNetworks = 10.0.0.0/8");
	for (at = 1; err == UK_ENOMEM; at++) {
		alloc_fail_at = at;
		err = routes_plan(&plan, &conf, "ukai0", 51820);
		assert_true(err == 0 || alloc_live == 0);
	}
	alloc_fail_at = 0;
	assert_int_equal(err, 0);
	assert_int_equal(at, 4);
	routes_fini(&plan);
	client_conf_fini(&conf);
	assert_int_equal(alloc_live, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table_of_plans_R3_R5_R6),
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_taken_networks_R5),
	    cmocka_unit_test(test_random_prefixes),
	    cmocka_unit_test(test_allocation_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
