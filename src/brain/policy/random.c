/* random: any engine, evenly, from the brain's seeded generator. */
#include "brain/policy/policy.h"

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	for (uint32_t i = 0; i < c->count; i++)
		cost[i] = bb_rng_unit(in->rng);
}

const struct policy policy_random = {
	.name = "random",
	.text = "any engine, evenly",
	.score = score,
};
