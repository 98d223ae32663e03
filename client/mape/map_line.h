/* map_line: which MAP-E line an IPv6 address or prefix is of, and which lines
 * this host is on. */
#ifndef UKAI_MAPE_MAP_LINE_H
#define UKAI_MAPE_MAP_LINE_H

#include "map_addr.h"
#include "map_rules.h"

/* Why one of several lines is taken for the host's, best first. */
enum map_line_reason {
	MAP_LINE_CE_HERE, /* its MAP address is on this host */
	MAP_LINE_WAY_OUT, /* packets to its BR leave from an address of it */
	MAP_LINE_SEEN, /* an address of it is on this host; no more */
};

struct map_line {
	const struct map_rule *rule; /* borrowed from the list of rules */
	struct map_ce ce;
	/* Of the host's lines only: */
	struct ip_addr
	    seen; /* the host's address, FAMILY_NONE: not of a host */
	unsigned ifindex; /* that it is on */
	enum map_line_reason reason;
};

/* line: the End-user prefix, a longer one or an address inside of it. Returns
 * 0; UK_ENOENT: no rule is about it; UK_EINVAL: too short to say, why says
 * what is missing. Pure. */
int map_line_find(struct map_line *l, const struct map_rules *rules,
    const struct ip_prefix *line, char why[static MAP_RULE_WHY_MAX]);

/* Zero-initialised means empty. */
struct map_lines {
	struct map_line *item;
	size_t n, cap;
	unsigned addresses; /* global IPv6 addresses that were looked at */
};

#define MAP_LINES_MAX 64

/* Add the line of a host's address, if any rule is about it and it is not in
 * the list; more than MAP_LINES_MAX are left out. Pure. Returns 0;
 * UK_ENOMEM. */
int map_lines_add(struct map_lines *l, const struct map_rules *rules,
    const struct ip_addr *a, unsigned ifindex);

/* All lines of this host, the one to take first. l->n 0: none. Returns 0;
 * UK_ENOMEM; the errors of netcfg.h, told to d. */
int map_lines_of_host(
    struct map_lines *l, const struct map_rules *rules, struct diag *d);
void map_lines_fini(struct map_lines *l);

#endif
