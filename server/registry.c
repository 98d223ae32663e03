#include "registry.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/err.h"
#include "registry_claims.h"

_Static_assert(
    CLIENT_SECRET_HASH_LEN == crypto_hash_sha256_BYTES, "a secret's hash");

#define ALL_OF_IPV4 "0.0.0.0/0"

static const struct wg_key no_key;

/* ---- memory ---- */

static void
client_free(struct client *c)
{
	if (c == NULL)
		return;
	client_fini(c);
	free(c);
}

static int
insert(struct registry *r, size_t at, struct client *c)
{
	struct client **item =
	    conf_grow(r->item, r->n, &r->cap, sizeof(struct client *));

	if (item == NULL)
		return UK_ENOMEM;
	r->item = item;
	memmove(item + at + 1, item + at, (r->n - at) * sizeof(*item));
	item[at] = c;
	r->n++;
	return 0;
}

static void
take_out(struct registry *r, size_t at)
{
	r->n--;
	memmove(r->item + at, r->item + at + 1, (r->n - at) * sizeof(*r->item));
}

static size_t
index_of(const struct registry *r, const char *name)
{
	size_t i = 0;

	while (i < r->n && strcmp(r->item[i]->name, name) != 0)
		i++;
	return i;
}

static int
find(const struct registry *r, const char *name, size_t *at, struct diag *d)
{
	*at = index_of(r, name);
	if (*at < r->n)
		return 0;
	if (!server_is_name(name, strlen(name)))
		diag_error(d,
		    "\"%s\" is no client's name: 1 to 32 of a-z, 0-9 and '-'",
		    name);
	else
		diag_error(
		    d, "there is no client %s; see `ukai-relay clients`", name);
	return UK_ENOENT;
}

/* Public ones: time tells nothing. */
static bool
same_key(const struct wg_key *a, const struct wg_key *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static const struct client *
find_key(const struct registry *r, const struct wg_key *public_key)
{
	for (size_t i = 0; i < r->n; i++)
		if (client_has_joined(r->item[i]) &&
		    same_key(&r->item[i]->public_key, public_key))
			return r->item[i];
	return NULL;
}

/* ---- one change ---- */

/* c, which is taken, takes the place of the client at at, or is a new one
 * there; NULL: that client goes. */
static int
change(struct registry *r, size_t at, struct client *c, struct diag *d)
{
	struct client *old = at < r->n ? r->item[at] : NULL;
	int err;

	UK_ASSERT(!r->open && (old != NULL || c != NULL));
	registry_end(r);
	err = store_begin(r->store, d);
	if (err == 0 && old == NULL)
		err = store_add(r->store, c, d);
	else if (err == 0 && c != NULL)
		err = store_update(r->store, c, d);
	else if (err == 0)
		err = store_remove(r->store, old->id, d);
	if (err == 0 && old == NULL)
		err = insert(r, at, c);
	if (err < 0) {
		store_rollback(r->store);
		client_free(c);
		return err;
	}
	if (c != NULL)
		r->item[at] = c;
	else
		take_out(r, at);
	r->open = true;
	r->at = at;
	r->before = old;
	r->after = c;
	return 0;
}

struct registry_change
registry_changed(const struct registry *r)
{
	return (struct registry_change){r->before, r->after};
}

int
registry_keep(struct registry *r, struct diag *d)
{
	int err = r->open ? store_commit(r->store, d) : 0;

	if (err == 0)
		r->open = false;
	r->kept = err == 0;
	return err;
}

void
registry_withdraw(struct registry *r)
{
	if (!r->open)
		return;
	store_rollback(r->store);
	if (r->after == NULL)
		/* There is room: it was taken out of the same array. */
		(void)insert(r, r->at, r->before);
	else if (r->before == NULL)
		take_out(r, r->at);
	else
		r->item[r->at] = r->before;
	r->open = false;
}

void
registry_end(struct registry *r)
{
	registry_withdraw(r);
	client_free(r->kept ? r->before : r->after);
	r->kept = false;
	r->before = NULL;
	r->after = NULL;
}

/* A copy of the client at at, to be changed. NULL: out of memory. */
static struct client *
copy_of(const struct registry *r, size_t at)
{
	struct client *c = calloc(1, sizeof(*c));

	if (c != NULL && client_copy(c, r->item[at]) < 0) {
		free(c);
		c = NULL;
	}
	return c;
}

/* ---- opening ---- */

static int
take(void *arg, struct client *c)
{
	struct registry *r = arg;
	struct client *to = malloc(sizeof(*to));

	if (to == NULL || insert(r, r->n, to) < 0) {
		free(to);
		client_fini(c);
		return UK_ENOMEM;
	}
	*to = *c;
	return 0;
}

int
registry_open(struct registry **out, const char *path,
    const struct registry_conf *conf, struct diag *d)
{
	struct registry *r = calloc(1, sizeof(*r));
	int err;

	if (r == NULL)
		return UK_ENOMEM;
	r->conf = *conf;
	ip_ifaddr_prefix(&conf->address, &r->pool);
	err = store_open(&r->store, path, d);
	if (err == 0)
		err = store_load(r->store, take, r, d);
	if (err == 0)
		err = claims_pool(r, d);
	if (err < 0) {
		registry_close(r);
		return err;
	}
	*out = r;
	return 0;
}

void
registry_close(struct registry *r)
{
	if (r == NULL)
		return;
	registry_end(r);
	for (size_t i = 0; i < r->n; i++)
		client_free(r->item[i]);
	free(r->item);
	store_close(r->store);
	free(r);
}

/* ---- [Peer] sections ---- */

static void
choose_name(struct registry *r, struct client *c, const char *name)
{
	snprintf(c->name, sizeof(c->name), "%s", name);
	while (c->name[0] == '\0' || index_of(r, c->name) < r->n)
		snprintf(c->name, sizeof(c->name), "peer-%u", ++r->unnamed);
}

static int
fill_from_peer(struct client *c, const struct server_peer *p, struct diag *d)
{
	const struct conf_wg_peer *wg = &p->wg;

	if (wg->allowed.n > CLIENT_NETWORKS_MAX) {
		diag_add(d, DIAG_ERROR, wg->line, 0,
		    "[Peer] has more than %d AllowedIPs: a client has at most "
		    "so many",
		    CLIENT_NETWORKS_MAX);
		return UK_ELIMIT;
	}
	memcpy(c->public_key.b, wg->public_key.b, sizeof(c->public_key.b));
	memcpy(c->preshared_key.b, wg->preshared_key.b,
	    sizeof(c->preshared_key.b));
	if (wg->endpoint.addr.addr.family != FAMILY_NONE)
		c->endpoint = wg->endpoint.addr;
	c->keepalive_s = wg->keepalive_s;
	for (size_t i = 0; i < wg->allowed.n; i++)
		c->network[c->networks++] = wg->allowed.item[i].prefix;
	return 0;
}

static int
import_peer(struct registry *r, const struct server_peer *p, uint64_t now_s,
    struct diag *d)
{
	struct client *c = calloc(1, sizeof(*c));
	int err = c != NULL ? fill_from_peer(c, p, d) : UK_ENOMEM;

	if (err == 0) {
		choose_name(r, c, p->name.s);
		if (p->name.s[0] != '\0' && strcmp(c->name, p->name.s) != 0)
			diag_warn(d,
			    "the [Peer] %s is taken in as %s: there is a "
			    "client of its name",
			    p->name.s, c->name);
		c->created_s = c->joined_s = now_s;
		for (size_t i = 0; i < c->networks && err == 0; i++)
			err = claims_network(r, c, &c->network[i], d);
	}
	if (err == 0)
		err = store_add(r->store, c, d);
	if (err == 0)
		err = insert(r, r->n, c);
	if (err == 0)
		return store_note_import(r->store, &c->public_key, d);
	client_free(c);
	return err;
}

static int
import_all(struct registry *r, const struct server_peers *peers, uint64_t now_s,
    size_t *old, struct diag *d)
{
	for (size_t i = 0; i < peers->n; i++) {
		struct wg_key key;
		int err;

		memcpy(key.b, peers->item[i].wg.public_key.b, sizeof(key.b));
		err = store_was_imported(r->store, &key, d);
		if (err == 0 && find_key(r, &key) == NULL)
			err = import_peer(r, &peers->item[i], now_s, d);
		else if (err >= 0)
			++*old;
		if (err < 0)
			return err;
	}
	return 0;
}

int
registry_import(struct registry *r, const struct server_peers *peers,
    uint64_t now_s, size_t *n, struct diag *d)
{
	size_t before = r->n, old = 0;
	int err;

	*n = 0;
	if (peers->n == 0)
		return 0;
	err = store_begin(r->store, d);
	if (err == 0)
		err = import_all(r, peers, now_s, &old, d);
	if (err == 0)
		err = store_commit(r->store, d);
	if (err < 0) {
		store_rollback(r->store);
		while (r->n > before)
			client_free(r->item[--r->n]);
		return err;
	}
	*n = r->n - before;
	if (old > 0)
		diag_warn(d,
		    "%zu of the [Peer] sections were taken into the registry "
		    "before and are not read any more: remove them, and use "
		    "`ukai-relay clients` and `ukai-relay revoke`",
		    old);
	return 0;
}

/* ---- looking ---- */

struct ip_prefix
registry_pool(const struct registry *r)
{
	return r->pool;
}

const struct ip_addr *
registry_relays(const struct registry *r)
{
	return &r->conf.global;
}

struct client *const *
registry_clients(const struct registry *r, size_t *n)
{
	*n = r->n;
	return r->item;
}

const struct client *
registry_find(const struct registry *r, const char *name)
{
	size_t at = index_of(r, name);

	return at < r->n ? r->item[at] : NULL;
}

const struct ip_addr *
registry_global(const struct registry *r, const struct client *c)
{
	return c->way == CLIENT_SHARED ? &r->conf.global : &c->global;
}

/* ---- invitations ---- */

static bool
is_invitation_right(const struct registry_invitation *i, struct diag *d)
{
	if (!server_is_name(i->name, strlen(i->name))) {
		diag_error(d,
		    "\"%s\" cannot be a client's name: 1 to 32 of a-z, 0-9 and "
		    "'-'",
		    i->name);
		return false;
	}
	if (i->public_key == NULL &&
	    (i->hours < 1 || i->hours > REGISTRY_HOURS_MAX)) {
		diag_error(d, "a token is good for 1 to %d hours, not %u",
		    REGISTRY_HOURS_MAX, i->hours);
		return false;
	}
	if (i->policy != NULL && strlen(i->policy) > CLIENT_POLICY_MAX) {
		diag_error(
		    d, "the policy has more than %d bytes", CLIENT_POLICY_MAX);
		return false;
	}
	if (i->policy != NULL &&
	    !enrol_policy_ok(i->policy, strlen(i->policy))) {
		diag_error(d,
		    "the policy is not plain text: UTF-8, without control "
		    "characters");
		return false;
	}
	return true;
}

static int
check_routes(const char *routes, struct diag *d)
{
	struct conf_span rest = {.s = routes, .len = strlen(routes)}, item;
	struct ip_ifaddr a;
	struct ip_prefix p;
	size_t n = 0;

	while (conf_span_item(&rest, &item)) {
		bool right = ip_ifaddr_parse(&a, item.s, item.len) == 0 &&
			     a.addr.family == FAMILY_V4;

		if (right)
			ip_ifaddr_prefix(&a, &p);
		if (right && ip_addr_equal(&a.addr, &p.addr) &&
		    ++n <= ENROL_ROUTES_MAX)
			continue;
		if (n > ENROL_ROUTES_MAX)
			diag_error(d, "more than %d routes", ENROL_ROUTES_MAX);
		else
			diag_error(d,
			    "\"%.*s\" is no IPv4 prefix such as "
			    "203.0.113.0/24",
			    (int)item.len, item.s);
		return UK_EINVAL;
	}
	if (strlen(routes) <= CLIENT_ROUTES_MAX)
		return 0;
	diag_error(d, "the list of routes is too long");
	return UK_EINVAL;
}

/* The key must be nobody's yet. */
static int
check_key(const struct registry *r, const struct wg_key *key, struct diag *d)
{
	const struct client *c = find_key(r, key);

	if (c != NULL)
		diag_error(d, "the client %s has that key", c->name);
	else if (same_key(key, &r->conf.public_key))
		diag_error(d, "that is the relay's own key");
	else if (same_key(key, &no_key))
		diag_error(d, "a key of zeros is no key");
	else
		return 0;
	return UK_EEXIST;
}

static int
set_texts(struct client *c, const struct registry_invitation *i)
{
	const char *routes = i->routes != NULL ? i->routes : ALL_OF_IPV4;

	free(c->routes);
	free(c->policy);
	c->policy = NULL;
	c->routes = strdup(routes);
	if (i->policy != NULL)
		c->policy = strdup(i->policy);
	return c->routes == NULL || (i->policy != NULL && c->policy == NULL)
		   ? UK_ENOMEM
		   : 0;
}

static void
set_token(struct client *c, unsigned hours, uint64_t now_s,
    uint8_t secret[TOKEN_SECRET_LEN])
{
	randombytes_buf(secret, TOKEN_SECRET_LEN);
	crypto_hash_sha256(c->secret_hash, secret, TOKEN_SECRET_LEN);
	c->expires_s = now_s + (uint64_t)hours * 3600;
}

/* A new client, or a copy of one that has not joined. *at: its place. */
static int
begin_invitation(struct registry *r, const char *name, uint64_t now_s,
    struct client **out, size_t *at, struct diag *d)
{
	struct client *c;
	int err;

	*at = index_of(r, name);
	if (*at < r->n) {
		if (client_has_joined(r->item[*at])) {
			diag_error(d,
			    "%s has joined already; `ukai-relay revoke %s` "
			    "first, if its key is to be replaced",
			    name, name);
			return UK_EEXIST;
		}
		*out = copy_of(r, *at);
		return *out != NULL ? 0 : UK_ENOMEM;
	}
	if (r->n >= REGISTRY_CLIENTS_MAX) {
		diag_error(
		    d, "a relay has at most %d clients", REGISTRY_CLIENTS_MAX);
		return UK_ELIMIT;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return UK_ENOMEM;
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->created_s = now_s;
	c->networks = 1;
	err = claims_address(r, &c->network[0], d);
	if (err < 0) {
		free(c);
		return err;
	}
	*out = c;
	return 0;
}

int
registry_invite(struct registry *r, const struct registry_invitation *i,
    uint64_t now_s, uint8_t secret[TOKEN_SECRET_LEN], struct diag *d)
{
	struct client *c = NULL;
	size_t at = 0;
	int err;

	if (!is_invitation_right(i, d))
		return UK_EINVAL;
	err = i->routes != NULL ? check_routes(i->routes, d) : 0;
	if (err == 0 && i->public_key != NULL)
		err = check_key(r, i->public_key, d);
	if (err == 0)
		err = begin_invitation(r, i->name, now_s, &c, &at, d);
	if (err < 0)
		return err;
	if (set_texts(c, i) < 0) {
		client_free(c);
		return UK_ENOMEM;
	}
	c->expires_s = 0;
	if (i->public_key != NULL) {
		c->public_key = *i->public_key;
		c->joined_s = now_s;
		if (i->preshared_key != NULL)
			c->preshared_key = *i->preshared_key;
	} else {
		set_token(c, i->hours, now_s, secret);
	}
	return change(r, at, c, d);
}

static size_t
find_secret(const struct registry *r, const uint8_t secret[TOKEN_SECRET_LEN])
{
	uint8_t hash[CLIENT_SECRET_HASH_LEN];
	size_t i = 0;

	crypto_hash_sha256(hash, secret, TOKEN_SECRET_LEN);
	while (i < r->n && (r->item[i]->expires_s == 0 ||
			       sodium_memcmp(hash, r->item[i]->secret_hash,
				   sizeof(hash)) != 0))
		i++;
	return i;
}

enum enrol_status
registry_join(struct registry *r, const struct enrol_request *request,
    uint64_t now_s, const struct client **out, struct diag *d)
{
	size_t at = find_secret(r, request->secret);
	struct wg_key key;
	struct client *c;

	registry_end(r);
	if (at == r->n)
		return ENROL_UNKNOWN;
	c = r->item[at];
	if (now_s >= c->expires_s)
		return ENROL_EXPIRED;
	memcpy(key.b, request->public_key, sizeof(key.b));
	*out = c;
	if (client_has_joined(c))
		return same_key(&c->public_key, &key) ? ENROL_OK : ENROL_USED;
	if (check_key(r, &key, d) < 0)
		return ENROL_FAILED;
	c = copy_of(r, at);
	if (c == NULL)
		return ENROL_FAILED;
	c->public_key = key;
	c->joined_s = now_s;
	*out = c;
	return change(r, at, c, d) == 0 ? ENROL_OK : ENROL_FAILED;
}

int
registry_revoke(struct registry *r, const char *name, struct diag *d)
{
	size_t at;
	int err = find(r, name, &at, d);

	return err < 0 ? err : change(r, at, NULL, d);
}

/* ---- ways ---- */

int
registry_set_way(struct registry *r, const char *name, enum client_way way,
    const struct ip_addr *global, struct diag *d)
{
	struct ip_addr a = *global;
	struct client *c;
	size_t at;
	int err = find(r, name, &at, d);

	if (err < 0)
		return err;
	c = r->item[at];
	if (way == CLIENT_EXCLUSIVE && a.family == FAMILY_NONE)
		a = r->conf.global;
	if (way == CLIENT_SHARED && a.family != FAMILY_NONE) {
		diag_error(
		    d, "shared is without an address: it is the relay's");
		return UK_EINVAL;
	}
	if (way != CLIENT_SHARED)
		err = claims_global(r, c, way, &a, d);
	for (size_t i = 0; i < c->forwards && err == 0; i++)
		err = claims_forward(r, c,
		    way == CLIENT_SHARED ? &r->conf.global : &a, &c->forward[i],
		    d);
	if (err < 0)
		return err;
	c = copy_of(r, at);
	if (c == NULL)
		return UK_ENOMEM;
	c->way = way;
	c->global = a;
	return change(r, at, c, d);
}

int
registry_limit(struct registry *r, const char *name, uint32_t rate_kbit,
    uint32_t connections, struct diag *d)
{
	struct client *c;
	size_t at;
	int err = find(r, name, &at, d);

	if (err < 0)
		return err;
	c = copy_of(r, at);
	if (c == NULL)
		return UK_ENOMEM;
	c->rate_kbit = rate_kbit;
	c->connections = connections;
	return change(r, at, c, d);
}

/* ---- forwards ---- */

int
registry_forward_add(struct registry *r, const char *name,
    const struct client_forward *f, struct diag *d)
{
	char text[CLIENT_FORWARD_TEXT_MAX];
	struct client_forward *more;
	struct client *c;
	size_t at;
	int err = find(r, name, &at, d);

	if (err < 0)
		return err;
	c = r->item[at];
	if (c->way == CLIENT_ROUTED) {
		diag_error(d,
		    "%s has a routed address, and all of its ports itself",
		    name);
		return UK_EINVAL;
	}
	err = claims_single(c, d);
	if (err < 0)
		return err;
	for (size_t i = 0; i < c->forwards; i++)
		if (client_forwards_overlap(f, &c->forward[i])) {
			diag_error(d, "%s has %s already", name,
			    client_forward_format(&c->forward[i], text));
			return UK_EEXIST;
		}
	if (c->forwards == CLIENT_FORWARDS_MAX) {
		diag_error(d, "a client has at most %d forwards; use ranges",
		    CLIENT_FORWARDS_MAX);
		return UK_ELIMIT;
	}
	err = claims_forward(r, c, registry_global(r, c), f, d);
	if (err < 0)
		return err;
	c = copy_of(r, at);
	if (c == NULL)
		return UK_ENOMEM;
	more = realloc(c->forward, (c->forwards + 1) * sizeof(*more));
	if (more == NULL) {
		client_free(c);
		return UK_ENOMEM;
	}
	c->forward = more;
	c->forward[c->forwards++] = *f;
	return change(r, at, c, d);
}

int
registry_forward_remove(struct registry *r, const char *name,
    const struct client_forward *f, struct diag *d)
{
	char text[CLIENT_FORWARD_TEXT_MAX];
	struct client *c;
	size_t at, i = 0;
	int err = find(r, name, &at, d);

	if (err < 0)
		return err;
	c = r->item[at];
	while (i < c->forwards && (c->forward[i].protocol != f->protocol ||
				      c->forward[i].first != f->first ||
				      c->forward[i].last != f->last))
		i++;
	if (i == c->forwards) {
		diag_error(d,
		    "%s has no forward %s; see `ukai-relay forward list`", name,
		    client_forward_format(f, text));
		return UK_ENOENT;
	}
	c = copy_of(r, at);
	if (c == NULL)
		return UK_ENOMEM;
	c->forwards--;
	memmove(c->forward + i, c->forward + i + 1,
	    (c->forwards - i) * sizeof(*c->forward));
	return change(r, at, c, d);
}

int
registry_backup(struct registry *r, const char *path, struct diag *d)
{
	return store_backup(r->store, path, d);
}
