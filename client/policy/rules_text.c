#include "rules_text.h"

#include <string.h>

void
rules_text_init(struct rules_text *t, const char *text, size_t len)
{
	static const char mark[] = "\xef\xbb\xbf";

	*t = (struct rules_text){.at = text, .end = text + len};
	if (len >= 3 && memcmp(text, mark, 3) == 0)
		t->at += 3;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

void
rules_text_trim(struct conf_span *s)
{
	while (s->len > 0 && is_blank(s->s[s->len - 1]))
		s->len--;
	while (s->len > 0 && is_blank(*s->s)) {
		s->s++;
		s->len--;
		s->column++;
	}
}

static bool
begins_comment(const char *at, const char *end)
{
	return *at == '#' || (end - at >= 2 && at[0] == '/' && at[1] == '/');
}

static void
cut_comment(struct conf_span *s)
{
	const char *end = s->s + s->len;

	if (s->len > 0 && (*s->s == ';' || begins_comment(s->s, end)))
		s->len = 0;
	for (size_t i = 1; i < s->len; i++) {
		if (is_blank(s->s[i - 1]) && begins_comment(s->s + i, end))
			s->len = i;
	}
}

bool
rules_text_next(struct rules_text *t, struct conf_span *line)
{
	size_t len = (size_t)(t->end - t->at);
	const char *end = len > 0 ? memchr(t->at, '\n', len) : NULL;

	if (len == 0)
		return false;
	*line = (struct conf_span){
	    .s = t->at,
	    .len = end != NULL ? (size_t)(end - t->at) : len,
	    .line = ++t->line,
	    .column = 1,
	};
	t->at = end != NULL ? end + 1 : t->end;
	rules_text_trim(line);
	cut_comment(line);
	rules_text_trim(line);
	return true;
}

bool
rules_text_is_utf16(const char *text, size_t len)
{
	return len >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 ||
			       memcmp(text, "\xfe\xff", 2) == 0);
}
