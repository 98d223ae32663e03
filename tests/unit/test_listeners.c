#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/err.h"
#include "host/listeners.h"

/* N1: which ports are somebody's. */
static void
test_listeners(void **state)
{
	static const char tcp[] =
	    "  sl  local_address rem_address   st\n"
	    "   0: 00000000:1F90 00000000:0000 0A 0 0\n"
	    "   1: 0100007F:1F91 00000000:0000 0A 0 0\n" /* loopback */
	    "   2: 0A00020F:1F92 01000001:0050 01 0 0\n" /* connected */
	    "   3: 00000000000000000000000000000000:1F91 "
	    "00000000000000000000000000000000:0000 0A 0 0\n"
	    "   4: 00000000000000000000000001000000:1F93 "
	    "00000000000000000000000000000000:0000 0A 0 0\n"
	    "   5: 0000000000000000FFFF00000100007F:1F94 "
	    "00000000000000000000000000000000:0000 0A 0 0\n"
	    "   6: 00000000:0050 00000000:0000 0A 0 0\n"
	    "   7: 00000000:0000 00000000:0000 0A 0 0\n" /* none */
	    "   8: 00000000:0051 00000000:0000 07 0 0\n";
	static const char udp[] = "   0: 00000000:0035 00000000:0000 07 0 0\n"
				  "   1: 00000000:9C40 00000000:0000 07 0 0\n"
				  "rubbish\n   2: 00000000:FFFF";
	struct listeners l = {
	    .ephemeral_first = 32768, .ephemeral_last = 60999};
	struct text t = {.s = NULL};
	struct port_set services;

	(void)state;
	listeners_parse_tcp(&l, tcp);
	listeners_parse_udp(&l, udp);
	assert_true(port_set_has(&l.udp, 0x9c40));
	assert_int_equal(port_set_count(&l.udp), 2);
	assert_int_equal(listeners_format(&l.loopback, 0, 9, &t), 2);
	assert_string_equal(t.s, "8081, 8083-8084");
	text_clear(&t);
	listeners_services(&l, &services);
	assert_int_equal(listeners_format(&services, 1, 10, &t), 3);
	assert_string_equal(t.s, "53, 80, 8080-8081");
	text_clear(&t);
	assert_int_equal(listeners_format(&services, 54, 1, &t), 2);
	assert_string_equal(t.s, "80");
	text_fini(&t);
	port_set_add(&services, UINT16_MAX, UINT16_MAX);
	assert_int_equal(listeners_format(&services, 60000, 9, &t), 1);
	assert_string_equal(t.s, "65535");
	text_fini(&t);
}

static void
test_range_text(void **state)
{
	static const struct {
		const char *text;
		int low; /* -1: refused */
	} row[] = {{"32768\t60999\n", 32768}, {"1 1", 1}, {"0 65535", 0},
	    {"2 1", -1}, {"1", -1}, {"1 65536", -1}, {"", -1}, {"12", -1},
	    {"1 2 3", -1}, {"a b", -1}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		uint16_t low = 7, high = 7;
		int r = listeners_parse_range(
		    &low, &high, row[i].text, strlen(row[i].text));

		assert_int_equal(r, row[i].low >= 0 ? 0 : UK_EINVAL);
		assert_int_equal(low, row[i].low >= 0 ? row[i].low : 7);
	}
}

/* A socket bound to an address, at a port of the kernel's choice. */
static int
bind_to(int type, uint32_t addr, uint16_t *port)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(addr)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

/* What the kernel tells of sockets of our own. */
static void
test_read(void **state)
{
	static struct listeners l;
	uint16_t idle, tcp, udp, local;
	struct diag d;
	int fd[4];

	(void)state;
	diag_init(&d, NULL);
	fd[0] = bind_to(SOCK_STREAM, INADDR_ANY, &tcp);
	fd[1] = bind_to(SOCK_DGRAM, INADDR_ANY, &udp);
	fd[2] = bind_to(SOCK_STREAM, INADDR_LOOPBACK, &local);
	fd[3] = bind_to(SOCK_STREAM, INADDR_ANY, &idle);
	assert_int_equal(listen(fd[0], 1), 0);
	assert_int_equal(listen(fd[2], 1), 0);
	assert_int_equal(listeners_read(&l, &d), 0);
	assert_int_equal(d.errors, 0);
	assert_true(port_set_has(&l.tcp, tcp));
	assert_true(port_set_has(&l.udp, udp));
	assert_true(port_set_has(&l.loopback, local));
	assert_false(port_set_has(&l.tcp, local));
	assert_false(port_set_has(&l.tcp, idle));
	assert_true(l.ephemeral_first <= tcp && tcp <= l.ephemeral_last);
	for (size_t i = 0; i < ARRAY_LEN(fd); i++)
		close(fd[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_listeners),
	    cmocka_unit_test(test_range_text),
	    cmocka_unit_test(test_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
