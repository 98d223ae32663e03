/* provision: this line's MAP-E rules, as its operator's server tells them,
 * kept in a file for as long as the answer says. Blocks while it asks; no
 * state of its own; any thread, but one at a time on one file. */
#ifndef UKAI_MAPE_PROVISION_H
#define UKAI_MAPE_PROVISION_H

#include "hb46_ask.h"

/* In the state directory (client_state_path()). */
#define PROVISION_FILE "map-e.answer"

struct provision_setup {
	const char *path; /* where the answer is kept; NULL: nowhere */
	uint64_t now_s; /* since the Unix epoch */
	bool fresh; /* ask, even if the kept answer is good */
	struct hb46_question question; /* token: from the kept answer */
};

struct provision {
	struct hb46 answer;
	uint64_t asked_s; /* when it was given */
	bool kept; /* it is the file's */
	bool expired; /* and too old, but nobody answers now */
};

/* An answer is kept for the line that it was given to: when our address toward
 * the server is another /56's, the line is asked anew. A file that makes no
 * sense, or cannot be read or written, is a warning. Returns 0; errors of
 * hb46_ask() and hb46_parse(), each told to d. */
int provision_get(
    struct provision *p, const struct provision_setup *s, struct diag *d);
void provision_fini(struct provision *p);

#endif
