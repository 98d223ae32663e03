#include "matcher_index.h"

#include <stdlib.h>

#include "core/bytes.h"
#include "core/err.h"

#define NO_PARENT UINT32_MAX

/* Of as many prefixes a space has an index by their first bits, which saves
 * most of the steps of a search. */
#define MANY 1024
#define TOP_BITS 16

#define TYPES                                                                  \
	(MATCHER_TYPE(RULE_IP_CIDR) | MATCHER_TYPE(RULE_SRC_IP_CIDR) |         \
	    MATCHER_TYPE(RULE_DST_PORT) | MATCHER_TYPE(RULE_SRC_PORT) |        \
	    MATCHER_TYPE(RULE_UID) | MATCHER_TYPE(RULE_NETWORK))

/* An entry under one of its prefixes, while this is built. */
struct made {
	struct matcher_key key;
	struct match at;
	uint8_t space, bits;
};

struct builder {
	struct made *made; /* NULL: only count */
	size_t n;
};

static struct matcher_key
key_addr(const struct ip_addr *a)
{
	if (a->family == FAMILY_V4)
		return (struct matcher_key){(uint64_t)load_be32(a->b) << 32, 0};
	return (struct matcher_key){load_be64(a->b), load_be64(a->b + 8)};
}

static struct matcher_key
key_port(uint32_t port)
{
	return (struct matcher_key){(uint64_t)port << 48, 0};
}

static struct matcher_key
key_uid(uint32_t uid)
{
	return (struct matcher_key){(uint64_t)uid << 32, 0};
}

static struct matcher_key
key_proto(uint32_t bit)
{
	return (struct matcher_key){(uint64_t)bit << 56, 0};
}

static void
put(struct builder *b, const struct match *at, enum matcher_space space,
    struct matcher_key key, unsigned bits)
{
	if (b->made != NULL)
		b->made[b->n] =
		    (struct made){key, *at, (uint8_t)space, (uint8_t)bits};
	b->n++;
}

static void
put_prefix(struct builder *b, const struct match *at, enum matcher_space v4,
    const struct ip_prefix *p)
{
	/* A space of IPv6 stands behind its sister. */
	enum matcher_space space = p->addr.family == FAMILY_V4 ? v4 : v4 + 1;

	put(b, at, space, key_addr(&p->addr), p->bits);
}

/* The fewest prefixes that make up a range: each as large as its first port
 * allows and the range still holds. */
static void
put_ports(struct builder *b, const struct match *at, enum matcher_space space,
    const struct rule_ports *p)
{
	uint32_t port = p->first, end = (uint32_t)p->last + 1;
	unsigned free_bits;

	while (port < end) {
		free_bits = 0;
		while (free_bits < 16 && (port >> free_bits & 1) == 0 &&
		       port + (UINT32_C(2) << free_bits) <= end)
			free_bits++;
		put(b, at, space, key_port(port), 16 - free_bits);
		port += UINT32_C(1) << free_bits;
	}
}

static void
put_protos(struct builder *b, const struct match *at, uint8_t protos)
{
	for (uint32_t bit = RULE_TCP; bit <= RULE_ICMP; bit <<= 1)
		if ((protos & bit) != 0)
			put(b, at, SPACE_PROTO, key_proto(bit), 8);
}

static void
put_entry(struct builder *b, const struct match *at, const struct rule_entry *e)
{
	switch (e->type) {
	case RULE_IP_CIDR:
		put_prefix(b, at, SPACE_DST4, &e->prefix);
		break;
	case RULE_SRC_IP_CIDR:
		put_prefix(b, at, SPACE_SRC4, &e->prefix);
		break;
	case RULE_DST_PORT:
		put_ports(b, at, SPACE_DPORT, &e->ports);
		break;
	case RULE_SRC_PORT:
		put_ports(b, at, SPACE_SPORT, &e->ports);
		break;
	case RULE_UID:
		put(b, at, SPACE_UID, key_uid(e->uid), 32);
		break;
	default:
		put_protos(b, at, e->protos);
		break;
	}
}

static void
put_all(struct builder *b, const struct rules *r)
{
	struct matcher_walk w = {.next = 0};
	const struct rule_entry *e;

	b->n = 0;
	while ((e = matcher_walk(&w, r, TYPES)) != NULL)
		put_entry(b, &w.at, e);
}

static int
order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int
compare_prefix(const struct made *a, const struct made *b)
{
	if (a->space != b->space)
		return order(a->space, b->space);
	if (a->key.hi != b->key.hi)
		return order(a->key.hi, b->key.hi);
	if (a->key.lo != b->key.lo)
		return order(a->key.lo, b->key.lo);
	return order(a->bits, b->bits);
}

static int
compare(const void *a, const void *b)
{
	const struct made *x = a, *y = b;
	int by_prefix = compare_prefix(x, y);

	if (by_prefix != 0)
		return by_prefix;
	return matcher_before(&x->at, &y->at) ? -1 : 1;
}

/* Do the first bits agree? */
static bool
covers(const struct matcher_prefix *p, const struct matcher_key *k)
{
	uint64_t hi = p->key.hi ^ k->hi, lo = p->key.lo ^ k->lo;

	if (p->bits == 0)
		return true;
	if (p->bits <= 64)
		return hi >> (64 - p->bits) == 0;
	return hi == 0 && lo >> (128 - p->bits) == 0;
}

static uint32_t
parent_of(
    const struct matcher_prefixes *x, enum matcher_space space, uint32_t node)
{
	uint32_t p = node - 1;

	if (node == x->first[space])
		return NO_PARENT;
	while (p != NO_PARENT && !covers(&x->node[p], &x->node[node].key))
		p = x->node[p].parent;
	return p;
}

static size_t
count_nodes(const struct builder *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n +=
		    i == 0 || compare_prefix(&b->made[i - 1], &b->made[i]) != 0;
	return n;
}

static void
link_nodes(struct matcher_prefixes *x, const struct builder *b)
{
	uint32_t nodes = 0;
	unsigned space = 0;

	for (uint32_t i = 0; i < b->n; i++) {
		const struct made *m = &b->made[i];

		x->item[i] = m->at;
		if (i > 0 && compare_prefix(m - 1, m) == 0)
			continue;
		while (space < m->space)
			x->first[++space] = nodes;
		x->node[nodes] = (struct matcher_prefix){
		    .key = m->key, .bits = m->bits, .first = i};
		x->node[nodes].parent = parent_of(x, space, nodes);
		nodes++;
	}
	while (space < SPACES)
		x->first[++space] = nodes;
	x->node[nodes].first = (uint32_t)b->n;
}

static uint32_t
top_of(const struct matcher_key *k)
{
	return (uint32_t)(k->hi >> (64 - TOP_BITS));
}

static int
index_space(struct matcher_prefixes *x, unsigned space)
{
	uint32_t node = x->first[space], end = x->first[space + 1];
	uint32_t *top;

	if (end - node < MANY)
		return 0;
	top = calloc((UINT32_C(1) << TOP_BITS) + 1, sizeof(*top));
	if (top == NULL)
		return UK_ENOMEM;
	for (uint32_t i = 0; i <= UINT32_C(1) << TOP_BITS; i++) {
		while (node < end && top_of(&x->node[node].key) < i)
			node++;
		top[i] = node;
	}
	x->top[space] = top;
	return 0;
}

static int
make(struct matcher_prefixes *x, struct builder *b)
{
	x->node = calloc(count_nodes(b) + 1, sizeof(*x->node));
	x->item = calloc(b->n, sizeof(*x->item));
	if (x->node == NULL || x->item == NULL)
		return UK_ENOMEM;
	link_nodes(x, b);
	for (unsigned space = 0; space < ARRAY_LEN(x->top); space++)
		if (index_space(x, space) < 0)
			return UK_ENOMEM;
	return 0;
}

int
matcher_prefixes_init(struct matcher_prefixes *x, const struct rules *r)
{
	struct builder b = {.made = NULL};
	int err;

	put_all(&b, r);
	if (b.n == 0)
		return 0;
	if (b.n >= NO_PARENT)
		return UK_ENOMEM;
	b.made = calloc(b.n, sizeof(*b.made));
	if (b.made == NULL)
		return UK_ENOMEM;
	put_all(&b, r);
	qsort(b.made, b.n, sizeof(*b.made), compare);
	err = make(x, &b);
	free(b.made);
	return err;
}

void
matcher_prefixes_fini(struct matcher_prefixes *x)
{
	free(x->item);
	free(x->node);
	for (unsigned space = 0; space < ARRAY_LEN(x->top); space++)
		free(x->top[space]);
	*x = (struct matcher_prefixes){.item = NULL};
}

/* Is the prefix behind the key, in order? */
static bool
behind(const struct matcher_prefix *p, const struct matcher_key *k)
{
	return p->key.hi > k->hi || (p->key.hi == k->hi && p->key.lo > k->lo);
}

/* Where to search for the last prefix that is not behind the key: from *low
 * on, n of them; it is the first one when all others are. */
static uint32_t
narrow(const struct matcher_prefixes *x, enum matcher_space space,
    const struct matcher_key *k, uint32_t *low)
{
	const uint32_t *top = space <= SPACE_SRC6 ? x->top[space] : NULL;

	*low = x->first[space];
	if (top == NULL)
		return x->first[space + 1] - *low;
	if (top[top_of(k)] > *low)
		*low = top[top_of(k)] - 1;
	return top[top_of(k) + 1] - *low;
}

static void
query(const struct matcher_prefixes *x, enum matcher_space space,
    struct matcher_key key, struct matcher_query *q)
{
	const struct matcher_prefix *p;
	uint32_t low, n = narrow(x, space, &key, &low), half;

	if (n == 0)
		return;
	for (; n > 1; n -= half) {
		half = n / 2;
		if (!behind(&x->node[low + half], &key))
			low += half;
	}
	for (uint32_t i = low; i != NO_PARENT; i = p->parent) {
		p = &x->node[i];
		if (covers(p, &key))
			matcher_offer_list(
			    q, x->item + p->first, p[1].first - p->first);
	}
}

static void
query_addr(const struct matcher_prefixes *x, enum matcher_space v4,
    const struct ip_addr *a, struct matcher_query *q)
{
	if (a->family == FAMILY_V4)
		query(x, v4, key_addr(a), q);
	else if (a->family == FAMILY_V6)
		query(x, v4 + 1, key_addr(a), q);
}

void
matcher_prefixes_flow(const struct matcher_prefixes *x, const struct flow *f,
    struct matcher_query *q)
{
	query_addr(x, SPACE_DST4, &f->dst, q);
	query_addr(x, SPACE_SRC4, &f->src, q);
	if (f->dport != 0)
		query(x, SPACE_DPORT, key_port(f->dport), q);
	if (f->sport != 0)
		query(x, SPACE_SPORT, key_port(f->sport), q);
	if (f->has_uid)
		query(x, SPACE_UID, key_uid(f->uid), q);
	if (f->proto != 0)
		query(x, SPACE_PROTO, key_proto(f->proto), q);
}
