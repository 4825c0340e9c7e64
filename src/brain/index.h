/*
 * index.h: which engine holds which blocks of KV cache.
 *
 * For: brain.c: a prompt's chained block hashes (text/block_hash) against what every engine holds,
 * for all engines at once. A row is one engine, or one data-parallel rank of it. Hashes are keyed
 * with a secret of the process, the tenant's salt and the LoRA adapter, so partitions never meet.
 * What a row holds is prefix-closed (a block is told only while its parent is held: kv_mirror and
 * kv_assumed see to it), so the depth of a match is found by doubling and bisection.
 * Threads: as the brain. Memory: never more than `bytes_max`; beyond it the least useful blocks go.
 * Errors: creation only; without memory a block is not kept and counted as refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Of 4,096 names for rows 256 are kept for what clears leave behind. */
#define INDEX_ROWS_MAX 3840
#define INDEX_BYTES_MIN (1ull << 20)
#define INDEX_BYTES_MAX (4ull << 30)
/* Blocks that are only assumed or promised are stored at every 4th depth: (depth + 1) % 4 == 0. */
#define INDEX_STRIDE 4

struct index;

/* Where a row holds a block; a mask. A promised block is on its way: a prompt with it was sent. */
enum index_tier {
	INDEX_DEVICE = 1,
	INDEX_HOST = 2,
	INDEX_DISK = 4, /* and what is farther away */
	INDEX_PROMISED = 8,
};

struct index_config {
	size_t bytes_max;  /* INDEX_BYTES_MIN … INDEX_BYTES_MAX */
	uint32_t rows_max; /* 1 … INDEX_ROWS_MAX */
	uint64_t seed;	   /* of what is evicted among equals */
};

struct index_stats {
	uint64_t bytes, bytes_max;
	uint64_t blocks; /* different hashes */
	uint64_t pairs;	 /* (block, row) */
	/* Since the start, pairs: pairs = stores − removals − evictions; refused: not taken in. */
	uint64_t stores, removals, evictions, refused;
};

BB_MUST int index_create(const struct index_config *config, struct index **out);
void index_destroy(struct index *x);

/*
 * A row holds these blocks in a tier from now on, also those that it held already. `depth` is the
 * 0-based place of the first in its chain; hashes[i] is at depth + i × stride. Only for choosing
 * what to evict.
 */
void index_store(struct index *x, uint32_t row, enum index_tier tier, uint32_t depth,
		 const uint64_t *hashes, uint32_t count, uint32_t stride);
/* Not in this tier any more; blocks it did not hold are passed over. */
void index_remove(struct index *x, uint32_t row, enum index_tier tier, const uint64_t *hashes,
		  uint32_t count);
/* A row holds nothing any more. O(1): what is left of it is swept out by and by. */
void index_clear(struct index *x, uint32_t row);
/* A bounded part of the sweep after clears; called now and then. True: there is more to do. */
bool index_sweep(struct index *x);

/* How much of a prompt a row holds, in blocks from the start. */
struct index_depth {
	uint32_t held;	 /* in any tier, or promised */
	uint32_t device; /* of these the first so many on the device (or promised); with holes among
			  * them the end of one of the runs */
};

/*
 * What is looked up for it counts as used (the coarse steps of index_match.c that somebody holds).
 *
 * Fills in depths[row] for rows 0 … row_count − 1. hashes[i] is the prompt's block i. What a row
 * holds at strides only is found at these depths.
 */
void index_match(struct index *x, const uint64_t *hashes, uint32_t count,
		 struct index_depth *depths, uint32_t row_count);
/* Pairs that were evicted since the start. */
uint64_t index_eviction_count(const struct index *x);
/* Pairs of one row. */
uint64_t index_row_pairs(const struct index *x, uint32_t row);
void index_stats(const struct index *x, struct index_stats *out);
