#include "conf_schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "err.h"
#include "suggest.h"

enum { WORD_MAX = 48 };

/* The section that the lexer is in. */
struct state {
	const struct conf_section *sections;
	const struct conf_section *section; /* NULL: none yet, or skipped */
	bool any; /* a [Section] has been seen */
	void *into;
	unsigned line, column; /* of the section */
	unsigned seen[CONF_KEYS_MAX]; /* line of a key; 0: not yet */
	unsigned first[CONF_KEYS_MAX]; /* line of a section's first; 0 */
	struct diag *d;
};

static bool
is_base64(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '+' || c == '/';
}

int
conf_word_len(const struct conf_span *s)
{
	size_t run = 0;

	for (size_t i = 0; i < s->len; i++) {
		run = is_base64(s->s[i]) ? run + 1 : 0;
		if (run == 40)
			return 0;
	}
	return s->len < WORD_MAX ? (int)s->len : WORD_MAX;
}

int
conf_error(struct diag *d, const struct conf_span *at, const char *fmt, ...)
{
	char text[DIAG_TEXT + 4];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = 0;
	va_end(ap);
	diag_add(d, DIAG_ERROR, at->line, at->column, "%s", text);
	return UK_EINVAL;
}

/* A section's keys counted through both tables; NULL after the last. */
static const struct conf_key *
key_at(const struct conf_section *s, unsigned n)
{
	for (unsigned t = 0; t < ARRAY_LEN(s->keys); t++) {
		const struct conf_key *k = s->keys[t];

		if (k == NULL)
			continue;
		for (; k->name != NULL; k++) {
			if (n-- == 0)
				return k;
		}
	}
	return NULL;
}

static const struct conf_key *
find_key(
    const struct conf_section *s, const struct conf_span *name, unsigned *n)
{
	const struct conf_key *k;

	for (*n = 0; (k = key_at(s, *n)) != NULL; (*n)++) {
		UK_ASSERT(*n < CONF_KEYS_MAX);
		if (conf_span_is(name, k->name))
			return k;
	}
	return NULL;
}

/* A list of names as "A, B, C". */
struct names {
	const char *name[CONF_KEYS_MAX];
	unsigned n;
	char text[DIAG_TEXT];
};

static void
names_add(struct names *l, const char *name, unsigned flags)
{
	size_t at = strlen(l->text);

	l->name[l->n++] = name;
	if (flags & CONF_HIDDEN)
		return;
	snprintf(l->text + at, sizeof(l->text) - at, "%s%s", at > 0 ? ", " : "",
	    name);
}

static void
report_unknown(const struct conf_span *word, const struct names *l,
    const char *what, struct diag *d)
{
	const char *near = NULL;

	/* A file of nothing else must not cost a search a line. */
	if (d->n < DIAG_MAX)
		near = suggest_word(word->s, word->len, l->name, l->n);
	if (near != NULL)
		conf_error(d, word,
		    "unknown %s \"%.*s\": did you mean %s? "
		    "Known: %s",
		    what, CONF_WORD(word), near, l->text);
	else
		conf_error(d, word, "unknown %s \"%.*s\"; known: %s", what,
		    CONF_WORD(word), l->text);
}

static void
unknown_section(const struct state *st, const struct conf_span *name)
{
	struct names l = {.n = 0};

	for (const struct conf_section *s = st->sections; s->name != NULL; s++)
		names_add(&l, s->name, s->flags);
	report_unknown(name, &l, "section", st->d);
}

static void
unknown_key(const struct state *st, const struct conf_span *name)
{
	const struct conf_key *k;
	struct names l = {.n = 0};
	unsigned n;

	for (const struct conf_section *s = st->sections; s->name != NULL;
	     s++) {
		if (find_key(s, name, &n) == NULL)
			continue;
		conf_error(st->d, name, "%.*s belongs in [%s], not in [%s]",
		    CONF_WORD(name), s->name, st->section->name);
		return;
	}
	for (n = 0; (k = key_at(st->section, n)) != NULL; n++)
		names_add(&l, k->name, k->flags);
	report_unknown(name, &l, "key", st->d);
}

static void
end_section(const struct state *st)
{
	const struct conf_key *k;

	if (st->section == NULL)
		return;
	for (unsigned n = 0; (k = key_at(st->section, n)) != NULL; n++) {
		if ((k->flags & CONF_REQUIRED) && st->seen[n] == 0)
			diag_add(st->d, DIAG_ERROR, st->line, st->column,
			    "[%s] has no %s", st->section->name, k->name);
	}
}

static int
begin_section(struct state *st, const struct conf_span *name, void *conf)
{
	const struct conf_section *s = st->sections;
	unsigned *first = st->first;

	end_section(st);
	st->section = NULL;
	st->any = true;
	for (; s->name != NULL && !conf_span_is(name, s->name); s++)
		first++;
	if (s->name == NULL) {
		unknown_section(st, name);
		return 0;
	}
	if (*first != 0 && !(s->flags & CONF_MANY)) {
		conf_error(st->d, name,
		    "[%s] stands on line %u already and may stand only once",
		    s->name, *first);
		return 0;
	}
	if (*first == 0)
		*first = name->line;
	st->section = s;
	st->line = name->line;
	st->column = name->column;
	memset(st->seen, 0, sizeof(st->seen));
	st->into = s->begin(conf, name->line);
	return st->into != NULL ? 0 : UK_ENOMEM;
}

static int
take_pair(struct state *st, const struct conf_span *key,
    const struct conf_span *value)
{
	const struct conf_key *k;
	unsigned n;

	if (!st->any)
		return conf_error(st->d, key,
		    "\"%.*s\" stands before the first [%s]", CONF_WORD(key),
		    st->sections->name);
	if (st->section == NULL)
		return 0;
	k = find_key(st->section, key, &n);
	if (k == NULL) {
		unknown_key(st, key);
		return 0;
	}
	if (st->seen[n] != 0 && !(k->flags & CONF_MANY))
		return conf_error(st->d, key,
		    "%s stands on line %u already and may stand only once",
		    k->name, st->seen[n]);
	st->seen[n] = key->line;
	return k->parse((char *)st->into + k->offset, key, value, st->d);
}

static void
end_file(const struct state *st)
{
	end_section(st);
	for (unsigned i = 0; st->sections[i].name != NULL; i++) {
		const struct conf_section *s = &st->sections[i];

		if ((s->flags & CONF_REQUIRED) && st->first[i] == 0)
			diag_add(st->d, DIAG_ERROR, 1, 0,
			    "the file has no [%s] section", s->name);
	}
}

void *
conf_grow(void *items, size_t n, size_t *cap, size_t size)
{
	size_t more = *cap < 4 ? 4 : *cap * 2;
	void *grown;

	if (n < *cap)
		return items;
	if (more > SIZE_MAX / size)
		return NULL;
	grown = malloc(more * size);
	if (grown == NULL)
		return NULL;
	if (items != NULL) {
		memcpy(grown, items, n * size);
		sodium_memzero(items, n * size);
		free(items);
	}
	*cap = more;
	return grown;
}

static int
compare_marks(const void *a, const void *b)
{
	const struct conf_mark *x = a, *y = b;
	int order = memcmp(x->b, y->b, x->len < y->len ? x->len : y->len);

	if (order != 0)
		return order;
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return (x->column > y->column) - (x->column < y->column);
}

void
conf_report_repeats(struct conf_mark *m, size_t n, enum diag_level level,
    const char *what, const char *advice, struct diag *d)
{
	const struct conf_mark *first = m;

	if (n == 0)
		return;
	qsort(m, n, sizeof(*m), compare_marks);
	for (size_t i = 1; i < n; i++) {
		if (m[i].len != first->len ||
		    memcmp(m[i].b, first->b, first->len) != 0) {
			first = &m[i];
			continue;
		}
		diag_add(d, level, m[i].line, m[i].column,
		    "this %s stands on line %u already; %s", what, first->line,
		    advice);
	}
}

int
conf_schema_parse(const struct conf_section *sections, void *conf,
    const char *text, size_t len, struct diag *d)
{
	struct state st = {.sections = sections, .d = d};
	struct conf_span key, value;
	unsigned before = d->errors;
	enum conf_token token;
	struct conf_lex lex;
	int err;

	/* What a Windows editor or shell calls "Unicode". */
	if (len >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 ||
			    memcmp(text, "\xfe\xff", 2) == 0)) {
		diag_add(d, DIAG_ERROR, 1, 1,
		    "the file is UTF-16; save it as UTF-8");
		return UK_EINVAL;
	}
	conf_lex_init(&lex, text, len);
	while ((token = conf_lex_next(&lex, &key, &value, d)) != CONF_END) {
		if (token == CONF_SECTION)
			err = begin_section(&st, &key, conf);
		else
			err = take_pair(&st, &key, &value);
		if (err == UK_ENOMEM)
			return err;
	}
	end_file(&st);
	return d->errors > before ? UK_EINVAL : 0;
}
