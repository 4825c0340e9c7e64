/*
 * lookahead (the default): each engine is played forward with and without this request (play.h);
 * the one where it adds least to the sum of everybody's finish times is taken, among those whose
 * predicted TTFT is near the least (estimate.h: 3 % + 3 ms, and copies at a price); ties to fewer
 * requests. When more than PLAYED engines come into question, the closed form of cost_ms says which
 * of them are played, however many there are. An engine at its sequence limit is taken when all
 * are. Where predictions have failed, `pending`. Source: the study behind docs/policies.md, §5.
 */
#include "brain/policy/estimate.h"

#define PLAYED 8
#define TIE_MS 1e-6 /* of a request in flight, beside equal totals */

struct best {
	uint32_t row[PLAYED];
	double price_ms[PLAYED], total_ms[PLAYED];
	uint32_t count;
};

static void best_add(struct best *b, uint32_t row, double price_ms, double total_ms)
{
	uint32_t at = b->count;

	if (at == PLAYED) {
		if (total_ms >= b->total_ms[PLAYED - 1])
			return;
		at--;
	} else {
		b->count++;
	}
	for (; at > 0 && b->total_ms[at - 1] > total_ms; at--) {
		b->row[at] = b->row[at - 1];
		b->price_ms[at] = b->price_ms[at - 1];
		b->total_ms[at] = b->total_ms[at - 1];
	}
	b->row[at] = row;
	b->price_ms[at] = price_ms;
	b->total_ms[at] = total_ms;
}

static void choose_of(struct best *b, const struct candidates *c, const struct policy_input *in,
		      const struct estimate *e, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		if (c->ttft_ms[i] > e->ttft_ms_most)
			continue; /* most of many */
		const double price_ms = estimate_price_ms(c, in, e, i);
		if (price_ms < POLICY_NEVER)
			best_add(b, i, price_ms, price_ms + c->total_ms[i]);
	}
}

/* From a random place on, so that of many equal engines not always the same are played. */
static void choose(struct best *b, const struct candidates *c, const struct policy_input *in,
		   const struct estimate *e)
{
	const uint32_t from = c->count > PLAYED ? (uint32_t)bb_rng_below(in->rng, c->count) : 0;

	choose_of(b, c, in, e, from, c->count);
	choose_of(b, c, in, e, 0, from);
}

static void score(const struct candidates *c, const struct policy_input *in, double *cost)
{
	struct best best = { .count = 0 };
	const struct estimate e = estimate_all(c, in, cost);

	if (e.is_off) {
		policy_pending.score(c, in, cost);
		return;
	}
	choose(&best, c, in, &e);
	for (uint32_t k = 0; k < best.count; k++) {
		const uint32_t i = best.row[k];
		if (best.count > 1)
			c->total_ms[i] = estimate_played_ms(c, in, i);
		cost[i] = c->total_ms[i] + best.price_ms[k] + TIE_MS * c->lane[i]->requests;
	}
}

const struct policy policy_lookahead = {
	.name = "lookahead",
	.text = "the least added latency for all, played forward, among the quickest to a first "
		"token",
	.holds = true,
	.uses_cache = true,
	.predicts = true,
	.score = score,
};
