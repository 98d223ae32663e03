#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/commands/destination.h"
#include "core/err.h"

static struct destination d;

static const char *
first_address(void)
{
	static char text[IP_ADDR_TEXT_MAX];

	return ip_addr_format(&d.addr[0], text);
}

static void
test_addresses(void **state)
{
	static const struct {
		const char *text, *address;
		uint16_t port;
	} c[] = {
	    {"192.0.2.1", "192.0.2.1", 0},
	    {"192.0.2.1:443", "192.0.2.1", 443},
	    {"192.0.2.1:65535", "192.0.2.1", 65535},
	    {"2001:db8::1", "2001:db8::1", 0},
	    {"2001:db8::443", "2001:db8::443", 0},
	    {"[2001:db8::1]", "2001:db8::1", 0},
	    {"[2001:db8::1]:1", "2001:db8::1", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		assert_int_equal(destination_parse(&d, c[i].text), 0);
		assert_false(d.is_name);
		assert_int_equal(d.addrs, 1);
		assert_int_equal(d.names, 0);
		assert_string_equal(first_address(), c[i].address);
		assert_int_equal(d.port, c[i].port);
		assert_int_equal(
		    destination_add_address(&d, "192.0.2.9"), UK_EINVAL);
	}
}

static void
test_names(void **state)
{
	static const struct {
		const char *text, *name;
		uint16_t port;
	} c[] = {
	    {"example.jp", "example.jp", 0},
	    {"Example.JP.:443", "example.jp", 443},
	    {"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e.jp:1", "xn--wgv71a119e.jp",
		1},
	    {"localhost", "localhost", 0},
	    {"4.example", "4.example", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		assert_int_equal(destination_parse(&d, c[i].text), 0);
		assert_true(d.is_name);
		assert_int_equal(d.addrs, 0);
		assert_int_equal(d.names, 1);
		assert_string_equal(d.name[0], c[i].name);
		assert_int_equal(d.port, c[i].port);
	}
}

static void
test_refused(void **state)
{
	static const char *const c[] = {"", ":", ":443", "1.2.3.400",
	    "1.2.3:80", "example.jp:", "example.jp:0", "example.jp:65536",
	    "example.jp:https", "[::1", "[::1]x", "[::1]:", "[::1]:0",
	    "[::1]:1:2", "[]:1", "[example.jp]:1", "::1:", "a b", "a..b",
	    "http://example.jp"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		assert_int_equal(destination_parse(&d, c[i]), UK_EINVAL);
}

static void
test_more(void **state)
{
	char text[32];

	(void)state;
	assert_int_equal(destination_parse(&d, "example.jp"), 0);
	assert_int_equal(destination_add_address(&d, "192.0.2.256"), UK_EINVAL);
	assert_int_equal(destination_add_name(&d, "192.0.2.1"), UK_EINVAL);
	assert_int_equal(destination_add_name(&d, "a b"), UK_EINVAL);
	for (unsigned i = 1; i < DESTINATION_NAMES; i++) {
		snprintf(text, sizeof(text), "n%u.jp", i);
		assert_int_equal(destination_add_name(&d, text), 0);
		assert_string_equal(d.name[i], text);
	}
	assert_int_equal(destination_add_name(&d, "x.jp"), UK_EINVAL);
	for (unsigned i = 0; i < DESTINATION_ADDRS; i++)
		assert_int_equal(destination_add_address(&d, "::1"), 0);
	assert_int_equal(destination_add_address(&d, "::1"), UK_EINVAL);
	assert_int_equal(d.addrs, DESTINATION_ADDRS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
