/* status: what a running relay tells about itself: the object and the text of
 * io/tunnel_status.h, and besides
 *
 *   {"pid", "address", "pool", "global_address", "uplink",
 *    "client_to_client", "peers": [{"name"}]}
 *
 * "uplink" is null without a route to the internet, "name" for a peer that
 * the file gives none. Pure. */
#ifndef UKAI_SERVER_STATUS_H
#define UKAI_SERVER_STATUS_H

#include "conf.h"
#include "io/tunnel_status.h"
#include "plan.h"

struct status {
	struct tunnel_status tunnel;
	const struct server_conf *conf;
	const struct plan *plan;
};

/* NULL: out of memory. */
json_t *status_json(const struct status *s);

/* As text. Anything may be missing in the object. */
void status_print(const json_t *status, uint64_t now_s, FILE *to);

#endif
