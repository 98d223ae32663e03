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
 * in it. Two rules make one slot: native, tunnel, block, tunnel!. ---- */

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
static struct slot item_a[] = {
    {.number = 7, .target = TARGET_NATIVE, .always = true},
    {.number = 3, .target = TARGET_TUNNEL, .always = true},
    {.number = 9, .target = TARGET_BLOCK, .always = true},
    {.number = 1, .target = TARGET_TUNNEL_ONLY, .always = true}};
static struct slot item_b[] = {
    {.number = 3, .target = TARGET_TUNNEL, .always = false},
    {.number = 8, .target = TARGET_NATIVE, .always = true},
    {.number = 4, .target = TARGET_TUNNEL_ONLY, .always = false},
    {.number = 7, .target = TARGET_BLOCK, .always = true}};
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
	bindings_tick(b, S(100 + BINDINGS_FLOOR_S) - 1, false);
	assert_string_equal(next(b), "");
	bindings_tick(b, S(100 + BINDINGS_FLOOR_S), false);
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
	bindings_tick(b, S(3600) - 1, false);
	assert_string_equal(next(b), "");
	bindings_tick(b, S(3600), false);
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
		bindings_tick(b, S(5 + t[i].lives_s) - 1, false);
		assert_false(bindings_changed(b));
		bindings_tick(b, S(5 + t[i].lives_s), false);
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
	bindings_tick(b, S(1000), false);
	assert_false(bindings_changed(b));
	/* Told, gone, and back again before anybody asked. */
	add(b, 1000, "xa", "192.0.2.1", 60);
	next(b);
	bindings_tick(b, S(2000), false);
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
	bindings_tick(b, S(400), false);
	assert_string_equal(next(b), "");
	bindings_tick(b, S(500), false);
	assert_string_equal(next(b), "-7 192.0.2.1 ");
	bindings_tick(b, S(BINDINGS_TUNNEL_S), false);
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
	bindings_tick(b, S(BINDINGS_CEILING_S), false);
	while (*next(b))
		n++;
	assert_int_equal(n, 9);
	bindings_free(b);
}

/* Neither what was to be removed and was not told, nor what was told and may
 * have failed, stays in a set. */
static void
a_removal_that_failed_is_told_again(void **state)
{
	struct bindings *b = fresh();

	(void)state;
	add(b, 0, "xa", "192.0.2.1", 60);
	next(b);
	bindings_told(b);
	bindings_tick(b, S(1000), false);
	bindings_again(b);
	for (unsigned i = 0; i < 3; i++) {
		assert_string_equal(next(b), "-7 192.0.2.1 ");
		assert_string_equal(next(b), "");
		bindings_again(b);
	}
	/* Wanted again meanwhile. */
	assert_string_equal(next(b), "-7 192.0.2.1 ");
	add(b, 1000, "xa", "192.0.2.1", 60);
	assert_string_equal(next(b), "+7 192.0.2.1 xa");
	bindings_tick(b, S(2000), false);
	assert_string_equal(next(b), "-7 192.0.2.1 ");
	bindings_told(b);
	bindings_again(b);
	assert_false(bindings_changed(b));
	/* Of what failed alone, be it told or not before. */
	add(b, 2000, "xa", "192.0.2.1", 60);
	next(b);
	bindings_told(b);
	add(b, 2000, "xa", "192.0.2.2", 60);
	next(b);
	bindings_untold(b);
	assert_string_equal(next(b), "+7 192.0.2.2 xa");
	assert_string_equal(next(b), "");
	bindings_untold(b);
	bindings_tick(b, S(3000), false);
	bool seen = false;
	for (const char *t = next(b); *t; t = next(b))
		seen = seen || strcmp(t, "-7 192.0.2.2 ") == 0;
	assert_true(seen);
	bindings_free(b);
}

/* ---- what stays beyond its answer (R8) ---- */

static bool
is_bound(const struct bindings *b, const char *a)
{
	struct ip_addr ip = addr(a);
	const char *name;

	return bindings_names(b, &ip, &name, 1) > 0;
}

/* An address that the name has is bound for so long after its answer. */
static void
lives(struct bindings *b, const char *name, uint32_t lives_s)
{
	add(b, 7, name, "192.0.2.1", 60);
	bindings_tick(b, S(7 + lives_s) - 1, false);
	assert_true(is_bound(b, "192.0.2.1"));
	bindings_tick(b, S(7 + lives_s), false);
	assert_false(is_bound(b, "192.0.2.1"));
}

static void
r8_a_kept_address_stays_for_its_rule(void **state)
{
	static const struct {
		const char *name;
		uint32_t lives_s;
	} t[] = {
	    {"xa", BINDINGS_FLOOR_S}, /* native */
	    {"xc", BINDINGS_TUNNEL_S},
	    {"xe", BINDINGS_CEILING_S}, /* block */
	    {"xg", BINDINGS_CEILING_S}, /* tunnel! */
	    {"zz", BINDINGS_TUNNEL_S}, /* none */
	    {"ag", BINDINGS_FLOOR_S}, /* native comes first */
	    {"cg", BINDINGS_TUNNEL_S},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct bindings *b = fresh();

		lives(b, t[i].name, t[i].lives_s);
		bindings_free(b);
	}
}

/* Of rules with conditions each may decide, up to the first without. */
static void
r8_conditions_let_later_rules_decide(void **state)
{
	static const struct {
		const char *name;
		uint32_t lives_s;
	} t[] = {
	    {"a", BINDINGS_TUNNEL_S},
	    {"ae", BINDINGS_CEILING_S}, /* tunnel, then tunnel! */
	    {"ac", BINDINGS_TUNNEL_S}, /* tunnel, then native */
	    {"ceg", BINDINGS_FLOOR_S}, /* native, whatever comes then */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct bindings *b = fresh();

		assert_int_equal(bindings_follow(b, &matcher_a, &slots_b), 0);
		lives(b, t[i].name, t[i].lives_s);
		bindings_free(b);
	}
}

/* A CDN gives an address to its next customer: that ends what is kept, but for
 * tunnel!. */
static void
r8_an_address_that_another_name_has(void **state)
{
	static const struct {
		const char *name;
		uint64_t after_s;
		bool stays;
	} t[] = {
	    {"xc", BINDINGS_FLOOR_S - 1, true}, /* the answer is not over */
	    {"xc", BINDINGS_FLOOR_S, false},
	    {"xe", BINDINGS_FLOOR_S - 1, true},
	    {"xe", BINDINGS_FLOOR_S, false},
	    {"xg", BINDINGS_FLOOR_S, true},
	    {"xg", BINDINGS_CEILING_S - 1, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct bindings *b = fresh();
		struct ip_addr a = addr("192.0.2.1");
		const char *name[2];

		add(b, 0, t[i].name, "192.0.2.1", 60);
		add(b, t[i].after_s, "zz", "192.0.2.1", 60);
		assert_int_equal(
		    bindings_names(b, &a, name, 2), t[i].stays ? 2 : 1);
		/* Its own answer does not. */
		add(b, 2 * BINDINGS_CEILING_S, "zz", "192.0.2.1", 60);
		assert_true(is_bound(b, "192.0.2.1"));
		bindings_free(b);
	}
}

static void
r8_an_address_in_use_stays(void **state)
{
	struct ip_addr a = addr("192.0.2.1"), none = addr("192.0.2.9");
	uint64_t day = S(BINDINGS_CEILING_S);
	struct bindings *b = fresh();

	(void)state;
	add(b, 0, "xg", "192.0.2.1", 60);
	add(b, 0, "xe", "192.0.2.1", 60);
	add(b, 0, "xg", "192.0.2.2", 60);
	bindings_use(b, day / 2, &a);
	bindings_use(b, day / 2, &none);
	bindings_tick(b, day, false);
	assert_true(is_bound(b, "192.0.2.1"));
	assert_false(is_bound(b, "192.0.2.2"));
	bindings_tick(b, day / 2 + day - 1, false);
	assert_true(is_bound(b, "192.0.2.1"));
	bindings_tick(b, day / 2 + day, false);
	assert_false(is_bound(b, "192.0.2.1"));
	bindings_free(b);
}

static void
r8_no_relay_to_see_who_uses_it(void **state)
{
	uint64_t day = S(BINDINGS_CEILING_S);
	struct bindings *b = fresh();

	(void)state;
	add(b, 0, "xg", "192.0.2.1", 60);
	add(b, 0, "xe", "192.0.2.2", 60);
	bindings_tick(b, day, true);
	assert_true(is_bound(b, "192.0.2.1"));
	assert_false(is_bound(b, "192.0.2.2")); /* block needs no relay */
	bindings_tick(b, 2 * day - 1, false);
	assert_true(is_bound(b, "192.0.2.1"));
	bindings_tick(b, 2 * day, false);
	assert_false(is_bound(b, "192.0.2.1"));
	bindings_free(b);
}

/* A reload gives names other rules, and so other times. */
static void
r8_times_follow_the_rules(void **state)
{
	struct bindings *b = fresh();

	(void)state;
	/* native; by slots_b tunnel!, or block, or tunnel with conditions. */
	add(b, 0, "b", "192.0.2.1", 60);
	add(b, 0, "h", "192.0.2.2", 60); /* tunnel! */
	add(b, 0, "d", "192.0.2.3", 60);
	assert_int_equal(bindings_follow(b, &matcher_b, &slots_a), 0);
	/* 'b' is rule 1, native; 'h' rule 0; 'd' rule 3: tunnel. */
	bindings_tick(b, S(BINDINGS_FLOOR_S), false);
	assert_false(is_bound(b, "192.0.2.1"));
	assert_false(is_bound(b, "192.0.2.2"));
	assert_true(is_bound(b, "192.0.2.3"));
	add(b, 400, "a", "192.0.2.4", 60); /* rule 7: tunnel! */
	assert_int_equal(bindings_follow(b, &matcher_a, &slots_a), 0);
	add(b, 400, "a", "192.0.2.5", 60); /* native */
	assert_int_equal(bindings_follow(b, &matcher_b, &slots_a), 0);
	bindings_tick(b, S(400 + BINDINGS_CEILING_S) - 1, false);
	assert_true(is_bound(b, "192.0.2.4"));
	assert_true(is_bound(b, "192.0.2.5"));
	assert_false(is_bound(b, "192.0.2.3"));
	bindings_free(b);
}

static bool
note(void *arg, const char *name, const struct ip_addr *a)
{
	char **to = arg, text[IP_ADDR_TEXT_MAX];

	*to += sprintf(*to, "%s %s,", name, ip_addr_format(a, text));
	return strcmp(name, "xh") != 0;
}

static void
r8_what_the_next_start_has_to_know(void **state)
{
	struct bindings *b = fresh();
	char text[200] = "", *at = text;

	(void)state;
	add(b, 0, "xa", "192.0.2.1", 60);
	add(b, 0, "xc", "192.0.2.2", 60);
	add(b, 0, "xe", "192.0.2.3", 60);
	add(b, 0, "zz", "192.0.2.4", 60);
	assert_true(bindings_kept_each(b, note, &at));
	assert_string_equal(text, "xe 192.0.2.3,");
	add(b, 0, "xh", "2001:db8::1", 60);
	at = text;
	assert_false(bindings_kept_each(b, note, &at));
	assert_non_null(strstr(text, "xh 2001:db8::1,"));
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

/* n addresses, by as many names as it takes: "g0", "g1", ... */
static void
flood(
    struct bindings *b, uint64_t now_s, char letter, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++) {
		struct ip_addr a = numbered(i);
		const char *name;
		char text[16];

		snprintf(text, sizeof(text), "%c%u", letter,
		    (unsigned)(i / BINDINGS_NAME_MAX));
		name = text;
		assert_int_equal(
		    bindings_add(b, S(now_s), &name, 1, &a, 60), 0);
	}
}

static bool
has(const struct bindings *b, uint32_t n)
{
	struct ip_addr a = numbered(n);
	const char *name;

	return bindings_names(b, &a, &name, 1) > 0;
}

static void
a_name_has_a_limit(void **state)
{
	struct bindings *b = fresh();
	struct bindings_stats st;
	const char *name = "g";
	struct ip_addr a;

	(void)state;
	add(b, 0, "h", "192.0.2.1", 60);
	for (uint32_t n = 0; n < BINDINGS_NAME_MAX; n++) {
		a = numbered(n);
		assert_int_equal(bindings_add(b, S(n), &name, 1, &a, 60), 0);
	}
	a = numbered(0); /* once more: the oldest is another one then */
	bindings_add(b, S(BINDINGS_NAME_MAX), &name, 1, &a, 60);
	a = numbered(BINDINGS_NAME_MAX);
	bindings_add(b, S(BINDINGS_NAME_MAX), &name, 1, &a, 60);
	assert_true(has(b, 0));
	assert_false(has(b, 1));
	assert_true(has(b, 2));
	assert_true(has(b, BINDINGS_NAME_MAX));
	assert_true(is_bound(b, "192.0.2.1"));
	bindings_stats(b, &st);
	assert_int_equal(st.pairs, BINDINGS_NAME_MAX + 1);
	bindings_free(b);
}

/* Who floods one rule with names takes nothing from others, and what that rule
 * itself was answered just before stays, too. */
static void
a_flooded_rule_takes_room_from_itself_alone(void **state)
{
	static const char *const own[] = {"g", "gg"}, *const other = "e",
				 *const idle = "z";
	struct bindings *b = fresh();
	struct bindings_stats st;
	struct ip_addr a = addr("192.0.2.7");
	uint32_t n = BINDINGS_MAX - 1;

	(void)state;
	add(b, 0, "xe", "192.0.2.1", 60); /* older than all of it */
	flood(b, 1, 'g', 0, n);
	assert_int_equal(bindings_add(b, S(2), own, 2, &a, 60), UK_ELIMIT);
	assert_int_equal(bindings_add(b, S(2), own, 1, &a, 60), UK_ELIMIT);
	assert_false(is_bound(b, "192.0.2.7"));
	bindings_stats(b, &st);
	assert_int_equal(st.refused, 2);
	assert_int_equal(st.pairs, BINDINGS_MAX);
	/* Names without rules take no room, and open no way around that. */
	assert_int_equal(bindings_add(b, S(2), &idle, 1, &a, 60), UK_ELIMIT);
	/* Known already. */
	flood(b, 2, 'g', 0, 1);
	/* Another rule gets room, the flooded one's oldest. */
	assert_int_equal(bindings_add(b, S(2), &other, 1, &a, 60), 0);
	assert_true(is_bound(b, "192.0.2.1"));
	assert_true(has(b, 0));
	assert_false(has(b, 1));
	/* And it itself, by what is not of now. */
	a = addr("192.0.2.8");
	assert_int_equal(
	    bindings_add(b, S(1 + BINDINGS_FLOOR_S) - 1, own, 1, &a, 60),
	    UK_ELIMIT);
	assert_int_equal(
	    bindings_add(b, S(1 + BINDINGS_FLOOR_S), own, 2, &a, 60), 0);
	assert_true(is_bound(b, "192.0.2.8"));
	assert_true(is_bound(b, "192.0.2.1"));
	assert_false(has(b, 3));
	assert_true(has(b, 4));
	bindings_stats(b, &st);
	assert_int_equal(st.pairs, BINDINGS_MAX);
	bindings_free(b);
}

/* Before tunnel! loses one, names without rules do, and then rules that nothing
 * leaks without: unless those were answered just before. */
static void
what_is_worth_least_goes_first(void **state)
{
	struct bindings *b = fresh();

	(void)state;
	flood(b, 0, 'z', 0, 10);
	flood(b, 0, 'c', 10, 10);
	flood(b, 0, 'g', 20, 5);
	flood(b, 1, 'g', 25, BINDINGS_MAX - 25);
	flood(b, 2, 'h', BINDINGS_MAX, 10);
	assert_false(has(b, 0) || has(b, 9));
	assert_true(has(b, 10));
	flood(b, BINDINGS_FLOOR_S - 1, 'e', BINDINGS_MAX + 10, 1);
	assert_true(has(b, 10));
	assert_false(has(b, 20));
	flood(b, BINDINGS_FLOOR_S, 'g', BINDINGS_MAX + 11, 10);
	assert_false(has(b, 10) || has(b, 19));
	assert_true(has(b, 21));
	flood(b, BINDINGS_FLOOR_S, 'e', BINDINGS_MAX + 21, 1);
	assert_false(has(b, 21));
	/* Of 'g' and 'h', which share a slot, the order stays over a reload. */
	assert_int_equal(bindings_follow(b, &matcher_a, &slots_b), 0);
	flood(b, 2 * BINDINGS_FLOOR_S, 'a', BINDINGS_MAX + 22, 3);
	assert_false(has(b, 22) || has(b, 23) || has(b, 24));
	assert_true(has(b, 25));
	bindings_free(b);
}

static void
idle_names_have_a_limit_of_their_own(void **state)
{
	struct bindings *b = fresh();
	struct bindings_stats st;
	unsigned left = 0;

	(void)state;
	for (uint32_t n = 0; n < BINDINGS_MAX / 8 + 3; n++)
		flood(b, n / 10, 'z', n, 1);
	bindings_stats(b, &st);
	assert_int_equal(st.pairs, BINDINGS_MAX / 8);
	assert_int_equal(st.refused, 0);
	/* Three of the oldest went. */
	for (uint32_t n = 0; n < 10; n++)
		left += has(b, n);
	assert_int_equal(left, 7);
	assert_true(has(b, 10));
	bindings_free(b);
}

/* What a flood has left does not go at once: the kernel is to be told. */
static void
a_tick_has_a_limit(void **state)
{
	uint32_t n = 2 * BINDINGS_TICK_MAX + 1, left[] = {n, 1 + n / 2, 1, 0};
	struct bindings *b = fresh();
	struct bindings_stats st;

	(void)state;
	flood(b, 0, 'g', 0, n);
	for (unsigned i = 0; i < ARRAY_LEN(left); i++) {
		bindings_stats(b, &st);
		assert_int_equal(st.pairs, left[i]);
		bindings_tick(b, S(BINDINGS_CEILING_S), false);
	}
	bindings_free(b);
}

/* ---- random answers, steps of time and reloads, against a table ---- */

#define TWIN_NAMES 24
#define TWIN_ADDRS 12
#define TWIN_SLOTS 10

struct twin_pair {
	bool is; /* bound */
	uint64_t used_s, own_s;
};

/* What the kernel was told: out, in; the same, and that may have failed; nobody
 * knows. */
enum { OUT, IN, LEAVING, ENTERING, UNKNOWN };

static bool
is_in(uint8_t told)
{
	return told == IN || told == ENTERING;
}

struct twin {
	char name[TWIN_NAMES][8];
	struct twin_pair pair[TWIN_NAMES][TWIN_ADDRS];
	uint8_t told[TWIN_SLOTS][TWIN_ADDRS];
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

static const struct slot *
slot_of(const struct twin *t, uint32_t rule)
{
	return &t->s->item[of_rule[rule]];
}

/* -1: no rule. */
static int
twin_target(const struct twin *t, unsigned i)
{
	uint32_t rule[RULES];
	size_t n = matcher_names(t->m, t->name[i], rule, RULES);
	bool says[TARGETS] = {false};

	for (size_t k = 0; k < n; k++) {
		says[slot_of(t, rule[k])->target] = true;
		if (slot_of(t, rule[k])->always)
			break;
	}
	return n == 0                     ? -1
	       : says[TARGET_TUNNEL_ONLY] ? TARGET_TUNNEL_ONLY
	       : says[TARGET_BLOCK]       ? TARGET_BLOCK
	       : says[TARGET_TUNNEL]      ? TARGET_TUNNEL
					  : TARGET_NATIVE;
}

static void
twin_tick(struct twin *t, bool hold)
{
	for (unsigned i = 0; i < TWIN_NAMES; i++) {
		int target = twin_target(t, i);
		uint64_t kept =
		    target == TARGET_NATIVE ? 0
		    : target == TARGET_BLOCK || target == TARGET_TUNNEL_ONLY
			? 86400
			: 3600;

		for (unsigned a = 0; a < TWIN_ADDRS; a++) {
			struct twin_pair *p = &t->pair[i][a];

			if (!p->is || p->own_s > t->now_s ||
			    p->used_s + kept > t->now_s)
				continue;
			if (hold && target == TARGET_TUNNEL_ONLY)
				p->used_s = t->now_s;
			else
				p->is = false;
		}
	}
}

static bool
twin_wants(const struct twin *t, uint16_t slot, unsigned a)
{
	uint32_t rule[RULES];

	for (unsigned i = 0; i < TWIN_NAMES; i++) {
		size_t n = matcher_names(t->m, t->name[i], rule, RULES);

		for (size_t k = 0; t->pair[i][a].is && k < n; k++)
			if (slot_of(t, rule[k])->number == slot)
				return true;
	}
	return false;
}

static void
twin_drain(struct twin *t, struct bindings *b)
{
	struct binding_change c;

	while (bindings_next(b, &c)) {
		uint8_t *told = &t->told[c.slot][c.addr.b[3]];

		if (c.add)
			assert_false(is_in(*told));
		else
			assert_true(is_in(*told) || *told == UNKNOWN);
		*told = c.add ? ENTERING : LEAVING;
	}
	for (uint16_t s = 0; s < TWIN_SLOTS; s++)
		for (unsigned a = 0; a < TWIN_ADDRS; a++)
			assert_int_equal(
			    is_in(t->told[s][a]), twin_wants(t, s, a));
}

static void
twin_answered(struct twin *t, unsigned i, unsigned a, uint32_t ttl_s)
{
	uint64_t own_s = t->now_s + (ttl_s < 300 ? 300 : ttl_s);
	struct twin_pair *p = &t->pair[i][a];

	if (!p->is || p->own_s < own_s)
		p->own_s = own_s;
	p->is = true;
	p->used_s = t->now_s;
}

static void
twin_claim(struct twin *t, unsigned a)
{
	for (unsigned i = 0; i < TWIN_NAMES; i++) {
		int target = twin_target(t, i);

		if (target >= 0 && target != TARGET_TUNNEL_ONLY &&
		    t->pair[i][a].own_s <= t->now_s)
			t->pair[i][a].is = false;
	}
}

static void
twin_add(struct twin *t, struct bindings *b)
{
	const char *chain[4];
	unsigned at[4], n = 1 + dice(3);
	struct ip_addr a = numbered(dice(TWIN_ADDRS));
	uint32_t ttl_s = dice(900);
	int r;

	for (unsigned i = 0; i < n; i++) {
		at[i] = dice(TWIN_NAMES); /* a name may stand there twice */
		chain[i] = t->name[at[i]];
	}
	fail_at = dice(6) == 0 ? 1 + dice(12) : 0;
	r = bindings_add(b, S(t->now_s), chain, n, &a, ttl_s);
	fail_at = 0;
	assert_true(r == 0 || r == UK_ENOMEM);
	if (r < 0)
		return;
	for (unsigned i = 0; i < n; i++)
		twin_answered(t, at[i], a.b[3], ttl_s);
	twin_claim(t, a.b[3]);
}

static void
twin_use(struct twin *t, struct bindings *b)
{
	struct ip_addr a = numbered(dice(TWIN_ADDRS));

	bindings_use(b, S(t->now_s), &a);
	for (unsigned i = 0; i < TWIN_NAMES; i++)
		if (twin_target(t, i) == TARGET_TUNNEL_ONLY)
			t->pair[i][a.b[3]].used_s = t->now_s;
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
			pairs += t->pair[i][a].is;
	bindings_stats(b, &st);
	assert_int_equal(st.pairs, pairs);
}

static void
twin_again(struct twin *t, struct bindings *b)
{
	bindings_again(b);
	for (unsigned s = 0; s < TWIN_SLOTS; s++)
		for (unsigned a = 0; a < TWIN_ADDRS; a++)
			if (t->told[s][a] != OUT)
				t->told[s][a] = UNKNOWN;
}

static void
twin_told(struct twin *t, struct bindings *b, bool ok)
{
	if (ok)
		bindings_told(b);
	else
		bindings_untold(b);
	for (unsigned s = 0; s < TWIN_SLOTS; s++) {
		for (unsigned a = 0; a < TWIN_ADDRS; a++) {
			uint8_t *told = &t->told[s][a];

			if (*told == LEAVING || *told == ENTERING)
				*told = !ok ? UNKNOWN : is_in(*told) ? IN : OUT;
		}
	}
}

static void
twin_step(struct twin *t, struct bindings *b)
{
	bool hold = dice(4) == 0;

	switch (dice(14)) {
	case 0:
		t->now_s += dice(8) == 0 ? dice(50000) : dice(300);
		break;
	case 1:
		twin_follow(t, b);
		break;
	case 2:
		twin_drain(t, b);
		break;
	case 3:
		twin_again(t, b);
		break;
	case 4:
		twin_told(t, b, dice(2));
		break;
	case 5:
		twin_use(t, b);
		break;
	default:
		twin_add(t, b);
	}
	bindings_tick(b, S(t->now_s), hold);
	twin_tick(t, hold);
	twin_check(t, b);
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
	for (unsigned step = 0; step < 8000; step++)
		twin_step(&t, b);
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
	    cmocka_unit_test(a_removal_that_failed_is_told_again),
	    cmocka_unit_test(r8_a_kept_address_stays_for_its_rule),
	    cmocka_unit_test(r8_conditions_let_later_rules_decide),
	    cmocka_unit_test(r8_an_address_that_another_name_has),
	    cmocka_unit_test(r8_an_address_in_use_stays),
	    cmocka_unit_test(r8_no_relay_to_see_who_uses_it),
	    cmocka_unit_test(r8_times_follow_the_rules),
	    cmocka_unit_test(r8_what_the_next_start_has_to_know),
	    cmocka_unit_test(a_name_has_a_limit),
	    cmocka_unit_test(a_flooded_rule_takes_room_from_itself_alone),
	    cmocka_unit_test(what_is_worth_least_goes_first),
	    cmocka_unit_test(idle_names_have_a_limit_of_their_own),
	    cmocka_unit_test(a_tick_has_a_limit),
	    cmocka_unit_test(equals_its_naive_twin),
	    cmocka_unit_test(memory_fails_at_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
