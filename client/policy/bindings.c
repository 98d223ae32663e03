#include "bindings.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "binding_sets.h"
#include "core/err.h"
#include "core/htab.h"
#include "core/timerq.h"
#include "list.h"

/* Names that no rule cares for are kept as well, so that a reload finds them,
 * but not many, and they make room for others. */
#define IDLE_MAX (BINDINGS_MAX / 8)
/* Of the names that an address has, those that are looked at for one that has
 * lost it. */
#define CLAIMS_MAX 64

/* What an address is kept for when its answer is over, by what the rules say
 * of the name: in order, so that of several the last one counts. */
enum keep { KEEP_NATIVE, KEEP_TUNNEL, KEEP_BLOCK, KEEP_FIRM };

struct name {
	struct htab_node node;
	struct list pairs; /* by pair.of_name; answered last at the end */
	uint32_t n; /* of them */
	uint32_t held; /* by a call that is at work on it */
	/* What the rules say, found once for a policy. */
	struct interest *interest; /* NULL: no rule cares */
	char text[];
};

struct interest {
	uint32_t rule; /* the first one */
	uint32_t share; /* index of its slot */
	enum keep keep;
	unsigned slots;
	uint16_t slot[]; /* numbers, each once */
};

struct address {
	struct htab_node node;
	struct list pairs; /* by pair.of_address; answered last at the end */
	struct ip_addr addr;
};

struct pair {
	struct timerq_node expiry;
	struct list of_name, of_address;
	struct list of_share; /* or none */
	struct name *name;
	struct address *address;
	uint64_t used_ns; /* answered last, or seen in use */
	uint64_t own_ns; /* the answer itself is over */
};

/* The pairs of names whose first rule is in one slot; used last at the end. */
struct share {
	struct list pairs; /* by pair.of_share */
	size_t n;
};

struct bindings {
	const struct matcher *matcher;
	const struct slots *slots;
	struct htab names, addresses;
	struct binding_sets *sets;
	struct timerq cared, idle; /* pairs, by whether their name has rules */
	struct share *share; /* one for each slot */
	uint64_t refused;
};

static int
table_init(struct htab *t)
{
	uint8_t key[16];

	randombytes_buf(key, sizeof(key));
	return htab_init(t, key);
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

/* ---- sets ---- */

/* The address of a pair, in the first n sets of its name. */
static void
sets_leave(struct binding_sets *s, const struct ip_addr *a,
    const struct interest *i, unsigned n)
{
	while (n > 0)
		binding_sets_remove(s, a, i->slot[--n]);
}

static int
sets_join(
    struct binding_sets *s, const struct ip_addr *a, const struct interest *i)
{
	for (unsigned n = 0; i && n < i->slots; n++) {
		if (binding_sets_add(s, a, i->slot[n]) < 0) {
			sets_leave(s, a, i, n);
			return UK_ENOMEM;
		}
	}
	return 0;
}

/* ---- names ---- */

/* The rules of a name can decide up to the first one without conditions. */
static enum keep
keep_of(const struct slots *s, const uint32_t *rule, size_t n)
{
	static const enum keep keep[TARGETS] = {
	    [TARGET_TUNNEL] = KEEP_TUNNEL,
	    [TARGET_TUNNEL_ONLY] = KEEP_FIRM,
	    [TARGET_NATIVE] = KEEP_NATIVE,
	    [TARGET_BLOCK] = KEEP_BLOCK,
	};
	enum keep most = KEEP_NATIVE;

	for (size_t i = 0; i < n; i++) {
		const struct slot *slot = &s->item[s->of_rule[rule[i]]];

		if (keep[slot->target] > most)
			most = keep[slot->target];
		if (slot->always)
			break;
	}
	return most;
}

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
	i->share = s->of_rule[rule[0]];
	i->keep = keep_of(s, rule, n);
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
	if (!list_empty(&n->pairs) || n->held > 0)
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

static bool
is_firm(const struct pair *p)
{
	return p->name->interest && p->name->interest->keep == KEEP_FIRM;
}

static struct timerq *
queue_of(struct bindings *b, const struct name *n)
{
	return n->interest ? &b->cared : &b->idle;
}

/* How long an address is known beyond the answer, for those who keep it. */
static uint64_t
kept_ns(const struct name *n)
{
	static const uint64_t kept_s[] = {
	    [KEEP_NATIVE] = 0,
	    [KEEP_TUNNEL] = BINDINGS_TUNNEL_S,
	    [KEEP_BLOCK] = BINDINGS_CEILING_S,
	    [KEEP_FIRM] = BINDINGS_CEILING_S,
	};
	enum keep keep = n->interest ? n->interest->keep : KEEP_TUNNEL;

	return kept_s[keep] * UK_NS_PER_S;
}

static uint64_t
deadline(const struct pair *p)
{
	uint64_t kept = p->used_ns + kept_ns(p->name);

	return p->own_ns > kept ? p->own_ns : kept;
}

static void
share_leave(struct bindings *b, struct pair *p)
{
	if (list_empty(&p->of_share))
		return;
	list_remove(&p->of_share);
	b->share[p->name->interest->share].n--;
}

static void
share_join(struct bindings *b, struct pair *p)
{
	struct share *s;

	if (!p->name->interest)
		return;
	s = &b->share[p->name->interest->share];
	list_push(&s->pairs, &p->of_share);
	s->n++;
}

static void
pair_free(struct bindings *b, struct pair *p)
{
	const struct interest *i = p->name->interest;

	timerq_remove(queue_of(b, p->name), &p->expiry);
	if (i)
		sets_leave(b->sets, &p->address->addr, i, i->slots);
	share_leave(b, p);
	list_remove(&p->of_name);
	p->name->n--;
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
	    sets_join(b->sets, &a->addr, n->interest) < 0) {
		free(p);
		return NULL;
	}
	p->name = n;
	p->address = a;
	list_push(&n->pairs, &p->of_name);
	n->n++;
	list_push(&a->pairs, &p->of_address);
	list_init(&p->of_share);
	share_join(b, p);
	/* Its time is set when all pairs of an answer are there. */
	timerq_set(q, &p->expiry, 0);
	return p;
}

/* n is held. A name with too many gives up the one that it had last of all. */
static struct pair *
pair_new(struct bindings *b, struct name *n, const struct ip_addr *addr)
{
	struct address *a;
	struct pair *p;

	if (n->n == BINDINGS_NAME_MAX)
		pair_free(b, CONTAINER_OF(n->pairs.next, struct pair, of_name));
	a = address_get(b, addr);
	if (!a)
		return NULL;
	p = pair_join(b, n, a);
	if (!p)
		address_release(b, a);
	return p;
}

static struct pair *
pair_known(
    const struct bindings *b, const struct name *n, const struct ip_addr *a)
{
	struct address *e = address_find(b, a);

	return e ? pair_find(n, e) : NULL;
}

static void
pair_used(struct bindings *b, struct pair *p, uint64_t now_ns)
{
	p->used_ns = now_ns;
	list_remove(&p->of_name);
	list_push(&p->name->pairs, &p->of_name);
	share_leave(b, p);
	share_join(b, p);
	timerq_set(queue_of(b, p->name), &p->expiry, deadline(p));
}

/* ---- answers ---- */

/* The names of one answer. */
struct chain {
	struct name *name[BINDINGS_CHAIN_MAX];
	size_t n;
};

static void
chain_release(struct bindings *b, struct chain *c)
{
	while (c->n > 0) {
		struct name *n = c->name[--c->n];

		n->held--;
		name_release(b, n);
	}
}

static int
chain_hold(
    struct bindings *b, struct chain *c, const char *const *name, size_t names)
{
	c->n = 0;
	for (size_t i = 0; i < names; i++) {
		struct name *n = name_get(b, name[i]);

		if (!n) {
			chain_release(b, c);
			return UK_ENOMEM;
		}
		n->held++;
		c->name[c->n++] = n;
	}
	return 0;
}

static bool
chain_shares(const struct chain *c, const struct pair *p)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->name[i]->interest &&
		    c->name[i]->interest->share == p->name->interest->share)
			return true;
	return false;
}

static bool
is_fresh(const struct pair *p, uint64_t now_ns)
{
	return now_ns < p->used_ns + BINDINGS_FLOOR_S * UK_NS_PER_S;
}

/* The oldest one of the slot that has most: whoever floods some rule with names
 * takes room from that rule alone. Before that, one that nothing leaks without:
 * not of tunnel! or block, and not answered of late. */
static struct pair *
least_worth(const struct bindings *b, uint64_t now_ns)
{
	struct pair *best = NULL;
	size_t most = 0;

	for (size_t i = 0; i < b->slots->n; i++) {
		const struct share *s = &b->share[i];
		struct pair *p;
		size_t worth = s->n;

		if (worth == 0)
			continue;
		p = CONTAINER_OF(s->pairs.next, struct pair, of_share);
		if (p->name->interest->keep < KEEP_BLOCK &&
		    !is_fresh(p, now_ns))
			worth += BINDINGS_MAX;
		if (worth <= most)
			continue;
		most = worth;
		best = p;
	}
	return best;
}

/* Of its own rule an answer takes none that was answered just before: its
 * program has hardly called yet. */
static int
evict(struct bindings *b, const struct chain *c, uint64_t now_ns)
{
	struct timerq_node *t = timerq_pop(&b->idle, UK_NEVER);
	struct pair *p;

	/* A popped node keeps its slot at 0: freeing it removes nothing. */
	if (t) {
		pair_free(b, CONTAINER_OF(t, struct pair, expiry));
		return 0;
	}
	p = least_worth(b, now_ns);
	if (!p || (chain_shares(c, p) && is_fresh(p, now_ns)))
		return UK_ELIMIT;
	pair_free(b, p);
	return 0;
}

static size_t
chain_lacks(
    const struct bindings *b, const struct chain *c, const struct ip_addr *a)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++)
		n += pair_known(b, c->name[i], a) == NULL;
	return n;
}

static int
make_room(struct bindings *b, const struct chain *c, const struct ip_addr *a,
    uint64_t now_ns)
{
	for (;;) {
		size_t more = chain_lacks(b, c, a);
		size_t idle = b->idle.count;

		if (more == 0 ||
		    (b->cared.count + idle + more <= BINDINGS_MAX &&
			(idle == 0 || idle + more <= IDLE_MAX)))
			return 0;
		if (evict(b, c, now_ns) < 0) {
			b->refused++;
			return UK_ELIMIT;
		}
	}
}

static int
chain_bind(struct bindings *b, const struct chain *c, const struct ip_addr *a)
{
	struct pair *fresh[BINDINGS_CHAIN_MAX];
	size_t made = 0;

	for (size_t i = 0; i < c->n; i++) {
		if (pair_known(b, c->name[i], a))
			continue;
		fresh[made] = pair_new(b, c->name[i], a);
		if (!fresh[made++])
			goto free_fresh;
	}
	return 0;

free_fresh:
	for (made--; made > 0; made--)
		pair_free(b, fresh[made - 1]);
	return UK_ENOMEM;
}

/* Somebody else has it now: it is not kept for names whose answers are over,
 * unless that would leak. */
static void
address_claim(struct address *a, struct bindings *b, uint64_t now_ns)
{
	struct list *l = a->pairs.next;

	/* It stays, as those who claim it do. */
	for (unsigned n = 0; n < CLAIMS_MAX && l != &a->pairs; n++) {
		struct pair *p = CONTAINER_OF(l, struct pair, of_address);

		l = l->next;
		if (p->own_ns <= now_ns && p->name->interest &&
		    p->name->interest->keep != KEEP_FIRM)
			pair_free(b, p);
	}
}

static uint64_t
own_time(uint64_t now_ns, uint32_t ttl_s)
{
	if (ttl_s < BINDINGS_FLOOR_S)
		ttl_s = BINDINGS_FLOOR_S;
	if (ttl_s > BINDINGS_CEILING_S)
		ttl_s = BINDINGS_CEILING_S;
	return now_ns + ttl_s * UK_NS_PER_S;
}

static void
chain_answered(struct bindings *b, const struct chain *c,
    const struct ip_addr *a, uint64_t now_ns, uint32_t ttl_s)
{
	uint64_t own_ns = own_time(now_ns, ttl_s);

	for (size_t i = 0; i < c->n; i++) {
		struct pair *p = pair_known(b, c->name[i], a);

		if (p->own_ns < own_ns)
			p->own_ns = own_ns;
		list_remove(&p->of_address);
		list_push(&p->address->pairs, &p->of_address);
		pair_used(b, p, now_ns);
	}
	if (c->n > 0)
		address_claim(address_find(b, a), b, now_ns);
}

int
bindings_add(struct bindings *b, uint64_t now_ns, const char *const *name,
    size_t names, const struct ip_addr *a, uint32_t ttl_s)
{
	struct chain c;
	int err;

	if (names > BINDINGS_CHAIN_MAX)
		names = BINDINGS_CHAIN_MAX;
	err = chain_hold(b, &c, name, names);
	if (err < 0)
		return err;
	err = make_room(b, &c, a, now_ns);
	if (err == 0)
		err = chain_bind(b, &c, a);
	if (err == 0)
		chain_answered(b, &c, a, now_ns, ttl_s);
	chain_release(b, &c);
	return err;
}

void
bindings_use(struct bindings *b, uint64_t now_ns, const struct ip_addr *a)
{
	struct address *e = address_find(b, a);

	if (!e)
		return;
	for (struct list *l = e->pairs.next; l != &e->pairs; l = l->next) {
		struct pair *p = CONTAINER_OF(l, struct pair, of_address);

		if (is_firm(p))
			pair_used(b, p, now_ns);
	}
}

static void
expire(struct bindings *b, struct timerq *q, uint64_t now_ns, bool hold)
{
	for (;;) {
		struct timerq_node *t = timerq_pop(q, now_ns);
		struct pair *p;

		if (!t)
			return;
		p = CONTAINER_OF(t, struct pair, expiry);
		if (hold && is_firm(p))
			pair_used(b, p, now_ns);
		else
			pair_free(b, p);
	}
}

void
bindings_tick(struct bindings *b, uint64_t now_ns, bool hold)
{
	expire(b, &b->cared, now_ns, hold);
	expire(b, &b->idle, now_ns, hold);
}

/* ---- all of them ---- */

static struct share *
shares_new(const struct slots *s)
{
	struct share *share = calloc(s->n + 1, sizeof(*share));

	for (size_t i = 0; share && i < s->n; i++)
		list_init(&share[i].pairs);
	return share;
}

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
	b->share = shares_new(s);
	if (!b->share)
		goto free_bindings;
	if (table_init(&b->names) < 0)
		goto free_shares;
	if (table_init(&b->addresses) < 0)
		goto fini_names;
	if (binding_sets_new(&b->sets) < 0)
		goto fini_addresses;
	*out = b;
	return 0;

fini_addresses:
	htab_fini(&b->addresses);
fini_names:
	htab_fini(&b->names);
free_shares:
	free(b->share);
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
	binding_sets_free(b->sets);
	free(b->share);
	free(b);
}

/* What another policy makes of the names, until it takes the old one's place.
 * In the order of htab_walk(), which does not change meanwhile. */
struct next_policy {
	struct interest **interest;
	size_t names;
	struct binding_sets *sets;
	struct share *share;
	struct pair **pair; /* all of them */
	size_t pairs;
};

static void
next_free(struct next_policy *p)
{
	for (size_t i = 0; i < p->names; i++)
		free(p->interest[i]);
	free(p->interest);
	free(p->share);
	free(p->pair);
	binding_sets_free(p->sets);
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

		if (sets_join(p->sets, &pair->address->addr, i) < 0)
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
	p->share = shares_new(s);
	p->pair = calloc(b->cared.count + b->idle.count + 1, sizeof(*p->pair));
	if (!p->interest || !p->share || !p->pair ||
	    binding_sets_new(&p->sets) < 0)
		return UK_ENOMEM;
	while ((n = htab_walk(&b->names, n)) != NULL)
		if (next_add(p, CONTAINER_OF(n, struct name, node), m, s) < 0)
			return UK_ENOMEM;
	return 0;
}

static void
take_out(struct next_policy *p, struct timerq *q)
{
	while (q->count > 0) {
		struct timerq_node *t = timerq_pop(q, UK_NEVER);

		p->pair[p->pairs++] = CONTAINER_OF(t, struct pair, expiry);
	}
}

/* Their names have new interests, and so they have new times and shares. They
 * were taken out in the order of their times, which for tunnel! and block is
 * that of their use. */
static void
put_back(struct bindings *b, struct next_policy *p)
{
	for (size_t i = 0; i < p->pairs; i++) {
		struct pair *pair = p->pair[i];

		list_init(&pair->of_share);
		share_join(b, pair);
		timerq_set(
		    queue_of(b, pair->name), &pair->expiry, deadline(pair));
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
	take_out(&p, &b->cared);
	take_out(&p, &b->idle);
	while ((n = htab_walk(&b->names, n)) != NULL) {
		struct name *name = CONTAINER_OF(n, struct name, node);

		free(name->interest);
		name->interest = p.interest[i++];
	}
	binding_sets_free(b->sets);
	b->sets = p.sets;
	free(b->share);
	b->share = p.share;
	b->matcher = m;
	b->slots = s;
	put_back(b, &p);
	free(p.interest);
	free(p.pair);
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
name_for(const struct bindings *b, const struct binding_sets_change *c)
{
	const struct address *a = address_find(b, &c->addr);

	if (!a)
		return "";
	for (const struct list *l = a->pairs.next; l != &a->pairs;
	     l = l->next) {
		struct pair *p = CONTAINER_OF(l, struct pair, of_address);

		if (name_in(p->name, c->slot))
			return p->name->text;
	}
	return "";
}

bool
bindings_next(struct bindings *b, struct binding_change *out)
{
	struct binding_sets_change c;

	if (!binding_sets_next(b->sets, &c))
		return false;
	*out = (struct binding_change){.slot = c.slot,
	    .add = c.add,
	    .addr = c.addr,
	    .name = name_for(b, &c)};
	return true;
}

bool
bindings_changed(const struct bindings *b)
{
	return binding_sets_changed(b->sets);
}

void
bindings_told(struct bindings *b)
{
	binding_sets_told(b->sets);
}

void
bindings_untold(struct bindings *b)
{
	binding_sets_untold(b->sets);
}

void
bindings_again(struct bindings *b)
{
	binding_sets_again(b->sets);
}

bool
bindings_kept_each(const struct bindings *b,
    bool (*visit)(void *arg, const char *name, const struct ip_addr *a),
    void *arg)
{
	for (size_t i = 0; i < b->cared.count; i++) {
		const struct pair *p =
		    CONTAINER_OF(b->cared.heap[i], struct pair, expiry);

		if (p->name->interest->keep >= KEEP_BLOCK &&
		    !visit(arg, p->name->text, &p->address->addr))
			return false;
	}
	return true;
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
