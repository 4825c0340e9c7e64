/* replay_fleet_table.c: what `busbar replay --engines` prints. */
#include <string.h>

#include "cmd/replay_fleet.h"

static void say_engines(const struct replay_fleet *f, struct bb_buf *out)
{
	for (uint32_t i = 0; i < f->group_count; i++)
		bb_buf_printf(out, "%s%u x %s", i ? ", " : "", f->groups[i].count,
			      f->groups[i].profile.name);
}

static void change(struct bb_buf *out, double value, double reference)
{
	if (reference > 0)
		bb_buf_printf(out, " %+6.1f", 100 * (value / reference - 1));
	else
		bb_buf_printf(out, " %6s", "-");
}

static void margins(const struct replay_fleet *f, struct bb_buf *out)
{
	if (f->seed_count < 2)
		return;
	bb_buf_printf(out, "\n95 %% confidence, of the means over %u seeds:\n", f->seed_count);
	for (uint32_t i = 0; i < f->rival_count; i++) {
		const struct replay_rival *v = &f->rivals[i];
		bb_buf_printf(out,
			      "%-20s TTFT %.0f ± %.0f, p90 %.0f ± %.0f, p99 %.0f ± %.0f, e2e %.0f "
			      "± %.0f ms\n",
			      v->text, v->mean.ttft.mean, v->margin.ttft.mean, v->mean.ttft.p90,
			      v->margin.ttft.p90, v->mean.ttft.p99, v->margin.ttft.p99,
			      v->mean.e2e.mean, v->margin.e2e.mean);
	}
}

static void changes(const struct replay_fleet *f, struct bb_buf *out)
{
	const struct fleet_figures *const a = &f->rivals[0].mean;

	if (f->rival_count < 2)
		return;
	bb_buf_printf(out,
		      "\n%s against the others, per cent (less is better):\n%-20s %6s %6s %6s "
		      "%6s %6s %6s\n",
		      f->rivals[0].text, "AGAINST", "TTFT", "p50", "p90", "p99", "ITL", "E2E");
	for (uint32_t i = 1; i < f->rival_count; i++) {
		const struct fleet_figures *const b = &f->rivals[i].mean;
		bb_buf_printf(out, "%-20s", f->rivals[i].text);
		change(out, a->ttft.mean, b->ttft.mean);
		change(out, a->ttft.p50, b->ttft.p50);
		change(out, a->ttft.p90, b->ttft.p90);
		change(out, a->ttft.p99, b->ttft.p99);
		change(out, a->itl.mean, b->itl.mean);
		change(out, a->e2e.mean, b->e2e.mean);
		bb_buf_lit(out, "\n");
	}
}

void replay_fleet_table(const struct replay_fleet *f, struct bb_buf *out)
{
	bb_buf_printf(out, "%s: %u requests, %.2f arrivals a second, before ", f->trace,
		      f->requests, f->rate);
	say_engines(f, out);
	bb_buf_printf(out,
		      "\nprompts' tokens cached at most: %.3f; times in ms; goodput: TTFT <= %.0f, "
		      "ITL <= %.0f; the first %.0f%% do not count\n\n",
		      f->possible_hit, f->slo.ttft_ms, f->slo.itl_ms, 100 * f->skip);
	bb_buf_printf(out, "%-20s %8s %7s %7s %7s %6s %6s %8s %7s %6s %6s %6s %5s %5s %6s\n",
		      "POLICY", "TTFT", "p50", "p90", "p99", "ITL", "p99", "E2E", "QUEUE", "HIT",
		      "GOOD", "PREEMP", "CV", "BUSY", "FAILED");
	for (uint32_t i = 0; i < f->rival_count; i++) {
		const struct replay_rival *v = &f->rivals[i];
		const struct fleet_figures *m = &v->mean;
		bb_buf_printf(out,
			      "%-20s %8.1f %7.0f %7.0f %7.0f %6.1f %6.1f %8.0f %7.0f %6.3f %6.3f "
			      "%6.0f %5.3f %5.2f %6.0f\n",
			      v->text, m->ttft.mean, m->ttft.p50, m->ttft.p90, m->ttft.p99,
			      m->itl.mean, m->itl.p99, m->e2e.mean, m->queue.mean, m->cache_hit,
			      m->goodput, m->preemptions, m->load_cv, m->busy, m->failed);
	}
	changes(f, out);
	margins(f, out);
	bb_buf_printf(out, "\n%.2f s of CPU\n", f->cpu_s);
}

static void spread_json(struct bb_buf *out, const char *name, const struct fleet_spread *v)
{
	bb_buf_printf(out, ",\"%s\":{\"mean\":%.6g,\"p50\":%.6g,\"p90\":%.6g,\"p99\":%.6g}", name,
		      v->mean, v->p50, v->p90, v->p99);
}

static void rival_json(const struct replay_fleet *f, const struct replay_rival *v,
		       struct bb_buf *out)
{
	const struct fleet_figures *const m = &v->mean, *const w = &v->margin;

	bb_buf_printf(out, "{\"policy\":\"%s\",\"requests\":%.0f,\"failed\":%.6g", v->text,
		      m->requests, m->failed);
	spread_json(out, "ttft_ms", &m->ttft);
	spread_json(out, "itl_ms", &m->itl);
	spread_json(out, "e2e_ms", &m->e2e);
	spread_json(out, "queue_ms", &m->queue);
	bb_buf_printf(
		out,
		",\"held_ms\":%.6g,\"cache_hit\":%.6g,\"cache_hit_possible\":%.6g,"
		"\"preemptions\":%.6g,\"oom\":0,\"goodput\":%.6g,\"load_cv\":%.6g,\"busy\":%.6g,"
		"\"gpu_seconds\":%.8g,\"seconds\":%.8g,\"tokens_per_s\":%.6g,"
		"\"decisions\":%.0f",
		m->held_mean, m->cache_hit, f->possible_hit, m->preemptions, m->goodput, m->load_cv,
		m->busy, m->gpu_seconds, m->span_s, m->tokens_per_s, m->decisions);
	bb_buf_lit(out, ",\"margin\":{\"seeds\":");
	bb_buf_printf(out, "%u", f->seed_count);
	spread_json(out, "ttft_ms", &w->ttft);
	spread_json(out, "itl_ms", &w->itl);
	spread_json(out, "e2e_ms", &w->e2e);
	bb_buf_lit(out, "}}");
}

void replay_fleet_json(const struct replay_fleet *f, struct bb_buf *out)
{
	bb_buf_lit(out, "{\"trace\":");
	bb_buf_add_json(out, bb_str_of(f->trace));
	bb_buf_lit(out, ",\"engines\":\"");
	say_engines(f, out);
	bb_buf_printf(
		out,
		"\",\"requests\":%u,\"rate\":%.6g,\"rate_of_load_1\":%.6g,\"seed\":%llu,\"seeds\":%"
		"u,\"skip\":%.6g,"
		"\"slo\":{\"ttft_ms\":%.6g,\"itl_ms\":%.6g},\"cpu_seconds\":%.3f,\"policies\":[",
		f->requests, f->rate, f->limit_rate, (unsigned long long)f->seed, f->seed_count,
		f->skip, f->slo.ttft_ms, f->slo.itl_ms, f->cpu_s);
	for (uint32_t i = 0; i < f->rival_count; i++) {
		if (i)
			bb_buf_lit(out, ",");
		rival_json(f, &f->rivals[i], out);
	}
	bb_buf_lit(out, "]}\n");
}
