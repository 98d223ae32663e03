#include "map_csv.h"

#include <string.h>

#include "core/err.h"
#include "plain_text.h"

/* What is left of a line. */
struct rest {
	const char *s, *end;
	const char *begin; /* of the line */
	unsigned line;
};

void
csv_init(struct csv *c, const char *text, size_t len)
{
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		len -= 3;
	}
	c->at = text;
	c->end = text + len;
	c->line = c->n = 0;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
next_line(struct csv *c, struct rest *r)
{
	const char *eol;

	if (c->at == c->end)
		return false;
	eol = memchr(c->at, '\n', (size_t)(c->end - c->at));
	*r = (struct rest){c->at, eol != NULL ? eol : c->end, c->at, ++c->line};
	c->at = eol != NULL ? eol + 1 : c->end;
	while (r->end > r->s && (is_blank(r->end[-1]) || r->end[-1] == '\r'))
		r->end--;
	return true;
}

static void
skip_blanks(struct rest *r)
{
	while (r->s < r->end && is_blank(*r->s))
		r->s++;
}

static int
error(const struct rest *r, struct diag *d, const char *what)
{
	diag_add(d, DIAG_ERROR, r->line, (unsigned)(r->s - r->begin) + 1, "%s",
	    what);
	return UK_EINVAL;
}

/* Move a character from the line to the field. */
static int
take(struct rest *r, struct csv_field *f, struct diag *d)
{
	size_t n = plain_text_char(r->s, (size_t)(r->end - r->s));

	if (*r->s == '\t')
		n = 1;
	if (n == 0)
		return error(r, d,
		    "not a printable character in UTF-8; a spreadsheet has to "
		    "save the file as \"CSV UTF-8\"");
	if (f->len + n >= sizeof(f->s))
		return error(r, d, "a field is too long");
	memcpy(f->s + f->len, r->s, n);
	f->len += n;
	r->s += n;
	return 0;
}

static int
read_plain(struct rest *r, struct csv_field *f, struct diag *d)
{
	while (r->s < r->end && *r->s != ',') {
		if (*r->s == '"')
			return error(r, d,
			    "a quote inside of a field that does not begin "
			    "with one");
		if (take(r, f, d) < 0)
			return UK_EINVAL;
	}
	while (f->len > 0 && is_blank(f->s[f->len - 1]))
		f->len--;
	return 0;
}

/* Two quotes inside stand for one. */
static int
read_quoted(struct rest *r, struct csv_field *f, struct diag *d)
{
	struct rest opening = *r;

	r->s++;
	while (r->s < r->end) {
		if (*r->s == '"') {
			if (r->s + 1 == r->end || r->s[1] != '"')
				break;
			r->s++;
		}
		if (take(r, f, d) < 0)
			return UK_EINVAL;
	}
	if (r->s == r->end)
		return error(
		    &opening, d, "a quote that is not closed on its line");
	r->s++;
	skip_blanks(r);
	if (r->s < r->end && *r->s != ',')
		return error(r, d, "a comma is missing behind a quoted field");
	return 0;
}

static int
read_field(struct rest *r, struct csv_field *f, struct diag *d)
{
	int err;

	skip_blanks(r);
	f->len = 0;
	f->column = (unsigned)(r->s - r->begin) + 1;
	if (r->s < r->end && *r->s == '"')
		err = read_quoted(r, f, d);
	else
		err = read_plain(r, f, d);
	f->s[f->len] = 0;
	return err;
}

static int
read_row(struct csv *c, struct rest *r, struct diag *d)
{
	c->n = 0;
	for (;;) {
		if (c->n == CSV_FIELDS)
			return error(r, d, "too many fields");
		if (read_field(r, &c->field[c->n], d) < 0)
			return UK_EINVAL;
		c->n++;
		if (r->s == r->end)
			return 0;
		r->s++;
	}
}

static bool
is_empty(const struct csv *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (c->field[i].len > 0)
			return false;
	}
	return true;
}

int
csv_next(struct csv *c, struct diag *d)
{
	struct rest r;

	while (next_line(c, &r)) {
		skip_blanks(&r);
		if (r.s < r.end && *r.s == '#')
			continue;
		if (read_row(c, &r, d) < 0)
			return UK_EINVAL;
		if (!is_empty(c))
			return 1;
	}
	return 0;
}
