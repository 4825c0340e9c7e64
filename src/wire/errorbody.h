/*
 * errorbody.h: errors as the client's SDK expects them.
 *
 * For: every refusal and every broken stream. The text is for people; it holds no prompt.
 * Format: OpenAI {"error":{"message","type","param","code"}}; Anthropic
 * {"type":"error","error":{"type","message"}}; the Responses API the same as OpenAI, and
 * response.failed in a stream.
 * Threads: pure functions. Memory: appends to the caller's buffer.
 * Errors: the buffer's sticky `err`.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "wire/api.h"

/* A whole body. `err` is -BB_E…; an empty message stands for the code's own; param may be NULL. */
void openai_error_write(struct bb_buf *b, enum family family, int err, struct bb_str message,
			const char *param);
/* Anthropic's error.type of an HTTP status. */
const char *anthropic_error_type(int http_status);

/* What the stream said about itself so far; only the Responses API repeats it. */
struct error_stream {
	struct bb_str id;	  /* of the response; empty: unknown */
	struct bb_str model;	  /* as the client named it */
	uint64_t created_s;	  /* Unix time */
	uint64_t sequence_number; /* of this event */
};

/*
 * The last event of a stream that broke, with its empty line. Only to be written where an event
 * begins. There is never a [DONE] after it. `stream` may be NULL.
 */
void openai_error_event_write(struct bb_buf *b, enum family family, int err, struct bb_str message,
			      const struct error_stream *stream);
