#include "nft_talk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Dumps come in pieces of 16 or 32 KiB. */
#define ANSWER_SIZE 65536
/* What a dump may have in all: half a million elements. */
#define DUMP_MAX (64u << 20)
/* Somebody changes tables all the time: then what there is has to do. */
#define DUMP_TRIES 8

static const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

int
nft_talk_open(struct nft_talk *t)
{
	int e;

	t->seq = 0;
	t->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (t->fd < 0)
		return -errno;
	if (bind(t->fd, (const struct sockaddr *)&kernel, sizeof(kernel)) == 0)
		return 0;
	e = errno;
	nft_talk_close(t);
	return -e;
}

void
nft_talk_close(struct nft_talk *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

static struct nlmsghdr *
put_header(void *buf, unsigned type, unsigned flags, uint32_t seq)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof(*g));

	h->nlmsg_type = (uint16_t)type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = seq;
	g->version = NFNETLINK_V0;
	return h;
}

struct nlmsghdr *
nft_talk_put(void *buf, unsigned type, unsigned flags, uint32_t seq)
{
	struct nlmsghdr *h =
	    put_header(buf, NFNL_SUBSYS_NFTABLES << 8 | type, flags, seq);
	struct nfgenmsg *g = mnl_nlmsg_get_payload(h);

	g->nfgen_family = NFPROTO_INET;
	return h;
}

static size_t
aligned(size_t len)
{
	return (len + NLMSG_ALIGNTO - 1) / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
}

static int
send_all(int fd, const void *b, size_t len)
{
	ssize_t n = sendto(
	    fd, b, len, 0, (const struct sockaddr *)&kernel, sizeof(kernel));

	return n < 0 ? -errno : 0;
}

/* Messages of an answer, one behind the other. */
struct answer {
	uint8_t *b;
	size_t len, cap;
	bool disturbed;
};

static int
answer_reserve(struct answer *a)
{
	size_t cap = a->cap == 0 ? ANSWER_SIZE : 2 * a->cap;
	uint8_t *p;

	if (a->cap - a->len >= ANSWER_SIZE)
		return 0;
	if (cap > DUMP_MAX)
		return -EMSGSIZE;
	p = realloc(a->b, cap);
	if (p == NULL)
		return -ENOMEM;
	a->b = p;
	a->cap = cap;
	return answer_reserve(a);
}

/* Look at what came last. Returns 1 when more is to come; else 0 or an
 * errno. */
static int
answer_take(struct answer *a, size_t len, const struct nlmsghdr *request)
{
	bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	const struct nlmsghdr *h = (const void *)(a->b + a->len);
	int left = (int)len, more = 1;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		if (h->nlmsg_seq != request->nlmsg_seq)
			return 1; /* of a question given up */
		if ((h->nlmsg_flags & NLM_F_DUMP_INTR) != 0)
			a->disturbed = true;
		if (h->nlmsg_type == NLMSG_ERROR)
			return (
			    (const struct nlmsgerr *)mnl_nlmsg_get_payload(h))
			    ->error;
		if (h->nlmsg_type == NLMSG_DONE || !dump)
			more = 0;
	}
	a->len += aligned(len);
	return more;
}

static int
answer_read(struct answer *a, int fd, const struct nlmsghdr *request)
{
	int r = 1;

	while (r > 0) {
		ssize_t n;

		r = answer_reserve(a);
		if (r < 0)
			return r;
		n = recv(fd, a->b + a->len, ANSWER_SIZE, MSG_TRUNC);
		if (n > ANSWER_SIZE)
			return -EMSGSIZE;
		if (n >= 0)
			r = answer_take(a, (size_t)n, request);
		else
			r = errno == EINTR ? 1 : -errno;
	}
	return r;
}

static void
answer_visit(const struct answer *a,
    void (*visit)(void *arg, const struct nlmsghdr *h), void *arg)
{
	const struct nlmsghdr *h = (const void *)a->b;
	int left = (int)a->len;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
		if (h->nlmsg_type >= NLMSG_MIN_TYPE)
			visit(arg, h);
}

int
nft_talk_ask(struct nft_talk *t, struct nlmsghdr *request,
    void (*visit)(void *arg, const struct nlmsghdr *h), void *arg)
{
	struct answer a = {.disturbed = true};
	int r = 0;

	for (int i = 0; i < DUMP_TRIES && r == 0 && a.disturbed; i++) {
		request->nlmsg_seq = ++t->seq;
		a.len = 0;
		a.disturbed = false;
		r = send_all(t->fd, request, request->nlmsg_len);
		if (r == 0)
			r = answer_read(&a, t->fd, request);
	}
	if (r == 0)
		answer_visit(&a, visit, arg);
	free(a.b);
	/* The kernel would go on with that answer, and give no other. */
	if (r == -ENOMEM || r == -EMSGSIZE) {
		nft_talk_close(t);
		(void)nft_talk_open(t);
	}
	return r;
}

static int
table_attr(const struct nlattr *a, void *arg)
{
	bool *owned = arg;

	if (mnl_attr_get_type(a) == NFTA_TABLE_OWNER)
		*owned = true;
	return MNL_CB_OK;
}

static void
table_visit(void *arg, const struct nlmsghdr *h)
{
	mnl_attr_parse(h, sizeof(struct nfgenmsg), table_attr, arg);
}

int
nft_talk_table(struct nft_talk *t, const char *name, bool *owned)
{
	_Alignas(struct nlmsghdr) uint8_t buf[NFT_TALK_REQUEST_SIZE];
	struct nlmsghdr *h = nft_talk_put(buf, NFT_MSG_GETTABLE, 0, 0);

	*owned = false;
	mnl_attr_put_strz(h, NFTA_TABLE_NAME, name);
	return nft_talk_ask(t, h, table_visit, owned);
}

/* Room for another message, or for more of the last one. */
static int
batch_reserve(struct nft_batch *b)
{
	size_t at = b->last != NULL ? (size_t)((uint8_t *)b->last - b->b) : 0;
	size_t cap = b->cap == 0 ? 8 * NFT_TALK_REQUEST_SIZE : 2 * b->cap;
	uint8_t *p;

	if (b->cap - b->len >= 2 * NFT_TALK_REQUEST_SIZE)
		return 0;
	p = realloc(b->b, cap);
	if (p == NULL)
		return -ENOMEM;
	if (b->last != NULL)
		b->last = (void *)(p + at);
	b->b = p;
	b->cap = cap;
	return 0;
}

/* The last message's end is the batch's. */
static void
batch_close_last(struct nft_batch *b)
{
	if (b->last != NULL)
		b->len = (size_t)((uint8_t *)b->last - b->b) +
			 aligned(b->last->nlmsg_len);
}

static void
put_edge(struct nft_batch *b, unsigned type, uint32_t seq)
{
	struct nlmsghdr *h = put_header(b->b + b->len, type, 0, seq);
	struct nfgenmsg *g = mnl_nlmsg_get_payload(h);

	g->res_id = htons(NFNL_SUBSYS_NFTABLES);
	b->len += aligned(h->nlmsg_len);
}

struct nlmsghdr *
nft_batch_put(
    struct nft_batch *b, unsigned type, unsigned flags, uint32_t number)
{
	batch_close_last(b);
	if (batch_reserve(b) < 0)
		return NULL;
	if (b->len == 0)
		put_edge(b, NFNL_MSG_BATCH_BEGIN, b->first);
	b->last = nft_talk_put(b->b + b->len, type, flags, b->first + number);
	return b->last;
}

struct nlmsghdr *
nft_batch_more(struct nft_batch *b)
{
	batch_close_last(b);
	return batch_reserve(b) < 0 ? NULL : b->last;
}

/* A netlink socket takes no more at once than its buffer is long. */
static void
reserve_socket(int fd, size_t len)
{
	int have = 0, want = (int)len + 4096;
	socklen_t size = sizeof(have);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &have, &size) == 0 &&
	    have >= want)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof(want)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &want, sizeof(want));
}

struct reply {
	const struct nft_batch *batch;
	void (*wrong)(void *arg, uint32_t number, int error);
	void *arg;
	bool done; /* the last message was looked at */
	int error;
};

static void
reply_take(struct reply *r, const void *buf, size_t len)
{
	const struct nlmsghdr *h = buf;
	int left = (int)len;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
		uint32_t number = h->nlmsg_seq - r->batch->first;

		if (h->nlmsg_type != NLMSG_ERROR ||
		    mnl_nlmsg_get_payload_len(h) < sizeof(*e) ||
		    number > r->batch->last->nlmsg_seq - r->batch->first)
			continue;
		if (h->nlmsg_seq == r->batch->last->nlmsg_seq)
			r->done = true;
		if (e->error == 0)
			continue;
		if (r->error == 0)
			r->error = e->error;
		r->wrong(r->arg, number, e->error);
	}
}

/* Errors that did not fit into the socket's buffer are lost, and that is told
 * first. */
static int
read_replies(struct reply *r, int fd)
{
	_Alignas(struct nlmsghdr) uint8_t buf[ANSWER_SIZE];
	bool lost = false;

	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n >= 0)
			reply_take(r, buf, (size_t)n);
		else if (errno == ENOBUFS)
			lost = true;
		else if (errno != EINTR)
			break;
	}
	if (errno != EAGAIN)
		return -errno;
	if (r->error != 0)
		return r->error;
	return r->done && !lost ? 0 : -ENOBUFS;
}

int
nft_batch_send(struct nft_batch *b, int fd,
    void (*wrong)(void *arg, uint32_t number, int error), void *arg)
{
	struct reply reply = {.batch = b, .wrong = wrong, .arg = arg};
	uint32_t last;
	int r;

	UK_ASSERT(b->last != NULL);
	b->last->nlmsg_flags |= NLM_F_ACK;
	last = b->last->nlmsg_seq;
	if (nft_batch_more(b) == NULL)
		return -ENOMEM;
	put_edge(b, NFNL_MSG_BATCH_END, last + 1);
	reserve_socket(fd, b->len);
	r = send_all(fd, b->b, b->len);
	return r < 0 ? r : read_replies(&reply, fd);
}

void
nft_batch_fini(struct nft_batch *b)
{
	free(b->b);
	*b = (struct nft_batch){.len = 0};
}
