/* sim_shape.c: chat completions and completions, as vLLM and its neighbours write them. */
#include "sim/sim_core.h"

#define FINGERPRINT "vllm-0.32.0-sim"

static const char *reason_text(const struct sim_choice *c)
{
	return c->reason == SIM_FINISH_STOP ? "stop" : "length";
}

void sim_choice_text(const struct sim_choice *c, struct bb_buf *out)
{
	struct sim_writer w = c->begin;

	for (uint32_t i = 0; i < c->made; i++)
		bb_buf_add_str(out, sim_writer_next(&w, NULL));
}

uint32_t sim_answer_prompt_tokens(const struct sim_answer *a)
{
	uint64_t n = 0;

	/* Choices of one prompt (n > 1) stand next to each other: it counts once. */
	for (uint32_t i = 0; i < a->choice_count; i += a->choices_per_prompt)
		n += a->choices[i].prompt_tokens;
	return (uint32_t)n;
}

uint32_t sim_answer_cached_tokens(const struct sim_answer *a)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < a->choice_count; i += a->choices_per_prompt)
		n += a->choices[i].cached_tokens;
	return (uint32_t)n;
}

uint32_t sim_answer_output_tokens(const struct sim_answer *a)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < a->choice_count; i++)
		n += a->choices[i].made;
	return (uint32_t)n;
}

/* ---- pieces ---- */

static void add_usage(const struct sim_answer *a, struct bb_buf *out)
{
	const uint32_t prompt = sim_answer_prompt_tokens(a), cached = sim_answer_cached_tokens(a);
	const uint32_t output = sim_answer_output_tokens(a);
	const uint32_t block = a->server->config.engine.block_size;
	const uint32_t created = prompt / block * block - cached;

	bb_buf_printf(
		out,
		"\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u,\"completion_tokens\":%u,"
		"\"prompt_tokens_details\":{\"cached_tokens\":%u",
		prompt, prompt + output, output, cached);
	if (sim_is(a->server, SIM_VLLM))
		bb_buf_printf(out, ",\"created_cache_tokens\":%u", created);
	bb_buf_lit(out, "}}");
}

/* llama.cpp's own figures. */
static void add_timings(const struct sim_answer *a, struct bb_buf *out)
{
	const uint32_t cached = sim_answer_cached_tokens(a);
	const uint32_t fresh = sim_answer_prompt_tokens(a) - cached;
	const uint32_t output = sim_answer_output_tokens(a);
	const double prompt_ms = (double)(a->first_ns - a->scheduled_ns) / 1e6;
	const double predicted_ms = (double)(a->last_ns - a->first_ns) / 1e6;

	bb_buf_printf(out,
		      ",\"timings\":{\"cache_n\":%u,\"prompt_n\":%u,\"prompt_ms\":%.3f,"
		      "\"prompt_per_token_ms\":%.6f,\"prompt_per_second\":%.3f,",
		      cached, fresh, prompt_ms, fresh ? prompt_ms / fresh : 0,
		      prompt_ms > 0 ? fresh / prompt_ms * 1e3 : 0);
	bb_buf_printf(out,
		      "\"predicted_n\":%u,\"predicted_ms\":%.3f,\"predicted_per_token_ms\":%.6f,"
		      "\"predicted_per_second\":%.3f}",
		      output, predicted_ms, output ? predicted_ms / output : 0,
		      predicted_ms > 0 ? output / predicted_ms * 1e3 : 0);
}

/* {"id":…,"object":…,"created":…,"model":… */
static void add_head(const struct sim_answer *a, const char *object, struct bb_buf *out)
{
	bb_buf_lit(out, "{\"id\":\"");
	bb_buf_add_str(out, a->id);
	bb_buf_printf(out, "\",\"object\":\"%s\",\"created\":%llu,\"model\":", object,
		      (unsigned long long)a->created_s);
	bb_buf_add_str(out, a->model);
}

static void add_chunk_head(const struct sim_answer *a, const char *object, struct bb_buf *out)
{
	bb_buf_lit(out, "data: ");
	add_head(a, object, out);
}

static const char *stream_object(const struct sim_answer *a)
{
	return a->api == API_CHAT ? "chat.completion.chunk" : "text_completion";
}

static void stream_tail(struct sim_answer *a, struct bb_buf *out)
{
	if (a->include_usage) {
		add_chunk_head(a, stream_object(a), out);
		bb_buf_lit(out, ",\"choices\":[],");
		add_usage(a, out);
		if (sim_is(a->server, SIM_VLLM))
			bb_buf_lit(out, ",\"system_fingerprint\":\"" FINGERPRINT "\"");
		if (sim_is(a->server, SIM_LLAMACPP))
			add_timings(a, out);
		bb_buf_lit(out, "}\n\n");
	}
	bb_buf_lit(out, "data: [DONE]\n\n");
}

/* ---- chat completions ---- */

static void chat_head(struct sim_answer *a, struct bb_buf *out)
{
	for (uint32_t i = 0; i < a->choice_count; i++) {
		add_chunk_head(a, stream_object(a), out);
		bb_buf_printf(out,
			      ",\"choices\":[{\"index\":%u,\"delta\":{\"role\":\"assistant\","
			      "\"content\":%s},\"logprobs\":null,\"finish_reason\":null}]",
			      i, sim_is(a->server, SIM_LLAMACPP) ? "null" : "\"\"");
		if (sim_is(a->server, SIM_VLLM))
			bb_buf_lit(out, ",\"prompt_token_ids\":null,\"prompt_text\":null");
		bb_buf_lit(out, "}\n\n");
	}
}

static void chat_around(const struct sim_answer *a, const struct sim_choice *c,
			struct bb_buf *prefix, struct bb_buf *suffix)
{
	add_chunk_head(a, stream_object(a), prefix);
	bb_buf_printf(prefix, ",\"choices\":[{\"index\":%u,\"delta\":{\"content\":\"", c->index);
	if (sim_is(a->server, SIM_VLLM))
		bb_buf_lit(suffix, "\"},\"logprobs\":null,\"finish_reason\":null,"
				   "\"token_ids\":null}]}\n\n");
	else
		bb_buf_lit(suffix, "\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
}

/* vLLM says the reason with the last token; the others in a chunk of its own. */
static void chat_last(const struct sim_answer *a, const struct sim_choice *c, struct bb_buf *suffix)
{
	if (sim_is(a->server, SIM_VLLM)) {
		bb_buf_printf(suffix,
			      "\"},\"logprobs\":null,\"finish_reason\":\"%s\",\"stop_reason\":null,"
			      "\"token_ids\":null}]}\n\n",
			      reason_text(c));
		return;
	}
	bb_buf_add_str(suffix, c->suffix);
	add_chunk_head(a, stream_object(a), suffix);
	bb_buf_printf(suffix,
		      ",\"choices\":[{\"index\":%u,\"delta\":{},\"logprobs\":null,"
		      "\"finish_reason\":\"%s\"}]",
		      c->index, reason_text(c));
	if (sim_is(a->server, SIM_LLAMACPP))
		add_timings(a, suffix);
	bb_buf_lit(suffix, "}\n\n");
}

static void end_body(const struct sim_answer *a, struct bb_buf *out)
{
	bb_buf_lit(out, "],");
	if (sim_is(a->server, SIM_VLLM))
		bb_buf_lit(out,
			   "\"service_tier\":null,\"system_fingerprint\":\"" FINGERPRINT "\",");
	add_usage(a, out);
	if (sim_is(a->server, SIM_VLLM))
		bb_buf_lit(out, ",\"prompt_logprobs\":null,\"prompt_token_ids\":null,"
				"\"kv_transfer_params\":null");
	if (sim_is(a->server, SIM_LLAMACPP))
		add_timings(a, out);
	bb_buf_lit(out, "}");
}

static void chat_body(struct sim_answer *a, struct bb_buf *out)
{
	add_head(a, "chat.completion", out);
	bb_buf_lit(out, ",\"choices\":[");
	for (uint32_t i = 0; i < a->choice_count; i++) {
		bb_buf_printf(out,
			      "%s{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":\"",
			      i ? "," : "", i);
		sim_choice_text(&a->choices[i], out);
		bb_buf_lit(out, "\",\"refusal\":null,\"annotations\":null,\"audio\":null,"
				"\"function_call\":null,\"reasoning\":null},\"logprobs\":null,");
		bb_buf_printf(out, "\"finish_reason\":\"%s\",\"stop_reason\":null}",
			      reason_text(&a->choices[i]));
	}
	end_body(a, out);
}

static const struct sim_shape chat = {
	.id_prefix = "chatcmpl-",
	.head = chat_head,
	.around = chat_around,
	.last = chat_last,
	.tail = stream_tail,
	.body = chat_body,
};

/* ---- completions ---- */

static void text_around(const struct sim_answer *a, const struct sim_choice *c,
			struct bb_buf *prefix, struct bb_buf *suffix)
{
	add_chunk_head(a, stream_object(a), prefix);
	bb_buf_printf(prefix, ",\"choices\":[{\"index\":%u,\"text\":\"", c->index);
	bb_buf_lit(suffix, "\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}],"
			   "\"usage\":null}\n\n");
}

static void text_last(const struct sim_answer *a, const struct sim_choice *c, struct bb_buf *suffix)
{
	bb_buf_printf(suffix,
		      "\",\"logprobs\":null,\"finish_reason\":\"%s\",\"stop_reason\":null}],"
		      "\"usage\":null}\n\n",
		      reason_text(c));
}

static void text_body(struct sim_answer *a, struct bb_buf *out)
{
	add_head(a, "text_completion", out);
	bb_buf_lit(out, ",\"choices\":[");
	for (uint32_t i = 0; i < a->choice_count; i++) {
		bb_buf_printf(out, "%s{\"index\":%u,\"text\":\"", i ? "," : "", i);
		sim_choice_text(&a->choices[i], out);
		bb_buf_printf(out,
			      "\",\"logprobs\":null,\"finish_reason\":\"%s\",\"stop_reason\":null}",
			      reason_text(&a->choices[i]));
	}
	end_body(a, out);
}

static const struct sim_shape text = {
	.id_prefix = "cmpl-",
	.around = text_around,
	.last = text_last,
	.tail = stream_tail,
	.body = text_body,
};

const struct sim_shape *sim_shape_of(enum api api)
{
	if (api == API_CHAT)
		return &chat;
	if (api == API_COMPLETIONS)
		return &text;
	if (api == API_MESSAGES)
		return &sim_shape_messages;
	return &sim_shape_responses;
}
