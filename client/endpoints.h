/* endpoints: where the peers are: the configuration's addresses, and for its
 * names what the look-ups say, at start and again when handshakes stop. A
 * literal needs no DNS (R7). */
#ifndef UKAI_ENDPOINTS_H
#define UKAI_ENDPOINTS_H

#include "conf.h"
#include "host/netcfg.h"
#include "io/tunnel.h"

struct endpoints;

/* Look all names up, running the loop for some seconds at most. What is not
 * found is said once and looked up again later. conf and n must stay as long
 * as the object. Returns 0; UK_ENOENT: an Endpoint names an interface that is
 * not there; UK_ENOMEM, UK_ESYS. */
int endpoints_open(struct endpoints **e, uv_loop_t *loop,
    const struct client_conf *conf, struct netcfg *n, uint32_t mark,
    struct diag *d);
void endpoints_close(struct endpoints *e); /* NULL: no-op */

/* Of the i-th peer; FAMILY_NONE: not known (yet). */
const struct endpoint *endpoints_get(const struct endpoints *e, size_t i);

/* The peers are in the device, with these endpoints: keep watch over them. */
void endpoints_watch(struct endpoints *e, struct tunnel *t);

/* The address to try: the one after the current one in a list that is in the
 * order of preference, and after the last the first again. Pure. n > 0. */
const struct ip_addr *endpoints_choose(
    const struct ip_addr *a, size_t n, const struct ip_addr *current);

#endif
