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

/* Those that each rendering has, but for what chat_template_kwargs says. */
enum variable {
	VARIABLE_NONE,
	VARIABLE_MESSAGES,
	VARIABLE_TOOLS,
	VARIABLE_DOCUMENTS,
	VARIABLE_GENERATION,
	VARIABLE_EFFORT,
	VARIABLE_BOS,
	VARIABLE_EOS,
	VARIABLE_PAD,
	VARIABLE_UNK,
	VARIABLE_COUNT,
};

static const struct bb_str variable_names[VARIABLE_COUNT] = {
	[VARIABLE_MESSAGES] = BB_STR_INIT("messages"),
	[VARIABLE_TOOLS] = BB_STR_INIT("tools"),
	[VARIABLE_DOCUMENTS] = BB_STR_INIT("documents"),
	[VARIABLE_GENERATION] = BB_STR_INIT("add_generation_prompt"),
	[VARIABLE_EFFORT] = BB_STR_INIT("reasoning_effort"),
	[VARIABLE_BOS] = BB_STR_INIT("bos_token"),
	[VARIABLE_EOS] = BB_STR_INIT("eos_token"),
	[VARIABLE_PAD] = BB_STR_INIT("pad_token"),
	[VARIABLE_UNK] = BB_STR_INIT("unk_token"),
};

void bind_name(struct tfree *f)
{
	f->function = function_find(f->name);
	f->variable = VARIABLE_NONE;
	for (uint8_t i = 1; i < VARIABLE_COUNT; i++)
		if (bb_str_eq(f->name, variable_names[i]))
			f->variable = i;
}

static struct tvalue token_of(struct bb_str token)
{
	return token.p ? tv_str(token) : TV(TV_MISSING);
}

/* The object's members as a dict; NULL: there are none. */
static bool take_object(struct trun *r, struct tvalue v, const char *what, struct tdict **out)
{
	*out = v.type == TV_DICT ? v.dict : NULL;
	if (v.type != TV_DICT && v.type != TV_NONE && !is_fail(v))
		run_invalid(r, "the request's '%s' must be an object", what);
	return !r->rc;
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

/* Where a name's value may stand, in order. */
struct sources {
	struct tdict *kwargs, *specials; /* NULL: none */
	struct tvalue known[VARIABLE_COUNT];
	bool has_fixed_generation;
};

static struct tvalue name_value(struct trun *r, const struct sources *s, const struct tfree *f)
{
	const bool is_fixed = f->variable == VARIABLE_MESSAGES ||
			      (f->variable == VARIABLE_GENERATION && s->has_fixed_generation);
	struct tvalue *v = s->kwargs && !is_fixed ? tdict_find_str(s->kwargs, f->name) : NULL;

	if (v)
		return run_at(r, v);
	if (s->known[f->variable].type != TV_MISSING)
		return s->known[f->variable];
	v = s->specials ? tdict_find_str(s->specials, f->name) : NULL;
	if (v)
		return run_at(r, v);
	return f->function ? TV(TV_FUNC, .func = f->function) : TV(TV_MISSING);
}

static bool fill_ctx(struct trun *r, const struct sources *s)
{
	const struct template *const t = r->t;
	struct tvalue *const ctx = run_alloc(r, (t->name_count + 1) * sizeof(*ctx));

	if (!ctx || !run_charge(r, t->name_count))
		return false;
	for (uint32_t i = 0; i < t->name_count; i++) {
		ctx[i] = name_value(r, s, &t->names[i]);
		if (is_fail(ctx[i]))
			return false;
	}
	r->ctx = ctx;
	return true;
}

static bool take_sources(struct trun *r, const struct template_input *in, const struct tvalue *q,
			 struct sources *s)
{
	*s = (struct sources){
		.has_fixed_generation = in->generation == TEMPLATE_GENERATION_NO,
		.known = { [VARIABLE_MESSAGES] = q[MESSAGES],
			   [VARIABLE_TOOLS] = tools_of(q[TOOLS], in->messages),
			   [VARIABLE_DOCUMENTS] = q[DOCUMENTS],
			   [VARIABLE_EFFORT] = q[REASONING_EFFORT],
			   [VARIABLE_BOS] = token_of(in->bos_token),
			   [VARIABLE_EOS] = token_of(in->eos_token),
			   [VARIABLE_PAD] = token_of(in->pad_token),
			   [VARIABLE_UNK] = token_of(in->unk_token) },
	};
	if (q[REASONING_EFFORT].type == TV_NONE)
		s->known[VARIABLE_EFFORT] = TV(TV_MISSING);
	return take_object(r, q[CHAT_TEMPLATE_KWARGS], "chat_template_kwargs", &s->kwargs) &&
	       (!in->special_json.len ||
		take_object(r, bind_json(r, in->special_json), "special tokens", &s->specials));
}

int template_bind(struct trun *r, const struct template_input *in, struct continuation *c)
{
	struct tvalue q[MEMBER_COUNT];
	struct sources s;

	*c = (struct continuation){ .is_wanted = false };
	if (!bind_members(r, in->body, member_names, MEMBER_COUNT, q) ||
	    !bind_messages(r, &q[MESSAGES], in->messages))
		return r->rc;
	c->is_wanted = tv_truth(q[CONTINUE_FINAL_MESSAGE]);
	const struct tvalue generation = generation_of(r, in, q[ADD_GENERATION_PROMPT], c);
	if (is_fail(generation) ||
	    (c->is_wanted && !tag_final(r, q[MESSAGES], q[CONTINUE_FINAL_MESSAGE], c)) ||
	    !take_sources(r, in, q, &s))
		return r->rc;
	s.known[VARIABLE_GENERATION] = generation;
	return fill_ctx(r, &s) ? 0 : r->rc;
}
