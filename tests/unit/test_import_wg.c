#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "client/policy/import_wg.h"
#include "client/policy/rules.h"
#include "core/err.h"
#include "failing_wrap.h"

static struct diag d;

/* Without the three lines of comments. */
static const char *
rules_of(const struct text *t)
{
	const char *s = t->s;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(s[0], '#');
		s = strchr(s, '\n') + 1;
	}
	return s;
}

static void
test_refused(void **state)
{
	static const char *const in[] = {
	    "",
	    "[Interface]\n",
	    "[Peer]\n",
	    "[Peer]\nAllowedIPs =\n",
	    "[Peer]\nAllowedIPs = 10.0.0.0/33\n",
	    "[Peer]\nAllowedIPs = example.com\n",
	    "[Interface]\nAllowedIPs = 10.0.0.0/8\n",
	    "[Peer]\nAllowedIPs = 10.0.0.0/8\nnonsense\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(in); i++) {
		struct text out = {.s = NULL};
		size_t taken = 0;

		diag_init(&d, "wg0.conf");
		assert_int_equal(import_wg(&out, &taken, "wg0.conf", in[i],
				     strlen(in[i]), &d),
		    UK_EINVAL);
		assert_true(d.errors > 0);
		text_fini(&out);
	}
}

/* And the rules are ones that we take. */
static void
check_taken(const char *in, const char *want, size_t want_taken)
{
	struct text out = {.s = NULL};
	struct rules *r = NULL;
	size_t taken = 0;

	diag_init(&d, "wg0.conf");
	assert_int_equal(
	    import_wg(&out, &taken, "wg0.conf", in, strlen(in), &d), 0);
	assert_int_equal(d.errors, 0);
	assert_string_equal(rules_of(&out), want);
	assert_int_equal(taken, want_taken);
	assert_int_equal(
	    rules_parse(&r, "x.rules", out.s, out.len, NULL, RULES_LINUX, &d),
	    0);
	rules_free(r);
	text_fini(&out);
}

static void
test_taken(void **state)
{
	static const struct {
		const char *in, *out;
		size_t taken;
	} row[] = {
	    {"[Peer]\nAllowedIPs = 10.0.0.0/8\n",
		"IP-CIDR,10.0.0.0/8,tunnel\nDEFAULT,native\n", 1},
	    {"[interface]\nPrivateKey = x\nPostUp = rm -rf /\n"
	     "[peer]\nPublicKey = y\nallowedips = 192.0.2.7/24, 2001:db8::/32\n"
	     "Endpoint = example.com:1\n",
		"IP-CIDR,192.0.2.0/24,tunnel\nIP-CIDR,2001:db8::/32,tunnel\n"
		"DEFAULT,native\n",
		2},
	    {"[Peer]\nAllowedIPs = 10.1.0.0/16, 10.0.0.0/8\n"
	     "[Peer]\nAllowedIPs = 10.0.0.0/8\nAllowedIPs = 192.0.2.1\n",
		"IP-CIDR,10.0.0.0/8,tunnel\nIP-CIDR,192.0.2.1/32,tunnel\n"
		"DEFAULT,native\n",
		2},
	    {"[Peer]\nAllowedIPs = 0.0.0.0/0, ::/0\n", "DEFAULT,tunnel\n", 1},
	    {"[Peer]\nAllowedIPs = 128.0.0.0/1, 0.0.0.0/1, 8000::/1, ::/1\n",
		"DEFAULT,tunnel\n", 1},
	    {"[Peer]\nAllowedIPs = 0.0.0.0/0\n",
		"IP-CIDR,0.0.0.0/0,tunnel\nDEFAULT,native\n", 1},
	    {"[Peer]\nAllowedIPs = 0.0.0.0/1, 128.0.0.0/1, 2001:db8::/32\n",
		"IP-CIDR,0.0.0.0/0,tunnel\nIP-CIDR,2001:db8::/32,tunnel\n"
		"DEFAULT,native\n",
		2},
	    {"[Peer]\nAllowedIPs = ::/0\n",
		"IP-CIDR,::/0,tunnel\nDEFAULT,native\n", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		check_taken(row[i].in, row[i].out, row[i].taken);
}

/* X3: a key is neither quoted nor written. */
static void
test_keys_stay(void **state)
{
	static const char key[] =
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
	struct text in = {.s = NULL}, out = {.s = NULL};
	size_t taken = 0;

	(void)state;
	text_add(&in,
	    "[Interface]\nPrivateKey = %s\n[Peer]\nPresharedKey = %s\n"
	    "AllowedIPs = 10.0.0.0/8\n",
	    key, key);
	diag_init(&d, "wg0.conf");
	assert_int_equal(import_wg(&out, &taken, "x", in.s, in.len, &d), 0);
	assert_null(strstr(out.s, key));
	assert_int_equal(d.n, 0);
	text_add(&in, "AllowedIPs = %s\n", key);
	assert_int_equal(
	    import_wg(&out, &taken, "x", in.s, in.len, &d), UK_EINVAL);
	assert_null(strstr(d.entry[0].text, "AAAA"));
	text_fini(&in);
	text_fini(&out);
}

static void
test_is(void **state)
{
	static const struct {
		const char *text;
		bool is;
	} row[] = {
	    {"", false},
	    {"[Interface]\n", true},
	    {"# comment\n\n[peer]\n", true},
	    {"[Ukai]\n", false},
	    {"rules:\n  - DOMAIN,a.example,P\n", false},
	    {"payload:\n", false},
	    {"a: [Peer]\n", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_int_equal(
		    import_wg_is(row[i].text, strlen(row[i].text)), row[i].is);
}

static void
test_out_of_memory(void **state)
{
	static const char conf[] = "[Peer]\nAllowedIPs = 10.0.0.0/8, ::/1\n";
	unsigned n = 1;

	(void)state;
	for (; n < 100; n++) {
		struct text out = {.s = NULL};
		size_t taken;
		int err;

		diag_init(&d, "wg0.conf");
		fail_at = n;
		err = import_wg(&out, &taken, "x", conf, strlen(conf), &d);
		text_fini(&out);
		if (fail_at > 0)
			break;
		assert_int_equal(err, UK_ENOMEM);
	}
	fail_at = 0;
	assert_true(n > 2 && n < 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_taken),
	    cmocka_unit_test(test_keys_stay),
	    cmocka_unit_test(test_is),
	    cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
