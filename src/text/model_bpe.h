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
 * Memory: the bpe owns its tables: 12 bytes a pair at a load of at most 2/3, as many pairs as
 * tokens (bpe_reduce.h); the vocabulary. A work grows with the longest word, 16 bytes for each of
 * its bytes, and with the longest window, 76 bytes for each of its symbols.
 * Errors: -BB_EINVALID with a message, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/bpe_cut.h"
#include "text/bpe_pairs.h"
#include "text/text_error.h"
#include "text/vocab.h"

#define BPE_MERGES_MAX 0xfffffeu
#define BPE_NONE VOCAB_NONE

/* Symbols that are merged at once. */
#define BPE_SHORT_MAX 256

struct bpe;
/*
 * Merges `count` symbols in place. keys[i] is rank << 8 | i of symbols i and i + 1, joints[i] where
 * bpe_pairs_whole finds what they become; both have room for BPE_SHORT_MAX. from[i] gets the number
 * of the first symbol of token i. Returns the count.
 */
typedef uint32_t bpe_merge_function(const struct bpe *b, uint32_t *ids, uint32_t *keys,
				    uint32_t *joints, uint32_t count, uint16_t *from);

struct bpe {
	struct vocab vocab;
	struct bpe_pairs pairs;
	struct bpe_joint *byte_pairs; /* byte-level: of two bytes, by first << 8 | second */
	uint32_t byte_ids[256];	      /* byte-level: of single bytes; else of "<0x00>" … */
	bool has_all_bytes;	      /* byte-level: each byte has an id */
	bool is_byte_level, ignore_merges, fuse_unk, byte_fallback, has_byte_fallback;
	struct bpe_cuts *cuts; /* or NULL: words cannot be cut */
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
 * `ids` has room for them; `hash`: its vocab_hash. Returns the count.
 */
uint32_t bpe_encode_short(const struct bpe *b, const char *word, uint32_t len, uint64_t hash,
			  uint32_t *ids);

/* "<0x00>" … where they stand for bytes. */
bool bpe_is_special(const struct bpe *b, struct bb_str content);

/* ---- bpe_merges.c ---- */

BB_MUST int bpe_merges_read(struct bpe *b, struct bb_str merges, struct text_error *e);

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
