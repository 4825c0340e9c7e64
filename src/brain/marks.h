/*
 * marks.h: the hashes of a prompt by which it is remembered: every 4th block of its tokens, or every
 * piece of its text (text/block_hash).
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

/* … and so many marks. */
static inline uint64_t marks_tokens(enum prompt_hashes hashed, uint32_t count)
{
	return hashes_tokens(hashed, hashed == HASHES_TEXT ? count : count * INDEX_STRIDE);
}
