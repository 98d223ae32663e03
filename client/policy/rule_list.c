#include "rule_list.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"

#include "rules_text.h"
#include "rules_value.h"
#include "rules_words.h"

/* Lines that are told of together. */
struct tally {
	uint32_t n, first;
};

struct list {
	const struct rule_list *l;
	uint32_t line;
	uint32_t meant; /* lines that are no comments */
	uint32_t wrong;
	struct tally foreign[RULES_FOREIGN_MAX];
	struct tally masked, tails, elsewhere, defaults, exceptions, regexps;
};

static void
count(struct list *l, struct tally *t)
{
	if (t->n++ == 0)
		t->first = l->line;
}

/* ---- messages ---- */

/* Always returns 0: the list is read to its end, and wrong says that it is no
 * good. */
__attribute__((format(printf, 3, 4))) static int
wrong(struct list *l, const struct conf_span *at, const char *fmt, ...)
{
	char text[DIAG_TEXT];
	va_list ap;

	if (l->wrong++ >= RULE_LIST_WRONG_MAX)
		return 0;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	diag_add(l->l->d, DIAG_ERROR, l->l->at->line, l->l->at->column,
	    "%s:%u:%u: %s", l->l->path, at->line, at->column, text);
	return 0;
}

static void
warn(const struct list *l, const struct tally *t, const char *text)
{
	char others[32] = "";

	if (t->n == 0)
		return;
	if (t->n > 1)
		snprintf(others, sizeof(others), " and %u more", t->n - 1);
	diag_add(l->l->d, DIAG_WARNING, l->l->at->line, l->l->at->column,
	    "%s: line %u%s: %s", l->l->path, t->first, others, text);
}

static void
warn_foreign(const struct list *l)
{
	char text[DIAG_TEXT];

	for (int i = 0; i < RULES_FOREIGN_MAX; i++) {
		if (l->foreign[i].n == 0)
			continue;
		snprintf(text, sizeof(text), "left out, as %s is not known",
		    rules_foreign(i)->name);
		warn(l, &l->foreign[i], text);
	}
}

static void
warn_all(const struct list *l)
{
	warn(l, &l->masked,
	    "prefixes with bits behind their length, which were taken away");
	warn(l, &l->tails,
	    "what stands behind the value is ignored: the target is that of "
	    "the RULE-SET");
	warn(l, &l->elsewhere, "left out, as it is for another system");
	warn(l, &l->defaults, "left out: a list has no DEFAULT");
	warn(l, &l->exceptions, "left out: a list has no exceptions (\"@@\")");
	warn(l, &l->regexps,
	    "left out: there are no regular expressions (\"regexp:\")");
	warn_foreign(l);
}

/* ---- entries ---- */

static int
add(struct list *l, enum rule_type t, const struct conf_span *v)
{
	struct rule_entry e = {.type = (uint8_t)t, .line = l->line};
	struct rules_note n;
	int err;

	n.why[0] = 0;
	n.masked = n.elsewhere = false;
	if (v->len == 0)
		return wrong(l, v, "a value is missing");
	err = rules_value(l->l->b, &e, l->l->os, v, &n);
	if (err == UK_ENOMEM)
		return err;
	if (err < 0 && n.elsewhere)
		count(l, &l->elsewhere);
	else if (err < 0)
		return wrong(l, v, "%s", n.why);
	if (n.masked)
		count(l, &l->masked);
	return err < 0 ? 0 : rules_build_entry(l->l->b, &e);
}

/* Cut n bytes off the beginning. */
static void
skip(struct conf_span *s, size_t n)
{
	s->s += n;
	s->len -= n;
	s->column += (unsigned)n;
	rules_text_trim(s);
}

static bool
begins(const struct conf_span *s, const char *with)
{
	size_t len = strlen(with);

	return s->len >= len && memcmp(s->s, with, len) == 0;
}

static bool
has(const struct conf_span *s, char c)
{
	return memchr(s->s, c, s->len) != NULL;
}

/* The next word up to one of these characters, or the end. */
static struct conf_span
cut_word(struct conf_span *rest, const char *ends)
{
	struct conf_span word = *rest;

	word.len = 0;
	while (word.len < rest->len && strchr(ends, rest->s[word.len]) == NULL)
		word.len++;
	skip(rest, word.len);
	return word;
}

/* ---- TYPE,VALUE ---- */

static int
wrong_type(struct list *l, const struct conf_span *w)
{
	const char *near = rules_word_near_type(w);
	int foreign = rules_word_foreign(w);

	if (foreign >= 0) {
		count(l, &l->foreign[foreign]);
		return 0;
	}
	return wrong(l, w, "unknown type \"%.*s\"%s%s%s", CONF_WORD(w),
	    RULES_NEAR(near));
}

static void
look_at_tail(struct list *l, struct conf_span *rest)
{
	struct conf_span item;

	while (conf_span_item(rest, &item)) {
		if (item.len == 0 || rules_word_option(&item))
			continue;
		count(l, &l->tails);
		return;
	}
}

static int
take_classical(struct list *l, const struct conf_span *s)
{
	struct conf_span rest = *s, type, value;
	enum rule_type t;
	int err;

	conf_span_item(&rest, &type);
	if (!rules_word_type(&t, &type))
		return wrong_type(l, &type);
	if (t == RULE_SET)
		return wrong(l, &type,
		    "a list cannot name lists; write a RULE-SET for each into "
		    "the policy");
	if (t == RULE_PORTS_LEFT)
		return wrong(l, &type, "PORTS-LEFT belongs into the policy");
	if (t == RULE_DEFAULT) {
		count(l, &l->defaults);
		return 0;
	}
	conf_span_item(&rest, &value);
	err = add(l, t, &value);
	look_at_tail(l, &rest);
	return err;
}

/* ---- other forms ---- */

/* hosts(5): these names are there in every such file, and are about the host
 * itself. */
static bool
is_host_itself(const struct conf_span *name)
{
	static const char *const names[] = {"localhost",
	    "localhost.localdomain", "local", "broadcasthost", "ip6-localhost",
	    "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes",
	    "ip6-allrouters", "ip6-allhosts", "0.0.0.0"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (conf_span_is(name, names[i]))
			return true;
	}
	return false;
}

/* Lists have names at addresses that lead nowhere; with any other one it would
 * be a file for another purpose. */
static bool
leads_nowhere(const struct conf_span *word)
{
	static const char *const words[] = {
	    "0.0.0.0", "127.0.0.1", "::", "::1", "0"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (conf_span_is(word, words[i]))
			return true;
	}
	return false;
}

static int
take_hosts(struct list *l, const struct conf_span *s)
{
	struct conf_span rest = *s, word = cut_word(&rest, " \t");
	bool nowhere = leads_nowhere(&word);
	int err = 0;

	while (rest.len > 0 && err == 0) {
		struct conf_span name = cut_word(&rest, " \t");

		if (is_host_itself(&name))
			continue;
		if (!nowhere)
			return wrong(l, s,
			    "\"%.*s\" is neither a name, nor an address, nor "
			    "TYPE,VALUE",
			    CONF_WORD(s));
		err = add(l, RULE_DOMAIN, &name);
	}
	return err;
}

/* "||example.com^" */
static int
take_adblock(struct list *l, const struct conf_span *s)
{
	struct conf_span name = *s;

	if (s->s[s->len - 1] != '^')
		return wrong(l, s,
		    "\"%.*s\": of adblock rules only ||NAME^ is known",
		    CONF_WORD(s));
	name.len--;
	skip(&name, 2);
	return add(l, RULE_DOMAIN_SUFFIX, &name);
}

/* "server=/example.com/example.net/192.0.2.1" */
static int
take_dnsmasq(struct list *l, const struct conf_span *s)
{
	struct conf_span rest = *s, key = cut_word(&rest, "=");
	int err = 0;

	rules_text_trim(&key);
	skip(&rest, 1);
	if (!conf_span_is(&key, "server") && !conf_span_is(&key, "address") &&
	    !conf_span_is(&key, "local"))
		return wrong(l, s,
		    "\"%.*s\" is none of server=, address=, "
		    "local= (dnsmasq)",
		    CONF_WORD(&key));
	if (!begins(&rest, "/"))
		return wrong(l, s, "\"%.*s\": /NAME/ belongs behind the \"=\"",
		    CONF_WORD(s));
	skip(&rest, 1);
	while (has(&rest, '/') && err == 0) {
		struct conf_span name = cut_word(&rest, "/");

		skip(&rest, 1);
		err = add(l, RULE_DOMAIN_SUFFIX, &name);
	}
	return err;
}

static const struct {
	const char *with;
	enum rule_type type;
} v2fly[] = {
    {"domain:", RULE_DOMAIN_SUFFIX},
    {"full:", RULE_DOMAIN},
    {"keyword:", RULE_DOMAIN_KEYWORD},
};

static int
take_v2fly(struct list *l, const struct conf_span *s, size_t i)
{
	struct conf_span rest = *s, name;

	skip(&rest, strlen(v2fly[i].with));
	name = cut_word(&rest, " \t:");
	/* Releases write "x:@cn", sources "x @cn". */
	if (begins(&rest, ":@"))
		skip(&rest, 1);
	if (rest.len > 0 && rest.s[0] != '@' && rest.s[0] != '&')
		return wrong(l, &rest, "\"%.*s\" is no attribute, as @cn",
		    CONF_WORD(&rest));
	return add(l, v2fly[i].type, &name);
}

/* Digits and dots, or hexadecimal and colons, with a length or without. */
static bool
is_address(const struct conf_span *s)
{
	const char *set =
	    has(s, ':') ? "0123456789abcdefABCDEF:./" : "0123456789./";

	for (size_t i = 0; i < s->len; i++) {
		if (s->s[i] == 0 || strchr(set, s->s[i]) == NULL)
			return false;
	}
	return true;
}

static int
take_plain(struct list *l, const struct conf_span *s)
{
	struct conf_span name = *s;

	if (is_address(s))
		return add(l, RULE_IP_CIDR, s);
	if (begins(s, "+.") || begins(s, "*.")) {
		skip(&name, 2);
		return add(l, RULE_DOMAIN_SUFFIX, &name);
	}
	if (begins(s, ".")) {
		skip(&name, 1);
		return add(l, RULE_DOMAIN_SUFFIX, &name);
	}
	return add(l, RULE_DOMAIN, s);
}

/* ---- lines ---- */

/* Not an entry, and neither wrong. */
static bool
is_frame(const struct conf_span *s)
{
	return s->len == 0 || s->s[0] == '!' || begins(s, "[Adblock") ||
	       begins(s, "payload:") || begins(s, "---");
}

/* Take "- 'x'" down to x. */
static void
strip_yaml(struct conf_span *s)
{
	if (!begins(s, "- ") && !conf_span_is(s, "-"))
		return;
	skip(s, 1);
	if (s->len >= 2 && (s->s[0] == '\'' || s->s[0] == '"') &&
	    s->s[s->len - 1] == s->s[0]) {
		s->len--;
		skip(s, 1);
	}
}

static int
take_unprefixed(struct list *l, const struct conf_span *s)
{
	if (begins(s, "||"))
		return take_adblock(l, s);
	if (has(s, ','))
		return take_classical(l, s);
	if (has(s, '='))
		return take_dnsmasq(l, s);
	if (has(s, ' ') || has(s, '\t'))
		return take_hosts(l, s);
	return take_plain(l, s);
}

static int
take_entry(struct list *l, const struct conf_span *s)
{
	for (size_t i = 0; i < ARRAY_LEN(v2fly); i++) {
		if (begins(s, v2fly[i].with))
			return take_v2fly(l, s, i);
	}
	if (begins(s, "include:"))
		return wrong(l, s,
		    "a list cannot name lists; write a RULE-SET for each into "
		    "the policy");
	if (begins(s, "regexp:")) {
		count(l, &l->regexps);
		return 0;
	}
	if (begins(s, "@@")) {
		count(l, &l->exceptions);
		return 0;
	}
	return take_unprefixed(l, s);
}

static int
check_end(struct list *l)
{
	const struct conf_span *at = l->l->at;

	warn_all(l);
	if (l->wrong > RULE_LIST_WRONG_MAX)
		diag_add(l->l->d, DIAG_ERROR, at->line, at->column,
		    "%s: and %u more wrong lines", l->l->path,
		    l->wrong - RULE_LIST_WRONG_MAX);
	if (l->wrong > 0)
		return UK_EINVAL;
	if (l->meant == 0)
		return conf_error(
		    l->l->d, at, "%s: there is nothing in it", l->l->path);
	return 0;
}

int
rule_list_parse(const struct rule_list *list, const char *text, size_t len)
{
	struct list l = {.l = list};
	struct rules_text t;
	struct conf_span s;

	if (rules_text_is_utf16(text, len))
		return conf_error(list->d, list->at,
		    "%s: UTF-16; save it as UTF-8 text", list->path);
	rules_text_init(&t, text, len);
	while (rules_text_next(&t, &s)) {
		l.line = s.line;
		if (is_frame(&s))
			continue;
		strip_yaml(&s);
		l.meant++;
		if (take_entry(&l, &s) < 0)
			return UK_ENOMEM;
	}
	return check_end(&l);
}
