#include "matcher_index.h"

#include <stdlib.h>

#include "core/err.h"

#define TYPES_NAME                                                             \
	(MATCHER_TYPE(RULE_DOMAIN) | MATCHER_TYPE(RULE_DOMAIN_SUFFIX))

struct matcher {
	const struct rules *rules;
	struct matcher_names domains, processes;
	struct matcher_keywords keywords;
	struct matcher_prefixes prefixes;
	struct match *without; /* rules that have no entries and need none */
	size_t withouts;
	uint32_t *ports_left; /* likewise, asked for what would go native */
	size_t ports_lefts;
};

const struct rules *
matcher_rules(const struct matcher *m)
{
	return m->rules;
}

bool
matcher_offer(struct matcher_query *q, const struct match *candidate)
{
	const struct rule *rule = &q->r->rule[candidate->rule];

	if (!matcher_before(candidate, &q->best))
		return false;
	if (q->f != NULL &&
	    matcher_look_conditions(q->r, rule, q->f) != MATCHER_HOLDS)
		return true;
	q->best = *candidate;
	return false;
}

void
matcher_offer_list(struct matcher_query *q, const struct match *item, size_t n)
{
	size_t i = matcher_list_from(item, n, q->floor);

	while (i < n && matcher_offer(q, &item[i]))
		i++;
}

size_t
matcher_list_from(const struct match *item, size_t n, uint32_t floor)
{
	size_t low = 0, high = n, middle;

	if (floor == 0)
		return 0;
	while (low < high) {
		middle = low + (high - low) / 2;
		if (item[middle].rule < floor)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct rule_entry *
matcher_walk(struct matcher_walk *w, const struct rules *r, uint32_t types)
{
	const struct rule *rule;
	const struct rule_entry *e;

	while (w->next_rule < r->n) {
		rule = &r->rule[w->next_rule];
		if (w->next == rule->entries) {
			w->next_rule++;
			w->next = 0;
			continue;
		}
		w->at.rule = w->next_rule;
		w->at.entry = rule->first + w->next++;
		e = &r->entry[w->at.entry];
		if ((MATCHER_TYPE(e->type) & types) != 0)
			return e;
	}
	return NULL;
}

static size_t
count_type(const struct rules *r, enum rule_type type)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->rule[i].type == type;
	return n;
}

static int
find_withouts(struct matcher *m, const struct rules *r)
{
	m->without =
	    calloc(count_type(r, RULE_DEFAULT) + 1, sizeof(*m->without));
	m->ports_left =
	    calloc(count_type(r, RULE_PORTS_LEFT) + 1, sizeof(*m->ports_left));
	if (m->without == NULL || m->ports_left == NULL)
		return UK_ENOMEM;
	for (uint32_t i = 0; i < r->n; i++) {
		if (r->rule[i].type == RULE_DEFAULT)
			m->without[m->withouts++] =
			    (struct match){i, MATCHER_NO_ENTRY};
		else if (r->rule[i].type == RULE_PORTS_LEFT)
			m->ports_left[m->ports_lefts++] = i;
	}
	return 0;
}

int
matcher_new(struct matcher **out, const struct rules *r)
{
	struct matcher *m = calloc(1, sizeof(*m));
	int err;

	*out = NULL;
	if (m == NULL)
		return UK_ENOMEM;
	m->rules = r;
	err = find_withouts(m, r);
	if (err == 0)
		err = matcher_names_init(&m->domains, r, TYPES_NAME);
	if (err == 0)
		err = matcher_names_init(
		    &m->processes, r, MATCHER_TYPE(RULE_PROCESS_NAME));
	if (err == 0)
		err = matcher_keywords_init(&m->keywords, r);
	if (err == 0)
		err = matcher_prefixes_init(&m->prefixes, r);
	if (err < 0) {
		matcher_free(m);
		return err;
	}
	*out = m;
	return 0;
}

void
matcher_free(struct matcher *m)
{
	if (m == NULL)
		return;
	free(m->without);
	free(m->ports_left);
	matcher_names_fini(&m->domains);
	matcher_names_fini(&m->processes);
	matcher_keywords_fini(&m->keywords);
	matcher_prefixes_fini(&m->prefixes);
	free(m);
}

static void
query_name(const struct matcher *m, const char *name, struct matcher_query *q)
{
	matcher_names_suffixes(&m->domains, name, q);
	matcher_keywords_in(&m->keywords, name, q);
}

/* The first rule from floor on that holds, PORTS-LEFT aside. */
static struct match
find_from(const struct matcher *m, const struct flow *f, uint32_t floor)
{
	struct matcher_query q = {
	    .r = m->rules,
	    .f = f,
	    .floor = floor,
	    .best = {(uint32_t)m->rules->n - 1, MATCHER_NO_ENTRY},
	};

	matcher_offer_list(&q, m->without, m->withouts);
	for (size_t i = 0; i < f->names; i++)
		query_name(m, f->name[i], &q);
	if (f->process != NULL)
		matcher_names_whole(&m->processes, f->process, &q);
	matcher_prefixes_flow(&m->prefixes, f, &q);
	return q.best;
}

bool
matcher_spills(const struct matcher *m, uint32_t rule, const struct flow *f)
{
	struct match behind = find_from(m, f, rule + 1);

	return m->rules->rule[behind.rule].target == TARGET_NATIVE;
}

struct match
matcher_find(const struct matcher *m, const struct flow *f)
{
	const struct rule *rule = m->rules->rule;
	struct match found = find_from(m, f, 0);

	if (rule[found.rule].target != TARGET_NATIVE)
		return found;
	for (size_t i = 0; i < m->ports_lefts; i++) {
		uint32_t at = m->ports_left[i];

		if (at > found.rule)
			break;
		if (matcher_look_conditions(m->rules, &rule[at], f) ==
		    MATCHER_HOLDS)
			return (struct match){at, MATCHER_NO_ENTRY};
	}
	return found;
}

size_t
matcher_names(
    const struct matcher *m, const char *name, uint32_t *rule, size_t cap)
{
	const struct match none = {UINT32_MAX, MATCHER_NO_ENTRY};
	struct matcher_query q = {.r = m->rules, .best = none};
	size_t n = 0;

	for (;;) {
		query_name(m, name, &q);
		if (q.best.rule == none.rule)
			return n;
		if (n < cap)
			rule[n] = q.best.rule;
		n++;
		q.floor = q.best.rule + 1;
		q.best = none;
	}
}
