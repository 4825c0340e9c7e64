#include "gateway/metrics.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

#define MS 1000000ull
#define US 1000ull
#define S 1000000000ull

const struct histogram_bounds bounds_ttft = {
	.name = "busbar_time_to_first_token_seconds",
	.help = "From the first byte of a streamed request to its first token.",
	.count = 16,
	.ns = { 1 * MS, 5 * MS, 10 * MS, 20 * MS, 50 * MS, 100 * MS, 200 * MS, 300 * MS, 500 * MS,
		750 * MS, 1 * S, 2 * S, 5 * S, 10 * S, 30 * S, 60 * S },
};

const struct histogram_bounds bounds_itl = {
	.name = "busbar_inter_token_seconds",
	.help = "Between two events with content of one stream.",
	.count = 14,
	.ns = { 1 * MS, 2 * MS, 5 * MS, 10 * MS, 20 * MS, 30 * MS, 50 * MS, 75 * MS, 100 * MS,
		200 * MS, 500 * MS, 1 * S, 2 * S, 5 * S },
};

const struct histogram_bounds bounds_duration = {
	.name = "busbar_request_duration_seconds",
	.help = "From the first byte of a request to the last byte of its answer.",
	.count = 16,
	.ns = { 5 * MS, 10 * MS, 20 * MS, 50 * MS, 100 * MS, 200 * MS, 500 * MS, 1 * S, 2 * S, 5 * S,
		10 * S, 20 * S, 30 * S, 60 * S, 120 * S, 300 * S },
};

const struct histogram_bounds bounds_stage = {
	.name = "busbar_overhead_seconds",
	.help = "Time of the gateway itself per request, by stage.",
	.count = 14,
	.ns = { 1 * US, 2 * US, 5 * US, 10 * US, 20 * US, 50 * US, 100 * US, 200 * US, 500 * US,
		1 * MS, 2 * MS, 5 * MS, 10 * MS, 100 * MS },
};

const struct histogram_bounds bounds_held = {
	.name = "busbar_held_seconds",
	.help = "Requests that waited in the gateway for an engine that was open for them, and how long.",
	.count = 14,
	.ns = { 1 * MS, 2 * MS, 5 * MS, 10 * MS, 20 * MS, 50 * MS, 100 * MS, 200 * MS, 500 * MS, 1 * S,
		2 * S, 5 * S, 15 * S, 60 * S },
};

#define PERCENT 10000000ull

const struct histogram_bounds bounds_ratio = {
	.name = "busbar_ttft_prediction_ratio",
	.help = "Time from the decision to the first token, divided by what was predicted.",
	.count = 14,
	.ns = { 10 * PERCENT, 25 * PERCENT, 50 * PERCENT, 67 * PERCENT, 80 * PERCENT, 90 * PERCENT,
		100 * PERCENT, 110 * PERCENT, 125 * PERCENT, 150 * PERCENT, 200 * PERCENT,
		400 * PERCENT, 1000 * PERCENT, 10000 * PERCENT },
};

void histogram_add(struct histogram *h, const struct histogram_bounds *bounds, uint64_t ns)
{
	uint32_t i = 0;

	while (i < bounds->count && ns > bounds->ns[i])
		i++;
	metric_add(&h->bucket[i], 1);
	metric_add(&h->sum_ns, ns);
}

struct metrics *metrics_create(void)
{
	struct metrics *m = bb_alloc_zero(1, sizeof(*m));

	if (m) {
		m->other.model = UINT32_MAX;
		m->other.engine.slot = UINT32_MAX;
	}
	return m;
}

void metrics_destroy(struct metrics *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->series_count; i++) {
		bb_free(m->series[i]->model_name);
		bb_free(m->series[i]->engine_name);
		bb_free(m->series[i]);
	}
	bb_free(m);
}

/* Complete before readers of other threads can see it. */
static struct series *series_create(struct metrics *m, uint32_t model, struct engine_id engine,
				    struct bb_str model_name, struct bb_str engine_name)
{
	if (m->series_count == METRICS_SERIES_MAX)
		return NULL;
	struct series *s = bb_alloc_zero(1, sizeof(*s));
	if (!s)
		return NULL;
	s->model = model;
	s->engine = engine;
	s->model_name = bb_strndup(model_name.len ? model_name.p : "other",
				   model_name.len ? model_name.len : 5);
	s->engine_name = bb_strndup(engine_name.len ? engine_name.p : "none",
				    engine_name.len ? engine_name.len : 4);
	if (!s->model_name || !s->engine_name) {
		bb_free(s->model_name);
		bb_free(s->engine_name);
		bb_free(s);
		return NULL;
	}
	m->series[m->series_count] = s;
	__atomic_store_n(&m->series_count, m->series_count + 1, __ATOMIC_RELEASE);
	return s;
}

struct series *metrics_series(struct metrics *m, uint32_t model, struct engine_id engine,
			      struct bb_str model_name, struct bb_str engine_name)
{
	const uint64_t key[2] = { model, (uint64_t)engine.slot << 32 | engine.generation };
	const uint32_t mask = METRICS_SERIES_MAX * 2 - 1;

	for (uint32_t i = (uint32_t)bb_hash(key, sizeof(key), 0) & mask;; i = (i + 1) & mask) {
		struct series *s;
		if (m->index[i]) {
			s = m->series[m->index[i] - 1];
			if (s->model == model && engine_id_is(s->engine, engine))
				return s;
			continue;
		}
		s = series_create(m, model, engine, model_name, engine_name);
		if (!s)
			return &m->other;
		m->index[i] = m->series_count;
		return s;
	}
}

static void counter_sum(uint64_t *into, const uint64_t *from, size_t count)
{
	for (size_t i = 0; i < count; i++)
		into[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static void histogram_sum(struct histogram *into, const struct histogram *from)
{
	counter_sum(into->bucket, from->bucket, METRICS_BUCKETS_MAX + 1);
	counter_sum(&into->sum_ns, &from->sum_ns, 1);
}

static void series_sum(struct series *into, const struct series *from)
{
	counter_sum(&into->requests[0][0], &from->requests[0][0], API_COUNT * STATUS_CLASSES);
	counter_sum(into->upstream_errors, from->upstream_errors, UPSTREAM_ERROR_COUNT);
	counter_sum(&into->prompt_tokens, &from->prompt_tokens, 1);
	counter_sum(&into->cached_tokens, &from->cached_tokens, 1);
	counter_sum(&into->output_tokens, &from->output_tokens, 1);
	counter_sum(&into->hit_tokens, &from->hit_tokens, 1);
	counter_sum(&into->possible_tokens, &from->possible_tokens, 1);
	counter_sum(&into->regret_tokens, &from->regret_tokens, 1);
	counter_sum(&into->retries, &from->retries, 1);
	histogram_sum(&into->ttft, &from->ttft);
	histogram_sum(&into->itl, &from->itl);
	histogram_sum(&into->duration, &from->duration);
}

/* An engine that left and came back has two series and one name. */
static struct series *series_named(struct metrics *m, const struct series *like)
{
	for (uint32_t i = 0; i < m->series_count; i++)
		if (strcmp(m->series[i]->model_name, like->model_name) == 0 &&
		    strcmp(m->series[i]->engine_name, like->engine_name) == 0)
			return m->series[i];
	return series_create(m, like->model, like->engine, bb_str_of(like->model_name),
			     bb_str_of(like->engine_name));
}

void metrics_sum(struct metrics *into, const struct metrics *from)
{
	const uint32_t count = __atomic_load_n(&from->series_count, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < count; i++) {
		struct series *s = series_named(into, from->series[i]);
		series_sum(s ? s : &into->other, from->series[i]);
	}
	series_sum(&into->other, &from->other);
	for (int i = 0; i < STAGE_COUNT; i++)
		histogram_sum(&into->stage[i], &from->stage[i]);
	histogram_sum(&into->brain_lock, &from->brain_lock);
	histogram_sum(&into->held, &from->held);
	histogram_sum(&into->ttft_ratio, &from->ttft_ratio);
	counter_sum(&into->decisions[0][0], &from->decisions[0][0], METRICS_POLICIES_MAX * REASON_COUNT);
	counter_sum(&into->requests_in_flight, &from->requests_in_flight, 1);
	counter_sum(&into->streams_in_flight, &from->streams_in_flight, 1);
	counter_sum(&into->chunks, &from->chunks, 1);
	counter_sum(&into->bytes_in, &from->bytes_in, 1);
	counter_sum(&into->bytes_out, &from->bytes_out, 1);
	counter_sum(&into->keepalive_comments, &from->keepalive_comments, 1);
	counter_sum(&into->connections, &from->connections, 1);
	counter_sum(&into->refused, &from->refused, 1);
	counter_sum(&into->upstream_idle, &from->upstream_idle, 1);
	counter_sum(&into->unauthorized, &from->unauthorized, 1);
	counter_sum(into->prompts, from->prompts, PROMPTS_COUNT);
}
