/*
 * load_meter.h: what a run of the load generator counts.
 *
 * For: load_answer and load_conn, which fill it, load_run, which says when it is on, and
 * load_report, which prints it.
 * Threads: one owner. Memory: about 1.5 MB, owned by the run.
 * Errors: none. Times and amounts are taken while the meter is on; errors count always, since a
 * failure in the warm-up is a failure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "sim/load_histogram.h"

/*      name  what it is */
#define LOAD_TIMES(X)                                                                              \
	X(TTFB, "ttfb", "start to the first byte of the answer's body")                            \
	X(TTFT, "ttft", "start to the first event with text")                                      \
	X(E2E,  "e2e",  "start to the end of the answer")                                          \
	X(GAP,  "gap",  "between two events with text of one stream")                              \
	X(HOP,  "hop",  "one way, from the engine's write to the read here")                       \
	X(LAG,  "lag",  "how late this generator itself was, at a given rate")

/*      name          key           what happened */
#define LOAD_ERRORS(X)                                                                             \
	X(CONNECT,    "connect",    "no connection")                                               \
	X(CUT,        "cut",        "the connection ended inside of a request or an answer")       \
	X(MALFORMED,  "malformed",  "not HTTP/1.1, or an event without end")                       \
	X(STATUS,     "status",     "a status other than 2xx")                                     \
	X(INCOMPLETE, "incomplete", "a stream with an error or without a finish_reason")           \
	X(TIMEOUT,    "timeout",    "no end within the time allowed")

enum load_time {
#define X(name, key, text) LOAD_##name,
	LOAD_TIMES(X)
#undef X
	LOAD_TIME_COUNT,
};

enum load_error {
#define X(name, key, text) LOAD_ERROR_##name,
	LOAD_ERRORS(X)
#undef X
	LOAD_ERROR_COUNT,
};

#define LOAD_SAMPLE_SIZE 200
#define LOAD_UNKNOWN UINT32_MAX /* a number of tokens that was not reported */

struct load_meter {
	bool is_on;
	struct load_histogram times[LOAD_TIME_COUNT];
	uint64_t ok_count;             /* complete answers */
	uint64_t chunk_count;          /* events with data, without [DONE] */
	uint64_t body_bytes;
	uint64_t errors[LOAD_ERROR_COUNT];
	int status_last;               /* the last one that was not 2xx */
	char sample[LOAD_SAMPLE_SIZE]; /* the beginning of the first such answer */
	uint32_t sample_len;
	uint64_t started_count;        /* requests, of the whole run */
	uint64_t ended_count;
	uint64_t chunk_count_all;      /* chunks, of the whole run */
	uint32_t answering;            /* answers that have begun and not ended */
	uint32_t answering_max;
};

static inline void load_meter_time(struct load_meter *m, enum load_time which, uint64_t value_ns)
{
	if (m->is_on)
		load_histogram_add(&m->times[which], value_ns);
}
