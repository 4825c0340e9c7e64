/* shape_responses.c: OpenAI's Responses API, streamed and in one piece. */
#include "sim/sim_core.h"

static bool is_incomplete(const struct sim_answer *a)
{
	return a->choices[0].reason == SIM_FINISH_LENGTH && a->max_tokens != SIM_ABSENT;
}

/* Opens an event: its name, type and number; the caller adds members and closes it. */
static void open_event(struct sim_answer *a, const char *type, struct bb_buf *out)
{
	bb_buf_printf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u", type, type,
		      a->event_count++);
}

static void close_event(struct bb_buf *out)
{
	bb_buf_lit(out, "}\n\n");
}

static void add_item_place(const struct sim_answer *a, struct bb_buf *out)
{
	bb_buf_printf(out, ",\"item_id\":\"msg_%.*s\",\"output_index\":0,\"content_index\":0",
		      BB_ARG(bb_str_skip(a->id, 5)));
}

enum part { PART_EMPTY, PART_WHOLE };

static void add_part(const struct sim_answer *a, enum part part, struct bb_buf *out)
{
	bb_buf_lit(out, "{\"type\":\"output_text\",\"text\":\"");
	if (part == PART_WHOLE)
		sim_choice_text(&a->choices[0], out);
	bb_buf_lit(out, "\",\"annotations\":[],\"logprobs\":[]}");
}

static void add_item(const struct sim_answer *a, enum part part, struct bb_buf *out)
{
	bb_buf_printf(out,
		      "{\"id\":\"msg_%.*s\",\"type\":\"message\",\"role\":\"assistant\","
		      "\"status\":\"%s\",\"content\":[",
		      BB_ARG(bb_str_skip(a->id, 5)),
		      part == PART_EMPTY ? "in_progress"
		      : is_incomplete(a) ? "incomplete"
					 : "completed");
	if (part == PART_WHOLE)
		add_part(a, part, out);
	bb_buf_lit(out, "]}");
}

static void add_response(const struct sim_answer *a, enum part part, struct bb_buf *out)
{
	const uint32_t prompt = sim_answer_prompt_tokens(a), output = sim_answer_output_tokens(a);

	bb_buf_lit(out, "{\"id\":\"");
	bb_buf_add_str(out, a->id);
	bb_buf_printf(out, "\",\"object\":\"response\",\"created_at\":%llu,\"model\":",
		      (unsigned long long)a->created_s);
	bb_buf_add_str(out, a->model);
	if (part == PART_EMPTY) {
		bb_buf_lit(out, ",\"status\":\"in_progress\",\"error\":null,\"output\":[],"
				"\"usage\":null}");
		return;
	}
	bb_buf_printf(out,
		      ",\"status\":\"%s\",\"error\":null,\"incomplete_details\":%s,\"output\":[",
		      is_incomplete(a) ? "incomplete" : "completed",
		      is_incomplete(a) ? "{\"reason\":\"max_output_tokens\"}" : "null");
	add_item(a, part, out);
	bb_buf_printf(out,
		      "],\"usage\":{\"input_tokens\":%u,\"input_tokens_details\":"
		      "{\"cached_tokens\":%u},\"output_tokens\":%u,\"output_tokens_details\":"
		      "{\"reasoning_tokens\":0},\"total_tokens\":%u}}",
		      prompt, sim_answer_cached_tokens(a), output, prompt + output);
}

static void head(struct sim_answer *a, struct bb_buf *out)
{
	open_event(a, "response.created", out);
	bb_buf_lit(out, ",\"response\":");
	add_response(a, PART_EMPTY, out);
	close_event(out);
	open_event(a, "response.in_progress", out);
	bb_buf_lit(out, ",\"response\":");
	add_response(a, PART_EMPTY, out);
	close_event(out);
	open_event(a, "response.output_item.added", out);
	bb_buf_lit(out, ",\"output_index\":0,\"item\":");
	add_item(a, PART_EMPTY, out);
	close_event(out);
	open_event(a, "response.content_part.added", out);
	add_item_place(a, out);
	bb_buf_lit(out, ",\"part\":");
	add_part(a, PART_EMPTY, out);
	close_event(out);
}

static void around(const struct sim_answer *a, const struct sim_choice *c, struct bb_buf *prefix,
		   struct bb_buf *suffix)
{
	add_item_place(a, prefix);
	bb_buf_lit(prefix, ",\"logprobs\":[],\"delta\":\"");
	bb_buf_lit(suffix, "\"}\n\n");
}

static void last(const struct sim_answer *a, const struct sim_choice *c, struct bb_buf *suffix)
{
	bb_buf_add_str(suffix, c->suffix);
}

static void tail(struct sim_answer *a, struct bb_buf *out)
{
	open_event(a, "response.output_text.done", out);
	add_item_place(a, out);
	bb_buf_lit(out, ",\"logprobs\":[],\"text\":\"");
	sim_choice_text(&a->choices[0], out);
	bb_buf_lit(out, "\"");
	close_event(out);
	open_event(a, "response.content_part.done", out);
	add_item_place(a, out);
	bb_buf_lit(out, ",\"part\":");
	add_part(a, PART_WHOLE, out);
	close_event(out);
	open_event(a, "response.output_item.done", out);
	bb_buf_lit(out, ",\"output_index\":0,\"item\":");
	add_item(a, PART_WHOLE, out);
	close_event(out);
	open_event(a, is_incomplete(a) ? "response.incomplete" : "response.completed", out);
	bb_buf_lit(out, ",\"response\":");
	add_response(a, PART_WHOLE, out);
	close_event(out);
}

static void body(struct sim_answer *a, struct bb_buf *out)
{
	add_response(a, PART_WHOLE, out);
}

const struct sim_shape sim_shape_responses = {
	.id_prefix = "resp_",
	.head = head,
	.around = around,
	.numbered = BB_STR_INIT("event: response.output_text.delta\n"
				"data: {\"type\":\"response.output_text.delta\","
				"\"sequence_number\":"),
	.last = last,
	.tail = tail,
	.body = body,
};
