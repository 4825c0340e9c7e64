/* sim_server.c: requests in, errors out, and the engine's clock. */
#include "sim/sim_server.h"

#include "sim/sim_core.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/httpd_conn.h" /* for bytes that are not HTTP: see reply_garbage */
#include "os/clock.h"

#define ANSWERS_KEEP 4096
#define HEADERS_MAX (128u << 10)
#define BATCH_MAX (16u << 20)

void sim_config_default(struct sim_config *c)
{
	*c = (struct sim_config){
		.engine = {
			.ttft_ns = 20 * OS_MS,
			.itl_ns = 5 * OS_MS,
			.kv_blocks = 16384,
			.block_size = 16,
			.seqs_max = 256,
			.requests_max = 65536,
		},
		.model_len_max = 32768,
		.output_tokens = 16,
		.ranks = 1,
		.embedding_size = 64,
	};
}

/* ---- models ---- */

struct bb_str sim_server_model(const struct sim_server *s, uint32_t index)
{
	const struct sim_config *c = &s->config;

	BB_ASSERT(index < c->model_count + c->lora_count);
	return index < c->model_count ? c->models[index] : c->loras[index - c->model_count];
}

uint32_t sim_server_find_model(const struct sim_server *s, struct bb_str name)
{
	/* llama-server serves what it has, whatever it is called; vLLM when no name is given. */
	if (!name.p || name.len == 0)
		return 0;
	for (uint32_t i = 0; i < s->config.model_count + s->config.lora_count; i++)
		if (bb_str_eq(name, sim_server_model(s, i)))
			return i;
	return sim_is(s, SIM_LLAMACPP) ? 0 : SIM_ABSENT;
}

/* ---- answers ---- */

enum sim_load_format sim_load_format(const struct exchange *x)
{
	const struct bb_str want = http_head_get(x->head, BB_STR("endpoint-load-metrics-format"));

	if (want.p && bb_str_eq_nocase(want, BB_STR("json")))
		return SIM_LOAD_JSON;
	return want.p && bb_str_eq_nocase(want, BB_STR("text")) ? SIM_LOAD_TEXT : SIM_LOAD_NONE;
}

struct bb_str sim_headers(struct sim_server *s, struct bb_str request_id,
			  enum sim_load_format format)
{
	struct bb_buf *b = &s->headers;
	struct sim_engine_stats stats;

	bb_buf_clear(b);
	if (!sim_is(s, SIM_VLLM))
		return bb_buf_str(b);
	bb_buf_printf(b, "x-request-id: %.*s\r\n", BB_ARG(request_id));
	if (format == SIM_LOAD_NONE)
		return bb_buf_str(b);
	sim_engine_stats(s->engine, &stats);
	const double usage = (double)stats.blocks_held / stats.blocks;
	if (format == SIM_LOAD_JSON)
		bb_buf_printf(
			b,
			"endpoint-load-metrics: JSON {\"named_metrics\": "
			"{\"num_requests_waiting\": %u.0, \"kv_cache_usage_perc\": %.6f}}\r\n",
			stats.waiting, usage);
	else
		bb_buf_printf(
			b,
			"endpoint-load-metrics: TEXT named_metrics.num_requests_waiting=%u.0, "
			"named_metrics.kv_cache_usage_perc=%.6f\r\n",
			stats.waiting, usage);
	return bb_buf_str(b);
}

struct bb_str sim_request_id(struct exchange *x, char room[SIM_ID_MAX])
{
	struct sim_server *s = httpd_user(x->server);
	struct bb_str id = http_head_get(x->head, BB_STR("x-request-id"));

	if (id.len > 0 && id.len < SIM_ID_MAX && bb_str_find(id, BB_STR("\"")) < 0 &&
	    bb_str_find(id, BB_STR("\\")) < 0) {
		memcpy(room, id.p, id.len);
		return (struct bb_str){ room, id.len };
	}
	const int len =
		snprintf(room, SIM_ID_MAX, "%016llx", (unsigned long long)bb_rng_next(&s->rng));
	return (struct bb_str){ room, (size_t)len };
}

void sim_reply_json(struct exchange *x, int status, const struct bb_buf *body)
{
	exchange_reply(x, status, BB_STR("application/json"), BB_STR(""), bb_buf_str(body));
}

/* The inside of the error object of each kind. */
static void add_error(const struct sim_server *s, struct bb_buf *b, int status, const char *type,
		      const char *param, const char *message)
{
	if (sim_is(s, SIM_LLAMACPP)) {
		bb_buf_printf(b, "{\"error\":{\"code\":%d,\"message\":", status);
		bb_buf_add_json(b, bb_str_of(message));
		bb_buf_printf(b, ",\"type\":\"%s\"}}",
			      status == 503   ? "unavailable_error"
			      : status == 404 ? "not_found_error"
			      : status >= 500 ? "server_error"
					      : "invalid_request_error");
		return;
	}
	bb_buf_add_str(b, sim_is(s, SIM_SGLANG) ? BB_STR("{\"object\":\"error\",\"message\":")
						: BB_STR("{\"error\":{\"message\":"));
	bb_buf_add_json(b, bb_str_of(message));
	bb_buf_printf(b, ",\"type\":\"%s\",\"param\":", type);
	if (param)
		bb_buf_add_json(b, bb_str_of(param));
	else
		bb_buf_lit(b, "null");
	bb_buf_printf(b, ",\"code\":%d%s", status, sim_is(s, SIM_SGLANG) ? "}" : "}}");
}

void sim_reply_error(struct exchange *x, int status, const char *type, const char *param,
		     const char *message)
{
	struct sim_server *s = httpd_user(x->server);
	const bool is_anthropic = x->head && bb_str_starts(x->head->path, BB_STR("/v1/messages"));

	bb_buf_clear(&s->body);
	if (is_anthropic) {
		bb_buf_printf(&s->body,
			      "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type);
		bb_buf_add_json(&s->body, bb_str_of(message));
		bb_buf_lit(&s->body, "}}");
	} else {
		add_error(s, &s->body, status, type, param, message);
	}
	exchange_reply(x, status, BB_STR("application/json"),
		       status == 503 ? BB_STR("Retry-After: 1\r\n") : BB_STR(""),
		       bb_buf_str(&s->body));
}

static void reply_no_route(struct exchange *x, int status)
{
	struct sim_server *s = httpd_user(x->server);

	if (sim_is(s, SIM_LLAMACPP)) {
		sim_reply_error(x, status, "not_found_error", NULL, "File Not Found");
		return;
	}
	exchange_reply(x, status, BB_STR("application/json"), BB_STR(""),
		       status == 404 ? BB_STR("{\"detail\":\"Not Found\"}")
				     : BB_STR("{\"detail\":\"Method Not Allowed\"}"));
}

/* ---- requests ---- */

bool sim_read(struct exchange *x, enum api api, struct sim_request *out)
{
	struct sim_server *s = httpd_user(x->server);
	const struct bb_str body = { x->body, x->body_len };
	const char *why = NULL;
	const int rc = sim_request_read(
		&s->reader, api, body,
		sim_is(s, SIM_LLAMACPP) ? SIM_PREFILL_ALWAYS : SIM_PREFILL_WHEN_ASKED, out, &why);

	if (rc == 0)
		return true;
	if (rc == -BB_EINVALID)
		sim_reply_error(x, 400, "BadRequestError", NULL, why);
	else
		sim_reply_error(x, rc == -BB_ELIMIT ? 413 : 500, "InternalServerError", NULL,
				bb_error_info(rc)->text);
	return false;
}

static void reply_too_long(struct exchange *x, const struct sim_server *s, uint32_t prompt)
{
	char text[512];

	if (sim_is(s, SIM_LLAMACPP)) {
		snprintf(text, sizeof(text),
			 "{\"error\":{\"code\":400,\"message\":\"request (%u tokens) exceeds the "
			 "available context size (%u tokens), try increasing it\",\"type\":"
			 "\"exceed_context_size_error\",\"n_prompt_tokens\":%u,\"n_ctx\":%u}}",
			 prompt, s->config.model_len_max, prompt, s->config.model_len_max);
		exchange_reply(x, 400, BB_STR("application/json"), BB_STR(""), bb_str_of(text));
		return;
	}
	snprintf(text, sizeof(text),
		 "This model's maximum context length is %u tokens. However, your prompt contains "
		 "%u input tokens, which exceeds this limit even without any output tokens. "
		 "Please reduce the length of the input prompt. (parameter=input_tokens, "
		 "value=%u)",
		 s->config.model_len_max, prompt, prompt);
	sim_reply_error(x, 400, "BadRequestError", "input_tokens", text);
}

static bool check_lengths(struct exchange *x, const struct sim_server *s,
			  const struct sim_request *r)
{
	const uint32_t max = s->config.model_len_max;
	char text[512];

	if (r->max_tokens != SIM_ABSENT && r->max_tokens > max && !sim_is(s, SIM_LLAMACPP)) {
		snprintf(text, sizeof(text),
			 "max_tokens=%u cannot be greater than max_model_len=%u. Please request "
			 "fewer output tokens. (parameter=max_tokens, value=%u)",
			 r->max_tokens, max, r->max_tokens);
		sim_reply_error(x, 400, "BadRequestError", "max_tokens", text);
		return false;
	}
	for (uint32_t i = 0; i < s->reader.prompt_count; i++) {
		const uint32_t prompt = s->reader.prompts[i].count;
		if (prompt > max) {
			reply_too_long(x, s, prompt);
			return false;
		}
		if (r->max_tokens == SIM_ABSENT || sim_is(s, SIM_LLAMACPP) ||
		    r->max_tokens <= max - prompt)
			continue;
		snprintf(text, sizeof(text),
			 "This model's maximum context length is %u tokens. However, you requested "
			 "%u output tokens and your prompt contains %u input tokens, for a total "
			 "of %llu tokens. Please reduce the length of the input prompt or the "
			 "number of requested output tokens. (parameter=input_tokens, value=%u)",
			 max, r->max_tokens, prompt, (unsigned long long)r->max_tokens + prompt,
			 prompt);
		sim_reply_error(x, 400, "BadRequestError", "input_tokens", text);
		return false;
	}
	return true;
}

bool sim_check(struct exchange *x, const struct sim_request *r, uint32_t *model)
{
	struct sim_server *s = httpd_user(x->server);
	const uint32_t found = sim_server_find_model(s, r->model);
	char text[512];

	if (found == SIM_ABSENT) {
		snprintf(text, sizeof(text),
			 "The model `%.*s` does not exist. Valid aliases: %.*s.",
			 r->model.len < 128 ? (int)r->model.len : 128, r->model.p,
			 BB_ARG(s->config.models[0]));
		sim_reply_error(x, 404, "NotFoundError", "model", text);
		return false;
	}
	*model = found;
	return check_lengths(x, s, r);
}

/*
 * Bytes that are not HTTP. The server cannot say such a thing, so they go to the socket past it;
 * nothing of an answer can have been written before.
 */
static void reply_garbage(struct exchange *x)
{
	static const char garbage[] =
		"\x16\x03\x01\x02garbage \x00\xff\xfe{{{\r\n\r\nnot HTTP at all\n";
	size_t written;

	(void)!sock_write(exchange_conn(x)->watch.fd, garbage, sizeof(garbage) - 1, &written);
	exchange_abort(x);
}

/* Faults that leave nothing of the request. True: it is dealt with. */
static bool fail_at_once(struct exchange *x, const struct sim_fault_draw *f)
{
	if (sim_fault_is(f, SIM_FAULT_REFUSE) || sim_fault_is(f, SIM_FAULT_DOWN))
		exchange_abort(x);
	else if (sim_fault_is(f, SIM_FAULT_GARBAGE))
		reply_garbage(x);
	else if (sim_fault_is(f, SIM_FAULT_BUSY))
		sim_reply_error(x, 503, "ServiceUnavailableError", NULL,
				"The engine is currently busy. Please retry on another instance.");
	else if (sim_fault_is(f, SIM_FAULT_ERROR))
		sim_reply_error(x, 500, "InternalServerError", NULL, "Internal server error");
	else
		return sim_fault_is(f, SIM_FAULT_HANG) || sim_fault_is(f, SIM_FAULT_DEAF);
	return true;
}

bool sim_offers(const struct sim_server *s, enum api api)
{
	if (api == API_NONE || api == API_SPEECH || api == API_TRANSLATIONS ||
	    api == API_IMAGE_EDITS || api == API_IMAGE_VARIATIONS)
		return false;
	return !sim_is(s, SIM_OPENAI) || (api != API_TOKENIZE && api != API_DETOKENIZE);
}

static void on_api_request(struct exchange *x)
{
	struct sim_server *s = httpd_user(x->server);
	const enum api api = api_from_path(x->head->path);
	struct sim_fault_draw faults;

	if (!sim_offers(s, api)) {
		reply_no_route(x, 404);
		return;
	}
	if (x->head->method != HTTP_POST) {
		reply_no_route(x, 405);
		return;
	}
	struct sim_faults set = s->config.faults;
	set.mask &= ~SIM_FAULTS_KV;
	sim_faults_draw(&set, &s->rng, &faults);
	if (fail_at_once(x, &faults))
		return;
	if (api == API_CHAT || api == API_COMPLETIONS || api == API_MESSAGES ||
	    api == API_RESPONSES)
		sim_generate(x, api, &faults);
	else
		sim_pooling(x, api);
}

static void on_request(struct exchange *x)
{
	struct sim_server *s = httpd_user(x->server);
	const uint32_t mask =
		1u << SIM_FAULT_DEAF | 1u << SIM_FAULT_DOWN | 1u << SIM_FAULT_UNHEALTHY;
	struct sim_fault_draw draw = { 0 };

	if (sim_control(x))
		return;
	request_log_add(&s->log, x->head, (struct bb_str){ x->body, x->body_len });
	/* Probes meet only the faults meant for them, and leave the others' numbers alone. */
	if (s->config.faults.mask & mask) {
		struct sim_faults faults = s->config.faults;
		faults.mask &= mask;
		sim_faults_draw(&faults, &s->rng, &draw);
	}
	if (fail_at_once(x, &draw))
		return;
	if (!sim_probe(x, sim_fault_is(&draw, SIM_FAULT_UNHEALTHY) ? SIM_UNHEALTHY : SIM_HEALTHY))
		on_api_request(x);
}

static void on_writable(struct exchange *x)
{
	struct sim_answer *a = x->user;

	if (!a)
		return;
	struct sim_server *s = a->server;
	a->is_blocked = false;
	sim_answer_pump(a);
	sim_server_settle(s);
}

static const struct httpd_ops http_events = {
	.on_request = on_request,
	.on_writable = on_writable,
	.on_closed = sim_answer_closed,
};

/* ---- the engine's clock ---- */

void sim_server_settle(struct sim_server *s)
{
	while (!bb_list_is_empty(&s->due)) {
		struct bb_list *first = s->due.next;
		bb_list_remove(first);
		sim_answer_pump(BB_CONTAINER(first, struct sim_answer, due));
	}
	sim_events_flush(s);
	const uint64_t next_ns = sim_engine_next_ns(s->engine);
	if (next_ns == UINT64_MAX)
		loop_timer_cancel(&s->timer);
	else
		loop_timer_arm(&s->timer, next_ns);
}

static void on_timer(struct loop_timer *t)
{
	struct sim_server *s = BB_CONTAINER(t, struct sim_server, timer);

	sim_engine_advance(s->engine, loop_now_ns(s->loop));
	sim_server_settle(s);
}

/* ---- the server ---- */

static void init_parts(struct sim_server *s)
{
	bb_list_init(&s->answers);
	bb_list_init(&s->due);
	bb_pool_init(&s->answer_pool, sizeof(struct sim_answer), ANSWERS_KEEP);
	bb_rng_seed(&s->rng, s->config.seed);
	bb_rng_seed(&s->kv_rng, s->config.seed);
	sim_reader_init(&s->reader);
	request_log_init(&s->log);
	sim_metrics_init(&s->metrics);
	bb_buf_init(&s->body, SIM_TEXT_MAX);
	bb_buf_init(&s->headers, HEADERS_MAX);
	bb_buf_init(&s->scratch[0], SIM_TEXT_MAX);
	bb_buf_init(&s->scratch[1], SIM_TEXT_MAX);
	bb_buf_init(&s->batch, BATCH_MAX);
	s->started_s = clock_wall_ns() / OS_SECOND;
}

int sim_server_create(const struct sim_config *config, struct loop *loop, struct sim_server **out,
		      const char **why)
{
	struct sim_server *s = bb_alloc_zero(1, sizeof(*s));
	struct httpd_config http = { .loop = loop, .ops = &http_events, .user = s };

	*why = "out of memory";
	if (!s)
		return -BB_ENOMEM;
	s->config = *config;
	s->loop = loop;
	init_parts(s);
	int rc = loop_timer_init(loop, &s->timer, on_timer);
	if (rc) {
		s->loop = NULL;
		goto fail;
	}
	rc = -BB_ENOMEM;
	s->out = bb_alloc(EXCHANGE_HEADROOM + SIM_OUT_SIZE + EXCHANGE_TAILROOM);
	s->vocabulary = bb_alloc(sizeof(*s->vocabulary));
	if (!s->out || !s->vocabulary)
		goto fail;
	sim_vocabulary_init(s->vocabulary);
	sim_words_init(&s->words);
	if (config->tokenizer) {
		rc = sim_tokenizer_create(config->tokenizer, config->chat, &s->reader.tokenizer);
		if (rc == 0)
			rc = sim_tokenizer_words(s->reader.tokenizer, &s->words);
		*why = "none of the words of an answer is one token of this tokenizer";
		if (rc)
			goto fail;
		*why = "out of memory";
	}
	rc = sim_engine_create(&config->engine, &sim_engine_events, s, &s->engine);
	if (rc)
		goto fail;
	if (config->model_count == 0 || config->model_len_max > sim_engine_tokens_max(s->engine)) {
		*why = config->model_count
			       ? "the KV cache is too small for one request of max-model-len"
			       : "a model is needed";
		rc = -BB_EINVALID;
		goto fail;
	}
	httpd_limits_default(&http.limits);
	rc = httpd_create(&http, &s->httpd);
	if (rc == 0)
		rc = sim_events_create(s, why);
	if (rc)
		goto fail;
	*out = s;
	return 0;

fail:
	sim_server_destroy(s);
	return rc;
}

int sim_server_listen(struct sim_server *s, int listen_fd)
{
	return httpd_listen(s->httpd, listen_fd);
}

void sim_server_destroy(struct sim_server *s)
{
	if (!s)
		return;
	httpd_destroy(s->httpd);
	/* Those whose clients had left before. */
	BB_LIST_EACH (it, safe, &s->answers)
		sim_answer_destroy(BB_CONTAINER(it, struct sim_answer, link));
	if (s->loop)
		loop_timer_fini(&s->timer);
	sim_engine_destroy(s->engine);
	sim_events_destroy(s);
	sim_tokenizer_destroy(s->reader.tokenizer);
	sim_reader_fini(&s->reader);
	request_log_fini(&s->log);
	bb_pool_fini(&s->answer_pool);
	bb_buf_fini(&s->body);
	bb_buf_fini(&s->headers);
	bb_buf_fini(&s->scratch[0]);
	bb_buf_fini(&s->scratch[1]);
	bb_buf_fini(&s->batch);
	bb_free(s->out);
	bb_free(s->vocabulary);
	bb_free(s);
}
