#include "sim/sim_report.h"

#include <math.h>
#include <stdlib.h>

static int by_size(const void *x, const void *y)
{
	const double a = *(const double *)x, b = *(const double *)y;

	return a < b ? -1 : a > b;
}

/* The least value that a share q of all does not exceed. */
static double quantile(const double *sorted, uint64_t count, double q)
{
	const uint64_t rank = (uint64_t)ceil(q * (double)count);

	return sorted[rank ? rank - 1 : 0];
}

struct report_figures report_figures_of(double *values, uint64_t count)
{
	double sum = 0;

	if (!count)
		return (struct report_figures){ 0 };
	qsort(values, count, sizeof(*values), by_size);
	for (uint64_t i = 0; i < count; i++)
		sum += values[i];
	return (struct report_figures){ .count = count,
					.mean = sum / (double)count,
					.p50 = quantile(values, count, 0.5),
					.p90 = quantile(values, count, 0.9),
					.p99 = quantile(values, count, 0.99),
					.max = values[count - 1] };
}

uint32_t report_cdf_of(const double *sorted, uint64_t count,
		       struct report_point out[REPORT_CDF_POINTS])
{
	if (!count)
		return 0;
	for (uint32_t i = 0; i < REPORT_CDF_POINTS; i++) {
		const double q = (double)i / (REPORT_CDF_POINTS - 1);
		out[i] = (struct report_point){ quantile(sorted, count, q), q };
	}
	return REPORT_CDF_POINTS;
}

/* ---- JSON ---- */

static void json_number(struct bb_buf *out, const char *key, double value)
{
	if (isfinite(value))
		bb_buf_printf(out, ",\"%s\":%.6g", key, value);
	else
		bb_buf_printf(out, ",\"%s\":null", key);
}

static void json_count(struct bb_buf *out, const char *key, uint64_t value)
{
	if (value == REPORT_UNKNOWN)
		bb_buf_printf(out, ",\"%s\":null", key);
	else
		bb_buf_printf(out, ",\"%s\":%llu", key, (unsigned long long)value);
}

static void json_figures(struct bb_buf *out, const char *key, const struct report_figures *f)
{
	if (!f->count) {
		bb_buf_printf(out, ",\"%s\":null", key);
		return;
	}
	bb_buf_printf(out, ",\"%s\":{\"mean\":%.3f,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f", key,
		      f->mean, f->p50, f->p90, f->p99);
	if (isfinite(f->max))
		bb_buf_printf(out, ",\"max\":%.3f", f->max);
	bb_buf_lit(out, "}");
}

void report_json(const struct report_run *run, struct bb_buf *out)
{
	bb_buf_lit(out, "{\"policy\":");
	bb_buf_add_json(out, bb_str_of(run->label));
	json_count(out, "requests", run->requests);
	json_count(out, "failed", run->failed);
	json_figures(out, "ttft_ms", &run->ttft_ms);
	json_figures(out, "itl_ms", &run->itl_ms);
	json_figures(out, "e2e_ms", &run->e2e_ms);
	json_figures(out, "queue_ms", &run->queue_ms);
	json_number(out, "cache_hit", run->cache_hit);
	json_number(out, "cache_hit_possible", run->cache_hit_possible);
	json_count(out, "preemptions", run->preemptions);
	json_count(out, "oom", run->oom);
	json_number(out, "goodput", run->goodput);
	json_number(out, "load_cv", run->load_cv);
	json_number(out, "gpu_seconds", run->gpu_seconds);
	json_number(out, "requests_per_s", run->requests_per_s);
	json_number(out, "tokens_per_s", run->output_tokens_per_s);
	bb_buf_lit(out, "}");
}
