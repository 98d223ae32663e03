#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/policy/clash_yaml.h"
#include "client/policy/import_clash.h"
#include "client/policy/rules.h"
#include "core/err.h"
#include "failing_wrap.h"

static struct diag d;
static struct text out;
static size_t taken;

static int
import(const char *yaml, size_t len)
{
	text_fini(&out);
	diag_init(&d, "clash.yaml");
	return import_clash(&out, &taken, "clash.yaml", yaml, len, &d);
}

/* What remains without comments. */
static char *
rules_of(struct text *t)
{
	char *from = t->s, *to = t->s;

	while (from != NULL && *from != 0) {
		size_t len = strcspn(from, "\n") + 1;

		if (*from != '#') {
			memmove(to, from, len);
			to += len;
		}
		from += len;
	}
	*to = 0;
	return t->s;
}

/* Every list that a rule names is there. */
static int
read_list(
    void *arg, const char *path, char **bytes, size_t *len, struct diag *to)
{
	(void)arg;
	(void)path;
	(void)to;
	*bytes = strdup("192.0.2.0/24\n");
	*len = strlen(*bytes);
	return 0;
}

static void
assert_parses(const struct text *t)
{
	const struct rules_reader reader = {.read = read_list};
	struct rules *r = NULL;
	struct diag found;

	diag_init(&found, "office.rules");
	if (rules_parse(&r, "office.rules", t->s, t->len, &reader, RULES_LINUX,
		&found) < 0) {
		diag_print(&found, "test", stderr);
		fputs(t->s, stderr);
		fail();
	}
	rules_free(r);
}

#define HEAD                                                                   \
	"proxies:\n"                                                           \
	"  - {name: jp, type: ss, server: 192.0.2.1, port: 1}\n"               \
	"  - {name: out, type: direct}\n"                                      \
	"proxy-groups:\n"                                                      \
	"  - {name: P, type: select, proxies: [jp, DIRECT]}\n"                 \
	"  - {name: D, type: select, proxies: [DIRECT]}\n"                     \
	"  - {name: D2, type: select, proxies: [D, out]}\n"                    \
	"  - {name: R, type: select, proxies: [REJECT, REJECT-DROP]}\n"        \
	"  - {name: RD, type: select, proxies: [REJECT, DIRECT]}\n"            \
	"  - {name: U, type: select, use: [sub], proxies: [DIRECT]}\n"         \
	"  - {name: U2, type: select, use: [sub]}\n"                           \
	"  - {name: DP, proxies: [DIRECT, P, jp], type: select}\n"             \
	"  - {name: F, type: fallback, proxies: [DIRECT, jp]}\n"               \
	"  - {name: G, type: select, proxies: [DP, jp]}\n"                     \
	"  - {name: T, type: url-test, proxies: [DIRECT, jp]}\n"               \
	"  - {name: TR, type: url-test, proxies: [REJECT, DIRECT]}\n"          \
	"  - {name: A, type: url-test, include-all: true}\n"                   \
	"  - {name: L1, type: select, proxies: [L2]}\n"                        \
	"  - {name: L2, type: select, proxies: [L1]}\n"                        \
	"rule-providers:\n"                                                    \
	"  ads: {type: http, behavior: domain, path: ./r/ads.yaml,\n"          \
	"    url: 'https://example.com/ads.yaml'}\n"                           \
	"  own: {type: file, behavior: ipcidr, path: lists/own.yaml}\n"        \
	"  plain: {type: http, format: text, url: 'http://example.com/p'}\n"   \
	"  bin: {type: http, format: mrs, url: 'http://example.com/b'}\n"      \
	"  none: {type: inline}\n"                                             \
	"  odd: {type: file, path: 'a,b'}\n"                                   \
	"rules:\n"

static const struct {
	const char *rule;
	const char *want; /* NULL: left out */
} rule[] = {
    {"DOMAIN,example.com,P", "DOMAIN,example.com,tunnel\n"},
    {"domain , example.com , P", "DOMAIN,example.com,tunnel\n"},
    {"DOMAIN,192.0.2.1,P", NULL},
    {"DOMAIN,a b,P", NULL},
    {"DOMAIN,,P", NULL},
    {"DOMAIN,example.com", NULL},
    {"DOMAIN,example.com,PASS", NULL},
    {"DOMAIN-SUFFIX,+.example.com,D", "DOMAIN-SUFFIX,example.com,native\n"},
    {"DOMAIN-SUFFIX,.example.com,D2", "DOMAIN-SUFFIX,example.com,native\n"},
    {"DOMAIN-KEYWORD,ads,R", "DOMAIN-KEYWORD,ads,block\n"},
    /* Groups to choose from: what is first, until somebody chooses. */
    {"DOMAIN-SUFFIX,example.com,RD", "DOMAIN-SUFFIX,example.com,block\n"},
    {"DOMAIN-SUFFIX,example.com,DP", "DOMAIN-SUFFIX,example.com,native\n"},
    {"DOMAIN-SUFFIX,example.com,F", "DOMAIN-SUFFIX,example.com,native\n"},
    {"DOMAIN-SUFFIX,example.com,G", "DOMAIN-SUFFIX,example.com,native\n"},
    {"DOMAIN-SUFFIX,example.com,U", "DOMAIN-SUFFIX,example.com,native\n"},
    {"DOMAIN-SUFFIX,example.com,U2", "DOMAIN-SUFFIX,example.com,tunnel\n"},
    /* Others: whichever it may be. */
    {"DOMAIN-SUFFIX,example.com,T", "DOMAIN-SUFFIX,example.com,tunnel\n"},
    {"DOMAIN-SUFFIX,example.com,TR", "DOMAIN-SUFFIX,example.com,native\n"},
    {"DOMAIN-SUFFIX,example.com,A", "DOMAIN-SUFFIX,example.com,tunnel\n"},
    {"DOMAIN-SUFFIX,example.com,L1", "DOMAIN-SUFFIX,example.com,tunnel\n"},
    {"DOMAIN-SUFFIX,example.com,jp", "DOMAIN-SUFFIX,example.com,tunnel\n"},
    {"DOMAIN-SUFFIX,example.com,out", "DOMAIN-SUFFIX,example.com,native\n"},
    {"DOMAIN-SUFFIX,example.com,REJECT-DROP",
	"DOMAIN-SUFFIX,example.com,block\n"},
    {"DOMAIN-SUFFIX,example.com,other", "DOMAIN-SUFFIX,example.com,tunnel\n"},
    {"DOMAIN-REGEX,^a,P", NULL},
    {"IP-CIDR,192.0.2.1/24,DIRECT,no-resolve", "IP-CIDR,192.0.2.0/24,native\n"},
    {"IP-CIDR6,2001:DB8::/32,P", "IP-CIDR,2001:db8::/32,tunnel\n"},
    {"IP-CIDR,192.0.2.0/24,P,src", "SRC-IP-CIDR,192.0.2.0/24,tunnel\n"},
    {"SRC-IP-CIDR,192.0.2.0/24,P", "SRC-IP-CIDR,192.0.2.0/24,tunnel\n"},
    {"IP-CIDR,192.0.2.0/33,P", NULL},
    {"DST-PORT,443,P", "DST-PORT,443,tunnel\n"},
    {"DST-PORT,80/443/8000-8080,P",
	"DST-PORT,80,tunnel\nDST-PORT,443,tunnel\nDST-PORT,8000-8080,tunnel\n"},
    {"DST-PORT,80/0,P", NULL},
    {"SRC-PORT,1000-1001,P", "SRC-PORT,1000-1001,tunnel\n"},
    {"NETWORK,udp,P", "NETWORK,udp,tunnel\n"},
    {"NETWORK,sctp,P", NULL},
    {"PROCESS-NAME,curl,P", "PROCESS-NAME,curl,tunnel\n"},
    {"PROCESS-NAME,Telegram.exe,P", "PROCESS-NAME,Telegram,tunnel\n"},
    {"PROCESS-NAME,a#b,P", NULL},
    {"PROCESS-PATH,/usr/bin/curl,P", NULL},
    {"UID,1000,P", "UID,1000,tunnel\n"},
    {"UID,root,P", NULL},
    {"GEOIP,CN,DIRECT", NULL},
    {"GEOSITE,cn,DIRECT", NULL},
    {"IP-ASN,13335,P", NULL},
    {"GEOIP,LAN,DIRECT",
	"IP-CIDR,10.0.0.0/8,native\nIP-CIDR,172.16.0.0/12,native\n"
	"IP-CIDR,192.168.0.0/16,native\nIP-CIDR,127.0.0.0/8,native\n"
	"IP-CIDR,169.254.0.0/16,native\nIP-CIDR,224.0.0.0/4,native\n"
	"IP-CIDR,::1/128,native\nIP-CIDR,fc00::/7,native\n"
	"IP-CIDR,fe80::/10,native\nIP-CIDR,ff00::/8,native\n"},
    {"AND,((NETWORK,UDP),(DST-PORT,443)),REJECT",
	"NETWORK,UDP,block,dport=443\n"},
    {"and, ( (DST-PORT, 80/443) , (NETWORK,tcp) ) , P , x",
	"DST-PORT,80,tunnel,proto=tcp\nDST-PORT,443,tunnel,proto=tcp\n"},
    {"AND,((DST-PORT,80/443),(DOMAIN-SUFFIX,+.a.jp),(PROCESS-NAME,b.exe)),D",
	"DOMAIN-SUFFIX,a.jp,native,dport=80/443,process=b\n"},
    {"AND,((RULE-SET,own),(IP-CIDR,10.0.0.0/8,src),(UID,7),(SRC-PORT,1)),R",
	"RULE-SET,lists/own.yaml,block,src=10.0.0.0/8,uid=7,sport=1\n"},
    {"AND,((SRC-IP-CIDR,10.0.0.0/8),(IP-CIDR,192.0.2.0/24,no-resolve)),P",
	"SRC-IP-CIDR,10.0.0.0/8,tunnel,dst=192.0.2.0/24\n"},
    {"AND,((DOMAIN,a.jp)),P", "DOMAIN,a.jp,tunnel\n"},
    {"AND,((DOMAIN,a.jp),(DOMAIN-KEYWORD,b)),P", NULL},
    {"AND,((DOMAIN,a.jp),(GEOIP,CN)),P", NULL},
    {"AND,((GEOIP,LAN),(NETWORK,udp)),P", NULL},
    {"AND,((DOMAIN,a.jp),(DST-PORT,x)),P", NULL},
    {"AND,((DOMAIN,a.jp),(DST-PORT,1),(DST-PORT,2)),P", NULL},
    {"AND,((DOMAIN,a.jp),(PROCESS-NAME,a#b)),P", NULL},
    {"AND,((DOMAIN,a.jp),(NOT,((NETWORK,udp)))),P", NULL},
    {"AND,((DOMAIN,a.jp),(MATCH)),P", NULL},
    {"AND,((MATCH)),P", NULL},
    {"AND,((DOMAIN,a.jp),(NETWORK,udp)),PASS", NULL},
    {"AND,((DOMAIN,a.jp),(NETWORK,udp))", NULL},
    {"AND,((DOMAIN,a.jp),(NETWORK,udp)),", NULL},
    {"AND,((DOMAIN,a.jp),(NETWORK,udp),P", NULL},
    {"AND,(DOMAIN,a.jp),P", NULL},
    {"AND,(),P", NULL},
    {"AND,P", NULL},
    {"AND", NULL},
    {"OR,((DOMAIN,a.jp),(DST-PORT,1/2),(RULE-SET,ads)),P",
	"DOMAIN,a.jp,tunnel\nDST-PORT,1,tunnel\nDST-PORT,2,tunnel\n"
	"RULE-SET,./r/ads.yaml,tunnel\n"},
    {"OR,((DOMAIN,a.jp),(GEOIP,CN)),P", NULL},
    {"OR,((DOMAIN,a.jp),(DST-PORT,0)),P", NULL},
    {"OR,((DOMAIN,a.jp),(AND,((NETWORK,udp),(DST-PORT,1)))),P", NULL},
    {"OR,((DOMAIN,a.jp),(MATCH)),P", NULL},
    {"NOT,((DOMAIN,a.example)),P", NULL},
    {"DOMAIN,a.example,(P)", "DOMAIN,a.example,tunnel\n"},
    {"SUB-RULE,(NETWORK,tcp),sub", NULL},
    {"RULE-SET,ads,R", "RULE-SET,./r/ads.yaml,block\n"},
    {"RULE-SET,own,D,no-resolve", "RULE-SET,lists/own.yaml,native\n"},
    {"RULE-SET,plain,P", "RULE-SET,plain.list,tunnel\n"},
    {"RULE-SET,bin,P", NULL},
    {"RULE-SET,none,P", NULL},
    {"RULE-SET,odd,P", NULL},
    {"RULE-SET,nobody,P", NULL},
    {"NONSENSE,x,P", NULL},
    {"SCRIPT,x,P", NULL},
    {"PROCESS-NAME,a //b,P", NULL},
    {"PROCESS-NAME,a//b,P", NULL},
    {"PROCESS-NAME,a b,P", "PROCESS-NAME,a b,tunnel\n"},
    {"GEOIP,LAN,P,a(b", "IP-CIDR,10.0.0.0/8,tunnel\n"
			"IP-CIDR,172.16.0.0/12,tunnel\n"
			"IP-CIDR,192.168.0.0/16,tunnel\n"
			"IP-CIDR,127.0.0.0/8,tunnel\n"
			"IP-CIDR,169.254.0.0/16,tunnel\n"
			"IP-CIDR,224.0.0.0/4,tunnel\n"
			"IP-CIDR,::1/128,tunnel\n"
			"IP-CIDR,fc00::/7,tunnel\n"
			"IP-CIDR,fe80::/10,tunnel\n"
			"IP-CIDR,ff00::/8,tunnel\n"},
};

static void
test_rule_table(void **state)
{
	char yaml[4096], want[1024];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rule); i++) {
		const char *expected = rule[i].want != NULL ? rule[i].want : "";

		snprintf(yaml, sizeof(yaml), HEAD "  - \"%s\"\n", rule[i].rule);
		snprintf(want, sizeof(want), "%sDEFAULT,native\n", expected);
		assert_int_equal(import(yaml, strlen(yaml)), 0);
		assert_parses(&out);
		if (rule[i].want == NULL)
			assert_non_null(strstr(out.s, "left out"));
		assert_string_equal(rules_of(&out), want);
		assert_int_equal(taken == 0, rule[i].want == NULL);
	}
}

static void
test_match_ends(void **state)
{
	static const char yaml[] = HEAD
	    "  - DOMAIN,a.example,P\n  - MATCH,P\n  - DOMAIN,b.example,P\n";

	(void)state;
	assert_int_equal(import(yaml, strlen(yaml)), 0);
	assert_parses(&out);
	assert_non_null(
	    strstr(out.s, "# line 31 left out: DOMAIN,b.example,P"));
	assert_string_equal(
	    rules_of(&out), "DOMAIN,a.example,tunnel\nDEFAULT,tunnel\n");
	assert_int_equal(d.warnings, 1);
	assert_int_equal(d.entry[0].line, 31);
}

/* One warning for each kind, at its first line. */
static void
test_summary(void **state)
{
	static const char yaml[] =
	    "rules:\n"
	    "- GEOIP,CN,DIRECT\n"
	    "- GEOIP,JP,DIRECT\n"
	    "- DOMAIN,a.example,Some\n"
	    "- DOMAIN,b.example,Some\n"
	    "- RULE-SET,l,DIRECT\n"
	    "rule-providers: {l: {url: 'http://example.com/l', path: l}}\n";

	(void)state;
	assert_int_equal(import(yaml, strlen(yaml)), 0);
	assert_int_equal(d.errors, 0);
	assert_int_equal(d.warnings, 3);
	assert_int_equal(d.entry[0].line, 2);
	assert_non_null(strstr(d.entry[0].text, "GEOIP"));
	assert_non_null(strstr(d.entry[0].text, "2"));
	assert_int_equal(d.entry[1].line, 4);
	assert_non_null(strstr(d.entry[1].text, "Some"));
	assert_int_equal(d.entry[2].line, 6);
	assert_non_null(strstr(out.s, "# to be fetched: http://example.com/l"));
	assert_int_equal(taken, 3);
}

/* However many kinds of mistakes there are, the warnings stay few. */
static void
test_many_kinds(void **state)
{
	struct text t = {.s = NULL};

	(void)state;
	text_add(&t, "rules:\n");
	for (unsigned i = 0; i < 1000; i++)
		text_add(&t, "- TYPE%u,x,DIRECT\n", i);
	assert_int_equal(import(t.s, t.len), 0);
	assert_true(d.warnings < 40);
	assert_int_equal(taken, 0);
	text_fini(&t);
}

static void
test_payload(void **state)
{
	static const char yaml[] = "payload:\n"
				   "  - '+.a.example'\n"
				   "  - .b.example\n"
				   "  - '*.c.example'\n"
				   "  - d.example\n"
				   "  - 192.0.2.0/24\n"
				   "  - 2001:db8::1\n"
				   "  - DOMAIN-SUFFIX,e.example\n"
				   "  - IP-CIDR,198.51.100.0/24,no-resolve\n"
				   "  - 'PROCESS-NAME,f'\n"
				   "  - MATCH,DIRECT\n"
				   "  - RULE-SET,x\n"
				   "  - GEOIP,CN\n"
				   "  - 'x*.example'\n"
				   "  - ''\n"
				   "  - [a]\n";

	(void)state;
	assert_int_equal(import(yaml, strlen(yaml)), 0);
	assert_string_equal(rules_of(&out), "DOMAIN-SUFFIX,a.example\n"
					    "DOMAIN-SUFFIX,b.example\n"
					    "DOMAIN-SUFFIX,c.example\n"
					    "DOMAIN,d.example\n"
					    "IP-CIDR,192.0.2.0/24\n"
					    "IP-CIDR,2001:db8::1/128\n"
					    "DOMAIN-SUFFIX,e.example\n"
					    "IP-CIDR,198.51.100.0/24\n"
					    "PROCESS-NAME,f\n");
	assert_int_equal(taken, 9);
}

/* C5, C6: what others wrote stays in its comment. */
static void
test_comments_hold(void **state)
{
	static const char yaml[] =
	    "proxy-groups:\n"
	    "- {name: \"x\\nDEFAULT,block\", proxies: [DIRECT]}\n"
	    "rule-providers:\n"
	    "  p: {url: \"http://x\\nDEFAULT,block\", path: p}\n"
	    "  q: {path: \"p\\nDEFAULT,block\"}\n"
	    "rules:\n"
	    "- \"GEOIP,\\nDEFAULT,block\"\n"
	    "- \"DOMAIN,a.example,\\e[2J\\u202e\"\n"
	    "- \"PROCESS-NAME,a\\nDEFAULT,block\"\n"
	    "- RULE-SET,p,DIRECT\n"
	    "- RULE-SET,q,DIRECT\n"
	    "- \"RULE-SET,q\\rx,DIRECT\"\n";

	(void)state;
	assert_int_equal(import(yaml, strlen(yaml)), 0);
	assert_null(strstr(out.s, "\nDEFAULT,block"));
	assert_null(strchr(out.s, 0x1b));
	assert_null(strstr(out.s, "\xe2\x80\xae"));
	assert_string_equal(rules_of(&out), "DOMAIN,a.example,tunnel\n"
					    "RULE-SET,p,native\n"
					    "DEFAULT,native\n");
}

static void
test_aliases(void **state)
{
	/* What an alias stands for is not known: neither a rule nor what a
	 * group has. */
	static const char yaml[] = "x: &x [DIRECT]\n"
				   "y: &y {proxies: [DIRECT]}\n"
				   "proxy-groups:\n"
				   "- {name: a, proxies: *x}\n"
				   "- {name: b, <<: *y}\n"
				   "- {name: c, proxies: [*x]}\n"
				   "rules:\n"
				   "- &r DOMAIN,a.example,a\n"
				   "- DOMAIN,b.example,b\n"
				   "- DOMAIN,c.example,c\n"
				   "- *r\n";

	(void)state;
	assert_int_equal(import(yaml, strlen(yaml)), 0);
	assert_string_equal(rules_of(&out), "DOMAIN,a.example,tunnel\n"
					    "DOMAIN,b.example,tunnel\n"
					    "DOMAIN,c.example,tunnel\n"
					    "DEFAULT,native\n");
	assert_int_equal(d.warnings, 1);
	assert_int_equal(d.entry[0].line, 11);
}

static void
test_refused(void **state)
{
	static const struct {
		const char *yaml;
		unsigned line;
	} row[] = {
	    {"", 0},
	    {"x", 0},
	    {"- DOMAIN,a.example,P\n", 0},
	    {"port: 7890\n", 0},
	    {"rules:\n", 0},
	    {"rules: x\n", 0},
	    {"payload: {}\n", 0},
	    {"rules:\n  - [\n", 3},
	    {"rules:\n- a: b: c\n", 2},
	    {"rules: []\n\tx: y\n", 2},
	    {"a: *b: {\n", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(
		    import(row[i].yaml, strlen(row[i].yaml)), UK_EINVAL);
		assert_int_equal(d.errors, 1);
		assert_int_equal(d.entry[0].line, row[i].line);
	}
}

/* C2: what is in one another, and how much of it. */
static void
test_limits(void **state)
{
	struct text t = {.s = NULL};
	char *large;

	(void)state;
	text_add(&t, "x: ");
	for (unsigned i = 0; i < CLASH_DEPTH_MAX; i++)
		text_add(&t, "[");
	assert_int_equal(import(t.s, t.len), UK_EINVAL);
	assert_non_null(strstr(d.entry[0].text, "in one another"));
	text_clear(&t);
	text_add(&t, "x: ");
	for (unsigned i = 0; i + 1 < CLASH_DEPTH_MAX; i++)
		text_add(&t, "[");
	for (unsigned i = 0; i + 1 < CLASH_DEPTH_MAX; i++)
		text_add(&t, "]");
	text_add(&t, "\nrules: []\n");
	assert_int_equal(import(t.s, t.len), 0);

	/* Groups that are each the member of the one before. */
	text_clear(&t);
	text_add(&t, "rules: []\nproxy-groups:\n");
	for (unsigned i = 0; i < 60; i++)
		text_add(&t, "- {name: g%02u, proxies: [g%02u]}\n", i, i + 1);
	assert_int_equal(import(t.s, t.len), UK_ELIMIT);
	text_clear(&t);
	text_add(&t, "rules:\n- DOMAIN,a.example,%0*u\n", CLASH_TEXT_MAX, 1);
	assert_int_equal(import(t.s, t.len), 0);
	assert_int_equal(taken, 0);
	text_fini(&t);

	large = calloc(1, CLASH_SIZE_MAX + 1);
	assert_non_null(large);
	assert_int_equal(import(large, CLASH_SIZE_MAX + 1), UK_EMSGSIZE);
	free(large);
}

/* C2: how many of each there may be. */
static void
test_counts(void **state)
{
	static const struct {
		const char *head, *item, *tail;
		unsigned max;
	} row[] = {
	    {"rules: []\nproxy-groups: [{name: g, proxies: [", "a,", "]}]\n",
		CLASH_NAMES_MAX},
	    {"rules: []\nproxies: [", "{name: a},", "]\n", CLASH_NAMES_MAX},
	    {"rules: []\nrule-providers: {", "a: {},", "}\n", CLASH_NAMES_MAX},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct text t = {.s = NULL};

		text_add(&t, "%s", row[i].head);
		for (unsigned n = 0; n < row[i].max; n++)
			text_append(&t, row[i].item, strlen(row[i].item));
		text_append(&t, row[i].item, strlen(row[i].item));
		text_add(&t, "%s", row[i].tail);
		assert_int_equal(import(t.s, t.len), UK_ELIMIT);
		assert_int_equal(d.errors, 1);
		text_fini(&t);
	}
}

static void
test_out_of_memory(void **state)
{
	static const char yaml[] =
	    HEAD "  - DOMAIN,a.example,P\n  - RULE-SET,ads,P\n  - GEOIP,CN,P\n";
	unsigned n = 1;

	(void)state;
	for (; n < 2000; n++) {
		int err;

		text_fini(&out);
		diag_init(&d, "clash.yaml");
		fail_at = n;
		err = import_clash(
		    &out, &taken, "clash.yaml", yaml, strlen(yaml), &d);
		if (fail_at > 0) {
			fail_at = 0;
			assert_int_equal(err, 0);
			break;
		}
		assert_int_equal(err, UK_ENOMEM);
	}
	assert_true(n > 10 && n < 2000);
}

static int
forget(void **state)
{
	(void)state;
	text_fini(&out);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rule_table),
	    cmocka_unit_test(test_match_ends),
	    cmocka_unit_test(test_summary),
	    cmocka_unit_test(test_many_kinds),
	    cmocka_unit_test(test_payload),
	    cmocka_unit_test(test_comments_hold),
	    cmocka_unit_test(test_aliases),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_counts),
	    cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, forget);
}
