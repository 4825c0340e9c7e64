#include "brain/policy/estimate.h"

#include "brain/play.h"

#define SLOT_MARGIN 20
#define SLOT_MARGIN_SHARE 12 /* of small engines: one in so many */
#define BOUND_SHARE 1.05
#define BOUND_MS 10

/* Near the sequence limit: how long until one of those ahead ends. */
static double slot_ms(const struct lane *l, double gap_ms)
{
	const uint32_t max = l->sequences_max;
	const uint32_t share = max / SLOT_MARGIN_SHARE;
	const uint32_t margin = share < SLOT_MARGIN ? share : SLOT_MARGIN;

	if (!max || l->requests < max - margin)
		return 0;
	return (double)(l->requests - (max - margin) + 1) * gap_ms * l->lengths->mean[0] / max;
}

/* Where the KV cache would overflow: how long until enough of it is free. */
static double kv_ms(const struct lane *l, double uncached, double gap_ms)
{
	if (!l->kv_tokens_max)
		return 0;
	const double used = lane_kv_used(l);
	const double growth = 0.5 * l->lengths->mean[0] * (l->requests + 1);
	const double missing = used + uncached + growth - (double)l->kv_tokens_max;
	if (missing <= 0)
		return 0;
	/* Before ends have been seen: all that is there goes within one answer's time. */
	const double expected = used / (gap_ms * l->lengths->mean[0]);
	const double freed = l->freed_per_ms > expected ? l->freed_per_ms : expected;
	return freed > 0 ? missing / freed : missing * l->rates->token_ms;
}

void estimate_ttft(const struct candidates *c, const struct policy_input *in)
{
	for (uint32_t i = 0; i < c->count; i++) {
		const struct lane *l = c->lane[i];
		const double factor = rates_factor(l->factors.ttft);
		const double uncached = estimate_uncached(c, in, i);
		const double ahead = lane_pending(l, in->now_ns) + c->promised[i] + uncached;
		const double gap = lane_gap_ms(l);
		const double chunk =
			l->step_tokens > l->generating ? l->step_tokens - l->generating : 1;
		const double ttft =
			rates_ttft_ms(l->rates, factor, ahead, chunk, l->generating ? gap : 0);
		struct policy_terms *t = &c->terms[i];
		t->prefill_ms = uncached * l->rates->token_ms * factor;
		t->wait_ms = ttft - t->prefill_ms;
		t->limit_ms = slot_ms(l, gap) + kv_ms(l, uncached, gap);
		t->ttft_ms = ttft + t->limit_ms + c->lora_ms[i];
		t->total_ms = 0;
	}
}

struct estimate_bound estimate_bound(const struct candidates *c)
{
	double least = __builtin_inf(), least_full = __builtin_inf();
	uint32_t cached_most = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		double *of = lane_is_full(c->lane[i]) ? &least_full : &least;
		if (c->terms[i].ttft_ms < *of)
			*of = c->terms[i].ttft_ms;
		if (c->cached[i] > cached_most)
			cached_most = c->cached[i];
	}
	if (least == __builtin_inf())
		least = least_full;
	return (struct estimate_bound){ .ttft_ms = least * BOUND_SHARE + BOUND_MS,
					.cached_most = cached_most };
}

double estimate_price_ms(const struct candidates *c, const struct estimate_bound *b, uint32_t i)
{
	const struct lane *l = c->lane[i];
	const double over = c->terms[i].ttft_ms - b->ttft_ms;

	if (lane_is_full(l))
		return POLICY_NEVER;
	if (over <= 0)
		return 0;
	const double copy_ms = (b->cached_most - c->cached[i]) * l->rates->token_ms *
			       rates_factor(l->factors.ttft);
	return over <= copy_ms ? ESTIMATE_COPY_PRICE * over : POLICY_NEVER;
}

double estimate_total_ms(const struct candidates *c, const struct policy_input *in, uint32_t i)
{
	const struct lane *l = c->lane[i];
	const struct policy_terms *t = &c->terms[i];
	const double output = lane_residual(l->lengths, 0, in->output_max);
	const double factor = rates_factor(l->factors.gap);
	const double grown = (double)in->prompt_tokens + 0.5 * output;
	const double kv = (double)(l->kv_tokens - l->waiting_prompts);
	const double own = output * rates_gap_ms(l->rates, factor, kv + grown);
	const double stall = l->generating * t->prefill_ms;
	/* Streams are slowed down while both are there. */
	const double mean = l->generating ? (double)l->residual / l->generating : 0;
	const double shared = mean < output ? mean : output;
	const double slow = l->generating * shared * l->rates->kv_token_ms * factor * grown;

	return t->ttft_ms + own + stall + slow;
}

double estimate_played_ms(const struct candidates *c, const struct policy_input *in, uint32_t i)
{
	const struct lane *l = c->lane[i];
	const struct play_request r = {
		.uncached = estimate_uncached(c, in, i),
		.prompt_tokens = (double)in->prompt_tokens,
		.output_tokens = lane_residual(l->lengths, 0, in->output_max),
		.promised = c->promised[i],
	};

	return play_added_ms(l, in->now_ns, &r) + c->terms[i].limit_ms + c->lora_ms[i];
}

bool estimate_is_off(const struct candidates *c)
{
	uint32_t off = 0;

	for (uint32_t i = 0; i < c->count; i++)
		off += rates_are_off(&c->lane[i]->factors);
	return 2 * off > c->count;
}
