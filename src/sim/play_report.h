/*
 * play_report.h: from the records of a played workload to a row of a report.
 *
 * For: `busbar bench run`. ITL is the mean gap between the tokens of one answer, as the simulator
 * counts it; requests at the beginning can be left out of the times. Tokens are those of the
 * server's usage, else the workload's.
 * Threads: pure. Memory: some numbers a request meanwhile; what the row points to is owned by it.
 * Errors: -BB_ENOMEM.
 */
#pragma once

#include "sim/load_play.h"
#include "sim/sim_report.h"

#define PLAY_BUCKETS 60 /* of TTFT over time */

struct play_summary {
	struct report_run run;
	struct report_point cdf[REPORT_CDF_POINTS], p50[PLAY_BUCKETS], p90[PLAY_BUCKETS];
	uint64_t errors[LOAD_ERROR_COUNT];
	uint64_t skipped; /* since what they follow had failed */
	uint32_t in_flight_max;
	double cores;	   /* that this generator used */
	double lag_p99_ms; /* from when a request was due to when it was sent */
	double prompt_error; /* mean of |prompt as it was counted ÷ as the workload has it − 1|; NAN
			      */
};

struct play_objectives {
	double ttft_ms, itl_ms;
};

/* `skip`: the share of the requests, the first, that do not count in times and goodput. */
BB_MUST int play_summary(const struct workload *w, const struct play_record *records,
			 const struct play_outcome *o, const struct load_meter *meter,
			 const struct play_objectives *slo, double skip, struct play_summary *out);
