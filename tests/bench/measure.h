/* measure: the CPU time of one thread, and medians. Header only; for
 * benchmarks that run in one process and interleave what they compare. */
#ifndef UKAI_BENCH_MEASURE_H
#define UKAI_BENCH_MEASURE_H

#include <stdlib.h>
#include <time.h>

/* CPU time of the calling thread, so that others' load on the machine moves
 * the figures little. */
static inline double
measure_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int
measure_compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Sorts v; n is at least 1. */
static inline double
measure_median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), measure_compare);
	return v[n / 2];
}

#endif
