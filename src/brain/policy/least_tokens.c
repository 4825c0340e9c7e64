/*
 * least_tokens: the engine with the fewest tokens in flight from this gateway, counted when a
 * request is sent (prompt and expected output) and given back when it ends. Ties, as between idle
 * engines, go to the one with fewer requests.
 */
#include "brain/policy/policy.h"

/* Weighs less than one token as long as fewer than a million requests are in flight. */
#define TIE_WEIGHT 1e-6

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	for (uint32_t i = 0; i < c->count; i++)
		cost[i] = (double)c->tokens[i] + TIE_WEIGHT * (double)c->requests[i];
}

const struct policy policy_least_tokens = {
	.name = "least_tokens",
	.text = "the engine with the fewest tokens in flight (prompts and expected output)",
	.reads_load = true,
	.score = score,
};
