/* durable: files that are whole or not there, and stay, whoever is killed and
 * whenever the power goes (S2). A file is written as PATH.new, 0600, synced,
 * and takes its name; then its folder is synced. Two at work on one path are
 * the callers' to keep apart. */
#ifndef UKAI_DURABLE_H
#define UKAI_DURABLE_H

#include <stddef.h>

#include "core/diag.h"

/* Instead of what is there; a symbolic link is replaced, not followed. Returns
 * 0; UK_ENOENT: no such folder; UK_EPERM; UK_ESYS (a full disk among them);
 * told to d. On an error PATH is what it was, or, when only the folder could
 * not be synced, new. */
int durable_replace(
    const char *path, const void *bytes, size_t len, struct diag *d);
/* Never over something that is there, be it a link that leads nowhere:
 * UK_EEXIST. Else as durable_replace(); on an error nothing is there. */
int durable_create(
    const char *path, const void *bytes, size_t len, struct diag *d);
/* Remove what one of these left at PATH.new when it was killed. They do so
 * themselves; this is for a path that nobody writes any more. */
void durable_sweep(const char *path);

/* The steps, for files that others write or that need more. Each returns 0 or
 * a negative errno. */

/* All of it, where fd stands; not synced yet. */
int durable_write(int fd, const void *bytes, size_t len);
/* Sync fd and close it. err: of what came before; when it is negative, only
 * close, and return it. */
int durable_close(int fd, int err);
/* rename(), but -EEXIST where something is there. */
int durable_rename_new(const char *from, const char *to);
/* Make what a name in its folder stands for durable. */
int durable_sync_parent(const char *path);

#endif
