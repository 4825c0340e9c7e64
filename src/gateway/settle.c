/* settle.c: what is written down when a request is over. */
#include "base/log.h"
#include "gateway/request.h"
#include "os/clock.h"

static enum status_class class_of(const struct request *r)
{
	if (r->x->gone && !r->error)
		return STATUS_CANCELED;
	if (r->status >= 500 || r->error == -BB_EUPSTREAM || r->error == -BB_EUPTIMEOUT)
		return STATUS_5XX;
	return r->status >= 400 ? STATUS_4XX : STATUS_2XX;
}

static void ms_add(struct bb_buf *b, const char *key, uint64_t ns)
{
	bb_buf_printf(b, ",\"%s\":%llu.%03llu", key, (unsigned long long)(ns / OS_MS),
		      (unsigned long long)(ns / OS_US % 1000));
}

static void text_add(struct bb_buf *b, const char *key, struct bb_str value)
{
	bb_buf_printf(b, ",\"%s\":", key);
	bb_buf_add_json(b, value);
}

/* Why this engine: the policy and the numbers it compared. */
static void reason_add(struct request *r, struct bb_buf *b)
{
	if (r->candidates > 1)
		bb_buf_printf(b,
			      ",\"reason\":\"%s: cost %.0f of %u candidates, next %.0f\"",
			      r->policy, r->cost, r->candidates, r->next_cost);
	else if (r->candidates == 1)
		bb_buf_printf(b, ",\"reason\":\"%s: the only candidate\"", r->policy);
}

static void record_write(struct request *r, uint64_t now_ns, enum status_class class)
{
	struct bb_buf *b = &r->worker->text;
	char time[CLOCK_ISO_SIZE], peer[SOCK_TEXT_SIZE];
	static const char *const outcomes[] = { "ok", "client_error", "error", "canceled" };

	bb_buf_clear(b);
	clock_iso(clock_wall_ns(), time);
	exchange_peer(r->x, peer);
	bb_buf_printf(b, "{\"time\":\"%s\",\"id\":\"%.*s\",\"client\":\"%s\"", time, BB_ARG(r->id), peer);
	if (r->api != API_NONE)
		bb_buf_printf(b, ",\"api\":\"%s\"", api_info((enum api)r->api)->label);
	if (r->model.len)
		text_add(b, "model", r->model);
	if (r->model_name.len && !bb_str_eq(r->model_name, r->model))
		text_add(b, "model_name", r->model_name);
	const struct snapshot_engine *e = r->engine.generation
						  ? snapshot_engine(r->snapshot, r->engine)
						  : NULL;
	if (e)
		text_add(b, "engine", r->snapshot->config->engines[e - r->snapshot->engines].url);
	bb_buf_printf(b, ",\"status\":%d,\"outcome\":\"%s\"", r->status, outcomes[class]);
	if (r->error)
		bb_buf_printf(b, ",\"error\":\"%s\"", bb_error_info(r->error)->code);
	if (r->asked_stream)
		bb_buf_lit(b, ",\"stream\":true");
	bb_buf_printf(b, ",\"bytes_in\":%llu,\"bytes_out\":%llu", (unsigned long long)r->body_bytes,
		      (unsigned long long)r->x->bytes_out);
	if (r->usage.known)
		bb_buf_printf(b,
			      ",\"prompt_tokens\":%llu,\"cached_tokens\":%llu,\"output_tokens\":%llu",
			      (unsigned long long)r->usage.prompt, (unsigned long long)r->usage.cached,
			      (unsigned long long)r->usage.completion);
	else if (r->events)
		bb_buf_printf(b, ",\"output_events\":%u", r->events);
	if (r->asked_stream && r->has_first)
		ms_add(b, "ttft_ms", r->first_ns - r->begin_ns);
	ms_add(b, "duration_ms", now_ns - r->begin_ns);
	if (r->attempts > 1)
		bb_buf_printf(b, ",\"attempts\":%u", r->attempts);
	reason_add(r, b);
	bb_buf_lit(b, "}\n");
	if (b->err == 0)
		access_lane_put(r->worker->lane, bb_buf_str(b));
	else
		(void)BB_CHECK(false, "an access record was lost for want of memory");
}

void request_settle(struct request *r)
{
	struct worker *w = r->worker;
	const uint64_t now_ns = loop_now_ns(w->loop);
	const uint64_t from_ns = clock_now_ns();
	const enum status_class class = class_of(r);

	if (r->x->gone && !r->status)
		r->status = 499;
	if (!r->series && r->api != API_NONE)
		r->series = metrics_series(w->metrics, r->model_index,
					   (struct engine_id){ UINT32_MAX, 0 }, r->model_name,
					   BB_STR(""));
	if (r->series) {
		struct series *s = r->series;
		metric_add(&s->requests[r->api][class], 1);
		metric_add(&s->prompt_tokens, r->usage.prompt);
		metric_add(&s->cached_tokens, r->usage.cached);
		metric_add(&s->output_tokens, r->usage.completion);
		histogram_add(&s->duration, &bounds_duration, now_ns - r->begin_ns);
	}
	metric_add(&w->metrics->bytes_out, r->x->bytes_out);
	if (w->lane)
		record_write(r, now_ns, class);
	histogram_add(&w->metrics->stage[STAGE_SETTLE], &bounds_stage, clock_now_ns() - from_ns);
}
