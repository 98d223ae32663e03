#include "rule_list.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"

#include "rule_list_forms.h"
#include "rules_text.h"

void
rule_list_count(struct rule_list_state *l, struct rule_list_tally *t)
{
	if (t->n < RULE_LIST_TOLD)
		t->line[t->n] = l->line;
	t->n++;
}

/* ---- messages ---- */

int
rule_list_wrong(
    struct rule_list_state *l, const struct conf_span *at, const char *fmt, ...)
{
	const char *encoding = rules_text_encoding(at);
	char text[DIAG_TEXT];
	va_list ap;

	if (l->adblock) {
		rule_list_count(l, &l->parts);
		return 0;
	}
	if (l->wrong++ >= RULE_LIST_WRONG_MAX)
		return 0;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (encoding != NULL)
		snprintf(text, sizeof(text),
		    "this is not UTF-8; maybe iconv -f %s -t UTF-8 makes it so",
		    encoding);
	diag_add(l->l->d, DIAG_ERROR, l->l->at->line, l->l->at->column,
	    "%s:%u:%u: %s", l->l->path, at->line, at->column, text);
	return 0;
}

/* "3"; "3, 5, 8 and 20 more" */
static void
show_lines(char *to, size_t room, const struct rule_list_tally *t)
{
	uint32_t told = t->n < RULE_LIST_TOLD ? t->n : RULE_LIST_TOLD;
	size_t len = 0;

	for (uint32_t i = 0; i < told; i++)
		len += (size_t)snprintf(to + len, room - len, "%s%u",
		    i > 0 ? ", " : "", t->line[i]);
	if (t->n > told)
		snprintf(to + len, room - len, " and %u more", t->n - told);
}

static void
warn(const struct rule_list_state *l, const struct rule_list_tally *t,
    const char *text)
{
	/* Four numbers of ten digits, and what is between. */
	char lines[64];

	if (t->n == 0)
		return;
	show_lines(lines, sizeof(lines), t);
	diag_add(l->l->d, DIAG_WARNING, l->l->at->line, l->l->at->column,
	    "%s: line%s %s: %s", l->l->path, t->n > 1 ? "s" : "", lines, text);
}

static void
warn_foreign(const struct rule_list_state *l)
{
	char text[DIAG_TEXT];

	for (int i = 0; i < RULES_FOREIGN_MAX; i++) {
		if (l->foreign[i].n == 0)
			continue;
		snprintf(text, sizeof(text),
		    "left out, as %s is not known (%s)", rules_foreign(i)->name,
		    rules_foreign(i)->instead);
		warn(l, &l->foreign[i], text);
	}
}

static void
warn_all(const struct rule_list_state *l)
{
	warn(l, &l->masked,
	    "prefixes with bits behind their length, which were taken away");
	warn(l, &l->tails,
	    "what stands behind the value is ignored: the target is that of "
	    "the RULE-SET");
	warn(
	    l, &l->addresses, "addresses where names belong; taken as IP-CIDR");
	warn(l, &l->elsewhere, "left out, as it is for another system");
	warn(l, &l->defaults, "left out: a list has no DEFAULT");
	warn(l, &l->exceptions,
	    "left out: a list has no exceptions; what they name needs a rule "
	    "above this one");
	warn(l, &l->parts,
	    "left out: of adblock rules only those about a whole name "
	    "(\"||NAME^\") can be followed");
	warn(l, &l->wildcards,
	    "left out: a \"*\" or \"?\" stands for all below a name (\"*.\") "
	    "only");
	warn(l, &l->regexps,
	    "left out: there are no regular expressions (\"regexp:\")");
	warn(l, &l->records,
	    "left out: of a zone file only names with CNAME, A or AAAA can be "
	    "followed");
	warn_foreign(l);
}

/* ---- the file ---- */

/* Is there a line that begins like this? */
static bool
has_line(const char *text, size_t len, const char *begin)
{
	size_t n = strlen(begin);
	const char *at = text, *end = text + len;

	while ((at = memmem(at, (size_t)(end - at), begin, n)) != NULL) {
		if (at == text || at[-1] == '\n')
			return true;
		at += n;
	}
	return false;
}

/* Those whose bare names mean something of their own. */
static void
look_at_kind(struct rule_list_state *l, const char *text, size_t len)
{
	static const char *const v2fly[] = {
	    "full:", "domain:", "keyword:", "regexp:"};

	for (size_t i = 0; i < ARRAY_LEN(v2fly); i++)
		l->v2fly = l->v2fly || has_line(text, len, v2fly[i]);
	l->zone = has_line(text, len, "$TTL") || has_line(text, len, "@ ") ||
		  has_line(text, len, "@\t") || has_line(text, len, "$ORIGIN");
	l->web = has_line(text, len < 512 ? len : 512, "[Adblock");
	l->adblock = l->web || has_line(text, len, "||");
}

/* As "gfwlist" is published: lines of 60 letters or more, and nothing else. */
static bool
is_base64(const char *text, size_t len)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqr"
				  "stuvwxyz0123456789+/";

	for (size_t i = 0; i < 60; i++) {
		if (i >= len || text[i] == 0 || strchr(set, text[i]) == NULL)
			return false;
	}
	return true;
}

static const char *
not_a_list(const char *text, size_t len)
{
	const char *what = rules_text_foreign(text, len);

	if (what == NULL && is_base64(text, len))
		what = "base64; unpack it first, with base64 -d";
	return what;
}

static int
check_end(const struct rule_list_state *l, uint32_t meant)
{
	const struct conf_span *at = l->l->at;

	warn_all(l);
	if (l->wrong > RULE_LIST_WRONG_MAX)
		diag_add(l->l->d, DIAG_ERROR, at->line, at->column,
		    "%s: and %u more wrong lines", l->l->path,
		    l->wrong - RULE_LIST_WRONG_MAX);
	if (l->wrong > 0)
		return UK_EINVAL;
	if (meant == 0)
		return conf_error(
		    l->l->d, at, "%s: there is nothing in it", l->l->path);
	return 0;
}

/* Not an entry, and neither wrong; the last one is unbound's. */
static bool
is_frame(const struct conf_span *s)
{
	return s->len == 0 || s->s[0] == '!' ||
	       rules_text_begins(s, "[Adblock") ||
	       rules_text_begins(s, "[AutoProxy") ||
	       conf_span_is(s, "payload:") || rules_text_begins(s, "---") ||
	       conf_span_is(s, "server:");
}

/* Take "- 'x'" down to x. */
static void
strip_yaml(struct conf_span *s)
{
	if (!rules_text_begins(s, "- ") && !conf_span_is(s, "-"))
		return;
	rules_text_skip(s, 1);
	if (s->len >= 2 && (s->s[0] == '\'' || s->s[0] == '"') &&
	    s->s[s->len - 1] == s->s[0]) {
		s->len--;
		rules_text_skip(s, 1);
	}
}

int
rule_list_parse(const struct rule_list *list, const char *text, size_t len)
{
	struct rule_list_state l = {.l = list};
	const char *what = not_a_list(text, len);
	struct rules_text t;
	struct conf_span s;
	uint32_t meant = 0;

	if (what != NULL)
		return conf_error(
		    list->d, list->at, "%s: %s", list->path, what);
	look_at_kind(&l, text, len);
	rules_text_init(&t, text, len);
	while (!l.stop && rules_text_next(&t, &s)) {
		l.line = s.line;
		if (is_frame(&s))
			continue;
		strip_yaml(&s);
		meant++;
		if (rule_list_take(&l, &s) < 0)
			return UK_ENOMEM;
	}
	return check_end(&l, meant);
}
