/* Goal: exponential and logarithm are right to a few units in the last place, and fixed bit by bit.
 */
#include "unit.h"

#include <math.h>

#include "base/hash.h"
#include "brain/exact.h"

static void close_to_the_librarys(void **state)
{
	struct bb_rng rng;

	bb_rng_seed(&rng, 1);
	for (int i = 0; i < 200000; i++) {
		const double x = (bb_rng_unit(&rng) - 0.5) * (i % 2 ? 1400 : 4);
		const double y = exp(x);
		assert_true(fabs(exact_exp(x) - y) <= 4 * 0x1p-52 * y);
		const double z = exp((bb_rng_unit(&rng) - 0.5) * (i % 2 ? 1400 : 1));
		const double l = log(z);
		assert_true(fabs(exact_log(z) - l) <= 8 * 0x1p-52 * fmax(fabs(l), 0x1p-3));
	}
}

static void at_the_ends(void **state)
{
	assert_true(exact_exp(0) == 1);
	assert_true(exact_exp(-1000) == 0);
	assert_true(isinf(exact_exp(1000)));
	assert_true(isnan(exact_exp(NAN)));
	assert_true(exact_log(1) == 0);
	assert_true(isnan(exact_log(0)));
	assert_true(isnan(exact_log(-1)));
	assert_true(isnan(exact_log(INFINITY)));
}

/* The same bits in every build, on every machine: sums of bits over many values. */
static void fixed_bits(void **state)
{
	uint64_t sum = 0;

	for (int i = -20000; i < 20000; i++) {
		const double values[] = { exact_exp(i / 64.0), exact_log(i + 20001.5) };
		sum = bb_hash(values, sizeof(values), sum);
	}
	assert_int_equal(sum, 0x526b0f7ef3e0cd8f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(close_to_the_librarys),
		cmocka_unit_test(at_the_ends),
		cmocka_unit_test(fixed_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
