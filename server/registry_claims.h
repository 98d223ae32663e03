/* registry_claims: who may have what: addresses in the pool, global addresses
 * and ports, held against what all other clients have and the host needs. Only
 * looks. For registry*.c only. Returns and errors as in registry.h. */
#ifndef UKAI_SERVER_REGISTRY_CLAIMS_H
#define UKAI_SERVER_REGISTRY_CLAIMS_H

#include "registry.h"
#include "store.h"

struct registry {
	struct registry_conf conf;
	struct ip_prefix pool;
	struct store *store;
	struct client **item;
	size_t n, cap;
	uint32_t next_host; /* in the pool: addresses are used in turn */
	unsigned unnamed; /* [Peer]s that were given a name */

	/* The change that is open. */
	bool open, kept;
	size_t at; /* of before, or of after when there is no before */
	struct client *before, *after;
};

/* Do the clients that the file holds fit relay.conf? And where do addresses go
 * on from? */
int claims_pool(struct registry *r, struct diag *d);
/* The next one that is free. */
int claims_address(struct registry *r, struct ip_prefix *out, struct diag *d);
/* May c have a network that it asks for? */
int claims_network(const struct registry *r, const struct client *c,
    const struct ip_prefix *p, struct diag *d);
/* Has c one address that visitors can be led to? */
int claims_single(const struct client *c, struct diag *d);
/* May c have a, exclusive or routed? */
int claims_global(const struct registry *r, const struct client *c,
    enum client_way way, const struct ip_addr *a, struct diag *d);
/* May c have these ports of a? Its own forwards do not count. */
int claims_forward(const struct registry *r, const struct client *c,
    const struct ip_addr *a, const struct client_forward *f, struct diag *d);

#endif
