/* ce_line: which line this host is the CE of: what [MapE] says, and what is
 * left open there from the operators' rules and the host's addresses. */
#ifndef UKAI_MAPE_CE_LINE_H
#define UKAI_MAPE_CE_LINE_H

#include "map_line.h"
#include "mape_conf.h"

struct ce_line {
	struct map_rules rules; /* of every line that could be this one */
	struct map_rule rule;   /* the line's own, with a BR */
	/* With Mesh, those of the line's MAP domain, which are FMRs: rules with
	 * the same BR. Another operator's CE hears its own BR alone. */
	struct map_rules domain;
	struct map_ce ce;
};

/* May ask the operator (Rules = ask), for some seconds. Returns 0; UK_ENOENT:
 * no rule is about the host's addresses, or they are of several lines;
 * UK_EINVAL: the rules file, the line has no address or no BR of its own, or
 * another line has a port that is to be forwarded; the errors of netcfg.h. d
 * says what to do. */
int ce_line_find(struct ce_line *l, const struct mape_conf *c, struct diag *d);
void ce_line_fini(struct ce_line *l);

/* Of the host's lines the one that it is on now, where that is another one than
 * l: packets to its BR leave from an address of it. NULL: none. Pure. */
const struct map_line *ce_line_other(
    const struct ce_line *l, const struct map_lines *host);
/* Is there such a one: has the operator given another prefix (RFC 7596 5.1)? */
bool ce_line_moved(const struct ce_line *l, struct ip_prefix *to);

#endif
