/* Goal: the hash is XXH3 with its key; the generator is xoshiro256** with published values, even and repeatable. */
#include "unit.h"

#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* From the reference implementation: the empty input with seed 0. */
/* Long inputs go another way where the processor can: the same values, from the specification's code. */
static void long_inputs_are_xxh3_as_well(void **state)
{
	static unsigned char text[9000];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (unsigned char)(i * 131 + (i >> 7));
	for (size_t size = 0; size <= sizeof(text); size += size < 600 ? 1 : 97) {
		const uint64_t key = size * 0x9e3779b97f4a7c15u;
		assert_true(bb_hash(text, size, key) == XXH3_64bits_withSeed(text, size, key));
	}
}

static void the_hash_is_xxh3(void **state)
{
	assert_true(bb_hash("", 0, 0) == 0x2d06800538d394c2u);
	assert_true(bb_hash(NULL, 0, 0) == 0x2d06800538d394c2u);
}

static void key_and_every_byte_matter(void **state)
{
	char text[300] = { 0 };
	const uint64_t plain = bb_hash(text, sizeof(text), 1);

	assert_true(plain != bb_hash(text, sizeof(text), 2));
	assert_true(plain != bb_hash(text, sizeof(text) - 1, 1));
	for (size_t i = 0; i < sizeof(text); i++) {
		text[i] = 1;
		assert_true(plain != bb_hash(text, sizeof(text), 1));
		text[i] = 0;
	}
	assert_true(plain == bb_hash(text, sizeof(text), 1));
}

/* The first outputs for the state 1, 2, 3, 4, as the algorithm's definition gives them. */
static void the_generator_is_xoshiro256_starstar(void **state)
{
	struct bb_rng r = { { 1, 2, 3, 4 } };

	assert_true(bb_rng_next(&r) == 11520);
	assert_true(bb_rng_next(&r) == 0);
	assert_true(bb_rng_next(&r) == 1509978240);
	assert_true(bb_rng_next(&r) == 1215971899390074240);
}

static void same_seed_same_numbers(void **state)
{
	struct bb_rng a, b, c;
	int differ = 0;

	bb_rng_seed(&a, 7);
	bb_rng_seed(&b, 7);
	bb_rng_seed(&c, 8);
	for (int i = 0; i < 1000; i++) {
		const uint64_t n = bb_rng_next(&a);
		assert_true(n == bb_rng_next(&b));
		differ += n != bb_rng_next(&c);
	}
	assert_true(differ > 990);
	bb_rng_seed(&a, 0); /* zero is a seed like any other: the state must not be zero */
	assert_true(bb_rng_next(&a) | bb_rng_next(&a));
}

static void bounds_and_evenness(void **state)
{
	struct bb_rng r;
	unsigned seen[7] = { 0 };
	double sum = 0;

	bb_rng_seed(&r, 1);
	for (int i = 0; i < 70000; i++) {
		const uint64_t n = bb_rng_below(&r, 7);
		assert_true(n < 7);
		seen[n]++;
		const double u = bb_rng_unit(&r);
		assert_true(u >= 0 && u < 1);
		sum += u;
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 9600, 10400); /* four standard deviations */
	assert_true(sum > 34500 && sum < 35500);
	assert_int_equal(bb_rng_below(&r, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hash_is_xxh3),
		cmocka_unit_test(long_inputs_are_xxh3_as_well),
		cmocka_unit_test(key_and_every_byte_matter),
		cmocka_unit_test(the_generator_is_xoshiro256_starstar),
		cmocka_unit_test(same_seed_same_numbers),
		cmocka_unit_test(bounds_and_evenness),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
