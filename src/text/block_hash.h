/*
 * block_hash.h: names for the blocks of a prompt's tokens, so that prefixes can be looked up.
 *
 * For: the router's index of what each engine holds in its KV cache. Only whole blocks have a hash;
 * the tokens behind the last one are dropped, as engines do.
 * Own scheme: seq[i] = XXH3_64(LE64 seq[i-1] ‖ tokens of block i as LE32, seed = secret), where
 * seq[-1] is made of the secret, the tenant's salt and the LoRA adapter's name, each with its
 * length. The secret is the process's own, so nobody outside can make prompts whose blocks fall
 * together; equal hashes mean equal prefixes under one salt and one adapter. Dynamo's scheme
 * (dynamo-llm 1.6, compute_block_hash_for_seq): local[i] = XXH3_64(tokens of block i ‖ sorted LE64
 * media hashes, seed = 1337 + XXH3_64(lora, 0) + XXH3_64(salt, 1)), seq[0] = local[0], seq[i] =
 * XXH3_64(LE64 seq[i-1] ‖ LE64 local[i], seed = 1337). It has a public seed: for comparing indexes,
 * not for serving. Threads: pure functions. Memory: none is taken. Errors: -BB_EINVALID from init.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define BLOCK_TOKENS_MAX 1024
#define BLOCK_MEDIA_MAX 32

enum block_scheme {
	BLOCK_OWN,
	BLOCK_DYNAMO,
	BLOCK_DYNAMO_EAGLE /* a block and the token behind it */
};

struct block_key {
	uint64_t secret;    /* of the process; Dynamo's scheme has none */
	struct bb_str salt; /* the tenant's; empty: none */
	struct bb_str lora; /* name of the adapter; empty: none */
};

struct block_hasher {
	enum block_scheme scheme;
	uint32_t block_tokens;
	uint64_t seed;
	uint64_t start; /* seq[-1] of the own scheme */
};

/* -BB_EINVALID when block_tokens is not 1 … BLOCK_TOKENS_MAX. */
BB_MUST int block_hasher_init(struct block_hasher *h, enum block_scheme scheme,
			      uint32_t block_tokens, const struct block_key *key);
/* Whole blocks in a prompt of so many tokens. */
size_t block_count(const struct block_hasher *h, size_t token_count);
/* Chained hashes of all whole blocks into out[block_count()]; returns their number. */
size_t block_hash(const struct block_hasher *h, const uint32_t *ids, size_t token_count,
		  uint64_t *out);
/*
 * Of a text whose tokens are not known: chained hashes of pieces that grow with their place: 512
 * bytes up to 4 KiB, 2 KiB up to 64 KiB, then 8 KiB. So a long prompt costs little, and texts that
 * begin alike have equal hashes as far as whole pieces go. Own scheme only; hashes of tokens are
 * never met. block_text_pieces: whole pieces of so many bytes; block_text_bytes: bytes of so many
 * pieces.
 */
size_t block_text_pieces(size_t bytes);
size_t block_text_bytes(size_t pieces);
size_t block_hash_text(const struct block_hasher *h, struct bb_str text, uint64_t *out);
/*
 * Dynamo's unchained hash of the block that begins at `ids`, with the hashes of pictures in it in
 * any order, BLOCK_MEDIA_MAX at the most. Only for its two schemes.
 */
uint64_t block_hash_local(const struct block_hasher *h, const uint32_t *ids, const uint64_t *media,
			  size_t media_count);
