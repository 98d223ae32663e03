#include "bindings_parts.h"

/* ---- changes ---- */

/* A name because of which an address is in a set. */
static const char *
name_for(const struct bindings *b, const struct binding_sets_change *c)
{
	const struct binding_address *a = binding_address_find(b, &c->addr);

	if (!a)
		return "";
	for (const struct list *l = a->pairs.next; l != &a->pairs;
	     l = l->next) {
		struct binding_pair *p =
		    CONTAINER_OF(l, struct binding_pair, of_address);

		if (binding_interest_has(p->name->interest, c->slot))
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
	    .name = c.add ? name_for(b, &c) : ""};
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
		const struct binding_pair *p =
		    CONTAINER_OF(b->cared.heap[i], struct binding_pair, expiry);

		if (p->name->interest->keep >= BINDING_BLOCK &&
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
	const struct binding_address *e = binding_address_find(b, a);
	size_t n = 0;

	if (!e)
		return 0;
	for (const struct list *l = e->pairs.next; l != &e->pairs;
	     l = l->next) {
		struct binding_pair *p =
		    CONTAINER_OF(l, struct binding_pair, of_address);

		if (n < cap)
			name[n] = p->name->text;
		n++;
	}
	return n;
}

/* The name of an address with the earliest rule behind `after`; NULL: none. */
static const struct binding_name *
first_name(const struct binding_address *a, int64_t after)
{
	const struct binding_name *best = NULL;

	for (const struct list *l = a->pairs.next; l != &a->pairs;
	     l = l->next) {
		struct binding_pair *p =
		    CONTAINER_OF(l, struct binding_pair, of_address);
		const struct binding_interest *i = p->name->interest;

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
		struct binding_address *a =
		    CONTAINER_OF(n, struct binding_address, node);
		const struct binding_name *won = first_name(a, -1), *lost;
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
