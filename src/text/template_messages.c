/* Messages as engines hand them to templates: template_bind.h. */
#include "text/template_bind.h"
#include "wire/json.h"

/* d[name], ready to be read; NULL: it is not there, or there is no memory. */
static struct tvalue *member(struct trun *r, struct tvalue dict, const char *name)
{
	struct tvalue *const v =
		dict.type == TV_DICT ? tdict_find_str(dict.dict, bb_str_of(name)) : NULL;

	if (v && !tv_ready(&r->mem, v)) {
		run_nomem(r);
		return NULL;
	}
	return v;
}

/* ---- tool calls ---- */

static bool parse_arguments(struct trun *r, struct tvalue *arguments, enum template_messages how)
{
	const bool is_empty =
		arguments->type == TV_NONE || (arguments->type == TV_STR && !arguments->len);

	if (is_empty && how == TEMPLATE_AS_VLLM) {
		struct tdict *const none = run_dict(r, 0);
		*arguments = none ? TV(TV_DICT, .dict = none) : TV(TV_FAIL);
		return none;
	}
	if (arguments->type != TV_STR || json_check(tv_text(*arguments), JSON_DEPTH_MAX, NULL))
		return true;
	*arguments = bind_json(r, tv_text(*arguments));
	return !is_fail(*arguments);
}

static bool parse_tool_calls(struct trun *r, struct tvalue message, enum template_messages how)
{
	struct tvalue *const calls = member(r, message, "tool_calls");

	if (!calls || calls->type != TV_LIST)
		return !r->rc;
	for (uint32_t i = 0; i < calls->seq->count; i++) {
		struct tvalue *const function = member(r, calls->seq->items[i], "function");
		struct tvalue *const arguments =
			function ? member(r, *function, "arguments") : NULL;
		if (arguments && !parse_arguments(r, arguments, how))
			return false;
	}
	return !r->rc;
}

/* ---- contents ---- */

/* The text of a part: a string, or {"type": "text", "text": "..."}. TV_MISSING: it is no text. */
static struct tvalue part_text(struct trun *r, struct tvalue *part)
{
	const struct tvalue v = run_at(r, part);
	struct tvalue *const text = member(r, v, "text");

	if (v.type == TV_STR || is_fail(v))
		return v;
	return text && text->type == TV_STR ? *text : TV(TV_MISSING);
}

static struct tvalue joined(struct trun *r, struct tseq *parts, struct bb_str separator)
{
	const size_t mark = run_mark(r);
	bool is_first = true;

	for (uint32_t i = 0; i < parts->count; i++) {
		const struct tvalue text = part_text(r, &parts->items[i]);
		if (is_fail(text))
			return text;
		if (text.type == TV_MISSING)
			continue;
		if (!is_first)
			bb_buf_add_str(r->out, separator);
		is_first = false;
		if (!run_print(r, text))
			return TV(TV_FAIL);
	}
	return run_take(r, mark);
}

/* {"type": kind, "text": text}; without a text when that is TV_MISSING. */
static struct tvalue make_part(struct trun *r, struct tvalue kind, struct tvalue text)
{
	struct tdict *const d = run_dict(r, 2);

	if (!d || !run_put(r, d, tv_lit("type"), kind) ||
	    (text.type != TV_MISSING && !run_put(r, d, tv_lit("text"), text)))
		return TV(TV_FAIL);
	return TV(TV_DICT, .dict = d);
}

/* What a part of this type is called in templates: "image" for "image_url". */
static struct tvalue media_kind(struct tvalue type)
{
	static const char *const kinds[] = { "image", "audio", "video" };

	for (size_t i = 0; type.type == TV_STR && i < 3; i++)
		if (bb_str_find(tv_text(type), bb_str_of(kinds[i])) >= 0)
			return tv_str(bb_str_of(kinds[i]));
	return type;
}

static struct tvalue as_parts(struct trun *r, struct tseq *parts)
{
	struct tseq *const s = run_seq(r, parts->count);

	for (uint32_t i = 0; s && i < parts->count; i++) {
		const struct tvalue text = part_text(r, &parts->items[i]);
		struct tvalue *const type = member(r, parts->items[i], "type");
		const struct tvalue kind = text.type == TV_STR ? tv_lit("text")
					   : type	       ? media_kind(*type)
							       : tv_lit("text");
		if (is_fail(text))
			return text;
		s->items[s->count] = make_part(r, kind, text);
		if (is_fail(s->items[s->count]))
			return TV(TV_FAIL);
		s->count++;
	}
	return s ? TV(TV_LIST, .seq = s) : TV(TV_FAIL);
}

/* vLLM: always a list of parts, or always a text. */
static struct tvalue vllm_content(struct trun *r, struct tvalue content)
{
	struct tseq one = { &content, content.type == TV_STR };
	struct tseq *const parts = content.type == TV_LIST ? content.seq : &one;

	if (content.type != TV_LIST && content.type != TV_STR && content.type != TV_NONE)
		return content;
	if (r->t->content == TEMPLATE_CONTENT_PARTS)
		return as_parts(r, parts);
	return content.type == TV_STR ? content : joined(r, parts, BB_STR("\n"));
}

static struct tvalue sglang_content(struct trun *r, struct tvalue content)
{
	if (content.type == TV_NONE)
		return tv_lit("");
	if (content.type != TV_LIST)
		return content;
	return r->t->content == TEMPLATE_CONTENT_PARTS ? as_parts(r, content.seq)
						       : joined(r, content.seq, BB_STR(" "));
}

/* ---- messages ---- */

static bool copy_member(struct trun *r, struct tdict *to, struct tvalue message, const char *name)
{
	const struct tvalue *const v = member(r, message, name);

	if (!v || v->type == TV_NONE)
		return !r->rc;
	return run_put(r, to, tv_str(bb_str_of(name)), *v);
}

static bool is_role(const struct tvalue *role, struct bb_str name)
{
	return role && role->type == TV_STR && bb_str_eq(tv_text(*role), name);
}

static bool copy_reasoning(struct trun *r, struct tdict *to, struct tvalue message)
{
	const struct tvalue *v = member(r, message, "reasoning");

	if (!v || !tv_truth(*v))
		v = member(r, message, "reasoning_content");
	if (!v || v->type == TV_NONE)
		return !r->rc;
	return run_put(r, to, tv_lit("reasoning"), *v) &&
	       run_put(r, to, tv_lit("reasoning_content"), *v);
}

static bool copy_calls(struct trun *r, struct tdict *to, struct tvalue message)
{
	const struct tvalue *const calls = member(r, message, "tool_calls");

	if (!calls || calls->type == TV_NONE || (calls->type == TV_LIST && !calls->seq->count))
		return !r->rc;
	return run_put(r, to, tv_lit("tool_calls"), *calls);
}

/* Only the members that vLLM hands on. */
static bool vllm_message(struct trun *r, struct tvalue *message)
{
	const struct tvalue *const role = member(r, *message, "role");
	const struct tvalue *const content = member(r, *message, "content");
	struct tdict *const d = run_dict(r, 8);

	if (!d || !copy_member(r, d, *message, "role"))
		return false;
	const struct tvalue seen = vllm_content(r, content ? *content : TV(TV_NONE));
	if (is_fail(seen) || !run_put(r, d, tv_lit("content"), seen))
		return false;
	if (is_role(role, BB_STR("assistant")) &&
	    !(copy_calls(r, d, *message) && copy_reasoning(r, d, *message)))
		return false;
	if (is_role(role, BB_STR("tool")) && !copy_member(r, d, *message, "tool_call_id"))
		return false;
	if (!copy_member(r, d, *message, "name"))
		return false;
	*message = TV(TV_DICT, .dict = d);
	return true;
}

static bool sglang_message(struct trun *r, struct tvalue *message)
{
	struct tvalue *const content = member(r, *message, "content");
	const struct tvalue seen = sglang_content(r, content ? *content : TV(TV_NONE));

	return !is_fail(seen) && run_put(r, message->dict, tv_lit("content"), seen);
}

bool bind_messages(struct trun *r, struct tvalue *messages, enum template_messages how)
{
	if (messages->type != TV_LIST) {
		run_invalid(r, "the request needs 'messages', a list");
		return false;
	}
	for (uint32_t i = 0; i < messages->seq->count; i++) {
		struct tvalue *const m = &messages->seq->items[i];
		if (m->type != TV_DICT) {
			run_invalid(r, "message %u of the request is no object", i);
			return false;
		}
		if (!parse_tool_calls(r, *m, how) ||
		    (how == TEMPLATE_AS_VLLM && !vllm_message(r, m)) ||
		    (how == TEMPLATE_AS_SGLANG && !sglang_message(r, m)))
			return false;
	}
	return true;
}
