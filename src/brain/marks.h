/*
 * marks.h: the hashes of a prompt by which it is remembered: of its tokens the first 64 blocks and
 * then every 4th, of its text every piece (text/block_hash).
 *
 * For: brain.c's parts. Threads: pure functions. Memory: none. Errors: none.
 */
#pragma once

#include "brain/brain.h"
#include "brain/index.h"
#include "text/block_hash.h"

/* Bytes of text that make a token, where tokens are not known. */
#define TEXT_BYTES_A_TOKEN 4

/* Tokens that so many hashes of a prompt stand for. */
static inline uint64_t hashes_tokens(enum prompt_hashes hashed, uint32_t count)
{
	return hashed == HASHES_TEXT ? block_text_bytes(count) / TEXT_BYTES_A_TOKEN
				     : (uint64_t)count * BRAIN_BLOCK_TOKENS;
}

#define MARKS_DENSE 64

/* The block that a mark of tokens is. */
static inline uint32_t mark_block(uint32_t mark)
{
	return mark < MARKS_DENSE ? mark : MARKS_DENSE - 1 + (mark - MARKS_DENSE + 1) * INDEX_STRIDE;
}

/* Marks among so many blocks of tokens. */
static inline uint32_t marks_of_blocks(uint32_t blocks)
{
	return blocks < MARKS_DENSE ? blocks : MARKS_DENSE + (blocks - MARKS_DENSE) / INDEX_STRIDE;
}

/* Tokens that so many marks stand for. */
static inline uint64_t marks_tokens(enum prompt_hashes hashed, uint32_t count)
{
	if (hashed == HASHES_TEXT || count == 0)
		return hashes_tokens(hashed, count);
	return hashes_tokens(hashed, mark_block(count - 1) + 1);
}

/* Marks `from` … count − 1 of a prompt go into the index. */
static inline void marks_store_from(struct index *x, uint32_t row, enum index_tier tier,
				    const uint64_t *marks, uint32_t from, uint32_t count)
{
	const uint32_t dense = count < MARKS_DENSE ? count : MARKS_DENSE;

	if (from < dense)
		index_store(x, row, tier, from, marks + from, dense - from, 1);
	const uint32_t far = from > dense ? from : dense;
	if (far < count)
		index_store(x, row, tier, mark_block(far), marks + far, count - far, INDEX_STRIDE);
}
