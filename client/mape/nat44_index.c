#include "nat44_state.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"

#define LINE 64

static uint64_t
half_product(uint64_t v, uint64_t k)
{
	uint32_t low = (uint32_t)v + (uint32_t)k;
	uint32_t high = (uint32_t)(v >> 32) + (uint32_t)(k >> 32);

	return (uint64_t)low * high;
}

/* A sum of products of halves with secret halves added: two keys that are given
 * before the secret is drawn meet in it once in 2^32 (Black et al., UMAC, NH).
 * Then each bit of it is mixed into each other one, by secret factors. */
uint64_t
nat44_hash(const struct nat44 *n, uint64_t near, uint64_t remote)
{
	const uint64_t *k = n->hash_key;
	uint64_t h = half_product(near, k[0]) + half_product(remote, k[1]);

	h = (h ^ h >> 32) * k[2];
	h = (h ^ h >> 32) * k[3];
	return h ^ h >> 32;
}

/* Not aligned_alloc() and memset(): pages that nobody touched cost nothing. */
void *
nat44_lines(void **memory, size_t size)
{
	*memory = calloc(1, size + LINE - 1);
	if (!*memory)
		return NULL;
	return (
	    void *)(((uintptr_t)*memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
}

int
nat44_index_init(struct nat44_index *x, uint32_t sessions)
{
	uint32_t buckets = 1;

	/* Half full at most, so that few sessions pass on. */
	while (buckets * 8 < sessions)
		buckets *= 2;
	x->mask = buckets - 1;
	x->bucket = nat44_lines(&x->memory, buckets * sizeof(*x->bucket));
	return x->bucket ? 0 : UK_ENOMEM;
}

void
nat44_index_fini(struct nat44_index *x)
{
	free(x->memory);
}

static uint32_t
slot_of(uint64_t hash, uint32_t number)
{
	uint32_t tag = (uint32_t)(hash >> (32 + NAT44_NUMBER_BITS));

	/* An empty slot is 0, and no session's. */
	return (tag | 1) << NAT44_NUMBER_BITS | number;
}

static uint32_t *
find_slot(struct nat44_bucket *b, uint32_t value)
{
	for (unsigned i = 0; i < NAT44_BUCKET_SLOTS; i++) {
		if (b->slot[i] == value)
			return &b->slot[i];
	}
	return NULL;
}

/* There are more slots than sessions: both loops end. */
void
nat44_index_add(struct nat44_index *x, uint64_t hash, uint32_t number)
{
	uint32_t at = (uint32_t)hash & x->mask;
	uint32_t *slot;

	while (!(slot = find_slot(&x->bucket[at], 0))) {
		x->bucket[at].passed++;
		at = (at + 1) & x->mask;
	}
	*slot = slot_of(hash, number);
}

void
nat44_index_remove(struct nat44_index *x, uint64_t hash, uint32_t number)
{
	uint32_t at = (uint32_t)hash & x->mask;
	uint32_t *slot;

	while (!(slot = find_slot(&x->bucket[at], slot_of(hash, number)))) {
		UK_ASSERT(x->bucket[at].passed > 0);
		x->bucket[at].passed--;
		at = (at + 1) & x->mask;
	}
	*slot = 0;
}

void
nat44_index_prefetch(const struct nat44_index *x, uint64_t hash)
{
	__builtin_prefetch(&x->bucket[(uint32_t)hash & x->mask]);
}

void
nat44_session_prefetch(
    const struct nat44 *n, const struct nat44_index *x, uint64_t hash)
{
	const struct nat44_bucket *b = &x->bucket[(uint32_t)hash & x->mask];
	uint32_t tag = slot_of(hash, 0);
	uint32_t number_mask = (UINT32_C(1) << NAT44_NUMBER_BITS) - 1;

	for (unsigned i = 0; i < NAT44_BUCKET_SLOTS; i++) {
		if ((b->slot[i] & ~number_mask) != tag)
			continue;
		__builtin_prefetch(&n->session[b->slot[i] & number_mask], 1);
		return;
	}
}

static struct nat44_node *
node(const struct nat44_pool *p, uint32_t number)
{
	return (struct nat44_node *)(void *)(p->item + number * p->size);
}

static uint32_t *
head_of(const struct nat44 *n, const struct nat44_pool *p, uint64_t key)
{
	return &p->head[(uint32_t)nat44_hash(n, key, 0) & p->mask];
}

int
nat44_pool_init(struct nat44_pool *p, size_t size, uint32_t max)
{
	uint32_t heads = 1;

	while (heads < max)
		heads *= 2;
	*p = (struct nat44_pool){
	    .size = size, .mask = heads - 1, .max = max, .free = NAT44_NONE};
	p->item = calloc(max, size);
	/* Zero is the end of a chain here: numbers are one more. */
	p->head = calloc(heads, sizeof(*p->head));
	return p->item && p->head ? 0 : UK_ENOMEM;
}

void
nat44_pool_fini(struct nat44_pool *p)
{
	free(p->item);
	free(p->head);
}

uint32_t
nat44_pool_find(const struct nat44 *n, const struct nat44_pool *p, uint64_t key)
{
	uint32_t i = *head_of(n, p, key);

	while (i != 0 && node(p, i - 1)->key != key)
		i = node(p, i - 1)->next;
	return i - 1;
}

uint32_t
nat44_pool_add(const struct nat44 *n, struct nat44_pool *p, uint64_t key)
{
	uint32_t i = p->free;
	uint32_t *head = head_of(n, p, key);

	if (i != NAT44_NONE)
		p->free = node(p, i)->next;
	else if (p->used < p->max)
		i = p->used++;
	else
		return NAT44_NONE;
	memset(node(p, i), 0, p->size);
	node(p, i)->key = key;
	node(p, i)->next = *head;
	*head = i + 1;
	p->count++;
	return i;
}

void
nat44_pool_remove(const struct nat44 *n, struct nat44_pool *p, uint32_t number)
{
	uint32_t *at = head_of(n, p, node(p, number)->key);

	while (*at != number + 1)
		at = &node(p, *at - 1)->next;
	*at = node(p, number)->next;
	node(p, number)->key = 0;
	node(p, number)->next = p->free;
	p->free = number;
	p->count--;
}
