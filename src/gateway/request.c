/* request.c: a request's way up to the engine. */
#include "gateway/request.h"

#include "gateway/request_tokens.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "gateway/admit.h"
#include "gateway/control.h"
#include "os/clock.h"
#include "wire/errorbody.h"
#include "wire/multipart.h"

#define STRANGER_BODY_MAX (16u << 10)

typedef enum step step_fn(struct request *r);

static void request_released(struct loop_message *m);

size_t request_size(void)
{
	return sizeof(struct request);
}

void request_stage(struct request *r, enum stage stage, uint64_t from_ns, uint64_t to_ns)
{
	histogram_add(&r->worker->metrics->stage[stage], &bounds_stage, to_ns - from_ns);
}

enum family request_family(const struct request *r)
{
	return r->api == API_NONE ? FAMILY_OPENAI : api_info((enum api)r->api)->family;
}

/* ---- ends ---- */

void request_drop_body(struct request *r)
{
	if (r->x && call_is_sent(&r->call))
		exchange_drop_body(r->x);
}

/* A text of the old arena, in the new one; no text when there is none. */
static bool move_text(struct bb_arena *to, struct bb_str *s)
{
	if (!s->p)
		return true;
	*s = bb_arena_dup(to, *s);
	return s->p != NULL;
}

static size_t room_of(struct bb_str s)
{
	return s.p ? s.len + 16 : 0;
}

void request_slim(struct request *r)
{
	struct bb_arena small;
	struct bb_str id = r->id, model = r->model, name = r->model_name;
	struct chunk_twin twin = r->twin;
	const size_t twin_len = twin.bytes ? twin.room : 0;

	if (!call_is_sent(&r->call) || r->tap)
		return; /* the request's parts are still needed, or the answer is no stream */
	bb_arena_init(&small, REQUEST_ARENA_MAX);
	if (bb_arena_reserve(&small, room_of(id) + room_of(model) + room_of(name) + twin_len + 64))
		return; /* as it was: only larger */
	bool ok = move_text(&small, &id) && move_text(&small, &model) && move_text(&small, &name);
	if (ok && twin_len) {
		char *bytes = bb_arena_alloc(&small, twin_len);
		ok = bytes != NULL;
		if (ok)
			twin.bytes = memcpy(bytes, twin.bytes, twin_len);
	}
	if (!ok) {
		bb_arena_fini(&small);
		return;
	}
	bb_arena_fini(&r->arena);
	r->arena = small;
	r->id = id;
	r->model = model;
	r->model_name = name;
	r->twin = twin;
	r->body_facts = NULL;
	r->target = r->fields = r->own_fields = r->answer_fields = r->content_type =
		r->model_span = r->error_payload = r->failure_why = (struct bb_str){ 0 };
	r->call.parts = NULL;
	r->hashes = NULL;
	r->hash_count = 0;
}

bool request_keep(struct request *r, size_t more)
{
	struct bb_budget *buffers = &r->worker->gateway->buffers;
	/* Running streams hold little, and what they hold came before new work. */
	const enum bb_share share = r->assembler ? BB_SHARE_NEW : BB_SHARE_RUNNING;
	const size_t bytes =
		r->held.cap + (r->assembler ? assembler_size(r->assembler) : 0) + more;

	if (bytes > r->kept_bytes && !bb_budget_take(buffers, bytes - r->kept_bytes, bytes, share))
		return false;
	if (bytes < r->kept_bytes)
		bb_budget_give(buffers, r->kept_bytes - bytes);
	r->kept_bytes = bytes;
	return true;
}

void request_leave_engine(struct request *r, enum request_outcome outcome)
{
	struct gateway *g = r->worker->gateway;
	const struct request_result result = {
		.outcome = outcome,
		.prompt_tokens = r->usage.prompt,
		.cached_tokens = r->usage.cached,
		.output_tokens = r->usage.completion ? r->usage.completion : r->events,
		.has_cached = r->usage.has_cached,
	};

	if (!r->in_brain)
		return;
	r->in_brain = false;
	gateway_lock(g);
	brain_request_ended(g->brain, loop_now_ns(r->worker->loop), r->brain_id, &result);
	gateway_unlock(g);
	r->outcome = outcome;
	if (outcome != OUTCOME_OK && outcome != OUTCOME_CANCELED)
		control_kick(g, r->engine);
}

void request_fail(struct request *r, int err, struct bb_str message, const char *param)
{
	const struct bb_error_info *e = bb_error_info(err);
	struct bb_buf *text = &r->worker->text;
	struct bb_str with_retry = { 0 };

	r->error = err;
	r->step = REQUEST_DONE;
	if (!r->x)
		return;
	if (r->begun && r->relay == RELAY_PLAIN) {
		exchange_abort(r->x);
		return;
	}
	bb_buf_clear(text);
	if (r->begun) {
		const struct error_stream stream = { .model = r->model };
		openai_error_event_write(text, request_family(r), err, message, &stream);
		if (exchange_write(r->x, bb_buf_str(text)) != IO_ERROR)
			exchange_end(r->x);
		return;
	}
	r->status = (int16_t)e->http_status;
	const bool has_retry = r->retry_after_s ? r->retry_after_s != REQUEST_NEVER : e->retryable;
	if (has_retry) {
		bb_buf_printf(text, "Retry-After: %u\r\n", r->retry_after_s ? r->retry_after_s : 1);
		bb_buf_add_str(text, r->own_fields);
		with_retry = bb_arena_dup(&r->arena, bb_buf_str(text));
		bb_buf_clear(text);
	}
	openai_error_write(text, request_family(r), err, message, param);
	exchange_reply(r->x, e->http_status, BB_STR("application/json"),
		       with_retry.p ? with_retry : r->own_fields, bb_buf_str(text));
}

enum step request_fail_step(struct request *r, int err, const char *message, const char *param)
{
	request_fail(r, err, bb_str_of(message), param);
	return STEP_WAIT;
}

static enum step step_admit(struct request *r)
{
	if (!admit_model(r) || !admit_request(r))
		return STEP_WAIT;
	r->step = REQUEST_LOCAL;
	return STEP_MORE;
}

/* ---- the table of steps ---- */

static enum step step_wait(struct request *r)
{
	return STEP_WAIT;
}

static step_fn *const steps[] = {
	[REQUEST_SCAN] = request_scan,
	[REQUEST_TOKENS] = request_tokens,
	[REQUEST_ADMIT] = step_admit,
	[REQUEST_LOCAL] = request_local,
	[REQUEST_DECIDE] = request_decide,
	[REQUEST_HELD] = step_wait,
	[REQUEST_SEND] = request_send,
	[REQUEST_ANSWER] = step_wait,
	[REQUEST_DONE] = step_wait,
};

void request_run(struct request *r)
{
	enum step step;

	do {
		BB_ASSERT(r->magic == REQUEST_MAGIC);
		step = steps[r->step](r);
	} while (step == STEP_MORE);
}

/* ---- from and to the server ---- */

static void preflight(struct request *r)
{
	struct bb_buf *text = &r->worker->text;
	const struct config *c = r->snapshot->config;

	bb_buf_clear(text);
	bb_buf_add_str(text, r->answer_fields);
	bb_buf_lit(text, "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
			 "Access-Control-Allow-Headers: ");
	bb_buf_add_str(text, c->cors.headers);
	bb_buf_printf(text, "\r\nAccess-Control-Max-Age: %llu\r\n",
		      (unsigned long long)(c->cors.max_age_ns / OS_SECOND));
	r->status = 204;
	r->step = REQUEST_DONE;
	exchange_reply(r->x, 204, BB_STR(""), bb_buf_str(text), BB_STR(""));
}

static void local_answer(struct request *r, int status, struct bb_str body)
{
	r->status = (int16_t)status;
	r->step = REQUEST_DONE;
	exchange_reply(r->x, status, BB_STR("application/json"), r->answer_fields, body);
}

static bool is_get(const struct http_head *h)
{
	return h->method == HTTP_GET || h->method == HTTP_HEAD;
}

/* 405 with the field that RFC 9110 §15.5.6 asks for. */
static void refuse_method(struct request *r, const char *allowed)
{
	struct bb_buf *text = &r->worker->text;
	char message[128];

	bb_buf_clear(text);
	bb_buf_add_str(text, r->own_fields);
	bb_buf_printf(text, "Allow: %s\r\n", allowed);
	const struct bb_str fields = bb_arena_dup(&r->arena, bb_buf_str(text));
	if (fields.p)
		r->own_fields = fields;
	snprintf(message, sizeof(message), "this path takes %s only", allowed);
	request_fail_step(r, -BB_EMETHOD, message, NULL);
}

/* Picks what answers a path. */
static void route(struct request *r)
{
	const struct http_head *h = r->x->head;
	char message[256];

	if (h->method == HTTP_OPTIONS && r->snapshot->config->cors.origins.count) {
		preflight(r);
		return;
	}
	if (r->api != API_NONE && h->method == HTTP_POST) {
		r->step = REQUEST_SCAN;
		request_run(r);
		return;
	}
	const bool is_models = bb_str_eq(h->path, BB_STR("/v1/models")) ||
			       bb_str_starts(h->path, BB_STR("/v1/models/"));
	const bool is_health = bb_str_eq(h->path, BB_STR("/health"));
	if ((is_models || is_health) && is_get(h)) {
		if (is_health) {
			local_answer(r, 200, BB_STR("{\"status\":\"ok\"}"));
			return;
		}
		r->step = REQUEST_DONE;
		r->status = (int16_t)models_answer(r, r->own_fields);
		return;
	}
	if (r->api != API_NONE || is_models || is_health) {
		refuse_method(r, r->api != API_NONE ? "POST" : "GET, HEAD");
		return;
	}
	snprintf(message, sizeof(message), "there is nothing at %.*s; the API is under /v1/",
		 (int)(h->path.len > 128 ? 128 : h->path.len), h->path.p);
	request_fail_step(r, -BB_ENOROUTE, message, NULL);
}

/* The request of an exchange; NULL: it has been answered, since there is no memory. */
static struct request *begin(struct exchange *x)
{
	struct worker *w = httpd_user(x->server);
	struct request *r = bb_pool_get(&w->requests);

	if (!r) {
		exchange_reply(x, 503, BB_STR("application/json"), BB_STR("Retry-After: 1\r\n"),
			       BB_STR("{\"error\":{\"message\":\"the gateway has no memory left\","
				      "\"type\":\"server_error\",\"param\":null,\"code\":\"out_of_memory\"}}"));
		return NULL;
	}
	r->magic = REQUEST_MAGIC;
	r->worker = w;
	r->released.run = request_released;
	r->x = x;
	r->begin_ns = x->begin_ns;
	r->body_bytes = x->body_len;
	r->model_index = UINT32_MAX;
	r->outcome = OUTCOME_OK;
	r->api = (uint8_t)api_from_path(x->head->path);
	r->snapshot = snapshot_get(w->snapshot);
	bb_arena_init(&r->arena, REQUEST_ARENA_MAX);
	bb_buf_init(&r->held, w->snapshot->config->limits.sse_line);
	bb_buf_init(&r->early, 2 * REQUEST_EARLY_MAX);
	x->user = r;
	metric_add(&w->metrics->requests_in_flight, 1);
	metric_add(&w->metrics->bytes_in, x->body_len);
	if (!request_id_take(r, x->head) || !request_answer_fields(r, x->head)) {
		request_fail(r, -BB_ENOMEM, BB_STR(""), NULL);
		return NULL;
	}
	return r;
}

/* A stranger's large body is not waited for; a small one comes along with its head. */
static void on_head(struct exchange *x)
{
	struct worker *w = httpd_user(x->server);
	const struct http_head *h = x->head;
	struct auth_client client;

	if ((!h->chunked && h->length <= STRANGER_BODY_MAX) || !admit_needs_client(w->snapshot, h) ||
	    auth_check(w->snapshot->auth, h, clock_wall_ns() / OS_SECOND, w->tokens, &client) ==
		    AUTH_OK)
		return;
	struct request *r = begin(x);
	if (r)
		(void)admit_client(r);
}

static void on_request(struct exchange *x)
{
	struct request *r = begin(x);

	if (r && (!admit_needs_client(r->snapshot, x->head) || admit_client(r)))
		route(r);
}

static void on_writable(struct exchange *x)
{
	struct request *r = x->user;

	if (r && call_is_active(&r->call))
		call_resume(&r->call);
}

static void request_free(struct request *r)
{
	struct worker *w = r->worker;

	r->magic = 0;
	bb_pool_put(&w->requests, r);
}

static void request_released(struct loop_message *m)
{
	struct request *r = BB_CONTAINER(m, struct request, released);

	BB_ASSERT(r->magic == REQUEST_MAGIC);
	r->is_posted = false;
	if (r->is_over)
		request_free(r);
	else if (request_unhold(r) == STEP_MORE)
		request_run(r);
}

static void on_closed(struct exchange *x)
{
	struct request *r = x->user;
	struct worker *w;

	if (!r)
		return;
	BB_ASSERT(r->magic == REQUEST_MAGIC);
	w = r->worker;
	if (call_is_active(&r->call)) {
		call_cancel(&r->call);
		request_leave_engine(r, OUTCOME_CANCELED);
	}
	request_leave_engine(r, OUTCOME_CANCELED);
	request_settle(r);
	if (r->comment.loop)
		loop_timer_fini(&r->comment);
	if (r->in_stream)
		metric_add(&w->metrics->streams_in_flight, (uint64_t)-1);
	metric_add(&w->metrics->requests_in_flight, (uint64_t)-1);
	assembler_destroy(r->assembler);
	r->assembler = NULL;
	bb_buf_fini(&r->held);
	bb_buf_fini(&r->early);
	bb_budget_give(&w->gateway->buffers, r->kept_bytes);
	bb_arena_fini(&r->arena);
	snapshot_put(r->snapshot);
	x->user = NULL;
	r->x = NULL;
	if (r->is_posted)
		r->is_over = true; /* the message that is on its way frees it */
	else
		request_free(r);
}

/* Errors that the server finds by itself: OpenAI's shape, or Anthropic's on its paths. */
static void write_error(struct exchange *x, int err, const char *what, struct bb_buf *body,
			struct bb_str *content_type)
{
	const bool is_anthropic =
		x->head && bb_str_starts(x->head->path, BB_STR("/v1/messages"));

	openai_error_write(body, is_anthropic ? FAMILY_ANTHROPIC : FAMILY_OPENAI, err,
			   bb_str_of(what), NULL);
}

const struct httpd_ops request_ops = {
	.on_head = on_head,
	.on_request = on_request,
	.on_writable = on_writable,
	.on_closed = on_closed,
	.write_error = write_error,
};
