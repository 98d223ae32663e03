/* nat_state: what nat keeps between two calls. For nat*.c only. */
#ifndef UKAI_SERVER_NAT_STATE_H
#define UKAI_SERVER_NAT_STATE_H

#include "nat.h"

/* A limit's bucket holds what passes in a second, and this: a packet of 64 KiB
 * as the tunnel's device makes them must fit at any rate. */
#define NAT_BURST_BYTES 131072

/* What an item is an element of, or what else it is. Elements stand before the
 * objects that they name. */
enum nat_kind {
	NAT_FORWARD, /* address . protocol . port : client . port */
	NAT_FORWARD_RANGE, /* address . protocol . ports : client */
	NAT_TARGET, /* client . protocol . port, after translation */
	NAT_TARGET_RANGE, /* client . protocol . ports */
	NAT_EXCLUSIVE, /* address : client */
	NAT_OWNER, /* the same, where it is the relay's address */
	NAT_PAIR, /* address . client, of both */
	NAT_ROUTED, /* address */
	NAT_SOURCE, /* client's network : its global address */
	NAT_OWNER_SOURCE, /* network of who has the relay's address */
	NAT_RESERVED, /* ports, at the relay's address */
	NAT_LIMIT_UP, /* client's network : limit */
	NAT_LIMIT_DOWN, /* the same, of the other direction */
	NAT_COUNTED, /* client's network : chain */
	NAT_MEMBER, /* client's network, in the set of a group */
	NAT_ELEMENT_KINDS,
	NAT_LIMIT = NAT_ELEMENT_KINDS,
	NAT_COUNT, /* a chain that counts a client's connections */
	NAT_KINDS,
};

/* In the order of their bytes, items of one kind stand together, and in a kind
 * those of one group. Fields that a kind does not use are zero; an address is
 * in host order. */
struct nat_item {
	uint8_t kind;
	uint8_t protocol;
	uint8_t bits;
	uint8_t down; /* of NAT_LIMIT: toward the client */
	uint32_t group;
	uint32_t a, b; /* addresses */
	uint16_t first, last; /* ports */
	uint32_t value; /* target port, limit or count */
};

_Static_assert(sizeof(struct nat_item) == 24, "nat_item has no padding");

struct nat_items {
	struct nat_item *item;
	size_t n, cap;
};

/* What the table holds. The texts are the chains' rules. */
struct nat_held {
	struct nat_items items; /* in order */
	struct text shared, owner;
};

struct nat_member {
	const char *name;
	uint32_t group;
};

struct nat {
	struct nat_conf conf;
	struct nat_member *member; /* in the order of names, then groups */
	size_t members;
	struct nat_held now, next;
};

/* Everything that holds for v, into an empty h. Returns as nat_update(). */
int nat_collect(
    const struct nat *n, const struct nat_view *v, struct nat_held *h);
void nat_held_fini(struct nat_held *h);

/* Append the commands that lead from one to the other. */
void nat_difference(struct text *out, const char *table,
    const struct nat_held *from, const struct nat_held *to);

#endif
