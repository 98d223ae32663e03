#include "ruleset.h"

#include <stdlib.h>
#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"
#include "ruleset_parts.h"

/* The kernel's limit on jumps (NFT_JUMP_STACK_SIZE). */
#define DEPTH_MAX 16
/* Rules looked at for one packet: somebody may have chains that jump to each
 * other so often that the walk would take for ever. */
#define STEPS_MAX 200000

enum answer
answer_least(enum answer a, enum answer b)
{
	return a < b ? a : b;
}

enum answer
answer_most(enum answer a, enum answer b)
{
	return a > b ? a : b;
}

enum answer
answer_not(enum answer a)
{
	if (a == ANSWER_MAYBE)
		return a;
	return a == ANSWER_YES ? ANSWER_NO : ANSWER_YES;
}

enum answer
answer_of(bool yes)
{
	return yes ? ANSWER_YES : ANSWER_NO;
}

enum answer
answer_interface(const char *name, const char *pattern, char wildcard)
{
	size_t len = strlen(pattern);

	if (len > 0 && pattern[len - 1] == wildcard) {
		if (len == 1)
			return ANSWER_YES;
		if (name[0] == '\0')
			return ANSWER_MAYBE;
		return answer_of(strncmp(name, pattern, len - 1) == 0);
	}
	/* What is not known is at least not the loopback. */
	if (name[0] == '\0')
		return strcmp(pattern, "lo") == 0 ? ANSWER_NO : ANSWER_MAYBE;
	return answer_of(strcmp(name, pattern) == 0);
}

struct chain *
ruleset_add_chain(struct ruleset *r)
{
	struct chain *to = conf_grow(r->chain, r->chains, &r->cap, sizeof(*to));

	if (to == NULL)
		return NULL;
	r->chain = to;
	to += r->chains++;
	*to = (struct chain){.base = false};
	return to;
}

int
ruleset_add_rule(struct chain *c, const void *rule)
{
	const void **to = conf_grow(c->rule, c->rules, &c->cap, sizeof(*to));

	if (to == NULL)
		return UK_ENOMEM;
	c->rule = to;
	to[c->rules++] = rule;
	return 0;
}

struct chain *
ruleset_find(const struct ruleset *r, const char *family, const char *table,
    const char *name)
{
	for (size_t i = 0; i < r->chains; i++) {
		struct chain *c = &r->chain[i];

		if (strcmp(c->id.name, name) == 0 &&
		    strcmp(c->id.table, table) == 0 &&
		    (family == NULL || strcmp(c->id.family, family) == 0))
			return c;
	}
	return NULL;
}

bool
ruleset_has_chain(const struct ruleset *r, const char *family,
    const char *table, const char *name)
{
	return ruleset_find(r, family, table, name) != NULL;
}

void
ruleset_free(struct ruleset *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->chains; i++)
		free(r->chain[i].rule);
	free(r->chain);
	if (r->source_free != NULL)
		r->source_free(r->source);
	free(r);
}

struct walk {
	const struct ruleset *r;
	const struct ruleset_packet *p;
	unsigned depth;
	unsigned steps;
	bool perhaps_accepted; /* by a rule whose conditions are unknown */
};

static enum action follow_chain(struct walk *w, const struct chain *c);

/* Where a jump leads to; ACTION_NEXT when it comes back. */
static enum action
follow_jump(struct walk *w, const struct chain *from, const struct step *s)
{
	const struct chain *to =
	    ruleset_find(w->r, from->id.family, from->id.table, s->target);
	enum action a;

	if (to == NULL || w->depth == DEPTH_MAX)
		return ACTION_NEXT;
	w->depth++;
	a = follow_chain(w, to);
	w->depth--;
	return a;
}

/* The verdict on the packet, ACTION_NEXT: none in this chain. A rule that may
 * match may accept, but does not drop. */
static enum action
follow_chain(struct walk *w, const struct chain *c)
{
	bool certain = true; /* the packet comes to this rule */

	for (size_t i = 0; i < c->rules && w->steps++ < STEPS_MAX; i++) {
		struct step s = w->r->step(w->r, c, c->rule[i], w->p);
		enum action a = s.action;

		if (s.match == ANSWER_NO || a == ACTION_NEXT)
			continue;
		if (a == ACTION_JUMP || a == ACTION_GOTO)
			a = follow_jump(w, c, &s);
		if (a == ACTION_NEXT && s.action == ACTION_GOTO)
			a = ACTION_RETURN;
		if (a == ACTION_RETURN && s.match == ANSWER_MAYBE)
			certain = false;
		else if (a == ACTION_RETURN)
			return ACTION_NEXT;
		if (a == ACTION_DROP && s.match == ANSWER_YES && certain)
			return ACTION_DROP;
		if (a == ACTION_ACCEPT && s.match == ANSWER_YES && certain)
			return ACTION_ACCEPT;
		w->perhaps_accepted |= a == ACTION_ACCEPT;
	}
	return ACTION_NEXT;
}

static enum ruleset_outcome
follow_base(const struct ruleset *r, const struct chain *c,
    const struct ruleset_packet *p)
{
	struct walk w = {.r = r, .p = p};
	enum action a = follow_chain(&w, c);

	if (a == ACTION_NEXT)
		a = c->drops ? ACTION_DROP : ACTION_ACCEPT;
	if (a == ACTION_ACCEPT)
		return RULESET_PASSES;
	return w.perhaps_accepted ? RULESET_MAY_DROP : RULESET_DROPS;
}

static bool
passes_through(const struct chain *c, const struct ruleset_packet *p)
{
	const char *family = p->family == FAMILY_V4 ? "ip" : "ip6";

	if (!c->base || (strcmp(c->id.family, family) != 0 &&
			    strcmp(c->id.family, "inet") != 0))
		return false;
	return strcmp(c->id.hook, "prerouting") == 0 ||
	       strcmp(c->id.hook, p->forwarded ? "forward" : "input") == 0;
}

void
ruleset_follow(const struct ruleset *r, const struct ruleset_packet *p,
    bool (*visit)(void *arg, const struct ruleset_chain *chain,
	enum ruleset_outcome outcome),
    void *arg)
{
	for (size_t i = 0; i < r->chains; i++) {
		const struct chain *c = &r->chain[i];
		enum ruleset_outcome o;

		if (!passes_through(c, p))
			continue;
		o = follow_base(r, c, p);
		if (o != RULESET_PASSES && !visit(arg, &c->id, o))
			return;
	}
}
