#include "brain/index.h"

#include "base/alloc.h"
#include "base/log.h"
#include "brain/index_inner.h"

#define AHEAD 24u
#define EPOCHS 64u    /* while as many blocks come as the index can hold */
#define SLOT_COST 20u /* bytes, about */

/* ---- rows ---- */

/* The id under which a row's blocks are stored, or INDEX_ID_NONE. */
static uint32_t id_of(struct index *x, uint32_t row)
{
	BB_ASSERT(row < x->row_count);
	if (x->id_of_row[row] == INDEX_ID_NONE && x->free_id_count) {
		const uint16_t id = x->free_ids[--x->free_id_count];
		x->id_of_row[row] = id;
		x->row_of_id[id] = (uint16_t)row;
	}
	return x->id_of_row[row];
}

void index_clear(struct index *x, uint32_t row)
{
	BB_ASSERT(row < x->row_count);
	if (x->watch)
		x->watch(x->watch_user, INDEX_CHANGE_CLEAR, row, INDEX_DEVICE, 0, NULL, 0, 1);
	const uint32_t id = x->id_of_row[row];
	if (id == INDEX_ID_NONE || !x->pairs_of_id[id])
		return;
	x->stats.pairs -= x->pairs_of_id[id];
	x->stats.removals += x->pairs_of_id[id];
	x->dead_pairs += x->pairs_of_id[id];
	x->dead[id / 64] |= 1ull << id % 64;
	x->row_of_id[id] = INDEX_ID_NONE;
	x->id_of_row[row] = INDEX_ID_NONE;
}

uint64_t index_row_pairs(const struct index *x, uint32_t row)
{
	BB_ASSERT(row < x->row_count);
	const uint32_t id = x->id_of_row[row];
	return id == INDEX_ID_NONE ? 0 : x->pairs_of_id[id];
}

/* ---- blocks ---- */

static void touch_epoch(struct index *x)
{
	if (--x->epoch_left)
		return;
	x->epoch_left = x->epoch_blocks;
	x->epoch++;
}

/* Memory is asked for AHEAD blocks before it is used: they are known, and mostly not in any cache.
 */
__attribute__((always_inline)) static inline void look_ahead(const struct index *x,
							     const uint64_t *hashes, uint32_t at,
							     uint32_t count)
{
	const uint32_t first = at ? at + AHEAD - 1 : 0;

	for (uint32_t i = first; i < at + AHEAD && i < count; i++)
		index_table_prefetch(&x->table, hashes[i]);
}

static struct index_slot *slot_of(struct index *x, uint64_t hash)
{
	struct index_slot *slot = index_table_put(&x->table, hash);

	if (!slot) {
		index_make_slots(x, hash);
		slot = index_table_put(&x->table, hash);
	}
	return slot;
}

/* False: there is no room. */
static bool store_one(struct index *x, uint32_t id, uint32_t tier, uint64_t hash, uint32_t depth)
{
	struct index_slot *slot = slot_of(x, hash);

	if (!slot)
		return false;
	const bool is_new = !slot->value;
	const uint32_t tiers = is_new ? 0 : index_value_tiers(&x->sets, slot->value, id);
	slot->epoch = x->epoch;
	if (is_new) {
		slot->value = INDEX_MEMBER(id, tier);
		slot->depth = depth < UINT16_MAX ? (uint16_t)depth : UINT16_MAX;
		touch_epoch(x);
	} else if (!(tiers & tier)) {
		const uint32_t value = index_value_change(&x->sets, slot->value, id, tiers | tier);
		if (value == INDEX_VALUE_NONE)
			return false;
		slot->value = value;
	}
	if (!tiers) {
		x->pairs_of_id[id]++;
		x->stats.pairs++;
		x->stats.stores++;
	}
	return true;
}

void index_store(struct index *x, uint32_t row, enum index_tier tier, uint32_t depth,
		 const uint64_t *hashes, uint32_t count, uint32_t stride)
{
	const uint32_t id = id_of(x, row);

	if (x->watch)
		x->watch(x->watch_user, INDEX_CHANGE_STORE, row, tier, depth, hashes, count, stride);
	if (id == INDEX_ID_NONE) {
		x->stats.refused += count;
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		look_ahead(x, hashes, i, count);
		const uint32_t at = depth + i * stride;
		if (store_one(x, id, tier, hashes[i], at))
			continue;
		/* Once more behind an eviction, of which the block itself may be a part. */
		if (!index_make_block(x) || !store_one(x, id, tier, hashes[i], at))
			x->stats.refused++;
	}
}

static void remove_one(struct index *x, uint32_t id, uint32_t tier, uint64_t hash)
{
	struct index_slot *const slot = index_table_find(&x->table, hash);
	const uint32_t tiers = slot ? index_value_tiers(&x->sets, slot->value, id) : 0;

	if (!(tiers & tier))
		return;
	const uint32_t value = index_value_change(&x->sets, slot->value, id, tiers & ~tier);
	if (value == INDEX_VALUE_NONE) /* no memory to say who is left: then nobody is */
		index_value_gone(x, slot->value, 1);
	else if (!(tiers & ~tier))
		index_pairs_gone(x, id, 1, INDEX_GONE_REMOVED);
	if (value == 0 || value == INDEX_VALUE_NONE)
		index_table_erase(&x->table, hash);
	else
		slot->value = value;
}

void index_remove(struct index *x, uint32_t row, enum index_tier tier, const uint64_t *hashes,
		  uint32_t count)
{
	BB_ASSERT(row < x->row_count);
	const uint32_t id = x->id_of_row[row];

	if (x->watch)
		x->watch(x->watch_user, INDEX_CHANGE_REMOVE, row, tier, 0, hashes, count, 1);
	for (uint32_t i = 0; i < count && id != INDEX_ID_NONE; i++) {
		look_ahead(x, hashes, i, count);
		remove_one(x, id, tier, hashes[i]);
	}
}

uint64_t index_eviction_count(const struct index *x)
{
	return x->stats.evictions;
}

void index_stats(const struct index *x, struct index_stats *out)
{
	*out = x->stats;
	out->blocks = x->table.slot_count;
	out->bytes_max = x->bytes_max;
	out->bytes = x->bytes_fixed + index_table_bytes(&x->table) + index_blocks_bytes(&x->blocks);
}

/* ---- creation ---- */

static int create_arrays(struct index *x)
{
	const uint32_t words = x->id_count / 64;

	x->id_of_row = bb_alloc(x->row_count * sizeof(*x->id_of_row));
	x->row_of_id = bb_alloc(x->id_count * sizeof(*x->row_of_id));
	x->free_ids = bb_alloc(x->id_count * sizeof(*x->free_ids));
	x->pairs_of_id = bb_alloc_zero(x->id_count, sizeof(*x->pairs_of_id));
	x->dead = bb_alloc_zero(words, sizeof(*x->dead));
	x->rows = bb_alloc(words * sizeof(*x->rows));
	x->done = bb_alloc(2 * words * sizeof(*x->done));
	x->dead_now = bb_alloc(words * sizeof(*x->dead_now));
	x->points[0] = bb_alloc(INDEX_POINTS_MAX * sizeof(*x->points[0]));
	x->points[1] = bb_alloc(INDEX_POINTS_MAX * sizeof(*x->points[1]));
	if (!x->id_of_row || !x->row_of_id || !x->free_ids || !x->pairs_of_id || !x->dead ||
	    !x->rows || !x->done || !x->dead_now || !x->points[0] || !x->points[1])
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < x->id_count; i++) {
		x->row_of_id[i] = INDEX_ID_NONE;
		x->free_ids[x->free_id_count++] = (uint16_t)(x->id_count - 1 - i);
	}
	for (uint32_t i = 0; i < x->row_count; i++)
		x->id_of_row[i] = INDEX_ID_NONE;
	return 0;
}

static uint64_t fixed_bytes(const struct index *x)
{
	return sizeof(*x) + x->row_count * sizeof(*x->id_of_row) +
	       x->id_count * (2 * sizeof(uint16_t) + sizeof(uint64_t)) + x->id_count / 64 * 5 * 8 +
	       2 * INDEX_POINTS_MAX * sizeof(struct index_point) +
	       index_sets_bytes(x->bytes_max, x->id_count);
}

int index_create(const struct index_config *config, struct index **out)
{
	if (config->bytes_max < INDEX_BYTES_MIN || config->bytes_max > INDEX_BYTES_MAX ||
	    config->rows_max < 1 || config->rows_max > INDEX_ROWS_MAX)
		return -BB_EINVALID;
	struct index *const x = bb_alloc_zero(1, sizeof(*x));
	if (!x)
		return -BB_ENOMEM;
	bb_rng_seed(&x->rng, config->seed);
	x->bytes_max = config->bytes_max;
	x->row_count = config->rows_max;
	/* An eighth more for what clears leave behind. */
	x->id_count = (x->row_count + x->row_count / 8 + 16 + 63) / 64 * 64;
	if (x->id_count > INDEX_IDS_MAX)
		x->id_count = INDEX_IDS_MAX;
	x->bytes_fixed = fixed_bytes(x);
	const uint64_t reserved = x->bytes_fixed + index_table_bytes_max(x->bytes_max);
	x->epoch_blocks = (uint32_t)(x->bytes_max / SLOT_COST / EPOCHS) + 1;
	x->epoch_left = x->epoch_blocks;
	int rc = create_arrays(x);
	if (!rc)
		rc = index_blocks_init(&x->blocks, x->bytes_max - reserved);
	if (!rc)
		rc = index_sets_init(&x->sets, &x->blocks, x->bytes_max, x->id_count,
				     bb_rng_next(&x->rng));
	if (!rc)
		rc = index_table_init(&x->table, &x->blocks, x->bytes_max, bb_rng_next(&x->rng));
	if (rc) {
		index_destroy(x);
		return rc;
	}
	*out = x;
	return 0;
}

void index_destroy(struct index *x)
{
	if (!x)
		return;
	index_table_fini(&x->table);
	index_sets_fini(&x->sets);
	index_blocks_fini(&x->blocks);
	bb_free(x->points[0]);
	bb_free(x->points[1]);
	bb_free(x->dead_now);
	bb_free(x->done);
	bb_free(x->rows);
	bb_free(x->dead);
	bb_free(x->pairs_of_id);
	bb_free(x->free_ids);
	bb_free(x->row_of_id);
	bb_free(x->id_of_row);
	bb_free(x);
}
