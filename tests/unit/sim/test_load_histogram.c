/*
 * Goal: percentiles of the load generator are within 0.1 % of the true ones over the whole range,
 * from single nanoseconds to above the maximum.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "sim/load_histogram.h"

static int setup(void **state)
{
	*state = bb_alloc_zero(1, sizeof(struct load_histogram));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	bb_free(*state);
	return 0;
}

static void assert_near(uint64_t got, uint64_t truth)
{
	assert_true(got <= truth);
	assert_true(truth - got <= truth / 1024);
}

static void empty_gives_zero(void **state)
{
	const struct load_histogram *h = *state;

	assert_int_equal(load_histogram_quantile_ns(h, 0.5), 0);
	assert_int_equal(load_histogram_mean_ns(h), 0);
}

static void small_values_are_exact(void **state)
{
	struct load_histogram *h = *state;

	for (uint64_t v = 1; v <= 1000; v++)
		load_histogram_add(h, v);
	assert_int_equal(load_histogram_quantile_ns(h, 0), 1);
	assert_int_equal(load_histogram_quantile_ns(h, 0.5), 500);
	assert_int_equal(load_histogram_quantile_ns(h, 0.9), 900);
	assert_int_equal(load_histogram_quantile_ns(h, 0.999), 999);
	assert_int_equal(load_histogram_quantile_ns(h, 1), 1000);
	assert_int_equal(load_histogram_mean_ns(h), 500); /* 500.5, rounded down */
	assert_int_equal(h->max_ns, 1000);
}

/* Both sides of each power of two, where rows begin. */
static void every_power_of_two_is_near(void **state)
{
	struct load_histogram *h = *state;

	for (unsigned e = 1; e < LOAD_HISTOGRAM_BITS; e++) {
		const uint64_t values[] = { (1ull << e) - 1, 1ull << e, (1ull << e) + 1 };
		for (size_t i = 0; i < 3; i++) {
			*h = (struct load_histogram){ 0 };
			load_histogram_add(h, values[i]);
			assert_near(load_histogram_quantile_ns(h, 0.5), values[i]);
		}
	}
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void quantiles_of_random_values_are_near(void **state)
{
	enum { COUNT = 10000 };
	static const struct {
		double q;
		size_t rank;
	} cases[] = { { 0.5, 5000 }, { 0.9, 9000 }, { 0.99, 9900 }, { 0.999, 9990 }, { 1, 10000 } };
	struct load_histogram *h = *state;
	struct bb_rng rng;
	uint64_t *values = bb_alloc_zero(COUNT, sizeof(*values));

	assert_non_null(values);
	bb_rng_seed(&rng, 11);
	for (size_t i = 0; i < COUNT; i++) {
		values[i] = bb_rng_next(&rng) >> (25 + bb_rng_below(&rng, 38));
		load_histogram_add(h, values[i]);
	}
	qsort(values, COUNT, sizeof(*values), by_value);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_near(load_histogram_quantile_ns(h, cases[i].q), values[cases[i].rank - 1]);
	bb_free(values);
}

static void above_the_maximum_is_the_maximum(void **state)
{
	struct load_histogram *h = *state;

	load_histogram_add(h, UINT64_MAX / 2);
	load_histogram_add(h, LOAD_HISTOGRAM_MAX_NS);
	assert_near(load_histogram_quantile_ns(h, 1), LOAD_HISTOGRAM_MAX_NS);
	assert_int_equal(h->max_ns, UINT64_MAX / 2);
	assert_int_equal(h->count, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(empty_gives_zero, setup, teardown),
		cmocka_unit_test_setup_teardown(small_values_are_exact, setup, teardown),
		cmocka_unit_test_setup_teardown(every_power_of_two_is_near, setup, teardown),
		cmocka_unit_test_setup_teardown(quantiles_of_random_values_are_near, setup, teardown),
		cmocka_unit_test_setup_teardown(above_the_maximum_is_the_maximum, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
