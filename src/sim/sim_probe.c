/* sim_probe.c: what is asked of an engine besides answers: health, models, metrics, properties. */
#include "sim/sim_core.h"

#include "os/clock.h"

#define KINDS(a) (1u << (a))
#define NEARLY_ALL (KINDS(SIM_VLLM) | KINDS(SIM_LLAMACPP) | KINDS(SIM_SGLANG) | KINDS(SIM_TRTLLM))

typedef void probe(struct exchange *x, struct sim_server *s);

static void reply_text(struct exchange *x, struct bb_str type, struct bb_str text)
{
	exchange_reply(x, 200, type, BB_STR(""), text);
}

/* ---- models ---- */

static void add_vllm_model(const struct sim_server *s, uint32_t index, struct bb_buf *b)
{
	const bool is_lora = index >= s->config.model_count;

	bb_buf_lit(b, "{\"id\":");
	bb_buf_add_json(b, sim_server_model(s, index));
	bb_buf_printf(b, ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"%s\",\"root\":",
		      (unsigned long long)s->started_s, sim_is(s, SIM_SGLANG) ? "sglang" : "vllm");
	bb_buf_add_json(b, sim_server_model(s, index));
	bb_buf_lit(b, ",\"parent\":");
	if (is_lora)
		bb_buf_add_json(b, s->config.models[0]);
	else
		bb_buf_lit(b, "null");
	/* vLLM does not say the length for adapters. */
	if (is_lora)
		bb_buf_lit(b, ",\"max_model_len\":null}");
	else
		bb_buf_printf(b, ",\"max_model_len\":%u}", s->config.model_len_max);
}

static void add_llama_model(const struct sim_server *s, uint32_t index, struct bb_buf *b)
{
	bb_buf_lit(b, "{\"id\":");
	bb_buf_add_json(b, sim_server_model(s, index));
	bb_buf_printf(b,
		      ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"llamacpp\","
		      "\"meta\":{\"n_ctx\":%u,\"n_ctx_train\":%u}}",
		      (unsigned long long)s->started_s, s->config.model_len_max,
		      s->config.model_len_max);
}

static void add_plain_model(const struct sim_server *s, uint32_t index, struct bb_buf *b)
{
	bb_buf_lit(b, "{\"id\":");
	bb_buf_add_json(b, sim_server_model(s, index));
	bb_buf_printf(b, ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"%s\"}",
		      (unsigned long long)s->started_s,
		      sim_is(s, SIM_TRTLLM) ? "tensorrt_llm" : "system");
}

static void probe_models(struct exchange *x, struct sim_server *s)
{
	struct bb_buf *b = &s->body;

	bb_buf_clear(b);
	bb_buf_lit(b, "{\"object\":\"list\",\"data\":[");
	for (uint32_t i = 0; i < s->config.model_count + s->config.lora_count; i++) {
		if (i)
			bb_buf_lit(b, ",");
		if (sim_is(s, SIM_VLLM) || sim_is(s, SIM_SGLANG))
			add_vllm_model(s, i, b);
		else if (sim_is(s, SIM_LLAMACPP))
			add_llama_model(s, i, b);
		else
			add_plain_model(s, i, b);
	}
	bb_buf_lit(b, "]}");
	sim_reply_json(x, 200, b);
}

/* ---- health, versions, load ---- */

static void probe_health(struct exchange *x, struct sim_server *s)
{
	if (sim_is(s, SIM_LLAMACPP))
		reply_text(x, BB_STR("application/json"), BB_STR("{\"status\":\"ok\"}"));
	else
		reply_text(x, BB_STR(""), BB_STR(""));
}

static void probe_version(struct exchange *x, struct sim_server *s)
{
	reply_text(x, BB_STR("application/json"),
		   sim_is(s, SIM_TRTLLM) ? BB_STR("{\"version\":\"1.2.0\"}")
					 : BB_STR("{\"version\":\"0.32.0\"}"));
}

static void probe_load(struct exchange *x, struct sim_server *s)
{
	bb_buf_clear(&s->body);
	/* This request is one of the server's exchanges, but no load. */
	bb_buf_printf(&s->body, "{\"server_load\":%u}", httpd_exchange_count(s->httpd) - 1);
	sim_reply_json(x, 200, &s->body);
}

static void probe_metrics(struct exchange *x, struct sim_server *s)
{
	const struct sim_metrics_info info = {
		.ranks = s->config.ranks,
		.model = s->config.models[0],
		.kv_blocks = s->config.engine.kv_blocks,
		.block_size = s->config.engine.block_size,
		.seqs_max = s->config.engine.seqs_max,
	};
	struct sim_engine_stats stats;

	sim_engine_stats(s->engine, &stats);
	bb_buf_clear(&s->body);
	switch (s->config.kind) {
	case SIM_LLAMACPP: sim_metrics_llamacpp(&s->metrics, &stats, &s->body); break;
	case SIM_SGLANG: sim_metrics_sglang(&s->metrics, &stats, &info, &s->body); break;
	case SIM_TRTLLM:
		sim_metrics_trtllm(&stats, &info, &s->body);
		sim_reply_json(x, 200, &s->body);
		return;
	case SIM_VLLM:
	case SIM_OPENAI: sim_metrics_vllm(&s->metrics, &stats, &info, &s->body); break;
	}
	reply_text(x, BB_STR("text/plain; version=0.0.4; charset=utf-8"), bb_buf_str(&s->body));
}

/* ---- vLLM ---- */

static void probe_kv_sources(struct exchange *x, struct sim_server *s)
{
	struct bb_buf *b = &s->body;

	bb_buf_clear(b);
	if (!s->events) {
		bb_buf_lit(b, "{}");
		sim_reply_json(x, 200, b);
		return;
	}
	bb_buf_printf(b,
		      "{\"0\":{\"enable_kv_cache_events\":true,\"publisher\":\"zmq\","
		      "\"endpoint\":\"tcp://*:%u\",\"replay_endpoint\":",
		      zmq_pub_port(s->events));
	if (s->config.kv_replay.len)
		bb_buf_printf(b, "\"tcp://*:%u\"", zmq_pub_replay_port(s->events));
	else
		bb_buf_lit(b, "null");
	bb_buf_lit(b,
		   ",\"buffer_steps\":10000,\"hwm\":100000,\"max_queue_size\":100000,\"topic\":");
	bb_buf_add_json(b, s->config.kv_topic);
	bb_buf_lit(b, "}}");
	sim_reply_json(x, 200, b);
}

static void probe_openapi(struct exchange *x, struct sim_server *s)
{
	static const char *const others[] = {
		"/health",    "/ping",    "/version",          "/load",
		"/v1/models", "/metrics", "/kv_event_sources",
	};
	struct bb_buf *b = &s->body;

	bb_buf_clear(b);
	bb_buf_lit(b, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"busbar sim\","
		      "\"version\":\"0.32.0\"},\"paths\":{");
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		bb_buf_printf(b, "%s\"%s\":{\"get\":{}}", i ? "," : "", others[i]);
	for (int api = API_NONE + 1; api < API_COUNT; api++)
		if (sim_offers(s, (enum api)api))
			bb_buf_printf(b, ",\"%.*s\":{\"post\":{}}",
				      BB_ARG(api_info((enum api)api)->path));
	bb_buf_lit(b, "}}");
	sim_reply_json(x, 200, b);
}

static void probe_reset(struct exchange *x, struct sim_server *s)
{
	if (sim_engine_reset_cache(s->engine)) {
		sim_reply_error(x, 500, "InternalServerError", NULL,
				"some blocks are still in use");
		return;
	}
	/* As in vLLM, AllBlocksCleared comes with the next step's batch. */
	s->has_cleared = s->events != NULL;
	reply_text(x, BB_STR(""), BB_STR(""));
}

/* ---- llama.cpp ---- */

static void probe_props(struct exchange *x, struct sim_server *s)
{
	struct bb_buf *b = &s->body;

	bb_buf_clear(b);
	bb_buf_printf(b,
		      "{\"default_generation_settings\":{\"n_ctx\":%u},\"total_slots\":%u,"
		      "\"model_alias\":",
		      s->config.model_len_max, s->config.engine.seqs_max);
	bb_buf_add_json(b, s->config.models[0]);
	bb_buf_lit(b,
		   ",\"model_path\":\"/models/sim.gguf\",\"model_ftype\":\"F16\","
		   "\"modalities\":{\"vision\":false,\"audio\":false},\"chat_template\":\"chatml\","
		   "\"endpoint_slots\":true,\"endpoint_props\":false,\"endpoint_metrics\":true,"
		   "\"build_info\":\"sim\",\"is_sleeping\":false}");
	sim_reply_json(x, 200, b);
}

static void probe_slots(struct exchange *x, struct sim_server *s)
{
	struct sim_engine_stats stats;
	const uint32_t slots = s->config.engine.seqs_max;
	const bool must_be_free = bb_str_eq(x->head->query, BB_STR("fail_on_no_slot=1"));

	sim_engine_stats(s->engine, &stats);
	if (must_be_free && stats.running >= slots) {
		sim_reply_error(x, 503, "unavailable_error", NULL, "no slot available");
		return;
	}
	bb_buf_clear(&s->body);
	bb_buf_lit(&s->body, "[");
	for (uint32_t i = 0; i < slots; i++)
		bb_buf_printf(
			&s->body,
			"%s{\"id\":%u,\"n_ctx\":%u,\"speculative\":false,\"is_processing\":%s}",
			i ? "," : "", i, s->config.model_len_max,
			i < stats.running ? "true" : "false");
	bb_buf_lit(&s->body, "]");
	sim_reply_json(x, 200, &s->body);
}

/* ---- SGLang and TensorRT-LLM ---- */

/* SGLang's account of what it publishes. */
static void kv_events_member(struct bb_buf *b, const struct sim_server *s)
{
	bb_buf_printf(b,
		      ",\"kv_events\":{\"publisher\":\"%s\",\"endpoint_host\":\"*\","
		      "\"endpoint_port_base\":%u,\"block_size\":%u,\"dp_size\":1,\"topic\":",
		      s->events ? "zmq" : "null", s->events ? zmq_pub_port(s->events) : 0,
		      s->config.engine.block_size);
	bb_buf_add_json(b, s->config.kv_topic);
	if (s->events && s->config.kv_replay.len)
		bb_buf_printf(b, ",\"replay_endpoint_port_base\":%u",
			      zmq_pub_replay_port(s->events));
	if (s->load)
		bb_buf_printf(b, ",\"load_endpoint_port_base\":%u,\"load_topic\":\"load\"",
			      zmq_pub_port(s->load));
	bb_buf_lit(b, "}");
}

/* As vLLM in its development mode. */
static void probe_server_config(struct exchange *x, struct sim_server *s)
{
	bb_buf_clear(&s->body);
	bb_buf_printf(&s->body,
		      "{\"vllm_config\":{\"scheduler_config\":{\"max_num_seqs\":%u},"
		      "\"cache_config\":{\"block_size\":%u},"
		      "\"parallel_config\":{\"data_parallel_size\":%u}}}",
		      s->config.engine.seqs_max, s->config.engine.block_size, s->config.ranks);
	sim_reply_json(x, 200, &s->body);
}

static void probe_server_info(struct exchange *x, struct sim_server *s)
{
	struct bb_buf *b = &s->body;
	const struct sim_engine_params *e = &s->config.engine;

	bb_buf_clear(b);
	bb_buf_lit(b, "{\"model_path\":");
	bb_buf_add_json(b, s->config.models[0]);
	bb_buf_printf(b,
		      ",\"version\":\"%s\",\"page_size\":%u,\"max_total_num_tokens\":%llu,"
		      "\"max_running_requests\":%u,\"context_length\":%u,\"dp_size\":1",
		      sim_is(s, SIM_SGLANG) ? "0.5.23" : "1.2.0", e->block_size,
		      (unsigned long long)(e->kv_blocks - 1) * e->block_size, e->seqs_max,
		      s->config.model_len_max);
	if (sim_is(s, SIM_SGLANG) && (s->events || s->load))
		kv_events_member(b, s);
	bb_buf_lit(b, "}");
	sim_reply_json(x, 200, b);
}

static void probe_model_info(struct exchange *x, struct sim_server *s)
{
	bb_buf_clear(&s->body);
	bb_buf_lit(&s->body, "{\"model_path\":");
	bb_buf_add_json(&s->body, s->config.models[0]);
	bb_buf_lit(&s->body, ",\"tokenizer_path\":");
	bb_buf_add_json(&s->body, s->config.models[0]);
	bb_buf_lit(&s->body, ",\"is_generation\":true}");
	sim_reply_json(x, 200, &s->body);
}

static void probe_kv_cache_events(struct exchange *x, struct sim_server *s)
{
	sim_events_polled(x, s);
}

/* ---- which path is whose ---- */

static const struct {
	struct bb_str path;
	enum llhttp_method method;
	uint32_t kinds;
	probe *answer;
} probes[] = {
	{ BB_STR_INIT("/v1/models"), HTTP_GET, ~0u, probe_models },
	{ BB_STR_INIT("/health"), HTTP_GET, NEARLY_ALL, probe_health },
	{ BB_STR_INIT("/v1/health"), HTTP_GET, KINDS(SIM_LLAMACPP), probe_health },
	{ BB_STR_INIT("/ping"), HTTP_GET, KINDS(SIM_VLLM), probe_health },
	{ BB_STR_INIT("/ping"), HTTP_POST, KINDS(SIM_VLLM), probe_health },
	{ BB_STR_INIT("/health_generate"), HTTP_GET, KINDS(SIM_SGLANG) | KINDS(SIM_TRTLLM),
	  probe_health },
	{ BB_STR_INIT("/version"), HTTP_GET, KINDS(SIM_VLLM) | KINDS(SIM_TRTLLM), probe_version },
	{ BB_STR_INIT("/load"), HTTP_GET, KINDS(SIM_VLLM), probe_load },
	{ BB_STR_INIT("/metrics"), HTTP_GET, NEARLY_ALL, probe_metrics },
	{ BB_STR_INIT("/kv_event_sources"), HTTP_GET, KINDS(SIM_VLLM), probe_kv_sources },
	{ BB_STR_INIT("/openapi.json"), HTTP_GET, KINDS(SIM_VLLM), probe_openapi },
	{ BB_STR_INIT("/reset_prefix_cache"), HTTP_POST, KINDS(SIM_VLLM), probe_reset },
	{ BB_STR_INIT("/props"), HTTP_GET, KINDS(SIM_LLAMACPP), probe_props },
	{ BB_STR_INIT("/slots"), HTTP_GET, KINDS(SIM_LLAMACPP), probe_slots },
	{ BB_STR_INIT("/models"), HTTP_GET, KINDS(SIM_LLAMACPP), probe_models },
	{ BB_STR_INIT("/server_info"), HTTP_GET, KINDS(SIM_SGLANG) | KINDS(SIM_TRTLLM),
	  probe_server_info },
	{ BB_STR_INIT("/server_info"), HTTP_GET, KINDS(SIM_VLLM), probe_server_config },
	{ BB_STR_INIT("/get_server_info"), HTTP_GET, KINDS(SIM_SGLANG), probe_server_info },
	{ BB_STR_INIT("/kv_cache_events"), HTTP_POST, KINDS(SIM_TRTLLM), probe_kv_cache_events },
	{ BB_STR_INIT("/get_model_info"), HTTP_GET, KINDS(SIM_SGLANG), probe_model_info },
};

bool sim_probe(struct exchange *x, enum sim_health health)
{
	struct sim_server *s = httpd_user(x->server);

	for (size_t i = 0; i < sizeof(probes) / sizeof(*probes); i++) {
		if (!bb_str_eq(x->head->path, probes[i].path) ||
		    x->head->method != probes[i].method || !(probes[i].kinds >> s->config.kind & 1))
			continue;
		if (health == SIM_UNHEALTHY && probes[i].answer == probe_health)
			exchange_reply(x, 503, BB_STR(""), BB_STR(""), BB_STR(""));
		else
			probes[i].answer(x, s);
		return true;
	}
	return false;
}
