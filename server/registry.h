/* registry: the relay's clients: who they are, their addresses, published
 * ports and invitations. In memory, authoritative while the relay runs, with
 * the store behind it. It says what may be and what may not; making it so on
 * the host is the caller's:
 *
 *   registry_invite() ...   checks, changes memory and an open transaction
 *   registry_changed()      what it was and is: make the host agree
 *   registry_keep()         on the disk: now it may be confirmed
 *   registry_end()          what was not kept is as before
 *
 * One change at a time. Errors come with a sentence in d that says why and who
 * is in the way: UK_ENOENT: no such client or forward; UK_EEXIST, UK_EBUSY:
 * somebody has it; UK_EINVAL; UK_ELIMIT: nothing free; UK_ESYS: the store;
 * UK_ENOMEM. After an error nothing is changed. Threads: owner only. */
#ifndef UKAI_SERVER_REGISTRY_H
#define UKAI_SERVER_REGISTRY_H

#include "client.h"
#include "core/enrol.h"

#define REGISTRY_CLIENTS_MAX 65536

struct registry;

/* What a client's wishes are checked against. */
struct registry_conf {
	struct ip_ifaddr address; /* the relay's; its prefix is the pool */
	struct ip_addr global; /* the relay's */
	struct wg_key public_key; /* the relay's */
	void *arg;
	/* Is it an address of this host? */
	bool (*is_own)(void *arg, const struct ip_addr *a);
	/* Why it can be nobody's own: "is a router ..."; NULL: it can. */
	const char *(*unroutable)(void *arg, const struct ip_addr *a);
	/* Does the relay or this host need the port on its own addresses? Then
	 * for what: "ssh", "the relay's own", "a program on this host". */
	const char *(*reserved)(void *arg, uint8_t protocol, uint16_t port);
};

/* conf is copied. Also checks that what the file holds fits conf: a client
 * outside of the pool is an error, told with what to do. */
int registry_open(struct registry **r, const char *path,
    const struct registry_conf *conf, struct diag *d);
void registry_close(struct registry *r); /* NULL: no-op */

/* Take over the [Peer] sections of relay.conf that were not taken over before,
 * all or none. The others are warned of: they are not read any more. *n: how
 * many. */
int registry_import(struct registry *r, const struct server_peers *peers,
    uint64_t now_s, size_t *n, struct diag *d);

struct ip_prefix registry_pool(const struct registry *r);
const struct ip_addr *registry_relays(const struct registry *r); /* global */
/* In the order of their making; good until the next change. */
struct client *const *registry_clients(const struct registry *r, size_t *n);
const struct client *registry_find(const struct registry *r, const char *name);

/* ---- changes ---- */

#define REGISTRY_HOURS_MAX 8784 /* a year */

struct registry_invitation {
	const char *name;
	unsigned hours; /* until the token expires */
	const char *routes; /* NULL: all of IPv4 */
	const char *policy; /* NULL: none */
	/* For a stock WireGuard client: its key, no token; NULL. */
	const struct wg_key *public_key;
	const struct wg_key *preshared_key; /* NULL: none */
};

/* A new client with an address of its own; or, for one that has not joined yet,
 * a new token in place of the old one. secret is filled unless public_key is
 * given. */
int registry_invite(struct registry *r, const struct registry_invitation *i,
    uint64_t now_s, uint8_t secret[TOKEN_SECRET_LEN], struct diag *d);

/* A client calls with its token. Returns its status; with ENROL_OK *c is the
 * client, and something was changed unless the same key has joined before
 * (then registry_changed() is empty). */
enum enrol_status registry_join(struct registry *r,
    const struct enrol_request *request, uint64_t now_s,
    const struct client **c, struct diag *d);

int registry_revoke(struct registry *r, const char *name, struct diag *d);
/* global: FAMILY_NONE with CLIENT_SHARED; with CLIENT_EXCLUSIVE it may be, and
 * is the relay's own address then. */
int registry_set_way(struct registry *r, const char *name, enum client_way way,
    const struct ip_addr *global, struct diag *d);
/* 0: no limit. */
int registry_limit(struct registry *r, const char *name, uint32_t rate_kbit,
    uint32_t connections, struct diag *d);
int registry_forward_add(struct registry *r, const char *name,
    const struct client_forward *f, struct diag *d);
/* f->target does not count; the range must be one that was added. */
int registry_forward_remove(struct registry *r, const char *name,
    const struct client_forward *f, struct diag *d);

/* ---- what is to be done about the last one ---- */

struct registry_change {
	const struct client *before; /* NULL: is new */
	const struct client *after; /* NULL: is gone */
};
/* Both NULL: nothing was changed. Good until the end. */
struct registry_change registry_changed(const struct registry *r);
/* On an error the change still stands in memory: withdraw it. */
int registry_keep(struct registry *r, struct diag *d);
/* All is as it was before; registry_changed() still tells what is to be taken
 * back on the host. What was kept stays. */
void registry_withdraw(struct registry *r);
/* Withdraws what was not kept. The next change does so, too. */
void registry_end(struct registry *r);

/* The address that visitors see a client at, and its forwards hold on. */
const struct ip_addr *registry_global(
    const struct registry *r, const struct client *c);

int registry_backup(struct registry *r, const char *path, struct diag *d);

#endif
