#include "common/hist.h"

#include <math.h>
#include <string.h>

#define EXACT 128
#define SUB_BITS 6
#define VALUE_BITS_MAX 40

void hist_clear(struct hist *h)
{
	memset(h, 0, sizeof *h);
}

static unsigned bucket_of(uint64_t value)
{
	if (value < EXACT)
		return (unsigned)value;
	if (value >> VALUE_BITS_MAX)
		return HIST_BUCKETS - 1;
	unsigned top = 63 - (unsigned)__builtin_clzll(value); /* 7..39 */
	unsigned shift = top - SUB_BITS;
	/* value >> shift is 64..127: the leading bit and the six behind it. */
	return EXACT + (top - 7) * 64 + (unsigned)((value >> shift) - 64);
}

static uint64_t middle_of(unsigned bucket)
{
	if (bucket < EXACT)
		return bucket;
	unsigned top = (bucket - EXACT) / 64 + 7;
	unsigned shift = top - SUB_BITS;
	uint64_t low = (uint64_t)((bucket - EXACT) % 64 + 64) << shift;
	return low + (UINT64_C(1) << shift) / 2;
}

void hist_add(struct hist *h, uint64_t value)
{
	if (h->count == 0 || value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
	h->count++;
	h->sum += value;
	h->buckets[bucket_of(value)]++;
}

void hist_merge(struct hist *h, const struct hist *from)
{
	if (from->count == 0)
		return;
	if (h->count == 0 || from->min < h->min)
		h->min = from->min;
	if (from->max > h->max)
		h->max = from->max;
	h->count += from->count;
	h->sum += from->sum;
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		h->buckets[i] += from->buckets[i];
}

uint64_t hist_percentile(const struct hist *h, double percent)
{
	if (h->count == 0)
		return 0;
	if (percent <= 0)
		return h->min;
	/* 99.9 / 100 * 1000 is a little more than 999: not a reason to take the next one. */
	double rank = ceil(percent / 100 * (double)h->count - 1e-6);
	if (rank >= (double)h->count)
		return h->max;
	uint64_t wanted = rank < 1 ? 1 : (uint64_t)rank;
	uint64_t seen = 0;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen < wanted)
			continue;
		uint64_t value = middle_of(i);
		/* A bucket's middle may lie outside of what was really seen. */
		return value < h->min ? h->min : value > h->max ? h->max : value;
	}
	return h->max;
}

double hist_mean(const struct hist *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}
