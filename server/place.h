/* place: this host as clients' wishes are held against it: its addresses, its
 * networks, and the ports that it needs itself. Looks, changes nothing. What
 * it is asked for in a row it looks up once in PLACE_HOLD. Memory: caller's. */
#ifndef UKAI_SERVER_PLACE_H
#define UKAI_SERVER_PLACE_H

#include "conf.h"
#include "host/listeners.h"
#include "host/netcfg.h"

#define PLACE_HOLD (100 * UK_NS_PER_MS)

struct place {
	const struct server_conf *conf;
	struct netcfg *netcfg;
	struct listeners listeners; /* as of at_ns */
	struct port_set services; /* of these, without what is transient */
	uint64_t at_ns; /* 0: not read yet */
};

void place_init(struct place *p, const struct server_conf *c);

/* These take a struct place, for struct registry_conf. */

/* Is it an address of this host? */
bool place_has(void *place, const struct ip_addr *a);
/* Why nobody can be given the address as his own: this host's router has it,
 * or it stands for a network. NULL: nothing speaks against it. */
const char *place_unroutable(void *place, const struct ip_addr *a);
/* What this host needs the port for; NULL: for nothing. */
const char *place_reserved(void *place, uint8_t protocol, uint16_t port);

/* Ports that programs of this host hold, of both protocols. A UDP port out of
 * those that the kernel gives to whoever waits for an answer counts when it was
 * there at an earlier look, too: WireGuard's usual port is one of them (N1). */
const struct port_set *place_services(struct place *p);
/* Append what place_reserved() would name: "22, 80, 443", bounded. */
void place_kept(struct place *p, struct text *out);

#endif
