/* undo_cgroup: folders and BPF programs of cgroup 2 as changes of the undo
 * journal (cgroup.h). Both end with the boot. They are the host's, not a
 * network namespace's: what one namespace has made can be undone in any. */
#ifndef UKAI_UNDO_CGROUP_H
#define UKAI_UNDO_CGROUP_H

#include "undo.h"

/* Folders of this name ("ukai-...") will be made, wherever: call this first.
 * note says what they are for. Undo: what is in them goes to their parents, and
 * they go. */
int undo_cgroup(
    struct undo *u, const char *name, const char *note, struct diag *d);
/* The names that would be undone, with their notes, oldest first; made in this
 * boot and network namespace. */
void undo_cgroup_each(const struct undo *u,
    void (*visit)(void *arg, const char *name, const char *note), void *arg);
/* Undo undo_cgroup() of that name alone. Returns as undo_all(). */
int undo_cgroup_dissolve(struct undo *u, const char *name, struct diag *d);

/* Attach a program at a folder. So that it can be found again without
 * CAP_SYS_ADMIN it is pinned in /sys/fs/bpf, where that is there. Undo: detach
 * it. *id: for the next two. Returns 0; UK_EPERM, UK_ESYS, UK_ENOMEM. */
int undo_cgroup_attach(struct undo *u, int root, const char *path, int prog,
    uint32_t *id, struct diag *d);
void undo_cgroup_attached_each(
    const struct undo *u, void (*visit)(void *arg, uint32_t id), void *arg);
int undo_cgroup_detach(struct undo *u, uint32_t id, struct diag *d);

#endif
