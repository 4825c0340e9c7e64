#include "brain/rates.h"

#include <math.h>

#include "brain/exact.h"

/* Sizes of steps, as shares: large while little is known. From the study (facts of rates.h). */
#define TTFT_SAMPLES_EARLY 300
#define TTFT_STEP_EARLY 0.05
#define TTFT_STEP 0.01
#define GAP_SAMPLES_EARLY 2000
#define GAP_STEP_EARLY 0.01
#define GAP_STEP 0.001
#define KV_MEAN_WEIGHT 0.003
#define TTFT_FACTOR_STEP 0.01
#define TTFT_FACTOR_DECAY 0.998
#define GAP_FACTOR_STEP 0.001
#define GAP_FACTOR_DECAY 0.9995
#define FACTOR_MAX 4.0
#define NOISE 1.1
#define ERROR_STEP 0.02
#define ERROR_MAX 0.7
#define ERROR_SAMPLES_MIN 50
#define APART_FACTOR 1.3
#define APART_SAMPLES 200

void rates_init(struct rates *r)
{
	*r = (struct rates){ .base_ms = 15, .token_ms = 0.03, .step_ms = 8, .kv_token_ms = 2e-5 };
}

void rate_factors_init(struct rate_factors *f)
{
	*f = (struct rate_factors){ .ttft = 1, .gap = 1, .ttft_used = 1, .gap_used = 1 };
}

static double clamp(double value, double least, double most)
{
	return value < least ? least : value > most ? most : value;
}

/* One step up or down, within what engines can be: from a fast GPU to a slow processor. */
static void nudge(double *value, double step, double least, double most)
{
	*value = clamp(*value * exact_exp(step), least, most);
}

static void factor_nudge(double *factor, double *used, double step, double decay)
{
	*factor = clamp(exact_exp((exact_log(*factor) + step) * decay), 1 / FACTOR_MAX, FACTOR_MAX);
	*used = *factor > NOISE ? *factor / NOISE : *factor * NOISE < 1 ? *factor * NOISE : 1;
}

static double sign_of(double actual, double predicted)
{
	return actual > predicted ? 1 : actual < predicted ? -1 : 0;
}

static void learn_error(struct rate_factors *f, double actual_ms, double predicted_ms)
{
	const double off = fabs(exact_log(actual_ms / predicted_ms));

	f->error = clamp(f->error + ERROR_STEP * sign_of(off, f->error), 0, 10);
	f->samples++;
}

static void count_apart(struct rate_factors *f)
{
	if (f->ttft > APART_FACTOR || f->ttft * APART_FACTOR < 1)
		f->apart += f->apart < UINT32_MAX;
	else
		f->apart = 0;
}

void rates_learn_ttft(struct rates *r, struct rate_factors *f, double ahead, double step_tokens,
		      double gap_ms, double actual_ms)
{
	const double predicted = rates_ttft_ms(r, f->ttft, ahead, 1 / step_tokens, gap_ms);
	const double sign = sign_of(actual_ms, predicted);
	const bool is_early = r->ttft_samples < TTFT_SAMPLES_EARLY;
	const double step = (is_early ? TTFT_STEP_EARLY : TTFT_STEP) * sign;

	if (!(actual_ms > 0) || !isfinite(actual_ms))
		return;
	/* What the larger part of the time went to is what was misjudged. */
	if (ahead * r->token_ms > 2 * r->base_ms)
		nudge(&r->token_ms, step, 1e-5, 1000);
	else
		nudge(&r->base_ms, step, 0.05, 60000);
	r->ttft_samples++;
	learn_error(f, actual_ms, predicted);
	if (is_early)
		return;
	factor_nudge(&f->ttft, &f->ttft_used, TTFT_FACTOR_STEP * sign, TTFT_FACTOR_DECAY);
	count_apart(f);
}

void rates_learn_gap(struct rates *r, struct rate_factors *f, double kv_tokens, double actual_ms)
{
	const double sign = sign_of(actual_ms, rates_gap_ms(r, f->gap, kv_tokens));
	const bool is_early = r->gap_samples < GAP_SAMPLES_EARLY;
	const double step = (is_early ? GAP_STEP_EARLY : GAP_STEP) * sign;

	if (!(actual_ms > 0) || !isfinite(actual_ms))
		return;
	/*
	 * Two points make a line: the scalar of KV tokens is fitted where there are many of them,
	 * the other where there are few. (Fitting the one with the larger part leaves it too small
	 * for good where it was too small at first.)
	 */
	const double weight = r->gap_samples ? KV_MEAN_WEIGHT : 1;
	r->kv_mean += weight * (kv_tokens - r->kv_mean);
	if (kv_tokens > r->kv_mean)
		nudge(&r->kv_token_ms, step, 1e-10, 1);
	else
		nudge(&r->step_ms, step, 0.01, 60000);
	r->gap_samples++;
	factor_nudge(&f->gap, &f->gap_used, GAP_FACTOR_STEP * sign, GAP_FACTOR_DECAY);
}

bool rates_are_off(const struct rate_factors *f)
{
	return f->samples >= ERROR_SAMPLES_MIN && f->error > ERROR_MAX;
}

bool rates_are_apart(const struct rate_factors *f)
{
	return f->apart >= APART_SAMPLES;
}
