/*
 * index_part.h: the index part by part, and every change to it: for checkpoints.
 *
 * For: record.c. Blocks lie in an order of their (mixed) hashes; a part is all of them from one
 * place in it to another, one page of the table. A checkpoint goes through the parts while the
 * index is in use: each part is what is held at that moment, and changes are told from the
 * checkpoint's beginning on; so an empty index that is told both ends up with the same in it.
 * Threads: as the index. Memory: a part keeps its lists for the next one.
 * Errors: -BB_ENOMEM, -BB_ELIMIT (more than INDEX_PART_HOLDERS_MAX).
 */
#pragma once

#include "brain/index.h"

/* Who holds a block: in which tiers (enum index_tier) which row does. */
struct index_holder {
	uint32_t row, tiers;
};

struct index_part_block {
	uint64_t hash;
	uint32_t depth, set;
};

/* Many blocks have the same holders. */
struct index_part_set {
	uint32_t first, count; /* of `holders` */
};

#define INDEX_PART_HOLDERS_MAX (1u << 20)

struct index_part {
	uint64_t from, to; /* places in the order; 0: the beginning, and the end */
	struct index_part_block *blocks;
	struct index_part_set *sets;
	struct index_holder *holders;
	uint32_t block_count, set_count, holder_count;
	uint32_t block_room, set_room, holder_room;
};

void index_part_fini(struct index_part *p);
/* What there is from a place on, up to p->to. */
BB_MUST int index_part_get(struct index *x, uint64_t from, struct index_part *p);
/* Stores all of a part. */
void index_part_put(struct index *x, const struct index_part *p);
/* Sums over (hash, row, tiers), of a part and of what an index has there: is it the same? */
uint64_t index_part_digest(const struct index_part *p);
uint64_t index_digest(struct index *x, uint64_t from, uint64_t to);
/* Pairs that were evicted or refused so far: what it holds is not only what it was told. */
uint64_t index_losses(const struct index *x);

enum index_change { INDEX_CHANGE_STORE, INDEX_CHANGE_REMOVE, INDEX_CHANGE_CLEAR };
/* Before each index_store, _remove and _clear, with what it is called with. `fn` NULL: no more. */
typedef void index_watch_fn(void *user, enum index_change change, uint32_t row,
			    enum index_tier tier, uint32_t depth, const uint64_t *hashes,
			    uint32_t count, uint32_t stride);
void index_watch(struct index *x, index_watch_fn *fn, void *user);
