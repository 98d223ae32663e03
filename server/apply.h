/* apply: makes this host agree with the registry: peers of the WireGuard
 * device, firewall rules, routes of routed addresses, and connections of
 * clients that go another way now. Loop thread only. */
#ifndef UKAI_SERVER_APPLY_H
#define UKAI_SERVER_APPLY_H

#include "conntrack.h"
#include "host/hostfw.h"
#include "host/undo.h"
#include "io/tunnel.h"
#include "place.h"
#include "nat.h"
#include "plan.h"
#include "registry.h"

/* Borrowed. */
struct apply {
	const struct plan *plan;
	struct registry *registry;
	struct tunnel *tunnel;
	struct netcfg *netcfg;
	struct undo *undo;
	struct hostfw *fw;
	struct nat *nat;
	struct conntrack *conntrack;
	struct place *place;
};

/* ---- at start, in this order ---- */

/* Give the device every client that has joined. */
int apply_peers(const struct apply *a, struct diag *d);
/* Give the rules every client; also later, when this host listens on other
 * ports than before. Quick when there is nothing to change. */
int apply_rules(const struct apply *a, struct diag *d);
/* Routes to routed addresses; the link is up. */
int apply_routes(const struct apply *a, struct diag *d);

/* Count every client's flows from now on. Returns 0; UK_ENOMEM. */
int apply_counting(const struct apply *a);

/* ---- at a change ---- */

/* The registry's memory says already what is after. After an error the host
 * may agree with neither: withdraw the change, and call it again with before
 * and after changed places. */
int apply_change(
    const struct apply *a, const struct registry_change *c, struct diag *d);
/* When it is kept: end the connections that it ends, and count those of new
 * addresses. */
void apply_flows(const struct apply *a, const struct registry_change *c);

#endif
