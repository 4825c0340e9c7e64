/* request_scan.c: what a request's head and body say, checked. */
#include "gateway/request_steps.h"

#include <stdio.h>

#include "base/log.h"
#include "gateway/admit.h"
#include "gateway/control.h"
#include "os/clock.h"
#include "wire/errorbody.h"
#include "wire/multipart.h"


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

bool request_id_take(struct request *r, const struct http_head *h)
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
		BB_STR_INIT("x-data-parallel-rank"),
	};

	if (http_name_is(name, names, sizeof(names) / sizeof(names[0])))
		return true;
	if (credentials == CREDENTIALS_HIDE)
		return bb_str_eq_nocase(name, BB_STR("authorization")) ||
		       bb_str_eq_nocase(name, BB_STR("x-api-key"));
	return false;
}

/* Servers behind CGI-like interfaces take Content_Length for Content-Length: it does not pass. */
static bool is_ambiguous(struct bb_str name)
{
	return memchr(name.p, '_', name.len) != NULL;
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

	bb_buf_clear(text);
	for (uint32_t i = 0; i < h->count; i++) {
		const struct http_header *f = &h->headers[i];
		if (http_stays_here(h, f->name) || is_own_field(f->name, hides) ||
		    is_ambiguous(f->name))
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

bool request_answer_fields(struct request *r, const struct http_head *h)
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
			bb_buf_lit(text, "\r\nAccess-Control-Expose-Headers: x-request-id, retry-after");
			if (c->explain == CONFIG_ON || c->tenants.count)
				bb_buf_lit(text, ", x-busbar-engine, x-busbar-cached-tokens, "
						 "x-busbar-reason");
			bb_buf_lit(text, "\r\n");
		}
	}
	if (text->err)
		return false;
	r->own_fields = r->answer_fields = bb_arena_dup(&r->arena, bb_buf_str(text));
	return r->own_fields.p != NULL;
}

/* What may be asked of engines in this request. */
const struct tenant_shield *request_shield(const struct request *r)
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
		return request_fail_step(r, -BB_ENOMEM, NULL, NULL);
	if (body.len == 0)
		return request_fail_step(r, -BB_ESYNTAX, "the request has no body; a JSON object is expected",
				 NULL);
	const int rc = openai_request_check((enum api)r->api, body, &request_shield(r)->policy, &r->arena,
					    r->body_facts, &at, &param);
	if (rc == -BB_ESYNTAX) {
		snprintf(message, sizeof(message),
			 "the body is not valid JSON: %s at byte %zu of %zu",
			 at.what ? at.what : "malformed", at.offset, body.len);
		return request_fail_step(r, rc, message, NULL);
	}
	if (rc == -BB_EINVALID) {
		snprintf(message, sizeof(message), "invalid value for '%s': %s (at byte %zu)",
			 param ? param : "body", at.what ? at.what : "not allowed", at.offset);
		return request_fail_step(r, rc, message, param);
	}
	if (rc == -BB_ESHIELD) {
		snprintf(message, sizeof(message), "'%s' is not allowed here: %s (at byte %zu)",
			 param ? param : "body", at.what ? at.what : "not allowed", at.offset);
		return request_fail_step(r, rc, message, param);
	}
	if (rc)
		return request_fail_step(r, rc, NULL, NULL);
	r->model = bb_arena_dup(&r->arena, r->body_facts->model); /* the body goes before the request */
	if (!r->model.p)
		return request_fail_step(r, -BB_ENOMEM, NULL, NULL);
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
		return request_fail_step(r, -BB_EINVALID,
				 "the multipart/form-data body is malformed, or its field 'model' is",
				 "model");
	r->model_span = value;
	r->model = bb_arena_dup(&r->arena, value);
	if (!r->model.p)
		return request_fail_step(r, -BB_ENOMEM, NULL, NULL);
	if (multipart_field(r->content_type, body, BB_STR("stream"), &value) == 0)
		r->asked_stream = bb_str_eq(value, BB_STR("true"));
	return STEP_MORE;
}

enum step request_scan(struct request *r)
{
	const struct http_head *h = r->x->head;
	const struct api_info *info = api_info((enum api)r->api);
	const uint64_t from_ns = clock_now_ns();

	r->content_type = bb_arena_dup(&r->arena, http_head_get(h, BB_STR("content-type")));
	r->target = bb_arena_dup(&r->arena, h->target);
	if (!r->content_type.p || !r->target.p || !fields_take(r, h))
		return request_fail_step(r, -BB_ENOMEM, NULL, NULL);
	const struct bb_str coding = http_head_get(h, BB_STR("content-encoding"));
	if (coding.len && !bb_str_eq_nocase(coding, BB_STR("identity")))
		return request_fail_step(r, -BB_EENCODING, NULL, NULL);
	const bool is_multipart = multipart_is(r->content_type);
	if (is_multipart && info->body == API_BODY_JSON)
		return request_fail_step(r, -BB_EINVALID, "this endpoint takes a JSON body", NULL);
	if (!is_multipart && info->body == API_BODY_MULTIPART)
		return request_fail_step(r, -BB_EINVALID, "this endpoint takes a multipart/form-data body",
				 NULL);
	const enum step step = is_multipart ? scan_multipart(r) : scan_json(r);
	if (r->step == REQUEST_DONE)
		return step;
	if (!r->model.len && r->api != API_TOKENIZE && r->api != API_DETOKENIZE)
		return request_fail_step(r, -BB_EINVALID, "the request names no model", "model");
	r->step = REQUEST_TOKENS;
	request_stage(r, STAGE_SCAN, from_ns, clock_now_ns());
	return STEP_MORE;
}

