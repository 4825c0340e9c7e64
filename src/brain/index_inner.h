/*
 * index_inner.h: the index as its own files see it.
 *
 * For: index.c, index_room.c, index_match.c. A row has an id of its own as long as it is not
 * cleared; a clear gives it a fresh one, and what still bears the old one is nobody's.
 * Threads: as index.h. Memory: owned by the index. Errors: as index.h.
 */
#pragma once

#include "base/hash.h"
#include "brain/index.h"
#include "brain/index_part.h"
#include "brain/index_set.h"
#include "brain/index_table.h"

#define INDEX_ID_NONE UINT16_MAX
#define INDEX_POINTS_MAX 4096u

struct index_point {
	uint32_t count; /* blocks of the prompt, of which the last was looked up */
	uint32_t value;
};

struct index {
	struct index_blocks blocks;
	struct index_table table;
	struct index_sets sets;
	struct bb_rng rng;
	uint64_t bytes_max, bytes_fixed;
	uint32_t row_count, id_count;
	uint16_t *id_of_row; /* INDEX_ID_NONE: all ids are taken until a sweep frees one */
	uint16_t *row_of_id; /* INDEX_ID_NONE: cleared, or free */
	uint16_t *free_ids;
	uint32_t free_id_count;
	uint64_t *pairs_of_id;
	uint64_t *dead; /* a bitmap of ids that were cleared and still have pairs */
	uint64_t dead_pairs;
	uint64_t sweep_at; /* the mixed hash up to which the sweep has come */
	uint16_t epoch;
	uint32_t epoch_left; /* new blocks until the next */
	uint32_t epoch_blocks;
	uint64_t *rows, *done, *dead_now; /* bitmaps to work in */
	struct index_point *points[2];
	struct index_stats stats;
	index_watch_fn *watch; /* NULL: nobody */
	void *watch_user;
};

static inline bool index_is_dead(const struct index *x, uint32_t id)
{
	return x->dead[id / 64] >> id % 64 & 1;
}

/* ---- index_room.c ---- */

enum index_gone { INDEX_GONE_REMOVED, INDEX_GONE_EVICTED };

/* So many pairs of an id are no more. */
void index_pairs_gone(struct index *x, uint32_t id, uint64_t count, enum index_gone how);
/* A block and all its pairs go; the slot itself is the caller's matter. */
void index_value_gone(struct index *x, uint32_t value, uint32_t slots);
/* Evicts from the page that this hash belongs to, so that it can take another. */
void index_make_slots(struct index *x, uint64_t hash);
/* Evicts from some page until it gives a block back. False: there is nothing to evict. */
bool index_make_block(struct index *x);
