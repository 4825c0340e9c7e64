/*
 * index_set.h: who holds a block: a 32-bit value.
 *
 * For: index. Nobody is 0; one row or two stand in the value itself; three and more are a set,
 * which all blocks with the same holders share: the blocks of one chain mostly do, so that a
 * further engine of a shared prompt costs next to nothing. A small set is a sorted list, a large
 * one four bitmaps. Two sets are taken for equal when their sums are: 64 bits, one random number
 * for each (row, tiers). Threads: one owner. Memory: blocks of index_blocks, cut into pieces of a
 * size; a set lives while a value refers to it. Errors: INDEX_VALUE_NONE when there is no memory;
 * nothing was changed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "brain/index_blocks.h"

#define INDEX_IDS_MAX 4096u /* a row is 12 bits here, its tiers are 4 */
#define INDEX_VALUE_NONE UINT32_MAX
#define INDEX_SET_SIZES_MAX 24
#define INDEX_TIERS 4

/* A value with a single row; of two, the lower stands in the lower half. */
#define INDEX_MEMBER(row, tiers) ((uint32_t)(row) << 4 | (tiers))

struct index_set {
	uint64_t sum;
	uint32_t references;
	uint16_t count;
	uint8_t size_class;
	bool is_bitmap;
	union {
		uint16_t list[4]; /* `count` of them, sorted */
		uint64_t bits[1]; /* a bitmap for each tier */
	};
};

struct index_sets {
	struct index_blocks *blocks;
	uint64_t seed;
	uint32_t words;	   /* of a bitmap */
	uint32_t list_max; /* members of a list */
	uint32_t size_count;
	uint16_t sizes[INDEX_SET_SIZES_MAX];
	uint32_t partial[INDEX_SET_SIZES_MAX]; /* first block with a free piece */
	uint32_t *recent;		       /* by their sums: sets that a change may lead to */
	uint32_t recent_mask;
	struct {
		uint32_t from, to, member;
	} last;		   /* the last change: the next block of a chain mostly changes alike */
	uint16_t *members; /* a list to work in */
};

/* `id_count`: a multiple of 64, up to INDEX_IDS_MAX. */
BB_MUST int index_sets_init(struct index_sets *s, struct index_blocks *blocks, uint64_t bytes_max,
			    uint32_t id_count, uint64_t seed);
void index_sets_fini(struct index_sets *s);
uint64_t index_sets_bytes(uint64_t bytes_max, uint32_t id_count);

static inline bool index_value_is_set(uint32_t value)
{
	return value && !(value & 0xf);
}

static inline struct index_set *index_set_at(const struct index_sets *s, uint32_t value)
{
	const uint32_t unit = value >> 4;

	return (struct index_set *)((char *)index_block_at(s->blocks, unit / 512) +
				    unit % 512 * 16);
}

/* In which tiers a row is a holder; 0: it is none. */
uint32_t index_value_tiers(const struct index_sets *s, uint32_t value, uint32_t row);
/*
 * The value with a row's tiers set to these (0: the row is out), in place of `value`, whose
 * reference goes to it. INDEX_VALUE_NONE without memory.
 */
uint32_t index_value_change(struct index_sets *s, uint32_t value, uint32_t row, uint32_t tiers);
/*
 * The same without all rows of a bitmap, which is the same one until index_sets_forget_last is
 * called.
 */
uint32_t index_value_without(struct index_sets *s, uint32_t value, const uint64_t *rows);
void index_sets_forget_last(struct index_sets *s);
void index_value_release(struct index_sets *s, uint32_t value, uint32_t references);
bool index_value_equal(const struct index_sets *s, uint32_t a, uint32_t b);
/* Rows that hold in one of the tiers: adds them to a bitmap. */
void index_value_rows(const struct index_sets *s, uint32_t value, uint32_t tiers, uint64_t *rows);
