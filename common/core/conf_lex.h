/* conf_lex: wg-quick's INI as tokens with line and column. "[Section]",
 * "Key = value", "#" comments to the end of a line; keys and section names
 * are matched without regard to case; CRLF and a UTF-8 byte order mark are
 * accepted. Pure: the text stays the caller's, tokens point into it (C4). */
#ifndef UKAI_CONF_LEX_H
#define UKAI_CONF_LEX_H

#include "base.h"
#include "diag.h"

struct conf_span {
	const char *s; /* not terminated */
	size_t len;
	unsigned line;   /* from 1 */
	unsigned column; /* from 1, in bytes */
};

enum conf_token { CONF_END, CONF_SECTION, CONF_PAIR };

struct conf_lex {
	const char *at, *end;
	unsigned line;
};

void conf_lex_init(struct conf_lex *l, const char *text, size_t len);

/* The next section (name in *key) or pair (key and value, blanks trimmed).
 * A line that is neither is reported to d and skipped. */
enum conf_token conf_lex_next(struct conf_lex *l, struct conf_span *key,
    struct conf_span *value, struct diag *d);

/* Cut the next item, blanks trimmed, off a comma-separated value; false when
 * none is left (rest->s is NULL then). There is one item more than commas: an
 * empty value is one item of len 0. */
bool conf_span_item(struct conf_span *rest, struct conf_span *item);

bool conf_span_is(const struct conf_span *s, const char *word); /* no case */

#endif
