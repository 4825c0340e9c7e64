/*
 * sim_report.h: what came out of runs that are put side by side: of policies in simulation, of
 * servers in reality.
 *
 * For: `busbar replay` and `busbar bench run`, which fill it; report_html.c and `sim_report_json`,
 * which write it. Times are milliseconds; what is not known is NAN or REPORT_UNKNOWN, and figures
 * of which there are none have a count of 0. Threads: pure functions. Memory: nothing is owned;
 * what is pointed to outlives the call. Errors: those of bb_buf, kept in the buffer.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

#define REPORT_UNKNOWN UINT64_MAX
#define REPORT_CDF_POINTS 101
#define REPORT_RUNS_MAX 64

struct report_figures {
	uint64_t count;
	double mean, p50, p90, p99, max; /* max NAN: not known */
};

struct report_point {
	double x, y;
};

/* In the order of x; count 0: not known. */
struct report_line {
	const struct report_point *points;
	uint32_t count;
};

struct report_run {
	const char *label; /* the policy, or what a server is called */
	uint64_t requests, failed;
	struct report_figures ttft_ms, itl_ms, e2e_ms, queue_ms;
	double cache_hit, cache_hit_possible; /* share of prompt tokens, 0 … 1 */
	uint64_t preemptions, oom;
	double goodput; /* share of requests that kept both objectives, 0 … 1 */
	double load_cv; /* spread of load over engines: deviation over mean */
	double gpu_seconds;
	double requests_per_s, output_tokens_per_s;
	struct report_line ttft_cdf;	       /* x: ms, y: share of requests, 0 … 1 */
	struct report_line ttft_p50, ttft_p90; /* x: seconds since the start, y: ms */
	const struct report_line
		*engine_load; /* one for each engine; x: seconds, y: requests in flight */
	const char *const *engine_names; /* NULL: they are numbered */
	uint32_t engine_count;
};

struct report_fact {
	const char *name, *value; /* "seed", "1" */
};

struct sim_report {
	const char *title;    /* "busbar replay" */
	const char *workload; /* the file or the generator */
	double slo_ttft_ms, slo_itl_ms;
	const struct report_fact *facts; /* how it was run: what a reader needs to do it again */
	uint32_t fact_count;
	const struct report_run *runs; /* the first is what others are compared with */
	uint32_t run_count;	       /* at most REPORT_RUNS_MAX */
};

/* Of values in any order, which are sorted here. */
struct report_figures report_figures_of(double *values, uint64_t count);
/* Of sorted values. How many points there are: REPORT_CDF_POINTS, or none. */
uint32_t report_cdf_of(const double *sorted, uint64_t count,
		       struct report_point out[REPORT_CDF_POINTS]);

/* One run as one JSON object, without a line's end. Unknown values are null. */
void report_json(const struct report_run *run, struct bb_buf *out);
