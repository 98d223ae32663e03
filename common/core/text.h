/* text: a string that grows. Running out of memory is sticky: appending goes
 * on doing nothing and the caller asks once, at the end. */
#ifndef UKAI_TEXT_H
#define UKAI_TEXT_H

#include "base.h"

/* Zero-initialised means empty. */
struct text {
	char *s; /* terminated by a zero when len > 0; NULL when empty */
	size_t len, cap;
	bool failed;
};

void text_add(struct text *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void text_append(struct text *t, const char *s, size_t len);
/* Forget the content; the memory stays for the next one. */
void text_clear(struct text *t);
void text_fini(struct text *t); /* wipes: it may have held keys */

#endif
