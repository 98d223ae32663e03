#include "rules_text.h"

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

void
rules_text_skip(struct conf_span *s, size_t n)
{
	s->s += n;
	s->len -= n;
	s->column += (unsigned)n;
	rules_text_trim(s);
}

static bool
begins_comment(const char *at, const char *end)
{
	return *at == '#' || *at == ';' ||
	       (end - at >= 2 && at[0] == '/' && at[1] == '/');
}

static void
cut_comment(struct conf_span *s)
{
	const char *end = s->s + s->len;

	if (s->len > 0 && begins_comment(s->s, end))
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

/* ---- files of other kinds ---- */

#define SRS "binary, as sing-box's .srs; use a text form of the list"

/* What they begin with; a zero ends it. */
static const struct {
	const char *begin, *what;
} kinds[] = {
    {"\xff\xfe", "UTF-16; save it as UTF-8 text"},
    {"\xfe\xff", "UTF-16; save it as UTF-8 text"},
    {"\x28\xb5\x2f\xfd",
	"binary, as mihomo's .mrs; use the list's text or YAML form"},
    {"SRS\x01", SRS},
    {"SRS\x02", SRS},
    {"SRS\x03", SRS},
    {"\x1f\x8b", "compressed; unpack it first, with gunzip"},
    {"\xfd"
     "7zXZ",
	"compressed; unpack it first, with unxz"},
    {"PK\x03\x04", "a ZIP archive; unpack it first"},
};

/* Of what it begins with, one byte of sixteen or more is no text; fewer than
 * four are a slip, which has a line of its own. */
static bool
is_binary(const char *text, size_t len)
{
	size_t n = len < 4096 ? len : 4096, odd = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		odd += c < ' ' && !is_blank(text[i]) && c != '\n';
	}
	return odd >= 4 && odd * 16 >= n;
}

static size_t
skip_space(const char *text, size_t len, size_t at)
{
	while (at < len && (is_blank(text[at]) || text[at] == '\n'))
		at++;
	return at;
}

static const char *
markup(const char *text, size_t len)
{
	size_t at = skip_space(text, len, 0), next;

	if (at == len)
		return NULL;
	if (text[at] == '<')
		return "a web page; fetch the raw file";
	next = skip_space(text, len, at + 1);
	if (text[at] == '{' ||
	    (text[at] == '[' && next < len && text[next] != 0 &&
		strchr("\"{[]", text[next]) != NULL))
		return "JSON; lines of text belong here, which jq can make of "
		       "it";
	return NULL;
}

const char *
rules_text_foreign(const char *text, size_t len)
{
	struct rules_text t;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		size_t n = strlen(kinds[i].begin);

		if (len >= n && memcmp(text, kinds[i].begin, n) == 0)
			return kinds[i].what;
	}
	if (is_binary(text, len))
		return "binary, not text (as .dat, .db and .mmdb files are); "
		       "use a text form of the list";
	if (len > 0 && memchr(text, '\n', len) == NULL) {
		const char *end = memchr(text, '\r', len);

		if (end != NULL &&
		    skip_space(text, len, (size_t)(end - text)) < len)
			return "text whose lines end with CR alone; save it with LF "
			       "or CRLF";
	}
	rules_text_init(&t, text, len);
	return markup(t.at, (size_t)(t.end - t.at));
}
