/* relay.c: the engine's answer on its way to the client. */
#include <stdio.h>

#include "base/log.h"
#include "gateway/request.h"
#include "os/clock.h"
#include "wire/errorbody.h"
#include "wire/sse.h"

#define ERROR_BODY_MAX 65536
#define SSE_TYPE BB_STR("text/event-stream; charset=utf-8")
#define JSON_TYPE BB_STR("application/json")
#define STREAM_CUT "the engine ended its stream before the answer was complete"

static void relay_end(struct request *r);
static void payload_answer(struct request *r, struct bb_str payload);

static struct request *request_of(struct call *c)
{
	struct request *r = BB_CONTAINER(c, struct request, call);

	BB_ASSERT(r->magic == REQUEST_MAGIC);
	return r;
}

static uint64_t now_ns(const struct request *r)
{
	return loop_now_ns(r->worker->loop);
}

static void wrote(struct request *r, enum io io)
{
	r->wrote_ns = now_ns(r);
	if (io == IO_AGAIN && call_is_active(&r->call))
		call_pause(&r->call);
}

/* ---- failures ---- */

void relay_give_up(struct request *r)
{
	if (r->error_payload.len)
		payload_answer(r, r->error_payload);
	else
		request_fail(r, r->failure, r->failure_why, NULL);
}

/* The call is over and failed: another engine if nothing was shown yet, else the client is told. */
static void engine_failed(struct request *r, int err, const char *why, enum request_outcome outcome,
			  enum upstream_error what)
{
	r->failure = err;
	r->failure_why = bb_arena_dup(&r->arena, bb_str_of(why)); /* the code's own words without memory */
	if (request_retry(r, outcome, what))
		request_run(r);
	else
		relay_give_up(r);
}

static void on_failed(struct call *c, int err, const char *why)
{
	struct request *r = request_of(c);

	if (err == -BB_EUPSTREAM && c->was_reused && !c->has_answer && !r->fresh_conn && r->x &&
	    r->x->body) {
		/* It closed an idle connection just as we used it: no one's failure. */
		r->fresh_conn = true;
		r->attempts--;
		request_leave_engine(r, OUTCOME_CANCELED);
		r->step = REQUEST_DECIDE;
		request_run(r);
		return;
	}
	if (r->has_finish && !r->has_error &&
	    (r->relay == RELAY_EVENTS || r->relay == RELAY_ASSEMBLE)) {
		relay_end(r); /* cut behind the end of the answer: nothing of it is missing */
		return;
	}
	if (err == -BB_ECONNECT)
		engine_failed(r, err, why, OUTCOME_REFUSED, UPSTREAM_CONNECT);
	else if (err == -BB_EUPTIMEOUT)
		engine_failed(r, err, why, OUTCOME_SILENT, UPSTREAM_TIMEOUT);
	else
		engine_failed(r, err, why, OUTCOME_BROKEN, UPSTREAM_CUT);
}

/* The engine's answer is no good, found out while the call still runs. */
static void break_off(struct request *r, const char *why, enum upstream_error what)
{
	call_cancel(&r->call);
	engine_failed(r, -BB_EUPSTREAM, why, OUTCOME_BROKEN, what);
}

/* ---- heads ---- */

/* Fields of the engine's answer that are the gateway's own business. */
static bool is_own_answer_field(struct bb_str name)
{
	static const struct bb_str names[] = {
		BB_STR_INIT("date"),         BB_STR_INIT("server"),
		BB_STR_INIT("content-type"), BB_STR_INIT("x-request-id"),
		BB_STR_INIT("set-cookie"),   BB_STR_INIT("endpoint-load-metrics"),
		BB_STR_INIT("vary"),
	};

	if (http_name_is(name, names, sizeof(names) / sizeof(names[0])))
		return true;
	return name.len > 15 &&
	       bb_str_eq_nocase((struct bb_str){ name.p, 15 }, BB_STR("access-control-"));
}

static void stream_fields(struct bb_buf *text, const struct http_head *h)
{
	if (!h || !http_head_get(h, BB_STR("cache-control")).p)
		bb_buf_lit(text, "Cache-Control: no-cache, no-transform\r\n");
	if (!h || !http_head_get(h, BB_STR("x-accel-buffering")).p)
		bb_buf_lit(text, "X-Accel-Buffering: no\r\n");
}

/* Header lines for the client: ours and the engine's; into the arena, for they wait for a body. */
static bool answer_fields_add(struct request *r, const struct http_head *h, bool is_stream)
{
	struct bb_buf *text = &r->worker->text;

	bb_buf_clear(text);
	bb_buf_add_str(text, r->own_fields);
	for (uint32_t i = 0; i < h->count; i++) {
		const struct http_header *f = &h->headers[i];
		if (http_is_hop_by_hop(f->name) || is_own_answer_field(f->name))
			continue;
		bb_buf_add_str(text, f->name);
		bb_buf_lit(text, ": ");
		bb_buf_add_str(text, f->value);
		bb_buf_lit(text, "\r\n");
	}
	if (is_stream)
		stream_fields(text, h);
	else if ((h->status == 503 || h->status == 429) &&
		 !http_head_get(h, BB_STR("retry-after")).p)
		bb_buf_lit(text, "Retry-After: 1\r\n");
	if (text->err)
		return false;
	r->answer_fields = bb_arena_dup(&r->arena, bb_buf_str(text));
	return r->answer_fields.p != NULL;
}

/* A media type without its parameters. */
static bool is_type(struct bb_str type, struct bb_str want)
{
	return type.len >= want.len && bb_str_eq_nocase((struct bb_str){ type.p, want.len }, want);
}

static void on_head(struct call *c, const struct http_head *h)
{
	struct request *r = request_of(c);
	const struct bb_str type = http_head_get(h, BB_STR("content-type"));
	const bool is_stream = is_type(type, BB_STR("text/event-stream"));

	r->engine_status = h->status;
	if (h->status == 502 || h->status == 503 || h->status == 504) {
		/* Busy or half dead: another one may do better; else its own words are passed on. */
		if (!r->shown && r->candidates > 1 && r->attempts <= r->snapshot->config->upstream.retries) {
			break_off(r, "the engine answered 503", UPSTREAM_STATUS);
			return;
		}
		metric_add(&r->series->upstream_errors[UPSTREAM_STATUS], 1);
	}
	if (h->status >= 300) {
		r->relay = RELAY_ERROR;
	} else if (is_stream && r->asked_stream) {
		r->relay = RELAY_EVENTS;
	} else if (is_stream && r->engine_streams) {
		r->relay = RELAY_ASSEMBLE;
		r->assembler = assembler_create((enum api)r->api,
						r->snapshot->config->limits.answer_size);
		if (!r->assembler) {
			call_cancel(c);
			request_leave_engine(r, OUTCOME_CANCELED);
			request_fail(r, -BB_ENOMEM, BB_STR(""), NULL);
			return;
		}
	} else {
		r->relay = RELAY_PLAIN;
	}
	if (r->begun) { /* comments kept the stream alive: its head is out already */
		if (r->relay != RELAY_EVENTS && r->relay != RELAY_ERROR) {
			r->relay = RELAY_NONE;
			break_off(r, "the engine did not answer with a stream", UPSTREAM_STREAM);
		}
		return;
	}
	r->content_type = bb_arena_dup(&r->arena, type);
	r->status = (int16_t)h->status;
	if (!r->content_type.p ||
	    !answer_fields_add(r, h, r->relay == RELAY_EVENTS)) {
		call_cancel(c);
		request_leave_engine(r, OUTCOME_CANCELED);
		request_fail(r, -BB_ENOMEM, BB_STR(""), NULL);
		return;
	}
	if (r->relay == RELAY_PLAIN) {
		/* Begun with the first bytes, so that a cut before them can still be retried. */
		r->answer_length = h->has_length && !h->chunked ? h->length : EXCHANGE_CHUNKED;
	}
}

static void begin(struct request *r, struct bb_str type, uint64_t length)
{
	exchange_begin(r->x, r->status, type, r->answer_fields, length);
	r->begun = true;
}

/* ---- events ---- */

static void first_token(struct request *r)
{
	struct gateway *g = r->worker->gateway;

	r->has_first = true;
	r->first_ns = now_ns(r);
	gateway_lock(g);
	brain_first_token(g->brain, r->first_ns, r->brain_id);
	gateway_unlock(g);
	if (r->asked_stream)
		histogram_add(&r->series->ttft, &bounds_ttft, r->first_ns - r->begin_ns);
}

static void count_content(struct request *r)
{
	const uint64_t now = now_ns(r);

	if (!r->has_first)
		first_token(r);
	else
		histogram_add(&r->series->itl, &bounds_itl, now - r->last_ns);
	r->last_ns = now;
	r->events++;
}

enum event_fate { EVENT_KEEP, EVENT_DROP, EVENT_BAD };

/* Which endpoints' streams have a finish_reason that tells a whole answer from a cut one. */
static bool has_finish_rule(const struct request *r)
{
	return r->api == API_CHAT || r->api == API_COMPLETIONS || r->api == API_RESPONSES ||
	       r->api == API_MESSAGES;
}

/* Looks at one event. */
static enum event_fate event_take(struct request *r, const struct sse_event *e)
{
	struct openai_chunk chunk = { 0 };
	struct bb_str data = e->data;

	if (e->is_comment || !data.p)
		return r->relay == RELAY_ASSEMBLE ? EVENT_DROP : EVENT_KEEP;
	metric_add(&r->worker->metrics->chunks, 1);
	if (sse_is_done(e))
		/* [DONE] after an error, or without a finish, would make half an answer look whole. */
		return r->has_error || (has_finish_rule(r) && !r->has_finish) ? EVENT_DROP
									      : EVENT_KEEP;
	if (e->multi) {
		bb_buf_clear(&r->worker->text);
		if (sse_data_join(e, &r->worker->text))
			return EVENT_BAD;
		data = bb_buf_str(&r->worker->text);
	}
	if (openai_chunk_scan((enum api)r->api, e->event, data, &chunk))
		return EVENT_BAD;
	if (chunk.has_usage)
		usage_merge(&r->usage, &chunk.usage);
	if (chunk.has_error) {
		r->has_error = true;
		if (!r->shown)
			r->error_payload = bb_arena_dup(&r->arena, data);
	}
	if (chunk.has_content)
		count_content(r);
	if (chunk.has_finish || (chunk.is_terminal && !chunk.has_error))
		r->has_finish = true;
	if (chunk.text.len && !e->multi && !chunk.has_finish && !chunk.has_usage && !chunk.has_error)
		chunk_twin_learn(&r->twin, &r->arena, e->raw, chunk.text);
	if (r->relay == RELAY_ASSEMBLE)
		return assembler_add(r->assembler, data) ? EVENT_BAD : EVENT_DROP;
	return chunk.is_usage_only && r->strips_usage ? EVENT_DROP : EVENT_KEEP;
}

/*
 * Takes all complete events of `in`; those that the client shall see are moved together at the
 * front of it. Returns their length, or -1 when one is no good; `*rest` is what is incomplete.
 */
static ptrdiff_t events_take(struct request *r, char *data, size_t len, struct bb_str *rest)
{
	struct sse_event e;
	char *out = data;

	*rest = (struct bb_str){ data, len };
	while (rest->len) {
		enum event_fate fate = EVENT_KEEP;
		const size_t twin = r->relay == RELAY_EVENTS ? chunk_twin_match(&r->twin, *rest) : 0;
		if (twin) {
			e.raw = (struct bb_str){ rest->p, twin };
			*rest = bb_str_skip(*rest, twin);
			metric_add(&r->worker->metrics->chunks, 1);
			count_content(r);
		} else if (sse_next(rest, &e)) {
			fate = event_take(r, &e);
		} else {
			break;
		}
		switch (fate) {
		case EVENT_DROP: break;
		case EVENT_BAD: return -1;
		case EVENT_KEEP:
			if (out != e.raw.p)
				memmove(out, e.raw.p, e.raw.len);
			out += e.raw.len;
			break;
		}
	}
	return out - data;
}

static bool stream_is_whole(const struct request *r)
{
	return !r->has_error && (r->has_finish || !has_finish_rule(r));
}

/* The client sees bytes of an answer: from here on there is no other engine. */
static void show(struct request *r)
{
	if (!r->begun)
		begin(r, r->content_type.len ? r->content_type : SSE_TYPE, EXCHANGE_CHUNKED);
	if (!r->shown) {
		r->shown = true;
		request_drop_body(r);
	}
}

/* The status of an error object that an engine put into a stream. */
static int payload_status(struct bb_str payload)
{
	struct json_member error, code;
	uint64_t status;

	if (json_get(payload, BB_STR("error"), &error) &&
	    json_get(error.value, BB_STR("code"), &code) && code.type == JSON_NUMBER &&
	    json_u64(code.value, &status) == 0 && status >= 400 && status <= 599)
		return (int)status;
	return 502;
}

/* The engine's own error object, where nothing but comments was shown so far. */
static void payload_answer(struct request *r, struct bb_str payload)
{
	r->error = -BB_EUPSTREAM;
	r->step = REQUEST_DONE;
	if (r->begun) {
		const bool is_named = api_info((enum api)r->api)->family == FAMILY_ANTHROPIC;
		if (exchange_write(r->x, is_named ? BB_STR("event: error\ndata: ")
						  : BB_STR("data: ")) != IO_ERROR &&
		    exchange_write(r->x, payload) != IO_ERROR &&
		    exchange_write(r->x, BB_STR("\n\n")) != IO_ERROR)
			exchange_end(r->x);
		return;
	}
	r->status = (int16_t)payload_status(payload);
	r->begun = r->shown = true;
	exchange_reply(r->x, r->status, JSON_TYPE, r->own_fields, payload);
}

static void stream_ended(struct request *r)
{
	if (stream_is_whole(r)) {
		request_leave_engine(r, OUTCOME_OK);
		show(r);
		exchange_end(r->x);
		r->step = REQUEST_DONE;
		return;
	}
	if (r->has_error && r->shown) { /* the engine has told the client itself */
		metric_add(&r->series->upstream_errors[UPSTREAM_STREAM], 1);
		request_leave_engine(r, OUTCOME_BROKEN);
		r->error = -BB_EUPSTREAM;
		exchange_end(r->x);
		r->step = REQUEST_DONE;
		return;
	}
	engine_failed(r, -BB_EUPSTREAM, STREAM_CUT, OUTCOME_BROKEN, UPSTREAM_STREAM);
}

static void event_too_long(struct request *r)
{
	break_off(r, "an event of the engine's stream is longer than limits.sse_line",
		  UPSTREAM_STREAM);
}

/* An error object that comes before anything was shown is not passed on as a stream: it may be retried. */
static bool is_early_error(const struct request *r)
{
	return r->has_error && !r->shown && !r->has_first;
}

static void relay_events(struct request *r, char *data, size_t len, bool is_last)
{
	struct bb_str rest;
	const bool was_held = r->held.len > 0;

	if (was_held) {
		if (bb_buf_add(&r->held, data, len)) {
			event_too_long(r);
			return;
		}
		data = r->held.p;
		len = r->held.len;
	}
	const ptrdiff_t n = events_take(r, data, len, &rest);
	if (n < 0) {
		break_off(r, "an event of the engine's stream is malformed", UPSTREAM_STREAM);
		return;
	}
	/* Kept before the events in front of it are written: that uses the bytes behind them. */
	const bool fits = was_held || rest.len == 0 || bb_buf_add_str(&r->held, rest) == 0;
	if (n > 0 && r->relay != RELAY_ASSEMBLE && !is_early_error(r)) {
		show(r);
		/* The end goes out with the last events when nothing has to be said in between. */
		const bool ends = is_last && rest.len == 0 && stream_is_whole(r);
		enum io io;
		if (ends)
			request_leave_engine(r, OUTCOME_OK);
		if (was_held)
			io = exchange_write(r->x, (struct bb_str){ data, (size_t)n });
		else
			io = exchange_write_inplace(r->x, data, (size_t)n, ends);
		wrote(r, io);
		if (ends && !was_held)
			r->step = REQUEST_DONE;
	}
	if (was_held)
		bb_buf_consume(&r->held, len - rest.len);
	else if (!fits)
		event_too_long(r);
}

/* ---- assembled answers ---- */

static void assembled(struct request *r)
{
	struct bb_buf *text = &r->worker->text;

	bb_buf_clear(text);
	const int rc = assembler_finish(r->assembler, text);
	if (rc == 0) {
		request_leave_engine(r, OUTCOME_OK);
		r->status = 200;
		r->begun = r->shown = true;
		r->step = REQUEST_DONE;
		exchange_reply(r->x, 200, JSON_TYPE, r->answer_fields, bb_buf_str(text));
		return;
	}
	if (rc == -BB_EUPSTREAM && text->len)
		r->error_payload = bb_arena_dup(&r->arena, bb_buf_str(text));
	engine_failed(r, -BB_EUPSTREAM, STREAM_CUT, OUTCOME_BROKEN, UPSTREAM_STREAM);
}

/* ---- error answers ---- */

/* FastAPI's "there is no such path", which is not about the model or the request. */
static bool is_missing_path(const struct request *r)
{
	return r->engine_status == 404 && bb_str_find(bb_buf_str(&r->held), BB_STR("\"detail\"")) >= 0 &&
	       bb_str_find(bb_buf_str(&r->held), BB_STR("\"error\"")) < 0;
}

static void error_whole(struct request *r)
{
	struct gateway *g = r->worker->gateway;
	struct json_error at;
	char message[512];

	if (is_missing_path(r) || r->engine_status == 405 || r->engine_status == 501) {
		gateway_lock(g);
		brain_engine_lacks(g->brain, r->engine, r->api);
		gateway_unlock(g);
		if (request_retry(r, OUTCOME_OK, UPSTREAM_STATUS)) {
			request_run(r);
			return;
		}
		request_leave_engine(r, OUTCOME_OK);
		request_fail(r, -BB_ENOENDPOINT, BB_STR(""), NULL);
		return;
	}
	request_leave_engine(r, r->engine_status >= 500 ? OUTCOME_BROKEN : OUTCOME_OK);
	if (r->begun) { /* a stream that comments kept alive: the error comes as its last event */
		snprintf(message, sizeof(message), "the engine answered %d: %.*s", r->engine_status,
			 (int)(r->held.len > 300 ? 300 : r->held.len), r->held.p ? r->held.p : "");
		r->relay = RELAY_EVENTS;
		request_fail(r, r->engine_status >= 500 ? -BB_EUPSTREAM : -BB_EINVALID,
			     bb_str_of(message), NULL);
		return;
	}
	r->begun = r->shown = true;
	r->step = REQUEST_DONE;
	if (json_check(bb_buf_str(&r->held), JSON_DEPTH_MAX, &at) == 0) {
		exchange_reply(r->x, r->status, r->content_type, r->answer_fields,
			       bb_buf_str(&r->held));
		return;
	}
	/* Not JSON: the SDK would fail on it; the words are kept. */
	struct bb_buf *text = &r->worker->text;
	snprintf(message, sizeof(message), "the engine answered %d: %.*s", r->engine_status,
		 (int)(r->held.len > 300 ? 300 : r->held.len), r->held.p ? r->held.p : "");
	bb_buf_clear(text);
	openai_error_write(text, api_info((enum api)r->api)->family,
			   r->engine_status >= 500 ? -BB_EUPSTREAM : -BB_EINVALID,
			   bb_str_of(message), NULL);
	exchange_reply(r->x, r->status, JSON_TYPE, r->answer_fields, bb_buf_str(text));
}

/* ---- plain answers ---- */

static void plain_usage(struct request *r, const char *data, size_t len, bool is_whole)
{
	if (!is_type(r->content_type, BB_STR("application/json")))
		return;
	if (is_whole && !r->tap) {
		struct bb_str usage;
		if (usage_find((struct bb_str){ data, len }, &usage))
			(void)!usage_parse(usage, &r->usage);
		return;
	}
	if (!r->tap) {
		r->tap = bb_arena_alloc(&r->arena, sizeof(*r->tap));
		if (!r->tap)
			return; /* the answer matters more than its count */
		usage_tap_init(r->tap);
	}
	usage_tap_feed(r->tap, data, len);
	if (is_whole)
		(void)!usage_tap_end(r->tap, &r->usage);
}

static void relay_plain(struct request *r, char *data, size_t len, bool is_last)
{
	plain_usage(r, data, len, is_last);
	if (!r->has_first)
		first_token(r);
	if (is_last)
		request_leave_engine(r, OUTCOME_OK);
	if (!r->begun)
		begin(r, r->content_type, is_last ? len : r->answer_length);
	if (!r->shown) {
		r->shown = true;
		request_drop_body(r);
	}
	wrote(r, exchange_write_inplace(r->x, data, len, is_last));
	if (is_last)
		r->step = REQUEST_DONE;
}

static void plain_ended(struct request *r)
{
	if (r->tap)
		(void)!usage_tap_end(r->tap, &r->usage);
	request_leave_engine(r, OUTCOME_OK);
	r->step = REQUEST_DONE;
	if (!r->begun) {
		r->begun = r->shown = true;
		exchange_reply(r->x, r->status, r->content_type, r->answer_fields, BB_STR(""));
		return;
	}
	exchange_end(r->x);
}

/* ---- bodies ---- */

static void relay_end(struct request *r)
{
	switch ((enum relay_mode)r->relay) {
	case RELAY_NONE: break;
	case RELAY_EVENTS: stream_ended(r); break;
	case RELAY_ASSEMBLE: assembled(r); break;
	case RELAY_PLAIN: plain_ended(r); break;
	case RELAY_ERROR: error_whole(r); break;
	}
}

static void on_body(struct call *c, char *data, size_t len, bool is_last)
{
	struct request *r = request_of(c);

	if (!r->x || r->x->gone)
		return; /* on_closed comes at the end of this turn and cancels */
	switch ((enum relay_mode)r->relay) {
	case RELAY_NONE: return;
	case RELAY_PLAIN: relay_plain(r, data, len, is_last); return;
	case RELAY_EVENTS:
	case RELAY_ASSEMBLE: relay_events(r, data, len, is_last); break;
	case RELAY_ERROR:
		if (r->held.len + len <= ERROR_BODY_MAX)
			bb_buf_add(&r->held, data, len);
		break;
	}
	if (is_last && r->step == REQUEST_ANSWER && !call_is_active(c))
		relay_end(r);
}

static void on_end(struct call *c)
{
	struct request *r = request_of(c);

	if (r->x && !r->x->gone && r->step == REQUEST_ANSWER)
		relay_end(r);
}

const struct call_ops relay_ops = {
	.on_head = on_head,
	.on_body = on_body,
	.on_end = on_end,
	.on_failed = on_failed,
};

/* ---- comments that keep a stream alive while a prefill is long ---- */

static void on_comment(struct loop_timer *t)
{
	struct request *r = BB_CONTAINER(t, struct request, comment);
	const uint64_t every_ns = r->snapshot->config->upstream.keepalive_comment_ns;

	if (!r->x || r->x->gone || r->step == REQUEST_DONE)
		return;
	const uint64_t since_ns = r->wrote_ns ? r->wrote_ns : r->begin_ns;
	if (now_ns(r) < since_ns + every_ns) {
		loop_timer_arm(t, since_ns + every_ns);
		return;
	}
	if (r->relay != RELAY_NONE && r->relay != RELAY_EVENTS)
		return;
	if (r->call.is_paused) { /* the client does not read what it has */
		loop_timer_arm(t, now_ns(r) + every_ns);
		return;
	}
	if (!r->begun) {
		struct bb_buf *text = &r->worker->text;
		bb_buf_clear(text);
		bb_buf_add_str(text, r->own_fields);
		stream_fields(text, NULL);
		if (text->err)
			return;
		r->status = 200;
		exchange_begin(r->x, 200, SSE_TYPE, bb_buf_str(text), EXCHANGE_CHUNKED);
		r->begun = true;
	}
	metric_add(&r->worker->metrics->keepalive_comments, 1);
	wrote(r, exchange_write(r->x, BB_STR(": keep-alive\n\n")));
	loop_timer_arm(t, now_ns(r) + every_ns);
}

void relay_begin_stream(struct request *r)
{
	const uint64_t every_ns = r->snapshot->config->upstream.keepalive_comment_ns;

	if (every_ns == 0 || loop_timer_init(r->worker->loop, &r->comment, on_comment))
		return; /* without memory for a timer there are no comments */
	loop_timer_arm(&r->comment, r->begin_ns + every_ns);
}
