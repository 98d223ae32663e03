/* What the socket calls give comes back as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/base.h"
#include "core/value.h"
#include "io/sockaddr.h"

static void
test_there_and_back(void **state)
{
	static const char *const row[] = {
	    "192.0.2.1:51820", "[2001:db8::1]:1", "[fe80::1%3]:65535"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct endpoint e, back;
		union sockaddr_any a;
		char scope[16];
		bool v6;

		assert_int_equal(
		    value_parse_endpoint(&e, scope, row[i], strlen(row[i])), 0);
		v6 = e.addr.family == FAMILY_V6;
		assert_int_equal(
		    sockaddr_store(&a, &e), v6 ? sizeof(a.v6) : sizeof(a.v4));
		assert_int_equal(a.sa.sa_family, v6 ? AF_INET6 : AF_INET);
		memset(&back, 0xff, sizeof(back));
		sockaddr_load(&back, &a);
		assert_true(endpoint_same_remote(&e, &back));
		assert_int_equal(back.src.family, FAMILY_NONE);
		assert_int_equal(back.src_ifindex, 0);
	}
}

/* Network byte order, and the address where the kernel looks for it. */
static void
test_bytes(void **state)
{
	const struct endpoint e = {
	    .addr = {FAMILY_V4, {192, 0, 2, 1}}, .port = 0x1234};
	union sockaddr_any a;

	(void)state;
	(void)sockaddr_store(&a, &e);
	assert_memory_equal(&a.v4.sin_port, "\x12\x34", 2);
	assert_memory_equal(&a.v4.sin_addr, "\xc0\x00\x02\x01", 4);
}

static void
test_family_missing(void **state)
{
	(void)state;
	assert_true(sockaddr_family_missing(EAFNOSUPPORT));
	assert_true(sockaddr_family_missing(EADDRNOTAVAIL));
	assert_true(sockaddr_family_missing(EPROTONOSUPPORT));
	assert_false(sockaddr_family_missing(EADDRINUSE));
	assert_false(sockaddr_family_missing(0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_bytes),
	    cmocka_unit_test(test_family_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
