#include <stdlib.h>
#include <string.h>

#include "bindings_parts.h"
#include "core/err.h"

/* ---- names ---- */

static struct binding_name *
name_find(const struct bindings *b, const char *text)
{
	struct htab_node *n =
	    htab_first(&b->names, htab_hash(&b->names, text, strlen(text)));

	for (; n; n = htab_next(n)) {
		struct binding_name *name =
		    CONTAINER_OF(n, struct binding_name, node);

		if (strcmp(name->text, text) == 0)
			return name;
	}
	return NULL;
}

static struct binding_name *
name_get(struct bindings *b, const char *text)
{
	struct binding_name *n = name_find(b, text);
	size_t len = strlen(text);

	if (n)
		return n;
	n = calloc(1, sizeof(*n) + len + 1);
	if (!n)
		return NULL;
	memcpy(n->text, text, len + 1);
	list_init(&n->pairs);
	if (binding_interest_new(&n->interest, b->matcher, b->slots, text) <
	    0) {
		free(n);
		return NULL;
	}
	htab_insert(&b->names, &n->node, htab_hash(&b->names, text, len));
	return n;
}

struct binding_name *
binding_name_hold(struct bindings *b, const char *text)
{
	struct binding_name *n = name_get(b, text);

	if (n)
		n->held++;
	return n;
}

static void
name_release(struct bindings *b, struct binding_name *n)
{
	if (!list_empty(&n->pairs) || n->held > 0)
		return;
	htab_remove(&b->names, &n->node);
	free(n->interest);
	free(n);
}

void
binding_name_let_go(struct bindings *b, struct binding_name *n)
{
	n->held--;
	name_release(b, n);
}

/* ---- addresses ---- */

struct binding_address *
binding_address_find(const struct bindings *b, const struct ip_addr *a)
{
	struct htab_node *n =
	    htab_first(&b->addresses, htab_hash(&b->addresses, a, sizeof(*a)));

	for (; n; n = htab_next(n)) {
		struct binding_address *e =
		    CONTAINER_OF(n, struct binding_address, node);

		if (ip_addr_equal(&e->addr, a))
			return e;
	}
	return NULL;
}

static struct binding_address *
address_get(struct bindings *b, const struct ip_addr *a)
{
	struct binding_address *e = binding_address_find(b, a);

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
address_release(struct bindings *b, struct binding_address *a)
{
	if (!list_empty(&a->pairs))
		return;
	htab_remove(&b->addresses, &a->node);
	free(a);
}

/* ---- pairs ---- */

static struct binding_pair *
common_pair(const struct binding_name *n, const struct binding_address *a)
{
	/* Either may have many of the other; seldom both have. */
	const struct list *l = n->pairs.next, *k = a->pairs.next;

	for (; l != &n->pairs && k != &a->pairs; l = l->next, k = k->next) {
		struct binding_pair *p =
		    CONTAINER_OF(l, struct binding_pair, of_name);
		struct binding_pair *q =
		    CONTAINER_OF(k, struct binding_pair, of_address);

		if (p->address == a)
			return p;
		if (q->name == n)
			return q;
	}
	return NULL;
}

bool
binding_pair_is_firm(const struct binding_pair *p)
{
	return p->name->interest && p->name->interest->keep == BINDING_FIRM;
}

static struct timerq *
queue_of(struct bindings *b, const struct binding_name *n)
{
	return n->interest ? &b->cared : &b->idle;
}

static uint64_t
deadline(const struct binding_pair *p)
{
	uint64_t kept =
	    p->used_ns + binding_interest_kept_ns(p->name->interest);

	return p->own_ns > kept ? p->own_ns : kept;
}

static void
share_leave(struct bindings *b, struct binding_pair *p)
{
	if (list_empty(&p->of_share))
		return;
	list_remove(&p->of_share);
	b->share[p->name->interest->share].n--;
}

static void
share_join(struct bindings *b, struct binding_pair *p)
{
	struct binding_share *s;

	if (!p->name->interest)
		return;
	s = &b->share[p->name->interest->share];
	list_push(&s->pairs, &p->of_share);
	s->n++;
}

void
binding_pair_put(struct bindings *b, struct binding_pair *p)
{
	share_leave(b, p);
	share_join(b, p);
	timerq_set(queue_of(b, p->name), &p->expiry, deadline(p));
}

void
binding_pair_used(struct bindings *b, struct binding_pair *p, uint64_t now_ns)
{
	p->used_ns = now_ns;
	list_remove(&p->of_name);
	list_push(&p->name->pairs, &p->of_name);
	binding_pair_put(b, p);
}

void
binding_pair_free(struct bindings *b, struct binding_pair *p)
{
	timerq_remove(queue_of(b, p->name), &p->expiry);
	binding_interest_leave(p->name->interest, b->sets, &p->address->addr);
	share_leave(b, p);
	list_remove(&p->of_name);
	p->name->n--;
	list_remove(&p->of_address);
	name_release(b, p->name);
	address_release(b, p->address);
	free(p);
}

static struct binding_pair *
pair_join(struct bindings *b, struct binding_name *n, struct binding_address *a)
{
	struct timerq *q = queue_of(b, n);
	struct binding_pair *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	if (timerq_reserve(q, q->count + 1) < 0 ||
	    binding_interest_join(n->interest, b->sets, &a->addr) < 0) {
		free(p);
		return NULL;
	}
	p->name = n;
	p->address = a;
	list_push(&n->pairs, &p->of_name);
	n->n++;
	list_push(&a->pairs, &p->of_address);
	list_init(&p->of_share);
	binding_pair_put(b, p);
	return p;
}

struct binding_pair *
binding_pair_new(
    struct bindings *b, struct binding_name *n, const struct ip_addr *addr)
{
	struct binding_address *a;
	struct binding_pair *p;

	if (n->n == BINDINGS_NAME_MAX)
		binding_pair_free(b,
		    CONTAINER_OF(n->pairs.next, struct binding_pair, of_name));
	a = address_get(b, addr);
	if (!a)
		return NULL;
	p = pair_join(b, n, a);
	if (!p)
		address_release(b, a);
	return p;
}

struct binding_pair *
binding_pair_find(const struct bindings *b, const struct binding_name *n,
    const struct ip_addr *a)
{
	struct binding_address *e = binding_address_find(b, a);

	return e ? common_pair(n, e) : NULL;
}
