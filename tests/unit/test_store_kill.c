/* S2: kill -9 at any moment of the registry's life loses nothing that was
 * confirmed, and leaves a file that opens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "../support/kill_each.h"
#include "../support/store_sample.h"
#include "core/err.h"

#define ROUNDS 120u

static char folder[64], path[96], backup[96], kept[128];

static void
clean(void)
{
	static const char *const names[] = {"", "-wal", "-shm", "-journal",
	    ".lock", ".new", ".new-wal", ".new-journal", ".before-restore",
	    ".before-restore-wal"};
	char name[160];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(name, sizeof(name), "%s%s", path, names[i]);
		(void)unlink(name);
	}
}

/* Open and load; d must stay empty. */
static void
load(const char *file, struct store_sample_list *l)
{
	struct store *s;
	struct diag d;

	diag_init(&d, NULL);
	if (store_open(&s, file, &d) < 0 ||
	    store_load(s, store_sample_take, l, &d) < 0) {
		diag_print(&d, "store", stderr);
		fail();
	}
	store_close(s);
	assert_int_equal(d.n, 0);
}

static void
child_failed(const struct diag *d)
{
	diag_print(d, "child", stderr);
	_exit(1);
}

static void
add_one(struct store *s, unsigned n, char *policy)
{
	struct client c;
	struct diag d;

	diag_init(&d, NULL);
	store_sample(&c, n);
	free(c.policy);
	c.policy = policy;
	if (store_begin(s, &d) < 0 || store_add(s, &c, &d) < 0 ||
	    store_commit(s, &d) < 0)
		child_failed(&d);
	c.policy = NULL;
	client_fini(&c);
}

/* Adds clients, and says each one's number when it is confirmed. Every other
 * one has a long policy, so that the log is taken up into the database now and
 * then. */
static void
work(int out)
{
	struct store_sample_list l = {0};
	static char policy[CLIENT_POLICY_MAX + 1];
	struct store *s;
	struct diag d;

	diag_init(&d, NULL);
	memset(policy, 'x', sizeof(policy) - 1);
	if (store_open(&s, path, &d) < 0 ||
	    store_load(s, store_sample_take, &l, &d) < 0)
		child_failed(&d);
	for (unsigned n =
		 l.n > 0
		     ? (unsigned)(l.item[l.n - 1].created_s - 1700000000) + 1
		     : 1;
	     ; n++) {
		char line[16];
		int len;

		add_one(s, n, n % 2 == 0 ? policy : NULL);
		len = snprintf(line, sizeof(line), "%u\n", n);
		if (write(out, line, (size_t)len) != len)
			_exit(1);
	}
}

/* Run work() until so many are confirmed, and that long; returns the last
 * number that was confirmed, 0: none. */
static unsigned
run_and_kill(int confirmed, long us)
{
	struct timespec wait = {0, us * 1000};
	unsigned last = 0, n;
	int p[2], status;
	FILE *from;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		close(p[0]);
		work(p[1]);
	}
	close(p[1]);
	from = fdopen(p[0], "r");
	while (confirmed-- > 0 && fscanf(from, "%u\n", &n) == 1)
		last = n;
	nanosleep(&wait, NULL);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	while (fscanf(from, "%u\n", &n) == 1)
		last = n;
	fclose(from);
	return last;
}

/* Everything up to last is there, as it was; one more may be. */
static unsigned
check_all(unsigned last)
{
	struct store_sample_list l = {0};
	unsigned n;

	load(path, &l);
	n = (unsigned)l.n;
	assert_true(n == last || n == last + 1);
	for (unsigned i = 0; i < n; i++) {
		struct client want;

		store_sample(&want, i + 1);
		want.id = l.item[i].id;
		free(want.policy);
		want.policy = NULL;
		free(l.item[i].policy);
		l.item[i].policy = NULL;
		assert_true(store_sample_same(&l.item[i], &want));
		client_fini(&want);
	}
	store_sample_list_fini(&l);
	return n;
}

static void
test_kill_at_random(void **state)
{
	unsigned all = 0, cut = 0, confirmed = 0;

	(void)state;
	srand(1);
	for (unsigned round = 0; round < ROUNDS; round++) {
		/* A file of some size, then a new one. */
		if (all > 150) {
			clean();
			all = 0;
		}
		unsigned last = run_and_kill(rand() % 5, rand() % 10000);
		unsigned before = last > all ? last : all;

		confirmed += before - all;
		all = check_all(before);
		cut += all > before;
	}
	print_message("%u kills, %u confirmed, %u between commit and word\n",
	    ROUNDS, confirmed, cut);
	assert_true(confirmed > ROUNDS);
	clean();
}

/* One thing at a time, killed between two system calls of it: any two in the
 * course of the deeds, every few of each, to stay quick. */
#define STRIDE 13

struct deed {
	void (*prepare)(void);
	void (*work)(void *arg);
	unsigned before, after; /* clients */
};

static void
fill(const char *file, unsigned n)
{
	struct store *s;
	struct client c;

	assert_int_equal(store_open(&s, file, NULL), 0);
	assert_int_equal(store_begin(s, NULL), 0);
	for (unsigned i = 1; i <= n; i++) {
		store_sample(&c, i);
		assert_int_equal(store_add(s, &c, NULL), 0);
		client_fini(&c);
	}
	assert_int_equal(store_commit(s, NULL), 0);
	store_close(s);
}

static void
prepare_none(void)
{
}

static void
prepare_three(void)
{
	fill(path, 3);
}

static void
work_open(void *arg)
{
	struct store *s;

	(void)arg;
	if (store_open(&s, path, NULL) < 0)
		_exit(1);
	store_close(s);
}

static void
work_add(void *arg)
{
	struct store *s;

	(void)arg;
	if (store_open(&s, path, NULL) < 0)
		_exit(1);
	add_one(s, 4, NULL);
	store_close(s);
}

static void
work_remove(void *arg)
{
	struct store *s;

	(void)arg;
	if (store_open(&s, path, NULL) < 0 || store_begin(s, NULL) < 0 ||
	    store_remove(s, 2, NULL) < 0 || store_commit(s, NULL) < 0)
		_exit(1);
	store_close(s);
}

static void
work_restore(void *arg)
{
	(void)arg;
	if (store_restore(backup, path, NULL) < 0)
		_exit(1);
}

/* With a log that was not taken up. */
static void
prepare_killed(void)
{
	struct store_sample_list l = {0};
	int p[2], status;
	struct stat st;
	char wal[128], b;
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	if (pid == 0) {
		struct store *s;

		if (store_open(&s, path, NULL) < 0)
			_exit(1);
		for (unsigned n = 1; n <= 3; n++)
			add_one(s, n, NULL);
		(void)!write(p[1], "x", 1);
		pause();
	}
	close(p[1]);
	assert_int_equal(read(p[0], &b, 1), 1);
	close(p[0]);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	assert_int_equal(stat(wal, &st), 0);
	assert_true(st.st_size > 0);
	store_sample_list_fini(&l);
}

static void
kill_deed(const struct deed *t)
{
	enum kill_each how = KILL_EACH_KILLED;
	bool seen_before = false;
	unsigned n;

	for (n = 1; how == KILL_EACH_KILLED && n < 2000; n += STRIDE) {
		struct store_sample_list l = {0};

		clean();
		t->prepare();
		how = kill_each(t->work, NULL, n);
		if (how == KILL_EACH_NO_PTRACE)
			skip();
		load(path, &l);
		assert_true(l.n == t->before || l.n == t->after);
		seen_before |= l.n == t->before;
		if (how == KILL_EACH_ENDED)
			assert_int_equal(l.n, t->after);
		store_sample_list_fini(&l);
	}
	assert_int_equal(how, KILL_EACH_ENDED);
	assert_true(seen_before);
	print_message("%u places\n", (n - 1) / STRIDE);
	assert_true(n > 100);
}

static void
test_kill_anywhere(void **state)
{
	static const struct deed deeds[] = {
	    {prepare_none, work_open, 0, 0},
	    {prepare_three, work_add, 3, 4},
	    {prepare_three, work_remove, 3, 2},
	    {prepare_killed, work_add, 3, 4},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(deeds); i++)
		kill_deed(&deeds[i]);
	clean();
}

/* The old one, also with a log, or the new one; and the old one is kept. */
static void
test_kill_restore(void **state)
{
	static const struct deed deeds[] = {
	    {prepare_three, work_restore, 3, 7},
	    {prepare_killed, work_restore, 3, 7},
	};
	struct store_sample_list l = {0};

	(void)state;
	fill(backup, 7);
	for (size_t i = 0; i < ARRAY_LEN(deeds); i++) {
		kill_deed(&deeds[i]);
		load(kept, &l);
		assert_int_equal(l.n, 3);
		store_sample_list_fini(&l);
	}
	clean();
}

static int
make_folder(void **state)
{
	(void)state;
	if (sodium_init() < 0)
		return -1;
	/* In memory, where there is a place: a kill asks for no disk, and
	 * thousands of syncs would take minutes. */
	snprintf(folder, sizeof(folder), "%s/ukai-store.XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/registry.db", folder);
	snprintf(backup, sizeof(backup), "%s/backup", folder);
	snprintf(kept, sizeof(kept), "%s.before-restore", path);
	return 0;
}

static int
remove_folder(void **state)
{
	char name[160];

	(void)state;
	clean();
	snprintf(name, sizeof(name), "%s.lock", kept);
	(void)unlink(name);
	snprintf(name, sizeof(name), "%s.lock", backup);
	(void)unlink(name);
	(void)unlink(backup);
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kill_at_random),
	    cmocka_unit_test(test_kill_anywhere),
	    cmocka_unit_test(test_kill_restore),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
