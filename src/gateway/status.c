/* status.c: GET /admin/status: engines, models, load and rates as JSON. */
#include "base/log.h"
#include "brain/index.h"
#include "gateway/control.h"
#include "gateway/kv_watch.h"
#include "gateway/text_check.h"
#include "gateway/worker.h"
#include "os/clock.h"

struct writer {
	struct gateway *gateway;
	struct bb_buf *out;
	uint64_t now_ns;
	uint32_t count;
};

static void text_member(struct bb_buf *out, const char *key, const char *value)
{
	bb_buf_printf(out, "\"%s\":", key);
	bb_buf_add_json(out, bb_str_of(value));
}

/* Does it tokenize as the gateway does? */
static void verdict_write(struct gateway *g, uint32_t slot, struct bb_buf *out)
{
	const enum text_verdict v = __atomic_load_n(&g->links[slot].text_verdict, __ATOMIC_ACQUIRE);

	bb_buf_lit(out, ",\"tokens\":");
	bb_buf_add_json(out, bb_str_of(text_verdict_name(v)));
	if (v == TEXT_NONE)
		return;
	bb_buf_lit(out, ",");
	text_member(out, "tokens_detail", control_text_detail(g->control, slot));
}

/* How what its KV cache holds is known. */
static void kv_write(struct gateway *g, uint32_t slot, uint64_t now_ns, struct bb_buf *out)
{
	struct engine_figures e;
	struct kv_status s;

	if (!control_kv(g->control, slot, &s, &e))
		return;
	const struct kv_figures *f = &s.figures;
	bb_buf_lit(out, ",\"kv\":{");
	text_member(out, "mode", kv_mode_name(s.mode));
	bb_buf_lit(out, ",");
	text_member(out, "why", s.why);
	if (s.has_figures) {
		bb_buf_printf(out,
			      ",\"blocks\":%llu,\"block_tokens\":%u,\"batches\":%llu,\"stored\":%llu,"
			      "\"removed\":%llu,\"gaps\":%llu,\"lost_gaps\":%llu,\"restarts\":%llu",
			      (unsigned long long)f->blocks, f->block_tokens,
			      (unsigned long long)f->batches, (unsigned long long)f->stored,
			      (unsigned long long)f->removed, (unsigned long long)f->gaps,
			      (unsigned long long)f->lost_gaps, (unsigned long long)f->restarts);
		bb_buf_printf(out,
			      ",\"replays\":%llu,\"replays_failed\":%llu,\"odd\":%llu,\"throttled\":%llu,"
			      "\"not_followed\":%llu,\"passed_over\":%llu,\"bytes\":%llu,"
			      "\"lag_ms\":%.3f,\"lag_max_ms\":%.3f",
			      (unsigned long long)f->replays, (unsigned long long)f->replays_failed,
			      (unsigned long long)f->odd, (unsigned long long)f->throttled,
			      (unsigned long long)f->refused, (unsigned long long)f->passed_over,
			      (unsigned long long)f->bytes, f->lag_s * 1e3, f->lag_max_s * 1e3);
		if (f->last_event_ns)
			bb_buf_printf(out, ",\"last_event_seconds\":%.1f",
				      f->last_event_ns < now_ns
					      ? (double)(now_ns - f->last_event_ns) / 1e9
					      : 0.0);
	}
	bb_buf_lit(out, "}");
	if (e.step_tokens)
		bb_buf_printf(out, ",\"step_tokens\":%u", e.step_tokens);
	if (e.dp_ranks > 1)
		bb_buf_printf(out, ",\"ranks\":%u", e.dp_ranks);
	if (e.adapters_max)
		bb_buf_printf(out, ",\"adapters_max\":%u", e.adapters_max);
	if (e.waiting_tokens)
		bb_buf_printf(out, ",\"waiting_tokens\":%llu", (unsigned long long)e.waiting_tokens);
	bb_buf_printf(out, ",\"preemptions\":%llu", (unsigned long long)e.preemptions);
}

/* What the index has of its cache, and how far that is believed. */
static void cache_write(const struct engine_view *v, struct bb_buf *out)
{
	bb_buf_lit(out, ",\"cache\":{");
	text_member(out, "mode", v->is_silent ? "silent" : kv_mode_name(v->kv_mode));
	bb_buf_printf(out,
		      ",\"trust\":%.3f,\"blocks\":%llu,\"predicted_tokens\":%llu,"
		      "\"reported_tokens\":%llu,\"requests_without_event\":%u",
		      v->trust, (unsigned long long)v->index_blocks,
		      (unsigned long long)v->predicted_cached, (unsigned long long)v->reported_cached,
		      v->silent);
	bb_buf_printf(out, ",\"ranks\":%u,\"ttft_factor\":%.3f,\"gap_factor\":%.3f", v->ranks,
		      v->ttft_factor, v->gap_factor);
	if (v->kind != UINT32_MAX)
		bb_buf_printf(out, ",\"kind\":%u", v->kind);
	bb_buf_lit(out, "}");
}

static void on_engine(void *user, const struct engine_view *v)
{
	struct writer *w = user;
	struct bb_buf *out = w->out;
	const struct control *c = w->gateway->control;
	const struct adapter *a = control_adapter(c, v->id);
	const struct engine_rate rate = control_rate(c, v->id.slot);

	bb_buf_add(out, ",", w->count++ ? 1 : 0);
	bb_buf_lit(out, "{");
	text_member(out, "url", v->name);
	bb_buf_lit(out, ",");
	text_member(out, "kind", a ? a->name : "unknown");
	bb_buf_lit(out, ",");
	text_member(out, "state", engine_state_name(v->state));
	bb_buf_printf(out, ",\"state_seconds\":%.1f",
		      v->state_since_ns < w->now_ns ? (double)(w->now_ns - v->state_since_ns) / 1e9 : 0.0);
	bb_buf_printf(out,
		      ",\"requests_in_flight\":%u,\"tokens_in_flight\":%llu,"
		      "\"pending_prefill_tokens\":%llu,\"requests\":%llu,\"failures\":%llu",
		      v->requests, (unsigned long long)v->tokens, (unsigned long long)v->pending_prefill,
		      (unsigned long long)v->served, (unsigned long long)v->failed);
	bb_buf_printf(out, ",\"requests_per_second\":%.2f,\"output_tokens_per_second\":%.1f",
		      rate.requests, rate.output_tokens);
	if (v->kv_tokens_max)
		bb_buf_printf(out, ",\"kv_tokens_max\":%llu", (unsigned long long)v->kv_tokens_max);
	if (v->sequences_max)
		bb_buf_printf(out, ",\"sequences_max\":%u", v->sequences_max);
	if (v->has_load)
		bb_buf_printf(out, ",\"reported\":{\"running\":%u,\"waiting\":%u,\"kv_usage\":%.4f}",
			      v->running, v->waiting, v->kv_usage);
	verdict_write(w->gateway, v->id.slot, out);
	kv_write(w->gateway, v->id.slot, w->now_ns, out);
	cache_write(v, out);
	bb_buf_lit(out, "}");
}

static void on_model(void *user, const struct model_view *v)
{
	struct writer *w = user;
	struct bb_buf *out = w->out;

	if (!v->is_listed)
		return;
	bb_buf_add(out, ",", w->count++ ? 1 : 0);
	bb_buf_lit(out, "{");
	text_member(out, "name", v->name);
	bb_buf_printf(out, ",\"engines\":%u,\"engines_ready\":%u,\"held\":%u", v->engines,
		      v->engines_ready, v->held);
	if (v->context_tokens)
		bb_buf_printf(out, ",\"context_tokens\":%llu", (unsigned long long)v->context_tokens);
	bb_buf_lit(out, ",\"aliases\":[");
	for (uint32_t i = 0; i < v->alias_count; i++) {
		bb_buf_add(out, ",", i ? 1 : 0);
		bb_buf_add_json(out, bb_str_of(v->aliases[i]));
	}
	bb_buf_lit(out, "],\"engine_urls\":[");
	for (uint32_t i = 0;; i++) {
		const char *url = brain_model_engine(w->gateway->brain, v->index, i);
		if (!url)
			break;
		bb_buf_add(out, ",", i ? 1 : 0);
		bb_buf_add_json(out, bb_str_of(url));
	}
	bb_buf_lit(out, "]}");
}

static void on_kind(void *user, const struct kind_view *v)
{
	struct writer *w = user;
	struct bb_buf *out = w->out;

	bb_buf_add(out, ",", w->count++ ? 1 : 0);
	bb_buf_printf(out, "{\"kind\":%u,", v->row);
	text_member(out, "model", v->model);
	bb_buf_printf(out,
		      ",\"lanes\":%u,\"base_ms\":%.3f,\"token_ms\":%.6f,\"step_ms\":%.3f,"
		      "\"kv_token_ms\":%.8f,\"ttft_samples\":%llu,\"gap_samples\":%llu}",
		      v->lanes, v->base_ms, v->token_ms, v->step_ms, v->kv_token_ms,
		      (unsigned long long)v->ttft_samples, (unsigned long long)v->gap_samples);
}

static void index_write(const struct brain *b, struct bb_buf *out)
{
	struct index_stats s;

	brain_index_stats(b, &s);
	bb_buf_printf(out,
		      ",\"index\":{\"bytes\":%llu,\"bytes_max\":%llu,\"blocks\":%llu,\"pairs\":%llu,"
		      "\"stores\":%llu,\"removals\":%llu,\"evictions\":%llu,\"refused\":%llu}",
		      (unsigned long long)s.bytes, (unsigned long long)s.bytes_max,
		      (unsigned long long)s.blocks, (unsigned long long)s.pairs,
		      (unsigned long long)s.stores, (unsigned long long)s.removals,
		      (unsigned long long)s.evictions, (unsigned long long)s.refused);
}

static void shadows_write(const struct brain *b, struct bb_buf *out)
{
	struct shadow_view v;

	bb_buf_lit(out, ",\"shadows\":[");
	for (uint32_t i = 0; brain_shadow_at(b, i, &v); i++) {
		bb_buf_add(out, ",", i ? 1 : 0);
		bb_buf_lit(out, "{");
		text_member(out, "policy", v.policy);
		bb_buf_printf(out,
			      ",\"agreed\":%llu,\"differed\":%llu,\"ttft_ms\":%.3f,"
			      "\"real_ttft_ms\":%.3f,\"added_ms\":%.3f,\"real_added_ms\":%.3f}",
			      (unsigned long long)v.agreed, (unsigned long long)v.differed, v.ttft_ms,
			      v.real_ttft_ms, v.total_ms, v.real_total_ms);
	}
	bb_buf_lit(out, "]");
}

void status_write(struct gateway *g, struct bb_buf *out)
{
	struct writer w = { .gateway = g, .out = out, .now_ns = clock_now_ns() };
	uint64_t in_flight = 0, streams = 0, connections = 0;

	for (uint32_t i = 0; i < g->worker_count; i++) {
		const struct metrics *m = g->workers[i]->metrics;
		in_flight += __atomic_load_n(&m->requests_in_flight, __ATOMIC_RELAXED);
		streams += __atomic_load_n(&m->streams_in_flight, __ATOMIC_RELAXED);
		connections += __atomic_load_n(&m->connections, __ATOMIC_RELAXED);
	}
	bb_buf_lit(out, "{");
	text_member(out, "version", g->identity.version);
	bb_buf_lit(out, ",");
	text_member(out, "commit", g->identity.commit);
	bb_buf_printf(out, ",\"uptime_seconds\":%.1f,\"threads\":%u,\"draining\":%s",
		      (double)(w.now_ns - g->started_ns) / 1e9, g->worker_count,
		      __atomic_load_n(&g->draining, __ATOMIC_RELAXED) ? "true" : "false");
	bb_buf_printf(out,
		      ",\"requests_in_flight\":%llu,\"streams_in_flight\":%llu,\"connections\":%llu,"
		      "\"memory_bytes\":%llu,\"reloads\":%llu",
		      (unsigned long long)in_flight, (unsigned long long)streams,
		      (unsigned long long)connections, (unsigned long long)process_rss_bytes(),
		      (unsigned long long)__atomic_load_n(&g->reloads, __ATOMIC_RELAXED));
	gateway_lock(g);
	bb_buf_lit(out, ",");
	text_member(out, "policy", brain_policy(g->brain));
	bb_buf_printf(out, ",\"held\":%u", brain_held(g->brain));
	index_write(g->brain, out);
	shadows_write(g->brain, out);
	bb_buf_lit(out, ",\"engines\":[");
	brain_engines_each(g->brain, on_engine, &w);
	w.count = 0;
	bb_buf_lit(out, "],\"models\":[");
	brain_models_each(g->brain, on_model, &w);
	w.count = 0;
	bb_buf_lit(out, "],\"kinds\":[");
	brain_kinds_each(g->brain, on_kind, &w);
	bb_buf_lit(out, "]}\n");
	gateway_unlock(g);
}
