/* plain_text: names and the like that others wrote, for people to read (C5).
 * Pure. */
#ifndef UKAI_MAPE_PLAIN_TEXT_H
#define UKAI_MAPE_PLAIN_TEXT_H

#include "core/base.h"

/* Bytes of the UTF-8 character (RFC 3629) at s. 0: it is none, or one that
 * does something to a terminal: controls, line separators, direction marks. */
size_t plain_text_char(const char *s, size_t len);

/* As many whole characters as there is room for, and a zero; '?' in place of
 * each that plain_text_char() refuses. */
void plain_text_copy(char *to, size_t room, const char *from);

#endif
