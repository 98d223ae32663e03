#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../../client/dns.h"
#include "core/err.h"

static void
test_domain_table(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} row[] = {
	    {"example.co.jp", true},
	    {"example.com.", true},
	    {"a", true},
	    {"_dmarc.x-y.1", true},
	    {"A.B", true},
	    {"", false},
	    {".", false},
	    {".a", false},
	    {"a..b", false},
	    {"a b", false},
	    {"a\nnameserver 192.0.2.66", false}, /* C5 */
	    {"a#b", false},
	    {"a;b", false},
	    {"\xe4\xbe\x8b.jp", false},
	};
	char text[300];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_int_equal(dns_is_domain(row[i].text), row[i].ok);
	/* RFC 1035 2.3.4: labels of 63, names of 253 in text. */
	memset(text, 'a', sizeof(text));
	text[63] = '\0';
	assert_true(dns_is_domain(text));
	text[63] = 'a';
	text[64] = '\0';
	assert_false(dns_is_domain(text));
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 2 == 0 ? 'a' : '.';
	text[253] = '\0';
	assert_true(dns_is_domain(text));
	text[253] = '.';
	text[254] = '\0';
	assert_false(dns_is_domain(text));
}

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text, strlen(text)), 0);
	return a;
}

static const char head[] =
    "# Written by ukai while the tunnel wg0 is up. `ukai down` brings back "
    "what was\n# here before; if ukai was killed, `ukai restore` does.\n";

static void
test_text(void **state)
{
	struct ip_addr servers[] = {addr("10.0.0.1"), addr("2001:db8::53")};
	const char *search[] = {"office.example", "example.com"};
	char want[512], text[512];
	int len;

	(void)state;
	snprintf(want, sizeof(want),
	    "%snameserver 10.0.0.1\nnameserver 2001:db8::53\n"
	    "search office.example example.com\n",
	    head);
	len = dns_resolv_conf(text, sizeof(text), "wg0", servers, 2, search, 2);
	assert_int_equal(len, strlen(want));
	assert_string_equal(text, want);
	snprintf(want, sizeof(want), "%snameserver 10.0.0.1\n", head);
	len = dns_resolv_conf(text, sizeof(text), "wg0", servers, 1, NULL, 0);
	assert_int_equal(len, strlen(want));
	assert_string_equal(text, want);
}

static void
test_text_refused(void **state)
{
	struct ip_addr server = addr("10.0.0.1");
	const char *bad[] = {"fine", "a\nnameserver 192.0.2.66"};
	char text[512];

	(void)state;
	assert_int_equal(
	    dns_resolv_conf(text, sizeof(text), "wg0", &server, 1, bad, 2),
	    UK_EINVAL);
	assert_true(
	    dns_resolv_conf(text, sizeof(text), "wg0", &server, 1, bad, 1) > 0);
}

/* Every size: the whole text or UK_EMSGSIZE, and never a byte too many. */
static void
test_text_fits(void **state)
{
	struct ip_addr server = addr("10.0.0.1");
	const char *search[] = {"office.example"};
	char text[512];
	int len =
	    dns_resolv_conf(text, sizeof(text), "wg0", &server, 1, search, 1);

	(void)state;
	assert_true(len > 0);
	for (size_t cap = 0; cap < (size_t)len + 4; cap++) {
		memset(text, '!', sizeof(text));
		assert_int_equal(
		    dns_resolv_conf(text, cap, "wg0", &server, 1, search, 1),
		    cap > (size_t)len ? len : UK_EMSGSIZE);
		assert_int_equal(text[cap], '!');
	}
}

static void
test_set_refused(void **state)
{
	struct ip_addr server = addr("10.0.0.1");
	struct ip_addr many[17] = {{0}};
	const char *bad[] = {"a b"}, *option[] = {"-a"};
	struct dns *dns = NULL;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	assert_int_equal(
	    dns_set(&dns, NULL, "wg0", &server, 1, bad, 1, &d), UK_EINVAL);
	assert_int_equal(
	    dns_set(&dns, NULL, "wg0", &server, 1, option, 1, &d), UK_EINVAL);
	assert_int_equal(
	    dns_set(&dns, NULL, "w/0", &server, 1, NULL, 0, &d), UK_EINVAL);
	assert_int_equal(
	    dns_set(&dns, NULL, "-w", &server, 1, NULL, 0, &d), UK_EINVAL);
	assert_int_equal(
	    dns_set(&dns, NULL, "wg0", many, 17, NULL, 0, &d), UK_EMSGSIZE);
	assert_null(dns);
	assert_int_equal(dns_clear(NULL, &d), 0);
}

/* No server: the resolver is not touched. */
static void
test_set_nothing(void **state)
{
	struct dns *dns = NULL;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	assert_int_equal(dns_set(&dns, NULL, "wg0", NULL, 0, NULL, 0, &d), 0);
	assert_int_equal(dns_clear(dns, &d), 0);
	assert_int_equal(d.n, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_domain_table),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_text_refused),
	    cmocka_unit_test(test_text_fits),
	    cmocka_unit_test(test_set_refused),
	    cmocka_unit_test(test_set_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
