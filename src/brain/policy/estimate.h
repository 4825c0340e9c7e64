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

static inline double estimate_uncached(const struct candidates *c, const struct policy_input *in,
				       uint32_t i)
{
	return c->cached[i] < in->prompt_tokens ? (double)(in->prompt_tokens - c->cached[i]) : 1;
}

/* Cost of a candidate that is out of the question: those that are not full first. */
static inline double estimate_last(const struct candidates *c, uint32_t i)
{
	return (lane_is_full(c->lane[i]) ? ESTIMATE_FULL : ESTIMATE_AFTER) + c->terms[i].ttft_ms;
}

/* Fills in the terms of all candidates but total_ms. */
void estimate_ttft(const struct candidates *c, const struct policy_input *in);
/*
 * Which engines come into question, and at what price: `bound` allows a TTFT of 5 % and 10 ms more
 * than the least, full engines not counted. An engine that lacks what another has cached may take
 * so much longer as computing that takes, for afterwards it has it too: each millisecond over the
 * bound then counts ESTIMATE_COPY_PRICE times, so a copy is made where it relieves a loaded engine
 * of many times its cost. Without that, one hot prompt stays where it was first.
 */
#define ESTIMATE_COPY_PRICE 10

struct estimate_bound {
	double ttft_ms;
	double cached_most; /* tokens of this prompt, of all candidates */
};

struct estimate_bound estimate_bound(const struct candidates *c);
/* Added to a candidate's total; POLICY_NEVER: out of the question. */
double estimate_price_ms(const struct candidates *c, const struct estimate_bound *b, uint32_t i);
/* What it adds to everybody's finish, in a closed form: ttft + own decode + stall + slow-down. */
double estimate_total_ms(const struct candidates *c, const struct policy_input *in, uint32_t i);
/* The same, played forward (play.h): what lookahead goes by. */
double estimate_played_ms(const struct candidates *c, const struct policy_input *in, uint32_t i);
/* More than half of the candidates' predictions are not to be trusted. */
bool estimate_is_off(const struct candidates *c);
