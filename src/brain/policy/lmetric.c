/*
 * lmetric: uncached tokens if routed here × batch size (LMetric, arXiv 2603.15202):
 *   (pending uncached + own uncached tokens) × (requests in flight + 1)
 */
#include "brain/policy/estimate.h"

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	for (uint32_t i = 0; i < c->count; i++)
		cost[i] = ((double)c->pending_prefill[i] + c->promised[i] +
			   estimate_uncached(c->cached[i], in)) *
			  (c->requests[i] + 1.0);
}

const struct policy policy_lmetric = {
	.name = "lmetric",
	.text = "uncached tokens that would be pending there × requests there (LMetric)",
	.uses_cache = true,
	.reads_load = true,
	.score = score,
};
