/* flows_probe: single flows of the kernel's connection tracking, for
 * tests/net.
 *
 *   server PROTO ADDRESS PORT   prints "ready", then for each client the tuple
 *                               that it began with; TCP clients stay connected,
 *                               until SIGTERM
 *   client PROTO FROM PORT TO PORT  sends from there; TCP: connects, prints
 *                               "connected", and ends with a reset when
 *                               standard input does
 *   list FAMILY MARK MASK
 *   delete PROTO FROM PORT TO PORT
 *   watch MARK MASK             prints "ready" and flows that end, until
 *                               SIGTERM
 *   times PROTO FROM PORT TO PORT  the median of what asking for such a reply
 *                               takes, in us
 *
 * PROTO: tcp, udp, or a number. Exit: 0, 1 with the error said, 2 wrong use. */
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/err.h"
#include "host/flows.h"
#include "io/sockaddr.h"

static uint8_t
protocol(const char *s)
{
	if (strcmp(s, "tcp") == 0)
		return IPPROTO_TCP;
	return strcmp(s, "udp") == 0 ? IPPROTO_UDP
				     : (uint8_t)strtoul(s, NULL, 0);
}

static uint32_t
number(const char *s)
{
	return (uint32_t)strtoul(s, NULL, 0);
}

static void
tuple_print(const char *what, const struct flow_tuple *t)
{
	char src[IP_ADDR_TEXT_MAX], dst[IP_ADDR_TEXT_MAX];

	printf("%s %u %s %u %s %u", what, t->protocol,
	    ip_addr_format(&t->src, src), t->sport,
	    ip_addr_format(&t->dst, dst), t->dport);
}

static bool
entry_print(void *arg, const struct flow_entry *e)
{
	tuple_print(arg, &e->original);
	tuple_print(" reply", &e->reply);
	printf(" mark 0x%x%s\n", e->mark, e->answered ? " answered" : "");
	fflush(stdout);
	return true;
}

static int
tuple_args(struct flow_tuple *t, char **a)
{
	memset(t, 0, sizeof(*t));
	t->protocol = protocol(a[0]);
	t->sport = (uint16_t)number(a[2]);
	t->dport = (uint16_t)number(a[4]);
	if (ip_addr_parse(&t->src, a[1], strlen(a[1])) < 0 ||
	    ip_addr_parse(&t->dst, a[3], strlen(a[3])) < 0)
		return UK_EINVAL;
	return 0;
}

static int
bound_socket(uint8_t proto, const struct ip_addr *a, uint16_t port)
{
	int family = a->family == FAMILY_V6 ? AF_INET6 : AF_INET, one = 1;
	int fd =
	    socket(family, proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM, 0);
	struct endpoint e = {.addr = *a, .port = port};
	union sockaddr_any sa;
	socklen_t len = sockaddr_store(&sa, &e);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return fd >= 0 && bind(fd, &sa.sa, len) == 0 ? fd : -1;
}

/* Who called, and what for? */
static void
tell_client(struct flows *f, uint8_t proto, const union sockaddr_any *peer,
    const union sockaddr_any *local)
{
	struct flow_tuple reply = {.protocol = proto}, original;
	struct endpoint from, to;
	int r;

	sockaddr_load(&from, peer);
	sockaddr_load(&to, local);
	reply.src = to.addr;
	reply.sport = to.port;
	reply.dst = from.addr;
	reply.dport = from.port;
	r = flows_original(f, &reply, &original);
	if (r < 0)
		printf("%s", uk_strerror(r));
	else
		tuple_print("original", &original);
	printf("\n");
	fflush(stdout);
}

static int
do_server(struct flows *f, char **a)
{
	union sockaddr_any peer, local;
	uint8_t proto = protocol(a[0]);
	struct ip_addr addr;
	char b[64];
	int fd;

	if (ip_addr_parse(&addr, a[1], strlen(a[1])) < 0)
		return UK_EINVAL;
	fd = bound_socket(proto, &addr, (uint16_t)number(a[2]));
	if (fd < 0 || (proto == IPPROTO_TCP && listen(fd, 8) < 0))
		return UK_ESYS;
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		socklen_t peer_len = sizeof(peer), local_len = sizeof(local);
		int conn = fd;

		if (proto == IPPROTO_TCP)
			conn = accept(fd, &peer.sa, &peer_len);
		else if (recvfrom(fd, b, sizeof(b), 0, &peer.sa, &peer_len) < 0)
			return UK_ESYS;
		if (getsockname(conn, &local.sa, &local_len) < 0)
			return UK_ESYS;
		tell_client(f, proto, &peer, &local);
		if (proto == IPPROTO_UDP &&
		    sendto(fd, b, 1, 0, &peer.sa, peer_len) < 0)
			return UK_ESYS;
	}
}

static int
do_client(struct flows *f, char **a)
{
	const struct linger reset = {1, 0};
	struct endpoint to = {.port = 0};
	union sockaddr_any sa;
	struct flow_tuple t;
	char b[64];
	int fd;

	(void)f;
	if (tuple_args(&t, a) < 0)
		return UK_EINVAL;
	to.addr = t.dst;
	to.port = t.dport;
	fd = bound_socket(t.protocol, &t.src, t.sport);
	if (fd < 0 || connect(fd, &sa.sa, sockaddr_store(&sa, &to)) < 0)
		return UK_ESYS;
	printf("connected\n");
	fflush(stdout);
	if (t.protocol == IPPROTO_UDP)
		return send(fd, "?", 1, 0) == 1 && recv(fd, b, sizeof(b), 0) > 0
			   ? 0
			   : UK_ESYS;
	while (read(0, b, sizeof(b)) > 0)
		continue;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
	return 0;
}

static int
do_list(struct flows *f, char **a)
{
	static char flow[] = "flow";

	return flows_each(f, (uint8_t)number(a[0]), number(a[1]), number(a[2]),
	    entry_print, flow);
}

static int
do_delete(struct flows *f, char **a)
{
	struct flow_tuple t;

	return tuple_args(&t, a) < 0 ? UK_EINVAL : flows_delete(f, &t);
}

static int
do_watch(struct flows *f, char **a)
{
	static char ended[] = "ended";
	struct pollfd p = {.events = POLLIN};
	struct flow_entry e;
	struct diag d;
	int r;

	diag_init(&d, NULL);
	r = flows_watch(f, number(a[0]), number(a[1]), &p.fd, &d);
	diag_print(&d, "flows_probe", stdout);
	if (r < 0)
		return r;
	printf("ready\n");
	fflush(stdout);
	while (poll(&p, 1, -1) > 0) {
		while ((r = flows_ended(f, &e)) == 0)
			entry_print(ended, &e);
		if (r != UK_EAGAIN)
			printf("watch: %s\n", uk_strerror(r));
		fflush(stdout);
	}
	return 0;
}

static int
compare_ns(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int
do_times(struct flows *f, char **a)
{
	uint64_t took_ns[501];
	struct flow_tuple t, original;
	int r = tuple_args(&t, a);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(took_ns); i++) {
		struct timespec from, to;

		clock_gettime(CLOCK_MONOTONIC, &from);
		r = flows_original(f, &t, &original);
		clock_gettime(CLOCK_MONOTONIC, &to);
		took_ns[i] = (uint64_t)(to.tv_sec - from.tv_sec) * UK_NS_PER_S +
			     (uint64_t)to.tv_nsec - (uint64_t)from.tv_nsec;
	}
	if (r < 0)
		return r;
	qsort(took_ns, ARRAY_LEN(took_ns), sizeof(took_ns[0]), compare_ns);
	printf("%u\n", (unsigned)(took_ns[ARRAY_LEN(took_ns) / 2] / 1000));
	return 0;
}

static const struct {
	const char *name;
	int args;
	int (*run)(struct flows *f, char **a);
} verbs[] = {
    {"server", 3, do_server},
    {"client", 5, do_client},
    {"list", 3, do_list},
    {"delete", 5, do_delete},
    {"watch", 2, do_watch},
    {"times", 5, do_times},
};

int
main(int argc, char **argv)
{
	struct flows *f = NULL;
	struct diag d;
	int r;

	for (size_t i = 0; argc > 1 && i < ARRAY_LEN(verbs); i++) {
		if (strcmp(verbs[i].name, argv[1]) != 0 ||
		    argc - 2 != verbs[i].args)
			continue;
		diag_init(&d, NULL);
		r = flows_open(&f, &d);
		diag_print(&d, "flows_probe", stdout);
		if (r == 0)
			r = verbs[i].run(f, argv + 2);
		if (r < 0)
			printf("%s: %s\n", argv[1], uk_strerror(r));
		flows_close(f);
		return r < 0;
	}
	return 2;
}
