#include "udp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/filter.h>

#include "core/err.h"
#include "sockaddr.h"
#include "wg/wg_msg.h"

/* Receiving. A GRO message is up to 64 KB, and any datagram may be, so every
 * slot takes the largest there is. Slots are only address space until the
 * kernel writes to them: without GRO the 32 slots of a slab cost one or two
 * pages each under ordinary traffic, and 2 MB when somebody sends nothing but
 * 64 KB datagrams. With GRO 16 slots are 1 MB.
 * 32 datagrams a call share the call's price well enough, and fill most of a
 * 64 KB write to TUN. */
#define RECV_SLOT_BYTES 65536
#define RECV_SLOTS_GRO 16
#define RECV_SLOTS 32
/* Slots begin at different cache sets. */
#define RECV_SLOT_STRIDE (RECV_SLOT_BYTES + 192)
/* One call receives about so much, going by the size of messages in the last
 * one. Whoever asks does all his work on it before he asks again: a batch
 * should stay in a second-level cache on its way, and what stands in the
 * socket behind it should not wait for long (64 KB are 0.1 ms at 5 Gbit/s). */
#define RECV_BATCH_BYTES 65536
/* UDP_MAX_SEGMENTS of recent Linux (64 before): what a sender on this very
 * host can hand over as one message. */
#define RECV_SEGMENTS_MAX 128

/* Sending. 64 is UDP_MAX_SEGMENTS of every Linux that has UDP_SEGMENT. The
 * bytes of one message are bounded by IPv4's total length, less what headers
 * a tunnel below us may want. */
#define SEND_SEGMENTS_MAX 64
#define SEND_BYTES_MAX 65000
#define SEND_MSGS 64
#define SEND_IOVS 512

/* Socket buffers. A receiver on a busy two-core host may wait some
 * milliseconds for its core; 2 MB hold 4 ms of 5 Gbit/s (the kernel doubles
 * the number and counts its overhead, half as much again at 1500 bytes).
 * More would only be queueing delay: what does not fit is better lost, so
 * that the flows inside slow down. Sending blocks on a slow link's queue,
 * which has a bound of its own, so half of that is plenty. */
#define RECV_BUFFER_BYTES (2 << 20)
#define SEND_BUFFER_BYTES (1 << 20)

/* How often another free port is tried when IPv6 has IPv4's choice in use. */
#define PORT_TRIES 100

static_assert(RECV_SLOTS_GRO * RECV_SEGMENTS_MAX <= UDP_RECV_MAX,
    "a full GRO batch fits the views");

/* Control data of one message, aligned as cmsg(3) demands. */
struct control {
	_Alignas(
	    struct cmsghdr) uint8_t b[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
				      2 * CMSG_SPACE(sizeof(int))];
};

struct udp {
	int fd4, fd6;
	uint16_t port;
	bool gso4, gso6; /* sending; switched off when the route refuses */
	struct udp_stats stats;

	uint8_t *slab;
	unsigned slots;
	unsigned recv_max; /* messages to ask for next */
	struct mmsghdr rmsg[RECV_SLOTS];
	struct iovec riov[RECV_SLOTS];
	union sockaddr_any raddr[RECV_SLOTS];
	struct control rcontrol[RECV_SLOTS];
	struct endpoint rep[RECV_SLOTS];
	struct dgram view[UDP_RECV_MAX];

	struct mmsghdr smsg[SEND_MSGS];
	union sockaddr_any saddr[SEND_MSGS];
	struct control scontrol[SEND_MSGS];
	struct iovec siov[SEND_IOVS];
};

static int
set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

/* The FORCE names pass over net.core.{r,w}mem_max and want CAP_NET_ADMIN;
 * the plain ones are cut to that limit. Smaller buffers only cost speed. */
static void
set_buffers(int fd)
{
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECV_BUFFER_BYTES) != 0)
		(void)set_int(fd, SOL_SOCKET, SO_RCVBUF, RECV_BUFFER_BYTES);
	if (set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES) != 0)
		(void)set_int(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES);
}

/* MTU_DISCOVER_DONT, as the kernel's WireGuard does it: IPv4 goes out without
 * DF, and what is too long for the path is cut into fragments, here for both
 * families and on the way for IPv4. A tunnel with too large an MTU is slow
 * then and not a black hole; choosing an inner MTU that fits is the business
 * of whoever sets it. */
static int
set_options(int fd, int family)
{
	if (family == AF_INET6) {
		if (set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) != 0 ||
		    set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) != 0 ||
		    set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1) != 0)
			return -1;
		return set_int(
		    fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
	}
	if (set_int(fd, IPPROTO_IP, IP_PKTINFO, 1) != 0 ||
	    set_int(fd, IPPROTO_IP, IP_RECVTOS, 1) != 0)
		return -1;
	return set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
}

/* Does the kernel know UDP_SEGMENT? It must be asked: one that does not
 * ignores the control message and sends one giant datagram. */
static bool
has_gso(int fd)
{
	int value;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_UDP, UDP_SEGMENT, &value, &len) == 0;
}

/* Returns a socket bound to *port, and the port in *port; -1 and errno.
 * The first of several sockets learns only after it is bound that it is to
 * share its port: a port that another program shares with its own threads is
 * in use for us, and is refused like any other. */
static int
open_family(const struct udp_conf *c, bool joins, int family, uint16_t *port)
{
	union sockaddr_any a = {.sa.sa_family = (sa_family_t)family};
	socklen_t len = family == AF_INET6 ? sizeof(a.v6) : sizeof(a.v4);
	int saved;
	int fd = socket(
	    family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);

	if (fd < 0)
		return -1;
	if (set_options(fd, family) != 0)
		goto close_fd;
	if (c->mark != 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_MARK, &c->mark, sizeof(c->mark)) != 0)
		goto close_fd;
	if (joins && set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0)
		goto close_fd;
	set_buffers(fd);
	/* sin_port and sin6_port are at the same place. */
	a.v4.sin_port = htons(*port);
	if (bind(fd, &a.sa, len) != 0 || getsockname(fd, &a.sa, &len) != 0)
		goto close_fd;
	if (c->shared && set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0)
		goto close_fd;
	*port = ntohs(a.v4.sin_port);
	return fd;
close_fd:
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static void
close_sockets(struct udp *u)
{
	if (u->fd4 >= 0)
		close(u->fd4);
	if (u->fd6 >= 0)
		close(u->fd6);
	u->fd4 = -1;
	u->fd6 = -1;
}

/* Open what families there are on one port. Returns 0; -1 and errno, nothing
 * open. */
static int
open_pair(struct udp *u, const struct udp_conf *c, uint16_t port, bool joins)
{
	int saved;

	u->port = port;
	u->fd4 = open_family(c, joins, AF_INET, &u->port);
	if (u->fd4 < 0 && !sockaddr_family_missing(errno))
		return -1;
	u->fd6 = open_family(c, joins, AF_INET6, &u->port);
	if (u->fd6 >= 0 || (u->fd4 >= 0 && sockaddr_family_missing(errno)))
		return 0;
	saved = errno;
	close_sockets(u);
	errno = saved;
	return -1;
}

static int
open_error(const struct udp_conf *c, int err, struct diag *d)
{
	if (err == EADDRINUSE) {
		diag_error(d,
		    "UDP port %u is in use by another program "
		    "(`ss -lunp` shows which); choose another ListenPort",
		    c->port);
		return UK_EBUSY;
	}
	if (err == EPERM || err == EACCES) {
		diag_error(d,
		    "not permitted to open UDP port %u with mark 0x%x: "
		    "run as root or with CAP_NET_ADMIN",
		    c->port, c->mark);
		return UK_EPERM;
	}
	diag_error(d, "cannot open UDP port %u: %s", c->port, strerror(err));
	return UK_ESYS;
}

static void
init_recv(struct udp *u)
{
	for (unsigned i = 0; i < u->slots; i++) {
		u->riov[i].iov_base = u->slab + i * RECV_SLOT_STRIDE;
		u->riov[i].iov_len = RECV_SLOT_BYTES;
		u->rmsg[i].msg_hdr.msg_iov = &u->riov[i];
		u->rmsg[i].msg_hdr.msg_iovlen = 1;
		u->rmsg[i].msg_hdr.msg_name = &u->raddr[i];
		u->rmsg[i].msg_hdr.msg_control = &u->rcontrol[i];
	}
}

/* Returns true when every socket there is joins what it receives. */
static bool
start_offload(struct udp *u)
{
	bool gro = true;

	if (u->fd4 >= 0) {
		u->gso4 = has_gso(u->fd4);
		gro &= set_int(u->fd4, SOL_UDP, UDP_GRO, 1) == 0;
	}
	if (u->fd6 >= 0) {
		u->gso6 = has_gso(u->fd6);
		gro &= set_int(u->fd6, SOL_UDP, UDP_GRO, 1) == 0;
	}
	return gro;
}

static struct udp *
udp_new(void)
{
	struct udp *u = calloc(1, sizeof(*u));

	if (u == NULL)
		return NULL;
	u->fd4 = -1;
	u->fd6 = -1;
	return u;
}

/* The sockets are open: buffers and offloads. */
static int
start(struct udp *u, const struct udp_conf *c)
{
	u->slots = RECV_SLOTS;
	if (!c->no_offload && start_offload(u))
		u->slots = RECV_SLOTS_GRO;
	u->slab = malloc((size_t)u->slots * RECV_SLOT_STRIDE);
	if (u->slab == NULL)
		return UK_ENOMEM;
	u->recv_max = u->slots;
	init_recv(u);
	return 0;
}

int
udp_open(struct udp **out, const struct udp_conf *c, struct diag *d)
{
	struct udp *u = udp_new();
	int r;

	if (u == NULL)
		return UK_ENOMEM;
	for (unsigned tries = 0;; tries++) {
		r = open_pair(u, c, c->port, false);
		if (r == 0 || errno != EADDRINUSE || c->port != 0 ||
		    tries == PORT_TRIES)
			break;
	}
	r = r == 0 ? start(u, c) : open_error(c, errno, d);
	if (r != 0) {
		udp_close(u);
		return r;
	}
	*out = u;
	return 0;
}

int
udp_join(struct udp **out, const struct udp *first, const struct udp_conf *c,
    struct diag *d)
{
	struct udp *u = udp_new();
	int r;

	if (u == NULL)
		return UK_ENOMEM;
	r = open_pair(u, c, first->port, true);
	r = r == 0 ? start(u, c) : open_error(c, errno, d);
	if (r != 0) {
		udp_close(u);
		return r;
	}
	*out = u;
	return 0;
}

/* The kernel runs this on each datagram's payload: type 4 goes by the last
 * byte of its receiver index, bytes 4 to 7. What is too short ends with 0. */
int
udp_spread(struct udp *u, unsigned n)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WG_MSG_DATA, 0, 3),
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 7),
	    BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n),
	    BPF_STMT(BPF_RET | BPF_A, 0),
	    BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = {
	    .len = ARRAY_LEN(code), .filter = code};
	const int fd[2] = {u->fd4, u->fd6};

	for (int i = 0; i < 2; i++)
		if (fd[i] >= 0 &&
		    setsockopt(fd[i], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF,
			&program, sizeof(program)) != 0)
			return UK_ESYS;
	return 0;
}

void
udp_close(struct udp *u)
{
	if (u == NULL)
		return;
	close_sockets(u);
	free(u->slab);
	free(u);
}

uint16_t
udp_port(const struct udp *u)
{
	return u->port;
}

int
udp_fd(const struct udp *u, int family)
{
	return family == FAMILY_V6 ? u->fd6 : u->fd4;
}

const struct udp_stats *
udp_stats(const struct udp *u)
{
	return &u->stats;
}

int
udp_set_mark(struct udp *u, uint32_t mark)
{
	int fd[2] = {u->fd4, u->fd6};

	for (int i = 0; i < 2; i++)
		if (fd[i] >= 0 && setsockopt(fd[i], SOL_SOCKET, SO_MARK, &mark,
				      sizeof(mark)) != 0)
			return errno == EPERM ? UK_EPERM : UK_ESYS;
	return 0;
}

static void
load_source4(struct endpoint *ep, const struct cmsghdr *c)
{
	struct in_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	/* ipi_addr may be a broadcast address; spec_dst never is. */
	ep->src.family = FAMILY_V4;
	memcpy(ep->src.b, &info.ipi_spec_dst, 4);
	ep->src_ifindex = (uint32_t)info.ipi_ifindex;
}

static void
load_source6(struct endpoint *ep, const struct cmsghdr *c)
{
	struct in6_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr))
		return;
	ep->src.family = FAMILY_V6;
	memcpy(ep->src.b, &info.ipi6_addr, 16);
	ep->src_ifindex = info.ipi6_ifindex;
}

static bool
is_cmsg(const struct cmsghdr *c, int level, int type, size_t len)
{
	return c->cmsg_level == level && c->cmsg_type == type &&
	       c->cmsg_len >= CMSG_LEN(len);
}

static int
load_int(const struct cmsghdr *c)
{
	int value;

	memcpy(&value, CMSG_DATA(c), sizeof(value));
	return value;
}

/* What the kernel says about one message. Returns the segment size, 0: one
 * datagram. */
static int
load_control(struct msghdr *m, struct endpoint *ep, uint8_t *tos)
{
	int segment = 0;

	*tos = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL;
	     c = CMSG_NXTHDR(m, c)) {
		if (is_cmsg(
			c, IPPROTO_IP, IP_PKTINFO, sizeof(struct in_pktinfo)))
			load_source4(ep, c);
		else if (is_cmsg(c, IPPROTO_IPV6, IPV6_PKTINFO,
			     sizeof(struct in6_pktinfo)))
			load_source6(ep, c);
		else if (is_cmsg(c, IPPROTO_IP, IP_TOS, 1))
			*tos = *CMSG_DATA(c);
		else if (is_cmsg(c, IPPROTO_IPV6, IPV6_TCLASS, sizeof(int)))
			*tos = (uint8_t)load_int(c);
		else if (is_cmsg(c, SOL_UDP, UDP_GRO, sizeof(int)))
			segment = load_int(c);
	}
	return segment;
}

/* Cut message i into views from view[n] on. Returns the new n. */
static unsigned
cut_message(struct udp *u, unsigned i, unsigned n)
{
	struct mmsghdr *m = &u->rmsg[i];
	uint8_t *data = u->riov[i].iov_base;
	size_t left = m->msg_len;
	size_t segment;
	uint8_t tos;
	int size;

	if (m->msg_hdr.msg_flags & MSG_TRUNC) {
		u->stats.truncated++;
		return n;
	}
	sockaddr_load(&u->rep[i], &u->raddr[i]);
	size = load_control(&m->msg_hdr, &u->rep[i], &tos);
	segment = size > 0 ? (size_t)size : left;
	do {
		size_t len = left < segment ? left : segment;

		/* Only a peculiar virtual network device joins more than
		 * RECV_SEGMENTS_MAX. */
		if (n == UDP_RECV_MAX) {
			u->stats.truncated++;
			return n;
		}
		u->view[n++] =
		    (struct dgram){.buf = pbuf_make(data, len, 0, len),
			.ep = &u->rep[i],
			.tos = tos};
		data += len;
		left -= len;
	} while (left > 0);
	return n;
}

/* n messages of so many bytes came: how many to ask for next. */
static unsigned
next_max(const struct udp *u, unsigned n, size_t bytes)
{
	size_t size = bytes / n > 0 ? bytes / n : 1;
	size_t fit = RECV_BATCH_BYTES / size;

	return (unsigned)(fit < 1 ? 1 : fit > u->slots ? u->slots : fit);
}

unsigned
udp_recv(struct udp *u, int family, struct dgram **out)
{
	int fd = udp_fd(u, family);
	unsigned n = 0;
	size_t bytes = 0;
	int got = -1;

	*out = u->view;
	if (fd < 0)
		return 0;
	for (unsigned i = 0; i < u->slots; i++) {
		u->rmsg[i].msg_hdr.msg_namelen = sizeof(u->raddr[i]);
		u->rmsg[i].msg_hdr.msg_controllen = sizeof(u->rcontrol[i]);
	}
	/* An error that waits on the socket (ICMP) is given once and gone;
	 * what lies behind it is still wanted. */
	for (int tries = 0; got < 0 && tries < 4; tries++) {
		got = recvmmsg(fd, u->rmsg, u->recv_max, MSG_DONTWAIT, NULL);
		if (got < 0 && (errno == EAGAIN || errno == EBADF))
			return 0;
	}
	for (int i = 0; i < got; i++) {
		bytes += u->rmsg[i].msg_len;
		n = cut_message(u, (unsigned)i, n);
	}
	if (got > 0)
		u->recv_max = next_max(u, (unsigned)got, bytes);
	return n;
}

/* Append one control message at c->b + *used. The padding behind it was
 * zeroed by the caller. */
static void
add_control(struct control *c, size_t *used, int level, int type,
    const void *data, size_t len)
{
	struct cmsghdr *h = (struct cmsghdr *)(void *)(c->b + *used);

	h->cmsg_level = level;
	h->cmsg_type = type;
	h->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(h), data, len);
	*used += CMSG_SPACE(len);
}

/* The source address is pinned, the interface is not: routing decides, as in
 * the kernel's WireGuard. A pinned interface that has lost its route makes
 * IPv4 take every destination for a neighbour, and nothing reports it. */
static void
add_source(struct control *c, size_t *used, const struct endpoint *ep)
{
	struct in6_pktinfo v6 = {0};
	struct in_pktinfo v4 = {0};

	if (ep->src.family != ep->addr.family)
		return;
	if (ep->src.family == FAMILY_V4) {
		memcpy(&v4.ipi_spec_dst, ep->src.b, 4);
		add_control(c, used, IPPROTO_IP, IP_PKTINFO, &v4, sizeof(v4));
		return;
	}
	memcpy(&v6.ipi6_addr, ep->src.b, 16);
	add_control(c, used, IPPROTO_IPV6, IPV6_PKTINFO, &v6, sizeof(v6));
}

static size_t
store_control(struct control *c, const struct dgram *d, uint16_t segment)
{
	bool v6 = d->ep->addr.family == FAMILY_V6;
	int tos = d->tos;
	size_t used = 0;

	memset(c, 0, sizeof(*c));
	if (d->ep->src.family != FAMILY_NONE)
		add_source(c, &used, d->ep);
	if (tos != 0 && v6)
		add_control(
		    c, &used, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	else if (tos != 0)
		add_control(c, &used, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	if (segment != 0)
		add_control(
		    c, &used, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	return used;
}

/* How many datagrams from d on may go out as one message. */
static unsigned
run_length(const struct dgram *d, unsigned n)
{
	uint32_t len = d[0].buf.len;
	uint32_t bytes = len;
	unsigned i;

	if (n > SEND_SEGMENTS_MAX)
		n = SEND_SEGMENTS_MAX;
	if (len == 0)
		return 1;
	for (i = 1; i < n && d[i - 1].buf.len == len; i++) {
		if (d[i].ep != d[0].ep || d[i].tos != d[0].tos ||
		    d[i].buf.len > len || d[i].buf.len == 0)
			break;
		bytes += d[i].buf.len;
		if (bytes > SEND_BYTES_MAX)
			break;
	}
	return i;
}

/* What one sendmmsg takes. */
struct send_batch {
	int fd;
	unsigned msgs;
	unsigned iovs;
};

/* Message b->msgs: datagrams d[0..count). */
static void
add_message(
    struct udp *u, struct send_batch *b, const struct dgram *d, unsigned count)
{
	struct control *c = &u->scontrol[b->msgs];
	struct msghdr *m = &u->smsg[b->msgs].msg_hdr;
	uint16_t segment = count > 1 ? (uint16_t)d[0].buf.len : 0;

	*m = (struct msghdr){.msg_name = &u->saddr[b->msgs],
	    .msg_namelen = sockaddr_store(&u->saddr[b->msgs], d[0].ep),
	    .msg_iov = &u->siov[b->iovs],
	    .msg_iovlen = count,
	    .msg_controllen = store_control(c, &d[0], segment)};
	if (m->msg_controllen > 0)
		m->msg_control = c;
	for (unsigned i = 0; i < count; i++) {
		u->siov[b->iovs].iov_base = pbuf_data(&d[i].buf);
		u->siov[b->iovs].iov_len = d[i].buf.len;
		b->iovs++;
	}
	b->msgs++;
}

/* Lay out messages of one family from d on; the first `singly` datagrams go
 * without GSO. */
static void
fill_batch(struct udp *u, struct send_batch *b, const struct dgram *d,
    unsigned n, unsigned singly)
{
	uint8_t family = d[0].ep->addr.family;
	bool gso = family == FAMILY_V6 ? u->gso6 : u->gso4;
	unsigned i = 0;

	*b = (struct send_batch){.fd = udp_fd(u, family)};
	while (i < n && b->msgs < SEND_MSGS &&
	       b->iovs + SEND_SEGMENTS_MAX <= SEND_IOVS) {
		unsigned count = 1;

		if (d[i].ep->addr.family != family)
			break;
		if (gso && i >= singly)
			count = run_length(d + i, n - i);
		add_message(u, b, d + i, count);
		i += count;
	}
}

static bool
clear_source(struct endpoint *ep, int err)
{
	/* The remembered source is no longer ours: EINVAL from IPv6 and old
	 * IPv4, ENETUNREACH from IPv4 of Linux 6.18. */
	if (err != EINVAL && err != ENETUNREACH && err != EADDRNOTAVAIL)
		return false;
	if (ep->src.family == FAMILY_NONE)
		return false;
	ep->src = (struct ip_addr){.family = FAMILY_NONE};
	ep->src_ifindex = 0;
	return true;
}

/* The message that carries d[0..count) failed with err. Returns how many
 * datagrams are given up; 0: send again, after what was changed here. */
static unsigned
send_failed(struct udp *u, const struct dgram *d, unsigned count, int err,
    unsigned *singly)
{
	if (count > 1 && err == EIO) {
		/* The way out cannot finish the checksums of segments (IPsec,
		 * old drivers). That is a property of the host. */
		if (d[0].ep->addr.family == FAMILY_V6)
			u->gso6 = false;
		else
			u->gso4 = false;
		return 0;
	}
	if (count > 1 && (err == EINVAL || err == EMSGSIZE)) {
		/* A segment does not fit this path's MTU, and GSO cannot make
		 * fragments. Others' paths are not to blame. */
		*singly = count;
		return 0;
	}
	/* After that: Linux 6.1 says EINVAL for both, and a run that was too
	 * long says nothing about the source. */
	if (clear_source(d[0].ep, err))
		return 0;
	u->stats.send_failed += count;
	return count;
}

static unsigned
count_sent(const struct udp *u, unsigned msgs)
{
	unsigned n = 0;

	for (unsigned i = 0; i < msgs; i++)
		n += (unsigned)u->smsg[i].msg_hdr.msg_iovlen;
	return n;
}

unsigned
udp_send(struct udp *u, struct dgram *d, unsigned n)
{
	unsigned done = 0;
	unsigned singly = 0; /* datagrams from done on */

	while (done < n) {
		struct send_batch b;
		unsigned step;
		int sent;

		fill_batch(u, &b, d + done, n - done, singly);
		sent = sendmmsg(b.fd, u->smsg, b.msgs, MSG_DONTWAIT);
		if (sent < 0 && errno == EAGAIN)
			return done;
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			step = send_failed(
			    u, d + done, count_sent(u, 1), errno, &singly);
		else
			step = count_sent(u, (unsigned)sent);
		done += step;
		singly -= step < singly ? step : singly;
	}
	return done;
}
