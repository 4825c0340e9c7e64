/* settle.c: what is written down when a request is over. */
#include "base/log.h"
#include "gateway/admit.h"
#include "gateway/record_write.h"
#include "os/clock.h"

static enum status_class class_of(const struct request *r)
{
	if (r->x->gone && !r->error)
		return STATUS_CANCELED;
	if (r->status >= 500 || r->error == -BB_EUPSTREAM || r->error == -BB_EUPTIMEOUT)
		return STATUS_5XX;
	return r->status >= 400 ? STATUS_4XX : STATUS_2XX;
}

/* The time as text; the part up to the second is kept from record to record. */
static void time_add(struct worker *w, struct bb_buf *b)
{
	const uint64_t wall_ns = clock_wall_ns();
	const unsigned ms = (unsigned)(wall_ns / OS_MS % 1000);

	if (wall_ns / OS_SECOND != w->time_second) {
		w->time_second = wall_ns / OS_SECOND;
		clock_iso(wall_ns, w->time_text);
	}
	w->time_text[20] = (char)('0' + ms / 100);
	w->time_text[21] = (char)('0' + ms / 10 % 10);
	w->time_text[22] = (char)('0' + ms % 10);
	bb_buf_put(b, w->time_text, 24);
}

static void usage_add(const struct request *r, struct bb_buf *b)
{
	if (r->usage.known) {
		record_count(b, BB_STR(",\"prompt_tokens\":"), r->usage.prompt);
		record_count(b, BB_STR(",\"cached_tokens\":"), r->usage.cached);
		record_count(b, BB_STR(",\"output_tokens\":"), r->usage.completion);
	} else if (r->events) {
		record_count(b, BB_STR(",\"output_events\":"), r->events);
	}
}

static void record_write(struct request *r, uint64_t now_ns, enum status_class class)
{
	struct bb_buf *b = &r->worker->text;
	char peer[SOCK_TEXT_SIZE];
	static const struct bb_str outcomes[] = {
		BB_STR_INIT(",\"outcome\":\"ok\""),
		BB_STR_INIT(",\"outcome\":\"client_error\""),
		BB_STR_INIT(",\"outcome\":\"error\""),
		BB_STR_INIT(",\"outcome\":\"canceled\""),
	};

	bb_buf_clear(b);
	bb_buf_lit(b, "{\"time\":\"");
	time_add(r->worker, b);
	bb_buf_lit(b, "\",\"id\":\"");
	bb_buf_put_str(b, r->id);
	bb_buf_lit(b, "\",\"client\":\"");
	bb_buf_put(b, peer, exchange_peer(r->x, peer));
	bb_buf_lit(b, "\"");
	if (r->tenant)
		record_text(b, BB_STR(",\"tenant\":"), r->tenant->config->name);
	if (r->api != API_NONE) {
		bb_buf_lit(b, ",\"api\":\"");
		bb_buf_put_str(b, bb_str_of(api_info((enum api)r->api)->label));
		bb_buf_lit(b, "\"");
	}
	if (r->model.len)
		record_text(b, BB_STR(",\"model\":"), r->model);
	if (r->model_name.len && !bb_str_eq(r->model_name, r->model))
		record_text(b, BB_STR(",\"model_name\":"), r->model_name);
	if (r->series && r->engine.generation)
		record_text(b, BB_STR(",\"engine\":"),
			 bb_str_of(r->series->engine_name ? r->series->engine_name : "other"));
	record_count(b, BB_STR(",\"status\":"), (uint64_t)r->status);
	bb_buf_put_str(b, outcomes[class]);
	if (r->error) {
		bb_buf_lit(b, ",\"error\":\"");
		bb_buf_put_str(b, bb_str_of(bb_error_info(r->error)->code));
		bb_buf_lit(b, "\"");
	}
	if (r->asked_stream)
		bb_buf_lit(b, ",\"stream\":true");
	record_count(b, BB_STR(",\"bytes_in\":"), r->body_bytes);
	record_count(b, BB_STR(",\"bytes_out\":"), r->x->bytes_out);
	usage_add(r, b);
	if (r->asked_stream && r->has_first)
		record_ms(b, BB_STR(",\"ttft_ms\":"), r->first_ns - r->begin_ns);
	record_ms(b, BB_STR(",\"duration_ms\":"), now_ns - r->begin_ns);
	if (r->attempts > 1)
		record_count(b, BB_STR(",\"attempts\":"), r->attempts);
	if (r->why) {
		bb_buf_lit(b, ",\"decision\":");
		request_why_write(r, b);
	}
	bb_buf_lit(b, "}\n");
	if (b->err == 0)
		line_lane_put(r->worker->lane, bb_buf_str(b));
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
	request_why_ended(r, now_ns, class);
	admit_settle(r, class);
	metric_add(&w->metrics->bytes_out, r->x->bytes_out);
	if (w->lane)
		record_write(r, now_ns, class);
	request_why_drop(r);
	histogram_add(&w->metrics->stage[STAGE_SETTLE], &bounds_stage, clock_now_ns() - from_ns);
}
