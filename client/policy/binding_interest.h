/* binding_interest: what a policy says of a name: in which slots' sets its
 * addresses are, and what they are kept for there. Pure. Memory: heap. */
#ifndef UKAI_POLICY_BINDING_INTEREST_H
#define UKAI_POLICY_BINDING_INTEREST_H

#include "binding_sets.h"
#include "matcher.h"
#include "slots.h"

/* What an address is kept for when its answer is over: in order, so that of
 * several the last one counts. */
enum binding_keep {
	BINDING_NATIVE,
	BINDING_TUNNEL,
	BINDING_BLOCK,
	BINDING_FIRM, /* tunnel! */
};

struct binding_interest {
	uint32_t rule; /* the first one */
	uint32_t share; /* index of its slot */
	enum binding_keep keep;
	unsigned slots;
	uint16_t slot[]; /* numbers, each once */
};

/* *out: NULL when no rule cares; else to be freed with free(). Returns 0;
 * UK_ENOMEM. */
int binding_interest_new(struct binding_interest **out, const struct matcher *m,
    const struct slots *s, const char *name);
/* i: NULL is none. */
bool binding_interest_has(const struct binding_interest *i, uint16_t slot);
/* How long an address is known beyond the answer. NULL: for a policy that will
 * care. */
uint64_t binding_interest_kept_ns(const struct binding_interest *i);

/* One reason more, or less, for an address to be in the slots' sets. NULL:
 * no-op. Returns 0; UK_ENOMEM: in none. */
int binding_interest_join(const struct binding_interest *i,
    struct binding_sets *s, const struct ip_addr *a);
void binding_interest_leave(const struct binding_interest *i,
    struct binding_sets *s, const struct ip_addr *a);

#endif
