/*
 * chat_text.h: a model's chat template and special tokens, out of the files that it comes with.
 *
 * For: rendering chats as the engine of that model does. Of a published folder count, in this
 * order: chat_template.jinja, chat_template.json, and tokenizer_config.json, whose `chat_template`
 * is a text or a list of named ones, of which "tool_use" is for requests with tools and "default"
 * for the rest. Special tokens are in tokenizer_config.json, and where it has none, in
 * special_tokens_map.json. A GGUF file has them in its metadata. Format: transformers 4 and 5,
 * PreTrainedTokenizerBase.apply_chat_template; GGUF v3. Threads: immutable once made. Memory: owns
 * copies of what it keeps; the files may go. Errors: -BB_EABSENT: there is no template;
 * -BB_ESYNTAX: a file is no JSON, or a template is malformed; -BB_EINVALID, -BB_ELIMIT, -BB_ENOMEM;
 * with a sentence that names the file.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "text/template.h"

#define CHAT_TEXT_FILE_MAX (16u << 20) /* of each file */
/* Bytes of a GGUF file in which all that stands before its tensors is looked for. */
#define CHAT_TEXT_GGUF_MAX (128u << 20)

struct chat_text;

/* Whole files; p == NULL: there is none. */
struct chat_files {
	struct bb_str jinja;	     /* chat_template.jinja, or one that the operator names */
	struct bb_str template_json; /* chat_template.json */
	struct bb_str config;	     /* tokenizer_config.json */
	struct bb_str special_map;   /* special_tokens_map.json */
};

BB_MUST int chat_text_create(const struct chat_files *files, struct chat_text **out,
			     struct text_error *e);
/* `jinja` (p NULL: none) instead of the template in the file's metadata. */
BB_MUST int chat_text_create_gguf(struct bb_str file, struct bb_str jinja, struct chat_text **out,
				  struct text_error *e);
void chat_text_destroy(struct chat_text *c);
/* The begin token's text; p == NULL: there is none. */
struct bb_str chat_text_bos(const struct chat_text *c);
/*
 * template_render with the template for this request and the model's special tokens: of `in` the
 * body, now, generation, messages, memory_max and raised count.
 */
BB_MUST int chat_text_render(const struct chat_text *c, const struct template_input *in,
			     struct bb_buf *out, struct text_error *e);
