/* policy_others: policies that are in nftables already, of this network
 * namespace. Linux. Threads: any. */
#ifndef UKAI_POLICY_POLICY_OTHERS_H
#define UKAI_POLICY_POLICY_OTHERS_H

#include "host/hostfw.h"

/* Two policies would decide on the same flows, each with the other's marks
 * (mark.h). table: the tunnel's own. Returns 0; UK_EINVAL: another tunnel has
 * one, or, with guards, was killed and has left its guard, told to d with what
 * to do; UK_EPERM, UK_ESYS, UK_ENOMEM. */
int policy_others_check(
    struct hostfw *h, const char *table, bool guards, struct diag *d);

/* Does the guard of a tunnel stand, because it was killed? Asks the kernel
 * only; false also where it cannot be asked. */
bool policy_others_guarded(const char *name);

#endif
