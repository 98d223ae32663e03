/* routes: which routes and policy rules a configuration needs.
 *
 * All tunnelled prefixes go into a table of their own, which everything but
 * the tunnel's own datagrams (by their mark, R6) looks at before main: a more
 * specific route that a DHCP server puts into main does not get around it
 * (R3). What stays on the line is what LocalNetworks names, nothing else
 * (R5). With "Table = N" the routes go there and the rest is the user's.
 *
 * What answers a connection that came in through the tunnel goes back through
 * it, wherever the routes lead: the firewall (firewall.h) marks such packets,
 * and a rule takes them to a second table, which has nothing but a default
 * route into the tunnel. */
#ifndef UKAI_ROUTES_H
#define UKAI_ROUTES_H

#include "conf.h"
#include "host/undo.h"

/* Tables of our own: from 51820, as wg-quick(8) counts. The n-th of them and
 * the n-th of those for answers belong to one tunnel. */
#define ROUTES_TABLE_FIRST 51820
#define ROUTES_TABLES 255
#define ROUTES_ANSWERS_FIRST 52820

/* The bits of marks, of packets and of connections, that name the tunnel which
 * a connection came in by: n + 1. The others are left to others; the top byte
 * is the one that common software uses least. */
#define ROUTES_ANSWER_MASK UINT32_C(0xff000000)
#define ROUTES_ANSWER_SHIFT 24

/* Rules' priorities; main's is 32766. Answers come before everything but the
 * host's own addresses: their rule takes nothing else. Then what stays on the
 * line, at a place for each table, so that two tunnels may name the same
 * network. Of several tunnels those for everything come last. The answers' goes
 * further ahead where it has to (routes_go_first()). */
#define ROUTES_PRIORITY_ANSWER 5000
#define ROUTES_PRIORITY_LOCAL 19000
#define ROUTES_PRIORITY_SOME 20001
#define ROUTES_PRIORITY_ALL 20002

struct routes {
	uint32_t table; /* 0: no routes */
	uint32_t mark; /* of our datagrams; 0: none */
	struct ip_prefix *prefix; /* in order, each once */
	size_t n;
	struct netcfg_rule *rule; /* to be added in this order */
	size_t nrules;
	bool src_valid_mark; /* net/ipv4/conf/all/src_valid_mark = 1 */
	bool all_v4, all_v6; /* a default route, in one or in two halves */
	/* 0: answers take the host's routes. That is so without "Table =
	 * auto", and when FwMark has bits of ROUTES_ANSWER_MASK. */
	uint32_t answer_table;
	uint32_t answer_mark; /* in the bits of ROUTES_ANSWER_MASK */
	bool answer_v4, answer_v6; /* the interface has such an address */
};

/* The first of our tables that nobody uses, nor that for its answers. Returns
 * 0; UK_ELIMIT, or the errors of netcfg_table_used(), told to d. */
int routes_free_table(struct netcfg *n, uint32_t *table, struct diag *d);

/* Pure. ifname: client_name_ok(). free_table, one of our tables, is used with
 * "Table = auto". Returns 0; UK_ENOMEM. */
int routes_plan(struct routes *r, const struct client_conf *c,
    const char *ifname, uint32_t free_table);
void routes_fini(struct routes *r); /* a zero struct is fine */

/* Would the plan take a network that is on the host's own link into the
 * tunnel, unasked? Pure. */
bool routes_take(const struct routes *r, const struct client_conf *c,
    const struct ip_ifaddr *own, struct ip_prefix *network);
/* Warn of each such network: its hosts are out of reach by the link. */
int routes_warn(const struct routes *r, const struct client_conf *c,
    struct netcfg *n, struct diag *d);

/* The interface must be up. The routes go with it. Returns 0 or the errors of
 * netcfg.h. */
int routes_add(
    const struct routes *r, struct netcfg *n, unsigned ifindex, struct diag *d);
/* Add those again that somebody has removed since: `ip link set down` and up,
 * `ip rule flush`, systemd-networkd when it starts. The journal has them
 * already. Nothing without "Table = auto". Returns whether anything was
 * missing. */
bool routes_mend(const struct routes *r, struct netcfg *n, unsigned ifindex);
/* Are packets that are marked for the tunnel taken elsewhere by somebody else's
 * rule before ours? wg-quick(8) and `ip rule add` without a priority put theirs
 * before all that are there. Then ours go before that one. Nothing without
 * "Table = auto". Returns 0, all is well; 1: they went; UK_ELIMIT: there is no
 * place before it; or the errors of netcfg.h and undo.h. */
int routes_go_first(struct routes *r, struct undo *u, struct netcfg *n,
    unsigned ifindex, struct diag *d);
/* Rules and sysctl, through the journal. */
int routes_add_rules(
    const struct routes *r, struct undo *u, struct netcfg *n, struct diag *d);

#endif
