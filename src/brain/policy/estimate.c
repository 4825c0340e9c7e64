#include "brain/policy/estimate.h"

#include "brain/play.h"

#define BOUND_SHARE 1.03
#define BOUND_MS 3

/* Near the sequence limit: how long until one of those ahead ends. */
static double slot_ms(const struct lane *l, double gap_ms)
{
	if (l->requests < l->view.slots_near)
		return 0;
	return (double)(l->requests - l->view.slots_near + 1) * gap_ms * l->lengths->further[0] /
	       l->sequences_max;
}

/* Where the KV cache would overflow: how long until enough of it is free. */
static double kv_ms(const struct lane *l, double uncached, double gap_ms)
{
	const double missing = uncached - l->view.kv_free;

	if (missing <= 0)
		return 0;
	/* Before ends have been seen: all that is there goes within one answer's time. */
	const double expected = lane_kv_used(l) / (gap_ms * l->lengths->further[0]);
	const double freed = l->freed_per_ms > expected ? l->freed_per_ms : expected;
	return freed > 0 ? missing / freed : missing * l->rates->token_ms;
}

/* Until a first token, if there were no limits. From the lane's view alone. */
static inline double prefill_ms(const struct candidates *c, const struct policy_input *in,
				uint32_t i, double uncached)
{
	const struct lane_view *v = &c->lane[i]->view;
	const double ahead = lane_pending(c->lane[i], in->now_ns) + c->promised[i] + uncached;

	return rates_ttft_ms(v->rates, v->factor, ahead, v->steps_per_token, v->gap_ms);
}

static double limit_ms(const struct lane *l, double uncached)
{
	const double gap_ms = lane_gap_ms(l);

	return slot_ms(l, gap_ms) + kv_ms(l, uncached, gap_ms);
}

/* What it adds to everybody's finish. */
static double total_ms(const struct candidates *c, const struct policy_input *in, double output,
		       uint32_t i)
{
	const struct lane *l = c->lane[i];
	const struct policy_terms *t = &c->terms[i];
	const double grown = (double)(int64_t)in->prompt_tokens + 0.5 * output;
	const double kv = (double)(int64_t)(l->kv_tokens - l->waiting_prompts);
	const double own = output * rates_gap_ms(l->rates, l->factors.gap_used, kv + grown);
	const double stall = l->generating * t->prefill_ms;
	/* Streams are slowed down while both are there. */
	const double left = (double)(int64_t)l->residual, longest = output * l->generating;
	const double slow = (left < longest ? left : longest) * l->rates->kv_token_ms *
			    l->factors.gap_used * grown;

	return t->ttft_ms + own + stall + slow;
}

static void fill_in(const struct candidates *c, const struct policy_input *in, double output,
		    uint32_t i)
{
	const struct lane *l = c->lane[i];
	struct policy_terms *t = &c->terms[i];
	const double uncached = estimate_uncached(c, in, i);
	const double ttft = prefill_ms(c, in, i, uncached);

	t->prefill_ms = uncached * l->rates->token_ms * l->view.factor;
	t->wait_ms = ttft - t->prefill_ms;
	t->limit_ms = limit_ms(l, uncached);
	t->total_ms = total_ms(c, in, output, i);
}

struct estimate estimate_all(const struct candidates *c, const struct policy_input *in,
			     double *cost)
{
	double least = __builtin_inf(), least_full = __builtin_inf(), token_ms_most = 0;
	uint32_t at = 0, at_full = 0, cached_most = 0, off = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		const struct lane *l = c->lane[i];
		const double uncached = estimate_uncached(c, in, i);
		const double token_ms = l->view.rates->token_ms * l->view.factor;
		double ttft_ms = prefill_ms(c, in, i, uncached) + c->lora_ms[i];
		double out_ms = ESTIMATE_AFTER;
		token_ms_most = token_ms > token_ms_most ? token_ms : token_ms_most;
		cached_most = c->cached[i] > cached_most ? c->cached[i] : cached_most;
		off += l->view.is_off;
		if (c->requests[i] >= l->view.slots_near || uncached > l->view.kv_free) {
			ttft_ms += limit_ms(l, uncached);
			out_ms = lane_is_full(l) ? ESTIMATE_FULL : ESTIMATE_AFTER;
		}
		c->terms[i].ttft_ms = ttft_ms;
		c->terms[i].total_ms = 0;
		cost[i] = out_ms + ttft_ms;
		if (out_ms == ESTIMATE_AFTER && ttft_ms < least) {
			least = ttft_ms;
			at = i;
		} else if (out_ms != ESTIMATE_AFTER && ttft_ms < least_full) {
			least_full = ttft_ms;
			at_full = i;
		}
	}
	if (least == __builtin_inf()) {
		least = least_full;
		at = at_full;
	}
	struct estimate e = { .bound_ms = least * BOUND_SHARE + BOUND_MS,
			      .copy_ms_most = cached_most * token_ms_most,
			      .cached_most = cached_most,
			      .is_off = 2 * off > c->count };
	e.output = lane_residual(c->lane[0]->lengths, 0, in->output_max);
	fill_in(c, in, e.output, at);
	e.total_ms_most = c->terms[at].total_ms;
	return e;
}

/* Could a copy there be worth its price? Not if even the price and an idle engine cost more. */
static bool is_copy_in_question(const struct candidates *c, const struct estimate *e, uint32_t i,
				double over_ms)
{
	const struct lane *l = c->lane[i];
	const double copy_ms =
		(e->cached_most - c->cached[i]) * l->rates->token_ms * l->view.factor;
	const double total_ms_least = c->terms[i].ttft_ms + ESTIMATE_COPY_PRICE * over_ms +
				      e->output * l->rates->step_ms * l->factors.gap_used;

	return over_ms <= copy_ms && total_ms_least < e->total_ms_most;
}

double estimate_price_ms(const struct candidates *c, const struct policy_input *in,
			 const struct estimate *e, uint32_t i)
{
	const double over = c->terms[i].ttft_ms - e->bound_ms;

	if (over > e->copy_ms_most || lane_is_full(c->lane[i]))
		return POLICY_NEVER;
	if (over > 0 && !is_copy_in_question(c, e, i, over))
		return POLICY_NEVER;
	fill_in(c, in, e->output, i);
	return over > 0 ? ESTIMATE_COPY_PRICE * over : 0;
}

double estimate_played_ms(const struct candidates *c, const struct policy_input *in, uint32_t i)
{
	const struct lane *l = c->lane[i];
	const double uncached = estimate_uncached(c, in, i);
	const struct play_request r = {
		.uncached = uncached,
		.prompt_tokens = (double)in->prompt_tokens,
		.output_tokens = lane_residual(l->lengths, 0, in->output_max),
		.promised = c->promised[i],
	};

	return play_added_ms(l, in->now_ns, &r) + limit_ms(l, uncached) + c->lora_ms[i];
}

void estimate_explain(const struct candidates *c, const struct policy_input *in, uint32_t i)
{
	struct policy_terms *t = &c->terms[i];
	const double uncached = estimate_uncached(c, in, i);

	t->ttft_ms =
		prefill_ms(c, in, i, uncached) + limit_ms(c->lane[i], uncached) + c->lora_ms[i];
	fill_in(c, in, lane_residual(c->lane[i]->lengths, 0, in->output_max), i);
	t->total_ms = estimate_played_ms(c, in, i);
}
