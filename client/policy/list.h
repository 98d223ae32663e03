/* list: a ring of nodes that live inside their owners. Header only. A node in
 * no list, and the head of an empty one, are rings of their own. */
#ifndef UKAI_POLICY_LIST_H
#define UKAI_POLICY_LIST_H

#include "core/base.h"

struct list {
	struct list *prev, *next;
};

static inline void
list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool
list_empty(const struct list *l)
{
	return l->next == l;
}

/* At the end. l must be in no list. */
static inline void
list_push(struct list *head, struct list *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

/* Or no-op. */
static inline void
list_remove(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

#endif
