#include "htab.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "err.h"

#define FIRST_BUCKETS 16

int
htab_init(struct htab *t, const uint8_t key[16])
{
	*t = (struct htab){.mask = FIRST_BUCKETS - 1};
	if (key != NULL)
		memcpy(t->key, key, sizeof(t->key));
	t->bucket = calloc(FIRST_BUCKETS, sizeof(struct htab_node *));
	return t->bucket == NULL ? UK_ENOMEM : 0;
}

void
htab_fini(struct htab *t)
{
	free(t->bucket);
	*t = (struct htab){0};
}

uint64_t
htab_hash(const struct htab *t, const void *key, size_t len)
{
	uint8_t h[crypto_shorthash_BYTES];

	_Static_assert(
	    crypto_shorthash_KEYBYTES == sizeof(t->key), "SipHash key");
	_Static_assert(sizeof(h) == sizeof(uint64_t), "SipHash output");
	crypto_shorthash(h, key, len, t->key);
	return load_le64(h);
}

static struct htab_node **
bucket_of(const struct htab *t, uint64_t hash)
{
	return &t->bucket[hash & t->mask];
}

static void
push(struct htab *t, struct htab_node *n)
{
	struct htab_node **b = bucket_of(t, n->hash);

	n->next = *b;
	*b = n;
}

static void
grow(struct htab *t)
{
	size_t old_len = t->mask + 1;
	struct htab_node **old = t->bucket;

	if (old_len > SIZE_MAX / 2 / sizeof(struct htab_node *))
		return;
	struct htab_node **wide = calloc(old_len * 2, sizeof(*wide));
	if (wide == NULL)
		return;
	t->bucket = wide;
	t->mask = old_len * 2 - 1;
	for (size_t i = 0; i < old_len; i++) {
		struct htab_node *n = old[i];

		while (n != NULL) {
			struct htab_node *next = n->next;

			push(t, n);
			n = next;
		}
	}
	free(old);
}

void
htab_insert(struct htab *t, struct htab_node *n, uint64_t hash)
{
	if (t->count > t->mask)
		grow(t);
	n->hash = hash;
	push(t, n);
	t->count++;
}

void
htab_remove(struct htab *t, struct htab_node *n)
{
	struct htab_node **link = bucket_of(t, n->hash);

	while (*link != n) {
		UK_ASSERT(*link != NULL);
		link = &(*link)->next;
	}
	*link = n->next;
	n->next = NULL;
	t->count--;
}

static struct htab_node *
with_hash(struct htab_node *n, uint64_t hash)
{
	while (n != NULL && n->hash != hash)
		n = n->next;
	return n;
}

struct htab_node *
htab_first(const struct htab *t, uint64_t hash)
{
	return with_hash(*bucket_of(t, hash), hash);
}

struct htab_node *
htab_next(const struct htab_node *n)
{
	return with_hash(n->next, n->hash);
}

struct htab_node *
htab_walk(const struct htab *t, const struct htab_node *n)
{
	size_t i = 0;

	if (n != NULL && n->next != NULL)
		return n->next;
	if (n != NULL)
		i = (n->hash & t->mask) + 1;
	while (i <= t->mask && t->bucket[i] == NULL)
		i++;
	return i <= t->mask ? t->bucket[i] : NULL;
}
