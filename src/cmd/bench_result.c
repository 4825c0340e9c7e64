#include "cmd/bench_result.h"

#include <math.h>
#include <stdio.h>

#include "cmd/bench_target.h"
#include "sim/report_html.h"

static void table_figures(struct bb_buf *out, const char *name, const struct report_figures *f)
{
	if (f->count)
		bb_buf_printf(out, "  %-5s %10llu %10.1f %10.1f %10.1f %10.1f %10.1f\n", name,
			      (unsigned long long)f->count, f->mean, f->p50, f->p90, f->p99,
			      f->max);
}

static void table_share(struct bb_buf *out, const char *name, double share)
{
	if (isfinite(share))
		bb_buf_printf(out, "  %-40s %6.1f %%\n", name, share * 100);
}

static void table_errors(const struct play_summary *s, struct bb_buf *out)
{
	static const struct {
		const char *key, *text;
	} rows[LOAD_ERROR_COUNT] = {
#define X(name, key, text) { key, text },
		LOAD_ERRORS(X)
#undef X
	};

	for (int i = 0; i < LOAD_ERROR_COUNT; i++)
		if (s->errors[i])
			bb_buf_printf(out, "  %-10s %6llu  %s\n", rows[i].key,
				      (unsigned long long)s->errors[i], rows[i].text);
	if (s->skipped)
		bb_buf_printf(out, "  %-10s %6llu  what they follow had failed\n", "skipped",
			      (unsigned long long)s->skipped);
}

static void table_run(const struct play_objectives *slo, const struct play_summary *s,
		      struct bb_buf *out)
{
	const struct report_run *const r = &s->run;

	bb_buf_printf(out, "%s: %llu requests, %llu failed, %.2f answers/s, %.1f tokens/s\n",
		      r->label, (unsigned long long)r->requests, (unsigned long long)r->failed,
		      r->requests_per_s, r->output_tokens_per_s);
	bb_buf_printf(out, "  %-5s %10s %10s %10s %10s %10s %10s  milliseconds\n", "", "count",
		      "mean", "p50", "p90", "p99", "max");
	table_figures(out, "TTFT", &r->ttft_ms);
	table_figures(out, "ITL", &r->itl_ms);
	table_figures(out, "E2E", &r->e2e_ms);
	char text[64];
	snprintf(text, sizeof(text), "goodput (TTFT <= %.6g ms, ITL <= %.6g ms)", slo->ttft_ms,
		 slo->itl_ms);
	table_share(out, text, r->goodput);
	table_share(out, "prompt tokens from the cache", r->cache_hit);
	table_share(out, "... that an endless cache would have had", r->cache_hit_possible);
	table_share(out, "prompts' lengths are off by (mean)", s->prompt_error);
	bb_buf_printf(
		out,
		"  at most %u in flight; sent %.2f ms after they were due (p99); this generator "
		"used %.2f of a core%s\n",
		s->in_flight_max, s->lag_p99_ms, s->cores,
		s->cores > 0.9 ? ": it may be what limits" : "");
	table_errors(s, out);
}

static void json_run(const struct play_summary *s, struct bb_buf *out)
{
	static const char *const keys[LOAD_ERROR_COUNT] = {
#define X(name, key, text) key,
		LOAD_ERRORS(X)
#undef X
	};

	report_json(&s->run, out);
	out->len -= !out->err; /* its brace: more members follow */
	bb_buf_printf(out, ",\"in_flight_max\":%u,\"lag_p99_ms\":%.3f,\"generator_cores\":%.3f",
		      s->in_flight_max, s->lag_p99_ms, s->cores);
	bb_buf_printf(out, ",\"skipped\":%llu,\"errors\":{", (unsigned long long)s->skipped);
	for (int i = 0; i < LOAD_ERROR_COUNT; i++)
		bb_buf_printf(out, "%s\"%s\":%llu", i ? "," : "", keys[i],
			      (unsigned long long)s->errors[i]);
	if (isfinite(s->prompt_error))
		bb_buf_printf(out, "},\"prompt_error\":%.4f}", s->prompt_error);
	else
		bb_buf_lit(out, "},\"prompt_error\":null}");
}

void bench_result_table(const struct bench_result *r, struct bb_buf *out)
{
	for (uint32_t i = 0; i < r->count; i++) {
		if (i)
			bb_buf_lit(out, "\n");
		table_run(&r->slo, &r->summaries[i], out);
	}
}

void bench_result_json(const struct bench_result *r, struct bb_buf *out)
{
	bb_buf_lit(out, "{\"workload\":");
	bb_buf_add_json(out, bb_str_of(r->source));
	bb_buf_printf(out, ",\"seed\":%llu,\"slo\":{\"ttft_ms\":%.6g,\"itl_ms\":%.6g},",
		      (unsigned long long)r->seed, r->slo.ttft_ms, r->slo.itl_ms);
	bb_buf_lit(out, "\"policies\":[");
	for (uint32_t i = 0; i < r->count; i++) {
		if (i)
			bb_buf_lit(out, ",");
		json_run(&r->summaries[i], out);
	}
	bb_buf_lit(out, "]}\n");
}

int bench_result_report(const struct bench_result *r, const char *path)
{
	char seed[32], requests[32], rate[32];
	struct report_run runs[BENCH_TARGETS_MAX];
	const double length_s = (double)workload_length_ns(r->work) / 1e9;
	const struct report_fact facts[] = { { "requests", requests },
					     { "requests a second", rate },
					     { "seed", seed } };
	const struct sim_report report = { .title = "busbar bench",
					   .workload = r->source,
					   .slo_ttft_ms = r->slo.ttft_ms,
					   .slo_itl_ms = r->slo.itl_ms,
					   .facts = facts,
					   .fact_count = sizeof(facts) / sizeof(*facts),
					   .runs = runs,
					   .run_count = r->count };

	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)r->seed);
	snprintf(requests, sizeof(requests), "%u", r->work->count);
	snprintf(rate, sizeof(rate), "%.3g", length_s > 0 ? r->work->count / length_s : 0);
	for (uint32_t i = 0; i < r->count; i++)
		runs[i] = r->summaries[i].run;
	return report_html_save(&report, path);
}
