/*
 * rates.h: how long a kind of engine takes, learned from what it does.
 *
 * For: lane.c, play.c and the policies. Four scalars for each kind of engine, and two clamped
 * factors for each lane; median tracking by sign steps: ttft = (qb + T·qr + S·itl/2) × f and
 * itl = (qa + qc·K) × g, with T uncached tokens ahead and own, S steps, K KV tokens in use. Each
 * sample moves one value by a small step up or down, whichever way it was off: one outlier moves it
 * by at most one step, so stalls, restarts and engines at their limits do no harm, and nothing
 * winds up. Regression per engine was tried in a study of routing rules and diverged: an engine
 * that is judged slow gets no traffic and never recovers. So scalars are shared, and factors decay
 * to 1. Threads: as the brain. Memory: none. Errors: none; all values stay finite and above zero.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rates {
	double base_ms;	    /* qb: start 15 */
	double token_ms;    /* qr: of a prompt's uncached token; start 0.03 */
	double step_ms;	    /* qa: of a step that only generates; start 8 */
	double kv_token_ms; /* qc: more for each KV token in use; start 2e-5 */
	double kv_mean;	    /* KV tokens of the samples of gaps, on average */
	uint64_t ttft_samples, gap_samples;
};

/* Of one lane. */
struct rate_factors {
	/* As decisions use them: what is within 10 % of 1 is noise, and equal engines are equal. */
	double gap_used, ttft_used;
	double ttft, gap; /* 0.25 … 4; 1 at start; decay to 1 */
	double error; /* running median of |ln(actual ÷ predicted)| of its first tokens */
	uint64_t samples;
	uint32_t apart; /* samples in a row in which `ttft` was beyond 1.3 or below 0.77 */
};

void rates_init(struct rates *r);
void rate_factors_init(struct rate_factors *f);

/* Between two tokens of a stream while streams hold so many tokens. */
static inline double rates_gap_ms(const struct rates *r, double factor, double kv_tokens)
{
	return (r->step_ms + r->kv_token_ms * kv_tokens) * factor;
}

/* First token after `ahead` uncached tokens (own ones included); gap_ms is 0 when nothing
 * generates. */
static inline double rates_ttft_ms(const struct rates *r, double factor, double ahead,
				   double steps_per_token, double gap_ms)
{
	const double steps = 1 + (double)(int64_t)(ahead * steps_per_token);

	return (r->base_ms + ahead * r->token_ms + 0.5 * steps * gap_ms) * factor;
}

void rates_learn_ttft(struct rates *r, struct rate_factors *f, double ahead, double step_tokens,
		      double gap_ms, double actual_ms);
void rates_learn_gap(struct rates *r, struct rate_factors *f, double kv_tokens, double actual_ms);
/* Predictions of this lane have been too far off for too long: the parameter-free rule is safer. */
bool rates_are_off(const struct rate_factors *f);
/* It has been faster or slower than its kind for so long that it is of another kind. */
bool rates_are_apart(const struct rate_factors *f);
