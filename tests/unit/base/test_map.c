/* Goal: the map finds what was put, nothing else, and stays whole when memory runs out. */
#include "unit.h"

#include "base/alloc.h"
#include "base/map.h"

static struct bb_str numbered(char room[32], unsigned i)
{
	return (struct bb_str){ room, (size_t)snprintf(room, 32, "name-%u", i) };
}

static void put_get_replace(void **state)
{
	struct bb_map m;

	bb_map_init(&m, 1);
	assert_int_equal(bb_map_get(&m, BB_STR("a")), BB_MAP_NONE);
	assert_int_equal(bb_map_put(&m, BB_STR("a"), 0), 0);
	assert_int_equal(bb_map_put(&m, BB_STR("a\0"), 1), 0);
	assert_int_equal(bb_map_put(&m, BB_STR("a"), 2), 0);
	assert_int_equal(m.count, 2);
	assert_int_equal(bb_map_get(&m, BB_STR("a")), 2);
	assert_int_equal(bb_map_get(&m, BB_STR("a\0")), 1);
	assert_int_equal(bb_map_get(&m, BB_STR("A")), BB_MAP_NONE);
	bb_map_fini(&m);
	assert_int_equal(bb_map_get(&m, BB_STR("a")), BB_MAP_NONE);
}

static void the_empty_name_is_a_name(void **state)
{
	struct bb_map m;

	bb_map_init(&m, 1);
	assert_int_equal(bb_map_put(&m, (struct bb_str){ 0 }, 5), 0);
	assert_int_equal(bb_map_get(&m, BB_STR("")), 5);
	assert_int_equal(bb_map_get(&m, (struct bb_str){ 0 }), 5);
	assert_int_equal(bb_map_put(&m, (struct bb_str){ 0 }, 6), 0);
	assert_int_equal(m.count, 1);
	bb_map_fini(&m);
}

static void keys_are_copied_and_many_fit(void **state)
{
	struct bb_map m;
	char name[32];

	bb_map_init(&m, 0x1234);
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(bb_map_put(&m, numbered(name, i), i), 0);
	assert_int_equal(m.count, 5000);
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(bb_map_get(&m, numbered(name, i)), i);
	for (unsigned i = 5000; i < 10000; i++)
		assert_int_equal(bb_map_get(&m, numbered(name, i)), BB_MAP_NONE);
	bb_map_fini(&m);
}

/* Every allocation of a series fails in turn: what was there before is still there. */
static void no_memory_changes_nothing(void **state)
{
	char name[32];

	for (unsigned nth = 1; nth < 60; nth++) {
		struct bb_map m;
		unsigned good = 0;
		bb_map_init(&m, nth);
		bb_alloc_fail_at(nth, BB_FAIL_FOREVER);
		while (good < 40 && bb_map_put(&m, numbered(name, good), good) == 0)
			good++;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_int_equal(m.count, good);
		for (unsigned i = 0; i < good; i++)
			assert_int_equal(bb_map_get(&m, numbered(name, i)), i);
		assert_int_equal(bb_map_get(&m, numbered(name, good)), BB_MAP_NONE);
		bb_map_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(put_get_replace),
		cmocka_unit_test(the_empty_name_is_a_name),
		cmocka_unit_test(keys_are_copied_and_many_fit),
		cmocka_unit_test(no_memory_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
