/* replay_fleet_html.c: `busbar replay --engines --report FILE`. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cmd/replay_fleet.h"
#include "sim/report_html.h"

#define FACT_SIZE 512

static struct report_figures figures_of(const struct fleet_spread *s, uint64_t count)
{
	/* The greatest is not kept over seeds. */
	return (struct report_figures){ .count = count,
					.mean = s->mean,
					.p50 = s->p50,
					.p90 = s->p90,
					.p99 = s->p99,
					.max = NAN };
}

static struct report_run run_of(const struct replay_fleet *f, const struct replay_rival *v)
{
	const struct fleet_figures *const m = &v->mean;
	const uint64_t count = (uint64_t)m->requests;

	return (struct report_run){
		.label = v->text,
		.requests = count,
		.failed = (uint64_t)m->failed,
		.ttft_ms = figures_of(&m->ttft, count),
		.itl_ms = figures_of(&m->itl, count),
		.e2e_ms = figures_of(&m->e2e, count),
		.queue_ms = figures_of(&m->queue, count),
		.cache_hit = m->cache_hit,
		.cache_hit_possible = f->possible_hit,
		.preemptions = (uint64_t)m->preemptions,
		.goodput = m->goodput,
		.load_cv = m->load_cv,
		.gpu_seconds = m->gpu_seconds,
		.requests_per_s = m->span_s > 0 ? m->requests / m->span_s : 0,
		.output_tokens_per_s = m->tokens_per_s,
		.ttft_cdf = { v->curve.points, v->curve.count },
	};
}

int replay_fleet_html(const struct replay_fleet *f)
{
	struct report_run runs[REPLAY_RIVALS_MAX];
	char engines[FACT_SIZE], rate[32], seeds[64];
	const struct report_fact facts[] = { { "engines", engines },
					     { "arrivals a second", rate },
					     { "seeds", seeds } };
	const struct sim_report report = { .title = "busbar replay",
					   .workload = f->trace,
					   .slo_ttft_ms = f->slo.ttft_ms,
					   .slo_itl_ms = f->slo.itl_ms,
					   .facts = facts,
					   .fact_count = sizeof(facts) / sizeof(*facts),
					   .runs = runs,
					   .run_count = f->rival_count };
	size_t len = 0;

	engines[0] = 0;
	for (uint32_t i = 0; i < f->group_count && len < sizeof(engines) - 1; i++) {
		const int n =
			snprintf(engines + len, sizeof(engines) - len, "%s%u x %s", i ? ", " : "",
				 f->groups[i].count, f->groups[i].profile.name);
		len += n > 0 ? (size_t)n : 0;
	}
	snprintf(rate, sizeof(rate), "%.4g", f->rate);
	snprintf(seeds, sizeof(seeds), "%llu to %llu", (unsigned long long)f->seed,
		 (unsigned long long)(f->seed + f->seed_count - 1));
	for (uint32_t i = 0; i < f->rival_count; i++)
		runs[i] = run_of(f, &f->rivals[i]);
	const int rc = report_html_save(&report, f->report);
	if (rc)
		fprintf(stderr, "busbar replay: %s cannot be written: %s\n", f->report,
			rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
	return rc ? 1 : 0;
}
