/*
 * metrics.h: what the gateway counts, and how /metrics shows it.
 *
 * For: workers count without locks into their own struct metrics; the scraper sums over all.
 * Series are (model, engine) pairs: labels come from closed sets only, never from a client.
 * Threads: one writer per struct metrics; any thread may read (relaxed atomics).
 * Memory: a series is made when it is first needed; at most METRICS_SERIES_MAX per thread, beyond
 * which counts go to one series "other".
 * Errors: none; without memory counts go to "other".
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "brain/brain.h"
#include "wire/api.h"
#include "wire/usage.h"

#define METRICS_SERIES_MAX 4096
#define METRICS_BUCKETS_MAX 20
#define METRICS_POLICIES_MAX 24

struct histogram_bounds {
	const char *name;
	const char *help;
	uint32_t count;
	uint64_t ns[METRICS_BUCKETS_MAX]; /* upper bounds, ascending */
};

struct histogram {
	uint64_t bucket[METRICS_BUCKETS_MAX + 1]; /* not cumulative; the last is +Inf */
	uint64_t sum_ns;
};

/* Relaxed: a scrape may see one count before another. */
static inline void metric_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void histogram_add(struct histogram *h, const struct histogram_bounds *bounds, uint64_t ns);

extern const struct histogram_bounds bounds_ttft;
extern const struct histogram_bounds bounds_itl;
extern const struct histogram_bounds bounds_duration;
extern const struct histogram_bounds bounds_stage;
extern const struct histogram_bounds bounds_held;
/* Of ratios: 1 is a thousand million, so that they are kept as times are. */
extern const struct histogram_bounds bounds_ratio;

enum status_class { STATUS_2XX, STATUS_4XX, STATUS_5XX, STATUS_CANCELED, STATUS_CLASSES };

#define UPSTREAM_ERRORS(X)                                                                         \
	X(CONNECT, "connect") X(CUT, "cut") X(TIMEOUT, "timeout") X(STATUS, "status")              \
	X(STREAM, "stream")
enum upstream_error {
#define X(name, text) UPSTREAM_##name,
	UPSTREAM_ERRORS(X)
#undef X
	UPSTREAM_ERROR_COUNT,
};

struct series {
	uint32_t model;          /* UINT32_MAX: no such model */
	struct engine_id engine; /* slot UINT32_MAX: none was chosen */
	char *model_name;        /* labels; "other" and "none" where there is nothing */
	char *engine_name;
	uint64_t requests[API_COUNT][STATUS_CLASSES];
	uint64_t prompt_tokens, cached_tokens, output_tokens;
	uint64_t hit_tokens, possible_tokens, regret_tokens; /* docs/decisions.md */
	uint64_t upstream_errors[UPSTREAM_ERROR_COUNT];
	uint64_t retries;
	struct histogram ttft, itl, duration;
};

/* What a request spends inside of the gateway, apart from waiting for others. */
#define STAGES(X)                                                                                  \
	X(SCAN, "scan")     /* head and body looked at */                                          \
	X(TOKENS, "tokens") /* prompt rendered and tokenized */                                    \
	X(DECIDE, "decide") /* the brain, its lock included */                                     \
	X(SEND, "send")     /* request built and handed to the kernel */                           \
	X(SETTLE, "settle") /* accounts and access record */
enum stage {
#define X(name, text) STAGE_##name,
	STAGES(X)
#undef X
	STAGE_COUNT,
};

/* Prompts of models that have a tokenizer here. */
enum prompts { PROMPTS_EXACT, PROMPTS_ESTIMATED, PROMPTS_COUNT };

struct metrics {
	struct series *series[METRICS_SERIES_MAX];
	uint32_t series_count; /* atomic */
	uint32_t index[METRICS_SERIES_MAX * 2]; /* hash → series + 1; the writer's own */
	struct series other;
	struct histogram stage[STAGE_COUNT];
	struct histogram brain_lock;  /* how long the brain's lock was held */
	struct histogram held;        /* requests that waited for an open engine */
	struct histogram ttft_ratio;  /* actual ÷ predicted */
	uint64_t decisions[METRICS_POLICIES_MAX][REASON_COUNT]; /* by row of policy_at */
	uint64_t requests_in_flight;
	uint64_t streams_in_flight;
	uint64_t chunks;              /* SSE events relayed */
	uint64_t bytes_in, bytes_out; /* bodies from clients, bytes to clients */
	uint64_t keepalive_comments;
	uint64_t connections;
	uint64_t refused;             /* malformed or oversized HTTP */
	uint64_t upstream_idle;
	uint64_t unauthorized;        /* requests without a good key */
	uint64_t prompts[PROMPTS_COUNT];
};

struct metrics *metrics_create(void) BB_MUST;
void metrics_destroy(struct metrics *m);
/* The series of a pair; names are taken over when it is made. */
struct series *metrics_series(struct metrics *m, uint32_t model, struct engine_id engine,
			      struct bb_str model_name, struct bb_str engine_name);
/* Adds what `from` has counted; for the scraper. Series are matched by their names. */
void metrics_sum(struct metrics *into, const struct metrics *from);
