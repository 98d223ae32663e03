#include "text.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for len more bytes and the zero. Old memory is wiped, not realloc'ed:
 * it may hold keys. */
static bool
reserve(struct text *t, size_t len)
{
	size_t cap = t->cap ? t->cap : 256;
	char *s;

	if (t->failed || len >= SIZE_MAX / 4) {
		t->failed = true;
		return false;
	}
	while (cap < t->len + len + 1)
		cap *= 2;
	if (cap == t->cap)
		return true;
	s = malloc(cap);
	if (!s) {
		t->failed = true;
		return false;
	}
	if (t->s) {
		memcpy(s, t->s, t->len + 1);
		sodium_memzero(t->s, t->cap); /* more than len if cleared */
		free(t->s);
	}
	t->s = s;
	t->cap = cap;
	return true;
}

void
text_append(struct text *t, const char *s, size_t len)
{
	if (!reserve(t, len))
		return;
	memcpy(t->s + t->len, s, len);
	t->len += len;
	t->s[t->len] = '\0';
}

void
text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !reserve(t, (size_t)n)) {
		t->failed = true;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(t->s + t->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	t->len += (size_t)n;
}

void
text_clear(struct text *t)
{
	t->len = 0;
}

void
text_fini(struct text *t)
{
	if (t->s)
		sodium_memzero(t->s, t->cap);
	free(t->s);
	*t = (struct text){.s = NULL};
}
