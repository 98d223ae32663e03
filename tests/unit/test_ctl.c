#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/ctl.h"

/* The test's clock: the real one, and what a test adds. */
static uint64_t clock_ahead_ns;

struct uk_time
clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (struct uk_time){.mono_ns = (uint64_t)ts.tv_sec * UK_NS_PER_S +
					   (uint64_t)ts.tv_nsec +
					   clock_ahead_ns};
}

/* A server in a directory of its own, and what its handler saw. */
struct fixture {
	uv_loop_t loop;
	struct ctl *ctl;
	char dir[64], path[96];
	unsigned opened, closed, lines, deleted;
	size_t longest;
	int pid; /* of who sent the last line */
	bool refuse;
	bool close_on_deleted;
	struct diag d;
};

static struct fixture *fx;
static char big[100000];

static void *
h_open(void *arg)
{
	struct fixture *f = arg;

	if (f->refuse)
		return NULL;
	f->opened++;
	return f;
}

static void
h_close(void *session)
{
	((struct fixture *)session)->closed++;
}

/* "big": 100,000 bytes. "bye": an answer, then the end. "stop": the whole
 * service ends. "": the number of lines so far. "fail": out of memory. */
static bool
h_line(void *session, const char *line, size_t len, struct text *out)
{
	struct fixture *f = session;

	f->lines++;
	f->pid = ctl_pid(f->ctl, session);
	if (len > f->longest)
		f->longest = len;
	if (len == 3 && memcmp(line, "big", 3) == 0)
		text_append(out, big, sizeof(big));
	if (len == 0)
		text_add(out, "lines=%u\n\n", f->lines);
	if (len == 4 && memcmp(line, "fail", 4) == 0)
		out->failed = true;
	if (len == 4 && memcmp(line, "stop", 4) == 0) {
		ctl_close(f->ctl);
		f->ctl = NULL;
		text_add(out, "stopping\n\n");
	}
	if (len == 3 && memcmp(line, "bye", 3) == 0) {
		text_add(out, "bye\n");
		return false;
	}
	return true;
}

static void
h_deleted(void *arg)
{
	struct fixture *f = arg;

	f->deleted++;
	if (f->close_on_deleted) {
		ctl_close(f->ctl);
		f->ctl = NULL;
	}
}

static struct ctl_conf
conf_for(struct fixture *f, const char *path, int fd)
{
	return (struct ctl_conf){.path = path,
	    .fd = fd,
	    .handler = {.arg = f,
		.open = h_open,
		.line = h_line,
		.close = h_close,
		.deleted = h_deleted}};
}

static int
open_ctl(struct fixture *f)
{
	struct ctl_conf c = conf_for(f, f->path, -1);

	return ctl_open(&f->ctl, &f->loop, &c, &f->d);
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	clock_ahead_ns = 0;
	fx = f;
	diag_init(&f->d, NULL);
	strcpy(f->dir, "/tmp/ukt-ctl-XXXXXX");
	if (mkdtemp(f->dir) == NULL || uv_loop_init(&f->loop) != 0)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/run/t0.sock", f->dir);
	*state = f;
	return open_ctl(f);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char run[80];
	int r;

	ctl_close(f->ctl);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	r = uv_loop_close(&f->loop); /* UV_EBUSY: a handle was left */
	unlink(f->path);
	snprintf(run, sizeof(run), "%s/run", f->dir);
	/* Nothing else may be left in the directory. */
	r |= rmdir(run) | rmdir(f->dir);
	r |= f->opened != f->closed;
	free(f);
	return r;
}

/* Turn the loop a few times. */
static void
turn(void)
{
	for (int i = 0; i < 20; i++)
		uv_run(&fx->loop, UV_RUN_NOWAIT);
}

static int
dial_path(const char *path, int flags)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | flags, 0);

	assert_true(fd >= 0);
	strcpy(a.sun_path, path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -errno;
}

static int
dial(void)
{
	int fd = dial_path(fx->path, SOCK_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* Send all of it, with the loop turning. */
static void
say(int fd, const char *s, size_t len)
{
	for (int i = 0; len > 0 && i < 100000; i++) {
		ssize_t n = send(fd, s, len, MSG_NOSIGNAL);

		uv_run(&fx->loop, UV_RUN_NOWAIT);
		if (n > 0) {
			s += n;
			len -= (size_t)n;
		}
	}
	assert_int_equal(len, 0);
}

/* Read up to cap bytes or the end, at most step bytes a turn. Returns the
 * bytes had; *eof says whether the end was seen. */
static size_t
hear(int fd, char *buf, size_t cap, size_t step, bool *eof)
{
	size_t len = 0;
	int idle = 0;

	*eof = false;
	while (len < cap && idle < 50) {
		size_t want = cap - len < step ? cap - len : step;
		ssize_t n;

		uv_run(&fx->loop, UV_RUN_NOWAIT);
		n = recv(fd, buf + len, want, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET)) {
			*eof = true;
			break;
		}
		idle = n < 0 ? idle + 1 : 0;
		len += n > 0 ? (size_t)n : 0;
	}
	return len;
}

static void
expect_hear(int fd, const char *want)
{
	char buf[256] = "";
	bool eof;
	size_t n = hear(fd, buf, strlen(want), 256, &eof);

	assert_int_equal(n, strlen(want));
	assert_string_equal(buf, want);
}

static void
expect_end(int fd)
{
	char buf[16];
	bool eof;

	assert_int_equal(hear(fd, buf, sizeof(buf), 16, &eof), 0);
	assert_true(eof);
}

static void
answers_in_order(void **state)
{
	int fd = dial();

	(void)state;
	say(fd, "a\n\nb\nc\n\n", 8);
	expect_hear(fd, "lines=2\n\nlines=5\n\n");
	say(fd, "\n", 1);
	expect_hear(fd, "lines=6\n\n");
	close(fd);
}

static void
byte_by_byte(void **state)
{
	static const char text[] = "abc\n\nd\n\n";
	int fd = dial();

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		say(fd, text + i, 1);
	expect_hear(fd, "lines=2\n\nlines=4\n\n");
	close(fd);
}

/* C7: 0600 whatever the umask; the directory 0755. */
static void
modes_c7(void **state)
{
	struct fixture *f = *state;
	char run[80];
	struct stat st;
	mode_t old = umask(077);

	ctl_close(f->ctl);
	turn();
	snprintf(run, sizeof(run), "%s/run", f->dir);
	assert_int_equal(rmdir(run), 0);
	assert_int_equal(open_ctl(f), 0);
	umask(old);
	assert_int_equal(stat(run, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(lstat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(umask(old), old);
}

static void
huge_request(void **state)
{
	struct fixture *f = *state;
	int fd = dial();
	char *text = malloc(65280 * 32);
	size_t len = 0;

	for (unsigned i = 0; i < 65280; i++)
		len +=
		    (size_t)sprintf(text + len, "allowed_ip=10.%u.%u.%u/32\n",
			i >> 16, i >> 8 & 255, i & 255);
	text[len++] = '\n';
	say(fd, text, len);
	expect_hear(fd, "lines=65281\n\n");
	assert_int_equal(f->lines, 65281);
	free(text);
	close(fd);
}

static void
line_at_the_limit(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(CTL_LINE_MAX + 3);
	int fd = dial();

	memset(text, 'x', CTL_LINE_MAX);
	memcpy(text + CTL_LINE_MAX, "\n\n", 2);
	say(fd, text, CTL_LINE_MAX + 2);
	expect_hear(fd, "lines=2\n\n");
	assert_int_equal(f->longest, CTL_LINE_MAX);
	free(text);
	close(fd);
}

static void
line_over_the_limit(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(CTL_LINE_MAX + 1);
	int fd = dial();

	memset(text, 'x', CTL_LINE_MAX + 1);
	say(fd, text, CTL_LINE_MAX + 1);
	expect_end(fd);
	assert_int_equal(f->lines, 0);
	assert_int_equal(f->closed, 1);
	free(text);
	close(fd);
}

/* What was asked before is answered first. */
static void
answer_then_line_over_the_limit(void **state)
{
	char *text = malloc(CTL_LINE_MAX + 2);
	int fd = dial();

	(void)state;
	memset(text, 'x', CTL_LINE_MAX + 2);
	text[0] = '\n';
	say(fd, text, CTL_LINE_MAX + 2);
	expect_hear(fd, "lines=1\n\n");
	expect_end(fd);
	free(text);
	close(fd);
}

/* One that never reads its answers holds up nobody, and costs no more than
 * the answer it is sent and the next. */
static void
stalled_client(void **state)
{
	struct fixture *f = *state;
	int bad = dial(), good;
	unsigned before;

	for (int i = 0; i < 10000; i++)
		(void)!send(bad, "big\n", 4, MSG_NOSIGNAL);
	turn();
	assert_in_range(f->lines, 1, 20);
	before = f->lines;
	good = dial();
	say(good, "\n", 1);
	turn();
	assert_int_equal(f->lines, before + 1);
	close(good);
	close(bad);
	turn();
	assert_int_equal(f->closed, 2);
}

/* One that reads slowly gets all of it. */
static void
slow_client(void **state)
{
	static char buf[5 * sizeof(big)];
	int fd = dial();
	bool eof;

	(void)state;
	say(fd, "big\nbig\nbig\nbig\nbye\nmore\n", 25);
	assert_int_equal(
	    hear(fd, buf, sizeof(buf), 777, &eof), 4 * sizeof(big) + 4);
	assert_true(eof);
	for (int i = 0; i < 4; i++)
		assert_memory_equal(
		    buf + (size_t)i * sizeof(big), big, sizeof(big));
	assert_memory_equal(buf + 4 * sizeof(big), "bye\n", 4);
	assert_int_equal(fx->lines, 5);
	assert_int_equal(fx->pid, getpid());
	close(fd);
}

static void
half_closed(void **state)
{
	int fd = dial();

	(void)state;
	assert_int_equal(send(fd, "a\n\nrest", 7, 0), 7);
	shutdown(fd, SHUT_WR);
	expect_hear(fd, "lines=2\n\n");
	expect_end(fd);
	close(fd);
}

static void
leaves_while_answered(void **state)
{
	struct fixture *f = *state;
	int fd = dial();

	assert_int_equal(send(fd, "big\nbig\nbig\n", 12, 0), 12);
	turn();
	close(fd);
	turn();
	assert_int_equal(f->closed, 1);
}

static void
handler_closes_or_refuses(void **state)
{
	struct fixture *f = *state;
	int fd = dial();

	say(fd, "bye\na\n", 6);
	expect_hear(fd, "bye\n");
	expect_end(fd);
	assert_int_equal(f->lines, 1);
	close(fd);
	f->refuse = true;
	fd = dial();
	expect_end(fd);
	assert_int_equal(f->opened, 1);
	close(fd);
}

static void
failed_answer_closes(void **state)
{
	int fd = dial();

	(void)state;
	say(fd, "fail\n", 5);
	expect_end(fd);
	close(fd);
}

/* All at once: everybody connects without being refused, and everybody is
 * answered in the end. */
static void
burst_of_clients(void **state)
{
	enum { N = 300 };
	int fd[N];
	unsigned answered = 0;

	(void)state;
	for (int i = 0; i < N; i++) {
		fd[i] = dial();
		assert_int_equal(send(fd[i], "\n", 1, 0), 1);
	}
	for (int round = 0; round < 50 && answered < N; round++) {
		turn();
		for (int i = 0; i < N; i++) {
			char buf[64];

			if (fd[i] < 0 || recv(fd[i], buf, sizeof(buf), 0) <= 0)
				continue;
			answered++;
			close(fd[i]);
			fd[i] = -1;
		}
	}
	assert_int_equal(answered, N);
}

/* C8: silent connections take all places; one more waits, and has one after
 * they were silent for 5 seconds. */
static void
stalled_clients_make_room_c8(void **state)
{
	struct fixture *f = *state;
	int fd[CTL_CLIENTS_MAX], more;
	uint64_t start;

	for (int i = 0; i < CTL_CLIENTS_MAX; i++)
		fd[i] = dial();
	turn();
	assert_int_equal(f->opened, CTL_CLIENTS_MAX);
	more = dial();
	assert_int_equal(send(more, "\n", 1, 0), 1);
	turn();
	assert_int_equal(f->opened, CTL_CLIENTS_MAX);
	clock_ahead_ns = 6 * UK_NS_PER_S;
	say(fd[0], "a\n", 2); /* this one is alive */
	turn();
	start = clock_now().mono_ns;
	while (f->closed == 0 && clock_now().mono_ns - start < 60 * UK_NS_PER_S)
		uv_run(&f->loop, UV_RUN_ONCE);
	expect_hear(more, "lines=2\n\n");
	assert_int_equal(f->closed, 1);
	say(fd[0], "bye\n", 4);
	expect_hear(fd[0], "bye\n");
	expect_end(fd[1]);
	for (int i = 0; i < CTL_CLIENTS_MAX; i++)
		close(fd[i]);
	close(more);
	turn();
}

static void
living_socket_is_busy(void **state)
{
	struct fixture *f = *state;
	struct ctl_conf c = conf_for(f, f->path, -1);
	struct ctl *other = NULL;
	int fd;

	assert_int_equal(ctl_open(&other, &f->loop, &c, &f->d), UK_EBUSY);
	assert_non_null(strstr(f->d.entry[0].text, "in use"));
	turn();
	fd = dial();
	say(fd, "\n", 1);
	expect_hear(fd, "lines=1\n\n");
	assert_int_equal(f->deleted, 0);
	close(fd);
}

static int
bound_socket(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(a.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void
leftover_is_replaced(void **state)
{
	struct fixture *f = *state;
	int fd;

	ctl_close(f->ctl);
	turn();
	close(bound_socket(f->path));
	assert_int_equal(dial_path(f->path, 0), -ECONNREFUSED);
	assert_int_equal(open_ctl(f), 0);
	fd = dial();
	say(fd, "\n", 1);
	expect_hear(fd, "lines=1\n\n");
	close(fd);
	assert_int_equal(f->deleted, 0);
}

static void
other_file_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct ctl *other = NULL;
	struct ctl_conf c;
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/file", f->dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	c = conf_for(f, path, -1);
	assert_int_equal(ctl_open(&other, &f->loop, &c, &f->d), UK_EBUSY);
	assert_non_null(strstr(f->d.entry[0].text, "not a socket"));
	assert_int_equal(unlink(path), 0);
}

static void
bad_paths(void **state)
{
	struct fixture *f = *state;
	struct ctl *other = NULL;
	char path[300] = "";
	struct ctl_conf c = conf_for(f, path, -1);

	memset(path, 'p', sizeof(path));
	path[0] = '/';
	path[299] = '\0';
	assert_int_equal(ctl_open(&other, &f->loop, &c, &f->d), UK_EINVAL);
	path[50] = '/';
	assert_int_equal(ctl_open(&other, &f->loop, &c, &f->d), UK_EINVAL);
	snprintf(path, sizeof(path), "%s/no/such/t.sock", f->dir);
	assert_int_equal(ctl_open(&other, &f->loop, &c, &f->d), UK_ESYS);
	assert_non_null(strstr(f->d.entry[2].text, "cannot make"));
}

/* As `wg-quick down` does. */
static void
deletion_is_noticed(void **state)
{
	struct fixture *f = *state;

	turn();
	assert_int_equal(unlink(f->path), 0);
	turn();
	assert_int_equal(f->deleted, 1);
	close(bound_socket(f->path)); /* told once */
	turn();
	assert_int_equal(f->deleted, 1);
}

static void
other_files_do_not_matter(void **state)
{
	struct fixture *f = *state;
	char path[100];

	snprintf(path, sizeof(path), "%s/run/t1.sock", f->dir);
	close(bound_socket(path));
	turn();
	unlink(path);
	turn();
	assert_int_equal(f->deleted, 0);
}

/* The new owner's socket stays when we end. */
static void
replacement_is_noticed(void **state)
{
	struct fixture *f = *state;
	char path[100];
	struct stat st;

	snprintf(path, sizeof(path), "%s/run/new", f->dir);
	close(bound_socket(path));
	assert_int_equal(rename(path, f->path), 0);
	f->close_on_deleted = true;
	turn();
	assert_int_equal(f->deleted, 1);
	assert_null(f->ctl);
	assert_int_equal(lstat(f->path, &st), 0);
}

static void
close_removes_the_socket(void **state)
{
	struct fixture *f = *state;
	int fd = dial();
	struct stat st;

	turn();
	ctl_close(f->ctl);
	f->ctl = NULL;
	assert_int_equal(lstat(f->path, &st), -1);
	turn();
	expect_end(fd);
	assert_int_equal(f->deleted, 0);
	close(fd);
}

static void
close_from_a_handler(void **state)
{
	struct fixture *f = *state;
	int other = dial(), fd = dial();

	say(fd, "stop\nafter\n", 11);
	expect_hear(fd, "stopping\n\n");
	expect_end(fd);
	expect_end(other);
	assert_int_equal(f->lines, 1);
	assert_int_equal(f->closed, 2);
	close(fd);
	close(other);
}

/* A listening descriptor that we were given (WG_UAPI_FD). */
static void
given_descriptor(void **state)
{
	struct fixture *f = *state;
	struct ctl_conf c;
	char path[100];
	int server, fd;

	ctl_close(f->ctl);
	turn();
	snprintf(path, sizeof(path), "%s/given", f->dir);
	for (int watched = 0; watched < 2; watched++) {
		server = bound_socket(path);
		assert_int_equal(listen(server, 5), 0);
		c = conf_for(f, watched ? path : NULL, server);
		assert_int_equal(ctl_open(&f->ctl, &f->loop, &c, &f->d), 0);
		fd = dial_path(path, SOCK_NONBLOCK);
		assert_true(fd >= 0);
		say(fd, "bye\n", 4);
		expect_hear(fd, "bye\n");
		close(fd);
		unlink(path);
		turn();
		assert_int_equal(f->deleted, watched);
		ctl_close(f->ctl);
		f->ctl = NULL;
		turn();
	}
}

/* Run fn in a child as the user nobody; returns its exit code. */
static int
as_nobody(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(99);
		_exit(fn());
	}
	/* The server has to turn while the child asks. */
	while (waitpid(pid, &status, WNOHANG) == 0) {
		uv_run(&fx->loop, UV_RUN_NOWAIT);
		usleep(1000);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

/* For an answer that comes, on a host that may be slow. */
#define PATIENCE_MS 60000

static int
stranger_asks(void)
{
	char *answer = NULL;
	int r = ctl_ask(fx->path, "\n", PATIENCE_MS, &answer, NULL);

	if (r != 0)
		return -r;
	return answer[0] == '\0' ? 50 : 51;
}

/* C7: the file's mode refuses other users; where somebody opened it, so does
 * SO_PEERCRED. */
static void
peer_credentials_c7(void **state)
{
	struct fixture *f = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(f->dir, 0755), 0);
	assert_int_equal(as_nobody(stranger_asks), -UK_EPERM);
	assert_int_equal(chmod(f->path, 0666), 0);
	assert_int_equal(as_nobody(stranger_asks), 50);
	assert_int_equal(f->opened, 0);
	assert_int_equal(f->lines, 0);
}

/* ctl_ask waits, so it asks from a thread while the loop turns. */
struct asker {
	const char *text;
	int timeout_ms;
	int result;
	char *answer;
	struct diag d;
	volatile bool done;
};

static void
ask_thread(void *arg)
{
	struct asker *a = arg;

	a->result =
	    ctl_ask(fx->path, a->text, a->timeout_ms, &a->answer, &a->d);
	__atomic_store_n(&a->done, true, __ATOMIC_RELEASE);
}

static void
ask(struct asker *a)
{
	uv_thread_t thread;

	diag_init(&a->d, NULL);
	assert_int_equal(uv_thread_create(&thread, ask_thread, a), 0);
	while (!__atomic_load_n(&a->done, __ATOMIC_ACQUIRE)) {
		uv_run(&fx->loop, UV_RUN_NOWAIT);
		usleep(100);
	}
	uv_thread_join(&thread);
}

static void
ask_answers(void **state)
{
	struct asker one = {.text = "a\n\n", .timeout_ms = PATIENCE_MS};
	struct asker all = {
	    .text = "big\nbig\nbye\n", .timeout_ms = PATIENCE_MS};
	struct asker none = {.text = "fail\n", .timeout_ms = PATIENCE_MS};

	(void)state;
	ask(&one);
	assert_int_equal(one.result, 0);
	assert_string_equal(one.answer, "lines=2\n\n");
	free(one.answer);
	ask(&all); /* to the end, without an empty line */
	assert_int_equal(all.result, 0);
	assert_int_equal(strlen(all.answer), 2 * sizeof(big) + 4);
	free(all.answer);
	ask(&none);
	assert_int_equal(none.result, 0);
	assert_string_equal(none.answer, "");
	free(none.answer);
}

static void
ask_errors(void **state)
{
	struct fixture *f = *state;
	struct asker silent = {.text = "no end\n", .timeout_ms = 50};
	char *answer = NULL;
	char path[200];

	ask(&silent);
	assert_int_equal(silent.result, UK_EAGAIN);
	assert_null(silent.answer);
	assert_non_null(strstr(silent.d.entry[0].text, "in time"));
	turn();
	snprintf(path, sizeof(path), "%s/none.sock", f->dir);
	assert_int_equal(ctl_ask(path, "\n", 50, &answer, &f->d), UK_ENOENT);
	assert_non_null(strstr(f->d.entry[0].text, "is it running"));
	ctl_close(f->ctl);
	f->ctl = NULL;
	turn();
	close(bound_socket(f->path));
	assert_int_equal(ctl_ask(f->path, "\n", 50, &answer, NULL), UK_ENOENT);
	memset(path, 'x', sizeof(path) - 1);
	path[199] = '\0';
	assert_int_equal(ctl_ask(path, "\n", 50, &answer, NULL), UK_EINVAL);
}

/* Nobody accepts and the backlog is full: not "nobody there". */
static void
ask_busy(void **state)
{
	struct fixture *f = *state;
	char *answer = NULL;
	int server, first;

	ctl_close(f->ctl);
	f->ctl = NULL;
	turn();
	server = bound_socket(f->path);
	assert_int_equal(listen(server, 0), 0);
	first = dial_path(f->path, 0);
	assert_true(first >= 0);
	assert_int_equal(ctl_ask(f->path, "\n", 50, &answer, NULL), UK_EAGAIN);
	/* It is in use, too. */
	assert_int_equal(open_ctl(f), UK_EBUSY);
	f->ctl = NULL;
	close(first);
	close(server);
}

/* ---- answers that come later ---- */

static struct later {
	bool open, waits;
} later[4];
static unsigned laters;

static void *
later_open(void *arg)
{
	struct later *l = &later[laters++];

	(void)arg;
	*l = (struct later){.open = true};
	return l;
}

/* "wait": its answer comes later. "bye": nothing more is wanted. Others are
 * answered at once. */
static bool
later_line(void *session, const char *line, size_t len, struct text *out)
{
	struct later *l = session;

	if (len == 3 && memcmp(line, "bye", 3) == 0)
		return false;
	if (len == 4 && memcmp(line, "wait", 4) == 0)
		l->waits = true;
	else
		text_add(out, "now\n\n");
	return true;
}

static void
later_close(void *session)
{
	((struct later *)session)->open = false;
}

static void
open_later(struct fixture *f)
{
	struct ctl_conf c = conf_for(f, f->path, -1);

	ctl_close(f->ctl);
	turn();
	laters = 0;
	c.handler.open = later_open;
	c.handler.line = later_line;
	c.handler.close = later_close;
	assert_int_equal(ctl_open(&f->ctl, &f->loop, &c, &f->d), 0);
}

/* Somebody who waits; the i-th. */
static int
dial_later(unsigned i)
{
	int fd = dial();

	say(fd, "wait\n", 5);
	turn();
	assert_int_equal(laters, i + 1);
	assert_true(later[i].waits);
	return fd;
}

static void
expect_silence(int fd)
{
	char c;

	turn();
	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Whoever waits is told, and nobody else; in whichever order. */
static void
told_later(void **state)
{
	struct fixture *f = *state;
	int fd[3];

	open_later(f);
	for (unsigned i = 0; i < 3; i++)
		fd[i] = dial_later(i);
	expect_silence(fd[1]);
	ctl_tell(f->ctl, &later[1], "b\n\n", 3);
	expect_hear(fd[1], "b\n\n");
	expect_silence(fd[0]);
	expect_silence(fd[2]);
	ctl_tell(f->ctl, &later[2], "c\n\n", 3);
	ctl_tell(f->ctl, &later[0], "a", 1);
	ctl_tell(f->ctl, &later[0], "\n\n", 2);
	expect_hear(fd[2], "c\n\n");
	expect_hear(fd[0], "a\n\n");
	/* The connection goes on as before. */
	say(fd[1], "x\nwait\n", 7);
	expect_hear(fd[1], "now\n\n");
	ctl_tell(f->ctl, &later[1], "d\n\n", 3);
	expect_hear(fd[1], "d\n\n");
	for (unsigned i = 0; i < 3; i++)
		close(fd[i]);
	turn();
	assert_false(later[0].open || later[1].open || later[2].open);
}

/* More than the socket takes at once, and a line that comes meanwhile. */
static void
told_much_later(void **state)
{
	static char buf[sizeof(big) + 16];
	struct fixture *f = *state;
	int fd;
	bool eof;

	open_later(f);
	fd = dial_later(0);
	for (int i = 0; i < 10; i++)
		ctl_tell(f->ctl, &later[0], big, sizeof(big));
	say(fd, "x\n", 2);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(
		    hear(fd, buf, sizeof(big), 4096, &eof), sizeof(big));
		assert_memory_equal(buf, big, sizeof(big));
	}
	expect_hear(fd, "now\n\n");
	close(fd);
}

/* Who does not wait for the end has no session any more, so nobody tells it. */
static void
left_before_told(void **state)
{
	struct fixture *f = *state;
	int fd[2];

	open_later(f);
	fd[0] = dial_later(0);
	fd[1] = dial_later(1);
	close(fd[0]);
	turn();
	assert_false(later[0].open);
	assert_true(later[1].open);
	/* Without an answer, a line that ends it is the end. */
	say(fd[1], "bye\n", 4);
	expect_end(fd[1]);
	assert_false(later[1].open);
	close(fd[1]);
}

/* It has left, and we have not heard of that yet. */
static void
leaves_while_told(void **state)
{
	struct fixture *f = *state;
	int fd;

	open_later(f);
	fd = dial_later(0);
	close(fd);
	ctl_tell(f->ctl, &later[0], big, sizeof(big));
	turn();
	assert_false(later[0].open);
}

static void
told_and_closed(void **state)
{
	struct fixture *f = *state;
	int fd;

	open_later(f);
	fd = dial_later(0);
	ctl_tell(f->ctl, &later[0], "a\n\n", 3);
	ctl_close(f->ctl);
	f->ctl = NULL;
	expect_hear(fd, "a\n\n");
	expect_end(fd);
	close(fd);
}

static void
no_memory_to_tell(void **state)
{
	struct fixture *f = *state;
	int fd;

	open_later(f);
	fd = dial_later(0);
	ctl_tell(f->ctl, &later[0], NULL, 0);
	assert_false(later[0].open);
	expect_end(fd);
	close(fd);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(answers_in_order),
	    T(byte_by_byte),
	    T(modes_c7),
	    T(huge_request),
	    T(line_at_the_limit),
	    T(line_over_the_limit),
	    T(answer_then_line_over_the_limit),
	    T(stalled_client),
	    T(slow_client),
	    T(half_closed),
	    T(leaves_while_answered),
	    T(handler_closes_or_refuses),
	    T(failed_answer_closes),
	    T(burst_of_clients),
	    T(stalled_clients_make_room_c8),
	    T(living_socket_is_busy),
	    T(leftover_is_replaced),
	    T(other_file_is_left_alone),
	    T(bad_paths),
	    T(deletion_is_noticed),
	    T(other_files_do_not_matter),
	    T(replacement_is_noticed),
	    T(close_removes_the_socket),
	    T(close_from_a_handler),
	    T(given_descriptor),
	    T(peer_credentials_c7),
	    T(ask_answers),
	    T(ask_errors),
	    T(ask_busy),
	    T(told_later),
	    T(told_much_later),
	    T(left_before_told),
	    T(leaves_while_told),
	    T(told_and_closed),
	    T(no_memory_to_tell),
	};

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)('a' + i % 26);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
