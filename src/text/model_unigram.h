/*
 * model_unigram.h: the model Unigram (SentencePiece).
 *
 * For: tokenizer. The pieces whose scores sum to the most (Kudo, 2018), found by Viterbi over a
 * trie as `tokenizers` does: of equal sums the one that was found first, from left to right; a
 * character that is no entry counts the lowest score − 10; neighbouring unknowns become one, given
 * as bytes with byte_fallback.
 * Threads: read by any once it is made; a work belongs to one thread.
 * Memory: owns its tables; a work takes 16 bytes for each byte of the longest word.
 * Errors: create: -BB_EINVALID with a message, -BB_ENOMEM. encode: -BB_ENOMEM; -BB_EINVALID for an
 * unknown character when the model names no unk_id.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "text/model_tokens.h"
#include "text/text_error.h"

struct unigram;

struct unigram_step {
	double score;
	uint32_t begin;
	uint32_t id;
};

struct unigram_work {
	struct unigram_step *steps;
	size_t cap;
};

/* `model`: the checked JSON object. */
BB_MUST int unigram_create(struct bb_str model, struct unigram **out, struct text_error *e);
void unigram_destroy(struct unigram *u);
size_t unigram_size(const struct unigram *u);
uint32_t unigram_count(const struct unigram *u);
/* Every id is below. */
uint32_t unigram_id_end(const struct unigram *u);
/* The id of a content, or UINT32_MAX. */
uint32_t unigram_id(const struct unigram *u, struct bb_str content);
/* The content of an id; p == NULL when there is none. */
struct bb_str unigram_token(const struct unigram *u, uint32_t id);

void unigram_work_init(struct unigram_work *w);
void unigram_work_fini(struct unigram_work *w);
/* Replaces what is in `out` by the tokens of one word. */
BB_MUST int unigram_encode(const struct unigram *u, struct unigram_work *w, struct bb_str word,
			   struct model_tokens *out);
