/*
 * Goal: engines that store, evict anywhere, move blocks between tiers and restart are followed from
 * the bytes that they publish, through mirror and index, so that a prompt is found to be held just
 * as far as a naive account of each engine says: for blocks of the engine that are smaller than
 * ours, equal and larger, under several salts and adapters.
 */
#include <stdlib.h>

#include "unit.h"

#include "base/hash.h"
#include "brain/index.h"
#include "brain/kv_mirror.h"
#include "text/block_hash.h"
#include "wire/kv_events.h"

#define SECRET 99
#define ENGINES 3u
#define NODES 600u
#define DEPTH_MAX 80u
#define TOKENS_MAX (DEPTH_MAX * 64u + 64u)
#define PARTITIONS 4u
#define NOBODY UINT32_MAX

static const struct {
	const char *salt, *lora;
} partitions[PARTITIONS] = { { "", "" }, { "tenant-1", "" }, { "", "lora-a" }, { "t", "lora-b" } };

struct world;
struct engine {
	struct world *world;
	struct kv_mirror *mirror;
	uint32_t row;
	uint8_t held[NODES];
};

/* Blocks of the engines as a forest; all engines give them the same names. */
struct world {
	struct bb_rng rng;
	struct index *index;
	struct engine engines[ENGINES];
	uint32_t ours, theirs; /* tokens of a block */
	uint32_t parent[NODES], depth[NODES], partition[NODES];
	uint64_t name[NODES];
	uint32_t tokens[NODES][64];
	uint32_t path[DEPTH_MAX], length;
	struct bb_buf buf;
	struct kv_encoder encoder;
	uint64_t found;
};

static uint32_t below(struct world *w, uint32_t bound)
{
	return (uint32_t)bb_rng_below(&w->rng, bound);
}

static void on_change(void *user, const struct kv_change *c)
{
	struct engine *const e = user;
	struct index *const x = e->world->index;

	switch (c->kind) {
	case KV_CHANGE_STORE:
		index_store(x, e->row, c->tier, c->depth, c->hashes, c->count, 1);
		break;
	case KV_CHANGE_REMOVE: index_remove(x, e->row, c->tier, c->hashes, c->count); break;
	case KV_CHANGE_CLEAR: index_clear(x, e->row); break;
	}
}

static void make_forest(struct world *w)
{
	for (uint32_t i = 0; i < NODES; i++) {
		const uint32_t parent = below(w, 30) ? (below(w, 6) ? i - 1 : below(w, i + 1)) : i;
		const bool is_root = i == 0 || parent >= i || w->depth[parent] + 1 >= DEPTH_MAX;
		w->parent[i] = is_root ? NOBODY : parent;
		w->depth[i] = is_root ? 0 : w->depth[parent] + 1;
		w->partition[i] = is_root ? below(w, PARTITIONS) : w->partition[parent];
		w->name[i] = bb_rng_next(&w->rng);
		for (uint32_t k = 0; k < w->theirs; k++)
			w->tokens[i][k] = below(w, 150000);
	}
}

static struct world *world_create(uint64_t seed, uint32_t ours, uint32_t theirs)
{
	struct world *const w = calloc(1, sizeof(*w));
	const struct index_config index = { 16u << 20, ENGINES, seed };
	struct kv_mirror_config mirror = { .block_tokens = ours,
					   .secret = SECRET,
					   .on_change = on_change };

	assert_non_null(w);
	bb_rng_seed(&w->rng, seed);
	w->ours = ours;
	w->theirs = theirs;
	bb_buf_init(&w->buf, 1 << 22);
	assert_int_equal(index_create(&index, &w->index), 0);
	for (uint32_t i = 0; i < ENGINES; i++) {
		w->engines[i].world = w;
		w->engines[i].row = i;
		mirror.user = &w->engines[i];
		assert_int_equal(kv_mirror_create(&mirror, &w->engines[i].mirror), 0);
	}
	make_forest(w);
	return w;
}

static void world_destroy(struct world *w)
{
	for (uint32_t i = 0; i < ENGINES; i++)
		kv_mirror_destroy(w->engines[i].mirror);
	index_destroy(w->index);
	bb_buf_fini(&w->buf);
	free(w);
}

static void walk_to(struct world *w, uint32_t node)
{
	w->length = w->depth[node] + 1;
	for (uint32_t i = w->length; i > 0; i--, node = w->parent[node])
		w->path[i - 1] = node;
}

/* ---- what engines do and say ---- */

static struct bb_str medium(enum index_tier tier)
{
	return tier == INDEX_DEVICE ? BB_STR("GPU")
	       : tier == INDEX_HOST ? BB_STR("CPU")
				    : BB_STR("DISK");
}

static void say_stored(struct world *w, uint32_t from, uint32_t to, enum index_tier tier)
{
	static uint32_t tokens[TOKENS_MAX];
	uint64_t names[DEPTH_MAX];
	const uint32_t first = w->path[from], p = w->partition[first];

	for (uint32_t i = from; i < to; i++) {
		names[i - from] = w->name[w->path[i]];
		memcpy(tokens + (i - from) * w->theirs, w->tokens[w->path[i]],
		       w->theirs * sizeof(*tokens));
	}
	const struct kv_store s = { .hashes = names,
				    .hash_count = to - from,
				    .block_size = w->theirs,
				    .tokens = tokens,
				    .parent = from ? w->name[w->path[from - 1]] : 0,
				    .has_parent = from > 0,
				    .medium = medium(tier),
				    .lora_name = bb_str_of(partitions[p].lora),
				    .cache_salt = bb_str_of(partitions[p].salt) };
	kv_add_stored(&w->encoder, &s);
}

/* From the first block that is missing on; now and then in two events. */
static void store(struct world *w, struct engine *e)
{
	const enum index_tier tier = below(w, 3) ? INDEX_DEVICE : 1u << below(w, 3);
	uint32_t from = 0;

	walk_to(w, below(w, NODES));
	while (from < w->length && e->held[w->path[from]] & tier)
		from++;
	if (from && below(w, 4) == 0)
		from = below(w, from);
	if (from == w->length)
		return;
	const uint32_t middle = from + below(w, w->length - from);
	if (middle > from)
		say_stored(w, from, middle, tier);
	say_stored(w, middle, w->length, tier);
	for (uint32_t i = from; i < w->length; i++)
		e->held[w->path[i]] |= tier;
}

static void evict(struct world *w, struct engine *e)
{
	uint32_t node = below(w, NODES);

	for (uint32_t n = 0; n < NODES && !e->held[node]; n++)
		node = (node + 1) % NODES;
	const uint32_t tiers = e->held[node] ? e->held[node] : 1;
	const enum index_tier tier = tiers & (0u - tiers);
	kv_add_removed(&w->encoder, &w->name[node], 1, medium(tier));
	e->held[node] &= (uint8_t)~tier;
}

static void act(struct world *w)
{
	struct engine *const e = &w->engines[below(w, ENGINES)];
	struct kv_mirror_stats s;

	bb_buf_clear(&w->buf);
	kv_batch_begin(&w->encoder, &w->buf, 1.0);
	for (uint32_t n = 1 + below(w, 6); n > 0; n--) {
		const uint32_t what = below(w, 200);
		if (what < 70) {
			store(w, e);
		} else if (what < 199) {
			evict(w, e);
		} else {
			kv_add_cleared(&w->encoder);
			memset(e->held, 0, sizeof(e->held));
		}
	}
	assert_int_equal(kv_batch_end(&w->encoder, 0), 0);
	double ts = 0;
	assert_int_equal(kv_mirror_apply(e->mirror, bb_buf_str(&w->buf), &ts), 0);
	assert_true(ts == 1.0);
	kv_mirror_stats(e->mirror, &s);
	assert_int_equal(s.passed_over + s.refused + s.odd, 0);
	if (below(w, 10) == 0)
		assert_true(kv_mirror_is_sound(e->mirror));
}

/* ---- what is found ---- */

struct expected {
	uint32_t held, device;
	bool has_holes; /* blocks on the device behind one that is not */
};

static struct expected naive(const struct world *w, const struct engine *e)
{
	struct expected want = { 0 };
	uint32_t blocks = 0;

	while (blocks < w->length && e->held[w->path[blocks]])
		blocks++;
	want.held = blocks * w->theirs / w->ours;
	for (uint32_t i = 0; i < want.held; i++) {
		/* The engine's block that ours ends in. */
		const uint32_t last = ((i + 1) * w->ours - 1) / w->theirs;
		const bool on_device = e->held[w->path[last]] & INDEX_DEVICE;
		if (on_device && want.device == i)
			want.device++;
		else if (on_device)
			want.has_holes = true;
	}
	return want;
}

static void look(struct world *w)
{
	static uint32_t tokens[TOKENS_MAX];
	static uint64_t hashes[TOKENS_MAX];
	struct index_depth depths[ENGINES];
	struct block_hasher h;

	walk_to(w, below(w, NODES));
	const uint32_t p = w->partition[w->path[0]];
	const struct block_key key = { SECRET, bb_str_of(partitions[p].salt),
				       bb_str_of(partitions[p].lora) };
	for (uint32_t i = 0; i < w->length; i++)
		memcpy(tokens + i * w->theirs, w->tokens[w->path[i]], w->theirs * sizeof(*tokens));
	uint32_t count = w->length * w->theirs;
	for (uint32_t more = below(w, 64); more > 0; more--)
		tokens[count++] = below(w, 150000);
	assert_int_equal(block_hasher_init(&h, BLOCK_OWN, w->ours, &key), 0);
	const size_t blocks = block_hash(&h, tokens, count, hashes);
	index_match(w->index, hashes, (uint32_t)blocks, depths, ENGINES);
	for (uint32_t i = 0; i < ENGINES; i++) {
		const struct expected want = naive(w, &w->engines[i]);
		assert_int_equal(depths[i].held, want.held);
		if (want.has_holes)
			assert_in_range(depths[i].device, 0, want.held);
		else
			assert_int_equal(depths[i].device, want.device);
		w->found += want.held > 0;
	}
}

static void engines_are_followed(void **state)
{
	static const uint32_t sizes[][2] = { { 16, 16 }, { 16, 32 }, { 16, 64 }, { 16, 1 },
					     { 16, 8 },	 { 16, 2 },  { 64, 16 }, { 1, 1 } };

	for (uint32_t i = 0; i < UNIT_COUNT(sizes); i++) {
		struct world *const w = world_create(i + 1, sizes[i][0], sizes[i][1]);
		struct kv_mirror_stats s;
		for (uint32_t n = 0; n < 20000; n++) {
			act(w);
			look(w);
			index_sweep(w->index);
		}
		assert_true(w->found > 3000);
		kv_mirror_stats(w->engines[0].mirror, &s);
		assert_int_equal(s.block_tokens, sizes[i][1]);
		assert_true(s.orphans > 0 && s.cleared > 0);
		for (uint32_t k = 0; k < ENGINES; k++) {
			kv_mirror_clear(w->engines[k].mirror);
			assert_int_equal(index_row_pairs(w->index, k), 0);
		}
		world_destroy(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(engines_are_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
