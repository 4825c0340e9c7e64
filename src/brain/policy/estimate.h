/*
 * estimate.h: what a candidate would take, in milliseconds: the terms that our own policies share.
 *
 * For: lookahead, cost_ms, pending. From the lane's sums and learned rates only, so that a thousand
 * candidates cost a few microseconds.
 *   ttft = rates_ttft_ms(pending + promised + own uncached) + limit + LoRA load
 *   limit = (requests − M + 1) × gap × mean output ÷ sequences_max, from M = sequences_max less a
 *           margin of 20 (at most 1/12) on, and, where the KV cache would overflow, the tokens that
 *           are missing ÷ tokens freed a millisecond. Slots and memory are queues of their own.
 * Source: the study behind docs/policies.md.
 * Threads: as the brain. Memory: none. Errors: none.
 */
#pragma once

#include "brain/policy/policy.h"

/* Costs of candidates that are only taken when there is no other; each keeps an order. */
#define ESTIMATE_AFTER 1e12
#define ESTIMATE_FULL 1e15

/* Tokens of the prompt that a lane must compute which holds so many of it; at least one. */
static inline double estimate_uncached(uint32_t cached, const struct policy_input *in)
{
	return cached < in->prompt_tokens ? (double)(int64_t)(in->prompt_tokens - cached) : 1;
}

#define ESTIMATE_COPY_PRICE 10

/*
 * Which engines come into question, and at what price: a TTFT of 3 % and 3 ms more than the least
 * is allowed, full engines not counted. An engine that lacks what another has cached may take so
 * much longer as computing that takes, for afterwards it has it too: each millisecond over the
 * bound then counts ESTIMATE_COPY_PRICE times, so a copy is made where it relieves a loaded engine
 * of many times its cost. Without that, one hot prompt stays where it was first.
 */
struct estimate {
	double bound_ms;
	double ttft_ms_most;  /* what takes longer is out of the question for sure */
	double copy_ms_most;  /* no copy can take longer */
	double cached_most;   /* tokens of this prompt, of all candidates */
	double total_ms_most; /* of the engine with the least TTFT: what costs more is no better */
	double output;	      /* tokens that are expected */
	bool is_off;	      /* more than half of the predictions are not to be trusted */
};

/*
 * Fills in ttft_ms of all candidates and total_ms of the quickest, and as `cost` what holds for
 * those that are out of the question: ESTIMATE_AFTER or, at the sequence limit, ESTIMATE_FULL, and
 * the TTFT.
 */
struct estimate estimate_all(const struct candidates *c, const struct policy_input *in,
			     double *cost);
/*
 * Added to a candidate's total; POLICY_NEVER: out of the question. Where it is not, total_ms is
 * filled in by the closed form: ttft + own decode + stall + slow-down.
 */
double estimate_price_ms(const struct candidates *c, const struct policy_input *in,
			 const struct estimate *e, uint32_t i);
/* What it adds to everybody's finish, played forward (play.h): what lookahead goes by. */
double estimate_played_ms(const struct candidates *c, const struct policy_input *in, uint32_t i);
/* The terms of one candidate but for total_ms; for explaining. */
struct policy_terms estimate_terms(const struct candidates *c, const struct policy_input *in,
				   uint32_t i);
/* All of them, total_ms as played. */
struct policy_terms estimate_explain(const struct candidates *c, const struct policy_input *in,
				     uint32_t i);
