/* request.c: a request's way up to the engine. */
#include "gateway/request.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "gateway/admit.h"
#include "gateway/control.h"
#include "os/clock.h"
#include "wire/errorbody.h"
#include "wire/multipart.h"

#define ERROR_BODY_MAX 16384
#define STRANGER_BODY_MAX (16u << 10)
#define BYTES_A_TOKEN 4 /* until the gateway tokenizes itself: what English text comes to */

enum step { STEP_MORE, STEP_WAIT };
typedef enum step step_fn(struct request *r);

size_t request_size(void)
{
	return sizeof(struct request);
}

static void stage_add(struct request *r, enum stage stage, uint64_t from_ns, uint64_t to_ns)
{
	histogram_add(&r->worker->metrics->stage[stage], &bounds_stage, to_ns - from_ns);
}

static enum family family_of(const struct request *r)
{
	return r->api == API_NONE ? FAMILY_OPENAI : api_info((enum api)r->api)->family;
}

/* ---- ends ---- */

void request_drop_body(struct request *r)
{
	if (r->x && call_is_sent(&r->call))
		exchange_drop_body(r->x);
}

void request_leave_engine(struct request *r, enum request_outcome outcome)
{
	struct gateway *g = r->worker->gateway;
	const struct request_result result = {
		.outcome = outcome,
		.prompt_tokens = r->usage.prompt,
		.cached_tokens = r->usage.cached,
		.output_tokens = r->usage.completion,
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
		openai_error_event_write(text, family_of(r), err, message, &stream);
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
	openai_error_write(text, family_of(r), err, message, param);
	exchange_reply(r->x, e->http_status, BB_STR("application/json"),
		       with_retry.p ? with_retry : r->own_fields, bb_buf_str(text));
}

static enum step fail_step(struct request *r, int err, const char *message, const char *param)
{
	request_fail(r, err, bb_str_of(message), param);
	return STEP_WAIT;
}

/* ---- scan ---- */

/* What may come in from outside as a request's id. */
static bool is_good_id(struct bb_str id)
{
	if (id.len == 0 || id.len > REQUEST_ID_MAX)
		return false;
	for (size_t i = 0; i < id.len; i++) {
		const char c = id.p[i];
		const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
				(c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == ':';
		if (!ok)
			return false;
	}
	return true;
}

static bool id_take(struct request *r, const struct http_head *h)
{
	struct worker *w = r->worker;
	static const char hex[] = "0123456789abcdef";
	struct bb_str id = http_head_get(h, BB_STR("x-request-id"));
	char made[24];

	if (!is_good_id(id)) {
		const uint64_t serial = w->id_next++;
		for (int i = 0; i < 16; i++)
			made[i] = hex[w->id_prefix >> (60 - 4 * i) & 15];
		for (int i = 0; i < 8; i++)
			made[16 + i] = hex[serial >> (28 - 4 * i) & 15];
		id = (struct bb_str){ made, sizeof(made) };
	}
	r->id = bb_arena_dup(&r->arena, id);
	return r->id.p != NULL;
}

enum credentials { CREDENTIALS_PASS, CREDENTIALS_HIDE };

/* Fields that are the gateway's business and not the engine's. */
static bool is_own_field(struct bb_str name, enum credentials credentials)
{
	static const struct bb_str names[] = {
		BB_STR_INIT("host"),          BB_STR_INIT("expect"),
		BB_STR_INIT("x-request-id"),  BB_STR_INIT("accept-encoding"),
		BB_STR_INIT("cookie"),        BB_STR_INIT("content-type"),
		BB_STR_INIT("endpoint-load-metrics-format"),
	};

	if (http_name_is(name, names, sizeof(names) / sizeof(names[0])))
		return true;
	if (credentials == CREDENTIALS_HIDE)
		return bb_str_eq_nocase(name, BB_STR("authorization")) ||
		       bb_str_eq_nocase(name, BB_STR("x-api-key"));
	return false;
}

/*
 * The header lines that every attempt sends. Clients' credentials pass on only where they are none
 * of the gateway's and no engine has a key of its own.
 */
static bool fields_take(struct request *r, const struct http_head *h)
{
	const enum credentials hides = r->snapshot->any_key || r->snapshot->auth ? CREDENTIALS_HIDE
										 : CREDENTIALS_PASS;
	struct bb_buf *text = &r->worker->text;
	const struct bb_str connection = http_head_get(h, BB_STR("connection"));

	bb_buf_clear(text);
	for (uint32_t i = 0; i < h->count; i++) {
		const struct http_header *f = &h->headers[i];
		if (http_is_hop_by_hop(f->name) || is_own_field(f->name, hides) ||
		    (connection.len && http_list_has(connection, f->name)))
			continue;
		bb_buf_add_str(text, f->name);
		bb_buf_lit(text, ": ");
		bb_buf_add_str(text, f->value);
		bb_buf_lit(text, "\r\n");
	}
	bb_buf_lit(text, "X-Request-Id: ");
	bb_buf_add_str(text, r->id);
	bb_buf_lit(text, "\r\n");
	if (r->content_type.len) {
		bb_buf_lit(text, "Content-Type: ");
		bb_buf_add_str(text, r->content_type);
		bb_buf_lit(text, "\r\n");
	}
	if (text->err)
		return false;
	r->fields = bb_arena_dup(&r->arena, bb_buf_str(text));
	return r->fields.p != NULL;
}

/* True when the origin may read answers (Fetch standard, CORS protocol). */
static bool cors_allows(const struct config *c, struct bb_str origin)
{
	for (uint32_t i = 0; i < c->cors.origins.count; i++) {
		const struct bb_str allowed = c->cors.origins.items[i].text;
		if (bb_str_eq(allowed, BB_STR("*")) || bb_str_eq(allowed, origin))
			return true;
	}
	return false;
}

static bool answer_fields_take(struct request *r, const struct http_head *h)
{
	struct bb_buf *text = &r->worker->text;
	const struct config *c = r->snapshot->config;

	bb_buf_clear(text);
	bb_buf_lit(text, "X-Request-Id: ");
	bb_buf_add_str(text, r->id);
	bb_buf_lit(text, "\r\n");
	if (c->cors.origins.count) {
		const struct bb_str origin = http_head_get(h, BB_STR("origin"));
		bb_buf_lit(text, "Vary: Origin\r\n");
		if (origin.len && cors_allows(c, origin)) {
			bb_buf_lit(text, "Access-Control-Allow-Origin: ");
			bb_buf_add_str(text, origin);
			bb_buf_lit(text, "\r\nAccess-Control-Expose-Headers: x-request-id, retry-after\r\n");
		}
	}
	if (text->err)
		return false;
	r->own_fields = r->answer_fields = bb_arena_dup(&r->arena, bb_buf_str(text));
	return r->own_fields.p != NULL;
}

/* What may be asked of engines in this request. */
static const struct tenant_shield *shield_of(const struct request *r)
{
	const uint32_t tenant =
		r->tenant ? (uint32_t)(r->tenant->config - r->snapshot->config->tenants.items)
			  : ENGINE_SHIELD_NO_TENANT;

	return engine_shield_of(&r->snapshot->shield, tenant);
}

static enum step scan_json(struct request *r)
{
	struct json_error at = { 0 };
	const char *param = NULL;
	char message[256];
	const struct bb_str body = { r->x->body, r->x->body_len };

	r->body_facts = bb_arena_alloc(&r->arena, sizeof(*r->body_facts));
	if (!r->body_facts)
		return fail_step(r, -BB_ENOMEM, NULL, NULL);
	if (body.len == 0)
		return fail_step(r, -BB_ESYNTAX, "the request has no body; a JSON object is expected",
				 NULL);
	const uint32_t depth_max = r->snapshot->config->limits.json_depth;
	int rc = openai_request_scan((enum api)r->api, body, &r->arena, r->body_facts, &at, &param);
	/* The scan allows JSON_DEPTH_MAX levels; a lower limit costs a second look. */
	if (!rc && depth_max < JSON_DEPTH_MAX)
		rc = json_check(body, depth_max, &at);
	if (rc == -BB_ESYNTAX) {
		snprintf(message, sizeof(message),
			 "the body is not valid JSON: %s at byte %zu of %zu",
			 at.what ? at.what : "malformed", at.offset, body.len);
		return fail_step(r, rc, message, NULL);
	}
	if (rc == -BB_EINVALID) {
		snprintf(message, sizeof(message), "invalid value for '%s': %s (at byte %zu)",
			 param ? param : "body", at.what ? at.what : "not allowed", at.offset);
		return fail_step(r, rc, message, param);
	}
	if (rc == -BB_ESHIELD) {
		snprintf(message, sizeof(message), "'%s' is not allowed here: %s (at byte %zu)",
			 param ? param : "body", at.what ? at.what : "not allowed", at.offset);
		return fail_step(r, rc, message, param);
	}
	if (rc)
		return fail_step(r, rc, NULL, NULL);
	r->model = bb_arena_dup(&r->arena, r->body_facts->model); /* the body goes before the request */
	if (!r->model.p)
		return fail_step(r, -BB_ENOMEM, NULL, NULL);
	r->asked_stream = r->body_facts->stream;
	return STEP_MORE;
}

static enum step scan_multipart(struct request *r)
{
	struct bb_str value;
	const struct bb_str body = { r->x->body, r->x->body_len };
	int rc = multipart_field(r->content_type, body, BB_STR("model"), &value);

	if (rc == -BB_EABSENT)
		return STEP_MORE;
	if (rc)
		return fail_step(r, -BB_EINVALID,
				 "the multipart/form-data body is malformed, or its field 'model' is",
				 "model");
	r->model_span = value;
	r->model = bb_arena_dup(&r->arena, value);
	if (!r->model.p)
		return fail_step(r, -BB_ENOMEM, NULL, NULL);
	if (multipart_field(r->content_type, body, BB_STR("stream"), &value) == 0)
		r->asked_stream = bb_str_eq(value, BB_STR("true"));
	return STEP_MORE;
}

static enum step step_scan(struct request *r)
{
	const struct http_head *h = r->x->head;
	const struct api_info *info = api_info((enum api)r->api);
	const uint64_t from_ns = clock_now_ns();

	r->content_type = bb_arena_dup(&r->arena, http_head_get(h, BB_STR("content-type")));
	r->target = bb_arena_dup(&r->arena, h->target);
	if (!r->content_type.p || !r->target.p || !fields_take(r, h))
		return fail_step(r, -BB_ENOMEM, NULL, NULL);
	const struct bb_str coding = http_head_get(h, BB_STR("content-encoding"));
	if (coding.len && !bb_str_eq_nocase(coding, BB_STR("identity")))
		return fail_step(r, -BB_EINVALID, "Content-Encoding is not supported; send the body plain",
				 NULL);
	const bool is_multipart = multipart_is(r->content_type);
	if (is_multipart && info->body == API_BODY_JSON)
		return fail_step(r, -BB_EINVALID, "this endpoint takes a JSON body", NULL);
	if (!is_multipart && info->body == API_BODY_MULTIPART)
		return fail_step(r, -BB_EINVALID, "this endpoint takes a multipart/form-data body",
				 NULL);
	const enum step step = is_multipart ? scan_multipart(r) : scan_json(r);
	if (r->step == REQUEST_DONE)
		return step;
	if (!r->model.len && r->api != API_TOKENIZE && r->api != API_DETOKENIZE)
		return fail_step(r, -BB_EINVALID, "the request names no model", "model");
	r->step = REQUEST_ADMIT;
	stage_add(r, STAGE_SCAN, from_ns, clock_now_ns());
	return STEP_MORE;
}

static enum step step_admit(struct request *r)
{
	if (!admit_request(r))
		return STEP_WAIT;
	r->step = REQUEST_DECIDE;
	return STEP_MORE;
}

/* ---- decide ---- */

static enum step rejected(struct request *r, const struct decision *d)
{
	struct bb_buf message;

	if (r->failure && d->error == -BB_ENOENGINE) {
		relay_give_up(r);
		return STEP_WAIT;
	}
	bb_buf_init(&message, ERROR_BODY_MAX);
	switch (d->error) {
	case -BB_ENOMODEL:
		models_explain_unknown(r, r->model, &message);
		break;
	case -BB_ENOENDPOINT:
		bb_buf_printf(&message, "no engine of the model `%s` offers %.*s", d->model_name,
			      BB_ARG(api_info((enum api)r->api)->path));
		break;
	case -BB_ENOENGINE:
		if (d->model_name[0])
			bb_buf_printf(&message,
				      "no engine is ready for the model `%s` (0 of %u); try again in a moment",
				      d->model_name, d->engines);
		else
			bb_buf_lit(&message, "the engines are still starting; try again in a moment");
		break;
	default: break;
	}
	request_fail(r, d->error, bb_buf_str(&message), d->error == -BB_ENOMODEL ? "model" : NULL);
	bb_buf_fini(&message);
	return STEP_WAIT;
}

static uint64_t prompt_tokens_estimate(const struct request *r)
{
	const uint64_t bytes = r->body_facts ? r->body_facts->prompt_bytes : r->body_bytes;

	return (bytes + BYTES_A_TOKEN - 1) / BYTES_A_TOKEN;
}

/* More tokens asked for than the engine's context holds: no engine of it will do. */
static bool fits_context(struct request *r, uint64_t context_tokens)
{
	struct bb_buf message;

	if (!r->body_facts || !api_info((enum api)r->api)->generates)
		return true;
	bb_buf_init(&message, ERROR_BODY_MAX);
	const int rc = validate_context(r->body_facts->max_tokens, context_tokens, &message);
	if (rc) {
		request_leave_engine(r, OUTCOME_CANCELED);
		request_fail(r, rc, bb_buf_str(&message), "max_tokens");
	}
	bb_buf_fini(&message);
	return !rc;
}

static enum step step_decide(struct request *r)
{
	struct worker *w = r->worker;
	struct gateway *g = w->gateway;
	struct decision *d = &w->decision;
	const uint64_t from_ns = clock_now_ns();
	const struct api_info *info = api_info((enum api)r->api);
	const struct brain_request ask = {
		.model = r->model,
		.api = r->api,
		.prompt_tokens = prompt_tokens_estimate(r),
		.output_tokens_max = !info->generates ? 0
				     : r->body_facts  ? r->body_facts->max_tokens
						      : UINT64_MAX,
		.exclude = r->exclude,
		.exclude_count = r->exclude_count,
	};

	gateway_lock(g);
	const uint64_t locked_ns = clock_now_ns();
	brain_request_arrived(g->brain, loop_now_ns(w->loop), &ask, d);
	const uint64_t done_ns = clock_now_ns();
	gateway_unlock(g);
	histogram_add(&w->metrics->brain_lock, &bounds_stage, done_ns - locked_ns);
	stage_add(r, STAGE_DECIDE, from_ns, done_ns);
	r->model_index = d->model;
	r->policy = d->policy;
	r->candidates = d->candidates;
	r->engine = d->engine;
	if (!admit_model(r, d))
		return STEP_WAIT;
	if (d->action == DECISION_REJECT)
		return rejected(r, d);
	r->in_brain = true;
	r->brain_id = d->request;
	r->engine_tokens = d->engine_tokens;
	r->cost = d->cost;
	r->next_cost = d->next_cost;
	r->model_name = bb_arena_dup(&r->arena, bb_str_of(d->model_name));
	if (!r->model_name.p)
		return fail_step(r, -BB_ENOMEM, NULL, NULL);
	const struct snapshot_engine *e = snapshot_engine(r->snapshot, r->engine);
	r->series = metrics_series(
		w->metrics, d->model, d->engine, r->model_name,
		e ? r->snapshot->config->engines[e - r->snapshot->engines].url : BB_STR(""));
	if (!fits_context(r, d->context_tokens))
		return STEP_WAIT;
	r->step = REQUEST_SEND;
	return STEP_MORE;
}

/* ---- send ---- */

/* The tenant's own prefix cache in engines that can tell them apart. */
static int salt_splice(struct request *r, struct splice_set *set)
{
	const char *const salt = shield_of(r)->salt;
	char value[SHIELD_SALT_LEN + 3];

	if (!salt[0] || !r->adapter->takes_cache_salt ||
	    (r->api != API_CHAT && r->api != API_COMPLETIONS && r->api != API_RESPONSES))
		return 0;
	snprintf(value, sizeof(value), "\"%s\"", salt);
	return splice_add_member(r->body_facts, "cache_salt", bb_str_of(value), &r->arena, set);
}

/* The body for the engine: the client's bytes with the few changes that must be. */
static int body_parts(struct request *r, struct bb_str parts[SPLICE_PARTS_MAX], uint32_t *count,
		      size_t *total)
{
	const struct bb_str body = { r->x->body, r->x->body_len };
	const struct bb_str served = bb_str_of(r->worker->decision.served_name);
	struct splice_set set = { 0 };
	int rc = 0;

	if (r->body_facts) {
		const struct splice_want want = {
			.model = served,
			.stream = r->engine_streams && !r->asked_stream ? SPLICE_STREAM_ASK
									: SPLICE_STREAM_KEEP,
			.usage = SPLICE_USAGE_ASK,
		};
		rc = openai_request_splice((enum api)r->api, body, r->body_facts, &want, &r->arena,
					   &set);
		if (!rc)
			rc = salt_splice(r, &set);
		if (!rc)
			rc = shield_splice(&r->body_facts->cuts, &set);
	} else if (r->model_span.len && !bb_str_eq(r->model_span, served)) {
		const struct bb_str copy = bb_arena_dup(&r->arena, served);
		rc = copy.p ? splice_add(&set, (size_t)(r->model_span.p - body.p), r->model_span.len,
					 copy)
			    : -BB_ENOMEM;
	}
	if (!rc)
		*count = splice_iov(body, &set, parts, total);
	return rc;
}

static int head_part(struct request *r, const struct snapshot_engine *e, size_t body_len,
		     struct bb_str *out)
{
	struct bb_buf *text = &r->worker->text;
	const struct bb_str path = adapter_path(r->adapter, (enum api)r->api);
	struct bb_str target = r->target;

	bb_buf_clear(text);
	bb_buf_lit(text, "POST ");
	bb_buf_add_str(text, e->base);
	/* A kind of engine with a path of its own for this endpoint; the query stays. */
	if (!bb_str_eq(path, api_info((enum api)r->api)->path)) {
		bb_buf_add_str(text, path);
		const char *mark = memchr(target.p, '?', target.len);
		target = mark ? bb_str_skip(target, (size_t)(mark - target.p)) : BB_STR("");
	}
	bb_buf_add_str(text, target);
	bb_buf_lit(text, " HTTP/1.1\r\n");
	bb_buf_add_str(text, e->fields);
	bb_buf_add_str(text, r->fields);
	bb_buf_lit(text, "Content-Length: ");
	bb_buf_add_u64(text, body_len);
	bb_buf_lit(text, "\r\n\r\n");
	if (text->err)
		return text->err;
	*out = bb_arena_dup(&r->arena, bb_buf_str(text));
	return out->p ? 0 : -BB_ENOMEM;
}

/* Does the engine have to be asked for a stream although the client did not? */
static bool must_assemble(const struct request *r)
{
	return !r->asked_stream && r->body_facts && !r->adapter->stops_plain &&
	       (r->api == API_CHAT || r->api == API_COMPLETIONS);
}

static enum step send_failed(struct request *r, int err)
{
	if (err == -BB_ECONNECT || err == -BB_EUPSTREAM) {
		r->failure = -BB_ECONNECT;
		r->failure_why = BB_STR("");
		if (request_retry(r, OUTCOME_REFUSED, UPSTREAM_CONNECT))
			return STEP_MORE;
		relay_give_up(r);
		return STEP_WAIT;
	}
	request_leave_engine(r, OUTCOME_CANCELED);
	return fail_step(r, err, NULL, NULL);
}

static enum step step_send(struct request *r)
{
	struct worker *w = r->worker;
	const uint64_t from_ns = clock_now_ns();
	const struct snapshot_engine *e = snapshot_engine(r->snapshot, r->engine);
	struct httpc_pool *pool = e ? worker_pool(w, r->engine) : NULL;
	struct bb_str parts[SPLICE_PARTS_MAX], head;
	uint32_t count = 0;
	size_t total = 0;

	r->adapter = __atomic_load_n(&w->gateway->links[r->engine.slot].adapter, __ATOMIC_ACQUIRE);
	/* It is of a newer configuration than this request, has no address, or left just now. */
	if (!e || !pool || !r->adapter)
		return send_failed(r, -BB_ECONNECT);
	r->engine_streams = r->asked_stream || must_assemble(r);
	r->strips_usage = r->asked_stream && r->body_facts && !r->body_facts->include_usage;
	int rc = body_parts(r, parts, &count, &total);
	if (!rc)
		rc = head_part(r, e, total, &head);
	if (!rc && count + 1 > CALL_PARTS_MAX)
		rc = -BB_ELIMIT;
	if (rc)
		return send_failed(r, rc);
	r->call.ops = &relay_ops;
	r->call.parts[0] = (struct iovec){ (char *)head.p, head.len };
	for (uint32_t i = 0; i < count; i++)
		r->call.parts[i + 1] = (struct iovec){ (char *)parts[i].p, parts[i].len };
	r->call.part_count = (uint8_t)(count + 1);
	r->relay = r->begun ? RELAY_EVENTS : RELAY_NONE;
	r->error_payload = BB_STR("");
	r->attempts++;
	rc = call_start(&r->call, pool, r->fresh_conn ? CALL_FRESH_CONN : CALL_ANY_CONN);
	if (rc == -BB_EUPSTREAM && r->call.was_reused) /* a stale connection: once more on a fresh one */
		rc = call_start(&r->call, pool, CALL_FRESH_CONN);
	r->fresh_conn = false;
	if (rc)
		return send_failed(r, rc);
	stage_add(r, STAGE_SEND, from_ns, clock_now_ns());
	r->step = REQUEST_ANSWER;
	if (r->asked_stream && !r->in_stream) {
		r->in_stream = true;
		metric_add(&w->metrics->streams_in_flight, 1);
		relay_begin_stream(r);
	}
	return STEP_WAIT;
}

bool request_retry(struct request *r, enum request_outcome outcome, enum upstream_error what)
{
	const uint32_t retries = r->snapshot->config->upstream.retries;

	if (r->series)
		metric_add(&r->series->upstream_errors[what], 1);
	request_leave_engine(r, outcome);
	const bool can = r->x && !r->x->gone && !r->shown && r->attempts <= retries &&
			 r->exclude_count < BRAIN_EXCLUDE_MAX && (r->x->body || !r->body_bytes);
	if (can) {
		r->exclude[r->exclude_count++] = r->engine;
		if (r->series)
			metric_add(&r->series->retries, 1);
		bb_buf_clear(&r->held);
		bb_buf_clear(&r->early);
		assembler_destroy(r->assembler);
		r->assembler = NULL;
		r->usage = (struct usage){ 0 };
		r->has_first = r->has_finish = r->has_error = false;
		r->step = REQUEST_DECIDE;
		return true;
	}
	return false;
}

/* ---- the table of steps ---- */

static enum step step_wait(struct request *r)
{
	return STEP_WAIT;
}

static step_fn *const steps[] = {
	[REQUEST_SCAN] = step_scan,
	[REQUEST_ADMIT] = step_admit,
	[REQUEST_DECIDE] = step_decide,
	[REQUEST_SEND] = step_send,
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
	fail_step(r, -BB_EMETHOD, message, NULL);
}

/* Picks what answers a path. */
static void route(struct request *r)
{
	const struct http_head *h = r->x->head;
	char message[256];

	r->api = (uint8_t)api_from_path(h->path);
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
	fail_step(r, -BB_ENOROUTE, message, NULL);
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
	r->x = x;
	r->begin_ns = x->begin_ns;
	r->body_bytes = x->body_len;
	r->model_index = UINT32_MAX;
	r->outcome = OUTCOME_OK;
	r->snapshot = snapshot_get(w->snapshot);
	bb_arena_init(&r->arena, REQUEST_ARENA_MAX);
	bb_buf_init(&r->held, w->snapshot->config->limits.sse_line);
	bb_buf_init(&r->early, 2 * REQUEST_EARLY_MAX);
	x->user = r;
	metric_add(&w->metrics->requests_in_flight, 1);
	metric_add(&w->metrics->bytes_in, x->body_len);
	if (!id_take(r, x->head) || !answer_fields_take(r, x->head)) {
		request_fail(r, -BB_ENOMEM, BB_STR(""), NULL);
		return NULL;
	}
	return r;
}

/* A stranger's large body is not waited for; a small one comes along with its head. */
static void on_head(struct exchange *x)
{
	const struct worker *w = httpd_user(x->server);
	const struct http_head *h = x->head;
	struct auth_tenant const *tenant = NULL;

	if ((!h->chunked && h->length <= STRANGER_BODY_MAX) || !admit_needs_client(w->snapshot, h) ||
	    auth_check(w->snapshot->auth, h, clock_wall_ns() / OS_SECOND, &tenant) == AUTH_OK)
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
	bb_buf_fini(&r->held);
	bb_buf_fini(&r->early);
	bb_arena_fini(&r->arena);
	snapshot_put(r->snapshot);
	x->user = NULL;
	r->magic = 0;
	bb_pool_put(&w->requests, r);
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
