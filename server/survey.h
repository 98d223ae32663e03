/* survey: what else is on this host that a relay should know of: listeners on
 * the ports that clients' flows might get, firewalls that drop what the relay
 * forwards. Only looks; everything is a warning. */
#ifndef UKAI_SERVER_SURVEY_H
#define UKAI_SERVER_SURVEY_H

#include "conf.h"

/* N1: a client's flow from a port on which this host listens could take over
 * that service's visitors: such ports belong into ReservedPorts. */
void survey_listeners(const struct server_conf *c, struct diag *d);

/* Is a UDP socket of this host bound to the port? */
bool survey_udp_port_used(uint16_t port);

/* nftables chains of others (iptables-nft too) whose policy is to drop. */
void survey_firewalls(const struct server_conf *c, struct diag *d);

#endif
