/* plan: what a configuration comes to on this host, found out without
 * changing anything and without sending a packet. */
#ifndef UKAI_SERVER_PLAN_H
#define UKAI_SERVER_PLAN_H

#include "conf.h"
#include "host/netcfg.h"

struct plan {
	struct ip_addr global; /* what clients are translated to */
	bool global_found; /* from the route, not from the file */
	unsigned uplink; /* interface to the internet; 0: no route */
	char uplink_name[16];
	size_t ports; /* that clients' flows may get */
	/* Where clients reach this host over IPv6: a global address of it;
	 * FAMILY_NONE: there is none. */
	struct ip_addr v6;
};

/* An address for which only the route to the internet can hold. */
extern const struct ip_addr plan_somewhere;

/* Warnings about what is probably not meant go to d. Returns 0; with an
 * error in d: UK_ENOENT (no address to translate to), UK_EBUSY (the pool is
 * in use on this host), UK_ELIMIT (every port is reserved), UK_ESYS,
 * UK_ENOMEM. */
int plan_make(struct plan *p, const struct server_conf *c, struct netcfg *n,
    struct diag *d);

/* Addresses that are translated again on their way to the internet, or never
 * get there (RFC 6890). */
bool plan_is_private(const struct ip_addr *a);

#endif
