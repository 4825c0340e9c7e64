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
};

static uint32_t below(struct world *w, uint32_t bound)
{
	return (uint32_t)bb_rng_below(&w->rng, bound);
}

static struct world *world_create(uint64_t seed, uint32_t rows, uint32_t nodes, uint64_t bytes_max)
{
	struct world *const w = calloc(1, sizeof(*w));
	const struct index_config config = { bytes_max, rows, seed };

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
		if (want == WANT_EQUAL) {
			assert_int_equal(depths[row].held, held);
			assert_int_equal(depths[row].device, device);
		} else {
			assert_in_range(depths[row].held, 0, held);
			assert_in_range(depths[row].device, 0, device);
		}
	}
}

/* The figures agree with each other, and with the naive table where nothing was evicted. */
static void check_figures(const struct world *w, enum want want)
{
	struct index_stats s;
	uint64_t all = 0, truth = 0;

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
		run(w, 20000, WANT_EQUAL);
		world_destroy(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_what_a_naive_one_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
