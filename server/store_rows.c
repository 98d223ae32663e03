#include "store_sql.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/err.h"
#include "core/ip.h"

/* ---- from a client to rows ---- */

/* Binds one parameter after the other; the first mistake sticks. */
struct binder {
	sqlite3_stmt *q;
	int at, rc;
};

static void
bind_int(struct binder *b, int64_t n)
{
	if (b->rc == SQLITE_OK)
		b->rc = sqlite3_bind_int64(b->q, ++b->at, n);
}

/* NULL: NULL. It must stay until the statement has run. */
static void
bind_text(struct binder *b, const char *text)
{
	if (b->rc == SQLITE_OK)
		b->rc =
		    sqlite3_bind_text(b->q, ++b->at, text, -1, SQLITE_STATIC);
}

/* Of 32 bytes; zeros: NULL. */
static void
bind_key(struct binder *b, const uint8_t key[KEY_LEN])
{
	if (b->rc != SQLITE_OK)
		return;
	b->rc = sodium_is_zero(key, KEY_LEN) ? sqlite3_bind_null(b->q, ++b->at)
					     : sqlite3_bind_blob(b->q, ++b->at,
						   key, KEY_LEN, SQLITE_STATIC);
}

static int
prepare(struct store *s, struct binder *b, const char *sql, const char *what,
    struct diag *d)
{
	int rc = sqlite3_prepare_v2(s->db, sql, -1, &b->q, NULL);

	b->at = 0;
	b->rc = SQLITE_OK;
	return rc == SQLITE_OK ? 0 : store_failed(s->db, what, rc, d);
}

static int
constraint_failed(struct store *s, const char *what, int rc, struct diag *d)
{
	if (store_err(rc) != UK_EEXIST)
		return store_failed(s->db, what, rc, d);
	diag_error(d,
	    "\"%s\": the registry has its name, key, address or network "
	    "already (%s)",
	    what, sqlite3_errmsg(s->db));
	return UK_EEXIST;
}

/* Run it, and make it ready for the next parameters. */
static int
run(struct store *s, struct binder *b, const char *what, struct diag *d)
{
	int rc = b->rc;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(b->q);
	b->at = 0;
	b->rc = SQLITE_OK;
	if (rc == SQLITE_DONE) {
		sqlite3_reset(b->q);
		return 0;
	}
	return constraint_failed(s, what, rc, d);
}

#define COLUMNS                                                                \
	"name, created_s, public_key, preshared_key, joined_s, endpoint, "     \
	"keepalive_s, way, global_address, secret_hash, expires_s, routes, "   \
	"policy, rate_kbit, connections"
#define PLACES "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"

/* What is bound and not the client's own. */
struct client_texts {
	char endpoint[ENDPOINT_TEXT_MAX];
	char global[IP_ADDR_TEXT_MAX];
};

static void
bind_secret(struct binder *b, const struct client *c)
{
	if (c->expires_s == 0) {
		bind_text(b, NULL);
		bind_text(b, NULL);
		return;
	}
	/* Not bind_key(): a hash of zeros is one. */
	if (b->rc == SQLITE_OK)
		b->rc = sqlite3_bind_blob(b->q, ++b->at, c->secret_hash,
		    sizeof(c->secret_hash), SQLITE_STATIC);
	bind_int(b, (int64_t)c->expires_s);
}

static void
bind_client(
    struct binder *b, const struct client *c, struct client_texts *texts)
{
	bool global = c->way != CLIENT_SHARED;

	bind_text(b, c->name);
	bind_int(b, (int64_t)c->created_s);
	bind_key(b, c->public_key.b);
	bind_key(b, c->preshared_key.b);
	bind_int(b, (int64_t)c->joined_s);
	bind_text(b, c->endpoint.port != 0
			 ? endpoint_format(&c->endpoint, texts->endpoint)
			 : NULL);
	bind_int(b, c->keepalive_s);
	bind_text(b, client_way_name(c->way));
	bind_text(b, global ? ip_addr_format(&c->global, texts->global) : NULL);
	bind_secret(b, c);
	bind_text(b, c->routes);
	bind_text(b, c->policy);
	bind_int(b, c->rate_kbit);
	bind_int(b, c->connections);
}

static int
add_networks(struct store *s, const struct client *c, struct diag *d)
{
	char text[IP_PREFIX_TEXT_MAX];
	struct binder b;
	int err =
	    prepare(s, &b, "INSERT INTO network VALUES (?, ?, ?)", c->name, d);

	if (err < 0)
		return err;
	for (size_t i = 0; err == 0 && i < c->networks; i++) {
		bind_int(&b, c->id);
		bind_int(&b, (int64_t)i);
		bind_text(&b, ip_prefix_format(&c->network[i], text));
		err = run(s, &b, c->name, d);
	}
	sqlite3_finalize(b.q);
	return err;
}

static int
add_forwards(struct store *s, const struct client *c, struct diag *d)
{
	struct binder b;
	int err = prepare(
	    s, &b, "INSERT INTO forward VALUES (?, ?, ?, ?, ?, ?)", c->name, d);

	if (err < 0)
		return err;
	for (size_t i = 0; err == 0 && i < c->forwards; i++) {
		const struct client_forward *f = &c->forward[i];

		bind_int(&b, c->id);
		bind_int(&b, (int64_t)i);
		bind_text(&b, f->protocol == IPPROTO_NUM_TCP ? "tcp" : "udp");
		bind_int(&b, f->first);
		bind_int(&b, f->last);
		bind_int(&b, f->target);
		err = run(s, &b, c->name, d);
	}
	sqlite3_finalize(b.q);
	return err;
}

/* A statement with one number. */
static int
run_with(struct store *s, const char *sql, int64_t n, const char *what,
    struct diag *d)
{
	struct binder b;
	int err = prepare(s, &b, sql, what, d);

	if (err < 0)
		return err;
	bind_int(&b, n);
	err = run(s, &b, what, d);
	sqlite3_finalize(b.q);
	return err;
}

static int
put_client(
    struct store *s, const char *sql, const struct client *c, struct diag *d)
{
	struct client_texts texts;
	struct binder b;
	int err = prepare(s, &b, sql, c->name, d);

	if (err < 0)
		return err;
	bind_client(&b, c, &texts);
	if (c->id != 0)
		bind_int(&b, c->id);
	err = run(s, &b, c->name, d);
	sqlite3_finalize(b.q);
	return err;
}

/* A change may follow. */
static int
begin_change(struct store *s, struct diag *d)
{
	UK_ASSERT(s->in_transaction);
	if (!s->broken)
		return 0;
	diag_error(d, "the registry's change has failed already");
	return UK_ESYS;
}

static int
end_change(struct store *s, int err)
{
	s->broken = s->broken || err < 0;
	return err;
}

int
store_add(struct store *s, struct client *c, struct diag *d)
{
	int err = begin_change(s, d);

	if (err == 0)
		err = client_check(c, d);
	c->id = 0;
	if (err == 0)
		err = put_client(s,
		    "INSERT INTO client (" COLUMNS ") VALUES (" PLACES ")", c,
		    d);
	if (err == 0)
		c->id = sqlite3_last_insert_rowid(s->db);
	if (err == 0)
		err = add_networks(s, c, d);
	if (err == 0)
		err = add_forwards(s, c, d);
	return end_change(s, err);
}

static int
missing(struct store *s, const char *what, struct diag *d)
{
	if (sqlite3_changes(s->db) == 1)
		return 0;
	diag_error(d, "the registry's file has no such client: %s", what);
	return UK_ENOENT;
}

int
store_update(struct store *s, const struct client *c, struct diag *d)
{
	int err = begin_change(s, d);

	UK_ASSERT(c->id != 0);
	if (err == 0)
		err = client_check(c, d);
	if (err == 0)
		err = put_client(s,
		    "UPDATE client SET (" COLUMNS ") = (" PLACES
		    ") WHERE id = ?",
		    c, d);
	if (err == 0)
		err = missing(s, c->name, d);
	if (err == 0)
		err = run_with(s, "DELETE FROM network WHERE client = ?", c->id,
		    c->name, d);
	if (err == 0)
		err = run_with(s, "DELETE FROM forward WHERE client = ?", c->id,
		    c->name, d);
	if (err == 0)
		err = add_networks(s, c, d);
	if (err == 0)
		err = add_forwards(s, c, d);
	return end_change(s, err);
}

int
store_remove(struct store *s, int64_t id, struct diag *d)
{
	static const char what[] = "remove a client";
	int err = begin_change(s, d);

	if (err == 0)
		err =
		    run_with(s, "DELETE FROM client WHERE id = ?", id, what, d);
	if (err == 0)
		err = missing(s, what, d);
	return end_change(s, err);
}

int
store_note_import(
    struct store *s, const struct wg_key *public_key, struct diag *d)
{
	static const char what[] = "note an import";
	struct binder b;
	int err = begin_change(s, d);

	if (err == 0)
		err = prepare(s, &b,
		    "INSERT INTO imported VALUES (?) ON CONFLICT DO NOTHING",
		    what, d);
	if (err == 0) {
		bind_key(&b, public_key->b);
		err = run(s, &b, what, d);
		sqlite3_finalize(b.q);
	}
	return end_change(s, err);
}

int
store_was_imported(
    struct store *s, const struct wg_key *public_key, struct diag *d)
{
	static const char what[] = "look up an import";
	struct binder b;
	int rc, err = prepare(s, &b,
		    "SELECT 1 FROM imported WHERE public_key = ?", what, d);

	if (err < 0)
		return err;
	bind_key(&b, public_key->b);
	rc = b.rc == SQLITE_OK ? sqlite3_step(b.q) : b.rc;
	if (rc == SQLITE_ROW || rc == SQLITE_DONE)
		err = rc == SQLITE_ROW;
	else
		err = store_failed(s->db, what, rc, d);
	sqlite3_finalize(b.q);
	return err;
}

/* ---- from rows to a client ---- */

/* Reads one column after the other. The first that a relay does not write
 * sticks, and so does a lack of memory. */
struct reader {
	sqlite3_stmt *q;
	int at;
	int row; /* SQLite's result of the last step */
	const char *bad; /* column */
	int err;
};

static void
read_failed(struct reader *r, int err)
{
	if (r->err != 0)
		return;
	r->err = err;
	r->bad = sqlite3_column_name(r->q, r->at > 0 ? r->at - 1 : 0);
}

/* 0 when it is not a number of that range. */
static int64_t
read_int(struct reader *r, int64_t least, int64_t most)
{
	int at = r->at++;
	int64_t n = sqlite3_column_int64(r->q, at);

	if (sqlite3_column_type(r->q, at) == SQLITE_INTEGER && n >= least &&
	    n <= most)
		return n;
	read_failed(r, UK_EPROTO);
	return 0;
}

/* 32 bytes. NULL: zeros, and false. */
static bool
read_key(struct reader *r, uint8_t key[KEY_LEN])
{
	int at = r->at++;
	const void *b = NULL;

	memset(key, 0, KEY_LEN);
	if (sqlite3_column_type(r->q, at) == SQLITE_NULL)
		return false;
	if (sqlite3_column_type(r->q, at) == SQLITE_BLOB &&
	    sqlite3_column_bytes(r->q, at) == KEY_LEN)
		b = sqlite3_column_blob(r->q, at);
	if (b == NULL) {
		read_failed(r, UK_EPROTO);
		return false;
	}
	memcpy(key, b, KEY_LEN);
	return true;
}

/* Without a zero inside; good until the next step. NULL: NULL. */
static const char *
read_text(struct reader *r, size_t max)
{
	int at = r->at++;
	const char *text;
	size_t len;

	if (sqlite3_column_type(r->q, at) == SQLITE_NULL)
		return NULL;
	if (sqlite3_column_type(r->q, at) != SQLITE_TEXT) {
		read_failed(r, UK_EPROTO);
		return NULL;
	}
	text = (const char *)sqlite3_column_text(r->q, at);
	if (text == NULL) {
		read_failed(r, UK_ENOMEM);
		return NULL;
	}
	len = (size_t)sqlite3_column_bytes(r->q, at);
	if (len <= max && strlen(text) == len)
		return text;
	read_failed(r, UK_EPROTO);
	return NULL;
}

static char *
read_copy(struct reader *r, size_t max)
{
	const char *text = read_text(r, max);
	char *copy = text != NULL ? strdup(text) : NULL;

	if (text != NULL && copy == NULL)
		read_failed(r, UK_ENOMEM);
	return copy;
}

static void
read_name(struct reader *r, char name[static SERVER_NAME_MAX + 1])
{
	const char *text = read_text(r, SERVER_NAME_MAX);

	if (text != NULL && server_is_name(text, strlen(text)))
		memcpy(name, text, strlen(text) + 1);
	else
		read_failed(r, UK_EPROTO);
}

static void
read_endpoint(struct reader *r, struct endpoint *e)
{
	const char *text = read_text(r, ENDPOINT_TEXT_MAX - 1);
	char scope[16];

	/* A scope is a number there: the store wrote it. */
	if (text != NULL &&
	    (value_parse_endpoint(e, scope, text, strlen(text)) < 0 ||
		scope[0] != '\0'))
		read_failed(r, UK_EPROTO);
}

static void
read_way(struct reader *r, enum client_way *way)
{
	const char *text = read_text(r, SERVER_NAME_MAX);

	if (text == NULL || client_way_parse(way, text) < 0)
		read_failed(r, UK_EPROTO);
}

/* Only as ip_addr_format() writes it: one address has one text, so that UNIQUE
 * means what it says. */
static void
read_addr(struct reader *r, struct ip_addr *a)
{
	const char *text = read_text(r, IP_ADDR_TEXT_MAX - 1);
	char again[IP_ADDR_TEXT_MAX];

	if (text != NULL && (ip_addr_parse(a, text, strlen(text)) < 0 ||
				strcmp(ip_addr_format(a, again), text) != 0))
		read_failed(r, UK_EPROTO);
}

static void
read_prefix(struct reader *r, struct ip_prefix *p)
{
	const char *text = read_text(r, IP_PREFIX_TEXT_MAX - 1);
	char again[IP_PREFIX_TEXT_MAX];

	if (text == NULL || ip_prefix_parse(p, text, strlen(text)) < 0 ||
	    strcmp(ip_prefix_format(p, again), text) != 0)
		read_failed(r, UK_EPROTO);
}

static void
read_forward(struct reader *r, struct client_forward *f)
{
	const char *protocol = read_text(r, 3);

	if (protocol != NULL && strcmp(protocol, "tcp") == 0)
		f->protocol = IPPROTO_NUM_TCP;
	else if (protocol != NULL && strcmp(protocol, "udp") == 0)
		f->protocol = IPPROTO_NUM_UDP;
	else
		read_failed(r, UK_EPROTO);
	f->first = (uint16_t)read_int(r, 1, UINT16_MAX);
	f->last = (uint16_t)read_int(r, f->first, UINT16_MAX);
	f->target = (uint16_t)read_int(r, 1, UINT16_MAX);
}

static void
read_client(struct reader *r, struct client *c)
{
	r->at = 0;
	c->id = read_int(r, 1, INT64_MAX);
	read_name(r, c->name);
	c->created_s = (uint64_t)read_int(r, 0, INT64_MAX);
	read_key(r, c->public_key.b);
	read_key(r, c->preshared_key.b);
	c->joined_s = (uint64_t)read_int(r, 0, INT64_MAX);
	read_endpoint(r, &c->endpoint);
	c->keepalive_s = (uint16_t)read_int(r, 0, UINT16_MAX);
	read_way(r, &c->way);
	read_addr(r, &c->global);
	if (read_key(r, c->secret_hash))
		c->expires_s = (uint64_t)read_int(r, 1, INT64_MAX);
	else
		r->at++;
	c->routes = read_copy(r, CLIENT_ROUTES_MAX);
	c->policy = read_copy(r, CLIENT_POLICY_MAX);
	c->rate_kbit = (uint32_t)read_int(r, 0, UINT32_MAX);
	c->connections = (uint32_t)read_int(r, 0, UINT32_MAX);
}

/* ---- the walk ---- */

/* Three queries in the order of clients, read side by side. */
struct walk {
	struct store *s;
	struct reader clients, networks, forwards;
	struct diag *d;
};

static int
open_query(struct walk *w, struct reader *r, const char *sql)
{
	int rc = sqlite3_prepare_v2(w->s->db, sql, -1, &r->q, NULL);

	return rc == SQLITE_OK ? 0
			       : store_failed(w->s->db, "registry", rc, w->d);
}

static int
step(struct walk *w, struct reader *r)
{
	r->row = sqlite3_step(r->q);
	if (r->row == SQLITE_ROW || r->row == SQLITE_DONE)
		return 0;
	return store_failed(w->s->db, "registry", r->row, w->d);
}

static int
bad_row(struct walk *w, const struct reader *r, const char *table, int64_t id)
{
	if (r->err == UK_ENOMEM)
		return UK_ENOMEM;
	diag_error(w->d,
	    "the registry is damaged: table %s, client %lld: %s is not what a "
	    "relay writes",
	    table, (long long)id, r->bad != NULL ? r->bad : "it");
	return UK_EPROTO;
}

/* Is the reader at a row of the client's? Rows of no client are damage. */
static int
is_child(struct walk *w, struct reader *r, const char *table, int64_t id)
{
	int64_t whose;

	if (r->row != SQLITE_ROW)
		return 0;
	r->at = 0;
	whose = read_int(r, INT64_MIN, INT64_MAX);
	if (r->err == 0 && whose >= id)
		return whose == id;
	if (r->err == 0)
		read_failed(r, UK_EPROTO);
	return bad_row(w, r, table, whose);
}

/* After the last client, what is left belongs to none. */
static int
check_end(struct walk *w, struct reader *r, const char *table)
{
	if (r->row != SQLITE_ROW)
		return 0;
	read_failed(r, UK_EPROTO);
	return bad_row(w, r, table, sqlite3_column_int64(r->q, 0));
}

static int
take_networks(struct walk *w, struct client *c)
{
	static const char table[] = "network";
	struct reader *r = &w->networks;
	int err;

	while ((err = is_child(w, r, table, c->id)) > 0) {
		if (c->networks < CLIENT_NETWORKS_MAX)
			read_prefix(r, &c->network[c->networks++]);
		else
			read_failed(r, UK_EPROTO);
		if (r->err != 0)
			return bad_row(w, r, table, c->id);
		err = step(w, r);
		if (err < 0)
			return err;
	}
	return err;
}

static int
take_forwards(struct walk *w, struct client *c)
{
	static const char table[] = "forward";
	struct reader *r = &w->forwards;
	struct client_forward *more;
	size_t cap = 0;
	int err;

	while ((err = is_child(w, r, table, c->id)) > 0) {
		if (c->forwards == CLIENT_FORWARDS_MAX) {
			read_failed(r, UK_EPROTO);
			return bad_row(w, r, table, c->id);
		}
		more = conf_grow(c->forward, c->forwards, &cap, sizeof(*more));
		if (more == NULL)
			return UK_ENOMEM;
		c->forward = more;
		more[c->forwards] = (struct client_forward){0};
		read_forward(r, &more[c->forwards++]);
		if (r->err != 0)
			return bad_row(w, r, table, c->id);
		err = step(w, r);
		if (err < 0)
			return err;
	}
	return err;
}

/* *c is filled, whatever is returned. */
static int
take_client(struct walk *w, struct client *c)
{
	int err;

	read_client(&w->clients, c);
	if (w->clients.err != 0)
		return bad_row(w, &w->clients, "client", c->id);
	err = take_networks(w, c);
	if (err == 0)
		err = take_forwards(w, c);
	if (err == 0 && client_check(c, w->d) < 0) {
		diag_error(w->d,
		    "the registry is damaged: client %lld is not one that a "
		    "relay writes",
		    (long long)c->id);
		err = UK_EPROTO;
	}
	return err;
}

static int
walk_clients(
    struct walk *w, int (*take)(void *arg, struct client *c), void *arg)
{
	int err = step(w, &w->clients);

	if (err == 0)
		err = step(w, &w->networks);
	if (err == 0)
		err = step(w, &w->forwards);
	while (err == 0 && w->clients.row == SQLITE_ROW) {
		struct client c = {0};

		err = take_client(w, &c);
		if (err < 0)
			client_fini(&c);
		else
			err = take(arg, &c);
		sodium_memzero(&c, sizeof(c));
		if (err == 0)
			err = step(w, &w->clients);
	}
	if (err == 0)
		err = check_end(w, &w->networks, "network");
	if (err == 0)
		err = check_end(w, &w->forwards, "forward");
	return err;
}

int
store_load(struct store *s, int (*take)(void *arg, struct client *c), void *arg,
    struct diag *d)
{
	struct walk w = {.s = s, .d = d};
	int err = open_query(
	    &w, &w.clients, "SELECT id, " COLUMNS " FROM client ORDER BY id");

	if (err == 0)
		err = open_query(&w, &w.networks,
		    "SELECT client, prefix FROM network"
		    " ORDER BY client, ordinal");
	if (err == 0)
		err = open_query(&w, &w.forwards,
		    "SELECT client, protocol, first_port, last_port, "
		    "target_port FROM forward ORDER BY client, ordinal");
	if (err == 0)
		err = walk_clients(&w, take, arg);
	sqlite3_finalize(w.clients.q);
	sqlite3_finalize(w.networks.q);
	sqlite3_finalize(w.forwards.q);
	return err;
}
