#include "sim/play_report.h"

#include <math.h>

#include "base/alloc.h"
#include "sim/fleet_report.h"

#define BLOCK_TOKENS 16
#define MS_NS 1e6
#define SECOND_NS 1e9

static uint32_t output_of(const struct workload *w, const struct play_record *records, uint32_t i)
{
	return records[i].output_tokens != LOAD_UNKNOWN ? records[i].output_tokens
							: w->requests[i].output_tokens;
}

/* The mean gap between its tokens; NAN: it has only one. */
static double itl_ms(const struct workload *w, const struct play_record *records, uint32_t i)
{
	const uint32_t tokens = output_of(w, records, i);

	if (tokens < 2 || records[i].events < 2)
		return NAN;
	return (double)records[i].span_ns / MS_NS / (tokens - 1);
}

static double ttft_ms(const struct play_record *r)
{
	return (double)r->ttft_ns / MS_NS;
}

static void count_states(const struct workload *w, const struct play_record *records,
			 struct play_summary *out)
{
	for (uint32_t i = 0; i < w->count; i++) {
		out->run.failed += records[i].state != PLAY_OK;
		out->skipped += records[i].state == PLAY_SKIPPED;
		if (records[i].state == PLAY_FAILED && records[i].error < LOAD_ERROR_COUNT)
			out->errors[records[i].error]++;
	}
}

static void count_tokens(const struct workload *w, const struct play_record *records,
			 const struct play_outcome *o, struct play_summary *out)
{
	double output = 0, prompt = 0, cached = 0, errors = 0;
	uint64_t ok = 0, reported = 0, prompts = 0;

	for (uint32_t i = 0; i < w->count; i++) {
		const struct play_record *const r = &records[i];
		if (r->state != PLAY_OK)
			continue;
		ok++;
		output += output_of(w, records, i);
		if (r->prompt_tokens == LOAD_UNKNOWN)
			continue;
		prompts++;
		errors += fabs((double)r->prompt_tokens / w->requests[i].prompt_tokens - 1);
		if (r->cached_tokens == LOAD_UNKNOWN)
			continue;
		reported++;
		prompt += r->prompt_tokens;
		cached += r->cached_tokens;
	}
	const double seconds = (double)o->length_ns / SECOND_NS;
	out->prompt_error = prompts ? errors / (double)prompts : NAN;
	out->run.cache_hit = reported && prompt > 0 ? cached / prompt : NAN;
	out->run.requests_per_s = seconds > 0 ? (double)ok / seconds : NAN;
	out->run.output_tokens_per_s = seconds > 0 ? output / seconds : NAN;
}

/* Times of those that count, into arrays with room for all; how many kept the objectives. */
struct times {
	double *ttft, *itl, *e2e;
	uint32_t ttft_count, itl_count, e2e_count, good, all;
};

static void gather(const struct workload *w, const struct play_record *records,
		   const struct play_objectives *slo, uint32_t first, struct times *t)
{
	for (uint32_t i = first; i < w->count; i++) {
		const struct play_record *const r = &records[i];
		t->all++;
		if (r->state != PLAY_OK)
			continue;
		t->e2e[t->e2e_count++] = (double)r->e2e_ns / MS_NS;
		if (!r->ttft_ns)
			continue;
		const double itl = itl_ms(w, records, i);
		t->ttft[t->ttft_count++] = ttft_ms(r);
		if (!isnan(itl))
			t->itl[t->itl_count++] = itl;
		t->good += ttft_ms(r) <= slo->ttft_ms && (isnan(itl) || itl <= slo->itl_ms);
	}
}

/* TTFT of what was due in each 60th of the run. `room` is for all. */
static void over_time(const struct workload *w, const struct play_record *records, double *room,
		      struct play_summary *out)
{
	uint64_t last_ns = 1;
	uint32_t points = 0;

	for (uint32_t i = 0; i < w->count; i++)
		last_ns = records[i].due_ns > last_ns ? records[i].due_ns : last_ns;
	for (uint32_t b = 0; b < PLAY_BUCKETS; b++) {
		const double begin = (double)last_ns * b / PLAY_BUCKETS;
		const double end = (double)last_ns * (b + 1) / PLAY_BUCKETS;
		uint32_t count = 0;
		for (uint32_t i = 0; i < w->count; i++) {
			const double due = (double)records[i].due_ns;
			if (records[i].state == PLAY_OK && records[i].ttft_ns && due >= begin &&
			    (due < end || b + 1 == PLAY_BUCKETS))
				room[count++] = ttft_ms(&records[i]);
		}
		if (!count)
			continue;
		const struct report_figures f = report_figures_of(room, count);
		const double middle_s = (begin + end) / 2 / SECOND_NS;
		out->p50[points] = (struct report_point){ middle_s, f.p50 };
		out->p90[points++] = (struct report_point){ middle_s, f.p90 };
	}
	out->run.ttft_p50 = (struct report_line){ out->p50, points };
	out->run.ttft_p90 = (struct report_line){ out->p90, points };
}

static void summarize(const struct workload *w, const struct play_record *records, uint32_t first,
		      const struct play_objectives *slo, struct times *t, struct play_summary *out)
{
	gather(w, records, slo, first, t);
	out->run.ttft_ms = report_figures_of(t->ttft, t->ttft_count);
	out->run.itl_ms = report_figures_of(t->itl, t->itl_count);
	out->run.e2e_ms = report_figures_of(t->e2e, t->e2e_count);
	out->run.goodput = t->all ? (double)t->good / t->all : NAN;
	out->run.ttft_cdf =
		(struct report_line){ out->cdf, report_cdf_of(t->ttft, t->ttft_count, out->cdf) };
	over_time(w, records, t->ttft, out);
}

int play_summary(const struct workload *w, const struct play_record *records,
		 const struct play_outcome *o, const struct load_meter *meter,
		 const struct play_objectives *slo, double skip, struct play_summary *out)
{
	const size_t size = ((size_t)w->count + 1) * sizeof(double);
	struct times t = { bb_alloc(size), bb_alloc(size), bb_alloc(size), 0, 0, 0, 0, 0 };
	int rc = t.ttft && t.itl && t.e2e ? 0 : -BB_ENOMEM;

	*out = (struct play_summary){
		.in_flight_max = o->in_flight_max,
		.cores = o->length_ns ? (double)o->cpu_ns / (double)o->length_ns : 0,
		.lag_p99_ms =
			(double)load_histogram_quantile_ns(&meter->times[LOAD_LAG], 0.99) / MS_NS,
		.run = { .requests = w->count,
			 .preemptions = REPORT_UNKNOWN,
			 .oom = REPORT_UNKNOWN,
			 .load_cv = NAN,
			 .gpu_seconds = NAN }
	};
	if (!rc)
		rc = fleet_possible_hit(w, BLOCK_TOKENS, 0, &out->run.cache_hit_possible);
	if (!rc) {
		count_states(w, records, out);
		count_tokens(w, records, o, out);
		summarize(w, records, (uint32_t)(skip * w->count), slo, &t, out);
	}
	bb_free(t.ttft);
	bb_free(t.itl);
	bb_free(t.e2e);
	return rc;
}
