/* conntrack: what the kernel's connection tracking knows of the clients: how
 * many flows and ports of the translation each has in use; and forgetting the
 * flows of a client that was revoked or goes another way. Linux: ctnetlink by
 * libnetfilter_conntrack. IPv4, as what is in the tunnel.
 *
 * The kernel has no index by client: each look is a walk over all its flows,
 * a few us each. Walks are made by libuv's worker threads, on a socket of
 * their own, so that no packet waits for one; counting takes at most a 50th of
 * a CPU's time. Everything here is for the loop's thread, except what is
 * called pure.
 *
 * A kernel that cannot tell (no ctnetlink, no permission) is complained about
 * once in the log; from then on nothing is known. */
#ifndef UKAI_SERVER_CONNTRACK_H
#define UKAI_SERVER_CONNTRACK_H

#include <uv.h>

#include "core/endpoint.h"

struct conntrack;

/* NULL: no memory. Nothing is counted yet. */
struct conntrack *conntrack_new(uv_loop_t *loop);
/* What a thread still does ends by itself in later turns of the loop. NULL:
 * no-op. */
void conntrack_free(struct conntrack *c);

/* Count the flows of all addresses in these prefixes, which may overlap, from
 * now on: at once, and then every 10 s or less often; those of an earlier call
 * no more from the next time on. Prefixes of IPv6 have no flows here. Returns
 * 0; UK_ENOMEM: as before. */
int conntrack_watch(
    struct conntrack *c, const struct ip_prefix *prefix, size_t n);

struct conntrack_use {
	uint64_t flows; /* to and from it */
	/* Different ports, TCP's and UDP's apart, that its own flows were
	 * given at another address. */
	uint64_t nat_ports;
};

/* What the last count found for these prefixes together, which must neither
 * overlap nor reach beyond what is watched. False: nothing is known (yet). */
bool conntrack_look(const struct conntrack *c, const struct ip_prefix *prefix,
    size_t n, struct conntrack_use *use);

/* Delete every flow that comes from these prefixes, or that goes there after
 * translation: soon, in a thread. The rules and the peer must be changed
 * before: else the next packet makes the flow again as it was. A failure goes
 * to the log. Returns 0; UK_ENOMEM. */
int conntrack_forget(
    struct conntrack *c, const struct ip_prefix *prefix, size_t n);
/* Ports that visitors call, of UDP. */
struct conntrack_ports {
	uint32_t address; /* in host order */
	uint16_t first, last;
};
/* Delete every flow of UDP whose first packet went to one of these ports
 * before translation, wherever that led to: as long as a visitor goes on, it
 * never ends by itself, and would never reach whom the port belongs to now.
 * Otherwise as above. */
int conntrack_forget_ports(
    struct conntrack *c, const struct conntrack_ports *p, size_t n);
/* Is a thread still at it? */
bool conntrack_is_forgetting(const struct conntrack *c);

/* ---- pure ---- */

/* Addresses in host order, for quick comparison. */
struct conntrack_range {
	uint32_t first, last;
};
struct conntrack_ranges {
	struct conntrack_range *item; /* in order, none touches another */
	size_t n;
};
/* Add prefixes; those of IPv6 are left out. A zero struct is empty. Returns 0;
 * UK_ENOMEM: as before. */
int conntrack_ranges_add(
    struct conntrack_ranges *r, const struct ip_prefix *prefix, size_t n);
void conntrack_ranges_fini(struct conntrack_ranges *r); /* zero afterwards */
bool conntrack_ranges_have(const struct conntrack_ranges *r, uint32_t address);

struct conntrack_flow {
	uint32_t from; /* source of its first packet */
	uint32_t to; /* destination of it, after translation */
	uint32_t answers_to; /* source of it, after translation */
	uint16_t answers_port;
	uint8_t protocol;
};

/* Flows while they are counted. A zero struct is empty. */
struct conntrack_tally {
	uint64_t *item; /* an address, and a port or none */
	size_t n, cap;
};
#define CONNTRACK_TALLY_MAX (1U << 23)
/* Returns 0; UK_ENOMEM; UK_ELIMIT: that is more than CONNTRACK_TALLY_MAX. */
int conntrack_tally_add(struct conntrack_tally *t,
    const struct conntrack_ranges *watched, const struct conntrack_flow *f);
void conntrack_tally_fini(struct conntrack_tally *t); /* zero afterwards */

struct conntrack_entry {
	uint32_t address, flows, nat_ports;
};
/* One for each address that has flows, in order. */
struct conntrack_table {
	struct conntrack_entry *item;
	size_t n;
};
/* The tally's items change places. Returns 0; UK_ENOMEM. */
int conntrack_table_make(
    struct conntrack_table *table, struct conntrack_tally *t);
void conntrack_table_fini(struct conntrack_table *t); /* zero afterwards */
/* Add what is in the prefix to use. */
void conntrack_table_look(const struct conntrack_table *t,
    const struct ip_prefix *prefix, struct conntrack_use *use);

#endif
