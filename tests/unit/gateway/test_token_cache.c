/*
 * Goal: what was put in is found until its end and not a second longer, nothing else is ever found,
 * and a full cache forgets what was not used for longest.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "gateway/token_cache.h"

static struct token_cache *cache;

static int setup(void **state)
{
	return token_cache_create(&cache);
}

static int teardown(void **state)
{
	token_cache_destroy(cache);
	token_cache_destroy(NULL);
	return 0;
}

/* `set` decides where in the cache it belongs. */
static struct key_digest digest_of(uint32_t set, uint32_t number)
{
	struct key_digest d = { { 0 } };

	memcpy(d.bytes, &set, sizeof(set));
	memcpy(d.bytes + 8, &number, sizeof(number));
	return d;
}

static struct jwt_claims claims_of(uint32_t number, uint64_t valid_until_s)
{
	struct jwt_claims c = { .valid_until_s = valid_until_s };

	c.tenant_len = (uint32_t)snprintf(c.tenant, sizeof(c.tenant), "t%u", number);
	return c;
}

static void put(uint32_t set, uint32_t number, uint64_t valid_until_s)
{
	const struct key_digest d = digest_of(set, number);
	const struct jwt_claims c = claims_of(number, valid_until_s);

	token_cache_put(cache, &d, &c);
}

static bool has(uint32_t set, uint32_t number, uint64_t now_s)
{
	const struct key_digest d = digest_of(set, number);
	const struct jwt_claims *c = token_cache_find(cache, &d, now_s),
				wanted = claims_of(number, 0);

	if (c)
		assert_string_equal(c->tenant, wanted.tenant);
	return c != NULL;
}

static void test_time(void **state)
{
	assert_false(has(7, 1, 0));
	put(7, 1, 100);
	assert_true(has(7, 1, 0));
	assert_true(has(7, 1, 99));
	assert_false(has(7, 1, 100));
	assert_false(has(7, 1, 99)); /* it is gone */
	put(7, 1, 100);
	put(7, 1, 200); /* again: the later word counts */
	assert_true(has(7, 1, 199));
	token_cache_clear(cache);
	assert_false(has(7, 1, 0));
}

/* Each bit of a digest matters. */
static void test_exact(void **state)
{
	struct key_digest d = digest_of(9, 9);
	const struct jwt_claims c = claims_of(9, 100);

	token_cache_put(cache, &d, &c);
	for (int bit = 0; bit < 8 * KEY_DIGEST_SIZE; bit++) {
		d.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_null(token_cache_find(cache, &d, 0));
		d.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_non_null(token_cache_find(cache, &d, 0));
}

static void test_full(void **state)
{
	for (uint32_t i = 0; i < 4; i++)
		put(3, i, 100);
	assert_true(has(3, 0, 0)); /* used: 1 is the oldest now */
	put(3, 4, 100);
	assert_false(has(3, 1, 0));
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(has(3, i, 0), i != 1);
	assert_false(has(3, 2, 100)); /* over: its place is free */
	put(3, 5, 200);
	assert_true(has(3, 0, 0) && has(3, 3, 0) && has(3, 4, 0) && has(3, 5, 0));
}

/* Against a plain table: the cache may forget, and never says what was not put in. */
static void test_random(void **state)
{
	enum { TOKENS = 3000 };
	static uint64_t ends[TOKENS];
	struct bb_rng rng;
	unsigned found = 0;

	bb_rng_seed(&rng, 1);
	for (uint64_t step = 0; step < 200000; step++) {
		const uint32_t n = (uint32_t)bb_rng_below(&rng, TOKENS);
		const uint64_t now_s = step / 100;
		if (bb_rng_below(&rng, 2)) {
			ends[n] = now_s + bb_rng_below(&rng, 300);
			put(n * 2654435761u, n, ends[n]);
		} else if (has(n * 2654435761u, n, now_s)) {
			assert_true(now_s < ends[n]);
			found++;
		}
	}
	assert_true(found > 10000);
}

static void test_no_memory(void **state)
{
	struct token_cache *c = NULL;

	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	assert_int_equal(token_cache_create(&c), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_null(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time),	  cmocka_unit_test(test_exact),
		cmocka_unit_test(test_full),	  cmocka_unit_test(test_random),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
