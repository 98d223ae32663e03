#include "undo_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/err.h"
#include "core/value.h"

static const char header_word[] = "ukai-journal ";

static bool
is_plain(unsigned char c)
{
	return c > ' ' && c < 0x7f && c != '%';
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The byte that "%XX" stands for; -1 when it is not the form that the writer
 * would have chosen. */
static int
escaped(const char *s, size_t left, bool alone)
{
	int hi, lo, v;

	if (left < 3)
		return -1;
	hi = hex_digit(s[1]);
	lo = hex_digit(s[2]);
	if (hi < 0 || lo < 0)
		return -1;
	v = hi << 4 | lo;
	if (is_plain((unsigned char)v) && !(v == '-' && alone))
		return -1;
	return v;
}

/* Decode one field in place and end it with a zero. */
static int
field_parse(struct undo_field *f, char *s, size_t len)
{
	size_t in = len == 1 && s[0] == '-' ? 1 : 0, out = 0;
	int c;

	if (len == 0)
		return UK_EPROTO;
	while (in < len) {
		c = (unsigned char)s[in];
		if (c == '%') {
			c = escaped(s + in, len - in, len == 3);
			in += 2;
		} else if (!is_plain((unsigned char)c)) {
			c = -1;
		}
		if (c < 0)
			return UK_EPROTO;
		s[out++] = (char)c;
		in++;
	}
	s[out] = '\0';
	f->b = s;
	f->len = out;
	return 0;
}

static bool
kind_ok(const char *s, size_t len)
{
	if (len == 0 || len > UNDO_KIND_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] < 'a' || s[i] > 'z')
			return false;
	return true;
}

static size_t
word_len(const char *s, size_t left)
{
	const char *end = memchr(s, ' ', left);

	return end != NULL ? (size_t)(end - s) : left;
}

int
undo_line_parse(struct undo_line *l, char *text, size_t len)
{
	struct undo_line out = {0};
	size_t off = 2, word;

	if (len < 3 || (text[0] != '+' && text[0] != '-') || text[1] != ' ')
		return UK_EPROTO;
	out.pending = text[0] == '+';
	word = word_len(text + off, len - off);
	if (!kind_ok(text + off, word))
		return UK_EPROTO;
	out.kind = text + off;
	off += word;
	while (off < len) {
		text[off++] = '\0';
		word = word_len(text + off, len - off);
		if (out.n == UNDO_FIELDS_MAX ||
		    field_parse(&out.field[out.n], text + off, word) < 0)
			return UK_EPROTO;
		out.n++;
		off += word;
	}
	text[len] = '\0';
	*l = out;
	return 0;
}

size_t
undo_line_size(const struct undo_line *l)
{
	size_t size = sizeof("+ \n") + strlen(l->kind);

	for (unsigned i = 0; i < l->n; i++)
		size += 1 + 3 * l->field[i].len + (l->field[i].len == 0);
	return size;
}

static size_t
field_format(char *out, const struct undo_field *f)
{
	static const char digit[] = "0123456789ABCDEF";
	bool dash = f->len == 1 && f->b[0] == '-';
	size_t n = 0;

	if (f->len == 0)
		out[n++] = '-';
	for (size_t i = 0; i < f->len; i++) {
		unsigned char c = (unsigned char)f->b[i];

		if (is_plain(c) && !dash) {
			out[n++] = (char)c;
		} else {
			out[n++] = '%';
			out[n++] = digit[c >> 4];
			out[n++] = digit[c & 15];
		}
	}
	return n;
}

size_t
undo_line_format(char *out, size_t cap, const struct undo_line *l)
{
	size_t n = 2, kind = strlen(l->kind);

	UK_ASSERT(kind_ok(l->kind, kind) && l->n <= UNDO_FIELDS_MAX &&
		  cap >= undo_line_size(l));
	out[0] = l->pending ? '+' : '-';
	out[1] = ' ';
	memcpy(out + n, l->kind, kind);
	n += kind;
	for (unsigned i = 0; i < l->n; i++) {
		out[n++] = ' ';
		n += field_format(out + n, &l->field[i]);
	}
	out[n++] = '\n';
	out[n] = '\0';
	return n;
}

int
undo_origin_parse(struct undo_origin *o, const char *text, size_t len)
{
	const size_t skip = sizeof(header_word) - 1;
	struct undo_origin out = {0};
	size_t boot;

	if (len < skip || memcmp(text, header_word, skip) != 0)
		return UK_EPROTO;
	text += skip;
	len -= skip;
	if (len < 2 || memcmp(text, "1 ", 2) != 0)
		return UK_EINVAL;
	text += 2;
	len -= 2;
	boot = word_len(text, len);
	if (boot == 0 || boot > UNDO_BOOT_MAX || boot == len)
		return UK_EPROTO;
	for (size_t i = 0; i < boot; i++)
		if (strchr("0123456789abcdef-", text[i]) == NULL ||
		    text[i] == '\0')
			return UK_EPROTO;
	memcpy(out.boot, text, boot);
	if (value_parse_u64(&out.netns, text + boot + 1, len - boot - 1,
		UINT64_MAX, false) < 0)
		return UK_EPROTO;
	*o = out;
	return 0;
}

size_t
undo_origin_format(
    char out[static UNDO_HEADER_MAX], const struct undo_origin *o)
{
	int n = snprintf(out, UNDO_HEADER_MAX, "%s1 %s %" PRIu64 "\n",
	    header_word, o->boot, o->netns);

	UK_ASSERT(n > 0 && n < UNDO_HEADER_MAX);
	return (size_t)n;
}

enum undo_read
undo_read_next(struct undo_reader *r, struct undo_line *l)
{
	char *text, *end;
	size_t len;
	int err;

	for (;;) {
		text = r->text + r->off;
		end = memchr(text, '\n', r->len - r->off);
		if (end == NULL)
			return UNDO_READ_END;
		len = (size_t)(end - text);
		r->line++;
		r->line_off = r->off;
		r->off += len + 1;
		err = undo_origin_parse(&r->origin, text, len);
		if (err == UK_EINVAL)
			return UNDO_READ_VERSION;
		if (err < 0)
			break;
	}
	/* A broken header: the origin before it does not hold any more. */
	if (len > 0 && text[0] == header_word[0])
		r->origin = (struct undo_origin){0};
	/* Nothing is known of where entries before any header come from. */
	if (r->origin.boot[0] == '\0' || undo_line_parse(l, text, len) < 0)
		return UNDO_READ_DAMAGED;
	return UNDO_READ_LINE;
}
