/*
 * Goal: blocks are found by their names as long as they keep them, are reused in the right order,
 * and their names are told when they are lost, never otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "sim/sim_blocks.h"

struct removals {
	uint64_t hashes[8];
	uint32_t count;
};

static void on_removed(void *ctx, uint64_t hash)
{
	struct removals *r = ctx;

	assert_true(r->count < 8);
	r->hashes[r->count++] = hash;
}

static void test_order_of_reuse(void **state)
{
	struct removals removed = { 0 };
	struct sim_blocks *p;
	uint32_t b[3];

	assert_int_equal(sim_blocks_create(3, on_removed, &removed, &p), 0);
	for (uint32_t i = 0; i < 3; i++)
		b[i] = sim_blocks_take(p);
	assert_int_equal(sim_blocks_take(p), SIM_NO_BLOCK);
	assert_int_equal(sim_blocks_free_count(p), 0);
	assert_true(sim_blocks_name(p, b[0], 100));
	assert_true(sim_blocks_name(p, b[1], 101));
	sim_blocks_put(p, b[1]);
	sim_blocks_put(p, b[0]);
	sim_blocks_put(p, b[2]);
	assert_int_equal(removed.count, 0);
	/* The nameless one first, then the one that has been free longest. */
	assert_int_equal(sim_blocks_take(p), b[2]);
	assert_int_equal(sim_blocks_take(p), b[1]);
	assert_int_equal(removed.count, 1);
	assert_true(removed.hashes[0] == 101);
	assert_int_equal(sim_blocks_find(p, 101), SIM_NO_BLOCK);
	assert_int_equal(sim_blocks_find(p, 100), b[0]);
	sim_blocks_destroy(p);
}

static void test_holders(void **state)
{
	struct removals removed = { 0 };
	struct sim_blocks *p;

	assert_int_equal(sim_blocks_create(2, on_removed, &removed, &p), 0);
	const uint32_t block = sim_blocks_take(p);
	assert_true(sim_blocks_name(p, block, 7));
	sim_blocks_hold(p, block);
	sim_blocks_put(p, block);
	assert_true(sim_blocks_is_held(p, block));
	sim_blocks_put(p, block);
	assert_false(sim_blocks_is_held(p, block));
	assert_int_equal(sim_blocks_free_count(p), 2);
	/* Found again while it is free: it is out of the list and cannot be taken. */
	sim_blocks_hold(p, sim_blocks_find(p, 7));
	assert_int_not_equal(sim_blocks_take(p), block);
	assert_int_equal(sim_blocks_take(p), SIM_NO_BLOCK);
	assert_int_equal(removed.count, 0);
	sim_blocks_destroy(p);
}

static void test_one_name_one_block(void **state)
{
	struct sim_blocks *p;

	assert_int_equal(sim_blocks_create(2, NULL, NULL, &p), 0);
	const uint32_t a = sim_blocks_take(p), b = sim_blocks_take(p);
	assert_true(sim_blocks_name(p, a, 7));
	assert_false(sim_blocks_name(p, b, 7));
	assert_int_equal(sim_blocks_named_count(p), 1);
	assert_false(sim_blocks_forget(p)); /* they are held */
	assert_int_equal(sim_blocks_find(p, 7), a);
	sim_blocks_put(p, a);
	sim_blocks_put(p, b);
	assert_true(sim_blocks_forget(p));
	assert_int_equal(sim_blocks_named_count(p), 0);
	assert_int_equal(sim_blocks_find(p, 7), SIM_NO_BLOCK);
	sim_blocks_destroy(p);
}

/* Hashes that fall into one bucket are kept apart. */
static void test_bucket_collisions(void **state)
{
	struct sim_blocks *p;
	uint32_t b[16];

	assert_int_equal(sim_blocks_create(16, NULL, NULL, &p), 0);
	for (uint32_t i = 0; i < 16; i++) {
		b[i] = sim_blocks_take(p);
		assert_true(sim_blocks_name(p, b[i], (uint64_t)i << 16));
	}
	for (uint32_t i = 0; i < 16; i++)
		sim_blocks_put(p, b[i]);
	for (uint32_t taken = 0; taken < 16; taken++) {
		assert_int_equal(sim_blocks_take(p), b[taken]);
		for (uint32_t i = 0; i < 16; i++)
			assert_int_equal(sim_blocks_find(p, (uint64_t)i << 16),
					 i > taken ? b[i] : SIM_NO_BLOCK);
	}
	sim_blocks_destroy(p);
}

static void test_no_memory(void **state)
{
	struct sim_blocks *p = NULL;

	for (uint64_t n = 1; n <= 3; n++) {
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		assert_int_equal(sim_blocks_create(4, NULL, NULL, &p), -BB_ENOMEM);
		assert_null(p);
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_of_reuse),     cmocka_unit_test(test_holders),
		cmocka_unit_test(test_one_name_one_block), cmocka_unit_test(test_bucket_collisions),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
