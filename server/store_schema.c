#include "store_sql.h"

#include <stdio.h>
#include <string.h>

#include "core/err.h"

/* "ukai": tells a registry from other databases. */
#define APPLICATION_ID 0x756b6169

/* What a statement here says is final once a release has it: a change is
 * another step. The bounds keep nonsense out; what a client may be now is
 * client_check()'s, which may become stricter. */
static const char *const to_version_1[] = {
    "PRAGMA application_id = 0x756b6169",
    "CREATE TABLE client ("
    " id INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL UNIQUE"
    "  CHECK (length(name) BETWEEN 1 AND 32"
    "   AND name NOT GLOB '*[^a-z0-9-]*'),"
    " created_s INTEGER NOT NULL CHECK (created_s >= 0),"
    " public_key BLOB UNIQUE CHECK (length(public_key) = 32),"
    " preshared_key BLOB CHECK (length(preshared_key) = 32),"
    " joined_s INTEGER NOT NULL CHECK (joined_s >= 0),"
    " endpoint TEXT CHECK (length(endpoint) < 80),"
    " keepalive_s INTEGER NOT NULL CHECK (keepalive_s BETWEEN 0 AND 65535),"
    " way TEXT NOT NULL CHECK (way IN ('shared', 'exclusive', 'routed')),"
    " global_address TEXT UNIQUE CHECK (length(global_address) < 46),"
    " secret_hash BLOB CHECK (length(secret_hash) = 32),"
    " expires_s INTEGER CHECK (expires_s > 0),"
    " routes TEXT CHECK (length(CAST(routes AS BLOB)) <= 4096),"
    " policy TEXT CHECK (length(CAST(policy AS BLOB)) <= 262144),"
    " CHECK ((way = 'shared') = (global_address IS NULL)),"
    " CHECK ((secret_hash IS NULL) = (expires_s IS NULL))"
    ") STRICT",
    "CREATE TABLE network ("
    " client INTEGER NOT NULL REFERENCES client (id) ON DELETE CASCADE,"
    " ordinal INTEGER NOT NULL CHECK (ordinal BETWEEN 0 AND 7),"
    " prefix TEXT NOT NULL UNIQUE CHECK (length(prefix) < 50),"
    " PRIMARY KEY (client, ordinal)"
    ") STRICT, WITHOUT ROWID",
    "CREATE TABLE forward ("
    " client INTEGER NOT NULL REFERENCES client (id) ON DELETE CASCADE,"
    " ordinal INTEGER NOT NULL CHECK (ordinal BETWEEN 0 AND 255),"
    " protocol TEXT NOT NULL CHECK (protocol IN ('tcp', 'udp')),"
    " first_port INTEGER NOT NULL CHECK (first_port BETWEEN 1 AND 65535),"
    " last_port INTEGER NOT NULL"
    "  CHECK (last_port BETWEEN first_port AND 65535),"
    " target_port INTEGER NOT NULL CHECK (target_port > 0"
    "  AND target_port + last_port - first_port <= 65535),"
    " PRIMARY KEY (client, ordinal)"
    ") STRICT, WITHOUT ROWID",
    "CREATE TABLE imported ("
    " public_key BLOB PRIMARY KEY NOT NULL CHECK (length(public_key) = 32)"
    ") STRICT, WITHOUT ROWID",
    NULL,
};

/* Limits of a client; 0: none. */
static const char *const to_version_2[] = {
    "ALTER TABLE client ADD COLUMN rate_kbit INTEGER NOT NULL DEFAULT 0"
    " CHECK (rate_kbit BETWEEN 0 AND 4294967295)",
    "ALTER TABLE client ADD COLUMN connections INTEGER NOT NULL DEFAULT 0"
    " CHECK (connections BETWEEN 0 AND 4294967295)",
    NULL,
};

static const char *const *const steps[] = {to_version_1, to_version_2};

const struct store_schema store_schema = {steps, ARRAY_LEN(steps)};

int
store_number(sqlite3 *db, const char *sql, int64_t *n)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(db, sql, -1, &q, NULL);

	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(q);
	if (rc == SQLITE_ROW)
		*n = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int
take_step(
    sqlite3 *db, const struct store_schema *schema, int from, struct diag *d)
{
	char set[48], what[48];
	int err = 0;

	snprintf(what, sizeof(what), "registry to version %d", from + 1);
	for (const char *const *sql = schema->step[from];
	     err == 0 && *sql != NULL; sql++)
		err = store_run(db, *sql, what, d);
	/* A PRAGMA takes no bound parameters; this is our own number (S1). */
	snprintf(set, sizeof(set), "PRAGMA user_version = %d", from + 1);
	return err == 0 ? store_run(db, set, what, d) : err;
}

int
store_schema_migrate(
    sqlite3 *db, const struct store_schema *schema, struct diag *d)
{
	static const char what[] = "registry's version";
	int64_t version = 0;
	int err, rc = store_number(db, "PRAGMA user_version", &version);

	if (rc != SQLITE_OK)
		return store_failed(db, what, rc, d);
	UK_ASSERT(version >= 0 && version <= schema->version);
	if (version == schema->version)
		return 0;
	err = store_run(db, "BEGIN IMMEDIATE", what, d);
	for (int i = (int)version; err == 0 && i < schema->version; i++)
		err = take_step(db, schema, i, d);
	if (err == 0)
		err = store_run(db, "COMMIT", what, d);
	if (err < 0 && !sqlite3_get_autocommit(db))
		(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return err;
}

/* ---- the check ---- */

/* Whose file is looked at. */
struct subject {
	sqlite3 *db;
	const char *name, *remedy;
	struct diag *d;
};

static int
damaged(const struct subject *s, const char *why)
{
	diag_error(s->d, "%s is damaged (%.60s): %s", s->name, why, s->remedy);
	return UK_EPROTO;
}

/* Trouble of the system is not the file's fault. */
static int
unreadable(const struct subject *s, int rc)
{
	int err = store_err(rc);

	if ((rc & 0xff) == SQLITE_ERROR || err == UK_EPROTO ||
	    err == UK_EINVAL || err == UK_EEXIST)
		return damaged(s, sqlite3_errmsg(s->db));
	return store_failed(s->db, s->name, rc, s->d);
}

int
store_unreadable(
    sqlite3 *db, const char *name, const char *remedy, int rc, struct diag *d)
{
	const struct subject s = {db, name, remedy, d};

	return unreadable(&s, rc);
}

static int
check_version(const struct subject *s, int known, int *version)
{
	int64_t id = 0, n = 0;
	int rc = store_number(s->db, "PRAGMA application_id", &id);

	if (rc == SQLITE_OK)
		rc = store_number(s->db, "PRAGMA user_version", &n);
	if (rc != SQLITE_OK)
		return unreadable(s, rc);
	if (id != APPLICATION_ID || n < 1)
		return damaged(s, "not a registry of ukai-relay");
	if (n > known) {
		diag_error(s->d,
		    "%s was written by a newer ukai-relay (version %lld of "
		    "the registry, %d is known here): install that again",
		    s->name, (long long)n, known);
		return UK_EPROTO;
	}
	*version = (int)n;
	return 0;
}

static bool
same_column(sqlite3_stmt *a, sqlite3_stmt *b, int i)
{
	const void *x = sqlite3_column_blob(a, i);
	const void *y = sqlite3_column_blob(b, i);
	int n = sqlite3_column_bytes(a, i);

	if (n != sqlite3_column_bytes(b, i))
		return false;
	return n == 0 ||
	       (x != NULL && y != NULL && memcmp(x, y, (size_t)n) == 0);
}

/* Do both queries answer the same rows? *rc: how it ended. */
static bool
same_rows(sqlite3_stmt *a, sqlite3_stmt *b, int *rc)
{
	bool same = true;
	int other;

	*rc = SQLITE_ROW;
	while (same && *rc == SQLITE_ROW) {
		*rc = sqlite3_step(a);
		other = sqlite3_step(b);
		same = other == *rc;
		if (other != SQLITE_ROW && other != SQLITE_DONE)
			*rc = other;
		for (int i = 0; *rc == SQLITE_ROW && i < 4; i++)
			same = same && same_column(a, b, i);
	}
	return same;
}

/* Tables, indexes, views, triggers; ANALYZE's tables say nothing. */
static const char tables[] =
    "SELECT type, name, tbl_name, ifnull(sql, '') FROM sqlite_schema"
    " WHERE name NOT GLOB 'sqlite_stat[0-9]' ORDER BY type, name";

static int
compare_tables(const struct subject *s, sqlite3 *model)
{
	sqlite3_stmt *a = NULL, *b = NULL;
	int rc = sqlite3_prepare_v2(s->db, tables, -1, &a, NULL);
	int err = rc == SQLITE_OK ? 0 : unreadable(s, rc);

	if (err == 0) {
		rc = sqlite3_prepare_v2(model, tables, -1, &b, NULL);
		if (rc != SQLITE_OK)
			err = store_failed(model, s->name, rc, s->d);
	}
	if (err == 0 && !same_rows(a, b, &rc))
		err = rc == SQLITE_ROW || rc == SQLITE_DONE
			  ? damaged(s, "its tables are not a registry's")
			  : unreadable(s, rc);
	sqlite3_finalize(a);
	sqlite3_finalize(b);
	return err;
}

/* Whoever could add a trigger or leave out a constraint would have a hand in
 * what we do later. The steps themselves say what the tables must be. */
static int
check_tables(
    const struct subject *s, const struct store_schema *schema, int version)
{
	const struct store_schema then = {schema->step, version};
	sqlite3 *model;
	int err, rc = sqlite3_open(":memory:", &model);

	err = rc == SQLITE_OK ? store_schema_migrate(model, &then, s->d)
			      : store_failed(model, s->name, rc, s->d);
	if (err == 0)
		err = compare_tables(s, model);
	sqlite3_close(model);
	return err;
}

/* Types and CHECK constraints of every row among what it looks at. */
static int
quick_check(const struct subject *s)
{
	sqlite3_stmt *q;
	int err = 0;
	int rc =
	    sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &q, NULL);

	if (rc != SQLITE_OK)
		return unreadable(s, rc);
	rc = sqlite3_step(q);
	if (rc != SQLITE_ROW) {
		err = unreadable(s, rc);
	} else {
		const char *says = (const char *)sqlite3_column_text(q, 0);

		if (says == NULL)
			err = UK_ENOMEM;
		else if (strcmp(says, "ok") != 0)
			err = damaged(s, says);
	}
	sqlite3_finalize(q);
	return err;
}

int
store_schema_check(sqlite3 *db, const struct store_schema *schema,
    const char *name, const char *remedy, struct diag *d)
{
	const struct subject s = {db, name, remedy, d};
	int version = 0;
	int err = check_version(&s, schema->version, &version);

	if (err == 0)
		err = check_tables(&s, schema, version);
	if (err == 0)
		err = quick_check(&s);
	return err;
}
