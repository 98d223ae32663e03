#include "wire.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in6.h>

#include "core/bytes.h"
#include "core/err.h"
#include "host/os_err.h"
#include "ipip6.h"
#include "wire_bpf.h"

/* Older than some kernels in the C library's headers. */
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

/* An IPv6 header and what its length field can say. */
#define PACKET_MAX (40 + 65535)
#define SLOT_ROOM 64 /* in front of each */
/* And in the slot the vnet header and the link's: of Ethernet 14 bytes. */
#define SLOT_DATA (VNET_HDR_LEN + 64 + PACKET_MAX)
/* Slots begin at different cache sets. What of a slot was never written to
 * costs nothing. */
#define SLOT_STRIDE ((SLOT_ROOM + SLOT_DATA + 255) / 64 * 64)
/* One call receives about so much, going by the size of packets in the last
 * one, for a second-level cache's sake. */
#define RECV_BATCH_BYTES 131072
#define SEND_BATCH 64
/* As for UDP: some milliseconds of a fast link, while we wait for a core. */
#define RECV_BUFFER_BYTES (4 << 20)
#define SEND_BUFFER_BYTES (1 << 20)

/* A super-packet in pieces: as TUN's largest. */
#define PIECES_MAX TUN_READ_MAX
#define PIECE_ROOM (IPIP6_HLEN + 120 + 16)

/* What the kernel says beside a packet, aligned as cmsg(3) demands. */
struct control {
	_Alignas(struct cmsghdr)
	    uint8_t b[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
};

struct wire {
	int packet_fd; /* in */
	int raw_fd; /* out, and the kernel's "somebody listens" */
	unsigned ifindex;
	struct tun *tun;
	struct wire_bpf *bpf; /* NULL: super-packets are split here */
	uint64_t refused; /* what bpf had refused so far */
	bool whole_tcp, whole_udp; /* super-packets that bpf takes */
	struct wire_stats stats;

	uint8_t *slab; /* WIRE_RECV_MAX slots */
	unsigned recv_max; /* packets to ask for next */
	struct mmsghdr rmsg[WIRE_RECV_MAX];
	struct iovec riov[WIRE_RECV_MAX];
	struct control rcontrol[WIRE_RECV_MAX];
	struct vnet_packet in[WIRE_RECV_MAX];

	uint8_t *pieces;
	size_t pieces_len;
	struct pbuf piece[PIECES_MAX];
	struct mmsghdr smsg[SEND_BATCH];
	struct iovec siov[SEND_BATCH];
	struct sockaddr_in6 saddr[SEND_BATCH];
	unsigned queued;
};

static int
set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

static int
filter(int fd, struct sock_filter *code, size_t n)
{
	struct sock_fprog f = {.len = (unsigned short)n, .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof(f));
}

/* Packets to this host by its link address, to our MAP address, with what can
 * be ours behind the fixed header: IPv4, a fragment, an extension header, or an
 * ICMPv6 error (types below 128, RFC 4443 2.1). Jumps: 19 is to take it, 20
 * is not to. */
static int
filter_packets(int fd, const uint8_t address[16])
{
#define AT(off) ((uint32_t)SKF_NET_OFF + (off))
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS,
		(uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
	    IF(PACKET_HOST, 0, 18),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT(24)),
	    IF(load_be32(address), 0, 16),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT(28)),
	    IF(load_be32(address + 4), 0, 14),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT(32)),
	    IF(load_be32(address + 8), 0, 12),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT(36)),
	    IF(load_be32(address + 12), 0, 10),
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, AT(6)),
	    IF(IPPROTO_IPIP, 7, 0),
	    IF(IPPROTO_FRAGMENT, 6, 0),
	    IF(IPPROTO_HOPOPTS, 5, 0),
	    IF(IPPROTO_ROUTING, 4, 0),
	    IF(IPPROTO_DSTOPTS, 3, 0),
	    IF(IPPROTO_ICMPV6, 0, 3),
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, AT(IPIP6_HLEN)),
	    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 128, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	    BPF_STMT(BPF_RET | BPF_K, 0),
	};
#undef IF
#undef AT

	return filter(fd, code, ARRAY_LEN(code));
}

/* The FORCE names pass over net.core.{r,w}mem_max and want CAP_NET_ADMIN. */
static void
set_buffer(int fd, int force, int plain, int bytes)
{
	if (set_int(fd, SOL_SOCKET, force, bytes) != 0)
		(void)set_int(fd, SOL_SOCKET, plain, bytes);
}

/* Hears nothing before it is bound, and then only what its filter lets by.
 * Bound to IPv6 alone it is not shown what the host sends. Returns -1 and
 * errno. */
static int
open_packet(struct wire *w, const struct wire_conf *c)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET,
	    .sll_protocol = htons(ETH_P_IPV6),
	    .sll_ifindex = (int)c->ifindex};

	w->packet_fd =
	    socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->packet_fd < 0 || filter_packets(w->packet_fd, c->address) != 0 ||
	    set_int(w->packet_fd, SOL_PACKET, PACKET_VNET_HDR, 1) != 0 ||
	    set_int(w->packet_fd, SOL_PACKET, PACKET_AUXDATA, 1) != 0)
		return -1;
	set_buffer(w->packet_fd, SO_RCVBUFFORCE, SO_RCVBUF, RECV_BUFFER_BYTES);
	return bind(w->packet_fd, (struct sockaddr *)&a, sizeof(a));
}

/* Sends what has its own header, fragments too. It is a listener for protocol 4
 * whose filter refuses everything: that counts as delivered. The address may
 * come later than we do. */
static int
open_raw(struct wire *w, const struct wire_conf *c)
{
	struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sockaddr_in6 a = {.sin6_family = AF_INET6};
	int fd = socket(
	    AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_IPIP);

	w->raw_fd = fd;
	if (fd < 0 || filter(fd, nothing, ARRAY_LEN(nothing)) != 0 ||
	    set_int(fd, IPPROTO_IPV6, IPV6_HDRINCL, 1) != 0 ||
	    set_int(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1) != 0 ||
	    set_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, (int)c->ifindex) != 0)
		return -1;
	if (c->mark != 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_MARK, &c->mark, sizeof(c->mark)) != 0)
		return -1;
	set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER_BYTES);
	memcpy(&a.sin6_addr, c->address, 16);
	return bind(fd, (struct sockaddr *)&a, sizeof(a));
}

static int
open_error(int e, struct diag *d)
{
	if (e == ENODEV || e == ENXIO) {
		diag_error(d, "the link to the line is gone");
		return UK_ENOENT;
	}
	diag_error(d, "cannot open the line for IPv4 in IPv6: %s%s",
	    strerror(e),
	    e == EPERM || e == EACCES
		? ": run as root or with CAP_NET_ADMIN and CAP_NET_RAW"
		: "");
	return os_err(e);
}

static void
init_messages(struct wire *w)
{
	w->recv_max = WIRE_RECV_MAX;
	for (unsigned i = 0; i < WIRE_RECV_MAX; i++) {
		w->riov[i].iov_base = w->slab + i * SLOT_STRIDE + SLOT_ROOM;
		w->riov[i].iov_len = SLOT_DATA;
		w->rmsg[i].msg_hdr.msg_iov = &w->riov[i];
		w->rmsg[i].msg_hdr.msg_iovlen = 1;
		w->rmsg[i].msg_hdr.msg_control = &w->rcontrol[i];
	}
	for (unsigned i = 0; i < SEND_BATCH; i++) {
		w->saddr[i].sin6_family = AF_INET6;
		w->smsg[i].msg_hdr.msg_name = &w->saddr[i];
		w->smsg[i].msg_hdr.msg_namelen = sizeof(w->saddr[i]);
		w->smsg[i].msg_hdr.msg_iov = &w->siov[i];
		w->smsg[i].msg_hdr.msg_iovlen = 1;
	}
}

/* Without it everything works, slower; what it says is a warning. */
static void
open_bpf(struct wire *w, const struct wire_conf *c, struct diag *d)
{
	if (c->no_offload || c->tun == NULL ||
	    !tun_takes(c->tun, VNET_GSO_TCPV4))
		return;
	if (wire_bpf_attach(
		&w->bpf, tun_ifindex(c->tun), c->ifindex, c->mark, d) != 0)
		return;
	w->whole_tcp = true;
	w->whole_udp = tun_takes(c->tun, VNET_GSO_UDP_L4);
}

int
wire_open(struct wire **out, const struct wire_conf *c, struct diag *d)
{
	struct wire *w = calloc(1, sizeof(*w));
	int r = UK_ENOMEM;

	if (w == NULL)
		return UK_ENOMEM;
	w->packet_fd = -1;
	w->raw_fd = -1;
	w->ifindex = c->ifindex;
	w->tun = c->tun;
	w->pieces_len = PACKET_MAX + PIECES_MAX * PIECE_ROOM;
	w->pieces = malloc(w->pieces_len);
	w->slab = malloc(WIRE_RECV_MAX * SLOT_STRIDE);
	if (w->pieces == NULL || w->slab == NULL)
		goto close_wire;
	init_messages(w);
	if (open_raw(w, c) != 0 || open_packet(w, c) != 0) {
		r = open_error(errno, d);
		goto close_wire;
	}
	open_bpf(w, c, d);
	*out = w;
	return 0;
close_wire:
	wire_close(w);
	return r;
}

void
wire_close(struct wire *w)
{
	if (w == NULL)
		return;
	wire_bpf_detach(w->bpf);
	if (w->packet_fd >= 0)
		close(w->packet_fd);
	if (w->raw_fd >= 0)
		close(w->raw_fd);
	free(w->slab);
	free(w->pieces);
	free(w);
}

int
wire_fd(const struct wire *w)
{
	return w->packet_fd;
}

/* ---- in ---- */

/* Where the IPv6 header begins behind what the link has in front of it.
 * Returns -1: we were not told. */
static int
network_offset(struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	struct tpacket_auxdata aux;

	if (c == NULL || c->cmsg_level != SOL_PACKET ||
	    c->cmsg_type != PACKET_AUXDATA ||
	    c->cmsg_len < CMSG_LEN(sizeof(aux)))
		return -1;
	memcpy(&aux, CMSG_DATA(c), sizeof(aux));
	return aux.tp_net;
}

/* Make a packet of a message. */
static bool
take(struct wire *w, unsigned i, struct vnet_packet *p)
{
	struct msghdr *m = &w->rmsg[i].msg_hdr;
	uint8_t *at = w->riov[i].iov_base;
	size_t len = w->rmsg[i].msg_len;
	int net = network_offset(m);
	size_t skip = VNET_HDR_LEN + (size_t)net;

	if (net < 0 || len < skip || (m->msg_flags & MSG_TRUNC) != 0)
		return false;
	vnet_hdr_load(&p->hdr, at);
	p->b = pbuf_make(at - SLOT_ROOM, SLOT_ROOM + SLOT_DATA,
	    SLOT_ROOM + skip, len - skip);
	/* A checksum is counted from where the link's header begins. */
	if ((p->hdr.flags & VNET_F_NEEDS_CSUM) != 0) {
		if (p->hdr.csum_start < net)
			return false;
		p->hdr.csum_start = (uint16_t)(p->hdr.csum_start - net);
	}
	ipip6_drop_limit(p);
	return wire_agree(p) == 0;
}

/* Ask next for as many packets as make up a batch if they are as long as
 * these were. */
static void
adapt_batch(struct wire *w, unsigned got, size_t bytes)
{
	size_t fit = RECV_BATCH_BYTES / (bytes / got + 1);

	w->recv_max = fit < 2 ? 2 : (unsigned)uk_min_u64(fit, WIRE_RECV_MAX);
}

/* The socket of a link that went down comes back with it; of one that was
 * removed it has lost the index. */
bool
wire_gone(const struct wire *w)
{
	struct sockaddr_ll a = {0};
	socklen_t len = sizeof(a);

	return getsockname(w->packet_fd, (struct sockaddr *)&a, &len) != 0 ||
	       a.sll_ifindex != (int)w->ifindex;
}

int
wire_recv(struct wire *w, struct vnet_packet **out)
{
	unsigned n = 0;
	size_t bytes = 0;
	int got;

	*out = w->in;
	for (unsigned i = 0; i < w->recv_max; i++)
		w->rmsg[i].msg_hdr.msg_controllen = sizeof(w->rcontrol[i]);
	got = recvmmsg(w->packet_fd, w->rmsg, w->recv_max, 0, NULL);
	if (got <= 0)
		return errno == ENETDOWN && wire_gone(w) ? UK_ENOENT : 0;
	for (unsigned i = 0; i < (unsigned)got; i++) {
		bytes += w->rmsg[i].msg_len;
		if (!take(w, i, &w->in[n])) {
			w->stats.receive_malformed++;
			continue;
		}
		w->stats.received_super +=
		    w->in[n].hdr.gso_type != VNET_GSO_NONE;
		n++;
	}
	w->stats.received += n;
	adapt_batch(w, (unsigned)got, bytes);
	return (int)n;
}

/* ---- out ---- */

/* Send what is queued. What the kernel refuses is skipped; with a full queue
 * the rest is dropped, as any router's queue does. */
static unsigned
flush(struct wire *w)
{
	unsigned at = 0, sent = 0;

	while (at < w->queued) {
		int r = sendmmsg(w->raw_fd, w->smsg + at, w->queued - at, 0);

		if (r > 0) {
			at += (unsigned)r;
			sent += (unsigned)r;
			continue;
		}
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && (errno == EAGAIN || errno == ENOBUFS))
			break;
		at++;
	}
	w->stats.send_failed += w->queued - sent;
	w->queued = 0;
	return sent;
}

static void
queue(struct wire *w, const struct pbuf *b)
{
	unsigned i = w->queued;

	/* Not for the kernel's eyes when it is no whole header. */
	if (b->len < IPIP6_HLEN) {
		w->stats.send_failed++;
		return;
	}
	memcpy(&w->saddr[i].sin6_addr, pbuf_data(b) + 24, 16);
	w->siov[i] = (struct iovec){pbuf_data(b), b->len};
	w->queued++;
	if (w->queued == SEND_BATCH)
		w->stats.sent += flush(w);
}

static void
send_single(struct wire *w, const struct vnet_packet *p)
{
	if (vnet_complete_csum(&p->hdr, pbuf_data(&p->b), p->b.len) != 0) {
		w->stats.send_failed++;
		return;
	}
	queue(w, &p->b);
}

static void
send_pieces(struct wire *w, const struct vnet_packet *p)
{
	struct vnet_room room = {.slab = w->pieces, .slab_len = w->pieces_len};
	int n = wire_split(p, &room, w->piece, PIECES_MAX);

	if (n < 0) {
		w->stats.send_failed++;
		return;
	}
	w->stats.split++;
	for (int i = 0; i < n; i++)
		queue(w, &w->piece[i]);
	/* The pieces' memory is wanted for the next one. */
	w->stats.sent += flush(w);
}

static bool *
whole(struct wire *w, const struct vnet_packet *p)
{
	return p->hdr.gso_type == VNET_GSO_UDP_L4 ? &w->whole_udp
						  : &w->whole_tcp;
}

/* The program runs while we write, so we know at once when the kernel would not
 * do what it wants, and never try again. */
static void
send_super(struct wire *w, const struct vnet_packet *p)
{
	uint64_t refused;

	w->stats.sent += flush(w);
	if (!*whole(w, p)) {
		send_pieces(w, p);
		return;
	}
	if (!tun_write_whole(w->tun, p)) {
		w->stats.send_failed++;
		return;
	}
	refused = wire_bpf_refused(w->bpf);
	if (refused != w->refused) {
		w->refused = refused;
		*whole(w, p) = false;
		send_pieces(w, p);
		return;
	}
	w->stats.sent++;
	w->stats.sent_super++;
}

void
wire_send(struct wire *w, struct vnet_packet *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (p[i].hdr.gso_type == VNET_GSO_NONE)
			send_single(w, &p[i]);
		else
			send_super(w, &p[i]);
	}
	w->stats.sent += flush(w);
}

void
wire_stats(struct wire *w, struct wire_stats *out)
{
	struct tpacket_stats s = {0};
	socklen_t len = sizeof(s);

	/* Reading it sets it to 0. */
	if (getsockopt(w->packet_fd, SOL_PACKET, PACKET_STATISTICS, &s, &len) ==
	    0)
		w->stats.receive_dropped += s.tp_drops;
	w->stats.offload = w->whole_tcp;
	*out = w->stats;
}
