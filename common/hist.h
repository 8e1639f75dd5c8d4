/* A histogram of durations (or sizes): counts in buckets whose width grows with the value.
 *
 * Values below 128 are counted exactly. Above, every power of two is divided into 64 buckets, so
 * that a bucket is at most 1/64 of its value wide, and the middle of it, which is what a percentile
 * gives back, at most 0.8 % away from the true value. Values of 2^40 and more are counted in the
 * last bucket; minimum, maximum and mean are exact all the same.
 *
 * 18 KiB, no allocation. A histogram belongs to one thread at a time; to measure on several, give
 * each its own and merge them.
 */
#ifndef DROVER_COMMON_HIST_H
#define DROVER_COMMON_HIST_H

#include <stdint.h>

#define HIST_BUCKETS (128 + 33 * 64)

struct hist {
	uint64_t count;
	uint64_t sum;
	uint64_t min;
	uint64_t max;
	uint64_t buckets[HIST_BUCKETS];
};

/* Empties it; also how it begins. */
void hist_clear(struct hist *h);
void hist_add(struct hist *h, uint64_t value);
/* Adds what `from` has counted. */
void hist_merge(struct hist *h, const struct hist *from);

/* The smallest value that at least `percent` of the counted ones do not exceed; 0 when nothing was
 * counted. percent 0 gives the minimum, 100 the maximum, both exact. */
uint64_t hist_percentile(const struct hist *h, double percent);
double hist_mean(const struct hist *h);

#endif
