/* Goal: pools recycle, count what is out, keep no more than allowed, and never pass the byte cap. */
#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/pool.h"

struct object {
	uint64_t words[5];
};

static void objects_come_zeroed_and_are_recycled(void **state)
{
	struct bb_pool p;

	bb_pool_init(&p, sizeof(struct object), 2);
	struct object *a = bb_pool_get(&p);
	assert_non_null(a);
	memset(a, 0xff, sizeof(*a));
	bb_pool_put(&p, a);
	assert_int_equal(p.free_count, 1);
	struct object *b = bb_pool_get(&p);
	assert_ptr_equal(a, b);
	for (size_t i = 0; i < UNIT_COUNT(b->words); i++)
		assert_int_equal(b->words[i], 0);
	bb_pool_put(&p, b);
	bb_pool_fini(&p);
}

static void no_more_are_kept_than_allowed(void **state)
{
	struct bb_pool p;
	void *objects[10];

	bb_pool_init(&p, sizeof(struct object), 3);
	for (int i = 0; i < 10; i++)
		objects[i] = bb_pool_get(&p);
	assert_int_equal(p.live, 10);
	for (int i = 0; i < 10; i++)
		bb_pool_put(&p, objects[i]);
	assert_int_equal(p.live, 0);
	assert_int_equal(p.free_count, 3);
	bb_pool_fini(&p);
}

static void an_exhausted_pool_says_so(void **state)
{
	struct bb_pool p;
	struct bb_bufpool bp;
	size_t cap;

	bb_pool_init(&p, 64, 1);
	struct bb_budget budget = { .max = 1 << 20 };

	bb_bufpool_init(&bp, &budget, 0);
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	assert_null(bb_pool_get(&p));
	assert_null(bb_bufpool_get(&bp, 10, &cap, BB_SHARE_NEW));
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(p.live, 0);
	assert_int_equal(bp.live_bytes, 0);
}

static void pieces_have_room_in_powers_of_two(void **state)
{
	static const struct {
		size_t size, cap;
	} cases[] = {
		{ 0, 4096 },     { 1, 4096 },           { 4096, 4096 },      { 4097, 8192 },
		{ 65536, 65536 }, { 1 << 20, 1 << 20 }, { (1 << 20) + 1, (1 << 20) + 1 },
	};
	struct bb_bufpool p;

	struct bb_budget budget = { .max = 64 << 20 };

	bb_bufpool_init(&p, &budget, 64 << 20);
	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		size_t cap = 0;
		char *piece = bb_bufpool_get(&p, cases[i].size, &cap, BB_SHARE_NEW);
		assert_non_null(piece);
		assert_int_equal(cap, cases[i].cap);
		memset(piece, 1, cap);
		bb_bufpool_put(&p, piece, cap);
	}
	assert_int_equal(p.live_bytes, 0);
	bb_bufpool_put(&p, NULL, 0);
	bb_bufpool_fini(&p);
	assert_int_equal(p.free_bytes, 0);
}

static void the_byte_cap_holds(void **state)
{
	struct bb_bufpool p;
	size_t cap;

	struct bb_budget budget = { .max = 16384 };

	bb_bufpool_init(&p, &budget, 8192);
	assert_null(bb_bufpool_get(&p, 16385, &cap, BB_SHARE_NEW));
	assert_null(bb_bufpool_get(&p, SIZE_MAX, &cap, BB_SHARE_NEW));
	void *a = bb_bufpool_get(&p, 8192, &cap, BB_SHARE_NEW);
	void *b = bb_bufpool_get(&p, 8192, &cap, BB_SHARE_NEW);
	assert_true(a && b);
	assert_null(bb_bufpool_get(&p, 1, &cap, BB_SHARE_NEW));
	bb_bufpool_put(&p, a, 8192);
	bb_bufpool_put(&p, b, 8192);
	assert_int_equal(p.free_bytes, 8192); /* the second went back to the heap */
	bb_bufpool_fini(&p);
}

/* Pieces given out never overlap, whatever the order, and the sums return to zero. */
static void random_gets_and_puts(void **state)
{
	struct {
		unsigned char *p;
		size_t cap;
		unsigned char mark;
	} out[64] = { 0 };
	struct bb_bufpool p;
	struct bb_rng rng;

	bb_rng_seed(&rng, 3);
	struct bb_budget budget = { .max = 4 << 20 };

	bb_bufpool_init(&p, &budget, 1 << 20);
	for (int i = 0; i < 20000; i++) {
		const size_t k = (size_t)bb_rng_below(&rng, UNIT_COUNT(out));
		if (out[k].p) {
			assert_int_equal(out[k].p[0], out[k].mark);
			assert_int_equal(out[k].p[out[k].cap - 1], out[k].mark);
			bb_bufpool_put(&p, out[k].p, out[k].cap);
			out[k].p = NULL;
			continue;
		}
		out[k].p = bb_bufpool_get(&p, (size_t)bb_rng_below(&rng, 200000), &out[k].cap, BB_SHARE_NEW);
		if (!out[k].p)
			continue; /* at the cap */
		out[k].mark = (unsigned char)i;
		out[k].p[0] = out[k].p[out[k].cap - 1] = out[k].mark;
		assert_true(p.live_bytes <= budget.max / 8 * 9 && p.free_bytes <= p.keep_bytes);
	}
	for (size_t k = 0; k < UNIT_COUNT(out); k++)
		bb_bufpool_put(&p, out[k].p, out[k].cap);
	assert_int_equal(p.live_bytes, 0);
	bb_bufpool_fini(&p);
}

/* Large holders stop at the budget, small ones an eighth and running answers a quarter over it. */
static void budget_has_shares(void **state)
{
	struct bb_budget b = { 0 };

	bb_budget_set(&b, 6400);
	assert_false(bb_budget_take(&b, 6401, 6401, BB_SHARE_NEW));
	assert_false(bb_budget_take(&b, UINT64_MAX, UINT64_MAX, BB_SHARE_RUNNING));
	assert_true(bb_budget_take(&b, 3200, 3200, BB_SHARE_NEW));
	assert_false(bb_budget_is_tight(&b));
	assert_true(bb_budget_take(&b, 3200, 3200, BB_SHARE_RUNNING));
	assert_true(bb_budget_is_tight(&b));
	assert_false(bb_budget_take(&b, 101, 101, BB_SHARE_RUNNING));
	assert_false(bb_budget_take(&b, 1, 101, BB_SHARE_RUNNING)); /* what is held counts */
	assert_int_equal(bb_budget_used(&b), 6400);
	for (int i = 0; i < 8; i++)
		assert_true(bb_budget_take(&b, 100, 100, BB_SHARE_NEW));
	assert_false(bb_budget_take(&b, 100, 100, BB_SHARE_NEW));
	for (int i = 0; i < 8; i++)
		assert_true(bb_budget_take(&b, 100, 100, BB_SHARE_RUNNING));
	assert_false(bb_budget_take(&b, 1, 1, BB_SHARE_RUNNING));
	bb_budget_give(&b, 8000);
	assert_int_equal(bb_budget_used(&b), 0);
}

/* A smaller budget holds for what comes, and what is given back counts. */
static void budget_becomes_smaller(void **state)
{
	struct bb_budget b = { .max = 10000 };

	assert_true(bb_budget_take(&b, 9000, 9000, BB_SHARE_NEW));
	bb_budget_set(&b, 1000);
	assert_false(bb_budget_take(&b, 1, 1, BB_SHARE_RUNNING));
	bb_budget_give(&b, 8500);
	assert_true(bb_budget_take(&b, 500, 500, BB_SHARE_NEW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_come_zeroed_and_are_recycled),
		cmocka_unit_test(no_more_are_kept_than_allowed),
		cmocka_unit_test(an_exhausted_pool_says_so),
		cmocka_unit_test(pieces_have_room_in_powers_of_two),
		cmocka_unit_test(the_byte_cap_holds),
		cmocka_unit_test(random_gets_and_puts),
		cmocka_unit_test(budget_has_shares),
		cmocka_unit_test(budget_becomes_smaller),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
