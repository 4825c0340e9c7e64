#include "answer.h"

#include <math.h>

#define LOGPROB_LOWEST (-9999.0f) /* what vLLM writes for minus infinity, which JSON lacks */

static void write_float(struct bb_buf *out, float value)
{
	bb_buf_printf(out, "%.9g", (double)(isfinite(value) ? value : LOGPROB_LOWEST));
}

/* ---- logprobs ---- */

/* A token's text as a JSON string, and its bytes where they are wanted. */
static void write_token(struct answer *a, int32_t token, struct bb_buf *bytes)
{
	struct bb_buf clean;

	bb_buf_init(&clean, 65536);
	bb_buf_clear(bytes);
	if (model_piece(a->api->model, token, PIECE_WITH_SPECIAL, bytes) ||
	    token_text_clean(bb_buf_str(bytes), &clean))
		a->out.err = -BB_ENOMEM;
	bb_buf_add_json(&a->out, bb_buf_str(&clean));
	bb_buf_fini(&clean);
}

static void write_chat_logprob(struct answer *a, const struct token_logprob *t,
			       struct bb_buf *bytes)
{
	bb_buf_lit(&a->out, "{\"token\":");
	write_token(a, t->token, bytes);
	bb_buf_lit(&a->out, ",\"logprob\":");
	write_float(&a->out, t->logprob);
	bb_buf_lit(&a->out, ",\"bytes\":[");
	for (size_t i = 0; i < bytes->len; i++)
		bb_buf_printf(&a->out, i ? ",%u" : "%u", (unsigned char)bytes->p[i]);
	bb_buf_lit(&a->out, "]");
}

static void write_chat_logprobs(struct answer *a, const struct token_logprob *t, size_t count,
				size_t stride, struct bb_buf *bytes)
{
	bb_buf_lit(&a->out, "{\"content\":[");
	for (size_t i = 0; i < count; i++, t += stride) {
		if (i)
			bb_buf_lit(&a->out, ",");
		write_chat_logprob(a, t, bytes);
		bb_buf_lit(&a->out, ",\"top_logprobs\":[");
		for (size_t k = 1; k < stride; k++) {
			if (k > 1)
				bb_buf_lit(&a->out, ",");
			write_chat_logprob(a, t + k, bytes);
			bb_buf_lit(&a->out, "}");
		}
		bb_buf_lit(&a->out, "]}");
	}
	bb_buf_lit(&a->out, "]}");
}

static void write_top_object(struct answer *a, const struct token_logprob *top, size_t count,
			     struct bb_buf *bytes)
{
	bb_buf_lit(&a->out, "{");
	for (size_t k = 0; k < count; k++) {
		if (k)
			bb_buf_lit(&a->out, ",");
		write_token(a, top[k].token, bytes);
		bb_buf_lit(&a->out, ":");
		write_float(&a->out, top[k].logprob);
	}
	bb_buf_lit(&a->out, "}");
}

/* The old form: parallel arrays. */
static void write_text_logprobs(struct answer *a, struct choice *c, const struct token_logprob *t,
				size_t count, size_t stride, struct bb_buf *bytes)
{
	struct bb_buf *out = &a->out;

	bb_buf_lit(out, "{\"text_offset\":[");
	for (size_t i = 0; i < count; i++) {
		bb_buf_printf(out, i ? ",%u" : "%u", c->text_offset);
		bb_buf_clear(bytes);
		if (model_piece(a->api->model, t[i * stride].token, PIECE_TEXT, bytes))
			out->err = -BB_ENOMEM;
		c->text_offset += (uint32_t)bytes->len;
	}
	bb_buf_lit(out, "],\"token_logprobs\":[");
	for (size_t i = 0; i < count; i++) {
		if (i)
			bb_buf_lit(out, ",");
		write_float(out, t[i * stride].logprob);
	}
	bb_buf_lit(out, "],\"tokens\":[");
	for (size_t i = 0; i < count; i++) {
		if (i)
			bb_buf_lit(out, ",");
		write_token(a, t[i * stride].token, bytes);
	}
	bb_buf_lit(out, "],\"top_logprobs\":[");
	for (size_t i = 0; i < count; i++) {
		if (i)
			bb_buf_lit(out, ",");
		write_top_object(a, t + i * stride + 1, stride - 1, bytes);
	}
	bb_buf_lit(out, "]}");
}

static void write_logprobs(struct answer *a, struct choice *c)
{
	struct bb_buf bytes;

	bb_buf_lit(&a->out, ",\"logprobs\":");
	if (a->params->logprobs == LOGPROBS_OFF || c->news.logprobs.len == 0) {
		bb_buf_lit(&a->out, "null");
		return;
	}
	const struct token_logprob *t =
		(const struct token_logprob *)(const void *)c->news.logprobs.p;
	const size_t stride = 1 + (size_t)a->params->logprobs;
	const size_t count = c->news.logprobs.len / sizeof(*t) / stride;
	bb_buf_init(&bytes, 65536);
	if (a->kind == REQUEST_CHAT)
		write_chat_logprobs(a, t, count, stride, &bytes);
	else
		write_text_logprobs(a, c, t, count, stride, &bytes);
	bb_buf_fini(&bytes);
}

/* ---- the rest ---- */

/* Behind the text: which tokens it is made of, and why it ended. */
static void write_finish(struct answer *a, const struct choice *c)
{
	const struct sequence_news *n = &c->news;

	if (a->params->wants_token_ids) {
		bb_buf_lit(&a->out, ",\"token_ids\":[");
		for (size_t i = 0; i < n->token_ids.len / sizeof(int32_t); i++) {
			int32_t token;
			memcpy(&token, n->token_ids.p + i * sizeof(token), sizeof(token));
			bb_buf_printf(&a->out, i ? ",%d" : "%d", token);
		}
		bb_buf_lit(&a->out, "]");
	}
	if (n->finish == FINISH_NOT_YET) {
		bb_buf_lit(&a->out, ",\"finish_reason\":null");
		return;
	}
	bb_buf_printf(&a->out,
		      ",\"finish_reason\":\"%s\",\"stop_reason\":", finish_reason_name(n->finish));
	if (n->stop_string != STOP_NONE)
		bb_buf_add_json(&a->out, a->params->stops.strings[n->stop_string]);
	else if (n->stop_token != STOP_NONE)
		bb_buf_printf(&a->out, "%d", n->stop_token);
	else
		bb_buf_lit(&a->out, "null");
}

static void write_head(struct answer *a, const char *object)
{
	bb_buf_lit(&a->out, "{\"id\":");
	bb_buf_add_json(&a->out, bb_str_of(a->id));
	bb_buf_printf(&a->out, ",\"object\":\"%s\",\"created\":%llu,\"model\":", object,
		      (unsigned long long)a->created_s);
	bb_buf_add_json(&a->out, bb_str_of(a->api->name));
	bb_buf_lit(&a->out, ",\"choices\":[");
}

/* A prompt counts once, however many choices were made of it. */
static void write_usage(struct answer *a)
{
	uint64_t prompt = 0, cached = 0, made = 0;

	for (uint32_t i = 0; i < a->choice_count; i++) {
		const struct choice *c = &a->choices[i];
		made += c->news.answer_tokens;
		if (i % a->params->choice_count)
			continue;
		prompt += c->prompt_len;
		cached += c->news.cached_tokens;
	}
	bb_buf_printf(
		&a->out,
		"\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu,"
		"\"completion_tokens\":%llu,\"prompt_tokens_details\":{\"cached_tokens\":%llu}}",
		(unsigned long long)prompt, (unsigned long long)(prompt + made),
		(unsigned long long)made, (unsigned long long)cached);
}

void answer_write_whole(struct answer *a)
{
	const bool is_chat = a->kind == REQUEST_CHAT;

	write_head(a, is_chat ? "chat.completion" : "text_completion");
	for (uint32_t i = 0; i < a->choice_count; i++) {
		struct choice *c = &a->choices[i];
		bb_buf_printf(&a->out, i ? ",{\"index\":%u," : "{\"index\":%u,", i);
		if (is_chat)
			bb_buf_lit(&a->out, "\"message\":{\"role\":\"assistant\",\"content\":");
		else
			bb_buf_lit(&a->out, "\"text\":");
		bb_buf_add_json(&a->out, bb_buf_str(&c->news.text));
		if (is_chat)
			bb_buf_lit(&a->out, ",\"refusal\":null}");
		write_logprobs(a, c);
		write_finish(a, c);
		bb_buf_lit(&a->out, "}");
	}
	bb_buf_lit(&a->out, "],");
	write_usage(a);
	bb_buf_lit(&a->out, "}");
}

static void write_role_chunk(struct answer *a, const struct choice *c)
{
	bb_buf_lit(&a->out, "data: ");
	write_head(a, "chat.completion.chunk");
	bb_buf_printf(&a->out,
		      "{\"index\":%u,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
		      "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
		      c->sequence->index);
}

void answer_write_chunk(struct answer *a, struct choice *c)
{
	const bool is_chat = a->kind == REQUEST_CHAT;

	if (is_chat && !c->has_begun)
		write_role_chunk(a, c);
	c->has_begun = true;
	/* Text that may still become a stop string is not shown yet: then there is nothing to say.
	 */
	if (!c->news.text.len && !c->news.logprobs.len && !c->news.token_ids.len &&
	    c->news.finish == FINISH_NOT_YET)
		return;
	bb_buf_lit(&a->out, "data: ");
	write_head(a, is_chat ? "chat.completion.chunk" : "text_completion");
	bb_buf_printf(&a->out, "{\"index\":%u,", c->sequence->index);
	if (is_chat)
		bb_buf_lit(&a->out, "\"delta\":{\"content\":");
	else
		bb_buf_lit(&a->out, "\"text\":");
	bb_buf_add_json(&a->out, bb_buf_str(&c->news.text));
	if (is_chat)
		bb_buf_lit(&a->out, "}");
	write_logprobs(a, c);
	write_finish(a, c);
	bb_buf_lit(&a->out, "}]}\n\n");
}

void answer_write_usage_chunk(struct answer *a)
{
	bb_buf_lit(&a->out, "data: ");
	write_head(a, a->kind == REQUEST_CHAT ? "chat.completion.chunk" : "text_completion");
	bb_buf_lit(&a->out, "],");
	write_usage(a);
	bb_buf_lit(&a->out, "}\n\n");
}
