/* measure: what benchmarks have in common: clocks, medians, the argument
 * [ROUNDS], and the lines that tests/bench/run reads. Header only. */
#ifndef UKAI_BENCH_MEASURE_H
#define UKAI_BENCH_MEASURE_H

#include <stdio.h>
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

/* Time on the wall, where waiting is part of what is measured. */
static inline double
measure_wall_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline int
measure_compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The mean of the middle two when n is even. Sorts v; n is at least 1. */
static inline double
measure_median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), measure_compare);
	return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

/* Median of the ratios a[i] / b[i] of n rounds. Neither may be sorted yet;
 * work: n more, overwritten. */
static inline double
measure_ratio(const double *a, const double *b, double *work, size_t n)
{
	for (size_t i = 0; i < n; i++)
		work[i] = a[i] / b[i];
	return measure_median(work, n);
}

/* The argument [ROUNDS]: 1 to most; usual where there is none. Anything else
 * ends the program. */
static inline unsigned
measure_rounds(int argc, char **argv, unsigned usual, unsigned most)
{
	unsigned long n = usual;
	char *end = NULL;

	if (argc > 1)
		n = strtoul(argv[1], &end, 10);
	if (argc > 2 || n < 1 || n > most || (end && *end != '\0')) {
		fprintf(stderr, "usage: %s [ROUNDS, 1 to %u]\n", argv[0], most);
		exit(2);
	}
	return (unsigned)n;
}

/* One figure for tests/bench/run, which knows the limit. */
static inline void
measure_goal(const char *name, double value)
{
	printf("goal\t%s\t%.3f\n", name, value);
}

#endif
