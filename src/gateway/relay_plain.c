/* relay_plain.c: answers that are no stream: bytes as they come, and errors. */
#include <stdio.h>

#include "gateway/relay.h"

#include "base/log.h"
#include "wire/errorbody.h"

#define ERROR_BODY_MAX 65536

/* ---- error answers ---- */

/* FastAPI's "there is no such path", which is not about the model or the request. */
static bool is_missing_path(const struct request *r)
{
	return r->engine_status == 404 && bb_str_find(bb_buf_str(&r->held), BB_STR("\"detail\"")) >= 0 &&
	       bb_str_find(bb_buf_str(&r->held), BB_STR("\"error\"")) < 0;
}

void relay_error_add(struct request *r, const char *data, size_t len)
{
	if (r->held.len + len <= ERROR_BODY_MAX && bb_buf_add(&r->held, data, len) == 0 &&
	    !request_keep(r, 0))
		bb_buf_fini(&r->held); /* its status alone is passed on */
}

void relay_error_ended(struct request *r)
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
	if (json_check(bb_buf_str(&r->held), JSON_DEPTH_MAX, &at) == 0 &&
	    json_type_of(bb_buf_str(&r->held)) == JSON_OBJECT) {
		exchange_reply(r->x, r->status, r->content_type, r->answer_fields,
			       bb_buf_str(&r->held));
		return;
	}
	/* No JSON object: the SDK would fail on it; the words are kept. */
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
	if (!relay_is_type(r->content_type, BB_STR("application/json")))
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

void relay_plain(struct request *r, char *data, size_t len, enum body_part part)
{
	const bool is_last = part == BODY_LAST;

	plain_usage(r, data, len, is_last);
	if (!r->has_first)
		relay_first_token(r);
	if (is_last)
		request_leave_engine(r, OUTCOME_OK);
	if (!r->begun)
		relay_begin(r, r->content_type, is_last ? len : r->answer_length);
	if (!r->shown) {
		r->shown = true;
		request_drop_body(r);
	}
	relay_wrote(r, exchange_write_inplace(r->x, data, len, part));
	if (is_last)
		r->step = REQUEST_DONE;
}

void relay_plain_ended(struct request *r)
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

