/* netcfg: links, addresses, routes and rules of the host. Linux: rtnetlink by
 * libmnl. Each call is one request and its acknowledgement. Nothing is
 * remembered here: who changes something that would outlive the process
 * writes it to the undo journal first (host/undo.h does that for rules). */
#ifndef UKAI_NETCFG_H
#define UKAI_NETCFG_H

#include "core/diag.h"
#include "core/endpoint.h"

struct netcfg;

/* Originator number (rtnetlink's "protocol") of every route and rule made
 * here; `ip route` and `ip rule` show it. Rules are removed only when they
 * carry it. Not assigned to anybody in rtnetlink.h. */
#define NETCFG_PROTOCOL 117

/* Returns 0; UK_ESYS, UK_ENOMEM. */
int netcfg_open(struct netcfg **n, struct diag *d);
void netcfg_close(struct netcfg *n);

/* All below return 0 or: UK_EPERM, UK_ENOENT (no such link, address, route),
 * UK_EEXIST, UK_EINVAL, UK_ESYS; a sentence that names the object and the
 * kernel's words is put in d. */

/* Index of a link; UK_ENOENT. */
int netcfg_link_index(struct netcfg *n, const char *name, unsigned *index);
int netcfg_link_set(struct netcfg *n, unsigned index, bool up, uint32_t mtu,
    struct diag *d); /* up false: taken down; mtu 0: leave */
int netcfg_link_mtu(struct netcfg *n, unsigned index, uint32_t *mtu);

struct netcfg_link {
	bool running; /* up, with a carrier, and ready to be used */
	bool neighbours; /* Ethernet addresses, and discovery of them; not so
	                    on PPP, TUN and the loopback */
	uint8_t mac[6]; /* zero without neighbours */
	uint32_t mtu;
	uint32_t carrier_changes; /* counted by the kernel */
};
int netcfg_link_get(struct netcfg *n, unsigned index, struct netcfg_link *l);

/* The address keeps its host bits: bits is the prefix length. No DAD for v6
 * (IFA_F_NODAD); no_prefix_route: IFA_F_NOPREFIXROUTE. */
int netcfg_addr_add(struct netcfg *n, unsigned index, const struct ip_addr *a,
    uint8_t bits, bool no_prefix_route, struct diag *d);

/* An address for packets of our own making: no prefix route, and the preferred
 * lifetime is 0, so that the kernel takes it as a source only where there is no
 * other of that scope (RFC 6724 5, rule 3). It answers for it, after duplicate
 * address detection where the link has that. v6 only. */
int netcfg_addr_add_apart(struct netcfg *n, unsigned index,
    const struct ip_ifaddr *a, struct diag *d);
int netcfg_addr_remove(struct netcfg *n, unsigned index,
    const struct ip_ifaddr *a, struct diag *d);

enum netcfg_addr_state {
	NETCFG_ADDR_NONE, /* not there */
	NETCFG_ADDR_TENTATIVE, /* being checked for a duplicate */
	NETCFG_ADDR_DUPLICATE, /* somebody else on the link has it */
	NETCFG_ADDR_READY,
};
struct netcfg_addr {
	enum netcfg_addr_state state; /* NONE: the rest says nothing */
	uint8_t bits;
	bool apart; /* as netcfg_addr_add_apart() makes them: by our number and
	               the lifetime, or by the lifetime alone before Linux 5.18,
	               which keeps no number */
};
/* What has become of an address on a link, whoever put it there. */
int netcfg_addr_get(struct netcfg *n, unsigned index, const struct ip_addr *a,
    struct netcfg_addr *out);

struct netcfg_route {
	struct ip_prefix dst;
	unsigned ifindex;
	uint32_t table; /* 0: main */
	uint32_t mtu;   /* 0: none */
};
int netcfg_route_add(
    struct netcfg *n, const struct netcfg_route *r, struct diag *d);
int netcfg_route_remove(
    struct netcfg *n, const struct netcfg_route *r, struct diag *d);

/* Answer ARP (v4) or neighbour solicitations (v6) for an address on a link,
 * on behalf of who has it behind another one, as `ip neigh add proxy` does.
 * An entry that is there already is no error to the kernel. */
int netcfg_neigh_proxy_add(struct netcfg *n, unsigned index,
    const struct ip_addr *a, struct diag *d);
int netcfg_neigh_proxy_remove(struct netcfg *n, unsigned index,
    const struct ip_addr *a, struct diag *d);
/* Is there such an entry, whoever made it? */
int netcfg_neigh_proxy_has(struct netcfg *n, unsigned index,
    const struct ip_addr *a, bool *has);

/* A policy rule. Fields that are zero or FAMILY_NONE do not match on
 * anything. */
struct netcfg_rule {
	uint8_t family;      /* FAMILY_V4 or FAMILY_V6 */
	uint32_t priority;
	uint32_t table;
	uint32_t mark, mask; /* mask 0: no mark condition */
	bool invert;         /* "not": the conditions must not hold */
	struct ip_prefix from; /* addr.family FAMILY_NONE: any */
	struct ip_prefix to;
	int suppress_prefixlength; /* -1: none */
	char iif[16]; /* link that the packet came in by; "": any */
};
int netcfg_rule_add(
    struct netcfg *n, const struct netcfg_rule *r, struct diag *d);
int netcfg_rule_remove(
    struct netcfg *n, const struct netcfg_rule *r, struct diag *d);

/* The lowest priority of the rules that somebody else has made, but 0, which is
 * the kernel's own. UK_ENOENT: there is none. */
int netcfg_rule_first(struct netcfg *n, uint8_t family, uint32_t *priority);

/* Does any rule or route use this table? */
int netcfg_table_used(struct netcfg *n, uint32_t table, bool *used);

/* The kernel's choice toward dst (with mark): link, source address, path MTU
 * of the route or link. UK_ENOENT: no route. */
struct netcfg_path {
	unsigned ifindex;
	struct ip_addr src;
	uint32_t mtu;
};
int netcfg_path(struct netcfg *n, const struct ip_addr *dst, uint32_t mark,
    struct netcfg_path *out);

/* Visit the host's addresses; stop when visit returns false. visit must not
 * use n. */
int netcfg_addr_each(struct netcfg *n,
    bool (*visit)(void *arg, unsigned ifindex, const struct ip_addr *a,
        uint8_t bits),
    void *arg);

/* Visit the next hops of the default routes in main, of both families:
 * gateways that the host sends to when no other route fits. One of IPv4 may be
 * an IPv6 address; one that several routes have is told for each. As above. */
int netcfg_gateway_each(struct netcfg *n,
    bool (*visit)(void *arg, const struct ip_addr *gateway), void *arg);

/* Visit the destinations of the host's unicast routes of a family, in every
 * table but the kernel's own of local addresses; as above. */
int netcfg_route_each(struct netcfg *n, uint8_t family,
    bool (*visit)(void *arg, const struct ip_prefix *dst), void *arg);

#endif
