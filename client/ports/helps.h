/* helps: does it help here to draw ephemeral ports from the line's set? Pure.
 *
 * It is needed where the host itself sends with the line's IPv4 address and
 * nothing translates: the BR drops other ports (RFC 7597 8.1). It spares a
 * gateway that keeps source ports some rewriting. Behind an ordinary gateway,
 * which gives every flow a port of the set anyway, it gives nothing, and the
 * host would only have fewer ports. It never gives the line more of them. */
#ifndef UKAI_PORTS_HELPS_H
#define UKAI_PORTS_HELPS_H

#include "core/endpoint.h"

/* What the host knows of its own way to the IPv4 internet. */
struct ports_path {
	struct ip_addr source; /* FAMILY_NONE: there is no way, or not known */
	bool known; /* else: a host that is not this one */
	bool by_own_ce; /* by the interface of ukai's own CE */
	bool by_tunnel; /* by a tunnel of ukai */
	bool keeps_ports; /* the user says so of the NAPT in front */
};

struct ports_help {
	bool helps;
	char why[320]; /* a sentence or two, for a person */
};

/* line: the line's IPv4 address; FAMILY_NONE: not known. */
void ports_help(struct ports_help *h, const struct ports_path *path,
    const struct ip_addr *line);

#endif
