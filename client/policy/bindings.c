#include "bindings.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/htab.h"
#include "core/timerq.h"
#include "list.h"

/* Names that no rule cares for are kept as well, so that a reload finds them,
 * but not many, and they make room for others. */
#define IDLE_MAX (BINDINGS_MAX / 8)

struct name {
	struct htab_node node;
	struct list pairs; /* by pair.of_name */
	/* What the rules say, found once for a policy. */
	struct interest *interest; /* NULL: no rule cares */
	char text[];
};

struct interest {
	uint32_t rule; /* the first one */
	unsigned slots;
	uint16_t slot[]; /* numbers, each once */
};

struct address {
	struct htab_node node;
	struct list pairs; /* by pair.of_address */
	struct ip_addr addr;
};

struct pair {
	struct timerq_node expiry;
	struct list of_name, of_address;
	struct name *name;
	struct address *address;
};

/* An address in the set of a slot: there while it has pairs, or the kernel was
 * told of it. */
struct member {
	struct htab_node node;
	struct list pending; /* in members.pending, when wanted is not told */
	struct ip_addr addr;
	uint16_t slot;
	bool told;
	uint32_t pairs;
};

struct members {
	struct htab tab;
	struct list pending;
};

struct bindings {
	const struct matcher *matcher;
	const struct slots *slots;
	struct htab names, addresses;
	struct members *members;
	struct timerq cared, idle; /* pairs, by whether their name has rules */
	uint64_t refused;
};

static int
table_init(struct htab *t)
{
	uint8_t key[16];

	randombytes_buf(key, sizeof(key));
	return htab_init(t, key);
}

/* ---- what is in the kernel's sets, and is to be ---- */

static int
members_new(struct members **out)
{
	struct members *m = calloc(1, sizeof(*m));

	if (!m)
		return UK_ENOMEM;
	if (table_init(&m->tab) < 0) {
		free(m);
		return UK_ENOMEM;
	}
	list_init(&m->pending);
	*out = m;
	return 0;
}

static void
table_free(struct htab *t, void (*node_free)(struct htab_node *n))
{
	struct htab_node *n = htab_walk(t, NULL);

	while (n) {
		struct htab_node *next = htab_walk(t, n);

		node_free(n);
		n = next;
	}
	htab_fini(t);
}

static void
member_node_free(struct htab_node *n)
{
	free(CONTAINER_OF(n, struct member, node));
}

static void
members_free(struct members *m)
{
	table_free(&m->tab, member_node_free);
	free(m);
}

static uint64_t
member_hash(const struct members *m, const struct ip_addr *a, uint16_t slot)
{
	uint8_t key[sizeof(*a) + sizeof(slot)];

	memcpy(key, a, sizeof(*a));
	memcpy(key + sizeof(*a), &slot, sizeof(slot));
	return htab_hash(&m->tab, key, sizeof(key));
}

static struct member *
member_find(const struct members *m, const struct ip_addr *a, uint16_t slot)
{
	struct htab_node *n = htab_first(&m->tab, member_hash(m, a, slot));

	for (; n; n = htab_next(n)) {
		struct member *e = CONTAINER_OF(n, struct member, node);

		if (e->slot == slot && ip_addr_equal(&e->addr, a))
			return e;
	}
	return NULL;
}

/* Its number of pairs, or what was told of it, has changed. */
static void
member_settle(struct members *m, struct member *e)
{
	bool differs = (e->pairs > 0) != e->told;

	if (differs && list_empty(&e->pending))
		list_push(&m->pending, &e->pending);
	if (!differs)
		list_remove(&e->pending);
	if (differs || e->told)
		return;
	htab_remove(&m->tab, &e->node);
	free(e);
}

static int
member_add_pair(struct members *m, const struct ip_addr *a, uint16_t slot)
{
	struct member *e = member_find(m, a, slot);

	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e)
			return UK_ENOMEM;
		e->addr = *a;
		e->slot = slot;
		list_init(&e->pending);
		htab_insert(&m->tab, &e->node, member_hash(m, a, slot));
	}
	e->pairs++;
	member_settle(m, e);
	return 0;
}

static void
member_remove_pair(struct members *m, const struct ip_addr *a, uint16_t slot)
{
	struct member *e = member_find(m, a, slot);

	UK_ASSERT(e != NULL && e->pairs > 0);
	e->pairs--;
	member_settle(m, e);
}

/* The address of a pair, in the first n sets of its name. */
static void
members_leave(struct members *m, const struct ip_addr *a,
    const struct interest *i, unsigned n)
{
	while (n > 0)
		member_remove_pair(m, a, i->slot[--n]);
}

static int
members_join(
    struct members *m, const struct ip_addr *a, const struct interest *i)
{
	for (unsigned n = 0; i && n < i->slots; n++) {
		if (member_add_pair(m, a, i->slot[n]) < 0) {
			members_leave(m, a, i, n);
			return UK_ENOMEM;
		}
	}
	return 0;
}

/* ---- names ---- */

static int
interest_new(struct interest **out, const struct matcher *m,
    const struct slots *s, const char *name)
{
	uint32_t rule[BINDINGS_RULES_MAX];
	size_t n = matcher_names(m, name, rule, ARRAY_LEN(rule));
	struct interest *i;

	*out = NULL;
	if (n == 0)
		return 0;
	if (n > ARRAY_LEN(rule))
		n = ARRAY_LEN(rule);
	i = calloc(1, sizeof(*i) + n * sizeof(i->slot[0]));
	if (!i)
		return UK_ENOMEM;
	i->rule = rule[0];
	/* Rules are in order, and a slot's rules follow each other. */
	for (size_t k = 0; k < n; k++) {
		uint16_t slot = s->item[s->of_rule[rule[k]]].number;

		if (i->slots == 0 || i->slot[i->slots - 1] != slot)
			i->slot[i->slots++] = slot;
	}
	*out = i;
	return 0;
}

static struct name *
name_find(const struct bindings *b, const char *text)
{
	struct htab_node *n =
	    htab_first(&b->names, htab_hash(&b->names, text, strlen(text)));

	for (; n; n = htab_next(n)) {
		struct name *name = CONTAINER_OF(n, struct name, node);

		if (strcmp(name->text, text) == 0)
			return name;
	}
	return NULL;
}

static void
name_node_free(struct htab_node *n)
{
	struct name *name = CONTAINER_OF(n, struct name, node);

	free(name->interest);
	free(name);
}

static struct name *
name_get(struct bindings *b, const char *text)
{
	struct name *n = name_find(b, text);
	size_t len = strlen(text);

	if (n)
		return n;
	n = calloc(1, sizeof(*n) + len + 1);
	if (!n)
		return NULL;
	memcpy(n->text, text, len + 1);
	list_init(&n->pairs);
	if (interest_new(&n->interest, b->matcher, b->slots, text) < 0) {
		free(n);
		return NULL;
	}
	htab_insert(&b->names, &n->node, htab_hash(&b->names, text, len));
	return n;
}

static void
name_release(struct bindings *b, struct name *n)
{
	if (!list_empty(&n->pairs))
		return;
	htab_remove(&b->names, &n->node);
	name_node_free(&n->node);
}

/* ---- addresses ---- */

static struct address *
address_find(const struct bindings *b, const struct ip_addr *a)
{
	struct htab_node *n =
	    htab_first(&b->addresses, htab_hash(&b->addresses, a, sizeof(*a)));

	for (; n; n = htab_next(n)) {
		struct address *e = CONTAINER_OF(n, struct address, node);

		if (ip_addr_equal(&e->addr, a))
			return e;
	}
	return NULL;
}

static void
address_node_free(struct htab_node *n)
{
	free(CONTAINER_OF(n, struct address, node));
}

static struct address *
address_get(struct bindings *b, const struct ip_addr *a)
{
	struct address *e = address_find(b, a);

	if (e)
		return e;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->addr = *a;
	list_init(&e->pairs);
	htab_insert(
	    &b->addresses, &e->node, htab_hash(&b->addresses, a, sizeof(*a)));
	return e;
}

static void
address_release(struct bindings *b, struct address *a)
{
	if (!list_empty(&a->pairs))
		return;
	htab_remove(&b->addresses, &a->node);
	address_node_free(&a->node);
}

/* ---- pairs ---- */

static struct pair *
pair_find(const struct name *n, const struct address *a)
{
	/* Either may have many of the other; seldom both have. */
	const struct list *l = n->pairs.next, *k = a->pairs.next;

	for (; l != &n->pairs && k != &a->pairs; l = l->next, k = k->next) {
		struct pair *p = CONTAINER_OF(l, struct pair, of_name);
		struct pair *q = CONTAINER_OF(k, struct pair, of_address);

		if (p->address == a)
			return p;
		if (q->name == n)
			return q;
	}
	return NULL;
}

static struct timerq *
queue_of(struct bindings *b, const struct name *n)
{
	return n->interest ? &b->cared : &b->idle;
}

static void
pair_free(struct bindings *b, struct pair *p)
{
	const struct interest *i = p->name->interest;

	timerq_remove(queue_of(b, p->name), &p->expiry);
	if (i)
		members_leave(b->members, &p->address->addr, i, i->slots);
	list_remove(&p->of_name);
	list_remove(&p->of_address);
	name_release(b, p->name);
	address_release(b, p->address);
	free(p);
}

static struct pair *
pair_join(struct bindings *b, struct name *n, struct address *a)
{
	struct timerq *q = queue_of(b, n);
	struct pair *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	if (timerq_reserve(q, q->count + 1) < 0 ||
	    members_join(b->members, &a->addr, n->interest) < 0) {
		free(p);
		return NULL;
	}
	p->name = n;
	p->address = a;
	list_push(&n->pairs, &p->of_name);
	list_push(&a->pairs, &p->of_address);
	/* Its time is set when all pairs of an answer are there. */
	timerq_set(q, &p->expiry, 0);
	return p;
}

static struct pair *
pair_new(struct bindings *b, const char *name, const struct ip_addr *addr)
{
	struct name *n = name_get(b, name);
	struct address *a = n ? address_get(b, addr) : NULL;
	struct pair *p = a ? pair_join(b, n, a) : NULL;

	if (p)
		return p;
	if (a)
		address_release(b, a);
	if (n)
		name_release(b, n);
	return NULL;
}

static void
evict_idle(struct bindings *b)
{
	/* A popped node keeps its slot at 0: freeing it removes nothing. */
	struct timerq_node *t = timerq_pop(&b->idle, UK_NEVER);

	if (t)
		pair_free(b, CONTAINER_OF(t, struct pair, expiry));
}

static struct pair *
pair_known(const struct bindings *b, const char *name, const struct ip_addr *a)
{
	struct name *n = name_find(b, name);
	struct address *e = address_find(b, a);

	return n && e ? pair_find(n, e) : NULL;
}

/* Room for as many pairs as names; idle ones go for it, the oldest first, and
 * what is known already may be among them. */
static int
make_room(struct bindings *b, const char *const *name, size_t names,
    const struct ip_addr *a)
{
	size_t more = 0;

	for (size_t i = 0; i < names; i++)
		more += pair_known(b, name[i], a) == NULL;
	if (b->cared.count + more > BINDINGS_MAX) {
		b->refused++;
		return UK_ELIMIT;
	}
	while (more > 0 && b->idle.count > 0 &&
	       (b->cared.count + b->idle.count + names > BINDINGS_MAX ||
		   b->idle.count + names > IDLE_MAX))
		evict_idle(b);
	return 0;
}

static uint64_t
expiry(uint64_t now_ns, uint32_t ttl_s)
{
	if (ttl_s < BINDINGS_FLOOR_S)
		ttl_s = BINDINGS_FLOOR_S;
	if (ttl_s > BINDINGS_CEILING_S)
		ttl_s = BINDINGS_CEILING_S;
	return now_ns + ttl_s * UK_NS_PER_S;
}

int
bindings_add(struct bindings *b, uint64_t now_ns, const char *const *name,
    size_t names, const struct ip_addr *a, uint32_t ttl_s)
{
	struct pair *fresh[BINDINGS_CHAIN_MAX];
	uint64_t until = expiry(now_ns, ttl_s);
	size_t made = 0;
	int r;

	if (names > BINDINGS_CHAIN_MAX)
		names = BINDINGS_CHAIN_MAX;
	r = make_room(b, name, names, a);
	if (r < 0)
		return r;
	for (size_t i = 0; i < names; i++) {
		if (pair_known(b, name[i], a))
			continue;
		fresh[made] = pair_new(b, name[i], a);
		if (!fresh[made++])
			goto free_fresh;
	}
	for (size_t i = 0; i < names; i++) {
		struct pair *p = pair_known(b, name[i], a);

		if (p->expiry.deadline_ns < until)
			timerq_set(queue_of(b, p->name), &p->expiry, until);
	}
	return 0;

free_fresh:
	for (made--; made > 0; made--)
		pair_free(b, fresh[made - 1]);
	return UK_ENOMEM;
}

static void
expire(struct bindings *b, struct timerq *q, uint64_t now_ns)
{
	for (;;) {
		struct timerq_node *t = timerq_pop(q, now_ns);

		if (!t)
			return;
		pair_free(b, CONTAINER_OF(t, struct pair, expiry));
	}
}

void
bindings_tick(struct bindings *b, uint64_t now_ns)
{
	expire(b, &b->cared, now_ns);
	expire(b, &b->idle, now_ns);
}

/* ---- all of them ---- */

int
bindings_new(
    struct bindings **out, const struct matcher *m, const struct slots *s)
{
	struct bindings *b = calloc(1, sizeof(*b));

	*out = NULL;
	if (!b)
		return UK_ENOMEM;
	b->matcher = m;
	b->slots = s;
	timerq_init(&b->cared);
	timerq_init(&b->idle);
	if (table_init(&b->names) < 0)
		goto free_bindings;
	if (table_init(&b->addresses) < 0)
		goto fini_names;
	if (members_new(&b->members) < 0)
		goto fini_addresses;
	*out = b;
	return 0;

fini_addresses:
	htab_fini(&b->addresses);
fini_names:
	htab_fini(&b->names);
free_bindings:
	free(b);
	return UK_ENOMEM;
}

static void
pairs_free(struct timerq *q)
{
	for (size_t i = 0; i < q->count; i++)
		free(CONTAINER_OF(q->heap[i], struct pair, expiry));
	timerq_fini(q);
}

void
bindings_free(struct bindings *b)
{
	if (!b)
		return;
	pairs_free(&b->cared);
	pairs_free(&b->idle);
	table_free(&b->names, name_node_free);
	table_free(&b->addresses, address_node_free);
	members_free(b->members);
	free(b);
}

/* What another policy makes of the names, until it takes the old one's place.
 * In the order of htab_walk(), which does not change meanwhile. */
struct next_policy {
	struct interest **interest;
	size_t names, cared;
	struct members *members;
};

static void
next_free(struct next_policy *p)
{
	for (size_t i = 0; i < p->names; i++)
		free(p->interest[i]);
	free(p->interest);
	if (p->members)
		members_free(p->members);
}

static int
next_add(struct next_policy *p, const struct name *n, const struct matcher *m,
    const struct slots *s)
{
	struct interest *i;

	if (interest_new(&i, m, s, n->text) < 0)
		return UK_ENOMEM;
	p->interest[p->names++] = i;
	if (!i)
		return 0;
	for (struct list *l = n->pairs.next; l != &n->pairs; l = l->next) {
		struct pair *pair = CONTAINER_OF(l, struct pair, of_name);

		p->cared++;
		if (members_join(p->members, &pair->address->addr, i) < 0)
			return UK_ENOMEM;
	}
	return 0;
}

static int
next_init(struct next_policy *p, struct bindings *b, const struct matcher *m,
    const struct slots *s)
{
	struct htab_node *n = NULL;

	*p = (struct next_policy){0};
	p->interest = calloc(b->names.count + 1, sizeof(struct interest *));
	if (!p->interest || members_new(&p->members) < 0)
		return UK_ENOMEM;
	while ((n = htab_walk(&b->names, n)) != NULL)
		if (next_add(p, CONTAINER_OF(n, struct name, node), m, s) < 0)
			return UK_ENOMEM;
	return 0;
}

static void
name_follow(struct bindings *b, struct name *n, struct interest *i)
{
	struct timerq *from = queue_of(b, n), *to;

	free(n->interest);
	n->interest = i;
	to = queue_of(b, n);
	if (from == to)
		return;
	for (struct list *l = n->pairs.next; l != &n->pairs; l = l->next) {
		struct pair *p = CONTAINER_OF(l, struct pair, of_name);

		timerq_remove(from, &p->expiry);
		timerq_set(to, &p->expiry, p->expiry.deadline_ns);
	}
}

int
bindings_follow(
    struct bindings *b, const struct matcher *m, const struct slots *s)
{
	size_t pairs = b->cared.count + b->idle.count, i = 0;
	struct htab_node *n = NULL;
	struct next_policy p;

	if (next_init(&p, b, m, s) < 0 ||
	    timerq_reserve(&b->cared, pairs) < 0 ||
	    timerq_reserve(&b->idle, pairs) < 0) {
		next_free(&p);
		return UK_ENOMEM;
	}
	while ((n = htab_walk(&b->names, n)) != NULL)
		name_follow(
		    b, CONTAINER_OF(n, struct name, node), p.interest[i++]);
	members_free(b->members);
	b->members = p.members;
	b->matcher = m;
	b->slots = s;
	free(p.interest);
	return 0;
}

/* ---- changes ---- */

static bool
name_in(const struct name *n, uint16_t slot)
{
	for (unsigned i = 0; n->interest && i < n->interest->slots; i++)
		if (n->interest->slot[i] == slot)
			return true;
	return false;
}

/* A name because of which an address is in a set. */
static const char *
name_for(const struct bindings *b, const struct member *e)
{
	const struct address *a = address_find(b, &e->addr);

	if (!a)
		return "";
	for (const struct list *l = a->pairs.next; l != &a->pairs;
	     l = l->next) {
		struct pair *p = CONTAINER_OF(l, struct pair, of_address);

		if (name_in(p->name, e->slot))
			return p->name->text;
	}
	return "";
}

bool
bindings_next(struct bindings *b, struct binding_change *out)
{
	struct members *m = b->members;
	struct member *e;

	if (list_empty(&m->pending))
		return false;
	e = CONTAINER_OF(m->pending.next, struct member, pending);
	e->told = e->pairs > 0;
	*out = (struct binding_change){.slot = e->slot,
	    .add = e->told,
	    .addr = e->addr,
	    .name = name_for(b, e)};
	member_settle(m, e);
	return true;
}

bool
bindings_changed(const struct bindings *b)
{
	return !list_empty(&b->members->pending);
}

void
bindings_again(struct bindings *b)
{
	struct members *m = b->members;
	struct htab_node *n = htab_walk(&m->tab, NULL);

	while (n) {
		struct member *e = CONTAINER_OF(n, struct member, node);

		n = htab_walk(&m->tab, n);
		e->told = false;
		member_settle(m, e);
	}
}

/* ---- for people ---- */

size_t
bindings_names(const struct bindings *b, const struct ip_addr *a,
    const char **name, size_t cap)
{
	const struct address *e = address_find(b, a);
	size_t n = 0;

	if (!e)
		return 0;
	for (const struct list *l = e->pairs.next; l != &e->pairs;
	     l = l->next) {
		struct pair *p = CONTAINER_OF(l, struct pair, of_address);

		if (n < cap)
			name[n] = p->name->text;
		n++;
	}
	return n;
}

/* The name of an address with the earliest rule behind `after`; NULL: none. */
static const struct name *
first_name(const struct address *a, int64_t after)
{
	const struct name *best = NULL;

	for (const struct list *l = a->pairs.next; l != &a->pairs;
	     l = l->next) {
		struct pair *p = CONTAINER_OF(l, struct pair, of_address);
		const struct interest *i = p->name->interest;

		if (!i || i->rule <= after)
			continue;
		if (!best || i->rule < best->interest->rule)
			best = p->name;
	}
	return best;
}

void
bindings_collisions(const struct bindings *b,
    bool (*visit)(void *arg, const struct binding_collision *c), void *arg)
{
	struct htab_node *n = NULL;

	while ((n = htab_walk(&b->addresses, n)) != NULL) {
		struct address *a = CONTAINER_OF(n, struct address, node);
		const struct name *won = first_name(a, -1), *lost;
		struct binding_collision c = {.addr = a->addr};

		lost = won ? first_name(a, won->interest->rule) : NULL;
		if (!lost)
			continue;
		c.name[0] = won->text;
		c.rule[0] = won->interest->rule;
		c.name[1] = lost->text;
		c.rule[1] = lost->interest->rule;
		if (!visit(arg, &c))
			return;
	}
}

void
bindings_stats(const struct bindings *b, struct bindings_stats *out)
{
	*out = (struct bindings_stats){
	    .names = (uint32_t)b->names.count,
	    .addresses = (uint32_t)b->addresses.count,
	    .pairs = (uint32_t)(b->cared.count + b->idle.count),
	    .refused = b->refused,
	};
}
