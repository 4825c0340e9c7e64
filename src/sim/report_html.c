#include "sim/report_html.h"

#include <math.h>
#include <stdio.h>

#include "sim/report_plot.h"

/* Colours that are told apart by most eyes (Okabe and Ito), lightened where the page is dark. */
static const char style[] =
	":root{color-scheme:light dark;--back:#fff;--text:#1b1b1b;--faint:#666;--grid:#ddd;"
	"--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#b08000;--c5:#3a3a9e;--c6:#"
	"7a4a21;"
	"--c7:#5f6b6d}\n"
	"@media(prefers-color-scheme:dark){:root{--back:#16181a;--text:#e6e6e6;--faint:#a0a0a0;"
	"--grid:#3a3d40;--c0:#56b4e9;--c1:#ff8c42;--c2:#2ed3a5;--c3:#e8a5cb;--c4:#f0e442;--c5:#"
	"9a9aff;"
	"--c6:#c98d5c;--c7:#a9b8ba}}\n"
	"body{margin:2rem auto;max-width:72rem;padding:0 1rem;background:var(--back);"
	"color:var(--text);font:15px/1.5 system-ui,sans-serif}\n"
	"h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}\n"
	".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
	"th,td{padding:.25rem .6rem;border-bottom:1px solid var(--grid);text-align:right;"
	"white-space:nowrap}th:first-child,td:first-child{text-align:left}\n"
	".faint{color:var(--faint)}svg{width:100%;height:auto;max-width:860px;display:block}\n"
	"svg text{fill:var(--faint);font-size:12px}.grid{stroke:var(--grid);fill:none}\n"
	".line{fill:none;stroke-width:1.8}.dashed{stroke-dasharray:5 4}\n"
	".c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}"
	".c4{stroke:var(--c4)}.c5{stroke:var(--c5)}.c6{stroke:var(--c6)}.c7{stroke:var(--c7)}\n"
	".key{display:inline-block;margin-right:1.2rem}.key svg{display:inline-block;width:28px;"
	"height:10px;vertical-align:middle}\n";

/* ---- the table of runs ---- */

/* A column's value of a run; NAN: not known. `digits` behind the point. */
struct column {
	const char *name;
	double (*value)(const struct report_run *r);
	int digits;
	const char *unit; /* behind each value */
};

static double counted(uint64_t count)
{
	return count == REPORT_UNKNOWN ? NAN : (double)count;
}

#define FIGURE(name, member, field)                                                                \
	static double name(const struct report_run *r)                                             \
	{                                                                                          \
		return r->member.count ? r->member.field : NAN;                                    \
	}
FIGURE(ttft_mean, ttft_ms, mean)
FIGURE(ttft_p50, ttft_ms, p50)
FIGURE(ttft_p90, ttft_ms, p90)
FIGURE(ttft_p99, ttft_ms, p99)
FIGURE(itl_mean, itl_ms, mean)
FIGURE(itl_p99, itl_ms, p99)
FIGURE(e2e_mean, e2e_ms, mean)
FIGURE(e2e_p99, e2e_ms, p99)
FIGURE(queue_mean, queue_ms, mean)
FIGURE(queue_p99, queue_ms, p99)

#define PLAIN(name, expression)                                                                    \
	static double name(const struct report_run *r)                                             \
	{                                                                                          \
		return expression;                                                                 \
	}
PLAIN(requests, counted(r->requests))
PLAIN(failed, counted(r->failed))
PLAIN(preemptions, counted(r->preemptions))
PLAIN(oom, counted(r->oom))
PLAIN(hit, r->cache_hit * 100)
PLAIN(hit_possible, r->cache_hit_possible * 100)
PLAIN(goodput, r->goodput * 100)
PLAIN(load_cv, r->load_cv)
PLAIN(gpu_seconds, r->gpu_seconds)
PLAIN(requests_per_s, r->requests_per_s)
PLAIN(tokens_per_s, r->output_tokens_per_s)

static const struct column columns[] = {
	{ "requests", requests, 0, "" },
	{ "failed", failed, 0, "" },
	{ "TTFT mean", ttft_mean, 0, " ms" },
	{ "p50", ttft_p50, 0, " ms" },
	{ "p90", ttft_p90, 0, " ms" },
	{ "p99", ttft_p99, 0, " ms" },
	{ "ITL mean", itl_mean, 1, " ms" },
	{ "p99", itl_p99, 1, " ms" },
	{ "E2E mean", e2e_mean, 0, " ms" },
	{ "p99", e2e_p99, 0, " ms" },
	{ "queue mean", queue_mean, 0, " ms" },
	{ "p99", queue_p99, 0, " ms" },
	{ "cache hit", hit, 1, " %" },
	{ "possible", hit_possible, 1, " %" },
	{ "goodput", goodput, 1, " %" },
	{ "preemptions", preemptions, 0, "" },
	{ "OOM", oom, 0, "" },
	{ "load spread", load_cv, 2, "" },
	{ "GPU time", gpu_seconds, 0, " s" },
	{ "requests/s", requests_per_s, 2, "" },
	{ "tokens/s", tokens_per_s, 0, "" },
};
#define COLUMN_COUNT (sizeof(columns) / sizeof(*columns))

static bool is_known(const struct sim_report *report, const struct column *c)
{
	for (uint32_t i = 0; i < report->run_count; i++)
		if (isfinite(c->value(&report->runs[i])))
			return true;
	return false;
}

static void write_run_row(const struct sim_report *report, uint32_t index, struct bb_buf *out)
{
	const struct report_run *const r = &report->runs[index];
	const double first = ttft_mean(&report->runs[0]), mean = ttft_mean(r);

	bb_buf_lit(out, "<tr><td>");
	plot_add_text(out, r->label);
	bb_buf_lit(out, "</td>");
	for (size_t c = 0; c < COLUMN_COUNT; c++) {
		const double value = columns[c].value(r);
		if (!is_known(report, &columns[c]))
			continue;
		if (isfinite(value))
			bb_buf_printf(out, "<td>%.*f%s</td>", columns[c].digits, value,
				      columns[c].unit);
		else
			bb_buf_lit(out, "<td class=\"faint\">–</td>");
	}
	if (report->run_count > 1 && index && isfinite(first) && isfinite(mean) && first > 0)
		bb_buf_printf(out, "<td>%+.1f %%</td>", (mean / first - 1) * 100);
	else if (report->run_count > 1)
		bb_buf_lit(out, "<td class=\"faint\">–</td>");
	bb_buf_lit(out, "</tr>\n");
}

static void write_table(const struct sim_report *report, struct bb_buf *out)
{
	bb_buf_lit(out, "<h2>Results</h2>\n<div class=\"wide\"><table>\n<tr><th>run</th>");
	for (size_t c = 0; c < COLUMN_COUNT; c++)
		if (is_known(report, &columns[c]))
			bb_buf_printf(out, "<th>%s</th>", columns[c].name);
	if (report->run_count > 1) {
		bb_buf_lit(out, "<th>mean TTFT against ");
		plot_add_text(out, report->runs[0].label);
		bb_buf_lit(out, "</th>");
	}
	bb_buf_lit(out, "</tr>\n");
	for (uint32_t i = 0; i < report->run_count; i++)
		write_run_row(report, i, out);
	bb_buf_lit(out, "</table></div>\n");
	if (report->slo_ttft_ms > 0)
		bb_buf_printf(
			out,
			"<p class=\"faint\">Goodput: requests with a TTFT of at most %.6g ms and "
			"a mean ITL of at most %.6g ms.</p>\n",
			report->slo_ttft_ms, report->slo_itl_ms);
}

/* ---- plots ---- */

static void write_key(uint32_t colour, enum plot_stroke stroke, const char *name, const char *more,
		      struct bb_buf *out)
{
	bb_buf_printf(out,
		      "<span class=\"key\"><svg viewBox=\"0 0 28 10\"><path class=\"line c%u%s\" "
		      "d=\"M0 5H28\"/></svg> ",
		      colour % PLOT_COLOURS, stroke == PLOT_DASHED ? " dashed" : "");
	plot_add_text(out, name);
	bb_buf_printf(out, "%s</span>\n", more);
}

/* Behind the eighth, colours come again with dashes. */
static enum plot_stroke stroke_of(uint32_t index)
{
	return index / PLOT_COLOURS % 2 ? PLOT_DASHED : PLOT_SOLID;
}

static void write_cdf(const struct sim_report *report, struct bb_buf *out)
{
	struct plot_line lines[REPORT_RUNS_MAX];
	uint32_t count = 0;

	for (uint32_t i = 0; i < report->run_count; i++)
		if (report->runs[i].ttft_cdf.count > 1)
			lines[count++] = (struct plot_line){ report->runs[i].ttft_cdf, i,
							     stroke_of(i), report->runs[i].label };
	if (!count)
		return;
	bb_buf_lit(out, "<h2>Time to first token: share of requests</h2>\n<p>");
	for (uint32_t i = 0; i < count; i++)
		write_key(lines[i].colour, lines[i].stroke, lines[i].name, "", out);
	bb_buf_lit(out, "</p>\n");
	const struct plot p = { .title = "share of requests by time to first token",
				.x_name = "time to first token, ms",
				.y_name = "share of requests",
				.x_scale = PLOT_LOG,
				.y_max = 1,
				.lines = lines,
				.line_count = count };
	plot_write(&p, out);
}

static void write_over_time(const struct sim_report *report, struct bb_buf *out)
{
	struct plot_line lines[2 * REPORT_RUNS_MAX];
	uint32_t count = 0;

	for (uint32_t i = 0; i < report->run_count; i++) {
		const struct report_run *const r = &report->runs[i];
		if (r->ttft_p50.count > 1)
			lines[count++] = (struct plot_line){ r->ttft_p50, i, PLOT_SOLID, r->label };
		if (r->ttft_p90.count > 1)
			lines[count++] =
				(struct plot_line){ r->ttft_p90, i, PLOT_DASHED, r->label };
	}
	if (!count)
		return;
	bb_buf_lit(out, "<h2>Time to first token over time</h2>\n<p>");
	for (uint32_t i = 0; i < count; i++)
		write_key(lines[i].colour, lines[i].stroke, lines[i].name,
			  lines[i].stroke == PLOT_DASHED ? ", p90" : ", p50", out);
	bb_buf_lit(out, "</p>\n");
	const struct plot p = { .title = "time to first token over time",
				.x_name = "seconds since the start",
				.y_name = "time to first token, ms",
				.lines = lines,
				.line_count = count };
	plot_write(&p, out);
}

#define ENGINES_DRAWN 64u

static void write_load(const struct report_run *r, struct bb_buf *out)
{
	struct plot_line lines[ENGINES_DRAWN];
	char numbers[ENGINES_DRAWN][32];
	const uint32_t count = r->engine_count < ENGINES_DRAWN ? r->engine_count : ENGINES_DRAWN;

	if (!count || !r->engine_load)
		return;
	bb_buf_lit(out, "<h2>Load of engines: ");
	plot_add_text(out, r->label);
	bb_buf_lit(out, "</h2>\n<p>");
	for (uint32_t i = 0; i < count; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "engine %u", i + 1);
		const char *const name = r->engine_names ? r->engine_names[i] : numbers[i];
		lines[i] = (struct plot_line){ r->engine_load[i], i, stroke_of(i), name };
		write_key(i, stroke_of(i), name, "", out);
	}
	bb_buf_lit(out, "</p>\n");
	if (count < r->engine_count)
		bb_buf_printf(out, "<p class=\"faint\">The first %u of %u engines.</p>\n", count,
			      r->engine_count);
	const struct plot p = { .title = "requests in flight at each engine",
				.x_name = "seconds since the start",
				.y_name = "requests in flight",
				.lines = lines,
				.line_count = count };
	plot_write(&p, out);
}

/* ---- the page ---- */

static void write_facts(const struct sim_report *report, struct bb_buf *out)
{
	bb_buf_lit(out, "<table>\n<tr><td>workload</td><td>");
	plot_add_text(out, report->workload);
	bb_buf_lit(out, "</td></tr>\n");
	for (uint32_t i = 0; i < report->fact_count; i++) {
		bb_buf_lit(out, "<tr><td>");
		plot_add_text(out, report->facts[i].name);
		bb_buf_lit(out, "</td><td>");
		plot_add_text(out, report->facts[i].value);
		bb_buf_lit(out, "</td></tr>\n");
	}
	bb_buf_lit(out, "</table>\n");
}

void report_html(const struct sim_report *report, struct bb_buf *out)
{
	bb_buf_lit(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
			"<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
	plot_add_text(out, report->title);
	bb_buf_lit(out, "</title>\n<style>\n");
	bb_buf_add_str(out, BB_STR(style));
	bb_buf_lit(out, "</style>\n</head>\n<body>\n<h1>");
	plot_add_text(out, report->title);
	bb_buf_lit(out, "</h1>\n");
	write_facts(report, out);
	write_table(report, out);
	write_cdf(report, out);
	write_over_time(report, out);
	for (uint32_t i = 0; i < report->run_count; i++)
		write_load(&report->runs[i], out);
	bb_buf_lit(out, "</body>\n</html>\n");
}

int report_html_save(const struct sim_report *report, const char *path)
{
	struct bb_buf page;
	int rc;

	bb_buf_init(&page, REPORT_HTML_MAX);
	report_html(report, &page);
	rc = page.err;
	FILE *const file = rc ? NULL : fopen(path, "w");
	if (!rc && !file)
		rc = -BB_ESYSTEM;
	if (file && fwrite(page.p, 1, page.len, file) != page.len)
		rc = -BB_ESYSTEM;
	if (file && fclose(file))
		rc = -BB_ESYSTEM;
	bb_buf_fini(&page);
	return rc;
}
