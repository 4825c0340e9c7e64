/* shape_messages.c: Anthropic's Messages API (version 2023-06-01), streamed and in one piece. */
#include "sim/sim_core.h"

static const char *stop_reason(const struct sim_choice *c)
{
	return c->reason == SIM_FINISH_STOP ? "end_turn" : "max_tokens";
}

static void add_message(const struct sim_answer *a, struct bb_buf *out)
{
	bb_buf_lit(out, "{\"id\":\"");
	bb_buf_add_str(out, a->id);
	bb_buf_lit(out, "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
	bb_buf_add_str(out, a->model);
}

static void add_usage(const struct sim_answer *a, uint32_t output, struct bb_buf *out)
{
	const uint32_t cached = sim_answer_cached_tokens(a);

	/* Tokens read from the cache are not among the input tokens here. */
	bb_buf_printf(out,
		      "\"usage\":{\"input_tokens\":%u,\"cache_read_input_tokens\":%u,"
		      "\"cache_creation_input_tokens\":0,\"output_tokens\":%u}",
		      sim_answer_prompt_tokens(a) - cached, cached, output);
}

static void head(struct sim_answer *a, struct bb_buf *out)
{
	bb_buf_lit(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
	add_message(a, out);
	bb_buf_lit(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,");
	add_usage(a, 0, out);
	bb_buf_lit(out, "}}\n\n"
			"event: content_block_start\ndata: {\"type\":\"content_block_start\","
			"\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
}

static void around(const struct sim_answer *a, const struct sim_choice *c, struct bb_buf *prefix,
		   struct bb_buf *suffix)
{
	bb_buf_lit(prefix, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
			   "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"");
	bb_buf_lit(suffix, "\"}}\n\n");
}

static void last(const struct sim_answer *a, const struct sim_choice *c, struct bb_buf *suffix)
{
	bb_buf_add_str(suffix, c->suffix);
}

static void tail(struct sim_answer *a, struct bb_buf *out)
{
	bb_buf_lit(out, "event: content_block_stop\n"
			"data: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
	bb_buf_printf(out,
		      "event: message_delta\ndata: {\"type\":\"message_delta\","
		      "\"delta\":{\"stop_reason\":\"%s\",\"stop_sequence\":null},",
		      stop_reason(&a->choices[0]));
	add_usage(a, sim_answer_output_tokens(a), out);
	bb_buf_lit(out, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void body(struct sim_answer *a, struct bb_buf *out)
{
	add_message(a, out);
	bb_buf_lit(out, ",\"content\":[{\"type\":\"text\",\"text\":\"");
	sim_choice_text(&a->choices[0], out);
	bb_buf_printf(out, "\"}],\"stop_reason\":\"%s\",\"stop_sequence\":null,",
		      stop_reason(&a->choices[0]));
	add_usage(a, sim_answer_output_tokens(a), out);
	bb_buf_lit(out, "}");
}

const struct sim_shape sim_shape_messages = {
	.id_prefix = "msg_",
	.head = head,
	.around = around,
	.last = last,
	.tail = tail,
	.body = body,
};
