/* ce_line: which line this host is the CE of: what [MapE] says, and what is
 * left open there from the operators' rules and the host's addresses. */
#ifndef UKAI_MAPE_CE_LINE_H
#define UKAI_MAPE_CE_LINE_H

#include "map_line.h"
#include "mape_conf.h"

struct ce_line {
	struct map_rules rules; /* the line's own first, and the others */
	struct map_rule rule;   /* the line's own, with a BR */
	struct map_ce ce;
};

/* May ask the operator (Rules = ask), for some seconds. Returns 0; UK_ENOENT:
 * no rule is about the host's addresses, or they are of several lines;
 * UK_EINVAL: the rules file, the line has no address or no BR of its own, or
 * another line has a port that is to be forwarded; the errors of netcfg.h. d
 * says what to do. */
int ce_line_find(struct ce_line *l, const struct mape_conf *c, struct diag *d);
void ce_line_fini(struct ce_line *l);

#endif
