/* diag: what went wrong, for a person. Parsers collect one entry for each
 * mistake, system calls one sentence; only a program's outermost layer
 * prints. Memory: caller's; fixed size, no allocation. */
#ifndef UKAI_DIAG_H
#define UKAI_DIAG_H

#include <stdio.h>

#define DIAG_MAX 256
#define DIAG_TEXT 240

enum diag_level { DIAG_ERROR, DIAG_WARNING };

struct diag_entry {
	enum diag_level level;
	unsigned line;   /* from 1; 0: not about a line */
	unsigned column; /* from 1, in bytes; 0: not about a column */
	char text[DIAG_TEXT];
};

struct diag {
	const char *file; /* name shown before line numbers; may be NULL;
	                     borrowed */
	unsigned errors;   /* counted beyond DIAG_MAX too */
	unsigned warnings; /* likewise */
	unsigned n;        /* entries kept, at most DIAG_MAX */
	struct diag_entry entry[DIAG_MAX];
};

void diag_init(struct diag *d, const char *file);

/* Add an entry; text beyond DIAG_TEXT - 1 bytes is cut. Bytes outside
 * printable ASCII and UTF-8 text are escaped (C5). d may be NULL: ignored. */
void diag_add(struct diag *d, enum diag_level level, unsigned line,
    unsigned column, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* An error without a place in a file: diag_add(d, DIAG_ERROR, 0, 0, ...). */
void diag_error(struct diag *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void diag_warn(struct diag *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Put the entries in the order of their places; equal ones stay as they
 * are. */
void diag_sort(struct diag *d);

/* Print all entries as "FILE:LINE:COLUMN: error: TEXT" lines (or
 * "PROG: error: TEXT" where there is no place), and how many were not
 * kept. */
void diag_print(const struct diag *d, const char *prog, FILE *to);

#endif
