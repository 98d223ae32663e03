/* map_csv: comma-separated values (RFC 4180) as rows of fields with line and
 * column. Blank lines, lines of commas alone and lines that begin with '#' are
 * skipped; a byte order mark and CRLF are accepted; blanks around a field are
 * trimmed. A quoted field ends on its line. Only printable UTF-8, but for
 * comments. Pure: the text stays the caller's (C4). */
#ifndef UKAI_MAPE_MAP_CSV_H
#define UKAI_MAPE_MAP_CSV_H

#include "core/base.h"
#include "core/diag.h"

#define CSV_FIELD_MAX 128
#define CSV_FIELDS 16

struct csv_field {
	char s[CSV_FIELD_MAX]; /* terminated, without quotes */
	size_t len;
	unsigned column; /* from 1, in bytes */
};

struct csv {
	const char *at, *end;
	unsigned line; /* of the row that was read last; from 1 */
	unsigned n; /* its fields */
	struct csv_field field[CSV_FIELDS];
};

void csv_init(struct csv *c, const char *text, size_t len);

/* The next row. Returns 1; 0: no more; UK_EINVAL: a row out of form, told to
 * d; the next call goes on behind it. */
int csv_next(struct csv *c, struct diag *d);

#endif
