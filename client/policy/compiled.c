#include "compiled.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/err.h"
#include "mark.h"

bool
compiled_has_names(const struct compiled *c)
{
	for (size_t i = 0; i < c->rules->entries; i++) {
		uint8_t type = c->rules->entry[i].type;

		if (type == RULE_DOMAIN || type == RULE_DOMAIN_SUFFIX ||
		    type == RULE_DOMAIN_KEYWORD)
			return true;
	}
	return false;
}

static int
add_program(
    struct compiled *c, const char *name, uint8_t target, struct diag *d)
{
	bool closed = target == TARGET_TUNNEL_ONLY || target == TARGET_BLOCK;

	for (size_t i = 0; i < c->programs; i++) {
		if (strcmp(c->program[i].name, name) != 0)
			continue;
		c->program[i].closed &= closed;
		return 0;
	}
	if (c->programs == CLASS_PROGRAM_MAX) {
		diag_error(d, "more than %d names of programs, from \"%s\" on",
		    CLASS_PROGRAM_MAX, name);
		return UK_ELIMIT;
	}
	c->program[c->programs++] = (struct program_name){name, closed};
	return 0;
}

static int
collect_programs(struct compiled *c, struct diag *d)
{
	const struct rules *r = c->rules;
	int err = 0;

	c->program = calloc(CLASS_PROGRAM_MAX, sizeof(*c->program));
	if (c->program == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < r->n && err == 0; i++) {
		const struct rule *rule = &r->rule[i];
		uint32_t process = r->condition[rule->conditions].process;

		if (process != 0)
			err =
			    add_program(c, r->names + process, rule->target, d);
		for (size_t k = 0; k < rule->entries && err == 0; k++) {
			const struct rule_entry *e = &r->entry[rule->first + k];

			if (e->type == RULE_PROCESS_NAME)
				err = add_program(
				    c, r->names + e->name, rule->target, d);
		}
	}
	return err;
}

static int
build(struct compiled *c, const struct compiled *before, struct diag *d)
{
	int err = matcher_new(&c->matcher, c->rules);

	if (err == 0)
		err = slots_new(
		    &c->slots, c->rules, before != NULL ? before->slots : NULL);
	if (err == UK_ELIMIT)
		diag_error(d,
		    "more than %d rules whose targets or conditions differ: "
		    "put what belongs together into lists (RULE-SET)",
		    SLOTS_MAX);
	return err < 0 ? err : collect_programs(c, d);
}

/* Who can write to it says what leaves outside the tunnel. */
static void
warn_of_writers(const char *path, struct diag *d)
{
	struct stat st;

	if (stat(path, &st) == 0 && (st.st_mode & S_IWOTH) != 0)
		diag_warn(d,
		    "every user can change what takes the tunnel: "
		    "chmod o-w %s",
		    path);
}

int
compiled_load(struct compiled **out, const char *path,
    const struct compiled *before, struct diag *d)
{
	struct compiled *c = calloc(1, sizeof(*c));
	int err;

	*out = NULL;
	if (c == NULL)
		return UK_ENOMEM;
	err = rules_load(&c->rules, path, RULES_LINUX, d);
	if (err == 0) {
		warn_of_writers(path, d);
		rules_warn(c->rules, d);
		diag_sort(d);
		err = build(c, before, d);
	}
	if (err == 0)
		*out = c;
	else
		compiled_free(c);
	return err;
}

int
compiled_none(struct compiled **out, struct diag *d)
{
	static const char text[] = "DEFAULT,native\n";
	struct compiled *c = calloc(1, sizeof(*c));
	int err;

	*out = NULL;
	if (c == NULL)
		return UK_ENOMEM;
	err = rules_parse(
	    &c->rules, "", text, sizeof(text) - 1, NULL, RULES_LINUX, d);
	if (err == 0)
		err = build(c, NULL, d);
	if (err == 0)
		*out = c;
	else
		compiled_free(c);
	return err;
}

void
compiled_free(struct compiled *c)
{
	if (c == NULL)
		return;
	free(c->program);
	slots_free(c->slots);
	matcher_free(c->matcher);
	rules_free(c->rules);
	free(c);
}
