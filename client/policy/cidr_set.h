/* cidr_set: sets of addresses as sorted ranges that do not touch, of one
 * family at a time. Pure. Memory: heap. Threads: owner only. */
#ifndef UKAI_POLICY_CIDR_SET_H
#define UKAI_POLICY_CIDR_SET_H

#include "core/endpoint.h"

struct cidr_range {
	struct ip_addr first, last; /* of one family */
};

/* Zero-initialised means empty. */
struct cidr_set {
	struct cidr_range *item; /* v4 before v6, in order, none touches
				    another: after cidr_set_settle() */
	size_t n, cap;
};

/* Append; cheap. Returns 0; UK_ENOMEM: as before. */
int cidr_set_add(struct cidr_set *s, const struct ip_prefix *p);
/* Bring into the form above. */
void cidr_set_settle(struct cidr_set *s);
/* Take away what is in b; both are settled, and s is afterwards. Returns 0;
 * UK_ENOMEM: as before. */
int cidr_set_subtract(struct cidr_set *s, const struct cidr_set *b);
/* Is all of p in it? It is settled. */
bool cidr_set_covers(const struct cidr_set *s, const struct ip_prefix *p);
/* The fewest prefixes that make up the set, in order. Returns false when
 * visit does. */
bool cidr_set_prefixes(const struct cidr_set *s,
    bool (*visit)(void *arg, const struct ip_prefix *p), void *arg);
void cidr_set_fini(struct cidr_set *s); /* zero afterwards */

#endif
