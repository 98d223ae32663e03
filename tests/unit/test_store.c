#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "../support/store_sample.h"
#include "core/err.h"
#include "server/store_file.h"
#include "server/store_sql.h"

#define TWINS 40

static char folder[64], path[96], wal[104], other[104];
static struct diag d;

/* ---- allocations that fail: SQLite's and ours, in one count ---- */

static unsigned fail_at; /* this one of the next; 0: none */
static sqlite3_mem_methods real_methods;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

static bool
fails_now(void)
{
	return fail_at > 0 && --fail_at == 0;
}

void *
__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

static void *
sqlite_malloc(int size)
{
	return fails_now() ? NULL : real_methods.xMalloc(size);
}

static void *
sqlite_realloc(void *p, int size)
{
	return fails_now() ? NULL : real_methods.xRealloc(p, size);
}

static int
set_methods(void)
{
	sqlite3_mem_methods m;

	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_methods) != SQLITE_OK)
		return -1;
	m = real_methods;
	m.xMalloc = sqlite_malloc;
	m.xRealloc = sqlite_realloc;
	return sqlite3_config(SQLITE_CONFIG_MALLOC, &m) == SQLITE_OK ? 0 : -1;
}

/* ---- what the tests share ---- */

static void
clean(void)
{
	static const char *const names[] = {"", "-wal", "-shm", "-journal",
	    ".lock", ".new", ".new-wal", ".before-restore",
	    ".before-restore-wal", ".before-restore.lock"};
	char name[160];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(name, sizeof(name), "%s%s", path, names[i]);
		(void)unlink(name);
		snprintf(name, sizeof(name), "%s%s", other, names[i]);
		(void)unlink(name);
	}
	diag_init(&d, NULL);
}

static struct store *
open_it(void)
{
	struct store *s;

	if (store_open(&s, path, &d) < 0) {
		diag_print(&d, "store", stderr);
		fail();
	}
	return s;
}

static void
refused(int want, const char *says)
{
	struct store *s = (void *)&d;

	diag_init(&d, NULL);
	assert_int_equal(store_open(&s, path, &d), want);
	assert_null(s);
	assert_int_equal(d.errors, 1);
	if (strstr(d.entry[0].text, says) == NULL)
		fail_msg("\"%s\", not \"%s\"", d.entry[0].text, says);
	diag_init(&d, NULL);
}

static void
add(struct store *s, struct client *c)
{
	if (store_add(s, c, &d) < 0) {
		diag_print(&d, "store", stderr);
		fail();
	}
}

/* Clients 1 to n. */
static void
fill(unsigned n)
{
	struct store *s = open_it();

	assert_int_equal(store_begin(s, &d), 0);
	for (unsigned i = 1; i <= n; i++) {
		struct client c;

		store_sample(&c, i);
		add(s, &c);
		client_fini(&c);
	}
	assert_int_equal(store_commit(s, &d), 0);
	store_close(s);
}

static void
assert_holds(struct store *s, unsigned n)
{
	struct store_sample_list l = {0};

	assert_int_equal(store_load(s, store_sample_take, &l, &d), 0);
	assert_int_equal(l.n, n);
	for (unsigned i = 0; i < n; i++) {
		struct client want;

		store_sample(&want, i + 1);
		want.id = i + 1;
		assert_true(store_sample_same(&l.item[i], &want));
		client_fini(&want);
	}
	store_sample_list_fini(&l);
}

static void
assert_file_holds(unsigned n)
{
	struct store *s = open_it();

	assert_holds(s, n);
	store_close(s);
}

/* As somebody else would, with SQLite itself. */
static void
meddle(const char *file, const char *sql)
{
	char *says = NULL;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
	sqlite3_exec(db,
	    "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;"
	    "PRAGMA writable_schema = ON",
	    NULL, NULL, NULL);
	if (sqlite3_exec(db, sql, NULL, NULL, &says) != SQLITE_OK)
		fail_msg("%s: %s", sql, says);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The whole file; the caller frees. */
static char *
slurp(const char *file, size_t *len)
{
	FILE *f = fopen(file, "r");
	struct stat st;
	char *b;

	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	b = malloc((size_t)st.st_size + 1);
	assert_non_null(b);
	*len = fread(b, 1, (size_t)st.st_size, f);
	fclose(f);
	return b;
}

static void
spit(const char *file, const char *b, size_t len)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, b, len), (ssize_t)len);
	close(fd);
}

static bool
is_there(const char *file)
{
	struct stat st;

	return lstat(file, &st) == 0;
}

/* Files in the folder whose names begin like that. */
static unsigned
count_files(const char *prefix)
{
	char command[200];
	unsigned n = 0;
	FILE *f;

	snprintf(
	    command, sizeof(command), "ls -d %s* 2>/dev/null | wc -l", prefix);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%u", &n), 1);
	pclose(f);
	return n;
}

/* ---- verbs ---- */

static void
test_new_file(void **state)
{
	struct store *s;
	struct stat st;

	(void)state;
	clean();
	s = open_it();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_holds(s, 0);
	store_close(s);
	store_close(NULL);
	assert_false(is_there(wal));
	assert_file_holds(0);
	assert_int_equal(d.n, 0);
}

static void
test_verbs(void **state)
{
	struct store_sample_list l = {0};
	struct client c, b;
	struct store *s;

	(void)state;
	clean();
	fill(12);
	assert_file_holds(12);
	s = open_it();
	/* 3 becomes what 20 is, and 5 goes. */
	store_sample(&c, 20);
	c.id = 3;
	assert_int_equal(store_begin(s, &d), 0);
	assert_int_equal(store_update(s, &c, &d), 0);
	assert_int_equal(store_remove(s, 5, &d), 0);
	assert_int_equal(store_commit(s, &d), 0);
	store_close(s);
	s = open_it();
	assert_int_equal(store_load(s, store_sample_take, &l, &d), 0);
	assert_int_equal(l.n, 11);
	assert_true(store_sample_same(&l.item[2], &c));
	assert_int_equal(l.item[4].id, 6);
	store_sample_list_fini(&l);
	/* Its name, key, networks and address are free again. */
	store_sample(&b, 5);
	assert_int_equal(store_begin(s, &d), 0);
	add(s, &b);
	assert_true(b.id > 0);
	assert_int_equal(store_commit(s, &d), 0);
	store_close(s);
	client_fini(&b);
	client_fini(&c);
	assert_int_equal(d.n, 0);
}

static void
test_rollback(void **state)
{
	struct store *s;
	struct client c;

	(void)state;
	clean();
	fill(3);
	s = open_it();
	store_sample(&c, 4);
	store_rollback(s); /* none: no-op */
	assert_int_equal(store_begin(s, &d), 0);
	add(s, &c);
	assert_int_equal(store_remove(s, 1, &d), 0);
	store_rollback(s);
	assert_holds(s, 3);
	/* Closing is no commit. */
	assert_int_equal(store_begin(s, &d), 0);
	add(s, &c);
	store_close(s);
	assert_file_holds(3);
	client_fini(&c);
}

/* What one client has, no other can get; and a transaction with a failure in it
 * leaves nothing, whatever else was in it. */
static void
test_exists(void **state)
{
	struct store *s;

	(void)state;
	clean();
	fill(6);
	s = open_it();
	for (int what = 0; what < 10; what++) {
		bool update = what >= 5;
		struct client c, first;

		store_sample(&c, 25);
		store_sample(&first, 5);
		memset(&c.public_key, 9, sizeof(c.public_key));
		switch (what % 5) {
		case 0:
			strcpy(c.name, first.name);
			break;
		case 1:
			c.public_key = first.public_key;
			break;
		case 2:
			c.network[0] = first.network[0];
			break;
		case 3:
			c.network[1] = first.network[1];
			break;
		default:
			c.global = first.global;
		}
		assert_int_equal(store_begin(s, &d), 0);
		assert_int_equal(store_remove(s, 1, &d), 0);
		c.id = 6;
		assert_int_equal(
		    update ? store_update(s, &c, &d) : store_add(s, &c, &d),
		    UK_EEXIST);
		assert_int_equal(d.errors, 1);
		assert_non_null(strstr(d.entry[0].text, c.name));
		/* Only a rollback is left. */
		assert_int_equal(store_remove(s, 2, &d), UK_ESYS);
		assert_int_equal(store_commit(s, &d), UK_ESYS);
		assert_holds(s, 6);
		diag_init(&d, NULL);
		client_fini(&c);
		client_fini(&first);
	}
	store_close(s);
	assert_file_holds(6);
}

static void
test_no_such_client(void **state)
{
	struct store *s;
	struct client c;

	(void)state;
	clean();
	fill(2);
	s = open_it();
	store_sample(&c, 4);
	c.id = 3;
	assert_int_equal(store_begin(s, &d), 0);
	assert_int_equal(store_update(s, &c, &d), UK_ENOENT);
	store_rollback(s);
	assert_int_equal(store_begin(s, &d), 0);
	assert_int_equal(store_remove(s, 3, &d), UK_ENOENT);
	store_rollback(s);
	/* What could not be loaded is not written. */
	free(c.routes);
	c.routes = strdup("everything");
	for (c.id = 0; c.id < 2; c.id++) {
		assert_int_equal(store_begin(s, &d), 0);
		assert_int_equal(
		    c.id == 0 ? store_add(s, &c, &d) : store_update(s, &c, &d),
		    UK_EINVAL);
		store_rollback(s);
	}
	assert_int_equal(d.errors, 4);
	assert_holds(s, 2);
	store_close(s);
	client_fini(&c);
}

static void
test_imports(void **state)
{
	struct wg_key a = {{1}}, b = {{2}};
	struct store *s;

	(void)state;
	clean();
	s = open_it();
	assert_int_equal(store_was_imported(s, &a, &d), 0);
	assert_int_equal(store_begin(s, &d), 0);
	assert_int_equal(store_note_import(s, &a, &d), 0);
	assert_int_equal(store_note_import(s, &a, &d), 0);
	assert_int_equal(store_commit(s, &d), 0);
	store_close(s);
	s = open_it();
	assert_int_equal(store_was_imported(s, &a, &d), 1);
	assert_int_equal(store_was_imported(s, &b, &d), 0);
	store_close(s);
	assert_int_equal(d.n, 0);
}

/* id[n]: of the client that is like sample what[n]; 0: there is none. */
static void
assert_same_as_twin(struct store *s, const int64_t *id, const unsigned *what)
{
	struct store_sample_list l = {0};
	size_t there = 0;

	assert_int_equal(store_load(s, store_sample_take, &l, &d), 0);
	for (unsigned n = 0; n < TWINS; n++) {
		struct client c;
		bool found = false;

		if (id[n] == 0)
			continue;
		store_sample(&c, what[n]);
		c.id = id[n];
		for (size_t i = 0; i < l.n; i++)
			found |= store_sample_same(&l.item[i], &c);
		assert_true(found);
		client_fini(&c);
		there++;
	}
	assert_int_equal(l.n, there);
	for (size_t i = 1; i < l.n; i++)
		assert_true(l.item[i - 1].id < l.item[i].id);
	store_sample_list_fini(&l);
}

/* At random, against a list in memory, with the file opened anew now and
 * then. */
static void
test_twin(void **state)
{
	int64_t id[TWINS] = {0};
	unsigned what[TWINS] = {0};
	struct store *s;

	(void)state;
	clean();
	srand(1);
	s = open_it();
	for (int round = 0; round < 150; round++) {
		bool keep = rand() % 4 != 0;
		unsigned n = (unsigned)rand() % TWINS;
		int64_t old = id[n];
		unsigned was = what[n];
		struct client c;

		store_sample(&c, 1 + n + TWINS * ((unsigned)rand() % 9));
		assert_int_equal(store_begin(s, &d), 0);
		if (id[n] == 0 || rand() % 2) {
			c.id = id[n];
			assert_int_equal(id[n] == 0 ? store_add(s, &c, &d)
						    : store_update(s, &c, &d),
			    0);
			id[n] = c.id;
			what[n] = (unsigned)(c.created_s - 1700000000u);
		} else {
			assert_int_equal(store_remove(s, id[n], &d), 0);
			id[n] = 0;
		}
		client_fini(&c);
		if (keep) {
			assert_int_equal(store_commit(s, &d), 0);
		} else {
			store_rollback(s);
			id[n] = old;
			what[n] = was;
		}
		if (round % 25 == 24) {
			store_close(s);
			s = open_it();
		}
		assert_same_as_twin(s, id, what);
	}
	store_close(s);
	assert_int_equal(d.n, 0);
}

static int
take_two(void *arg, struct client *c)
{
	unsigned *n = arg;

	client_fini(c);
	return ++*n == 2 ? UK_ELIMIT : 0;
}

static void
test_take_says_no(void **state)
{
	struct store *s;
	unsigned n = 0;

	(void)state;
	clean();
	fill(5);
	s = open_it();
	assert_int_equal(store_load(s, take_two, &n, &d), UK_ELIMIT);
	assert_int_equal(n, 2);
	store_close(s);
}

/* ---- hostile and damaged files: S1, C1 ---- */

/* Rows and tables that no relay wrote. */
static void
test_hostile(void **state)
{
	static const struct {
		const char *sql, *says;
		bool at_load; /* else refused when opened */
	} row[] = {
	    {"UPDATE client SET name = 'x/../y' WHERE id = 2", "CHECK", 0},
	    {"UPDATE client SET name = '' WHERE id = 2", "CHECK", 0},
	    {"UPDATE client SET created_s = -1 WHERE id = 2", "CHECK", 0},
	    {"UPDATE client SET public_key = x'00' WHERE id = 2", "CHECK", 0},
	    {"UPDATE client SET way = 'nat' WHERE id = 2", "CHECK", 0},
	    {"UPDATE client SET secret_hash = NULL WHERE id = 3", "CHECK", 0},
	    {"UPDATE client SET keepalive_s = 65536 WHERE id = 2", "CHECK", 0},
	    {"UPDATE client SET rate_kbit = -1 WHERE id = 2", "CHECK", 0},
	    {"UPDATE forward SET last_port = 1", "CHECK", 0},
	    {"UPDATE forward SET target_port = 65535", "CHECK", 0},
	    {"INSERT INTO network VALUES (1, 8, '10.9.9.9/32')", "CHECK", 0},
	    {"INSERT INTO imported VALUES (x'01')", "CHECK", 0},
	    {"PRAGMA user_version = 0", "not a registry", 0},
	    {"PRAGMA user_version = -7", "not a registry", 0},
	    {"PRAGMA application_id = 1", "not a registry", 0},
	    {"PRAGMA user_version = 1", "its tables", 0},
	    {"PRAGMA user_version = 3", "newer ukai-relay", 0},
	    {"DROP TABLE forward", "its tables", 0},
	    {"CREATE TABLE extra (x)", "its tables", 0},
	    {"CREATE VIEW extra AS SELECT 1", "its tables", 0},
	    {"CREATE TRIGGER extra AFTER INSERT ON client BEGIN"
	     " DELETE FROM client; END",
		"its tables", 0},
	    {"CREATE INDEX extra ON client (way)", "its tables", 0},
	    {"UPDATE sqlite_schema SET sql = replace(sql, 'UNIQUE', '')",
		"damaged", 0},
	    {"UPDATE sqlite_schema SET sql = 'x'", "damaged", 0},
	    {"UPDATE client SET endpoint = 'example.com:1' WHERE id = 2",
		"client 2: endpoint", 1},
	    {"UPDATE client SET endpoint = '[fe80::1%eth0]:1' WHERE id = 2",
		"client 2: endpoint", 1},
	    {"UPDATE client SET global_address = '203.0.113.300' WHERE id = 5",
		"client 5: global_address", 1},
	    {"UPDATE client SET global_address = '::' WHERE id = 5",
		"global address", 1},
	    {"UPDATE client SET global_address = '2001:DB8::1' WHERE id = 5",
		"client 5: global_address", 1},
	    {"UPDATE client SET routes = '0.0.0.0/0;' WHERE id = 5", "a route",
		1},
	    {"UPDATE client SET policy = CAST(x'610062' AS TEXT) WHERE id = 5",
		"client 5: policy", 1},
	    {"UPDATE client SET name = CAST(x'6100' AS TEXT) WHERE id = 2",
		"client 2: name", 1},
	    {"UPDATE client SET name = CAST(x'ff' AS TEXT) WHERE id = 2",
		"damaged", 0},
	    {"UPDATE client SET policy = printf('%.*c', 60000, 'x')"
	     " WHERE id = 5",
		"client 5: policy", 1},
	    {"UPDATE network SET prefix = '10.66.0.1/24' WHERE client = 2",
		"table network, client 2: prefix", 1},
	    {"UPDATE network SET prefix = '10.66.0.1' WHERE client = 2",
		"table network, client 2: prefix", 1},
	    {"UPDATE network SET prefix = '2001:db8::/64' WHERE client = 2",
		"a network", 1},
	    {"INSERT INTO network VALUES (99, 0, '10.9.9.9/32')",
		"table network, client 99", 1},
	    {"INSERT INTO network VALUES (-1, 0, '10.9.9.9/32')",
		"table network, client -1", 1},
	    {"INSERT INTO forward VALUES (99, 0, 'tcp', 1, 1, 1)",
		"table forward, client 99", 1},
	    {"INSERT INTO forward VALUES (9223372036854775807, 0, 'tcp', 1, 1,"
	     " 1)",
		"table forward, client 9223372036854775807", 1},
	    {"INSERT INTO forward VALUES (3, 9, 'tcp', 1, 9000, 1)",
		"two forwards", 1},
	    {"UPDATE client SET id = -5 WHERE id = 2", "client", 1},
	};

	(void)state;
	clean();
	fill(6);
	size_t len;
	char *good = slurp(path, &len);

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct store_sample_list l = {0};
		struct store *s;

		spit(path, good, len);
		meddle(path, row[i].sql);
		if (!row[i].at_load) {
			refused(UK_EPROTO, row[i].says);
			continue;
		}
		if (store_open(&s, path, &d) < 0)
			fail_msg("%s: %s", row[i].sql, d.entry[0].text);
		if (store_load(s, store_sample_take, &l, &d) != UK_EPROTO)
			fail_msg("%s: taken", row[i].sql);
		if (strstr(d.entry[0].text, row[i].says) == NULL)
			fail_msg("%s: %s", row[i].sql, d.entry[0].text);
		diag_init(&d, NULL);
		store_sample_list_fini(&l);
		store_close(s);
	}
	/* What ANALYZE adds is no harm. */
	spit(path, good, len);
	meddle(path, "ANALYZE");
	assert_file_holds(6);
	free(good);
}

/* A file that is not a whole registry is refused and left as it is: never
 * emptied, never replaced. */
static void
refused_unchanged(const char *b, size_t len)
{
	char *now;
	size_t n;

	spit(path, b, len);
	refused(UK_EPROTO, "restore");
	now = slurp(path, &n);
	assert_int_equal(n, len);
	assert_memory_equal(now, b, len);
	free(now);
	assert_false(is_there(wal));
}

static void
test_damaged(void **state)
{
	size_t len;
	char *good, *bad;

	(void)state;
	clean();
	fill(40);
	good = slurp(path, &len);
	bad = malloc(len);
	assert_non_null(bad);
	refused_unchanged(good, 0); /* truncated to nothing */
	refused_unchanged(good, 1);
	refused_unchanged(good, 100);
	refused_unchanged(good, 4096);
	refused_unchanged(good, len / 2);
	refused_unchanged(good, len - 4096);
	refused_unchanged("# a text that somebody put here, long enough", 40);
	memset(bad, 0, len);
	refused_unchanged(bad, len);
	/* Whole pages overwritten. */
	for (size_t at = 0; at < len; at += 4096) {
		memcpy(bad, good, len);
		memset(bad + at, 0x5a, 4096);
		refused_unchanged(bad, len);
	}
	spit(path, good, len);
	assert_file_holds(40);
	free(bad);
	free(good);
}

/* Any byte may be another one: refused, or loaded, but never worse. */
static void
test_flipped(void **state)
{
	unsigned taken = 0, refusals = 0;
	size_t len;
	char *good;

	(void)state;
	clean();
	fill(12);
	good = slurp(path, &len);
	srand(3);
	for (int i = 0; i < 200; i++) {
		struct store_sample_list l = {0};
		size_t at = (size_t)rand() % (i % 2 ? len : 4096);
		struct store *s;
		char was = good[at];
		int err;

		good[at] ^= (char)(1 << rand() % 8);
		spit(path, good, len);
		good[at] = was;
		err = store_open(&s, path, &d);
		if (err == 0)
			err = store_load(s, store_sample_take, &l, &d);
		assert_true(err == 0 || err == UK_EPROTO);
		assert_int_equal(err == 0, d.errors == 0);
		taken += err == 0;
		refusals += err != 0;
		diag_init(&d, NULL);
		store_sample_list_fini(&l);
		store_close(s);
		(void)unlink(wal);
	}
	assert_true(taken > 10 && refusals > 10);
	free(good);
}

/* The database is gone, its log is not: that is no new registry. */
static void
test_only_a_log(void **state)
{
	struct store *s;

	(void)state;
	clean();
	fill(3);
	assert_int_equal(unlink(path), 0);
	spit(wal, "x", 1);
	refused(UK_EPROTO, "is gone");
	assert_false(is_there(path));
	assert_int_equal(unlink(wal), 0);
	s = open_it();
	assert_holds(s, 0);
	store_close(s);
}

/* ---- who may ---- */

static void
test_modes(void **state)
{
	static const struct {
		mode_t mode;
		int err;
	} row[] = {
	    {0600, 0},
	    {0400, 0},
	    {0644, UK_EPERM},
	    {0640, UK_EPERM},
	    {0620, UK_EPERM},
	    {0602, UK_EPERM},
	    {0604, UK_EPERM},
	    {0666, UK_EPERM},
	};

	(void)state;
	clean();
	fill(2);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(chmod(path, row[i].mode), 0);
		if (row[i].err != 0)
			refused(row[i].err, "chmod 600");
		else if (geteuid() == 0 || row[i].mode == 0600)
			assert_file_holds(2);
	}
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(chmod(folder, 0770), 0);
	refused(UK_EPERM, "chmod 700");
	assert_int_equal(chmod(folder, 01707), 0);
	refused(UK_EPERM, "chmod 700");
	assert_int_equal(chmod(folder, 0755), 0);
	assert_file_holds(2);
	assert_int_equal(chmod(folder, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 0), 0);
		refused(UK_EPERM, "another user");
		assert_int_equal(chown(path, 0, 0), 0);
		assert_int_equal(chown(folder, 65534, 0), 0);
		refused(UK_EPERM, "another user");
		assert_int_equal(chown(folder, 0, 0), 0);
	}
	assert_file_holds(2);
}

static void
test_kinds(void **state)
{
	(void)state;
	clean();
	fill(2);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(other, path), 0);
	refused(UK_EPERM, "not a regular file");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	refused(UK_EPERM, "not a regular file");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	refused(UK_EPERM, "not a regular file");
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rename(other, path), 0);
	assert_file_holds(2);
}

static void
test_long_and_missing_folders(void **state)
{
	char deep[160], long_path[5000];
	struct store *s;

	(void)state;
	clean();
	memset(long_path, 'a', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(store_open(&s, long_path, &d), UK_EINVAL);
	snprintf(deep, sizeof(deep), "%s/a/b/registry.db", folder);
	assert_true(store_open(&s, deep, &d) < 0);
	/* The folder itself is made. */
	snprintf(deep, sizeof(deep), "%s/a/registry.db", folder);
	assert_int_equal(store_open(&s, deep, &d), 0);
	store_close(s);
	assert_int_equal(unlink(deep), 0);
	snprintf(deep, sizeof(deep), "%s/a/registry.db.lock", folder);
	assert_int_equal(unlink(deep), 0);
	snprintf(deep, sizeof(deep), "%s/a", folder);
	assert_int_equal(rmdir(deep), 0);
}

/* One process has it: ours, and other users of SQLite. */
static void
test_busy(void **state)
{
	struct store *s;
	sqlite3 *db;
	int64_t n;

	(void)state;
	clean();
	fill(2);
	s = open_it();
	refused(UK_EBUSY, "another process");
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
	    store_number(db, "SELECT count(*) FROM client", &n), SQLITE_BUSY);
	sqlite3_close(db);
	assert_holds(s, 2);
	store_close(s);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
	    sqlite3_exec(db, "BEGIN; SELECT * FROM client", NULL, NULL, NULL),
	    SQLITE_OK);
	refused(UK_EBUSY, "another process");
	sqlite3_close(db);
	assert_file_holds(2);
}

/* ---- no room ---- */

/* Adds clients until one cannot be had; returns how many there are. */
static unsigned
add_until_full(struct store *s, unsigned n)
{
	for (;; n++) {
		struct client c;
		int err;

		store_sample(&c, n + 1);
		assert_int_equal(store_begin(s, &d), 0);
		err = store_add(s, &c, &d);
		if (err == 0)
			err = store_commit(s, &d);
		client_fini(&c);
		if (err == 0)
			continue;
		assert_int_equal(err, UK_ESYS);
		assert_int_equal(d.errors, 1);
		assert_non_null(strstr(d.entry[0].text, "full"));
		diag_init(&d, NULL);
		store_rollback(s);
		return n;
	}
}

/* The command fails, the relay runs on. */
static void
test_full(void **state)
{
	struct store *s;
	struct client c;
	unsigned n;

	(void)state;
	clean();
	s = open_it();
	assert_int_equal(
	    store_run(s->db, "PRAGMA max_page_count = 20", "test", &d), 0);
	n = add_until_full(s, 0);
	assert_true(n > 5);
	assert_holds(s, n);
	assert_int_equal(
	    store_run(s->db, "PRAGMA max_page_count = 1000", "test", &d), 0);
	store_sample(&c, n + 1);
	assert_int_equal(store_begin(s, &d), 0);
	add(s, &c);
	assert_int_equal(store_commit(s, &d), 0);
	client_fini(&c);
	assert_holds(s, n + 1);
	store_close(s);
	assert_file_holds(n + 1);
}

/* A file system of 256 KiB, in a mount namespace of its own. */
static void
on_small_disk(void)
{
	char filler[160], backup[160];
	unsigned n;
	struct store *s;
	int fd;

	snprintf(filler, sizeof(filler), "%s/filler", folder);
	snprintf(backup, sizeof(backup), "%s/backup", folder);
	spit(filler, folder, sizeof(folder));
	fd = open(filler, O_WRONLY);
	assert_int_equal(posix_fallocate(fd, 0, 65536), 0);
	close(fd);
	s = open_it();
	n = add_until_full(s, 0);
	assert_true(n > 0);
	assert_holds(s, n);
	assert_int_equal(store_backup(s, backup, &d), UK_ESYS);
	assert_int_equal(count_files(backup), 0);
	diag_init(&d, NULL);
	assert_int_equal(unlink(filler), 0);
	assert_true(add_until_full(s, n) > n);
	store_close(s);
	/* And where there is no room for a new one, none is left. */
	clean();
	fd = open(filler, O_WRONLY | O_CREAT, 0600);
	while (write(fd, filler, sizeof(filler)) > 0)
		continue;
	close(fd);
	assert_true(store_open(&s, path, &d) < 0);
	assert_false(is_there(path));
}

static void
test_small_disk(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	clean();
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("none", folder, "tmpfs", 0, "size=256k,mode=700") < 0)
			_exit(77);
		on_small_disk();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A day in the life; whatever allocation fails. */
static int
live(void)
{
	struct store_sample_list l = {0};
	struct store *s;
	struct client c;
	int err;

	fail_at += fail_at > 0;
	store_sample(&c, 5);
	if (c.forward == NULL || c.routes == NULL || c.policy == NULL) {
		client_fini(&c);
		return UK_ENOMEM;
	}
	err = store_open(&s, path, NULL);
	if (err == 0)
		err = store_begin(s, NULL);
	if (err == 0)
		err = store_add(s, &c, NULL);
	if (err == 0)
		err = store_commit(s, NULL);
	if (err == 0)
		err = store_load(s, store_sample_take, &l, NULL);
	if (err == 0)
		err = store_backup(s, other, NULL);
	store_close(s);
	store_sample_list_fini(&l);
	client_fini(&c);
	return err;
}

static void
test_no_memory(void **state)
{
	unsigned refusals = 0, n, left = 1;
	size_t len;
	char *good;

	(void)state;
	clean();
	fill(4);
	good = slurp(path, &len);
	/* Every one at first, where the paths differ; then every few. */
	for (n = 1; left > 0; n += n < 100 ? 1 : n / 20) {
		struct store *s;
		int err;

		clean();
		spit(path, good, len);
		fail_at = n;
		err = live();
		left = fail_at == 0;
		fail_at = 0;
		if (err < 0) {
			refusals++;
			if (err != UK_ENOMEM)
				fail_msg("allocation %u: %d", n, err);
			assert_false(is_there(other));
		}
		s = open_it();
		struct store_sample_list l = {0};

		assert_int_equal(store_load(s, store_sample_take, &l, &d), 0);
		assert_true(l.n == 4 || l.n == 5);
		assert_true(err < 0 || l.n == 5);
		store_sample_list_fini(&l);
		store_close(s);
	}
	free(good);
	assert_true(refusals > 50);
}

/* ---- the whole file ---- */

static void
test_backup(void **state)
{
	struct store *s;
	struct client c;
	struct stat st;
	size_t len;
	char *b;

	(void)state;
	clean();
	fill(30);
	s = open_it();
	assert_int_equal(store_backup(s, other, &d), 0);
	assert_int_equal(d.n, 0);
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* One file, that needs no log beside it. */
	assert_int_equal(count_files(other), 1);
	b = slurp(other, &len);
	assert_int_equal(b[18], 1);
	free(b);
	/* Not over something, and not a change that is not confirmed. */
	assert_int_equal(store_backup(s, other, &d), UK_EEXIST);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(symlink("/nonexistent", other), 0);
	assert_int_equal(store_backup(s, other, &d), UK_EEXIST);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(store_backup(s, "/nonexistent/x", &d), UK_ENOENT);
	store_sample(&c, 31);
	assert_int_equal(store_begin(s, &d), 0);
	add(s, &c);
	assert_int_equal(store_backup(s, other, &d), UK_EBUSY);
	store_rollback(s);
	client_fini(&c);
	assert_int_equal(count_files(other), 0);
	assert_int_equal(d.errors, 4);
	/* The relay goes on. */
	assert_holds(s, 30);
	store_close(s);
}

/* Also when somebody was quicker. */
static void
test_put_new(void **state)
{
	size_t len;
	char *b;

	(void)state;
	clean();
	spit(path, "new", 3);
	spit(other, "theirs", 6);
	assert_int_equal(store_file_put_new(path, other, &d), UK_EEXIST);
	assert_false(is_there(path));
	b = slurp(other, &len);
	assert_int_equal(len, 6);
	free(b);
	assert_int_equal(unlink(other), 0);
	spit(path, "new", 3);
	assert_int_equal(store_file_put_new(path, other, &d), 0);
	assert_false(is_there(path));
	assert_true(is_there(other));
}

static void
backup_to_other(void)
{
	struct store *s = open_it();

	assert_int_equal(store_backup(s, other, &d), 0);
	store_close(s);
}

static void
test_restore(void **state)
{
	char kept[128];
	struct store *s;

	(void)state;
	clean();
	snprintf(kept, sizeof(kept), "%s.before-restore", path);
	fill(5);
	backup_to_other();
	/* To nothing. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(store_restore(other, path, &d), 0);
	assert_false(is_there(kept));
	assert_file_holds(5);
	/* Over another one, and back. */
	assert_int_equal(unlink(path), 0);
	fill(9);
	assert_int_equal(store_restore(other, path, &d), 0);
	assert_file_holds(5);
	assert_int_equal(store_restore(kept, path, &d), 0);
	assert_file_holds(9);
	/* Over a damaged one, which is kept as it is. */
	spit(path, "damaged", 7);
	refused(UK_EPROTO, "ukai-relay registry restore");
	assert_int_equal(store_restore(other, path, &d), 0);
	assert_file_holds(5);
	size_t len;
	char *b = slurp(kept, &len);
	assert_int_equal(len, 7);
	assert_memory_equal(b, "damaged", 7);
	free(b);
	/* Over a lost one, whose log is kept too. */
	assert_int_equal(unlink(path), 0);
	spit(wal, "log", 3);
	assert_int_equal(store_restore(other, path, &d), 0);
	assert_false(is_there(wal));
	assert_file_holds(5);
	assert_int_equal(d.n, 0);
	s = open_it();
	assert_int_equal(store_restore(other, path, &d), UK_EBUSY);
	assert_holds(s, 5);
	store_close(s);
	assert_int_equal(count_files(path), 3); /* .lock, .before-restore-wal */
}

/* Where it is refused, nothing has changed. */
static void
restore_refused(const char *from, int want)
{
	size_t len, n;
	char *before = slurp(path, &len), *after;

	diag_init(&d, NULL);
	assert_int_equal(store_restore(from, path, &d), want);
	assert_int_equal(d.errors > 0, 1);
	after = slurp(path, &n);
	assert_int_equal(n, len);
	assert_memory_equal(after, before, len);
	free(before);
	free(after);
	assert_int_equal(count_files(path), 2); /* and .lock */
	assert_file_holds(3);
}

static void
test_restore_refused(void **state)
{
	static const char *const bad[] = {
	    "PRAGMA user_version = 3",
	    "PRAGMA application_id = 7",
	    "DROP TABLE network",
	    "UPDATE client SET name = 'A' WHERE id = 2",
	    "UPDATE client SET endpoint = 'x' WHERE id = 2",
	    "INSERT INTO network VALUES (99, 0, '10.9.9.9/32')",
	};
	size_t len;
	char *good;
	sqlite3 *db;

	(void)state;
	clean();
	fill(5);
	backup_to_other();
	good = slurp(other, &len);
	assert_int_equal(unlink(path), 0);
	fill(3);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		spit(other, good, len);
		meddle(other, bad[i]);
		restore_refused(other, UK_EPROTO);
	}
	spit(other, good, len / 2);
	restore_refused(other, UK_EPROTO);
	spit(other, good, 0);
	restore_refused(other, UK_EPROTO);
	spit(other, good, len);
	restore_refused(path, UK_EINVAL);
	restore_refused(folder, UK_EINVAL);
	restore_refused("/nonexistent/x", UK_ENOENT);
	assert_int_equal(sqlite3_open(other, &db), SQLITE_OK);
	assert_int_equal(
	    sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	restore_refused(other, UK_EBUSY);
	sqlite3_close(db);
	assert_int_equal(store_restore(other, path, &d), 0);
	assert_file_holds(5);
	free(good);
}

/* ---- versions ---- */

static const char *const to_next[] = {
    "ALTER TABLE client ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",
    "CREATE TABLE more (x INTEGER NOT NULL) STRICT", NULL};
static const char *const to_broken[] = {
    "CREATE TABLE more (x INTEGER NOT NULL) STRICT",
    "ALTER TABLE nothing ADD COLUMN x", NULL};

/* A version that this relay does not have yet. */
static void
test_next_version(void **state)
{
	const char *const *step[8];
	struct store_schema next = {step, store_schema.version + 1};
	struct store *s;
	int64_t n = 0;

	(void)state;
	clean();
	fill(6);
	memcpy(step, store_schema.step,
	    (size_t)store_schema.version * sizeof(*step));
	/* A step that fails leaves the old version. */
	step[store_schema.version] = to_broken;
	assert_true(store_open_as(&s, path, &next, &d) < 0);
	assert_null(s);
	diag_init(&d, NULL);
	assert_file_holds(6);
	step[store_schema.version] = to_next;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(store_open_as(&s, path, &next, &d), 0);
		assert_holds(s, 6);
		assert_int_equal(
		    store_number(s->db,
			"SELECT count(*) FROM client WHERE note = 'none'", &n),
		    SQLITE_OK);
		assert_int_equal(n, 6);
		store_close(s);
	}
	refused(UK_EPROTO, "newer ukai-relay");
}

/* A registry of version 1 has its clients afterwards, without limits. */
static void
test_from_version_1(void **state)
{
	const struct store_schema first = {store_schema.step, 1};
	struct store_sample_list l = {0};
	struct store *s;

	(void)state;
	clean();
	assert_int_equal(store_open_as(&s, path, &first, &d), 0);
	store_close(s);
	meddle(path,
	    "INSERT INTO client (name, created_s, public_key, joined_s,"
	    " keepalive_s, way) VALUES ('old', 5, zeroblob(32), 6, 25,"
	    " 'shared');"
	    "UPDATE client SET public_key ="
	    " x'0100000000000000000000000000000000000000000000000000000000000000';"
	    "INSERT INTO network VALUES (1, 0, '10.66.0.9/32');"
	    "INSERT INTO forward VALUES (1, 0, 'tcp', 8443, 8443, 443)");
	s = open_it();
	assert_int_equal(store_load(s, store_sample_take, &l, &d), 0);
	assert_int_equal(l.n, 1);
	assert_string_equal(l.item[0].name, "old");
	assert_int_equal(l.item[0].networks, 1);
	assert_int_equal(l.item[0].forwards, 1);
	assert_int_equal(l.item[0].rate_kbit, 0);
	assert_int_equal(l.item[0].connections, 0);
	store_sample_list_fini(&l);
	store_close(s);
	assert_int_equal(d.n, 0);
}

/* ---- how fast ---- */

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int
count_client(void *arg, struct client *c)
{
	++*(unsigned *)arg;
	client_fini(c);
	return 0;
}

static void
test_ten_thousand(void **state)
{
	unsigned n = 0;
	struct store *s;
	double from, open;

	(void)state;
	clean();
	store_close(open_it());
	meddle(path,
	    "CREATE TEMP TABLE t AS WITH RECURSIVE t (i) AS (SELECT 1 UNION ALL"
	    " SELECT i + 1 FROM t WHERE i < 10000) SELECT i FROM t;"
	    "INSERT INTO client (name, created_s, public_key, joined_s,"
	    " keepalive_s, way, routes) SELECT 'office-pc-' || i, i,"
	    " randomblob(32), i, 25, 'shared', '0.0.0.0/0' FROM t;"
	    "INSERT INTO network SELECT i, 0, '10.66.' || (i / 256) || '.' ||"
	    " (i % 256) || '/32' FROM t;"
	    "INSERT INTO forward SELECT i, 0, 'tcp', i, i, 443 FROM t;"
	    "INSERT INTO forward SELECT i, 1, 'udp', i, i + 9, 5000 FROM t");
	from = seconds();
	s = open_it();
	open = seconds();
	assert_int_equal(store_load(s, count_client, &n, &d), 0);
	print_message("10,000 clients: open and check %.3f s, load %.3f s\n",
	    open - from, seconds() - open);
	assert_int_equal(n, 10000);
	assert_true(seconds() - from < 10); /* also sanitized */
	store_close(s);
}

static int
make_folder(void **state)
{
	(void)state;
	if (sodium_init() < 0 || set_methods() < 0)
		return -1;
	snprintf(folder, sizeof(folder), "%s/ukai-store.XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/registry.db", folder);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	snprintf(other, sizeof(other), "%s/backup", folder);
	return 0;
}

static int
remove_folder(void **state)
{
	(void)state;
	clean();
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_new_file),
	    cmocka_unit_test(test_verbs),
	    cmocka_unit_test(test_rollback),
	    cmocka_unit_test(test_exists),
	    cmocka_unit_test(test_no_such_client),
	    cmocka_unit_test(test_imports),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_take_says_no),
	    cmocka_unit_test(test_hostile),
	    cmocka_unit_test(test_damaged),
	    cmocka_unit_test(test_flipped),
	    cmocka_unit_test(test_only_a_log),
	    cmocka_unit_test(test_modes),
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_long_and_missing_folders),
	    cmocka_unit_test(test_busy),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_small_disk),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_backup),
	    cmocka_unit_test(test_put_new),
	    cmocka_unit_test(test_restore),
	    cmocka_unit_test(test_restore_refused),
	    cmocka_unit_test(test_next_version),
	    cmocka_unit_test(test_from_version_1),
	    cmocka_unit_test(test_ten_thousand),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
