#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base.h"
#include "core/err.h"
#include "host/durable.h"
#include "support/kill_each.h"

static char folder[] = "/tmp/ukai-durable-XXXXXX";
static char path[64], new[64], other[64];
static struct diag d;

typedef int put_fn(
    const char *path, const void *bytes, size_t len, struct diag *d);
static put_fn *const put[] = {durable_replace, durable_create};

/* ---- system calls: what was called, and one of them that fails ---- */

static char calls[32];
static size_t n_calls;
static size_t bad_call; /* from 1; 0: none */
static int bad_errno;

/* Returns false when this one is to fail; errno is set. */
static bool
call(char letter)
{
	if (n_calls + 1 < sizeof(calls))
		calls[n_calls] = letter;
	n_calls++;
	errno = bad_errno;
	return n_calls != bad_call;
}

static void
calls_begin(size_t bad, int error)
{
	memset(calls, 0, sizeof(calls));
	n_calls = 0;
	bad_call = bad;
	bad_errno = error;
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_close(int fd);
int __wrap_close(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_renameat2(
    int a, const char *from, int b, const char *to, unsigned flags);
int __wrap_renameat2(
    int a, const char *from, int b, const char *to, unsigned flags);

int
__wrap_fsync(int fd)
{
	return call('s') ? __real_fsync(fd) : -1;
}

int
__wrap_close(int fd)
{
	int r = __real_close(fd);

	return call('c') ? r : -1;
}

int
__wrap_rename(const char *from, const char *to)
{
	return call('r') ? __real_rename(from, to) : -1;
}

int
__wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
	return call('n') ? __real_renameat2(a, from, b, to, flags) : -1;
}

/* ---- files ---- */

static void
spit(const char *name, const char *text, mode_t mode)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(name, mode), 0);
}

static bool
is_there(const char *name)
{
	struct stat st;

	return lstat(name, &st) == 0;
}

static bool
holds(const char *name, const char *want)
{
	char text[64] = "";
	FILE *f = fopen(name, "r");

	if (f == NULL)
		return false;
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	return strcmp(text, want) == 0;
}

static void
assert_ours(const char *name, const char *want)
{
	struct stat st;

	assert_true(holds(name, want));
	assert_int_equal(lstat(name, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_nlink, 1);
}

static void
said(const char *words)
{
	assert_int_equal(d.n, 1);
	assert_non_null(strstr(d.entry[0].text, words));
	assert_non_null(strstr(d.entry[0].text, path));
	diag_init(&d, NULL);
}

static int
start(void **state)
{
	(void)state;
	umask(0);
	diag_init(&d, NULL);
	calls_begin(0, 0);
	return 0;
}

/* Nothing may be left beside path and other. */
static int
end(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)unlink(other);
	return rmdir(folder) == 0 && mkdir(folder, 0700) == 0 ? 0 : -1;
}

/* ---- create and replace ---- */

static void
test_where_nothing_is(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(put); i++) {
		assert_int_equal(put[i](path, "text", 4, &d), 0);
		assert_ours(path, "text");
		assert_int_equal(unlink(path), 0);
		assert_int_equal(put[i](path, "", 0, NULL), 0);
		assert_ours(path, "");
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(d.n, 0);
}

static void
test_replace_file(void **state)
{
	(void)state;
	spit(path, "an old text", 0644);
	assert_int_equal(link(path, other), 0);
	assert_int_equal(durable_replace(path, "new", 3, &d), 0);
	assert_ours(path, "new");
	/* It was another file. */
	assert_true(holds(other, "an old text"));
}

static void
test_create_over_nothing_else(void **state)
{
	struct stat st;

	(void)state;
	spit(path, "theirs", 0640);
	assert_int_equal(durable_create(path, "new", 3, &d), UK_EEXIST);
	said("is there already");
	assert_true(holds(path, "theirs"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(durable_create(path, "new", 3, NULL), UK_EEXIST);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(durable_create(path, "new", 3, &d), UK_EEXIST);
	said("is there already");
	assert_false(is_there(new));
	assert_true(durable_replace(path, "new", 3, &d) < 0);
	said("cannot write it");
	assert_int_equal(rmdir(path), 0);
}

static void
test_symbolic_links(void **state)
{
	(void)state;
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(durable_create(path, "new", 3, &d), UK_EEXIST);
	said("is there already");
	assert_false(is_there(other));
	spit(other, "theirs", 0600);
	assert_int_equal(durable_create(path, "new", 3, &d), UK_EEXIST);
	said("is there already");
	assert_int_equal(durable_replace(path, "new", 3, &d), 0);
	assert_ours(path, "new");
	assert_true(holds(other, "theirs"));
}

/* Of a killed predecessor, or planted. */
static void
test_something_in_the_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(put); i++) {
		spit(new, "a longer text", 0666);
		assert_int_equal(put[i](path, "new", 3, &d), 0);
		assert_ours(path, "new");
		assert_int_equal(unlink(path), 0);
		spit(other, "theirs", 0600);
		assert_int_equal(symlink(other, new), 0);
		assert_int_equal(put[i](path, "new", 3, &d), 0);
		assert_ours(path, "new");
		assert_int_equal(unlink(path), 0);
		assert_int_equal(link(other, new), 0);
		assert_int_equal(put[i](path, "new", 3, &d), 0);
		assert_true(holds(other, "theirs"));
		assert_int_equal(unlink(path), 0);
		/* Not "is there already": path is not. */
		assert_int_equal(mkdir(new, 0700), 0);
		assert_int_equal(put[i](path, "new", 3, &d), UK_ESYS);
		said("cannot write it");
		assert_int_equal(rmdir(new), 0);
		assert_false(is_there(path));
	}
}

static void
test_sweep(void **state)
{
	char name[PATH_MAX + 8];

	(void)state;
	spit(path, "ours", 0600);
	spit(new, "rubbish", 0600);
	durable_sweep(path);
	durable_sweep(path);
	assert_false(is_there(new));
	assert_true(holds(path, "ours"));
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	durable_sweep(name);
	for (size_t i = 0; i < ARRAY_LEN(put); i++)
		assert_int_equal(put[i](name, "new", 3, &d), UK_ESYS);
	assert_int_equal(d.errors, 2);
}

static void
test_no_folder(void **state)
{
	(void)state;
	assert_int_equal(rmdir(folder), 0);
	for (size_t i = 0; i < ARRAY_LEN(put); i++) {
		assert_int_equal(put[i](path, "new", 3, &d), UK_ENOENT);
		said("cannot write it");
	}
	assert_int_equal(durable_sync_parent(path), -ENOENT);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(durable_sync_parent(path), 0);
	assert_int_equal(durable_sync_parent("bare"), 0);
}

/* A file that may not grow is a disk that is full: here, after 100 bytes. */
static void
test_full(void **state)
{
	const struct rlimit small = {100, RLIM_INFINITY};
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	static const char text[200];

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	for (size_t i = 0; i < ARRAY_LEN(put); i++) {
		assert_int_equal(put[i](path, text, sizeof(text), &d), UK_ESYS);
		said(strerror(EFBIG));
		assert_false(is_there(path));
		assert_false(is_there(new));
	}
	assert_int_equal(durable_create(path, text, 100, &d), 0);
	assert_int_equal(unlink(path), 0);
	spit(path, "old", 0600);
	assert_true(durable_replace(path, text, sizeof(text), &d) < 0);
	setrlimit(RLIMIT_FSIZE, &all);
	assert_true(holds(path, "old"));
}

/* S2: the bytes are on the disk before their name, and then the name is; and
 * whichever step fails, the file is what it was, or gone, or, when only its
 * folder could not be synced, the new one. */
static void
test_order_and_failures_S2(void **state)
{
	static const char *const want[] = {"scrsc", "scnsc"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(put); i++) {
		bool replace = put[i] == durable_replace;

		calls_begin(0, 0);
		assert_int_equal(put[i](path, "new", 3, &d), 0);
		assert_string_equal(calls, want[i]);
		for (size_t bad = 1; bad <= strlen(want[i]); bad++) {
			(void)unlink(path);
			if (replace)
				spit(path, "old", 0600);
			calls_begin(bad, EIO);
			assert_int_equal(put[i](path, "new", 3, &d), UK_ESYS);
			said(strerror(EIO));
			assert_false(is_there(new));
			if (replace)
				assert_true(
				    holds(path, bad > 3 ? "new" : "old"));
			else
				assert_false(is_there(path));
		}
		(void)unlink(path);
	}
}

/* On a file system that cannot do RENAME_NOREPLACE. */
static void
test_by_link(void **state)
{
	(void)state;
	calls_begin(3, EINVAL);
	assert_int_equal(durable_create(path, "new", 3, &d), 0);
	assert_ours(path, "new");
	calls_begin(3, EINVAL);
	assert_int_equal(durable_create(path, "newer", 5, &d), UK_EEXIST);
	assert_ours(path, "new");
}

static void
test_rename_new(void **state)
{
	(void)state;
	spit(path, "one", 0600);
	spit(other, "two", 0600);
	assert_int_equal(durable_rename_new(path, other), -EEXIST);
	assert_true(holds(path, "one"));
	assert_true(holds(other, "two"));
	assert_int_equal(unlink(other), 0);
	assert_int_equal(durable_rename_new(path, other), 0);
	assert_false(is_there(path));
	assert_true(holds(other, "one"));
	assert_int_equal(durable_rename_new(path, new), -ENOENT);
}

static void
work(void *arg)
{
	put_fn *const *how = arg;

	if ((*how)(path, "a new text", 10, NULL) < 0)
		_exit(1);
}

/* S2: killed at any system call. */
static void
test_kill_anywhere_S2(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(put); i++) {
		bool replace = put[i] == durable_replace;
		enum kill_each how = KILL_EACH_KILLED;
		put_fn *one = put[i];
		unsigned n, old = 0;

		for (n = 1; how == KILL_EACH_KILLED && n < 200; n++) {
			(void)unlink(path);
			if (replace)
				spit(path, "old", 0600);
			how = kill_each(work, &one, n);
			if (how == KILL_EACH_NO_PTRACE)
				skip();
			if (replace ? holds(path, "old") : !is_there(path))
				old++;
			else
				assert_ours(path, "a new text");
			durable_sweep(path);
		}
		assert_int_equal(how, KILL_EACH_ENDED);
		assert_true(old > 5 && n - old > 5);
	}
}

/* ---- the steps ---- */

static void
on_signal(int sig)
{
	(void)sig;
}

static bool
reads_all(int fd, const uint8_t *want, size_t len)
{
	static uint8_t b[65536];
	size_t done = 0;
	ssize_t n;

	while ((n = read(fd, b, sizeof(b))) > 0) {
		if (done + (size_t)n > len || memcmp(b, want + done, (size_t)n))
			return false;
		done += (size_t)n;
		usleep(200);
	}
	return done == len;
}

/* Into a pipe whose end is slow, while signals come: writes are cut short. */
static void
test_write_in_parts(void **state)
{
	const struct itimerval often = {{0, 500}, {0, 500}}, never = {{0}, {0}};
	const struct sigaction act = {.sa_handler = on_signal};
	static uint8_t bytes[4 << 20];
	int fd[2], status;
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 24);
	assert_int_equal(pipe(fd), 0);
	pid = fork();
	if (pid == 0) {
		__real_close(fd[1]);
		_exit(reads_all(fd[0], bytes, sizeof(bytes)) ? 0 : 1);
	}
	close(fd[0]);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	status = durable_write(fd[1], bytes, sizeof(bytes));
	setitimer(ITIMER_REAL, &never, NULL);
	assert_int_equal(status, 0);
	/* Of a pipe: there is nothing to sync. */
	assert_int_equal(durable_close(fd[1], 0), -EINVAL);
	assert_int_equal(fcntl(fd[1], F_GETFD), -1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
test_close_after_an_error(void **state)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY);

	(void)state;
	calls_begin(0, 0);
	assert_int_equal(durable_write(fd, "x", 1), -EBADF);
	assert_int_equal(durable_close(fd, -EDQUOT), -EDQUOT);
	assert_string_equal(calls, "c");
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_where_nothing_is, start, end),
	    cmocka_unit_test_setup_teardown(test_replace_file, start, end),
	    cmocka_unit_test_setup_teardown(
		test_create_over_nothing_else, start, end),
	    cmocka_unit_test_setup_teardown(test_symbolic_links, start, end),
	    cmocka_unit_test_setup_teardown(
		test_something_in_the_way, start, end),
	    cmocka_unit_test_setup_teardown(test_sweep, start, end),
	    cmocka_unit_test_setup_teardown(test_no_folder, start, end),
	    cmocka_unit_test_setup_teardown(test_full, start, end),
	    cmocka_unit_test_setup_teardown(
		test_order_and_failures_S2, start, end),
	    cmocka_unit_test_setup_teardown(test_by_link, start, end),
	    cmocka_unit_test_setup_teardown(test_rename_new, start, end),
	    cmocka_unit_test_setup_teardown(test_kill_anywhere_S2, start, end),
	    cmocka_unit_test_setup_teardown(test_write_in_parts, start, end),
	    cmocka_unit_test_setup_teardown(
		test_close_after_an_error, start, end),
	};
	int failed;

	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/file", folder);
	snprintf(new, sizeof(new), "%s/file.new", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
