#include "text/template_bind.h"

#include "text/template_chars.h"

/* The members of the body that count. */
enum member {
	MESSAGES,
	TOOLS,
	DOCUMENTS,
	ADD_GENERATION_PROMPT,
	CONTINUE_FINAL_MESSAGE,
	REASONING_EFFORT,
	CHAT_TEMPLATE_KWARGS,
	MEMBER_COUNT,
};

static const struct bb_str member_names[MEMBER_COUNT] = {
	[MESSAGES] = BB_STR_INIT("messages"),
	[TOOLS] = BB_STR_INIT("tools"),
	[DOCUMENTS] = BB_STR_INIT("documents"),
	[ADD_GENERATION_PROMPT] = BB_STR_INIT("add_generation_prompt"),
	[CONTINUE_FINAL_MESSAGE] = BB_STR_INIT("continue_final_message"),
	[REASONING_EFFORT] = BB_STR_INIT("reasoning_effort"),
	[CHAT_TEMPLATE_KWARGS] = BB_STR_INIT("chat_template_kwargs"),
};

/* ---- variables ---- */

static bool put(struct trun *r, struct tdict *d, const char *name, struct tvalue v)
{
	return !is_fail(v) && run_put(r, d, tv_str(bb_str_of(name)), v);
}

static bool put_token(struct trun *r, struct tdict *d, const char *name, struct bb_str token)
{
	return !token.p || put(r, d, name, tv_str(token));
}

static bool put_all(struct trun *r, struct tdict *d, struct tvalue v, const char *what)
{
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
	return (!in->special_json.len ||
		put_all(r, d, bind_json(r, in->special_json), "special tokens")) &&
	       put_token(r, d, "bos_token", in->bos_token) &&
	       put_token(r, d, "eos_token", in->eos_token) &&
	       put_token(r, d, "pad_token", in->pad_token) &&
	       put_token(r, d, "unk_token", in->unk_token);
}

static struct tvalue tools_of(struct tvalue tools, enum template_messages how)
{
	/* Engines know no difference between no tools and none of them. */
	return how != TEMPLATE_AS_GIVEN && !tv_truth(tools) ? TV(TV_NONE) : tools;
}

/* Is the assistant's turn begun? Not when the final message is to be continued. */
static struct tvalue generation_of(struct trun *r, const struct template_input *in,
				   struct tvalue asked, const struct continuation *c)
{
	if (in->generation == TEMPLATE_GENERATION_NO)
		return tv_bool(0);
	if (asked.type == TV_NONE)
		return tv_bool(!c->is_wanted);
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
	run_invalid(r,
		    "continue_final_message is set but we could not find any text to continue in "
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
		run_invalid(
			r,
			"continue_final_message is set but the final message has no \"%.*s\" to "
			"continue!",
			BB_ARG(field));
		return false;
	}
	if (bb_str_find(r->t->source, field) < 0) {
		run_invalid(r,
			    "continue_final_message is set to \"%.*s\" but this is not an accepted "
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
		run_invalid(
			r, "continue_final_message is set but the final message does not appear in "
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

static bool put_variables(struct trun *r, struct tdict *vars, const struct template_input *in,
			  const struct tvalue *q, struct tvalue generation)
{
	return put_tokens(r, vars, in) && put(r, vars, "tools", tools_of(q[TOOLS], in->messages)) &&
	       put(r, vars, "documents", q[DOCUMENTS]) &&
	       put(r, vars, "add_generation_prompt", generation) &&
	       (q[REASONING_EFFORT].type == TV_NONE ||
		put(r, vars, "reasoning_effort", q[REASONING_EFFORT])) &&
	       put_all(r, vars, q[CHAT_TEMPLATE_KWARGS], "chat_template_kwargs") &&
	       (in->generation != TEMPLATE_GENERATION_NO ||
		put(r, vars, "add_generation_prompt", tv_bool(0))) &&
	       put(r, vars, "messages", q[MESSAGES]);
}

int template_bind(struct trun *r, const struct template_input *in, struct continuation *c)
{
	struct tdict *const vars = run_dict(r, 24);
	struct tvalue q[MEMBER_COUNT];

	*c = (struct continuation){ .is_wanted = false };
	if (!vars || !bind_members(r, in->body, member_names, MEMBER_COUNT, q) ||
	    !bind_messages(r, &q[MESSAGES], in->messages))
		return r->rc;
	c->is_wanted = tv_truth(q[CONTINUE_FINAL_MESSAGE]);
	const struct tvalue generation = generation_of(r, in, q[ADD_GENERATION_PROMPT], c);
	if (is_fail(generation) ||
	    (c->is_wanted && !tag_final(r, q[MESSAGES], q[CONTINUE_FINAL_MESSAGE], c)) ||
	    !put_variables(r, vars, in, q, generation))
		return r->rc;
	return fill_ctx(r, vars) ? 0 : r->rc;
}
