/* failing_alloc: an allocator for a module that a test compiles in (define
 * malloc and so on to these names around its #include). It can fail one
 * allocation, counts what is not freed, and looks for a secret in what is. */
#ifndef TEST_FAILING_ALLOC_H
#define TEST_FAILING_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static unsigned alloc_fail_at; /* fail this one of the next; 0: none */
static unsigned alloc_count;   /* asked for */
static unsigned alloc_live;    /* not freed */
static const void *alloc_secret; /* 32 bytes; NULL: do not look */
static bool alloc_secret_seen;   /* freed memory held it */

union alloc_head {
	size_t size;
	max_align_t align;
};

static void *
failing_calloc(size_t n, size_t size)
{
	union alloc_head *h;

	alloc_count++;
	if (alloc_fail_at > 0 && --alloc_fail_at == 0)
		return NULL;
	h = calloc(1, sizeof(*h) + n * size);
	if (h == NULL)
		return NULL;
	h->size = n * size;
	alloc_live++;
	return h + 1;
}

static inline void *
failing_malloc(size_t size)
{
	return failing_calloc(1, size);
}

static void
failing_free(void *p)
{
	union alloc_head *h = p;

	if (p == NULL)
		return;
	alloc_live--;
	if (alloc_secret != NULL && h[-1].size >= 32 &&
	    memmem(p, h[-1].size, alloc_secret, 32) != NULL)
		alloc_secret_seen = true;
	free(h - 1);
}

#endif
