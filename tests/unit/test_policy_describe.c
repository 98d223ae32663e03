/* What a policy's tables are made of: the configuration, this host, and what an
 * earlier run knew. The host and its nftables are the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/mark.h"
#include "client/policy/policy_state.h"
#include "core/err.h"
#include "io/clock.h"
#include "io/tunnel.h"

/* ---- the host ---- */

static const char *const *gateways; /* ends with NULL */
static int gateways_err;

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text, strlen(text)), 0);
	return a;
}

int __wrap_netcfg_gateway_each(struct netcfg *n,
    bool (*visit)(void *arg, const struct ip_addr *gateway), void *arg);

int
__wrap_netcfg_gateway_each(struct netcfg *n,
    bool (*visit)(void *arg, const struct ip_addr *gateway), void *arg)
{
	(void)n;
	for (const char *const *g = gateways; g != NULL && *g != NULL; g++) {
		struct ip_addr a = addr(*g);

		if (!visit(arg, &a))
			break;
	}
	return gateways_err;
}

struct host_addr {
	unsigned ifindex;
	const char *text; /* NULL ends them */
};
static const struct host_addr *host;

int __wrap_netcfg_addr_each(struct netcfg *n,
    bool (*visit)(
	void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits),
    void *arg);

int
__wrap_netcfg_addr_each(struct netcfg *n,
    bool (*visit)(
	void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits),
    void *arg)
{
	(void)n;
	for (const struct host_addr *h = host; h && h->text; h++) {
		struct ip_addr a = addr(h->text);

		if (!visit(arg, h->ifindex, &a, 64))
			break;
	}
	return 0;
}

unsigned
tunnel_ifindex(const struct tunnel *t)
{
	(void)t;
	return 9;
}

struct uk_time
clock_now(void)
{
	return (struct uk_time){.mono_ns = 5 * UK_NS_PER_S};
}

/* ---- the rest of a policy ---- */

uint16_t
dns_forward_port(const struct dns_forward *f)
{
	return f != NULL ? 5353 : 0;
}

unsigned
programs_class(void *arg, const char *program)
{
	return strcmp(program, "rclone") == 0 ? *(unsigned *)arg : CLASS_NONE;
}

const char *
policy_kernel_guard(const struct policy_kernel *k)
{
	(void)k;
	return "ukai-t0-guard";
}

/* What the guard of an earlier run has. */
static const struct element {
	const char *set;
	uint8_t len;
	const char *name; /* NULL: no comment */
	uint8_t key[16];
} * guard;
static size_t elements;

int
hostfw_sets_each(struct hostfw *h, const char *table,
    bool (*visit)(void *arg, const char *set), void *arg)
{
	(void)h;
	assert_string_equal(table, "ukai-t0-guard");
	for (size_t i = 0; i < elements; i++) {
		if (i > 0 && strcmp(guard[i - 1].set, guard[i].set) == 0)
			continue;
		if (!visit(arg, guard[i].set))
			break;
	}
	return 0;
}

int
hostfw_elements_each(struct hostfw *h, const char *table, const char *set,
    bool (*visit)(
	void *arg, const uint8_t *key, size_t key_len, const char *comment),
    void *arg)
{
	(void)h;
	assert_string_equal(table, "ukai-t0-guard");
	for (size_t i = 0; i < elements; i++)
		if (strcmp(guard[i].set, set) == 0 &&
		    !visit(arg, guard[i].key, guard[i].len, guard[i].name))
			break;
	return 0;
}

/* ---- an example ---- */

#define KEY "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define KEY2 "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define HEAD                                                                   \
	"[Interface]\n"                                                        \
	"PrivateKey = " KEY "\n"                                               \
	"Address = 10.66.0.2/24, fd66::2/64\n"                                 \
	"DNS = 10.66.0.1, example.org, fd66::1\n"                              \
	"[Peer]\n"                                                             \
	"PublicKey = " KEY "\n"                                                \
	"AllowedIPs = 0.0.0.0/0\n"
#define UKAI "[Ukai]\nPolicy = /p\n"

struct fixture {
	struct client_conf conf;
	struct routes routes;
	struct rules *rules;
	struct compiled c;
	struct policy p;
};

static struct fixture *
make(const char *file)
{
	static const char rules[] = "DOMAIN,a.example,tunnel!\n"
				    "DOMAIN-SUFFIX,b.example,tunnel\n"
				    "DEFAULT,native\n";
	static const struct rules_reader no_lists;
	struct fixture *f = calloc(1, sizeof(*f));
	struct diag d;

	diag_init(&d, NULL);
	assert_int_equal(
	    client_conf_parse(&f->conf, file, strlen(file), &d), 0);
	assert_int_equal(
	    routes_plan(&f->routes, &f->conf, "t0", ROUTES_TABLE_FIRST), 0);
	assert_int_equal(rules_parse(&f->rules, "t.rules", rules, strlen(rules),
			     &no_lists, RULES_LINUX, &d),
	    0);
	f->c.rules = f->rules;
	assert_int_equal(matcher_new(&f->c.matcher, f->rules), 0);
	assert_int_equal(slots_new(&f->c.slots, f->rules, NULL), 0);
	assert_int_equal(
	    bindings_new(&f->p.bindings, f->c.matcher, f->c.slots), 0);
	f->p.s = (struct policy_setup){
	    .name = "t0",
	    .names = "/nonexistent/t0.names",
	    .conf = &f->conf,
	    .routes = &f->routes};
	f->p.now = &f->c;
	return f;
}

static void
fini(struct fixture *f)
{
	bindings_free(f->p.bindings);
	slots_free(f->c.slots);
	matcher_free(f->c.matcher);
	rules_free(f->rules);
	routes_fini(&f->routes);
	client_conf_fini(&f->conf);
	free(f->p.allowed);
	free(f->p.local);
	free(f->p.network);
	free(f->p.known);
	free(f->p.link);
	free(f);
}

static int
setup(void **state)
{
	(void)state;
	gateways = NULL;
	gateways_err = 0;
	host = NULL;
	guard = NULL;
	elements = 0;
	return 0;
}

static void
expect_prefixes(
    const struct ip_prefix *p, size_t n, const char *const *want, size_t wants)
{
	char text[IP_PREFIX_TEXT_MAX];

	assert_int_equal(n, wants);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(ip_prefix_format(&p[i], text), want[i]);
}

/* ---- what stays local ---- */

/* Next hops of this host, if such an address can be one of an office: who has
 * a public one for it wants to have its traffic (R5). */
static void
test_gateways_r5(void **state)
{
	static const struct {
		const char *gateway;
		bool local;
	} row[] = {
	    {"9.255.255.255", false},
	    {"10.0.0.0", true},
	    {"10.255.255.255", true},
	    {"11.0.0.0", false},
	    {"172.15.255.255", false},
	    {"172.16.0.0", true},
	    {"172.31.255.255", true},
	    {"172.32.0.0", false},
	    {"192.167.255.255", false},
	    {"192.168.0.0", true},
	    {"192.168.255.255", true},
	    {"192.169.0.0", false},
	    {"100.63.255.255", false},
	    {"100.64.0.0", true},
	    {"100.127.255.255", true},
	    {"100.128.0.0", false},
	    {"203.0.113.1", false},
	    {"8.8.8.8", false},
	    {"fbff::1", false},
	    {"fc00::1", true},
	    {"fdff::1", true},
	    {"fe00::1", false},
	    {"2001:db8::1", false},
	};
	struct fixture *f = make(HEAD UKAI);

	(void)state;
	assert_int_equal(policy_gather(&f->p), 0);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const char *list[] = {row[i].gateway, NULL};
		struct ip_addr a = addr(row[i].gateway);

		gateways = list;
		assert_int_equal(policy_gather_gateways(&f->p), 0);
		assert_int_equal(f->p.gateways, row[i].local);
		if (!row[i].local)
			continue;
		/* Itself alone. */
		assert_true(ip_addr_equal(&f->p.local[0].addr, &a));
		assert_int_equal(
		    f->p.local[0].bits, a.family == FAMILY_V4 ? 32 : 128);
	}
	fini(f);
}

/* What the user named (R5) and what always takes the tunnel, and behind these
 * the gateways; nothing of any other address that this host has. */
static void
test_local_r5(void **state)
{
	static const char *const list[] = {
	    "192.168.0.1", "203.0.113.1", "fd00::1", NULL};
	static const struct host_addr own[] = {
	    {2, "192.0.2.10"}, {2, "2001:db8:1::10"}, {0, NULL}};
	static const char *const want[] = {"192.168.24.0/24", "fd12::/16",
	    "198.51.100.0/24", "203.0.113.7/32", "192.168.0.1/32",
	    "fd00::1/128"};
	static const char *const network[] = {"192.168.24.0/24"};
	struct fixture *f =
	    make(HEAD UKAI "LocalNetworks = 192.168.24.0/24, fd12::/16\n"
			   "Networks = 192.168.24.0/24\n"
			   "Routes = 198.51.100.0/24, 203.0.113.7\n");
	struct policy_nft nft;

	(void)state;
	gateways = list;
	host = own;
	assert_int_equal(policy_gather(&f->p), 0);
	policy_describe(&f->p, &f->c, &nft);
	expect_prefixes(nft.local, nft.locals, want, ARRAY_LEN(want));
	expect_prefixes(nft.network, nft.networks, network, 1);
	/* Others, later: the rest stays. */
	gateways = list + 1;
	assert_int_equal(policy_gather_gateways(&f->p), 0);
	policy_describe(&f->p, &f->c, &nft);
	expect_prefixes(nft.local, nft.locals - 1, want, 4);
	assert_int_equal(nft.local[4].addr.b[0], 0xfd);
	gateways = NULL;
	assert_int_equal(policy_gather_gateways(&f->p), 0);
	policy_describe(&f->p, &f->c, &nft);
	assert_int_equal(nft.locals, 4);
	fini(f);
}

static void
test_many_gateways(void **state)
{
	const char *list[POLICY_GATEWAYS_MAX + 3];
	struct fixture *f = make(HEAD UKAI "LocalNetworks = 10.0.0.0/8\n");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(list) - 1; i++)
		list[i] = "192.168.0.1";
	list[ARRAY_LEN(list) - 1] = NULL;
	gateways = list;
	assert_int_equal(policy_gather(&f->p), 0);
	assert_int_equal(f->p.gateways, POLICY_GATEWAYS_MAX);
	fini(f);
}

static void
test_gateways_unknown(void **state)
{
	struct fixture *f = make(HEAD UKAI);

	(void)state;
	gateways_err = UK_ESYS;
	assert_int_equal(policy_gather(&f->p), UK_ESYS);
	fini(f);
}

/* ---- families ---- */

#define ONE(address, allowed)                                                  \
	"[Interface]\nPrivateKey = " KEY "\nAddress = " address                \
	"\n[Peer]\nPublicKey = " KEY "\nAllowedIPs = " allowed "\n" UKAI

/* Both an address and a peer that takes it. */
static void
test_families(void **state)
{
	static const struct {
		const char *file;
		bool v4, v6;
	} row[] = {
	    {ONE("10.66.0.2/32", "0.0.0.0/0"), true, false},
	    {ONE("10.66.0.2/32", "0.0.0.0/0, ::/0"), true, false},
	    {ONE("10.66.0.2/32, fd66::2/128", "0.0.0.0/0"), true, false},
	    {ONE("10.66.0.2/32, fd66::2/128", "::/0, 192.0.2.0/24"), true,
		true},
	    {ONE("fd66::2/128", "0.0.0.0/0, 2001:db8::/32"), false, true},
	    {ONE("10.66.0.2/32", "::/0"), false, false},
	    {HEAD "[Peer]\nPublicKey = " KEY2 "\nAllowedIPs = ::/0\n" UKAI,
		true, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct fixture *f = make(row[i].file);
		struct policy_nft nft;

		assert_int_equal(policy_gather(&f->p), 0);
		assert_int_equal(policy_takes(&f->p, FAMILY_V4), row[i].v4);
		assert_int_equal(policy_takes(&f->p, FAMILY_V6), row[i].v6);
		policy_describe(&f->p, &f->c, &nft);
		assert_false(nft.live_v4 || nft.live_v6);
		f->p.live = true;
		policy_describe(&f->p, &f->c, &nft);
		assert_int_equal(nft.live_v4, row[i].v4);
		assert_int_equal(nft.live_v6, row[i].v6);
		fini(f);
	}
}

/* ---- the whole ---- */

static void
test_description(void **state)
{
	struct fixture *f =
	    make(HEAD "[Peer]\nPublicKey = " KEY2 "\nAllowedIPs = ::/0\n" UKAI);
	static const char *const allowed[] = {"0.0.0.0/0", "::/0"};
	struct policy_nft nft;
	unsigned class = 7;

	(void)state;
	assert_int_equal(policy_gather(&f->p), 0);
	assert_int_equal(f->p.dns_servers, 2); /* domains are none */
	policy_describe(&f->p, &f->c, &nft);
	assert_ptr_equal(nft.rules, f->rules);
	assert_ptr_equal(nft.slots, f->c.slots);
	assert_string_equal(nft.ifname, "t0");
	assert_int_not_equal(nft.own_mark, 0);
	assert_int_equal(nft.own_mark, f->routes.mark);
	assert_int_equal(nft.tunnel_mark, f->routes.answer_mark);
	assert_int_equal(nft.tunnel_mask, ROUTES_ANSWER_MASK);
	assert_int_equal(nft.addresses, 2);
	expect_prefixes(nft.allowed, nft.allowed_n, allowed, 2);
	assert_int_equal(nft.dns_port, 0);
	assert_false(nft.own_ce);
	assert_int_equal(nft.class_of(nft.class_arg, "rclone"), CLASS_NONE);
	f->p.dns = (struct dns_forward *)f;
	f->p.mape = (struct mape *)f;
	f->p.programs = (struct programs *)&class;
	f->p.ports = 240;
	policy_describe(&f->p, &f->c, &nft);
	assert_int_equal(nft.dns_port, 5353);
	assert_true(nft.own_ce);
	assert_int_equal(nft.ports, 240);
	assert_int_equal(nft.class_of(nft.class_arg, "rclone"), 7);
	assert_int_equal(nft.class_of(nft.class_arg, "ssh"), CLASS_NONE);
	fini(f);
}

/* Our own address on each link, for what is redirected there; the tunnel has
 * none. */
static void
test_links(void **state)
{
	static const struct host_addr own[] = {{2, "192.0.2.10"},
	    {2, "fe80::2"}, {2, "fe80::22"}, {3, "2001:db8:3::1"},
	    {3, "fe80::3"}, {3, "192.168.24.1"}, {9, "fe80::9"}, {4, "fec0::4"},
	    {5, "febf::5"}, {0, NULL}};
	struct fixture *f = make(HEAD UKAI "Networks = 192.168.24.0/24\n");
	struct policy_nft nft;

	(void)state;
	host = own;
	assert_int_equal(policy_gather(&f->p), 0);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(policy_gather_links(&f->p), 0);
		policy_describe(&f->p, &f->c, &nft);
		assert_int_equal(nft.links, 3);
		assert_int_equal(nft.link[0].ifindex, 2);
		assert_int_equal(nft.link[0].addr.b[15], 2);
		assert_false(nft.link[0].lan);
		assert_int_equal(nft.link[1].ifindex, 3);
		assert_int_equal(nft.link[1].addr.b[15], 3);
		assert_true(nft.link[1].lan);
		assert_int_equal(nft.link[2].ifindex, 5);
	}
	fini(f);
}

/* ---- names ---- */

static unsigned
known(const struct fixture *f, size_t line, const char *text)
{
	uint16_t slot = f->c.slots->item[f->c.slots->of_rule[line - 1]].number;
	struct ip_addr a = addr(text);
	unsigned n = 0;

	for (size_t i = 0; i < f->p.knowns; i++)
		n += f->p.known[i].slot == slot &&
		     ip_addr_equal(&f->p.known[i].addr, &a);
	return n;
}

static void
test_known(void **state)
{
	struct fixture *f = make(HEAD UKAI);
	const char *a = "a.example", *b = "www.b.example";
	struct ip_addr v4 = addr("192.0.2.1"), v6 = addr("2001:db8::1");

	(void)state;
	assert_int_equal(policy_gather_known(&f->p), 0);
	assert_int_equal(f->p.knowns, 0);
	assert_int_equal(bindings_add(f->p.bindings, 0, &a, 1, &v4, 60), 0);
	assert_int_equal(bindings_add(f->p.bindings, 0, &b, 1, &v6, 60), 0);
	assert_int_equal(policy_gather_known(&f->p), 0);
	assert_int_equal(f->p.knowns, 2);
	assert_int_equal(known(f, 1, "192.0.2.1"), 1);
	assert_int_equal(known(f, 2, "2001:db8::1"), 1);
	assert_string_equal(f->p.known[known(f, 1, "192.0.2.1") - 1].name, a);
	/* They are told now; once more, from the beginning. */
	assert_int_equal(policy_gather_known(&f->p), 0);
	assert_int_equal(f->p.knowns, 0);
	bindings_again(f->p.bindings);
	assert_int_equal(policy_gather_known(&f->p), 0);
	assert_int_equal(f->p.knowns, 2);
	/* What is gone is not known. */
	bindings_tick(f->p.bindings, 2 * 86400 * UK_NS_PER_S, false);
	assert_int_equal(policy_gather_known(&f->p), 0);
	assert_int_equal(f->p.knowns, 0);
	fini(f);
}

/* Too long a name keeps what rules for suffixes look at: whole labels, if there
 * are any. */
static void
test_name_end(void **state)
{
	static const struct {
		const char *name;
		size_t size;
		const char *end;
	} row[] = {
	    {"a.example", 10, "a.example"},
	    {"a.example", 9, "example"},
	    {"a.example", 8, "example"},
	    {"a.example", 7, "xample"},
	    {"x.b.example", 11, "b.example"},
	    {"x.b.example", 10, "b.example"},
	    {"x.b.example", 9, "example"},
	    {"", 1, ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_string_equal(
		    policy_name_end(row[i].name, row[i].size), row[i].end);
}

static void
test_many_known(void **state)
{
	struct fixture *f = make(HEAD UKAI);
	const char *name = "b.example";
	struct ip_addr a = addr("192.0.2.0");

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		a.b[2] = (uint8_t)(i >> 8);
		a.b[3] = (uint8_t)i;
		assert_int_equal(
		    bindings_add(f->p.bindings, 0, &name, 1, &a, 60), 0);
	}
	assert_int_equal(policy_gather_known(&f->p), 0);
	assert_int_equal(f->p.knowns, 300);
	fini(f);
}

/* Names that the guard of a killed run had, under whichever numbers it had
 * them, belong to the rules of today. */
static void
test_carried_over(void **state)
{
	static const struct element had[] = {
	    {"n17_4", 4, "a.example", {192, 0, 2, 1}},
	    {"n17_4", 4, "nobody.example", {192, 0, 2, 2}},
	    {"n17_4", 4, NULL, {192, 0, 2, 3}},
	    {"n17_4", 16, "a.example", {192, 0, 2, 4}},
	    {"n17_6", 16, "x.b.example", {0x20, 1, 0xd, 0xb8, [15] = 1}},
	    {"n17_6", 4, "a.example", {192, 0, 2, 5}},
	    {"n17_5", 4, "a.example", {192, 0, 2, 6}},
	    {"n017_4", 4, "a.example", {192, 0, 2, 7}},
	    {"n65553_4", 4, "a.example", {192, 0, 2, 8}},
	    {"n1_4x", 4, "a.example", {192, 0, 2, 9}},
	    {"u17_tcp", 4, "a.example", {192, 0, 2, 10}},
	    {"live", 1, NULL, {2}},
	};
	struct fixture *f = make(HEAD UKAI);

	(void)state;
	guard = had;
	elements = ARRAY_LEN(had);
	assert_int_equal(policy_carry_over(&f->p), 0);
	assert_int_equal(policy_gather_known(&f->p), 0);
	assert_int_equal(f->p.knowns, 2);
	assert_int_equal(known(f, 1, "192.0.2.1"), 1);
	assert_int_equal(known(f, 2, "2001:db8::1"), 1);
	/* As if they had been answered now: tunnel an hour, tunnel! a day. */
	bindings_tick(f->p.bindings, (5 + 3599) * UK_NS_PER_S, false);
	assert_false(bindings_changed(f->p.bindings));
	bindings_tick(f->p.bindings, (5 + 3601) * UK_NS_PER_S, false);
	assert_true(bindings_changed(f->p.bindings));
	assert_int_equal(policy_gather_known(&f->p), 0);
	bindings_tick(f->p.bindings, (5 + 86399) * UK_NS_PER_S, false);
	assert_false(bindings_changed(f->p.bindings));
	bindings_tick(f->p.bindings, (5 + 86401) * UK_NS_PER_S, false);
	assert_true(bindings_changed(f->p.bindings));
	fini(f);
}

static void
test_nothing_to_carry(void **state)
{
	struct fixture *f = make(HEAD UKAI);

	(void)state;
	assert_int_equal(policy_carry_over(&f->p), 0);
	assert_false(bindings_changed(f->p.bindings));
	fini(f);
}

#define T(fn) cmocka_unit_test_setup(fn, setup)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_gateways_r5),
	    T(test_local_r5),
	    T(test_many_gateways),
	    T(test_gateways_unknown),
	    T(test_families),
	    T(test_description),
	    T(test_links),
	    T(test_known),
	    T(test_name_end),
	    T(test_many_known),
	    T(test_carried_over),
	    T(test_nothing_to_carry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
