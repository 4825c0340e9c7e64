/* exposition.c: everything that is counted, as Prometheus text. */
#include <stddef.h>
#include <stdio.h>

#include "base/log.h"
#include "gateway/control.h"
#include "gateway/exposition_parts.h"
#include "gateway/text_check.h"
#include "gateway/worker.h"
#include "os/clock.h"
#include "records/journal.h"
#include "records/log_sink.h"
#include "wire/prometheus.h"

/* ---- series ---- */

static void series_labels(const struct series *s, struct prom_label labels[2])
{
	labels[0] = (struct prom_label){ "model", bb_str_of(s->model_name ? s->model_name : "other") };
	labels[1] =
		(struct prom_label){ "engine", bb_str_of(s->engine_name ? s->engine_name : "other") };
}

static void requests_write(struct bb_buf *out, const struct metrics *m)
{
	static const char *const classes[] = { "2xx", "4xx", "5xx", "canceled" };

	prom_family(out, "busbar_requests_total", "Requests that ended, by status class.",
		    PROM_COUNTER);
	for (uint32_t i = 0; i < m->series_count; i++) {
		struct prom_label labels[4];
		series_labels(m->series[i], labels);
		for (int a = 1; a < API_COUNT; a++) {
			for (int c = 0; c < STATUS_CLASSES; c++) {
				if (!m->series[i]->requests[a][c])
					continue;
				labels[2] = (struct prom_label){
					"api", bb_str_of(api_info((enum api)a)->label) };
				labels[3] = (struct prom_label){ "status", bb_str_of(classes[c]) };
				prom_sample_u64(out, "busbar_requests_total", labels, 4,
						m->series[i]->requests[a][c]);
			}
		}
	}
}

static void upstream_errors_write(struct bb_buf *out, const struct metrics *m)
{
	static const char *const kinds[] = {
#define X(name, text) text,
		UPSTREAM_ERRORS(X)
#undef X
	};

	prom_family(out, "busbar_upstream_errors_total",
		    "Failures of engines as requests met them, retried ones included.", PROM_COUNTER);
	for (uint32_t i = 0; i < m->series_count; i++) {
		struct prom_label labels[3];
		series_labels(m->series[i], labels);
		for (int k = 0; k < UPSTREAM_ERROR_COUNT; k++) {
			labels[2] = (struct prom_label){ "kind", bb_str_of(kinds[k]) };
			if (m->series[i]->upstream_errors[k])
				prom_sample_u64(out, "busbar_upstream_errors_total", labels, 3,
						m->series[i]->upstream_errors[k]);
		}
	}
}

static void series_counter_write(struct bb_buf *out, const struct metrics *m, const char *name,
				 const char *help, size_t offset)
{
	prom_family(out, name, help, PROM_COUNTER);
	for (uint32_t i = 0; i < m->series_count; i++) {
		struct prom_label labels[2];
		series_labels(m->series[i], labels);
		prom_sample_u64(out, name, labels, 2,
				*(const uint64_t *)((const char *)m->series[i] + offset));
	}
}

static void series_histogram_write(struct bb_buf *out, const struct metrics *m,
				   const struct histogram_bounds *bounds, size_t offset)
{
	prom_family(out, bounds->name, bounds->help, PROM_HISTOGRAM);
	for (uint32_t i = 0; i < m->series_count; i++) {
		struct prom_label labels[2];
		series_labels(m->series[i], labels);
		exposition_histogram(out, bounds->name, bounds,
				(const struct histogram *)((const char *)m->series[i] + offset), labels,
				2);
	}
}

static void stages_write(struct bb_buf *out, const struct metrics *m)
{
	static const char *const names[] = {
#define X(name, text) text,
		STAGES(X)
#undef X
	};

	prom_family(out, bounds_stage.name, bounds_stage.help, PROM_HISTOGRAM);
	for (int i = 0; i < STAGE_COUNT; i++) {
		const struct prom_label label = { "stage", bb_str_of(names[i]) };
		exposition_histogram(out, bounds_stage.name, &bounds_stage, &m->stage[i], &label, 1);
	}
	prom_family(out, "busbar_brain_lock_seconds", "How long a decision held the brain's lock.",
		    PROM_HISTOGRAM);
	exposition_histogram(out, "busbar_brain_lock_seconds", &bounds_stage, &m->brain_lock, NULL, 0);
}

/* ---- engines ---- */

struct engine_family {
	struct bb_buf *out;
	const char *name;
	double (*value)(const struct engine_view *v);
	bool only_with_load;
};

static void on_engine_value(void *user, const struct engine_view *v)
{
	const struct engine_family *f = user;
	const struct prom_label label = { "engine", bb_str_of(v->name) };

	if (!f->only_with_load || v->has_load)
		prom_sample(f->out, f->name, &label, 1, f->value(v));
}

static void on_engine_state(void *user, const struct engine_view *v)
{
	struct bb_buf *out = user;

	for (int s = 0; s <= ENGINE_GONE; s++) {
		const struct prom_label labels[2] = {
			{ "engine", bb_str_of(v->name) },
			{ "state", bb_str_of(engine_state_name((enum engine_state)s)) },
		};
		prom_sample_u64(out, "busbar_engine_state", labels, 2, v->state == (enum engine_state)s);
	}
}

struct verdict_writer {
	struct gateway *gateway;
	struct bb_buf *out;
};

static void on_engine_tokens(void *user, const struct engine_view *v)
{
	const struct verdict_writer *w = user;
	const uint8_t now =
		__atomic_load_n(&w->gateway->links[v->id.slot].text_verdict, __ATOMIC_ACQUIRE);

	for (int i = 0; i < TEXT_VERDICT_COUNT; i++) {
		const struct prom_label labels[2] = {
			{ "engine", bb_str_of(v->name) },
			{ "verdict", bb_str_of(text_verdict_name((enum text_verdict)i)) },
		};
		prom_sample_u64(w->out, "busbar_engine_tokens", labels, 2, now == i);
	}
}

static double value_requests(const struct engine_view *v) { return v->requests; }
static double value_tokens(const struct engine_view *v) { return (double)v->tokens; }
static double value_pending(const struct engine_view *v) { return (double)v->pending_prefill; }
static double value_running(const struct engine_view *v) { return v->running; }
static double value_waiting(const struct engine_view *v) { return v->waiting; }
static double value_kv(const struct engine_view *v) { return v->kv_usage; }
static double value_trust(const struct engine_view *v) { return v->trust; }
static double value_blocks(const struct engine_view *v) { return (double)v->index_blocks; }
static double value_ttft(const struct engine_view *v) { return v->ttft_factor; }
static double value_gap(const struct engine_view *v) { return v->gap_factor; }

static void engines_write(struct gateway *g, struct bb_buf *out)
{
	static const struct {
		const char *name, *help;
		double (*value)(const struct engine_view *v);
		bool only_with_load;
	} gauges[] = {
		{ "busbar_engine_requests_in_flight", "Requests at the engine from this gateway.",
		  value_requests, false },
		{ "busbar_engine_tokens_in_flight",
		  "Prompt and expected output tokens of these requests, as the router counts them.",
		  value_tokens, false },
		{ "busbar_engine_pending_prefill_tokens",
		  "Prompt tokens sent and not yet answered by a first token.", value_pending, false },
		{ "busbar_engine_running_requests", "Running requests as the engine reports them.",
		  value_running, true },
		{ "busbar_engine_queued_requests", "Queued requests as the engine reports them.",
		  value_waiting, true },
		{ "busbar_engine_kv_usage_ratio", "Share of its KV cache in use, as the engine reports it.",
		  value_kv, true },
		{ "busbar_engine_trust",
		  "How far what the index says of its cache is believed, 0 to 1.", value_trust, false },
		{ "busbar_engine_index_blocks", "Blocks of prompts that the index has of it.",
		  value_blocks, false },
		{ "busbar_engine_ttft_factor",
		  "Its times to first tokens, against others of its kind.", value_ttft, false },
		{ "busbar_engine_gap_factor", "Its times between tokens, against others of its kind.",
		  value_gap, false },
	};

	gateway_lock(g);
	prom_family(out, "busbar_engine_state", "1 for the state that the engine is in.", PROM_GAUGE);
	brain_engines_each(g->brain, on_engine_state, out);
	struct verdict_writer tokens = { g, out };
	prom_family(out, "busbar_engine_tokens",
		    "1 for what comparing the engine's tokens with the gateway's has found.", PROM_GAUGE);
	brain_engines_each(g->brain, on_engine_tokens, &tokens);
	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
		struct engine_family f = { out, gauges[i].name, gauges[i].value,
					   gauges[i].only_with_load };
		prom_family(out, gauges[i].name, gauges[i].help, PROM_GAUGE);
		brain_engines_each(g->brain, on_engine_value, &f);
	}
	gateway_unlock(g);
	exposition_kv(g, out);
}

/* ---- prompts ---- */

static void prompts_write(struct gateway *g, const struct metrics *m, struct bb_buf *out)
{
	static const char *const how[] = { "exact", "estimated" };
	struct prompt_cache_stats s = { 0 };

	prom_family(out, "busbar_prompts_total",
		    "Prompts of models with a tokenizer, by how their tokens were counted.", PROM_COUNTER);
	for (int i = 0; i < PROMPTS_COUNT; i++) {
		const struct prom_label label = { "count", bb_str_of(how[i]) };
		prom_sample_u64(out, "busbar_prompts_total", &label, 1, m->prompts[i]);
	}
	if (!g->prompts)
		return;
	prompt_cache_stats(g->prompts, &s);
	exposition_u64(out, "busbar_prompt_cache_bytes", "Memory of the tokens of prompts that are kept.",
		   PROM_GAUGE, s.bytes);
	exposition_u64(out, "busbar_prompt_cache_max_bytes", "The limit of that memory.", PROM_GAUGE,
		   s.bytes_max);
	exposition_u64(out, "busbar_prompt_cache_evictions_total", "Pieces of prompts that had to go.",
		   PROM_COUNTER, s.evictions);
	exposition_u64(out, "busbar_prompt_cache_text_bytes_total",
		   "Bytes of prompts that were looked up.", PROM_COUNTER, s.text_bytes);
	exposition_u64(out, "busbar_prompt_cache_reused_bytes_total",
		   "Of these, bytes whose tokens were there.", PROM_COUNTER, s.reused_bytes);
}

/* ---- tenants ---- */

static void on_tenant_requests(void *user, const struct tenant_view *v)
{
	static const char *const classes[] = { "2xx", "4xx", "5xx", "canceled" };

	for (int i = 0; i < TENANT_CLASSES; i++) {
		const struct prom_label labels[2] = { { "tenant", bb_str_of(v->name) },
						      { "status", bb_str_of(classes[i]) } };
		if (v->requests[i])
			prom_sample_u64(user, "busbar_tenant_requests_total", labels, 2,
					v->requests[i]);
	}
}

static void on_tenant_tokens(void *user, const struct tenant_view *v)
{
	const struct {
		const char *kind;
		uint64_t count;
	} kinds[] = {
		{ "prompt", v->prompt_tokens },
		{ "cached", v->cached_tokens },
		{ "output", v->output_tokens },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct prom_label labels[2] = { { "tenant", bb_str_of(v->name) },
						      { "kind", bb_str_of(kinds[i].kind) } };
		prom_sample_u64(user, "busbar_tenant_tokens_total", labels, 2, kinds[i].count);
	}
}

static void on_tenant_active(void *user, const struct tenant_view *v)
{
	const struct prom_label label = { "tenant", bb_str_of(v->name) };

	prom_sample_u64(user, "busbar_tenant_requests_in_flight", &label, 1, v->active);
}

static void on_tenant_budget(void *user, const struct tenant_view *v)
{
	const struct prom_label label = { "tenant", bb_str_of(v->name) };

	if (v->limits.tokens_per_month)
		prom_sample_u64(user, "busbar_tenant_budget_used_tokens", &label, 1,
				v->budget_used);
}

static void tenants_write(struct gateway *g, struct bb_buf *out)
{
	pthread_mutex_lock(&g->tenants_lock);
	prom_family(out, "busbar_tenant_requests_total",
		    "Requests of a tenant that ended, by status class.", PROM_COUNTER);
	tenants_each(g->tenants, on_tenant_requests, out);
	prom_family(out, "busbar_tenant_tokens_total",
		    "Tokens of a tenant, as engines report them; cached ones are prompt tokens too.",
		    PROM_COUNTER);
	tenants_each(g->tenants, on_tenant_tokens, out);
	prom_family(out, "busbar_tenant_requests_in_flight", "Requests of a tenant under way.",
		    PROM_GAUGE);
	tenants_each(g->tenants, on_tenant_active, out);
	prom_family(out, "busbar_tenant_budget_used_tokens",
		    "Of this month's budget, as far as this process has seen.", PROM_GAUGE);
	tenants_each(g->tenants, on_tenant_budget, out);
	pthread_mutex_unlock(&g->tenants_lock);
}

/* ---- the process ---- */

static void journal_write(struct bb_buf *out, const struct journal *j)
{
	struct journal_stats s;

	journal_stats(j, &s);
	exposition_u64(out, "busbar_journal_bytes_total", "Bytes written to the journal.", PROM_COUNTER,
		       s.bytes);
	exposition_u64(out, "busbar_journal_lost_total",
		       "Events that the journal could not take; a gap stands in their place.",
		       PROM_COUNTER, s.events_lost);
	exposition_u64(out, "busbar_journal_errors_total", "Writes to the journal that failed.",
		       PROM_COUNTER, s.write_errors);
}

static void process_write(struct gateway *g, struct bb_buf *out)
{
	const struct prom_label build[3] = {
		{ "version", bb_str_of(g->identity.version) },
		{ "commit", bb_str_of(g->identity.commit) },
		{ "variant", bb_str_of(g->identity.variant) },
	};
	const uint64_t start_ns = clock_wall_ns() - (clock_now_ns() - g->started_ns);

	prom_family(out, "busbar_build_info", "Which build this is.", PROM_GAUGE);
	prom_sample_u64(out, "busbar_build_info", build, 3, 1);
	exposition_u64(out, "process_resident_memory_bytes", "Resident memory.", PROM_GAUGE,
		   process_rss_bytes());
	prom_family(out, "process_cpu_seconds_total", "User and system CPU time.", PROM_COUNTER);
	prom_sample(out, "process_cpu_seconds_total", NULL, 0, (double)process_cpu_ns() / 1e9);
	exposition_u64(out, "process_open_fds", "Open descriptors.", PROM_GAUGE, process_fd_count());
	exposition_u64(out, "process_max_fds", "Most descriptors allowed.", PROM_GAUGE,
		   process_raise_fd_limit());
	prom_family(out, "process_start_time_seconds", "When the process started, Unix time.",
		    PROM_GAUGE);
	prom_sample(out, "process_start_time_seconds", NULL, 0, (double)start_ns / 1e9);
	prom_family(out, "busbar_worker_busy_seconds_total",
		    "Time that a gateway thread spent working instead of waiting.", PROM_COUNTER);
	for (uint32_t i = 0; i < g->worker_count; i++) {
		char index[12];
		snprintf(index, sizeof(index), "%u", i);
		const struct prom_label label = { "worker", bb_str_of(index) };
		prom_sample(out, "busbar_worker_busy_seconds_total", &label, 1,
			    (double)loop_busy_ns(g->workers[i]->loop) / 1e9);
	}
	exposition_u64(out, "busbar_checks_failed_total",
		   "Odd things that peers did and the gateway took the safe path for.", PROM_COUNTER,
		   bb_check_count());
	exposition_u64(out, "busbar_reloads_total", "Configurations put into force by a reload.",
		   PROM_COUNTER, __atomic_load_n(&g->reloads, __ATOMIC_RELAXED));
	exposition_u64(out, "busbar_reloads_refused_total", "Reloads refused as a whole.", PROM_COUNTER,
		   __atomic_load_n(&g->reloads_failed, __ATOMIC_RELAXED));
	exposition_u64(out, "busbar_buffers_bytes", "Bodies, unsent answers and answers put together.",
		   PROM_GAUGE, bb_budget_used(&g->buffers));
	exposition_u64(out, "busbar_log_lines_dropped_total",
		   "Log lines lost since nobody read standard error.", PROM_COUNTER, log_sink_dropped());
	if (g->access)
		exposition_u64(out, "busbar_access_records_dropped_total",
			   "Access records lost since the writer could not keep up.", PROM_COUNTER,
			   line_writer_dropped(g->access));
	if (g->journal)
		journal_write(out, g->journal);
}

void exposition_write(struct gateway *g, struct bb_buf *out)
{
	struct metrics *m = metrics_create();

	if (!m) {
		out->err = -BB_ENOMEM;
		return;
	}
	for (uint32_t i = 0; i < g->worker_count; i++)
		metrics_sum(m, g->workers[i]->metrics);
	process_write(g, out);
	requests_write(out, m);
	series_counter_write(out, m, "busbar_prompt_tokens_total", "Prompt tokens, as engines report them.",
			     offsetof(struct series, prompt_tokens));
	series_counter_write(out, m, "busbar_cached_tokens_total",
			     "Prompt tokens that engines took from their prefix cache.",
			     offsetof(struct series, cached_tokens));
	series_counter_write(out, m, "busbar_output_tokens_total", "Generated tokens, as engines report them.",
			     offsetof(struct series, output_tokens));
	series_counter_write(out, m, "busbar_retries_total", "Requests sent to another engine after a failure.",
			     offsetof(struct series, retries));
	series_counter_write(out, m, "busbar_cache_hit_tokens_total",
			     "Prompt tokens taken from the prefix cache: as reported, else as expected.",
			     offsetof(struct series, hit_tokens));
	series_counter_write(out, m, "busbar_cache_hit_possible_tokens_total",
			     "The most of these that any engine that could take the request held.",
			     offsetof(struct series, possible_tokens));
	series_counter_write(out, m, "busbar_cache_regret_tokens_total",
			     "Cached tokens that were given up for a less busy engine.",
			     offsetof(struct series, regret_tokens));
	upstream_errors_write(out, m);
	series_histogram_write(out, m, &bounds_ttft, offsetof(struct series, ttft));
	series_histogram_write(out, m, &bounds_itl, offsetof(struct series, itl));
	series_histogram_write(out, m, &bounds_duration, offsetof(struct series, duration));
	stages_write(out, m);
	exposition_brain(g, m, out);
	exposition_u64(out, "busbar_requests_in_flight", "Requests under way.", PROM_GAUGE,
		   m->requests_in_flight);
	exposition_u64(out, "busbar_streams_in_flight", "Streamed requests under way.", PROM_GAUGE,
		   m->streams_in_flight);
	exposition_u64(out, "busbar_connections", "Open client connections.", PROM_GAUGE, m->connections);
	exposition_u64(out, "busbar_upstream_idle_connections", "Idle connections kept to engines.",
		   PROM_GAUGE, m->upstream_idle);
	exposition_u64(out, "busbar_refused_total",
		   "Requests and connections refused as malformed, oversized or too many.",
		   PROM_COUNTER, m->refused);
	exposition_u64(out, "busbar_stream_events_total", "Events of streams looked at.", PROM_COUNTER,
		   m->chunks);
	exposition_u64(out, "busbar_keepalive_comments_total",
		   "Comments sent to keep streams alive during a long prefill.", PROM_COUNTER,
		   m->keepalive_comments);
	exposition_u64(out, "busbar_received_bytes_total", "Bytes of request bodies.", PROM_COUNTER,
		   m->bytes_in);
	exposition_u64(out, "busbar_sent_bytes_total", "Bytes of answers.", PROM_COUNTER, m->bytes_out);
	exposition_u64(out, "busbar_unauthorized_total",
		   "Requests refused since they had no good API key.", PROM_COUNTER,
		   m->unauthorized);
	prompts_write(g, m, out);
	tenants_write(g, out);
	engines_write(g, out);
	metrics_destroy(m);
}
