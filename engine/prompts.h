/*
 * prompts.h: what a request wants to be continued, embedded or counted, as tokens.
 *
 * For: the handlers. A chat goes through the model's own template (or libllama's ChatML); a text
 * member is a string, an array of token ids, or an array of these.
 * Threads: the loop's thread. Memory: prompts_fini frees the tokens.
 * Errors: -BB_EINVALID with an api_error that names the member, -BB_ENOMEM.
 */
#pragma once

#include <yyjson.h>

#include "api_error.h"
#include "model.h"

#define PROMPTS_MAX 64

struct prompt {
	int32_t *tokens;
	uint32_t count;
};

struct prompts {
	uint32_t count;
	struct prompt items[PROMPTS_MAX];
};

/* `name` is "prompt" or "input". */
BB_MUST int prompts_from_member(const struct model *m, yyjson_val *request, const char *name,
				enum model_bos bos, struct prompts *out, struct api_error *e);
/* The member `messages` through the chat template: one prompt. */
BB_MUST int prompts_from_chat(const struct model *m, yyjson_val *request, struct prompts *out,
			      struct api_error *e);
void prompts_fini(struct prompts *p);
