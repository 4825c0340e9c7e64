/* relay.c: the engine's answer on its way to the client: heads, failures, comments. */
#include "gateway/relay.h"

#include "base/log.h"
#include "wire/orca.h"

static void relay_end(struct request *r);

static struct request *request_of(struct call *c)
{
	struct request *r = BB_CONTAINER(c, struct request, call);

	BB_ASSERT(r->magic == REQUEST_MAGIC);
	return r;
}

void relay_wrote(struct request *r, enum io io)
{
	r->wrote_ns = relay_now_ns(r);
	if (io == IO_AGAIN && call_is_active(&r->call))
		call_pause(&r->call);
}

/* ---- failures ---- */

void relay_give_up(struct request *r)
{
	if (r->error_payload.len)
		relay_payload_answer(r, r->error_payload);
	else
		request_fail(r, r->failure, r->failure_why, NULL);
}

/* The call is over and failed: another engine if nothing was shown yet, else the client is told. */
void relay_failed(struct request *r, int err, const char *why, enum request_outcome outcome,
		  enum upstream_error what)
{
	r->failure = err;
	r->failure_why =
		bb_arena_dup(&r->arena, bb_str_of(why)); /* the code's own words without memory */
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
	if (r->has_error && r->shown && r->relay == RELAY_EVENTS) {
		relay_end(r); /* the engine has told the client why already */
		return;
	}
	if (r->has_finish && !r->has_error &&
	    (r->relay == RELAY_EVENTS || r->relay == RELAY_ASSEMBLE)) {
		relay_end(r); /* cut behind the end of the answer: nothing of it is missing */
		return;
	}
	if (err == -BB_ECONNECT)
		relay_failed(r, err, why, OUTCOME_REFUSED, UPSTREAM_CONNECT);
	else if (err == -BB_EUPTIMEOUT)
		relay_failed(r, err, why, OUTCOME_SILENT, UPSTREAM_TIMEOUT);
	else
		relay_failed(r, err, why, OUTCOME_BROKEN, UPSTREAM_CUT);
}

/* The engine's answer is no good, found out while the call still runs. */
void relay_break_off(struct request *r, const char *why, enum upstream_error what)
{
	call_cancel(&r->call);
	relay_failed(r, -BB_EUPSTREAM, why, OUTCOME_BROKEN, what);
}

void relay_own_limit(struct request *r, int err)
{
	call_cancel(&r->call);
	request_leave_engine(r, OUTCOME_CANCELED);
	request_fail(r, err, BB_STR(""), NULL);
}

/* ---- heads ---- */

/* Fields of the engine's answer that are the gateway's own business. */
static bool is_own_answer_field(struct bb_str name)
{
	static const struct bb_str names[] = {
		BB_STR_INIT("date"),	     BB_STR_INIT("server"),
		BB_STR_INIT("content-type"), BB_STR_INIT("x-request-id"),
		BB_STR_INIT("set-cookie"),   BB_STR_INIT("endpoint-load-metrics"),
		BB_STR_INIT("vary"),         BB_STR_INIT("x-busbar-engine"),
		BB_STR_INIT("x-busbar-cached-tokens"), BB_STR_INIT("x-busbar-reason"),
	};

	if (http_name_is(name, names, sizeof(names) / sizeof(names[0])))
		return true;
	return name.len > 15 &&
	       bb_str_eq_nocase((struct bb_str){ name.p, 15 }, BB_STR("access-control-"));
}

void relay_stream_fields(struct bb_buf *text, const struct http_head *h)
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
	if (request_why_is_shown(r))
		request_why_fields(r, text);
	for (uint32_t i = 0; i < h->count; i++) {
		const struct http_header *f = &h->headers[i];
		if (http_stays_here(h, f->name) || is_own_answer_field(f->name))
			continue;
		bb_buf_add_str(text, f->name);
		bb_buf_lit(text, ": ");
		bb_buf_add_str(text, f->value);
		bb_buf_lit(text, "\r\n");
	}
	if (is_stream)
		relay_stream_fields(text, h);
	else if ((h->status == 503 || h->status == 429) &&
		 !http_head_get(h, BB_STR("retry-after")).p)
		bb_buf_lit(text, "Retry-After: 1\r\n");
	if (text->err)
		return false;
	r->answer_fields = bb_arena_dup(&r->arena, bb_buf_str(text));
	return r->answer_fields.p != NULL;
}

/* A media type without its parameters. */
bool relay_is_type(struct bb_str type, struct bb_str want)
{
	return bb_str_eq_nocase(bb_str_trim(bb_str_cut(&type, ';')), want);
}

/*
 * What no client can make use of. A redirect would carry the prompt, with its key, to wherever the
 * engine says: neither the gateway follows it, nor are clients led there.
 */
static const char *head_fault(const struct request *r, const struct http_head *h,
			      struct bb_str type)
{
	const struct bb_str coding = http_head_get(h, BB_STR("content-encoding"));
	const struct api_info *info = api_info((enum api)r->api);

	if (h->status / 100 == 3)
		return "the engine answered with a redirect, which is not followed";
	if (coding.len && !bb_str_eq_nocase(coding, BB_STR("identity")))
		return "the engine's answer is compressed, which was not asked for";
	if (h->status < 300 && h->status != 204 && info->generates && info->body == API_BODY_JSON &&
	    !relay_is_type(type, BB_STR("application/json")) &&
	    !relay_is_type(type, BB_STR("text/event-stream")))
		return "the engine's answer is neither JSON nor a stream of events";
	return NULL;
}

/* Of many answers at once one is enough. */
#define LOAD_EVERY_NS (2 * OS_MS)

/* What the engine tells of its load goes to the control thread, which reports it to the brain. */
static void load_take(const struct request *r, const struct http_head *h)
{
	struct engine_link *link = &r->worker->gateway->links[r->engine.slot];
	const uint64_t now_ns = relay_now_ns(r);

	if (now_ns - __atomic_load_n(&link->load_read_ns, __ATOMIC_RELAXED) < LOAD_EVERY_NS)
		return;
	__atomic_store_n(&link->load_read_ns, now_ns, __ATOMIC_RELAXED);
	const struct bb_str field = http_head_get(h, BB_STR(ORCA_ANSWER_FIELD));
	struct orca_load l;

	if (!field.p || orca_read(field, &l) || !l.has_waiting || !l.has_usage ||
	    __atomic_load_n(&link->generation, __ATOMIC_ACQUIRE) != r->engine.generation)
		return;
	__atomic_store_n(&link->load_waiting, l.waiting, __ATOMIC_RELAXED);
	__atomic_store_n(&link->load_usage_ppm, (uint32_t)(l.kv_usage * 1e6), __ATOMIC_RELAXED);
	__atomic_add_fetch(&link->load_version, 1, __ATOMIC_RELEASE);
}

static void on_head(struct call *c, const struct http_head *h)
{
	struct request *r = request_of(c);
	const struct bb_str type = http_head_get(h, BB_STR("content-type"));
	const bool is_stream = relay_is_type(type, BB_STR("text/event-stream"));

	r->engine_status = h->status;
	if (r->adapter->tells_load)
		load_take(r, h);
	const char *fault = head_fault(r, h, type);
	if (fault) {
		relay_break_off(r, fault, UPSTREAM_STATUS);
		return;
	}
	if (h->status == 502 || h->status == 503 || h->status == 504) {
		/* Busy or half dead: another one may do better; else its own words are passed on.
		 */
		if (!r->shown && r->candidates > 1 &&
		    r->attempts <= r->snapshot->config->upstream.retries) {
			relay_break_off(r, "the engine answered 503", UPSTREAM_STATUS);
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
		r->assembler =
			assembler_create((enum api)r->api, r->snapshot->config->limits.answer_size);
		if (!r->assembler) {
			relay_own_limit(r, -BB_ENOMEM);
			return;
		}
	} else {
		r->relay = RELAY_PLAIN;
	}
	if (r->begun) { /* comments kept the stream alive: its head is out already */
		if (r->relay != RELAY_EVENTS && r->relay != RELAY_ERROR) {
			r->relay = RELAY_NONE;
			relay_break_off(r, "the engine did not answer with a stream",
					UPSTREAM_STREAM);
		}
		return;
	}
	r->content_type = bb_arena_dup(&r->arena, type);
	r->status = (int16_t)h->status;
	if (!r->content_type.p || !answer_fields_add(r, h, r->relay == RELAY_EVENTS)) {
		relay_own_limit(r, -BB_ENOMEM);
		return;
	}
	if (r->relay == RELAY_PLAIN) {
		/* Begun with the first bytes, so that a cut before them can still be retried. */
		r->answer_length = h->has_length && !h->chunked ? h->length : EXCHANGE_CHUNKED;
	}
}

void relay_begin(struct request *r, struct bb_str type, uint64_t length)
{
	exchange_begin(r->x, r->status, type, r->answer_fields, length);
	r->begun = true;
}

void relay_first_token(struct request *r)
{
	struct gateway *g = r->worker->gateway;

	r->has_first = true;
	r->first_ns = relay_now_ns(r);
	gateway_lock(g);
	brain_first_token(g->brain, r->first_ns, r->brain_id);
	gateway_unlock(g);
	if (r->asked_stream)
		histogram_add(&r->series->ttft, &bounds_ttft, r->first_ns - r->begin_ns);
}

void relay_progress(struct request *r)
{
	struct gateway *g = r->worker->gateway;

	gateway_lock(g);
	brain_progress(g->brain, r->last_ns, r->brain_id, r->events);
	gateway_unlock(g);
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
void relay_payload_answer(struct request *r, struct bb_str payload)
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

/* ---- bodies ---- */

static void relay_end(struct request *r)
{
	switch ((enum relay_mode)r->relay) {
	case RELAY_NONE: break;
	case RELAY_EVENTS: relay_stream_ended(r); break;
	case RELAY_ASSEMBLE: relay_assembled(r); break;
	case RELAY_PLAIN: relay_plain_ended(r); break;
	case RELAY_ERROR: relay_error_ended(r); break;
	}
}

static void on_body(struct call *c, char *data, size_t len, enum body_part part)
{
	struct request *r = request_of(c);

	if (!r->x || r->x->gone)
		return; /* on_closed comes at the end of this turn and cancels */
	switch ((enum relay_mode)r->relay) {
	case RELAY_NONE: return;
	case RELAY_PLAIN: relay_plain(r, data, len, part); return;
	case RELAY_EVENTS:
	case RELAY_ASSEMBLE: relay_events(r, data, len, part); break;
	case RELAY_ERROR: relay_error_add(r, data, len); break;
	}
	if (part == BODY_LAST && r->step == REQUEST_ANSWER && !call_is_active(c))
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
	if (relay_now_ns(r) < since_ns + every_ns) {
		loop_timer_arm(t, since_ns + every_ns);
		return;
	}
	if (r->relay != RELAY_NONE && r->relay != RELAY_EVENTS)
		return;
	if (r->call.is_paused) { /* the client does not read what it has */
		loop_timer_arm(t, relay_now_ns(r) + every_ns);
		return;
	}
	if (!r->begun) {
		struct bb_buf *text = &r->worker->text;
		bb_buf_clear(text);
		bb_buf_add_str(text, r->own_fields);
		relay_stream_fields(text, NULL);
		if (text->err)
			return;
		r->status = 200;
		exchange_begin(r->x, 200, SSE_TYPE, bb_buf_str(text), EXCHANGE_CHUNKED);
		r->begun = true;
	}
	metric_add(&r->worker->metrics->keepalive_comments, 1);
	relay_wrote(r, exchange_write(r->x, BB_STR(": keep-alive\n\n")));
	loop_timer_arm(t, relay_now_ns(r) + every_ns);
}

void relay_begin_stream(struct request *r)
{
	const uint64_t every_ns = r->snapshot->config->upstream.keepalive_comment_ns;

	if (every_ns == 0 || loop_timer_init(r->worker->loop, &r->comment, on_comment))
		return; /* without memory for a timer there are no comments */
	loop_timer_arm(&r->comment, r->begin_ns + every_ns);
}
