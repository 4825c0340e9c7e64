/*
 * dynamo_cost: the default cost of NVIDIA Dynamo's KV router (lib/kv-router, 1.6), in blocks:
 *   1.0 × max((pending prefill tokens + prompt) ÷ B − 1.0 × cached blocks, 0) + active blocks
 * with its defaults: overlap credit 1, decay 0, prefill load scale 1, no weight for active
 * requests, temperature 0 (the least cost, ties at random). Active blocks are those of the prompts
 * in flight and of this one, shared ones counted once (what is cached is taken to be in use), and
 * generated tokens are not counted (its default). Pending tokens do not decay with time, as there.
 */
#include "brain/policy/policy.h"

#define BLOCK_TOKENS 16 /* where the caller knows none */

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	const double block = in->block_tokens ? in->block_tokens : BLOCK_TOKENS;
	const double prompt = (double)in->prompt_tokens;

	for (uint32_t i = 0; i < c->count; i++) {
		const struct lane *l = c->lane[i];
		const double cached = c->cached[i] < prompt ? c->cached[i] : prompt;
		const double pending = (double)c->pending_prefill[i] + c->promised[i];
		const double prefill = (pending + prompt) / block - cached / block;
		const double active = (double)(l->unique_tokens - l->generated) + prompt - cached;
		cost[i] = (prefill > 0 ? prefill : 0) + active / block;
	}
}

const struct policy policy_dynamo_cost = {
	.name = "dynamo_cost",
	.text = "the default cost of NVIDIA Dynamo's KV router, in blocks",
	.uses_cache = true,
	.reads_load = true,
	.score = score,
};
