#include "sim/work_draw.h"

#include <math.h>

#include "brain/exact.h"

/* In (0, 1]. */
static double unit(struct bb_rng *rng)
{
	return 1 - bb_rng_unit(rng);
}

double draw_exp(struct bb_rng *rng, double mean)
{
	return -mean * exact_log(unit(rng));
}

/* By the polar method. sqrt is exact by IEEE 754. */
static double draw_normal(struct bb_rng *rng)
{
	double x, square;

	do {
		x = 2 * bb_rng_unit(rng) - 1;
		const double y = 2 * bb_rng_unit(rng) - 1;
		square = x * x + y * y;
	} while (square >= 1 || square == 0);
	return x * sqrt(-2 * exact_log(square) / square);
}

double draw_gamma(struct bb_rng *rng, double shape, double mean)
{
	/* A shape below 1 is one above, times a power of an even draw. */
	const double lift = shape < 1 ? exact_exp(exact_log(unit(rng)) / shape) : 1;
	const double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3;
	const double c = 1 / sqrt(9 * d);

	for (;;) {
		const double x = draw_normal(rng), u = unit(rng);
		const double v = 1 + c * x, cube = v * v * v;
		if (v > 0 && exact_log(u) < x * x / 2 + d * (1 - cube + exact_log(cube)))
			return d * cube * lift * mean / shape;
	}
}

uint32_t draw_tokens(struct bb_rng *rng, double mean)
{
	const double tokens = mean * 0.25 + draw_exp(rng, mean * 0.75);

	return tokens < 1 ? 1 : (uint32_t)tokens;
}

uint32_t draw_count(struct bb_rng *rng, double mean, uint32_t max)
{
	uint32_t n = 1;

	while (n < max && bb_rng_unit(rng) >= 1 / mean)
		n++;
	return n;
}

/* By the continuous density 1/x from 1 to count+1, cut to whole numbers. */
uint32_t draw_rank(struct bb_rng *rng, uint32_t count)
{
	const double x = exact_exp(bb_rng_unit(rng) * exact_log((double)count + 1));
	const uint32_t k = (uint32_t)x - 1;

	return k < count ? k : count - 1;
}
