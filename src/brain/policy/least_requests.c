/* least_requests: the engine with the fewest requests in flight from this gateway. */
#include "brain/policy/policy.h"

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	for (uint32_t i = 0; i < c->count; i++)
		cost[i] = (double)c->requests[i];
}

const struct policy policy_least_requests = {
	.name = "least_requests",
	.text = "the engine with the fewest requests in flight",
	.reads_load = true,
	.score = score,
};
