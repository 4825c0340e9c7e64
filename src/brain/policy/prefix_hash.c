/*
 * prefix_hash: as the Shepherd Model Gateway (SGLang's router) does it: the hash of the prompt's
 * first 256 tokens names an engine; if that has more than 1.25 × (all requests + 1) ÷ engines
 * requests, the least loaded of those that have not; if there is none, it all the same. Rendezvous
 * hashing in place of a ring. Without a hash: the fewest requests.
 */
#include "brain/policy/estimate.h"
#include "brain/policy/rendezvous.h"

#define LOAD_FACTOR 1.25
#define PREFIX_TOKENS 256

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	const uint64_t key = rendezvous_prefix(in, PREFIX_TOKENS);
	const double most = rendezvous_average(c) * LOAD_FACTOR;
	const uint32_t first = rendezvous_first(c, key, UINT32_MAX);
	bool is_any_below = false;

	for (uint32_t i = 0; i < c->count; i++) {
		cost[i] = c->requests[i];
		is_any_below |= c->requests[i] <= most;
	}
	if (key && (c->requests[first] <= most || !is_any_below))
		cost[first] = -1;
}

const struct policy policy_prefix_hash = {
	.name = "prefix_hash",
	.text = "hash of the prompt's first 256 tokens, with a load limit, as SGLang's router does "
		"it",
	.uses_cache = true,
	.reads_load = true,
	.score = score,
};
