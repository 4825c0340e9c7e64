/*
 * load_request.h: the request that the load generator sends over and over.
 *
 * For: load_run. The bytes are made once; only a nonce of 16 hex digits in the prompt differs from
 * one request to the next, so that no cache of whole prompts can answer and prefixes do not meet.
 * Threads: constant once built. Memory: one buffer, freed by fini.
 * Errors: -BB_ELIMIT (over LOAD_BODY_MAX), -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

#define LOAD_BODY_MAX (64u << 20)
#define LOAD_NONCE_SIZE 16

enum load_stream { LOAD_WHOLE, LOAD_STREAM };

/* A body to be made: one user message of filler text. */
struct load_body_shape {
	size_t size;             /* bytes of the whole JSON body; less when it needs more than that */
	enum load_stream stream;
	uint32_t max_tokens;
	struct bb_str model;
	struct bb_str prompt;    /* follows the nonce: "[[ttft=0 itl=1000]]" steers the simulated engine */
};

struct load_request {
	struct bb_buf bytes;
	size_t nonce_at;
	bool has_nonce;
};

void load_request_init(struct load_request *r);
void load_request_fini(struct load_request *r);
BB_MUST int load_body_make(struct bb_buf *body, const struct load_body_shape *shape);
/*
 * `extra` is header lines, each with \r\n. The nonce replaces the first 16 '@' of the body; a body
 * without them is sent as it is.
 */
BB_MUST int load_request_build(struct load_request *r, struct bb_str host, struct bb_str path,
			       struct bb_str extra, struct bb_str body);
