/* rules_text: policies and lists as lines. LF or CRLF, a byte order mark, no
 * end of the last line: all the same. A comment begins with "#", "//" or ";"
 * where a line does, or with "#" or "//" behind a blank. Pure: lines point into
 * the text. */
#ifndef UKAI_POLICY_RULES_TEXT_H
#define UKAI_POLICY_RULES_TEXT_H

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

/* Windows' editors call UTF-16 "Unicode". */
bool rules_text_is_utf16(const char *text, size_t len);

#endif
