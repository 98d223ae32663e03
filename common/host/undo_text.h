/* undo_text: the undo journal's text. Pure.
 *
 *   ukai-journal 1 BOOT-ID NETNS-INODE
 *   + KIND FIELD FIELD ...
 *   - KIND FIELD FIELD ...
 *
 * A header says from where the entries after it come (boot, network
 * namespace); it begins the journal and is repeated when that changes. '+' is
 * to be undone, '-' is done with. Fields are separated by one space; bytes
 * that are not printable ASCII, and '%', stand as %XX; an empty field is "-",
 * and the field "-" is "%2D". A line counts when its newline is there: an
 * unfinished last line is an entry whose change was never begun. */
#ifndef UKAI_UNDO_TEXT_H
#define UKAI_UNDO_TEXT_H

#include "core/base.h"

#define UNDO_FIELDS_MAX 12
#define UNDO_KIND_MAX 15
#define UNDO_BOOT_MAX 40
#define UNDO_HEADER_MAX 96

struct undo_field {
	const char *b; /* any bytes; b[len] is 0 in what was parsed */
	size_t len;
};

struct undo_line {
	bool pending;
	const char *kind; /* [a-z]{1,15} */
	unsigned n;
	struct undo_field field[UNDO_FIELDS_MAX];
};

/* Parse one line, without its newline, in place: the fields point into text.
 * text[len] is overwritten. Only what undo_line_format writes is taken.
 * Returns 0; UK_EPROTO. */
int undo_line_parse(struct undo_line *l, char *text, size_t len);

/* Bytes that undo_line_format writes at most, with newline and zero. */
size_t undo_line_size(const struct undo_line *l);
/* Write the line, its newline and a zero. Returns the length without the
 * zero. cap must be undo_line_size(l) or more. */
size_t undo_line_format(char *out, size_t cap, const struct undo_line *l);

struct undo_origin {
	char boot[UNDO_BOOT_MAX + 1]; /* [0-9a-f-]+ */
	uint64_t netns;               /* inode of /proc/self/ns/net */
};

/* Returns 0; UK_EPROTO: not a header; UK_EINVAL: one of another version. */
int undo_origin_parse(struct undo_origin *o, const char *text, size_t len);
/* Write the header, its newline and a zero. Returns the length. */
size_t undo_origin_format(
    char out[static UNDO_HEADER_MAX], const struct undo_origin *o);

/* Reads a whole journal. The caller sets text (writable, kept as long as the
 * lines) and len; the rest is zero. */
struct undo_reader {
	char *text;
	size_t len;
	size_t off;         /* of what comes next; at the end: bytes that are
	                       whole lines */
	unsigned line;      /* number of the line last returned, from 1 */
	size_t line_off;    /* its first byte */
	struct undo_origin origin; /* of the line last returned */
};

enum undo_read {
	UNDO_READ_END,
	UNDO_READ_LINE,
	UNDO_READ_DAMAGED, /* a whole line that cannot be read */
	UNDO_READ_VERSION, /* a header of another version */
};

enum undo_read undo_read_next(struct undo_reader *r, struct undo_line *l);

#endif
