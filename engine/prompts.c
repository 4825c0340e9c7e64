#include "prompts.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/log.h"
#include "engine_api.h"
#include "os/clock.h"
#include "wire/json.h"

#define CHAT_TEXT_MAX (64u << 20)
#define MESSAGES_MAX 4096

void prompts_fini(struct prompts *p)
{
	for (uint32_t i = 0; i < p->count; i++)
		BB_FREE(p->items[i].tokens);
	p->count = 0;
}

/* One more prompt, which owns `tokens` now. */
static void add(struct prompts *p, int32_t *tokens, uint32_t count)
{
	BB_ASSERT(p->count < PROMPTS_MAX);
	p->items[p->count++] = (struct prompt){ .tokens = tokens, .count = count };
}

static int add_text(const struct model *m, struct bb_str text, enum model_bos bos,
		    struct prompts *out, struct api_error *e)
{
	int32_t *tokens;
	uint32_t count;
	const int rc = model_tokenize(m, text, bos, &tokens, &count);

	if (rc)
		return api_error_internal(e, rc);
	add(out, tokens, count);
	return 0;
}

static int add_ids(const struct model *m, yyjson_val *ids, const char *name, struct prompts *out,
		   struct api_error *e)
{
	size_t i, count;
	yyjson_val *id;
	int32_t *tokens = bb_alloc((yyjson_arr_size(ids) + 1) * sizeof(*tokens));

	if (!tokens)
		return api_error_internal(e, -BB_ENOMEM);
	yyjson_arr_foreach(ids, i, count, id)
	{
		if (!yyjson_is_uint(id) || yyjson_get_uint(id) >= m->vocab_size) {
			bb_free(tokens);
			return api_error_bad(e, name,
					     "%s has a token id that is not in the model's "
					     "vocabulary of %u tokens.",
					     name, m->vocab_size);
		}
		tokens[i] = (int32_t)yyjson_get_uint(id);
	}
	add(out, tokens, (uint32_t)yyjson_arr_size(ids));
	return 0;
}

static int add_one(const struct model *m, yyjson_val *v, const char *name, enum model_bos bos,
		   struct prompts *out, struct api_error *e)
{
	if (yyjson_is_str(v))
		return add_text(m, (struct bb_str){ yyjson_get_str(v), yyjson_get_len(v) }, bos,
				out, e);
	if (yyjson_is_arr(v))
		return add_ids(m, v, name, out, e);
	return api_error_bad(e, name,
			     "%s must be a string, an array of token ids, or an array of "
			     "these.",
			     name);
}

int prompts_from_member(const struct model *m, yyjson_val *request, const char *name,
			enum model_bos bos, struct prompts *out, struct api_error *e)
{
	yyjson_val *v = yyjson_obj_get(request, name), *first = yyjson_arr_get_first(v), *item;
	size_t i, count;
	int rc = 0;

	out->count = 0;
	if (!v)
		return api_error_bad(e, name, "%s is missing.", name);
	if (!first || yyjson_is_num(first)) {
		rc = add_one(m, v, name, bos, out, e);
	} else if (yyjson_arr_size(v) > PROMPTS_MAX) {
		return api_error_bad(e, name, "%s has %zu items, at most %d are allowed.", name,
				     yyjson_arr_size(v), PROMPTS_MAX);
	} else {
		yyjson_arr_foreach(v, i, count, item)
		{
			rc = add_one(m, item, name, bos, out, e);
			if (rc)
				break;
		}
	}
	for (uint32_t p = 0; !rc && p < out->count; p++)
		if (out->items[p].count == 0)
			rc = api_error_bad(e, name, "%s must not be empty.", name);
	if (rc)
		prompts_fini(out);
	return rc;
}

/* ---- chats ---- */

/* A copy with a NUL behind it, as libllama wants it. NULL: no memory. */
static const char *c_string(struct bb_arena *arena, yyjson_val *v)
{
	return bb_arena_dup(arena, (struct bb_str){ yyjson_get_str(v), yyjson_get_len(v) }).p;
}

static int check_text(yyjson_val *v, struct api_error *e)
{
	if (!yyjson_is_str(v))
		return api_error_bad(e, "messages", "the text of a message must be a string.");
	if (memchr(yyjson_get_str(v), '\0', yyjson_get_len(v)))
		return api_error_bad(e, "messages", "a message must not contain U+0000.");
	return 0;
}

/* Parts of type "text", one a line, as vLLM does for templates that know only strings. */
static int join_parts(struct bb_arena *arena, yyjson_val *parts, const char **text,
		      struct api_error *e)
{
	struct bb_buf joined;
	size_t i, count;
	yyjson_val *part;
	int rc = 0;

	bb_buf_init(&joined, CHAT_TEXT_MAX);
	yyjson_arr_foreach(parts, i, count, part)
	{
		yyjson_val *type = yyjson_obj_get(part, "type"), *v = yyjson_obj_get(part, "text");
		if (!yyjson_equals_str(type, "text")) {
			rc = api_error_bad(e, "messages",
					   "only parts of type \"text\" are supported by "
					   "this engine.");
			break;
		}
		rc = check_text(v, e);
		if (rc)
			break;
		if (i)
			bb_buf_lit(&joined, "\n");
		bb_buf_add(&joined, yyjson_get_str(v), yyjson_get_len(v));
	}
	*text = bb_arena_dup(arena, bb_buf_str(&joined)).p;
	if (!rc && (joined.err || !*text))
		rc = api_error_internal(e, -BB_ENOMEM);
	bb_buf_fini(&joined);
	return rc;
}

static int read_message(struct bb_arena *arena, yyjson_val *message, struct llama_chat_message *out,
			struct api_error *e)
{
	yyjson_val *role = yyjson_obj_get(message, "role");
	yyjson_val *content = yyjson_obj_get(message, "content");

	if (!yyjson_is_str(role))
		return api_error_bad(e, "messages", "a message must have a role.");
	/* OpenAI's newer name of it; templates know the old one. */
	out->role = yyjson_equals_str(role, "developer") ? "system" : c_string(arena, role);
	if (!content || yyjson_is_null(content)) {
		out->content = "";
	} else if (yyjson_is_arr(content)) {
		return join_parts(arena, content, &out->content, e);
	} else {
		const int rc = check_text(content, e);
		if (rc)
			return rc;
		out->content = c_string(arena, content);
	}
	return out->role && out->content ? 0 : api_error_internal(e, -BB_ENOMEM);
}

static int read_messages(struct bb_arena *arena, yyjson_val *request,
			 struct llama_chat_message **out, size_t *out_count, struct api_error *e)
{
	yyjson_val *messages = yyjson_obj_get(request, "messages"), *message;
	size_t i, count;

	if (!yyjson_is_arr(messages) || yyjson_arr_size(messages) == 0 ||
	    yyjson_arr_size(messages) > MESSAGES_MAX)
		return api_error_bad(e, "messages",
				     "messages must be an array of 1 to %d messages.",
				     MESSAGES_MAX);
	*out_count = yyjson_arr_size(messages);
	*out = bb_arena_alloc(arena, *out_count * sizeof(**out));
	if (!*out)
		return api_error_internal(e, -BB_ENOMEM);
	yyjson_arr_foreach(messages, i, count, message)
	{
		const int rc = read_message(arena, message, &(*out)[i], e);
		if (rc)
			return rc;
	}
	return 0;
}

static bool flag(yyjson_val *request, const char *name, bool otherwise)
{
	yyjson_val *v = yyjson_obj_get(request, name);

	return yyjson_is_bool(v) ? yyjson_get_bool(v) : otherwise;
}

/* Where the text ends when the last message is to be continued: behind its content. */
static size_t cut_behind(struct bb_str text, struct bb_str content)
{
	content = bb_str_trim(content);
	for (size_t at = text.len - content.len + 1; content.len <= text.len && at-- > 0;)
		if (memcmp(text.p + at, content.p, content.len) == 0)
			return at + content.len;
	return text.len;
}

/* By the model's own template. */
static int render_own(const struct model *m, yyjson_val *request, bool adds_prompt,
		      struct bb_arena *arena, struct bb_str *text, struct api_error *e)
{
	struct text_error why = { "" };
	struct bb_buf out;
	size_t len;
	char *body = yyjson_val_write_opts(request, 0, &api_json_alloc, &len, NULL);

	if (!body)
		return api_error_internal(e, -BB_ENOMEM);
	const struct template_input in = {
		.body = { body, len },
		.now = (time_t)(clock_wall_ns() / OS_SECOND),
		.generation = adds_prompt ? TEMPLATE_GENERATION_DEFAULT : TEMPLATE_GENERATION_NO,
		.messages = TEMPLATE_AS_VLLM,
	};
	bb_buf_init(&out, CHAT_TEXT_MAX);
	int rc = json_check(in.body, JSON_DEPTH_MAX, NULL);
	if (rc)
		text_error_set(&why, "the request is nested more than %d deep", JSON_DEPTH_MAX);
	else
		rc = chat_text_render(m->chat, &in, &out, &why);
	if (!rc) {
		*text = bb_arena_dup(arena, bb_buf_str(&out));
		rc = text->p ? 0 : -BB_ENOMEM;
	}
	bb_buf_fini(&out);
	bb_free(body);
	if (rc == -BB_ENOMEM)
		return api_error_internal(e, rc);
	if (rc)
		return api_error_bad(e, "messages", "the chat template refuses: %s",
				     why.message[0] ? why.message : bb_error_info(rc)->text);
	return 0;
}

static int render_chatml(struct llama_chat_message *messages, size_t count, bool adds_prompt,
			 struct bb_arena *arena, struct bb_str *text, struct api_error *e)
{
	const int32_t len = llama_chat_apply_template(NULL, messages, count, adds_prompt, NULL, 0);

	if (len < 0)
		return api_error_bad(e, "messages", "the chat template cannot render these messages.");
	char *room = bb_arena_alloc(arena, (size_t)len + 1);
	if (!room)
		return api_error_internal(e, -BB_ENOMEM);
	llama_chat_apply_template(NULL, messages, count, adds_prompt, room, len + 1);
	*text = (struct bb_str){ room, (size_t)len };
	return 0;
}

static int render(const struct model *m, yyjson_val *request, struct bb_arena *arena,
		  struct bb_str *text, struct api_error *e)
{
	struct llama_chat_message *messages = NULL;
	size_t count = 0;
	const bool continues = flag(request, "continue_final_message", false);
	const bool adds_prompt = flag(request, "add_generation_prompt", !continues);

	if (continues && adds_prompt)
		return api_error_bad(e, "continue_final_message",
				     "Cannot set both `continue_final_message` and "
				     "`add_generation_prompt` to True.");
	int rc = read_messages(arena, request, &messages, &count, e);
	if (rc)
		return rc;
	if (m->chat)
		return render_own(m, request, adds_prompt, arena, text, e);
	rc = render_chatml(messages, count, adds_prompt, arena, text, e);
	if (!rc && continues)
		text->len = cut_behind(*text, bb_str_of(messages[count - 1].content));
	return rc;
}

/* Most templates begin with the token that begins a prompt; it is not wanted twice. */
static enum model_bos bos_for(const struct model *m, struct bb_str text)
{
	return m->bos.len && bb_str_starts(text, m->bos) ? MODEL_NO_BOS : MODEL_BOS_AS_USUAL;
}

int prompts_from_chat(const struct model *m, yyjson_val *request, struct prompts *out,
		      struct api_error *e)
{
	struct bb_arena arena;
	struct bb_str text;

	out->count = 0;
	bb_arena_init(&arena, CHAT_TEXT_MAX);
	int rc = render(m, request, &arena, &text, e);
	if (!rc)
		rc = add_text(m, text, bos_for(m, text), out, e);
	if (!rc && out->items[0].count == 0) {
		prompts_fini(out);
		rc = api_error_bad(e, "messages", "messages must not be empty.");
	}
	bb_arena_fini(&arena);
	return rc;
}
