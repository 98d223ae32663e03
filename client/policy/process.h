/* process: what a process is called, in each of the ways that there are. The
 * kernel has 15 bytes of the name under which it was started (comm); the rest
 * of a longer one is in the path of its file, or, for a script, in its
 * arguments. Linux. */
#ifndef UKAI_POLICY_PROCESS_H
#define UKAI_POLICY_PROCESS_H

#include "core/base.h"

#define PROCESS_COMM_MAX 16 /* with its zero, as all of these */
#define PROCESS_NAME_MAX 256
#define PROCESS_ARGS 3

struct process {
	char comm[PROCESS_COMM_MAX];
	char exe[PROCESS_NAME_MAX]; /* the file's name; "": unknown */
	/* Last parts of its first arguments; of those whose comm has been cut
	 * only. A script is among them: "INTERPRETER [OPTION] SCRIPT". */
	char arg[PROCESS_ARGS][PROCESS_NAME_MAX];
};

enum process_match {
	PROCESS_NO,
	PROCESS_BY_FILE, /* the file has this name, comm another one */
	PROCESS_BY_NAME, /* it runs under this name */
};

/* Is it called so? Pure. Names are the same when all their bytes are. */
enum process_match process_match(const struct process *p, const char *name);

/* Path as in /proc/PID/exe, len bytes, not terminated: its last part, without
 * the " (deleted)" of a file that was replaced. Pure. */
void process_exe(
    char name[static PROCESS_NAME_MAX], const char *path, size_t len);
/* Text as in /proc/PID/cmdline: the last parts of the first arguments. Pure. */
void process_args(struct process *p, const char *text, size_t len);

/* Returns 0; -1: it is not there (any more). */
int process_read(struct process *p, int pid);

/* Since when it runs, in clock ticks since the boot; of the text as in
 * /proc/PID/stat. Returns 0; -1: it says no such thing. Pure. */
int process_parse_start(uint64_t *start, const char *text);
int process_start(uint64_t *start, int pid); /* -1: it is not there */

/* A network namespace. Returns false: unknown (it may have ended). */
struct process_netns {
	uint64_t dev, ino;
};
bool process_netns(struct process_netns *n, int pid); /* 0: our own */

/* Visit all processes. Returns 0; -1: /proc cannot be read. */
int process_each(void (*visit)(void *arg, int pid), void *arg);
/* Visit those that a process has started and that are its children still. */
void process_each_child(int pid, void (*visit)(void *arg, int pid), void *arg);

#endif
