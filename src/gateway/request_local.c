/* request_local.c: /tokenize and /detokenize, answered here. See request_tokens.h. */
#include "gateway/request_tokens.h"

#include <stdio.h>

#include "gateway/text_check.h"
#include "gateway/control.h"

#define ANSWER_MAX (64u << 20)

struct ask {
	struct bb_str prompt;  /* raw; p NULL when absent */
	struct bb_str content; /* llama.cpp's name for it, raw */
	struct bb_str messages, tokens;
	bool has_special, special; /* add_special_tokens, or llama.cpp's add_special */
	bool wants_texts;	   /* return_token_strs */
};

static void ask_read(struct bb_str body, struct ask *out)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;

	*out = (struct ask){ 0 };
	json_pull_init(&j, body);
	json_pull_object(&j);
	while (json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type)) {
		if (type == JSON_NULL)
			continue;
		if (bb_str_eq(key, BB_STR("prompt")))
			out->prompt = raw;
		else if (bb_str_eq(key, BB_STR("content")))
			out->content = raw;
		else if (bb_str_eq(key, BB_STR("messages")))
			out->messages = raw;
		else if (bb_str_eq(key, BB_STR("tokens")))
			out->tokens = raw;
		else if (bb_str_eq(key, BB_STR("return_token_strs")))
			out->wants_texts = type == JSON_TRUE;
		else if (bb_str_eq(key, BB_STR("add_special_tokens")) ||
			 bb_str_eq(key, BB_STR("add_special"))) {
			out->has_special = true;
			out->special = type == JSON_TRUE;
		}
	}
}

/* ---- answers ---- */

static enum step reply(struct request *r, struct bb_buf *b)
{
	if (b->err)
		return request_fail_step(r, b->err, NULL, NULL);
	r->status = 200;
	r->step = REQUEST_DONE;
	exchange_reply(r->x, 200, BB_STR("application/json"), r->answer_fields, bb_buf_str(b));
	return STEP_WAIT;
}

static void ids_write(const struct token_list *ids, struct bb_buf *b)
{
	bb_buf_lit(b, "[");
	for (size_t i = 0; i < ids->count; i++) {
		if (i)
			bb_buf_lit(b, ",");
		bb_buf_add_u64(b, ids->ids[i]);
	}
	bb_buf_lit(b, "]");
}

static void texts_write(const struct model_text *m, const struct token_list *ids, struct bb_buf *b)
{
	bb_buf_lit(b, "[");
	for (size_t i = 0; i < ids->count; i++) {
		if (i)
			bb_buf_lit(b, ",");
		bb_buf_add_json(b, tokenizer_token(m->tokenizer, ids->ids[i]));
	}
	bb_buf_lit(b, "]");
}

struct context_wanted {
	struct bb_str name;
	uint64_t tokens;
};

static void on_model(void *user, const struct model_view *v)
{
	struct context_wanted *c = user;

	if (bb_str_eq(bb_str_of(v->name), c->name))
		c->tokens = v->context_tokens;
}

static uint64_t context_of(struct request *r, struct bb_str name)
{
	struct context_wanted c = { .name = name };

	gateway_lock(r->worker->gateway);
	brain_models_each(r->worker->gateway->brain, on_model, &c);
	gateway_unlock(r->worker->gateway);
	return c.tokens;
}

/* As vLLM answers; llama.cpp's question gets its own form. */
static void tokens_write(struct request *r, const struct model_text *m, struct bb_str name,
			 const struct ask *a, struct bb_buf *b)
{
	const struct token_list *ids = text_ids(r->worker->texts);
	const uint64_t context = context_of(r, name);

	bb_buf_lit(b, "{");
	if (!a->content.p) {
		bb_buf_printf(b, "\"count\":%zu,\"max_model_len\":", ids->count);
		if (context)
			bb_buf_add_u64(b, context);
		else
			bb_buf_lit(b, "null");
		bb_buf_lit(b, ",");
	}
	bb_buf_lit(b, "\"tokens\":");
	ids_write(ids, b);
	if (!a->content.p) {
		bb_buf_lit(b, ",\"token_strs\":");
		if (a->wants_texts)
			texts_write(m, ids, b);
		else
			bb_buf_lit(b, "null");
	}
	bb_buf_lit(b, "}");
}

/* ---- questions ---- */

static int tokenize(struct request *r, struct model_text *m, const struct ask *a,
		    struct text_error *e)
{
	struct text_work *w = r->worker->texts;
	const struct bb_str body = { r->x->body, r->x->body_len };
	const struct adapter *kind = request_adapter(r);
	const bool is_content = a->content.p != NULL;
	unsigned flags = is_content ? 0 : TOKENIZER_SPECIAL;
	struct bb_str text;
	int rc;

	text_ids(w)->count = 0;
	if (a->messages.p) {
		rc = model_text_render(m, w, body, kind->messages, &text, e);
		if (!rc)
			flags = model_text_chat_flags(m, text, kind->chat_begin);
	} else {
		rc = text_decode(w, is_content ? a->content : a->prompt, &text);
	}
	if (a->has_special)
		flags = a->special ? TOKENIZER_SPECIAL : 0;
	/* Not through the cache: what is asked for here need not be a prompt of anybody. */
	return rc ? rc : model_text_encode(m, w, NULL, 0, text, flags);
}

static enum step answer_tokenize(struct request *r, struct model_text *m, struct bb_str name,
				 const struct ask *a)
{
	struct text_error e = { "" };
	struct bb_buf answer;
	const int rc = tokenize(r, m, a, &e);

	if (rc)
		return request_fail_step(r, rc, e.message[0] ? e.message : NULL,
					 a->messages.p ? "messages" : "prompt");
	bb_buf_init(&answer, ANSWER_MAX);
	tokens_write(r, m, name, a, &answer);
	const enum step step = reply(r, &answer);
	bb_buf_fini(&answer);
	return step;
}

/* Ids as the client wrote them; false: one of them is none of this model. */
static bool ids_read(struct request *r, const struct model_text *m, struct bb_str raw, int *rc)
{
	struct token_list *ids = text_ids(r->worker->texts);
	struct json_pull j;
	struct bb_str one;
	enum json_type type;
	uint64_t id;

	ids->count = 0;
	*rc = 0;
	json_pull_init(&j, raw);
	if (!json_pull_array(&j))
		return false;
	while (!*rc && json_pull_more(&j) && json_pull_value(&j, &one, &type)) {
		if (json_u64(one, &id) || id >= m->facts.id_end)
			return false;
		*rc = token_list_reserve(ids, 1);
		if (!*rc)
			ids->ids[ids->count++] = (uint32_t)id;
	}
	return true;
}

static enum step answer_detokenize(struct request *r, struct model_text *m, const struct ask *a)
{
	const struct token_list *ids = text_ids(r->worker->texts);
	struct bb_buf text, answer;
	char message[128];
	int rc;

	if (!ids_read(r, m, a->tokens, &rc)) {
		snprintf(message, sizeof(message), "'tokens' must be a list of ids from 0 to %u",
			 m->facts.id_end - 1);
		return request_fail_step(r, -BB_EINVALID, message, "tokens");
	}
	bb_buf_init(&text, ANSWER_MAX);
	bb_buf_init(&answer, ANSWER_MAX);
	if (!rc)
		rc = tokenizer_decode(m->tokenizer, ids->ids, ids->count, 0, &text);
	bb_buf_lit(&answer, "{\"prompt\":");
	bb_buf_add_json(&answer, bb_buf_str(&text));
	bb_buf_lit(&answer, "}");
	const enum step step = rc ? request_fail_step(r, rc, NULL, NULL) : reply(r, &answer);
	bb_buf_fini(&text);
	bb_buf_fini(&answer);
	return step;
}

/* An engine that tokenizes otherwise must answer itself. */
static bool is_engines_own(const struct request *r, const struct config_model *m)
{
	const struct gateway *g = r->worker->gateway;

	for (uint32_t i = 0; i < m->engine_count; i++) {
		const uint32_t slot = r->snapshot->engines[m->engines[i]].id.slot;
		if (__atomic_load_n(&g->links[slot].text_verdict, __ATOMIC_ACQUIRE) ==
		    TEXT_DIFFERENT)
			return true;
	}
	return false;
}

static bool may_use(const struct request *r, struct bb_str name)
{
	return auth_allows_model(r->tenant, name) ||
	       (r->model.len && auth_allows_model(r->tenant, r->model));
}

enum step request_local(struct request *r)
{
	const struct model_texts *texts = &r->snapshot->texts;
	struct ask a;

	r->step = REQUEST_DECIDE;
	if ((r->api != API_TOKENIZE && r->api != API_DETOKENIZE) ||
	    r->x->body_len > TOKENS_BODY_MAX)
		return STEP_MORE;
	const uint32_t index = model_texts_index(texts, r->model);
	struct model_text *m = index == UINT32_MAX ? NULL : texts->list[index];
	if (!m)
		return STEP_MORE;
	const struct config_model *model = &r->snapshot->config->models[index];
	/* Whoever may not use it is told so where all are. */
	if (!may_use(r, model->name) || is_engines_own(r, model))
		return STEP_MORE;
	ask_read((struct bb_str){ r->x->body, r->x->body_len }, &a);
	enum step step = STEP_MORE;
	if (r->api == API_DETOKENIZE && a.tokens.p)
		step = answer_detokenize(r, m, &a);
	else if (r->api == API_TOKENIZE && a.messages.p && m->chat &&
		 r->body_facts->cuts.count == 0)
		step = answer_tokenize(r, m, model->name, &a);
	else if (r->api == API_TOKENIZE && !a.messages.p && (a.prompt.p || a.content.p))
		step = answer_tokenize(r, m, model->name, &a);
	text_work_trim(r->worker->texts);
	return step;
}
