/* cgroup: folders of cgroup 2, the processes in them, and BPF programs that
 * hold for their sockets. Linux. Paths begin at the root of the hierarchy as
 * this process sees it: "/", "/system.slice/cron.service".
 * Functions return 0 or a negative errno unless said otherwise. */
#ifndef UKAI_CGROUP_H
#define UKAI_CGROUP_H

#include "core/base.h"
#include "core/diag.h"

#define CGROUP_PATH_MAX 1024 /* deeper ones are refused: -ENAMETOOLONG */

/* Our programs' name in the kernel. */
#define CGROUP_PROGRAM "ukai_class"

/* The root, as a descriptor for what is below: where it is mounted and may be
 * written; else mounted for us alone, without a place (the folders below
 * `ip netns exec` are not there, and some hosts use cgroup 1 only).
 * Returns 0; UK_ENOENT: this kernel has none; UK_EPERM: neither can be written
 * nor mounted; UK_ESYS; what to do is told to d. */
int cgroup_open(int *root, struct diag *d);

/* The folder that a process is in. */
int cgroup_of(int pid, char path[static CGROUP_PATH_MAX]);
/* The same from the text of /proc/PID/cgroup. Pure. -ENOENT: not in one that
 * is below our root. */
int cgroup_parse(const char *text, char path[static CGROUP_PATH_MAX]);
/* Where one line of /proc/PID/mountinfo mounts the whole of cgroup 2. Pure.
 * -ENOENT: it does not. */
int cgroup_parse_mount(const char *line, char path[static CGROUP_PATH_MAX]);

/* parent and a name: their path. */
int cgroup_join(
    char path[static CGROUP_PATH_MAX], const char *parent, const char *name);
/* The last part; "" for the root. */
const char *cgroup_name(const char *path);

/* -EEXIST: it is there. */
int cgroup_make(int root, const char *path);
int cgroup_remove(int root, const char *path); /* -EBUSY: not empty */
int cgroup_put(int root, const char *path, int pid);
int cgroup_count(int root, const char *path, uint32_t *processes);

/* Visit all folders whose name begins with prefix, children before their
 * parents, so that visit may remove what it is shown. */
void cgroup_find(int root, const char *prefix,
    void (*visit)(void *arg, const char *path), void *arg);

/* Everything in it goes to its parent, and it goes. Where somebody has made
 * folders in it, it stays, but without our programs: -EBUSY, and a warning. */
int cgroup_dissolve(int root, const char *path, struct diag *d);

/* A program at socket creation (BPF_CGROUP_INET_SOCK_CREATE). */
int cgroup_attach(int root, const char *path, int prog);
int cgroup_detach(int root, const char *path, int prog);
/* Programs of that kind, of whomever: at most *n numbers; *n: how many. */
int cgroup_programs(int root, const char *path, uint32_t *id, uint32_t *n);
#define CGROUP_PROGRAMS_MAX 64 /* the kernel's limit for a folder */

#endif
