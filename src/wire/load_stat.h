/*
 * load_stat.h: the load that SGLang pushes over ZeroMQ.
 *
 * For: the gateway reads it, the simulated engine writes it. Format: the payload of a message with
 * the topic "load" of SGLang 0.5.23 (--load-publish-endpoint): a MessagePack array of a tag and ten
 * numbers in the order of the struct below. Sent when something changes, at least once a second.
 * Threads: pure functions. Memory: nothing is allocated. Errors: -BB_ESYNTAX for what is no such
 * array; numbers that are missing at its end are 0, further ones are passed over.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct load_stat {
	uint32_t running; /* requests */
	uint32_t waiting;
	uint64_t tokens; /* KV tokens in use */
	uint64_t tokens_max;
	uint32_t rank;		   /* attention data-parallel rank; 0 when it is nil */
	uint64_t waiting_uncached; /* prompt tokens of those that wait, as far as not cached */
	uint64_t tokens_total;	   /* in use, and of those that wait */
	uint32_t running_max;	   /* requests at once */
	uint64_t prefill_uncached; /* prompt tokens computed since the start */
	uint64_t prefill_busy_us;  /* time spent with them */
};

BB_MUST int load_stat_decode(struct bb_str payload, struct load_stat *out);
/* Appends it; the buffer's error sticks. */
void load_stat_encode(struct bb_buf *out, const struct load_stat *s);
