#include "rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"

#include "rule_list.h"
#include "rules_line.h"
#include "rules_text.h"

struct parser {
	struct rules_build b;
	const char *name;
	const struct rules_reader *reader;
	enum rules_os os;
	struct diag *d;
	/* As they were behind the DEFAULT; 0: there is none yet. */
	size_t rules, entries;
	unsigned last_line;
};

/* ---- lists ---- */

static bool
is_separator(char c, enum rules_os os)
{
	return c == '/' || (c == '\\' && os == RULES_WINDOWS);
}

static bool
is_absolute(const struct conf_span *path, enum rules_os os)
{
	if (is_separator(path->s[0], os))
		return true;
	return os == RULES_WINDOWS && path->len > 2 && path->s[1] == ':' &&
	       is_separator(path->s[2], os);
}

/* The path as seen from where the policy was found. */
static char *
full_path(const struct parser *p, const struct conf_span *path)
{
	size_t folder = strlen(p->name);
	char *full;

	while (folder > 0 && !is_separator(p->name[folder - 1], p->os))
		folder--;
	if (is_absolute(path, p->os))
		folder = 0;
	full = malloc(folder + path->len + 1);
	if (full == NULL)
		return NULL;
	memcpy(full, p->name, folder);
	memcpy(full + folder, path->s, path->len);
	full[folder + path->len] = 0;
	return full;
}

static int
read_list(const struct parser *p, const char *path, const struct conf_span *at,
    char **bytes, size_t *len)
{
	struct diag own;
	int err;

	diag_init(&own, NULL);
	err = p->reader->read(p->reader->arg, path, bytes, len, &own);
	if (err == 0 || err == UK_ENOMEM)
		return err;
	for (unsigned i = 0; i < own.n; i++)
		conf_error(p->d, at, "%s", own.entry[i].text);
	if (own.n == 0)
		conf_error(p->d, at, "%s: %s", path, uk_strerror(err));
	return UK_EINVAL;
}

static int
read_entries(struct parser *p, struct rule *rule, const char *path,
    const struct conf_span *at)
{
	struct rule_list list = {
	    .b = &p->b, .os = p->os, .path = path, .at = at, .d = p->d};
	char *bytes = NULL;
	size_t len = 0;
	int err;

	if (p->reader == NULL)
		return conf_error(p->d, at, "no lists can be read here");
	if (strcmp(path, p->name) == 0)
		return conf_error(
		    p->d, at, "this policy itself; a list cannot name lists");
	err = read_list(p, path, at, &bytes, &len);
	if (err < 0)
		return err;
	rule->first = (uint32_t)p->b.r->entries;
	err = rule_list_parse(&list, len > 0 ? bytes : "", len);
	rule->entries = (uint32_t)p->b.r->entries - rule->first;
	free(bytes);
	if (err < 0)
		return err;
	return rules_build_file(&p->b, &rule->file, path);
}

static int
load_list(struct parser *p, struct rule *rule, const struct conf_span *path)
{
	char *full;
	int err;

	if (memmem(path->s, path->len, "://", 3) != NULL)
		return conf_error(p->d, path,
		    "\"%.*s\": a file belongs here; fetch the list first, with "
		    "curl -o",
		    CONF_WORD(path));
	if (p->os == RULES_LINUX && memchr(path->s, '\\', path->len) != NULL)
		return conf_error(p->d, path,
		    "\"%.*s\": folders are separated by \"/\"",
		    CONF_WORD(path));
	full = full_path(p, path);
	if (full == NULL)
		return UK_ENOMEM;
	err = read_entries(p, rule, full, path);
	free(full);
	return err;
}

/* ---- lines ---- */

static int
take_line(struct parser *p, const struct conf_span *line)
{
	struct conf_span path = {.s = NULL};
	struct rule rule;
	int err = rules_line_parse(&p->b, &rule, &path, line, p->os, p->d);
	int list = 0;

	/* Also when its target is wrong: all mistakes at once. */
	if (err != UK_ENOMEM && rule.type == RULE_SET && path.len > 0)
		list = load_list(p, &rule, &path);
	if (err < 0 || list < 0)
		return err == UK_ENOMEM || list == UK_ENOMEM ? UK_ENOMEM : 0;
	if (rules_build_rule(&p->b, &rule) < 0)
		return UK_ENOMEM;
	if (rule.type == RULE_DEFAULT && p->rules == 0) {
		p->rules = p->b.r->n;
		p->entries = p->b.r->entries;
	}
	return 0;
}

static int
take_lines(struct parser *p)
{
	const struct rules *r = p->b.r;
	const char *what = rules_text_foreign(r->text, r->text_len);
	struct conf_span line;
	struct rules_text t;
	int err = 0;

	if (what == NULL)
		what = rules_text_config(r->text, r->text_len);
	if (what != NULL) {
		diag_add(p->d, DIAG_ERROR, 1, 1, "this is %s", what);
		return 0;
	}
	rules_text_init(&t, r->text, r->text_len);
	while (err == 0 && rules_text_next(&t, &line)) {
		p->last_line = line.line;
		if (line.len > 0)
			err = take_line(p, &line);
	}
	return err;
}

/* ---- DEFAULT ---- */

/* A file without any rule is one that was not saved whole, rather than the wish
 * to let all go native that was to take the tunnel. */
static int
add_default(struct parser *p)
{
	const struct rule native = {
	    .type = RULE_DEFAULT, .target = TARGET_NATIVE};

	if (p->b.r->n == 0) {
		diag_add(p->d, DIAG_ERROR, 1, 1,
		    "there is no rule in it; a policy that decides nothing is "
		    "DEFAULT,native");
		return UK_EINVAL;
	}
	diag_add(p->d, DIAG_WARNING, p->last_line, 1,
	    "no DEFAULT behind this: what no rule is about goes native; add "
	    "DEFAULT,native");
	return rules_build_rule(&p->b, &native);
}

/* What stands behind DEFAULT goes: the last rule is DEFAULT, always. */
static void
cut_behind_default(struct parser *p)
{
	struct rules *r = p->b.r;
	size_t more = r->n - p->rules;
	char others[48] = "";

	if (more == 0)
		return;
	if (more > 1)
		snprintf(others, sizeof(others), ", nor %s %zu more rule%s",
		    more == 2 ? "does" : "do", more - 1, more == 2 ? "" : "s");
	diag_add(p->d, DIAG_WARNING, r->rule[p->rules].line, 1,
	    "never decides%s: the DEFAULT of line %u takes everything", others,
	    r->rule[p->rules - 1].line);
	r->n = p->rules;
	r->entries = p->entries;
}

int
rules_parse_taken(struct rules **out, const char *name, char *text, size_t len,
    const struct rules_reader *reader, enum rules_os os, struct diag *d)
{
	struct parser p = {.name = name, .reader = reader, .os = os, .d = d};
	unsigned errors = d->errors;
	int err;

	*out = NULL;
	err = rules_build_init(&p.b, name, text, len);
	if (err < 0)
		return err;
	err = take_lines(&p);
	if (err == 0 && d->errors == errors) {
		if (p.rules == 0)
			err = add_default(&p);
		else
			cut_behind_default(&p);
	}
	if (err == 0 && d->errors > errors)
		err = UK_EINVAL;
	if (err == 0)
		*out = rules_build_take(&p.b);
	rules_build_fini(&p.b);
	return err;
}

int
rules_parse(struct rules **out, const char *name, const char *text, size_t len,
    const struct rules_reader *reader, enum rules_os os, struct diag *d)
{
	char *copy;

	*out = NULL;
	/* Places in it have 32 bits. */
	if (len > RULES_FILE_MAX) {
		diag_error(
		    d, "%s: larger than %u MiB", name, RULES_FILE_MAX >> 20);
		return UK_EINVAL;
	}
	copy = malloc(len + 1);
	if (copy == NULL)
		return UK_ENOMEM;
	memcpy(copy, text, len);
	return rules_parse_taken(out, name, copy, len, reader, os, d);
}
