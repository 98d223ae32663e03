/* timerq: a binary heap of deadlines whose nodes live inside their owners.
 * All operations O(log n), the earliest deadline O(1).
 * Memory: an array of pointers. Threads: owner only. */
#ifndef UKAI_TIMERQ_H
#define UKAI_TIMERQ_H

#include "base.h"

/* Zero-initialised means: not queued. */
struct timerq_node {
	uint64_t deadline_ns; /* read only for the owner; kept when popped */
	size_t slot;          /* index in the heap + 1; 0: not queued */
};

struct timerq {
	struct timerq_node **heap;
	size_t count;
	size_t cap;
};

void timerq_init(struct timerq *q);
void timerq_fini(struct timerq *q);

/* Make room for n nodes in all, so that timerq_set cannot fail for them.
 * Returns 0; UK_ENOMEM. */
int timerq_reserve(struct timerq *q, size_t n);

/* Queue a node, or move it, to a deadline; UK_NEVER takes it out. Room must
 * have been reserved. */
void timerq_set(struct timerq *q, struct timerq_node *n, uint64_t deadline_ns);
void timerq_remove(struct timerq *q, struct timerq_node *n); /* or no-op */

/* The earliest deadline; UK_NEVER when empty. */
uint64_t timerq_deadline(const struct timerq *q);

/* Take out one node whose deadline is now or before; NULL: none. */
struct timerq_node *timerq_pop(struct timerq *q, uint64_t now_ns);

#endif
