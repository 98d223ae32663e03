#include "binding_interest.h"

#include <stdlib.h>

#include "bindings.h"
#include "core/err.h"

/* The rules of a name can decide up to the first one without conditions. */
static enum binding_keep
keep_of(const struct slots *s, const uint32_t *rule, size_t n)
{
	static const enum binding_keep keep[TARGETS] = {
	    [TARGET_TUNNEL] = BINDING_TUNNEL,
	    [TARGET_TUNNEL_ONLY] = BINDING_FIRM,
	    [TARGET_NATIVE] = BINDING_NATIVE,
	    [TARGET_BLOCK] = BINDING_BLOCK,
	};
	enum binding_keep most = BINDING_NATIVE;

	for (size_t i = 0; i < n; i++) {
		const struct slot *slot = &s->item[s->of_rule[rule[i]]];

		if (keep[slot->target] > most)
			most = keep[slot->target];
		if (slot->always)
			break;
	}
	return most;
}

int
binding_interest_new(struct binding_interest **out, const struct matcher *m,
    const struct slots *s, const char *name)
{
	uint32_t rule[BINDINGS_RULES_MAX];
	size_t n = matcher_names(m, name, rule, ARRAY_LEN(rule));
	struct binding_interest *i;

	*out = NULL;
	if (n == 0)
		return 0;
	if (n > ARRAY_LEN(rule))
		n = ARRAY_LEN(rule);
	i = calloc(1, sizeof(*i) + n * sizeof(i->slot[0]));
	if (!i)
		return UK_ENOMEM;
	i->rule = rule[0];
	i->share = s->of_rule[rule[0]];
	i->keep = keep_of(s, rule, n);
	/* Rules are in order, and a slot's rules follow each other. */
	for (size_t k = 0; k < n; k++) {
		uint16_t slot = s->item[s->of_rule[rule[k]]].number;

		if (i->slots == 0 || i->slot[i->slots - 1] != slot)
			i->slot[i->slots++] = slot;
	}
	*out = i;
	return 0;
}

bool
binding_interest_has(const struct binding_interest *i, uint16_t slot)
{
	for (unsigned n = 0; i && n < i->slots; n++)
		if (i->slot[n] == slot)
			return true;
	return false;
}

uint64_t
binding_interest_kept_ns(const struct binding_interest *i)
{
	static const uint64_t kept_s[] = {
	    [BINDING_NATIVE] = 0,
	    [BINDING_TUNNEL] = BINDINGS_TUNNEL_S,
	    [BINDING_BLOCK] = BINDINGS_CEILING_S,
	    [BINDING_FIRM] = BINDINGS_CEILING_S,
	};

	return kept_s[i ? i->keep : BINDING_TUNNEL] * UK_NS_PER_S;
}

/* The first n sets. */
static void
leave(const struct binding_interest *i, struct binding_sets *s,
    const struct ip_addr *a, unsigned n)
{
	while (n > 0)
		binding_sets_remove(s, a, i->slot[--n]);
}

int
binding_interest_join(const struct binding_interest *i, struct binding_sets *s,
    const struct ip_addr *a)
{
	for (unsigned n = 0; i && n < i->slots; n++) {
		if (binding_sets_add(s, a, i->slot[n]) < 0) {
			leave(i, s, a, n);
			return UK_ENOMEM;
		}
	}
	return 0;
}

void
binding_interest_leave(const struct binding_interest *i, struct binding_sets *s,
    const struct ip_addr *a)
{
	if (i)
		leave(i, s, a, i->slots);
}
