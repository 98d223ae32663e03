#include "bindings.h"

#include <sodium.h>
#include <stdlib.h>

#include "bindings_parts.h"
#include "core/err.h"

/* Names that no rule cares for are kept as well, so that a reload finds them,
 * but not many, and they make room for others. */
#define IDLE_MAX (BINDINGS_MAX / 8)
/* Of the names that an address has, those that are looked at for one that has
 * lost it. */
#define CLAIMS_MAX 64

/* ---- answers ---- */

/* The names of one answer. */
struct chain {
	struct binding_name *name[BINDINGS_CHAIN_MAX];
	size_t n;
};

static void
chain_release(struct bindings *b, struct chain *c)
{
	while (c->n > 0)
		binding_name_let_go(b, c->name[--c->n]);
}

static int
chain_hold(
    struct bindings *b, struct chain *c, const char *const *name, size_t names)
{
	c->n = 0;
	for (size_t i = 0; i < names; i++) {
		c->name[i] = binding_name_hold(b, name[i]);
		if (!c->name[i]) {
			chain_release(b, c);
			return UK_ENOMEM;
		}
		c->n++;
	}
	return 0;
}

static bool
chain_shares(const struct chain *c, const struct binding_pair *p)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->name[i]->interest &&
		    c->name[i]->interest->share == p->name->interest->share)
			return true;
	return false;
}

static bool
is_fresh(const struct binding_pair *p, uint64_t now_ns)
{
	return now_ns < p->used_ns + BINDINGS_FLOOR_S * UK_NS_PER_S;
}

/* The oldest one of the slot that has most: whoever floods some rule with names
 * takes room from that rule alone. Before that, one that nothing leaks without:
 * not of tunnel! or block, and not answered of late. */
static struct binding_pair *
least_worth(const struct bindings *b, uint64_t now_ns)
{
	struct binding_pair *best = NULL;
	size_t most = 0;

	for (size_t i = 0; i < b->slots->n; i++) {
		const struct binding_share *s = &b->share[i];
		struct binding_pair *p;
		size_t worth = s->n;

		if (worth == 0)
			continue;
		p = CONTAINER_OF(s->pairs.next, struct binding_pair, of_share);
		if (p->name->interest->keep < BINDING_BLOCK &&
		    !is_fresh(p, now_ns))
			worth += BINDINGS_MAX;
		if (worth <= most)
			continue;
		most = worth;
		best = p;
	}
	return best;
}

static bool
chain_cares(const struct chain *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->name[i]->interest)
			return true;
	return false;
}

/* Names without rules take none of those that have some. Of its own rule an
 * answer takes none that was answered just before: its program has hardly
 * called yet. */
static int
evict(struct bindings *b, const struct chain *c, uint64_t now_ns)
{
	struct timerq_node *t = timerq_pop(&b->idle, UK_NEVER);
	struct binding_pair *p;

	/* A popped node keeps its slot at 0: freeing it removes nothing. */
	if (t) {
		binding_pair_free(
		    b, CONTAINER_OF(t, struct binding_pair, expiry));
		return 0;
	}
	p = chain_cares(c) ? least_worth(b, now_ns) : NULL;
	if (!p || (chain_shares(c, p) && is_fresh(p, now_ns)))
		return UK_ELIMIT;
	binding_pair_free(b, p);
	return 0;
}

static size_t
chain_lacks(
    const struct bindings *b, const struct chain *c, const struct ip_addr *a)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++)
		n += binding_pair_find(b, c->name[i], a) == NULL;
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
	struct binding_pair *fresh[BINDINGS_CHAIN_MAX];
	size_t made = 0;

	for (size_t i = 0; i < c->n; i++) {
		if (binding_pair_find(b, c->name[i], a))
			continue;
		fresh[made] = binding_pair_new(b, c->name[i], a);
		if (!fresh[made++])
			goto free_fresh;
	}
	return 0;

free_fresh:
	for (made--; made > 0; made--)
		binding_pair_free(b, fresh[made - 1]);
	return UK_ENOMEM;
}

/* Somebody else has it now: it is not kept for names whose answers are over,
 * unless that would leak. */
static void
address_claim(struct binding_address *a, struct bindings *b, uint64_t now_ns)
{
	struct list *l = a->pairs.next;

	/* It stays, as those who claim it do. */
	for (unsigned n = 0; n < CLAIMS_MAX && l != &a->pairs; n++) {
		struct binding_pair *p =
		    CONTAINER_OF(l, struct binding_pair, of_address);

		l = l->next;
		if (p->own_ns <= now_ns && p->name->interest &&
		    p->name->interest->keep != BINDING_FIRM)
			binding_pair_free(b, p);
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
		struct binding_pair *p = binding_pair_find(b, c->name[i], a);

		if (p->own_ns < own_ns)
			p->own_ns = own_ns;
		list_remove(&p->of_address);
		list_push(&p->address->pairs, &p->of_address);
		binding_pair_used(b, p, now_ns);
	}
	if (c->n > 0)
		address_claim(binding_address_find(b, a), b, now_ns);
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
	struct binding_address *e = binding_address_find(b, a);

	if (!e)
		return;
	for (struct list *l = e->pairs.next; l != &e->pairs; l = l->next) {
		struct binding_pair *p =
		    CONTAINER_OF(l, struct binding_pair, of_address);

		if (binding_pair_is_firm(p))
			binding_pair_used(b, p, now_ns);
	}
}

static void
expire(struct bindings *b, struct timerq *q, uint64_t now_ns, bool hold)
{
	for (unsigned n = 0; n < BINDINGS_TICK_MAX; n++) {
		struct timerq_node *t = timerq_pop(q, now_ns);
		struct binding_pair *p;

		if (!t)
			return;
		p = CONTAINER_OF(t, struct binding_pair, expiry);
		if (hold && binding_pair_is_firm(p))
			binding_pair_used(b, p, now_ns);
		else
			binding_pair_free(b, p);
	}
}

void
bindings_tick(struct bindings *b, uint64_t now_ns, bool hold)
{
	expire(b, &b->cared, now_ns, hold);
	expire(b, &b->idle, now_ns, hold);
}

/* ---- all of them ---- */

struct binding_share *
binding_shares_new(const struct slots *s)
{
	struct binding_share *share = calloc(s->n + 1, sizeof(*share));

	for (size_t i = 0; share && i < s->n; i++)
		list_init(&share[i].pairs);
	return share;
}

static int
table_init(struct htab *t)
{
	uint8_t key[16];

	randombytes_buf(key, sizeof(key));
	return htab_init(t, key);
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
	b->share = binding_shares_new(s);
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

/* With its last pair a name goes, and so does an address. */
static void
pairs_free(struct bindings *b, struct timerq *q)
{
	while (q->count > 0)
		binding_pair_free(b, CONTAINER_OF(q->heap[q->count - 1],
					 struct binding_pair, expiry));
	timerq_fini(q);
}

void
bindings_free(struct bindings *b)
{
	if (!b)
		return;
	pairs_free(b, &b->cared);
	pairs_free(b, &b->idle);
	htab_fini(&b->names);
	htab_fini(&b->addresses);
	binding_sets_free(b->sets);
	free(b->share);
	free(b);
}
