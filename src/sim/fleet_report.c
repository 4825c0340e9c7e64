#include "sim/fleet_report.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

/* Student's t for 95 %, by degrees of freedom from 1 on. */
static const double student[] = { 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
				  2.306,  2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
				  2.131,  2.120, 2.110, 2.101, 2.093, 2.086 };
#define STUDENT_COUNT (sizeof(student) / sizeof(student[0]))
#define STUDENT_MANY 1.96

/* Blocks that are remembered at most: beyond, every second, fourth, … is looked at. */
#define SAMPLE_MAX (1u << 22)
#define HASH_KEY 0x5eed

/* Sorts. */
static void spread(double *values, uint32_t count, struct fleet_spread *out)
{
	const struct report_figures f = report_figures_of(values, count);

	*out = (struct fleet_spread){ f.mean, f.p50, f.p90, f.p99 };
}

static double ms(uint64_t from_ns, uint64_t to_ns)
{
	return (double)(to_ns - from_ns) / 1e6;
}

struct columns {
	double *ttft, *itl, *e2e, *queue;
	uint32_t count, itl_count, good;
	double held;
};

static void take(struct columns *c, const struct fleet_record *rec,
		 const struct fleet_objectives *slo)
{
	const double ttft = ms(rec->due_ns, rec->first_ns);
	double itl = 0;

	if (rec->generated > 1) {
		itl = ms(rec->first_ns, rec->end_ns) / (rec->generated - 1);
		c->itl[c->itl_count++] = itl;
	}
	c->ttft[c->count] = ttft;
	c->e2e[c->count] = ms(rec->due_ns, rec->end_ns);
	c->queue[c->count++] = ms(rec->due_ns, rec->started_ns);
	c->held += ms(rec->due_ns, rec->sent_ns);
	c->good += ttft <= slo->ttft_ms && itl <= slo->itl_ms;
}

static void engines(const struct fleet_result *r, struct fleet_figures *out)
{
	double sum = 0, squares = 0, gpus = 0, generated = 0, cached = 0, prompts = 0;
	const double n = r->engine_count, span_ns = (double)r->span_ns;

	for (uint32_t i = 0; i < r->engine_count; i++) {
		const struct fleet_engine_result *e = &r->engines[i];
		const double busy = (double)e->busy_ns;
		sum += busy;
		squares += busy * busy;
		gpus += e->gpus;
		generated += (double)e->generated_tokens;
		cached += (double)e->cached_tokens;
		prompts += (double)e->prompt_tokens;
		out->preemptions += (double)e->preemptions;
	}
	const double mean = sum / n, variance = squares / n - mean * mean;
	out->load_cv = mean > 0 ? sqrt(variance > 0 ? variance : 0) / mean : 0;
	out->busy = span_ns > 0 ? mean / span_ns : 0;
	out->cache_hit = prompts > 0 ? cached / prompts : 0;
	out->span_s = span_ns / 1e9;
	out->gpu_seconds = gpus * out->span_s;
	out->tokens_per_s = span_ns > 0 ? generated / out->span_s : 0;
}

static void fill_in(const struct fleet_result *r, double skip, const struct fleet_objectives *slo,
		    struct columns *c, struct fleet_figures *out)
{
	const uint32_t first = (uint32_t)(skip * r->count);

	for (uint32_t i = 0; i < r->count; i++) {
		const struct fleet_record *rec = &r->records[i];
		out->failed += rec->outcome != FLEET_OK && rec->outcome != FLEET_CANCELED;
		if (i >= first && rec->outcome == FLEET_OK)
			take(c, rec, slo);
	}
	out->requests = r->count;
	spread(c->ttft, c->count, &out->ttft);
	spread(c->itl, c->itl_count, &out->itl);
	spread(c->e2e, c->count, &out->e2e);
	spread(c->queue, c->count, &out->queue);
	out->held_mean = c->count ? c->held / c->count : 0;
	out->goodput = r->count > first ? (double)c->good / (r->count - first) : 0;
	out->decisions = (double)r->decisions;
}

int fleet_report(const struct fleet_result *r, double skip, const struct fleet_objectives *slo,
		 struct fleet_figures *out, struct fleet_curve *curve)
{
	double *const all = bb_alloc((4 * (size_t)r->count + 1) * sizeof(*all));

	if (!all)
		return -BB_ENOMEM;
	struct columns c = { .ttft = all,
			     .itl = all + r->count,
			     .e2e = all + 2 * (size_t)r->count,
			     .queue = all + 3 * (size_t)r->count };
	struct fleet_figures f = { 0 };
	engines(r, &f);
	fill_in(r, skip, slo, &c, &f);
	if (curve)
		curve->count = report_cdf_of(c.ttft, c.count, curve->points);
	bb_free(all);
	*out = f;
	return 0;
}

static double figure_of(const struct fleet_figures *f, size_t k)
{
	double all[FLEET_FIGURES];

	memcpy(all, f, sizeof(all));
	return all[k];
}

void fleet_figures_mean(const struct fleet_figures *runs, uint32_t count,
			struct fleet_figures *mean, struct fleet_figures *margin)
{
	double m[FLEET_FIGURES], w[FLEET_FIGURES] = { 0 };

	for (size_t k = 0; k < FLEET_FIGURES; k++) {
		double sum = 0, squares = 0;
		for (uint32_t i = 0; i < count; i++)
			sum += figure_of(&runs[i], k);
		m[k] = sum / count;
		if (count < 2)
			continue;
		for (uint32_t i = 0; i < count; i++) {
			const double d = figure_of(&runs[i], k) - m[k];
			squares += d * d;
		}
		const double t = count - 2 < STUDENT_COUNT ? student[count - 2] : STUDENT_MANY;
		w[k] = t * sqrt(squares / (count - 1) / count);
	}
	memcpy(mean, m, sizeof(*mean));
	memcpy(margin, w, sizeof(*margin));
}

/* ---- what an endless cache would have ---- */

struct seen {
	uint64_t *table; /* 0: free */
	uint64_t mask;
};

/* Was it there before? It is from now on. */
static bool look_and_keep(struct seen *s, uint64_t hash)
{
	const uint64_t h = hash ? hash : 1;
	uint64_t at = (h * 0x9e3779b97f4a7c15) >> 20 & s->mask;

	for (; s->table[at]; at = (at + 1) & s->mask)
		if (s->table[at] == h)
			return true;
	s->table[at] = h;
	return false;
}

/* Of a request's blocks; only those of the prompt count, all are remembered. */
static void look_at(struct seen *s, const uint64_t *hashes, uint32_t count, uint32_t prompt,
		    uint64_t sample_mask, double *found)
{
	for (uint32_t i = 0; i < count; i++) {
		if (hashes[i] >> 32 & sample_mask)
			continue;
		if (look_and_keep(s, hashes[i]) && i < prompt)
			*found += 1;
	}
}

int fleet_possible_hit(const struct workload *w, uint32_t block_tokens, double skip, double *out)
{
	const uint64_t blocks = (w->prompt_tokens + w->output_tokens) / block_tokens + 1;
	const uint32_t first = (uint32_t)(skip * w->count);
	uint64_t sample_mask = 0, room = 1024;
	uint32_t most = 0;
	double found = 0, prompts = 0;

	while (blocks / (sample_mask + 1) > SAMPLE_MAX)
		sample_mask = 2 * sample_mask + 1;
	while (room < 2 * (blocks / (sample_mask + 1)) + 1024)
		room *= 2;
	for (uint32_t i = 0; i < w->count; i++) {
		const struct work_request *q = &w->requests[i];
		const uint32_t n = (q->prompt_tokens + q->output_tokens) / block_tokens + 1;
		most = n > most ? n : most;
	}
	struct seen s = { .table = bb_alloc_zero(room, sizeof(*s.table)), .mask = room - 1 };
	uint64_t *const hashes = bb_alloc((most + 1) * sizeof(*hashes));
	for (uint32_t i = 0; s.table && hashes && i < w->count; i++) {
		const struct work_request *q = &w->requests[i];
		const uint32_t n =
			work_hashes(w, i, q->output_tokens, block_tokens, HASH_KEY, hashes, most);
		double here = 0;
		look_at(&s, hashes, n, q->prompt_tokens / block_tokens, sample_mask, &here);
		if (i < first)
			continue;
		found += here;
		prompts += q->prompt_tokens;
	}
	const int rc = s.table && hashes ? 0 : -BB_ENOMEM;
	bb_free(s.table);
	bb_free(hashes);
	/* Of the sampled blocks the found ones stand for tokens of prompts. */
	if (!rc)
		*out = prompts > 0 ? found * (double)(sample_mask + 1) * block_tokens / prompts : 0;
	return rc;
}
