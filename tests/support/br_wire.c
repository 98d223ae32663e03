#include "br_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/base.h"
#include "core/bytes.h"

/* Newer than Debian 12's headers. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#define TCX_INGRESS 46 /* BPF_TCX_INGRESS, Linux 6.6 */

enum { OUTER = 40, FRAGMENT = 8, NEXT_FRAGMENT = 44, NEXT_ICMPV6 = 58 };
enum { PIECES_MAX = 2048, SLAB = 4 << 20 };

/* ---- opening ---- */

static int
tun_open(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
	unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -1;
	memcpy(ifr.ifr_name, name, strlen(name) + 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		goto close_fd;
	/* USO since Linux 6.2. */
	if (ioctl(fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) < 0 &&
	    ioctl(fd, TUNSETOFFLOAD, tcp) < 0)
		goto close_fd;
	return fd;

close_fd:
	close(fd);
	return -1;
}

/* IPv6 to this address, but no ICMPv6: that is the namespace's own. */
static int
filter(int fd, const uint8_t address[16])
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN + 6),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NEXT_ICMPV6, 9, 0),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ETH_HLEN + 24),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, load_be32(address), 0, 7),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ETH_HLEN + 28),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, load_be32(address + 4), 0, 5),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ETH_HLEN + 32),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, load_be32(address + 8), 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ETH_HLEN + 36),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, load_be32(address + 12), 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, 0x40000),
	    BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = {ARRAY_LEN(code), code};

	return setsockopt(
	    fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
}

static int
line_open(const struct br_wire_options *o)
{
	struct sockaddr_ll sll = {.sll_family = AF_PACKET,
	    .sll_protocol = htons(ETH_P_IPV6),
	    .sll_ifindex = (int)if_nametoindex(o->link)};
	int one = 1, room = 32 << 20;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (sll.sll_ifindex == 0 || filter(fd, o->address) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) <
		0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one,
		sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&sll, sizeof(sll)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int
raw_open(void)
{
	int room = 8 << 20;
	int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	return fd;
}

static int
bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static int
map_open(struct br_wire *w)
{
	union bpf_attr attr = {
	    .map_type = BPF_MAP_TYPE_ARRAY,
	    .key_size = 4,
	    .value_size = OUTER,
	    .max_entries = 1,
	    .map_flags = BPF_F_MMAPABLE,
	};
	void *p;

	w->map_fd = bpf(BPF_MAP_CREATE, &attr);
	if (w->map_fd < 0)
		return -1;
	p = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
	    MAP_SHARED, w->map_fd, 0);
	if (p == MAP_FAILED)
		return -1;
	w->header = p;
	return 0;
}

/* clang-format off: one instruction a line */
#define MOV(d, v)                                                              \
	{                                                                      \
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (d),           \
		.imm = (v)                                                     \
	}
#define COPY(d, s)                                                             \
	{                                                                      \
		.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (d),           \
		.src_reg = (s)                                                 \
	}
#define CALL(f)                                                                \
	{                                                                      \
		.code = BPF_JMP | BPF_CALL, .imm = (f)                         \
	}
#define IF_NOT_0(d, o)                                                         \
	{                                                                      \
		.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = (d), .off = (o)  \
	}
#define EXIT                                                                   \
	{                                                                      \
		.code = BPF_JMP | BPF_EXIT                                     \
	}

/* Room for the outer header, segment size and checksum work unchanged; then
 * the header; then on, as any packet that the namespace forwards. (From here
 * bpf_redirect_neigh() drops it: there is no link header.) 0 is TC_ACT_OK, 2
 * TC_ACT_SHOT. */
static int
program_load(const struct br_wire *w)
{
	const struct bpf_insn code[] = {
	    COPY(BPF_REG_6, BPF_REG_1),
	    MOV(BPF_REG_2, OUTER),
	    MOV(BPF_REG_3, BPF_ADJ_ROOM_MAC),
	    MOV(BPF_REG_4,
		BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6),
	    CALL(BPF_FUNC_skb_adjust_room),
	    IF_NOT_0(BPF_REG_0, 9),
	    COPY(BPF_REG_1, BPF_REG_6),
	    MOV(BPF_REG_2, 0),
	    {.code = BPF_LD | BPF_DW | BPF_IMM,
		.dst_reg = BPF_REG_3,
		.src_reg = BPF_PSEUDO_MAP_VALUE,
		.imm = w->map_fd},
	    {.imm = 0},
	    MOV(BPF_REG_4, OUTER),
	    MOV(BPF_REG_5, 0),
	    CALL(BPF_FUNC_skb_store_bytes),
	    IF_NOT_0(BPF_REG_0, 1),
	    EXIT,
	    MOV(BPF_REG_0, 2),
	    EXIT,
	};
	/* clang-format on */
	union bpf_attr attr = {
	    .prog_type = BPF_PROG_TYPE_SCHED_CLS,
	    .insn_cnt = ARRAY_LEN(code),
	    .insns = (uintptr_t)code,
	    .license = (uintptr_t) "",
	};

	return bpf(BPF_PROG_LOAD, &attr);
}

/* The second device lives as long as we do, and so does what is attached. */
static int
offload_open(struct br_wire *w, const struct br_wire_options *o)
{
	char name[IFNAMSIZ];
	union bpf_attr attr = {0};
	struct ifreq ifr = {.ifr_flags = IFF_UP};
	int n = snprintf(name, sizeof(name), "%s-out", o->tun);

	if (n < 0 || (size_t)n >= sizeof(name) || map_open(w) < 0)
		return -1;
	w->program_fd = program_load(w);
	if (w->program_fd < 0)
		return -1;
	w->out_fd = tun_open(name);
	if (w->out_fd < 0)
		return -1;
	attr.link_create.prog_fd = (unsigned)w->program_fd;
	attr.link_create.target_ifindex = if_nametoindex(name);
	attr.link_create.attach_type = TCX_INGRESS;
	w->attach_fd = bpf(BPF_LINK_CREATE, &attr);
	memcpy(ifr.ifr_name, name, sizeof(name));
	if (w->attach_fd >= 0 && ioctl(w->raw_fd, SIOCSIFFLAGS, &ifr) == 0)
		return 0;
	close(w->out_fd);
	w->out_fd = -1;
	return -1;
}

int
br_wire_open(
    struct br_wire *w, const struct br_wire_options *o, const char **what)
{
	*w = (struct br_wire){.line_fd = -1,
	    .tun_fd = -1,
	    .raw_fd = -1,
	    .out_fd = -1,
	    .program_fd = -1,
	    .attach_fd = -1,
	    .map_fd = -1,
	    .mtu = o->mtu};
	*what = "raw socket";
	w->raw_fd = raw_open();
	if (w->raw_fd < 0)
		return -1;
	*what = o->link;
	w->line_fd = line_open(o);
	if (w->line_fd < 0)
		return -1;
	if (o->offload && offload_open(w, o) < 0)
		fprintf(stderr, "no offload toward the line: %s\n",
		    strerror(errno));
	*what = o->tun;
	w->tun_fd = tun_open(o->tun);
	return w->tun_fd < 0 ? -1 : 0;
}

void
br_wire_close(struct br_wire *w)
{
	int *const all[] = {&w->attach_fd, &w->program_fd, &w->map_fd,
	    &w->out_fd, &w->tun_fd, &w->line_fd, &w->raw_fd};

	if (w->header)
		munmap(w->header, (size_t)sysconf(_SC_PAGESIZE));
	w->header = NULL;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (*all[i] >= 0)
			close(*all[i]);
		*all[i] = -1;
	}
}

/* ---- receiving ---- */

/* link: length of the link's own header. */
static ssize_t
receive(int fd, size_t link, struct vnet_hdr *h, uint8_t *buf)
{
	uint8_t vnet[VNET_HDR_LEN], ethernet[ETH_HLEN];
	struct iovec iov[] = {
	    {vnet, sizeof(vnet)},
	    {ethernet, link},
	    {buf, BR_WIRE_PACKET_MAX},
	};
	ssize_t n = readv(fd, iov, 3);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENETDOWN ||
			       errno == ENOBUFS
			   ? 0
			   : -1;
	if ((size_t)n <= VNET_HDR_LEN + link)
		return 0;
	vnet_hdr_load(h, vnet);
	return n - (ssize_t)(VNET_HDR_LEN + link);
}

ssize_t
br_wire_from_line(struct br_wire *w, struct vnet_hdr *h, uint8_t *buf)
{
	ssize_t n = receive(w->line_fd, ETH_HLEN, h, buf);

	if (n <= 0)
		return n;
	if (h->gso_type != VNET_GSO_NONE)
		w->line_super_in++;
	if (h->hdr_len >= ETH_HLEN)
		h->hdr_len = (uint16_t)(h->hdr_len - ETH_HLEN);
	if (h->flags & VNET_F_NEEDS_CSUM)
		h->csum_start = (uint16_t)(h->csum_start - ETH_HLEN);
	return n;
}

ssize_t
br_wire_from_internet(struct br_wire *w, struct vnet_hdr *h, uint8_t *buf)
{
	return receive(w->tun_fd, 0, h, buf);
}

unsigned
br_wire_overruns(struct br_wire *w)
{
	struct tpacket_stats s = {0};
	socklen_t len = sizeof(s);

	getsockopt(w->line_fd, SOL_PACKET, PACKET_STATISTICS, &s, &len);
	return s.tp_drops;
}

/* ---- sending ---- */

static void
tun_send(struct br_wire *w, int fd, const struct vnet_hdr *h,
    const uint8_t *pkt, size_t len)
{
	uint8_t vnet[VNET_HDR_LEN];
	struct iovec iov[] = {
	    {vnet, sizeof(vnet)},
	    {(void *)(uintptr_t)pkt, len},
	};

	vnet_hdr_store(h, vnet);
	if (writev(fd, iov, 2) < 0)
		w->send_errors++;
}

void
br_wire_to_internet(
    struct br_wire *w, const struct vnet_hdr *h, const uint8_t *pkt, size_t len)
{
	tun_send(w, w->tun_fd, h, pkt, len);
}

/* The outer header stands in the packet; n of them, one beside the other. */
static void
raw_send(struct br_wire *w, struct iovec *iov, unsigned n)
{
	struct mmsghdr msg[64];
	struct sockaddr_in6 to = {.sin6_family = AF_INET6};
	unsigned count;

	for (; n > 0; n -= count, iov += count) {
		count = n < ARRAY_LEN(msg) ? n : (unsigned)ARRAY_LEN(msg);
		memcpy(&to.sin6_addr, (uint8_t *)iov->iov_base + 24, 16);
		memset(msg, 0, sizeof(msg));
		for (unsigned i = 0; i < count; i++) {
			msg[i].msg_hdr.msg_name = &to;
			msg[i].msg_hdr.msg_namelen = sizeof(to);
			msg[i].msg_hdr.msg_iov = &iov[i];
			msg[i].msg_hdr.msg_iovlen = 1;
		}
		if (sendmmsg(w->raw_fd, msg, count, 0) != (int)count)
			w->send_errors++;
	}
}

static void
send_fragments(struct br_wire *w, const uint8_t outer[OUTER],
    const uint8_t *pkt, size_t len)
{
	static uint8_t piece[2048];
	size_t step = (w->mtu - OUTER - FRAGMENT) & ~(size_t)7;

	w->fragment_id++;
	for (size_t at = 0; at < len; at += step) {
		size_t n = len - at < step ? len - at : step;
		struct iovec iov = {piece, OUTER + FRAGMENT + n};
		uint8_t *f = piece + OUTER;

		memcpy(piece, outer, OUTER);
		store_be16(piece + 4, (uint16_t)(FRAGMENT + n));
		f[0] = piece[6];
		piece[6] = NEXT_FRAGMENT;
		f[1] = 0;
		store_be16(f + 2, (uint16_t)(at | (at + n < len)));
		store_be32(f + 4, w->fragment_id);
		memcpy(f + FRAGMENT, pkt + at, n);
		raw_send(w, &iov, 1);
	}
}

static void
send_cut(struct br_wire *w, const struct vnet_hdr *h,
    const uint8_t outer[OUTER], const uint8_t *pkt, size_t len)
{
	static uint8_t slab[SLAB];
	static struct pbuf cut[PIECES_MAX];
	static struct iovec iov[PIECES_MAX];
	struct vnet_room room = {slab, sizeof(slab), OUTER, 0};
	int n = vnet_split(h, pkt, len, &room, cut, PIECES_MAX);

	if (n < 0) {
		w->send_errors++;
		return;
	}
	if (h->gso_type != VNET_GSO_NONE)
		w->line_cut++;
	for (int i = 0; i < n; i++) {
		uint32_t inner = cut[i].len;
		uint8_t *p = pbuf_push(&cut[i], OUTER);

		memcpy(p, outer, OUTER);
		store_be16(p + 4, (uint16_t)inner);
		iov[i] = (struct iovec){p, cut[i].len};
	}
	raw_send(w, iov, (unsigned)n);
}

void
br_wire_to_line(struct br_wire *w, const struct vnet_hdr *h,
    const uint8_t outer[OUTER], uint8_t *pkt, size_t len)
{
	if (h->gso_type == VNET_GSO_NONE && len + OUTER > w->mtu) {
		if (h->flags & VNET_F_NEEDS_CSUM &&
		    vnet_complete_csum(h, pkt, len) < 0)
			w->send_errors++;
		else
			send_fragments(w, outer, pkt, len);
		return;
	}
	if (w->out_fd < 0) {
		send_cut(w, h, outer, pkt, len);
		return;
	}
	if (h->gso_type != VNET_GSO_NONE)
		w->line_super_out++;
	/* The device hands the packet to the program within this call. */
	memcpy(w->header, outer, OUTER);
	tun_send(w, w->out_fd, h, pkt, len);
}
