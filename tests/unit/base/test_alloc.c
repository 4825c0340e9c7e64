/* Goal: memory comes, also of size 0, and a test can make exactly the n-th allocation fail. */
#include "unit.h"

#include "base/alloc.h"

static void sizes_down_to_zero(void **state)
{
	void *p = bb_alloc(0);

	assert_non_null(p);
	BB_FREE(p);
	assert_null(p);
	bb_free(NULL);
	unsigned char *z = bb_alloc_zero(10, 10);
	assert_non_null(z);
	for (int i = 0; i < 100; i++)
		assert_int_equal(z[i], 0);
	z = bb_realloc(z, 1000);
	assert_non_null(z);
	assert_int_equal(z[99], 0);
	bb_free(z);
}

static void impossible_sizes_are_refused(void **state)
{
	volatile size_t huge = SIZE_MAX / 2;

	assert_null(bb_alloc_zero(huge, 16)); /* the product overflows */
}

static void copies_end_in_nul(void **state)
{
	char *s = bb_strndup("abcdef", 3);

	assert_string_equal(s, "abc");
	bb_free(s);
	s = bb_strndup("", 0);
	assert_string_equal(s, "");
	bb_free(s);
}

static void the_nth_fails(void **state)
{
	void *p[5];
	const uint64_t failed = bb_alloc_failed_count(), count = bb_alloc_count();

	bb_alloc_fail_at(3, BB_FAIL_ONCE);
	for (int i = 0; i < 5; i++)
		p[i] = bb_alloc(8);
	assert_true(p[0] && p[1] && !p[2] && p[3] && p[4]);
	assert_int_equal(bb_alloc_failed_count() - failed, 1);
	assert_int_equal(bb_alloc_count() - count, 5);
	for (int i = 0; i < 5; i++)
		bb_free(p[i]);
	bb_alloc_fail_at(2, BB_FAIL_FOREVER);
	char *kept = bb_alloc(8);
	assert_non_null(kept);
	assert_null(bb_alloc_zero(1, 8));
	assert_null(bb_realloc(kept, 100)); /* the old block is untouched */
	assert_null(bb_strndup("a", 1));
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	kept[0] = 1;
	bb_free(kept);
	kept = bb_alloc(8);
	assert_non_null(kept);
	bb_free(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_down_to_zero),
		cmocka_unit_test(impossible_sizes_are_refused),
		cmocka_unit_test(copies_end_in_nul),
		cmocka_unit_test(the_nth_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
