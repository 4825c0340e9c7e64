/*
 * Goal: what is assumed of an engine that tells nothing is what was sent there last, up to its
 * capacity; of what goes, the least recently used goes first and of one prompt the deepest; the
 * index always says the same. Memory that runs out costs what is assumed and nothing else.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "brain/kv_assumed.h"

#define ROW 3u
#define PROMPTS 40u
#define LENGTH 12u
#define TOKENS(marks) ((uint64_t)(marks) * BRAIN_BLOCK_TOKENS)

static struct index *ix;
static struct kv_assumed *assumed;

static int open_world(void **state)
{
	const struct index_config c = { .bytes_max = INDEX_BYTES_MIN * 4, .rows_max = 8, .seed = 1 };

	assert_int_equal(index_create(&c, &ix), 0);
	return 0;
}

static int close_world(void **state)
{
	kv_assumed_destroy(assumed);
	index_destroy(ix);
	assumed = NULL;
	ix = NULL;
	return 0;
}

/* Marks of a prompt; the first `common` are those of all prompts. */
static void marks_of(uint32_t prompt, uint32_t common, uint64_t *out)
{
	for (uint32_t i = 0; i < LENGTH; i++) {
		const uint64_t name[2] = { i < common ? 0 : prompt + 1, i };
		out[i] = bb_hash(name, sizeof(name), 7);
	}
}

/* How many marks from its beginning the index gives for it. */
static uint32_t held(const uint64_t *marks)
{
	struct index_depth depths[8];

	index_match(ix, marks, LENGTH, depths, 8);
	assert_int_equal(depths[ROW].device, depths[ROW].held);
	return depths[ROW].held;
}

static void the_oldest_goes_from_its_end(void **state)
{
	uint64_t a[LENGTH], b[LENGTH], c[LENGTH];

	assumed = kv_assumed_create(ix, ROW, TOKENS(2 * LENGTH));
	assert_non_null(assumed);
	marks_of(1, 0, a);
	marks_of(2, 0, b);
	marks_of(3, 0, c);
	kv_assumed_use(assumed, HASHES_TOKENS, a, LENGTH);
	kv_assumed_use(assumed, HASHES_TOKENS, b, LENGTH);
	assert_int_equal(held(a), LENGTH);
	kv_assumed_use(assumed, HASHES_TOKENS, a, LENGTH); /* now b is the older one */
	kv_assumed_use(assumed, HASHES_TOKENS, c, 5);
	assert_int_equal(held(c), 5);
	assert_int_equal(held(a), LENGTH);
	assert_int_equal(held(b), LENGTH - 5);
	assert_int_equal(kv_assumed_count(assumed), 2 * LENGTH);
	kv_assumed_set_capacity(assumed, TOKENS(10));
	assert_int_equal(held(b), 0);
	assert_int_equal(held(c), 5);
	assert_int_equal(held(a), 5);
	assert_int_equal(index_row_pairs(ix, ROW), 10);
}

static void a_prompt_over_the_capacity_keeps_its_beginning(void **state)
{
	uint64_t a[LENGTH];

	assumed = kv_assumed_create(ix, ROW, TOKENS(4));
	marks_of(1, 0, a);
	kv_assumed_use(assumed, HASHES_TOKENS, a, LENGTH);
	assert_int_equal(held(a), 4);
}

/* A list in the order of use, as plain as can be. */
struct plain {
	uint64_t marks[4096];
	uint32_t count;
};

static void plain_use(struct plain *p, const uint64_t *marks, uint32_t count, uint32_t capacity)
{
	if (count > capacity)
		count = capacity;
	for (uint32_t i = count; i-- > 0;) {
		uint32_t at = 0;
		while (at < p->count && p->marks[at] != marks[i])
			at++;
		if (at < p->count)
			memmove(p->marks + at, p->marks + at + 1, (--p->count - at) * 8);
		p->marks[p->count++] = marks[i];
	}
	if (p->count > capacity) {
		memmove(p->marks, p->marks + p->count - capacity, capacity * 8);
		p->count = capacity;
	}
}

static uint32_t plain_held(const struct plain *p, const uint64_t *marks)
{
	for (uint32_t i = 0; i < LENGTH; i++) {
		bool found = false;
		for (uint32_t k = 0; k < p->count && !found; k++)
			found = p->marks[k] == marks[i];
		if (!found)
			return i;
	}
	return LENGTH;
}

static void it_is_a_list_in_the_order_of_use(void **state)
{
	static struct plain plain;
	struct bb_rng rng;
	uint64_t marks[LENGTH];
	uint32_t capacity = 150;

	plain.count = 0;
	bb_rng_seed(&rng, 5);
	assumed = kv_assumed_create(ix, ROW, TOKENS(capacity));
	for (int i = 0; i < 20000; i++) {
		marks_of((uint32_t)bb_rng_below(&rng, PROMPTS), 3, marks);
		const uint32_t count = 1 + (uint32_t)bb_rng_below(&rng, LENGTH);
		if (bb_rng_below(&rng, 50) == 0) {
			capacity = 100 + (uint32_t)bb_rng_below(&rng, 100);
			kv_assumed_set_capacity(assumed, TOKENS(capacity));
			plain_use(&plain, marks, 0, capacity);
		}
		kv_assumed_use(assumed, HASHES_TOKENS, marks, count);
		plain_use(&plain, marks, count, capacity);
		assert_int_equal(kv_assumed_count(assumed), plain.count);
		assert_int_equal(kv_assumed_tokens(assumed), TOKENS(plain.count));
		marks_of((uint32_t)bb_rng_below(&rng, PROMPTS), 3, marks);
		assert_int_equal(held(marks), plain_held(&plain, marks));
		assert_int_equal(index_row_pairs(ix, ROW), plain.count);
	}
}

static void pieces_of_text_count_by_their_size(void **state)
{
	uint64_t a[LENGTH], b[LENGTH];

	/* 8 pieces of 128 tokens, then 4 of 512. */
	assumed = kv_assumed_create(ix, ROW, 8 * 128 + 4 * 512);
	marks_of(1, 0, a);
	marks_of(2, 0, b);
	kv_assumed_use(assumed, HASHES_TEXT, a, LENGTH);
	assert_int_equal(kv_assumed_tokens(assumed), 8 * 128 + 4 * 512);
	kv_assumed_use(assumed, HASHES_TEXT, b, 2); /* the deepest of the other one has to go */
	assert_int_equal(kv_assumed_count(assumed), LENGTH + 1);
	assert_int_equal(held(a), LENGTH - 1);
	assert_int_equal(held(b), 2);
}

static void without_memory_less_is_assumed(void **state)
{
	uint64_t marks[LENGTH];

	for (unsigned n = 1; n < 12; n++) {
		bb_alloc_fail_at(n, n % 2 ? BB_FAIL_ONCE : BB_FAIL_FOREVER);
		assumed = kv_assumed_create(ix, ROW, TOKENS(4096));
		for (uint32_t i = 0; assumed && i < PROMPTS; i++) {
			marks_of(i, 0, marks);
			kv_assumed_use(assumed, HASHES_TOKENS, marks, LENGTH);
			assert_in_range(held(marks), 0, LENGTH);
		}
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		kv_assumed_destroy(assumed);
		assumed = NULL;
		index_clear(ix, ROW);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_oldest_goes_from_its_end, open_world, close_world),
		cmocka_unit_test_setup_teardown(a_prompt_over_the_capacity_keeps_its_beginning, open_world,
						close_world),
		cmocka_unit_test_setup_teardown(it_is_a_list_in_the_order_of_use, open_world,
						close_world),
		cmocka_unit_test_setup_teardown(pieces_of_text_count_by_their_size, open_world,
						close_world),
		cmocka_unit_test_setup_teardown(without_memory_less_is_assumed, open_world, close_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
