/*
 * model_bpe.h: byte pair encoding of one word.
 *
 * For: tokenizer. A word's first symbols are its bytes (byte-level models) or characters; then,
 * again and again, the pair of neighbours with the lowest rank, the leftmost of equals, becomes
 * one symbol (Sennrich et al., 2016), until no pair has a rank.
 * Short words: all pairs' ranks in one array, whose smallest is searched (8 at a time with AVX2).
 * Long words are cut into windows. That is exact: a sequence of tokens is the encoding of its text
 * if and only if each two neighbours are the encoding of theirs. (Merges inside two neighbours come
 * in the same order whether the rest is there or not; the first merge over a boundary would be one
 * of the two alone as well.) So a window is joined to what is there by encoding it again together
 * with as many tokens before it as it takes until the seam holds.
 * Threads: a bpe is read by any once it is made; a bpe_work belongs to one thread.
 * Memory: the bpe owns its tables: 8 bytes a merge at a load of at most 2/3, 4 more for its result,
 * the vocabulary. A work grows with the longest word, 16 bytes for each of its bytes, and with the
 * longest window, 76 bytes for each of its symbols.
 * Errors: -BB_EINVALID with a message, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/text_error.h"
#include "text/vocab.h"

#define BPE_MERGES_MAX 0xfffffeu
#define BPE_NONE VOCAB_NONE

/* What the ranks of bpe_rank go up to; this and above: no such pair. */
#define BPE_NO_RANK 0xffffffu
/* Symbols that are merged at once. */
#define BPE_SHORT_MAX 256

struct bpe;
/*
 * Merges `count` symbols in place. keys[i] is rank << 8 | i of symbols i and i + 1; `keys` has room
 * for BPE_SHORT_MAX. from[i] gets the number of the first symbol of token i. Returns the count.
 */
typedef uint32_t bpe_merge_function(const struct bpe *b, uint32_t *ids, uint32_t *keys,
				    uint32_t count, uint16_t *from);

struct bpe {
	struct vocab vocab;
	uint64_t *pairs;       /* left 20 bits, right 20 bits, rank 24 bits; all ones: free */
	uint64_t *pair_filter; /* a bit for each pair, by the hash: most pairs end here */
	unsigned pair_shift;
	uint64_t pair_mask;
	uint32_t *merge_result; /* by rank */
	uint32_t merge_count;
	uint32_t *byte_pairs;	/* byte-level: the rank of two bytes, by first << 8 | second */
	uint32_t byte_ids[256]; /* byte-level: of single bytes; else of "<0x00>" … */
	bool has_all_bytes;	/* byte-level: each byte has an id */
	bool is_byte_level, ignore_merges, fuse_unk, byte_fallback, has_byte_fallback;
	bool cuts_metaspace;   /* no token has U+2581 behind another character */
	uint32_t unk;	       /* or BPE_NONE */
	char *prefix, *suffix; /* continuing_subword_prefix and end_of_word_suffix, or NULL */
	bpe_merge_function *merge;
};

struct bpe_work {
	uint32_t *ids; /* of the symbols */
	uint32_t *at;  /* where each begins in the word, and the word's end */
	size_t cap;
	uint32_t *out, *out_at;
	size_t out_cap;
	uint32_t *links; /* for windows of more than BPE_SHORT_MAX symbols */
	uint64_t *heap;
	size_t window_cap;
};

/* `model`: the checked JSON object of the type BPE. */
BB_MUST int bpe_create(struct bb_str model, enum vocab_alphabet alphabet, struct bpe **out,
		       struct text_error *e);
void bpe_destroy(struct bpe *b);
size_t bpe_size(const struct bpe *b);

void bpe_work_init(struct bpe_work *w);
void bpe_work_fini(struct bpe_work *w);

/*
 * Encodes one word, not empty. w->out gets the ids, w->out_at where each begins in the word and,
 * one more, the word's length.
 */
BB_MUST int bpe_encode(const struct bpe *b, struct bpe_work *w, struct bb_str word, size_t *count);

/*
 * The same for a short word of a byte-level model that has all bytes: at most BPE_SHORT_MAX bytes,
 * `ids` has room for them. Returns the count.
 */
uint32_t bpe_encode_short(const struct bpe *b, const char *word, uint32_t len, uint32_t *ids);

static inline uint64_t bpe_pair_key(uint32_t left, uint32_t right)
{
	return (uint64_t)left << 20 | right;
}

#define BPE_FILTER_BITS 21

static inline uint64_t bpe_pair_hash(uint64_t key)
{
	return key * 0x9e3779b97f4a7c15u;
}

/* The rank of a pair, or BPE_NO_RANK. */
static inline uint32_t bpe_rank(const struct bpe *b, uint32_t left, uint32_t right)
{
	const uint64_t key = bpe_pair_key(left, right), hash = bpe_pair_hash(key);
	const uint64_t bit = hash >> (64 - BPE_FILTER_BITS);

	if (!(b->pair_filter[bit >> 6] >> (bit & 63) & 1))
		return BPE_NO_RANK;
	uint64_t i = hash >> b->pair_shift;
	for (;; i = (i + 1) & b->pair_mask) {
		const uint64_t pair = b->pairs[i];
		if (pair >> 24 == key)
			return (uint32_t)(pair & 0xffffff);
		if (pair == UINT64_MAX)
			return BPE_NO_RANK;
	}
}

/* Room for `count` tokens in w->out and w->out_at. */
BB_MUST int bpe_out_reserve(struct bpe_work *w, size_t count);

/* ---- bpe_merge.c ---- */

bpe_merge_function bpe_merge_plain;
/* Only where bpe_has_avx2. */
bpe_merge_function bpe_merge_avx2;
bool bpe_has_avx2(void);

/*
 * Merges any number of symbols: w->ids, at w->at[], to w->out and w->out_at.
 */
BB_MUST int bpe_merge_long(const struct bpe *b, struct bpe_work *w, size_t count,
			   size_t *out_count);
