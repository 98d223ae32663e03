/* clock: the only readings of clocks. Linux: CLOCK_BOOTTIME, because a
 * session's age must count the time that the machine was asleep. */
#ifndef UKAI_CLOCK_H
#define UKAI_CLOCK_H

#include "core/base.h"

struct uk_time clock_now(void);

#endif
