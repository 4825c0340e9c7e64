#include "brain/index_blocks.h"

#include "base/alloc.h"

#define CHUNK_SIZE (INDEX_CHUNK_BLOCKS * INDEX_BLOCK_SIZE + 64)

int index_blocks_init(struct index_blocks *b, uint64_t bytes_max)
{
	uint32_t max = (uint32_t)(bytes_max / (CHUNK_SIZE + sizeof(*b->chunks)));

	*b = (struct index_blocks){ .free = INDEX_BLOCK_NONE, .chunk_max = max };
	b->chunks = bb_alloc_zero(max ? max : 1, sizeof(*b->chunks));
	return b->chunks ? 0 : -BB_ENOMEM;
}

void index_blocks_fini(struct index_blocks *b)
{
	for (uint32_t i = 0; i < b->chunk_count; i++)
		bb_free(b->chunks[i]);
	BB_FREE(b->chunks);
}

/* A free block holds the number of the next. */
void index_block_put(struct index_blocks *b, uint32_t number)
{
	*(uint32_t *)index_block_at(b, number) = b->free;
	b->free = number;
	b->free_count++;
}

static int add_chunk(struct index_blocks *b)
{
	if (b->chunk_count == b->chunk_max)
		return -BB_ELIMIT;
	char *const chunk = bb_alloc(CHUNK_SIZE);
	if (!chunk)
		return -BB_ENOMEM;
	const uint32_t first = b->chunk_count * INDEX_CHUNK_BLOCKS;
	b->chunks[b->chunk_count++] = chunk;
	for (uint32_t i = INDEX_CHUNK_BLOCKS; i > 0; i--)
		index_block_put(b, first + i - 1);
	return 0;
}

void *index_block_get(struct index_blocks *b, uint32_t *number)
{
	if (b->free == INDEX_BLOCK_NONE && add_chunk(b))
		return NULL;
	*number = b->free;
	uint32_t *const block = index_block_at(b, b->free);
	b->free = *block;
	b->free_count--;
	return block;
}

uint64_t index_blocks_bytes(const struct index_blocks *b)
{
	return (uint64_t)b->chunk_count * CHUNK_SIZE + b->chunk_max * sizeof(*b->chunks);
}

uint64_t index_blocks_free_bytes(const struct index_blocks *b)
{
	return (uint64_t)b->free_count * INDEX_BLOCK_SIZE;
}
