#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/domain_name.h"
#include "core/err.h"

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

#define L63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"
#define L61 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxy"

static const struct {
	const char *text, *name; /* NULL: refused */
} table[] = {
    {"example.com", "example.com"},
    {"EXAMPLE.Com.", "example.com"},
    {"com", "com"},
    {"a", "a"},
    {"_dmarc.example.com", "_dmarc.example.com"},
    {"xn--wgv71a.jp", "xn--wgv71a.jp"},
    /* DNS has these, and what is below a name must be found. */
    {"-a.example.com", "-a.example.com"},
    {"r3---sn-a-.example.com", "r3---sn-a-.example.com"},
    {"\u65e5\u672c.jp", "xn--wgv71a.jp"},
    {"\u65e5\u672c.JP.", "xn--wgv71a.jp"},
    /* Full-width letters and dots of UTS 46. */
    {"\uff45\uff58\uff41mple\u3002com", "example.com"},
    {"_a.\u65e5\u672c.jp", "_a.xn--wgv71a.jp"},
    {"b\u00fccher.example", "xn--bcher-kva.example"},
    {"stra\u00dfe.example", "xn--strae-oqa.example"},
    {L63 "." L63 "." L63 "." L61, L63 "." L63 "." L63 "." L61},
    {L63 "." L63 "." L63 "." L61 ".", L63 "." L63 "." L63 "." L61},
    {L63 "." L63 "." L63 "." L61 "a", NULL},
    {L63 "a.com", NULL},
    {L63 ".com", L63 ".com"},
    {"", NULL},
    {".", NULL},
    {".com", NULL},
    {"a..b", NULL},
    {"a.b..", NULL},
    {"a b", NULL},
    {"a/b", NULL},
    {"a:b", NULL},
    {"*.a", NULL},
    {"a!", NULL},
    {"\u65e5\u672c..jp", NULL},
    {"\u65e5\u672c jp", NULL},
    {"\xff\xfe.jp", NULL},
    {"\u65e5\xe6.jp", NULL},
};

static void
test_table(void **state)
{
	char name[DOMAIN_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const char *text = table[i].text;
		int len = domain_name(name, text, strlen(text));

		if (table[i].name == NULL) {
			if (len != UK_EINVAL)
				fail_msg("\"%s\" is accepted", text);
			continue;
		}
		if (len < 0)
			fail_msg("\"%s\" is refused", text);
		assert_string_equal(name, table[i].name);
		assert_int_equal(len, strlen(name));
	}
	/* A zero inside, and text that is far too long. */
	assert_int_equal(domain_name(name, "a\0b", 3), UK_EINVAL);
	assert_int_equal(domain_name(name, "\u65e5\0b", 5), UK_EINVAL);
	static char huge[70000];
	memset(huge, 'a', sizeof(huge));
	assert_int_equal(domain_name(name, huge, sizeof(huge)), UK_EINVAL);
	memset(huge, 0xe6, sizeof(huge));
	assert_int_equal(domain_name(name, huge, sizeof(huge)), UK_EINVAL);
}

static void
test_keyword(void **state)
{
	static const char *const good[][2] = {
	    {"Ads", "ads"},
	    {".ads-", ".ads-"},
	    {"a..b.", "a..b."},
	    {"_x", "_x"},
	    {"\u65e5\u672c", "xn--wgv71a"},
	};
	static const char *const bad[] = {"", "a b", "a/b", "*", "\xff"};
	char name[DOMAIN_NAME_MAX], full[DOMAIN_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(
		    domain_keyword(name, good[i][0], strlen(good[i][0])),
		    strlen(good[i][1]));
		assert_string_equal(name, good[i][1]);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(
		    domain_keyword(name, bad[i], strlen(bad[i])), UK_EINVAL);
	memset(full, 'a', sizeof(full));
	assert_int_equal(domain_keyword(name, full, 253), 253);
	assert_int_equal(domain_keyword(name, full, 254), UK_EINVAL);
}

/* ---- against a naive twin ---- */

static bool
twin(char *out, const char *text, size_t len)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t label = 0, n = 0;

	if (len > 0 && text[len - 1] == '.')
		len--;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c + 32);
		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
		} else if (c == 0 || strchr(letters, c) == NULL) {
			return false;
		} else if (++label > 63) {
			return false;
		}
		out[n++] = c;
	}
	out[n] = 0;
	return label > 0 && n <= 253;
}

static void
test_twin(void **state)
{
	static const char pool[] = "abzAZ059-_...!*";
	unsigned good = 0, bad = 0;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		char text[300], name[DOMAIN_NAME_MAX], want[300];
		size_t len = rnd() % (round % 8 == 0 ? 300 : 12);
		size_t kinds = rnd() % 4 == 0 ? 15 : 13;
		int got;

		for (size_t i = 0; i < len; i++)
			text[i] = pool[rnd() % kinds];
		got = domain_name(name, text, len);
		if (twin(want, text, len)) {
			good++;
			assert_int_equal(got, strlen(want));
			assert_string_equal(name, want);
		} else {
			bad++;
			assert_int_equal(got, UK_EINVAL);
		}
	}
	assert_true(good > 1000 && bad > 1000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_keyword),
	    cmocka_unit_test(test_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
