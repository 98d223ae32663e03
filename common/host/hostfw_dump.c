#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "core/bytes.h"
#include "core/err.h"
#include "hostfw_nft.h"
#include "os_err.h"

#define USERDATA_COMMENT 0

/* A dump of a table that is not there has nothing in it, and no error. */
static int
ask(struct hostfw *h, const char *table, struct nlmsghdr *request,
    void (*visit)(void *arg, const struct nlmsghdr *h), void *arg)
{
	bool owned;
	int r = nft_talk_table(&h->talk, table, &owned);

	if (r == 0)
		r = nft_talk_ask(&h->talk, request, visit, arg);
	return r < 0 ? os_err(-r) : 0;
}

struct element_walk {
	bool (*visit)(
	    void *arg, const uint8_t *key, size_t key_len, const char *comment);
	void *arg;
	bool stopped;
};

struct element {
	const uint8_t *key;
	size_t key_len;
	const char *comment;
	bool interval_end;
};

/* Each is a type, a length and that many bytes. */
static const char *
find_comment(const uint8_t *b, size_t len)
{
	while (len >= 2 && b[1] <= len - 2) {
		size_t whole = 2 + (size_t)b[1];

		if (b[0] == USERDATA_COMMENT && b[1] > 0 && b[whole - 1] == 0)
			return (const char *)b + 2;
		b += whole;
		len -= whole;
	}
	return NULL;
}

static int
key_attr(const struct nlattr *a, void *arg)
{
	struct element *e = arg;

	if (mnl_attr_get_type(a) != NFTA_DATA_VALUE)
		return MNL_CB_OK;
	e->key = mnl_attr_get_payload(a);
	e->key_len = mnl_attr_get_payload_len(a);
	return MNL_CB_OK;
}

static int
element_attr(const struct nlattr *a, void *arg)
{
	struct element *e = arg;
	size_t len = mnl_attr_get_payload_len(a);

	switch (mnl_attr_get_type(a)) {
	case NFTA_SET_ELEM_KEY:
		mnl_attr_parse_nested(a, key_attr, e);
		break;
	case NFTA_SET_ELEM_USERDATA:
		e->comment = find_comment(mnl_attr_get_payload(a), len);
		break;
	case NFTA_SET_ELEM_FLAGS:
		if (len >= sizeof(uint32_t))
			e->interval_end = (load_be32(mnl_attr_get_payload(a)) &
					      NFT_SET_ELEM_INTERVAL_END) != 0;
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int
list_attr(const struct nlattr *a, void *arg)
{
	struct element_walk *w = arg;
	struct element e = {.key = NULL};

	mnl_attr_parse_nested(a, element_attr, &e);
	if (e.key != NULL && !e.interval_end && !w->stopped)
		w->stopped = !w->visit(w->arg, e.key, e.key_len, e.comment);
	return MNL_CB_OK;
}

static int
elements_attr(const struct nlattr *a, void *arg)
{
	if (mnl_attr_get_type(a) == NFTA_SET_ELEM_LIST_ELEMENTS)
		mnl_attr_parse_nested(a, list_attr, arg);
	return MNL_CB_OK;
}

static void
elements_visit(void *arg, const struct nlmsghdr *h)
{
	mnl_attr_parse(h, sizeof(struct nfgenmsg), elements_attr, arg);
}

int
hostfw_elements_each(struct hostfw *h, const char *table, const char *set,
    bool (*visit)(
	void *arg, const uint8_t *key, size_t key_len, const char *comment),
    void *arg)
{
	_Alignas(struct nlmsghdr) uint8_t buf[NFT_TALK_REQUEST_SIZE];
	struct nlmsghdr *q =
	    nft_talk_put(buf, NFT_MSG_GETSETELEM, NLM_F_DUMP, 0);
	struct element_walk w = {.visit = visit, .arg = arg};

	if (strlen(set) >= HOSTFW_SET_MAX || !hostfw_name_ok(table))
		return UK_ENOENT;
	mnl_attr_put_strz(q, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(q, NFTA_SET_ELEM_LIST_SET, set);
	return ask(h, table, q, elements_visit, &w);
}

static const char *
text_of(const struct nlattr *a)
{
	return mnl_attr_validate(a, MNL_TYPE_NUL_STRING) < 0
		   ? NULL
		   : mnl_attr_get_str(a);
}

struct table_walk {
	bool (*visit)(void *arg, const char *table, bool owned);
	void *arg;
	bool stopped;
};

struct table {
	const char *name;
	bool owned;
};

static int
table_attr(const struct nlattr *a, void *arg)
{
	struct table *t = arg;

	if (mnl_attr_get_type(a) == NFTA_TABLE_NAME)
		t->name = text_of(a);
	else if (mnl_attr_get_type(a) == NFTA_TABLE_OWNER)
		t->owned = true;
	return MNL_CB_OK;
}

static void
table_visit(void *arg, const struct nlmsghdr *h)
{
	struct table_walk *w = arg;
	struct table t = {.name = NULL};

	mnl_attr_parse(h, sizeof(struct nfgenmsg), table_attr, &t);
	if (t.name != NULL && !w->stopped)
		w->stopped = !w->visit(w->arg, t.name, t.owned);
}

int
hostfw_tables_each(struct hostfw *h,
    bool (*visit)(void *arg, const char *table, bool owned), void *arg)
{
	_Alignas(struct nlmsghdr) uint8_t buf[NFT_TALK_REQUEST_SIZE];
	struct nlmsghdr *q = nft_talk_put(buf, NFT_MSG_GETTABLE, NLM_F_DUMP, 0);
	struct table_walk w = {.visit = visit, .arg = arg};
	int r = nft_talk_ask(&h->talk, q, table_visit, &w);

	return r < 0 ? os_err(-r) : 0;
}

struct set_walk {
	bool (*visit)(void *arg, const char *set);
	void *arg;
	bool stopped;
};

/* What is in a message about a set or a counter. */
struct named {
	const char *name;
	bool anonymous;
	uint64_t packets, bytes;
};

static int
set_attr(const struct nlattr *a, void *arg)
{
	struct named *s = arg;

	switch (mnl_attr_get_type(a)) {
	case NFTA_SET_NAME:
		s->name = text_of(a);
		break;
	case NFTA_SET_FLAGS:
		if (mnl_attr_get_payload_len(a) >= sizeof(uint32_t))
			s->anonymous = (load_be32(mnl_attr_get_payload(a)) &
					   NFT_SET_ANONYMOUS) != 0;
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static void
set_visit(void *arg, const struct nlmsghdr *h)
{
	struct set_walk *w = arg;
	struct named s = {.name = NULL};

	mnl_attr_parse(h, sizeof(struct nfgenmsg), set_attr, &s);
	if (s.name != NULL && !s.anonymous && !w->stopped)
		w->stopped = !w->visit(w->arg, s.name);
}

int
hostfw_sets_each(struct hostfw *h, const char *table,
    bool (*visit)(void *arg, const char *set), void *arg)
{
	_Alignas(struct nlmsghdr) uint8_t buf[NFT_TALK_REQUEST_SIZE];
	struct nlmsghdr *q = nft_talk_put(buf, NFT_MSG_GETSET, NLM_F_DUMP, 0);
	struct set_walk w = {.visit = visit, .arg = arg};

	if (!hostfw_name_ok(table))
		return UK_ENOENT;
	mnl_attr_put_strz(q, NFTA_SET_TABLE, table);
	return ask(h, table, q, set_visit, &w);
}

struct counter_walk {
	bool (*visit)(
	    void *arg, const char *counter, uint64_t packets, uint64_t bytes);
	void *arg;
	bool stopped;
};

static int
count_attr(const struct nlattr *a, void *arg)
{
	struct named *c = arg;

	if (mnl_attr_get_payload_len(a) < sizeof(uint64_t))
		return MNL_CB_OK;
	if (mnl_attr_get_type(a) == NFTA_COUNTER_PACKETS)
		c->packets = load_be64(mnl_attr_get_payload(a));
	else if (mnl_attr_get_type(a) == NFTA_COUNTER_BYTES)
		c->bytes = load_be64(mnl_attr_get_payload(a));
	return MNL_CB_OK;
}

static int
counter_attr(const struct nlattr *a, void *arg)
{
	struct named *c = arg;

	if (mnl_attr_get_type(a) == NFTA_OBJ_NAME)
		c->name = text_of(a);
	else if (mnl_attr_get_type(a) == NFTA_OBJ_DATA)
		mnl_attr_parse_nested(a, count_attr, c);
	return MNL_CB_OK;
}

static void
counter_visit(void *arg, const struct nlmsghdr *h)
{
	struct counter_walk *w = arg;
	struct named c = {.name = NULL};

	mnl_attr_parse(h, sizeof(struct nfgenmsg), counter_attr, &c);
	if (c.name != NULL && !w->stopped)
		w->stopped = !w->visit(w->arg, c.name, c.packets, c.bytes);
}

int
hostfw_counters_each(struct hostfw *h, const char *table,
    bool (*visit)(
	void *arg, const char *counter, uint64_t packets, uint64_t bytes),
    void *arg)
{
	_Alignas(struct nlmsghdr) uint8_t buf[NFT_TALK_REQUEST_SIZE];
	struct nlmsghdr *q = nft_talk_put(buf, NFT_MSG_GETOBJ, NLM_F_DUMP, 0);
	struct counter_walk w = {.visit = visit, .arg = arg};

	if (!hostfw_name_ok(table))
		return UK_ENOENT;
	mnl_attr_put_strz(q, NFTA_OBJ_TABLE, table);
	mnl_attr_put_u32(q, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
	return ask(h, table, q, counter_visit, &w);
}

static void
one_counter_visit(void *arg, const struct nlmsghdr *h)
{
	mnl_attr_parse(h, sizeof(struct nfgenmsg), counter_attr, arg);
}

int
hostfw_counter(struct hostfw *h, const char *table, const char *counter,
    uint64_t *packets, uint64_t *bytes)
{
	_Alignas(struct nlmsghdr) uint8_t buf[NFT_TALK_REQUEST_SIZE];
	struct nlmsghdr *q = nft_talk_put(buf, NFT_MSG_GETOBJ, 0, 0);
	struct named c = {.name = NULL};
	int r;

	if (!hostfw_name_ok(table) || strlen(counter) >= HOSTFW_SET_MAX)
		return UK_ENOENT;
	mnl_attr_put_strz(q, NFTA_OBJ_TABLE, table);
	mnl_attr_put_strz(q, NFTA_OBJ_NAME, counter);
	mnl_attr_put_u32(q, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
	r = nft_talk_ask(&h->talk, q, one_counter_visit, &c);
	*packets = c.packets;
	*bytes = c.bytes;
	return r < 0 ? os_err(-r) : 0;
}
