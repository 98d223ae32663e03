#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "host/cgroup.h"
#include "host/undo_cgroup.h"
#include "host/undo_kind.h"

/* What /proc says */

static void
test_parse(void **state)
{
	static const struct {
		const char *text, *path; /* NULL: none */
	} t[] = {
	    {"0::/\n", "/"},
	    {"0::/user.slice/a b\n", "/user.slice/a b"},
	    {"0::/x", "/x"},
	    {"9:name=systemd:/x\n4:memory:/y\n0::/z\n", "/z"},
	    {"10::/no\n0::/z\n", "/z"},
	    {"0::/z\n1:cpu:/y\n", "/z"},
	    {"1:cpu:/0::/x\n", NULL},
	    {"0::/../outside\n", NULL},
	    {"0::/..\n", NULL},
	    {"0::relative\n", NULL},
	    {"0::", NULL},
	    {"0:\n", NULL},
	    {"", NULL},
	};
	char path[CGROUP_PATH_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		int r = cgroup_parse(t[i].text, path);

		assert_int_equal(r, t[i].path != NULL ? 0 : -ENOENT);
		if (r == 0)
			assert_string_equal(path, t[i].path);
	}
}

static void
test_parse_length(void **state)
{
	char text[CGROUP_PATH_MAX + 8], path[CGROUP_PATH_MAX];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "0::/", 4);
	text[3 + CGROUP_PATH_MAX - 1] = '\0';
	assert_int_equal(cgroup_parse(text, path), 0);
	assert_int_equal(strlen(path), CGROUP_PATH_MAX - 1);
	text[3 + CGROUP_PATH_MAX - 1] = 'a';
	text[3 + CGROUP_PATH_MAX] = '\0';
	assert_int_equal(cgroup_parse(text, path), -ENAMETOOLONG);
}

static void
test_parse_mount(void **state)
{
	static const struct {
		const char *line, *path; /* NULL: none */
	} t[] = {
	    {"35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 "
	     "cgroup2 rw,nsdelegate\n",
		"/sys/fs/cgroup"},
	    {"35 24 0:30 / /a\\040b\\134 rw - cgroup2 none rw\n", "/a b\\"},
	    {"35 24 0:30 / /a\\04 rw - cgroup2 none rw\n", "/a\\04"},
	    {"35 24 0:30 / /x rw a:1 b:2 - cgroup2 none rw\n", "/x"},
	    {"35 24 0:30 /x.slice /sys/fs/cgroup rw - cgroup2 none rw\n", NULL},
	    {"35 24 0:30 /x/ /sys/fs/cgroup rw - cgroup2 none rw\n", NULL},
	    {"35 24 0:30 / /sys/fs/cgroup rw - cgroup none rw\n", NULL},
	    {"35 24 0:30 / /sys/fs/cgroup rw - cgroup22 none rw\n", NULL},
	    {"35 24 0:30 / /sys/fs/cgroup rw - tmpfs cgroup2 rw\n", NULL},
	    {"35 24 0:30 / /sys/fs/cgroup rw cgroup2\n", NULL},
	    {" - cgroup2 ", NULL},
	    {"35 24 0:30 / - cgroup2 ", NULL},
	    {"", NULL},
	};
	char path[CGROUP_PATH_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		int r = cgroup_parse_mount(t[i].line, path);

		if (t[i].path == NULL) {
			assert_int_equal(r, -ENOENT);
			continue;
		}
		assert_int_equal(r, 0);
		assert_string_equal(path, t[i].path);
	}
}

/* Any bytes: no more than that they are read within bounds. */
static void
test_parse_anything(void **state)
{
	static const char some[] = "0123:/ -cgroup2\\04.\n";
	uint32_t seed = 20240611;
	char text[64], path[CGROUP_PATH_MAX];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		for (size_t j = 0; j < sizeof(text) - 1; j++) {
			seed = seed * 1664525u + 1013904223u;
			text[j] = some[(seed >> 16) % (sizeof(some) - 1)];
		}
		text[sizeof(text) - 1] = '\0';
		memcpy(text, i % 2 != 0 ? "0::" : "1 1 1:1 / ",
		    i % 2 != 0 ? 3 : 10);
		if (i % 2 == 0)
			memcpy(text + 30, " - cgroup2 ", 11);
		if (cgroup_parse(text, path) == 0)
			assert_true(path[0] == '/' && strlen(path) < 64);
		if (cgroup_parse_mount(text, path) == 0)
			assert_true(strlen(path) > 0 && strlen(path) < 64);
	}
}

static void
test_paths(void **state)
{
	char path[CGROUP_PATH_MAX], longest[CGROUP_PATH_MAX];

	(void)state;
	assert_int_equal(cgroup_join(path, "/", "x"), 0);
	assert_string_equal(path, "/x");
	assert_int_equal(cgroup_join(path, "/a", "x"), 0);
	assert_string_equal(path, "/a/x");
	assert_string_equal(cgroup_name("/a/x"), "x");
	assert_string_equal(cgroup_name("/x"), "x");
	assert_string_equal(cgroup_name("/"), "");
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[CGROUP_PATH_MAX - 3] = '\0';
	assert_int_equal(cgroup_join(path, longest, "x"), 0);
	longest[CGROUP_PATH_MAX - 3] = 'a';
	longest[CGROUP_PATH_MAX - 2] = '\0';
	assert_int_equal(cgroup_join(path, longest, "x"), -ENAMETOOLONG);
}

/* The journal */

static char journal[64];

static struct undo *
open_journal(void)
{
	struct undo *u;

	snprintf(journal, sizeof(journal), "/tmp/ukai-test-cgroup-%d.journal",
	    (int)getpid());
	unlink(journal);
	assert_int_equal(undo_open(&u, journal, NULL), 0);
	return u;
}

static void
close_journal(struct undo *u)
{
	undo_close(u);
	unlink(journal);
}

/* Root follows it: what cannot be ours is not undone, and stays (S2). */
static void
test_journal_refuses(void **state)
{
	static const char *const cgroup[] = {
	    "", "ukai-", "x", "ukai-a/b", "../ukai-x", "user.slice"};
	static const struct {
		const char *id, *path;
	} program[] = {{"0x1", "/"}, {"", "/"}, {"-1", "/"}, {"a", "/"},
	    {"4294967296", "/"}, {"7", "relative"}, {"7", ""},
	    {"7", "/a/../b"}};
	struct undo *u = open_journal();
	struct diag *d = calloc(1, sizeof(*d));
	unsigned n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cgroup); i++, n++) {
		const struct undo_field f[] = {
		    undo_text_field(cgroup[i]), undo_text_field("note")};

		assert_int_equal(undo_add(u, "cgroup", f, 2, NULL), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(program); i++, n++) {
		const struct undo_field f[] = {undo_text_field(program[i].id),
		    undo_text_field(program[i].path)};

		assert_int_equal(undo_add(u, "cgroupbpf", f, 2, NULL), 0);
	}
	assert_int_equal(undo_all(u, NULL, d), UK_ESYS);
	assert_int_equal(d->errors, n);
	for (unsigned i = 0; i < d->n; i++)
		assert_non_null(strstr(d->entry[i].text, "impossible"));
	assert_int_equal(undo_count(u), n);
	free(d);
	close_journal(u);
}

static void
on_name(void *arg, const char *name, const char *note)
{
	char *seen = arg;

	strcat(seen, name);
	strcat(seen, "=");
	strcat(seen, note);
	strcat(seen, ";");
}

static void
on_id(void *arg, uint32_t id)
{
	uint32_t *sum = arg;

	*sum = *sum * 10 + id;
}

/* What a killed one has left, as the next one sees it. */
static void
test_journal_each(void **state)
{
	struct undo *u = open_journal();
	const struct undo_field one[] = {
	    undo_text_field("7"), undo_text_field("/")};
	const struct undo_field bad[] = {
	    undo_text_field("0x8"), undo_text_field("/")};
	char seen[128] = "";
	uint32_t sum = 0;

	(void)state;
	assert_int_equal(undo_cgroup(u, "ukai-t-1-1", "rclone", NULL), 0);
	assert_int_equal(undo_add(u, "cgroupbpf", one, 2, NULL), 0);
	assert_int_equal(undo_add(u, "cgroupbpf", bad, 2, NULL), 0);
	assert_int_equal(undo_cgroup(u, "ukai-t-1-2", "a b\xff", NULL), 0);
	undo_close(u);
	assert_int_equal(undo_open(&u, journal, NULL), 0);
	undo_cgroup_each(u, on_name, seen);
	assert_string_equal(seen, "ukai-t-1-1=rclone;ukai-t-1-2=a b\xff;");
	undo_cgroup_attached_each(u, on_id, &sum);
	assert_int_equal(sum, 7);
	close_journal(u);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_parse_length),
	    cmocka_unit_test(test_parse_mount),
	    cmocka_unit_test(test_parse_anything),
	    cmocka_unit_test(test_paths),
	    cmocka_unit_test(test_journal_refuses),
	    cmocka_unit_test(test_journal_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
