/*
 * assemble.h: the chunks of a stream turned into the one answer of a request without stream.
 *
 * For: engines that do not stop when the client of a non-stream request leaves: the gateway asks
 * them for a stream and answers its client with what this makes of it. /v1/chat/completions and
 * /v1/completions.
 * How: choices are kept by index, tool calls by index; strings and arrays are joined, other
 * members keep their last value that is not null. All values stay the engine's bytes.
 * Threads: one owner. Memory: own, from assembler_create to assembler_destroy, bounded by
 * max_bytes of kept text.
 * Errors: -BB_ENOMEM, -BB_ELIMIT (too long, or too many choices or members), -BB_ESYNTAX (no JSON
 * object), -BB_EUPSTREAM.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "wire/api.h"

struct assembler;

/* NULL when there is no memory. `api` is API_CHAT or API_COMPLETIONS. */
struct assembler *assembler_create(enum api api, size_t max_bytes) BB_MUST;
void assembler_destroy(struct assembler *a);
/*
 * One event's data, in order. [DONE] is taken and ignored. After an error from here the answer is
 * lost: destroy it. A chunk with an "error" is kept for assembler_finish and is no error here.
 */
BB_MUST int assembler_add(struct assembler *a, struct bb_str data);
/* Bytes that it holds at the most: what it keeps of the answer, in buffers that double. */
size_t assembler_size(const struct assembler *a);
/*
 * Appends the whole answer. -BB_EUPSTREAM when the engine reported an error, whose payload
 * ({"error":…}) is appended then, and when the stream ended before every choice had its
 * finish_reason, where nothing is appended.
 */
BB_MUST int assembler_finish(const struct assembler *a, struct bb_buf *out);
