#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failing_wrap.h"
#include "rules_files.h"

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static struct rules_file files[] = {
    {"ten", "10.1.0.0/16\n10.2.3.4\n", 0},
    {"mixed", "10.1.0.0/16\na.example.com\n", 0},
    {"names", "a.example.com\nb.example.com\n.c.example.com\n", 0},
    {"useless", "GEOIP,JP\n", 0},
    {NULL, NULL, 0},
};

static struct rules_reader reader = {rules_files_read, files};
static struct diag d;

static struct rules *
parse(const char *text)
{
	struct rules *r;

	diag_init(&d, "p");
	if (rules_parse(&r, "p", text, strlen(text), &reader, RULES_LINUX, &d) <
	    0)
		fail_msg("\"%s\": %s", text, d.entry[0].text);
	diag_init(&d, "p");
	return r;
}

/* ---- table ---- */

static const struct {
	const char *text;
	unsigned line; /* 0: no warning */
	const char *word;
} table[] = {
    /* Addresses. */
    {"IP-CIDR,10.0.0.0/8,native\nIP-CIDR,10.1.0.0/16,tunnel", 2,
	"all of it is taken by line 1: IP-CIDR,10.0.0.0/8,native"},
    {"IP-CIDR,10.1.0.0/16,native\nIP-CIDR,10.0.0.0/8,tunnel", 0, ""},
    {"IP-CIDR,10.0.0.0/8,native\nIP-CIDR,11.0.0.0/8,tunnel", 0, ""},
    {"IP-CIDR,10.0.0.0/8,native\nSRC-IP-CIDR,10.0.0.0/8,tunnel", 0, ""},
    {"IP-CIDR,0.0.0.0/0,native\nIP-CIDR,::/0,native\nDOMAIN,a.jp,tunnel", 3,
	"all of it is taken"},
    {"IP-CIDR,0.0.0.0/0,native\nDOMAIN,a.jp,tunnel", 0, ""},
    {"IP-CIDR,0.0.0.0/0,native\nIP-CIDR,2001:db8::/32,tunnel", 0, ""},
    {"IP-CIDR,10.0.0.0/8,native\nDOMAIN,a.jp,tunnel,dst=10.1.2.3", 2, "line 1"},
    {"SRC-IP-CIDR,10.0.0.0/8,native\nUID,1,tunnel,src=10.1.2.3", 2, "line 1"},
    /* What is local whatever the rules say. */
    {"IP-CIDR,169.254.169.254,block", 1, "stay local"},
    {"DST-PORT,5353,tunnel,dst=224.0.0.0/4", 1, "stay local"},
    {"IP-CIDR,fe80::/10,tunnel!", 1, "stay local"},
    {"IP-CIDR,127.0.0.0/8,native", 0, ""},
    {"IP-CIDR,224.0.0.0/3,block", 0, ""},
    {"IP-CIDR,255.255.255.254,block", 0, ""},
    /* Names. */
    {"DOMAIN-SUFFIX,a.jp,native\nDOMAIN,b.a.jp,tunnel", 2, "line 1"},
    {"DOMAIN-SUFFIX,a.jp,native\nDOMAIN-SUFFIX,c.b.a.jp,tunnel", 2, "line 1"},
    {"DOMAIN-SUFFIX,a.jp,native\nDOMAIN,a.jp,tunnel", 2, "line 1"},
    {"DOMAIN-SUFFIX,a.jp,native\nDOMAIN,ba.jp,tunnel", 0, ""},
    {"DOMAIN,a.jp,native\nDOMAIN-SUFFIX,a.jp,tunnel", 0, ""},
    {"DOMAIN-SUFFIX,a.jp,native\nDOMAIN-KEYWORD,a.jp,tunnel", 0, ""},
    {"DOMAIN-KEYWORD,oog,native\nDOMAIN-SUFFIX,google.com,tunnel", 2, "line 1"},
    {"DOMAIN-KEYWORD,oog,native\nDOMAIN-KEYWORD,googl,tunnel", 2, "line 1"},
    {"DOMAIN-KEYWORD,google,native\nDOMAIN-KEYWORD,oog,tunnel", 0, ""},
    {"DOMAIN-KEYWORD,goo,native\nDOMAIN,go.jp,tunnel", 0, ""},
    /* Ports, also by several rules. */
    {"DST-PORT,80-90,native\nDST-PORT,85,tunnel", 2, "line 1"},
    {"DST-PORT,80-84,native\nDST-PORT,85-90,native\nDST-PORT,82-88,tunnel", 3,
	"taken"},
    {"DST-PORT,80-90,native\nDST-PORT,85-91,tunnel", 0, ""},
    {"DST-PORT,80-90,native\nSRC-PORT,85,tunnel", 0, ""},
    {"DST-PORT,80-90,native\nUID,1,tunnel,dport=80/90", 2, "line 1"},
    {"DST-PORT,80-90,native\nUID,1,tunnel,dport=80/91", 0, ""},
    {"SRC-PORT,1-65535,native\nUID,1,tunnel,sport=80", 2, "line 1"},
    /* The rest. */
    {"NETWORK,udp,native\nNETWORK,tcp,native\nNETWORK,tcp/udp,tunnel", 3,
	"line 2"},
    {"NETWORK,udp,native\nNETWORK,tcp/udp,tunnel", 0, ""},
    {"NETWORK,udp,native\nDST-PORT,53,tunnel,proto=udp", 2, "line 1"},
    {"NETWORK,udp,native\nDST-PORT,53,tunnel,proto=tcp/udp", 0, ""},
    {"PROCESS-NAME,a,native\nDOMAIN,a.jp,tunnel,process=a", 2, "line 1"},
    {"PROCESS-NAME,a,native\nPROCESS-NAME,b,tunnel", 0, ""},
    {"UID,1,native\nDOMAIN,a.jp,tunnel,uid=1", 2, "line 1"},
    {"UID,1,native\nDOMAIN,a.jp,tunnel,uid=2", 0, ""},
    {"PORTS-LEFT,<40,native\nPORTS-LEFT,<30,tunnel", 2, "line 1"},
    {"PORTS-LEFT,<30,native\nPORTS-LEFT,<40,tunnel", 0, ""},
    {"PORTS-LEFT,<40,native,uid=1\nPORTS-LEFT,<30,tunnel", 0, ""},
    /* Conditions. */
    {"DOMAIN,a.jp,native,uid=1\nDOMAIN,a.jp,tunnel", 0, ""},
    {"DOMAIN,a.jp,native,uid=1\nDOMAIN,a.jp,tunnel,uid=2", 0, ""},
    {"DOMAIN-SUFFIX,a.jp,native,uid=1\nDOMAIN,b.a.jp,tunnel,uid=1", 2,
	"line 1"},
    {"DST-PORT,80,native,uid=1\nDST-PORT,80,tunnel", 0, ""},
    {"NETWORK,tcp,native,uid=1\nNETWORK,tcp,tunnel", 0, ""},
    {"DOMAIN-KEYWORD,abc,native,uid=1\nDOMAIN,abc.jp,tunnel", 0, ""},
    /* The same twice. */
    {"UID,1,native\nUID,1,native", 2, "it stands already on line 1"},
    {"DOMAIN,a.jp,native\n\nDOMAIN,A.jp.,tunnel", 3, "it stands already"},
    {"DST-PORT,80,native\nDST-PORT,80-80,native", 2, "it stands already"},
    /* Lists. */
    {"RULE-SET,ten,native\nIP-CIDR,10.1.2.0/24,tunnel", 2, "line 1 (ten:1)"},
    {"IP-CIDR,10.0.0.0/8,native\nRULE-SET,ten,tunnel", 2,
	"all 2 entries of ten are taken by line 1: "},
    {"IP-CIDR,10.0.0.0/8,native\nDOMAIN,a.example.com,native\n"
     "RULE-SET,mixed,tunnel",
	3, "all 2 entries of mixed are taken by lines before, as line 1"},
    {"IP-CIDR,10.0.0.0/8,native\nRULE-SET,mixed,tunnel", 0, ""},
    {"RULE-SET,names,native\nRULE-SET,names,tunnel", 2, "all 3 entries"},
    {"RULE-SET,names,native,uid=1\nRULE-SET,names,tunnel", 0, ""},
    {"NETWORK,tcp,native\nRULE-SET,names,tunnel,proto=tcp", 2, "line 1"},
    {"RULE-SET,useless,native", 1, "nothing in useless"},
    /* Contradictions. */
    {"DOMAIN,a.jp,native,proto=icmp,dport=80", 1, "ICMP has no ports"},
    {"DOMAIN,a.jp,native,proto=icmp/udp,dport=80", 0, ""},
    {"RULE-SET,names,native,proto=icmp,sport=80", 1, "ICMP has no ports"},
    {"DST-PORT,80,native,proto=icmp", 1, "ICMP has no ports"},
    {"SRC-PORT,80,native,proto=icmp", 1, "ICMP has no ports"},
    {"NETWORK,icmp,native,dport=80", 1, "ICMP has no ports"},
    {"NETWORK,icmp/tcp,native,dport=80", 0, ""},
    {"NETWORK,tcp,native,proto=udp", 1, "proto= is another one"},
    {"NETWORK,tcp,native,proto=udp/tcp", 0, ""},
    {"DST-PORT,80-90,native,dport=91/79", 1, "dport= has none"},
    {"DST-PORT,80-90,native,dport=91/90", 0, ""},
    {"SRC-PORT,80-90,native,sport=1-79", 1, "sport= has none"},
    {"SRC-PORT,80-90,native,sport=1-80", 0, ""},
    {"SRC-IP-CIDR,10.0.0.0/8,native,src=11.0.0.0/8", 1, "src= is outside"},
    {"SRC-IP-CIDR,10.0.0.0/8,native,src=10.1.0.0/16", 0, ""},
    {"SRC-IP-CIDR,10.0.0.0/8,native,src=0.0.0.0/0", 0, ""},
    {"SRC-IP-CIDR,10.0.0.0/8,native,dst=::/0", 1, "dst= is of the other"},
    {"IP-CIDR,10.0.0.0/8,native,dst=11.0.0.0/8", 1, "dst= is outside"},
    {"IP-CIDR,10.0.0.0/8,native,src=::/0", 1, "src= is of the other"},
    {"IP-CIDR,10.0.0.0/8,native,src=11.0.0.0/8", 0, ""},
    {"DOMAIN,a.jp,native,src=10.0.0.0/8,dst=::1", 1, "from IPv4 to IPv6"},
    {"DOMAIN,a.jp,native,src=10.0.0.0/8,dst=1.1.1.1", 0, ""},
    {"UID,1,native,uid=2", 1, "uid= is another one"},
    {"UID,1,native,uid=1", 0, ""},
    {"PROCESS-NAME,a,native,process=b", 1, "process= is another one"},
    {"PROCESS-NAME,a,native,process=a", 0, ""},
};

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct rules *r = parse(table[i].text);

		rules_warn(r, &d);
		if (d.warnings != (table[i].line > 0))
			fail_msg("\"%s\": %u warnings, %s", table[i].text,
			    d.warnings, d.n > 0 ? d.entry[0].text : "");
		if (table[i].line > 0 &&
		    (d.entry[0].line != table[i].line ||
			d.entry[0].column != 1 ||
			strstr(d.entry[0].text, table[i].word) == NULL))
			fail_msg("\"%s\": %u:%u: %s", table[i].text,
			    d.entry[0].line, d.entry[0].column,
			    d.entry[0].text);
		rules_free(r);
	}
}

/* ---- against a naive twin ---- */

static bool
ends_in(const char *name, const char *suffix)
{
	size_t n = strlen(name), s = strlen(suffix);

	return n >= s && strcmp(name + n - s, suffix) == 0 &&
	       (n == s || name[n - s - 1] == '.');
}

/* Does a hold wherever b does? */
static bool
twin_covers_name(const struct rules *r, const struct rule_entry *a,
    const struct rule_entry *b)
{
	const char *x = r->names + a->name, *y = r->names + b->name;

	if (a->type == RULE_DOMAIN_KEYWORD)
		return strstr(y, x) != NULL && b->type <= RULE_DOMAIN_KEYWORD &&
		       b->type >= RULE_DOMAIN;
	if (a->type == RULE_DOMAIN)
		return b->type == RULE_DOMAIN && strcmp(x, y) == 0;
	return (b->type == RULE_DOMAIN || b->type == RULE_DOMAIN_SUFFIX) &&
	       ends_in(y, x);
}

static bool
twin_covers(const struct rules *r, const struct rule_entry *a,
    const struct rule_entry *b)
{
	if (a->type >= RULE_DOMAIN && a->type <= RULE_DOMAIN_KEYWORD)
		return b->type >= RULE_DOMAIN &&
		       b->type <= RULE_DOMAIN_KEYWORD &&
		       twin_covers_name(r, a, b);
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case RULE_IP_CIDR:
	case RULE_SRC_IP_CIDR:
		return a->prefix.bits <= b->prefix.bits &&
		       ip_prefix_contains(&a->prefix, &b->prefix.addr);
	case RULE_NETWORK:
		return a->protos == b->protos;
	case RULE_UID:
		return a->uid == b->uid;
	default:
		return a->ports.first == b->ports.first &&
		       a->ports.last == b->ports.last;
	}
}

/* Every port of b in some of the earlier rules without conditions, or all of
 * its protocols in them together. */
static bool
twin_covered_together(
    const struct rules *r, size_t n, const struct rule_entry *b)
{
	uint8_t protos = 0;

	for (size_t i = 0; i < n; i++) {
		const struct rule_entry *a = &r->entry[r->rule[i].first];

		if (r->rule[i].conditions == 0 && a->type == RULE_NETWORK)
			protos |= a->protos;
	}
	if (b->type == RULE_NETWORK)
		return (b->protos & ~protos) == 0;
	if (b->type != RULE_DST_PORT && b->type != RULE_SRC_PORT)
		return false;
	for (unsigned port = b->ports.first; port <= b->ports.last; port++) {
		bool found = false;

		for (size_t i = 0; i < n && !found; i++) {
			const struct rule *u = &r->rule[i];
			const struct rule_entry *a = &r->entry[u->first];

			found = u->conditions == 0 && a->type == b->type &&
				a->ports.first <= port && port <= a->ports.last;
		}
		if (!found)
			return false;
	}
	return true;
}

static bool
twin_covered(const struct rules *r, size_t n)
{
	const struct rule *u = &r->rule[n];
	const struct rule_entry *b = &r->entry[u->first];

	for (size_t i = 0; i < n; i++) {
		const struct rule *v = &r->rule[i];

		if ((v->conditions == 0 || v->conditions == u->conditions) &&
		    twin_covers(r, &r->entry[v->first], b))
			return true;
	}
	/* Their only condition is uid=. */
	for (size_t i = 0; i < n && u->conditions != 0; i++) {
		const struct rule *v = &r->rule[i];
		const struct rule_entry *a = &r->entry[v->first];

		if (v->conditions == 0 && a->type == RULE_UID &&
		    a->uid == r->condition[u->conditions].uid)
			return true;
	}
	return twin_covered_together(r, n, b);
}

static size_t
random_rule(char *text, size_t size)
{
	static const char *const name[] = {
	    "a.jp", "b.a.jp", "jp", "ba.jp", "c.b.a.jp", "a.com", "b.a", "com"};
	static const char *const net[] = {"tcp", "udp", "icmp", "tcp/udp"};
	static const char *const type[] = {"DOMAIN", "DOMAIN-SUFFIX",
	    "DOMAIN-KEYWORD", "IP-CIDR", "SRC-IP-CIDR", "DST-PORT", "SRC-PORT",
	    "NETWORK", "UID"};
	size_t t = rnd() % ARRAY_LEN(type);
	unsigned first = (unsigned)(1 + rnd() % 20);
	char value[64], condition[16] = "";

	if (t < 3)
		snprintf(value, sizeof(value), "%s", name[rnd() % 8]);
	else if (t < 5 && rnd() % 4 == 0)
		snprintf(value, sizeof(value), "2001:db8::/%u",
		    (unsigned)(32 + rnd() % 4));
	else if (t < 5)
		snprintf(value, sizeof(value), "10.%u.0.0/%u",
		    (unsigned)(rnd() % 4), (unsigned)(13 + rnd() % 4));
	else if (t < 7)
		snprintf(value, sizeof(value), "%u-%u", first,
		    first + (unsigned)(rnd() % 9));
	else if (t == 7)
		snprintf(value, sizeof(value), "%s", net[rnd() % 4]);
	else
		snprintf(value, sizeof(value), "%u", (unsigned)(rnd() % 3));
	if (t != 8 && rnd() % 3 == 0)
		snprintf(condition, sizeof(condition), ",uid=%u",
		    (unsigned)(rnd() % 3));
	return (size_t)snprintf(
	    text, size, "%s,%s,native%s\n", type[t], value, condition);
}

static void
test_twin(void **state)
{
	unsigned covered = 0, free_rules = 0;
	char text[40 * 64];

	(void)state;
	for (unsigned round = 0; round < 400; round++) {
		size_t n = 1 + rnd() % 24, at = 0;
		struct rules *r;
		unsigned next = 0;

		for (size_t i = 0; i < n; i++)
			at += random_rule(text + at, sizeof(text) - at);
		r = parse(text);
		rules_warn(r, &d);
		for (size_t i = 0; i < n; i++) {
			bool told = next < d.n && d.entry[next].line == i + 1;

			if (told != twin_covered(r, i))
				fail_msg("line %zu, told %d, of:\n%s", i + 1,
				    told, text);
			next += told;
			covered += told;
			free_rules += !told;
		}
		assert_int_equal(next, d.n);
		rules_free(r);
	}
	assert_true(covered > 300 && free_rules > 300);
}

/* ---- limits ---- */

/* It says so, or finds less. */
static void
test_no_memory(void **state)
{
	struct rules *r = parse("DOMAIN-KEYWORD,abc,native\n"
				"DOMAIN,abc.jp,tunnel\nDEFAULT,native");
	bool told = true;

	(void)state;
	for (unsigned n = 1; n < 8; n++) {
		diag_init(&d, "p");
		fail_at = n;
		rules_warn(r, &d);
		told = told && fail_at == 0 && n < 3;
		fail_at = 0;
		if (told)
			assert_non_null(
			    strstr(d.entry[0].text, "out of memory"));
	}
	assert_int_equal(d.warnings, 1);
	assert_non_null(strstr(d.entry[0].text, "line 1"));
	rules_free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
