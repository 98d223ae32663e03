#include "rules_lab.h"

#include <stdlib.h>
#include <string.h>

/* Room for n more of size at *list. */
static void
room(void *list, size_t *cap, size_t used, size_t n, size_t size)
{
	void **p = list;

	if (used + n <= *cap)
		return;
	*cap = (used + n) * 2;
	*p = realloc(*p, *cap * size);
	UK_ASSERT(*p != NULL);
}

static char *
copy(const char *text)
{
	char *s = strdup(text);

	UK_ASSERT(s != NULL);
	return s;
}

void
rules_lab_init(struct rules_lab *l)
{
	*l = (struct rules_lab){.r.n = 0};
	rules_lab_name(l, "");
	room(&l->r.condition, &l->condition_cap, 0, 1, sizeof(*l->r.condition));
	l->r.condition[l->r.conditions++] =
	    (struct rule_conditions){.protos = 0};
	rules_lab_file(l, "office.rules");
}

void
rules_lab_fini(struct rules_lab *l)
{
	for (size_t i = 0; i < l->r.files; i++)
		free(l->r.file[i]);
	free(l->r.file);
	free(l->r.rule);
	free(l->r.entry);
	free(l->r.condition);
	free(l->r.names);
	free(l->r.text);
	*l = (struct rules_lab){.r.n = 0};
}

struct rule *
rules_lab_rule(struct rules_lab *l, enum rule_type type,
    enum rule_target target, const char *text)
{
	struct rules *r = &l->r;
	size_t len = strlen(text);

	room(&r->text, &l->text_cap, r->text_len, len + 1, 1);
	room(&r->rule, &l->rule_cap, r->n, 1, sizeof(*r->rule));
	r->rule[r->n] = (struct rule){
	    .type = (uint8_t)type,
	    .target = (uint8_t)target,
	    .line = (uint32_t)r->n + 1,
	    .text = (uint32_t)r->text_len,
	    .text_len = (uint32_t)len,
	    .first = (uint32_t)r->entries,
	};
	memcpy(r->text + r->text_len, text, len);
	r->text[r->text_len + len] = '\n';
	r->text_len += len + 1;
	return &r->rule[r->n++];
}

struct rule_entry *
rules_lab_entry(struct rules_lab *l, enum rule_type type)
{
	struct rules *r = &l->r;
	struct rule *rule = &r->rule[r->n - 1];

	room(&r->entry, &l->entry_cap, r->entries, 1, sizeof(*r->entry));
	rule->entries++;
	memset(&r->entry[r->entries], 0, sizeof(*r->entry));
	r->entry[r->entries].type = (uint8_t)type;
	r->entry[r->entries].line =
	    rule->type == RULE_SET ? rule->entries : rule->line;
	return &r->entry[r->entries++];
}

struct rule_conditions *
rules_lab_conditions(struct rules_lab *l)
{
	struct rules *r = &l->r;

	room(&r->condition, &l->condition_cap, r->conditions, 1,
	    sizeof(*r->condition));
	memset(&r->condition[r->conditions], 0, sizeof(*r->condition));
	r->rule[r->n - 1].conditions = (uint32_t)r->conditions;
	return &r->condition[r->conditions++];
}

uint32_t
rules_lab_name(struct rules_lab *l, const char *name)
{
	struct rules *r = &l->r;
	size_t at = r->names_len, len = strlen(name) + 1;

	room(&r->names, &l->names_cap, at, len, 1);
	memcpy(r->names + at, name, len);
	r->names_len += len;
	return (uint32_t)at;
}

uint32_t
rules_lab_file(struct rules_lab *l, const char *path)
{
	struct rules *r = &l->r;

	r->file = realloc(r->file, (r->files + 1) * sizeof(*r->file));
	UK_ASSERT(r->file != NULL);
	r->file[r->files] = copy(path);
	return (uint32_t)r->files++;
}

struct ip_addr
rules_lab_addr(const char *text)
{
	struct ip_addr a;
	int err = ip_addr_parse(&a, text, strlen(text));

	UK_ASSERT(err == 0);
	return a;
}

struct ip_prefix
rules_lab_prefix(const char *text)
{
	struct ip_prefix p;
	int err = ip_prefix_parse(&p, text, strlen(text));

	UK_ASSERT(err == 0);
	return p;
}
