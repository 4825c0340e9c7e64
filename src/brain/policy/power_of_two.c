/*
 * power_of_two: of two engines drawn evenly the one with fewer requests in flight (Mitzenmacher,
 * "The power of two choices in randomized load balancing", 2001). One at its sequence limit is not
 * drawn while another is below.
 */
#include "brain/policy/estimate.h"

/* The n-th of those that may be drawn. */
static uint32_t row_of(const struct candidates *c, bool with_full, uint64_t n)
{
	for (uint32_t i = 0; i < c->count; i++)
		if ((with_full || !lane_is_full(c->lane[i])) && n-- == 0)
			return i;
	return 0;
}

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	uint32_t below = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		cost[i] = ESTIMATE_AFTER + c->requests[i];
		below += !lane_is_full(c->lane[i]);
	}
	const bool with_full = below == 0;
	const uint32_t count = with_full ? c->count : below;
	const uint64_t first = bb_rng_below(in->rng, count);
	uint64_t second = count > 1 ? bb_rng_below(in->rng, count - 1) : first;
	second += count > 1 && second >= first;
	const uint32_t a = row_of(c, with_full, first), b = row_of(c, with_full, second);
	cost[a] = c->requests[a];
	cost[b] = c->requests[b];
}

const struct policy policy_power_of_two = {
	.name = "power_of_two",
	.text = "of two engines drawn at random the one with fewer requests in flight",
	.reads_load = true,
	.score = score,
};
