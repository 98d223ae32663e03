#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/policy/bindings.h"
#include "core/err.h"
#include "failing_wrap.h"

/* ---- a policy of 8 rules: rule k holds for a name when the letter 'a' + k is
 * in it. Two rules make one slot. ---- */

#define RULES 8

struct matcher {
	const char *letters; /* of each rule; '-': none */
};

size_t
matcher_names(
    const struct matcher *m, const char *name, uint32_t *rule, size_t cap)
{
	size_t n = 0;

	for (uint32_t k = 0; k < RULES; k++) {
		if (m->letters[k] == '-' || !strchr(name, m->letters[k]))
			continue;
		if (n < cap)
			rule[n] = k;
		n++;
	}
	return n;
}

static uint32_t of_rule[RULES] = {0, 0, 1, 1, 2, 2, 3, 3};
static struct slot item_a[] = {{.first = 0, .n = 2, .number = 7},
    {.first = 2, .n = 2, .number = 3}, {.first = 4, .n = 2, .number = 9},
    {.first = 6, .n = 2, .number = 1}};
static struct slot item_b[] = {{.first = 0, .n = 2, .number = 3},
    {.first = 2, .n = 2, .number = 8}, {.first = 4, .n = 2, .number = 4},
    {.first = 6, .n = 2, .number = 7}};
static const struct slots slots_a = {
    .item = item_a, .n = 4, .of_rule = of_rule};
static const struct slots slots_b = {
    .item = item_b, .n = 4, .of_rule = of_rule};
static const struct matcher matcher_a = {"abcdefgh"};
static const struct matcher matcher_b = {"hb-d-fga"};

#define S(n) ((uint64_t)(n)*UK_NS_PER_S)

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text, strlen(text)), 0);
	return a;
}

static struct bindings *
fresh(void)
{
	struct bindings *b;

	assert_int_equal(bindings_new(&b, &matcher_a, &slots_a), 0);
	return b;
}

static int
add(struct bindings *b, uint64_t now_s, const char *name, const char *a,
    uint32_t ttl_s)
{
	struct ip_addr ip = addr(a);

	return bindings_add(b, S(now_s), &name, 1, &ip, ttl_s);
}

/* The next change as "+7 192.0.2.1 name"; "": none. */
static const char *
next(struct bindings *b)
{
	static char text[400];
	char a[IP_ADDR_TEXT_MAX];
	struct binding_change c;

	if (!bindings_next(b, &c))
		return "";
	snprintf(text, sizeof(text), "%c%u %s %s", c.add ? '+' : '-', c.slot,
	    ip_addr_format(&c.addr, a), c.name);
	return text;
}

static void
changes_of_one_name(void **state)
{
	struct bindings *b = fresh();

	(void)state;
	assert_false(bindings_changed(b));
	assert_int_equal(add(b, 0, "xa", "192.0.2.1", 60), 0);
	assert_true(bindings_changed(b));
	assert_string_equal(next(b), "+7 192.0.2.1 xa");
	assert_string_equal(next(b), "");
	assert_false(bindings_changed(b));
	/* The same once more is no change, but lives longer. */
	assert_int_equal(add(b, 100, "xa", "192.0.2.1", 60), 0);
	assert_string_equal(next(b), "");
	bindings_tick(b, S(100 + BINDINGS_FLOOR_S) - 1);
	assert_string_equal(next(b), "");
	bindings_tick(b, S(100 + BINDINGS_FLOOR_S));
	assert_string_equal(next(b), "-7 192.0.2.1 ");
	bindings_free(b);
}

static void
a_shorter_answer_takes_nothing_back(void **state)
{
	struct bindings *b = fresh();

	(void)state;
	add(b, 0, "xa", "192.0.2.1", 3600);
	next(b);
	add(b, 1, "xa", "192.0.2.1", 1);
	bindings_tick(b, S(3600) - 1);
	assert_string_equal(next(b), "");
	bindings_tick(b, S(3600));
	assert_string_equal(next(b), "-7 192.0.2.1 ");
	bindings_free(b);
}

static void
times_have_a_floor_and_a_ceiling(void **state)
{
	static const struct {
		uint32_t ttl_s, lives_s;
	} t[] = {
	    {0, BINDINGS_FLOOR_S},
	    {BINDINGS_FLOOR_S, BINDINGS_FLOOR_S},
	    {BINDINGS_FLOOR_S + 1, BINDINGS_FLOOR_S + 1},
	    {BINDINGS_CEILING_S - 1, BINDINGS_CEILING_S - 1},
	    {BINDINGS_CEILING_S + 1, BINDINGS_CEILING_S},
	    {UINT32_MAX, BINDINGS_CEILING_S},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct bindings *b = fresh();

		add(b, 5, "xa", "2001:db8::1", t[i].ttl_s);
		next(b);
		bindings_tick(b, S(5 + t[i].lives_s) - 1);
		assert_false(bindings_changed(b));
		bindings_tick(b, S(5 + t[i].lives_s));
		assert_true(bindings_changed(b));
		bindings_free(b);
	}
}

static void
came_and_went_is_not_told(void **state)
{
	struct bindings *b = fresh();

	(void)state;
	add(b, 0, "xa", "192.0.2.1", 60);
	bindings_tick(b, S(1000));
	assert_false(bindings_changed(b));
	/* Told, gone, and back again before anybody asked. */
	add(b, 1000, "xa", "192.0.2.1", 60);
	next(b);
	bindings_tick(b, S(2000));
	assert_true(bindings_changed(b));
	add(b, 2000, "xa", "192.0.2.1", 60);
	assert_false(bindings_changed(b));
	bindings_free(b);
}

static void
names_share_addresses_and_slots(void **state)
{
	struct bindings *b = fresh();

	(void)state;
	add(b, 0, "xa", "192.0.2.1", 400);
	add(b, 0, "xb", "192.0.2.1", 500); /* the same slot */
	add(b, 0, "xc", "192.0.2.1", 600);
	assert_string_equal(next(b), "+7 192.0.2.1 xa");
	assert_string_equal(next(b), "+3 192.0.2.1 xc");
	bindings_tick(b, S(400));
	assert_string_equal(next(b), "");
	bindings_tick(b, S(500));
	assert_string_equal(next(b), "-7 192.0.2.1 ");
	bindings_tick(b, S(600));
	assert_string_equal(next(b), "-3 192.0.2.1 ");
	bindings_free(b);
}

static void
a_chain_binds_all_its_names(void **state)
{
	static const char *const chain[] = {"www", "xa", "cdn.e"};
	struct bindings *b = fresh();
	struct ip_addr a = addr("192.0.2.1");
	const char *name[4];

	(void)state;
	assert_int_equal(bindings_add(b, 0, chain, 3, &a, 60), 0);
	assert_string_equal(next(b), "+7 192.0.2.1 xa");
	assert_string_equal(next(b), "+3 192.0.2.1 cdn.e");
	assert_string_equal(next(b), "+9 192.0.2.1 cdn.e");
	assert_int_equal(bindings_names(b, &a, name, 4), 3);
	assert_string_equal(name[0], "www");
	assert_int_equal(bindings_names(b, &a, name, 1), 3);
	a = addr("192.0.2.2");
	assert_int_equal(bindings_names(b, &a, name, 4), 0);
	bindings_free(b);
}

static bool
keep_first(void *arg, const struct binding_collision *c)
{
	*(struct binding_collision *)arg = *c;
	return false;
}

static void
collisions_are_of_different_rules(void **state)
{
	struct bindings *b = fresh();
	struct binding_collision c = {.rule = {99, 99}};

	(void)state;
	add(b, 0, "xc", "192.0.2.1", 60);
	add(b, 0, "yc", "192.0.2.1", 60); /* the same rule */
	add(b, 0, "zzz", "192.0.2.1", 60); /* none */
	bindings_collisions(b, keep_first, &c);
	assert_int_equal(c.rule[0], 99);
	add(b, 0, "xh", "192.0.2.1", 60);
	add(b, 0, "xb", "192.0.2.1", 60);
	bindings_collisions(b, keep_first, &c);
	assert_int_equal(c.rule[0], 1);
	assert_string_equal(c.name[0], "xb");
	assert_int_equal(c.rule[1], 2);
	assert_string_equal(c.name[1], "xc");
	bindings_free(b);
}

static void
another_policy_tells_all_from_empty_sets(void **state)
{
	struct bindings *b = fresh();

	(void)state;
	add(b, 0, "xa", "192.0.2.1", 400);
	add(b, 0, "xc", "192.0.2.2", 400);
	add(b, 0, "x-h", "192.0.2.3", 400);
	while (*next(b))
		;
	assert_int_equal(bindings_follow(b, &matcher_b, &slots_b), 0);
	/* 'a' is rule 7 now, 'c' none, 'h' rule 0; in no order. */
	bool seen[2] = {false};
	for (const char *s = next(b); *s; s = next(b)) {
		seen[0] = seen[0] || strcmp(s, "+7 192.0.2.1 xa") == 0;
		seen[1] = seen[1] || strcmp(s, "+3 192.0.2.3 x-h") == 0;
	}
	assert_true(seen[0] && seen[1]);
	/* The name that nobody cared for meanwhile is known. */
	assert_int_equal(bindings_follow(b, &matcher_a, &slots_a), 0);
	unsigned n = 0;
	while (*next(b))
		n++;
	assert_int_equal(n, 3);
	bindings_again(b);
	while (*next(b))
		n++;
	assert_int_equal(n, 6);
	bindings_tick(b, S(400));
	while (*next(b))
		n++;
	assert_int_equal(n, 9);
	bindings_free(b);
}

/* What is told again after a removal that was not: nothing of it is left. */
static void
again_after_an_untold_removal(void **state)
{
	struct bindings *b = fresh();

	(void)state;
	add(b, 0, "xa", "192.0.2.1", 60);
	next(b);
	bindings_tick(b, S(1000));
	assert_true(bindings_changed(b));
	bindings_again(b);
	assert_false(bindings_changed(b));
	bindings_free(b);
}

static struct ip_addr
numbered(uint32_t n)
{
	struct ip_addr a = {.family = FAMILY_V4};

	a.b[0] = 10;
	a.b[1] = (uint8_t)(n >> 16);
	a.b[2] = (uint8_t)(n >> 8);
	a.b[3] = (uint8_t)n;
	return a;
}

static void
pairs_have_a_limit(void **state)
{
	static const char *const chain[] = {"xa", "xb"};
	struct bindings *b = fresh();
	struct bindings_stats st;
	const char *idle = "zzz";
	struct ip_addr a;
	uint32_t n = 0;

	(void)state;
	for (; n < BINDINGS_MAX - 1; n++) {
		a = numbered(n);
		assert_int_equal(bindings_add(b, 0, chain, 1, &a, 60), 0);
	}
	/* Names without rules never take room from others. */
	a = numbered(n);
	assert_int_equal(bindings_add(b, 0, &idle, 1, &a, 60), 0);
	a = numbered(n + 1);
	assert_int_equal(bindings_add(b, 0, chain, 2, &a, 60), UK_ELIMIT);
	assert_int_equal(bindings_names(b, &a, &idle, 1), 0);
	assert_int_equal(bindings_add(b, 0, chain, 1, &a, 60), 0);
	bindings_stats(b, &st);
	assert_int_equal(st.pairs, BINDINGS_MAX);
	assert_int_equal(st.names, 1);
	assert_int_equal(st.refused, 1);
	a = numbered(0); /* known already */
	assert_int_equal(bindings_add(b, 0, chain, 1, &a, 60), 0);
	a = numbered(n + 2);
	assert_int_equal(bindings_add(b, 0, chain, 1, &a, 60), UK_ELIMIT);
	bindings_tick(b, S(BINDINGS_FLOOR_S));
	assert_int_equal(bindings_add(b, 0, chain, 2, &a, 60), 0);
	bindings_free(b);
}

static void
idle_names_have_a_limit_of_their_own(void **state)
{
	struct bindings *b = fresh();
	struct bindings_stats st;
	const char *idle = "zzz", *name;

	(void)state;
	for (uint32_t n = 0; n < BINDINGS_MAX / 8 + 3; n++) {
		struct ip_addr a = numbered(n);

		assert_int_equal(
		    bindings_add(b, n * 1000, &idle, 1, &a, 60), 0);
	}
	bindings_stats(b, &st);
	assert_int_equal(st.pairs, BINDINGS_MAX / 8);
	assert_int_equal(st.refused, 0);
	struct ip_addr a = numbered(2); /* the oldest went */
	assert_int_equal(bindings_names(b, &a, &name, 1), 0);
	a = numbered(3);
	assert_int_equal(bindings_names(b, &a, &name, 1), 1);
	bindings_free(b);
}

/* ---- random answers, steps of time and reloads, against a table ---- */

#define TWIN_NAMES 24
#define TWIN_ADDRS 12
#define TWIN_SLOTS 10

struct twin {
	char name[TWIN_NAMES][8];
	uint64_t until[TWIN_NAMES][TWIN_ADDRS];
	bool told[TWIN_SLOTS][TWIN_ADDRS];
	const struct matcher *m;
	const struct slots *s;
	uint64_t now_s;
};

static uint32_t seed = 20;

static uint32_t
dice(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static bool
twin_wants(const struct twin *t, uint16_t slot, unsigned a)
{
	uint32_t rule[RULES];

	for (unsigned i = 0; i < TWIN_NAMES; i++) {
		size_t n = matcher_names(t->m, t->name[i], rule, RULES);

		for (size_t k = 0; t->until[i][a] > t->now_s && k < n; k++)
			if (t->s->item[of_rule[rule[k]]].number == slot)
				return true;
	}
	return false;
}

static void
twin_drain(struct twin *t, struct bindings *b)
{
	struct binding_change c;

	while (bindings_next(b, &c)) {
		bool *told = &t->told[c.slot][c.addr.b[3]];

		assert_int_not_equal(*told, c.add);
		*told = c.add;
	}
	for (uint16_t s = 0; s < TWIN_SLOTS; s++)
		for (unsigned a = 0; a < TWIN_ADDRS; a++)
			assert_int_equal(t->told[s][a], twin_wants(t, s, a));
}

static void
twin_add(struct twin *t, struct bindings *b)
{
	const char *chain[4];
	unsigned at[4], n = 1 + dice(3);
	struct ip_addr a = numbered(dice(TWIN_ADDRS));
	uint32_t ttl_s = dice(900);
	uint64_t until = t->now_s + (ttl_s < 300 ? 300 : ttl_s);
	int r;

	for (unsigned i = 0; i < n; i++) {
		at[i] = dice(TWIN_NAMES); /* a name may stand there twice */
		chain[i] = t->name[at[i]];
	}
	fail_at = dice(6) == 0 ? 1 + dice(12) : 0;
	r = bindings_add(b, S(t->now_s), chain, n, &a, ttl_s);
	fail_at = 0;
	assert_true(r == 0 || r == UK_ENOMEM);
	for (unsigned i = 0; r == 0 && i < n; i++)
		if (t->until[at[i]][a.b[3]] < until)
			t->until[at[i]][a.b[3]] = until;
}

static void
twin_follow(struct twin *t, struct bindings *b)
{
	const struct matcher *m = dice(2) ? &matcher_a : &matcher_b;
	const struct slots *s = dice(2) ? &slots_a : &slots_b;
	int r;

	fail_at = dice(2) ? 1 + dice(40) : 0;
	r = bindings_follow(b, m, s);
	fail_at = 0;
	if (r < 0) {
		assert_int_equal(r, UK_ENOMEM);
		return;
	}
	t->m = m;
	t->s = s;
	memset(t->told, 0, sizeof(t->told));
}

static void
twin_check(const struct twin *t, const struct bindings *b)
{
	struct bindings_stats st;
	uint32_t pairs = 0;

	for (unsigned i = 0; i < TWIN_NAMES; i++)
		for (unsigned a = 0; a < TWIN_ADDRS; a++)
			pairs += t->until[i][a] > t->now_s;
	bindings_stats(b, &st);
	assert_int_equal(st.pairs, pairs);
}

static void
equals_its_naive_twin(void **state)
{
	static struct twin t;
	struct bindings *b = fresh();

	(void)state;
	t.m = &matcher_a;
	t.s = &slots_a;
	t.now_s = 1;
	for (unsigned i = 0; i < TWIN_NAMES; i++)
		snprintf(t.name[i], sizeof(t.name[i]), "%c%c%c", 'a' + dice(8),
		    'i' + i, dice(3) ? 'z' : 'a' + dice(8));
	for (unsigned step = 0; step < 6000; step++) {
		switch (dice(12)) {
		case 0:
			t.now_s += dice(300);
			bindings_tick(b, S(t.now_s));
			break;
		case 1:
			twin_follow(&t, b);
			break;
		case 2:
			twin_drain(&t, b);
			break;
		case 3:
			bindings_again(b);
			memset(t.told, 0, sizeof(t.told));
			break;
		default:
			twin_add(&t, b);
		}
		bindings_tick(b, S(t.now_s));
		twin_check(&t, b);
	}
	twin_drain(&t, b);
	bindings_free(b);
}

static void
memory_fails_at_the_start(void **state)
{
	struct bindings *b;
	int r = UK_ENOMEM;

	(void)state;
	for (unsigned n = 1; r < 0; n++) {
		fail_at = n;
		r = bindings_new(&b, &matcher_a, &slots_a);
		fail_at = 0;
		assert_true(r == 0 || (r == UK_ENOMEM && b == NULL));
		assert_true(n < 20);
	}
	bindings_free(b);
	bindings_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(changes_of_one_name),
	    cmocka_unit_test(a_shorter_answer_takes_nothing_back),
	    cmocka_unit_test(times_have_a_floor_and_a_ceiling),
	    cmocka_unit_test(came_and_went_is_not_told),
	    cmocka_unit_test(names_share_addresses_and_slots),
	    cmocka_unit_test(a_chain_binds_all_its_names),
	    cmocka_unit_test(collisions_are_of_different_rules),
	    cmocka_unit_test(another_policy_tells_all_from_empty_sets),
	    cmocka_unit_test(again_after_an_untold_removal),
	    cmocka_unit_test(pairs_have_a_limit),
	    cmocka_unit_test(idle_names_have_a_limit_of_their_own),
	    cmocka_unit_test(equals_its_naive_twin),
	    cmocka_unit_test(memory_fails_at_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
