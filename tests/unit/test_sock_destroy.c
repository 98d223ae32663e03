/* Connections of this host's loopback, ended from outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/err.h"
#include "host/sock_destroy.h"

struct pair {
	int listening, near, far;
	struct flow_tuple tuple; /* from near to far */
};

static uint16_t
port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return ntohs(a.sin_port);
}

static void
pair_open(struct pair *p)
{
	struct sockaddr_in a = {.sin_family = AF_INET};

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	p->listening = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(
	    bind(p->listening, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(p->listening, 1), 0);
	a.sin_port = htons(port_of(p->listening));
	p->near = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(p->near, (struct sockaddr *)&a, sizeof(a)), 0);
	p->far = accept(p->listening, NULL, NULL);
	assert_true(p->far >= 0);
	p->tuple = (struct flow_tuple){.src = {FAMILY_V4, {127, 0, 0, 1}},
	    .dst = {FAMILY_V4, {127, 0, 0, 1}},
	    .sport = port_of(p->near),
	    .dport = port_of(p->listening),
	    .protocol = IPPROTO_TCP};
}

static void
pair_close(struct pair *p)
{
	close(p->listening);
	close(p->near);
	close(p->far);
}

static bool
is_open(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static bool
is_listening(int fd)
{
	socklen_t len = sizeof(int);
	int is = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is, &len) == 0 && is;
}

static void
expect_end(int fd, int error)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	char c;

	assert_int_equal(poll(&wait, 1, 5000), 1);
	assert_int_equal(recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, error);
}

/* Both ends hear of it; nobody else does, above all not who listens. */
static void
test_ends(void **state)
{
	struct sock_destroy *s;
	struct flow_tuple t;
	struct pair p, other;
	int err;

	(void)state;
	pair_open(&p);
	pair_open(&other);
	assert_int_equal(sock_destroy_open(&s), 0);
	t = p.tuple;
	t.sport = p.tuple.dport; /* the kernel finds the listening socket */
	t.dport = 1;
	err = sock_destroy_tcp(s, &t);
	if (err == UK_EPERM)
		skip();
	assert_int_equal(err, UK_ENOENT);
	assert_true(is_listening(p.listening));
	t = p.tuple;
	t.protocol = IPPROTO_UDP;
	assert_int_equal(sock_destroy_tcp(s, &t), UK_EINVAL);
	assert_true(is_open(p.near));
	err = sock_destroy_tcp(s, &p.tuple);
	if (err == UK_EINVAL || err == UK_EPERM)
		skip(); /* the kernel, or whoever we are, cannot */
	assert_int_equal(err, 0);
	expect_end(p.near, ECONNABORTED);
	expect_end(p.far, ECONNRESET);
	assert_true(is_open(other.near));
	assert_int_equal(sock_destroy_tcp(s, &p.tuple), UK_ENOENT);
	sock_destroy_close(s);
	pair_close(&p);
	pair_close(&other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
