/* Goal: a buffer holds what was added and nothing else, never passes its maximum, and keeps its first error. */
#include "unit.h"

#include "base/alloc.h"
#include "base/buf.h"

static void appending(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 1 << 20);
	assert_int_equal(bb_buf_add(&b, NULL, 0), 0);
	assert_null(b.p); /* nothing is taken before it is needed */
	assert_int_equal(bb_buf_lit(&b, "a"), 0);
	assert_int_equal(bb_buf_add_str(&b, BB_STR("b\0c")), 0);
	assert_int_equal(bb_buf_add_u64(&b, 0), 0);
	assert_int_equal(bb_buf_add_u64(&b, UINT64_MAX), 0);
	assert_int_equal(b.len, 4 + 1 + 20);
	assert_memory_equal(b.p, "ab\0c018446744073709551615", b.len);
	bb_buf_clear(&b);
	assert_int_equal(b.len, 0);
	assert_non_null(b.p);
	bb_buf_fini(&b);
	assert_null(b.p);
	assert_int_equal(b.max, 1 << 20);
}

static void growing_keeps_the_contents(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 100000);
	for (uint32_t i = 0; i < 25000; i++)
		assert_int_equal(bb_buf_add(&b, &i, sizeof(i)), 0);
	for (uint32_t i = 0; i < 25000; i++)
		assert_memory_equal(b.p + i * sizeof(i), &i, sizeof(i));
	assert_true(b.cap <= b.max);
	bb_buf_fini(&b);
}

static void the_maximum_holds_and_the_error_sticks(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 10);
	assert_int_equal(bb_buf_lit(&b, "12345678"), 0);
	assert_int_equal(bb_buf_lit(&b, "abc"), -BB_ELIMIT);
	assert_str(bb_buf_str(&b), "12345678");
	assert_int_equal(bb_buf_lit(&b, "90"), 0); /* the last two bytes */
	assert_int_equal(b.err, -BB_ELIMIT);
	assert_int_equal(bb_buf_reserve(&b, SIZE_MAX), -BB_ELIMIT);
	bb_buf_clear(&b);
	assert_int_equal(b.err, 0);
	bb_buf_fini(&b);
}

static void printing(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 1000);
	assert_int_equal(bb_buf_printf(&b, "%s", ""), 0);
	assert_int_equal(b.len, 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(bb_buf_printf(&b, "%03d,", i), 0);
	assert_int_equal(b.len, 400);
	assert_memory_equal(b.p + 396, "099,", 4);
	const size_t before = b.len;
	assert_int_equal(bb_buf_printf(&b, "%*d", 700, 1), -BB_ELIMIT);
	assert_int_equal(b.len, before);
	bb_buf_fini(&b);
}

static void json_strings(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 1000);
	assert_int_equal(bb_buf_add_json(&b, BB_STR("a\"b\\c\n\r\t\x01\x1f\0/\xc3\xa9")), 0);
	assert_str(bb_buf_str(&b), "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001f\\u0000/\xc3\xa9\"");
	bb_buf_clear(&b);
	assert_int_equal(bb_buf_add_json(&b, (struct bb_str){ 0 }), 0);
	assert_str(bb_buf_str(&b), "\"\"");
	bb_buf_fini(&b);
	bb_buf_init(&b, 4);
	assert_int_equal(bb_buf_add_json(&b, BB_STR("long")), -BB_ELIMIT);
	bb_buf_fini(&b);
}

static void consuming(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 100);
	bb_buf_lit(&b, "abcdef");
	bb_buf_consume(&b, 0);
	bb_buf_consume(&b, 2);
	assert_str(bb_buf_str(&b), "cdef");
	bb_buf_consume(&b, 4);
	assert_int_equal(b.len, 0);
	bb_buf_fini(&b);
}

static void no_memory_leaves_the_contents(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 1 << 20);
	bb_buf_lit(&b, "kept");
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	assert_int_equal(bb_buf_reserve(&b, 5000), -BB_ENOMEM);
	assert_int_equal(bb_buf_printf(&b, "%5000d", 1), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_str(bb_buf_str(&b), "kept");
	assert_int_equal(b.err, -BB_ENOMEM);
	bb_buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appending),
		cmocka_unit_test(growing_keeps_the_contents),
		cmocka_unit_test(the_maximum_holds_and_the_error_sticks),
		cmocka_unit_test(printing),
		cmocka_unit_test(json_strings),
		cmocka_unit_test(consuming),
		cmocka_unit_test(no_memory_leaves_the_contents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
