/* process_watch: tells when a process begins to be called something: it was
 * started, or, up to a quarter of a second later, has named itself anew. By the
 * kernel's process connector, which tells at once, but the initial network and
 * process namespaces only (from another network namespace it is asked in that
 * one, if we may); else by looking at all of them four times a second. Linux.
 * On the loop's thread. */
#ifndef UKAI_POLICY_PROCESS_WATCH_H
#define UKAI_POLICY_PROCESS_WATCH_H

#include <uv.h>

#include "core/base.h"

struct process_watch;

/* found is called for every process that runs now, before this returns, and
 * later for those that changed, some more than once. Returns 0; UK_ENOMEM;
 * UK_ESYS: /proc cannot be read. */
int process_watch_open(struct process_watch **out, uv_loop_t *loop,
    void (*found)(void *arg, int pid), void *arg);
void process_watch_close(struct process_watch *w); /* NULL: no-op */

/* Are we told at once? */
bool process_watch_is_told(const struct process_watch *w);

#endif
