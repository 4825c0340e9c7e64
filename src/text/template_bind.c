#include "text/template_bind.h"

#include "text/template_chars.h"
#include "text/template_lex.h"
#include "wire/json.h"

/* The members of the body that count; raw text, p NULL where one is absent. */
struct request {
	struct bb_str messages, tools, documents, add_generation_prompt, continue_final_message;
	struct bb_str reasoning_effort, chat_template_kwargs;
};

static void read_request(struct bb_str body, struct request *q)
{
	static const struct {
		struct bb_str name;
		size_t at;
	} members[] = {
#define MEMBER(name) { BB_STR_INIT(#name), offsetof(struct request, name) }
		MEMBER(messages), MEMBER(tools), MEMBER(documents), MEMBER(add_generation_prompt),
		MEMBER(continue_final_message), MEMBER(reasoning_effort),
		MEMBER(chat_template_kwargs),
#undef MEMBER
	};
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;

	*q = (struct request){ .messages = { NULL, 0 } };
	json_pull_init(&j, body);
	if (!json_pull_object(&j))
		return;
	while (json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type))
		for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
			if (json_inner_eq(key, members[i].name))
				*(struct bb_str *)(void *)((char *)q + members[i].at) = raw;
}

static struct tvalue value_of(struct trun *r, struct bb_str raw)
{
	struct tvalue v = raw.p ? bind_json(r, raw) : TV(TV_NONE);

	return tv_ready(&r->mem, &v) ? v : run_nomem(r);
}

/* ---- variables ---- */

static bool put(struct trun *r, struct tdict *d, const char *name, struct tvalue v)
{
	return !is_fail(v) && run_put(r, d, tv_str(bb_str_of(name)), v);
}

static bool put_token(struct trun *r, struct tdict *d, const char *name, struct bb_str token)
{
	return !token.p || put(r, d, name, tv_str(token));
}

static bool put_all(struct trun *r, struct tdict *d, struct bb_str json, const char *what)
{
	const struct tvalue v = value_of(r, json);

	if (is_fail(v) || v.type == TV_NONE)
		return !r->rc;
	if (v.type != TV_DICT) {
		run_invalid(r, "the request's '%s' must be an object", what);
		return false;
	}
	for (uint32_t i = 0; i < v.dict->count; i++)
		if (!run_put(r, d, v.dict->pairs[i].key, v.dict->pairs[i].value))
			return false;
	return true;
}

static bool put_tokens(struct trun *r, struct tdict *d, const struct template_input *in)
{
	return (!in->special_json.len || put_all(r, d, in->special_json, "special tokens")) &&
	       put_token(r, d, "bos_token", in->bos_token) &&
	       put_token(r, d, "eos_token", in->eos_token) &&
	       put_token(r, d, "pad_token", in->pad_token) &&
	       put_token(r, d, "unk_token", in->unk_token);
}

static struct tvalue tools_of(struct trun *r, struct bb_str raw, enum template_messages how)
{
	const struct tvalue tools = value_of(r, raw);

	/* Engines know no difference between no tools and none of them. */
	return how != TEMPLATE_AS_GIVEN && !is_fail(tools) && !tv_truth(tools) ? TV(TV_NONE) : tools;
}

/* Is the assistant's turn begun? Not when the final message is to be continued. */
static struct tvalue generation_of(struct trun *r, const struct template_input *in,
				   const struct request *q, const struct continuation *c)
{
	if (in->generation == TEMPLATE_GENERATION_NO)
		return tv_bool(0);
	const struct tvalue asked = value_of(r, q->add_generation_prompt);
	if (asked.type == TV_NONE || is_fail(asked))
		return is_fail(asked) ? asked : tv_bool(!c->is_wanted);
	if (c->is_wanted && tv_truth(asked))
		return run_invalid(r, "continue_final_message and add_generation_prompt are not "
				      "compatible: set one of them");
	return asked;
}

/* ---- the final message, continued ---- */

static struct tvalue tagged(struct trun *r, struct tvalue text)
{
	return op_add(r, text, tv_lit(CONTINUE_TAG));
}

/* The last part that has a text. */
static bool tag_parts(struct trun *r, struct tseq *parts, struct continuation *c)
{
	for (uint32_t i = parts->count; i-- > 0;) {
		struct tvalue *const text =
			parts->items[i].type == TV_DICT
				? tdict_find_str(parts->items[i].dict, BB_STR("text"))
				: NULL;
		if (!text)
			continue;
		c->text = run_at(r, text);
		*text = is_fail(c->text) ? c->text : tagged(r, c->text);
		return !is_fail(*text);
	}
	run_invalid(r, "continue_final_message is set but we could not find any text to continue in "
		       "the final message!");
	return false;
}

static bool tag_final(struct trun *r, struct tvalue messages, struct tvalue wanted,
		      struct continuation *c)
{
	const struct bb_str field = wanted.type == TV_STR ? tv_text(wanted) : BB_STR("content");

	if (!messages.seq->count) {
		run_invalid(r, "continue_final_message is set but the conversation is empty!");
		return false;
	}
	const struct tvalue last = messages.seq->items[messages.seq->count - 1];
	struct tvalue *const v = tdict_find_str(last.dict, field);
	if (!v || v->type == TV_NONE) {
		run_invalid(r, "continue_final_message is set but the final message has no \"%.*s\" to "
			       "continue!",
			    BB_ARG(field));
		return false;
	}
	if (bb_str_find(r->t->source, field) < 0) {
		run_invalid(r, "continue_final_message is set to \"%.*s\" but this is not an accepted "
			       "field in the chat_template",
			    BB_ARG(field));
		return false;
	}
	if (v->type == TV_LIST)
		return tag_parts(r, v->seq, c);
	c->text = run_at(r, v);
	if (c->text.type == TV_STR)
		*v = tagged(r, c->text);
	else
		run_invalid(r, "the text to continue is no string");
	return !r->rc;
}

int template_continue(struct trun *r, size_t from, const struct continuation *c)
{
	struct bb_str prompt = { r->out->p + from, r->out->len - from };
	const struct bb_str tag = BB_STR(CONTINUE_TAG), bare = { tag.p, tag.len - 1 };
	const char *last = NULL;

	if (!c->is_wanted)
		return 0;
	const struct bb_str text = chars_strip_left(chars_strip_right(tv_text(c->text)));
	for (struct bb_str rest = prompt; rest.len;) {
		const ptrdiff_t at = bb_str_find(rest, bare);
		if (at < 0)
			break;
		last = rest.p + at;
		rest = bb_str_skip(rest, (size_t)at + bare.len);
	}
	if (!last || bb_str_find(prompt, text) < 0) {
		run_invalid(r, "continue_final_message is set but the final message does not appear in "
			       "the chat after applying the chat template!");
		return r->rc;
	}
	const struct bb_str tail = bb_str_skip(prompt, (size_t)(last - prompt.p));
	prompt.len = (size_t)(last - prompt.p);
	/* Without its space, the template has trimmed the text: so is what stands before. */
	if (!bb_str_starts(tail, tag))
		prompt = chars_strip_right(prompt);
	r->out->len = from + prompt.len;
	return 0;
}

/* ---- all of it ---- */

static bool fill_ctx(struct trun *r, struct tdict *vars)
{
	const struct template *const t = r->t;
	struct tvalue *const ctx = run_alloc(r, (t->name_count + 1) * sizeof(*ctx));

	if (!ctx)
		return false;
	for (uint32_t i = 0; i < t->name_count; i++) {
		struct tvalue *const v = tdict_find_str(vars, t->names[i]);
		const struct tfunction *const f = v ? NULL : function_find(t->names[i]);
		ctx[i] = v ? run_at(r, v) : f ? TV(TV_FUNC, .func = f) : TV(TV_MISSING);
		if (r->rc)
			return false;
	}
	r->ctx = ctx;
	return true;
}

int template_bind(struct trun *r, const struct template_input *in, struct continuation *c)
{
	struct tdict *const vars = run_dict(r, 24);
	struct request q;

	*c = (struct continuation){ .is_wanted = false };
	if (!vars)
		return r->rc;
	read_request(in->body, &q);
	if (!q.messages.p) {
		run_invalid(r, "the request has no 'messages'");
		return r->rc;
	}
	struct tvalue messages = bind_json(r, q.messages);
	const struct tvalue wanted = value_of(r, q.continue_final_message);
	if (is_fail(messages) || is_fail(wanted) || !bind_messages(r, &messages, in->messages))
		return r->rc;
	c->is_wanted = tv_truth(wanted);
	const struct tvalue generation = generation_of(r, in, &q, c);
	if (c->is_wanted && !r->rc)
		tag_final(r, messages, wanted, c);
	if (r->rc || !put_tokens(r, vars, in) ||
	    !put(r, vars, "tools", tools_of(r, q.tools, in->messages)) ||
	    !put(r, vars, "documents", value_of(r, q.documents)) ||
	    !put(r, vars, "add_generation_prompt", generation) ||
	    (q.reasoning_effort.p && json_type_of(q.reasoning_effort) != JSON_NULL &&
	     !put(r, vars, "reasoning_effort", value_of(r, q.reasoning_effort))) ||
	    !put_all(r, vars, q.chat_template_kwargs, "chat_template_kwargs") ||
	    !put(r, vars, "messages", messages))
		return r->rc;
	if (in->generation == TEMPLATE_GENERATION_NO &&
	    !put(r, vars, "add_generation_prompt", tv_bool(0)))
		return r->rc;
	return fill_ctx(r, vars) ? 0 : r->rc;
}
