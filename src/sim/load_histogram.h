/*
 * load_histogram.h: a histogram of durations with a relative error of at most 0.1 %.
 *
 * For: the load generator, whose figures are percentiles. Log-linear: each power of two is cut
 * into 1,024 equal parts, so that p99.9 of a microsecond and of a minute are equally sharp.
 * Threads: one owner. Memory: a value of 250 KB; all zeros is empty.
 * Errors: none; a duration above LOAD_HISTOGRAM_MAX_NS (18 minutes) counts as that in quantiles
 * and as itself in the mean and the maximum.
 */
#pragma once

#include <stdint.h>

#define LOAD_HISTOGRAM_PART_BITS 10
#define LOAD_HISTOGRAM_BITS 40
#define LOAD_HISTOGRAM_MAX_NS ((1ull << LOAD_HISTOGRAM_BITS) - 1)
#define LOAD_HISTOGRAM_PARTS                                                                       \
	((LOAD_HISTOGRAM_BITS - LOAD_HISTOGRAM_PART_BITS + 1) << LOAD_HISTOGRAM_PART_BITS)

struct load_histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t parts[LOAD_HISTOGRAM_PARTS];
};

void load_histogram_add(struct load_histogram *h, uint64_t value_ns);
/*
 * The least duration that a share `q` (0 … 1) of all values does not exceed, rounded down to the
 * resolution; 0 when the histogram is empty.
 */
uint64_t load_histogram_quantile_ns(const struct load_histogram *h, double q);
uint64_t load_histogram_mean_ns(const struct load_histogram *h);
