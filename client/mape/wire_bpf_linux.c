#include "wire_bpf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "core/err.h"
#include "host/bpf.h"
#include "host/os_err.h"
#include "ipip6.h"

/* Since Linux 6.3; headers may be older than the kernel. */
#define ADJ_ROOM_DECAP_L3_IPV4 (1 << 7)

#define NAME "ukai_map_e"
#define REQUEST_SIZE 512
#define ANSWER_SIZE 4096

struct wire_bpf {
	unsigned tun;
	/* In memory that the program shares with us: without a system call
	 * we know whether it refused the packet that we just wrote. */
	volatile uint64_t *refused;
};

#define SKB(field) ((int)offsetof(struct __sk_buff, field))
/* On the stack: the outer header. */
#define OUTER (-IPIP6_HLEN)
#define OUTER_TO(r) MOV_REG(r, BPF_REG_10), ADD_IMM(r, OUTER)

struct program {
	struct bpf_code code;
	/* Jumps to the exits, to be filled in. */
	unsigned pass[8], passes, refuse[8], refuses;
};

#define ADD(p, ...) BPF_APPEND(&(p)->code, __VA_ARGS__)

static void
pass_unless(struct program *p, unsigned reg, int32_t value)
{
	UK_ASSERT(p->passes < ARRAY_LEN(p->pass));
	p->pass[p->passes++] = p->code.n;
	ADD(p, JUMP_NE(reg, value, 0));
}

static void
refuse_unless_0(struct program *p)
{
	UK_ASSERT(p->refuses < ARRAY_LEN(p->refuse));
	p->refuse[p->refuses++] = p->code.n;
	ADD(p, JUMP_NE(BPF_REG_0, 0, 0));
}

static void
adjust_room(struct program *p, int by, int flags)
{
	ADD(p, MOV_REG(BPF_REG_1, BPF_REG_6), MOV_IMM(BPF_REG_2, by),
	    MOV_IMM(BPF_REG_3, BPF_ADJ_ROOM_MAC), MOV_IMM(BPF_REG_4, flags),
	    CALL(BPF_FUNC_skb_adjust_room));
}

/* The kernel marks as tunneled what it makes room for, so the header that is
 * there goes first, and comes back after. Where the kernel can, the packet is
 * IPv4 in between: some drivers ask what is inside. */
static void
mark_tunneled(struct program *p)
{
	unsigned jump;

	adjust_room(
	    p, -IPIP6_HLEN, BPF_F_ADJ_ROOM_FIXED_GSO | ADJ_ROOM_DECAP_L3_IPV4);
	jump = p->code.n;
	ADD(p, JUMP_EQ(BPF_REG_0, 0, 0));
	adjust_room(p, -IPIP6_HLEN, BPF_F_ADJ_ROOM_FIXED_GSO);
	refuse_unless_0(p);
	bpf_land_here(&p->code, &jump, 1);
	adjust_room(p, IPIP6_HLEN,
	    BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6);
	refuse_unless_0(p);
	ADD(p, MOV_REG(BPF_REG_1, BPF_REG_6), MOV_IMM(BPF_REG_2, 0),
	    OUTER_TO(BPF_REG_3), MOV_IMM(BPF_REG_4, IPIP6_HLEN),
	    MOV_IMM(BPF_REG_5, 0), CALL(BPF_FUNC_skb_store_bytes));
	refuse_unless_0(p);
}

/* r6: the packet, all the time. A TUN device has no link header, but
 * redirecting takes one away. */
static void
write_program(struct program *p, unsigned wan, uint32_t mark, int map)
{
	ADD(p, MOV_REG(BPF_REG_6, BPF_REG_1),
	    LOAD(BPF_W, BPF_REG_2, BPF_REG_6, SKB(protocol)));
	pass_unless(p, BPF_REG_2, htons(ETH_P_IPV6));
	ADD(p, MOV_IMM(BPF_REG_2, 0), OUTER_TO(BPF_REG_3),
	    MOV_IMM(BPF_REG_4, IPIP6_HLEN), CALL(BPF_FUNC_skb_load_bytes));
	pass_unless(p, BPF_REG_0, 0);
	ADD(p, LOAD(BPF_B, BPF_REG_2, BPF_REG_10, OUTER + 6));
	pass_unless(p, BPF_REG_2, 4);
	mark_tunneled(p);
	ADD(p, MOV_REG(BPF_REG_1, BPF_REG_6), MOV_IMM(BPF_REG_2, ETH_HLEN),
	    MOV_IMM(BPF_REG_3, 0), CALL(BPF_FUNC_skb_change_head));
	refuse_unless_0(p);
	ADD(p, MOV_IMM(BPF_REG_2, mark),
	    STORE(BPF_W, BPF_REG_6, BPF_REG_2, SKB(mark)),
	    MOV_IMM(BPF_REG_1, wan), MOV_IMM(BPF_REG_2, 0),
	    MOV_IMM(BPF_REG_3, 0), MOV_IMM(BPF_REG_4, 0),
	    CALL(BPF_FUNC_redirect_neigh), EXIT());
	bpf_land_here(&p->code, p->pass, p->passes);
	ADD(p, MOV_IMM(BPF_REG_0, TC_ACT_OK), EXIT());
	bpf_land_here(&p->code, p->refuse, p->refuses);
	ADD(p, LOAD_IMM64(BPF_REG_1, BPF_PSEUDO_MAP_VALUE, (uint32_t)map),
	    MOV_IMM(BPF_REG_2, 1), INCREMENT(BPF_REG_1, BPF_REG_2),
	    MOV_IMM(BPF_REG_0, TC_ACT_SHOT), EXIT());
}

static struct nlmsghdr *
request(uint8_t *buf, uint16_t type, uint16_t flags, unsigned link,
    const char *kind)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct tcmsg *tc;

	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	tc = mnl_nlmsg_put_extra_header(h, sizeof(*tc));
	tc->tcm_ifindex = (int)link;
	tc->tcm_parent = TC_H_CLSACT;
	if (type == RTM_NEWTFILTER)
		tc->tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
	else
		tc->tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	if (type == RTM_NEWTFILTER)
		tc->tcm_info = TC_H_MAKE(1u << 16, htons(ETH_P_ALL));
	mnl_attr_put_strz(h, TCA_KIND, kind);
	return h;
}

/* Returns 0; -1 and errno. */
static int
ask(struct mnl_socket *nl, struct nlmsghdr *h)
{
	uint8_t answer[ANSWER_SIZE];
	ssize_t len;

	if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
		return -1;
	len = mnl_socket_recvfrom(nl, answer, sizeof(answer));
	if (len < 0)
		return -1;
	return mnl_cb_run(answer, (size_t)len, h->nlmsg_seq,
		   mnl_socket_get_portid(nl), NULL, NULL) < 0
		   ? -1
		   : 0;
}

static int
add_filter(struct mnl_socket *nl, unsigned link, int prog)
{
	_Alignas(NLMSG_ALIGNTO) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = request(
	    buf, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, link, "clsact");
	struct nlattr *options;

	if (ask(nl, h) != 0 && errno != EEXIST)
		return -1;
	h = request(
	    buf, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, link, "bpf");
	options = mnl_attr_nest_start(h, TCA_OPTIONS);
	mnl_attr_put_u32(h, TCA_BPF_FD, (uint32_t)prog);
	mnl_attr_put_strz(h, TCA_BPF_NAME, NAME);
	mnl_attr_put_u32(h, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
	mnl_attr_nest_end(h, options);
	return ask(nl, h);
}

static struct mnl_socket *
open_netlink(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int saved;

	if (nl == NULL)
		return NULL;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0)
		return nl;
	saved = errno;
	mnl_socket_close(nl);
	errno = saved;
	return NULL;
}

/* This and those below return 0; negative errno. */
static int
attach(unsigned link, int prog)
{
	struct mnl_socket *nl = open_netlink();
	int r;

	if (nl == NULL)
		return -errno;
	r = add_filter(nl, link, prog) < 0 ? -errno : 0;
	mnl_socket_close(nl);
	return r;
}

static int
set_up_with(struct wire_bpf *b, int map, unsigned wan, uint32_t mark)
{
	void *at = mmap(NULL, sizeof(uint64_t), PROT_READ, MAP_SHARED, map, 0);
	struct program p = {.passes = 0};
	int prog, r;

	if (at == MAP_FAILED)
		return -errno;
	b->refused = at;
	write_program(&p, wan, mark, map);
	prog = bpf_load(&p.code, BPF_PROG_TYPE_SCHED_CLS, 0, NAME);
	if (prog < 0)
		return prog;
	r = attach(b->tun, prog);
	close(prog);
	return r;
}

static int
set_up(struct wire_bpf *b, unsigned wan, uint32_t mark)
{
	int map = bpf_map_create(
	    BPF_MAP_TYPE_ARRAY, 4, sizeof(uint64_t), 1, BPF_F_MMAPABLE, NAME);
	int r;

	if (map < 0)
		return map;
	r = set_up_with(b, map, wan, mark);
	close(map);
	return r;
}

static void
free_bpf(struct wire_bpf *b)
{
	if (b->refused != NULL)
		munmap((void *)(uintptr_t)b->refused, sizeof(uint64_t));
	free(b);
}

int
wire_bpf_attach(struct wire_bpf **out, unsigned tun, unsigned wan,
    uint32_t mark, struct diag *d)
{
	struct wire_bpf *b = calloc(1, sizeof(*b));
	int r;

	if (b == NULL)
		return UK_ENOMEM;
	b->tun = tun;
	r = set_up(b, wan, mark);
	if (r == 0) {
		*out = b;
		return 0;
	}
	free_bpf(b);
	diag_warn(d,
	    "super-packets are cut by ukai, which is slower: the kernel would "
	    "not take a BPF program for that (%s; it wants Linux 5.10, "
	    "CAP_NET_ADMIN and CAP_BPF)",
	    strerror(-r));
	return os_err(-r);
}

void
wire_bpf_detach(struct wire_bpf *b)
{
	_Alignas(NLMSG_ALIGNTO) uint8_t buf[REQUEST_SIZE];
	struct mnl_socket *nl;

	if (b == NULL)
		return;
	nl = open_netlink();
	/* Where that fails the link goes soon, and takes it along. */
	if (nl != NULL) {
		(void)ask(nl, request(buf, RTM_DELQDISC, 0, b->tun, "clsact"));
		mnl_socket_close(nl);
	}
	free_bpf(b);
}

uint64_t
wire_bpf_refused(const struct wire_bpf *b)
{
	return *b->refused;
}
