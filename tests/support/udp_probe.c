/* udp_probe: uses io/udp for real, inside a namespace that a test script
 * made. Commands come by lines on stdin, each is answered by one line:
 *
 *   open PORT [nooffload] [shared] [mark N]    close
 *   send ADDR PORT COUNT SIZE LAST TOS [SRC]  COUNT datagrams of SIZE bytes,
 *                                             the last one LAST, to ADDR;
 *                                             PORT may be PORT%SCOPE
 *   mix ADDR PORT ADDR2                       awkward runs to two addresses
 *   recv COUNT MS                             until COUNT have come
 *   reply TOS                                 to the last that came
 *   fill ADDR PORT                            until the socket is full
 *   drain MS                                  send what fill kept back
 *   sndbuf BYTES       mark N       bound     rss
 *   feature IFNAME gro|tso 0|1
 *   inject WHAT        from now on the system behaves like that: none,
 *                      nov4, nov6, nosockopt, eio
 *
 * The socket calls are intercepted, to be counted and to be made to fail. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/sockios.h>

#include "core/endpoint.h"
#include "core/err.h"
#include "io/clock.h"
#include "io/udp.h"

#define BURST 256
#define SLAB (4 << 20)

static struct {
	unsigned calls; /* that carried something */
	unsigned messages; /* in them */
	unsigned gso; /* of these, sent by UDP_SEGMENT */
	int error; /* the last that a call ended with, but EAGAIN */
} count;

static const char *injected = "none";

static bool
inject(const char *what)
{
	return strcmp(injected, what) == 0;
}

static bool
has_segment(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL;
	     c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
			return true;
	return false;
}

static int
counted(long r)
{
	if (r > 0) {
		count.calls++;
		count.messages += (unsigned)r;
	} else if (r < 0 && errno != EAGAIN) {
		count.error = errno;
	}
	return (int)r;
}

int
sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	int sent;

	if (inject("eio") && n > 0 && has_segment(&m[0].msg_hdr)) {
		errno = EIO;
		return counted(-1);
	}
	sent = counted(syscall(SYS_sendmmsg, fd, m, n, flags));
	for (int i = 0; i < sent; i++)
		count.gso += has_segment(&m[i].msg_hdr);
	return sent;
}

int
recvmmsg(
    int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
	return counted(syscall(SYS_recvmmsg, fd, m, n, flags, timeout));
}

int
socket(int family, int type, int protocol)
{
	if ((inject("nov4") && family == AF_INET) ||
	    (inject("nov6") && family == AF_INET6)) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	return (int)syscall(SYS_socket, family, type, protocol);
}

/* Linux before 4.18 and 5.0. */
static bool
sockopt_unknown(int level)
{
	if (!inject("nosockopt") || level != SOL_UDP)
		return false;
	errno = ENOPROTOOPT;
	return true;
}

int
getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	if (sockopt_unknown(level))
		return -1;
	return (int)syscall(SYS_getsockopt, fd, level, name, value, len);
}

int
setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (sockopt_unknown(level))
		return -1;
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static struct udp *udp;
static uint8_t slab[SLAB];
static struct endpoint peer; /* of the last that came */
static struct dgram pending[BURST];
static struct endpoint pending_to;
static unsigned n_pending;

/* FNV-1a over TOS, lengths and bytes, in order: equal streams have equal
 * sums. */
static uint64_t
hash_add(uint64_t h, const struct dgram *d)
{
	const uint8_t *b = pbuf_data(&d->buf);
	uint32_t len = d->buf.len;

	h = (h ^ d->tos) * UINT64_C(0x100000001b3);
	h = (h ^ len) * UINT64_C(0x100000001b3);
	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	return h;
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

static uint8_t
next_byte(void)
{
	static uint32_t x = 1;

	x = x * 1664525 + 1013904223;
	return (uint8_t)(x >> 24);
}

static const char *
addr_text(const struct ip_addr *a)
{
	static char text[4][IP_ADDR_TEXT_MAX];
	static unsigned i;

	if (a->family == FAMILY_NONE)
		return "none";
	return ip_addr_format(a, text[i++ % 4]);
}

static bool
parse_endpoint(struct endpoint *ep, const char *addr, const char *port)
{
	const char *scope = strchr(port, '%');

	*ep = (struct endpoint){.port = (uint16_t)atoi(port)};
	if (scope != NULL)
		ep->scope_id = (uint32_t)atoi(scope + 1);
	return ip_addr_parse(&ep->addr, addr, strlen(addr)) == 0;
}

static void
cmd_open(int argc, char **argv)
{
	struct udp_conf c = {.port = (uint16_t)atoi(argv[1])};
	struct diag d;
	int r;

	for (int i = 2; i < argc; i++) {
		c.no_offload |= strcmp(argv[i], "nooffload") == 0;
		c.shared |= strcmp(argv[i], "shared") == 0;
		if (strcmp(argv[i], "mark") == 0 && i + 1 < argc)
			c.mark = (uint32_t)atoi(argv[i + 1]);
	}
	diag_init(&d, NULL);
	r = udp_open(&udp, &c, &d);
	if (r != 0) {
		printf("error %d %s\n", r, d.n > 0 ? d.entry[0].text : "-");
		return;
	}
	printf("ok port=%u v4=%d v6=%d\n", udp_port(udp),
	    udp_fd(udp, FAMILY_V4) >= 0, udp_fd(udp, FAMILY_V6) >= 0);
}

/* Send all of d, waiting for room. Returns false when there was none. */
static bool
send_all(struct dgram *d, unsigned n)
{
	unsigned done = 0;

	while (done < n) {
		struct pollfd p = {.events = POLLOUT};

		done += udp_send(udp, d + done, n - done);
		if (done == n)
			break;
		p.fd = udp_fd(udp, d[done].ep->addr.family);
		if (poll(&p, 1, 2000) <= 0)
			return false;
	}
	return true;
}

static void
print_sent(unsigned n, uint64_t hash, const struct endpoint *ep)
{
	printf("sent=%u failed=%llu calls=%u messages=%u gso=%u error=%s "
	       "src=%s hash=%016llx\n",
	    n, (unsigned long long)udp_stats(udp)->send_failed, count.calls,
	    count.messages, count.gso, strerrorname_np(count.error),
	    addr_text(&ep->src), (unsigned long long)hash);
}

static void
cmd_send(int argc, char **argv)
{
	unsigned n = (unsigned)atoi(argv[3]);
	unsigned size = (unsigned)atoi(argv[4]);
	unsigned last = (unsigned)atoi(argv[5]);
	uint64_t hash = HASH_START;
	struct endpoint ep;
	struct dgram d[BURST];

	if (!parse_endpoint(&ep, argv[1], argv[2]))
		return;
	if (argc > 7)
		ip_addr_parse(&ep.src, argv[7], strlen(argv[7]));
	ep.src_ifindex = ep.scope_id;
	for (unsigned i = 0; i < n;) {
		unsigned k = 0;

		for (; i < n && k < BURST && (k + 1) * size <= SLAB; k++, i++) {
			unsigned len = i == n - 1 ? last : size;
			uint8_t *at = slab + (size_t)k * size;

			for (unsigned j = 0; j < len; j++)
				at[j] = next_byte();
			d[k] = (struct dgram){.buf = pbuf_make(at, len, 0, len),
			    .ep = &ep,
			    .tos = (uint8_t)strtoul(argv[6], NULL, 0)};
			hash = hash_add(hash, &d[k]);
		}
		if (!send_all(d, k))
			break;
	}
	print_sent(n, hash, &ep);
}

/* Runs that break in every way: length up, length down, TOS, destination,
 * empty, one byte. */
static void
cmd_mix(int argc, char **argv)
{
	static const struct {
		uint16_t len;
		uint8_t to, tos;
	} rows[] = {{100, 0, 0}, {100, 0, 0}, {100, 0, 0}, {50, 0, 0},
	    {100, 0, 0}, {200, 0, 0}, {200, 0, 0}, {200, 1, 0}, {200, 1, 0},
	    {200, 0, 0}, {200, 0, 2}, {200, 0, 2}, {0, 0, 0}, {0, 0, 0},
	    {1, 0, 0}, {1, 0, 0}, {1, 1, 0}, {1452, 0, 1}, {1452, 0, 1},
	    {1451, 0, 1}, {1451, 0, 1}, {1, 0, 1}};
	enum { N = sizeof(rows) / sizeof(rows[0]) };
	struct endpoint ep[2];
	struct dgram d[N];
	uint64_t hash = HASH_START;

	(void)argc;
	if (!parse_endpoint(&ep[0], argv[1], argv[2]) ||
	    !parse_endpoint(&ep[1], argv[3], argv[2]))
		return;
	for (unsigned i = 0; i < N; i++) {
		uint8_t *at = slab + i * 2048;

		memset(at, (int)i, rows[i].len);
		d[i] =
		    (struct dgram){.buf = pbuf_make(at, 2048, 0, rows[i].len),
			.ep = &ep[rows[i].to],
			.tos = rows[i].tos};
		if (rows[i].to == 0)
			hash = hash_add(hash, &d[i]);
	}
	send_all(d, N);
	print_sent(N, hash, &ep[0]);
}

static void
cmd_recv(int argc, char **argv)
{
	unsigned want = (unsigned)atoi(argv[1]);
	uint64_t until =
	    clock_now().mono_ns + (uint64_t)atoi(argv[2]) * UK_NS_PER_MS;
	uint64_t hash = HASH_START;
	unsigned got = 0, most = 0, tos_min = 255, tos_max = 0;

	(void)argc;
	while (got < want && clock_now().mono_ns < until) {
		struct pollfd p[2] = {
		    {.fd = udp_fd(udp, FAMILY_V4), .events = POLLIN},
		    {.fd = udp_fd(udp, FAMILY_V6), .events = POLLIN}};

		poll(p, 2, 20);
		for (int i = 0; i < 2; i++) {
			struct dgram *d;
			unsigned n =
			    udp_recv(udp, i ? FAMILY_V6 : FAMILY_V4, &d);

			most = n > most ? n : most;
			got += n;
			for (unsigned j = 0; j < n; j++) {
				hash = hash_add(hash, &d[j]);
				peer = *d[j].ep;
				if (d[j].tos < tos_min)
					tos_min = d[j].tos;
				if (d[j].tos > tos_max)
					tos_max = d[j].tos;
			}
		}
	}
	printf("got=%u calls=%u messages=%u most=%u tos=0x%02x..0x%02x "
	       "from=%s to=%s truncated=%llu hash=%016llx\n",
	    got, count.calls, count.messages, most, tos_min, tos_max,
	    addr_text(&peer.addr), addr_text(&peer.src),
	    (unsigned long long)udp_stats(udp)->truncated,
	    (unsigned long long)hash);
}

static void
cmd_reply(int argc, char **argv)
{
	uint8_t text[] = "reply";
	struct dgram d = {.buf = pbuf_make(text, sizeof(text), 0, 5),
	    .ep = &peer,
	    .tos = (uint8_t)strtoul(argv[1], NULL, 0)};

	(void)argc;
	send_all(&d, 1);
	print_sent(1, 0, &peer);
}

static void
cmd_fill(int argc, char **argv)
{
	unsigned before = 0;

	(void)argc;
	if (!parse_endpoint(&pending_to, argv[1], argv[2]))
		return;
	memset(slab, 'f', BURST * 1400);
	for (unsigned i = 0; i < 10000 && n_pending == 0; i++) {
		unsigned done;

		for (unsigned j = 0; j < BURST; j++)
			pending[j] = (struct dgram){
			    .buf = pbuf_make(slab + j * 1400, 1400, 0, 1400),
			    .ep = &pending_to};
		done = udp_send(udp, pending, BURST);
		before += done;
		memmove(pending, pending + done,
		    (BURST - done) * sizeof(pending[0]));
		n_pending = BURST - done;
	}
	printf("done=%u kept=%u failed=%llu\n", before, n_pending,
	    (unsigned long long)udp_stats(udp)->send_failed);
}

static void
cmd_drain(int argc, char **argv)
{
	uint64_t until =
	    clock_now().mono_ns + (uint64_t)atoi(argv[1]) * UK_NS_PER_MS;
	unsigned done = 0;

	(void)argc;
	while (done < n_pending && clock_now().mono_ns < until) {
		struct pollfd p = {.fd = udp_fd(udp, pending_to.addr.family),
		    .events = POLLOUT};

		poll(&p, 1, 50);
		done += udp_send(udp, pending + done, n_pending - done);
	}
	printf("done=%u kept=%u failed=%llu\n", done, n_pending - done,
	    (unsigned long long)udp_stats(udp)->send_failed);
	n_pending -= done;
}

static void
cmd_close(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	udp_close(udp);
	udp = NULL;
	puts("ok");
}

static void
cmd_sndbuf(int argc, char **argv)
{
	int bytes = atoi(argv[1]);

	(void)argc;
	printf("ok %d\n", setsockopt(udp_fd(udp, FAMILY_V4), SOL_SOCKET,
			      SO_SNDBUF, &bytes, sizeof(bytes)));
}

static void
cmd_mark(int argc, char **argv)
{
	(void)argc;
	printf("%d\n", udp_set_mark(udp, (uint32_t)atoi(argv[1])));
}

static uint16_t
bound_port(int fd)
{
	struct sockaddr_in6 a = {0};
	socklen_t len = sizeof(a);

	getsockname(fd, (struct sockaddr *)&a, &len);
	return ntohs(a.sin6_port);
}

static void
cmd_bound(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("v4=%u v6=%u\n", bound_port(udp_fd(udp, FAMILY_V4)),
	    bound_port(udp_fd(udp, FAMILY_V6)));
}

static void
cmd_inject(int argc, char **argv)
{
	(void)argc;
	injected = strdup(argv[1]);
	puts("ok");
}

static void
cmd_rss(int argc, char **argv)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, pages;

	(void)argc;
	(void)argv;
	if (f == NULL || fscanf(f, "%ld %ld", &size, &pages) != 2)
		pages = 0;
	if (f != NULL)
		fclose(f);
	printf("kib=%ld\n", pages * 4);
}

/* As ethtool -K does it; that program is not needed for anything else. */
static void
cmd_feature(int argc, char **argv)
{
	struct ethtool_value v = {
	    .cmd = strcmp(argv[2], "gro") == 0 ? ETHTOOL_SGRO : ETHTOOL_STSO,
	    .data = (uint32_t)atoi(argv[3])};
	struct ifreq ifr = {.ifr_data = (char *)&v};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)argc;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", argv[1]);
	printf("%d\n", ioctl(fd, SIOCETHTOOL, &ifr));
	close(fd);
}

static const struct {
	const char *name;
	int args; /* at least */
	bool needs_open;
	void (*fn)(int argc, char **argv);
} commands[] = {
    {"open", 1, false, cmd_open},
    {"close", 0, false, cmd_close},
    {"send", 6, true, cmd_send},
    {"mix", 3, true, cmd_mix},
    {"recv", 2, true, cmd_recv},
    {"reply", 1, true, cmd_reply},
    {"fill", 2, true, cmd_fill},
    {"drain", 1, true, cmd_drain},
    {"sndbuf", 1, true, cmd_sndbuf},
    {"mark", 1, true, cmd_mark},
    {"bound", 0, true, cmd_bound},
    {"inject", 1, false, cmd_inject},
    {"rss", 0, false, cmd_rss},
    {"feature", 3, false, cmd_feature},
};

static void
run(char *line)
{
	char *argv[16];
	int argc = 0;

	for (char *w = strtok(line, " \n"); w != NULL && argc < 15;
	     w = strtok(NULL, " \n"))
		argv[argc++] = w;
	memset(&count, 0, sizeof(count));
	for (size_t i = 0; argc > 0 && i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[0], commands[i].name) != 0)
			continue;
		if (argc <= commands[i].args ||
		    (commands[i].needs_open && udp == NULL))
			break;
		commands[i].fn(argc, argv);
		return;
	}
	puts("what?");
}

int
main(void)
{
	char line[1024];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin) != NULL)
		run(line);
	udp_close(udp);
	return 0;
}
