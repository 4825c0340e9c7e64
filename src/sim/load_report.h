/*
 * load_report.h: what came out of a load run, for people and for programs.
 *
 * For: `busbar bench load`. Threads: pure functions. Memory: appended to the caller's buffer.
 * Errors: those of bb_buf, kept in the buffer.
 * JSON: one object; times in microseconds under "<name>_us" with count, mean, p50, p90, p99, p999
 * and max, null when there were none. Rates and times are those of the measured window; "started",
 * "ended" and "chunks_all" are of the whole run, for dividing CPU time that was taken around it.
 */
#pragma once

#include "base/buf.h"
#include "sim/load_run.h"

void load_report_json(const struct load_plan *plan, const struct load_meter *m,
		      const struct load_outcome *o, struct bb_buf *out);
void load_report_table(const struct load_plan *plan, const struct load_meter *m,
		       const struct load_outcome *o, struct bb_buf *out);
