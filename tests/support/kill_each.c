#include "kill_each.h"

#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void
child(void (*work)(void *arg), void *arg)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(77);
	raise(SIGSTOP);
	work(arg);
	_exit(0);
}

enum kill_each
kill_each(void (*work)(void *arg), void *arg, unsigned nth)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		child(work, arg);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return KILL_EACH_NO_PTRACE;
	for (unsigned i = 0; i < nth; i++) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 ||
		    waitpid(pid, &status, 0) != pid)
			return KILL_EACH_FAILED;
		if (WIFEXITED(status))
			return WEXITSTATUS(status) == 0 ? KILL_EACH_ENDED
							: KILL_EACH_FAILED;
		if (WIFSIGNALED(status))
			return KILL_EACH_FAILED;
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return KILL_EACH_KILLED;
}
