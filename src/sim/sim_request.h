/*
 * sim_request.h: what a request to the simulated engine asks for.
 *
 * For: sim_server and its parts. A JSON body of any of the endpoints becomes prompts (lists of
 * tokens) and a few settings. Chats are rendered in ChatML: "<|im_start|>role\ncontent<|im_end|>\n"
 * for each message, then "<|im_start|>assistant\n"; with continue_final_message the last message
 * is left open. Parts of a content that are no text stand in it as their JSON.
 * Threads: one owner. Memory: a reader holds the prompts of one request, until it reads the next;
 * slices point into its document. Bounded by SIM_PROMPTS_MAX and SIM_PROMPT_TOKENS_MAX.
 * Errors: -BB_EINVALID with a sentence, -BB_ELIMIT, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <yyjson.h>

#include "base/buf.h"
#include "sim/sim_text.h"
#include "sim/sim_tokenizer.h"
#include "wire/api.h"

#define SIM_PROMPTS_MAX 2048
#define SIM_PROMPT_TOKENS_MAX (16u << 20)
#define SIM_ABSENT UINT32_MAX

struct sim_prompt {
	uint32_t first, count; /* of the reader's tokens */
};

struct sim_reader {
	struct sim_tokens tokens;
	struct sim_tokenizer *tokenizer; /* NULL: invented tokens */
	struct bb_buf text; /* the last prompt that was rendered */
	yyjson_doc *doc;
	yyjson_val *root; /* an object */
	struct sim_prompt prompts[SIM_PROMPTS_MAX];
	uint32_t prompt_count;
};

struct sim_request {
	enum api api;
	struct bb_str model; /* p == NULL: not said */
	struct bb_str cache_salt;
	struct sim_hints hints;
	uint32_t n;
	uint32_t max_tokens; /* or SIM_ABSENT */
	bool stream;
	bool include_usage;
};

/* Does an assistant's message at the end of a chat get continued unasked, as llama.cpp does? */
enum sim_prefill { SIM_PREFILL_WHEN_ASKED, SIM_PREFILL_ALWAYS };

void sim_reader_init(struct sim_reader *r);
void sim_reader_fini(struct sim_reader *r);
/* `why` is a static sentence. On failure the reader is empty. */
BB_MUST int sim_request_read(struct sim_reader *r, enum api api, struct bb_str body,
			     enum sim_prefill prefill, struct sim_request *out, const char **why);

/* Members of the document; p == NULL or NULL where absent or of another type. */
struct bb_str sim_json_str(yyjson_val *object, const char *key);
