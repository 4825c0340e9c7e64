/*
 * Goal: what requests at an engine share is counted once while anybody holds it, apart for each
 * engine, and nothing is left when all are over, also when the table is full.
 */
#include "unit.h"

#include "base/hash.h"
#include "brain/shares.h"

#define BLOCKS 400

static struct shares *shares;

static int begin(void **state)
{
	return shares_create(&shares);
}

static int end(void **state)
{
	shares_destroy(shares);
	return 0;
}

/* Hashes of a prompt that is prefix `p` up to block `common`, and of its own from there on. */
static void chain(uint64_t *hashes, uint64_t p, uint32_t common, uint64_t own)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		const uint64_t of[2] = { i < common ? p : own + (1ull << 40), i };
		hashes[i] = bb_hash(of, sizeof(of), 1);
	}
}

static void a_common_prefix_is_counted_once(void **state)
{
	struct share_refs a, b, c;
	uint64_t hashes[BLOCKS];

	chain(hashes, 1, BLOCKS, 0);
	assert_int_equal(shares_take(shares, 0, hashes, 256, 4096, &a), 4096);
	assert_int_equal(shares_take(shares, 0, hashes, 256, 4096, &b), 0);
	assert_int_equal(shares_take(shares, 1, hashes, 256, 4096, &c), 4096); /* another engine */
	assert_int_equal(shares_give(shares, &a), 0); /* the first may leave first */
	assert_int_equal(shares_give(shares, &b), 4096);
	assert_int_equal(shares_give(shares, &b), 0); /* it is over already */
	assert_int_equal(shares_give(shares, &c), 4096);
	assert_int_equal(shares_take(shares, 0, hashes, 0, 0, &a), 0);
	assert_int_equal(shares_give(shares, &a), 0);
}

static void conversations_share_their_beginning(void **state)
{
	struct share_refs refs[50];
	uint64_t hashes[BLOCKS];
	uint32_t taken = 0, given = 0;

	for (uint64_t i = 0; i < 50; i++) { /* 128 blocks in common, and 92 of each */
		chain(hashes, 7, 128, i);
		taken += shares_take(shares, 3, hashes, 220, 3520, &refs[i]);
	}
	assert_int_equal(taken, 128 * 16 + 50 * 92 * 16);
	for (int i = 0; i < 50; i++)
		given += shares_give(shares, &refs[i]);
	assert_int_equal(given, taken);
}

static void nothing_is_left_when_the_table_overflows(void **state)
{
	static struct share_refs refs[40000];
	uint64_t hashes[BLOCKS], taken = 0, given = 0;

	for (uint64_t i = 0; i < 40000; i++) { /* 160,000 pieces for 65,536 rows */
		chain(hashes, 1, 0, i);
		const uint32_t tokens =
			shares_take(shares, (uint32_t)i % 7, hashes, 250, 4000, &refs[i]);
		assert_int_equal(tokens, 4000);
		taken += tokens;
	}
	for (int i = 39999; i >= 0; i--)
		given += shares_give(shares, &refs[i]);
	assert_true(given == taken);
	struct share_refs a, b; /* and there is room again */
	chain(hashes, 5, BLOCKS, 0);
	assert_int_equal(shares_take(shares, 0, hashes, 400, 6400, &a), 6400);
	assert_int_equal(shares_take(shares, 0, hashes, 400, 6400, &b), 0);
}

static void random_ones_balance(void **state)
{
	static struct share_refs refs[512];
	static bool is_live[512];
	static uint32_t alone[512];
	uint64_t hashes[BLOCKS], most = 0;
	int64_t held = 0;
	struct bb_rng rng;

	bb_rng_seed(&rng, 2);
	for (int n = 0; n < 40000; n++) {
		const uint64_t at = bb_rng_below(&rng, 512);
		if (is_live[at]) {
			held -= shares_give(shares, &refs[at]);
			most -= alone[at];
		} else {
			const uint32_t blocks = 1 + (uint32_t)bb_rng_below(&rng, BLOCKS);
			chain(hashes, bb_rng_below(&rng, 20), (uint32_t)bb_rng_below(&rng, BLOCKS),
			      at);
			alone[at] = blocks * 16;
			held += shares_take(shares, at % 5, hashes, blocks, alone[at], &refs[at]);
			most += alone[at];
		}
		is_live[at] = !is_live[at];
		assert_true(held >= 0 && held <= (int64_t)most);
	}
	for (int i = 0; i < 512; i++)
		held -= is_live[i] ? shares_give(shares, &refs[i]) : 0;
	assert_int_equal(held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_common_prefix_is_counted_once, begin, end),
		cmocka_unit_test_setup_teardown(conversations_share_their_beginning, begin, end),
		cmocka_unit_test_setup_teardown(nothing_is_left_when_the_table_overflows, begin,
						end),
		cmocka_unit_test_setup_teardown(random_ones_balance, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
