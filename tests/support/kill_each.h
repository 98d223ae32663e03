/* kill_each: run a piece of work in a child process and kill it (SIGKILL) at
 * its nth stop at a system call's entry or exit: with n from 1 upwards,
 * between any two steps that the outside can tell apart. */
#ifndef UKAI_KILL_EACH_H
#define UKAI_KILL_EACH_H

enum kill_each {
	KILL_EACH_KILLED, /* it got to the nth stop */
	KILL_EACH_ENDED,  /* it ended before */
	KILL_EACH_FAILED, /* it exited with another code than 0 */
	KILL_EACH_NO_PTRACE,
};

enum kill_each kill_each(void (*work)(void *arg), void *arg, unsigned nth);

#endif
