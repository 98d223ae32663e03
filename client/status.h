/* status: what a running client tells about itself: the object and the text
 * of io/tunnel_status.h, and besides
 *
 *   {"name", "table", "answer_table", "routes": [], "addresses": [],
 *    "dns": [], "dns_search": [], "map_e", "policy", "peers": [{"host"}]}
 *
 * "name" is the interface's; "host" the endpoint's name or null; "table" 0:
 * no routes are made; "answer_table" 0: answers take the host's routes;
 * "routes" null: the peers' "allowed_ips"; "map_e" null: this host is not the
 * CE of its line, else the object of mape/mape_status.h; "policy" null: there
 * is none, else the object of policy/policy.h. Pure. */
#ifndef UKAI_STATUS_H
#define UKAI_STATUS_H

#include "conf.h"
#include "io/tunnel_status.h"
#include "mape/mape_status.h"

struct status {
	struct tunnel_status tunnel;
	uint32_t table, answer_table;
	const struct client_conf *conf;
	const struct mape_stats *mape; /* NULL: none */
	json_t *policy; /* taken; NULL: none */
};

/* NULL: out of memory. */
json_t *status_json(const struct status *s);

/* One tunnel as text. Anything may be missing in the object. */
void status_print(const json_t *tunnel, uint64_t now_s, FILE *to);

#endif
