/*
 * bench_result.h: what `busbar bench run` prints.
 *
 * For: bench_run.c. Threads: the main thread. Memory: appended to the caller's buffer.
 * Errors: those of bb_buf, kept in the buffer; -BB_ESYSTEM with errno.
 */
#pragma once

#include "sim/play_report.h"

struct bench_result {
	const char *source; /* of the workload: its name or file */
	uint64_t seed;
	const struct workload *work;
	struct play_objectives slo;
	const struct play_summary *summaries; /* one for each server */
	uint32_t count;			      /* at most BENCH_TARGETS_MAX */
};

void bench_result_table(const struct bench_result *r, struct bb_buf *out);
void bench_result_json(const struct bench_result *r, struct bb_buf *out);
/* As an HTML page into a file. */
BB_MUST int bench_result_report(const struct bench_result *r, const char *path);
