#include "plan.h"

#include <string.h>

/* KB 929851: num at least 255, start at least 1025. */
const struct ports_limits ports_limits_windows = {
    .low_min = 1025,
    .span_min = 255,
    .used_can_be_kept = false,
};

void
ports_of_line(struct port_set *s, const struct map_ports *line)
{
	uint16_t low, high;

	memset(s, 0, sizeof(*s));
	for (uint32_t i = 0; i < map_ports_ranges(line); i++) {
		map_ports_range(line, i, &low, &high);
		port_set_add(s, low, high);
	}
}

static void
drawable_set(struct port_set *s, const struct ports_before *b)
{
	memset(s, 0, sizeof(*s));
	port_set_add(s, b->low, b->high);
	port_set_minus(s, &b->kept);
	port_set_minus(s, &b->passing);
	port_set_minus(s, &b->ours);
}

uint32_t
ports_drawable(const struct ports_before *b, const struct map_ports *line)
{
	struct port_set own, now;

	ports_of_line(&own, line);
	drawable_set(&now, b);
	port_set_and(&own, &now);
	return port_set_count(&own);
}

/* What a range has to be made of. */
struct search {
	const struct ports_limits *l;
	struct port_set usable; /* the line's, not kept out by others */
	struct port_set avoid; /* must not come inside */
	uint16_t low, high; /* the best so far */
	uint32_t own; /* 0: none yet */
};

static void
consider(struct search *s, uint16_t low, uint16_t high)
{
	uint32_t own = port_set_count_in(&s->usable, low, high);

	if (own <= s->own || (uint32_t)high - low + 1 < s->l->span_min)
		return;
	s->low = low;
	s->high = high;
	s->own = own;
}

/* Make a range begin and end with ports of the line; false: it has none. */
static bool
trim(const struct port_set *own, uint16_t *low, uint16_t *high)
{
	uint16_t first, last, begin = 0, end = 0;
	uint32_t from = *low;
	bool any = false;

	while (port_set_next(own, &from, &first, &last) && first <= *high) {
		begin = any ? begin : first;
		end = last < *high ? last : *high;
		any = true;
	}
	*low = begin;
	*high = end;
	return any;
}

/* Of the ranges with nothing to avoid inside, the one with the most of the
 * line's ports. */
static void
find_range(struct search *s, const struct port_set *own)
{
	struct port_set allowed = {{0}};
	uint16_t low, high;
	uint32_t from = 0;

	port_set_add(&allowed, s->l->low_min, UINT16_MAX);
	port_set_minus(&allowed, &s->avoid);
	while (port_set_next(&allowed, &from, &low, &high))
		if (trim(own, &low, &high))
			consider(s, low, high);
}

/* Listeners on ports that are not drawn now. */
static void
find_fixed(struct port_set *fixed, const struct ports_before *b)
{
	struct port_set now;

	drawable_set(&now, b);
	*fixed = b->used;
	port_set_minus(fixed, &now);
	port_set_minus(fixed, &b->kept);
}

/* The listeners that would have come inside without care: between the line's
 * first port and its last. */
static void
keep_between(struct port_set *s, const struct port_set *own)
{
	struct port_set between = {{0}};
	uint16_t low = 0, high = UINT16_MAX;

	if (trim(own, &low, &high))
		port_set_add(&between, low, high);
	port_set_and(s, &between);
}

static void
fill_range(struct ports_plan *p, const struct search *s,
    const struct ports_before *b, const struct port_set *fixed)
{
	struct port_set drawn = s->usable;

	p->low = s->low;
	p->high = s->high;
	if (s->l->used_can_be_kept)
		port_set_minus(&drawn, fixed);
	port_set_add(&p->keep, p->low, p->high);
	port_set_minus(&p->keep, &drawn);
	port_set_minus(&p->keep, &b->kept);
	if (!s->l->used_can_be_kept) {
		p->others = p->keep;
		port_set_and(&p->others, &b->used);
		port_set_minus(&p->keep, &b->used);
	}
	p->own_after = port_set_count_in(&drawn, p->low, p->high);
}

void
ports_plan(struct ports_plan *p, const struct ports_before *b,
    const struct map_ports *line, const struct ports_limits *l)
{
	struct search s = {.l = l};
	struct port_set own, fixed;

	memset(p, 0, sizeof(*p));
	ports_of_line(&own, line);
	p->own = port_set_count(&own);
	p->own_before = ports_drawable(b, line);
	if (line->psid_len == 0) {
		p->refusal = PORTS_WHOLE;
		return;
	}
	s.usable = own;
	port_set_minus(&s.usable, &b->kept);
	p->own_kept = p->own - port_set_count(&s.usable);
	find_fixed(&fixed, b);
	p->listeners = fixed;
	if (l->used_can_be_kept) {
		/* Between the line's ports everything is kept out anyway. */
		port_set_and(&p->listeners, &own);
	} else {
		keep_between(&p->listeners, &own);
		s.avoid = fixed;
	}
	find_range(&s, &own);
	if (s.own == 0) {
		p->refusal = port_set_count(&p->listeners) > 0
				 ? PORTS_STRANDS
				 : PORTS_NONE_FREE;
		return;
	}
	fill_range(p, &s, b, &fixed);
	if (p->own_after < PORTS_LEFT_MIN)
		p->refusal = port_set_count(&p->listeners) > 0 ? PORTS_STRANDS
							       : PORTS_TOO_FEW;
}

bool
ports_plan_is_done(const struct ports_plan *p, const struct ports_before *b)
{
	return p->refusal == PORTS_PLANNED && p->low == b->low &&
	       p->high == b->high &&
	       memcmp(&p->keep, &b->ours, sizeof(p->keep)) == 0;
}
