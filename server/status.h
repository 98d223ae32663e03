/* status: what a running relay tells about itself: the object and the text of
 * io/tunnel_status.h, and besides
 *
 *   {"pid", "address", "pool", "global_address", "uplink",
 *    "client_to_client", "groups", "tls_port", "nat_ports",
 *    "enrolment": {COUNTER: N, ...},
 *    "peers": [{"name", "tunnel_address", "way", "global_address",
 *        "rate_kbit", "connections", "joined", "nat_ports", "flows",
 *        "forwards": [{"protocol", "first", "last", "target"}]}],
 *    "invited": [{"name", "tunnel_address", "way", "global_address",
 *        "rate_kbit", "connections", "expires", "forwards"}]}
 *
 * "uplink" is null without a route to the internet, "tls_port" where nobody
 * can enrol. "rate_kbit" and "connections" are null without a limit.
 * "nat_ports" is how many ports clients' flows can get, and of a peer how many
 * it has (null: the kernel does not tell). A peer that was added by wg(8), and
 * is no client, has null for all that. Pure. */
#ifndef UKAI_SERVER_STATUS_H
#define UKAI_SERVER_STATUS_H

#include "conntrack.h"
#include "io/tunnel_status.h"
#include "plan.h"
#include "registry.h"

struct status {
	struct tunnel_status tunnel;
	const struct server_conf *conf;
	const struct plan *plan;
	const struct registry *registry;
	const struct conntrack *conntrack; /* NULL: nothing is known */
	json_t *enrolment; /* NULL: nobody can enrol */
};

/* NULL: out of memory. */
json_t *status_json(const struct status *s);

/* ---- from that object; anything may be missing in it ---- */

/* As text. */
void status_print(const json_t *status, uint64_t now_s, FILE *to);

/* Clients, joined and invited, a line each; as a list for programs. */
void status_print_clients(const json_t *status, uint64_t now_s, FILE *to);
json_t *status_clients(const json_t *status);
bool status_has_client(const json_t *status, const char *name);

/* Forwards of one client, NULL: of all; as a list of objects with "name" and
 * "global_address" besides. */
void status_print_forwards(const json_t *status, const char *name, FILE *to);
json_t *status_forwards(const json_t *status, const char *name);

#endif
