/* check: what `check` looks at, for init too. */
#ifndef UKAI_SERVER_COMMANDS_CHECK_H
#define UKAI_SERVER_COMMANDS_CHECK_H

#include "server/plan.h"

struct check {
	struct plan plan; /* only when it is known */
	bool planned;
	bool running; /* a relay of this interface answers */
	bool startable; /* what is in the way does not keep it from starting */
};

/* Look at the host; nothing is changed. What stands in the way goes to d. */
void check_host(struct check *to, const struct server_conf *c, struct diag *d);

#endif
