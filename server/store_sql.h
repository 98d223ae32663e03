/* store_sql: what the files of the store share; nobody else includes this, but
 * their tests. */
#ifndef UKAI_SERVER_STORE_SQL_H
#define UKAI_SERVER_STORE_SQL_H

#include <sqlite3.h>

#include "store.h"

struct store {
	sqlite3 *db;
	int claim; /* PATH.lock */
	bool in_transaction;
	bool broken; /* and it can only be rolled back */
};

/* SQLite's result as one of ours. */
int store_err(int rc);
/* Tell what SQLite says: "WHAT: WORDS". Returns store_err(rc). */
int store_failed(sqlite3 *db, const char *what, int rc, struct diag *d);
/* Run statements without parameters. */
int store_run(sqlite3 *db, const char *sql, const char *what, struct diag *d);
/* The number that a query answers, a PRAGMA mostly. Returns SQLite's result. */
int store_number(sqlite3 *db, const char *sql, int64_t *n);

/* ---- schema ---- */

/* step[n] leads from version n to n + 1; 0 is an empty file. Each is a list of
 * statements with NULL at its end. */
struct store_schema {
	const char *const *const *step;
	int version;
};

extern const struct store_schema store_schema;

/* Run the steps that db has not seen, all or none. */
int store_schema_migrate(
    sqlite3 *db, const struct store_schema *schema, struct diag *d);

/* Is it a registry, of a version that is known, with exactly the tables of that
 * version, and whole? name is the file's, for sentences; remedy: what to do
 * when it is damaged. Returns 0; UK_EPROTO; UK_EBUSY, UK_ESYS, UK_ENOMEM. */
int store_schema_check(sqlite3 *db, const struct store_schema *schema,
    const char *name, const char *remedy, struct diag *d);

/* Tell that the file could not be read, and whether it is to blame. */
int store_unreadable(
    sqlite3 *db, const char *name, const char *remedy, int rc, struct diag *d);

/* store_open() with another schema. */
int store_open_as(struct store **s, const char *path,
    const struct store_schema *schema, struct diag *d);

#endif
