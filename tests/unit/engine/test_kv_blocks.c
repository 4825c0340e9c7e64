/*
 * test_kv_blocks.c: the block bookkeeping of the embedded engine.
 *
 * Goal: whatever sequence of admissions, steps, ends and evictions comes, the cells in use never
 * exceed the cache, promised room is always there, prefixes are shared exactly, and the sink has
 * been told of exactly the blocks that exist. The cells are simulated: each one is numbered and
 * counted, as libllama counts its own.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"

/* The engine is a program of its own: its objects are not linked here. */
#include "../../../engine/kv_blocks.c"

enum { BLOCK = 4, BLOCKS = 24, TOKENS = BLOCK * BLOCKS, SLOTS = 12, RUNS = 4, CELLS_MAX = 1 << 19 };

struct world {
	struct kv_blocks *kv;
	uint32_t cells[SLOTS][TOKENS]; /* which cell holds a slot's n-th token */
	uint32_t count[SLOTS];
	uint16_t holders[CELLS_MAX];
	uint32_t next_cell;
	uint32_t live; /* cells in use */
	uint64_t told[BLOCKS];
	uint32_t told_count;
};

static void on_share(void *user, uint32_t from, uint32_t to, uint32_t count)
{
	struct world *w = user;

	assert_int_equal(w->count[to], 0);
	assert_true(count <= w->count[from]);
	for (uint32_t i = 0; i < count; i++) {
		w->cells[to][i] = w->cells[from][i];
		w->holders[w->cells[to][i]]++;
	}
	w->count[to] = count;
}

static void on_drop(void *user, uint32_t slot, uint32_t from)
{
	struct world *w = user;

	while (w->count[slot] > from)
		if (--w->holders[w->cells[slot][--w->count[slot]]] == 0)
			w->live--;
}

static bool is_told(const struct world *w, uint64_t hash)
{
	for (uint32_t i = 0; i < w->told_count; i++)
		if (w->told[i] == hash)
			return true;
	return false;
}

static void on_stored(void *user, const uint64_t *hashes, uint32_t count, const int32_t *tokens,
		      const uint64_t *parent, struct bb_str salt)
{
	struct world *w = user;

	if (parent)
		assert_true(is_told(w, *parent));
	for (uint32_t i = 0; i < count; i++) {
		assert_false(is_told(w, hashes[i]));
		assert_true(w->told_count < BLOCKS);
		w->told[w->told_count++] = hashes[i];
	}
}

static void on_removed(void *user, uint64_t hash)
{
	struct world *w = user;

	for (uint32_t i = 0; i < w->told_count; i++)
		if (w->told[i] == hash) {
			w->told[i] = w->told[--w->told_count];
			return;
		}
	fail_msg("a block was removed that was never stored");
}

static int world_begin(void **state)
{
	struct world *w = bb_alloc_zero(1, sizeof(*w));
	assert_non_null(w);
	const struct kv_config config = {
		.block_count = BLOCKS,
		.block_size = BLOCK,
		.slot_count = SLOTS,
		.sharing = KV_SHARED,
		.cells = { .user = w, .share = on_share, .drop = on_drop },
		.sink = { .user = w, .stored = on_stored, .removed = on_removed },
	};

	assert_int_equal(kv_blocks_create(&config, &w->kv), 0);
	*state = w;
	return 0;
}

static int world_end(void **state)
{
	struct world *w = *state;

	kv_drop_cached(w->kv);
	assert_int_equal(w->told_count, 0);
	assert_int_equal(w->live, 0);
	assert_int_equal(kv_blocks_running(w->kv), 0);
	kv_blocks_destroy(w->kv);
	bb_free(w);
	return 0;
}

/* What a step does: the cells are taken, then the tokens are there. */
static void compute(struct world *w, uint32_t slot, const int32_t *tokens, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		assert_true(w->next_cell < CELLS_MAX);
		w->cells[slot][w->count[slot]++] = w->next_cell;
		w->holders[w->next_cell++] = 1;
		w->live++;
	}
	assert_true(w->live <= TOKENS);
	kv_filled(w->kv, slot, tokens, count);
}

static void fill_tokens(int32_t *tokens, int32_t first)
{
	for (int32_t i = 0; i < TOKENS; i++)
		tokens[i] = first + i;
}

/* Admits, computes `count` tokens and ends; returns how many were shared. */
static uint32_t run_once(struct world *w, const int32_t *tokens, uint32_t count, struct bb_str salt)
{
	uint32_t slot, shared;

	assert_int_equal(kv_admit(w->kv, tokens, count, count + 1, salt, &slot, &shared), 0);
	assert_int_equal(kv_take(w->kv, slot, count - shared), 0);
	compute(w, slot, tokens + shared, count - shared);
	kv_finish(w->kv, slot, KV_KEEP);
	return shared;
}

static void shares_full_blocks_only(void **state)
{
	struct world *w = *state;
	int32_t tokens[TOKENS];

	fill_tokens(tokens, 0);
	assert_int_equal(run_once(w, tokens, 18, BB_STR("")), 0);
	assert_int_equal(w->told_count, 4);
	assert_int_equal(run_once(w, tokens, 18, BB_STR("")), 16);
	assert_int_equal(run_once(w, tokens, 16, BB_STR("")), 12); /* the last token is computed */
	tokens[9] = 1000;
	assert_int_equal(run_once(w, tokens, 18, BB_STR("")), 8);
	assert_int_equal(kv_match(w->kv, tokens, 18, BB_STR("someone")), 0);
	assert_int_equal(run_once(w, tokens, 18, BB_STR("someone")), 0);
	assert_int_equal(kv_match(w->kv, tokens, 18, BB_STR("someone")), 16);
}

static void promised_room_is_there(void **state)
{
	struct world *w = *state;
	int32_t tokens[TOKENS];
	uint32_t first, second, shared;

	fill_tokens(tokens, 0);
	assert_int_equal(kv_admit(w->kv, tokens, 8, 60, BB_STR(""), &first, &shared), 0);
	fill_tokens(tokens, 500);
	/* 24 blocks, 15 promised: 9 are left, however few are taken so far. */
	assert_int_equal(kv_admit(w->kv, tokens, 8, 40, BB_STR(""), &second, &shared), -BB_EBUSY);
	assert_int_equal(kv_admit(w->kv, tokens, 8, 36, BB_STR(""), &second, &shared), 0);
	assert_int_equal(kv_take(w->kv, second, 36), 0);
	compute(w, second, tokens, 36);
	assert_int_equal(kv_take(w->kv, second, 1), -BB_EBUSY); /* beyond its promise */
	assert_int_equal(kv_take(w->kv, first, 60), 0);
	kv_finish(w->kv, first, KV_FORGET);
	assert_int_equal(kv_take(w->kv, second, 1), 0);
	kv_finish(w->kv, second, KV_KEEP);
}

static void least_recently_used_goes_first(void **state)
{
	struct world *w = *state;
	int32_t a[TOKENS], b[TOKENS], c[TOKENS];

	fill_tokens(a, 0);
	fill_tokens(b, 1000);
	fill_tokens(c, 2000);
	run_once(w, a, 40, BB_STR(""));
	run_once(w, b, 40, BB_STR(""));
	run_once(w, a, 40, BB_STR("")); /* now b is the older one */
	run_once(w, c, 30, BB_STR(""));
	assert_int_equal(kv_match(w->kv, a, 41, BB_STR("")), 40);
	assert_int_equal(kv_match(w->kv, c, 29, BB_STR("")), 28);
	assert_true(kv_match(w->kv, b, 41, BB_STR("")) < 40); /* from its end */
	assert_true(kv_match(w->kv, b, 41, BB_STR("")) > 0);
}

/* One of several sequences that run side by side. */
struct run {
	bool is_used, is_promised;
	uint32_t slot, prompt, longest;
	int32_t tokens[TOKENS];
};

static void run_begin(struct world *w, struct run *r, struct bb_rng *rng)
{
	const int32_t kind = (int32_t)bb_rng_below(rng, 3) * 100;
	uint32_t shared;

	r->prompt = 1 + (uint32_t)bb_rng_below(rng, 30);
	r->longest = r->prompt + 1 + (uint32_t)bb_rng_below(rng, TOKENS - r->prompt - 1);
	r->is_promised = bb_rng_below(rng, 2);
	for (uint32_t i = 0; i < TOKENS; i++)
		r->tokens[i] =
			kind + (i > 6 + bb_rng_below(rng, 20) ? (int32_t)bb_rng_below(rng, 2) : 0);
	const uint32_t promise =
		r->is_promised || r->longest < r->prompt + 5 ? r->longest : r->prompt + 5;
	const struct bb_str salt = bb_rng_below(rng, 4) ? BB_STR("") : BB_STR("salt");
	const uint32_t match = kv_match(w->kv, r->tokens, r->prompt, salt);
	if (kv_admit(w->kv, r->tokens, r->prompt, promise, salt, &r->slot, &shared))
		return;
	assert_int_equal(shared, match);
	assert_true(shared < r->prompt);
	assert_int_equal(w->count[r->slot], shared);
	r->is_used = true;
}

static void run_step(struct world *w, struct run *r, struct bb_rng *rng)
{
	const uint32_t have = kv_token_count(w->kv, r->slot);

	assert_int_equal(have, w->count[r->slot]);
	if (have >= r->longest || bb_rng_below(rng, 40) == 0) {
		kv_finish(w->kv, r->slot, bb_rng_below(rng, 10) ? KV_KEEP : KV_FORGET);
		r->is_used = false;
		return;
	}
	const uint32_t count =
		have < r->prompt ? 1 + (uint32_t)bb_rng_below(rng, r->prompt - have) : 1;
	if (kv_take(w->kv, r->slot, count)) {
		assert_false(r->is_promised);
		assert_true(have >= r->prompt);
		kv_finish(w->kv, r->slot, KV_KEEP);
		r->is_used = false;
		return;
	}
	compute(w, r->slot, r->tokens + have, count);
}

static void random_histories(void **state)
{
	struct world *w = *state;
	struct run runs[RUNS] = { 0 };
	struct bb_rng rng;

	bb_rng_seed(&rng, 7);
	for (int step = 0; step < 200000; step++) {
		struct run *r = &runs[bb_rng_below(&rng, RUNS)];
		if (r->is_used)
			run_step(w, r, &rng);
		else
			run_begin(w, r, &rng);
		if (bb_rng_below(&rng, 500) == 0)
			kv_drop_cached(w->kv);
	}
	for (int i = 0; i < RUNS; i++)
		if (runs[i].is_used)
			kv_finish(w->kv, runs[i].slot, KV_KEEP);
}

static void no_memory(void **state)
{
	const struct kv_config config = { .block_count = 4, .block_size = 4, .slot_count = 3 };
	struct kv_blocks *kv;

	for (uint64_t nth = 1;; nth++) {
		const uint64_t before = bb_alloc_failed_count();
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const int rc = kv_blocks_create(&config, &kv);
		if (bb_alloc_failed_count() == before) {
			bb_alloc_fail_at(0, BB_FAIL_ONCE);
			assert_int_equal(rc, 0);
			kv_blocks_destroy(kv);
			return;
		}
		assert_int_equal(rc, -BB_ENOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(shares_full_blocks_only, world_begin, world_end),
		cmocka_unit_test_setup_teardown(promised_room_is_there, world_begin, world_end),
		cmocka_unit_test_setup_teardown(least_recently_used_goes_first, world_begin,
						world_end),
		cmocka_unit_test_setup_teardown(random_histories, world_begin, world_end),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
