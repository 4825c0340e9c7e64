/*
 * request_log.h: the last requests that came, as they came.
 *
 * For: tests that look at what a gateway really sent. Threads: one owner.
 * Memory: a ring of REQUEST_LOG_SIZE requests, each at most REQUEST_LOG_BYTES of JSON.
 * Errors: a request that does not fit or finds no memory is left out.
 */
#pragma once

#include "base/buf.h"
#include "wire/http1.h"

#define REQUEST_LOG_SIZE 64
#define REQUEST_LOG_BYTES (1u << 20)

struct request_log {
	struct bb_buf entries[REQUEST_LOG_SIZE]; /* JSON objects */
	uint64_t count;				 /* that came so far */
};

void request_log_init(struct request_log *l);
void request_log_fini(struct request_log *l);
void request_log_add(struct request_log *l, const struct http_head *head, struct bb_str body);
/* A JSON array, the oldest first. */
void request_log_write(const struct request_log *l, struct bb_buf *out);
