/* control: a running client's socket, NAME.sock in the run directory (C7).
 * One request is one line:
 *
 *   status   the object of status.h on one line, or one with "error", then
 *            an empty line
 *   stop     no answer; the connection ends when the host is restored
 *   reload   the policy's file is loaded again, after a reload that runs has
 *            ended: {"error": null or text, "file", "messages": [{"level",
 *            "line", "column", "text"}]}
 *   names ADDRESS
 *            what the policy knows it to be called: {"file", "names": []}
 *   run, run-fallback
 *            who asks takes the tunnel: {"error": null or text, "live": does
 *            the relay answer}
 *
 * Anything else ends the connection. */
#ifndef UKAI_CONTROL_H
#define UKAI_CONTROL_H

#include "conf.h"
#include "io/tunnel.h"
#include "mape/mape.h"
#include "policy/policy.h"

struct control;

struct control_conf {
	uv_loop_t *loop; /* stopped by "stop" */
	const char *path;
	uint64_t since_s;
	uint32_t table, answer_table;
	struct tunnel *tunnel;
	struct mape *mape; /* NULL: none */
	struct policy *policy; /* NULL: none */
	/* That one, or one without rules that is made now. Returns 0; errors
	 * are told to d. */
	int (*policy_for_run)(void *arg, struct policy **p, struct diag *d);
	void *arg;
	const struct client_conf *conf;
};

/* Pointers in c must stay as long as the object. Returns 0; the errors of
 * ctl_open(). */
int control_open(
    struct control **out, const struct control_conf *c, struct diag *d);
/* The client begins to end: nothing is asked of it any more, but whoever waits
 * for its end goes on waiting. NULL: no-op. */
void control_end(struct control *c);
/* The last thing a client does. NULL: no-op. */
void control_close(struct control *c);

#endif
