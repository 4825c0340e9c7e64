/*
 * chunk.h: what one event of an engine's stream means.
 *
 * For: the relay, which forwards the event unchanged and must know whether the answer has begun,
 * whether it is complete, what it cost, and whether it failed under a 200. One pass, no tree.
 * Facts: HTTP 200 and [DONE] is not success: vLLM ends a stream that failed with an error object
 * and then [DONE]; so success is a finish_reason (or the terminal event of the protocol) and no
 * error.
 * Threads: pure functions. Memory: spans point into the data.
 * Errors: -BB_ESYNTAX when the data is no JSON object (nor [DONE]).
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "wire/api.h"
#include "wire/usage.h"

struct openai_chunk {
	bool has_error;	    /* an error object, or a terminal event that says failure */
	bool has_content;   /* something for the user: text, reasoning, refusal, tool call, audio */
	bool has_finish;    /* some choice has a finish_reason (Anthropic: stop_reason) */
	bool has_usage;	    /* usage is an object: `usage` is set */
	bool is_usage_only; /* no choices and a usage: the chunk that include_usage adds */
	bool is_terminal; /* nothing may follow: [DONE], response.completed, message_stop, error …
			   */
	struct usage usage;	     /* running totals; to be merged with usage_merge */
	struct bb_str finish_reason; /* without quotes; empty when none */
	struct bb_str text;          /* raw text of the only delta with something in it, else empty */
	struct bb_str id; /* of the answer, without quotes; empty when not in this event */
};

/*
 * `event_name` is the SSE event's name or empty; the data's own "type" is looked at as well.
 * Chat, completions, Responses and Anthropic messages; for other endpoints only errors, usage
 * and [DONE].
 */
BB_MUST int openai_chunk_scan(enum api api, struct bb_str event_name, struct bb_str data,
			      struct openai_chunk *out);
