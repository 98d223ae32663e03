/* store: the registry's file. SQLite, WAL, mode 0600, in a folder 0700; every
 * query of the relay is behind this header, and nobody else includes
 * sqlite3.h, so that another database can stand here. What store_commit()
 * has confirmed is on the disk (synchronous=FULL): neither a kill nor a power
 * cut loses it (S2). Bound parameters only (S1). Threads: owner only.
 *
 * Schema version: PRAGMA user_version. A file of an older one is migrated when
 * it is opened, in one transaction; one of a newer one is refused. */
#ifndef UKAI_SERVER_STORE_H
#define UKAI_SERVER_STORE_H

#include "client.h"

struct store;

/* Open, or make where there is none. Whole before it is used: a damaged file is
 * refused (quick_check, and the tables must be exactly those of its version),
 * never replaced or emptied, and d says what to do: `ukai-relay registry
 * restore`, or move it away. Until store_close() no other process gets it:
 * neither this program (PATH.lock) nor others that use SQLite (its own lock).
 * Returns 0; UK_EPROTO (damaged, not a registry, or of a newer version),
 * UK_EBUSY (another process has it open), UK_EPERM (also: others may read or
 * write the file, or write its folder), UK_ESYS, UK_ENOMEM. *s is NULL on an
 * error. */
int store_open(struct store **s, const char *path, struct diag *d);
void store_close(struct store *s); /* rolls back; NULL: no-op */

/* Every client, in the order of their ids, with its forwards. take owns *c
 * afterwards, also when it returns an error, which ends the walk; it does not
 * call the store. Returns 0; take's error; UK_EPROTO: a row that no relay
 * wrote (d names table, client and column); UK_ESYS, UK_ENOMEM. */
int store_load(struct store *s, int (*take)(void *arg, struct client *c),
    void *arg, struct diag *d);

/* ---- changes, in a transaction. Errors: UK_ESYS (disk full among them, with
 * SQLite's words in d), UK_ENOMEM, UK_EPROTO (the file turns out to be
 * damaged), UK_EINVAL (client_check() refuses it: it could not be loaded
 * again); after any, those below too, the transaction can only be rolled
 * back, and store_commit() refuses. ---- */

int store_begin(struct store *s, struct diag *d);
/* After an error the transaction is over, and nothing of it is there. */
int store_commit(struct store *s, struct diag *d);
void store_rollback(struct store *s); /* no transaction: no-op */

/* With its forwards; sets c->id. UK_EEXIST: the name, the key, a network or the
 * global address is there already. */
int store_add(struct store *s, struct client *c, struct diag *d);
/* All of a client that store_add() or store_load() gave its id. Besides:
 * UK_ENOENT: no such client; UK_EEXIST. */
int store_update(struct store *s, const struct client *c, struct diag *d);
int store_remove(struct store *s, int64_t id, struct diag *d); /* UK_ENOENT */

/* Keys of [Peer] sections that were taken over once. Noted twice is once. */
int store_note_import(
    struct store *s, const struct wg_key *public_key, struct diag *d);
/* Returns 1: yes; 0: no; < 0. */
int store_was_imported(
    struct store *s, const struct wg_key *public_key, struct diag *d);

/* ---- the whole file ---- */

/* A copy at path (made, 0600; UK_EEXIST: something is there), complete also
 * while others write (SQLite's online backup), synced before this returns;
 * nothing is left there after an error. UK_EBUSY: inside a transaction. A kill
 * may leave PATH.XXXXXX, never a part at path. */
int store_backup(struct store *s, const char *path, struct diag *d);
/* Put a backup in the place of the registry at path, which no process may have
 * open (UK_EBUSY). A copy of the backup is checked first like store_open() and
 * store_load() do, and migrated; from itself may belong to anybody and is
 * only read. UK_ENOENT: none; UK_EINVAL: it is the registry itself, or no
 * file; UK_EBUSY: it is a database in use. The one that was there, damaged or
 * not, is kept as PATH.before-restore, which can be restored as well. Until
 * that, nothing has changed. */
int store_restore(const char *from, const char *path, struct diag *d);

#endif
