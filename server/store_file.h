/* store_file: what the store does with files beside SQLite: who may touch
 * them, who has them, how one takes another's place. For store.c.
 *
 *   PATH          the database
 *   PATH-wal      what it has not taken up yet; belongs to it
 *   PATH.lock     held (flock) by the process that has the store
 *   PATH.new      a database in the making; of a killed process: rubbish
 *   PATH.before-restore, ...-wal */
#ifndef UKAI_SERVER_STORE_FILE_H
#define UKAI_SERVER_STORE_FILE_H

#include <limits.h>

#include "core/diag.h"

/* "FOLDER/NAME" and suffix, also for a bare NAME: SQLite takes names like
 * "file:x" and ":memory:" for something else. Returns 0; UK_EINVAL. */
int store_file_name(char name[static PATH_MAX], const char *path,
    const char *suffix, struct diag *d);

/* Make the folder (0700) where there is none, refuse one that others may write,
 * and take PATH.lock. SQLite's own lock is not enough: there is none on a
 * file that is damaged, or that is being exchanged. Returns a descriptor to
 * close; UK_EBUSY: another process has it; UK_EPERM; other errors of the
 * system. */
int store_file_claim(const char *path, struct diag *d);

/* Is the file there, and ours alone? Returns 1: yes; 0: there is none;
 * UK_EPERM: others may read or write it, or it is no regular file; UK_ESYS. */
int store_file_check(const char *path, struct diag *d);

/* An empty one, 0600. */
int store_file_create(const char *path, struct diag *d);
/* With its -wal, where it has one; both synced. UK_ENOENT; UK_EINVAL: not a
 * regular file; UK_EBUSY: a process has the database open. */
int store_file_copy(const char *from, const char *to, struct diag *d);
/* With what SQLite leaves beside it. */
void store_file_remove(const char *path);

/* Rename PATH.new to PATH, and sync the folder. */
int store_file_put(const char *path, struct diag *d);
/* The same; what was there is kept as PATH.before-restore with its -wal, which
 * must not stay beside the new one. On an error PATH is what it was. A kill
 * leaves the old or the new: the old without its -wal for a moment, so the
 * caller has had SQLite take that up before, if it can. */
int store_file_exchange(const char *path, struct diag *d);
/* Rename to a name that is free: UK_EEXIST. Synced; on an error neither is
 * there. */
int store_file_put_new(const char *from, const char *path, struct diag *d);

#endif
