#include "clash_rule.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "client/mape/plain_text.h"
#include "core/err.h"

#include "clash_logic.h"
#include "rules_line.h"
#include "rules_words.h"

#define FIELDS_MAX 8

/* "TYPE,VALUE,TARGET,OPTION...", cut up; what lacks is "". */
struct fields {
	char text[CLASH_TEXT_MAX];
	const char *type, *value, *target;
	const char *option[FIELDS_MAX];
	size_t options;
};

/* A line of ours but for its value. */
struct line {
	enum rule_type type;
	const char *target; /* NULL: it is for a list */
	const char *conditions; /* ",proto=udp" */
	struct text *out;
};

static const char bad_value[] = "its value is not taken";
static const char no_memory[] = "out of memory";

int
clash_rule_init(struct clash_rule *r, const struct clash *c)
{
	r->c = c;
	r->line = (struct text){.s = NULL};
	return rules_build_init(&r->scratch, "", NULL, 0);
}

void
clash_rule_fini(struct clash_rule *r)
{
	rules_build_fini(&r->scratch);
	text_fini(&r->line);
}

void
clash_rule_comment(struct text *out, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		size_t n = plain_text_char(text, len);

		text_append(out, n > 0 ? text : "?", n > 0 ? n : 1);
		text += n > 0 ? n : 1;
		len -= n > 0 ? n : 1;
	}
}

/* ---- fields ---- */

static char *
trim(char *s)
{
	size_t len;

	s += strspn(s, " \t\r\n");
	len = strlen(s);
	while (len > 0 && strchr(" \t\r\n", s[len - 1]) != NULL)
		len--;
	s[len] = 0;
	return s;
}

static const char *
cut(char **rest)
{
	char *field = *rest, *comma;

	if (field == NULL)
		return "";
	comma = strchr(field, ',');
	*rest = comma != NULL ? comma + 1 : NULL;
	if (comma != NULL)
		*comma = 0;
	return trim(field);
}

static bool
is_last(const char *type)
{
	return strcasecmp(type, "MATCH") == 0 || strcasecmp(type, "FINAL") == 0;
}

static void
cut_up(struct fields *f, const char *text, bool list)
{
	char *rest = f->text;

	snprintf(f->text, sizeof(f->text), "%s", text);
	f->type = cut(&rest);
	f->value = is_last(f->type) ? "" : cut(&rest);
	f->target = list ? "" : cut(&rest);
	f->options = 0;
	while (rest != NULL && f->options < FIELDS_MAX)
		f->option[f->options++] = cut(&rest);
}

static bool
has_option(const struct fields *f, const char *name)
{
	for (size_t i = 0; i < f->options; i++) {
		if (strcasecmp(f->option[i], name) == 0)
			return true;
	}
	return false;
}

/* ---- values ---- */

static void
put(struct clash_rule *r, const struct line *l, const char *value, size_t len)
{
	text_add(l->out, "%s%s%.*s%s%s%s\n", rule_type_name(l->type),
	    len > 0 ? "," : "", (int)len, value, l->target != NULL ? "," : "",
	    l->target != NULL ? l->target : "", l->conditions);
	r->lines++;
}

/* Would it end the line, or begin a comment or another field? */
static bool
breaks_line(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)value[i] < ' ' || value[i] == 0x7f ||
		    strchr(",#;\"'", value[i]) != NULL)
			return true;
	}
	return memchr(value, ' ', len) != NULL &&
	       memmem(value, len, "//", 2) != NULL;
}

/* Only what the policy language takes: its own parser is asked. */
static const char *
put_checked(
    struct clash_rule *r, const struct line *l, const char *value, size_t len)
{
	char prefix[IP_PREFIX_TEXT_MAX];
	struct conf_span line, path;
	struct ip_prefix p;
	struct rule rule;
	int err;

	if (breaks_line(value, len))
		return "such a value cannot stand in a rule";
	if (ip_prefix_parse(&p, value, len) == 0) {
		value = ip_prefix_format(&p, prefix);
		len = strlen(value);
	}
	text_clear(&r->line);
	text_add(&r->line, "%s,%.*s,tunnel%s", rule_type_name(l->type),
	    (int)len, value, l->conditions);
	if (r->line.failed) {
		l->out->failed = true;
		return no_memory;
	}
	line = (struct conf_span){r->line.s, r->line.len, 1, 1};
	r->scratch.r->names_len = 1;
	r->scratch.r->entries = 0;
	err = rules_line_parse(
	    &r->scratch, &rule, &path, &line, RULES_LINUX, &r->d);
	if (err == UK_ENOMEM) {
		l->out->failed = true;
		return no_memory;
	}
	if (err < 0)
		return bad_value;
	put(r, l, value, len);
	return NULL;
}

/* All lines of a rule or none. */
static void
take_back(struct clash_rule *r, const struct line *l, size_t len)
{
	l->out->len = len;
	if (l->out->s != NULL)
		l->out->s[len] = 0;
	r->lines = 0;
}

/* Several by '/' are a line each. */
static const char *
put_ports(struct clash_rule *r, const struct line *l, const char *value)
{
	size_t before = l->out->len;
	const char *why = NULL;

	while (why == NULL) {
		size_t len = strcspn(value, "/");

		why = put_checked(r, l, value, len);
		if (value[len] == 0)
			break;
		value += len + 1;
	}
	if (why != NULL)
		take_back(r, l, before);
	return why;
}

/* Programs of Windows are called without their ending where they run here. */
static size_t
program_len(const char *value)
{
	size_t len = strlen(value);

	return len > 4 && strcasecmp(value + len - 4, ".exe") == 0 ? len - 4
								   : len;
}

static const char *
put_suffix(struct clash_rule *r, const struct line *l, const char *value)
{
	if ((value[0] == '+' || value[0] == '*') && value[1] == '.')
		value++;
	if (value[0] == '.')
		value++;
	return put_checked(r, l, value, strlen(value));
}

static const char *
put_value(struct clash_rule *r, const struct line *l, const char *value)
{
	switch (l->type) {
	case RULE_DST_PORT:
	case RULE_SRC_PORT:
		return put_ports(r, l, value);
	case RULE_PROCESS_NAME:
		return put_checked(r, l, value, program_len(value));
	case RULE_DOMAIN_SUFFIX:
		return put_suffix(r, l, value);
	default:
		return put_checked(r, l, value, strlen(value));
	}
}

/* ---- lists and private networks ---- */

static bool
ends_with(const char *s, const char *end)
{
	size_t len = s != NULL ? strlen(s) : 0, n = strlen(end);

	return len >= n && strcasecmp(s + len - n, end) == 0;
}

/* Where the list is kept that has no path of its own: its name, as far as
 * that can be a file's. */
static void
file_name(char *to, size_t room, const char *name, bool plain)
{
	snprintf(to, room, "%.*s.%s", (int)(room - 8), name,
	    plain ? "list" : "yaml");
	for (; *to != 0; to++) {
		if (strchr("/\\ \t", *to) != NULL)
			*to = '-';
	}
}

/* Rule lists are read as they are, but for the binary form. */
static const char *
put_set(struct clash_rule *r, const struct line *l, const char *name)
{
	const struct clash_provider *p = clash_provider_find(r->c, name);
	char file[CLASH_TEXT_MAX + 8];
	const char *path, *why;
	size_t before;

	if (p == NULL)
		return "there is no rule provider of that name in the file";
	if ((p->format != NULL && strcasecmp(p->format, "mrs") == 0) ||
	    ends_with(p->path, ".mrs") || ends_with(p->url, ".mrs"))
		return "its list is binary (mrs); most are also published as "
		       "text";
	if (p->path == NULL && p->url == NULL)
		return "its rule provider has neither path nor url; a list is "
		       "a file of its own";
	file_name(file, sizeof(file), p->name.s,
	    p->format != NULL && strcasecmp(p->format, "text") == 0);
	path = p->path != NULL && p->path[0] != 0 ? p->path : file;
	before = l->out->len;
	if (p->url != NULL) {
		text_add(l->out, "# to be fetched: ");
		clash_rule_comment(l->out, p->url);
		text_add(l->out, "\n");
	}
	why = put_checked(r, l, path, strlen(path));
	r->fetch = p->url != NULL;
	if (why != NULL)
		take_back(r, l, before);
	return why;
}

/* What Clash means by LAN: RFC 1918, 4193, loopback, link-local, multicast. */
static void
put_private(struct clash_rule *r, struct line *l)
{
	static const char *const networks[] = {"10.0.0.0/8", "172.16.0.0/12",
	    "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4",
	    "::1/128", "fc00::/7", "fe80::/10", "ff00::/8"};

	l->type = RULE_IP_CIDR;
	for (size_t i = 0; i < ARRAY_LEN(networks); i++)
		put(r, l, networks[i], strlen(networks[i]));
}

/* ---- rules ---- */

static bool
is_private(const struct fields *f)
{
	return strcasecmp(f->type, "GEOIP") == 0 &&
	       (strcasecmp(f->value, "LAN") == 0 ||
		   strcasecmp(f->value, "PRIVATE") == 0);
}

/* Why there is nothing like that here; NULL: there is. */
static const char *
is_foreign(const struct fields *f)
{
	const struct conf_span word = {.s = f->type, .len = strlen(f->type)};
	int number = rules_word_foreign(&word);
	enum rule_type type;

	if (rules_word_type(&type, &word) || is_private(f))
		return NULL;
	return number >= 0 ? rules_foreign(number)->instead
			   : "there is no such type of rules here";
}

/* Of a type that is_foreign() has nothing against. */
static const char *
put_rule(struct clash_rule *r, struct line *l, const struct fields *f)
{
	const struct conf_span word = {.s = f->type, .len = strlen(f->type)};

	if (!rules_word_type(&l->type, &word)) {
		put_private(r, l);
		return NULL;
	}
	switch (l->type) {
	case RULE_SET:
		if (l->target == NULL)
			return "a list cannot name lists";
		return put_set(r, l, f->value);
	case RULE_DEFAULT:
		if (l->target == NULL)
			return "a list has no default";
		r->last = true;
		put(r, l, "", 0);
		return NULL;
	case RULE_IP_CIDR:
		if (has_option(f, "src"))
			l->type = RULE_SRC_IP_CIDR;
		break;
	default:
		break;
	}
	return put_value(r, l, f->value);
}

static const char *
target_of(struct clash_rule *r, const char *name)
{
	uint8_t may = clash_target_may(r->c, name);

	r->unknown = may == 0;
	if (r->unknown)
		plain_text_copy(r->target, sizeof(r->target), name);
	if (r->unknown || (may & CLASH_TUNNEL))
		return rule_target_name(TARGET_TUNNEL);
	/* What is not certainly to be blocked goes its way. */
	return rule_target_name(
	    may & CLASH_NATIVE ? TARGET_NATIVE : TARGET_BLOCK);
}

static void
begin(struct clash_rule *r, const char *type)
{
	r->lines = 0;
	diag_init(&r->d, NULL);
	r->last = r->unknown = r->fetch = false;
	plain_text_copy(r->type, sizeof(r->type), type);
}

/* ---- AND, OR ---- */

/* What a part is about becomes a condition of the rule; NULL: there is none of
 * that kind. */
static const char *
condition_key(enum rule_type t, const struct fields *f)
{
	switch (t) {
	case RULE_NETWORK:
		return "proto";
	case RULE_DST_PORT:
		return "dport";
	case RULE_SRC_PORT:
		return "sport";
	case RULE_IP_CIDR:
		return has_option(f, "src") ? "src" : "dst";
	case RULE_SRC_IP_CIDR:
		return "src";
	case RULE_PROCESS_NAME:
		return "process";
	case RULE_UID:
		return "uid";
	default:
		return NULL;
	}
}

static bool
part_type(enum rule_type *t, struct fields *f, const char *part)
{
	struct conf_span word;

	cut_up(f, part, true);
	word = (struct conf_span){.s = f->type, .len = strlen(f->type)};
	return rules_word_type(t, &word) && *t != RULE_DEFAULT;
}

/* The part that the line is about: a name or a list, or else the first. */
static size_t
main_part(const struct clash_logic *g)
{
	enum rule_type t;
	struct fields f;

	for (size_t i = 0; i < g->parts; i++) {
		if (part_type(&t, &f, g->part[i]) &&
		    condition_key(t, &f) == NULL)
			return i;
	}
	return 0;
}

/* Those of all other parts; false: one of them cannot be one. */
static bool
put_conditions(struct text *to, const struct clash_logic *g, size_t but)
{
	for (size_t i = 0; i < g->parts; i++) {
		const char *key;
		enum rule_type t;
		struct fields f;
		size_t len;

		if (i == but)
			continue;
		if (!part_type(&t, &f, g->part[i]))
			return false;
		key = condition_key(t, &f);
		len = t == RULE_PROCESS_NAME ? program_len(f.value)
					     : strlen(f.value);
		if (key == NULL || breaks_line(f.value, len))
			return false;
		text_add(to, ",%s=%.*s", key, (int)len, f.value);
	}
	return true;
}

static const char *
put_all(struct clash_rule *r, struct line *l, const struct clash_logic *g)
{
	static const char why[] = "not all that it joins can be conditions of "
				  "one rule";
	size_t i = main_part(g);
	struct text conditions = {.s = NULL};
	const char *failed = why;
	struct fields f;

	if (part_type(&l->type, &f, g->part[i]) &&
	    put_conditions(&conditions, g, i)) {
		l->conditions = conditions.s != NULL ? conditions.s : "";
		l->out->failed = l->out->failed || conditions.failed;
		failed = put_rule(r, l, &f);
	}
	text_fini(&conditions);
	return failed;
}

static const char *
put_any(struct clash_rule *r, struct line *l, const struct clash_logic *g)
{
	size_t before = l->out->len;
	const char *why = NULL;
	struct fields f;

	for (size_t i = 0; i < g->parts && why == NULL; i++) {
		if (part_type(&l->type, &f, g->part[i]))
			why = put_rule(r, l, &f);
		else
			why = "not all that it joins can be rules";
	}
	if (why != NULL)
		take_back(r, l, before);
	return why;
}

/* ---- lines ---- */

/* Which target; why it is left out, if it is. */
static const char *
put_target(struct clash_rule *r, struct line *l, const char *target)
{
	if (target[0] == 0)
		return "it names no target";
	if (strcmp(target, "PASS") == 0)
		return "PASS goes on with the next rule, as if it were not "
		       "there";
	l->target = target_of(r, target);
	return NULL;
}

const char *
clash_rule_policy(struct clash_rule *r, const char *text, struct text *out)
{
	struct line l = {.conditions = "", .out = out};
	struct clash_logic g;
	struct fields f;
	const char *why;
	bool logic = clash_logic_read(&g, text);

	cut_up(&f, text, false);
	begin(r, f.type);
	why = logic ? NULL : is_foreign(&f);
	if (why == NULL)
		why = put_target(r, &l, logic ? g.target : f.target);
	if (why != NULL)
		return why;
	if (!logic)
		why = put_rule(r, &l, &f);
	else
		why = g.any ? put_any(r, &l, &g) : put_all(r, &l, &g);
	r->unknown = r->unknown && why == NULL;
	return why;
}

const char *
clash_rule_list(struct clash_rule *r, const char *text, struct text *out)
{
	struct line l = {.conditions = "", .out = out};
	struct ip_prefix p;
	struct fields f;
	const char *why;

	cut_up(&f, text, true);
	begin(r, "");
	if (strchr(text, ',') != NULL) {
		begin(r, f.type);
		why = is_foreign(&f);
		return why != NULL ? why : put_rule(r, &l, &f);
	}
	l.type = RULE_DOMAIN;
	if (ip_prefix_parse(&p, f.type, strlen(f.type)) == 0)
		l.type = RULE_IP_CIDR;
	else if (strchr("+*.", f.type[0]) != NULL)
		l.type = RULE_DOMAIN_SUFFIX;
	return put_value(r, &l, f.type);
}
