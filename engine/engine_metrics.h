/*
 * engine_metrics.h: counters and histograms under vLLM's names.
 *
 * For: the engine thread counts, the loop's thread writes /metrics.
 * Threads: any; every value is read and written atomically, each for itself.
 * Memory: fixed. Errors: those of the buffer written to.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

#define ENGINE_COUNTERS(X)                                                                         \
	X(prompt_tokens, "prompt_tokens_total", "Prompt tokens of admitted requests")              \
	X(prompt_tokens_cached, "prompt_tokens_cached_total",                                      \
	  "Prompt tokens that were in the KV cache")                                               \
	X(prefix_cache_queries, "prefix_cache_queries_total",                                      \
	  "Tokens looked up in the prefix cache")                                                  \
	X(prefix_cache_hits, "prefix_cache_hits_total", "Tokens found in the prefix cache")        \
	X(generation_tokens, "generation_tokens_total", "Tokens generated")                        \
	X(preemptions, "num_preemptions_total", "Running requests put back to make room")

enum finish_reason {
	FINISH_NOT_YET,
	FINISH_STOP,
	FINISH_LENGTH,
	FINISH_ABORT, /* the client left */
	FINISH_ERROR,
	FINISH_REASONS,
};
/* "stop", "length", "abort", "error" */
const char *finish_reason_name(enum finish_reason r);

#define HISTOGRAM_BUCKETS_MAX 24

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS_MAX]; /* one for each bound, one for the rest */
	uint64_t sum_ns;
};

struct engine_metrics {
#define X(field, name, help) uint64_t field;
	ENGINE_COUNTERS(X)
#undef X
	struct histogram first_token; /* from arrival */
	struct histogram inter_token;
	struct histogram end_to_end;
	struct histogram queue_time;
	uint64_t finished[FINISH_REASONS];
	uint64_t running; /* gauges */
	uint64_t waiting;
	uint64_t blocks_running;
};

static inline void metric_add(uint64_t *counter, uint64_t n)
{
	__atomic_add_fetch(counter, n, __ATOMIC_RELAXED);
}

static inline void metric_set(uint64_t *gauge, uint64_t value)
{
	__atomic_store_n(gauge, value, __ATOMIC_RELAXED);
}

static inline uint64_t metric_get(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

void metrics_first_token(struct engine_metrics *m, uint64_t ns);
void metrics_inter_token(struct engine_metrics *m, uint64_t ns);
void metrics_end_to_end(struct engine_metrics *m, uint64_t ns);
void metrics_queue_time(struct engine_metrics *m, uint64_t ns);

struct metrics_facts {
	struct bb_str model_name;
	uint32_t block_count;
	uint32_t block_size;
};
/* The whole text in Prometheus' exposition format 0.0.4. */
int metrics_write(const struct engine_metrics *m, const struct metrics_facts *facts,
		  struct bb_buf *out);
