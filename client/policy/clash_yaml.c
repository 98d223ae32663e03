#include "clash_yaml.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <yaml.h>

#include "core/conf_schema.h"
#include "core/err.h"

/* Texts stay where they are; a chunk has room for the longest. */
#define CHUNK_SIZE ((size_t)64 << 10)

struct clash_chunk {
	struct clash_chunk *next;
	size_t used;
	char b[CHUNK_SIZE];
};

struct reader {
	yaml_parser_t yaml;
	yaml_event_t event; /* where we are */
	unsigned depth; /* of mappings and sequences around what comes next */
	struct clash *c;
	struct diag *d;
};

/* ---- texts and lists ---- */

static char *
keep(struct clash *c, const char *s, size_t len)
{
	struct clash_chunk *chunk = c->chunk;
	char *to;

	if (chunk == NULL || CHUNK_SIZE - chunk->used <= len) {
		chunk = malloc(sizeof(*chunk));
		if (chunk == NULL)
			return NULL;
		chunk->used = 0;
		chunk->next = c->chunk;
		c->chunk = chunk;
	}
	to = chunk->b + chunk->used;
	memcpy(to, s, len);
	to[len] = 0;
	chunk->used += len + 1;
	return to;
}

static int
too_many(struct reader *r, const char *what, size_t max)
{
	diag_add(r->d, DIAG_ERROR, (unsigned)r->event.start_mark.line + 1, 0,
	    "more than %zu %s", max, what);
	return UK_ELIMIT;
}

/* ---- events ---- */

static int
yaml_error(struct reader *r)
{
	const yaml_parser_t *y = &r->yaml;

	if (y->error == YAML_MEMORY_ERROR)
		return UK_ENOMEM;
	diag_add(r->d, DIAG_ERROR, (unsigned)y->problem_mark.line + 1,
	    (unsigned)y->problem_mark.column + 1, "no YAML: %s",
	    y->problem != NULL ? y->problem : "it cannot be read");
	return UK_EINVAL;
}

static int
next(struct reader *r)
{
	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->yaml, &r->event))
		return yaml_error(r);
	switch (r->event.type) {
	case YAML_MAPPING_START_EVENT:
	case YAML_SEQUENCE_START_EVENT:
		r->depth++;
		break;
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		r->depth--;
		break;
	default:
		break;
	}
	if (r->depth <= CLASH_DEPTH_MAX)
		return 0;
	diag_add(r->d, DIAG_ERROR, (unsigned)r->event.start_mark.line + 1,
	    (unsigned)r->event.start_mark.column + 1,
	    "more than %d lists and mappings in one another", CLASH_DEPTH_MAX);
	return UK_EINVAL;
}

static bool
begins_list(const struct reader *r)
{
	return r->event.type == YAML_SEQUENCE_START_EVENT;
}

static bool
begins_mapping(const struct reader *r)
{
	return r->event.type == YAML_MAPPING_START_EVENT;
}

/* To the last event of what begins here. */
static int
skip(struct reader *r)
{
	unsigned outside = r->depth - 1;
	int err = 0;

	if (!begins_list(r) && !begins_mapping(r))
		return 0;
	while (err == 0 && r->depth > outside)
		err = next(r);
	return err;
}

/* Skips what begins here; its text when it is a scalar of a length that is
 * taken, else NULL. */
static int
read_line(struct reader *r, struct clash_line *to)
{
	const yaml_event_t *e = &r->event;

	*to = (struct clash_line){
	    .line = (unsigned)e->start_mark.line + 1,
	    .column = (unsigned)e->start_mark.column + 1,
	};
	if (e->type != YAML_SCALAR_EVENT)
		return skip(r);
	if (e->data.scalar.length >= CLASH_TEXT_MAX ||
	    memchr(e->data.scalar.value, 0, e->data.scalar.length) != NULL)
		return 0;
	to->text = keep(
	    r->c, (const char *)e->data.scalar.value, e->data.scalar.length);
	return to->text != NULL ? 0 : UK_ENOMEM;
}

/* Reads the value of one key, up to its last event. */
typedef int pair_fn(struct reader *r, const char *key, void *arg);

static int
read_pair(struct reader *r, pair_fn *pair, void *arg)
{
	const yaml_event_t *e = &r->event;
	char key[64] = "";
	int err;

	if (e->type == YAML_SCALAR_EVENT && e->data.scalar.length < sizeof(key))
		memcpy(key, e->data.scalar.value, e->data.scalar.length);
	err = skip(r);
	if (err == 0)
		err = next(r);
	return err < 0 ? err : pair(r, key, arg);
}

static int
each_pair(struct reader *r, pair_fn *pair, void *arg)
{
	int err;

	if (!begins_mapping(r))
		return skip(r);
	for (;;) {
		err = next(r);
		if (err < 0 || r->event.type == YAML_MAPPING_END_EVENT)
			return err;
		err = read_pair(r, pair, arg);
		if (err < 0)
			return err;
	}
}

static int
each_item(struct reader *r, int (*item)(struct reader *r, void *arg), void *arg)
{
	int err;

	if (!begins_list(r))
		return skip(r);
	for (;;) {
		err = next(r);
		if (err < 0 || r->event.type == YAML_SEQUENCE_END_EVENT)
			return err;
		err = item(r, arg);
		if (err < 0)
			return err;
	}
}

/* ---- what stands in the file ---- */

static int
read_item(struct reader *r, void *arg)
{
	struct clash_lines *l = arg;
	size_t max = l == &r->c->member ? CLASH_NAMES_MAX : CLASH_RULES_MAX;
	struct clash_line *to;

	if (l->n == max)
		return too_many(r, "entries in lists", max);
	to = conf_grow(l->item, l->n, &l->cap, sizeof(*to));
	if (to == NULL)
		return UK_ENOMEM;
	l->item = to;
	return read_line(r, &l->item[l->n++]);
}

static uint8_t
may_of_type(const char *type)
{
	if (type == NULL)
		return CLASH_TUNNEL;
	if (strcasecmp(type, "direct") == 0)
		return CLASH_NATIVE;
	return strcasecmp(type, "reject") == 0 ? CLASH_BLOCK : CLASH_TUNNEL;
}

/* Of a fallback the first one that answers is taken, and DIRECT always does. */
static bool
is_chosen(const char *type)
{
	return type != NULL && (strcasecmp(type, "select") == 0 ||
				   strcasecmp(type, "fallback") == 0);
}

/* A key "<<" gives what another group has, "use" and "include-all" what a
 * subscription has: other proxies. */
static int
read_target_pair(struct reader *r, const char *key, void *arg)
{
	struct clash_target *t = arg;
	struct clash_line v;
	int err;

	if (t->group && strcmp(key, "proxies") == 0) {
		if (!begins_list(r))
			t->may |= CLASH_TUNNEL;
		t->first = r->c->member.n;
		err = each_item(r, read_item, &r->c->member);
		t->members = r->c->member.n - t->first;
		return err;
	}
	err = read_line(r, &v);
	if (strcmp(key, "name") == 0)
		t->name.s = v.text;
	else if (t->group && strcmp(key, "type") == 0)
		t->chosen = is_chosen(v.text);
	else if (strcmp(key, "type") == 0)
		t->may = may_of_type(v.text);
	else if (t->group &&
		 (strcmp(key, "<<") == 0 || strcmp(key, "use") == 0 ||
		     strncmp(key, "include-all", 11) == 0))
		t->may |= CLASH_TUNNEL;
	return err;
}

static int
read_target(struct reader *r, bool group)
{
	struct clash_targets *l = &r->c->target;
	struct clash_target t = {.name.order = l->n, .group = group};
	struct clash_target *to;
	int err;

	t.may = group ? 0 : CLASH_TUNNEL;
	err = each_pair(r, read_target_pair, &t);
	if (err < 0 || t.name.s == NULL)
		return err;
	/* What a subscription has comes behind them. */
	if (t.chosen && t.members > 0) {
		t.members = 1;
		t.may = 0;
	}
	if (l->n == CLASH_NAMES_MAX)
		return too_many(r, "proxies and groups", CLASH_NAMES_MAX);
	to = conf_grow(l->item, l->n, &l->cap, sizeof(*to));
	if (to == NULL)
		return UK_ENOMEM;
	l->item = to;
	l->item[l->n++] = t;
	return 0;
}

static int
read_proxy(struct reader *r, void *arg)
{
	(void)arg;
	return read_target(r, false);
}

static int
read_group(struct reader *r, void *arg)
{
	(void)arg;
	return read_target(r, true);
}

static int
read_provider_pair(struct reader *r, const char *key, void *arg)
{
	struct clash_provider *p = arg;
	struct clash_line v;
	int err = read_line(r, &v);

	if (strcmp(key, "type") == 0)
		p->type = v.text;
	else if (strcmp(key, "path") == 0)
		p->path = v.text;
	else if (strcmp(key, "url") == 0)
		p->url = v.text;
	else if (strcmp(key, "format") == 0)
		p->format = v.text;
	return err;
}

static int
read_provider(struct reader *r, const char *key, void *arg)
{
	struct clash_providers *l = &r->c->provider;
	struct clash_provider p = {.name.order = l->n};
	struct clash_provider *to;
	int err = each_pair(r, read_provider_pair, &p);

	(void)arg;
	if (err < 0 || key[0] == 0)
		return err;
	if (l->n == CLASH_NAMES_MAX)
		return too_many(r, "rule providers", CLASH_NAMES_MAX);
	p.name.s = keep(r->c, key, strlen(key));
	to = conf_grow(l->item, l->n, &l->cap, sizeof(*to));
	if (p.name.s == NULL || to == NULL)
		return UK_ENOMEM;
	l->item = to;
	l->item[l->n++] = p;
	return 0;
}

/* With the names that Clash had for them before 2020, too. */
static int
read_top(struct reader *r, const char *key, void *arg)
{
	struct clash *c = arg;

	if (strcmp(key, "rules") == 0 || strcmp(key, "Rule") == 0) {
		c->has_rules = begins_list(r);
		return each_item(r, read_item, &c->rule);
	}
	if (strcmp(key, "payload") == 0) {
		c->has_payload = begins_list(r);
		return each_item(r, read_item, &c->payload);
	}
	if (strcmp(key, "proxies") == 0 || strcmp(key, "Proxy") == 0)
		return each_item(r, read_proxy, NULL);
	if (strcmp(key, "proxy-groups") == 0 || strcmp(key, "Proxy Group") == 0)
		return each_item(r, read_group, NULL);
	if (strcmp(key, "rule-providers") == 0)
		return each_pair(r, read_provider, NULL);
	return skip(r);
}

static int
read_document(struct reader *r)
{
	int err = next(r); /* of the stream */

	if (err == 0)
		err = next(r);
	if (err == 0 && r->event.type == YAML_DOCUMENT_START_EVENT)
		err = next(r);
	if (err < 0)
		return err;
	if (begins_mapping(r))
		err = each_pair(r, read_top, r->c);
	if (err < 0 || r->c->has_rules || r->c->has_payload)
		return err;
	diag_error(r->d, "this is no configuration of Clash: it has neither "
			 "\"rules:\" nor \"payload:\". A plain list needs no "
			 "import: RULE-SET reads it");
	return UK_EINVAL;
}

/* ---- names ---- */

static int
compare_names(const void *a, const void *b)
{
	const struct clash_name *x = a, *y = b;
	int order = strcmp(x->s, y->s);

	return order != 0 ? order
			  : (x->order > y->order) - (x->order < y->order);
}

/* One of n structs of this size that begin with a struct clash_name, in order;
 * the last of those with one name, as YAML libraries have it. */
static const void *
find(const void *items, size_t n, size_t size, const char *name)
{
	const char *item = items;
	const struct clash_name *found;
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		found = (const void *)(item + middle * size);
		if (strcmp(found->s, name) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	found = (const void *)(item + (low - 1) * size);
	return strcmp(found->s, name) == 0 ? found : NULL;
}

static const struct clash_target *
find_target(const struct clash *c, const char *name)
{
	return find(c->target.item, c->target.n, sizeof(*c->target.item), name);
}

const struct clash_provider *
clash_provider_find(const struct clash *c, const char *name)
{
	return find(
	    c->provider.item, c->provider.n, sizeof(*c->provider.item), name);
}

/* Those that need not be in the file; 0: it is none of them. */
static uint8_t
built_in(const char *name)
{
	if (strcmp(name, "DIRECT") == 0 || strcmp(name, "COMPATIBLE") == 0)
		return CLASH_NATIVE;
	if (strncmp(name, "REJECT", 6) == 0)
		return CLASH_BLOCK;
	return strcmp(name, "GLOBAL") == 0 ? CLASH_TUNNEL : 0;
}

uint8_t
clash_target_may(const struct clash *c, const char *name)
{
	const struct clash_target *t = find_target(c, name);

	if (t == NULL)
		return built_in(name);
	/* A group that has only itself. */
	return t->may != 0 ? t->may : CLASH_TUNNEL;
}

/* What the members of a group may do, as far as it is known yet. */
static uint8_t
may_of_members(const struct clash *c, const struct clash_target *t)
{
	uint8_t may = t->may;

	for (size_t i = 0; i < t->members; i++) {
		const char *name = c->member.item[t->first + i].text;
		const struct clash_target *m =
		    name != NULL ? find_target(c, name) : NULL;

		if (m != NULL)
			may |= m->may;
		else if (name != NULL && built_in(name) != 0)
			may |= built_in(name);
		else
			may |= CLASH_TUNNEL;
	}
	return may;
}

#define GROUPS_DEPTH_MAX 32

/* Groups are of groups: go on until nothing changes. */
static int
resolve(struct clash *c, struct diag *d)
{
	for (unsigned round = 0; round < GROUPS_DEPTH_MAX; round++) {
		bool changed = false;

		for (size_t i = 0; i < c->target.n; i++) {
			struct clash_target *t = &c->target.item[i];
			uint8_t may = may_of_members(c, t);

			changed = changed || may != t->may;
			t->may = may;
		}
		if (!changed)
			return 0;
	}
	diag_error(d, "groups of more than %d groups in one another",
	    GROUPS_DEPTH_MAX);
	return UK_ELIMIT;
}

static int
finish(struct clash *c, struct diag *d)
{
	if (c->target.n > 0)
		qsort(c->target.item, c->target.n, sizeof(*c->target.item),
		    compare_names);
	if (c->provider.n > 0)
		qsort(c->provider.item, c->provider.n,
		    sizeof(*c->provider.item), compare_names);
	return resolve(c, d);
}

int
clash_yaml_read(struct clash *c, const char *text, size_t len, struct diag *d)
{
	struct reader r = {.c = c, .d = d};
	int err;

	*c = (struct clash){.chunk = NULL};
	if (len > CLASH_SIZE_MAX) {
		diag_error(d, "larger than %zu MiB", CLASH_SIZE_MAX >> 20);
		return UK_EMSGSIZE;
	}
	if (!yaml_parser_initialize(&r.yaml))
		return UK_ENOMEM;
	yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text, len);
	err = read_document(&r);
	yaml_event_delete(&r.event);
	yaml_parser_delete(&r.yaml);
	if (err == 0)
		err = finish(c, d);
	if (err < 0)
		clash_fini(c);
	return err;
}

void
clash_fini(struct clash *c)
{
	while (c->chunk != NULL) {
		struct clash_chunk *next_chunk = c->chunk->next;

		free(c->chunk);
		c->chunk = next_chunk;
	}
	free(c->rule.item);
	free(c->payload.item);
	free(c->member.item);
	free(c->target.item);
	free(c->provider.item);
	*c = (struct clash){.chunk = NULL};
}
