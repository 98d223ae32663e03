#include "flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "os_err.h"

#define REQUEST_SIZE 1024
#define ANSWER_SIZE 32768
/* Of events that wait to be read: some thousands. */
#define EVENTS_BYTES (4 << 20)

struct flows {
	struct mnl_socket *nl;
	uint32_t seq;
	struct mnl_socket *events; /* NULL: not watched */
	uint32_t mark, mask; /* of what is watched */
};

/* The attributes of a direction. */
struct side {
	enum nf_conntrack_attr l3, l4, src4, dst4, src6, dst6, sport, dport;
};

static const struct side original_side = {
    .l3 = ATTR_ORIG_L3PROTO,
    .l4 = ATTR_ORIG_L4PROTO,
    .src4 = ATTR_ORIG_IPV4_SRC,
    .dst4 = ATTR_ORIG_IPV4_DST,
    .src6 = ATTR_ORIG_IPV6_SRC,
    .dst6 = ATTR_ORIG_IPV6_DST,
    .sport = ATTR_ORIG_PORT_SRC,
    .dport = ATTR_ORIG_PORT_DST,
};

static const struct side reply_side = {
    .l3 = ATTR_REPL_L3PROTO,
    .l4 = ATTR_REPL_L4PROTO,
    .src4 = ATTR_REPL_IPV4_SRC,
    .dst4 = ATTR_REPL_IPV4_DST,
    .src6 = ATTR_REPL_IPV6_SRC,
    .dst6 = ATTR_REPL_IPV6_DST,
    .sport = ATTR_REPL_PORT_SRC,
    .dport = ATTR_REPL_PORT_DST,
};

static uint8_t
native_family(uint8_t family)
{
	return family == FAMILY_V6 ? AF_INET6 : AF_INET;
}

static bool
is_icmp(uint8_t protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

static bool
tuple_ok(const struct flow_tuple *t)
{
	return t->src.family == t->dst.family &&
	       (t->src.family == FAMILY_V4 || t->src.family == FAMILY_V6) &&
	       t->protocol != 0;
}

static bool
tuple_equal(const struct flow_tuple *a, const struct flow_tuple *b)
{
	return ip_addr_equal(&a->src, &b->src) &&
	       ip_addr_equal(&a->dst, &b->dst) && a->sport == b->sport &&
	       a->dport == b->dport && a->protocol == b->protocol;
}

/* Its first direction. */
static void
put_tuple(struct nf_conntrack *ct, const struct flow_tuple *t)
{
	const struct side *s = &original_side;
	bool v6 = t->src.family == FAMILY_V6;

	nfct_set_attr_u8(ct, s->l3, native_family(t->src.family));
	nfct_set_attr_u8(ct, s->l4, t->protocol);
	nfct_set_attr(ct, v6 ? s->src6 : s->src4, t->src.b);
	nfct_set_attr(ct, v6 ? s->dst6 : s->dst4, t->dst.b);
	if (is_icmp(t->protocol)) {
		nfct_set_attr_u16(ct, ATTR_ICMP_ID, htons(t->sport));
		nfct_set_attr_u8(ct, ATTR_ICMP_TYPE, (uint8_t)(t->dport >> 8));
		nfct_set_attr_u8(ct, ATTR_ICMP_CODE, (uint8_t)t->dport);
	} else {
		nfct_set_attr_u16(ct, s->sport, htons(t->sport));
		nfct_set_attr_u16(ct, s->dport, htons(t->dport));
	}
}

static void
take_addr(struct ip_addr *a, const struct nf_conntrack *ct,
    enum nf_conntrack_attr v4, enum nf_conntrack_attr v6)
{
	memset(a, 0, sizeof(*a));
	if (nfct_attr_is_set(ct, v4) > 0) {
		a->family = FAMILY_V4;
		memcpy(a->b, nfct_get_attr(ct, v4), 4);
	} else if (nfct_attr_is_set(ct, v6) > 0) {
		a->family = FAMILY_V6;
		memcpy(a->b, nfct_get_attr(ct, v6), 16);
	}
}

/* What is not set reads as 0. */
static void
take_tuple(
    struct flow_tuple *t, const struct nf_conntrack *ct, const struct side *s)
{
	take_addr(&t->src, ct, s->src4, s->src6);
	take_addr(&t->dst, ct, s->dst4, s->dst6);
	t->protocol = nfct_get_attr_u8(ct, s->l4);
	t->zone = nfct_get_attr_u16(ct, ATTR_ZONE);
	if (is_icmp(t->protocol)) {
		t->sport = ntohs(nfct_get_attr_u16(ct, ATTR_ICMP_ID));
		t->dport =
		    (uint16_t)(nfct_get_attr_u8(ct, ATTR_ICMP_TYPE) << 8 |
			       nfct_get_attr_u8(ct, ATTR_ICMP_CODE));
	} else {
		t->sport = ntohs(nfct_get_attr_u16(ct, s->sport));
		t->dport = ntohs(nfct_get_attr_u16(ct, s->dport));
	}
}

/* Returns 0; -ENOMEM; -EBADMSG. */
static int
take_entry(struct flow_entry *e, const struct nlmsghdr *h)
{
	struct nf_conntrack *ct = nfct_new();
	int r = -EBADMSG;

	if (ct == NULL)
		return -ENOMEM;
	if (nfct_nlmsg_parse(h, ct) == 0) {
		take_tuple(&e->original, ct, &original_side);
		take_tuple(&e->reply, ct, &reply_side);
		e->mark = nfct_get_attr_u32(ct, ATTR_MARK);
		e->answered =
		    (nfct_get_attr_u32(ct, ATTR_STATUS) & IPS_SEEN_REPLY) != 0;
		r = 0;
	}
	nfct_destroy(ct);
	return r;
}

static struct nlmsghdr *
put_header(
    struct flows *f, void *buf, unsigned type, unsigned flags, uint8_t family)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof(*g));

	h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = ++f->seq;
	g->nfgen_family = native_family(family);
	g->version = NFNETLINK_V0;
	return h;
}

/* Append the tuple, and its zone, as CTA_TUPLE_ORIG or CTA_TUPLE_REPLY.
 * The library puts a first direction into every message, and the kernel looks
 * at that one when there are two; but both are of one form. Without any the
 * kernel would take a removal for that of everything: so it is looked for.
 * Returns 0; an errno. */
static int
put_which(struct nlmsghdr *h, uint16_t which, const struct flow_tuple *t)
{
	size_t before = mnl_nlmsg_get_payload_len(h);
	struct nlattr *a = mnl_nlmsg_get_payload_tail(h);
	struct nf_conntrack *ct;
	int r;

	if (!tuple_ok(t))
		return -EINVAL;
	ct = nfct_new();
	if (ct == NULL)
		return -ENOMEM;
	put_tuple(ct, t);
	r = nfct_nlmsg_build(h, ct);
	nfct_destroy(ct);
	if (r < 0 || mnl_nlmsg_get_payload_len(h) != before + a->nla_len ||
	    mnl_attr_get_type(a) != CTA_TUPLE_ORIG)
		return -EINVAL;
	a->nla_type = NLA_F_NESTED | which;
	if (t->zone != 0)
		mnl_attr_put_u16(h, CTA_ZONE, htons(t->zone));
	return 0;
}

/* Send a request that is answered by one message, or by an acknowledgement,
 * and read that. Returns 0; an errno. */
static int
talk(struct flows *f, const struct nlmsghdr *request, struct flow_entry *e)
{
	_Alignas(struct nlmsghdr) uint8_t buf[ANSWER_SIZE];
	const struct nlmsghdr *h = (const void *)buf;
	ssize_t len;

	if (mnl_socket_sendto(f->nl, request, request->nlmsg_len) < 0)
		return -errno;
	do {
		len = mnl_socket_recvfrom(f->nl, buf, sizeof(buf));
		if (len < 0 && errno != EINTR)
			return -errno;
	} while (len < 0 || !mnl_nlmsg_ok(h, (int)len) ||
		 h->nlmsg_seq != request->nlmsg_seq);
	if (h->nlmsg_type != NLMSG_ERROR)
		return e != NULL ? take_entry(e, h) : -EBADMSG;
	if (mnl_nlmsg_get_payload_len(h) < sizeof(struct nlmsgerr))
		return -EBADMSG;
	return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
}

static int
ask_original(
    struct flows *f, const struct flow_tuple *reply, struct flow_entry *e)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h =
	    put_header(f, buf, IPCTNL_MSG_CT_GET, 0, reply->src.family);
	int r = put_which(h, CTA_TUPLE_REPLY, reply);

	return r < 0 ? r : talk(f, h, e);
}

/* Asks for a flow that cannot be, which says whether others can be asked
 * for, and loads the kernel's module. */
static int
try(struct flows *f)
{
	static const struct flow_tuple none = {
	    .src.family = FAMILY_V4,
	    .dst.family = FAMILY_V4,
	    .protocol = IPPROTO_UDP,
	};
	struct flow_entry e;
	int r = ask_original(f, &none, &e);

	return r == -ENOENT ? 0 : r;
}

int
flows_open(struct flows **out, struct diag *d)
{
	struct flows *f = calloc(1, sizeof(*f));
	int r;

	if (f == NULL)
		return UK_ENOMEM;
	f->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (f->nl == NULL || mnl_socket_bind(f->nl, 0, MNL_SOCKET_AUTOPID) < 0)
		r = -errno;
	else
		r = try(f);
	if (r == 0) {
		*out = f;
		return 0;
	}
	diag_error(d, "cannot ask the kernel's connection tracking: %s%s",
	    strerror(-r),
	    r == -EPERM ? "; root or CAP_NET_ADMIN is needed" : "");
	flows_close(f);
	r = os_err(-r);
	return r == UK_EPERM || r == UK_ENOMEM ? r : UK_ESYS;
}

void
flows_close(struct flows *f)
{
	if (f == NULL)
		return;
	if (f->events != NULL)
		mnl_socket_close(f->events);
	if (f->nl != NULL)
		mnl_socket_close(f->nl);
	free(f);
}

int
flows_original(
    struct flows *f, const struct flow_tuple *reply, struct flow_tuple *out)
{
	struct flow_entry e;
	int r = is_icmp(reply->protocol) ? -EINVAL : ask_original(f, reply, &e);

	if (r < 0)
		return os_err(-r);
	/* The kernel finds tuples of either direction. */
	if (!tuple_equal(&e.reply, reply))
		return UK_ENOENT;
	*out = e.original;
	return 0;
}

int
flows_delete(struct flows *f, const struct flow_tuple *original)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = put_header(
	    f, buf, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, original->src.family);
	int r = put_which(h, CTA_TUPLE_ORIG, original);

	if (r == 0)
		r = talk(f, h, NULL);
	return r < 0 ? os_err(-r) : 0;
}

struct walk {
	bool (*visit)(void *arg, const struct flow_entry *e);
	void *arg;
	uint8_t family; /* native */
	uint32_t mark, mask;
	bool stopped;
	int error;
};

/* Kernels from before a filter look at none. */
static int
walk_flow(const struct nlmsghdr *h, void *arg)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
	struct walk *w = arg;
	struct flow_entry e;
	int r;

	if (w->stopped || g->nfgen_family != w->family)
		return MNL_CB_OK;
	r = take_entry(&e, h);
	if (r == -ENOMEM)
		w->error = r;
	if (r < 0)
		return MNL_CB_OK;
	if ((e.mark & w->mask) == w->mark)
		w->stopped = !w->visit(w->arg, &e);
	return MNL_CB_OK;
}

/* Read a dump to its end, also when nobody wants the rest. */
static int
read_dump(struct flows *f, struct walk *w)
{
	_Alignas(struct nlmsghdr) uint8_t buf[ANSWER_SIZE];
	int r = MNL_CB_OK;

	while (r > MNL_CB_STOP) {
		ssize_t len = mnl_socket_recvfrom(f->nl, buf, sizeof(buf));

		if (len >= 0)
			r = mnl_cb_run(buf, (size_t)len, f->seq,
			    mnl_socket_get_portid(f->nl), walk_flow, w);
		else if (errno != EINTR)
			r = MNL_CB_ERROR;
	}
	return r == MNL_CB_ERROR ? -errno : w->error;
}

int
flows_each(struct flows *f, uint8_t family, uint32_t mark, uint32_t mask,
    bool (*visit)(void *arg, const struct flow_entry *e), void *arg)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h =
	    put_header(f, buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family);
	struct walk w = {
	    .visit = visit,
	    .arg = arg,
	    .family = native_family(family),
	    .mark = mark & mask,
	    .mask = mask,
	};
	int r;

	if (mask != 0) {
		mnl_attr_put_u32(h, CTA_MARK, htonl(mark & mask));
		mnl_attr_put_u32(h, CTA_MARK_MASK, htonl(mask));
	}
	if (mnl_socket_sendto(f->nl, h, h->nlmsg_len) < 0)
		return os_err(errno);
	r = read_dump(f, &w);
	return r < 0 ? os_err(-r) : 0;
}

/* The socket drops what nobody asked for before it wakes us. */
static int
filter_marks(int fd, uint32_t mark, uint32_t mask)
{
	const struct nfct_filter_dump_mark m = {.val = mark, .mask = mask};
	struct nfct_filter *filter = nfct_filter_create();
	int r;

	if (filter == NULL)
		return -ENOMEM;
	nfct_filter_add_attr(filter, NFCT_FILTER_MARK, &m);
	r = nfct_filter_attach(fd, filter) < 0 ? -errno : 0;
	nfct_filter_destroy(filter);
	return r;
}

static int
open_events(struct flows *f)
{
	int bytes = EVENTS_BYTES, fd;

	f->events =
	    mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (f->events == NULL)
		return -errno;
	fd = mnl_socket_get_fd(f->events);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	if (f->mask != 0) {
		int r = filter_marks(fd, f->mark, f->mask);

		if (r < 0)
			return r;
	}
	return mnl_socket_bind(f->events, NF_NETLINK_CONNTRACK_DESTROY,
		   MNL_SOCKET_AUTOPID) < 0
		   ? -errno
		   : 0;
}

int
flows_watch(
    struct flows *f, uint32_t mark, uint32_t mask, int *fd, struct diag *d)
{
	int r;

	UK_ASSERT(f->events == NULL);
	f->mark = mark & mask;
	f->mask = mask;
	r = open_events(f);
	if (r == 0) {
		*fd = mnl_socket_get_fd(f->events);
		return 0;
	}
	diag_error(d, "cannot watch the kernel's connection tracking: %s",
	    strerror(-r));
	if (f->events != NULL)
		mnl_socket_close(f->events);
	f->events = NULL;
	return os_err(-r);
}

/* One event is one datagram. */
int
flows_ended(struct flows *f, struct flow_entry *out)
{
	_Alignas(struct nlmsghdr) uint8_t buf[ANSWER_SIZE];
	const struct nlmsghdr *h = (const void *)buf;

	for (;;) {
		ssize_t len = mnl_socket_recvfrom(f->events, buf, sizeof(buf));
		int r;

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno == EAGAIN)
			return UK_EAGAIN;
		if (len < 0)
			return errno == ENOBUFS ? UK_ELIMIT : os_err(errno);
		if (!mnl_nlmsg_ok(h, (int)len) ||
		    h->nlmsg_type !=
			(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE))
			continue;
		r = take_entry(out, h);
		if (r == -ENOMEM)
			return UK_ENOMEM;
		if (r == 0 && (out->mark & f->mask) == f->mark)
			return 0;
	}
}
