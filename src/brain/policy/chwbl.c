/*
 * chwbl: consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018), over the
 * beginning of the prompt, as KubeAI does it (PrefixHash: 100 characters, meanLoadPercentage 125):
 * the first engine in the key's order with
 *   requests + 1 <= 1.25 × (all requests + 1) ÷ engines
 * or, when none is, the first. The key is the block that holds the 32nd token; the order is that of
 * rendezvous hashing in place of a ring with 256 virtual nodes an engine.
 */
#include "brain/policy/estimate.h"
#include "brain/policy/rendezvous.h"

#define LOAD_FACTOR 1.25
#define PREFIX_TOKENS 32

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	const uint64_t key = rendezvous_prefix(in, PREFIX_TOKENS);
	const double most = rendezvous_average(c) * LOAD_FACTOR - 1;
	uint32_t chosen = rendezvous_first(c, key, most);

	if (chosen == RENDEZVOUS_NONE)
		chosen = rendezvous_first(c, key, UINT32_MAX);
	for (uint32_t i = 0; i < c->count; i++)
		cost[i] = c->requests[i];
	if (key)
		cost[chosen] = -1;
}

const struct policy policy_chwbl = {
	.name = "chwbl",
	.text = "consistent hashing of the prompt's beginning with bounded loads, as KubeAI does "
		"it",
	.uses_cache = true,
	.reads_load = true,
	.score = score,
};
