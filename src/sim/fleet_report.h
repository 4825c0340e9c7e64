/*
 * fleet_report.h: what a run of a simulated cluster comes to, in figures.
 *
 * For: `busbar replay`, tests. Times are those that a client sees at the gateway, in milliseconds:
 * TTFT from arrival to first token, ITL the mean gap between the tokens of one answer, e2e to the
 * last token, queue until an engine has begun with it (in the gateway and at the engine). Requests
 * that came in the first `skip` of the requests are left out of these and of goodput: caches are
 * cold and rates are not learned then. A percentile is the least time
 * that the share does not exceed.
 * Threads: pure. Memory: four numbers a request while it counts. Errors: -BB_ENOMEM.
 */
#pragma once

#include "sim/sim_fleet.h"
#include "sim/sim_report.h"

struct fleet_spread {
	double mean, p50, p90, p99;
};

struct fleet_figures {
	struct fleet_spread ttft, itl, e2e, queue;
	double held_mean; /* of the queue's, in the gateway */
	double requests, failed;
	double cache_hit; /* of prompts' tokens, 0 … 1 */
	double preemptions;
	double goodput;	    /* of the requests, those that met both objectives */
	double load_cv;	    /* standard deviation ÷ mean of engines' busy time */
	double busy;	    /* mean share of the time that engines were busy */
	double gpu_seconds; /* GPUs × time from the first arrival to the last end */
	double span_s, tokens_per_s, decisions;
};
#define FLEET_FIGURES (sizeof(struct fleet_figures) / sizeof(double))

struct fleet_objectives {
	double ttft_ms, itl_ms;
};

/* How TTFTs are distributed; count 0: there are none. */
struct fleet_curve {
	struct report_point points[REPORT_CDF_POINTS];
	uint32_t count;
};

/* `curve` may be NULL. */
BB_MUST int fleet_report(const struct fleet_result *r, double skip,
			 const struct fleet_objectives *slo, struct fleet_figures *out,
			 struct fleet_curve *curve);

/* Means of several runs, and half the width of their 95 % confidence intervals (0 of one run). */
void fleet_figures_mean(const struct fleet_figures *runs, uint32_t count,
			struct fleet_figures *mean, struct fleet_figures *margin);

/*
 * Of all prompts' tokens, the share that an endless cache shared by all would have: whole blocks
 * that an earlier request (its prompt or answer) has had. Of large workloads a sample of the blocks
 * is looked at.
 */
BB_MUST int fleet_possible_hit(const struct workload *w, uint32_t block_tokens, double skip,
			       double *out);
