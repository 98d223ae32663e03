/* ukai-test-clock.so, for LD_PRELOAD: the wall clock is UKAI_TEST_CLOCK_OFFSET
 * seconds off, all others are right. Time namespaces do not have that. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *ts);

int
clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);
	const char *offset = getenv("UKAI_TEST_CLOCK_OFFSET");

	if (r == 0 && id == CLOCK_REALTIME && offset)
		ts->tv_sec += strtol(offset, NULL, 10);
	return r;
}
