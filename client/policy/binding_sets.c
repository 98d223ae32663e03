#include "binding_sets.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/htab.h"
#include "list.h"

/* As the kernel's set was told. */
enum told { TOLD_OUT, TOLD_IN, TOLD_UNKNOWN };

/* An address in the set of a slot. */
struct member {
	struct htab_node node;
	struct list pending; /* in s->pending, when wanted is not told */
	struct list unsure; /* in s->unsure, when what was told may have
			       failed */
	struct ip_addr addr;
	uint16_t slot;
	uint8_t told; /* enum told */
	uint32_t reasons;
};

struct binding_sets {
	struct htab tab;
	struct list pending, unsure;
};

int
binding_sets_new(struct binding_sets **out)
{
	struct binding_sets *s = calloc(1, sizeof(*s));
	uint8_t key[16];

	if (!s)
		return UK_ENOMEM;
	randombytes_buf(key, sizeof(key));
	if (htab_init(&s->tab, key) < 0) {
		free(s);
		return UK_ENOMEM;
	}
	list_init(&s->pending);
	list_init(&s->unsure);
	*out = s;
	return 0;
}

void
binding_sets_free(struct binding_sets *s)
{
	struct htab_node *n;

	if (!s)
		return;
	n = htab_walk(&s->tab, NULL);
	while (n) {
		struct htab_node *next = htab_walk(&s->tab, n);

		free(CONTAINER_OF(n, struct member, node));
		n = next;
	}
	htab_fini(&s->tab);
	free(s);
}

static uint64_t
hash_of(const struct binding_sets *s, const struct ip_addr *a, uint16_t slot)
{
	uint8_t key[sizeof(*a) + sizeof(slot)];

	memcpy(key, a, sizeof(*a));
	memcpy(key + sizeof(*a), &slot, sizeof(slot));
	return htab_hash(&s->tab, key, sizeof(key));
}

static struct member *
member_find(
    const struct binding_sets *s, const struct ip_addr *a, uint16_t slot)
{
	struct htab_node *n = htab_first(&s->tab, hash_of(s, a, slot));

	for (; n; n = htab_next(n)) {
		struct member *e = CONTAINER_OF(n, struct member, node);

		if (e->slot == slot && ip_addr_equal(&e->addr, a))
			return e;
	}
	return NULL;
}

/* What is wanted of it, or what was told, has changed. */
static void
member_settle(struct binding_sets *s, struct member *e)
{
	bool wanted = e->reasons > 0;
	bool differs =
	    e->told == TOLD_UNKNOWN || wanted != (e->told == TOLD_IN);

	if (differs && list_empty(&e->pending))
		list_push(&s->pending, &e->pending);
	if (!differs)
		list_remove(&e->pending);
	if (differs || wanted || !list_empty(&e->unsure))
		return;
	htab_remove(&s->tab, &e->node);
	free(e);
}

int
binding_sets_add(struct binding_sets *s, const struct ip_addr *a, uint16_t slot)
{
	struct member *e = member_find(s, a, slot);

	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e)
			return UK_ENOMEM;
		e->addr = *a;
		e->slot = slot;
		list_init(&e->pending);
		list_init(&e->unsure);
		htab_insert(&s->tab, &e->node, hash_of(s, a, slot));
	}
	e->reasons++;
	member_settle(s, e);
	return 0;
}

void
binding_sets_remove(
    struct binding_sets *s, const struct ip_addr *a, uint16_t slot)
{
	struct member *e = member_find(s, a, slot);

	UK_ASSERT(e != NULL && e->reasons > 0);
	e->reasons--;
	member_settle(s, e);
}

bool
binding_sets_next(struct binding_sets *s, struct binding_sets_change *out)
{
	struct member *e;

	if (list_empty(&s->pending))
		return false;
	e = CONTAINER_OF(s->pending.next, struct member, pending);
	*out = (struct binding_sets_change){
	    .slot = e->slot, .add = e->reasons > 0, .addr = e->addr};
	e->told = out->add ? TOLD_IN : TOLD_OUT;
	if (list_empty(&e->unsure))
		list_push(&s->unsure, &e->unsure);
	member_settle(s, e);
	return true;
}

bool
binding_sets_changed(const struct binding_sets *s)
{
	return !list_empty(&s->pending);
}

static struct member *
unsure_pop(struct binding_sets *s)
{
	struct member *e;

	if (list_empty(&s->unsure))
		return NULL;
	e = CONTAINER_OF(s->unsure.next, struct member, unsure);
	list_remove(&e->unsure);
	return e;
}

void
binding_sets_told(struct binding_sets *s)
{
	struct member *e;

	while ((e = unsure_pop(s)) != NULL)
		member_settle(s, e);
}

void
binding_sets_untold(struct binding_sets *s)
{
	struct member *e;

	while ((e = unsure_pop(s)) != NULL) {
		e->told = TOLD_UNKNOWN;
		member_settle(s, e);
	}
}

void
binding_sets_again(struct binding_sets *s)
{
	struct htab_node *n = NULL;

	binding_sets_untold(s);
	/* Nothing is freed here: what is not known is pending. */
	while ((n = htab_walk(&s->tab, n)) != NULL) {
		struct member *e = CONTAINER_OF(n, struct member, node);

		if (e->told == TOLD_OUT)
			continue;
		e->told = TOLD_UNKNOWN;
		member_settle(s, e);
	}
}
