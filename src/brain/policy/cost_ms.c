/*
 * cost_ms: least total among the engines whose predicted TTFT is near the least (estimate.h: 3 % +
 * 3 ms, and copies at a price); ties to fewer requests. In milliseconds, from learned rates, in a
 * closed form:
 *   total = ttft + own + stall + slow
 *   own   = expected output × gap with this request in the batch
 *   stall = running streams × own prefill
 *   slow  = running streams × tokens that they generate beside it × what its KV tokens cost each
 * An engine at its sequence limit is taken when all are. Where predictions have failed, `pending`.
 * Source: the study behind docs/policies.md, §5 step 4.
 */
#include "brain/policy/estimate.h"

#define TIE_MS 1e-6 /* of a request in flight, beside equal totals */

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	const struct estimate e = estimate_all(c, in, cost);

	if (e.is_off) {
		policy_pending.score(c, in, cost);
		return;
	}
	for (uint32_t i = 0; i < c->count; i++) {
		if (c->ttft_ms[i] > e.ttft_ms_most)
			continue; /* most of many */
		const double price_ms = estimate_price_ms(c, in, &e, i);
		if (price_ms == POLICY_NEVER)
			continue;
		cost[i] = c->total_ms[i] + price_ms + TIE_MS * c->lane[i]->requests;
	}
}

const struct policy policy_cost_ms = {
	.name = "cost_ms",
	.text = "the least added latency for all, by a closed form, among the quickest to a first "
		"token",
	.holds = true,
	.uses_cache = true,
	.predicts = true,
	.score = score,
};
