/* sock_destroy: end TCP connections of this host from outside of the programs
 * that have them. Linux: sock_diag; needs CAP_NET_ADMIN, and a kernel with
 * CONFIG_INET_DIAG_DESTROY. Threads: any, one at a time. */
#ifndef UKAI_SOCK_DESTROY_H
#define UKAI_SOCK_DESTROY_H

#include "flows.h"

struct sock_destroy;

/* Returns 0; UK_ESYS (no sock_diag), UK_ENOMEM. */
int sock_destroy_open(struct sock_destroy **out);
void sock_destroy_close(struct sock_destroy *s); /* NULL: no-op */

/* End the connection from t's source, which is of this host, to t's
 * destination: its peer gets a reset, its program ECONNABORTED. Never a
 * listening socket. Returns 0; UK_ENOENT: no such connection; UK_EINVAL: not a
 * tuple of TCP, or the kernel cannot do it; UK_EPERM, UK_ESYS. */
int sock_destroy_tcp(struct sock_destroy *s, const struct flow_tuple *t);

#endif
