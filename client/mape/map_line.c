#include "map_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"
#include "host/netcfg.h"

/* A prefix around rules: it is only too short. */
static const struct map_rule *
find_inside(const struct map_rules *rules, const struct ip_prefix *line)
{
	for (size_t i = 0; i < rules->n; i++) {
		if (ip_prefix_overlap(&rules->item[i].ipv6, line))
			return &rules->item[i];
	}
	return NULL;
}

int
map_line_find(struct map_line *l, const struct map_rules *rules,
    const struct ip_prefix *line, char why[static MAP_RULE_WHY_MAX])
{
	const struct map_rule *r = map_rules_find(rules, line);

	why[0] = 0;
	if (r == NULL)
		r = find_inside(rules, line);
	if (r == NULL)
		return UK_ENOENT;
	*l = (struct map_line){.rule = r};
	return map_ce_make(&l->ce, r, line, why);
}

/* RFC 4291 2.4: what is routed. */
static bool
is_global(const struct ip_addr *a)
{
	return a->family == FAMILY_V6 && (a->b[0] & 0xe0) == 0x20;
}

static bool
has(const struct map_lines *l, const struct map_line *line)
{
	for (size_t i = 0; i < l->n; i++) {
		if (memcmp(&l->item[i].ce.ipv6_prefix, &line->ce.ipv6_prefix,
			sizeof(line->ce.ipv6_prefix)) == 0)
			return true;
	}
	return false;
}

/* The MAP address shows more than any other that its line is here. */
static void
note_ce(struct map_lines *l, const struct map_line *line)
{
	for (size_t i = 0; i < l->n; i++) {
		if (!ip_addr_equal(&l->item[i].ce.address, &line->seen))
			continue;
		l->item[i].seen = line->seen;
		l->item[i].ifindex = line->ifindex;
		l->item[i].reason = MAP_LINE_CE_HERE;
	}
}

int
map_lines_add(struct map_lines *l, const struct map_rules *rules,
    const struct ip_addr *a, unsigned ifindex)
{
	struct ip_prefix p = {.addr = *a, .bits = 128};
	char why[MAP_RULE_WHY_MAX];
	struct map_line line, *item;

	if (!is_global(a))
		return 0;
	l->addresses++;
	if (map_line_find(&line, rules, &p, why) < 0)
		return 0;
	line.seen = *a;
	line.ifindex = ifindex;
	line.reason = MAP_LINE_SEEN;
	if (!has(l, &line) && l->n < MAP_LINES_MAX) {
		item = conf_grow(l->item, l->n, &l->cap, sizeof(*item));
		if (item == NULL)
			return UK_ENOMEM;
		l->item = item;
		item[l->n++] = line;
	}
	note_ce(l, &line);
	return 0;
}

struct walk {
	struct map_lines *l;
	const struct map_rules *rules;
	int err;
};

static bool
visit(void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	struct walk *w = arg;

	(void)bits;
	w->err = map_lines_add(w->l, w->rules, a, ifindex);
	return w->err == 0;
}

/* Where the kernel would send from is where the line is. */
static void
note_way_out(struct map_line *line, struct netcfg *n)
{
	struct netcfg_path path;

	if (line->reason != MAP_LINE_SEEN ||
	    line->rule->br.family == FAMILY_NONE ||
	    netcfg_path(n, &line->rule->br, 0, &path) < 0 ||
	    !ip_prefix_contains(&line->ce.ipv6_prefix, &path.src))
		return;
	line->reason = MAP_LINE_WAY_OUT;
	line->seen = path.src;
	line->ifindex = path.ifindex;
}

/* The best reason first; equal ones stay in the kernel's order. */
static void
sort(struct map_lines *l)
{
	for (size_t i = 1; i < l->n; i++) {
		struct map_line line = l->item[i];
		size_t j = i;

		for (; j > 0 && line.reason < l->item[j - 1].reason; j--)
			l->item[j] = l->item[j - 1];
		l->item[j] = line;
	}
}

int
map_lines_of_host(
    struct map_lines *l, const struct map_rules *rules, struct diag *d)
{
	struct walk w = {l, rules, 0};
	struct netcfg *n = NULL;
	int err;

	*l = (struct map_lines){.item = NULL};
	err = netcfg_open(&n, d);
	if (err < 0)
		return err;
	err = netcfg_addr_each(n, visit, &w);
	if (err < 0)
		diag_error(d, "cannot read this host's addresses");
	if (w.err < 0)
		diag_error(d, "out of memory");
	for (size_t i = 0; i < l->n; i++)
		note_way_out(&l->item[i], n);
	sort(l);
	netcfg_close(n);
	return w.err < 0 ? w.err : err;
}

void
map_lines_fini(struct map_lines *l)
{
	free(l->item);
	*l = (struct map_lines){.item = NULL};
}
