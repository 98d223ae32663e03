#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/err.h"
#include "dns_forward_parts.h"
#include "host/os_err.h"
#include "io/sockaddr.h"

/* A burst of questions waits here while the kernel's tables are changed. */
#define RECEIVE_BUFFER (1 << 20)
#define PORT_TRIES 16

/* ---- whom they meant ---- */

static bool
is_link_local(const struct ip_addr *a)
{
	return a->family == FAMILY_V6 && a->b[0] == 0xfe &&
	       (a->b[1] & 0xc0) == 0x80;
}

/* The interface of a route by this address, or else of a default route: it is
 * the line's router, or on its link. 0: none. */
static uint32_t
scope_of_routes(const struct ip_addr *a)
{
	char line[256], dst[33], via[33], dev[IF_NAMESIZE], want[33];
	uint32_t scope = 0;
	unsigned bits;
	FILE *f = fopen("/proc/net/ipv6_route", "re");

	if (!f)
		return 0;
	for (unsigned i = 0; i < 16; i++)
		snprintf(want + 2 * i, 3, "%02x", a->b[i]);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%32s %x %*s %*s %32s %*s %*s %*s %*s %15s",
			dst, &bits, via, dev) != 4 ||
		    strcmp(dev, "lo") == 0)
			continue;
		if (strcmp(via, want) == 0) {
			scope = if_nametoindex(dev);
			break;
		}
		if (bits == 0 && scope == 0)
			scope = if_nametoindex(dev);
	}
	fclose(f);
	return scope;
}

/* Connection tracking does not know the interface of a link-local server. A
 * client on a link means one there; this host's own programs have it from
 * resolv.conf, or from the router. */
static void
scope_find(struct dns_forward *f, struct endpoint *server, uint32_t ifindex)
{
	const struct dns_resolv *r;

	if (!is_link_local(&server->addr) || server->scope_id != 0)
		return;
	server->scope_id = ifindex;
	if (ifindex != if_nametoindex("lo") && ifindex != 0)
		return;
	r = dns_resolv_now(f);
	for (unsigned i = 0; i < r->n; i++)
		if (ip_addr_equal(&r->server[i].addr, &server->addr))
			server->scope_id = r->server[i].scope_id;
	if (server->scope_id == ifindex || server->scope_id == 0)
		server->scope_id = scope_of_routes(&server->addr);
}

/* Somebody who asks our own port was not redirected. */
static void
server_check(struct dns_forward *f, struct endpoint *server, uint32_t ifindex)
{
	if (server->port == f->port)
		*server = (struct endpoint){0};
	scope_find(f, server, ifindex);
}

static void
udp_server(struct dns_forward *f, struct dns_origin *o)
{
	struct flow_tuple reply = {
	    .src = o->peer.src,
	    .dst = o->peer.addr,
	    .sport = f->port,
	    .dport = o->peer.port,
	    .protocol = IPPROTO_UDP,
	    .zone = f->port,
	};
	struct flow_tuple original;
	int r = flows_original(f->flows, &reply, &original);

	/* From port 53 (policy_nft). */
	if (r == UK_ENOENT) {
		reply.zone = 0;
		r = flows_original(f->flows, &reply, &original);
	}
	o->server = (struct endpoint){0};
	if (r < 0)
		return;
	o->server.addr = original.dst;
	o->server.port = original.dport;
	server_check(f, &o->server, o->peer.src_ifindex);
}

void
dns_tcp_server(struct dns_forward *f, int fd, const union sockaddr_any *peer,
    struct endpoint *server)
{
	bool v6 = peer->sa.sa_family == AF_INET6;
	union sockaddr_any a = {0};
	socklen_t len = sizeof(a);

	*server = (struct endpoint){0};
	if (getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
		v6 ? IP6T_SO_ORIGINAL_DST : SO_ORIGINAL_DST, &a, &len) < 0)
		return;
	sockaddr_load(server, &a);
	server_check(f, server, v6 ? peer->v6.sin6_scope_id : 0);
}

/* ---- UDP ---- */

union pktinfo {
	struct in_pktinfo v4;
	struct in6_pktinfo v6;
};

union control {
	char space[CMSG_SPACE(sizeof(union pktinfo))];
	struct cmsghdr align;
};

/* The address that a datagram came to. */
static bool
pktinfo_load(struct msghdr *m, struct endpoint *e)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	for (; c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo p;

			memcpy(&p, CMSG_DATA(c), sizeof(p));
			e->src.family = FAMILY_V4;
			memcpy(e->src.b, &p.ipi_addr, 4);
			e->src_ifindex = (uint32_t)p.ipi_ifindex;
			return true;
		}
		if (c->cmsg_level == IPPROTO_IPV6 &&
		    c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo p;

			memcpy(&p, CMSG_DATA(c), sizeof(p));
			e->src.family = FAMILY_V6;
			memcpy(e->src.b, &p.ipi6_addr, 16);
			e->src_ifindex = p.ipi6_ifindex;
			return true;
		}
	}
	return false;
}

/* An answer leaves from there, or its client would not know it. */
static void
pktinfo_store(struct msghdr *m, const struct endpoint *e)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (e->addr.family == FAMILY_V4) {
		struct in_pktinfo p = {0};

		memcpy(&p.ipi_spec_dst, e->src.b, 4);
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(p));
		memcpy(CMSG_DATA(c), &p, sizeof(p));
		m->msg_controllen = CMSG_SPACE(sizeof(p));
	} else {
		struct in6_pktinfo p = {0};

		memcpy(&p.ipi6_addr, e->src.b, 16);
		if (is_link_local(&e->src))
			p.ipi6_ifindex = e->src_ifindex;
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(p));
		memcpy(CMSG_DATA(c), &p, sizeof(p));
		m->msg_controllen = CMSG_SPACE(sizeof(p));
	}
}

static void
udp_reply(struct dns_forward *f, const struct endpoint *peer,
    const uint8_t *msg, size_t len)
{
	const struct dns_listener *l = &f->udp[peer->addr.family == FAMILY_V6];
	union sockaddr_any to;
	union control control = {.space = {0}};
	struct iovec io = {.iov_base = (void *)(uintptr_t)msg, .iov_len = len};
	struct msghdr m = {.msg_name = &to,
	    .msg_namelen = sockaddr_store(&to, peer),
	    .msg_iov = &io,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control)};

	pktinfo_store(&m, peer);
	/* A full socket loses it, as any wire may. */
	(void)sendmsg(l->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Returns false: nothing is there. */
static bool
udp_receive(struct dns_listener *l)
{
	struct dns_forward *f = l->f;
	struct dns_origin o = {.from = DNS_FROM_UDP};
	union sockaddr_any from;
	union control control;
	struct iovec io = {.iov_base = f->in, .iov_len = DNS_QUERY_MAX};
	struct msghdr m = {.msg_name = &from,
	    .msg_namelen = sizeof(from),
	    .msg_iov = &io,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(l->fd, &m, MSG_DONTWAIT);

	if (n < 0)
		return errno != EAGAIN && errno != EWOULDBLOCK;
	sockaddr_load(&o.peer, &from);
	if ((m.msg_flags & MSG_TRUNC) || !pktinfo_load(&m, &o.peer)) {
		f->stats.malformed++;
		return true;
	}
	udp_server(f, &o);
	dns_ask_take(f, &o, f->in, (size_t)n);
	return true;
}

static void
on_datagram(void *arg)
{
	for (unsigned i = 0; i < DNS_TURN; i++)
		if (!udp_receive(arg))
			return;
}

void
dns_reply(struct dns_forward *f, const struct dns_origin *o, const uint8_t *msg,
    size_t len)
{
	if (o->from == DNS_FROM_UDP)
		udp_reply(f, &o->peer, msg, len);
	else if (o->from == DNS_FROM_TCP)
		dns_client_reply(o->client, msg, len);
}

/* ---- listening ---- */

static int
listener_options(int fd, uint8_t family, bool udp)
{
	const int on = 1, size = RECEIVE_BUFFER;

	if (family == FAMILY_V6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -1;
	if (!udp)
		return 0;
	/* As large as we may; none is no error. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (family == FAMILY_V4)
		return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
}

static void
listener_address(const struct dns_forward *f, uint8_t family,
    union sockaddr_any *a, socklen_t *len)
{
	struct endpoint e = {.addr.family = family, .port = f->port};

	/* Questions to a server on a link come to the link's own address. */
	if (!f->conf.lan && family == FAMILY_V4) {
		e.addr.b[0] = 127;
		e.addr.b[3] = 1;
	}
	*len = sockaddr_store(a, &e);
}

/* Returns 0 with l->fd -1 when the host lacks the family. The first socket
 * chooses the port, and the others take it. */
static int
listener_open(
    struct dns_forward *f, struct dns_listener *l, uint8_t family, bool udp)
{
	union sockaddr_any a;
	socklen_t len;
	int e;
	int fd = socket(family == FAMILY_V4 ? AF_INET : AF_INET6,
	    (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return sockaddr_family_missing(errno) ? 0 : -errno;
	listener_address(f, family, &a, &len);
	if (listener_options(fd, family, udp) < 0 || bind(fd, &a.sa, len) < 0 ||
	    getsockname(fd, &a.sa, &len) < 0 || (!udp && listen(fd, 64) < 0))
		goto close_fd;
	*l = (struct dns_listener){.f = f, .fd = fd, .family = family};
	f->port = ntohs(family == FAMILY_V4 ? a.v4.sin_port : a.v6.sin6_port);
	return 0;

close_fd:
	e = errno;
	close(fd);
	return family == FAMILY_V6 && sockaddr_family_missing(e) ? 0 : -e;
}

static void
listeners_close(struct dns_forward *f)
{
	for (unsigned i = 0; i < ARRAY_LEN(f->udp); i++) {
		struct dns_listener *const l[] = {&f->udp[i], &f->tcp[i]};

		for (unsigned k = 0; k < ARRAY_LEN(l); k++) {
			watch_close(l[k]->watch);
			if (l[k]->fd >= 0)
				close(l[k]->fd);
			l[k]->watch = NULL;
			l[k]->fd = -1;
		}
	}
}

/* All on one port. Returns 0 or -errno. */
static int
listeners_open(struct dns_forward *f)
{
	static const uint8_t family[] = {FAMILY_V4, FAMILY_V6};
	int r = 0;

	f->port = 0;
	for (unsigned i = 0; r == 0 && i < ARRAY_LEN(family); i++) {
		r = listener_open(f, &f->udp[i], family[i], true);
		if (r == 0)
			r = listener_open(f, &f->tcp[i], family[i], false);
	}
	if (r == 0 && f->port == 0)
		r = -EAFNOSUPPORT;
	if (r < 0)
		listeners_close(f);
	return r;
}

static int
listener_watch(struct dns_listener *l, watch_fn *readable)
{
	if (l->fd < 0)
		return 0;
	l->watch = watch_fd(l->f->conf.loop, l->fd, readable, NULL, l);
	if (!l->watch)
		return UK_ENOMEM;
	watch_wait(l->watch, true, false);
	return 0;
}

int
dns_listen_open(struct dns_forward *f, struct diag *d)
{
	int r = -EADDRINUSE;

	/* The port of the first one may be taken for another one. */
	for (int i = 0; r == -EADDRINUSE && i < PORT_TRIES; i++)
		r = listeners_open(f);
	if (r < 0)
		return os_err_tell(-r, "DNS forwarder", "listen", d);
	for (unsigned i = 0; i < ARRAY_LEN(f->udp); i++)
		if (listener_watch(&f->udp[i], on_datagram) < 0 ||
		    listener_watch(&f->tcp[i], dns_clients_accept) < 0)
			return UK_ENOMEM;
	return 0;
}

void
dns_listen_close(struct dns_forward *f)
{
	dns_clients_close(f);
	listeners_close(f);
}
