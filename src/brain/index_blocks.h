/*
 * index_blocks.h: the index's memory: blocks of one size under a hard cap.
 *
 * For: index_table (slots) and index_set (sets of rows). All blocks are equal, so that what one of
 * them gives back the other can take, and nothing is lost between them.
 * Threads: one owner. Memory: blocks come from the heap in chunks; a chunk is kept to the end.
 * Errors: NULL when the cap is reached or the heap has none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define INDEX_BLOCK_SIZE 8192u
#define INDEX_CHUNK_BLOCKS 32u

struct index_blocks {
	char **chunks; /* as got from the heap */
	uint32_t chunk_count, chunk_max;
	uint32_t free; /* number of the first free block, or INDEX_BLOCK_NONE */
	uint32_t free_count;
};
#define INDEX_BLOCK_NONE UINT32_MAX

BB_MUST int index_blocks_init(struct index_blocks *b, uint64_t bytes_max);
void index_blocks_fini(struct index_blocks *b);
/* Aligned to a cache line, not zeroed. */
void *index_block_get(struct index_blocks *b, uint32_t *number) BB_MUST;
void index_block_put(struct index_blocks *b, uint32_t number);
uint64_t index_blocks_bytes(const struct index_blocks *b);
/* Of them in blocks that nobody has. */
uint64_t index_blocks_free_bytes(const struct index_blocks *b);

static inline void *index_block_at(const struct index_blocks *b, uint32_t number)
{
	char *const chunk = b->chunks[number / INDEX_CHUNK_BLOCKS];
	char *const first = (char *)(((uintptr_t)chunk + 63) & ~(uintptr_t)63);

	return first + (size_t)(number % INDEX_CHUNK_BLOCKS) * INDEX_BLOCK_SIZE;
}
