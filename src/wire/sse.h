/*
 * sse.h: Server-Sent Events cut out of contiguous bytes.
 *
 * For: relaying an engine's stream event by event, unchanged.
 * Format: WHATWG HTML, section 9.2; lines end with \n, \r\n or \r, an event with an empty line.
 * Threads: pure functions. Memory: an event points into the bytes; nothing is copied.
 * Errors: none: any bytes are a stream of events. The caller bounds the bytes it keeps while an
 * event is incomplete.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

struct sse_event {
	struct bb_str raw;   /* every byte, with the empty line */
	struct bb_str data;  /* value of its first data: line; p is NULL when there is none */
	struct bb_str event; /* value of its event: line, or empty */
	bool multi;	     /* there are more data: lines: see sse_data_join */
	bool is_comment;     /* no data: and no event: line, only comments or less (": ping") */
};

/*
 * Cuts the next complete event off *rest: 1, or 0 when it is incomplete (*rest is untouched). A \r
 * as the last byte is incomplete, since a \n that belongs to it may follow.
 */
int sse_next(struct bb_str *rest, struct sse_event *out);
/* The stream's end mark of the OpenAI protocol: data is exactly [DONE]. */
bool sse_is_done(const struct sse_event *e);
/* All data: lines of the event, joined by \n, appended. */
BB_MUST int sse_data_join(const struct sse_event *e, struct bb_buf *out);
