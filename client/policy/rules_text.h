/* rules_text: policies and lists as lines. LF or CRLF, a byte order mark, no
 * end of the last line: all the same. A comment begins with "#", "//" or ";",
 * where a line does or behind a blank. Pure: lines point into the text. */
#ifndef UKAI_POLICY_RULES_TEXT_H
#define UKAI_POLICY_RULES_TEXT_H

#include <string.h>

#include "core/conf_lex.h"

struct rules_text {
	const char *at, *end;
	unsigned line; /* of the last one that was given */
};

void rules_text_init(struct rules_text *t, const char *text, size_t len);

/* The next line without comment and the blanks around it, maybe empty then;
 * false: there is none. */
bool rules_text_next(struct rules_text *t, struct conf_span *line);

/* Without the blanks around it. */
void rules_text_trim(struct conf_span *s);

/* Here for speed: a list's line is compared with many beginnings. */
static inline bool
rules_text_begins(const struct conf_span *s, const char *with)
{
	size_t len = strlen(with);

	return s->len >= len && memcmp(s->s, with, len) == 0;
}

/* Cut n bytes, which must be there, off its beginning, and blanks behind. */
void rules_text_skip(struct conf_span *s, size_t n);

/* What the file is instead of lines of UTF-8, and what to do, in half a
 * sentence; NULL: it may be lines. */
const char *rules_text_foreign(const char *text, size_t len);

/* What a file that was given as a policy is instead, likewise: lists may look
 * like that. */
const char *rules_text_config(const char *text, size_t len);

/* What a Japanese encoding calls itself for iconv where the line is in that
 * one, as far as can be told; NULL: it is UTF-8. */
const char *rules_text_encoding(const struct conf_span *s);

#endif
