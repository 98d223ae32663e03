#include "diag.h"

#include <stdarg.h>
#include <string.h>

#include "base.h"

void
diag_init(struct diag *d, const char *file)
{
	/* Not the entries: they are large, and mostly stay unused. */
	d->file = file;
	d->errors = d->warnings = d->n = 0;
}

static unsigned
utf8_len(unsigned char lead)
{
	if (lead >= 0xc2 && lead <= 0xdf)
		return 2;
	if (lead >= 0xe0 && lead <= 0xef)
		return 3;
	if (lead >= 0xf0 && lead <= 0xf4)
		return 4;
	return 0;
}

/* The character that starts at s (RFC 3629: shortest form, no surrogates);
 * 0 when there is none. */
static uint32_t
utf8_decode(const unsigned char *s, unsigned *len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned n = utf8_len(s[0]);
	uint32_t c;

	if (n == 0)
		return 0;
	c = s[0] & (0x7fu >> n);
	for (unsigned i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*len = n;
	return c;
}

/* C1 controls drive terminals; line separators and direction marks make a
 * line look like something else. */
static bool
is_harmless(uint32_t c)
{
	if (c < 0xa0)
		return false;
	if (c >= 0x200b && c <= 0x200f)
		return false;
	if (c >= 0x2028 && c <= 0x202e)
		return false;
	return !(c >= 0x2060 && c <= 0x206f) && c != 0xfeff;
}

/* How many bytes at s can be shown as they are; 0: the first must be
 * escaped. */
static unsigned
printable_len(const unsigned char *s)
{
	unsigned len = 0;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	return is_harmless(utf8_decode(s, &len)) ? len : 0;
}

/* Copy terminated text, escaped, as much as fits without cutting a character
 * or an escape. */
static void
escape(char *to, size_t size, const char *from)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)from;
	size_t at = 0;

	while (*s != 0) {
		unsigned len = printable_len(s);

		if (at + (len > 0 ? len : 4) >= size)
			break;
		if (len > 0) {
			memcpy(to + at, s, len);
			at += len;
			s += len;
			continue;
		}
		to[at++] = '\\';
		to[at++] = 'x';
		to[at++] = hex[*s >> 4];
		to[at++] = hex[*s & 15];
		s++;
	}
	to[at] = 0;
}

__attribute__((format(printf, 5, 0))) static void
add(struct diag *d, enum diag_level level, unsigned line, unsigned column,
    const char *fmt, va_list ap)
{
	/* A character cut at the end of raw lies beyond what entries keep. */
	char raw[DIAG_TEXT + 4];
	struct diag_entry *e;

	if (d == NULL)
		return;
	if (level == DIAG_ERROR)
		d->errors++;
	else
		d->warnings++;
	if (d->n == DIAG_MAX)
		return;
	if (vsnprintf(raw, sizeof(raw), fmt, ap) < 0)
		raw[0] = 0;
	e = &d->entry[d->n++];
	e->level = level;
	e->line = line;
	e->column = column;
	escape(e->text, sizeof(e->text), raw);
}

void
diag_add(struct diag *d, enum diag_level level, unsigned line, unsigned column,
    const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(d, level, line, column, fmt, ap);
	va_end(ap);
}

void
diag_error(struct diag *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(d, DIAG_ERROR, 0, 0, fmt, ap);
	va_end(ap);
}

void
diag_warn(struct diag *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(d, DIAG_WARNING, 0, 0, fmt, ap);
	va_end(ap);
}

static bool
stands_before(const struct diag_entry *a, const struct diag_entry *b)
{
	if (a->line != b->line)
		return a->line < b->line;
	return a->column < b->column;
}

void
diag_sort(struct diag *d)
{
	for (unsigned i = 1; i < d->n; i++) {
		struct diag_entry e = d->entry[i];
		unsigned j = i;

		for (; j > 0 && stands_before(&e, &d->entry[j - 1]); j--)
			d->entry[j] = d->entry[j - 1];
		d->entry[j] = e;
	}
}

static void
print_place(
    const struct diag_entry *e, const char *file, const char *prog, FILE *to)
{
	if (e->line == 0)
		fprintf(to, "%s: ", prog);
	else if (e->column == 0)
		fprintf(to, "%s:%u: ", file, e->line);
	else
		fprintf(to, "%s:%u:%u: ", file, e->line, e->column);
}

void
diag_print(const struct diag *d, const char *prog, FILE *to)
{
	unsigned total = d->errors + d->warnings;
	char file[DIAG_TEXT];

	escape(file, sizeof(file), d->file != NULL ? d->file : "line");
	for (unsigned i = 0; i < d->n; i++) {
		const struct diag_entry *e = &d->entry[i];

		print_place(e, file, prog, to);
		fprintf(to, "%s: %s\n",
		    e->level == DIAG_ERROR ? "error" : "warning", e->text);
	}
	if (total > d->n)
		fprintf(to, "%s: %u more not shown\n", prog, total - d->n);
}
