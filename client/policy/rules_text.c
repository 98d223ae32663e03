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

/* A policy's lines have no such words before a colon or between brackets. */
const char *
rules_text_config(const char *text, size_t len)
{
	static const char lower[] = "abcdefghijklmnopqrstuvwxyz-";
	struct conf_span line = {.len = 0};
	struct rules_text t;
	size_t word = 0;

	rules_text_init(&t, text, len);
	while (line.len == 0 && rules_text_next(&t, &line))
		continue;
	if (line.len > 2 && line.s[0] == '[' && line.s[line.len - 1] == ']')
		return "a configuration; the policy is the file that its Policy "
		       "names";
	while (word < line.len && line.s[word] != 0 &&
	       strchr(lower, line.s[word]) != NULL)
		word++;
	if (word > 0 && word < line.len && line.s[word] == ':' &&
	    (word + 1 == line.len || is_blank(line.s[word + 1])))
		return "YAML, as Clash's; ukai policy import makes a policy or "
		       "a list of it";
	return NULL;
}

/* ---- encodings ---- */

/* How long the character of UTF-8 is (RFC 3629 section 3); 0: it is none.
 * Which letters there are is for others to know. */
static size_t
utf8_length(const unsigned char *s, size_t len)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if ((s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	return n;
}

/* EUC-JP has pairs of bytes from 0xa1 up, some with 0x8e or 0x8f before;
 * Shift_JIS begins its pairs with others as well, and ends them with ASCII. */
static bool
is_euc_jp(const unsigned char *s, size_t len)
{
	size_t row = 0;

	for (size_t i = 0; i < len; i++) {
		if (s[i] >= 0x80 && s[i] < 0xa1 && s[i] != 0x8e && s[i] != 0x8f)
			return false;
		if (s[i] < 0x80 && row % 2 != 0)
			return false;
		row = s[i] >= 0xa1 ? row + 1 : 0;
	}
	return row % 2 == 0;
}

const char *
rules_text_encoding(const struct conf_span *s)
{
	const unsigned char *b = (const unsigned char *)s->s;
	size_t n;

	/* RFC 1468. */
	if (s->len > 0 && memmem(s->s, s->len, "\x1b$", 2) != NULL)
		return "ISO-2022-JP";
	for (size_t i = 0; i < s->len; i += n) {
		n = utf8_length(b + i, s->len - i);
		if (n == 0)
			return is_euc_jp(b, s->len) ? "EUC-JP" : "CP932";
	}
	return NULL;
}
