/* relay: puts a running relay together: the tunnel, the host's settings and
 * firewall, the control socket. Everything that it changes is undone by
 * relay_close(); what a kill leaves behind, by the next relay_open() or by
 * `ukai-relay restore`. Loop thread only. */
#ifndef UKAI_SERVER_RELAY_H
#define UKAI_SERVER_RELAY_H

#include <uv.h>

#include "io/tunnel.h"
#include "plan.h"

struct relay;

/* c must outlive the relay and is only read. Warnings go to d also when it
 * succeeds. Returns 0; UK_EBUSY (interface, port, pool or journal in use),
 * UK_EPERM, UK_ENOENT, UK_EINVAL, UK_ELIMIT, UK_ESYS, UK_ENOMEM, with a
 * sentence in d. */
int relay_open(struct relay **r, uv_loop_t *loop, const struct server_conf *c,
    struct diag *d);
/* What could not be undone is told to d. NULL: no-op. */
void relay_close(struct relay *r, struct diag *d);

/* It ended because somebody deleted its interface. */
bool relay_lost_interface(const struct relay *r);

struct tunnel *relay_tunnel(const struct relay *r);
size_t relay_clients(const struct relay *r); /* that have joined */

#endif
