#include "service.h"

#include "core/err.h"
#include "host/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int ready_fd = -1; /* to the waiting parent */

int
service_exit_code(int err)
{
	switch (err) {
	case 0:
		return EXIT_OK;
	case UK_EINVAL:
	case UK_EPROTO:
		return EXIT_USAGE;
	case UK_EPERM:
		return EXIT_PERMISSION;
	default:
		return EXIT_FAILED;
	}
}

void
service_harden(void)
{
	const struct rlimit none = {0, 0};
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* On fault: only what is used becomes resident. Under a limit, every
	 * later allocation past it would fail: then rather not. */
	if (setrlimit(RLIMIT_MEMLOCK, &all) == 0)
		mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

/* The parent's part: the child's byte, or its end, decides. */
_Noreturn static void
wait_for_child(pid_t child, int fd)
{
	int status = 0;
	char ready;
	ssize_t n;

	do
		n = read(fd, &ready, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(EXIT_OK);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status)
						       : EXIT_FAILED);
}

int
service_background(void)
{
	int fd[2];
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC) != 0)
		return UK_ESYS;
	fflush(NULL);
	pid = fork();
	if (pid > 0) {
		close(fd[1]);
		wait_for_child(pid, fd[0]);
	}
	close(fd[0]);
	if (pid < 0) {
		close(fd[1]);
		return UK_ESYS;
	}
	ready_fd = fd[1];
	setsid();
	service_harden(); /* locks on memory are not inherited */
	return 0;
}

/* sd_notify(3) is one datagram to a socket named in the environment. */
static void
notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len == 0 || len >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, len);
	if (to.sun_path[0] == '@')
		to.sun_path[0] = '\0'; /* abstract */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL,
	    (struct sockaddr *)&to,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

static void
let_go_of_terminal(bool keep_output)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	if (!keep_output) {
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	close(null);
	(void)!chdir("/");
}

void
service_ready(bool keep_output)
{
	memory_give_back();
	notify("READY=1");
	if (ready_fd < 0)
		return;
	let_go_of_terminal(keep_output);
	(void)!write(ready_fd, "", 1);
	close(ready_fd);
	ready_fd = -1;
}

static const int ends[] = {SIGTERM, SIGINT, SIGHUP};

static void
mask_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		sigaddset(&set, ends[i]);
	sigprocmask(how, &set, NULL);
}

/* A shell's background processes begin with SIGINT ignored, and what is ignored
 * does not wait. */
void
service_hold_signals(void)
{
	mask_signals(SIG_BLOCK);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		signal(ends[i], SIG_DFL);
}

static void
on_signal(uv_signal_t *h, int signum)
{
	(void)signum;
	uv_stop(h->loop);
}

void
service_run(uv_loop_t *loop, bool keep_output)
{
	uv_signal_t watch[ARRAY_LEN(ends)];

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		uv_signal_init(loop, &watch[i]);
		uv_signal_start(&watch[i], on_signal, ends[i]);
	}
	service_ready(keep_output);
	mask_signals(SIG_UNBLOCK);
	uv_run(loop, UV_RUN_DEFAULT);
	mask_signals(SIG_BLOCK);
	notify("STOPPING=1");
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		uv_close((uv_handle_t *)&watch[i], NULL);
	/* The handles live on this stack: one turn finishes them. */
	uv_run(loop, UV_RUN_NOWAIT);
}

void
service_stop(uv_loop_t *loop)
{
	uv_stop(loop);
}

void
service_drain(uv_loop_t *loop)
{
	uv_run(loop, UV_RUN_DEFAULT);
	uv_loop_close(loop);
}
