/*
 * token_model.h: the "model" of a tokenizer.json, whichever it is.
 *
 * For: tokenizer. Turns one word into ids. Types: see token_model.c.
 * Threads: a model is read by any once it is made; a work belongs to one thread.
 * Memory: a model owns its tables; a work grows with the longest word.
 * Errors: -BB_EINVALID with a message, -BB_ENOMEM.
 */
#pragma once

#include "text/model_bpe.h"
#include "text/model_spm.h"
#include "text/model_tokens.h"
#include "text/model_unigram.h"
#include "text/model_wordpiece.h"

enum token_model_type {
	MODEL_NONE,
	MODEL_BPE,
	MODEL_UNIGRAM,
	MODEL_WORDPIECE,
	MODEL_WORDLEVEL,
	MODEL_SPM, /* of GGUF files: tokenizer_gguf.c */
};

struct token_model {
	enum token_model_type type;
	union {
		struct bpe *bpe;
		struct unigram *unigram;
		struct spm *spm;
		struct wordpiece *wordpiece; /* also of WordLevel */
	};
};

struct token_model_work {
	struct bpe_work bpe;
	struct unigram_work unigram;
	struct spm_work spm;
	struct model_tokens tokens;
};

/* The tokens of one word; valid until the work is used again. */
struct word_tokens {
	const uint32_t *ids, *begins, *ends; /* begins and ends: bytes of the word */
	size_t count;
};

/* `json`: the checked value of "model". */
BB_MUST int token_model_create(struct token_model *m, struct bb_str json,
			       enum vocab_alphabet alphabet, struct text_error *e);
void token_model_destroy(struct token_model *m);
const char *token_model_name(const struct token_model *m);
size_t token_model_size(const struct token_model *m);
uint32_t token_model_count(const struct token_model *m);
/* Every id is below. */
uint32_t token_model_id_end(const struct token_model *m);
/* The id of a content, or UINT32_MAX. */
uint32_t token_model_id(const struct token_model *m, struct bb_str content);
/* The content of an id; p == NULL when there is none. */
struct bb_str token_model_token(const struct token_model *m, uint32_t id);

void token_model_work_init(struct token_model_work *w);
void token_model_work_fini(struct token_model_work *w);
BB_MUST int token_model_encode(const struct token_model *m, struct token_model_work *w,
			       struct bb_str word, struct word_tokens *out);
