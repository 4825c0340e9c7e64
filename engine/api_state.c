#include "cmd/version.h"
#include "engine_api.h"

#define SMALL_ANSWER_MAX (256 * 1024)

void api_health(struct api_request *r)
{
	struct api_error e;

	if (r->api->model) {
		api_reply_text(r, 200, BB_STR(""), BB_STR(""));
		return;
	}
	api_error_set(&e, 503, NULL, "The model is still being loaded.");
	api_reply_error(r, &e);
}

void api_models(struct api_request *r)
{
	const struct engine_api *a = r->api;
	struct bb_buf body;

	bb_buf_init(&body, SMALL_ANSWER_MAX);
	bb_buf_lit(&body, "{\"object\":\"list\",\"data\":[{\"id\":");
	bb_buf_add_json(&body, bb_str_of(a->name));
	bb_buf_printf(&body,
		      ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"busbar\",\"root\":",
		      (unsigned long long)a->created_s);
	bb_buf_add_json(&body, bb_str_of(a->options->model_path));
	bb_buf_printf(&body, ",\"parent\":null,\"max_model_len\":%u}]}", a->model->ctx_tokens);
	api_reply(r, 200, &body);
	bb_buf_fini(&body);
}

void api_version(struct api_request *r)
{
	struct bb_buf body;

	bb_buf_init(&body, SMALL_ANSWER_MAX);
	bb_buf_printf(&body, "{\"version\":\"%s\",\"engine\":\"busbar-engine\"}", busbar_version);
	api_reply(r, 200, &body);
	bb_buf_fini(&body);
}

void api_metrics(struct api_request *r)
{
	const struct engine_api *a = r->api;
	const struct metrics_facts facts = {
		.model_name = bb_str_of(a->name),
		.block_size = a->options->block_size,
		.block_count = a->model ? a->model->ctx_tokens / a->options->block_size : 0,
	};
	struct bb_buf body;

	bb_buf_init(&body, SMALL_ANSWER_MAX);
	if (metrics_write(a->metrics, &facts, &body)) {
		body.err = -BB_ENOMEM;
		api_reply(r, 200, &body);
	} else {
		api_reply_text(r, 200, BB_STR("text/plain; version=0.0.4; charset=utf-8"),
			       bb_buf_str(&body));
	}
	bb_buf_fini(&body);
}

/* The endpoint as it was given, with the port that was really bound. */
static void write_endpoint(struct bb_buf *out, const char *text, uint16_t port)
{
	const struct bb_str s = bb_str_of(text);
	size_t colon = s.len;

	while (colon > 0 && s.p[colon - 1] != ':')
		colon--;
	if (port && colon) {
		bb_buf_printf(out, "\"%.*s%u\"", (int)colon, text, port);
		return;
	}
	bb_buf_add_json(out, s);
}

void api_kv_event_sources(struct api_request *r)
{
	const struct engine_api *a = r->api;
	const struct engine_options *o = a->options;
	struct bb_buf body;

	bb_buf_init(&body, SMALL_ANSWER_MAX);
	bb_buf_lit(&body, "{");
	if (a->publisher) {
		bb_buf_lit(&body, "\"0\":{\"enable_kv_cache_events\":true,\"publisher\":\"zmq\","
				  "\"endpoint\":");
		write_endpoint(&body, o->kv_events_text, kv_publisher_port(a->publisher));
		bb_buf_lit(&body, ",\"replay_endpoint\":");
		if (o->kv_replay_text)
			write_endpoint(&body, o->kv_replay_text,
				       kv_publisher_replay_port(a->publisher));
		else
			bb_buf_lit(&body, "null");
		bb_buf_printf(&body, ",\"buffer_steps\":%d,\"topic\":", KV_BATCHES_MAX);
		bb_buf_add_json(&body, bb_str_of(o->kv_topic));
		bb_buf_lit(&body, "}");
	}
	bb_buf_lit(&body, "}");
	api_reply(r, 200, &body);
	bb_buf_fini(&body);
}

void api_reset_prefix_cache(struct api_request *r)
{
	scheduler_reset_cache(r->api->scheduler);
	api_reply_text(r, 200, BB_STR(""), BB_STR(""));
}
