#include "netcfg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "os_err.h"

/* Largest request: a rule with two v6 addresses is under 200 bytes. */
#define REQUEST_SIZE 512
#define ANSWER_SIZE 32768
#define WHAT_SIZE 200

_Static_assert(sizeof(((struct netcfg_rule *)0)->iif) == IF_NAMESIZE,
    "a link's name fits");

struct netcfg {
	struct mnl_socket *nl;
	uint32_t seq;
	char words[120]; /* the kernel's explanation of the last refusal */
};

/* Who gets the messages of an answer. */
struct visitor {
	void (*visit)(void *arg, const struct nlmsghdr *h);
	void *arg;
};

static int
native_family(uint8_t family)
{
	return family == FAMILY_V6 ? AF_INET6 : AF_INET;
}

static size_t
addr_len(uint8_t family)
{
	return family == FAMILY_V6 ? 16 : 4;
}

static bool
family_ok(uint8_t family)
{
	return family == FAMILY_V4 || family == FAMILY_V6;
}

int
netcfg_open(struct netcfg **out, struct diag *d)
{
	struct netcfg *n = calloc(1, sizeof(*n));
	int one = 1;

	if (n == NULL)
		return UK_ENOMEM;
	n->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (n->nl == NULL) {
		diag_error(
		    d, "cannot open a netlink socket: %s", strerror(errno));
		goto free_n;
	}
	if (mnl_socket_bind(n->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		diag_error(
		    d, "cannot bind a netlink socket: %s", strerror(errno));
		goto close_nl;
	}
	/* Kernels before 4.12 and 4.20 lack them: then there are fewer words,
	 * and dumps are filtered by us alone. */
	mnl_socket_setsockopt(n->nl, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(n->nl, NETLINK_CAP_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(n->nl, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	*out = n;
	return 0;

close_nl:
	mnl_socket_close(n->nl);
free_n:
	free(n);
	return UK_ESYS;
}

void
netcfg_close(struct netcfg *n)
{
	if (n == NULL)
		return;
	mnl_socket_close(n->nl);
	free(n);
}

static int
words_attr(const struct nlattr *a, void *arg)
{
	struct netcfg *n = arg;
	size_t len = mnl_attr_get_payload_len(a);

	if (mnl_attr_get_type(a) != NLMSGERR_ATTR_MSG)
		return MNL_CB_OK;
	if (len >= sizeof(n->words))
		len = sizeof(n->words) - 1;
	memcpy(n->words, mnl_attr_get_payload(a), len);
	n->words[len] = '\0';
	return MNL_CB_OK;
}

/* The code of an NLMSG_ERROR message; keeps the kernel's words. */
static int
answer_error(struct netcfg *n, const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
	const uint16_t capped = NLM_F_CAPPED | NLM_F_ACK_TLVS;

	if (mnl_nlmsg_get_payload_len(h) < sizeof(*e))
		return -EBADMSG;
	/* Capped: our request is not quoted between e and the words. */
	if ((h->nlmsg_flags & capped) == capped)
		mnl_attr_parse(h, sizeof(*e), words_attr, n);
	return e->error;
}

/* One datagram of an answer. Returns 1 when more is to come; else 0 or a
 * negative errno. */
static int
answer_read(
    struct netcfg *n, const void *buf, size_t len, const struct visitor *v)
{
	const struct nlmsghdr *h = buf;
	int left = (int)len;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		if (h->nlmsg_seq != n->seq)
			continue;
		if (h->nlmsg_type == NLMSG_ERROR)
			return answer_error(n, h);
		if (h->nlmsg_type == NLMSG_DONE)
			return mnl_nlmsg_get_payload_len(h) >= sizeof(int)
				   ? *(const int *)mnl_nlmsg_get_payload(h)
				   : 0;
		if (v != NULL)
			v->visit(v->arg, h);
	}
	return 1;
}

/* Send a request and read its whole answer. Returns 0 or a negative errno. */
static int
talk(struct netcfg *n, struct nlmsghdr *req, const struct visitor *v)
{
	_Alignas(struct nlmsghdr) uint8_t buf[ANSWER_SIZE];
	int r = 1;

	req->nlmsg_flags |= NLM_F_REQUEST;
	if ((req->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		req->nlmsg_flags |= NLM_F_ACK;
	req->nlmsg_seq = ++n->seq;
	n->words[0] = '\0';
	if (mnl_socket_sendto(n->nl, req, req->nlmsg_len) < 0)
		return -errno;
	while (r > 0) {
		ssize_t len = mnl_socket_recvfrom(n->nl, buf, sizeof(buf));

		if (len >= 0)
			r = answer_read(n, buf, (size_t)len, v);
		else if (errno != EINTR)
			return -errno;
	}
	return r;
}

/* A refusal as a sentence and as an error of ours. r: from talk(). */
static int
refused(const struct netcfg *n, int r, struct diag *d, const char *what)
{
	int err;

	if (r == 0)
		return 0;
	err = os_err(-r);
	diag_error(d, "cannot %s: %s%s%s%s%s", what, strerror(-r),
	    n->words[0] ? " (" : "", n->words, n->words[0] ? ")" : "",
	    err == UK_EPERM ? "; root or CAP_NET_ADMIN is needed" : "");
	return err;
}

/* The link's name for a sentence; "link N" when it is gone. */
static const char *
link_text(unsigned index, char text[static IF_NAMESIZE + 8])
{
	if (if_indextoname(index, text) == NULL)
		snprintf(text, IF_NAMESIZE + 8, "link %u", index);
	return text;
}

struct link_seen {
	unsigned index;
	struct netcfg_link link;
};

static int
link_attr(const struct nlattr *a, void *arg)
{
	struct netcfg_link *l = arg;
	size_t len = mnl_attr_get_payload_len(a);

	switch (mnl_attr_get_type(a)) {
	case IFLA_MTU:
		if (len >= sizeof(l->mtu))
			l->mtu = mnl_attr_get_u32(a);
		break;
	case IFLA_CARRIER_CHANGES:
		if (len >= sizeof(l->carrier_changes))
			l->carrier_changes = mnl_attr_get_u32(a);
		break;
	case IFLA_ADDRESS:
		if (l->neighbours && len == sizeof(l->mac))
			memcpy(l->mac, mnl_attr_get_payload(a), len);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static void
link_visit(void *arg, const struct nlmsghdr *h)
{
	struct link_seen *l = arg;
	const struct ifinfomsg *i = mnl_nlmsg_get_payload(h);

	if (h->nlmsg_type != RTM_NEWLINK ||
	    mnl_nlmsg_get_payload_len(h) < sizeof(*i))
		return;
	l->index = (unsigned)i->ifi_index;
	l->link.running =
	    (i->ifi_flags & IFF_UP) != 0 && (i->ifi_flags & IFF_RUNNING) != 0;
	l->link.neighbours = i->ifi_type == ARPHRD_ETHER &&
			     (i->ifi_flags & (IFF_NOARP | IFF_LOOPBACK)) == 0;
	mnl_attr_parse(h, sizeof(*i), link_attr, &l->link);
}

static int
link_ask(
    struct netcfg *n, const char *name, unsigned index, struct link_seen *out)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof(*i));
	struct link_seen seen = {0};
	struct visitor v = {link_visit, &seen};
	int r;

	h->nlmsg_type = RTM_GETLINK;
	i->ifi_index = (int)index;
	if (name != NULL)
		mnl_attr_put_strz(h, IFLA_IFNAME, name);
	r = talk(n, h, &v);
	if (r < 0)
		return os_err(-r);
	if (seen.index == 0)
		return UK_ENOENT;
	*out = seen;
	return 0;
}

int
netcfg_link_index(struct netcfg *n, const char *name, unsigned *index)
{
	struct link_seen seen;
	int r;

	if (name[0] == '\0' || strlen(name) >= IF_NAMESIZE)
		return UK_ENOENT;
	r = link_ask(n, name, 0, &seen);
	if (r == 0)
		*index = seen.index;
	return r;
}

int
netcfg_link_get(struct netcfg *n, unsigned index, struct netcfg_link *l)
{
	struct link_seen seen;
	int r;

	if (index == 0 || index > INT32_MAX)
		return UK_ENOENT;
	r = link_ask(n, NULL, index, &seen);
	if (r == 0)
		*l = seen.link;
	return r;
}

int
netcfg_link_mtu(struct netcfg *n, unsigned index, uint32_t *mtu)
{
	struct netcfg_link l;
	int r = netcfg_link_get(n, index, &l);

	if (r == 0)
		*mtu = l.mtu;
	return r;
}

int
netcfg_link_set(
    struct netcfg *n, unsigned index, bool up, uint32_t mtu, struct diag *d)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof(*i));
	char name[IF_NAMESIZE + 8], what[WHAT_SIZE];

	h->nlmsg_type = RTM_NEWLINK;
	i->ifi_index = (int)index;
	i->ifi_change = IFF_UP;
	i->ifi_flags = up ? IFF_UP : 0;
	if (mtu != 0)
		mnl_attr_put_u32(h, IFLA_MTU, mtu);
	snprintf(what, sizeof(what), "set %s %s, MTU %u (0: as it is)",
	    link_text(index, name), up ? "up" : "down", mtu);
	return refused(n, talk(n, h, NULL), d, what);
}

/* The attributes that name an address, the same for adding and removing. */
static void
addr_put(struct nlmsghdr *h, unsigned index, const struct ip_ifaddr *a)
{
	struct ifaddrmsg *i = mnl_nlmsg_put_extra_header(h, sizeof(*i));
	size_t len = addr_len(a->addr.family);

	i->ifa_family = (uint8_t)native_family(a->addr.family);
	i->ifa_prefixlen = a->bits;
	i->ifa_index = index;
	mnl_attr_put(h, IFA_LOCAL, len, a->addr.b);
	mnl_attr_put(h, IFA_ADDRESS, len, a->addr.b);
}

static int
addr_talk(struct netcfg *n, struct nlmsghdr *h, unsigned index,
    const struct ip_ifaddr *a, struct diag *d)
{
	char name[IF_NAMESIZE + 8], text[IP_ADDR_TEXT_MAX], what[WHAT_SIZE];
	bool add = h->nlmsg_type == RTM_NEWADDR;

	snprintf(what, sizeof(what), "%s address %s/%u %s %s",
	    add ? "add" : "remove", ip_addr_format(&a->addr, text), a->bits,
	    add ? "to" : "from", link_text(index, name));
	return refused(n, talk(n, h, NULL), d, what);
}

int
netcfg_addr_add(struct netcfg *n, unsigned index, const struct ip_addr *addr,
    uint8_t bits, bool no_prefix_route, struct diag *d)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct ip_ifaddr a = {*addr, bits};
	uint32_t flags = no_prefix_route ? IFA_F_NOPREFIXROUTE : 0;

	if (!family_ok(addr->family) || bits > addr_len(addr->family) * 8)
		return UK_EINVAL;
	if (addr->family == FAMILY_V6)
		flags |= IFA_F_NODAD;
	h->nlmsg_type = RTM_NEWADDR;
	h->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	addr_put(h, index, &a);
	mnl_attr_put_u32(h, IFA_FLAGS, flags);
	return addr_talk(n, h, index, &a, d);
}

int
netcfg_addr_add_apart(
    struct netcfg *n, unsigned index, const struct ip_ifaddr *a, struct diag *d)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	const struct ifa_cacheinfo life = {
	    .ifa_prefered = 0, .ifa_valid = UINT32_MAX};

	if (a->addr.family != FAMILY_V6 || a->bits > 128)
		return UK_EINVAL;
	h->nlmsg_type = RTM_NEWADDR;
	h->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	addr_put(h, index, a);
	mnl_attr_put_u32(h, IFA_FLAGS, IFA_F_NOPREFIXROUTE);
	mnl_attr_put(h, IFA_CACHEINFO, sizeof(life), &life);
	mnl_attr_put_u8(h, IFA_PROTO, NETCFG_PROTOCOL);
	return addr_talk(n, h, index, a, d);
}

int
netcfg_addr_remove(
    struct netcfg *n, unsigned index, const struct ip_ifaddr *a, struct diag *d)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	if (!family_ok(a->addr.family) ||
	    a->bits > addr_len(a->addr.family) * 8)
		return UK_EINVAL;
	h->nlmsg_type = RTM_DELADDR;
	addr_put(h, index, a);
	return addr_talk(n, h, index, a, d);
}

static int
change_route(struct netcfg *n, const struct netcfg_route *r, uint16_t type,
    uint16_t flags, struct diag *d)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	uint32_t table = r->table != 0 ? r->table : RT_TABLE_MAIN;
	char name[IF_NAMESIZE + 8], text[IP_PREFIX_TEXT_MAX], what[WHAT_SIZE];
	struct nlattr *metrics;

	if (!family_ok(r->dst.addr.family))
		return UK_EINVAL;
	h->nlmsg_type = type;
	h->nlmsg_flags = flags;
	m->rtm_family = (uint8_t)native_family(r->dst.addr.family);
	m->rtm_dst_len = r->dst.bits;
	m->rtm_table = table < 256 ? (uint8_t)table : RT_TABLE_UNSPEC;
	m->rtm_protocol = NETCFG_PROTOCOL;
	m->rtm_scope = RT_SCOPE_LINK; /* no gateway; v6 ignores it */
	m->rtm_type = RTN_UNICAST;
	mnl_attr_put(h, RTA_DST, addr_len(r->dst.addr.family), r->dst.addr.b);
	mnl_attr_put_u32(h, RTA_OIF, r->ifindex);
	mnl_attr_put_u32(h, RTA_TABLE, table);
	if (r->mtu != 0) {
		metrics = mnl_attr_nest_start(h, RTA_METRICS);
		mnl_attr_put_u32(h, RTAX_MTU, r->mtu);
		mnl_attr_nest_end(h, metrics);
	}
	snprintf(what, sizeof(what), "%s route %s by %s in table %u",
	    type == RTM_NEWROUTE ? "add" : "remove",
	    ip_prefix_format(&r->dst, text), link_text(r->ifindex, name),
	    table);
	return refused(n, talk(n, h, NULL), d, what);
}

int
netcfg_route_add(struct netcfg *n, const struct netcfg_route *r, struct diag *d)
{
	return change_route(n, r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, d);
}

int
netcfg_route_remove(
    struct netcfg *n, const struct netcfg_route *r, struct diag *d)
{
	return change_route(n, r, RTM_DELROUTE, 0, d);
}

static int
neigh_proxy_request(struct netcfg *n, unsigned index, const struct ip_addr *a,
    bool add, struct diag *d)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct ndmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	char name[IF_NAMESIZE + 8], text[IP_ADDR_TEXT_MAX], what[WHAT_SIZE];

	if (!family_ok(a->family))
		return UK_EINVAL;
	h->nlmsg_type = add ? RTM_NEWNEIGH : RTM_DELNEIGH;
	if (add)
		h->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	m->ndm_family = (uint8_t)native_family(a->family);
	m->ndm_ifindex = (int)index;
	m->ndm_flags = NTF_PROXY;
	m->ndm_state = NUD_PERMANENT;
	mnl_attr_put(h, NDA_DST, addr_len(a->family), a->b);
	if (add)
		mnl_attr_put_u8(h, NDA_PROTOCOL, NETCFG_PROTOCOL);
	snprintf(what, sizeof(what), "%s the proxy neighbour %s on %s",
	    add ? "add" : "remove", ip_addr_format(a, text),
	    link_text(index, name));
	return refused(n, talk(n, h, NULL), d, what);
}

int
netcfg_neigh_proxy_add(
    struct netcfg *n, unsigned index, const struct ip_addr *a, struct diag *d)
{
	return neigh_proxy_request(n, index, a, true, d);
}

int
netcfg_neigh_proxy_remove(
    struct netcfg *n, unsigned index, const struct ip_addr *a, struct diag *d)
{
	return neigh_proxy_request(n, index, a, false, d);
}

struct neigh_search {
	unsigned index;
	const struct ip_addr *addr;
	bool found;
};

static int
neigh_attr(const struct nlattr *a, void *arg)
{
	struct neigh_search *s = arg;
	size_t len = addr_len(s->addr->family);

	if (mnl_attr_get_type(a) == NDA_DST &&
	    mnl_attr_get_payload_len(a) == len &&
	    memcmp(mnl_attr_get_payload(a), s->addr->b, len) == 0)
		s->found = true;
	return MNL_CB_OK;
}

/* The kernel's own filters do not hold for proxy entries in old versions. */
static void
neigh_visit(void *arg, const struct nlmsghdr *h)
{
	struct neigh_search *s = arg;
	const struct ndmsg *m = mnl_nlmsg_get_payload(h);

	if (h->nlmsg_type == RTM_NEWNEIGH &&
	    mnl_nlmsg_get_payload_len(h) >= sizeof(*m) &&
	    (unsigned)m->ndm_ifindex == s->index &&
	    (m->ndm_flags & NTF_PROXY) != 0)
		mnl_attr_parse(h, sizeof(*m), neigh_attr, s);
}

int
netcfg_neigh_proxy_has(
    struct netcfg *n, unsigned index, const struct ip_addr *a, bool *has)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct ndmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	struct neigh_search s = {.index = index, .addr = a};
	struct visitor v = {neigh_visit, &s};
	int r;

	if (!family_ok(a->family))
		return UK_EINVAL;
	h->nlmsg_type = RTM_GETNEIGH;
	h->nlmsg_flags = NLM_F_DUMP;
	m->ndm_family = (uint8_t)native_family(a->family);
	m->ndm_flags = NTF_PROXY;
	r = talk(n, h, &v);
	*has = s.found;
	return r < 0 ? os_err(-r) : 0;
}

/* "not from A to B fwmark M/M lookup T", as `ip rule` says it. */
static void
rule_text(const struct netcfg_rule *r, char *out, size_t cap)
{
	char from[IP_PREFIX_TEXT_MAX] = "all", to[IP_PREFIX_TEXT_MAX] = "all";

	if (r->from.addr.family != FAMILY_NONE)
		ip_prefix_format(&r->from, from);
	if (r->to.addr.family != FAMILY_NONE)
		ip_prefix_format(&r->to, to);
	snprintf(out, cap,
	    "rule IPv%u %u: %sfrom %s to %s fwmark 0x%x/0x%x %s%s%slookup %u",
	    r->family, r->priority, r->invert ? "not " : "", from, to, r->mark,
	    r->mask, r->iif[0] ? "iif " : "", r->iif, r->iif[0] ? " " : "",
	    r->table);
}

static bool
prefix_fits(const struct ip_prefix *p, uint8_t family)
{
	return p->addr.family == FAMILY_NONE || p->addr.family == family;
}

/* The attributes that name a rule, the same for adding and for removing. */
static void
rule_put(struct nlmsghdr *h, const struct netcfg_rule *r)
{
	struct fib_rule_hdr *f = mnl_nlmsg_put_extra_header(h, sizeof(*f));
	size_t len = addr_len(r->family);

	f->family = (uint8_t)native_family(r->family);
	f->action = FR_ACT_TO_TBL;
	f->table = r->table < 256 ? (uint8_t)r->table : RT_TABLE_UNSPEC;
	f->flags = r->invert ? FIB_RULE_INVERT : 0;
	if (r->from.addr.family != FAMILY_NONE) {
		f->src_len = r->from.bits;
		mnl_attr_put(h, FRA_SRC, len, r->from.addr.b);
	}
	if (r->to.addr.family != FAMILY_NONE) {
		f->dst_len = r->to.bits;
		mnl_attr_put(h, FRA_DST, len, r->to.addr.b);
	}
	mnl_attr_put_u32(h, FRA_TABLE, r->table);
	mnl_attr_put_u32(h, FRA_PRIORITY, r->priority);
	/* The kernel compares only what a removal names: our protocol number
	 * keeps it away from other people's rules. */
	mnl_attr_put_u8(h, FRA_PROTOCOL, NETCFG_PROTOCOL);
	if (r->mask != 0) {
		mnl_attr_put_u32(h, FRA_FWMARK, r->mark);
		mnl_attr_put_u32(h, FRA_FWMASK, r->mask);
	}
	if (r->iif[0] != '\0')
		mnl_attr_put_strz(h, FRA_IIFNAME, r->iif);
	if (r->suppress_prefixlength >= 0)
		mnl_attr_put_u32(h, FRA_SUPPRESS_PREFIXLEN,
		    (uint32_t)r->suppress_prefixlength);
}

static int
rule_request(
    struct netcfg *n, const struct netcfg_rule *r, bool add, struct diag *d)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	char rule[WHAT_SIZE], what[WHAT_SIZE + 8];

	if (!family_ok(r->family) || !prefix_fits(&r->from, r->family) ||
	    !prefix_fits(&r->to, r->family))
		return UK_EINVAL;
	h->nlmsg_type = add ? RTM_NEWRULE : RTM_DELRULE;
	if (add)
		h->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	rule_put(h, r);
	rule_text(r, rule, sizeof(rule));
	snprintf(what, sizeof(what), "%s %s", add ? "add" : "remove", rule);
	return refused(n, talk(n, h, NULL), d, what);
}

int
netcfg_rule_add(struct netcfg *n, const struct netcfg_rule *r, struct diag *d)
{
	return rule_request(n, r, true, d);
}

int
netcfg_rule_remove(
    struct netcfg *n, const struct netcfg_rule *r, struct diag *d)
{
	return rule_request(n, r, false, d);
}

struct rule_seen {
	uint32_t priority;
	uint8_t protocol;
};

static int
rule_seen_attr(const struct nlattr *a, void *arg)
{
	struct rule_seen *s = arg;
	size_t len = mnl_attr_get_payload_len(a);

	if (mnl_attr_get_type(a) == FRA_PRIORITY && len >= sizeof(uint32_t))
		s->priority = mnl_attr_get_u32(a);
	else if (mnl_attr_get_type(a) == FRA_PROTOCOL && len >= sizeof(uint8_t))
		s->protocol = mnl_attr_get_u8(a);
	return MNL_CB_OK;
}

static void
rule_visit(void *arg, const struct nlmsghdr *h)
{
	struct rule_seen s = {.priority = 0};
	uint32_t *first = arg;

	if (h->nlmsg_type != RTM_NEWRULE)
		return;
	mnl_attr_parse(h, sizeof(struct fib_rule_hdr), rule_seen_attr, &s);
	if (s.protocol != NETCFG_PROTOCOL && s.priority != 0 &&
	    s.priority < *first)
		*first = s.priority;
}

int
netcfg_rule_first(struct netcfg *n, uint8_t family, uint32_t *priority)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct fib_rule_hdr *f = mnl_nlmsg_put_extra_header(h, sizeof(*f));
	uint32_t first = UINT32_MAX;
	struct visitor v = {rule_visit, &first};
	int r;

	if (!family_ok(family))
		return UK_EINVAL;
	h->nlmsg_type = RTM_GETRULE;
	h->nlmsg_flags = NLM_F_DUMP;
	f->family = (uint8_t)native_family(family);
	r = talk(n, h, &v);
	if (r < 0)
		return os_err(-r);
	*priority = first;
	return first == UINT32_MAX ? UK_ENOENT : 0;
}

struct table_search {
	uint32_t table;
	bool found;
};

static int
rule_table_attr(const struct nlattr *a, void *arg)
{
	struct table_search *s = arg;

	if (mnl_attr_get_type(a) == FRA_TABLE &&
	    mnl_attr_get_payload_len(a) >= sizeof(uint32_t) &&
	    mnl_attr_get_u32(a) == s->table)
		s->found = true;
	return MNL_CB_OK;
}

static int
route_table_attr(const struct nlattr *a, void *arg)
{
	struct table_search *s = arg;

	if (mnl_attr_get_type(a) == RTA_TABLE &&
	    mnl_attr_get_payload_len(a) >= sizeof(uint32_t) &&
	    mnl_attr_get_u32(a) == s->table)
		s->found = true;
	return MNL_CB_OK;
}

static void
table_visit(void *arg, const struct nlmsghdr *h)
{
	if (h->nlmsg_type == RTM_NEWRULE)
		mnl_attr_parse(
		    h, sizeof(struct fib_rule_hdr), rule_table_attr, arg);
	else if (h->nlmsg_type == RTM_NEWROUTE)
		mnl_attr_parse(h, sizeof(struct rtmsg), route_table_attr, arg);
}

/* A family or table that the kernel does not have holds nothing. */
static int
dump_result(int r)
{
	if (r == -ENOENT || r == -EAFNOSUPPORT || r == -EOPNOTSUPP)
		return 0;
	return r < 0 ? os_err(-r) : 0;
}

static int
table_search(
    struct netcfg *n, uint16_t type, int family, struct table_search *s)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct visitor v = {table_visit, s};
	struct fib_rule_hdr *f;
	struct rtmsg *m;

	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_DUMP;
	if (type == RTM_GETRULE) {
		f = mnl_nlmsg_put_extra_header(h, sizeof(*f));
		f->family = (uint8_t)family;
	} else {
		m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
		m->rtm_family = (uint8_t)family;
		/* Filtered by the kernel: a full table may be huge. */
		mnl_attr_put_u32(h, RTA_TABLE, s->table);
	}
	return dump_result(talk(n, h, &v));
}

int
netcfg_table_used(struct netcfg *n, uint32_t table, bool *used)
{
	static const struct {
		uint16_t type;
		int family;
	} dumps[] = {{RTM_GETRULE, AF_INET}, {RTM_GETRULE, AF_INET6},
	    {RTM_GETROUTE, AF_INET}, {RTM_GETROUTE, AF_INET6}};
	struct table_search s = {.table = table};

	for (size_t i = 0; i < ARRAY_LEN(dumps) && !s.found; i++) {
		int r = table_search(n, dumps[i].type, dumps[i].family, &s);

		if (r < 0)
			return r;
	}
	*used = s.found;
	return 0;
}

struct path_seen {
	bool found;
	uint8_t family;
	struct netcfg_path path;
};

static int
metric_attr(const struct nlattr *a, void *arg)
{
	struct path_seen *s = arg;

	if (mnl_attr_get_type(a) == RTAX_MTU &&
	    mnl_attr_get_payload_len(a) >= sizeof(uint32_t))
		s->path.mtu = mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

static int
path_attr(const struct nlattr *a, void *arg)
{
	struct path_seen *s = arg;
	size_t len = mnl_attr_get_payload_len(a);

	switch (mnl_attr_get_type(a)) {
	case RTA_OIF:
		if (len >= sizeof(uint32_t))
			s->path.ifindex = mnl_attr_get_u32(a);
		break;
	case RTA_PREFSRC:
		if (len != addr_len(s->family))
			break;
		s->path.src.family = s->family;
		memcpy(s->path.src.b, mnl_attr_get_payload(a), len);
		break;
	case RTA_METRICS:
		mnl_attr_parse_nested(a, metric_attr, s);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static void
path_visit(void *arg, const struct nlmsghdr *h)
{
	struct path_seen *s = arg;
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);

	if (h->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(h) < sizeof(*m))
		return;
	/* IPv6 answers with an "unreachable" route where IPv4 answers with
	 * an error. */
	if (m->rtm_type != RTN_UNICAST && m->rtm_type != RTN_LOCAL)
		return;
	mnl_attr_parse(h, sizeof(*m), path_attr, s);
	s->found = true;
}

int
netcfg_path(struct netcfg *n, const struct ip_addr *dst, uint32_t mark,
    struct netcfg_path *out)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	struct path_seen seen = {.family = dst->family};
	struct visitor v = {path_visit, &seen};
	int r;

	if (!family_ok(dst->family))
		return UK_EINVAL;
	h->nlmsg_type = RTM_GETROUTE;
	m->rtm_family = (uint8_t)native_family(dst->family);
	m->rtm_dst_len = (uint8_t)(addr_len(dst->family) * 8);
	mnl_attr_put(h, RTA_DST, addr_len(dst->family), dst->b);
	if (mark != 0)
		mnl_attr_put_u32(h, RTA_MARK, mark);
	r = talk(n, h, &v);
	if (r < 0)
		return os_err(-r);
	if (!seen.found || seen.path.ifindex == 0)
		return UK_ENOENT;
	if (seen.path.mtu == 0)
		r = netcfg_link_mtu(n, seen.path.ifindex, &seen.path.mtu);
	if (r == 0)
		*out = seen.path;
	return r;
}

struct addr_walk {
	bool (*visit)(
	    void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits);
	void *arg;
	bool stopped;
};

struct addr_seen {
	struct ip_addr local, peer;
	uint32_t flags; /* IFA_F_* */
	uint8_t protocol; /* who made it; 0: not told */
};

static void
addr_take(struct ip_addr *to, const struct nlattr *a)
{
	size_t len = mnl_attr_get_payload_len(a);

	if (len != 4 && len != 16)
		return;
	to->family = len == 4 ? FAMILY_V4 : FAMILY_V6;
	memcpy(to->b, mnl_attr_get_payload(a), len);
}

static int
addr_attr(const struct nlattr *a, void *arg)
{
	struct addr_seen *s = arg;
	size_t len = mnl_attr_get_payload_len(a);

	switch (mnl_attr_get_type(a)) {
	case IFA_LOCAL:
		addr_take(&s->local, a);
		break;
	case IFA_ADDRESS:
		addr_take(&s->peer, a);
		break;
	case IFA_FLAGS:
		if (len >= sizeof(s->flags))
			s->flags = mnl_attr_get_u32(a);
		break;
	case IFA_PROTO:
		if (len >= sizeof(s->protocol))
			s->protocol = mnl_attr_get_u8(a);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

/* False: not an address. */
static bool
addr_read(struct addr_seen *s, const struct nlmsghdr *h)
{
	memset(s, 0, sizeof(*s));
	if (h->nlmsg_type != RTM_NEWADDR ||
	    mnl_nlmsg_get_payload_len(h) < sizeof(struct ifaddrmsg))
		return false;
	mnl_attr_parse(h, sizeof(struct ifaddrmsg), addr_attr, s);
	/* IPv6 names its address IFA_ADDRESS unless there is a peer. */
	if (s->local.family == FAMILY_NONE)
		s->local = s->peer;
	return s->local.family != FAMILY_NONE;
}

static void
addr_visit(void *arg, const struct nlmsghdr *h)
{
	struct addr_walk *w = arg;
	const struct ifaddrmsg *i = mnl_nlmsg_get_payload(h);
	struct addr_seen s;

	if (!w->stopped && addr_read(&s, h))
		w->stopped =
		    !w->visit(w->arg, i->ifa_index, &s.local, i->ifa_prefixlen);
}

static int
addr_dump(struct netcfg *n, const struct visitor *v)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct ifaddrmsg *i = mnl_nlmsg_put_extra_header(h, sizeof(*i));

	i->ifa_family = AF_UNSPEC;
	h->nlmsg_type = RTM_GETADDR;
	h->nlmsg_flags = NLM_F_DUMP;
	return dump_result(talk(n, h, v));
}

int
netcfg_addr_each(struct netcfg *n,
    bool (*visit)(
	void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits),
    void *arg)
{
	struct addr_walk w = {.visit = visit, .arg = arg};
	struct visitor v = {addr_visit, &w};

	return addr_dump(n, &v);
}

struct addr_search {
	unsigned index;
	const struct ip_addr *addr;
	struct netcfg_addr found;
};

/* A failed check leaves both flags set. */
static enum netcfg_addr_state
addr_state(uint32_t flags)
{
	if ((flags & IFA_F_DADFAILED) != 0)
		return NETCFG_ADDR_DUPLICATE;
	return (flags & IFA_F_TENTATIVE) != 0 ? NETCFG_ADDR_TENTATIVE
					      : NETCFG_ADDR_READY;
}

static void
addr_search_visit(void *arg, const struct nlmsghdr *h)
{
	struct addr_search *w = arg;
	const struct ifaddrmsg *i = mnl_nlmsg_get_payload(h);
	struct addr_seen s;

	if (!addr_read(&s, h) || i->ifa_index != w->index ||
	    !ip_addr_equal(&s.local, w->addr))
		return;
	w->found.state = addr_state(s.flags);
	w->found.bits = i->ifa_prefixlen;
	w->found.apart = (s.flags & IFA_F_DEPRECATED) != 0 &&
			 (s.protocol == NETCFG_PROTOCOL || s.protocol == 0);
}

int
netcfg_addr_get(struct netcfg *n, unsigned index, const struct ip_addr *a,
    struct netcfg_addr *out)
{
	struct addr_search w = {.index = index, .addr = a};
	struct visitor v = {addr_search_visit, &w};
	int r;

	if (!family_ok(a->family))
		return UK_EINVAL;
	r = addr_dump(n, &v);
	*out = w.found;
	return r;
}

struct route_walk {
	bool (*visit)(void *arg, const struct ip_prefix *dst);
	void *arg;
	uint8_t family;
	bool stopped;
};

static int
route_dst_attr(const struct nlattr *a, void *arg)
{
	if (mnl_attr_get_type(a) == RTA_DST)
		addr_take(arg, a);
	return MNL_CB_OK;
}

static void
route_visit(void *arg, const struct nlmsghdr *h)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	struct route_walk *w = arg;
	/* A default route has no RTA_DST. */
	struct ip_prefix dst = {.addr.family = w->family};

	if (w->stopped || h->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(h) < sizeof(*m) ||
	    m->rtm_type != RTN_UNICAST)
		return;
	dst.bits = m->rtm_dst_len;
	mnl_attr_parse(h, sizeof(*m), route_dst_attr, &dst.addr);
	w->stopped = !w->visit(w->arg, &dst);
}

int
netcfg_route_each(struct netcfg *n, uint8_t family,
    bool (*visit)(void *arg, const struct ip_prefix *dst), void *arg)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	struct route_walk w = {.visit = visit, .arg = arg, .family = family};
	struct visitor v = {route_visit, &w};

	if (!family_ok(family))
		return UK_EINVAL;
	m->rtm_family = (uint8_t)native_family(family);
	h->nlmsg_type = RTM_GETROUTE;
	h->nlmsg_flags = NLM_F_DUMP;
	return dump_result(talk(n, h, &v));
}

struct gateway_walk {
	bool (*visit)(void *arg, const struct ip_addr *gateway);
	void *arg;
	uint32_t table;
	struct ip_addr gateway; /* of the route or next hop being read */
	bool stopped;
};

static void
gateway_tell(struct gateway_walk *w)
{
	if (!w->stopped && w->gateway.family != FAMILY_NONE)
		w->stopped = !w->visit(w->arg, &w->gateway);
	w->gateway = (struct ip_addr){.family = FAMILY_NONE};
}

/* RTA_VIA: a family, then an address of it; of IPv4 by IPv6, RFC 8950. */
static void
via_take(struct ip_addr *to, const struct nlattr *a)
{
	const struct rtvia *via = mnl_attr_get_payload(a);
	size_t len = mnl_attr_get_payload_len(a);
	uint8_t family;

	if (len < sizeof(*via) ||
	    (via->rtvia_family != AF_INET && via->rtvia_family != AF_INET6))
		return;
	family = via->rtvia_family == AF_INET ? FAMILY_V4 : FAMILY_V6;
	if (len - sizeof(*via) != addr_len(family))
		return;
	to->family = family;
	memcpy(to->b, via->rtvia_addr, addr_len(family));
}

static int
hop_attr(const struct nlattr *a, void *arg)
{
	struct gateway_walk *w = arg;

	if (mnl_attr_get_type(a) == RTA_GATEWAY)
		addr_take(&w->gateway, a);
	else if (mnl_attr_get_type(a) == RTA_VIA)
		via_take(&w->gateway, a);
	return MNL_CB_OK;
}

/* RTA_MULTIPATH: next hops, each with attributes of its own. */
static void
hops_take(struct gateway_walk *w, const struct nlattr *a)
{
	const uint8_t *b = mnl_attr_get_payload(a);
	size_t left = mnl_attr_get_payload_len(a);

	while (left >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = (const void *)b;
		size_t len = hop->rtnh_len;
		size_t whole =
		    (len + RTNH_ALIGNTO - 1) / RTNH_ALIGNTO * RTNH_ALIGNTO;

		if (len < sizeof(*hop) || len > left)
			return;
		mnl_attr_parse_payload(
		    hop + 1, len - sizeof(*hop), hop_attr, w);
		gateway_tell(w);
		if (whole >= left)
			return;
		b += whole;
		left -= whole;
	}
}

static int
default_route_attr(const struct nlattr *a, void *arg)
{
	struct gateway_walk *w = arg;

	if (mnl_attr_get_type(a) == RTA_TABLE &&
	    mnl_attr_get_payload_len(a) >= sizeof(w->table))
		w->table = mnl_attr_get_u32(a);
	return hop_attr(a, arg);
}

static int
multipath_attr(const struct nlattr *a, void *arg)
{
	if (mnl_attr_get_type(a) == RTA_MULTIPATH)
		hops_take(arg, a);
	return MNL_CB_OK;
}

static void
default_route_visit(void *arg, const struct nlmsghdr *h)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	struct gateway_walk *w = arg;

	if (h->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(h) < sizeof(*m) ||
	    m->rtm_type != RTN_UNICAST || m->rtm_dst_len != 0)
		return;
	w->table = m->rtm_table;
	w->gateway = (struct ip_addr){.family = FAMILY_NONE};
	mnl_attr_parse(h, sizeof(*m), default_route_attr, w);
	if (w->table != RT_TABLE_MAIN)
		return;
	gateway_tell(w);
	mnl_attr_parse(h, sizeof(*m), multipath_attr, w);
}

static int
gateway_dump(struct netcfg *n, int family, struct gateway_walk *w)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	struct visitor v = {default_route_visit, w};

	h->nlmsg_type = RTM_GETROUTE;
	h->nlmsg_flags = NLM_F_DUMP;
	m->rtm_family = (uint8_t)family;
	/* Filtered by the kernel where it can. */
	mnl_attr_put_u32(h, RTA_TABLE, RT_TABLE_MAIN);
	return dump_result(talk(n, h, &v));
}

int
netcfg_gateway_each(struct netcfg *n,
    bool (*visit)(void *arg, const struct ip_addr *gateway), void *arg)
{
	struct gateway_walk w = {.visit = visit, .arg = arg};
	int r = gateway_dump(n, AF_INET, &w);

	return r == 0 && !w.stopped ? gateway_dump(n, AF_INET6, &w) : r;
}
