/*
 * model_spm.h: the byte pair encoding of SentencePiece, as llama.cpp does it for GGUF files whose
 * tokenizer.ggml.model is "llama".
 *
 * For: tokenizer. There are no merges: two neighbours become one token where the vocabulary has
 * their text; the highest score first, of equals the leftmost. What is no token at the end is given
 * as the tokens <0xXX> of its bytes.
 * Threads: read by any once it is made; a work belongs to one thread.
 * Memory: owns its tables; a work takes about 60 bytes for each character of the longest word.
 * Errors: create: -BB_EINVALID with a message, -BB_ENOMEM. encode: -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "text/model_tokens.h"
#include "text/text_error.h"

struct spm;
struct spm_symbol;
struct spm_pair;

struct spm_work {
	struct spm_symbol *symbols;
	struct spm_pair *heap;
	size_t symbol_cap, heap_cap, heap_count;
};

/* `model`: {"type": "SPM", "vocab": [["text", score], …], "unk_id": n}, checked. */
BB_MUST int spm_create(struct bb_str model, struct spm **out, struct text_error *e);
void spm_destroy(struct spm *s);
size_t spm_size(const struct spm *s);
uint32_t spm_count(const struct spm *s);
/* Every id is below. */
uint32_t spm_id_end(const struct spm *s);
/* Does no entry have U+2581 behind another character? Then words may be cut before it. */
bool spm_cuts_metaspace(const struct spm *s);
/* The id of a content, or UINT32_MAX. */
uint32_t spm_id(const struct spm *s, struct bb_str content);
/* The content of an id; p == NULL when there is none. */
struct bb_str spm_token(const struct spm *s, uint32_t id);

void spm_work_init(struct spm_work *w);
void spm_work_fini(struct spm_work *w);
/* Replaces what is in `out` by the tokens of one word. */
BB_MUST int spm_encode(const struct spm *s, struct spm_work *w, struct bb_str word,
		       struct model_tokens *out);
