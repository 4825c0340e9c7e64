/* Goal: Dynamo's published values come out; the own scheme separates what must be separate, and
 * chains. */
#include "unit.h"

#include "text/block_hash.h"

static uint32_t one_to_48[48];

static int setup(void **state)
{
	for (uint32_t i = 0; i < 48; i++)
		one_to_48[i] = i + 1;
	return 0;
}

static struct block_hasher hasher(enum block_scheme scheme, uint32_t block, const char *salt,
				  const char *lora)
{
	const struct block_key key = { 0x1234567890abcdef, bb_str_of(salt), bb_str_of(lora) };
	struct block_hasher h;

	assert_int_equal(block_hasher_init(&h, scheme, block, &key), 0);
	return h;
}

static void expect_local(const char *salt, const char *lora, const uint64_t want[3])
{
	const struct block_hasher h = hasher(BLOCK_DYNAMO, 16, salt, lora);

	for (int i = 0; i < 3; i++)
		assert_int_equal(block_hash_local(&h, one_to_48 + 16 * i, NULL, 0), want[i]);
}

/* The values were made by dynamo-llm 1.6.1 itself. */
static void dynamo_local_hashes(void **state)
{
	expect_local("", "",
		     (uint64_t[]){ 0xea06fc71a5ee6e88, 0x1fbf39bd106be0b5, 0xa8562fe663b7a097 });
	expect_local("", "my-lora",
		     (uint64_t[]){ 0x3990f1b14309d7e6, 0x27c809c22da91b94, 0xe0ee5d0e535bfbf1 });
	expect_local("tenantA", "",
		     (uint64_t[]){ 0x873e8db37d0bd24d, 0xe0e7a870050043c5, 0xd4f703983642d5c2 });
	expect_local("tenantA", "my-lora",
		     (uint64_t[]){ 0x19d80e540b52a33b, 0x89b8902a7404e772, 0x106237b4a2313620 });
}

static void dynamo_eagle_and_media(void **state)
{
	const struct block_hasher eagle = hasher(BLOCK_DYNAMO_EAGLE, 16, "", "");
	const struct block_hasher plain = hasher(BLOCK_DYNAMO, 16, "", "");
	const uint64_t picture = 0xdeadbeef, two[2] = { 9, 5 }, turned[2] = { 5, 9 };

	assert_int_equal(block_hash_local(&eagle, one_to_48, NULL, 0), 0x5db5a9903451d2d0);
	assert_int_equal(block_count(&eagle, 48), 2);
	assert_int_equal(block_count(&eagle, 49), 3);
	assert_int_equal(block_count(&eagle, 0), 0);
	assert_int_equal(block_hash_local(&plain, one_to_48, &picture, 1), 0xc9a1eaabafd47d9e);
	assert_int_equal(block_hash_local(&plain, one_to_48, two, 2),
			 block_hash_local(&plain, one_to_48, turned, 2));
}

static void dynamo_chain(void **state)
{
	const struct block_hasher h = hasher(BLOCK_DYNAMO, 16, "", "");
	uint64_t seq[3];

	assert_int_equal(block_hash(&h, one_to_48, 48, seq), 3);
	assert_int_equal(seq[0], 0xea06fc71a5ee6e88);
	assert_int_equal(seq[1], 0xad01835a37dd294c);
	assert_int_equal(seq[2], 0x0d55e56c2bccbd1a);
}

/* A longer prompt begins with the hashes of a shorter one; the tail that fills no block is dropped.
 */
static void own_prefixes(void **state)
{
	for (uint32_t block = 1; block <= 48; block++) {
		const struct block_hasher h = hasher(BLOCK_OWN, block, "a", "b");
		uint64_t all[48], part[48];
		const size_t count = block_hash(&h, one_to_48, 48, all);
		assert_int_equal(count, 48 / block);
		for (size_t tokens = 0; tokens <= 48; tokens++) {
			assert_int_equal(block_hash(&h, one_to_48, tokens, part), tokens / block);
			assert_memory_equal(part, all, tokens / block * sizeof(*all));
		}
	}
}

/* A change in the first block is seen in the last one. */
static void own_chain(void **state)
{
	const struct block_hasher h = hasher(BLOCK_OWN, 16, "", "");
	uint64_t before[3], after[3];

	block_hash(&h, one_to_48, 48, before);
	one_to_48[0] = 77;
	block_hash(&h, one_to_48, 48, after);
	for (int i = 0; i < 3; i++)
		assert_int_not_equal(before[i], after[i]);
}

static void own_separates(void **state)
{
	static const char *const pairs[][2] = {
		{ "", "" },    { "a", "" },   { "", "a" },   { "ab", "c" },
		{ "a", "bc" }, { "", "abc" }, { "abc", "" },
	};
	uint64_t seen[8];
	size_t count = 0;

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const struct block_hasher h = hasher(BLOCK_OWN, 48, pairs[i][0], pairs[i][1]);
		block_hash(&h, one_to_48, 48, &seen[count]);
		for (size_t k = 0; k < count; k++)
			assert_int_not_equal(seen[k], seen[count]);
		count++;
	}
	struct block_hasher other;
	const struct block_key key = { .secret = 5 };
	assert_int_equal(block_hasher_init(&other, BLOCK_OWN, 48, &key), 0);
	block_hash(&other, one_to_48, 48, &seen[count]);
	assert_int_not_equal(seen[0], seen[count]);
}

static void block_sizes(void **state)
{
	const struct block_key key = { 0 };
	struct block_hasher h = { .seed = 3 };

	assert_int_equal(block_hasher_init(&h, BLOCK_OWN, 0, &key), -BB_EINVALID);
	assert_int_equal(block_hasher_init(&h, BLOCK_OWN, BLOCK_TOKENS_MAX + 1, &key),
			 -BB_EINVALID);
	assert_int_equal(h.seed, 3);
	assert_int_equal(block_hasher_init(&h, BLOCK_OWN, BLOCK_TOKENS_MAX, &key), 0);
	static uint32_t ids[2 * BLOCK_TOKENS_MAX];
	uint64_t out[2];
	assert_int_equal(block_hash(&h, ids, 2 * BLOCK_TOKENS_MAX, out), 2);
	assert_int_not_equal(out[0], out[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(dynamo_local_hashes, setup),
		cmocka_unit_test_setup(dynamo_eagle_and_media, setup),
		cmocka_unit_test_setup(dynamo_chain, setup),
		cmocka_unit_test_setup(own_prefixes, setup),
		cmocka_unit_test_setup(own_chain, setup),
		cmocka_unit_test_setup(own_separates, setup),
		cmocka_unit_test_setup(block_sizes, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
