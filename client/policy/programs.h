/* programs: which sockets belong to programs that rules name, and to what
 * `ukai run` starts: their packets get a class (mark.h). Linux: cgroup 2, a
 * BPF program of ours at socket creation; nothing is compiled at run time.
 *
 * Two ways, because neither is enough:
 *   - by name, at the root of the cgroup tree: that of the thread that makes
 *     the socket (its "comm"), of its process and that one's file, and of the
 *     processes that started it. Holds from the program's first socket on. Of
 *     a script's name of more than 14 bytes the kernel has only a part; until
 *     we have read the rest, what begins so is taken for it where the rules
 *     refuse (program_name.closed);
 *   - by cgroup: a program is moved, when it starts or is found running, into
 *     a folder below the one it is in, where its limits still hold and its
 *     service manager still finds it; its children are born there. That is
 *     about a millisecond after its start. So its children are known still
 *     when it has ended, or when it has become another program (exec).
 * A program's own name counts for more than its parent's, `ukai run` for more
 * than both. Sockets that exist already keep the mark they have. Only programs
 * in the network namespace of the caller of programs_open() are concerned.
 *
 * Everything made is in the journal. What stays after kill -9 (keep): the
 * programs at the cgroups and the classes of the names, so that what tunnel! is
 * about is still known; `ukai restore` removes them. The next programs_open()
 * with that journal takes all of it over without a gap, so do not undo it
 * before: its own BPF programs stand before the old ones go, and names keep
 * their classes. That is why programs are attached and not linked: a link would
 * end with the process that holds it. */
#ifndef UKAI_POLICY_PROGRAMS_H
#define UKAI_POLICY_PROGRAMS_H

#include <uv.h>

#include "host/undo.h"
#include "mark.h"
#include "program_classes.h"

struct programs;

struct programs_conf {
	uv_loop_t *loop;
	const char *name; /* of the tunnel */
	struct undo *undo; /* must stay as long as the object */
	const struct program_name *program; /* copied */
	size_t n; /* at most CLASS_PROGRAM_MAX different ones */
};

/* Find where cgroup 2 is, load, attach, look at what runs, and watch. n may be
 * 0: then only programs_run() works, and nothing is watched. Returns 0 (d may
 * have warnings); UK_ENOENT: no cgroup 2 here; UK_EPERM; UK_ESYS: no BPF;
 * UK_ELIMIT: too many names; each with what to do in d; UK_ENOMEM. */
int programs_open(
    struct programs **out, const struct programs_conf *c, struct diag *d);
/* Other names from now on. Those that were there keep their classes. On
 * failure the old ones hold. */
int programs_follow(struct programs *p, const struct program_name *program,
    size_t n, struct diag *d);
/* Everything is taken back: processes go to the cgroups they came from. */
void programs_close(struct programs *p); /* NULL: no-op */
/* Everything stays, as after kill -9. */
void programs_leave(struct programs *p); /* NULL: no-op */

/* The class of a name that is followed; CLASS_NONE: it is not. arg: a struct
 * programs. For policy_nft.class_of. */
unsigned programs_class(void *arg, const char *program);

/* For `ukai run`: make the calling process (pid, of whom the control socket
 * knows that it is root) and all its children members of the class. Returns 0;
 * UK_ENOENT: no such process; UK_EINVAL: in another network namespace;
 * UK_EPERM, UK_ESYS, UK_ENOMEM; told to d. */
int programs_run(struct programs *p, int pid, bool fallback, struct diag *d);

struct programs_status {
	const char *program;
	uint32_t processes; /* now, those that were moved */
	uint32_t unmoved; /* times that the kernel would not move one: only its
			     threads' names count then */
};
void programs_each(const struct programs *p,
    void (*visit)(void *arg, const struct programs_status *s), void *arg);

#endif
