/*
 * Goal: the index says of every row what a naive one says that keeps a table for each: over random
 * stores of chains with common prefixes, evictions from the tail, clears, tiers and strides. Under
 * a cap it says never more than that, and never takes more bytes. Memory that runs out at any
 * allocation costs blocks and nothing else.
 */
#include <stdlib.h>

#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "brain/index.h"

#define NODES 3000u
#define DEPTH_MAX 90u
#define ROWS_MAX 200u
#define NOBODY UINT32_MAX

/* A tree of blocks, and which row holds which of them in which tiers. */
struct world {
	struct bb_rng rng;
	struct index *index;
	uint32_t rows, nodes;
	uint32_t parent[NODES], depth[NODES]; /* depth of a root is 0 */
	uint64_t hash[NODES];
	uint8_t held[ROWS_MAX][NODES];
	uint32_t path[DEPTH_MAX + 16];
	uint64_t hashes[DEPTH_MAX + 16];
	uint32_t length;
	uint64_t found; /* rows with something of a prompt */
};

static uint32_t below(struct world *w, uint32_t bound)
{
	return (uint32_t)bb_rng_below(&w->rng, bound);
}

static struct world *world_create(uint64_t seed, uint32_t rows, uint32_t nodes, uint64_t bytes_max)
{
	struct world *const w = calloc(1, sizeof(*w));
	const struct index_config config = { bytes_max, rows + 1, seed }; /* one for ballast */

	assert_non_null(w);
	bb_rng_seed(&w->rng, seed);
	w->rows = rows;
	w->nodes = nodes;
	for (uint32_t i = 0; i < nodes; i++) {
		/* Mostly long chains with a few branches. */
		const uint32_t parent =
			i && below(w, 50) ? (below(w, 8) ? i - 1 : below(w, i)) : NOBODY;
		const bool is_root = parent == NOBODY || w->depth[parent] + 1 >= DEPTH_MAX;
		w->parent[i] = is_root ? NOBODY : parent;
		w->depth[i] = is_root ? 0 : w->depth[parent] + 1;
		w->hash[i] = bb_rng_next(&w->rng);
	}
	assert_int_equal(index_create(&config, &w->index), 0);
	return w;
}

static void world_destroy(struct world *w)
{
	index_destroy(w->index);
	free(w);
}

/* The way from the root to a node, and sometimes on into what nobody knows. */
static void walk_to(struct world *w, uint32_t node)
{
	w->length = w->depth[node] + 1;
	for (uint32_t i = w->length; i > 0; i--, node = w->parent[node]) {
		w->path[i - 1] = node;
		w->hashes[i - 1] = w->hash[node];
	}
}

static void store(struct world *w)
{
	const uint32_t row = below(w, w->rows);
	const enum index_tier tier = 1u << below(w, 3);

	walk_to(w, below(w, w->nodes));
	uint32_t from = 0;
	while (from < w->length && w->held[row][w->path[from]] & tier)
		from++;
	from = from ? below(w, from + 1) : 0; /* again what it has, too */
	index_store(w->index, row, tier, from, w->hashes + from, w->length - from, 1);
	for (uint32_t i = from; i < w->length; i++)
		w->held[row][w->path[i]] |= tier;
}

static void promise(struct world *w)
{
	const uint32_t row = below(w, w->rows);
	uint64_t marks[DEPTH_MAX];
	uint32_t count = 0;

	walk_to(w, below(w, w->nodes));
	for (uint32_t i = INDEX_STRIDE - 1; i < w->length; i += INDEX_STRIDE) {
		marks[count++] = w->hashes[i];
		w->held[row][w->path[i]] |= INDEX_PROMISED;
	}
	index_store(w->index, row, INDEX_PROMISED, INDEX_STRIDE - 1, marks, count, INDEX_STRIDE);
}

/* From a tier goes what is not above something in that tier. */
static bool is_tail(const struct world *w, uint32_t row, uint32_t node, uint32_t tier)
{
	for (uint32_t i = node + 1; i < w->nodes; i++) {
		if (!(w->held[row][i] & tier) || w->depth[i] <= w->depth[node])
			continue;
		uint32_t up = i;
		while (w->depth[up] > w->depth[node])
			up = w->parent[up];
		if (up == node)
			return false;
	}
	return true;
}

static void evict(struct world *w)
{
	const uint32_t row = below(w, w->rows), tier = 1u << below(w, 4);
	uint32_t node = below(w, w->nodes);

	for (uint32_t n = 0; n < w->nodes && !(w->held[row][node] & tier); n++)
		node = (node + 1) % w->nodes;
	if (!(w->held[row][node] & tier) || !is_tail(w, row, node, tier)) {
		const uint64_t unknown = bb_rng_next(&w->rng);
		index_remove(w->index, row, tier, &unknown, 1);
		return;
	}
	index_remove(w->index, row, tier, &w->hash[node], 1);
	w->held[row][node] &= (uint8_t)~tier;
}

static void clear(struct world *w, uint32_t row)
{
	index_clear(w->index, row);
	memset(w->held[row], 0, sizeof(w->held[row]));
	assert_int_equal(index_row_pairs(w->index, row), 0);
}

/* Blocks from the start that a row holds in some of the tiers. */
static uint32_t naive(const struct world *w, uint32_t row, uint32_t tiers)
{
	uint32_t exact = 0, marks = INDEX_STRIDE;

	while (exact < w->length && w->path[exact] != NOBODY &&
	       w->held[row][w->path[exact]] & tiers & ~(uint32_t)INDEX_PROMISED)
		exact++;
	while (marks <= w->length && w->path[marks - 1] != NOBODY &&
	       w->held[row][w->path[marks - 1]] & tiers & INDEX_PROMISED)
		marks += INDEX_STRIDE;
	return exact > marks - INDEX_STRIDE ? exact : marks - INDEX_STRIDE;
}

enum want { WANT_EQUAL, WANT_AT_MOST };

static void match(struct world *w, enum want want)
{
	struct index_depth depths[ROWS_MAX];

	walk_to(w, below(w, w->nodes));
	for (uint32_t more = below(w, 16); more > 0; more--) {
		w->path[w->length] = NOBODY;
		w->hashes[w->length++] = bb_rng_next(&w->rng);
	}
	index_match(w->index, w->hashes, w->length, depths, w->rows);
	for (uint32_t row = 0; row < w->rows; row++) {
		const uint32_t held = naive(w, row, 0xf);
		const uint32_t device = naive(w, row, INDEX_DEVICE | INDEX_PROMISED);
		w->found += held > 0;
		if (want == WANT_EQUAL) {
			assert_int_equal(depths[row].held, held);
			assert_int_equal(depths[row].device, device);
		} else {
			assert_in_range(depths[row].held, 0, held);
			assert_in_range(depths[row].device, 0, device);
		}
	}
}

/* One more row holds what nobody asks for. */
static void ballast(struct world *w)
{
	uint64_t hashes[300];

	for (uint32_t i = 0; i < UNIT_COUNT(hashes); i++)
		hashes[i] = bb_rng_next(&w->rng);
	index_store(w->index, w->rows, INDEX_DEVICE, 0, hashes, UNIT_COUNT(hashes), 1);
}

/* The figures agree with each other, and with the naive table where nothing was evicted. */
static void check_figures(const struct world *w, enum want want)
{
	struct index_stats s;
	const uint64_t ballast_pairs = index_row_pairs(w->index, w->rows);
	uint64_t all = ballast_pairs, truth = ballast_pairs;

	index_stats(w->index, &s);
	assert_in_range(s.bytes, 1, s.bytes_max);
	assert_int_equal(s.pairs, s.stores - s.removals - s.evictions);
	for (uint32_t row = 0; row < w->rows; row++) {
		uint64_t pairs = 0;
		for (uint32_t i = 0; i < w->nodes; i++)
			pairs += w->held[row][i] != 0;
		all += index_row_pairs(w->index, row);
		truth += pairs;
		if (want == WANT_EQUAL)
			assert_int_equal(index_row_pairs(w->index, row), pairs);
	}
	assert_int_equal(s.pairs, all);
	assert_in_range(s.pairs, 0, truth);
	if (want == WANT_EQUAL)
		assert_int_equal(s.evictions + s.refused, 0);
}

static void run(struct world *w, uint32_t steps, enum want want)
{
	for (uint32_t i = 0; i < steps; i++) {
		const uint32_t what = below(w, 100);
		if (what < 25)
			store(w);
		else if (what < 35)
			promise(w);
		else if (what < 85)
			evict(w);
		else if (what < 97)
			match(w, want);
		else if (what < 99)
			index_sweep(w->index);
		else if (want == WANT_AT_MOST)
			ballast(w);
		else if (below(w, 20) == 0)
			clear(w, below(w, w->rows));
		if (i % 1000 == 0)
			check_figures(w, want);
	}
	check_figures(w, want);
}

static void it_says_what_a_naive_one_says(void **state)
{
	static const uint32_t rows[] = { 1, 2, 3, 8, 40, 200 };

	for (uint32_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world *const w = world_create(i + 1, rows[i], NODES, 64u << 20);
		run(w, UNIT_ROUNDS(500000), WANT_EQUAL);
		assert_true(w->found > 1000);
		world_destroy(w);
	}
}

/* So many sets of rows, all different, that they do not fit. */
static void under_a_cap_it_never_says_more(void **state)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct world *const w = world_create(seed, ROWS_MAX, NODES, INDEX_BYTES_MIN);
		struct index_stats s;
		run(w, 100000, WANT_AT_MOST);
		index_stats(w->index, &s);
		assert_true(s.evictions > 0 && s.pairs > 10000);
		world_destroy(w);
	}
}

/* ---- chains without end ---- */

static void chain(uint64_t seed, uint32_t count, uint64_t *out)
{
	struct bb_rng rng;

	bb_rng_seed(&rng, seed);
	for (uint32_t i = 0; i < count; i++)
		out[i] = bb_rng_next(&rng);
}

static struct index *small(uint32_t rows)
{
	const struct index_config config = { INDEX_BYTES_MIN, rows, 7 };
	struct index *x;

	assert_int_equal(index_create(&config, &x), 0);
	return x;
}

static uint32_t held(struct index *x, const uint64_t *hashes, uint32_t count)
{
	struct index_depth depths[ROWS_MAX];

	index_match(x, hashes, count, depths, 1);
	return depths[0].held;
}

/* What came last stays; of what was used at the same time the begin stays longest. */
static void the_least_useful_goes(void **state)
{
	enum { CHAINS = 1000, LENGTH = 256, HOT = 3 };
	struct index *const x = small(4);
	uint64_t hashes[LENGTH];
	struct index_stats s;
	uint32_t new = 0, begun = 0;

	for (uint32_t i = 0; i < CHAINS; i++) {
		chain(i, LENGTH, hashes);
		index_store(x, 0, INDEX_DEVICE, 0, hashes, LENGTH, 1);
		index_stats(x, &s);
		assert_in_range(s.bytes, 1, INDEX_BYTES_MIN);
		chain(HOT, LENGTH, hashes); /* as a request that is sent does */
		if (i > HOT)
			index_store(x, 0, INDEX_DEVICE, 0, hashes, LENGTH, 1);
	}
	assert_int_equal(s.refused, 0);
	assert_true(s.blocks > 30000);
	assert_int_equal(held(x, hashes, LENGTH), LENGTH);
	for (uint32_t i = CHAINS - 50; i < CHAINS; i++) {
		chain(i, LENGTH, hashes);
		new += held(x, hashes, LENGTH) == LENGTH;
	}
	assert_int_equal(new, 50);
	for (uint32_t i = 10; i < 300; i++) {
		chain(i, LENGTH, hashes);
		begun += held(x, hashes, LENGTH) > 0;
	}
	assert_int_equal(begun, 0);
	index_destroy(x);
}

static void of_one_age_the_deepest_go(void **state)
{
	enum { LENGTH = 80000 };
	struct index *const x = small(1);
	uint64_t *const hashes = malloc(LENGTH * sizeof(*hashes));

	chain(1, LENGTH, hashes);
	index_store(x, 0, INDEX_DEVICE, 0, hashes, LENGTH, 1);
	/* The youngest epoch is whole; the others are evicted from the end of each. */
	assert_in_range(held(x, hashes, 100), 0, 100);
	struct index_stats s;
	index_stats(x, &s);
	assert_true(s.evictions > 20000 && s.pairs > 30000);
	free(hashes);
	index_destroy(x);
}

static void everything_removed_is_gone(void **state)
{
	enum { LENGTH = 200000 };
	const struct index_config config = { 64u << 20, 3, 7 };
	struct index *x;
	struct index_stats s;
	uint64_t *const hashes = malloc(LENGTH * sizeof(*hashes));

	assert_int_equal(index_create(&config, &x), 0);
	chain(1, LENGTH, hashes);
	for (uint32_t row = 0; row < 3; row++)
		index_store(x, row, INDEX_DEVICE, 0, hashes, LENGTH, 1);
	index_stats(x, &s);
	assert_int_equal(s.blocks, LENGTH);
	assert_int_equal(s.pairs, 3 * LENGTH);
	for (uint32_t left = LENGTH; left > 0; left -= 1000) {
		for (uint32_t row = 0; row < 3; row++)
			index_remove(x, row, INDEX_DEVICE, hashes + left - 1000, 1000);
		if (left % 50000 == 0)
			assert_int_equal(held(x, hashes, LENGTH), left - 1000);
	}
	index_stats(x, &s);
	assert_int_equal(s.blocks, 0);
	assert_int_equal(s.pairs, 0);
	free(hashes);
	index_destroy(x);
}

/* ---- clears ---- */

/* Each clear takes a fresh name for the row; when they run out, stores are refused until a sweep.
 */
static void a_cleared_row_stays_clear(void **state)
{
	enum { LENGTH = 3000 };
	struct index *const x = small(2);
	uint64_t hashes[LENGTH];
	struct index_stats s;
	uint32_t rounds = 0;

	do {
		assert_int_equal(held(x, hashes, rounds ? LENGTH : 0), 0);
		chain(1, LENGTH, hashes);
		index_store(x, 0, INDEX_DEVICE, 0, hashes, LENGTH, 1);
		index_store(x, 1, INDEX_HOST, 0, hashes, LENGTH, 1);
		index_clear(x, 0);
		index_stats(x, &s);
		rounds++;
	} while (s.refused == 0);
	assert_in_range(rounds, 10, 100);
	assert_int_equal(index_row_pairs(x, 1), LENGTH);
	while (index_sweep(x))
		;
	assert_int_equal(held(x, hashes, LENGTH), 0);
	index_store(x, 0, INDEX_DEVICE, 0, hashes, LENGTH, 1);
	assert_int_equal(held(x, hashes, LENGTH), LENGTH);
	index_stats(x, &s);
	assert_int_equal(s.pairs, 2 * LENGTH);
	assert_int_equal(s.blocks, LENGTH);
	index_destroy(x);
}

static void what_only_cleared_rows_held_is_swept(void **state)
{
	enum { LENGTH = 20000 };
	struct index *const x = small(200);
	static uint64_t hashes[LENGTH];
	struct index_stats s;

	chain(1, LENGTH, hashes);
	for (uint32_t row = 0; row < 100; row++)
		index_store(x, row, INDEX_DEVICE, 0, hashes, LENGTH - row * 100, 1);
	for (uint32_t row = 0; row < 100; row++)
		index_clear(x, row);
	index_stats(x, &s);
	assert_int_equal(s.pairs, 0);
	while (index_sweep(x))
		;
	index_stats(x, &s);
	assert_int_equal(s.blocks, 0);
	index_destroy(x);
}

/* ---- memory that runs out ---- */

static void work(struct world *w)
{
	run(w, 400, WANT_AT_MOST);
	for (uint32_t row = 0; row < w->rows; row += 7)
		clear(w, row);
	while (index_sweep(w->index))
		;
	run(w, 100, WANT_AT_MOST);
}

static void every_allocation_fails_in_turn(void **state)
{
	static const enum bb_alloc_fail how[] = { BB_FAIL_ONCE, BB_FAIL_FOREVER };

	for (uint32_t i = 0; i < UNIT_COUNT(how); i++)
		for (uint64_t nth = 1;; nth++) {
			struct world *const w = world_create(nth, 60, 800, 8u << 20);
			const uint64_t before = bb_alloc_failed_count();
			bb_alloc_fail_at(nth, how[i]);
			work(w);
			bb_alloc_fail_at(0, BB_FAIL_ONCE);
			const bool has_failed = bb_alloc_failed_count() > before;
			check_figures(w, WANT_AT_MOST);
			world_destroy(w);
			if (!has_failed)
				break;
		}
}

static void creation_fails_without_memory(void **state)
{
	const struct index_config config = { INDEX_BYTES_MIN, 10, 1 };
	struct index *x = NULL;
	int rc = -BB_ENOMEM;

	for (uint64_t nth = 1; rc; nth++) {
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		rc = index_create(&config, &x);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_true(rc == 0 || (rc == -BB_ENOMEM && !x));
	}
	index_destroy(x);
}

static void bad_sizes_are_refused(void **state)
{
	static const struct index_config bad[] = {
		{ INDEX_BYTES_MIN - 1, 1, 0 },
		{ INDEX_BYTES_MAX + 1, 1, 0 },
		{ INDEX_BYTES_MIN, 0, 0 },
		{ INDEX_BYTES_MIN, INDEX_ROWS_MAX + 1, 0 },
	};
	const struct index_config least = { INDEX_BYTES_MIN, INDEX_ROWS_MAX, 0 };
	struct index *x;

	for (uint32_t i = 0; i < UNIT_COUNT(bad); i++)
		assert_int_equal(index_create(&bad[i], &x), -BB_EINVALID);
	assert_int_equal(index_create(&least, &x), 0);
	index_store(x, INDEX_ROWS_MAX - 1, INDEX_DISK, 0, (const uint64_t[]){ 5 }, 1, 1);
	assert_int_equal(index_row_pairs(x, INDEX_ROWS_MAX - 1), 1);
	index_destroy(x);
}

static void hashes_of_any_kind_are_taken(void **state)
{
	enum { COUNT = 20000 };
	const struct index_config config = { 64u << 20, 1, 3 };
	struct index *x;
	static uint64_t hashes[COUNT];

	for (int shift = 0; shift < 64; shift += 9) {
		assert_int_equal(index_create(&config, &x), 0);
		for (uint64_t i = 0; i < COUNT; i++) /* all bits equal but a few */
			hashes[i] = i << shift | i >> (64 - shift) % 64;
		index_store(x, 0, INDEX_DEVICE, 0, hashes, COUNT, 1);
		struct index_stats s;
		index_stats(x, &s);
		assert_int_equal(s.pairs + s.refused + s.evictions, s.stores + s.refused);
		index_destroy(x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_what_a_naive_one_says),
		cmocka_unit_test(under_a_cap_it_never_says_more),
		cmocka_unit_test(the_least_useful_goes),
		cmocka_unit_test(of_one_age_the_deepest_go),
		cmocka_unit_test(everything_removed_is_gone),
		cmocka_unit_test(a_cleared_row_stays_clear),
		cmocka_unit_test(what_only_cleared_rows_held_is_swept),
		cmocka_unit_test(every_allocation_fails_in_turn),
		cmocka_unit_test(creation_fails_without_memory),
		cmocka_unit_test(bad_sizes_are_refused),
		cmocka_unit_test(hashes_of_any_kind_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
