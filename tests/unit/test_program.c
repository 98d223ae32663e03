#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/program.h"
#include "io/service.h"

static int seen_argc;
static const char *seen_verb;

static int
go(int argc, char **argv)
{
	seen_argc = argc;
	seen_verb = argv[0];
	return 42;
}

static const struct program_verb verbs[] = {{"go", go, "goes"}};
static const struct program program = {
    .name = "p", .version = "1", .manual = "p(1)", .verb = verbs, .verbs = 1};

static int
run(const char *a, const char *b)
{
	char *argv[] = {"p", (char *)(uintptr_t)a, (char *)(uintptr_t)b, NULL};

	return program_run(&program, a == NULL ? 1 : b == NULL ? 2 : 3, argv);
}

static void
test_verbs(void **state)
{
	(void)state;
	assert_int_equal(run("go", "there"), 42);
	assert_int_equal(seen_argc, 2);
	assert_string_equal(seen_verb, "go");
	assert_true(program_has_verb(&program, "go"));
	assert_false(program_has_verb(&program, "g"));
	assert_int_equal(run("stay", NULL), EXIT_USAGE);
	assert_int_equal(run(NULL, NULL), EXIT_USAGE);
	assert_int_equal(run("--help", NULL), EXIT_OK);
	assert_int_equal(run("--version", NULL), EXIT_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_verbs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
