/*
 * llmd: the token-aware rule of llm-d's router ("sticky until saturated", 2026): its
 * prefix-cache-affinity-filter followed by its token-load-scorer.
 *   1. Sticky engines hold at least 0.8 of the prompt. None: all engines are considered.
 *   2. If the least loaded sticky engine would make one wait 1 s longer than the least loaded of
 * the others, by pending uncached tokens at the prefill rate: all engines are considered.
 *   3. Of those considered the least (pending uncached + own uncached tokens).
 * There the prefill rate is a constant that is calibrated for each deployment, and the limit is a
 * setting (18 s where it is left out, 5 s in its example); here the rate is the learned one. 1 s
 * did best in the study behind docs/policies.md. No exploration, as is its default.
 */
#include "brain/policy/estimate.h"

#define STICKY_SHARE 0.8
#define PENALTY_MS 1000

static double wait_ms(const struct candidates *c, uint32_t i)
{
	const struct lane *l = c->lane[i];

	return ((double)c->pending_prefill[i] + c->promised[i]) * l->rates->token_ms *
	       l->factors.ttft_used;
}

static bool is_sticky(const struct candidates *c, const struct policy_input *in, uint32_t i)
{
	return c->cached[i] >= STICKY_SHARE * (double)in->prompt_tokens;
}

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	double sticky_ms = __builtin_inf(), other_ms = __builtin_inf();

	for (uint32_t i = 0; i < c->count; i++) {
		double *least = is_sticky(c, in, i) ? &sticky_ms : &other_ms;
		const double ms = wait_ms(c, i);
		if (ms < *least)
			*least = ms;
	}
	const bool sticks = sticky_ms < __builtin_inf() && sticky_ms <= other_ms + PENALTY_MS;
	for (uint32_t i = 0; i < c->count; i++) {
		cost[i] = (double)c->pending_prefill[i] + c->promised[i] +
			  estimate_uncached(c->cached[i], in);
		if (sticks && !is_sticky(c, in, i))
			cost[i] += ESTIMATE_AFTER;
	}
}

const struct policy policy_llmd = {
	.name = "llmd",
	.text = "the warm engine until its queue is 1 s longer, then the least work, as llm-d does "
		"it",
	.uses_cache = true,
	.reads_load = true,
	.score = score,
};
