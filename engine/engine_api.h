/*
 * engine_api.h: the HTTP side of the engine: routes, errors, and what requests share.
 *
 * For: main creates it before the model is loaded; api_*.c and answer.c answer requests with it.
 * Threads: the loop's thread.
 * Memory: a request that is answered later hangs a `struct api_job` on its exchange.
 * Errors: every refusal is an answer in vLLM's form (api_error.h).
 */
#pragma once

#include <yyjson.h>

#include "api_error.h"
#include "engine_metrics.h"
#include "engine_options.h"
#include "model.h"
#include "net/httpd.h"
#include "scheduler.h"

#define REQUEST_ID_MAX 128
#define ANSWER_SIZE_MAX (64u << 20)

struct engine_api {
	struct loop *loop;
	const struct engine_options *options;
	struct engine_metrics *metrics;
	struct scheduler *scheduler;
	const struct kv_publisher *publisher; /* NULL: no KV events */
	const struct model *model;	      /* NULL until it is loaded */
	const char *name;		      /* of the model */
	uint64_t created_s;
	struct httpd *server;
	uint32_t open_count; /* exchanges under way */
	bool is_draining;
	void (*on_idle)(struct engine_api *a); /* draining, and the last exchange is over */
};

/* What belongs to an exchange that is answered later. First member of its owner. */
struct api_job {
	void (*on_writable)(struct api_job *j);
	void (*on_closed)(struct api_job *j);
};

/* A request as handlers see it; valid during the call. */
/* Memory of JSON trees: base/alloc.h's. */
extern const yyjson_alc api_json_alloc;

struct api_request {
	struct engine_api *api;
	struct exchange *exchange;
	yyjson_val *body;   /* an object; NULL for GET */
	bool has_client_id; /* id is the client's x-request-id */
	char id[REQUEST_ID_MAX + 1];
};

BB_MUST int engine_api_listen(struct engine_api *a, int listen_fd);
/* Once the model is known: bodies no larger than what it could ever take. */
void engine_api_limit_bodies(struct engine_api *a);
/* No new connections; what runs goes on. on_idle is called when all is answered. */
void engine_api_drain(struct engine_api *a);

/* A whole JSON answer; a buffer that failed becomes a 503. */
void api_reply(struct api_request *r, int status, const struct bb_buf *body);
/* An answer of another type; an empty one has none. */
void api_reply_text(struct api_request *r, int status, struct bb_str type, struct bb_str body);
void api_reply_error(struct api_request *r, const struct api_error *e);
/* The same where the request is gone: `id` is what x-request-id said. */
void api_exchange_error(struct engine_api *a, struct exchange *x, const char *id,
			const struct api_error *e);
void api_error_write(const struct api_error *e, struct bb_buf *out);
/* "x-request-id: …\r\n" and more header lines. */
void api_headers(const char *id, const char *more, struct bb_buf *out);
/* Is `model`, if given, ours? */
BB_MUST int api_check_model(struct api_request *r, struct api_error *e);
/* The queue is full, or the engine stops. */
void api_error_busy(int err, struct api_error *e);

/* Handlers. */
void api_chat(struct api_request *r);
void api_completion(struct api_request *r);
void api_embeddings(struct api_request *r);
void api_tokenize(struct api_request *r);
void api_detokenize(struct api_request *r);
void api_health(struct api_request *r);
void api_models(struct api_request *r);
void api_version(struct api_request *r);
void api_metrics(struct api_request *r);
void api_kv_event_sources(struct api_request *r);
void api_reset_prefix_cache(struct api_request *r);
