/* base: what every module may use. Header only; no dependencies. */
#ifndef UKAI_BASE_H
#define UKAI_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define CONTAINER_OF(ptr, type, member)                                        \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* A broken invariant of ours: prints the place and aborts, in every build.
 * Never on anything that comes from the wire or from a file (C1). */
#define UK_ASSERT(cond)                                                        \
	((cond) ? (void)0 : uk_assert_fail(#cond, __FILE__, __LINE__))

_Noreturn void uk_assert_fail(const char *cond, const char *file, int line);

static inline uint64_t
uk_min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#define UK_NS_PER_S UINT64_C(1000000000)
#define UK_NS_PER_MS UINT64_C(1000000)

/* No deadline: later than every time. */
#define UK_NEVER UINT64_MAX

/* One reading of the clocks, handed down by whoever does the I/O.
 * mono_ns: monotonic, counts suspend time; wall_ns: since the Unix epoch. */
struct uk_time {
	uint64_t mono_ns;
	uint64_t wall_ns;
};

#endif
