/*
 * play.h: the lookahead: a lane played forward, once with a further request and once without.
 *
 * For: the policy lookahead. What a request adds to the sum of everybody's finish times at an
 * engine: its own wait, prefill and decode, the stall that its prefill puts between the tokens of
 * running streams, and the slow-down of a fuller batch. A step that computes x prompt tokens (at
 * most the step's budget C less one for each stream) takes x·qr + gap·(1 − x/2C), else gap = qa +
 * qc·K, and each stream gets a token. Steps are not played one by one: time jumps from one finish
 * to the next. Streams are grouped by the tokens that are expected to come (LANE_BUCKETS), the
 * queue is cut into PLAY_PIECES equal pieces, so that the cost does not depend on how many there
 * are. Threads: as the brain. Memory: none. Errors: none; the result is finite.
 */
#pragma once

#include "brain/lane.h"

#define PLAY_PIECES 4

struct play_request {
	double uncached; /* prompt tokens to compute */
	double prompt_tokens;
	double output_tokens; /* expected, at least 1 */
	double promised;      /* uncached tokens that go there before this request */
};

/* Milliseconds, all requests together; that of this request counts from now. */
double play_added_ms(const struct lane *l, uint64_t now_ns, const struct play_request *r);
