#include "sim/load_histogram.h"

#include "base/log.h"

#define PART_COUNT (1u << LOAD_HISTOGRAM_PART_BITS)

/*
 * Values below 1,024 have a part each. Above, the exponent picks the row, and the bits behind the
 * leading one the part in it.
 */
static uint32_t part_index(uint64_t value)
{
	if (value < PART_COUNT)
		return (uint32_t)value;
	const unsigned exponent = 63 - (unsigned)__builtin_clzll(value);
	const unsigned shift = exponent - LOAD_HISTOGRAM_PART_BITS;

	return ((shift + 1) << LOAD_HISTOGRAM_PART_BITS) +
	       (uint32_t)((value >> shift) & (PART_COUNT - 1));
}

/* The least value that falls into the part. */
static uint64_t part_floor(uint32_t index)
{
	const uint32_t row = index >> LOAD_HISTOGRAM_PART_BITS;

	if (row == 0)
		return index;
	return (uint64_t)(PART_COUNT | (index & (PART_COUNT - 1))) << (row - 1);
}

void load_histogram_add(struct load_histogram *h, uint64_t value_ns)
{
	const uint64_t placed = value_ns < LOAD_HISTOGRAM_MAX_NS ? value_ns : LOAD_HISTOGRAM_MAX_NS;

	h->parts[part_index(placed)]++;
	h->count++;
	h->sum_ns += value_ns;
	if (value_ns > h->max_ns)
		h->max_ns = value_ns;
}

uint64_t load_histogram_quantile_ns(const struct load_histogram *h, double q)
{
	BB_ASSERT(q >= 0 && q <= 1);
	if (!h->count)
		return 0;
	uint64_t rank = (uint64_t)(q * (double)h->count);
	if ((double)rank < q * (double)h->count || rank == 0)
		rank++;
	uint64_t seen = 0;
	for (uint32_t i = 0; i < LOAD_HISTOGRAM_PARTS; i++) {
		seen += h->parts[i];
		if (seen >= rank)
			return part_floor(i);
	}
	return h->max_ns;
}

uint64_t load_histogram_mean_ns(const struct load_histogram *h)
{
	return h->count ? h->sum_ns / h->count : 0;
}
