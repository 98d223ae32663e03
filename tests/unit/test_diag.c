#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/diag.h"
#include "core/err.h"

/* C5: what comes out of a message is text, whatever went in. */
static const struct {
	const char *in, *out;
} escapes[] = {
    {"", ""},
    {"plain ~ text \\", "plain ~ text \\"},
    {"a\tb\nc\x7f", "a\\x09b\\x0ac\\x7f"},
    {"\x1b[2J", "\\x1b[2J"},
    {"\xe8\xbf\x82\xe5\x9b\x9e", "\xe8\xbf\x82\xe5\x9b\x9e"},
    {"\xc2\xa0", "\xc2\xa0"},
    {"\xf0\x9f\x90\xa7", "\xf0\x9f\x90\xa7"},
    {"\xc2\x9b", "\\xc2\\x9b"}, /* C1: CSI */
    {"\xc0\x80", "\\xc0\\x80"}, /* not shortest */
    {"\xe0\x9f\xbf", "\\xe0\\x9f\\xbf"}, /* not shortest */
    {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* surrogate */
    {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* too large */
    {"\xe2\x80\xae", "\\xe2\\x80\\xae"}, /* direction */
    {"\xe2\x81\xa6", "\\xe2\\x81\\xa6"}, /* direction */
    {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"}, /* line separator */
    {"\xef\xbb\xbf", "\\xef\\xbb\\xbf"}, /* byte order mark */
    {"\xe8\xbf", "\\xe8\\xbf"}, /* cut */
    {"\x80\xff", "\\x80\\xff"},
};

static void
test_escape_C5(void **state)
{
	struct diag d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
		diag_init(&d, NULL);
		diag_error(&d, "%s", escapes[i].in);
		assert_string_equal(d.entry[0].text, escapes[i].out);
	}
}

static void
test_cut(void **state)
{
	char text[2 * DIAG_TEXT];
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	memset(text, 'a', sizeof(text));
	text[DIAG_TEXT] = 0;
	diag_error(&d, "%s", text);
	assert_int_equal(strlen(d.entry[0].text), DIAG_TEXT - 1);
	/* Neither an escape nor a character is cut in two. */
	strcpy(text + DIAG_TEXT - 3, "\x01");
	diag_error(&d, "%s", text);
	assert_int_equal(strlen(d.entry[1].text), DIAG_TEXT - 3);
	strcpy(text + DIAG_TEXT - 3, "\xe8\xbf\x82");
	diag_error(&d, "%s", text);
	assert_int_equal(strlen(d.entry[2].text), DIAG_TEXT - 3);
	strcpy(text + DIAG_TEXT - 4, "\xe8\xbf\x82");
	diag_error(&d, "%s", text);
	assert_int_equal(strlen(d.entry[3].text), DIAG_TEXT - 1);
}

static void
test_counts_beyond_the_last(void **state)
{
	struct diag d;

	(void)state;
	diag_init(&d, "f");
	for (unsigned i = 1; i <= DIAG_MAX + 5; i++)
		diag_add(&d, DIAG_ERROR, i, 1, "e%u", i);
	diag_warn(&d, "w");
	assert_int_equal(d.n, DIAG_MAX);
	assert_int_equal(d.errors, DIAG_MAX + 5);
	assert_int_equal(d.warnings, 1);
	assert_string_equal(d.entry[DIAG_MAX - 1].text, "e256");
	diag_add(NULL, DIAG_ERROR, 1, 1, "nobody listens");
	diag_error(NULL, "nobody");
	diag_warn(NULL, "nobody");
}

static void
test_sort(void **state)
{
	static const unsigned at[][2] = {
	    {5, 1}, {3, 9}, {3, 2}, {0, 0}, {5, 1}, {1, 0}};
	static const char order[] = "352104";
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(at); i++)
		diag_add(&d, DIAG_ERROR, at[i][0], at[i][1], "%u", i);
	diag_sort(&d);
	for (unsigned i = 0; i < d.n; i++)
		assert_int_equal(d.entry[i].text[0], order[i]);
}

static void
test_print(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	struct diag d;

	(void)state;
	assert_non_null(to);
	diag_init(&d, "a\x1b.conf");
	diag_add(&d, DIAG_ERROR, 3, 7, "bad %s", "word");
	diag_add(&d, DIAG_WARNING, 4, 0, "odd");
	diag_error(&d, "no place");
	d.errors += 2;
	diag_print(&d, "ukai", to);
	d.file = NULL;
	d.n = 1;
	d.errors = 1;
	d.warnings = 0;
	diag_print(&d, "ukai", to);
	fclose(to);
	assert_string_equal(text, "a\\x1b.conf:3:7: error: bad word\n"
				  "a\\x1b.conf:4: warning: odd\n"
				  "ukai: error: no place\n"
				  "ukai: 2 more not shown\n"
				  "line:3:7: error: bad word\n");
	free(text);
}

static void
test_strerror(void **state)
{
	(void)state;
	for (int err = UK_EPROTO - 3; err <= 3; err++)
		assert_true(strlen(uk_strerror(err)) > 3);
	for (int err = UK_EPROTO; err < 0; err++)
		assert_string_not_equal(uk_strerror(err), "unknown error");
	assert_string_equal(uk_strerror(UK_EPROTO - 1), "unknown error");
	assert_string_equal(uk_strerror(1), "unknown error");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_escape_C5),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_counts_beyond_the_last),
	    cmocka_unit_test(test_sort),
	    cmocka_unit_test(test_print),
	    cmocka_unit_test(test_strerror),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
