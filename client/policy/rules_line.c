#include "rules_line.h"

#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"
#include "core/suggest.h"

#include "rules_text.h"
#include "rules_value.h"
#include "rules_words.h"

/* Type, value, target, and more than there are conditions and options. */
#define FIELDS_MAX 16

struct line {
	struct rules_build *b;
	const struct conf_span *whole;
	struct conf_span field[FIELDS_MAX];
	size_t n;
	enum rules_os os;
	struct diag *d;
};

/* ---- form ---- */

static size_t
target_index(const struct rule *rule)
{
	return rule->type == RULE_DEFAULT ? 1 : 2;
}

/* What a Japanese keyboard gives. Names may have other such characters, which
 * mean the same there (UTS 46). */
static int
check_wide(struct line *l)
{
	static const char *const wide[][2] = {
	    {"\u3000", "a full-width blank (U+3000) stands here; write \" \", "
		       "or none"},
	    {"\uff03", "a full-width \"\uff03\" stands here; comments begin "
		       "with \"#\""},
	    {"\uff0c", "a full-width \"\uff0c\" stands here; fields are "
		       "separated by the comma \",\""},
	    {"\u3001", "a full-width \"\u3001\" stands here; fields are "
		       "separated by the comma \",\""},
	};

	for (size_t i = 0; i < ARRAY_LEN(wide); i++) {
		const char *at =
		    memmem(l->whole->s, l->whole->len, wide[i][0], 3);
		struct conf_span place = *l->whole;

		if (at == NULL)
			continue;
		place.column += (unsigned)(at - place.s);
		return conf_error(l->d, &place, "%s", wide[i][1]);
	}
	return 0;
}

static int
check_encoding(struct line *l)
{
	const char *name = rules_text_encoding(l->whole);

	if (name == NULL)
		return 0;
	return conf_error(l->d, l->whole,
	    "this is not UTF-8; maybe iconv -f %s -t UTF-8 makes it so", name);
}

static int
split(struct line *l)
{
	struct conf_span rest = *l->whole, item, place = *l->whole;
	const char *zero = memchr(place.s, 0, place.len);

	if (zero != NULL) {
		place.column += (unsigned)(zero - place.s);
		return conf_error(l->d, &place,
		    "a zero byte stands here; save the file as UTF-8 text");
	}
	if (check_encoding(l) < 0 || check_wide(l) < 0)
		return UK_EINVAL;
	while (conf_span_item(&rest, &item)) {
		if (l->n == FIELDS_MAX)
			return conf_error(
			    l->d, &item, "more fields than a rule can have");
		l->field[l->n++] = item;
	}
	return 0;
}

/* ---- type ---- */

static int
error_type(const struct line *l)
{
	const struct conf_span *w = &l->field[0];
	const char *near = rules_word_near_type(w);
	int foreign = rules_word_foreign(w);
	struct conf_span first = *w;
	enum rule_target target;
	enum rule_type t;

	if (foreign >= 0)
		return conf_error(l->d, w, "%s cannot stand here; %s",
		    rules_foreign(foreign)->name,
		    rules_foreign(foreign)->instead);
	if (w->len == 0)
		return conf_error(l->d, w,
		    "the type is missing; a rule is TYPE,VALUE,TARGET");
	first.len = 0;
	while (first.len < w->len && strchr(" \t:=", w->s[first.len]) == NULL)
		first.len++;
	if (first.len < w->len && rules_word_type(&t, &first))
		return conf_error(l->d, w,
		    "fields are separated by commas: %s,VALUE,TARGET",
		    rule_type_name(t));
	if (near == NULL &&
	    (l->n == 1 || rules_word_target(&target, &l->field[0])))
		return conf_error(l->d, w,
		    "\"%.*s\" begins no rule; a rule is TYPE,VALUE,TARGET, as "
		    "DOMAIN-SUFFIX,example.com,tunnel",
		    CONF_WORD(w));
	return conf_error(l->d, w, "unknown type \"%.*s\"%s%s%s", CONF_WORD(w),
	    RULES_NEAR(near));
}

static int
parse_type(const struct line *l, struct rule *rule)
{
	enum rule_type t;

	if (!rules_word_type(&t, &l->field[0]))
		return error_type(l);
	rule->type = (uint8_t)t;
	return 0;
}

/* A name may be called as a target is. */
static bool
has_value(const struct line *l)
{
	enum rule_target t;

	return l->n > 2 || (l->n == 2 && !rules_word_target(&t, &l->field[1]));
}

/* Are there a value and a target? */
static int
check_fields(const struct line *l, const struct rule *rule)
{
	size_t need = target_index(rule) + 1;
	const char *name = rule_type_name((enum rule_type)rule->type);
	struct conf_span end = *l->whole;
	enum rule_target t;

	end.s += end.len;
	end.column += (unsigned)end.len;
	end.len = 0;
	if (l->n == 2 && need == 3 && rules_word_target(&t, &l->field[1]))
		return conf_error(l->d, &l->field[1],
		    "the value is missing: %s,VALUE,%s", name,
		    rule_target_name(t));
	if (l->n < need)
		return conf_error(l->d, &end,
		    "the %s missing: %s%s,TARGET, where TARGET is tunnel, "
		    "tunnel!, native or block",
		    l->n + 1 < need ? "value and the target are" : "target is",
		    name, need == 3 ? ",VALUE" : "");
	return 0;
}

/* ---- value ---- */

static int
tell(const struct line *l, const struct conf_span *v,
    const struct rules_note *n, int err)
{
	char plain[64];
	size_t len = rules_word_narrow(plain, sizeof(plain), v);

	if (err != UK_EINVAL)
		return err;
	if (len < v->len && len < sizeof(plain))
		return conf_error(l->d, v,
		    "\"%.*s\" has full-width characters; did you mean %.*s?",
		    CONF_WORD(v), (int)len, plain);
	return conf_error(l->d, v, "%s", n->why);
}

static void
warn_masked(
    const struct line *l, const struct conf_span *v, const struct ip_prefix *p)
{
	char text[IP_PREFIX_TEXT_MAX];

	diag_add(l->d, DIAG_WARNING, v->line, v->column,
	    "\"%.*s\" has bits behind its length; taken as %s", CONF_WORD(v),
	    ip_prefix_format(p, text));
}

static int
add_entry(const struct line *l, struct rule *rule, const struct conf_span *v)
{
	struct rule_entry e = {.type = rule->type, .line = v->line};
	struct rules_note n = {.masked = false};
	int err = rules_value(l->b, &e, l->os, v, &n);

	if (err < 0)
		return tell(l, v, &n, err);
	if (n.masked)
		warn_masked(l, v, &e.prefix);
	rule->first = (uint32_t)l->b->r->entries;
	rule->entries = 1;
	return rules_build_entry(l->b, &e);
}

static int
parse_value(const struct line *l, struct rule *rule, struct conf_span *path)
{
	const struct conf_span *v = &l->field[1];
	struct rules_note n = {.masked = false};

	if (rule->type == RULE_DEFAULT)
		return 0;
	if (v->len == 0)
		return conf_error(l->d, v,
		    "the value is empty: %s,VALUE,TARGET",
		    rule_type_name((enum rule_type)rule->type));
	*path = *v;
	if (rule->type == RULE_SET)
		return 0;
	if (rule->type == RULE_PORTS_LEFT)
		return tell(
		    l, v, &n, rules_value_ports_left(&rule->ports_left, v, &n));
	return add_entry(l, rule, v);
}

/* ---- target ---- */

static int
parse_target(const struct line *l, struct rule *rule)
{
	const struct conf_span *w = &l->field[target_index(rule)];
	const char *near;
	enum rule_target t;

	if (rules_word_target(&t, w)) {
		rule->target = (uint8_t)t;
		return 0;
	}
	if (w->len == 0)
		return conf_error(l->d, w,
		    "the target is empty: tunnel, tunnel!, native or block");
	if (memchr(w->s, '=', w->len) != NULL)
		return conf_error(l->d, w,
		    "\"%.*s\" is no target; conditions stand behind the target",
		    CONF_WORD(w));
	near = rules_word_near_target(w);
	if (memchr(w->s, '#', w->len) != NULL)
		return conf_error(l->d, w,
		    "unknown target \"%.*s\"; a comment behind a rule has a "
		    "blank before its \"#\"",
		    CONF_WORD(w));
	if (near == NULL)
		return conf_error(l->d, w,
		    "unknown target \"%.*s\"; known: tunnel, tunnel!, native, "
		    "block",
		    CONF_WORD(w));
	return conf_error(l->d, w,
	    "unknown target \"%.*s\"; did you mean \"%s\"?", CONF_WORD(w),
	    near);
}

/* ---- conditions ---- */

struct conditions {
	struct rule_conditions c;
	char process[RULES_PROCESS_MAX];
	unsigned seen; /* bits, by index in known[] */
};

static int
take_proto(
    const struct line *l, struct conditions *c, const struct conf_span *v)
{
	struct rules_note n = {.masked = false};

	return tell(l, v, &n, rules_value_protos(&c->c.protos, v, &n));
}

/* "80/443/8000-8080" */
static int
take_ports(const struct line *l, struct rule_ports *to, uint8_t *count,
    const struct conf_span *v)
{
	struct rules_note n = {.masked = false};
	struct conf_span rest = *v;

	while (rest.s != NULL) {
		const char *slash = memchr(rest.s, '/', rest.len);
		struct conf_span one = rest;

		if (*count == RULE_PORT_RANGES)
			return conf_error(l->d, &one,
			    "more than %d ports and ranges; make it several "
			    "rules",
			    RULE_PORT_RANGES);
		if (slash != NULL)
			one.len = (size_t)(slash - rest.s);
		if (rules_value_ports(&to[*count], &one, &n) < 0)
			return tell(l, &one, &n, UK_EINVAL);
		++*count;
		rest.s = slash != NULL ? slash + 1 : NULL;
		rest.len -= one.len + (slash != NULL);
		rest.column += (unsigned)one.len + 1;
	}
	return 0;
}

static int
take_dport(
    const struct line *l, struct conditions *c, const struct conf_span *v)
{
	return take_ports(l, c->c.dport, &c->c.dports, v);
}

static int
take_sport(
    const struct line *l, struct conditions *c, const struct conf_span *v)
{
	return take_ports(l, c->c.sport, &c->c.sports, v);
}

static int
take_prefix(
    const struct line *l, struct ip_prefix *p, const struct conf_span *v)
{
	struct rules_note n = {.masked = false};
	int err = tell(l, v, &n, rules_value_prefix(p, v, &n));

	if (n.masked)
		warn_masked(l, v, p);
	return err;
}

static int
take_dst(const struct line *l, struct conditions *c, const struct conf_span *v)
{
	return take_prefix(l, &c->c.dst, v);
}

static int
take_src(const struct line *l, struct conditions *c, const struct conf_span *v)
{
	int err = take_prefix(l, &c->c.src, v);
	unsigned all = c->c.src.addr.family == FAMILY_V4 ? 32 : 128;

	if (err == 0 && l->os == RULES_WINDOWS && c->c.src.bits < all)
		return conf_error(l->d, v,
		    "\"%.*s\": Windows decides for its own programs only; one "
		    "address of this PC can stand here",
		    CONF_WORD(v));
	return err;
}

static int
take_uid(const struct line *l, struct conditions *c, const struct conf_span *v)
{
	struct rules_note n = {.masked = false};

	c->c.has_uid = true;
	return tell(l, v, &n, rules_value_uid(&c->c.uid, l->os, v, &n));
}

static int
take_process(
    const struct line *l, struct conditions *c, const struct conf_span *v)
{
	struct rules_note n = {.masked = false};

	return tell(l, v, &n, rules_value_process(c->process, l->os, v, &n));
}

/* take tells what is wrong. */
static const struct {
	const char *name;
	int (*take)(const struct line *l, struct conditions *c,
	    const struct conf_span *v);
} known[] = {
    {"proto", take_proto},
    {"dport", take_dport},
    {"sport", take_sport},
    {"src", take_src},
    {"dst", take_dst},
    {"process", take_process},
    {"uid", take_uid},
};

static size_t
find_condition(const struct conf_span *name)
{
	size_t i = 0;

	while (i < ARRAY_LEN(known) && !conf_span_is(name, known[i].name))
		i++;
	return i;
}

static int
error_condition(const struct line *l, const struct conf_span *f,
    const struct conf_span *name)
{
	static const char *const hints[][2] = {
	    {"port", "dport"},
	    {"dst-port", "dport"},
	    {"src-port", "sport"},
	    {"network", "proto"},
	    {"protocol", "proto"},
	    {"program", "process"},
	    {"process-name", "process"},
	    {"user", "uid"},
	};
	const char *names[ARRAY_LEN(known)], *near = NULL;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		names[i] = known[i].name;
	for (size_t i = 0; i < ARRAY_LEN(hints); i++) {
		if (conf_span_is(name, hints[i][0]))
			near = hints[i][1];
	}
	if (near == NULL)
		near =
		    suggest_word(name->s, name->len, names, ARRAY_LEN(names));
	if (near != NULL)
		return conf_error(l->d, f,
		    "unknown condition \"%.*s\"; did you mean %s=?",
		    CONF_WORD(f), near);
	if (name->len > 0 && name->s[0] >= '0' && name->s[0] <= '9')
		return conf_error(l->d, f,
		    "\"%.*s\" is no condition; several ports stand behind one "
		    "\"=\", as dport=80/443",
		    CONF_WORD(f));
	return conf_error(l->d, f,
	    "unknown condition \"%.*s\"; known: proto=, dport=, sport=, src=, "
	    "dst=, process=, uid=",
	    CONF_WORD(f));
}

/* Does other software write options behind rules of this type? */
static bool
has_options(const struct rule *rule)
{
	return rule->type <= RULE_DOMAIN_KEYWORD || rule->type == RULE_SET ||
	       rule->type == RULE_DEFAULT;
}

/* Cut "name=value" into its parts; false: there is no "=". */
static bool
cut_condition(
    const struct conf_span *f, struct conf_span *name, struct conf_span *value)
{
	const char *sign = memchr(f->s, '=', f->len);

	*name = *f;
	if (sign == NULL)
		return false;
	name->len = (size_t)(sign - f->s);
	*value = *f;
	value->s = sign + 1;
	value->len = f->len - name->len - 1;
	value->column += (unsigned)name->len + 1;
	rules_text_trim(name);
	rules_text_trim(value);
	return true;
}

static int
parse_condition(const struct line *l, struct conditions *c,
    const struct rule *rule, const struct conf_span *f)
{
	struct conf_span name, value;
	size_t i;

	if (f->len == 0)
		return conf_error(
		    l->d, f, "nothing stands between or behind these commas");
	if (has_options(rule) && rules_word_option(f))
		return 0;
	if (rule->type == RULE_DEFAULT)
		return conf_error(l->d, f,
		    "DEFAULT takes no conditions: it is for all that no other "
		    "rule is about");
	if (!cut_condition(f, &name, &value))
		return error_condition(l, f, &name);
	i = find_condition(&name);
	if (i == ARRAY_LEN(known))
		return error_condition(l, f, &name);
	if (c->seen & 1u << i)
		return conf_error(
		    l->d, f, "%s= stands here already", known[i].name);
	c->seen |= 1u << i;
	if (value.len == 0)
		return conf_error(l->d, f, "%s= has no value", known[i].name);
	return known[i].take(l, c, &value);
}

static int
parse_conditions(const struct line *l, struct rule *rule)
{
	struct conditions c = {.process = ""};
	int err = 0;

	for (size_t i = target_index(rule) + 1; i < l->n; i++) {
		if (parse_condition(l, &c, rule, &l->field[i]) < 0)
			err = UK_EINVAL;
	}
	if (err < 0 || c.seen == 0)
		return err;
	return rules_build_condition(
	    l->b, &rule->conditions, &c.c, c.process[0] ? c.process : NULL);
}

/* Whichever of these is worse; all are told. */
static int
worse(int a, int b)
{
	if (a == UK_ENOMEM || b == UK_ENOMEM)
		return UK_ENOMEM;
	return a < 0 ? a : b;
}

int
rules_line_parse(struct rules_build *b, struct rule *rule,
    struct conf_span *path, const struct conf_span *line, enum rules_os os,
    struct diag *d)
{
	struct line l = {.b = b, .whole = line, .os = os, .d = d};
	int err;

	*rule = (struct rule){.line = line->line};
	rule->text = (uint32_t)(line->s - b->r->text);
	rule->text_len = (uint32_t)line->len;
	if (split(&l) < 0 || parse_type(&l, rule) < 0)
		return UK_EINVAL;
	err = has_value(&l) ? parse_value(&l, rule, path) : 0;
	err = worse(err, check_fields(&l, rule));
	if (l.n > target_index(rule)) {
		err = worse(err, parse_target(&l, rule));
		err = worse(err, parse_conditions(&l, rule));
	}
	return err;
}
