#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/policy/process.h"

static void
test_match(void **state)
{
	static const struct {
		struct process p;
		const char *name;
		enum process_match want;
	} t[] = {
	    {{"rclone", "rclone", {""}}, "rclone", PROCESS_BY_NAME},
	    {{"rclone", "rclone", {""}}, "Rclone", PROCESS_NO},
	    {{"rclone", "rclone", {""}}, "rclon", PROCESS_NO},
	    {{"rclone", "rclone", {""}}, "rclone2", PROCESS_NO},
	    {{"backup.sh", "dash", {""}}, "backup.sh", PROCESS_BY_NAME},
	    {{"backup.sh", "dash", {""}}, "dash", PROCESS_BY_FILE},
	    {{"renamed", "rclone", {""}}, "rclone", PROCESS_BY_FILE},
	    {{"rclone", "", {""}}, "rclone", PROCESS_BY_NAME},
	    /* An argument proves nothing of a name that is whole. */
	    {{"cat", "cat", {"cat", "rclone", ""}}, "rclone", PROCESS_NO},
	    /* 14 bytes: whole. */
	    {{"abcdefghijklmn", "x", {""}}, "abcdefghijklmn", PROCESS_BY_NAME},
	    /* 15: whole, or cut. */
	    {{"abcdefghijklmno", "abcdefghijklmno", {""}}, "abcdefghijklmno",
		PROCESS_BY_NAME},
	    {{"abcdefghijklmno", "abcdefghijklmnop", {""}}, "abcdefghijklmno",
		PROCESS_NO},
	    {{"abcdefghijklmno", "abcdefghijklmnop", {""}}, "abcdefghijklmnop",
		PROCESS_BY_NAME},
	    {{"abcdefghijklmno", "abcdefghijklmnoX", {""}}, "abcdefghijklmnop",
		PROCESS_NO},
	    /* Scripts. */
	    {{"abcdefghijklmno", "sh", {"sh", "abcdefghijklmnop", ""}},
		"abcdefghijklmnop", PROCESS_BY_NAME},
	    {{"abcdefghijklmno", "sh", {"sh", "-e", "abcdefghijklmnop"}},
		"abcdefghijklmnop", PROCESS_BY_NAME},
	    {{"abcdefghijklmno", "sh", {"sh", "abcdefghijklmnoX", ""}},
		"abcdefghijklmnop", PROCESS_NO},
	    {{"other", "sh", {"sh", "abcdefghijklmnop", ""}},
		"abcdefghijklmnop", PROCESS_NO},
	    {{"other", "abcdefghijklmnop", {""}}, "abcdefghijklmnop",
		PROCESS_BY_FILE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(process_match(&t[i].p, t[i].name), t[i].want);
}

static void
test_exe(void **state)
{
	static const char *const t[][2] = {
	    {"/usr/bin/rclone", "rclone"},
	    {"/usr/bin/rclone (deleted)", "rclone"},
	    {"/usr/bin/a (deleted) (deleted)", "a (deleted)"},
	    {"rclone", "rclone"},
	    {"/", ""},
	    {"", ""},
	    {" (deleted)", " (deleted)"},
	};
	char name[PROCESS_NAME_MAX], path[600];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		process_exe(name, t[i][0], strlen(t[i][0]));
		assert_string_equal(name, t[i][1]);
	}
	memset(path, 'a', sizeof(path));
	path[10] = '/';
	process_exe(name, path, 11 + PROCESS_NAME_MAX - 1);
	assert_int_equal(strlen(name), PROCESS_NAME_MAX - 1);
	process_exe(name, path, 11 + PROCESS_NAME_MAX);
	assert_string_equal(name, "");
}

#define ARGS(text) text, sizeof(text) - 1

static void
test_args(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *want[PROCESS_ARGS];
	} t[] = {
	    {ARGS("/bin/sh\0/opt/x.sh\0-v\0more\0"), {"sh", "x.sh", "-v"}},
	    {ARGS("a\0b\0"), {"a", "b", ""}},
	    /* Cut at the end of what was read. */
	    {ARGS("a\0/x/b"), {"a", "", ""}},
	    {ARGS("a"), {"", "", ""}},
	    {ARGS("\0\0c\0"), {"", "", "c"}},
	    {ARGS(""), {"", "", ""}},
	};
	struct process p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		memset(&p, 'x', sizeof(p));
		process_args(&p, t[i].text, t[i].len);
		for (size_t j = 0; j < PROCESS_ARGS; j++)
			assert_string_equal(p.arg[j], t[i].want[j]);
	}
}

static void
test_start(void **state)
{
#define TO_21 "S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 "
	static const struct {
		const char *text;
		int want;
		uint64_t start;
	} t[] = {
	    {"7 (a) " TO_21 "9876 5 5\n", 0, 9876},
	    {"7 (a) 1) (b) " TO_21 "18446744073709551615 5\n", 0, UINT64_MAX},
	    {"7 (a) " TO_21 "12", 0, 12},
	    {"7 (a) " TO_21, -1, 0},
	    {"7 (a) " TO_21 "-1 5\n", -1, 0},
	    {"7 (a) S 1 1", -1, 0},
	    {"7 (a)", -1, 0},
	    {"7 a " TO_21 "9 5\n", -1, 0},
	    {"", -1, 0},
	};
	uint64_t start, own;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		assert_int_equal(
		    process_parse_start(&start, t[i].text), t[i].want);
		if (t[i].want == 0)
			assert_true(start == t[i].start);
	}
	assert_int_equal(process_start(&own, getpid()), 0);
	assert_int_equal(process_start(&start, getppid()), 0);
	assert_true(start > 0 && start <= own);
	assert_int_equal(process_start(&start, -1), -1);
}

struct seen {
	int pid;
	unsigned times;
};

static void
look_for(void *arg, int pid)
{
	struct seen *s = arg;

	s->times += pid == s->pid;
}

/* Ourselves, and a child. */
static void
test_read(void **state)
{
	struct process p;
	struct process_netns a, b;
	struct seen s = {getpid(), 0};
	int go[2];
	pid_t child;

	(void)state;
	prctl(PR_SET_NAME, "abcdefghijklmnopq");
	assert_int_equal(process_read(&p, getpid()), 0);
	assert_string_equal(p.comm, "abcdefghijklmno");
	assert_string_equal(p.exe, "test_process");
	assert_string_equal(p.arg[0], "test_process");
	assert_int_equal(process_match(&p, "test_process"), PROCESS_BY_FILE);
	prctl(PR_SET_NAME, "short");
	assert_int_equal(process_read(&p, getpid()), 0);
	assert_string_equal(p.comm, "short");
	assert_string_equal(p.arg[0], "");
	assert_int_equal(process_each(look_for, &s), 0);
	assert_int_equal(s.times, 1);
	assert_true(process_netns(&a, 0) && process_netns(&b, getpid()));
	assert_true(a.ino == b.ino && a.dev == b.dev);

	assert_int_equal(pipe(go), 0);
	child = fork();
	if (child == 0)
		_exit(read(go[0], &go[1], 1) != 1);
	s = (struct seen){child, 0};
	process_each_child(getpid(), look_for, &s);
	assert_int_equal(write(go[1], "", 1), 1);
	assert_int_equal(waitpid(child, NULL, 0), child);
	if (access("/proc/thread-self/children", F_OK) == 0)
		assert_int_equal(s.times, 1);
	assert_int_equal(process_read(&p, child), -1);
	assert_false(process_netns(&a, child));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_match),
	    cmocka_unit_test(test_exe),
	    cmocka_unit_test(test_args),
	    cmocka_unit_test(test_start),
	    cmocka_unit_test(test_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
