/*
 * scored_vocab.h: a vocabulary of texts with scores: [["text", score], …].
 *
 * For: the models of SentencePiece. An id is a place in the list; of equal texts the last counts.
 * Threads: read by any once it is loaded. Memory: owns everything.
 * Errors: -BB_EINVALID with a message, -BB_ENOMEM.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "text/byte_trie.h"
#include "text/component.h"

struct scored_vocab {
	struct byte_trie trie; /* of ids */
	struct bb_arena contents;
	struct bb_str *tokens;
	double *scores;
	uint32_t count, cap;
	uint32_t bytes[256]; /* ids of <0x00> … <0xFF>, or BYTE_TRIE_NONE */
};

/* From the member "vocab" of a model. */
BB_MUST int scored_vocab_init(struct scored_vocab *v, const struct component *model);
void scored_vocab_fini(struct scored_vocab *v);
size_t scored_vocab_size(const struct scored_vocab *v);
/* p == NULL when there is none. */
struct bb_str scored_vocab_token(const struct scored_vocab *v, uint32_t id);
