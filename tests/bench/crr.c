/* ukai-bench-crr: how many TCP connections a second get through, one after the
 * other in each of some slots: connect, send a byte, receive a byte, close.
 *
 *	ukai-bench-crr serve ADDRESS PORT
 *	ukai-bench-crr call ADDRESS PORT SECONDS SLOTS
 *
 * call prints connections per second.
 *
 * The server closes first, so that what waits in TIME_WAIT (RFC 9293 section
 * 3.6.1) waits there and the caller's ports are free again at once. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

#define SLOTS_MAX 256

static struct sockaddr_in
parse_address(const char *host, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET};

	a.sin_port = htons((uint16_t)atoi(port));
	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		errx(2, "'%s' is not an IPv4 address", host);
	return a;
}

static int
new_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		err(1, "socket");
	return fd;
}

static void
watch(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0)
		err(1, "epoll_ctl");
}

/* ---- serve ---- */

static void
accept_all(int epoll, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		watch(epoll, fd, EPOLLIN, (uint64_t)fd);
}

static void
answer(int fd)
{
	char byte;

	if (recv(fd, &byte, 1, 0) == 1)
		(void)send(fd, &byte, 1, MSG_NOSIGNAL);
	close(fd);
}

static int
serve(const struct sockaddr_in *at)
{
	struct epoll_event e[SLOTS_MAX];
	int listener = new_socket(), epoll = epoll_create1(0), one = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (const struct sockaddr *)at, sizeof(*at)) != 0 ||
	    listen(listener, SLOTS_MAX) != 0)
		err(1, "listen");
	watch(epoll, listener, EPOLLIN, (uint64_t)listener);
	for (;;) {
		int n = epoll_wait(epoll, e, SLOTS_MAX, -1);

		for (int i = 0; i < n; i++) {
			if (e[i].data.u64 == (uint64_t)listener)
				accept_all(epoll, listener);
			else
				answer((int)e[i].data.u64);
		}
	}
}

/* ---- call ---- */

struct slot {
	int fd;
	bool sent, answered;
};

static void
begin(int epoll, struct slot *slots, size_t i, const struct sockaddr_in *to)
{
	int fd = new_socket();

	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0 &&
	    errno != EINPROGRESS)
		err(1, "connect");
	slots[i] = (struct slot){.fd = fd};
	watch(epoll, fd, EPOLLOUT, i);
}

/* Returns true when the slot's connection is over. One that ends without its
 * answer ends the program: only whole ones count. */
static bool
go_on(int epoll, struct slot *slots, size_t i)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = i};
	struct slot *s = &slots[i];
	char byte = 'x', bytes[2];
	ssize_t n;

	if (!s->sent) {
		if (send(s->fd, &byte, 1, MSG_NOSIGNAL) != 1)
			err(1, "send");
		s->sent = true;
		epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &e);
		return false;
	}
	/* The byte, later the end; often both at once. */
	while ((n = recv(s->fd, bytes, sizeof(bytes), 0)) > 0)
		s->answered = true;
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0)
		err(1, "recv");
	if (!s->answered)
		errx(1, "a connection was closed without an answer");
	close(s->fd);
	return true;
}

static int
call(const struct sockaddr_in *to, double seconds, size_t n_slots)
{
	static struct slot slots[SLOTS_MAX];
	struct epoll_event e[SLOTS_MAX];
	int epoll = epoll_create1(0);
	double start = measure_wall_s();
	uint64_t done = 0;

	for (size_t i = 0; i < n_slots; i++)
		begin(epoll, slots, i, to);
	while (measure_wall_s() - start < seconds) {
		int n = epoll_wait(epoll, e, SLOTS_MAX, 100);

		for (int i = 0; i < n; i++) {
			if (!go_on(epoll, slots, e[i].data.u64))
				continue;
			done++;
			begin(epoll, slots, e[i].data.u64, to);
		}
	}
	printf("%.0f\n", (double)done / (measure_wall_s() - start));
	return done == 0;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address;
	int slots;

	if (argc < 4)
		errx(2, "usage: ukai-bench-crr serve ADDRESS PORT | "
			"call ADDRESS PORT SECONDS SLOTS");
	address = parse_address(argv[2], argv[3]);
	if (strcmp(argv[1], "serve") == 0 && argc == 4)
		return serve(&address);
	if (strcmp(argv[1], "call") != 0 || argc != 6)
		errx(2, "serve or call?");
	slots = atoi(argv[5]);
	if (slots < 1 || slots > SLOTS_MAX)
		errx(2, "SLOTS: 1 to %d", SLOTS_MAX);
	return call(&address, atof(argv[4]), (size_t)slots);
}
