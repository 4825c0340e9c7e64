/*
 * prometheus.h: metrics as text: written for scrapers, read from engines.
 *
 * For: /metrics of the gateway and of the simulated engine; the figures that engines publish.
 * Format: Prometheus text exposition 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/.
 * The reader also takes OpenMetrics 1.0 (exemplars, # EOF) and skips what it does not understand.
 * Threads: pure functions. Memory: the writer appends to the caller's buffer; the reader's spans
 * point into the text.
 * Errors: writing: the buffer's sticky `err`. Reading: a malformed line is skipped.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

/* ---- writing ---- */

enum prom_type { PROM_COUNTER, PROM_GAUGE, PROM_HISTOGRAM };

struct prom_label {
	const char *name;
	struct bb_str value; /* any bytes: escaped, and '?' where they are not UTF-8 */
};

/*
 * HELP and TYPE of a family; its samples follow. The name must be [a-z0-9_:]; a counter's
 * ends in _total and no other does; none ends in _count, _sum or _bucket. Asserted, since names
 * are ours. `promtool check metrics` looks at the rest (units, no colon in names of our own).
 */
void prom_family(struct bb_buf *out, const char *name, const char *help, enum prom_type type);
void prom_sample(struct bb_buf *out, const char *name, const struct prom_label *labels,
		 uint32_t label_count, double value);
/* The same for counts: exact beyond 2^53. */
void prom_sample_u64(struct bb_buf *out, const char *name, const struct prom_label *labels,
		     uint32_t label_count, uint64_t value);

struct prom_histogram {
	const double *bounds;   /* ascending upper bounds, +Inf is not among them */
	uint32_t bound_count;
	const uint64_t *counts; /* bound_count + 1: observations in each bucket, not summed up */
	double sum;
};
/* All samples of one histogram: _bucket with "le", _sum, _count. */
void prom_histogram(struct bb_buf *out, const char *name, const struct prom_label *labels,
		    uint32_t label_count, const struct prom_histogram *h);

/* ---- reading ---- */

struct prom_sample {
	struct bb_str name;
	struct bb_str labels; /* what stands between the braces; empty without */
	double value;         /* may be NaN or infinite */
};

/* The next sample; false at the end of the text. */
bool prom_next(struct bb_str *rest, struct prom_sample *out);
/*
 * The next sample whose name is one of `names`; all other lines are passed over without a look at
 * their labels and values. The name's index, or -1 at the end of the text.
 */
int prom_next_of(struct bb_str *rest, const struct bb_str *names, uint32_t count,
		 struct prom_sample *out);
/* A label's value as it stands there (escapes are kept). False when it is absent. */
bool prom_label(struct bb_str labels, const char *name, struct bb_str *value);
