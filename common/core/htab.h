/* htab: hash table of nodes that live inside their owners. Where others choose
 * the keys (public keys), the hash is SipHash-2-4 under a key of the table's
 * own, so that nobody outside can choose collisions; where we do (indices,
 * configured addresses), the caller's own cheaper numbers do as well.
 * Doubles when full; never shrinks.
 * Memory: the bucket array only. Threads: owner only. */
#ifndef UKAI_HTAB_H
#define UKAI_HTAB_H

#include "base.h"

struct htab_node {
	struct htab_node *next;
	uint64_t hash;
};

struct htab {
	struct htab_node **bucket;
	size_t mask; /* buckets - 1 */
	size_t count;
	uint8_t key[16];
};

/* key: 16 random bytes; NULL: htab_hash() is not used. Returns 0; UK_ENOMEM. */
int htab_init(struct htab *t, const uint8_t key[16]);
/* Frees the buckets; nodes are the owners' business. */
void htab_fini(struct htab *t);

uint64_t htab_hash(const struct htab *t, const void *key, size_t len);

/* Insert under a hash from htab_hash(), or a number of the caller's own whose
 * low bits are evenly spread; the caller has made sure that the key is not
 * there. Cannot fail: without memory to grow, chains get longer. */
void htab_insert(struct htab *t, struct htab_node *n, uint64_t hash);
/* n must be in the table. */
void htab_remove(struct htab *t, struct htab_node *n);

/* First node with this hash, then the next one; NULL at the end. The caller
 * compares keys. */
struct htab_node *htab_first(const struct htab *t, uint64_t hash);
struct htab_node *htab_next(const struct htab_node *n);

/* Walk all nodes in no order: NULL first; NULL at the end. Ask for the next
 * one before this one is removed or freed. */
struct htab_node *htab_walk(const struct htab *t, const struct htab_node *n);

#endif
