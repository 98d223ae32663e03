#include "matcher_index.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"

/* While it is built. A state's keywords, those that begin as it does, follow
 * each other in their order. */
struct keyword {
	const char *s;
	struct match at;
};

struct range {
	uint32_t first, end;
};

struct build {
	struct matcher_keywords *x;
	struct keyword *keyword;
	struct range *range; /* of each state */
	uint32_t keywords;
};

static int
compare(const void *a, const void *b)
{
	const struct keyword *x = a, *y = b;
	int order = strcmp(x->s, y->s);

	if (order != 0)
		return order;
	return matcher_before(&x->at, &y->at) ? -1 : 1;
}

static int
gather(struct build *b, const struct rules *r, size_t *letters)
{
	const uint32_t types = MATCHER_TYPE(RULE_DOMAIN_KEYWORD);
	struct matcher_walk w = {.next = 0};
	const struct rule_entry *e;
	size_t n = 0;

	*letters = 0;
	while ((e = matcher_walk(&w, r, types)) != NULL) {
		*letters += strlen(r->names + e->name);
		n++;
	}
	if (n == 0)
		return 0;
	if (n > UINT32_MAX || *letters >= UINT32_MAX)
		return UK_ENOMEM;
	b->keyword = calloc(n, sizeof(*b->keyword));
	if (b->keyword == NULL)
		return UK_ENOMEM;
	w = (struct matcher_walk){.next = 0};
	while ((e = matcher_walk(&w, r, types)) != NULL)
		b->keyword[b->keywords++] =
		    (struct keyword){r->names + e->name, w.at};
	qsort(b->keyword, n, sizeof(*b->keyword), compare);
	return 0;
}

/* The child of state s by a letter; 0: none. */
static uint32_t
child_of(const struct matcher_keywords *x, uint32_t s, uint8_t letter)
{
	if (s == 0)
		return x->root[letter];
	for (uint32_t c = x->state[s].child; c < x->state[s + 1].child; c++)
		if (x->letter[c] == letter)
			return c;
	return 0;
}

/* From s by a letter: forget from the front until some keyword goes on so. */
static uint32_t
step(const struct matcher_keywords *x, uint32_t s, uint8_t letter)
{
	uint32_t c;

	while ((c = child_of(x, s, letter)) == 0 && s != 0)
		s = x->state[s].fail;
	return c;
}

static void
add_child(struct build *b, uint32_t parent, uint8_t letter, struct range range)
{
	struct matcher_keywords *x = b->x;
	uint32_t c = x->states++;

	x->letter[c] = letter;
	b->range[c] = range;
	if (parent == 0)
		x->root[letter] = c;
	else
		x->state[c].fail = step(x, x->state[parent].fail, letter);
}

/* Its keywords by the letter at depth: those that end come first. */
static void
grow(struct build *b, uint32_t s, size_t depth)
{
	struct matcher_state *state = &b->x->state[s];
	const struct keyword *k = b->keyword;
	struct range left = b->range[s], range;

	state->first = left.first;
	while (left.first < left.end && k[left.first].s[depth] == '\0')
		left.first++;
	state->n = left.first - state->first;
	state->out = state->n > 0 ? s : b->x->state[state->fail].out;
	state->child = b->x->states;
	while (left.first < left.end) {
		char letter = k[left.first].s[depth];

		range.first = left.first;
		while (
		    left.first < left.end && k[left.first].s[depth] == letter)
			left.first++;
		range.end = left.first;
		add_child(b, s, (uint8_t)letter, range);
	}
	b->x->state[s + 1].child = b->x->states;
}

/* Breadth first: what a state fails to is nearer to the root, and done. */
static void
build(struct build *b)
{
	struct matcher_keywords *x = b->x;
	uint32_t level_end = 1;
	size_t depth = 0;

	x->states = 1;
	b->range[0] = (struct range){0, b->keywords};
	for (uint32_t s = 0; s < x->states; s++) {
		if (s == level_end) {
			level_end = x->states;
			depth++;
		}
		grow(b, s, depth);
	}
	for (uint32_t i = 0; i < b->keywords; i++)
		x->item[i] = b->keyword[i].at;
}

/* Keywords that begin alike have fewer states than letters. */
static void
shrink(struct matcher_keywords *x)
{
	void *p = realloc(x->state, (x->states + 1) * sizeof(*x->state));

	if (p != NULL)
		x->state = p;
	p = realloc(x->letter, x->states * sizeof(*x->letter));
	if (p != NULL)
		x->letter = p;
}

int
matcher_keywords_init(struct matcher_keywords *x, const struct rules *r)
{
	struct build b = {.x = x};
	size_t letters;
	int err = gather(&b, r, &letters);

	if (err < 0 || b.keywords == 0)
		return err;
	x->item = calloc(b.keywords, sizeof(*x->item));
	x->state = calloc(letters + 2, sizeof(*x->state));
	x->letter = calloc(letters + 1, sizeof(*x->letter));
	b.range = calloc(letters + 1, sizeof(*b.range));
	if (x->item == NULL || x->state == NULL || x->letter == NULL ||
	    b.range == NULL) {
		err = UK_ENOMEM;
	} else {
		build(&b);
		shrink(x);
	}
	free(b.range);
	free(b.keyword);
	return err;
}

void
matcher_keywords_fini(struct matcher_keywords *x)
{
	free(x->item);
	free(x->state);
	free(x->letter);
	*x = (struct matcher_keywords){.states = 0};
}

void
matcher_keywords_in(
    const struct matcher_keywords *x, const char *name, struct matcher_query *q)
{
	const struct matcher_state *t = x->state;
	uint32_t s = 0;

	if (x->states == 0)
		return;
	for (; *name != '\0'; name++) {
		s = step(x, s, (uint8_t)*name);
		for (uint32_t o = t[s].out; o != 0; o = t[t[o].fail].out)
			matcher_offer_list(q, x->item + t[o].first, t[o].n);
	}
}
