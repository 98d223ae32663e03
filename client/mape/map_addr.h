/* map_addr: from a rule and a line's IPv6 prefix to what the line's CE is, and
 * from an IPv4 address and port to whose they are. RFC 7597 sections 5.2, 5.3
 * and 6. Pure. */
#ifndef UKAI_MAPE_MAP_ADDR_H
#define UKAI_MAPE_MAP_ADDR_H

#include "map_ports.h"
#include "map_rule.h"

struct map_ce {
	struct ip_prefix ipv6_prefix; /* End-user prefix, cut to what counts */
	struct ip_prefix ipv4; /* its address; shorter than /32: a prefix */
	struct map_ports ports; /* psid_len 0: whole address */
	struct ip_addr address; /* MAP address */
};

/* The CE of the line that line_prefix is of: an End-user prefix, or any longer
 * prefix or address inside of it. r passed map_rule_check(). Returns 0;
 * UK_EINVAL (outside of the rule, or too short: why says what is missing). */
int map_ce_make(struct map_ce *ce, const struct map_rule *r,
    const struct ip_prefix *line_prefix, char why[static MAP_RULE_WHY_MAX]);

/* The MAP address of whoever has this port of this IPv4 address under a rule
 * with which that can be computed (FMR). Returns 0; UK_ENOENT: outside of the
 * rule, a port that nobody has, or the PSID is not in the EA bits. */
int map_ce_locate(const struct map_rule *r, const uint8_t ipv4[4],
    uint16_t port, uint8_t address[16]);

#endif
