#include <stdlib.h>

#include "bindings_parts.h"
#include "core/err.h"

/* What another policy makes of the names, until it takes the old one's place.
 * In the order of htab_walk(), which does not change meanwhile. */
struct next_policy {
	struct binding_interest **interest;
	size_t names;
	struct binding_sets *sets;
	struct binding_share *share;
	struct binding_pair **pair; /* all of them */
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
next_add(struct next_policy *p, const struct binding_name *n,
    const struct matcher *m, const struct slots *s)
{
	struct binding_interest *i;

	if (binding_interest_new(&i, m, s, n->text) < 0)
		return UK_ENOMEM;
	p->interest[p->names++] = i;
	if (!i)
		return 0;
	for (struct list *l = n->pairs.next; l != &n->pairs; l = l->next) {
		struct binding_pair *pair =
		    CONTAINER_OF(l, struct binding_pair, of_name);

		if (binding_interest_join(i, p->sets, &pair->address->addr) < 0)
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
	p->interest =
	    calloc(b->names.count + 1, sizeof(struct binding_interest *));
	p->share = binding_shares_new(s);
	p->pair = calloc(b->cared.count + b->idle.count + 1, sizeof(*p->pair));
	if (!p->interest || !p->share || !p->pair ||
	    binding_sets_new(&p->sets) < 0)
		return UK_ENOMEM;
	while ((n = htab_walk(&b->names, n)) != NULL)
		if (next_add(p, CONTAINER_OF(n, struct binding_name, node), m,
			s) < 0)
			return UK_ENOMEM;
	return 0;
}

static void
take_out(struct next_policy *p, struct timerq *q)
{
	while (q->count > 0) {
		struct timerq_node *t = timerq_pop(q, UK_NEVER);

		p->pair[p->pairs++] =
		    CONTAINER_OF(t, struct binding_pair, expiry);
	}
}

/* Their names have new interests, and so they have new times and shares. They
 * were taken out in the order of their times, which for tunnel! and block is
 * that of their use. */
static void
put_back(struct bindings *b, struct next_policy *p)
{
	for (size_t i = 0; i < p->pairs; i++) {
		struct binding_pair *pair = p->pair[i];

		list_init(&pair->of_share);
		binding_pair_put(b, pair);
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
		struct binding_name *name =
		    CONTAINER_OF(n, struct binding_name, node);

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
