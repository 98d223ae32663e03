#include "slots.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/err.h"

/* Rules of the types of one group go into the same sets; those of group 0 are
 * slots of their own, always. */
static unsigned
group_of(uint8_t type)
{
	switch (type) {
	case RULE_DOMAIN:
	case RULE_DOMAIN_SUFFIX:
	case RULE_DOMAIN_KEYWORD:
		return RULE_TYPES;
	case RULE_SET:
	case RULE_PORTS_LEFT:
	case RULE_DEFAULT:
		return 0;
	default:
		return type + 1u;
	}
}

static bool
same_ports(const struct rule_ports *a, const struct rule_ports *b, uint8_t n)
{
	return memcmp(a, b, n * sizeof(*a)) == 0;
}

static bool
same_conditions(const struct rules *r, uint32_t ia, uint32_t ib)
{
	const struct rule_conditions *a = &r->condition[ia];
	const struct rule_conditions *b = &r->condition[ib];

	if (ia == ib)
		return true;
	return a->protos == b->protos && a->has_uid == b->has_uid &&
	       a->uid == b->uid && a->dports == b->dports &&
	       a->sports == b->sports &&
	       same_ports(a->dport, b->dport, a->dports) &&
	       same_ports(a->sport, b->sport, a->sports) &&
	       memcmp(&a->src, &b->src, sizeof(a->src)) == 0 &&
	       memcmp(&a->dst, &b->dst, sizeof(a->dst)) == 0 &&
	       strcmp(r->names + a->process, r->names + b->process) == 0;
}

static bool
joins(const struct rules *r, const struct rule *a, const struct rule *b)
{
	return group_of(a->type) != 0 &&
	       group_of(a->type) == group_of(b->type) &&
	       a->target == b->target &&
	       same_conditions(r, a->conditions, b->conditions);
}

/* Lines end where the next one begins, so that no two runs of different lines
 * have the same hash. */
static void
hash_rules(struct slot *s, const struct rules *r)
{
	crypto_generichash_state h;

	crypto_generichash_init(&h, NULL, 0, sizeof(s->hash));
	for (uint32_t i = s->first; i < s->first + s->n; i++) {
		const struct rule *rule = &r->rule[i];
		const char *text = rule->text_len > 0 ? rule_text(r, rule) : "";

		crypto_generichash_update(
		    &h, (const uint8_t *)text, rule->text_len);
		crypto_generichash_update(&h, (const uint8_t *)"\n", 1);
	}
	crypto_generichash_final(&h, (uint8_t *)s->hash, sizeof(s->hash));
}

static struct slot
slot_of(const struct rules *r, uint32_t rule)
{
	return (struct slot){.first = rule,
	    .n = 1,
	    .target = r->rule[rule].target,
	    .always = r->rule[rule].conditions == 0};
}

static void
cut(struct slots *s, const struct rules *r)
{
	bool many = r->n > SLOTS_MANY;

	for (uint32_t i = 0; i < r->n; i++) {
		if (many && i > 0 && joins(r, &r->rule[i - 1], &r->rule[i]))
			s->item[s->n - 1].n++;
		else
			s->item[s->n++] = slot_of(r, i);
		s->of_rule[i] = (uint32_t)(s->n - 1);
	}
	for (size_t i = 0; i < s->n; i++)
		hash_rules(&s->item[i], r);
}

/* By hash; of several with the same text the first one comes first. */
static int
compare(const void *a, const void *b)
{
	const struct slot *x = *(const struct slot *const *)a;
	const struct slot *y = *(const struct slot *const *)b;
	int c = memcmp(x->hash, y->hash, sizeof(x->hash));

	if (c != 0)
		return c;
	return (x->first > y->first) - (x->first < y->first);
}

static struct slot **
sorted(const struct slots *s)
{
	struct slot **order = calloc(s->n + 1, sizeof(struct slot *));

	if (order == NULL)
		return NULL;
	for (size_t i = 0; i < s->n; i++)
		order[i] = &s->item[i];
	qsort(order, s->n, sizeof(struct slot *), compare);
	return order;
}

static int
keep_numbers(struct slots *s, const struct slots *before)
{
	struct slot **mine = sorted(s), **old = sorted(before);
	size_t i = 0, k = 0;

	while (mine != NULL && old != NULL && i < s->n && k < before->n) {
		int c =
		    memcmp(mine[i]->hash, old[k]->hash, sizeof(old[k]->hash));

		if (c == 0)
			mine[i]->number = old[k]->number;
		i += c <= 0;
		k += c >= 0;
	}
	free(mine);
	free(old);
	return mine == NULL || old == NULL ? UK_ENOMEM : 0;
}

static uint16_t
highest(const struct slots *s)
{
	uint16_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->item[i].number > n)
			n = s->item[i].number;
	return n;
}

/* From behind the last one on, so that a number rests before it is somebody
 * else's: connections of a rule that is gone still carry it. */
static int
give_numbers(struct slots *s, const struct slots *before)
{
	bool *taken = calloc(SLOTS_MAX + 1, sizeof(*taken));
	uint32_t next = before != NULL ? before->last : 0, tried = 0;

	if (taken == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; before != NULL && i < before->n; i++)
		taken[before->item[i].number] = true;
	for (size_t i = 0; i < s->n; i++) {
		if (s->item[i].number != 0)
			continue;
		do
			next = next % SLOTS_MAX + 1;
		while (tried++ < SLOTS_MAX && taken[next]);
		if (tried > SLOTS_MAX)
			break;
		s->item[i].number = (uint16_t)next;
	}
	s->last = (uint16_t)next;
	free(taken);
	return tried > SLOTS_MAX ? UK_ELIMIT : 0;
}

static int
index_numbers(struct slots *s)
{
	s->highest = highest(s);
	s->of_number = calloc(s->highest + 1u, sizeof(*s->of_number));
	if (s->of_number == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < s->n; i++)
		s->of_number[s->item[i].number] = (uint32_t)i + 1;
	return 0;
}

static int
number(struct slots *s, const struct slots *before)
{
	int err = 0;

	if (s->n > SLOTS_MAX)
		return UK_ELIMIT;
	if (before != NULL)
		err = keep_numbers(s, before);
	if (err == 0)
		err = give_numbers(s, before);
	if (err == 0)
		err = index_numbers(s);
	return err;
}

int
slots_new(struct slots **out, const struct rules *r, const struct slots *before)
{
	struct slots *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return UK_ENOMEM;
	s->item = calloc(r->n + 1, sizeof(*s->item));
	s->of_rule = calloc(r->n + 1, sizeof(*s->of_rule));
	if (s->item == NULL || s->of_rule == NULL) {
		slots_free(s);
		return UK_ENOMEM;
	}
	cut(s, r);
	err = number(s, before);
	if (err < 0) {
		slots_free(s);
		return err;
	}
	*out = s;
	return 0;
}

void
slots_free(struct slots *s)
{
	if (s == NULL)
		return;
	free(s->item);
	free(s->of_rule);
	free(s->of_number);
	free(s);
}

const struct slot *
slots_numbered(const struct slots *s, uint16_t n)
{
	if (n > s->highest || s->of_number[n] == 0)
		return NULL;
	return &s->item[s->of_number[n] - 1];
}
