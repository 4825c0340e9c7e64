/*
 * index_table.h: from block hashes to who holds them.
 *
 * For: index. Extendible hashing over pages: a directory of 2^bits entries is addressed by the
 * first bits of the mixed hash; a page is one to seven blocks of memory with open addressing in
 * lines of four slots. A page that is full by 85 % gets one block more, and with eight is cut in
 * two: growth is a few thousand slots of work at a time, and never are less than two thirds of the
 * slots in use. Threads: one owner. Memory: blocks of index_blocks; pages and directory from the
 * heap, counted. Errors: -BB_ENOMEM and -BB_ELIMIT from growth; nothing is lost then.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "brain/index_blocks.h"

struct index_slot {
	uint64_t hash;
	uint32_t value; /* who holds it (index_set.h); 0: the slot is free */
	uint16_t depth; /* in its chain, at most UINT16_MAX */
	uint16_t epoch; /* when it was used last */
};

#define INDEX_LINE_SLOTS 4u
#define INDEX_PART_LINES (INDEX_BLOCK_SIZE / (INDEX_LINE_SLOTS * sizeof(struct index_slot)))
#define INDEX_PART_SLOTS (INDEX_PART_LINES * INDEX_LINE_SLOTS)
#define INDEX_PARTS_MAX 7u
#define INDEX_PAGE_SLOTS_MAX (INDEX_PARTS_MAX * INDEX_PART_SLOTS)

struct index_page {
	struct index_slot *parts[INDEX_PARTS_MAX];
	uint32_t blocks[INDEX_PARTS_MAX]; /* their numbers */
	uint32_t slot_count;		  /* in use */
	uint8_t part_count;
	uint8_t bits; /* of the hash that all in it share */
};

struct index_table {
	struct index_blocks *blocks;
	struct index_page **directory;
	uint32_t directory_bits, directory_bits_max;
	uint32_t page_count, page_max;
	uint64_t seed;
	uint64_t slot_count;
	struct index_slot *scratch; /* of a page while it is built anew */
};

BB_MUST int index_table_init(struct index_table *t, struct index_blocks *blocks, uint64_t bytes_max,
			     uint64_t seed);
void index_table_fini(struct index_table *t);
/* Without the blocks. `bytes_max` as at init: what it will need at the most. */
uint64_t index_table_bytes(const struct index_table *t);
uint64_t index_table_bytes_max(uint64_t bytes_max);

static inline uint64_t index_table_mix(const struct index_table *t, uint64_t hash)
{
	const uint64_t product = (hash ^ t->seed) * 0x9e3779b97f4a7c15u;

	return product ^ product >> 32;
}

static inline struct index_page *index_table_page(const struct index_table *t, uint64_t mixed)
{
	/* In two steps, since a shift by 64 is none. */
	return t->directory[mixed >> 1 >> (63 - t->directory_bits)];
}

/* The line in which a look-up begins. */
static inline uint32_t index_page_home(const struct index_page *p, uint64_t mixed)
{
	return (uint32_t)((mixed & UINT32_MAX) * (p->part_count * INDEX_PART_LINES) >> 32);
}

/* Always inline: gcc takes a function that only does this for one without effect, and drops calls.
 */
__attribute__((always_inline)) static inline void index_table_prefetch(const struct index_table *t,
								       uint64_t hash)
{
	const uint64_t mixed = index_table_mix(t, hash);
	const struct index_page *const p = index_table_page(t, mixed);
	const uint32_t line = index_page_home(p, mixed);

	__builtin_prefetch(p->parts[line / INDEX_PART_LINES] +
			   line % INDEX_PART_LINES * INDEX_LINE_SLOTS);
}

/* NULL: absent. Valid until the table changes. */
struct index_slot *index_table_find(const struct index_table *t, uint64_t hash);
/*
 * Finds a hash, or adds it; then the value is 0 and must be set before anything else is done with
 * the table. NULL: there is no room.
 */
struct index_slot *index_table_put(struct index_table *t, uint64_t hash) BB_MUST;
/* Of a hash that is there. */
void index_table_erase(struct index_table *t, uint64_t hash);

/* The slots in use of one page, copied to t->scratch; returns how many. */
uint32_t index_page_gather(struct index_table *t, const struct index_page *p);
/* Makes the page of the first `count` slots of t->scratch, a part of what it held, in fewer parts.
 */
void index_page_rebuild(struct index_table *t, struct index_page *p, uint32_t count,
			uint32_t parts);
/* Into how many parts so many slots fit well, out of those that the page has. */
uint32_t index_page_parts_for(const struct index_page *p, uint32_t count);
