#include "map_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"
#include "host/conf_file.h"

#include "map_rules_jp.h"

int
map_rules_add(struct map_rules *l, const struct map_rule *r)
{
	struct map_rule *item;

	if (l->n == MAP_RULES_MAX)
		return UK_ELIMIT;
	item = conf_grow(l->item, l->n, &l->cap, sizeof(*item));
	if (item == NULL)
		return UK_ENOMEM;
	l->item = item;
	item[l->n++] = *r;
	return 0;
}

void
map_rules_fini(struct map_rules *l)
{
	free(l->item);
	*l = (struct map_rules){.item = NULL};
}

const struct map_rule *
map_rules_find(const struct map_rules *l, const struct ip_prefix *line)
{
	const struct map_rule *best = NULL;

	for (size_t i = 0; i < l->n; i++) {
		const struct map_rule *r = &l->item[i];

		if (r->ipv6.bits <= line->bits &&
		    ip_prefix_contains(&r->ipv6, &line->addr) &&
		    (best == NULL || r->ipv6.bits > best->ipv6.bits))
			best = r;
	}
	return best;
}

/* Put who gave the rules in front of who made them known. */
static void
mark_source(struct map_rules *l, const char *giver)
{
	for (size_t i = 0; i < l->n; i++) {
		char *source = l->item[i].source;
		size_t len = strlen(giver), room = sizeof(l->item[i].source);

		if (source[0] == 0) {
			snprintf(source, room, "%s", giver);
			continue;
		}
		/* The parser leaves room for this. */
		UK_ASSERT(len + 2 + strlen(source) < room);
		memmove(source + len + 2, source, strlen(source) + 1);
		memcpy(source, giver, len);
		memcpy(source + len, ": ", 2);
	}
}

/* A file of rules is no secret: a warning that others can read it is not
 * passed on. */
static int
read_file(struct conf_file *f, const char *path, struct diag *d)
{
	struct diag own;
	int err;

	diag_init(&own, NULL);
	err = conf_file_read(f, path, &own);
	for (unsigned i = 0; i < own.n; i++) {
		if (own.entry[i].level == DIAG_ERROR)
			diag_error(d, "%s", own.entry[i].text);
	}
	return err;
}

int
map_rules_load(struct map_rules *l, const char *path, struct diag *d)
{
	struct conf_file f;
	int err;

	*l = (struct map_rules){.item = NULL};
	err = read_file(&f, path, d);
	if (err < 0)
		return err;
	if (d != NULL)
		d->file = path;
	err = map_rules_parse(l, f.text, f.len, d);
	conf_file_fini(&f);
	mark_source(l, "file");
	return err;
}

int
map_rules_builtin(struct map_rules *l)
{
	int err = map_rules_parse(
	    l, (const char *)map_rules_jp, map_rules_jp_len, NULL);

	/* The tests parse it: it has no mistake. */
	UK_ASSERT(err == 0 || err == UK_ENOMEM);
	mark_source(l, "builtin");
	return err;
}
