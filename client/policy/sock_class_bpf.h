/* sock_class_bpf: BPF programs that write a class into the mark of a socket
 * when it is made (mark.h), for BPF_CGROUP_INET_SOCK_CREATE. Linux 5.8; only
 * sockets of this network namespace where the kernel can tell which that is
 * (5.14). Functions return a descriptor or 0; negative errno. */
#ifndef UKAI_POLICY_SOCK_CLASS_BPF_H
#define UKAI_POLICY_SOCK_CLASS_BPF_H

#include "mark.h"

/* Names of files; longer ones are nobody's. */
#define SOCK_CLASS_NAME_MAX 63
/* Of longer ones the kernel has a part only where a thread has its name (comm),
 * and this long ones cannot be told from such a one. */
#define SOCK_CLASS_COMM_MAX 14

/* For a cgroup of programs of one class. Leaves sockets alone that a cgroup
 * further down has given a class. */
int sock_class_bpf_load(enum mark_class class);

struct sock_class_maps {
	int names; /* to classes */
	int judged; /* processes that only begin like a name */
};

int sock_class_bpf_open(struct sock_class_maps *m);

/* A program for the root, which comes after those of the cgroups below. A class
 * is what it finds first: of the name of the thread; of its process, which is
 * its comm or its file's name; the cgroup's; of a name that its process may
 * have (sock_class_bpf_set_cut()); the same of its parent, and so on. But none
 * counts for more than `ukai run`. Wants CAP_PERFMON and a kernel that
 * describes its types: -ENOTSUP, and then _load_comm() does the first part. */
int sock_class_bpf_load_names(const struct sock_class_maps *m);
int sock_class_bpf_load_comm(const struct sock_class_maps *m);

/* class CLASS_NONE: no more. name: at most SOCK_CLASS_NAME_MAX bytes. */
int sock_class_bpf_set(
    const struct sock_class_maps *m, const char *name, enum mark_class class);
/* For a name that is longer than SOCK_CLASS_COMM_MAX: what begins like it, and
 * whose file does not say how it goes on (a script, or it has named itself), is
 * called so until it has been judged. */
int sock_class_bpf_set_cut(
    const struct sock_class_maps *m, const char *name, enum mark_class class);
/* It is called otherwise, or (not) is not so any more. start: since when it
 * runs, in the clock ticks of /proc/PID/stat. */
int sock_class_bpf_judge(
    const struct sock_class_maps *m, int pid, uint64_t start, bool otherwise);

#endif
