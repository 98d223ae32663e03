/* ports_probe: which ports the kernel chooses, for tests/net.
 *
 *   ports_probe tcp N        N connections to one server of its own on port 7
 *   ports_probe udp N        N connected UDP sockets, IPv6
 *       prints each socket's local port; all are open at the same time
 *   ports_probe listen PORT  prints "ready" and listens until it is killed
 *
 * Exit: 0; 1: a call failed (EADDRNOTAVAIL: prints "full" first); 2: usage. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER 7

static int
fail(const char *what)
{
	if (errno == EADDRNOTAVAIL || errno == EAGAIN)
		puts("full");
	perror(what);
	return 1;
}

static int
listen_at(uint16_t port)
{
	const struct sockaddr_in a = {.sin_family = AF_INET,
	    .sin_port = htons(port),
	    .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(fd, 4096) < 0)
		return -1;
	return fd;
}

static int
tcp(int n)
{
	const struct sockaddr_in to = {.sin_family = AF_INET,
	    .sin_port = htons(SERVER),
	    .sin_addr = {htonl(INADDR_LOOPBACK)}};

	if (listen_at(SERVER) < 0)
		return fail("listen");
	for (int i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		struct sockaddr_in a;
		socklen_t len = sizeof(a);

		if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
			return fail("connect");
		getsockname(fd, (struct sockaddr *)&a, &len);
		printf("%u\n", ntohs(a.sin_port));
	}
	return 0;
}

static int
udp(int n)
{
	const struct sockaddr_in6 to = {.sin6_family = AF_INET6,
	    .sin6_port = htons(SERVER),
	    .sin6_addr = IN6ADDR_LOOPBACK_INIT};

	for (int i = 0; i < n; i++) {
		int fd = socket(AF_INET6, SOCK_DGRAM, 0);
		struct sockaddr_in6 a;
		socklen_t len = sizeof(a);

		if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
			return fail("connect");
		getsockname(fd, (struct sockaddr *)&a, &len);
		printf("%u\n", ntohs(a.sin6_port));
	}
	return 0;
}

static int
stay(uint16_t port)
{
	if (listen_at(port) < 0)
		return fail("listen");
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}

int
main(int argc, char **argv)
{
	int n = argc == 3 ? atoi(argv[2]) : 0;

	if (n > 0 && strcmp(argv[1], "tcp") == 0)
		return tcp(n);
	if (n > 0 && strcmp(argv[1], "udp") == 0)
		return udp(n);
	if (n > 0 && strcmp(argv[1], "listen") == 0)
		return stay((uint16_t)n);
	fputs("usage: ports_probe tcp|udp N | listen PORT\n", stderr);
	return 2;
}
