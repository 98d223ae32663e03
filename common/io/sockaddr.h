/* sockaddr: endpoints as the socket calls want and give them. Pure. */
#ifndef UKAI_SOCKADDR_H
#define UKAI_SOCKADDR_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "core/endpoint.h"

union sockaddr_any {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Of AF_INET or AF_INET6. The local side of e becomes "the kernel chooses". */
void sockaddr_load(struct endpoint *e, const union sockaddr_any *a);
/* The remote side of e, which has a family. Returns the length. */
socklen_t sockaddr_store(union sockaddr_any *a, const struct endpoint *e);

/* Does the errno of socket(2) or bind(2) say that the host lacks the address
 * family? */
bool sockaddr_family_missing(int err);

#endif
