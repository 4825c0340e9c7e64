/* relay_events.c: streams: event by event to the client, or put together into one answer. */
#include "gateway/relay.h"

#include "base/log.h"
#include "wire/sse.h"

/* How often the brain is told how far a stream is: its lock is not taken for every token. */
#define PROGRESS_EVENTS 32

static void count_content(struct request *r)
{
	const uint64_t now = relay_now_ns(r);

	if (!r->has_first)
		relay_first_token(r);
	else
		histogram_add(&r->series->itl, &bounds_itl, now - r->last_ns);
	r->last_ns = now;
	r->events++;
	if (r->events % PROGRESS_EVENTS == 0)
		relay_progress(r);
}

enum event_fate {
	EVENT_KEEP,
	EVENT_DROP,
	EVENT_BAD,	 /* the engine's fault */
	EVENT_TOO_LARGE, /* ours: the answer is over limits.answer_size, */
	EVENT_NO_MEMORY, /* or there is none */
};

static enum event_fate fate_of(int err)
{
	return err == 0		   ? EVENT_DROP
	       : err == -BB_ELIMIT ? EVENT_TOO_LARGE
	       : err == -BB_ENOMEM ? EVENT_NO_MEMORY
				   : EVENT_BAD;
}

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

	if (r->has_done)
		return EVENT_DROP; /* nothing follows the end */
	if (e->is_comment || !data.p)
		return r->relay == RELAY_ASSEMBLE ? EVENT_DROP : EVENT_KEEP;
	metric_add(&r->worker->metrics->chunks, 1);
	if (sse_is_done(e)) {
		/* [DONE] after an error, or without a finish, would make half an answer look whole.
		 */
		if (r->has_error || (has_finish_rule(r) && !r->has_finish))
			return EVENT_DROP;
		r->has_done = true;
		return EVENT_KEEP;
	}
	if (e->multi) {
		bb_buf_clear(&r->worker->text);
		const int rc = sse_data_join(e, &r->worker->text);
		if (rc)
			return rc == -BB_ENOMEM ? EVENT_NO_MEMORY : EVENT_BAD;
		data = bb_buf_str(&r->worker->text);
	}
	/*
	 * What only looks like the end is none. And an engine is believed what it says, but not
	 * that it is JSON: a client that cannot read one event loses the stream.
	 */
	if (bb_str_eq(bb_str_trim(data), BB_STR("[DONE]")) ||
	    json_check(data, JSON_DEPTH_MAX, NULL) ||
	    openai_chunk_scan((enum api)r->api, e->event, data, &chunk))
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
	if (chunk.text.len && !e->multi && !chunk.has_finish && !chunk.has_usage &&
	    !chunk.has_error)
		chunk_twin_learn(&r->twin, &r->arena, e->raw, chunk.text);
	if (r->relay == RELAY_ASSEMBLE)
		return fate_of(assembler_add(r->assembler, data));
	return chunk.is_usage_only && r->strips_usage ? EVENT_DROP : EVENT_KEEP;
}

/* What events_take has found. */
struct taken {
	size_t len;	     /* of what the client shall see, at the front of the bytes */
	struct bb_str rest;  /* an event that is not complete yet */
	enum event_fate end; /* of the last event; where it is no good, those before it count */
};

/*
 * Takes all complete events; those that the client shall see are moved together at the front.
 */
static struct taken events_take(struct request *r, char *data, size_t len)
{
	struct taken t = { .rest = { data, len } };
	struct sse_event e;

	while (t.rest.len && t.end <= EVENT_DROP) {
		t.end = EVENT_KEEP;
		const size_t twin = r->relay == RELAY_EVENTS && !r->has_done
					    ? chunk_twin_match(&r->twin, t.rest)
					    : 0;
		if (twin) {
			e.raw = (struct bb_str){ t.rest.p, twin };
			t.rest = bb_str_skip(t.rest, twin);
			metric_add(&r->worker->metrics->chunks, 1);
			count_content(r);
		} else if (sse_next(&t.rest, &e)) {
			t.end = event_take(r, &e);
		} else {
			break;
		}
		if (t.end != EVENT_KEEP)
			continue;
		if (data + t.len != e.raw.p)
			memmove(data + t.len, e.raw.p, e.raw.len);
		t.len += e.raw.len;
	}
	return t;
}

static bool stream_is_whole(const struct request *r)
{
	return !r->has_error && (r->has_finish || !has_finish_rule(r));
}

/* The client sees an answer: from here on there is no other engine. */
static void show(struct request *r)
{
	if (!r->begun)
		relay_begin(r, r->content_type.len ? r->content_type : SSE_TYPE, EXCHANGE_CHUNKED);
	if (r->shown)
		return;
	r->shown = true;
	request_drop_body(r);
	exchange_put(r->x, bb_buf_str(&r->early));
	bb_buf_fini(&r->early);
	request_slim(r);
}

/*
 * Events that come before any content (the role of the answer) say nothing yet; they leave with
 * the first token, in one write, and until then another engine can take over unseen.
 */
static bool keep_early(struct request *r, struct bb_str events)
{
	if (r->shown || r->has_first || r->has_finish)
		return false;
	return r->early.len + events.len <= REQUEST_EARLY_MAX &&
	       bb_buf_add_str(&r->early, events) == 0;
}

void relay_stream_ended(struct request *r)
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
	relay_failed(r, -BB_EUPSTREAM, STREAM_CUT, OUTCOME_BROKEN, UPSTREAM_STREAM);
}

/* An event that is not complete cannot be kept. */
static void held_failed(struct request *r, int err)
{
	if (err == -BB_ENOMEM)
		relay_own_limit(r, err);
	else
		relay_break_off(r, "an event of the engine's stream is longer than limits.sse_line",
				UPSTREAM_STREAM);
}

/* An error object that comes before anything was shown is not passed on as a stream: it may be
 * retried. */
static bool is_early_error(const struct request *r)
{
	return r->has_error && !r->shown && !r->has_first;
}

/* Sends events to the client; with `ends` the answer is complete after them. */
static void events_send(struct request *r, char *data, size_t len, bool in_place, bool ends)
{
	const struct bb_str events = { data, len };

	if (!ends && keep_early(r, events))
		return;
	show(r);
	if (ends)
		request_leave_engine(r, OUTCOME_OK);
	if (in_place)
		relay_wrote(r,
			    exchange_write_inplace(r->x, data, len, ends ? BODY_LAST : BODY_MORE));
	else
		relay_wrote(r, exchange_write(r->x, events));
	if (ends && in_place)
		r->step = REQUEST_DONE;
}

/* What is not sent yet stays, as long as the gateway's buffers allow. */
static void keep_rest(struct request *r, size_t taken)
{
	bb_buf_consume(&r->held, taken);
	if (r->step != REQUEST_DONE && !request_keep(r, 0))
		relay_own_limit(r, -BB_EBUSY);
}

void relay_events(struct request *r, char *data, size_t len, enum body_part part)
{
	const bool was_held = r->held.len > 0;

	if (was_held) {
		const int rc = bb_buf_add(&r->held, data, len);
		if (rc) {
			held_failed(r, rc);
			return;
		}
		data = r->held.p;
		len = r->held.len;
	}
	const struct taken t = events_take(r, data, len);
	/* Kept before the events in front of it are written: that uses the bytes behind them. */
	const int held = was_held || t.rest.len == 0 ? 0 : bb_buf_add_str(&r->held, t.rest);
	if (t.len && r->relay != RELAY_ASSEMBLE && !is_early_error(r)) {
		/* The end goes out with the last events when nothing has to be said in between. */
		const bool ends = part == BODY_LAST && t.rest.len == 0 && t.end <= EVENT_DROP &&
				  stream_is_whole(r);
		events_send(r, data, t.len, !was_held, ends);
	}
	if (t.end == EVENT_BAD)
		relay_break_off(r, "an event of the engine's stream is malformed", UPSTREAM_STREAM);
	else if (t.end == EVENT_TOO_LARGE)
		relay_own_limit(r, -BB_EANSWER);
	else if (t.end == EVENT_NO_MEMORY)
		relay_own_limit(r, -BB_ENOMEM);
	else if (held)
		held_failed(r, held);
	else
		keep_rest(r, was_held ? len - t.rest.len : 0);
}

/* ---- assembled answers ---- */

#define ANSWER_FRAME 65536 /* braces and names around what limits.answer_size counts */

/* Sends what the assembler has; 0, or why it has not. */
static int assembled_send(struct request *r, struct bb_buf *whole)
{
	if (!request_keep(r, assembler_size(r->assembler)))
		return -BB_EBUSY;
	const int rc = assembler_finish(r->assembler, whole);
	assembler_destroy(r->assembler);
	r->assembler = NULL;
	if (rc)
		return rc;
	/* From here on the server keeps of it what the client does not take at once. */
	(void)!request_keep(r, 0);
	request_leave_engine(r, OUTCOME_OK);
	r->status = 200;
	r->begun = r->shown = true;
	r->step = REQUEST_DONE;
	request_drop_body(r);
	exchange_reply(r->x, 200, JSON_TYPE, r->answer_fields, bb_buf_str(whole));
	return 0;
}

void relay_assembled(struct request *r)
{
	struct bb_buf whole;

	bb_buf_init(&whole, r->snapshot->config->limits.answer_size + ANSWER_FRAME);
	const int rc = assembled_send(r, &whole);
	if (rc == -BB_EUPSTREAM && whole.len)
		r->error_payload = bb_arena_dup(&r->arena, bb_buf_str(&whole));
	bb_buf_fini(&whole);
	if (rc == -BB_ENOMEM || rc == -BB_EBUSY)
		relay_own_limit(r, rc);
	else if (rc == -BB_ELIMIT)
		relay_own_limit(r, -BB_EANSWER);
	else if (rc)
		relay_failed(r, -BB_EUPSTREAM, STREAM_CUT, OUTCOME_BROKEN, UPSTREAM_STREAM);
}
