/* bindings_parts: what the files of bindings share. Nobody else includes this.
 *
 *   bindings.c          answers: what is bound, what makes room for it, for how
 *                       long
 *   bindings_follow.c   another policy for the same names
 *   bindings_look.c     what others want to know: the kernel, people, the next
 *                       start
 *   binding_pairs.c     names, their addresses, and what holds them together */
#ifndef UKAI_POLICY_BINDINGS_PARTS_H
#define UKAI_POLICY_BINDINGS_PARTS_H

#include "binding_interest.h"
#include "bindings.h"
#include "core/htab.h"
#include "core/timerq.h"
#include "list.h"

/* Neither a name nor an address stays without a pair. */
struct binding_name {
	struct htab_node node;
	struct list pairs; /* by pair.of_name; answered last at the end */
	uint32_t n; /* of them */
	uint32_t held; /* by a call that is at work on it */
	struct binding_interest *interest; /* NULL: no rule cares */
	char text[];
};

struct binding_address {
	struct htab_node node;
	struct list pairs; /* by pair.of_address; answered last at the end */
	struct ip_addr addr;
};

struct binding_pair {
	struct timerq_node expiry;
	struct list of_name, of_address;
	struct list of_share; /* or none */
	struct binding_name *name;
	struct binding_address *address;
	uint64_t used_ns; /* answered last, or seen in use */
	uint64_t own_ns; /* the answer itself is over */
};

/* The pairs of names whose first rule is in one slot; used last at the end. */
struct binding_share {
	struct list pairs; /* by pair.of_share */
	size_t n;
};

struct bindings {
	const struct matcher *matcher;
	const struct slots *slots;
	struct htab names, addresses;
	struct binding_sets *sets;
	struct timerq cared, idle; /* pairs, by whether their name has rules */
	struct binding_share *share; /* one for each slot */
	uint64_t refused;
};

/* Held once more: it stays without a pair until it is let go. NULL: no
 * memory. */
struct binding_name *binding_name_hold(struct bindings *b, const char *text);
void binding_name_let_go(struct bindings *b, struct binding_name *n);
/* NULL: not known. */
struct binding_address *binding_address_find(
    const struct bindings *b, const struct ip_addr *a);

/* NULL: not known. */
struct binding_pair *binding_pair_find(const struct bindings *b,
    const struct binding_name *n, const struct ip_addr *a);
/* n is held. A name with too many gives up the one that it had last of all.
 * Without a time, until binding_pair_used(). NULL: no memory. */
struct binding_pair *binding_pair_new(
    struct bindings *b, struct binding_name *n, const struct ip_addr *addr);
void binding_pair_free(struct bindings *b, struct binding_pair *p);
/* What its name's rules say holds for it, from its times on. */
void binding_pair_put(struct bindings *b, struct binding_pair *p);
void binding_pair_used(
    struct bindings *b, struct binding_pair *p, uint64_t now_ns);
bool binding_pair_is_firm(const struct binding_pair *p);

/* Empty ones, to be freed with free(). NULL: no memory. */
struct binding_share *binding_shares_new(const struct slots *s);

#endif
