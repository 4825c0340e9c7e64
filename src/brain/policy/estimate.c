#include "brain/policy/estimate.h"

#include <stddef.h>
#include <string.h>

#include "brain/play.h"

#define BOUND_SHARE 1.03
#define BOUND_MS 3

#define SLACK 1e-6 /* of sums that are compared as bounds: more than rounding can be */

/* Near the sequence limit: how long until one of those ahead ends. */
static double slot_ms(const struct lane *l, double gap_ms)
{
	const uint32_t near = lane_slots_near(l);

	if (l->requests < near)
		return 0;
	return (double)(l->requests - near + 1) * gap_ms * l->lengths->further[0] / l->sequences_max;
}

/* Where the KV cache would overflow: how long until enough of it is free. */
static double kv_ms(const struct lane *l, double uncached, double gap_ms)
{
	const double missing = uncached - l->kv_free;

	if (missing <= 0)
		return 0;
	/* Before ends have been seen: all that is there goes within one answer's time. */
	const double expected = lane_kv_used(l) / (gap_ms * l->lengths->further[0]);
	const double freed = l->freed_per_ms > expected ? l->freed_per_ms : expected;
	return freed > 0 ? missing / freed : missing * l->rates->token_ms;
}

/* Until a first token, if there were no limits. From the lane's view alone. */
static inline double prefill_ms(const struct lane_view *v, uint64_t now_ns, uint32_t promised,
				double uncached)
{
	double ahead = lane_view_pending(v, now_ns);

	if (promised) /* seldom */
		ahead += promised;
	ahead += uncached;
	return rates_ttft_ms(v->rates, v->factor, ahead, v->steps_per_token, v->gap_ms);
}

static double limit_ms(const struct lane *l, double uncached)
{
	const double gap_ms = lane_gap_ms(l);

	return slot_ms(l, gap_ms) + kv_ms(l, uncached, gap_ms);
}

static double own_prefill_ms(const struct lane *l, double uncached)
{
	return uncached * l->rates->token_ms * l->view.factor;
}

/* What it adds to everybody's finish. */
static double total_ms(const struct candidates *c, const struct policy_input *in, double output,
		       uint32_t i)
{
	const struct lane *l = c->lane[i];
	const double grown = (double)(int64_t)in->prompt_tokens + 0.5 * output;
	const double kv = (double)(int64_t)(l->kv_tokens - l->waiting_prompts);
	const double own = output * rates_gap_ms(l->rates, l->factors.gap_used, kv + grown);
	const double stall = l->generating * own_prefill_ms(l, estimate_uncached(c->cached[i], in));
	/* Streams are slowed down while both are there. */
	const double left = (double)(int64_t)l->residual, longest = output * l->generating;
	const double slow = (left < longest ? left : longest) * l->rates->kv_token_ms *
			    l->factors.gap_used * grown;

	return c->ttft_ms[i] + own + stall + slow;
}

/* The quickest lanes, and what holds for all. */
struct extremes {
	double least, least_full; /* TTFT; `full`: of those at a limit */
	uint32_t at, at_full;
	double token_ms_most, step_ms_least;
	uint32_t cached_most, off;
};

/* What makes a lane quick or slow: mostly the same as of the one before it. */
struct pace {
	const struct rates *rates;
	uint64_t factors; /* both, as bits */
};

static inline void note_pace(const struct lane_view *v, struct pace *last, struct extremes *x)
{
	struct pace p = { .rates = v->rates };

	memcpy(&p.factors, &v->factor, sizeof(p.factors));
	if (p.rates == last->rates && p.factors == last->factors)
		return;
	*last = p;
	const double token_ms = v->rates->token_ms * v->factor;
	const double step_ms = v->rates->step_ms * v->gap_factor;
	x->token_ms_most = token_ms > x->token_ms_most ? token_ms : x->token_ms_most;
	x->step_ms_least = step_ms < x->step_ms_least ? step_ms : x->step_ms_least;
}
_Static_assert(offsetof(struct lane_view, gap_factor) == offsetof(struct lane_view, factor) + 4,
	       "factors");

/* With many lanes each is a cache miss: those that come next are fetched in good time. */
#define AHEAD 8

static struct extremes ttft_all(const struct candidates *c, const struct policy_input *in,
				double *restrict cost)
{
	struct lane *const *const restrict lane = c->lane;
	const uint32_t *const restrict cached = c->cached, *const restrict promised = c->promised;
	const uint32_t *const restrict lora_ms = c->lora_ms;
	double *const restrict ttft_ms = c->ttft_ms;
	const double inf = __builtin_inf();
	const uint32_t count = c->count;
	struct extremes x = { .least = inf, .least_full = inf, .step_ms_least = inf };
	struct pace pace = { .rates = NULL };
	const double whole = estimate_uncached(0, in);

	for (uint32_t i = 0; i < count; i++) {
		__builtin_prefetch(lane[i + AHEAD < count ? i + AHEAD : i]);
		const struct lane_view *const v = &lane[i]->view;
		double uncached = whole, out_ms = ESTIMATE_AFTER;
		if (cached[i]) {
			uncached = estimate_uncached(cached[i], in);
			x.cached_most = cached[i] > x.cached_most ? cached[i] : x.cached_most;
		}
		note_pace(v, &pace, &x);
		x.off += v->is_off;
		double ms = prefill_ms(v, in->now_ns, promised[i], uncached);
		if (lora_ms[i])
			ms += lora_ms[i];
		if (uncached > v->room) {
			ms += limit_ms(lane[i], uncached);
			out_ms = lane_is_full(lane[i]) ? ESTIMATE_FULL : ESTIMATE_AFTER;
		}
		ttft_ms[i] = ms;
		cost[i] = out_ms + ms;
		if (__builtin_expect(ms < x.least, 0) && out_ms == ESTIMATE_AFTER) {
			x.least = ms;
			x.at = i;
		} else if (out_ms != ESTIMATE_AFTER && ms < x.least_full) {
			x.least_full = ms;
			x.at_full = i;
		}
	}
	return x;
}

/*
 * The longest TTFT that may come into question: so long that even if nothing else were there, the
 * price of the copy made it no better than the quickest, or longer than any copy takes.
 */
static double ttft_ms_most(const struct estimate *e, double step_ms_least)
{
	const double worth =
		(e->total_ms_most + ESTIMATE_COPY_PRICE * e->bound_ms - e->output * step_ms_least) /
		(1 + ESTIMATE_COPY_PRICE);
	const double most = e->bound_ms + e->copy_ms_most;

	return (worth < e->bound_ms ? e->bound_ms
		: worth < most	    ? worth
				    : most) +
	       SLACK * (e->total_ms_most + most);
}

struct estimate estimate_all(const struct candidates *c, const struct policy_input *in,
			     double *cost)
{
	struct extremes x = ttft_all(c, in, cost);

	memset(c->total_ms, 0, c->count * sizeof(*c->total_ms));
	if (x.least == __builtin_inf()) {
		x.least = x.least_full;
		x.at = x.at_full;
	}
	struct estimate e = { .bound_ms = x.least * BOUND_SHARE + BOUND_MS,
			      .copy_ms_most = x.cached_most * x.token_ms_most,
			      .cached_most = x.cached_most,
			      .is_off = 2 * x.off > c->count };
	e.output = lane_residual(c->lane[0]->lengths, 0, in->output_max);
	c->total_ms[x.at] = total_ms(c, in, e.output, x.at);
	e.total_ms_most = c->total_ms[x.at];
	e.ttft_ms_most = ttft_ms_most(&e, x.step_ms_least);
	return e;
}

/* Could a copy there be worth its price? Not if even the price and an idle engine cost more. */
static bool is_copy_in_question(const struct candidates *c, const struct estimate *e, uint32_t i,
				double over_ms)
{
	const struct lane *l = c->lane[i];
	const double copy_ms =
		(e->cached_most - c->cached[i]) * l->rates->token_ms * l->view.factor;
	const double total_ms_least = c->ttft_ms[i] + ESTIMATE_COPY_PRICE * over_ms +
				      e->output * l->rates->step_ms * l->factors.gap_used;

	return over_ms <= copy_ms && total_ms_least < e->total_ms_most;
}

double estimate_price_ms(const struct candidates *c, const struct policy_input *in,
			 const struct estimate *e, uint32_t i)
{
	const double over = c->ttft_ms[i] - e->bound_ms;

	if (over > e->copy_ms_most || lane_is_full(c->lane[i]))
		return POLICY_NEVER;
	if (over > 0 && !is_copy_in_question(c, e, i, over))
		return POLICY_NEVER;
	c->total_ms[i] = total_ms(c, in, e->output, i);
	return over > 0 ? ESTIMATE_COPY_PRICE * over : 0;
}

double estimate_played_ms(const struct candidates *c, const struct policy_input *in, uint32_t i)
{
	const struct lane *l = c->lane[i];
	const double uncached = estimate_uncached(c->cached[i], in);
	const struct play_request r = {
		.uncached = uncached,
		.prompt_tokens = (double)in->prompt_tokens,
		.output_tokens = lane_residual(l->lengths, 0, in->output_max),
		.promised = c->promised[i],
	};

	return play_added_ms(l, in->now_ns, &r) + limit_ms(l, uncached) + c->lora_ms[i];
}

struct policy_terms estimate_terms(const struct candidates *c, const struct policy_input *in,
				   uint32_t i)
{
	const struct lane *l = c->lane[i];
	const double uncached = estimate_uncached(c->cached[i], in);
	const double first_ms = prefill_ms(&l->view, in->now_ns, c->promised[i], uncached);
	const double own_ms = own_prefill_ms(l, uncached), limits_ms = limit_ms(l, uncached);

	return (struct policy_terms){ .wait_ms = first_ms - own_ms,
				      .prefill_ms = own_ms,
				      .limit_ms = limits_ms,
				      .ttft_ms = first_ms + limits_ms + c->lora_ms[i] };
}

struct policy_terms estimate_explain(const struct candidates *c, const struct policy_input *in,
				     uint32_t i)
{
	struct policy_terms t = estimate_terms(c, in, i);

	t.total_ms = estimate_played_ms(c, in, i);
	return t;
}
