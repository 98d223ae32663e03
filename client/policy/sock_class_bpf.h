/* sock_class_bpf: BPF programs that write a class into the mark of a socket
 * when it is made (mark.h), for BPF_CGROUP_INET_SOCK_CREATE. Linux 5.8; only
 * sockets of this network namespace where the kernel can tell which that is
 * (5.14). Functions return a descriptor or 0; negative errno. */
#ifndef UKAI_POLICY_SOCK_CLASS_BPF_H
#define UKAI_POLICY_SOCK_CLASS_BPF_H

#include "mark.h"

/* Names longer than this are cut by the kernel where a thread has its name
 * (comm), or cannot be told from such a one. */
#define SOCK_CLASS_NAME_MAX 14

/* For a cgroup of programs of one class. Leaves sockets alone that a cgroup
 * further down has given a class. */
int sock_class_bpf_load(enum mark_class class);

/* A map of names to classes, and a program for the root that looks up the
 * name of the thread. It comes after those of the cgroups below. The thread's
 * own name counts for more than the class that it has from its parent, but not
 * for more than `ukai run`. */
int sock_class_bpf_map(void);
int sock_class_bpf_load_names(int map);
/* class CLASS_NONE: no more. name: at most SOCK_CLASS_NAME_MAX bytes. */
int sock_class_bpf_set(int map, const char *name, enum mark_class class);

#endif
