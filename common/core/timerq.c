#include "timerq.h"

#include <stdlib.h>

#include "err.h"

/* The heap array counts from 0; a node's slot is its index + 1, so that a
 * zero-initialised node is one that is not queued. */

void
timerq_init(struct timerq *q)
{
	*q = (struct timerq){0};
}

void
timerq_fini(struct timerq *q)
{
	free(q->heap);
	*q = (struct timerq){0};
}

int
timerq_reserve(struct timerq *q, size_t n)
{
	size_t cap = q->cap < SIZE_MAX / 2 ? q->cap * 2 : SIZE_MAX;

	if (n <= q->cap)
		return 0;
	if (cap < n)
		cap = n;
	if (cap > SIZE_MAX / sizeof(struct timerq_node *))
		return UK_ENOMEM;
	struct timerq_node **heap = realloc(q->heap, cap * sizeof(*heap));
	if (heap == NULL)
		return UK_ENOMEM;
	q->heap = heap;
	q->cap = cap;
	return 0;
}

static void
place(struct timerq *q, size_t i, struct timerq_node *n)
{
	q->heap[i] = n;
	n->slot = i + 1;
}

/* Fill the hole at index i with n, moving it to where it belongs. */
static void
sift_up(struct timerq *q, size_t i, struct timerq_node *n)
{
	while (i > 0) {
		size_t parent = (i - 1) / 2;

		if (q->heap[parent]->deadline_ns <= n->deadline_ns)
			break;
		place(q, i, q->heap[parent]);
		i = parent;
	}
	place(q, i, n);
}

static void
sift_down(struct timerq *q, size_t i, struct timerq_node *n)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= q->count)
			break;
		if (child + 1 < q->count && q->heap[child + 1]->deadline_ns <
						q->heap[child]->deadline_ns)
			child++;
		if (n->deadline_ns <= q->heap[child]->deadline_ns)
			break;
		place(q, i, q->heap[child]);
		i = child;
	}
	place(q, i, n);
}

static void
settle(struct timerq *q, size_t i, struct timerq_node *n)
{
	if (i > 0 && n->deadline_ns < q->heap[(i - 1) / 2]->deadline_ns)
		sift_up(q, i, n);
	else
		sift_down(q, i, n);
}

void
timerq_set(struct timerq *q, struct timerq_node *n, uint64_t deadline_ns)
{
	if (deadline_ns == UK_NEVER) {
		timerq_remove(q, n);
		n->deadline_ns = UK_NEVER;
		return;
	}
	n->deadline_ns = deadline_ns;
	if (n->slot == 0) {
		UK_ASSERT(q->count < q->cap);
		n->slot = ++q->count;
	}
	settle(q, n->slot - 1, n);
}

void
timerq_remove(struct timerq *q, struct timerq_node *n)
{
	if (n->slot == 0)
		return;
	size_t hole = n->slot - 1;
	UK_ASSERT(hole < q->count && q->heap[hole] == n);
	struct timerq_node *last = q->heap[--q->count];

	n->slot = 0;
	if (last != n)
		settle(q, hole, last);
}

uint64_t
timerq_deadline(const struct timerq *q)
{
	return q->count == 0 ? UK_NEVER : q->heap[0]->deadline_ns;
}

struct timerq_node *
timerq_pop(struct timerq *q, uint64_t now_ns)
{
	if (q->count == 0 || q->heap[0]->deadline_ns > now_ns)
		return NULL;
	struct timerq_node *n = q->heap[0];

	timerq_remove(q, n);
	return n;
}
