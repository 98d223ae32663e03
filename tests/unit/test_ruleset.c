#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/ruleset.h"
#include "core/base.h"
#include "core/err.h"

/* Packets that the tables ask about. */
static const struct ruleset_packet call4 = {
    FAMILY_V4, false, IPPROTO_UDP, 51820, "eth0", "", false, false};
static const struct ruleset_packet call6 = {
    FAMILY_V6, false, IPPROTO_UDP, 51820, "eth0", "", false, false};
static const struct ruleset_packet join4 = {
    FAMILY_V4, false, IPPROTO_TCP, 443, "eth0", "", false, false};
static const struct ruleset_packet outward = {
    FAMILY_V4, true, IPPROTO_TCP, 0, "ukai0", "eth0", false, false};
static const struct ruleset_packet back = {
    FAMILY_V4, true, IPPROTO_TCP, 0, "eth0", "ukai0", true, false};
static const struct ruleset_packet published = {
    FAMILY_V4, true, IPPROTO_TCP, 0, "eth0", "ukai0", false, true};
static const struct ruleset_packet nowhere = {
    FAMILY_V4, false, IPPROTO_UDP, 51820, "", "", false, false};

struct worst {
	enum ruleset_outcome outcome;
	unsigned chains;
	char chain[64];
};

static bool
note(void *arg, const struct ruleset_chain *c, enum ruleset_outcome o)
{
	struct worst *w = arg;

	w->chains++;
	if (o > w->outcome) {
		w->outcome = o;
		snprintf(w->chain, sizeof(w->chain), "%s", c->name);
	}
	return true;
}

static enum ruleset_outcome
ask(const struct ruleset *r, const struct ruleset_packet *p)
{
	struct worst w = {.outcome = RULESET_PASSES};

	ruleset_follow(r, p, note, &w);
	return w.outcome;
}

/* ---- iptables-save ---- */

#define DROPPING                                                               \
	"*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:own - [0:0]\n"

/* clang-format off */
static const struct {
	const char *rules; /* behind DROPPING */
	const struct ruleset_packet *p;
	enum ruleset_outcome want;
} xt_cases[] = {
    {"", &call4, RULESET_DROPS},
    {"", &outward, RULESET_DROPS},
    {"-A INPUT -j ACCEPT", &call4, RULESET_PASSES}, /* no last newline */
    {"-A INPUT -p udp -m udp --dport 51820 -j ACCEPT\n", &call4,
	RULESET_PASSES},
    {"-A INPUT -p udp -m udp --dport 51820 -j ACCEPT\n", &join4,
	RULESET_DROPS},
    {"-A INPUT -p udp -m udp --dport 51821 -j ACCEPT\n", &call4,
	RULESET_DROPS},
    {"-A INPUT -p 17 --dport 50000:52000 -j ACCEPT\n", &call4, RULESET_PASSES},
    {"-A INPUT -p udp --dport 51821: -j ACCEPT\n", &call4, RULESET_DROPS},
    {"-A INPUT -p udp -m multiport --dports 53,51820 -j ACCEPT\n", &call4,
	RULESET_PASSES},
    {"-A INPUT -p udp ! --dport 51820 -j ACCEPT\n", &call4, RULESET_DROPS},
    {"-A INPUT ! -p udp -j ACCEPT\n", &call4, RULESET_DROPS},
    {"-A INPUT ! -p udp -j ACCEPT\n", &join4, RULESET_PASSES},
    {"-A INPUT -p icmp -j ACCEPT\n", &call4, RULESET_DROPS},
    {"-A INPUT -i lo -j ACCEPT\n", &call4, RULESET_DROPS},
    {"-A INPUT -i lo -j ACCEPT\n", &nowhere, RULESET_DROPS},
    {"-A INPUT -i eth+ -j ACCEPT\n", &call4, RULESET_PASSES},
    {"-A INPUT -i eth0 -j ACCEPT\n", &nowhere, RULESET_MAY_DROP},
    {"-A INPUT -o eth0 -j ACCEPT\n", &call4, RULESET_DROPS},
    {"-A INPUT -s 192.0.2.0/24 -j ACCEPT\n", &call4, RULESET_MAY_DROP},
    {"-A INPUT -s 0.0.0.0/0 -j ACCEPT\n", &call4, RULESET_PASSES},
    {"-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", &call4,
	RULESET_DROPS},
    {"-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
	&back, RULESET_PASSES},
    {"-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
	&published, RULESET_DROPS},
    {"-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT\n", &published,
	RULESET_PASSES},
    {"-A FORWARD -i ukai0 -j ACCEPT\n", &outward, RULESET_PASSES},
    {"-A FORWARD -i ukai0 -o wlan0 -j ACCEPT\n", &outward, RULESET_DROPS},
    {"-A FORWARD -o ukai0 -j ACCEPT\n", &outward, RULESET_DROPS},
    {"-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT\n", &call4,
	RULESET_PASSES},
    {"-A INPUT -m addrtype --dst-type BROADCAST -j ACCEPT\n", &call4,
	RULESET_DROPS},
    /* options without an argument, and what only looks like an option */
    {"-A INPUT -m recent --update --name SSH --rsource -j DROP\n"
     "-A INPUT -j ACCEPT\n",
	&call4, RULESET_PASSES},
    {"-A INPUT -m comment --comment \"-j DROP \\\" -p\" -j ACCEPT\n", &call4,
	RULESET_PASSES},
    {"-A INPUT -m comment --comment \"\" -j ACCEPT\n", &call4, RULESET_PASSES},
    {"-A INPUT -m comment --comment -j -j ACCEPT\n", &call4, RULESET_PASSES},
    /* chains of one's own */
    {"-A INPUT -j own\n-A own -p udp -j ACCEPT\n", &call4, RULESET_PASSES},
    {"-A INPUT -j own\n-A own -p udp -j ACCEPT\n", &join4, RULESET_DROPS},
    {"-A INPUT -j own\n-A own -j RETURN\n-A own -j ACCEPT\n", &call4,
	RULESET_DROPS},
    {"-A INPUT -g own\n-A INPUT -j ACCEPT\n", &call4, RULESET_DROPS},
    {"-A INPUT -j own\n-A own -j own\n-A INPUT -j ACCEPT\n", &call4,
	RULESET_PASSES},
    {"-A INPUT -s 192.0.2.1 -j own\n-A own -j ACCEPT\n", &call4,
	RULESET_MAY_DROP},
    /* what is not meant for everybody drops nobody */
    {"-A INPUT -s 192.0.2.1 -j DROP\n-A INPUT -j ACCEPT\n", &call4,
	RULESET_PASSES},
    {"-A INPUT -m limit --limit 1/min -j LOG\n-A INPUT -j ACCEPT\n", &call4,
	RULESET_PASSES},
    {"-A INPUT -s 192.0.2.1 -j RETURN\n-A INPUT -j ACCEPT\n", &call4,
	RULESET_MAY_DROP},
    {"-A INPUT -j REJECT --reject-with icmp-port-unreachable\n"
     "-A INPUT -j ACCEPT\n",
	&call4, RULESET_DROPS},
    {"-A INPUT -j nowhere\n-A INPUT -j ACCEPT\n", &call4, RULESET_PASSES},
    {"-A INPUT\n-A INPUT -j\n-A\nrubbish\n-A INPUT -j ACCEPT\n", &call4,
	RULESET_PASSES},
};

static void
test_xt(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(xt_cases); i++) {
		struct ruleset *r;
		char text[1024];
		int n = snprintf(text, sizeof(text), "%s%s", DROPPING,
		    xt_cases[i].rules);

		assert_int_equal(
		    ruleset_parse_xt(&r, text, (size_t)n, FAMILY_V4), 0);
		if (ask(r, xt_cases[i].p) != xt_cases[i].want)
			fail_msg("case %zu: %s", i, xt_cases[i].rules);
		ruleset_free(r);
	}
}

static void
test_xt_families(void **state)
{
	static const char text[] = "*mangle\n:PREROUTING DROP [0:0]\nCOMMIT\n"
				   "*nat\n:INPUT DROP [0:0]\nCOMMIT\n";
	struct ruleset *r;

	(void)state;
	assert_int_equal(
	    ruleset_parse_xt(&r, text, strlen(text), FAMILY_V6), 0);
	assert_int_equal(ask(r, &call6), RULESET_DROPS);
	assert_int_equal(ask(r, &call4), RULESET_PASSES);
	assert_true(ruleset_has_chain(r, "ip6", "mangle", "PREROUTING"));
	assert_true(ruleset_has_chain(r, NULL, "mangle", "PREROUTING"));
	assert_false(ruleset_has_chain(r, "ip", "mangle", "PREROUTING"));
	ruleset_free(r);
	ruleset_free(NULL);
}

/* ---- nft -j ---- */

#define BASE                                                                   \
	"{\"nftables\":[{\"metainfo\":{}},"                                    \
	"{\"set\":{\"family\":\"inet\",\"table\":\"t\",\"name\":\"s\","        \
	"\"elem\":[53,{\"range\":[51000,52000]}]}},"                           \
	"{\"map\":{\"family\":\"inet\",\"table\":\"t\",\"name\":\"m\","        \
	"\"elem\":[[51820,{\"accept\":null}],[7,{\"drop\":null}]]}},"          \
	"{\"chain\":{\"family\":\"inet\",\"table\":\"t\",\"name\":\"in\","     \
	"\"type\":\"filter\",\"hook\":\"input\",\"policy\":\"drop\"}},"        \
	"{\"chain\":{\"family\":\"inet\",\"table\":\"t\",\"name\":\"fw\","     \
	"\"type\":\"filter\",\"hook\":\"forward\",\"policy\":\"drop\"}},"      \
	"{\"chain\":{\"family\":\"inet\",\"table\":\"t\",\"name\":\"own\"}}"
#define RULE(chain, expr)                                                      \
	",{\"rule\":{\"family\":\"inet\",\"table\":\"t\",\"chain\":\"" chain   \
	"\",\"expr\":[" expr "]}}"
#define MATCH(op, left, right)                                                 \
	"{\"match\":{\"op\":\"" op "\",\"left\":" left ",\"right\":" right "}}"
#define META(key) "{\"meta\":{\"key\":\"" key "\"}}"
#define FIELD(protocol, field)                                                 \
	"{\"payload\":{\"protocol\":\"" protocol "\",\"field\":\"" field "\"}}"
#define CT(key) "{\"ct\":{\"key\":\"" key "\"}}"
#define ACCEPT "{\"accept\":null}"
#define DPORT FIELD("udp", "dport")

/* clang-format off */
static const struct {
	const char *rules;
	const struct ruleset_packet *p;
	enum ruleset_outcome want;
} nft_cases[] = {
    {"", &call4, RULESET_DROPS},
    {"", &back, RULESET_DROPS},
    {RULE("in", ACCEPT), &call6, RULESET_PASSES},
    {RULE("in", "\"accept\""), &call6, RULESET_PASSES},
    {RULE("in", MATCH("==", DPORT, "51820") "," ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in", MATCH("==", DPORT, "51820") "," ACCEPT), &join4,
	RULESET_DROPS},
    {RULE("in", MATCH("==", DPORT, "51821") "," ACCEPT), &call4,
	RULESET_DROPS},
    {RULE("in", MATCH("!=", DPORT, "51821") "," ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in", MATCH("!=", DPORT, "51821") "," ACCEPT), &join4,
	RULESET_DROPS},
    {RULE("in", MATCH("==", DPORT, "{\"set\":[53,51820]}") "," ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in",
	 MATCH("==", DPORT, "{\"set\":[{\"elem\":{\"val\":51820}}]}") "," ACCEPT),
	&call4, RULESET_PASSES},
    {RULE("in", MATCH("==", DPORT, "{\"range\":[51821,60000]}") "," ACCEPT),
	&call4, RULESET_DROPS},
    {RULE("in", MATCH("==", DPORT, "\"@s\"") "," ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in", MATCH("==", DPORT, "\"@gone\"") "," ACCEPT), &call4,
	RULESET_DROPS},
    {RULE("in", MATCH(">=", DPORT, "1024") "," ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in", MATCH("<", DPORT, "1024") "," ACCEPT), &call4, RULESET_DROPS},
    {RULE("in", MATCH("==", FIELD("th", "dport"), "443") "," ACCEPT), &join4,
	RULESET_PASSES},
    {RULE("in", MATCH("==", META("l4proto"), "\"udp\"") "," ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in", MATCH("==", META("l4proto"), "17") "," ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in", MATCH("==", META("l4proto"), "{\"set\":[\"icmp\",\"tcp\"]}")
	 "," ACCEPT),
	&call4, RULESET_DROPS},
    {RULE("in", MATCH("==", META("nfproto"), "\"ipv6\"") "," ACCEPT), &call4,
	RULESET_DROPS},
    {RULE("in", MATCH("==", META("nfproto"), "\"ipv6\"") "," ACCEPT), &call6,
	RULESET_PASSES},
    {RULE("in", MATCH("==", META("iifname"), "\"lo\"") "," ACCEPT), &call4,
	RULESET_DROPS},
    {RULE("in", MATCH("!=", META("iifname"), "\"lo\"") "," ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in", MATCH("==", META("iifname"), "\"eth*\"") "," ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in", MATCH("==", META("iifname"), "\"eth0\"") "," ACCEPT), &nowhere,
	RULESET_MAY_DROP},
    {RULE("fw", MATCH("==", META("oifname"), "\"ukai0\"") "," ACCEPT), &back,
	RULESET_PASSES},
    {RULE("fw", MATCH("==", META("oifname"), "\"ukai0\"") "," ACCEPT), &outward,
	RULESET_DROPS},
    {RULE("in", MATCH("==", META("oifname"), "\"eth0\"") "," ACCEPT), &call4,
	RULESET_DROPS},
    {RULE("in", MATCH("==", FIELD("ip", "saddr"), "\"192.0.2.1\"") "," ACCEPT),
	&call4, RULESET_MAY_DROP},
    {RULE("in", MATCH("==", FIELD("ip", "saddr"), "\"192.0.2.1\"") "," ACCEPT),
	&call6, RULESET_DROPS},
    {RULE("in", MATCH("==", FIELD("icmp", "type"), "8") "," ACCEPT), &call4,
	RULESET_DROPS},
    {RULE("in", MATCH("in", CT("state"), "[\"established\",\"related\"]")
	 "," ACCEPT),
	&call4, RULESET_DROPS},
    {RULE("fw", MATCH("in", CT("state"), "[\"established\",\"related\"]")
	 "," ACCEPT),
	&back, RULESET_PASSES},
    {RULE("fw", MATCH("in", CT("status"), "\"dnat\"") "," ACCEPT), &published,
	RULESET_PASSES},
    {RULE("fw", MATCH("in", CT("status"), "\"dnat\"") "," ACCEPT), &outward,
	RULESET_DROPS},
    {RULE("in", "{\"limit\":{\"rate\":1}}," ACCEPT), &call4, RULESET_MAY_DROP},
    {RULE("in", "{\"counter\":{}}," ACCEPT), &call4, RULESET_PASSES},
    {RULE("in", "{\"xt\":null}," ACCEPT), &call4, RULESET_MAY_DROP},
    {RULE("in", "{\"xt\":{\"type\":\"match\",\"name\":\"comment\"}}," ACCEPT),
	&call4, RULESET_PASSES},
    {RULE("in", "{\"xt\":{\"type\":\"target\",\"name\":\"REJECT\"}}")
	    RULE("in", ACCEPT),
	&call4, RULESET_DROPS},
    {RULE("in", "{\"jump\":{\"target\":\"own\"}}") RULE("own", ACCEPT), &call4,
	RULESET_PASSES},
    {RULE("in", "{\"goto\":{\"target\":\"own\"}}") RULE("in", ACCEPT), &call4,
	RULESET_DROPS},
    {RULE("in", "{\"jump\":{}}") RULE("in", ACCEPT), &call4, RULESET_PASSES},
    {RULE("in", "{\"reject\":{}}") RULE("in", ACCEPT), &call4, RULESET_DROPS},
    {RULE("in", "{\"vmap\":{\"key\":" CT("state") ",\"data\":{\"set\":[["
	 "\"invalid\",{\"drop\":null}],[\"new\"," ACCEPT "]]}}}"),
	&call4, RULESET_PASSES},
    {RULE("in", "{\"vmap\":{\"key\":" DPORT ",\"data\":\"@m\"}}"), &call4,
	RULESET_PASSES},
    {RULE("in", "{\"vmap\":{\"key\":" DPORT ",\"data\":\"@m\"}}"), &join4,
	RULESET_DROPS},
    {RULE("in",
	 MATCH("==", "{\"concat\":[" META("l4proto") "," FIELD("th", "dport") "]}",
	     "{\"set\":[{\"concat\":[\"tcp\",443]},{\"concat\":[\"udp\",53]}]}")
	 "," ACCEPT),
	&join4, RULESET_PASSES},
    {RULE("in",
	 MATCH("==", "{\"concat\":[" META("l4proto") "," FIELD("th", "dport") "]}",
	     "{\"set\":[{\"concat\":[\"tcp\",443]},{\"concat\":[\"udp\",53]}]}")
	 "," ACCEPT),
	&call4, RULESET_DROPS},
};
/* clang-format on */

static void
test_nft(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(nft_cases); i++) {
		struct ruleset *r;
		char text[4096];
		int n = snprintf(
		    text, sizeof(text), "%s%s]}", BASE, nft_cases[i].rules);

		assert_int_equal(ruleset_parse_nft(&r, text, (size_t)n), 0);
		if (ask(r, nft_cases[i].p) != nft_cases[i].want)
			fail_msg("case %zu: %s", i, nft_cases[i].rules);
		ruleset_free(r);
	}
}

static void
test_nft_refuses(void **state)
{
	static const char *const text[] = {
	    "", "{", "[]", "{}", "{\"nftables\":3}", "nonsense"};
	struct ruleset *r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(text); i++) {
		assert_int_equal(
		    ruleset_parse_nft(&r, text[i], strlen(text[i])), UK_EPROTO);
		assert_null(r);
	}
}

/* Chains that call each other twice a rule: the walk ends. */
static void
test_endless(void **state)
{
	char text[4096] = "*filter\n:INPUT DROP [0:0]\n";
	struct ruleset *r;
	size_t n;

	(void)state;
	for (int i = 0; i < 16; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
		    ":c%d - [0:0]\n", i);
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 8; j++)
			snprintf(text + strlen(text),
			    sizeof(text) - strlen(text), "-A c%d -j c%d\n", i,
			    (i + 1) % 16);
	n = strlen(text);
	snprintf(text + n, sizeof(text) - n, "-A INPUT -j c0\n");
	assert_int_equal(
	    ruleset_parse_xt(&r, text, strlen(text), FAMILY_V4), 0);
	assert_int_equal(ask(r, &call4), RULESET_DROPS);
	ruleset_free(r);
}

/* Every cut of a text is read without harm. */
static void
test_cut(void **state)
{
	static const char xt[] =
	    DROPPING "-A INPUT -p udp ! --dport 1:2 -m comment --comment \"a "
		     "\\\" b\" -j own\n-A own -g own\n";
	static const char nft[] =
	    BASE RULE("in", MATCH("==", DPORT, "\"@s\"") "," ACCEPT) "]}";

	(void)state;
	for (size_t len = 0; len <= strlen(xt); len++) {
		char *text = malloc(len + 1); /* for the sanitizer */
		struct ruleset *r;

		memcpy(text, xt, len);
		assert_int_equal(ruleset_parse_xt(&r, text, len, FAMILY_V4), 0);
		free(text);
		(void)ask(r, &call4);
		ruleset_free(r);
	}
	for (size_t len = 0; len < strlen(nft); len++) {
		struct ruleset *r;

		assert_int_equal(ruleset_parse_nft(&r, nft, len), UK_EPROTO);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_xt),
	    cmocka_unit_test(test_xt_families),
	    cmocka_unit_test(test_nft),
	    cmocka_unit_test(test_nft_refuses),
	    cmocka_unit_test(test_endless),
	    cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
