/* request_send.c: the choice of an engine and the request to it. */
#include "gateway/request_tokens.h"

#include <stdio.h>

#include "base/log.h"
#include "gateway/admit.h"
#include "gateway/control.h"
#include "os/clock.h"
#include "wire/errorbody.h"
#include "wire/multipart.h"
#include "wire/orca.h"

#define ERROR_BODY_MAX 16384

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
	case -BB_EBUSY:
		if (d->held_ns)
			bb_buf_printf(&message,
				      "every engine of the model `%s` is busy; the request waited %.1f s for one",
				      d->model_name, (double)d->held_ns / OS_SECOND);
		break;
	default: break;
	}
	request_fail(r, d->error, bb_buf_str(&message), d->error == -BB_ENOMODEL ? "model" : NULL);
	bb_buf_fini(&message);
	return STEP_WAIT;
}

/* Takes over what was decided. */
static enum step decided(struct request *r, const struct decision *d)
{
	struct worker *w = r->worker;

	r->model_index = d->model;
	r->candidates = d->candidates;
	r->engine = d->engine;
	request_why_decided(r, d);
	if (!admit_decision(r, d))
		return STEP_WAIT;
	switch (d->action) {
	case DECISION_REJECT: return rejected(r, d);
	case DECISION_HOLD:
		r->in_brain = true;
		r->brain_id = d->request;
		r->step = REQUEST_HELD;
		return STEP_WAIT;
	case DECISION_DISPATCH: break;
	}
	r->in_brain = true;
	r->brain_id = d->request;
	r->rank = d->rank;
	r->ranks = d->ranks;
	r->model_name = bb_arena_dup(&r->arena, bb_str_of(d->model_name));
	if (!r->model_name.p)
		return request_fail_step(r, -BB_ENOMEM, NULL, NULL);
	const struct snapshot_engine *e = snapshot_engine(r->snapshot, r->engine);
	r->series = metrics_series(
		w->metrics, d->model, d->engine, r->model_name,
		e ? r->snapshot->config->engines[e - r->snapshot->engines].url : BB_STR(""));
	if (!request_fits_context(r, d->context_tokens))
		return STEP_WAIT;
	r->step = REQUEST_SEND;
	return STEP_MORE;
}

static struct brain_request ask_of(const struct request *r)
{
	const struct api_info *info = api_info((enum api)r->api);

	return (struct brain_request){
		.model = r->model,
		.api = r->api,
		.prompt_tokens = r->prompt_tokens,
		.output_tokens_max = !info->generates ? 0
				     : r->body_facts  ? r->body_facts->max_tokens
						      : UINT64_MAX,
		.exclude = r->exclude,
		.exclude_count = r->exclude_count,
		.hashed = (enum prompt_hashes)r->hashed,
		.hashes = r->hashes,
		.hash_count = r->hash_count,
		.session = r->session,
		.teaches = info->generates,
		.is_blind = !r->asked_stream,
		.can_wait = info->generates && r->body_facts,
		.cookie = (uintptr_t)r,
	};
}

enum step request_decide(struct request *r)
{
	struct worker *w = r->worker;
	struct gateway *g = w->gateway;
	struct decision *d = &w->decision;
	const uint64_t from_ns = clock_now_ns();
	const struct brain_request ask = ask_of(r);

	gateway_lock(g);
	const uint64_t locked_ns = clock_now_ns();
	brain_request_arrived(g->brain, loop_now_ns(w->loop), &ask, d);
	const uint64_t done_ns = clock_now_ns();
	gateway_unlock(g);
	histogram_add(&w->metrics->brain_lock, &bounds_stage, done_ns - locked_ns);
	request_stage(r, STAGE_DECIDE, from_ns, done_ns);
	return decided(r, d);
}

enum step request_unhold(struct request *r)
{
	struct worker *w = r->worker;
	struct gateway *g = w->gateway;

	gateway_lock(g);
	const bool is_known = brain_request_decision(g->brain, r->brain_id, &w->decision);
	gateway_unlock(g);
	if (!is_known || r->step != REQUEST_HELD)
		return STEP_WAIT;
	r->in_brain = w->decision.action == DECISION_DISPATCH;
	return decided(r, &w->decision);
}

/* ---- send ---- */

/* The tenant's own prefix cache in engines that can tell them apart. */
static int salt_splice(struct request *r, struct splice_set *set)
{
	const char *const salt = request_shield(r)->salt;
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
	if (r->ranks > 1 && r->adapter->takes_rank) {
		bb_buf_lit(text, "X-Data-Parallel-Rank: ");
		bb_buf_add_u64(text, r->rank);
		bb_buf_lit(text, "\r\n");
	}
	if (r->adapter->tells_load)
		bb_buf_lit(text, ORCA_REQUEST_FIELD ": JSON\r\n");
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
	return request_fail_step(r, err, NULL, NULL);
}

enum step request_send(struct request *r)
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
	r->call.parts = bb_arena_alloc(&r->arena, (count + 1) * sizeof(struct iovec));
	if (!r->call.parts)
		return send_failed(r, -BB_ENOMEM);
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
	request_stage(r, STAGE_SEND, from_ns, clock_now_ns());
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
	request_why_failed(r, what);
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

