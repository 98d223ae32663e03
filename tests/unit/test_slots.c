/* slots: cuts, and numbers that stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/slots.h"
#include "core/err.h"
#include "rules_lab.h"

static void
add(struct rules_lab *l, enum rule_type type, enum rule_target target,
    const char *text)
{
	rules_lab_rule(l, type, target, text);
}

static struct slots *
slots_of(const struct rules_lab *l, const struct slots *before)
{
	struct slots *s;

	assert_int_equal(slots_new(&s, &l->r, before), 0);
	return s;
}

static void
test_few_rules_are_slots_each(void **state)
{
	struct rules_lab l;
	struct slots *s;

	(void)state;
	rules_lab_init(&l);
	add(&l, RULE_DOMAIN, TARGET_TUNNEL, "DOMAIN,a,tunnel");
	add(&l, RULE_DOMAIN, TARGET_TUNNEL, "DOMAIN,b,tunnel");
	rules_lab_conditions(&l)->protos = RULE_TCP;
	add(&l, RULE_DEFAULT, TARGET_NATIVE, "");
	s = slots_of(&l, NULL);
	assert_int_equal(s->n, 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(
		    s->item[i].target, i < 2 ? TARGET_TUNNEL : TARGET_NATIVE);
		assert_int_equal(s->item[i].always, i != 1);
		assert_int_equal(s->item[i].number, i + 1);
		assert_int_equal(s->of_rule[i], i);
		assert_ptr_equal(
		    slots_numbered(s, (uint16_t)(i + 1)), &s->item[i]);
	}
	assert_null(slots_numbered(s, 0));
	assert_null(slots_numbered(s, 4));
	assert_null(slots_numbered(s, UINT16_MAX));
	slots_free(s);
	slots_free(NULL);
	rules_lab_fini(&l);
}

/* Of two rules at the end of many: do they make one slot? */
static bool
joined(enum rule_type ta, enum rule_target ga, enum rule_type tb,
    enum rule_target gb, const struct rule_conditions *cb)
{
	struct rules_lab l;
	struct slots *s;
	bool r;

	rules_lab_init(&l);
	for (unsigned i = 0; i < SLOTS_MANY; i++)
		add(&l, RULE_PORTS_LEFT, TARGET_TUNNEL, "PORTS-LEFT,<1,tunnel");
	add(&l, ta, ga, "a");
	add(&l, tb, gb, "b");
	if (cb != NULL)
		*rules_lab_conditions(&l) = *cb;
	s = slots_of(&l, NULL);
	r = s->n == SLOTS_MANY + 1;
	assert_true(r || s->n == SLOTS_MANY + 2);
	slots_free(s);
	rules_lab_fini(&l);
	return r;
}

static void
test_many_rules_join_when_alike(void **state)
{
	struct rule_conditions c[] = {{.protos = RULE_TCP}, {.has_uid = true},
	    {.dports = 1, .dport = {{1, 2}}}, {.sports = 1, .sport = {{1, 2}}},
	    {.src = rules_lab_prefix("192.0.2.0/24")},
	    {.dst = rules_lab_prefix("192.0.2.0/24")}};
	struct rule_conditions none = {.protos = 0};

	(void)state;
	assert_true(joined(RULE_DOMAIN, TARGET_TUNNEL, RULE_DOMAIN_SUFFIX,
	    TARGET_TUNNEL, NULL));
	assert_true(joined(
	    RULE_IP_CIDR, TARGET_BLOCK, RULE_IP_CIDR, TARGET_BLOCK, &none));
	assert_false(joined(
	    RULE_IP_CIDR, TARGET_BLOCK, RULE_IP_CIDR, TARGET_NATIVE, NULL));
	assert_false(joined(
	    RULE_IP_CIDR, TARGET_BLOCK, RULE_SRC_IP_CIDR, TARGET_BLOCK, NULL));
	assert_false(joined(
	    RULE_DOMAIN, TARGET_BLOCK, RULE_IP_CIDR, TARGET_BLOCK, NULL));
	assert_false(
	    joined(RULE_SET, TARGET_BLOCK, RULE_SET, TARGET_BLOCK, NULL));
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		assert_false(joined(RULE_IP_CIDR, TARGET_BLOCK, RULE_IP_CIDR,
		    TARGET_BLOCK, &c[i]));
}

static void
test_numbers_stay_with_the_text(void **state)
{
	struct rules_lab a, b;
	struct slots *s, *t;

	(void)state;
	rules_lab_init(&a);
	add(&a, RULE_DOMAIN, TARGET_TUNNEL, "one");
	add(&a, RULE_DOMAIN, TARGET_TUNNEL, "two");
	add(&a, RULE_DOMAIN, TARGET_TUNNEL, "two");
	add(&a, RULE_DEFAULT, TARGET_NATIVE, "");
	s = slots_of(&a, NULL);
	rules_lab_init(&b);
	add(&b, RULE_DOMAIN, TARGET_TUNNEL, "new");
	add(&b, RULE_DOMAIN, TARGET_TUNNEL, "two");
	add(&b, RULE_DOMAIN, TARGET_TUNNEL, "two");
	add(&b, RULE_DOMAIN, TARGET_TUNNEL, "two");
	add(&b, RULE_DEFAULT, TARGET_NATIVE, "");
	t = slots_of(&b, s);
	assert_int_equal(t->item[0].number, 5);
	assert_int_equal(t->item[1].number, 2);
	assert_int_equal(t->item[2].number, 3);
	assert_int_equal(t->item[3].number, 6);
	assert_int_equal(t->item[4].number, 4);
	assert_null(slots_numbered(t, 1));
	slots_free(s);
	slots_free(t);
	rules_lab_fini(&a);
	rules_lab_fini(&b);
}

/* A number that is gone is not given to another rule at once, nor is one that
 * is still there, when numbers come round. */
static void
test_numbers_come_round(void **state)
{
	struct rules_lab l;
	struct slots *s, *t;

	(void)state;
	rules_lab_init(&l);
	add(&l, RULE_DOMAIN, TARGET_TUNNEL, "one");
	add(&l, RULE_DEFAULT, TARGET_NATIVE, "");
	s = slots_of(&l, NULL);
	s->item[0].number = SLOTS_MAX;
	s->item[1].number = 1;
	s->last = SLOTS_MAX;
	add(&l, RULE_DOMAIN, TARGET_TUNNEL, "two");
	t = slots_of(&l, s);
	assert_int_equal(t->item[0].number, SLOTS_MAX);
	assert_int_equal(t->item[1].number, 1);
	assert_int_equal(t->item[2].number, 2);
	slots_free(s);
	slots_free(t);
	rules_lab_fini(&l);
}

/* Nor is it with the reload after that one. */
static void
test_numbers_rest(void **state)
{
	struct rules_lab a, b, c;
	struct slots *s, *t, *u;

	(void)state;
	rules_lab_init(&a);
	add(&a, RULE_DOMAIN, TARGET_TUNNEL, "one");
	add(&a, RULE_DOMAIN, TARGET_TUNNEL, "two");
	s = slots_of(&a, NULL);
	rules_lab_init(&b);
	add(&b, RULE_DOMAIN, TARGET_TUNNEL, "one");
	t = slots_of(&b, s);
	assert_int_equal(t->highest, 1);
	rules_lab_init(&c);
	add(&c, RULE_DOMAIN, TARGET_TUNNEL, "one");
	add(&c, RULE_DOMAIN, TARGET_TUNNEL, "three");
	u = slots_of(&c, t);
	assert_int_equal(u->item[0].number, 1);
	assert_int_equal(u->item[1].number, 3);
	slots_free(s);
	slots_free(t);
	slots_free(u);
	rules_lab_fini(&a);
	rules_lab_fini(&b);
	rules_lab_fini(&c);
}

static void
test_too_many(void **state)
{
	struct rules_lab l;
	struct slots *s, *t;
	char text[16];

	(void)state;
	rules_lab_init(&l);
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		snprintf(text, sizeof(text), "%u", i);
		add(&l, RULE_SET, TARGET_TUNNEL, text);
	}
	s = slots_of(&l, NULL);
	assert_int_equal(s->item[SLOTS_MAX - 1].number, SLOTS_MAX);
	t = slots_of(&l, s); /* all stay */
	assert_int_equal(t->item[7].number, s->item[7].number);
	slots_free(t);
	l.r.rule[0].text = l.r.rule[1].text; /* one is new, none is free */
	assert_int_equal(slots_new(&t, &l.r, s), UK_ELIMIT);
	slots_free(s);
	add(&l, RULE_SET, TARGET_TUNNEL, "more");
	assert_int_equal(slots_new(&t, &l.r, NULL), UK_ELIMIT);
	rules_lab_fini(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_few_rules_are_slots_each),
	    cmocka_unit_test(test_many_rules_join_when_alike),
	    cmocka_unit_test(test_numbers_stay_with_the_text),
	    cmocka_unit_test(test_numbers_come_round),
	    cmocka_unit_test(test_numbers_rest),
	    cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
