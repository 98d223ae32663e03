#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/survey.h"
#include "core/base.h"

static const struct survey_wants wants = {
    .udp_port = 51820,
    .tcp_port = 8443,
    .tunnel = "ukai0",
    .uplink = "eth0",
    .ipv6 = true,
    .own_table = "ukai-relay-ukai0",
};

static char *
load(const char *name, size_t *len)
{
	static char text[65536];
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/firewall/%s", UKAI_VECTORS, name);
	f = fopen(path, "r");
	assert_non_null(f);
	*len = fread(text, 1, sizeof(text), f);
	fclose(f);
	return text;
}

static struct ruleset *
load_xt(const char *name, uint8_t family)
{
	struct ruleset *r;
	size_t len;
	const char *text = load(name, &len);

	assert_int_equal(ruleset_parse_xt(&r, text, len, family), 0);
	return r;
}

/* The remedies, in order, each behind "run: ". */
static void
assert_remedies(const struct diag *d, const char *const *want, size_t n)
{
	for (unsigned i = 0; i < d->n; i++) {
		const char *run = strstr(d->entry[i].text, "run: ");

		assert_non_null(run);
		if (i >= n || strcmp(run + 5, want[i]) != 0)
			fail_msg("unexpected: %s", d->entry[i].text);
	}
	assert_int_equal(d->n, n);
}

static void
test_ufw(void **state)
{
	static const char *const want[] = {"ufw allow 51820/udp",
	    "ufw allow 8443/tcp", "ufw route allow in on ukai0",
	    "ufw route allow out on ukai0"};
	struct survey_rules r = {.xt = {load_xt("ufw.iptables", FAMILY_V4),
				     load_xt("ufw.ip6tables", FAMILY_V6)}};
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	survey_judge(&r, &wants, false, &d);
	assert_remedies(&d, want, ARRAY_LEN(want));
	assert_int_equal(d.errors, 3); /* published ports may not be used */
	diag_init(&d, NULL);
	survey_judge(&r, &wants, true, &d);
	assert_int_equal(d.errors, 0);
	assert_int_equal(d.warnings, 4);
	ruleset_free(r.xt[0]);
	ruleset_free(r.xt[1]);
}

static void
test_docker(void **state)
{
	static const char *const want[] = {
	    "iptables -I DOCKER-USER -i ukai0 -j ACCEPT",
	    "iptables -I DOCKER-USER -o ukai0 -j ACCEPT"};
	struct survey_rules r = {
	    .xt = {load_xt("docker.iptables", FAMILY_V4), NULL}};
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	survey_judge(&r, &wants, false, &d);
	assert_remedies(&d, want, ARRAY_LEN(want));
	ruleset_free(r.xt[0]);
}

static void
test_legacy(void **state)
{
	static const char text[] = "*filter\n:INPUT DROP [0:0]\n"
				   ":FORWARD ACCEPT [0:0]\nCOMMIT\n";
	static const char *const want[] = {
	    "ip6tables-legacy -I INPUT -p udp --dport 51820 -j ACCEPT",
	    "ip6tables-legacy -I INPUT -p tcp --dport 8443 -j ACCEPT"};
	struct survey_rules r = {.nft = NULL};
	struct diag d;

	(void)state;
	assert_int_equal(
	    ruleset_parse_xt(&r.legacy[1], text, strlen(text), FAMILY_V6), 0);
	diag_init(&d, NULL);
	survey_judge(&r, &wants, false, &d);
	assert_remedies(&d, want, ARRAY_LEN(want));
	ruleset_free(r.legacy[1]);
}

static void
test_firewalld(void **state)
{
	static const char *const want[] = {
	    "firewall-cmd --permanent --add-port=51820/udp && firewall-cmd "
	    "--reload",
	    "firewall-cmd --permanent --add-port=8443/tcp && firewall-cmd "
	    "--reload",
	    "firewall-cmd --permanent --zone=trusted --add-interface=ukai0 && "
	    "firewall-cmd --reload"};
	struct survey_rules r = {.nft = NULL};
	struct diag d;
	size_t len;
	const char *text = load("firewalld.json", &len);

	(void)state;
	assert_int_equal(ruleset_parse_nft(&r.nft, text, len), 0);
	diag_init(&d, NULL);
	survey_judge(&r, &wants, false, &d);
	assert_remedies(&d, want, ARRAY_LEN(want));
	assert_int_equal(d.errors, 3);
	ruleset_free(r.nft);
}

/* A chain without a policy that ends in a rule which refuses. */
#define CHAIN(table, hook)                                                     \
	"{\"chain\":{\"family\":\"inet\",\"table\":\"" table                   \
	"\",\"name\":\"c" hook "\",\"type\":\"filter\",\"hook\":\"" hook       \
	"\",\"policy\":\"accept\"}},"                                          \
	"{\"rule\":{\"family\":\"inet\",\"table\":\"" table                    \
	"\",\"chain\":\"c" hook "\",\"expr\":[{\"reject\":{}}]}}"

static void
test_nft(void **state)
{
	static const char text[] =
	    "{\"nftables\":[" CHAIN("f", "input") "," CHAIN(
		"f", "forward") "," CHAIN("ukai-relay-ukai0", "forward") "]}";
	static const char *const want[] = {
	    "nft insert rule inet f cinput udp dport 51820 accept",
	    "nft insert rule inet f cforward iifname \"ukai0\" accept",
	    "nft insert rule inet f cforward oifname \"ukai0\" accept"};
	struct survey_wants w = wants;
	struct survey_rules r = {.nft = NULL};
	struct diag d;

	(void)state;
	w.tcp_port = 0;
	assert_int_equal(ruleset_parse_nft(&r.nft, text, strlen(text)), 0);
	diag_init(&d, NULL);
	survey_judge(&r, &w, false, &d);
	assert_remedies(&d, want, ARRAY_LEN(want));
	ruleset_free(r.nft);
}

static void
test_sysctl(void **state)
{
	static const struct {
		const char *text;
		bool off;
	} cases[] = {
	    {"", false},
	    {"net.ipv4.ip_forward=0\n", true},
	    {"net.ipv4.ip_forward = 0", true},
	    {" -net/ipv4/ip_forward\t= 0\n", true},
	    {"#net.ipv4.ip_forward=0\n", false},
	    {"; net.ipv4.ip_forward=0\n", false},
	    {"net.ipv4.ip_forward=1\n", false},
	    {"net.ipv4.ip_forward=0\nnet.ipv4.ip_forward=1\n", false},
	    {"net.ipv4.ip_forward=1\n\nnet.ipv4.ip_forward=0\nx=1", true},
	    {"net.ipv4.ip_forward_use_pmtu=0\n", false},
	    {"net.ipv4.ip_forward\n=\n", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(
		    survey_sysctl_is_off(cases[i].text, "net.ipv4.ip_forward"),
		    cases[i].off);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ufw),
	    cmocka_unit_test(test_docker),
	    cmocka_unit_test(test_legacy),
	    cmocka_unit_test(test_firewalld),
	    cmocka_unit_test(test_nft),
	    cmocka_unit_test(test_sysctl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
