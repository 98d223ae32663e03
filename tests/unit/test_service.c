#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/err.h"
#include "io/service.h"

static void
test_exit_codes(void **state)
{
	(void)state;
	assert_int_equal(service_exit_code(0), EXIT_OK);
	assert_int_equal(service_exit_code(UK_EINVAL), EXIT_USAGE);
	assert_int_equal(service_exit_code(UK_EPERM), EXIT_PERMISSION);
	assert_int_equal(service_exit_code(UK_EBUSY), EXIT_FAILED);
}

/* What the waiting parent exits with when its child does this. */
static int
parent_exits_with(void (*child)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (service_background() == 0)
			child();
		_exit(99);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
child_gets_ready(void)
{
	service_ready(true);
	_exit(0);
}

static void
child_fails(void)
{
	_exit(EXIT_PERMISSION);
}

static void
child_leaves_early(void)
{
	_exit(0);
}

static void
child_is_killed(void)
{
	raise(SIGKILL);
}

static void
test_background(void **state)
{
	(void)state;
	assert_int_equal(parent_exits_with(child_gets_ready), EXIT_OK);
	assert_int_equal(parent_exits_with(child_fails), EXIT_PERMISSION);
	assert_int_equal(parent_exits_with(child_leaves_early), EXIT_FAILED);
	assert_int_equal(parent_exits_with(child_is_killed), EXIT_FAILED);
}

static void
on_time(uv_timer_t *t)
{
	uv_close((uv_handle_t *)t, NULL);
	raise(SIGTERM);
}

/* READY and STOPPING to an abstract socket, as systemd gives it; SIGTERM ends
 * the loop. */
static void
test_notify_and_run(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	uv_loop_t loop;
	uv_timer_t timer;
	char name[64], got[32];
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	(void)state;
	snprintf(name, sizeof(name), "@ukai-test-%d", (int)getpid());
	memcpy(a.sun_path + 1, name + 1, strlen(name) - 1);
	assert_int_equal(
	    bind(fd, (struct sockaddr *)&a,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			    strlen(name))),
	    0);
	setenv("NOTIFY_SOCKET", name, 1);
	service_hold_signals();
	raise(SIGHUP); /* waits */
	uv_loop_init(&loop);
	uv_timer_init(&loop, &timer);
	uv_timer_start(&timer, on_time, 3600 * 1000, 0);
	service_run(&loop, true); /* ends by the SIGHUP */
	assert_true(uv_loop_alive(&loop));
	uv_timer_start(&timer, on_time, 0, 0);
	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 7);
	assert_memory_equal(got, "READY=1", 7);
	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 10);
	assert_memory_equal(got, "STOPPING=1", 10);
	service_run(&loop, true);
	service_drain(&loop);
	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 7);
	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 10);
	assert_memory_equal(got, "STOPPING=1", 10);
	unsetenv("NOTIFY_SOCKET");
	close(fd);
}

/* X3: in a child, for it cannot be taken back. */
static void
test_harden(void **state)
{
	struct rlimit core;
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		service_harden();
		_exit(prctl(PR_GET_DUMPABLE) != 0 ||
		      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 ||
		      getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_exit_codes),
	    cmocka_unit_test(test_background),
	    cmocka_unit_test(test_notify_and_run),
	    cmocka_unit_test(test_harden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
