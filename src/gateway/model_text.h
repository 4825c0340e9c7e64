/*
 * model_text.h: the tokenizer and the chat template of each model of a configuration.
 *
 * For: exact token counts before a request is sent, /tokenize and /detokenize, the self-test of
 * engines. What is read: `models.NAME.tokenizer` (a folder as published, a tokenizer.json, a GGUF
 * file) and `models.NAME.chat_template`.
 * Threads: immutable once loaded; the reference count is atomic. A text_work belongs to one thread.
 * Memory: a model_text is shared by the snapshots that use it, and by models with the same paths;
 * a reload reads the files again and keeps what is the same. A text_work holds the scratch of at
 * most TEXT_WORKS tokenizers, and gives large buffers back after use.
 * Errors: -BB_EINVALID, -BB_ESYNTAX, -BB_ELIMIT, -BB_ENOMEM, -BB_ESYSTEM with a sentence that names
 * the file.
 */
#pragma once

#include <stdint.h>

#include "base/map.h"
#include "engines/adapter.h"
#include "gateway/model_files.h"
#include "text/prompt_cache.h"
#include "text/tokenizer.h"
#include "wire/config.h"

#define MODEL_TEXT_WHY_SIZE MODEL_FILES_WHY_SIZE
#define TEXT_WORKS 8
#define TEXT_PROMPT_MAX (64u << 20) /* bytes of a rendered prompt */
#define TEXT_TOKENS_MAX (16u << 20)

struct model_text {
	uint32_t refs;		    /* atomic */
	char *path, *template_path; /* as in the configuration; "" for none */
	uint64_t content;	    /* of the files that were read */
	struct tokenizer *tokenizer;
	struct tokenizer_facts facts;
	struct chat_text *chat; /* NULL: it has no chat template */
};

/* Of a whole configuration. */
struct model_texts {
	struct model_text **list; /* as config->models; NULL: none is configured */
	uint32_t count;
	struct bb_map names; /* of models and aliases → index */
	uint32_t catch_all;  /* of the alias "*"; UINT32_MAX: none */
};

/* `template_path` may be NULL. */
BB_MUST int model_text_load(const char *path, const char *template_path, struct model_text **out,
			    char why[MODEL_TEXT_WHY_SIZE]);
struct model_text *model_text_get(struct model_text *m);
void model_text_put(struct model_text *m);

/* `before` (or NULL): what is kept where the files are the same. */
BB_MUST int model_texts_load(const struct config *c, const struct model_texts *before,
			     struct model_texts *out, char why[MODEL_TEXT_WHY_SIZE]);
void model_texts_free(struct model_texts *t);
/* By a model's name or alias; an empty name is that of the only model. UINT32_MAX: no such model.
 */
uint32_t model_texts_index(const struct model_texts *t, struct bb_str name);
/* Is there any tokenizer? */
bool model_texts_any(const struct model_texts *t);

struct text_work;

BB_MUST int text_work_create(struct text_work **out);
void text_work_destroy(struct text_work *w);
/* Lets go of all models. */
void text_work_forget(struct text_work *w);
/* After a request: buffers that have become large are given back. */
void text_work_trim(struct text_work *w);

/* The text of a raw JSON string: itself, or in `w` until the next call. */
BB_MUST int text_decode(struct text_work *w, struct bb_str raw, struct bb_str *out);
/*
 * The prompt of a chat-completions body; it is in `w` until the next call. `how`: as which kind of
 * engine prepares messages.
 */
BB_MUST int model_text_render(const struct model_text *m, struct text_work *w, struct bb_str body,
			      enum template_messages how, struct bb_str *prompt,
			      struct text_error *e);
/* Flags of model_text_encode for such a prompt. */
unsigned model_text_chat_flags(const struct model_text *m, struct bb_str prompt,
			       enum chat_begin begin);
/*
 * Its tokens, appended to those that `w` holds (text_ids); `cache` may be NULL; `owner` tells
 * tenants apart in it. `flags` of tokenizer.h.
 */
BB_MUST int model_text_encode(struct model_text *m, struct text_work *w, struct prompt_cache *cache,
			      uint64_t owner, struct bb_str text, unsigned flags);
struct token_list *text_ids(struct text_work *w);
