/* change: the change of this host's ephemeral ports that `ukai ports apply`
 * makes, and its end: by `ukai ports revert`, by `ukai restore`, by itself
 * after a time. Its undo journal is ports.undo in the state directory, which no
 * tunnel's name can clash with; ports.until beside it is the timer's. */
#ifndef UKAI_PORTS_CHANGE_H
#define UKAI_PORTS_CHANGE_H

#include "linux.h"
#include "timer.h"

/* The journal, locked, for as short as it takes; *u NULL: there is none and
 * make is false. Returns 0; errors of undo_open(). */
int ports_change_open(struct undo **u, bool make, struct diag *d);

/* Make the change of a plan in place of an earlier one, which is undone first
 * unless all is so already (done). for_s 0: until it is reverted. Returns 0;
 * errors of ports_change_undo(), ports_linux_apply() and ports_timer_start():
 * then d says so if an earlier change is no more. */
int ports_change_make(struct undo *u, const struct ports_plan *p, bool done,
    uint64_t for_s, struct diag *d);

struct ports_reverted {
	unsigned undone, left;
};
/* Undo it; none: all zero. Returns 0; errors of undo_open(); UK_ESYS:
 * something is left, d says why. */
int ports_change_revert(struct ports_reverted *r, struct diag *d);
/* The same with the journal open. */
int ports_change_undo(struct undo *u, struct ports_reverted *r, struct diag *d);

/* The timer of the change that is in force. */
void ports_change_timer(struct ports_timer *t);

#endif
