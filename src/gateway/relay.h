/*
 * relay.h: what relay.c (heads, failures), relay_events.c (streams) and relay_plain.c (whole
 * answers, errors) share.
 *
 * Threads: the worker's. Memory: the request's. Errors: become answers to the client.
 */
#pragma once

#include "gateway/request.h"
#include "os/clock.h"

#define SSE_TYPE BB_STR("text/event-stream; charset=utf-8")
#define JSON_TYPE BB_STR("application/json")
#define STREAM_CUT "the engine ended its stream before the answer was complete"

static inline uint64_t relay_now_ns(const struct request *r)
{
	return loop_now_ns(r->worker->loop);
}

/* A media type without its parameters. */
bool relay_is_type(struct bb_str type, struct bb_str want);
/* After a write to the client: a full socket stops the engine. */
void relay_wrote(struct request *r, enum io io);
/* Begins the client's answer with the engine's status and fields. */
void relay_begin(struct request *r, struct bb_str type, uint64_t length);
/* Lines for an event stream that the engine has not set itself; `h` may be NULL. */
void relay_stream_fields(struct bb_buf *text, const struct http_head *h);
/* The first token of an answer, or its first byte where there are no tokens. */
void relay_first_token(struct request *r);
/* How many tokens have come, for what the brain learns. */
void relay_progress(struct request *r);
/* The call is over and failed: another engine if nothing was shown yet, else the client is told. */
void relay_failed(struct request *r, int err, const char *why, enum request_outcome outcome,
		  enum upstream_error what);
/* The engine's answer is no good, found out while the call still runs. */
void relay_break_off(struct request *r, const char *why, enum upstream_error what);
/*
 * The answer ends here for want of room or memory of our own: no other engine is tried, and this one
 * has done nothing wrong.
 */
void relay_own_limit(struct request *r, int err);
/* The engine's own error object, where nothing but comments was shown so far. */
void relay_payload_answer(struct request *r, struct bb_str payload);

/* relay_events.c */
void relay_events(struct request *r, char *data, size_t len, enum body_part part);
void relay_stream_ended(struct request *r);
void relay_assembled(struct request *r);

/* relay_plain.c */
void relay_plain(struct request *r, char *data, size_t len, enum body_part part);
void relay_plain_ended(struct request *r);
void relay_error_add(struct request *r, const char *data, size_t len);
void relay_error_ended(struct request *r);
