/*
 * model_files.h: the files that a model's tokenizer and chat template are made of.
 *
 * For: the gateway's models and the subcommands that take --tokenizer: what a path names is found
 * out in one place. A folder as published: tokenizer.json, chat_template.jinja, chat_template.json,
 * tokenizer_config.json, special_tokens_map.json. A GGUF file: its head has all. A tokenizer.json,
 * under whatever name: what lies beside it belongs to it. Where only the chat template is wanted:
 * also a tokenizer_config.json or a chat_template.json by itself, and any other file is a template.
 * Threads: any. Memory: model_files_free gives all back.
 * Errors: -BB_ESYSTEM, -BB_ELIMIT, -BB_ENOMEM with a sentence that names the file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "text/chat_text.h"
#include "text/tokenizer.h"

#define MODEL_FILES_WHY_SIZE 512
#define MODEL_FILES_TOKENIZER_MAX (256u << 20)

struct model_file {
	char *p; /* NULL: there is none */
	size_t len;
};

struct model_files {
	struct model_file tokenizer; /* tokenizer.json, or the head of a GGUF file */
	struct model_file jinja, template_json, config, special_map;
	bool is_gguf;
};

enum { MODEL_FILES_TOKENIZER = 1, MODEL_FILES_CHAT = 2 };

/*
 * `want` is one of these or both. Without a tokenizer.json -BB_ESYSTEM, if that is wanted; the rest
 * may be absent.
 */
BB_MUST int model_files_read(const char *path, unsigned want, struct model_files *out,
			     char why[MODEL_FILES_WHY_SIZE]);
/* A template of the operator's, instead of the model's own; into what was or will be read. */
BB_MUST int model_files_read_template(const char *path, struct model_files *out,
				      char why[MODEL_FILES_WHY_SIZE]);
void model_files_free(struct model_files *f);

struct bb_str model_file_text(const struct model_file *f);
/* Both name what is wrong with a file in `e`. */
BB_MUST int model_files_tokenizer(const struct model_files *f, struct tokenizer **out,
				  struct text_error *e);
/* -BB_EABSENT: there is no template. */
BB_MUST int model_files_chat(const struct model_files *f, struct chat_text **out,
			     struct text_error *e);
