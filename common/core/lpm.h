/* lpm: longest-prefix match from IPv4 or IPv6 prefixes to owners. Prefixes of
 * one address (/32, /128) are in a hash table, all others in a binary trie
 * with path compression, for each family. An address that has a prefix of its
 * own, as the clients of a relay have, is found at a cost that does not grow
 * with their number; any other one at no more than one step a bit.
 * One prefix has one owner; each owner can list its own prefixes.
 * Memory: heap, one node of 64 bytes a prefix, and a bucket for one of a single
 * address or at most one more node, for a fork, for any other.
 * Threads: owner only; look-ups allocate nothing. */
#ifndef UKAI_LPM_H
#define UKAI_LPM_H

#include "endpoint.h"

struct lpm;
struct lpm_node;

/* Embedded in whatever owns prefixes. Zero-initialised means: owns none. */
struct lpm_owner {
	struct lpm_node *first;
	uint32_t count;
};

/* Returns NULL when out of memory. */
struct lpm *lpm_new(void);
/* Owners' lists are left empty. lpm_free(NULL) is a no-op. */
void lpm_free(struct lpm *t);

/* Give prefix p to owner, taking it from any other owner. Adding what the
 * owner already has changes nothing. Returns 0; UK_ENOMEM (nothing
 * changed). */
int lpm_insert(struct lpm *t, const struct ip_prefix *p, struct lpm_owner *o);

/* Take exactly prefix p from owner o. Returns 0; UK_ENOENT when o does not
 * own it. */
int lpm_remove(struct lpm *t, const struct ip_prefix *p, struct lpm_owner *o);

/* Take all of an owner's prefixes. */
void lpm_remove_owner(struct lpm *t, struct lpm_owner *o);

/* Owner of the longest prefix that covers the address (network order);
 * NULL: none. */
struct lpm_owner *lpm_lookup4(const struct lpm *t, const uint8_t addr[4]);
struct lpm_owner *lpm_lookup6(const struct lpm *t, const uint8_t addr[16]);

/* Walk an owner's prefixes in the order in which it got them: start with
 * cursor NULL; returns false at the end. The table must not change during
 * the walk. */
bool lpm_next(const struct lpm_owner *o, const struct lpm_node **cursor,
    struct ip_prefix *out);

#endif
