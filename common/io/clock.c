#include "clock.h"

#include <time.h>

static uint64_t
read_ns(clockid_t id)
{
	struct timespec ts;
	int r = clock_gettime(id, &ts);

	/* Both clocks exist since Linux 2.6.39 and cannot be refused. */
	UK_ASSERT(r == 0);
	return (uint64_t)ts.tv_sec * UK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

struct uk_time
clock_now(void)
{
	return (struct uk_time){.mono_ns = read_ns(CLOCK_BOOTTIME),
	    .wall_ns = read_ns(CLOCK_REALTIME)};
}
