#include "base/alloc.h"
#include "engine_api.h"
#include "prompts.h"

#define TOKENS_ANSWER_MAX (64u << 20)
#define DETOKENIZE_TEXT_MAX (32 << 20)

static bool flag(yyjson_val *request, const char *name, bool otherwise)
{
	yyjson_val *v = yyjson_obj_get(request, name);

	return yyjson_is_bool(v) ? yyjson_get_bool(v) : otherwise;
}

static void write_tokens(const struct model *m, const struct prompt *p, bool with_strings,
			 struct bb_buf *out)
{
	bb_buf_printf(out, "{\"count\":%u,\"max_model_len\":%u,\"tokens\":[", p->count,
		      m->ctx_tokens);
	for (uint32_t i = 0; i < p->count; i++)
		bb_buf_printf(out, i ? ",%d" : "%d", p->tokens[i]);
	bb_buf_lit(out, "],\"token_strs\":");
	if (!with_strings) {
		bb_buf_lit(out, "null}");
		return;
	}
	struct bb_buf text;
	bb_buf_init(&text, 65536);
	bb_buf_lit(out, "[");
	for (uint32_t i = 0; i < p->count; i++) {
		bb_buf_clear(&text);
		if (token_text_clean(bb_str_of(llama_vocab_get_text(m->vocab, p->tokens[i])),
				     &text))
			out->err = -BB_ENOMEM;
		if (i)
			bb_buf_lit(out, ",");
		bb_buf_add_json(out, bb_buf_str(&text));
	}
	bb_buf_lit(out, "]}");
	bb_buf_fini(&text);
}

void api_tokenize(struct api_request *r)
{
	const struct model *m = r->api->model;
	struct prompts prompts = { 0 };
	struct api_error e;
	struct bb_buf body;
	int rc = api_check_model(r, &e);

	if (!rc && yyjson_obj_get(r->body, "messages"))
		rc = prompts_from_chat(m, r->body, &prompts, &e);
	else if (!rc && !yyjson_is_str(yyjson_obj_get(r->body, "prompt")))
		rc = api_error_bad(&e, "prompt", "prompt must be a string, or messages be given.");
	else if (!rc)
		rc = prompts_from_member(m, r->body, "prompt",
					 flag(r->body, "add_special_tokens", true)
						 ? MODEL_BOS_AS_USUAL
						 : MODEL_NO_BOS,
					 &prompts, &e);
	if (rc) {
		api_reply_error(r, &e);
		return;
	}
	bb_buf_init(&body, TOKENS_ANSWER_MAX);
	write_tokens(m, &prompts.items[0], flag(r->body, "return_token_strs", false), &body);
	api_reply(r, 200, &body);
	bb_buf_fini(&body);
	prompts_fini(&prompts);
}

static int detokenize(const struct model *m, const struct prompt *p, struct bb_buf *out)
{
	const int32_t count = (int32_t)p->count;
	const int32_t guess = (int32_t)p->count * 8 + 64;
	int rc = bb_buf_reserve(out, (size_t)guess);

	if (rc)
		return rc;
	int32_t n = llama_detokenize(m->vocab, p->tokens, count, out->p, guess, false, true);
	if (n < 0) {
		rc = bb_buf_reserve(out, (size_t)-n);
		if (rc)
			return rc;
		n = llama_detokenize(m->vocab, p->tokens, count, out->p, -n, false, true);
	}
	if (n < 0)
		return -BB_ESYSTEM;
	out->len = (size_t)n;
	return 0;
}

void api_detokenize(struct api_request *r)
{
	const struct model *m = r->api->model;
	struct prompts prompts = { 0 };
	struct bb_buf text, clean, body;
	struct api_error e;
	int rc = api_check_model(r, &e);

	bb_buf_init(&text, DETOKENIZE_TEXT_MAX);
	bb_buf_init(&clean, DETOKENIZE_TEXT_MAX);
	bb_buf_init(&body, TOKENS_ANSWER_MAX);
	if (!rc && !yyjson_is_arr(yyjson_obj_get(r->body, "tokens")))
		rc = api_error_bad(&e, "tokens", "tokens must be an array of token ids.");
	if (!rc)
		rc = prompts_from_member(m, r->body, "tokens", MODEL_NO_BOS, &prompts, &e);
	if (!rc) {
		rc = detokenize(m, &prompts.items[0], &text);
		if (!rc)
			rc = token_text_clean(bb_buf_str(&text), &clean);
		if (rc)
			api_error_internal(&e, rc);
	}
	if (rc) {
		api_reply_error(r, &e);
	} else {
		bb_buf_lit(&body, "{\"prompt\":");
		bb_buf_add_json(&body, bb_buf_str(&clean));
		bb_buf_lit(&body, "}");
		api_reply(r, 200, &body);
	}
	prompts_fini(&prompts);
	bb_buf_fini(&text);
	bb_buf_fini(&clean);
	bb_buf_fini(&body);
}
