#include "timer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/err.h"
#include "core/value.h"
#include "host/durable.h"
#include "host/os_err.h"
#include "io/clock.h"

#define LOOK_NS (500 * UK_NS_PER_MS)
#define BUSY_NS (100 * UK_NS_PER_MS)
#define TIMER_FD 3

static const char magic[] = "ukai-ports-until 1 ";

int
ports_timer_parse(uint64_t *seconds, const char *text)
{
	static const struct {
		char unit;
		uint32_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	size_t len = strlen(text);
	uint64_t v;

	if (len < 2 ||
	    value_parse_u64(&v, text, len - 1, PORTS_TIMER_MAX_S, false) < 0)
		return UK_EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (units[i].unit != text[len - 1])
			continue;
		v *= units[i].seconds;
		if (v == 0 || v > PORTS_TIMER_MAX_S)
			return UK_EINVAL;
		*seconds = v;
		return 0;
	}
	return UK_EINVAL;
}

bool
ports_timer_is_cancelled(void)
{
	struct stat st;

	return fstat(TIMER_FD, &st) < 0 || st.st_nlink == 0;
}

/* Nothing of the caller's but the locked file: its journal's lock, too, would
 * be held by a descriptor here. */
static void
detach(int fd)
{
	int null;

	setsid();
	dup2(fd, TIMER_FD);
	close_range(TIMER_FD + 1, ~0u, 0);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	(void)!chdir("/");
}

static void
wait_until(uint64_t due_ns, const sigset_t *ends)
{
	uint64_t now_ns, wait_ns;
	struct timespec t;

	for (;;) {
		now_ns = clock_now().mono_ns;
		if (now_ns >= due_ns || ports_timer_is_cancelled())
			return;
		wait_ns = uk_min_u64(due_ns - now_ns, LOOK_NS);
		t.tv_sec = (time_t)(wait_ns / UK_NS_PER_S);
		t.tv_nsec = (long)(wait_ns % UK_NS_PER_S);
		if (sigtimedwait(ends, NULL, &t) > 0)
			return;
	}
}

_Noreturn static void
run(int fd, uint64_t due_ns, int (*due)(void *arg), void *arg)
{
	const struct timespec busy = {.tv_nsec = BUSY_NS};
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	signal(SIGHUP, SIG_IGN);
	detach(fd);
	wait_until(due_ns, &ends);
	while (!ports_timer_is_cancelled() && due(arg) == UK_EBUSY)
		nanosleep(&busy, NULL);
	_exit(0);
}

static int
create(const char *path, uint64_t until_s, struct diag *d)
{
	char text[64];
	int fd = open(
	    path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int len =
	    snprintf(text, sizeof(text), "%s%" PRIu64 "\n", magic, until_s);

	if (fd < 0)
		return os_err_tell(errno, path, "make", d);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 &&
	    durable_write(fd, text, (size_t)len) == 0)
		return fd;
	os_err_tell(errno, path, "write", d);
	unlink(path);
	close(fd);
	return UK_ESYS;
}

int
ports_timer_start(const char *path, uint64_t seconds, int (*due)(void *arg),
    void *arg, struct diag *d)
{
	struct uk_time now = clock_now();
	int fd = create(path, now.wall_ns / UK_NS_PER_S + seconds, d), r = 0;
	pid_t pid;

	if (fd < 0)
		return fd;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		run(fd, now.mono_ns + seconds * UK_NS_PER_S, due, arg);
	if (pid < 0) {
		diag_error(d, "cannot start a process: %s", strerror(errno));
		unlink(path);
		r = UK_ESYS;
	}
	close(fd);
	return r;
}

void
ports_timer_read(struct ports_timer *t, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const size_t skip = sizeof(magic) - 1;
	char text[64];
	ssize_t n;

	*t = (struct ports_timer){.alive = false};
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text));
	if (n > (ssize_t)skip && memcmp(text, magic, skip) == 0 &&
	    value_parse_u64(&t->until_s, text + skip, (size_t)n - skip - 1,
		UINT64_MAX, false) == 0)
		t->alive =
		    flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
}

void
ports_timer_cancel(const char *path)
{
	unlink(path);
}
