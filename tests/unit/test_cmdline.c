#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture.h"
#include "core/err.h"
#include "io/cmdline.h"
#include "io/service.h"

struct wants {
	bool json;
	const char *output, *first_tag;
	int tags;
};

static int
take_tag(void *to, const char *text)
{
	struct wants *w = to;

	if (strcmp(text, "bad") == 0)
		return UK_EINVAL;
	if (w->tags++ == 0)
		w->first_tag = text;
	return 0;
}

static const struct cmdline_option options[] = {
    CMDLINE_FLAG('j', "json", struct wants, json),
    CMDLINE_TEXT('o', "output", struct wants, output),
    CMDLINE_TAKE(0, "tag", take_tag),
};

static const char usage[] = "Usage: p go FILE\n"
			    "       p go -j FILE\n"
			    "\n"
			    "What is only said by --help.\n";

static const struct cmdline go = {
    .command = "p go",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = 2,
    .words = "a FILE or two",
};

static struct wants wants;
static struct cmdline_words words;
static char *argv[16];
static struct capture captured_out, captured_err;
static const char *out, *err;

/* Parse words with blanks between them; what is said goes to out and err.
 * Returns the code to end with, -1: go on. */
static int
take(const struct cmdline *c, const char *line)
{
	static char text[128];
	int argc = 0, code = -1;
	bool goes_on;

	snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok(text, " "); w != NULL; w = strtok(NULL, " "))
		argv[argc++] = w;
	argv[argc] = NULL;
	wants = (struct wants){.tags = 0};
	capture_begin(&captured_out, STDOUT_FILENO);
	capture_begin(&captured_err, STDERR_FILENO);
	goes_on = cmdline_take(c, &wants, &words, argc, argv, &code);
	err = capture_end(&captured_err);
	out = capture_end(&captured_out);
	return goes_on ? -1 : code;
}

static void
test_taken(void **state)
{
	(void)state;
	assert_int_equal(take(&go, "go a -j --output x --tag=1 --tag 2 b"), -1);
	assert_true(wants.json);
	assert_string_equal(wants.output, "x");
	assert_string_equal(wants.first_tag, "1");
	assert_int_equal(wants.tags, 2);
	assert_int_equal(words.n, 2);
	assert_string_equal(words.word[0], "a");
	assert_string_equal(words.word[1], "b");
	assert_string_equal(out, "");
	assert_string_equal(err, "");
	assert_int_equal(take(&go, "go -jox -- -a"), -1);
	assert_true(wants.json);
	assert_string_equal(wants.output, "x");
	assert_string_equal(words.word[0], "-a");
	assert_int_equal(take(&go, "go --js -"), -1);
	assert_true(wants.json);
	assert_string_equal(words.word[0], "-");
}

static void
test_in_order(void **state)
{
	struct cmdline c = go;

	(void)state;
	c.in_order = true;
	c.most = 9;
	assert_int_equal(take(&c, "go -o x prog -j --bogus"), -1);
	assert_false(wants.json);
	assert_int_equal(words.n, 3);
	assert_string_equal(words.word[1], "-j");
	assert_int_equal(take(&c, "go -o"), EXIT_USAGE);
	assert_non_null(strstr(err, "-o lacks its argument"));
}

static void
test_help(void **state)
{
	(void)state;
	assert_int_equal(take(&go, "go --help"), EXIT_OK);
	assert_string_equal(out, usage);
	assert_string_equal(err, "");
	assert_int_equal(take(&go, "go a b c -h"), EXIT_OK);
	assert_string_equal(out, usage);
}

static void
refused(const char *line, const char *why)
{
	char whole[1024];

	assert_int_equal(take(&go, line), EXIT_USAGE);
	snprintf(whole, sizeof(whole),
	    "p go: error: %s\n\nUsage: p go FILE\n       p go -j FILE\n"
	    "p go --help tells more.\n",
	    why);
	assert_string_equal(err, whole);
	assert_string_equal(out, "");
}

static void
test_refused(void **state)
{
	(void)state;
	refused("go --bogus a", "there is no option --bogus");
	refused(
	    "go --jsno=1 a", "there is no option --jsno; did you mean --json?");
	refused("go -x a", "there is no option -x");
	refused("go -jx a", "there is no option -x");
	refused("go --json=1 a", "--json takes no argument");
	refused("go a --output", "--output lacks its argument");
	refused("go a -jo", "-jo lacks its argument");
	refused("go -o x a --output=x", "--output is there twice");
	refused("go", "takes a FILE or two");
	refused("go a b c", "takes a FILE or two; \"c\" is one too many");
}

/* take() has said why. */
static void
test_refused_by_verb(void **state)
{
	(void)state;
	assert_int_equal(take(&go, "go --tag bad a"), EXIT_USAGE);
	assert_string_equal(err, "");
	assert_int_equal(take(&go, "go --tag good a"), -1);
}

static void
test_no_words(void **state)
{
	static const struct cmdline bare = {
	    .command = "p", .usage = "Usage: p"};

	(void)state;
	assert_int_equal(take(&bare, "p"), -1);
	assert_int_equal(take(&bare, "p x"), EXIT_USAGE);
	assert_string_equal(err,
	    "p: error: takes no argument; \"x\" is one too many\n\n"
	    "Usage: p\np --help tells more.\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_taken),
	    cmocka_unit_test(test_in_order),
	    cmocka_unit_test(test_help),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_refused_by_verb),
	    cmocka_unit_test(test_no_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
