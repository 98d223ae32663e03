/* resolve: host names to addresses, by c-ares on the loop; nothing blocks.
 * /etc/hosts, then the resolvers that /etc/resolv.conf names when this is
 * opened: open it before the DNS servers of the tunnel are set, which cannot
 * be asked for the way to themselves. Questions carry the tunnel's mark, so
 * that they take the line and not a dead tunnel. */
#ifndef UKAI_RESOLVE_H
#define UKAI_RESOLVE_H

#include <uv.h>

#include "core/diag.h"
#include "core/endpoint.h"

struct resolve;

/* Addresses taken from one answer, at most. */
#define RESOLVE_MAX 16

/* Returns 0; UK_ENOMEM; UK_ESYS. */
int resolve_open(
    struct resolve **r, uv_loop_t *loop, uint32_t mark, struct diag *d);
/* Questions that are open are forgotten without a call. NULL: no-op. */
void resolve_close(struct resolve *r);

/* n == 0: not found; why says so in words. The addresses are in the order in
 * which they are to be tried: IPv6 before IPv4 (design decision 2), else as
 * answered. */
typedef void resolve_fn(
    void *arg, const struct ip_addr *a, size_t n, const char *why);

/* Ask for host's addresses. found is called once, perhaps before this
 * returns. */
void resolve_ask(
    struct resolve *r, const char *host, resolve_fn *found, void *arg);

/* The file in resolv.conf(5)'s form that names the line's own resolvers. */
const char *resolve_conf_path(void);

#endif
