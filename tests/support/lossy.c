/* ukai-test-lossy: a path of UDP datagrams that a test makes as bad as it
 * wants, at a moment that it knows. Not part of the product.
 *
 *   ukai-test-lossy PORT ADDR PORT2 [SEED]
 *
 * What comes to PORT, IPv4 or IPv6, goes on to ADDR PORT2 ("up"), and what
 * comes back goes to whoever was the last to send something up ("down").
 * Commands come by lines on stdin, each is answered by one line:
 *
 *   drop none|up|down|both    from now on, all; what waits, too
 *   loss PERMILLE             each way, by chance, from SEED
 *   delay MS                  each way; keeps the order
 *   count                     "up TAKEN PASSED down TAKEN PASSED" since start
 *
 * It ends with its input, or by a signal. Exit: 0, 1 when something fails, 2
 * for wrong use. */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DATAGRAM_MAX 9216
#define WAITING_MAX 4096
#define BATCH 64
#define NS_PER_MS UINT64_C(1000000)
#define SOCKET_BYTES (8 << 20)

enum way { UP, DOWN, WAYS };

struct waiting {
	uint64_t at_ns;
	uint16_t len;
	uint8_t b[DATAGRAM_MAX];
};

struct direction {
	bool drop;
	uint64_t taken, passed;
	struct waiting *ring; /* of WAITING_MAX */
	size_t head, n;
};

static struct {
	int front, back; /* toward the sender; toward ADDR, connected */
	struct sockaddr_in6 sender;
	bool has_sender;
	struct direction way[WAYS];
	uint64_t delay_ns;
	unsigned loss; /* per mille */
	uint64_t rng;
} l;

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 * NS_PER_MS + (uint64_t)t.tv_nsec;
}

static unsigned
rnd(unsigned below)
{
	l.rng ^= l.rng << 13;
	l.rng ^= l.rng >> 7;
	l.rng ^= l.rng << 17;
	return (unsigned)((l.rng >> 32) % below);
}

/* ---- datagrams ---- */

static void
pass(enum way w, const struct waiting *d)
{
	ssize_t sent;

	if (l.way[w].drop || (w == DOWN && !l.has_sender))
		return;
	if (w == UP)
		sent = send(l.back, d->b, d->len, MSG_DONTWAIT);
	else
		sent = sendto(l.front, d->b, d->len, MSG_DONTWAIT,
		    (const struct sockaddr *)&l.sender, sizeof(l.sender));
	l.way[w].passed += sent >= 0;
}

/* One that was read into the ring's next place. */
static void
take(enum way w)
{
	struct direction *d = &l.way[w];
	struct waiting *at = &d->ring[(d->head + d->n) % WAITING_MAX];

	d->taken++;
	if (d->drop || rnd(1000) < l.loss)
		return;
	if (l.delay_ns == 0 && d->n == 0) {
		pass(w, at);
		return;
	}
	at->at_ns = now_ns() + l.delay_ns;
	d->n++;
}

/* One place is always free, to read into; a ring that is full loses. */
static void
receive(enum way w)
{
	struct direction *d = &l.way[w];
	int fd = w == UP ? l.front : l.back;

	for (unsigned i = 0; i < BATCH && d->n < WAITING_MAX - 1; i++) {
		struct waiting *at = &d->ring[(d->head + d->n) % WAITING_MAX];
		struct sockaddr_in6 from;
		socklen_t from_len = sizeof(from);
		ssize_t len =
		    recvfrom(fd, at->b, sizeof(at->b), MSG_DONTWAIT | MSG_TRUNC,
			(struct sockaddr *)&from, &from_len);

		/* Also what an ICMP error says of an earlier one. */
		if (len < 0)
			return;
		if ((size_t)len > sizeof(at->b))
			continue;
		at->len = (uint16_t)len;
		if (w == UP) {
			l.sender = from;
			l.has_sender = true;
		}
		take(w);
	}
}

static void
release(uint64_t now)
{
	for (int w = 0; w < WAYS; w++) {
		struct direction *d = &l.way[w];

		while (d->n > 0 && d->ring[d->head].at_ns <= now) {
			pass((enum way)w, &d->ring[d->head]);
			d->head = (d->head + 1) % WAITING_MAX;
			d->n--;
		}
	}
}

/* For poll(), rounded up. */
static int
wait_ms(uint64_t now)
{
	uint64_t first = UINT64_MAX;

	for (int w = 0; w < WAYS; w++) {
		const struct direction *d = &l.way[w];

		if (d->n > 0 && d->ring[d->head].at_ns < first)
			first = d->ring[d->head].at_ns;
	}
	if (first == UINT64_MAX)
		return -1;
	return first <= now ? 0
			    : (int)((first - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* ---- commands ---- */

static bool
set_drop(const char *what)
{
	bool both = strcmp(what, "both") == 0;

	if (!both && strcmp(what, "none") != 0 && strcmp(what, "up") != 0 &&
	    strcmp(what, "down") != 0)
		return false;
	l.way[UP].drop = both || strcmp(what, "up") == 0;
	l.way[DOWN].drop = both || strcmp(what, "down") == 0;
	return true;
}

static bool
obey(const char *line)
{
	char what[16];
	unsigned n;

	if (sscanf(line, "drop %15s", what) == 1)
		return set_drop(what);
	if (sscanf(line, "loss %u", &n) == 1 && n <= 1000) {
		l.loss = n;
		return true;
	}
	if (sscanf(line, "delay %u", &n) == 1 && n <= 60000) {
		l.delay_ns = n * NS_PER_MS;
		return true;
	}
	return false;
}

static void
command(const char *line)
{
	if (strncmp(line, "count", 5) == 0)
		printf("up %" PRIu64 " %" PRIu64 " down %" PRIu64 " %" PRIu64
		       "\n",
		    l.way[UP].taken, l.way[UP].passed, l.way[DOWN].taken,
		    l.way[DOWN].passed);
	else
		puts(obey(line) ? "ok" : "what?");
	fflush(stdout);
}

/* false: the input has ended. */
static bool
read_commands(void)
{
	static char text[256];
	static size_t len;
	ssize_t n = read(STDIN_FILENO, text + len, sizeof(text) - 1 - len);
	char *end;

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	len += (size_t)n;
	text[len] = '\0';
	while ((end = strchr(text, '\n')) != NULL) {
		*end++ = '\0';
		command(text);
		len -= (size_t)(end - text);
		memmove(text, end, len + 1);
	}
	if (len == sizeof(text) - 1)
		len = 0;
	return true;
}

/* ---- start ---- */

static int
open_front(uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6,
	    .sin6_port = htons(port),
	    .sin6_addr = IN6ADDR_ANY_INIT};
	int off = 0, bytes = SOCKET_BYTES;

	l.front = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (l.front < 0)
		return -1;
	setsockopt(l.front, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(l.front, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	return bind(l.front, (const struct sockaddr *)&a, sizeof(a));
}

static int
open_back(const char *addr, const char *port)
{
	const struct addrinfo want = {.ai_socktype = SOCK_DGRAM,
	    .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *to;
	int bytes = SOCKET_BYTES, r = -1;

	if (getaddrinfo(addr, port, &want, &to) != 0) {
		errno = EINVAL;
		return -1;
	}
	l.back = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (l.back >= 0) {
		setsockopt(
		    l.back, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
		r = connect(l.back, to->ai_addr, to->ai_addrlen);
	}
	freeaddrinfo(to);
	return r;
}

static int
start(char **argv, int argc)
{
	l.rng = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
	l.rng = l.rng * UINT64_C(0x9e3779b97f4a7c15) | 1;
	for (int w = 0; w < WAYS; w++) {
		l.way[w].ring = calloc(WAITING_MAX, sizeof(struct waiting));
		if (l.way[w].ring == NULL)
			return -1;
	}
	if (open_front((uint16_t)strtoul(argv[1], NULL, 10)) < 0)
		return -1;
	return open_back(argv[2], argv[3]);
}

int
main(int argc, char **argv)
{
	if (argc < 4 || argc > 5) {
		fputs(
		    "usage: ukai-test-lossy PORT ADDR PORT2 [SEED]\n", stderr);
		return 2;
	}
	if (start(argv, argc) < 0) {
		perror("ukai-test-lossy");
		return 1;
	}
	for (;;) {
		struct pollfd p[] = {{.fd = l.front, .events = POLLIN},
		    {.fd = l.back, .events = POLLIN},
		    {.fd = STDIN_FILENO, .events = POLLIN}};

		if (poll(p, 3, wait_ms(now_ns())) < 0 && errno != EINTR)
			return 1;
		if (p[2].revents != 0 && !read_commands())
			return 0;
		if (p[0].revents != 0)
			receive(UP);
		if (p[1].revents != 0)
			receive(DOWN);
		release(now_ns());
	}
}
