/* timer: undoes a change of the ports by itself after a while: a process of its
 * own, which outlives the terminal. It is known by a file, on which it holds a
 * lock: when the file is removed it ends without doing anything. Ended by
 * SIGTERM or SIGINT it undoes the change at once. */
#ifndef UKAI_PORTS_TIMER_H
#define UKAI_PORTS_TIMER_H

#include "core/base.h"
#include "core/diag.h"

#define PORTS_TIMER_MAX_S (7 * 86400)

/* "90s", "10m", "2h", "1d": at least a second, at most a week. Pure. Returns
 * 0; UK_EINVAL. */
int ports_timer_parse(uint64_t *seconds, const char *text);

/* Start the process; due is called in it, once, when the time has come, and
 * again a moment later as long as it returns UK_EBUSY, unless the file is gone
 * by then. The time that the computer sleeps counts. Returns 0; UK_EEXIST: the
 * file is there; UK_EPERM, UK_ESYS, told to d. */
int ports_timer_start(const char *path, uint64_t seconds, int (*due)(void *arg),
    void *arg, struct diag *d);

struct ports_timer {
	uint64_t until_s; /* since 1970; 0: there is none */
	bool alive; /* its process */
};
void ports_timer_read(struct ports_timer *t, const char *path);

/* In due(), where others may have cancelled it since: is there nothing to do
 * any more? */
bool ports_timer_is_cancelled(void);

/* End it without its being due; none: nothing to do. */
void ports_timer_cancel(const char *path);

#endif
