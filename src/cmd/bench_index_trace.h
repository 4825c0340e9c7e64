/*
 * bench_index_trace.h: `busbar bench index --trace`: a public trace of requests through the index.
 *
 * For: bench_index.c. A trace is a file of JSON lines with "hash_ids" (Mooncake's format): equal
 * ids are equal beginnings of prompts. Each request is looked up, sent to the engine that holds
 * most of it, and stored there; engines evict what they used last when they are full. What is
 * looked up, stored and removed is known before the clock starts. Threads: the main thread. Memory:
 * given back. Errors: told on stderr; -BB_E….
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct trace_load {
	const char *path;
	const char *ops_path;	  /* what is done, written as text; or NULL */
	uint32_t engines, blocks; /* blocks: how many of the trace's an engine holds */
	uint32_t scale;		  /* blocks of the index for one of the trace */
	uint32_t rounds;	  /* the median is told */
	uint64_t bytes_max;
};

struct trace_figures {
	uint64_t requests, found, stored, removed, asked; /* blocks; in all of the trace */
	double requests_per_s, blocks_per_s;
	double find_p50_ns, find_p99_ns, find_p999_ns;
	double store_p99_ns; /* one request's blocks */
	uint64_t bytes, blocks;
};

BB_MUST int trace_load_run(const struct trace_load *load, struct trace_figures *out);
