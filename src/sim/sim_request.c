#include "sim/sim_request.h"

#include "base/alloc.h"
#include "base/log.h"

#define TEXT_MAX (64u << 20)

/* ---- JSON ---- */

static void *json_malloc(void *ctx, size_t size)
{
	return bb_alloc(size);
}

static void *json_realloc(void *ctx, void *ptr, size_t old_size, size_t size)
{
	return bb_realloc(ptr, size);
}

static void json_free(void *ctx, void *ptr)
{
	bb_free(ptr);
}

static const yyjson_alc json_memory = { json_malloc, json_realloc, json_free, NULL };

struct bb_str sim_json_str(yyjson_val *object, const char *key)
{
	yyjson_val *v = yyjson_obj_get(object, key);

	return (struct bb_str){ yyjson_get_str(v), yyjson_get_len(v) * yyjson_is_str(v) };
}

/* Absent and null give `otherwise`; false when it is no whole number of at least 0. */
static bool get_u32(yyjson_val *object, const char *key, uint32_t otherwise, uint32_t *out)
{
	yyjson_val *v = yyjson_obj_get(object, key);

	if (!v || yyjson_is_null(v)) {
		*out = otherwise;
		return true;
	}
	if (!yyjson_is_uint(v) || yyjson_get_uint(v) >= UINT32_MAX)
		return false;
	*out = (uint32_t)yyjson_get_uint(v);
	return true;
}

static int add_json(struct bb_buf *out, yyjson_val *v)
{
	size_t len;
	char *text = yyjson_val_write_opts(v, 0, &json_memory, &len, NULL);

	if (!text)
		return -BB_ENOMEM;
	const int rc = bb_buf_add(out, text, len);
	bb_free(text);
	return rc;
}

/* ---- rendering ---- */

/* A string, a list of parts with text, or (then as it stands) anything else. */
static int add_content(struct bb_buf *out, yyjson_val *content)
{
	size_t i, max;
	yyjson_val *part;

	if (!content || yyjson_is_null(content))
		return 0;
	if (yyjson_is_str(content))
		return bb_buf_add(out, yyjson_get_str(content), yyjson_get_len(content));
	if (!yyjson_is_arr(content))
		return add_json(out, content);
	yyjson_arr_foreach(content, i, max, part)
	{
		const struct bb_str text = sim_json_str(part, "text");
		const int rc = yyjson_is_str(part)
				       ? bb_buf_add(out, yyjson_get_str(part), yyjson_get_len(part))
			       : text.p ? bb_buf_add_str(out, text)
					: add_json(out, part);
		if (rc)
			return rc;
	}
	return 0;
}

static void open_message(struct bb_buf *out, struct bb_str role)
{
	bb_buf_lit(out, "<|im_start|>");
	bb_buf_add_str(out, role);
	bb_buf_lit(out, "\n");
}

static void close_message(struct bb_buf *out)
{
	bb_buf_lit(out, "<|im_end|>\n");
}

/* A message of role `role` whose text is in `content`, if there is any. */
static int add_section(struct bb_buf *out, struct bb_str role, yyjson_val *content)
{
	if (!content || yyjson_is_null(content))
		return 0;
	open_message(out, role);
	const int rc = add_content(out, content);
	close_message(out);
	return rc;
}

static bool is_open_end(yyjson_val *root, struct bb_str role, enum sim_prefill prefill)
{
	if (prefill == SIM_PREFILL_ALWAYS)
		return bb_str_eq(role, BB_STR("assistant"));
	return yyjson_get_bool(yyjson_obj_get(root, "continue_final_message"));
}

static int render_messages(struct bb_buf *out, yyjson_val *root, yyjson_val *messages,
			   enum sim_prefill prefill)
{
	size_t i, max;
	yyjson_val *m;
	bool is_open = false;

	yyjson_arr_foreach(messages, i, max, m)
	{
		struct bb_str role = sim_json_str(m, "role");
		if (!role.p)
			role = sim_json_str(m, "type"); /* items that are no messages */
		if (!role.p)
			return -BB_EINVALID;
		open_message(out, role);
		yyjson_val *content = yyjson_obj_get(m, "content");
		yyjson_val *calls = yyjson_obj_get(m, "tool_calls");
		int rc = add_content(out, content);
		if (rc == 0 && calls && !yyjson_is_null(calls))
			rc = add_json(out, calls);
		if (rc)
			return rc;
		is_open = i + 1 == max && is_open_end(root, role, prefill);
		if (!is_open)
			close_message(out);
	}
	if (!is_open)
		open_message(out, BB_STR("assistant"));
	return out->err;
}

static int render_chat(struct sim_reader *r, enum sim_prefill prefill, const char **why)
{
	yyjson_val *messages = yyjson_obj_get(r->root, "messages");

	if (!yyjson_is_arr(messages) || yyjson_arr_size(messages) == 0) {
		*why = "'messages' must be a list of at least one message";
		return -BB_EINVALID;
	}
	int rc = add_section(&r->text, BB_STR("system"), yyjson_obj_get(r->root, "system"));
	if (rc == 0)
		rc = add_section(&r->text, BB_STR("tools"), yyjson_obj_get(r->root, "tools"));
	if (rc == 0)
		rc = render_messages(&r->text, r->root, messages, prefill);
	if (rc == -BB_EINVALID)
		*why = "a message has no role";
	return rc;
}

static int render_responses(struct sim_reader *r, const char **why)
{
	yyjson_val *input = yyjson_obj_get(r->root, "input");

	int rc = add_section(&r->text, BB_STR("system"), yyjson_obj_get(r->root, "instructions"));
	if (rc == 0)
		rc = add_section(&r->text, BB_STR("tools"), yyjson_obj_get(r->root, "tools"));
	if (rc)
		return rc;
	if (yyjson_is_str(input)) {
		rc = add_section(&r->text, BB_STR("user"), input);
		open_message(&r->text, BB_STR("assistant"));
		return rc;
	}
	if (!yyjson_is_arr(input)) {
		*why = "'input' must be a string or a list of items";
		return -BB_EINVALID;
	}
	rc = render_messages(&r->text, r->root, input, SIM_PREFILL_WHEN_ASKED);
	if (rc == -BB_EINVALID)
		*why = "an item of 'input' has neither role nor type";
	return rc;
}

/* ---- prompts ---- */

static int prompt_begin(struct sim_reader *r)
{
	if (r->prompt_count == SIM_PROMPTS_MAX)
		return -BB_ELIMIT;
	r->prompts[r->prompt_count++] = (struct sim_prompt){ r->tokens.count, 0 };
	return 0;
}

/* An empty prompt has one token all the same, as if it were a beginning-of-text token. */
static int prompt_end(struct sim_reader *r)
{
	struct sim_prompt *p = &r->prompts[r->prompt_count - 1];
	int rc = 0;

	if (r->tokens.count == p->first)
		rc = sim_tokens_add(&r->tokens, 1);
	p->count = r->tokens.count - p->first;
	return rc;
}

static int add_text_as(struct sim_reader *r, struct bb_str text, enum sim_special special)
{
	int rc = prompt_begin(r);

	if (rc == 0)
		rc = r->tokenizer ? sim_tokenizer_add(r->tokenizer, text, special, &r->tokens)
				  : sim_tokens_add_text(&r->tokens, text);
	return rc ? rc : prompt_end(r);
}

static int add_prompt_text(struct sim_reader *r, struct bb_str text)
{
	return add_text_as(r, text, SIM_TEXT_WITH_SPECIAL);
}

/* By the model's own template where there is one. */
static int add_chat(struct sim_reader *r, struct bb_str body, enum sim_prefill prefill,
		    const char **why)
{
	const bool has_template = r->tokenizer && sim_tokenizer_has_chat(r->tokenizer);
	const int rc = has_template ? sim_tokenizer_render(r->tokenizer, body, &r->text, why)
				    : render_chat(r, prefill, why);

	return rc ? rc : add_text_as(r, bb_buf_str(&r->text), SIM_TEXT_PLAIN);
}

static int add_prompt_ids(struct sim_reader *r, yyjson_val *ids)
{
	size_t i, max;
	yyjson_val *id;
	int rc = prompt_begin(r);

	if (rc)
		return rc;
	yyjson_arr_foreach(ids, i, max, id)
	{
		if (!yyjson_is_uint(id) || yyjson_get_uint(id) > INT32_MAX)
			return -BB_EINVALID;
		rc = sim_tokens_add(&r->tokens, (uint32_t)yyjson_get_uint(id));
		if (rc)
			return rc;
	}
	return prompt_end(r);
}

/* A string, a list of strings, a list of token ids, or a list of such lists. */
static int add_prompts(struct sim_reader *r, yyjson_val *v, const char **why)
{
	size_t i, max;
	yyjson_val *item;
	int rc = 0;

	if (yyjson_is_str(v))
		return add_prompt_text(r, (struct bb_str){ yyjson_get_str(v), yyjson_get_len(v) });
	if (yyjson_is_arr(v) && yyjson_is_uint(yyjson_arr_get_first(v))) {
		rc = add_prompt_ids(r, v);
	} else if (yyjson_is_arr(v) && yyjson_arr_size(v) > 0) {
		yyjson_arr_foreach(v, i, max, item)
		{
			if (yyjson_is_str(item))
				rc = add_prompt_text(r, (struct bb_str){ yyjson_get_str(item),
									 yyjson_get_len(item) });
			else
				rc = yyjson_is_arr(item) ? add_prompt_ids(r, item) : -BB_EINVALID;
			if (rc)
				break;
		}
	} else {
		rc = -BB_EINVALID;
	}
	if (rc == -BB_EINVALID)
		*why = "a prompt must be text or a list of token ids";
	return rc;
}

/* Two texts that are judged together make one prompt. */
static int add_pair(struct sim_reader *r, struct bb_str one, struct bb_str other)
{
	bb_buf_clear(&r->text);
	bb_buf_add_str(&r->text, one);
	bb_buf_lit(&r->text, "\n");
	bb_buf_add_str(&r->text, other);
	return r->text.err ? r->text.err : add_prompt_text(r, bb_buf_str(&r->text));
}

/* Rerank: `query` with each of `documents`. Score: `text_1` with each of `text_2`. */
static int add_pairs(struct sim_reader *r, const char *left, const char *right, const char **why)
{
	const struct bb_str one = sim_json_str(r->root, left);
	yyjson_val *others = yyjson_obj_get(r->root, right);
	yyjson_val *item;
	size_t i, max;

	*why = "a query and a list of texts are needed";
	if (!one.p)
		return -BB_EINVALID;
	if (yyjson_is_str(others))
		return add_pair(r, one, sim_json_str(r->root, right));
	if (!yyjson_is_arr(others) || yyjson_arr_size(others) == 0)
		return -BB_EINVALID;
	yyjson_arr_foreach(others, i, max, item)
	{
		const struct bb_str text =
			yyjson_is_str(item)
				? (struct bb_str){ yyjson_get_str(item), yyjson_get_len(item) }
				: sim_json_str(item, "text");
		const int rc = text.p ? add_pair(r, one, text) : -BB_EINVALID;
		if (rc)
			return rc;
	}
	return 0;
}

static int read_prompts(struct sim_reader *r, enum api api, struct bb_str body,
			enum sim_prefill prefill, const char **why)
{
	yyjson_val *messages = yyjson_obj_get(r->root, "messages");
	int rc = 0;

	switch (api) {
	case API_EMBEDDINGS: return add_prompts(r, yyjson_obj_get(r->root, "input"), why);
	case API_COMPLETIONS: return add_prompts(r, yyjson_obj_get(r->root, "prompt"), why);
	case API_RERANK: return add_pairs(r, "query", "documents", why);
	case API_SCORE: return add_pairs(r, "text_1", "text_2", why);
	case API_IMAGES: return add_prompts(r, yyjson_obj_get(r->root, "prompt"), why);
	case API_RESPONSES: rc = render_responses(r, why); break;
	case API_MESSAGES:
	case API_COUNT_TOKENS: rc = render_chat(r, SIM_PREFILL_ALWAYS, why); break;
	case API_TOKENIZE:
		if (!messages) { /* vLLM calls it prompt, llama.cpp content */
			yyjson_val *prompt = yyjson_obj_get(r->root, "prompt");
			rc = add_content(&r->text,
					 prompt ? prompt : yyjson_obj_get(r->root, "content"));
			break;
		}
		return add_chat(r, body, prefill, why);
	case API_CHAT: return add_chat(r, body, prefill, why);
	case API_NONE:
	case API_TRANSCRIPTIONS:
	case API_TRANSLATIONS:
	case API_SPEECH:
	case API_IMAGE_EDITS:
	case API_IMAGE_VARIATIONS:
	case API_DETOKENIZE:
	case API_COUNT: /* no prompt */ return 0;
	}
	return rc ? rc : add_prompt_text(r, bb_buf_str(&r->text));
}

/* ---- the whole ---- */

static int read_settings(struct sim_reader *r, struct sim_request *out, const char **why)
{
	yyjson_val *root = r->root;

	out->model = sim_json_str(root, "model");
	out->cache_salt = sim_json_str(root, "cache_salt");
	out->stream = yyjson_get_bool(yyjson_obj_get(root, "stream"));
	out->include_usage = yyjson_get_bool(
		yyjson_obj_get(yyjson_obj_get(root, "stream_options"), "include_usage"));
	if (!get_u32(root, "n", 1, &out->n) || out->n == 0) {
		*why = "n must be at least 1";
		return -BB_EINVALID;
	}
	const char *const names[] = { "max_completion_tokens", "max_output_tokens", "max_tokens" };
	out->max_tokens = SIM_ABSENT;
	for (int i = 0; i < 3 && out->max_tokens == SIM_ABSENT; i++)
		if (!get_u32(root, names[i], SIM_ABSENT, &out->max_tokens)) {
			*why = "max_tokens must be a whole number";
			return -BB_EINVALID;
		}
	return 0;
}

void sim_reader_init(struct sim_reader *r)
{
	*r = (struct sim_reader){ 0 };
	sim_tokens_init(&r->tokens, SIM_PROMPT_TOKENS_MAX);
	bb_buf_init(&r->text, TEXT_MAX);
}

static void reader_clear(struct sim_reader *r)
{
	yyjson_doc_free(r->doc);
	r->doc = NULL;
	r->root = NULL;
	r->tokens.count = 0;
	r->prompt_count = 0;
	bb_buf_clear(&r->text);
	r->text.err = 0;
}

void sim_reader_fini(struct sim_reader *r)
{
	reader_clear(r);
	sim_tokens_fini(&r->tokens);
	bb_buf_fini(&r->text);
}

int sim_request_read(struct sim_reader *r, enum api api, struct bb_str body,
		     enum sim_prefill prefill, struct sim_request *out, const char **why)
{
	struct sim_request found = { .api = api };
	yyjson_read_err err;
	int rc;

	reader_clear(r);
	*why = "the body is not a JSON object";
	r->doc = yyjson_read_opts((char *)(uintptr_t)body.p, body.len, 0, &json_memory, &err);
	r->root = yyjson_doc_get_root(r->doc);
	if (!yyjson_is_obj(r->root)) {
		rc = !r->doc && err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? -BB_ENOMEM
										: -BB_EINVALID;
		goto fail;
	}
	rc = read_settings(r, &found, why);
	if (rc)
		goto fail;
	sim_hints_read(body, &found.hints);
	rc = read_prompts(r, api, body, prefill, why);
	if (rc)
		goto fail;
	*out = found;
	return 0;

fail:
	reader_clear(r);
	return rc;
}
