#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture.h"
#include "core/diag.h"
#include "io/log.h"

static struct capture said;

static void
levels_and_labels(void **state)
{
	static const struct {
		enum log_level set;
		const char *want;
	} rows[] = {
	    {LOG_SILENT, ""},
	    {LOG_ERROR, "t: error: a\n"},
	    {LOG_WARN, "t: error: a\nt: warning: b\n"},
	    {LOG_INFO, "t: error: a\nt: warning: b\nt: c 3\n"},
	    {LOG_DEBUG, "t: error: a\nt: warning: b\nt: c 3\nt: debug: d\n"},
	};

	(void)state;
	unsetenv("JOURNAL_STREAM");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		capture_begin(&said, STDERR_FILENO);
		log_init("t", rows[i].set);
		log_msg(LOG_ERROR, "a");
		log_msg(LOG_WARN, "b");
		log_msg(LOG_INFO, "c %d", 3);
		log_msg(LOG_DEBUG, "d");
		log_msg(LOG_SILENT, "never");
		assert_string_equal(capture_end(&said), rows[i].want);
	}
}

/* C5: text from outside cannot make lines, colours or priorities. */
static void
escapes_c5(void **state)
{
	static const struct {
		const char *in;
		const char *want;
	} rows[] = {
	    {"a\nb", "a\\x0ab"},
	    {"\x1b[31mred\x7f", "\\x1b[31mred\\x7f"},
	    {"\xe8\xbf\x82\xe5\x9b\x9e", "\xe8\xbf\x82\xe5\x9b\x9e"},
	    {"caf\xc3\xa9", "caf\xc3\xa9"},
	    {"\xc2\x9b", "\\xc2\\x9b"}, /* C1: CSI */
	    {"\xc2\xa0", "\xc2\xa0"}, /* first after C1 */
	    {"\xc1\xbf", "\\xc1\\xbf"}, /* overlong, 2 */
	    {"\xe0\x9f\xbf", "\\xe0\\x9f\\xbf"}, /* overlong, 3 */
	    {"\xe0\xa0\x80", "\xe0\xa0\x80"},
	    {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* surrogate */
	    {"\xed\x9f\xbf", "\xed\x9f\xbf"},
	    {"\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf"}, /* overlong, 4 */
	    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
	    {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
	    {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
	    {"cut\xe8\xbf", "cut\\xe8\\xbf"},
	    {"\xe8", "\\xe8"},
	};
	char want[128];

	(void)state;
	unsetenv("JOURNAL_STREAM");
	log_init("t", LOG_INFO);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(want, sizeof(want), "t: %s\n", rows[i].want);
		capture_begin(&said, STDERR_FILENO);
		log_msg(LOG_INFO, "%s", rows[i].in);
		assert_string_equal(capture_end(&said), want);
	}
}

static void
long_text_is_cut(void **state)
{
	char text[5000];

	(void)state;
	memset(text, '\x01', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	capture_begin(&said, STDERR_FILENO);
	log_msg(LOG_INFO, "%s", text);
	/* 1023 characters, each as four. */
	assert_int_equal(strlen(capture_end(&said)), 3 + 4 * 1023 + 1);
	assert_int_equal(said.text[strlen(said.text) - 1], '\n');
}

static void
set_journal(const char *fmt, int fd)
{
	char text[64];
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	snprintf(text, sizeof(text), "%llu:%llu%s",
	    (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, fmt);
	setenv("JOURNAL_STREAM", text, 1);
}

static void
journal_priorities(void **state)
{
	(void)state;
	capture_begin(&said, STDERR_FILENO);
	set_journal("", STDERR_FILENO);
	log_init("t", LOG_DEBUG);
	log_msg(LOG_ERROR, "a");
	log_msg(LOG_WARN, "b");
	log_msg(LOG_INFO, "c");
	log_msg(LOG_DEBUG, "d\n<0>e");
	assert_string_equal(capture_end(&said),
	    "<3>t: a\n<4>t: b\n<6>t: c\n<7>t: d\\x0a<0>e\n");
}

/* The variable is inherited by programs whose stderr is something else. */
static void
journal_of_somebody_else(void **state)
{
	(void)state;
	capture_begin(&said, STDERR_FILENO);
	set_journal("9", STDERR_FILENO); /* another inode */
	log_init("t", LOG_DEBUG);
	log_msg(LOG_WARN, "b");
	setenv("JOURNAL_STREAM", "nonsense", 1);
	log_init("t", LOG_DEBUG);
	log_msg(LOG_WARN, "b");
	assert_string_equal(
	    capture_end(&said), "t: warning: b\nt: warning: b\n");
	unsetenv("JOURNAL_STREAM");
}

static void
diag_lines(void **state)
{
	static struct diag d;

	(void)state;
	unsetenv("JOURNAL_STREAM");
	log_init("t", LOG_INFO);
	diag_init(&d, "x.conf");
	diag_add(&d, DIAG_ERROR, 3, 7, "no such key");
	diag_add(&d, DIAG_WARNING, 0, 0, "readable by all");
	capture_begin(&said, STDERR_FILENO);
	log_diag(&d);
	assert_string_equal(capture_end(&said),
	    "t: error: x.conf:3:7: no such key\n"
	    "t: warning: x.conf: readable by all\n");
	diag_init(&d, NULL);
	for (unsigned i = 0; i < DIAG_MAX + 2; i++)
		diag_error(&d, "e");
	capture_begin(&said, STDERR_FILENO);
	log_diag(&d);
	capture_end(&said);
	assert_non_null(strstr(said.text, "t: error: e\n"));
	assert_non_null(strstr(said.text, "t: error: 2 more not shown\n"));
}

static void
limited(void **state)
{
	static const uint64_t s = 1000000000;
	struct log_limit a = {0}, b = {0};

	(void)state;
	log_init("t", LOG_INFO);
	capture_begin(&said, STDERR_FILENO);
	log_limited(&a, 5 * s, LOG_INFO, "a %d", 1);
	log_limited(&a, 5 * s + 1, LOG_INFO, "a %d", 2);
	log_limited(&b, 5 * s + 2, LOG_INFO, "b");
	log_limited(&a, 6 * s - 1, LOG_INFO, "a %d", 3);
	log_limited(&a, 6 * s, LOG_INFO, "a %d", 4);
	log_limited(&a, 7 * s, LOG_INFO, "a %d", 5);
	log_limited(&a, 9 * s, LOG_DEBUG, "not enabled");
	assert_string_equal(capture_end(&said),
	    "t: a 1\nt: b\nt: a 4 (2 more left out)\nt: a 5\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(levels_and_labels),
	    cmocka_unit_test(escapes_c5),
	    cmocka_unit_test(long_text_is_cut),
	    cmocka_unit_test(journal_priorities),
	    cmocka_unit_test(journal_of_somebody_else),
	    cmocka_unit_test(diag_lines),
	    cmocka_unit_test(limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
