#include "engine_api.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/process.h"

/* Texts are tokenized on the loop's thread, so their size is what may hold up others. */
#define BODY_BYTES_PER_TOKEN 64
#define BODY_SIZE_MIN (1u << 20)

/* yyjson takes its memory where everybody does. */
static void *json_malloc(void *user, size_t size)
{
	return bb_alloc(size);
}

static void *json_realloc(void *user, void *p, size_t old_size, size_t size)
{
	return bb_realloc(p, size);
}

static void json_free(void *user, void *p)
{
	bb_free(p);
}

const yyjson_alc api_json_alloc = { json_malloc, json_realloc, json_free, NULL };

void api_error_write(const struct api_error *e, struct bb_buf *out)
{
	bb_buf_lit(out, "{\"error\":{\"message\":");
	bb_buf_add_json(out, bb_str_of(e->message));
	bb_buf_printf(out, ",\"type\":\"%s\",\"param\":", e->type);
	if (e->param)
		bb_buf_add_json(out, bb_str_of(e->param));
	else
		bb_buf_lit(out, "null");
	if (e->code)
		bb_buf_printf(out, ",\"code\":\"%s\"}}", e->code);
	else
		bb_buf_printf(out, ",\"code\":%d}}", e->status);
}

void api_headers(const char *id, const char *more, struct bb_buf *out)
{
	bb_buf_printf(out, "x-request-id: %s\r\n%s", id, more);
}

static void reply(struct exchange *x, const char *id, int status, const char *more,
		  struct bb_str type, struct bb_str body)
{
	struct bb_buf headers;

	bb_buf_init(&headers, 1024);
	api_headers(id, more, &headers);
	exchange_reply(x, status, type, bb_buf_str(&headers), body);
	bb_buf_fini(&headers);
}

/* How long the queue takes to move on by one, as far as finished requests tell: whole seconds. */
static unsigned retry_after_s(const struct engine_api *a)
{
	const struct histogram *h = &a->metrics->end_to_end;
	uint64_t count = 0;

	for (int i = 0; i < HISTOGRAM_BUCKETS_MAX; i++)
		count += metric_get(&h->counts[i]);
	if (!count)
		return 1;
	const uint64_t mean_ns = metric_get(&h->sum_ns) / count;
	const uint64_t seconds = mean_ns / a->options->parallel / 1000000000u;
	return seconds < 1 ? 1 : seconds > 60 ? 60 : (unsigned)seconds;
}

void api_exchange_error(struct engine_api *a, struct exchange *x, const char *id,
			const struct api_error *e)
{
	struct bb_buf body;
	char more[64] = "";

	if (e->status == 503)
		snprintf(more, sizeof(more), "Retry-After: %u\r\n", retry_after_s(a));
	bb_buf_init(&body, 8192);
	api_error_write(e, &body);
	reply(x, id, e->status, more, BB_STR("application/json"), bb_buf_str(&body));
	bb_buf_fini(&body);
}

void api_reply_error(struct api_request *r, const struct api_error *e)
{
	api_exchange_error(r->api, r->exchange, r->id, e);
}

void api_reply_text(struct api_request *r, int status, struct bb_str type, struct bb_str body)
{
	reply(r->exchange, r->id, status, "", type, body);
}

void api_reply(struct api_request *r, int status, const struct bb_buf *body)
{
	struct api_error e;

	if (body->err) {
		api_error_internal(&e, -BB_ENOMEM);
		api_reply_error(r, &e);
		return;
	}
	reply(r->exchange, r->id, status, "", BB_STR("application/json"), bb_buf_str(body));
}

int api_check_model(struct api_request *r, struct api_error *e)
{
	yyjson_val *v = yyjson_obj_get(r->body, "model");

	if (!v || yyjson_is_null(v))
		return 0;
	if (!yyjson_is_str(v))
		return api_error_bad(e, "model", "model must be a string.");
	if (yyjson_equals_str(v, r->api->name))
		return 0;
	return api_error_set(e, 404, "model",
			     "The model `%.128s` does not exist. This engine serves "
			     "`%.128s`.",
			     yyjson_get_str(v), r->api->name);
}

void api_error_busy(int err, struct api_error *e)
{
	if (err == -BB_EDRAINING)
		api_error_set(e, 503, NULL, "The engine is shutting down. Please try another one.");
	else if (err == -BB_EBUSY)
		api_error_set(e, 503, NULL,
			      "The engine is currently busy: its queue is full. Please "
			      "try again later.");
	else
		api_error_internal(e, err);
}

/* ---- requests ---- */

enum route_needs { NEEDS_NOTHING, NEEDS_MODEL, NEEDS_BODY };

struct route {
	struct bb_str path;
	enum llhttp_method method;
	enum route_needs needs; /* each needs what stands before it, too */
	void (*handle)(struct api_request *r);
};

static const struct route routes[] = {
	{ BB_STR_INIT("/v1/chat/completions"), HTTP_POST, NEEDS_BODY, api_chat },
	{ BB_STR_INIT("/v1/completions"), HTTP_POST, NEEDS_BODY, api_completion },
	{ BB_STR_INIT("/v1/embeddings"), HTTP_POST, NEEDS_BODY, api_embeddings },
	{ BB_STR_INIT("/tokenize"), HTTP_POST, NEEDS_BODY, api_tokenize },
	{ BB_STR_INIT("/detokenize"), HTTP_POST, NEEDS_BODY, api_detokenize },
	{ BB_STR_INIT("/v1/models"), HTTP_GET, NEEDS_MODEL, api_models },
	{ BB_STR_INIT("/health"), HTTP_GET, NEEDS_NOTHING, api_health },
	{ BB_STR_INIT("/ping"), HTTP_GET, NEEDS_NOTHING, api_health },
	{ BB_STR_INIT("/version"), HTTP_GET, NEEDS_NOTHING, api_version },
	{ BB_STR_INIT("/metrics"), HTTP_GET, NEEDS_NOTHING, api_metrics },
	{ BB_STR_INIT("/kv_event_sources"), HTTP_GET, NEEDS_NOTHING, api_kv_event_sources },
	{ BB_STR_INIT("/reset_prefix_cache"), HTTP_POST, NEEDS_MODEL, api_reset_prefix_cache },
};

static void make_id(struct api_request *r)
{
	static const char hex[] = "0123456789abcdef";
	const struct bb_str given = http_head_get(r->exchange->head, BB_STR("x-request-id"));
	unsigned char random[16];

	r->has_client_id = given.len > 0 && given.len <= REQUEST_ID_MAX;
	for (size_t i = 0; r->has_client_id && i < given.len; i++) {
		const char c = given.p[i];
		/* It ends up in a header and in JSON: nothing that means something there. */
		if (c <= ' ' || c > '~' || c == '"' || c == '\\')
			r->has_client_id = false;
		r->id[i] = c;
		r->id[i + 1] = '\0';
	}
	if (r->has_client_id)
		return;
	entropy_fill(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++) {
		r->id[2 * i] = hex[random[i] >> 4];
		r->id[2 * i + 1] = hex[random[i] & 15];
	}
	r->id[2 * sizeof(random)] = '\0';
}

static const struct route *find_route(const struct http_head *head, struct api_error *e)
{
	bool has_path = false;

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		const struct route *route = &routes[i];
		if (!bb_str_eq(route->path, head->path))
			continue;
		if (route->method == head->method ||
		    (route->method == HTTP_GET && head->method == HTTP_HEAD))
			return route;
		has_path = true;
	}
	if (has_path)
		api_error_set(e, 405, NULL, "Method Not Allowed");
	else
		api_error_set(e, 404, NULL, "Not Found");
	return NULL;
}

static void run_with_body(struct api_request *r, const struct route *route)
{
	struct exchange *x = r->exchange;
	struct api_error e;
	yyjson_read_err why = { 0 };
	yyjson_doc *doc = NULL;

	if (x->body_len)
		doc = yyjson_read_opts(x->body, x->body_len, 0, &api_json_alloc, &why);
	if (!doc && x->body_len && why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
		api_error_internal(&e, -BB_ENOMEM);
	else if (!doc)
		api_error_bad(&e, NULL, "The body is not JSON: %s at byte %zu.",
			      why.msg ? why.msg : "it is empty", why.pos);
	else if (!yyjson_is_obj(yyjson_doc_get_root(doc)))
		api_error_bad(&e, NULL, "The body must be a JSON object.");
	else {
		r->body = yyjson_doc_get_root(doc);
		exchange_drop_body(x); /* the tree has copies */
		route->handle(r);
		yyjson_doc_free(doc);
		return;
	}
	yyjson_doc_free(doc);
	api_reply_error(r, &e);
}

static void on_request(struct exchange *x)
{
	struct engine_api *a = httpd_user(x->server);
	struct api_request r = { .api = a, .exchange = x };
	struct api_error e;

	a->open_count++;
	x->user = NULL;
	make_id(&r);
	const struct route *route = find_route(x->head, &e);
	if (!route) {
		api_reply_error(&r, &e);
		return;
	}
	if (route->needs >= NEEDS_MODEL && (!a->model || a->is_draining)) {
		api_error_set(&e, 503, NULL,
			      a->model ? "The engine is shutting down."
				       : "The model is still being loaded.");
		api_reply_error(&r, &e);
		return;
	}
	if (route->needs == NEEDS_BODY)
		run_with_body(&r, route);
	else
		route->handle(&r);
}

static void on_writable(struct exchange *x)
{
	struct api_job *job = x->user;

	if (job)
		job->on_writable(job);
}

static void on_closed(struct exchange *x)
{
	struct engine_api *a = httpd_user(x->server);
	struct api_job *job = x->user;

	x->user = NULL;
	if (job)
		job->on_closed(job);
	a->open_count--;
	if (a->is_draining && a->open_count == 0)
		a->on_idle(a);
}

static void write_error(struct exchange *x, int err, const char *what, struct bb_buf *body,
			struct bb_str *content_type)
{
	struct api_error e;

	api_error_set(&e, bb_error_info(err)->http_status, NULL, "%s", what);
	api_error_write(&e, body);
	*content_type = BB_STR("application/json");
}

int engine_api_listen(struct engine_api *a, int listen_fd)
{
	static const struct httpd_ops ops = {
		.on_request = on_request,
		.on_writable = on_writable,
		.on_closed = on_closed,
		.write_error = write_error,
	};
	struct httpd_config config = { .loop = a->loop, .ops = &ops, .user = a };

	httpd_limits_default(&config.limits);
	int rc = httpd_create(&config, &a->server);
	if (!rc)
		rc = httpd_listen(a->server, listen_fd);
	return rc;
}

void engine_api_limit_bodies(struct engine_api *a)
{
	struct httpd_limits limits;
	const uint64_t size = (uint64_t)a->model->ctx_tokens * BODY_BYTES_PER_TOKEN;

	httpd_limits_default(&limits);
	if (limits.body_size_max > BODY_SIZE_MIN)
		limits.body_size_max = size > BODY_SIZE_MIN ? size : BODY_SIZE_MIN;
	httpd_set_limits(a->server, &limits);
}

void engine_api_drain(struct engine_api *a)
{
	a->is_draining = true;
	httpd_drain(a->server);
	if (a->open_count == 0)
		a->on_idle(a);
}
