/* failing_wrap: malloc, calloc and realloc of a whole test program, of which
 * one call can be made to fail. The program is linked with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc. For a single module that the
 * test compiles in: failing_alloc.h. */
#ifndef TEST_FAILING_WRAP_H
#define TEST_FAILING_WRAP_H

#include <stdbool.h>
#include <stddef.h>

static unsigned fail_at; /* this one of the next; 0: none */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static bool
fails(void)
{
	return fail_at > 0 && --fail_at == 0;
}

void *
__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

#endif
