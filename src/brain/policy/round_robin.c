/* round_robin: each engine of a model in turn, whatever its load. */
#include "brain/policy/policy.h"

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	const uint32_t turn = (uint32_t)(in->model_sequence % c->count);

	for (uint32_t i = 0; i < c->count; i++)
		cost[i] = i == turn ? 0 : 1;
}

const struct policy policy_round_robin = {
	.name = "round_robin",
	.text = "each engine in turn, whatever its load",
	.score = score,
};
