/* flow: traffic whose every byte is known to whoever receives it, to see that
 * a tunnel neither loses, changes, repeats nor reorders.
 *
 *   sink PORT                  receives, TCP and UDP, until SIGTERM; on SIGUSR1
 *                              waits for 0.3 s of silence, tells of each UDP
 *                              flow: udp ID got N disorder N twice N bad N;
 *                              and begins to count anew
 *   tcp ADDR PORT BYTES        exit 0: the sink has them all, unharmed
 *   udp ADDR PORT ID COUNT US  that many datagrams (0: until SIGTERM), eight
 *                              of them every US microseconds; ID 0 to 15;
 *                              goes on when sending fails
 *
 * A datagram is its flow's ID, its number and bytes that follow from both; a
 * stream is bytes that follow from their place. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FLOWS 16
#define NUMBERS (1u << 22)
#define HEADER 8
#define CONNECTIONS 32
#define BURST 8

static volatile sig_atomic_t ending, asked;

static void
on_signal(int sig)
{
	if (sig == SIGUSR1)
		asked = 1;
	else
		ending = 1;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- what the bytes are ---- */

static void
fill(uint8_t *b, size_t len, uint64_t at)
{
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)((at + i) * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

static bool
is_filled(const uint8_t *b, size_t len, uint64_t at)
{
	for (size_t i = 0; i < len; i++)
		if (b[i] !=
		    (uint8_t)((at + i) * UINT64_C(0x9e3779b97f4a7c15) >> 56))
			return false;
	return true;
}

static uint64_t
place(uint32_t id, uint32_t number)
{
	return ((uint64_t)id << 32 | number) * 1000003;
}

/* Runs of equal lengths, as real traffic has, with shorter ones between. */
static size_t
length(uint32_t number)
{
	return number % 23 == 7 ? HEADER + number % 900 : 1200;
}

/* ---- sink ---- */

struct flow {
	unsigned got, disorder, twice, bad;
	uint32_t next; /* one more than the greatest that came */
	uint8_t seen[NUMBERS / 8];
};

static struct flow flows[FLOWS];

struct connection {
	int fd;
	uint64_t at;
	bool bad;
};

static struct connection connections[CONNECTIONS];

static void
take_datagram(const uint8_t *b, size_t len)
{
	uint32_t id, number;
	struct flow *f;

	memcpy(&id, b, 4);
	memcpy(&number, b + 4, 4);
	if (len < HEADER || id >= FLOWS || number >= NUMBERS) {
		flows[0].bad++;
		return;
	}
	f = &flows[id];
	f->got++;
	f->twice += f->seen[number / 8] >> (number % 8) & 1;
	f->seen[number / 8] |= (uint8_t)(1 << (number % 8));
	f->disorder += number < f->next;
	if (number >= f->next)
		f->next = number + 1;
	f->bad += len != length(number) ||
		  !is_filled(b + HEADER, len - HEADER, place(id, number));
}

static void
receive_udp(int fd)
{
	uint8_t b[2048] = {0};
	ssize_t n;

	for (int i = 0; i < 64; i++) {
		n = recv(fd, b, sizeof(b), MSG_DONTWAIT);
		if (n < 0)
			return;
		take_datagram(b, (size_t)n);
	}
}

/* At its end the sender hears how much was right. */
static void
receive_tcp(struct connection *c)
{
	static uint8_t b[1 << 18];
	ssize_t n = recv(c->fd, b, sizeof(b), MSG_DONTWAIT);
	uint64_t right;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		c->bad |= !is_filled(b, (size_t)n, c->at);
		c->at += (uint64_t)n;
		return;
	}
	right = n < 0 || c->bad ? 0 : c->at;
	(void)!write(c->fd, &right, sizeof(right));
	close(c->fd);
	c->fd = -1;
}

static void
accept_tcp(int fd)
{
	int got = accept(fd, NULL, NULL);

	for (int i = 0; i < CONNECTIONS && got >= 0; i++) {
		if (connections[i].fd >= 0)
			continue;
		connections[i] = (struct connection){.fd = got};
		return;
	}
	if (got >= 0)
		close(got);
}

static int
bound(int type, const char *port)
{
	struct sockaddr_in6 a = {
	    .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
	int on = 1, buffer = 8 << 20;
	int fd = socket(AF_INET6, type, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
		die("bind");
	if (type == SOCK_STREAM && listen(fd, CONNECTIONS) != 0)
		die("listen");
	return fd;
}

static void
tell(void)
{
	for (int i = 0; i < FLOWS; i++)
		if (flows[i].got > 0 || flows[i].bad > 0)
			printf("udp %d got %u disorder %u twice %u bad %u\n", i,
			    flows[i].got, flows[i].disorder, flows[i].twice,
			    flows[i].bad);
	puts("told");
	fflush(stdout);
	memset(flows, 0, sizeof(flows));
}

static void
sink(const char *port)
{
	int udp = bound(SOCK_DGRAM, port), tcp = bound(SOCK_STREAM, port);

	for (int i = 0; i < CONNECTIONS; i++)
		connections[i].fd = -1;
	while (!ending) {
		int got;
		struct pollfd p[2 + CONNECTIONS] = {
		    {.fd = udp, .events = POLLIN},
		    {.fd = tcp, .events = POLLIN}};

		for (int i = 0; i < CONNECTIONS; i++)
			p[2 + i] = (struct pollfd){
			    .fd = connections[i].fd, .events = POLLIN};
		got = poll(p, 2 + CONNECTIONS, 300);
		if (got == 0 && asked) {
			asked = 0;
			tell();
		}
		if (got <= 0)
			continue;
		if (p[0].revents)
			receive_udp(udp);
		if (p[1].revents)
			accept_tcp(tcp);
		for (int i = 0; i < CONNECTIONS; i++)
			if (p[2 + i].revents)
				receive_tcp(&connections[i]);
	}
}

/* ---- sources ---- */

static int
connected(int type, const char *addr, const char *port)
{
	const struct addrinfo hints = {
	    .ai_socktype = type, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *a;
	int fd;

	if (getaddrinfo(addr, port, &hints, &a) != 0)
		die(addr);
	fd = socket(a->ai_family, a->ai_socktype, 0);
	if (fd < 0 || connect(fd, a->ai_addr, a->ai_addrlen) != 0)
		die("connect");
	freeaddrinfo(a);
	return fd;
}

static int
send_tcp(const char *addr, const char *port, uint64_t bytes)
{
	static uint8_t b[1 << 16];
	int fd = connected(SOCK_STREAM, addr, port);
	uint64_t at = 0, right = 0;

	while (at < bytes) {
		size_t len =
		    bytes - at < sizeof(b) ? (size_t)(bytes - at) : sizeof(b);
		ssize_t n;

		fill(b, len, at);
		n = send(fd, b, len, 0);
		if (n < 0)
			die("send");
		at += (uint64_t)n;
	}
	shutdown(fd, SHUT_WR);
	if (recv(fd, &right, sizeof(right), MSG_WAITALL) != sizeof(right))
		die("the sink's answer");
	printf("%llu of %llu bytes came unharmed\n", (unsigned long long)right,
	    (unsigned long long)bytes);
	return right != bytes;
}

static int
send_udp(int fd, uint32_t id, uint32_t count, long us)
{
	const struct timespec pause = {.tv_nsec = us * 1000};
	uint8_t b[2048];

	for (uint32_t i = 0; i < (count ? count : NUMBERS) && !ending; i++) {
		size_t len = length(i);

		memcpy(b, &id, 4);
		memcpy(b + 4, &i, 4);
		fill(b + HEADER, len - HEADER, place(id, i));
		(void)!send(fd, b, len, 0);
		if (i % BURST == BURST - 1)
			nanosleep(&pause, NULL);
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && strcmp(argv[1], "sink") == 0) {
		sink(argv[2]);
		return 0;
	}
	if (argc == 5 && strcmp(argv[1], "tcp") == 0)
		return send_tcp(argv[2], argv[3], strtoull(argv[4], NULL, 10));
	if (argc == 7 && strcmp(argv[1], "udp") == 0)
		return send_udp(connected(SOCK_DGRAM, argv[2], argv[3]),
		    (uint32_t)atoi(argv[4]), (uint32_t)atoi(argv[5]),
		    atol(argv[6]));
	fputs("usage: see the source\n", stderr);
	return 2;
}
