#include "store_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"
#include "host/durable.h"
#include "host/os_err.h"
#include "store_file.h"

/* Above the largest policy with all that is in the same row; a file with more
 * is none of ours. */
#define VALUE_MAX (1 << 20)
/* Another program, such as sqlite3(1), may look at the file while it is opened;
 * afterwards it is ours alone. */
#define BUSY_MS 250

int
store_err(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_NOMEM:
		return UK_ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return UK_EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
	case SQLITE_SCHEMA:
	case SQLITE_TOOBIG:
		return UK_EPROTO;
	case SQLITE_PERM:
	case SQLITE_READONLY:
		return UK_EPERM;
	case SQLITE_CONSTRAINT:
		return rc == SQLITE_CONSTRAINT_UNIQUE ||
			       rc == SQLITE_CONSTRAINT_PRIMARYKEY
			   ? UK_EEXIST
			   : UK_EINVAL;
	default:
		return UK_ESYS;
	}
}

int
store_failed(sqlite3 *db, const char *what, int rc, struct diag *d)
{
	int err = store_err(rc);

	if (err == UK_ENOMEM)
		diag_error(d, "%s: out of memory", what);
	else if (err == UK_EBUSY)
		diag_error(d, "%s: another process has it open", what);
	else
		diag_error(d, "%s: %s", what, sqlite3_errmsg(db));
	return err;
}

int
store_run(sqlite3 *db, const char *sql, const char *what, struct diag *d)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : store_failed(db, what, rc, d);
}

/* ---- open ---- */

/* What a file says must not run (S1): no triggers or views of its own, no
 * extensions, nothing that writes the schema behind our back. */
static int
harden(sqlite3 *db)
{
	static const struct {
		int option, on;
	} option[] = {
	    {SQLITE_DBCONFIG_DEFENSIVE, 1},
	    {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
	    {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
	    {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
	    {SQLITE_DBCONFIG_DQS_DML, 0},
	    {SQLITE_DBCONFIG_DQS_DDL, 0},
	};
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < ARRAY_LEN(option); i++)
		rc = sqlite3_db_config(
		    db, option[i].option, option[i].on, (int *)NULL);
	sqlite3_limit(db, SQLITE_LIMIT_LENGTH, VALUE_MAX);
	sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(db, BUSY_MS);
	return rc;
}

/* locking_mode stands first: then SQLite has its lock until the end, which
 * keeps other programs out, whose changes the relay's memory would not know;
 * and the WAL's index is in memory instead of a shared, mapped file.
 * cell_size_check and secure_delete: a damaged page is told as such, and a
 * client that was revoked leaves no key in a free one. */
static const char pragmas[] = "PRAGMA locking_mode = EXCLUSIVE;"
			      "PRAGMA cell_size_check = ON;"
			      "PRAGMA secure_delete = ON;"
			      "PRAGMA temp_store = MEMORY;"
			      "PRAGMA synchronous = FULL;"
			      "PRAGMA foreign_keys = ON";

/* *db is the caller's to close, also after an error. */
static int
open_plain(sqlite3 **db, const char *file)
{
	int rc = sqlite3_open_v2(file, db,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
		SQLITE_OPEN_EXRESCODE,
	    NULL);

	if (rc == SQLITE_OK)
		rc = harden(*db);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(*db, pragmas, NULL, NULL, NULL);
	return rc;
}

/* "wal", or the file system cannot. */
static int
set_wal(sqlite3 *db, const char *name, struct diag *d)
{
	sqlite3_stmt *q;
	int err = 0, rc = sqlite3_prepare_v2(
			 db, "PRAGMA journal_mode = WAL", -1, &q, NULL);

	if (rc != SQLITE_OK)
		return store_failed(db, name, rc, d);
	rc = sqlite3_step(q);
	if (rc != SQLITE_ROW) {
		err = store_failed(db, name, rc, d);
	} else if (strcmp((const char *)sqlite3_column_text(q, 0), "wal") !=
		   0) {
		diag_error(d, "%s: no write-ahead log can be had", name);
		err = UK_ESYS;
	}
	sqlite3_finalize(q);
	return err;
}

/* A file in the making may be lost with a kill, and is made again. */
static int
fill_new(const char *new, const struct store_schema *schema, struct diag *d)
{
	sqlite3 *db;
	int err = 0, rc = open_plain(&db, new);

	if (rc != SQLITE_OK)
		err = store_failed(db, new, rc, d);
	if (err == 0)
		err = set_wal(db, new, d);
	if (err == 0)
		err = store_schema_migrate(db, schema, d);
	rc = sqlite3_close(db);
	if (err == 0 && rc != SQLITE_OK)
		err = store_failed(NULL, new, rc, d);
	return err;
}

/* Beside its place, then renamed: an empty file in that place never is a
 * registry that has just been made, but one that was lost. */
static int
make_registry(
    const char *path, const struct store_schema *schema, struct diag *d)
{
	char new[PATH_MAX], wal[PATH_MAX];
	int err = store_file_name(new, path, ".new", d);

	if (err == 0)
		err = store_file_name(wal, path, "-wal", d);
	if (err < 0)
		return err;
	if (access(wal, F_OK) == 0) {
		diag_error(d,
		    "%s is gone, but %s is there: put a backup back with "
		    "`ukai-relay registry restore FILE`, or move %s away to "
		    "begin anew",
		    path, wal, wal);
		return UK_EPROTO;
	}
	store_file_remove(new);
	err = store_file_create(new, d);
	if (err == 0)
		err = fill_new(new, schema, d);
	if (err == 0)
		err = store_file_put(path, d);
	if (err < 0)
		store_file_remove(new);
	return err;
}

/* Open and check a file that is there. name and remedy: for sentences. On an
 * error *db is NULL. */
static int
open_file(sqlite3 **db, const char *file, const struct store_schema *schema,
    const char *name, const char *remedy, struct diag *d)
{
	int err = 0, rc = open_plain(db, file);

	if (rc != SQLITE_OK)
		err = store_unreadable(*db, name, remedy, rc, d);
	if (err == 0)
		err = store_schema_check(*db, schema, name, remedy, d);
	if (err == 0)
		err = set_wal(*db, name, d);
	if (err == 0)
		err = store_schema_migrate(*db, schema, d);
	if (err == 0)
		return 0;
	sqlite3_close(*db);
	*db = NULL;
	return err;
}

static int
open_registry(sqlite3 **db, const char *path, const struct store_schema *schema,
    struct diag *d)
{
	char file[PATH_MAX];
	int err = store_file_name(file, path, "", d);
	int there = err == 0 ? store_file_check(file, d) : err;

	if (there == 0)
		there = make_registry(file, schema, d);
	if (there < 0)
		return there;
	return open_file(db, file, schema, path,
	    "put a backup back with `ukai-relay registry restore FILE`, or "
	    "move it away to begin anew",
	    d);
}

int
store_open_as(struct store **s, const char *path,
    const struct store_schema *schema, struct diag *d)
{
	struct store *n = calloc(1, sizeof(*n));
	int err;

	*s = NULL;
	if (n == NULL)
		return UK_ENOMEM;
	n->claim = store_file_claim(path, d);
	if (n->claim < 0) {
		err = n->claim;
		free(n);
		return err;
	}
	err = open_registry(&n->db, path, schema, d);
	if (err < 0) {
		close(n->claim);
		free(n);
		return err;
	}
	*s = n;
	return 0;
}

int
store_open(struct store **s, const char *path, struct diag *d)
{
	return store_open_as(s, path, &store_schema, d);
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	store_rollback(s);
	UK_ASSERT(sqlite3_close(s->db) == SQLITE_OK);
	close(s->claim);
	free(s);
}

/* ---- transactions ---- */

int
store_begin(struct store *s, struct diag *d)
{
	int err;

	UK_ASSERT(!s->in_transaction);
	err = store_run(s->db, "BEGIN IMMEDIATE", "registry", d);
	if (err < 0)
		return err;
	s->in_transaction = true;
	s->broken = false;
	return 0;
}

int
store_commit(struct store *s, struct diag *d)
{
	int err;

	UK_ASSERT(s->in_transaction);
	if (s->broken) {
		diag_error(d, "the registry's change has failed already");
		store_rollback(s);
		return UK_ESYS;
	}
	err = store_run(s->db, "COMMIT", "registry", d);
	if (err < 0)
		store_rollback(s);
	s->in_transaction = false;
	return err;
}

void
store_rollback(struct store *s)
{
	s->in_transaction = false;
	/* A full disk, for one, has ended it already. */
	if (!sqlite3_get_autocommit(s->db))
		(void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- the whole file ---- */

/* All pages at once: nobody else writes, and a thousand clients are less than
 * a megabyte. The copy is no WAL database, so that it is one file, and can be
 * read where nothing can be written. */
static int
copy_pages(sqlite3 *from, const char *to, struct diag *d)
{
	sqlite3 *db;
	sqlite3_backup *b;
	int rc = open_plain(&db, to), err;

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(
		    db, "PRAGMA journal_mode = MEMORY", NULL, NULL, NULL);
	if (rc == SQLITE_OK) {
		b = sqlite3_backup_init(db, "main", from, "main");
		if (b != NULL) {
			(void)sqlite3_backup_step(b, -1);
			rc = sqlite3_backup_finish(b);
		} else {
			rc = sqlite3_extended_errcode(db);
		}
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(
		    db, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
	err = rc == SQLITE_OK ? 0 : store_failed(db, to, rc, d);
	sqlite3_close(db);
	return err;
}

static int
sync_file(const char *path, struct diag *d)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r = fd < 0 ? -errno : durable_close(fd, 0);

	return r < 0 ? os_err_tell(-r, path, "sync it", d) : 0;
}

/* Under a name of its own first, so that what stands at path is whole. */
int
store_backup(struct store *s, const char *path, struct diag *d)
{
	char new[PATH_MAX], file[PATH_MAX];
	struct stat st;
	int fd, err = store_file_name(new, path, ".XXXXXX", d);

	if (err == 0)
		err = store_file_name(file, path, "", d);
	if (err == 0 && s->in_transaction) {
		diag_error(d, "the registry is being changed; try again");
		err = UK_EBUSY;
	}
	if (err < 0)
		return err;
	if (lstat(file, &st) == 0) {
		diag_error(d, "%s is there already", path);
		return UK_EEXIST;
	}
	fd = mkostemp(new, O_CLOEXEC); /* 0600 */
	if (fd < 0)
		return os_err_tell(errno, path, "make it", d);
	close(fd);
	err = copy_pages(s->db, new, d);
	if (err == 0)
		err = sync_file(new, d);
	if (err == 0)
		err = store_file_put_new(new, file, d);
	if (err < 0)
		store_file_remove(new);
	return err;
}

static int
drop_client(void *arg, struct client *c)
{
	(void)arg;
	client_fini(c);
	return 0;
}

/* As store_open() and whoever loads the clients afterwards would. */
static int
check_backup(const char *file, const char *name, struct diag *d)
{
	struct store s = {.claim = -1};
	int err = open_file(&s.db, file, &store_schema, name,
	    "nothing was changed; take another backup", d);

	if (err < 0)
		return err;
	err = store_load(&s, drop_client, NULL, d);
	/* Takes the WAL up, so that the file is whole without it. */
	if (sqlite3_close(s.db) != SQLITE_OK && err == 0)
		err = UK_ESYS;
	return err;
}

/* Have SQLite take up the WAL of the registry that goes, if it still can: it
 * is one file then. */
static void
fold(const char *file)
{
	sqlite3 *db;

	if (open_plain(&db, file) == SQLITE_OK)
		(void)sqlite3_exec(
		    db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
	sqlite3_close(db);
}

static int
restore(const char *from, const char *file, const char *new, struct diag *d)
{
	char wal[PATH_MAX];
	struct stat a, b;
	int err = store_file_name(wal, new, "-wal", d);

	if (err < 0)
		return err;
	if (lstat(file, &b) == 0 && !S_ISREG(b.st_mode)) {
		diag_error(d, "%s is not a regular file", file);
		return UK_EPERM;
	}
	if (stat(from, &a) == 0 && stat(file, &b) == 0 &&
	    a.st_dev == b.st_dev && a.st_ino == b.st_ino) {
		diag_error(d, "%s is the registry itself", from);
		return UK_EINVAL;
	}
	store_file_remove(new);
	err = store_file_copy(from, new, d);
	if (err == 0)
		err = check_backup(new, from, d);
	if (err == 0)
		err = sync_file(new, d);
	if (err < 0)
		return err;
	if (access(wal, F_OK) == 0) {
		diag_error(d, "%s was left: is the disk full?", wal);
		return UK_ESYS;
	}
	fold(file);
	return store_file_exchange(file, d);
}

int
store_restore(const char *from, const char *path, struct diag *d)
{
	char file[PATH_MAX], new[PATH_MAX];
	int claim, err = store_file_name(file, path, "", d);

	if (err == 0)
		err = store_file_name(new, path, ".new", d);
	if (err < 0)
		return err;
	claim = store_file_claim(path, d);
	if (claim < 0)
		return claim;
	err = restore(from, file, new, d);
	if (err < 0)
		store_file_remove(new);
	close(claim);
	return err;
}
