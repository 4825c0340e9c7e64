/*
 * Goal: rates are learned from wrong start values, and stay learned whatever outliers, stalls and
 * restarts come; predictions that fail are noticed; engines that look alike and are not are told
 * apart, those that have come to be alike are one kind again, and kinds are remembered.
 */
#include "lanes.h"

#include <math.h>

#include "brain/kinds.h"

/* What an engine really does. */
struct truth {
	double base_ms, token_ms, step_ms, kv_token_ms;
};

static const struct truth truth = { 9, 0.021, 11, 4e-5 };
static struct bb_rng random_;

static double noise(double share)
{
	return exp(share * (bb_rng_unit(&random_) + bb_rng_unit(&random_) - 1));
}

/* One first token and four gaps of an engine that is so much slower. */
static void sample(struct rates *r, struct rate_factors *f, double slowness, double odd_share)
{
	const double ahead = 20 + 6000 * bb_rng_unit(&random_) * bb_rng_unit(&random_);
	const double kv = 400000 * bb_rng_unit(&random_);
	const double gap = (truth.step_ms + truth.kv_token_ms * kv) * slowness;
	const double ttft = (truth.base_ms + ahead * truth.token_ms) * slowness + 0.5 * gap;
	const bool is_odd = bb_rng_unit(&random_) < odd_share;

	rates_learn_ttft(r, f, ahead, 8192, gap, is_odd ? ttft * 1000 : ttft * noise(0.3));
	for (int i = 0; i < 4; i++)
		rates_learn_gap(r, f, kv, is_odd ? 30000 : gap * noise(0.2));
}

static double worst_error(const struct rates *r, const struct rate_factors *f, double slowness)
{
	double worst = 0;

	for (double ahead = 50; ahead < 10000; ahead *= 2) {
		const double should = (truth.base_ms + ahead * truth.token_ms) * slowness;
		const double off = fabs(log(rates_ttft_ms(r, f->ttft, ahead, 1 / 8192.0, 0) / should));
		worst = off > worst ? off : worst;
	}
	for (double kv = 1000; kv < 500000; kv *= 2) {
		const double should = (truth.step_ms + truth.kv_token_ms * kv) * slowness;
		const double off = fabs(log(rates_gap_ms(r, f->gap, kv) / should));
		worst = off > worst ? off : worst;
	}
	return worst;
}

static int seed(void **state)
{
	bb_rng_seed(&random_, 3);
	return lanes_open(state);
}

static void learned_from_start_values_five_times_wrong(void **state)
{
	for (double wrong = 0.2; wrong < 6; wrong *= 5) {
		struct rate_factors f;
		struct rates r;
		rates_init(&r);
		rate_factors_init(&f);
		r.base_ms *= wrong, r.token_ms *= wrong, r.step_ms *= wrong, r.kv_token_ms *= wrong;
		for (int i = 0; i < 3000; i++)
			sample(&r, &f, 1, 0);
		assert_true(worst_error(&r, &f, 1) < 0.25);
		assert_true(f.error < 0.3 && !rates_are_off(&f));
	}
}

static void outliers_and_stalls_move_little(void **state)
{
	struct rate_factors f;
	struct rates r;

	rates_init(&r);
	rate_factors_init(&f);
	for (int i = 0; i < 3000; i++)
		sample(&r, &f, 1, 0.05);
	assert_true(worst_error(&r, &f, 1) < 0.25);
	const struct rates before = r;
	for (int i = 0; i < 10; i++) { /* a restart: ten requests had to wait for a minute */
		rates_learn_ttft(&r, &f, 500, 8192, 0, 60000);
		rates_learn_gap(&r, &f, 1000, 60000);
	}
	assert_true(fabs(log(r.base_ms / before.base_ms)) < 0.11);
	assert_true(fabs(log(r.step_ms / before.step_ms)) < 0.02);
	const double nonsense[] = { 0, -1, NAN, INFINITY };
	const struct rates good = r;
	for (unsigned i = 0; i < UNIT_COUNT(nonsense); i++) {
		rates_learn_ttft(&r, &f, 500, 8192, 0, nonsense[i]);
		rates_learn_gap(&r, &f, 500, nonsense[i]);
	}
	assert_memory_equal(&good, &r, sizeof(r));
	for (int i = 0; i < 100000; i++) { /* values stay what an engine can be */
		rates_learn_ttft(&r, &f, i % 2 ? 100000 : 1, 8192, 0, 1e30);
		rates_learn_gap(&r, &f, i % 2 ? 1e7 : 1, 1e-30);
	}
	assert_true(isfinite(rates_ttft_ms(&r, f.ttft, 1e9, 1, 1e9)));
	assert_true(r.step_ms > 0 && r.kv_token_ms > 0 && f.gap >= 0.25 && f.ttft <= 4);
}

static void failing_predictions_are_noticed(void **state)
{
	struct rate_factors f;
	struct rates r;

	rates_init(&r);
	rate_factors_init(&f);
	for (int i = 0; i < 2000; i++)
		sample(&r, &f, 1, 0);
	assert_false(rates_are_off(&f));
	for (int i = 0; i < 400; i++) /* now and then ten times as long, now and then a tenth */
		sample(&r, &f, i % 2 ? 10 : 0.1, 0);
	assert_true(rates_are_off(&f));
	for (int i = 0; i < 400; i++)
		sample(&r, &f, 1, 0);
	assert_false(rates_are_off(&f));
}

static void small_differences_are_noise(void **state)
{
	struct rate_factors f;
	struct rates r;

	rates_init(&r);
	rate_factors_init(&f);
	for (int i = 0; i < 2000; i++) {
		const double before = f.ttft_used;
		sample(&r, &f, i < 1000 ? 1 : 3, 0);
		assert_true(fabs(log(f.ttft_used / before)) < 0.012); /* no jumps */
		if (f.ttft < 1.1 && f.ttft > 0.91)
			assert_true(f.ttft_used == 1);
		else
			assert_true(fabs(fabs(log(f.ttft / f.ttft_used)) - log(1.1)) < 1e-9);
	}
}

/* ---- kinds ---- */

static struct kinds *kinds;

static int kinds_open(void **state)
{
	seed(state);
	return kinds_create(&kinds);
}

static int kinds_close(void **state)
{
	kinds_destroy(kinds);
	return 0;
}

static const struct kind_key key = { .model = 1, .engine = 2, .sequences_max = 256 };

static void kinds_are_found_again(void **state)
{
	struct kind_key other = key;
	const uint32_t a = kinds_get(kinds, &key);

	other.kv_tokens_max = 1;
	assert_int_equal(kinds_get(kinds, &key), a);
	const uint32_t b = kinds_get(kinds, &other);
	assert_int_not_equal(a, b);
	kinds_rates(kinds, b)->base_ms = 77;
	kinds_put(kinds, b);
	assert_int_equal(kinds_count(kinds), 1);
	assert_int_equal(kinds_get(kinds, &other), b); /* restarted: nothing was forgotten */
	assert_true(kinds_rates(kinds, b)->base_ms == 77);
}

static void kinds_are_shared_when_the_table_is_full(void **state)
{
	struct kind_key k = key;
	const uint32_t first = kinds_get(kinds, &key);

	for (uint32_t i = 1; i < KINDS_MAX; i++) {
		k.model = 100 + i;
		kinds_get(kinds, &k);
	}
	assert_int_equal(kinds_count(kinds), KINDS_MAX);
	k = key;
	k.step_tokens = 5;
	assert_int_equal(kinds_get(kinds, &k), first); /* the model's other one */
	k.model = 9999;
	const uint32_t any = kinds_get(kinds, &k);
	assert_true(any < KINDS_MAX);
	kinds_put(kinds, any);
	k.model = 101;
	k.step_tokens = 0;
	const uint32_t old = kinds_get(kinds, &k);
	kinds_put(kinds, old);
	kinds_put(kinds, old); /* nobody's now: its place is taken */
	k.model = 4321;
	assert_int_equal(kinds_get(kinds, &k), old);
	assert_true(kinds_rates(kinds, old)->base_ms == 15);
}

static uint32_t lane_kinds[LANES];

static void lanes_learn(uint32_t samples, const double *slowness)
{
	for (uint32_t n = 0; n < samples; n++) {
		const uint32_t i = (uint32_t)bb_rng_below(&random_, 8);
		sample(lanes[i].rates, &lanes[i].factors, slowness[i], 0.02);
		lane_kinds[i] = kinds_review(kinds, &lanes[i], lane_kinds[i]);
		assert_ptr_equal(lanes[i].rates, kinds_rates(kinds, lane_kinds[i]));
	}
}

static void lanes_begin(void)
{
	for (int i = 0; i < 8; i++) {
		lane_kinds[i] = kinds_get(kinds, &key);
		lane_init(&lanes[i], kinds_rates(kinds, lane_kinds[i]), &lengths);
	}
}

static void equal_engines_stay_one_kind(void **state)
{
	static const double equal[8] = { 1, 1, 1, 1, 1.1, 1.1, 0.95, 0.95 };

	lanes_begin();
	lanes_learn(50000, equal);
	assert_int_equal(kinds_count(kinds), 1);
	for (int i = 0; i < 8; i++)
		assert_true(worst_error(lanes[i].rates, &lanes[i].factors, equal[i]) < 0.3);
}

static void unequal_engines_are_told_apart(void **state)
{
	static const double unequal[8] = { 1, 1, 1, 2.2, 1, 2.2, 1, 1 };
	static const double equal[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };

	lanes_begin();
	lanes_learn(50000, unequal);
	assert_int_equal(kinds_count(kinds), 2);
	assert_int_equal(lane_kinds[3], lane_kinds[5]); /* the slow ones learn together */
	assert_int_not_equal(lane_kinds[3], lane_kinds[0]);
	for (int i = 0; i < 8; i++)
		assert_true(worst_error(lanes[i].rates, &lanes[i].factors, unequal[i]) < 0.25);
	lanes_learn(50000, equal); /* the slow ones were exchanged */
	assert_int_equal(kinds_count(kinds), 1);
	assert_true(worst_error(lanes[5].rates, &lanes[5].factors, 1) < 0.25);
}

static void half_of_each_is_two_kinds(void **state)
{
	static const double halves[8] = { 1, 3, 1, 3, 1, 3, 1, 3 };

	lanes_begin();
	lanes_learn(60000, halves);
	for (int i = 0; i < 8; i++)
		assert_true(worst_error(lanes[i].rates, &lanes[i].factors, halves[i]) < 0.3);
	assert_in_range(kinds_count(kinds), 2, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(learned_from_start_values_five_times_wrong, seed),
		cmocka_unit_test_setup(outliers_and_stalls_move_little, seed),
		cmocka_unit_test_setup(failing_predictions_are_noticed, seed),
		cmocka_unit_test_setup(small_differences_are_noise, seed),
		cmocka_unit_test_setup_teardown(kinds_are_found_again, kinds_open, kinds_close),
		cmocka_unit_test_setup_teardown(kinds_are_shared_when_the_table_is_full, kinds_open,
						kinds_close),
		cmocka_unit_test_setup_teardown(equal_engines_stay_one_kind, kinds_open,
						kinds_close),
		cmocka_unit_test_setup_teardown(unequal_engines_are_told_apart, kinds_open,
						kinds_close),
		cmocka_unit_test_setup_teardown(half_of_each_is_two_kinds, kinds_open, kinds_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
