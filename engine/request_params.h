/*
 * request_params.h: how to generate: the members of a request that steer sampling and its end.
 *
 * For: api_generate reads them on the loop's thread; the sequences of the request share them.
 * Threads: constant once read; the count of holders is atomic.
 * Memory: freed with the last request_params_put.
 * Errors: -BB_EINVALID with an api_error that names the member, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <yyjson.h>

#include "api_error.h"
#include "token_text.h"

#define STOPS_MAX 16
#define STOP_SIZE_MAX 1024
#define STOP_TOKENS_MAX 16
#define LOGPROBS_MAX 20
#define CHOICES_MAX 8
#define LOGPROBS_OFF (-1)
#define TOP_K_OFF 0

enum request_kind { REQUEST_CHAT, REQUEST_COMPLETION };

struct request_params {
	uint32_t holders;  /* atomic */
	float temperature; /* 0: always the most likely token */
	float top_p;
	float min_p;
	float repetition_penalty; /* of tokens of prompt and answer */
	float presence_penalty;	  /* of tokens of the answer */
	float frequency_penalty;
	int32_t top_k;	  /* TOP_K_OFF: all */
	int32_t logprobs; /* alternatives a token, or LOGPROBS_OFF */
	uint64_t seed;
	uint32_t max_tokens;
	uint32_t min_tokens;
	uint32_t choice_count; /* n */
	bool has_max_tokens;
	bool has_seed;
	bool ignores_eos;
	bool streams;
	bool wants_usage;     /* stream_options.include_usage */
	bool wants_token_ids; /* return_token_ids: vLLM's way to continue an answer exactly */
	uint32_t stop_token_count;
	int32_t stop_tokens[STOP_TOKENS_MAX];
	struct bb_str stop_strings[STOPS_MAX];
	struct token_stops stops; /* points at stop_strings */
	char *stop_bytes;	  /* what the strings point into */
};

BB_MUST int request_params_parse(yyjson_val *request, enum request_kind kind,
				 struct request_params **out, struct api_error *e);
struct request_params *request_params_get(struct request_params *p);
void request_params_put(struct request_params *p);
