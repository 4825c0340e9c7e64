/*
 * model.h: the loaded GGUF model, its context, its tokenizer.
 *
 * For: everything that asks libllama about the model. Facts are read once at load.
 * Threads: model_load and everything that touches `ctx` run on the engine thread; the vocabulary
 * (tokenize, pieces) and the facts are constant after the load and may be used by any thread.
 * Memory: owns the model and its context. Errors: a sentence in `why` when it cannot be loaded.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <llama.h>

#include "base/buf.h"
#include "text/chat_text.h"
#include "engine_options.h"

#define MODEL_WHY_SIZE 512
#define MODEL_EOG_MAX 64

struct model {
	struct llama_model *llama;
	struct llama_context *ctx;
	const struct llama_vocab *vocab;
	uint32_t vocab_size;
	uint32_t ctx_tokens;	 /* the KV cache and the longest request, a multiple of the block */
	uint32_t batch_tokens;	 /* one step */
	uint32_t slot_count;	 /* sequence ids: running and cached */
	uint32_t embd_size;	 /* floats of one embedding */
	uint64_t kv_token_bytes; /* KV cache of one token */
	bool embeds;		 /* makes embeddings, no text */
	bool shares_prefixes;	 /* a part of a sequence's KV can be copied and removed */
	uint32_t eog_count;
	int32_t eog[MODEL_EOG_MAX]; /* tokens that end a generation */
	/* How chats become text: the file's own template; where it has none, or one that cannot be
	 * used, libllama's ChatML. */
	struct chat_text *chat;
	struct bb_str bos;          /* text of the token that begins a prompt; empty: none is added */
};

/* Is there a file, and does it begin as GGUF does? For an error before anything else is started. */
BB_MUST int model_check_file(const char *path, char why[MODEL_WHY_SIZE]);
/* `gives_up` (atomic) ends the load early, with an error. */
BB_MUST int model_load(const struct engine_options *o, const bool *gives_up, struct model *m,
		       char why[MODEL_WHY_SIZE]);
void model_unload(struct model *m);

enum model_bos { MODEL_BOS_AS_USUAL, MODEL_NO_BOS };
/* Special tokens in the text are recognised. `*tokens` is freed with bb_free. */
BB_MUST int model_tokenize(const struct model *m, struct bb_str text, enum model_bos bos,
			   int32_t **tokens, uint32_t *count);
enum model_piece { PIECE_TEXT, PIECE_WITH_SPECIAL };
/* Appends a token's bytes: not always whole characters. PIECE_TEXT: special tokens are empty. */
BB_MUST int model_piece(const struct model *m, int32_t token, enum model_piece kind,
			struct bb_buf *out);
bool model_is_eog(const struct model *m, int32_t token);
