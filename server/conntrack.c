#include "conntrack.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "core/bytes.h"
#include "core/err.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/watch.h"

#define COUNT_EVERY (10 * UK_NS_PER_S)
/* Rest for so many times what a count has taken. */
#define COUNT_REST 50
/* Of the kernel's dumps at most this much comes at once. */
#define ANSWER_SIZE 32768
#define REQUEST_SIZE 1024
/* The kernel's table may be moved while it is walked, which hides flows: walk
 * again until none is found. */
#define FORGET_WALKS 3
#define FORGET_FAILED                                                          \
	"flows of clients that are revoked, or whose way has changed, may go " \
	"on as they were: conntrack does not delete them: %s"

/* ---- ranges ---- */

static struct conntrack_range
range_of(const struct ip_prefix *p)
{
	uint32_t first = load_be32(p->addr.b);

	/* A shift by 32 is undefined: hence 64 bits. */
	return (struct conntrack_range){
	    first, first | (uint32_t)(UINT64_C(0xffffffff) >> p->bits)};
}

static int
compare_ranges(const void *a, const void *b)
{
	const struct conntrack_range *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

/* Join what overlaps or touches, in place. */
static size_t
merge_ranges(struct conntrack_range *r, size_t n)
{
	size_t out = 0;

	qsort(r, n, sizeof(*r), compare_ranges);
	for (size_t i = 1; i < n; i++) {
		if (r[out].last < UINT32_MAX && r[i].first > r[out].last + 1)
			r[++out] = r[i];
		else if (r[i].last > r[out].last)
			r[out].last = r[i].last;
	}
	return n > 0 ? out + 1 : 0;
}

int
conntrack_ranges_add(
    struct conntrack_ranges *r, const struct ip_prefix *prefix, size_t n)
{
	struct conntrack_range *item = calloc(r->n + n + 1, sizeof(*item));
	size_t have = r->n;

	if (item == NULL)
		return UK_ENOMEM;
	if (have > 0)
		memcpy(item, r->item, have * sizeof(*item));
	for (size_t i = 0; i < n; i++)
		if (prefix[i].addr.family == FAMILY_V4)
			item[have++] = range_of(&prefix[i]);
	free(r->item);
	*r = (struct conntrack_ranges){item, merge_ranges(item, have)};
	return 0;
}

void
conntrack_ranges_fini(struct conntrack_ranges *r)
{
	free(r->item);
	*r = (struct conntrack_ranges){.n = 0};
}

bool
conntrack_ranges_have(const struct conntrack_ranges *r, uint32_t address)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (r->item[middle].last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < r->n && r->item[low].first <= address;
}

/* ---- counting ---- */

static int
put(struct conntrack_tally *t, uint32_t address, uint32_t port)
{
	uint64_t *item;
	size_t cap;

	if (t->n == CONNTRACK_TALLY_MAX)
		return UK_ELIMIT;
	if (t->n == t->cap) {
		cap = t->cap != 0 ? 2 * t->cap : 1024;
		item = realloc(t->item, cap * sizeof(*item));
		if (item == NULL)
			return UK_ENOMEM;
		t->item = item;
		t->cap = cap;
	}
	t->item[t->n++] = (uint64_t)address << 32 | port;
	return 0;
}

/* Protocol and port, never 0; 0: it takes none of the translation's. */
static uint32_t
port_of(const struct conntrack_flow *f)
{
	if (f->answers_to == f->from ||
	    (f->protocol != IPPROTO_TCP && f->protocol != IPPROTO_UDP))
		return 0;
	return (uint32_t)f->protocol << 16 | f->answers_port;
}

int
conntrack_tally_add(struct conntrack_tally *t,
    const struct conntrack_ranges *watched, const struct conntrack_flow *f)
{
	int err = 0;

	if (conntrack_ranges_have(watched, f->from))
		err = put(t, f->from, port_of(f));
	if (err == 0 && f->to != f->from &&
	    conntrack_ranges_have(watched, f->to))
		err = put(t, f->to, 0);
	return err;
}

void
conntrack_tally_fini(struct conntrack_tally *t)
{
	free(t->item);
	*t = (struct conntrack_tally){.n = 0};
}

static int
compare_items(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint32_t
address_of(uint64_t item)
{
	return (uint32_t)(item >> 32);
}

int
conntrack_table_make(struct conntrack_table *table, struct conntrack_tally *t)
{
	struct conntrack_entry *e = NULL;
	size_t addresses = 0;

	if (t->n > 0)
		qsort(t->item, t->n, sizeof(*t->item), compare_items);
	for (size_t i = 0; i < t->n; i++)
		addresses += i == 0 || address_of(t->item[i]) !=
					   address_of(t->item[i - 1]);
	*table = (struct conntrack_table){
	    .item = calloc(addresses + 1, sizeof(*table->item))};
	if (table->item == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < t->n; i++) {
		uint64_t item = t->item[i];

		if (e == NULL || address_of(item) != e->address) {
			e = &table->item[table->n++];
			e->address = address_of(item);
		}
		e->flows++;
		e->nat_ports +=
		    (uint32_t)item != 0 && (i == 0 || item != t->item[i - 1]);
	}
	return 0;
}

void
conntrack_table_fini(struct conntrack_table *t)
{
	free(t->item);
	*t = (struct conntrack_table){.n = 0};
}

void
conntrack_table_look(const struct conntrack_table *t,
    const struct ip_prefix *prefix, struct conntrack_use *use)
{
	struct conntrack_range r;
	size_t low = 0, high = t->n;

	if (prefix->addr.family != FAMILY_V4)
		return;
	r = range_of(prefix);
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (t->item[middle].address < r.first)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < t->n && t->item[low].address <= r.last; low++) {
		use->flows += t->item[low].flows;
		use->nat_ports += t->item[low].nat_ports;
	}
}

/* ---- the kernel ---- */

struct port_list {
	struct conntrack_ports *item;
	size_t n;
};

/* What a thread is given, and what it finds. */
struct job {
	uv_work_t work;
	struct conntrack *owner; /* NULL: gone meanwhile */
	struct conntrack_ranges ranges;
	struct port_list ports; /* of forgetting */
	/* Of a count. */
	struct conntrack_tally tally;
	struct conntrack_table table;
	uint64_t took_ns;
	/* Of forgetting. */
	struct mnl_socket *deleting;
	uint32_t seq;
	size_t deleted;
	int err;
	int os_errno; /* of UK_ESYS */
	int (*take)(struct job *j, const struct nf_conntrack *ct);
};

static int
note_error(struct job *j, int e)
{
	j->os_errno = e;
	j->err = e == ENOMEM ? UK_ENOMEM : UK_ESYS;
	return j->err;
}

static struct mnl_socket *
open_socket(struct job *j)
{
	struct mnl_socket *nl =
	    mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);

	if (nl != NULL && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0)
		return nl;
	(void)note_error(j, errno);
	if (nl != NULL)
		mnl_socket_close(nl);
	return NULL;
}

static struct nlmsghdr *
put_header(void *buf, unsigned type, uint16_t flags, uint32_t seq)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g;

	h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = seq;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = AF_INET;
	g->version = NFNETLINK_V0;
	return h;
}

/* Send a request and read its whole answer. Returns 0 or a positive errno;
 * what a callback has noted in its job it returns as MNL_CB_STOP. */
static int
talk(struct mnl_socket *nl, const struct nlmsghdr *request, mnl_cb_t each,
    void *arg)
{
	_Alignas(struct nlmsghdr) uint8_t buf[ANSWER_SIZE];
	uint32_t seq = request->nlmsg_seq;
	int r = MNL_CB_OK;

	if (mnl_socket_sendto(nl, request, request->nlmsg_len) < 0)
		return errno;
	while (r > MNL_CB_STOP) {
		ssize_t len = mnl_socket_recvfrom(nl, buf, sizeof(buf));

		if (len >= 0)
			r = mnl_cb_run(buf, (size_t)len, seq,
			    mnl_socket_get_portid(nl), each, arg);
		else if (errno != EINTR)
			r = MNL_CB_ERROR;
	}
	return r == MNL_CB_ERROR ? errno : 0;
}

static int
on_flow(const struct nlmsghdr *h, void *arg)
{
	struct job *j = arg;
	struct nf_conntrack *ct = nfct_new();

	if (ct == NULL)
		(void)note_error(j, ENOMEM);
	else if (nfct_nlmsg_parse(h, ct) == 0)
		j->err = j->take(j, ct);
	if (ct != NULL)
		nfct_destroy(ct);
	return j->err == 0 ? MNL_CB_OK : MNL_CB_STOP;
}

/* Give every flow of IPv4 to j->take. */
static void
walk(struct job *j)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct mnl_socket *nl = open_socket(j);
	int e;

	if (nl == NULL)
		return;
	e = talk(
	    nl, put_header(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, 1), on_flow, j);
	if (e != 0)
		(void)note_error(j, e);
	mnl_socket_close(nl);
}

static void
read_flow(struct conntrack_flow *f, const struct nf_conntrack *ct)
{
	*f = (struct conntrack_flow){
	    .from = ntohl(nfct_get_attr_u32(ct, ATTR_ORIG_IPV4_SRC)),
	    .to = ntohl(nfct_get_attr_u32(ct, ATTR_REPL_IPV4_SRC)),
	    .answers_to = ntohl(nfct_get_attr_u32(ct, ATTR_REPL_IPV4_DST)),
	    .answers_port = ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_DST)),
	    .protocol = nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO),
	};
}

static int
count_flow(struct job *j, const struct nf_conntrack *ct)
{
	struct conntrack_flow f;

	read_flow(&f, ct);
	return conntrack_tally_add(&j->tally, &j->ranges, &f);
}

/* The id keeps a new flow of the same tuple from being meant. One that has
 * ended meanwhile (ENOENT) is as good as deleted. */
static int
delete_flow(struct job *j, const struct nf_conntrack *ct)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	struct nf_conntrack *which = nfct_new();
	struct nlmsghdr *h =
	    put_header(buf, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, ++j->seq);
	int e = ENOMEM;

	if (which == NULL)
		return note_error(j, e);
	nfct_copy(which, ct, NFCT_CP_ORIG);
	if (nfct_attr_is_set(ct, ATTR_ZONE) > 0)
		nfct_set_attr_u16(
		    which, ATTR_ZONE, nfct_get_attr_u16(ct, ATTR_ZONE));
	if (nfct_nlmsg_build(h, which) == 0) {
		mnl_attr_put_u32(
		    h, CTA_ID, htonl(nfct_get_attr_u32(ct, ATTR_ID)));
		e = talk(j->deleting, h, NULL, NULL);
	}
	nfct_destroy(which);
	if (e == 0)
		j->deleted++;
	return e == 0 || e == ENOENT ? 0 : note_error(j, e);
}

static bool
went_to(const struct port_list *l, const struct nf_conntrack *ct)
{
	uint32_t to = ntohl(nfct_get_attr_u32(ct, ATTR_ORIG_IPV4_DST));
	uint16_t port = ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST));

	if (nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO) != IPPROTO_UDP)
		return false;
	for (size_t i = 0; i < l->n; i++)
		if (l->item[i].address == to && l->item[i].first <= port &&
		    port <= l->item[i].last)
			return true;
	return false;
}

static int
forget_flow(struct job *j, const struct nf_conntrack *ct)
{
	struct conntrack_flow f;

	read_flow(&f, ct);
	if (!conntrack_ranges_have(&j->ranges, f.from) &&
	    !conntrack_ranges_have(&j->ranges, f.to) && !went_to(&j->ports, ct))
		return 0;
	return delete_flow(j, ct);
}

/* ---- in a thread ---- */

static void
count_work(uv_work_t *w)
{
	struct job *j = w->data;
	uint64_t start_ns = clock_now().mono_ns;

	walk(j);
	if (j->err == 0)
		j->err = conntrack_table_make(&j->table, &j->tally);
	conntrack_tally_fini(&j->tally);
	j->took_ns = clock_now().mono_ns - start_ns;
}

static void
forget_work(uv_work_t *w)
{
	struct job *j = w->data;
	size_t before;
	int walks = 0;

	j->deleting = open_socket(j);
	if (j->deleting == NULL)
		return;
	do {
		before = j->deleted;
		walk(j);
	} while (j->err == 0 && j->deleted > before && ++walks < FORGET_WALKS);
	mnl_socket_close(j->deleting);
}

/* ---- in the loop's ---- */

struct conntrack {
	uv_loop_t *loop;
	struct watch *timer; /* the next count */
	struct job *count, *forget; /* what threads do; NULL: nothing */
	struct conntrack_ranges watched;
	/* To be forgotten after the others. */
	struct conntrack_ranges waiting;
	struct port_list waiting_ports;
	bool started; /* counting */
	bool known; /* what table says is so */
	bool told; /* that counting does not work */
	struct conntrack_table table;
};

static void
job_free(struct job *j)
{
	conntrack_ranges_fini(&j->ranges);
	free(j->ports.item);
	conntrack_table_fini(&j->table);
	free(j);
}

static const char *
words(const struct job *j)
{
	return j->err == UK_ESYS ? strerror(j->os_errno) : uk_strerror(j->err);
}

/* ranges and ports are the job's afterwards, and empty. NULL: no memory. */
static struct job *
start(struct conntrack *c, struct conntrack_ranges *ranges,
    struct port_list *ports,
    int (*take)(struct job *j, const struct nf_conntrack *ct), uv_work_cb work,
    uv_after_work_cb done)
{
	struct job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return NULL;
	j->work.data = j;
	j->owner = c;
	j->take = take;
	j->ranges = *ranges;
	*ranges = (struct conntrack_ranges){.n = 0};
	j->ports = *ports;
	*ports = (struct port_list){.n = 0};
	(void)uv_queue_work(c->loop, &j->work, work, done);
	return j;
}

static void
take_table(struct conntrack *c, struct job *j)
{
	conntrack_table_fini(&c->table);
	c->table = j->table;
	j->table = (struct conntrack_table){.n = 0};
	c->known = j->err == 0;
	if (c->known || c->told)
		return;
	c->told = true;
	log_msg(LOG_WARN,
	    "the clients' flows and ports in use are not known: conntrack "
	    "does not tell them: %s",
	    words(j));
}

static void
count_done(uv_work_t *w, int status)
{
	struct job *j = w->data;
	struct conntrack *c = j->owner;

	(void)status;
	if (c != NULL) {
		c->count = NULL;
		take_table(c, j);
		watch_after(c->timer, j->took_ns > COUNT_EVERY / COUNT_REST
					  ? COUNT_REST * j->took_ns
					  : COUNT_EVERY);
	}
	job_free(j);
}

static void
count_is_due(void *arg)
{
	struct conntrack *c = arg;
	struct conntrack_ranges copy = {
	    .item = calloc(c->watched.n + 1, sizeof(*copy.item)),
	    .n = c->watched.n};
	struct port_list none = {.n = 0};

	if (copy.item != NULL && copy.n > 0)
		memcpy(copy.item, c->watched.item, copy.n * sizeof(*copy.item));
	if (copy.item != NULL)
		c->count =
		    start(c, &copy, &none, count_flow, count_work, count_done);
	conntrack_ranges_fini(&copy);
	if (c->count == NULL)
		watch_after(c->timer, COUNT_EVERY);
}

static void forget_done(uv_work_t *w, int status);

static int
forget_start(struct conntrack *c)
{
	if (c->forget == NULL && c->waiting.n + c->waiting_ports.n > 0)
		c->forget = start(c, &c->waiting, &c->waiting_ports,
		    forget_flow, forget_work, forget_done);
	return c->forget != NULL || c->waiting.n + c->waiting_ports.n == 0
		   ? 0
		   : UK_ENOMEM;
}

static void
forget_done(uv_work_t *w, int status)
{
	struct job *j = w->data;
	struct conntrack *c = j->owner;

	(void)status;
	if (j->err != 0)
		log_msg(LOG_ERROR, FORGET_FAILED, words(j));
	else if (j->deleted > 0)
		log_msg(LOG_DEBUG, "%zu flows were deleted", j->deleted);
	if (c != NULL) {
		c->forget = NULL;
		if (forget_start(c) < 0)
			log_msg(
			    LOG_ERROR, FORGET_FAILED, uk_strerror(UK_ENOMEM));
	}
	job_free(j);
}

struct conntrack *
conntrack_new(uv_loop_t *loop)
{
	struct conntrack *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->loop = loop;
	c->timer = watch_timer(loop, count_is_due, c);
	if (c->timer != NULL)
		return c;
	free(c);
	return NULL;
}

void
conntrack_free(struct conntrack *c)
{
	if (c == NULL)
		return;
	if (c->count != NULL)
		c->count->owner = NULL;
	if (c->forget != NULL)
		c->forget->owner = NULL;
	watch_close(c->timer);
	conntrack_ranges_fini(&c->watched);
	conntrack_ranges_fini(&c->waiting);
	free(c->waiting_ports.item);
	conntrack_table_fini(&c->table);
	free(c);
}

int
conntrack_watch(struct conntrack *c, const struct ip_prefix *prefix, size_t n)
{
	struct conntrack_ranges r = {.n = 0};
	int err = conntrack_ranges_add(&r, prefix, n);

	if (err < 0)
		return err;
	conntrack_ranges_fini(&c->watched);
	c->watched = r;
	if (!c->started)
		watch_after(c->timer, 1);
	c->started = true;
	return 0;
}

bool
conntrack_look(const struct conntrack *c, const struct ip_prefix *prefix,
    size_t n, struct conntrack_use *use)
{
	*use = (struct conntrack_use){.flows = 0};
	if (!c->known)
		return false;
	for (size_t i = 0; i < n; i++)
		conntrack_table_look(&c->table, &prefix[i], use);
	return true;
}

int
conntrack_forget(struct conntrack *c, const struct ip_prefix *prefix, size_t n)
{
	int err = conntrack_ranges_add(&c->waiting, prefix, n);

	if (err < 0)
		return err;
	return forget_start(c);
}

int
conntrack_forget_ports(
    struct conntrack *c, const struct conntrack_ports *p, size_t n)
{
	struct port_list *l = &c->waiting_ports;
	struct conntrack_ports *item;

	if (n == 0)
		return 0;
	item = reallocarray(l->item, l->n + n, sizeof(*item));
	if (item == NULL)
		return UK_ENOMEM;
	memcpy(item + l->n, p, n * sizeof(*p));
	*l = (struct port_list){item, l->n + n};
	return forget_start(c);
}

bool
conntrack_is_forgetting(const struct conntrack *c)
{
	return c->forget != NULL;
}
