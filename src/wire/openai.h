/*
 * openai.h: what the gateway reads from a request's body.
 *
 * For: gateway and sim. What belongs to it comes along: api.h (the endpoints), splice.h (changing
 * a body), chunk.h (reading a stream), errorbody.h (errors in each protocol's form).
 * Threads: pure functions. Memory: spans point into the body; decoded text is in the arena.
 * Errors: -BB_ESYNTAX (with place and reason), -BB_EINVALID (with the member's name), -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "wire/api.h"
#include "wire/chunk.h"
#include "wire/errorbody.h"
#include "wire/json.h"
#include "wire/shield.h"
#include "wire/splice.h"

#define OPENAI_MODEL_MAX 256 /* bytes of a model's name, decoded */
#define OPENAI_MAX_TOKENS_ABSENT UINT64_MAX

struct openai_request {
	struct bb_str model_raw; /* value span in the body, with quotes; p is NULL when absent */
	struct bb_str model;	 /* decoded; empty when absent or null */
	bool stream;
	struct bb_str stream_raw;     /* value span of "stream"; p is NULL when absent */
	bool has_stream_options;      /* an object, not null */
	bool include_usage;	      /* the client asked for the usage chunk */
	struct bb_str stream_options; /* value span; p is NULL when absent */
	struct bb_str
		stream_usage_value; /* value span of include_usage in it; p is NULL when absent */
	uint64_t max_tokens;   /* of max_completion_tokens, max_tokens, max_output_tokens in this
				  order */
	uint32_t n;	       /* answers asked for; 1 when absent */
	uint64_t prompt_bytes; /* raw size of everything that becomes prompt */
	struct bb_str prompt;  /* value span of messages, prompt or input: the last of them */
	enum json_type prompt_type; /* of that */
	struct bb_str session; /* value span of what names its session; p is NULL when absent */
	struct bb_str tools;	    /* value span; p is NULL when absent */
	bool has_tools;		    /* a tools or functions array that is not empty */
	bool needs_structured;	    /* constrained output: response_format, guided_*, … */
	bool logprobs;		    /* log probabilities of any kind */
	size_t open;		    /* offset in the body behind its '{' … */
	bool is_empty;		    /* … and whether '}' is all that follows: for splicing */
	struct shield_cuts cuts;    /* what has to go before an engine sees it: shield_splice */
};

/*
 * Checks the whole body and reads the members that decide something. Refused with -BB_EINVALID:
 * a deciding member that comes twice (engines disagree on which one counts) or has a wrong type:
 * model: a string of 1 to OPENAI_MODEL_MAX bytes; stream: a bool; stream_options: an object;
 * max_tokens and its kin: a whole number from 1 (/v1/completions: from 0; -1, which llama.cpp
 * knows as "no limit", counts as absent); n: 1 to 2^32-1. null counts as absent.
 * `err` and `param` are set on failure only: `param` to the member's name (static text), or to
 * NULL where no member is to blame. Both may be NULL.
 */
BB_MUST int openai_request_scan(enum api api, struct bb_str body, struct bb_arena *arena,
				struct openai_request *out, struct json_error *err,
				const char **param);
/*
 * The same in the same pass for a body that comes from a client: also checks what validate.h and
 * shield.h say, and refuses stream_options without stream, as OpenAI does. `is_empty` is then that
 * of the body without its cuts. -BB_ESHIELD: a member that `policy` does not allow. `param` and the
 * reason may be in the arena.
 */
BB_MUST int openai_request_check(enum api api, struct bb_str body,
				 const struct shield_policy *policy, struct bb_arena *arena,
				 struct openai_request *out, struct json_error *err,
				 const char **param);
