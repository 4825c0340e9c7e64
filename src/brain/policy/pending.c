/*
 * pending: the least prefill work in front of and in this request:
 *   pending uncached tokens, less the progress of the running prefill, + promised + own uncached
 * Those within 10 % and 128 tokens of the least are equal; of these the one with the fewest
 * requests. It has no parameter that depends on hardware, and so is the fallback of lookahead and
 * cost_ms. Source: the study behind docs/policies.md ("pu").
 */
#include "brain/policy/estimate.h"

#define TIE_SHARE 1.10
#define TIE_TOKENS 128

static double work(const struct candidates *c, const struct policy_input *in, uint32_t i)
{
	const struct lane *l = c->lane[i];

	/* An adapter that must be loaded counts as the prefill that could be done meanwhile. */
	return lane_pending(l, in->now_ns) + c->promised[i] + estimate_uncached(c->cached[i], in) +
	       c->lora_ms[i] / l->rates->token_ms;
}

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	double least = __builtin_inf();

	for (uint32_t i = 0; i < c->count; i++) {
		cost[i] = work(c, in, i);
		if (cost[i] < least && !lane_is_full(c->lane[i]))
			least = cost[i];
	}
	const double equal = least * TIE_SHARE + TIE_TOKENS;
	for (uint32_t i = 0; i < c->count; i++) {
		if (lane_is_full(c->lane[i]))
			cost[i] += ESTIMATE_FULL;
		else
			cost[i] = cost[i] <= equal ? c->lane[i]->requests : ESTIMATE_AFTER + cost[i];
	}
}

const struct policy policy_pending = {
	.name = "pending",
	.text = "the least uncached prompt tokens to compute, ties to fewer requests; needs no "
		"rates",
	.holds = true,
	.uses_cache = true,
	.score = score,
};
