#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/policy/program_classes.h"
#include "core/err.h"

static unsigned fail_at; /* this strdup() of the next fails; 0: none */
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

char *
__wrap_strdup(const char *s)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_strdup(s);
}

static uint32_t
rnd(uint32_t below)
{
	static uint32_t seed = 20240612;

	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

static void
follow(struct program_classes *c, const struct program_name *name, size_t n)
{
	struct program_classes next;

	assert_int_equal(program_classes_follow(&next, c, name, n), 0);
	program_classes_fini(c);
	*c = next;
}

static void
test_numbers_stay(void **state)
{
	static const struct program_name first[] = {
	    {"a", false}, {"b", false}, {"a", false}};
	static const struct program_name second[] = {
	    {"c", false}, {"b", false}};
	struct program_classes c;

	(void)state;
	program_classes_init(&c);
	follow(&c, first, 3);
	assert_int_equal(program_classes_find(&c, "a"), 1);
	assert_int_equal(program_classes_find(&c, "b"), 2);
	assert_int_equal(program_classes_find(&c, "c"), CLASS_NONE);
	assert_false(c.of[1].recorded);
	c.of[1].recorded = true;
	follow(&c, second, 2);
	assert_int_equal(program_classes_find(&c, "b"), 2);
	assert_int_equal(program_classes_find(&c, "c"), 3);
	/* Nobody's rule, but its sockets may live. */
	assert_int_equal(program_classes_find(&c, "a"), CLASS_NONE);
	assert_string_equal(c.of[1].name, "a");
	follow(&c, first, 1);
	assert_int_equal(program_classes_find(&c, "a"), 1);
	assert_true(c.of[1].recorded);
	follow(&c, NULL, 0);
	assert_int_equal(program_classes_find(&c, "a"), CLASS_NONE);
	program_classes_fini(&c);
}

static void
test_note(void **state)
{
	static const struct program_name names[] = {
	    {"new", false}, {"old", false}};
	struct program_classes c;

	(void)state;
	program_classes_init(&c);
	assert_int_equal(program_classes_note(&c, 0, "x"), UK_EINVAL);
	assert_int_equal(
	    program_classes_note(&c, CLASS_PROGRAM_MAX + 1, "x"), UK_EINVAL);
	assert_int_equal(program_classes_note(&c, CLASS_PROGRAM_MAX, "x"), 0);
	assert_int_equal(program_classes_note(&c, 1, "old"), 0);
	assert_int_equal(program_classes_note(&c, 1, "y"), UK_EINVAL);
	assert_int_equal(program_classes_note(&c, 2, "old"), UK_EINVAL);
	fail_at = 1;
	assert_int_equal(program_classes_note(&c, 2, "y"), UK_ENOMEM);
	assert_null(c.of[2].name);
	assert_int_equal(program_classes_find(&c, "old"), CLASS_NONE);
	follow(&c, names, 2);
	assert_int_equal(program_classes_find(&c, "old"), 1);
	assert_int_equal(program_classes_find(&c, "new"), 2);
	assert_true(c.of[1].recorded && !c.of[2].recorded);
	program_classes_fini(&c);
}

static char many[CLASS_PROGRAM_MAX + 2][8];
static struct program_name name_of[CLASS_PROGRAM_MAX + 2];

static void
test_limit(void **state)
{
	struct program_classes c, next;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		snprintf(many[i], sizeof(many[i]), "p%zu", i);
		name_of[i].name = many[i];
	}
	program_classes_init(&c);
	assert_int_equal(
	    program_classes_follow(&next, &c, name_of, CLASS_PROGRAM_MAX + 1),
	    UK_ELIMIT);
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++)
		assert_null(next.of[i].name);
	follow(&c, name_of, CLASS_PROGRAM_MAX);
	/* The last one gets what Tailscale's mark reads as. */
	assert_int_equal(program_classes_find(&c, many[2]), 3);
	assert_int_equal(program_classes_find(&c, many[3]), 5);
	assert_int_equal(
	    program_classes_find(&c, many[CLASS_PROGRAM_MAX - 1]), 8);
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++)
		c.of[i].recorded = true;
	/* A name comes for one that goes, the first: its number is all there
	 * is, and what was written down of it is no longer right. */
	follow(&c, name_of + 1, CLASS_PROGRAM_MAX);
	assert_int_equal(program_classes_find(&c, many[CLASS_PROGRAM_MAX]), 1);
	assert_false(c.of[1].recorded);
	assert_true(c.of[2].recorded);
	assert_int_equal(program_classes_find(&c, "p1"), 2);
	program_classes_fini(&c);
}

#define NAMES 12

/* Names come and go: each keeps the number that it got first, no two share
 * one, and found is exactly what is followed. */
static void
test_random(void **state)
{
	unsigned first[NAMES] = {0};
	struct program_classes c;

	(void)state;
	program_classes_init(&c);
	for (int round = 0; round < 2000; round++) {
		struct program_name name[NAMES];
		uint32_t chosen = rnd(1u << NAMES);
		size_t n = 0;

		for (unsigned i = 0; i < NAMES; i++)
			if ((chosen >> i & 1) != 0)
				name[n++] = name_of[i];
		follow(&c, name, n);
		for (unsigned i = 0; i < NAMES; i++) {
			unsigned class = program_classes_find(&c, many[i]);

			assert_int_equal(class != 0, chosen >> i & 1);
			if (first[i] == 0)
				first[i] = class;
			assert_true(class == 0 || class == first[i]);
			for (unsigned j = 0; j < i; j++)
				assert_true(
				    first[j] == 0 || first[j] != first[i]);
		}
	}
	program_classes_fini(&c);
}

static void
test_no_memory(void **state)
{
	static const struct program_name names[] = {
	    {"a", false}, {"b", false}, {"c", false}};
	struct program_classes c, next;
	unsigned failures = 0;

	(void)state;
	program_classes_init(&c);
	follow(&c, names, 2);
	for (unsigned i = 1;; i++, failures++) {
		fail_at = i;
		if (program_classes_follow(&next, &c, names, 3) == 0)
			break;
		for (unsigned j = 1; j <= CLASS_PROGRAM_MAX; j++)
			assert_null(next.of[j].name);
		assert_int_equal(program_classes_find(&c, "b"), 2);
	}
	fail_at = 0;
	assert_int_equal(failures, 3);
	program_classes_fini(&next);
	program_classes_fini(&c);
}

/* A script's name is cut by the kernel: what may be one of which nothing may
 * leak is taken for it, what may be another one is not. */
static void
test_cut(void **state)
{
	static const struct program_name names[] = {
	    {"backup-to-cloud-daily", true}, {"sync-everything-now", false},
	    {"short", true}, {"abcdefghijklmno", true}};
	static const struct program_name later[] = {
	    {"backup-to-cloud-daily", false}};
	static const struct {
		const char *name;
		unsigned class;
	} t[] = {{"backup-to-cloud", 1}, {"backup-to-cloud-weekly", 1},
	    {"backup-to-clou", CLASS_NONE}, {"Backup-to-cloud", CLASS_NONE},
	    {"sync-everything", CLASS_NONE}, {"short", CLASS_NONE},
	    {"shortshortshort", CLASS_NONE}, {"abcdefghijklmno", 5},
	    {"", CLASS_NONE}};
	struct program_classes c;

	(void)state;
	program_classes_init(&c);
	follow(&c, names, ARRAY_LEN(names));
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(
		    program_classes_cut(&c, t[i].name), t[i].class);
	follow(&c, names + 1, 1);
	assert_int_equal(
	    program_classes_cut(&c, "backup-to-cloud"), CLASS_NONE);
	follow(&c, later, 1);
	assert_int_equal(program_classes_find(&c, "backup-to-cloud-daily"), 1);
	assert_int_equal(
	    program_classes_cut(&c, "backup-to-cloud"), CLASS_NONE);
	program_classes_fini(&c);
}

static void
test_folders(void **state)
{
	char folder[PROGRAM_FOLDER_MAX], prefix[PROGRAM_FOLDER_MAX];
	static const char *const not_ours[] = {"", "ukai-a-b-f0000001-",
	    "ukai-a-b-f0000001-0", "ukai-a-b-f0000001-255",
	    "ukai-a-b-f0000001-3x", "ukai-a-b-f0000001--3",
	    "ukai-a-b-f0000002-3", "ukai-a-f0000001-3", "system.slice"};

	(void)state;
	program_folder_prefix(prefix, "a-b", 0xf0000001);
	for (unsigned i = 1; i <= CLASS_RUN; i++) {
		program_folder(folder, "a-b", 0xf0000001, i);
		assert_int_equal(program_folder_class(folder, prefix), i);
	}
	assert_string_equal(folder, "ukai-a-b-f0000001-254");
	for (size_t i = 0; i < ARRAY_LEN(not_ours); i++)
		assert_int_equal(
		    program_folder_class(not_ours[i], prefix), CLASS_NONE);
	program_folder(folder, "fifteen-letters", UINT64_MAX, CLASS_RUN);
	program_folder_prefix(prefix, "fifteen-letters", UINT64_MAX);
	assert_int_equal(program_folder_class(folder, prefix), CLASS_RUN);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers_stay),
	    cmocka_unit_test(test_note),
	    cmocka_unit_test(test_limit),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_folders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
