/* binding_sets: which addresses are in which slots' sets in the kernel, and
 * which are to be. What is wanted is counted; changes are told, and what was
 * told is believed once somebody says that the kernel has it. Pure. Memory:
 * heap. Threads: owner only. */
#ifndef UKAI_POLICY_BINDING_SETS_H
#define UKAI_POLICY_BINDING_SETS_H

#include "core/endpoint.h"

struct binding_sets;

/* Nothing is wanted, and the sets are empty. Returns 0; UK_ENOMEM. */
int binding_sets_new(struct binding_sets **out);
void binding_sets_free(struct binding_sets *s); /* NULL: no-op */

/* One reason more for an address to be in a slot's set. Returns 0;
 * UK_ENOMEM. */
int binding_sets_add(
    struct binding_sets *s, const struct ip_addr *a, uint16_t slot);
/* And one less: there was one. */
void binding_sets_remove(
    struct binding_sets *s, const struct ip_addr *a, uint16_t slot);

struct binding_sets_change {
	uint16_t slot;
	bool add; /* else remove */
	struct ip_addr addr;
};
/* As bindings_next(), bindings_changed(), bindings_told(),
 * bindings_untold(), bindings_again(). */
bool binding_sets_next(struct binding_sets *s, struct binding_sets_change *out);
bool binding_sets_changed(const struct binding_sets *s);
void binding_sets_told(struct binding_sets *s);
void binding_sets_untold(struct binding_sets *s);
void binding_sets_again(struct binding_sets *s);

#endif
