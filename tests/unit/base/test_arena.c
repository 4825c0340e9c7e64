/* Goal: an arena's pieces are aligned, apart, and together never more than its maximum. */
#include "unit.h"

#include "base/alloc.h"
#include "base/arena.h"

static void pieces_are_aligned_and_apart(void **state)
{
	struct bb_arena a;
	unsigned char *pieces[500];

	bb_arena_init(&a, 1 << 20);
	for (size_t i = 0; i < UNIT_COUNT(pieces); i++) {
		pieces[i] = bb_arena_alloc(&a, i % 70 + 1);
		assert_non_null(pieces[i]);
		assert_int_equal((uintptr_t)pieces[i] % 16, 0);
		memset(pieces[i], (int)(i & 0xff), i % 70 + 1);
	}
	for (size_t i = 0; i < UNIT_COUNT(pieces); i++)
		for (size_t k = 0; k < i % 70 + 1; k++)
			assert_int_equal(pieces[i][k], i & 0xff);
	bb_arena_fini(&a);
	assert_int_equal(a.total, 0);
	assert_non_null(bb_arena_alloc(&a, 1)); /* can be used again */
	bb_arena_fini(&a);
}

static void large_pieces_get_their_own_block(void **state)
{
	struct bb_arena a;

	bb_arena_init(&a, 1 << 20);
	char *p = bb_arena_alloc(&a, 100000);
	assert_non_null(p);
	memset(p, 1, 100000);
	assert_non_null(bb_arena_alloc(&a, 0));
	bb_arena_fini(&a);
}

static void the_maximum_holds(void **state)
{
	struct bb_arena a;
	size_t given = 0;

	bb_arena_init(&a, 4096);
	assert_null(bb_arena_alloc(&a, 4097));
	assert_null(bb_arena_alloc(&a, SIZE_MAX));
	while (bb_arena_alloc(&a, 64))
		given += 64;
	assert_true(given <= 4096 && given >= 3500);
	assert_true(a.total <= 4096);
	bb_arena_fini(&a);
}

/* A maximum below the size of a block still allows pieces that fit. */
static void a_small_maximum_can_be_used(void **state)
{
	struct bb_arena a;

	bb_arena_init(&a, 100);
	assert_non_null(bb_arena_alloc(&a, 40));
	assert_non_null(bb_arena_alloc(&a, 30));
	assert_null(bb_arena_alloc(&a, 40));
	bb_arena_fini(&a);
}

static void copies_end_in_nul(void **state)
{
	struct bb_arena a;

	bb_arena_init(&a, 4096);
	const struct bb_str s = bb_arena_dup(&a, BB_STR("name"));
	assert_str(s, "name");
	assert_int_equal(s.p[4], '\0');
	assert_non_null(bb_arena_dup(&a, (struct bb_str){ 0 }).p);
	assert_null(bb_arena_dup(&a, (struct bb_str){ "", 5000 }).p);
	bb_arena_fini(&a);
}

/* That nothing is left is looked for in a whole process (test_hardening.py); here, that it is an end. */
static void a_wiped_arena_is_empty(void **state)
{
	struct bb_arena a;
	char *first, *large;

	bb_arena_init(&a, 1 << 20);
	first = bb_arena_alloc(&a, 8);
	large = bb_arena_alloc(&a, 200000);
	assert_non_null(first);
	assert_non_null(large);
	memcpy(first, "secret", 7);
	memset(large, 's', 200000);
	bb_arena_wipe(&a);
	assert_null(a.blocks);
	bb_arena_wipe(&a); /* an empty one */
	assert_non_null(bb_arena_alloc(&a, 8)); /* and it can be used again */
	bb_arena_fini(&a);
}

static void no_memory_is_null(void **state)
{
	struct bb_arena a;

	bb_arena_init(&a, 4096);
	bb_alloc_fail_at(1, BB_FAIL_ONCE);
	assert_null(bb_arena_alloc(&a, 8));
	assert_non_null(bb_arena_alloc(&a, 8));
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	bb_arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_are_aligned_and_apart),
		cmocka_unit_test(large_pieces_get_their_own_block),
		cmocka_unit_test(the_maximum_holds),
		cmocka_unit_test(a_small_maximum_can_be_used),
		cmocka_unit_test(copies_end_in_nul),
		cmocka_unit_test(a_wiped_arena_is_empty),
		cmocka_unit_test(no_memory_is_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
