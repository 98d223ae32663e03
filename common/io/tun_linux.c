#include "tun.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "core/err.h"
#include "core/vnet.h"

/* Since Linux 6.2; headers may be older than the kernel. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* An IPv6 header and what its length field can say. */
#define PACKET_MAX (40 + 65535)
/* IPv4 header and TCP header with all options. */
#define HEADERS_MAX 120
/* One read stops after so much: a super-packet, or a burst of single ones.
 * Enough to share the price of a wake-up, little enough to stay in a
 * second-level cache and to keep the other queues, and the other direction,
 * waiting for 0.1 ms. */
#define BATCH_PACKETS TUN_READ_WHOLE_MAX
#define BATCH_BYTES (60 << 10)
/* Of one super-packet; more is below Linux's smallest MSS. */
#define SEGMENTS_MAX (TUN_READ_MAX - BATCH_PACKETS)

/* Enough that two flows seldom meet; 256 in all is what the kernel allows. (To
 * have several at all costs 3.5 MB of its memory for an interface: it prepares
 * for that number.) */
#define QUEUES_ALONE 32
#define QUEUES_SHARED 4

#define ROOM_MAX 1024
/* wg-quick's and wireguard-go's default, until the interface was seen. */
#define MTU_UNKNOWN 1420

static_assert(VNET_GROUP_MAX + 1 <= 1024, "a group fits UIO_MAXIOV");

struct tun {
	int fd[1 + QUEUES_ALONE]; /* the first stands for the interface, too */
	unsigned fds;
	bool writer; /* the first has no queue: it is for writing all */
	int poll_fd; /* epoll: those to read; -1: there is only one */
	unsigned turn; /* which of those that are ready to read next */
	bool vnet; /* a vnet header before every packet */
	bool gso; /* the kernel takes super-packets */
	bool uso; /* of UDP too */

	int event_fd; /* epoll: link_fd, and while down fd for writing */
	bool armed; /* a queue is in event_fd */
	int link_fd; /* link events of our own namespace, and something to
			call interface ioctls on */
	char name[IFNAMSIZ];
	unsigned ifindex;
	uint32_t mtu;

	uint32_t headroom, tailroom;
	bool super; /* the last packet read was a super-packet */
	uint8_t *super_buf;
	uint8_t *slab;
	size_t slab_len;
	struct vnet_join join;
	struct iovec wiov[VNET_GROUP_MAX + 1];
	struct tun_stats stats;
};

static int
open_error(const char *name, int err, struct diag *d)
{
	switch (err) {
	case EPERM:
	case EACCES:
		diag_error(d,
		    "not permitted to make the interface %s: run as root or "
		    "with CAP_NET_ADMIN",
		    name);
		return UK_EPERM;
	case ENOENT:
	case ENODEV:
	case ENXIO:
		diag_error(d,
		    "/dev/net/tun is missing: load the module with "
		    "`modprobe tun`, or let the container have the device");
		return UK_ENOENT;
	case EBUSY:
		diag_error(d,
		    "an interface %s exists already (`ip link show %s`); "
		    "choose another name or remove it",
		    name, name);
		return UK_EBUSY;
	default:
		diag_error(
		    d, "cannot make the interface %s: %s", name, strerror(err));
		return UK_ESYS;
	}
}

/* The kernel's dev_valid_name, and no '%', which it would fill in. */
static bool
valid_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < IFNAMSIZ && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0 &&
	       strpbrk(name, "/:% \t\n\v\f\r") == NULL;
}

/* Have a descriptor for an interface of this name, with more flags: makes one
 * if there is none. */
static int
attach(struct tun *t, const char *name, unsigned flags, struct diag *d)
{
	struct ifreq ifr = {0};
	int *fd = &t->fd[t->fds];

	flags |= IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE;
	flags |= t->vnet ? IFF_VNET_HDR : 0u;
	*fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0)
		return open_error(name, errno, d);
	ifr.ifr_flags = (short)flags;
	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(*fd, TUNSETIFF, &ifr) != 0)
		return open_error(name, errno, d);
	t->fds++;
	return 0;
}

/* One descriptor to wait for all queues. */
static int
poll_all(struct tun *t, struct diag *d)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = t->writer};
	int r = 0;

	t->poll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (; e.data.u32 < t->fds && t->poll_fd >= 0 && r == 0; e.data.u32++)
		r = epoll_ctl(t->poll_fd, EPOLL_CTL_ADD, t->fd[e.data.u32], &e);
	if (t->poll_fd >= 0 && r == 0)
		return 0;
	diag_error(d, "cannot watch the queues of TUN: %s", strerror(errno));
	return UK_ESYS;
}

static bool
same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* Are two descriptors of one interface? Old kernels do not tell namespaces. */
static bool
same_interface(int a, int b)
{
	struct ifreq x = {0}, y = {0};
	int ns_a, ns_b;
	bool same;

	if (ioctl(a, TUNGETIFF, &x) != 0 || ioctl(b, TUNGETIFF, &y) != 0 ||
	    strncmp(x.ifr_name, y.ifr_name, IFNAMSIZ) != 0)
		return false;
	ns_a = ioctl(a, TUNGETDEVNETNS);
	ns_b = ioctl(b, TUNGETDEVNETNS);
	same = ns_a < 0 || ns_b < 0 || same_file(ns_a, ns_b);
	if (ns_a >= 0)
		close(ns_a);
	if (ns_b >= 0)
		close(ns_b);
	return same;
}

/* Attach to the interface of fd, until there are n descriptors. Only names say
 * which it is: whoever renames or moves it now makes us make another one. */
static int
attach_more(struct tun *t, int fd, unsigned n, struct diag *d)
{
	struct ifreq ifr = {0};
	int r = 0;

	if (ioctl(fd, TUNGETIFF, &ifr) != 0) {
		diag_error(d, "the interface was removed while it was made");
		return UK_ENOENT;
	}
	while (t->fds < n && r == 0)
		r = attach(t, ifr.ifr_name, 0, d);
	if (r != 0 || same_interface(fd, t->fd[t->fds - 1]))
		return r;
	diag_error(d,
	    "%s was renamed, moved or removed while it was made: start again",
	    ifr.ifr_name);
	return UK_EBUSY;
}

/* The kernel moves a flow to the queue that its other direction was last
 * written to, and back after three seconds without, past what still waits in
 * the old one. A descriptor without a queue writes as well, and moves nothing:
 * the flow's hash says for ever which queue it has. (Detached after the others
 * were attached, it goes on under the number of a queue that exists.) */
static int
detach_writer(struct tun *t, struct diag *d)
{
	struct ifreq ifr = {.ifr_flags = IFF_DETACH_QUEUE};

	if (ioctl(t->fd[0], TUNSETQUEUE, &ifr) != 0) {
		diag_error(d, "cannot write to TUN apart from its queues: %s",
		    strerror(errno));
		return UK_ESYS;
	}
	t->writer = true;
	return 0;
}

static int
attach_all(struct tun *t, bool shared, struct diag *d)
{
	unsigned n = shared ? QUEUES_SHARED : 1 + QUEUES_ALONE;
	int r = attach_more(t, t->fd[0], n, d);

	if (r == 0 && !shared)
		r = detach_writer(t, d);
	return r == 0 ? poll_all(t, d) : r;
}

/* Make the interface. Returns 0; an error with its sentence in d. */
static int
create(struct tun *t, const struct tun_conf *c, struct diag *d)
{
	int r;

	if (!valid_name(c->name)) {
		diag_error(d,
		    "\"%s\" cannot be an interface's name: 1 to %d characters "
		    "without spaces and any of /:%%",
		    c->name, IFNAMSIZ - 1);
		return UK_EINVAL;
	}
	t->vnet = (c->no_offload & TUN_NO_VNET_HDR) == 0;
	/* EXCL: never take over a persistent device of somebody else's. */
	r = attach(t, c->name, IFF_TUN_EXCL, d);
	return r == 0 ? attach_all(t, c->shared, d) : r;
}

/* Use a descriptor that somebody else opened. */
static int
adopt(struct tun *t, struct diag *d)
{
	struct ifreq ifr = {0};
	int flags = fcntl(t->fd[0], F_GETFL);

	if (flags < 0 || ioctl(t->fd[0], TUNGETIFF, &ifr) != 0) {
		diag_error(d, "descriptor %d is not a TUN device", t->fd[0]);
		return UK_EINVAL;
	}
	/* IFF_NO_PI cannot be asked: TUNGETIFF says IFF_NOFILTER by the same
	 * bit. */
	if ((ifr.ifr_flags & IFF_TUN) == 0) {
		diag_error(d, "%s is not a TUN device but a TAP", ifr.ifr_name);
		return UK_EINVAL;
	}
	t->vnet = (ifr.ifr_flags & IFF_VNET_HDR) != 0;
	if (fcntl(t->fd[0], F_SETFL, flags | O_NONBLOCK) != 0 ||
	    fcntl(t->fd[0], F_SETFD, FD_CLOEXEC) != 0) {
		diag_error(d, "TUN descriptor: %s", strerror(errno));
		return UK_ESYS;
	}
	return 0;
}

/* Agree on offloads: USO where the kernel has it (6.2), TSO without it
 * elsewhere; what is in `without` not at all. */
static int
set_offload(struct tun *t, unsigned without, struct diag *d)
{
	unsigned long tso =
	    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	int size = VNET_HDR_LEN;

	if (!t->vnet)
		return 0;
	if (ioctl(t->fd[0], TUNSETVNETHDRSZ, &size) != 0)
		goto fail;
	if (without & (TUN_NO_VNET_HDR | TUN_NO_GSO)) {
		if (ioctl(t->fd[0], TUNSETOFFLOAD, 0UL) != 0)
			goto fail;
		return 0;
	}
	t->gso = true;
	t->uso =
	    (without & TUN_NO_USO) == 0 &&
	    ioctl(t->fd[0], TUNSETOFFLOAD, tso | TUN_F_USO4 | TUN_F_USO6) == 0;
	if (t->uso || ioctl(t->fd[0], TUNSETOFFLOAD, tso) == 0)
		return 0;
fail:
	diag_error(d, "cannot set the offloads of TUN: %s", strerror(errno));
	return UK_ESYS;
}

/* Tells of our own namespace's links, and of those in namespaces that ours has
 * a number for (Linux 4.2): an interface that moves from here gives its new
 * one such a number. Without the right to hear that, once a second must do. */
static int
open_link_socket(void)
{
	struct sockaddr_nl a = {
	    .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int all = 1;
	int fd = socket(
	    AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -1;
	(void)setsockopt(
	    fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &all, sizeof(all));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int
open_events(struct tun *t, struct diag *d)
{
	struct epoll_event e = {.events = EPOLLIN};

	t->link_fd = open_link_socket();
	t->event_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->link_fd >= 0 && t->event_fd >= 0 &&
	    epoll_ctl(t->event_fd, EPOLL_CTL_ADD, t->link_fd, &e) == 0)
		return 0;
	diag_error(d, "cannot watch interfaces: %s", strerror(errno));
	return UK_ESYS;
}

/* While the interface is down, a queue's becoming writable is the event of its
 * coming up. It needs no rights where the interface is. */
static void
arm(struct tun *t, bool down)
{
	struct epoll_event e = {.events = EPOLLOUT};

	if (t->armed == down)
		return;
	if (epoll_ctl(t->event_fd, down ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
		t->fd[t->writer], &e) == 0)
		t->armed = down;
}

/* What the events say is looked up afresh, so their text is not read. A
 * bound, since events may come faster than we read. */
static void
drain_events(struct tun *t)
{
	char buf[4096];

	for (int i = 0; i < 256; i++)
		if (recv(t->link_fd, buf, sizeof(buf), MSG_DONTWAIT) < 0 &&
		    errno != ENOBUFS)
			return;
}

/* Ask a socket's namespace about the interface. */
static void
look_by(struct tun *t, int sock)
{
	struct ifreq ifr = {0};

	memcpy(ifr.ifr_name, t->name, IFNAMSIZ);
	if (ioctl(sock, SIOCGIFINDEX, &ifr) != 0)
		return;
	t->ifindex = (unsigned)ifr.ifr_ifindex;
	if (ioctl(sock, SIOCGIFMTU, &ifr) == 0)
		t->mtu = (uint32_t)ifr.ifr_mtu;
}

struct visit {
	struct tun *tun;
	int ns_fd;
};

static void *
visit_thread(void *arg)
{
	struct visit *v = arg;
	int sock;

	if (setns(v->ns_fd, CLONE_NEWNET) != 0)
		return NULL;
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return NULL;
	look_by(v->tun, sock);
	close(sock);
	return NULL;
}

/* A namespace belongs to a thread. One of our own goes there and never comes
 * back, so that no failure can leave the program in the wrong place. No
 * socket is kept: it would keep alive a namespace whose owner has gone, and
 * with it the interface. */
static void
visit(struct tun *t, int ns_fd)
{
	struct visit v = {.tun = t, .ns_fd = ns_fd};
	pthread_t thread;

	if (pthread_create(&thread, NULL, visit_thread, &v) == 0)
		pthread_join(thread, NULL);
}

static bool
is_own_namespace(int ns_fd)
{
	struct stat ns, own;

	return fstat(ns_fd, &ns) == 0 &&
	       stat("/proc/thread-self/ns/net", &own) == 0 &&
	       ns.st_dev == own.st_dev && ns.st_ino == own.st_ino;
}

/* Without being told its namespace: is it still in ours? */
static bool
seems_at_home(const struct tun *t)
{
	struct ifreq ifr = {0};

	memcpy(ifr.ifr_name, t->name, IFNAMSIZ);
	return ioctl(t->link_fd, SIOCGIFINDEX, &ifr) == 0 &&
	       (t->ifindex == 0 || t->ifindex == (unsigned)ifr.ifr_ifindex);
}

static void
look_at_link(struct tun *t)
{
	int ns_fd = ioctl(t->fd[0], TUNGETDEVNETNS);

	/* An old kernel, or a namespace whose owner does not know us. */
	if (ns_fd < 0) {
		if (seems_at_home(t))
			look_by(t, t->link_fd);
		return;
	}
	if (is_own_namespace(ns_fd))
		look_by(t, t->link_fd);
	else
		visit(t, ns_fd);
	close(ns_fd);
}

/* Wherever the interface is, its descriptor is writable exactly while it is
 * up (Linux 5.0), and in error once it is deleted. */
static enum tun_state
poll_state(const struct tun *t)
{
	struct pollfd p = {.fd = t->fd[0], .events = POLLOUT};

	if (poll(&p, 1, 0) <= 0)
		return TUN_DOWN;
	if (p.revents & (POLLERR | POLLNVAL))
		return TUN_GONE;
	return p.revents & POLLOUT ? TUN_UP : TUN_DOWN;
}

enum tun_state
tun_refresh(struct tun *t)
{
	struct ifreq ifr = {0};
	enum tun_state state;

	if (ioctl(t->fd[0], TUNGETIFF, &ifr) != 0)
		return TUN_GONE;
	memcpy(t->name, ifr.ifr_name, IFNAMSIZ);
	drain_events(t);
	look_at_link(t);
	state = poll_state(t);
	arm(t, state == TUN_DOWN);
	return state;
}

static int
set_mtu(struct tun *t, uint32_t mtu, struct diag *d)
{
	struct ifreq ifr = {0};

	if (mtu == 0)
		return 0;
	memcpy(ifr.ifr_name, t->name, IFNAMSIZ);
	ifr.ifr_mtu = (int)mtu;
	if (ioctl(t->link_fd, SIOCSIFMTU, &ifr) == 0) {
		t->mtu = mtu;
		return 0;
	}
	diag_error(d, "cannot set the MTU of %s to %u: %s", t->name, mtu,
	    strerror(errno));
	return UK_ESYS;
}

/* The slab holds a batch that is not full yet, plus the worst super-packet,
 * split, plus that packet itself. Only what is written to is resident. */
static int
alloc_buffers(struct tun *t, const struct tun_conf *c)
{
	size_t room;

	UK_ASSERT(c->headroom <= ROOM_MAX && c->tailroom <= ROOM_MAX);
	t->headroom = c->headroom > VNET_HDR_LEN ? c->headroom : VNET_HDR_LEN;
	t->tailroom = c->tailroom;
	room = (size_t)t->headroom + t->tailroom;
	t->slab_len = BATCH_BYTES + 2 * PACKET_MAX + 2 * room +
		      SEGMENTS_MAX * (room + HEADERS_MAX + 16);
	t->slab = malloc(t->slab_len);
	t->super_buf = malloc(t->headroom + PACKET_MAX);
	return t->slab == NULL || t->super_buf == NULL ? UK_ENOMEM : 0;
}

static struct tun *
tun_new(int fd)
{
	struct tun *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(t->fd); i++)
		t->fd[i] = -1;
	t->fd[0] = fd;
	t->fds = fd >= 0;
	t->poll_fd = -1;
	t->link_fd = -1;
	t->event_fd = -1;
	t->mtu = MTU_UNKNOWN;
	return t;
}

int
tun_join(struct tun **out, const struct tun *first, const struct tun_conf *c,
    struct diag *d)
{
	struct tun *t = tun_new(-1);
	int r;

	if (t == NULL)
		return UK_ENOMEM;
	t->vnet = first->vnet;
	t->gso = first->gso;
	t->uso = first->uso;
	r = attach_more(t, first->fd[0], QUEUES_SHARED, d);
	if (r == 0)
		r = poll_all(t, d);
	if (r == 0)
		r = alloc_buffers(t, c);
	if (r != 0) {
		tun_close(t);
		return r;
	}
	*out = t;
	return 0;
}

int
tun_open(struct tun **out, const struct tun_conf *c, struct diag *d)
{
	struct tun *t = tun_new(c->fd);
	int r;

	if (t == NULL) {
		if (c->fd >= 0)
			close(c->fd);
		return UK_ENOMEM;
	}
	r = c->fd >= 0 ? adopt(t, d) : create(t, c, d);
	if (r != 0)
		goto close_tun;
	r = set_offload(t, c->no_offload, d);
	if (r != 0)
		goto close_tun;
	r = open_events(t, d);
	if (r != 0)
		goto close_tun;
	(void)tun_refresh(t);
	r = set_mtu(t, c->mtu, d);
	if (r != 0)
		goto close_tun;
	r = alloc_buffers(t, c);
	if (r != 0)
		goto close_tun;
	*out = t;
	return 0;
close_tun:
	tun_close(t);
	return r;
}

void
tun_close(struct tun *t)
{
	if (t == NULL)
		return;
	if (t->event_fd >= 0)
		close(t->event_fd);
	if (t->link_fd >= 0)
		close(t->link_fd);
	if (t->poll_fd >= 0)
		close(t->poll_fd);
	for (size_t i = 0; i < ARRAY_LEN(t->fd); i++)
		if (t->fd[i] >= 0)
			close(t->fd[i]);
	free(t->super_buf);
	free(t->slab);
	free(t);
}

int
tun_fd(const struct tun *t)
{
	return t->poll_fd >= 0 ? t->poll_fd : t->fd[0];
}

int
tun_event_fd(const struct tun *t)
{
	return t->event_fd;
}

const char *
tun_name(const struct tun *t)
{
	return t->name;
}

unsigned
tun_ifindex(const struct tun *t)
{
	return t->ifindex;
}

uint32_t
tun_mtu(const struct tun *t)
{
	return t->mtu;
}

const struct tun_stats *
tun_stats(const struct tun *t)
{
	return &t->stats;
}

/* Read one packet to `at`, and what the kernel says of it to the bytes in
 * front of that: in one piece a small packet costs a tenth less. Returns its
 * length; -1 and errno. */
static ssize_t
read_packet(const struct tun *t, int fd, struct vnet_hdr *h, uint8_t *at)
{
	size_t hlen = t->vnet ? VNET_HDR_LEN : 0;
	ssize_t len = read(fd, at - hlen, hlen + PACKET_MAX);

	*h = (struct vnet_hdr){0};
	if (len < 0 || !t->vnet)
		return len;
	/* tun writes the header whole or fails. */
	UK_ASSERT(len >= VNET_HDR_LEN);
	vnet_hdr_load(h, at - VNET_HDR_LEN);
	return len - VNET_HDR_LEN;
}

/* How far a slab is filled. */
struct fill {
	size_t used;
	unsigned n;
};

/* A packet without GSO that was read into the slab stays where it is. */
static int
keep_in_place(struct tun *t, struct fill *f, const struct vnet_hdr *h,
    size_t len, struct pbuf *out)
{
	size_t cap = (t->headroom + len + t->tailroom + 15) & ~(size_t)15;
	uint8_t *base = t->slab + f->used;
	int r = vnet_complete_csum(h, base + t->headroom, len);

	if (r != 0)
		return r;
	out[f->n++] = pbuf_make(base, cap, t->headroom, len);
	f->used += cap;
	return 0;
}

static int
split(struct tun *t, struct fill *f, const struct vnet_hdr *h,
    const uint8_t *pkt, size_t len, struct pbuf *out)
{
	struct vnet_room room = {.slab = t->slab + f->used,
	    .slab_len = t->slab_len - f->used,
	    .headroom = t->headroom,
	    .tailroom = t->tailroom};
	int r = vnet_split(h, pkt, len, &room, out + f->n, TUN_READ_MAX - f->n);

	if (r <= 0)
		return r;
	f->n += (unsigned)r;
	f->used = (size_t)(out[f->n - 1].base + out[f->n - 1].cap - t->slab);
	return 0;
}

/* Read one packet and append what it holds. A packet is expected to be like
 * the last one: single ones are read to where they stay, super-packets into a
 * buffer from which they are split, which stays warm. A wrong guess costs a
 * copy of one packet, or the room of one super-packet in the slab.
 * Returns false when nothing was read, with errno. */
static bool
read_one(struct tun *t, int fd, struct fill *f, void *out)
{
	bool in_slab = !t->super;
	uint8_t *at =
	    (in_slab ? t->slab + f->used : t->super_buf) + t->headroom;
	struct vnet_hdr h;
	ssize_t got = read_packet(t, fd, &h, at);
	size_t len = (size_t)got;
	int r;

	if (got < 0)
		return false;
	t->super = h.gso_type != VNET_GSO_NONE;
	if (in_slab && !t->super) {
		r = keep_in_place(t, f, &h, len, out);
	} else {
		if (in_slab)
			f->used += t->headroom + len;
		r = split(t, f, &h, at, len, out);
	}
	if (r != 0)
		t->stats.read_malformed++;
	return true;
}

/* The descriptors of the queues that have something. Returns their number. */
static unsigned
ready_queues(const struct tun *t, int fd[QUEUES_ALONE])
{
	struct epoll_event e[QUEUES_ALONE];
	int n;

	if (t->poll_fd < 0) {
		fd[0] = t->fd[0];
		return 1;
	}
	n = epoll_wait(t->poll_fd, e, QUEUES_ALONE, 0);
	for (int i = 0; i < n; i++)
		fd[i] = t->fd[e[i].data.u32];
	return n > 0 ? (unsigned)n : 0;
}

/* Read one packet and append it as it is. Returns false when nothing was read,
 * with errno. */
static bool
read_one_whole(struct tun *t, int fd, struct fill *f, void *out)
{
	uint8_t *base = t->slab + f->used;
	struct vnet_packet *p = (struct vnet_packet *)out + f->n;
	ssize_t got = read_packet(t, fd, &p->hdr, base + t->headroom);
	size_t cap;

	if (got < 0)
		return false;
	cap = (t->headroom + (size_t)got + t->tailroom + 15) & ~(size_t)15;
	p->b = pbuf_make(base, cap, t->headroom, (size_t)got);
	f->used += cap;
	f->n++;
	return true;
}

/* Read the queues in turn, one packet each, until a fair batch is had. */
static int
read_queues(struct tun *t, unsigned packets,
    bool (*read_next)(struct tun *t, int fd, struct fill *f, void *out),
    void *out)
{
	int fd[QUEUES_ALONE];
	unsigned ready = ready_queues(t, fd), at = t->turn;
	struct fill f = {0};

	while (ready > 0 && f.n < packets && f.used < BATCH_BYTES) {
		at = at < ready ? at : 0;
		if (read_next(t, fd[at], &f, out)) {
			at++;
			continue;
		}
		if (f.n == 0 && errno == EBADFD)
			return UK_ENOENT;
		fd[at] = fd[--ready];
	}
	t->turn = at;
	return (int)f.n;
}

int
tun_read(struct tun *t, struct pbuf *out, unsigned cap)
{
	UK_ASSERT(cap == TUN_READ_MAX);
	return read_queues(t, BATCH_PACKETS, read_one, out);
}

int
tun_read_whole(struct tun *t, struct vnet_packet *out, unsigned cap)
{
	UK_ASSERT(cap == TUN_READ_WHOLE_MAX);
	return read_queues(t, cap, read_one_whole, out);
}

/* Of an interface that is shared the kernel sends a flow's answers to the queue
 * that the flow was written to. What shows no ports, pings for one, has a queue
 * of its own. */
static int
fd_of(const struct tun *t, uint32_t tag)
{
	if (tag == 0 || t->writer || t->fds == 1)
		return t->fd[0];
	return t->fd[1 + (tag >> 16 ^ tag) % (t->fds - 1)];
}

static void
write_group(struct tun *t, const struct pbuf *p, const struct vnet_group *g)
{
	int fd = fd_of(t, g->tag);
	struct pbuf lead = p[g->first];
	uint8_t raw[VNET_HDR_LEN];
	unsigned at = g->first;
	unsigned n = 0;
	ssize_t done;

	/* In front of the packet, as long as there is room. */
	if (t->vnet && pbuf_headroom(&lead) >= VNET_HDR_LEN) {
		vnet_hdr_store(&g->hdr, pbuf_push(&lead, VNET_HDR_LEN));
	} else if (t->vnet) {
		vnet_hdr_store(&g->hdr, raw);
		t->wiov[n++] = (struct iovec){raw, sizeof(raw)};
	}
	t->wiov[n++] = (struct iovec){pbuf_data(&lead), lead.len};
	for (unsigned i = 1; i < g->count; i++) {
		at = t->join.next[at];
		t->wiov[n++] = (struct iovec){
		    pbuf_data(&p[at]) + g->hlen, p[at].len - g->hlen};
	}
	if (n == 1)
		done = write(fd, pbuf_data(&lead), lead.len);
	else
		done = writev(fd, t->wiov, (int)n);
	/* EIO while the interface is down, EINVAL for what is not IP. */
	if (done < 0)
		t->stats.write_dropped += g->count;
}

static void
write_alone(struct tun *t, const struct pbuf *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct vnet_group g = {.first = i, .count = 1};

		write_group(t, p, &g);
	}
}

static void
write_joined(struct tun *t, const struct pbuf *p, unsigned n)
{
	struct vnet_group g;

	vnet_join_begin(&t->join, p, n, t->uso);
	while (vnet_join_next(&t->join, &g))
		write_group(t, p, &g);
}

void
tun_write(struct tun *t, const struct pbuf *p, unsigned n)
{
	if (!t->gso) {
		write_alone(t, p, n);
		return;
	}
	while (n > 0) {
		unsigned step = n < VNET_JOIN_MAX ? n : VNET_JOIN_MAX;

		write_joined(t, p, step);
		p += step;
		n -= step;
	}
}

/* As write(2). */
static ssize_t
write_plain(struct tun *t, const struct vnet_packet *p)
{
	uint8_t *pkt = pbuf_data(&p->b);

	if (p->hdr.gso_type != VNET_GSO_NONE ||
	    vnet_complete_csum(&p->hdr, pkt, p->b.len) != 0)
		return -1;
	return write(t->fd[0], pkt, p->b.len);
}

bool
tun_write_whole(struct tun *t, const struct vnet_packet *p)
{
	struct pbuf b = p->b;
	ssize_t done;

	if (t->vnet) {
		vnet_hdr_store(&p->hdr, pbuf_push(&b, VNET_HDR_LEN));
		done = write(t->fd[0], pbuf_data(&b), b.len);
	} else {
		done = write_plain(t, p);
	}
	if (done < 0)
		t->stats.write_dropped++;
	return done >= 0;
}

void
tun_write_mixed(struct tun *t, const struct vnet_packet *p, unsigned n)
{
	struct pbuf finished[TUN_READ_WHOLE_MAX];
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		bool whole = p[i].hdr.flags != 0 || p[i].hdr.gso_type != 0;

		if (!whole)
			finished[kept++] = p[i].b;
		if (whole || kept == TUN_READ_WHOLE_MAX) {
			tun_write(t, finished, kept);
			kept = 0;
		}
		if (whole)
			(void)tun_write_whole(t, &p[i]);
	}
	tun_write(t, finished, kept);
}

bool
tun_takes(const struct tun *t, uint8_t gso_type)
{
	return gso_type == VNET_GSO_UDP_L4 ? t->uso : t->gso;
}
