#include "conf_lex.h"

#include <string.h>

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void
skip(struct conf_span *s, size_t n)
{
	s->s += n;
	s->len -= n;
	s->column += (unsigned)n;
}

static void
trim(struct conf_span *s)
{
	while (s->len > 0 && is_blank(s->s[0]))
		skip(s, 1);
	while (s->len > 0 && is_blank(s->s[s->len - 1]))
		s->len--;
}

void
conf_lex_init(struct conf_lex *l, const char *text, size_t len)
{
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		len -= 3;
	}
	*l = (struct conf_lex){.at = text, .end = text + len};
}

/* The next line without its end, comment and outer blanks. */
static bool
next_line(struct conf_lex *l, struct conf_span *line)
{
	const char *eol, *hash;
	size_t len;

	if (l->at == l->end)
		return false;
	len = (size_t)(l->end - l->at);
	eol = memchr(l->at, '\n', len);
	if (eol != NULL)
		len = (size_t)(eol - l->at);
	*line = (struct conf_span){l->at, len, ++l->line, 1};
	l->at = eol != NULL ? eol + 1 : l->end;
	hash = memchr(line->s, '#', line->len);
	if (hash != NULL)
		line->len = (size_t)(hash - line->s);
	trim(line);
	return true;
}

static bool
lex_section(struct conf_span *s, struct diag *d)
{
	if (s->s[s->len - 1] != ']') {
		diag_add(d, DIAG_ERROR, s->line, s->column,
		    "a section is written [Name], alone on its line");
		return false;
	}
	skip(s, 1);
	s->len--;
	trim(s);
	if (s->len > 0)
		return true;
	diag_add(d, DIAG_ERROR, s->line, s->column, "a section without a name");
	return false;
}

/* The line is not quoted: it may hold a key (X3). */
static bool
lex_pair(struct conf_span *key, struct conf_span *value, struct diag *d)
{
	const char *eq = memchr(key->s, '=', key->len);

	if (eq == NULL) {
		diag_add(d, DIAG_ERROR, key->line, key->column,
		    "neither [Section] nor Key = value: the '=' is missing");
		return false;
	}
	*value = *key;
	key->len = (size_t)(eq - key->s);
	skip(value, key->len + 1);
	trim(key);
	trim(value);
	if (key->len > 0)
		return true;
	diag_add(d, DIAG_ERROR, key->line, key->column,
	    "there is no key before the '='");
	return false;
}

enum conf_token
conf_lex_next(struct conf_lex *l, struct conf_span *key,
    struct conf_span *value, struct diag *d)
{
	while (next_line(l, key)) {
		if (key->len == 0)
			continue;
		if (key->s[0] == '[') {
			if (lex_section(key, d))
				return CONF_SECTION;
		} else if (lex_pair(key, value, d)) {
			return CONF_PAIR;
		}
	}
	return CONF_END;
}

bool
conf_span_item(struct conf_span *rest, struct conf_span *item)
{
	const char *comma;

	if (rest->s == NULL)
		return false;
	*item = *rest;
	comma = memchr(rest->s, ',', rest->len);
	if (comma == NULL) {
		rest->s = NULL;
		rest->len = 0;
	} else {
		item->len = (size_t)(comma - rest->s);
		skip(rest, item->len + 1);
	}
	trim(item);
	return true;
}

bool
conf_span_is(const struct conf_span *s, const char *word)
{
	if (s->len != strlen(word))
		return false;
	for (size_t i = 0; i < s->len; i++) {
		if (lower(s->s[i]) != lower(word[i]))
			return false;
	}
	return true;
}
