#include "sockaddr.h"

#include <errno.h>
#include <string.h>

void
sockaddr_load(struct endpoint *e, const union sockaddr_any *a)
{
	*e = (struct endpoint){0};
	if (a->sa.sa_family == AF_INET6) {
		e->addr.family = FAMILY_V6;
		memcpy(e->addr.b, &a->v6.sin6_addr, 16);
		e->port = ntohs(a->v6.sin6_port);
		e->scope_id = a->v6.sin6_scope_id;
		return;
	}
	e->addr.family = FAMILY_V4;
	memcpy(e->addr.b, &a->v4.sin_addr, 4);
	e->port = ntohs(a->v4.sin_port);
}

socklen_t
sockaddr_store(union sockaddr_any *a, const struct endpoint *e)
{
	if (e->addr.family == FAMILY_V6) {
		a->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
		    .sin6_port = htons(e->port),
		    .sin6_scope_id = e->scope_id};
		memcpy(&a->v6.sin6_addr, e->addr.b, 16);
		return sizeof(a->v6);
	}
	a->v4 = (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_port = htons(e->port)};
	memcpy(&a->v4.sin_addr, e->addr.b, 4);
	return sizeof(a->v4);
}

bool
sockaddr_family_missing(int err)
{
	return err == EAFNOSUPPORT || err == EADDRNOTAVAIL ||
	       err == EPROTONOSUPPORT;
}
