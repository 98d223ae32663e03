#include "policy_flow.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <unistd.h>

/* Long enough for a stalled machine; a flow that goes where it should is seen
 * at once. */
#define PATIENCE_MS 700

static void
must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(2);
}

static int
open_link(const char *name)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET,
	    .sll_protocol = htons(ETH_P_ALL),
	    .sll_ifindex = (int)if_nametoindex(name)};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	    htons(ETH_P_ALL));

	must(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0, name);
	return fd;
}

void
policy_line_open(struct policy_line *l, const char *line, const char *tunnel,
    const char *lan)
{
	l->link[0] = open_link(line);
	l->link[1] = open_link(tunnel);
	l->here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	l->lan = lan != NULL ? open(lan, O_RDONLY | O_CLOEXEC) : -1;
	must(l->here >= 0 && (lan == NULL || l->lan >= 0), "namespaces");
	(void)ip_addr_parse(&l->lan_src[0], "192.168.50.7", 12);
	(void)ip_addr_parse(&l->lan_src[1], "fd50::7", 7);
}

static socklen_t
to_sockaddr(struct sockaddr_storage *s, const struct ip_addr *a, uint16_t port)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)s;
	struct sockaddr_in *v4 = (struct sockaddr_in *)s;

	memset(s, 0, sizeof(*s));
	if (a->family == FAMILY_V6) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		memcpy(&v6->sin6_addr, a->b, 16);
		return sizeof(*v6);
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons(port);
	memcpy(&v4->sin_addr, a->b, 4);
	return sizeof(*v4);
}

static int
open_socket(const struct policy_try *t)
{
	int family = t->dst.family == FAMILY_V6 ? AF_INET6 : AF_INET;
	int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

	if (t->proto == RULE_TCP)
		return socket(family, SOCK_STREAM | flags, 0);
	if (t->proto == RULE_UDP)
		return socket(family, SOCK_DGRAM | flags, 0);
	return socket(family, SOCK_DGRAM | flags,
	    family == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* Whose socket it is, is settled when it is made. */
static int
make_socket(struct policy_line *l, const struct policy_try *t)
{
	struct ip_addr any = {.family = t->dst.family};
	struct sockaddr_storage s;
	socklen_t len = to_sockaddr(&s, &any, t->sport);
	int fd, on = 1;

	if (t->from_lan)
		must(setns(l->lan, CLONE_NEWNET) == 0, "setns");
	setfsuid(t->uid);
	fd = open_socket(t);
	setfsuid(0);
	if (t->from_lan)
		must(setns(l->here, CLONE_NEWNET) == 0, "setns");
	must(fd >= 0, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	must(t->mark == 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &t->mark,
				 sizeof(t->mark)) == 0,
	    "SO_MARK");
	must(bind(fd, (struct sockaddr *)&s, len) == 0, "bind");
	return fd;
}

/* Is it a packet of the flow? Then *src is its source. */
static bool
is_of(const struct policy_try *t, const uint8_t *p, size_t len,
    struct ip_addr *src)
{
	bool v6 = t->dst.family == FAMILY_V6;
	size_t header = v6 ? 40 : 20, size = v6 ? 16 : 4;
	uint8_t proto = t->proto == RULE_TCP   ? IPPROTO_TCP
			: t->proto == RULE_UDP ? IPPROTO_UDP
			: v6                   ? IPPROTO_ICMPV6
					       : IPPROTO_ICMP;
	size_t at = header + (t->proto == RULE_ICMP ? 4 : 0);

	if (len < header + 8 || p[0] >> 4 != t->dst.family ||
	    p[v6 ? 6 : 9] != proto ||
	    memcmp(p + (v6 ? 24 : 16), t->dst.b, size) != 0 ||
	    (p[at] << 8 | p[at + 1]) != t->sport)
		return false;
	*src = (struct ip_addr){.family = t->dst.family};
	memcpy(src->b, p + (v6 ? 8 : 12), size);
	return true;
}

static void
look(const struct policy_line *l, const struct policy_try *t,
    struct policy_went *w)
{
	uint8_t packet[2048];
	struct sockaddr_ll from;

	for (unsigned i = 0; i < 2; i++) {
		socklen_t len = sizeof(from);
		ssize_t n;

		while ((n = recvfrom(l->link[i], packet, sizeof(packet), 0,
			    (struct sockaddr *)&from, &len)) >= 0)
			if (from.sll_pkttype == PACKET_OUTGOING &&
			    is_of(t, packet, (size_t)n, &w->src))
				w->seen |= 1u << i;
	}
}

static int
pending_error(int fd)
{
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return err;
}

static void
settle(struct policy_line *l, const struct policy_try *t, struct policy_went *w,
    int err)
{
	struct pollfd p[] = {{.fd = l->link[0], .events = POLLIN},
	    {.fd = l->link[1], .events = POLLIN}, {.fd = w->fd, .events = 0}};

	w->seen = 0;
	w->error = err < 0 && errno != EINPROGRESS ? errno : 0;
	look(l, t, w);
	for (int waited = 0; waited < PATIENCE_MS; waited += 50) {
		if (w->error == 0)
			w->error = pending_error(w->fd);
		if (w->seen != 0 || w->error != 0)
			break;
		poll(p, ARRAY_LEN(p), 50);
		look(l, t, w);
	}
	look(l, t, w);
}

void
policy_flow_send(
    struct policy_line *l, const struct policy_try *t, struct policy_went *w)
{
	struct sockaddr_storage to;
	socklen_t len = to_sockaddr(&to, &t->dst, t->dport);
	int err;

	w->fd = make_socket(l, t);
	look(l, t, w);
	err = connect(w->fd, (struct sockaddr *)&to, len);
	if (err == 0 && t->proto != RULE_TCP) {
		policy_flow_again(l, t, w);
		return;
	}
	settle(l, t, w, err);
}

void
policy_flow_again(
    struct policy_line *l, const struct policy_try *t, struct policy_went *w)
{
	static const uint8_t echo[8] = {ICMP_ECHO};
	static const uint8_t echo6[8] = {ICMP6_ECHO_REQUEST};
	const uint8_t *m = t->dst.family == FAMILY_V6 ? echo6 : echo;

	settle(l, t, w, (int)send(w->fd, m, sizeof(echo), MSG_NOSIGNAL));
}
