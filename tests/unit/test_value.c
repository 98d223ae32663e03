#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/value.h"

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static const struct {
	const char *text;
	uint64_t max;
	bool hex, ok;
	uint64_t value;
} numbers[] = {
    {"0", 0, false, true, 0},
    {"1", 0, false, false, 0},
    {"65535", 65535, false, true, 65535},
    {"65536", 65535, false, false, 0},
    {"00065535", 65535, false, true, 65535},
    {"18446744073709551615", UINT64_MAX, false, true, UINT64_MAX},
    {"18446744073709551616", UINT64_MAX, false, false, 0},
    {"99999999999999999999", UINT64_MAX, false, false, 0},
    {"18446744073709551615", UINT64_MAX - 1, false, false, 0},
    {"7", 8, false, true, 7},
    {"9", 8, false, false, 0},
    {"", 9, false, false, 0},
    {"-1", 9, false, false, 0},
    {"+1", 9, false, false, 0},
    {" 1", 9, false, false, 0},
    {"1 ", 9, false, false, 0},
    {"1x", 99, false, false, 0},
    {"a", 99, false, false, 0},
    {"0x10", 99, false, false, 0},
    {"0x10", 99, true, true, 16},
    {"0XfF", 255, true, true, 255},
    {"0x100", 255, true, false, 0},
    {"0x", 255, true, false, 0},
    {"x1", 255, true, false, 0},
    {"0xg", 255, true, false, 0},
    {"ff", 255, true, false, 0},
    {"0x0x1", 255, true, false, 0},
    {"0xffffffffffffffff", UINT64_MAX, true, true, UINT64_MAX},
    {"0x1ffffffffffffffff", UINT64_MAX, true, false, 0},
};

static void
test_numbers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		uint64_t v = 12345;
		int err = value_parse_u64(&v, numbers[i].text,
		    strlen(numbers[i].text), numbers[i].max, numbers[i].hex);

		assert_int_equal(err == 0, numbers[i].ok);
		assert_int_equal(v, numbers[i].ok ? numbers[i].value : 12345);
	}
}

/* Twin: what printf() wrote, compared with the bound afterwards. */
static void
test_numbers_twin(void **state)
{
	char text[32];

	(void)state;
	for (int i = 0; i < 50000; i++) {
		uint64_t want = rnd() >> rnd() % 64, max = rnd() >> rnd() % 64;
		bool hex = rnd() & 1;
		uint64_t v = 0;
		int err;

		if (rnd() % 8 == 0)
			max = want + rnd() % 3 - 1;
		snprintf(text, sizeof(text), hex ? "0x%llx" : "%llu",
		    (unsigned long long)want);
		err = value_parse_u64(&v, text, strlen(text), max, hex);
		assert_int_equal(err == 0, want <= max);
		assert_int_equal(v, err == 0 ? want : 0);
	}
}

static const char good[] = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
static const char zeros[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

static void
test_key_base64(void **state)
{
	static const char *const bad[] = {
	    "",
	    "=",
	    "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk", /* unpadded */
	    "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmm=", /* spare bits */
	    "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBm==", /* 31 bytes */
	    "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk0", /* 33 bytes */
	    "yAnz5TF-lXXJte14tji3zlMNq_hd2rYUIgJBgB3fBmk=", /* URL variant */
	    "yAnz5TF lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
	    "=AnzyTF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
	    "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n",
	};
	char text[KEY_BASE64_LEN + 1];
	uint8_t key[KEY_LEN], untouched[KEY_LEN];

	(void)state;
	assert_int_equal(value_parse_key_base64(key, good, 44), 0);
	assert_int_equal(key[0], 0xc8);
	value_format_key_base64(text, key);
	assert_string_equal(text, good);
	assert_int_equal(value_parse_key_base64(key, zeros, 44), 0);
	memset(key, 0xa5, sizeof(key));
	memset(untouched, 0xa5, sizeof(untouched));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_true(
		    value_parse_key_base64(key, bad[i], strlen(bad[i])) < 0);
		assert_memory_equal(key, untouched, sizeof(key));
	}
}

/* Twin: a search in the alphabet, for every byte at every place. (libsodium
 * 1.0.18 is lax above 0x7f.) */
static void
test_key_every_byte(void **state)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
	    "opqrstuvwxyz0123456789+/";
	char text[KEY_BASE64_LEN + 1], back[KEY_BASE64_LEN + 1], hex[65];
	uint8_t key[KEY_LEN];

	(void)state;
	for (size_t at = 0; at < KEY_BASE64_LEN; at++) {
		for (unsigned c = 0; c < 256; c++) {
			const char *letter = memchr(alphabet, (int)c, 64);
			bool want = letter != NULL;

			if (at == 42)
				want = want && (letter - alphabet) % 4 == 0;
			if (at == 43)
				want = c == '=';
			memcpy(text, good, sizeof(text));
			text[at] = (char)c;
			assert_int_equal(
			    value_parse_key_base64(key, text, 44) == 0, want);
			if (!want)
				continue;
			value_format_key_base64(back, key);
			assert_string_equal(text, back);
		}
	}
	for (size_t at = 0; at < KEY_HEX_LEN; at++) {
		for (unsigned c = 0; c < 256; c++) {
			memset(hex, '0', 64);
			hex[at] = (char)c;
			assert_int_equal(value_parse_key_hex(key, hex, 64) == 0,
			    memchr("0123456789abcdefABCDEF", (int)c, 22) !=
				NULL);
		}
	}
}

static void
test_key_hex(void **state)
{
	char text[KEY_HEX_LEN + 2];
	uint8_t key[KEY_LEN], back[KEY_LEN];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		char base64[KEY_BASE64_LEN + 1], saved;
		size_t at = rnd() % KEY_HEX_LEN;

		for (size_t k = 0; k < KEY_LEN; k++)
			key[k] = (uint8_t)rnd();
		value_format_key_hex(text, key);
		assert_int_equal(strlen(text), KEY_HEX_LEN);
		assert_int_equal(value_parse_key_hex(back, text, 64), 0);
		assert_memory_equal(key, back, KEY_LEN);
		value_format_key_base64(base64, key);
		assert_int_equal(value_parse_key_base64(back, base64, 44), 0);
		assert_memory_equal(key, back, KEY_LEN);
		saved = text[at];
		text[at] = "gG:/@`\0 "[rnd() % 8];
		assert_true(value_parse_key_hex(back, text, 64) < 0);
		assert_memory_equal(key, back, KEY_LEN);
		text[at] = saved;
		text[64] = '0';
		assert_true(value_parse_key_hex(back, text, 65) < 0);
		assert_true(value_parse_key_hex(back, text, 63) < 0);
		assert_true(value_parse_key_hex(back, text, 62) < 0);
	}
	memset(text, 'F', 64);
	assert_int_equal(value_parse_key_hex(key, text, 64), 0);
	assert_int_equal(key[31], 0xff);
}

static const struct {
	const char *in, *out, *scope; /* out NULL: refused */
} endpoints[] = {
    {"192.0.2.1:51820", "192.0.2.1:51820", ""},
    {"192.0.2.1:1", "192.0.2.1:1", ""},
    {"[2001:db8::1]:65535", "[2001:db8::1]:65535", ""},
    {"[fe80::1%eth0]:5", "[fe80::1]:5", "eth0"},
    {"[fe80::1%3]:5", "[fe80::1%3]:5", ""},
    {"[febf::1%abcdefghijklmno]:5", "[febf::1]:5", "abcdefghijklmno"},
    {"[fe80::1%4294967295]:5", "[fe80::1%4294967295]:5", ""},
    {"[fe80::1]:5", "[fe80::1]:5", ""},
    {"[fe80::1%0]:5", NULL, NULL},
    {"[fe80::1%]:5", NULL, NULL},
    {"[fe80::1%abcdefghijklmnop]:5", NULL, NULL},
    {"[fe80::1%a/b]:5", NULL, NULL},
    {"[2001:db8::1%eth0]:5", NULL, NULL},
    {"[fec0::1%eth0]:5", NULL, NULL},
    {"192.0.2.1:0", NULL, NULL},
    {"192.0.2.1:65536", NULL, NULL},
    {"192.0.2.1:", NULL, NULL},
    {"192.0.2.1", NULL, NULL},
    {"192.0.2.1:+5", NULL, NULL},
    {":5", NULL, NULL},
    {"", NULL, NULL},
    {"[]:5", NULL, NULL},
    {"[:5", NULL, NULL},
    {"]:5", NULL, NULL},
    {"[192.0.2.1]:5", NULL, NULL},
    {"2001:db8::1:5", NULL, NULL},
    {"[2001:db8::1]5", NULL, NULL},
    {"[2001:db8::1]", NULL, NULL},
    {"[2001:db8::1] :5", NULL, NULL},
    {"192.0.2.1%eth0:5", NULL, NULL},
    {"relay.example:5", NULL, NULL},
};

static void
test_endpoints(void **state)
{
	char text[ENDPOINT_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
		const char *in = endpoints[i].in;
		char scope[16] = "old", *copy = malloc(strlen(in) + 1);
		struct endpoint e, before;
		int err;

		/* Not terminated, so that reading past the end is caught. */
		assert_non_null(copy);
		memcpy(copy, in, strlen(in));
		memset(&e, 0xa5, sizeof(e));
		before = e;
		err = value_parse_endpoint(&e, scope, copy, strlen(in));
		free(copy);
		if (endpoints[i].out == NULL) {
			assert_true(err < 0);
			assert_memory_equal(&e, &before, sizeof(e));
			assert_string_equal(scope, "old");
			continue;
		}
		assert_int_equal(err, 0);
		assert_string_equal(
		    endpoint_format(&e, text), endpoints[i].out);
		assert_string_equal(scope, endpoints[i].scope);
		assert_int_equal(e.src.family, FAMILY_NONE);
		assert_int_equal(e.src_ifindex, 0);
	}
}

static void
test_ifname(void **state)
{
	static const char *const yes[] = {
	    "a", "eth0", "wg-quick_0", "abcdefghijklmno", "...", ".a", "a%b"};
	static const char *const no[] = {"", ".", "..", "abcdefghijklmnop",
	    "a/b", "a b", "a:b", "a\tb", "\n", "a\x7f"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		assert_true(value_is_ifname(yes[i], strlen(yes[i])));
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_false(value_is_ifname(no[i], strlen(no[i])));
	assert_false(value_is_ifname("a\0b", 3));
}

static void
test_hostname(void **state)
{
	static const char *const yes[] = {"a", "localhost", "relay.example.com",
	    "relay.example.com.", "xn--eckwd4c7c.example", "1.example", "a-b",
	    "_sip.example", "3com", "1.2.3.4a"};
	static const char *const no[] = {"", ".", "..", "a..b", ".a", "-a",
	    "a-", "a.-b", "a b", "a/b", "1.2.3.4", "1.2.3.256", "7", "a.7",
	    "a.7.", "\xe8\xbf\x82.example", "a:b", "a.."};
	char label[64 + 1], name[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		assert_true(value_is_hostname(yes[i], strlen(yes[i])));
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_false(value_is_hostname(no[i], strlen(no[i])));
	memset(label, 'a', sizeof(label));
	assert_true(value_is_hostname(label, 63));
	assert_false(value_is_hostname(label, 64));
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 10 == 9 ? '.' : 'a';
	assert_true(value_is_hostname(name, 253));
	assert_false(value_is_hostname(name, 254));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_numbers_twin),
	    cmocka_unit_test(test_key_base64),
	    cmocka_unit_test(test_key_every_byte),
	    cmocka_unit_test(test_key_hex),
	    cmocka_unit_test(test_endpoints),
	    cmocka_unit_test(test_ifname),
	    cmocka_unit_test(test_hostname),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
