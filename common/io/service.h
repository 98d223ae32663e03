/* service: what every long-running program does around its work: go to the
 * background once it is ready, tell systemd, end on a signal, keep its memory
 * to itself. Signals are libuv's: nothing happens inside a handler (C9). */
#ifndef UKAI_SERVICE_H
#define UKAI_SERVICE_H

#include <uv.h>

#include "core/base.h"

/* Exit codes of every command. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,   /* wrong use or configuration */
	EXIT_NOT_RUNNING = 3,
	EXIT_PERMISSION = 4,
};

/* The exit code that goes with an UK_E* error. */
int service_exit_code(int err);

/* Before secrets are read: no core dumps, no ptrace by others, no page ever
 * written to swap (X3). What the system refuses is left out. */
void service_harden(void);

/* Fork; the parent waits until the child calls service_ready() or ends, and
 * exits with 0 or the child's code. Returns in the child only, hardened. Returns
 * UK_ESYS when it could not fork. */
int service_background(void);

/* Let SIGTERM, SIGINT and SIGHUP wait until service_run(): while the host is
 * changed nothing may end us halfway. */
void service_hold_signals(void);

/* The work can begin: gives back the memory that only the start needed, lets
 * the parent exit 0 and tells systemd (sd_notify).
 * A background process lets go of the terminal, but for stdout and stderr
 * when keep_output. */
void service_ready(bool keep_output);

/* service_ready(), then run the loop until service_stop() or one of those
 * signals; tells systemd that it stops. Returns with the signals held again,
 * so that the host can be restored in peace; the caller closes its handles and
 * then calls service_drain(). */
void service_run(uv_loop_t *loop, bool keep_output);
void service_stop(uv_loop_t *loop);
/* Let closed handles finish, and close the loop. */
void service_drain(uv_loop_t *loop);

#endif
