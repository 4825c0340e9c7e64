#include "gateway/request_tokens.h"

#include "base/log.h"
#include "gateway/control.h"
#include "gateway/text_check.h"
#include "os/clock.h"

/* ---- what a prompt comes to ---- */

static uint64_t estimate(const struct request *r)
{
	const uint64_t bytes = r->body_facts ? r->body_facts->prompt_bytes : r->body_bytes;

	return (bytes + TOKENS_BYTES_EACH - 1) / TOKENS_BYTES_EACH;
}

/* Nobody shares what is kept of a tenant's prompts. */
static uint64_t owner_of(const struct request *r)
{
	return r->tenant ? (uint64_t)r->tenant->ledger + 1 : 0;
}

static int encode(struct request *r, struct model_text *m, struct bb_str text, unsigned flags)
{
	struct worker *w = r->worker;
	struct prompt_cache *cache = __atomic_load_n(&w->gateway->prompts, __ATOMIC_ACQUIRE);

	return model_text_encode(m, w->texts, cache, owner_of(r), text, flags);
}

/* A request may hold several prompts; each must fit by itself. */
struct prompt_count {
	uint64_t all, longest;
};

static void count_add(struct prompt_count *c, uint64_t tokens)
{
	c->all += tokens;
	if (tokens > c->longest)
		c->longest = tokens;
}

/* Ids that the client sent itself. */
static uint64_t count_ids(struct bb_str array)
{
	struct json_pull j;
	uint64_t count = 0;

	json_pull_init(&j, array);
	if (json_pull_array(&j))
		while (json_pull_more(&j) && json_pull_skip(&j))
			count++;
	return count;
}

/* One prompt of a completion or an embedding: a text, or ids. False: neither. */
static bool count_plain(struct request *r, struct model_text *m, struct bb_str raw,
			enum json_type type, struct prompt_count *count)
{
	struct token_list *ids = text_ids(r->worker->texts);
	struct bb_str text;

	if (type == JSON_ARRAY) {
		count_add(count, count_ids(raw));
		return true;
	}
	if (type != JSON_STRING || text_decode(r->worker->texts, raw, &text))
		return false;
	ids->count = 0;
	if (encode(r, m, text, TOKENIZER_SPECIAL))
		return false;
	count_add(count, ids->count);
	if (r->api == API_COMPLETIONS && !r->hashes) /* of several prompts the first stands for all */
		request_hash_tokens(r, ids->ids, ids->count);
	return true;
}

/* `prompt` or `input`: one text, several, ids, or several lists of ids. */
static bool count_prompts(struct request *r, struct model_text *m, struct prompt_count *count)
{
	const struct bb_str raw = r->body_facts->prompt;
	struct json_pull j;
	struct bb_str one;
	enum json_type type;

	if (r->body_facts->prompt_type != JSON_ARRAY)
		return count_plain(r, m, raw, r->body_facts->prompt_type, count);
	json_pull_init(&j, raw);
	json_pull_array(&j);
	while (json_pull_more(&j)) {
		if (json_pull_type(&j) == JSON_NUMBER) {
			count_add(count, count_ids(raw));
			return true;
		}
		if (!json_pull_value(&j, &one, &type) || !count_plain(r, m, one, type, count))
			return false;
	}
	return !j.failed;
}

/* Does a message have parts that are no text? What they come to only the engine knows. */
static bool has_media(struct bb_str messages)
{
	static const struct bb_str kinds[] = { BB_STR_INIT("\"text\""), BB_STR_INIT("\"refusal\""),
					       BB_STR_INIT("\"thinking\""),
					       BB_STR_INIT("\"function\"") };
	struct bb_str rest = messages;

	for (;;) {
		const ptrdiff_t at = bb_str_find(rest, BB_STR("\"type\""));
		if (at < 0)
			return false;
		rest = bb_str_trim(bb_str_skip(rest, (size_t)at + 6));
		if (!bb_str_starts(rest, BB_STR(":")))
			continue;
		rest = bb_str_trim(bb_str_skip(rest, 1));
		bool is_text = false;
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			is_text |= bb_str_starts(rest, kinds[i]);
		if (!is_text)
			return true;
	}
}

/* The body without what the shield takes out of it, as the engine will see it. */
static bool body_seen(struct request *r, struct bb_str *out)
{
	const struct bb_str body = { r->x->body, r->x->body_len };
	struct bb_str parts[SPLICE_PARTS_MAX];
	struct splice_set set = { 0 };
	size_t total;

	*out = body;
	if (r->body_facts->cuts.count == 0)
		return true;
	if (shield_splice(&r->body_facts->cuts, &set))
		return false;
	const uint32_t count = splice_iov(body, &set, parts, &total);
	char *copy = bb_arena_alloc(&r->arena, total);
	if (!copy)
		return false;
	out->p = copy;
	out->len = total;
	for (uint32_t i = 0; i < count; i++) {
		memcpy(copy, parts[i].p, parts[i].len);
		copy += parts[i].len;
	}
	return true;
}

const struct adapter *request_adapter(const struct request *r)
{
	const struct snapshot *s = r->snapshot;
	const uint32_t index = model_texts_index(&s->texts, r->model);
	const struct config_model *m =
		index < s->config->model_count ? &s->config->models[index] : NULL;

	for (uint32_t i = 0; m && i < m->engine_count; i++) {
		const struct engine_link *link =
			&r->worker->gateway->links[s->engines[m->engines[i]].id.slot];
		const struct adapter *a = __atomic_load_n(&link->adapter, __ATOMIC_ACQUIRE);
		if (a)
			return a;
	}
	return adapter_find(ENGINE_KIND_VLLM);
}

static bool count_chat(struct request *r, struct model_text *m, struct prompt_count *count)
{
	struct token_list *ids = text_ids(r->worker->texts);
	struct text_error e = { "" };
	struct bb_str body, prompt;

	if (!m->chat || has_media(r->body_facts->prompt) || !body_seen(r, &body))
		return false;
	const struct adapter *a = request_adapter(r);
	const int rc = model_text_render(m, r->worker->texts, body, a->messages, &prompt, &e);
	if (rc) {
		/* The engine refuses it in its own words, or the template is beyond us. */
		BB_LOG(BB_LOG_DEBUG, "tokens", "the chat template gives no prompt: %s", e.message);
		return false;
	}
	ids->count = 0;
	if (encode(r, m, prompt, model_text_chat_flags(m, prompt, a->chat_begin)))
		return false;
	count_add(count, ids->count);
	request_hash_tokens(r, ids->ids, ids->count);
	return true;
}

static struct model_text *text_of(const struct request *r)
{
	const struct model_texts *t = &r->snapshot->texts;
	const uint32_t index = model_texts_index(t, r->model);

	return index == UINT32_MAX ? NULL : t->list[index];
}

static bool has_prompt(enum api api)
{
	return api_info(api)->generates || api == API_EMBEDDINGS;
}

static bool count_exactly(struct request *r, struct model_text *m, struct prompt_count *count)
{
	switch ((enum api)r->api) {
	case API_CHAT: return count_chat(r, m, count);
	case API_COMPLETIONS:
	case API_EMBEDDINGS: return count_prompts(r, m, count);
	default: return false;
	}
}

enum step request_tokens(struct request *r)
{
	struct model_text *m = text_of(r);
	const uint64_t from_ns = clock_now_ns();

	r->prompt_tokens = estimate(r);
	r->step = REQUEST_ADMIT;
	if (!r->body_facts || !has_prompt((enum api)r->api))
		return STEP_MORE;
	struct prompt_count count = { 0 };
	r->tokens_exact = m && r->x->body_len <= TOKENS_BODY_MAX && count_exactly(r, m, &count);
	if (r->tokens_exact) {
		r->prompt_tokens = count.all;
		r->prompt_longest = count.longest;
	}
	if (!r->hashes && api_info((enum api)r->api)->generates)
		request_hash_text(r);
	request_hash_session(r);
	if (!m)
		return STEP_MORE;
	metric_add(
		&r->worker->metrics->prompts[r->tokens_exact ? PROMPTS_EXACT : PROMPTS_ESTIMATED],
		1);
	text_work_trim(r->worker->texts);
	request_stage(r, STAGE_TOKENS, from_ns, clock_now_ns());
	return STEP_MORE;
}

/* ---- the context ---- */

/* A count that the engine's own may differ from refuses nobody. */
static bool is_trusted(const struct request *r)
{
	const struct engine_link *link = &r->worker->gateway->links[r->engine.slot];

	return r->tokens_exact &&
	       __atomic_load_n(&link->text_verdict, __ATOMIC_ACQUIRE) == TEXT_SAME;
}

bool request_fits_context(struct request *r, uint64_t context_tokens)
{
	const struct adapter *a = __atomic_load_n(
		&r->worker->gateway->links[r->engine.slot].adapter, __ATOMIC_ACQUIRE);
	const uint64_t prompt = is_trusted(r) ? r->prompt_longest : 0;
	struct bb_buf message;

	if (!r->body_facts || !api_info((enum api)r->api)->generates)
		return true;
	bb_buf_init(&message, 1024);
	const int rc =
		validate_context(prompt, r->body_facts->max_tokens, context_tokens,
				 a && a->refuses_overrun ? CONTEXT_WHOLE : CONTEXT_PARTS, &message);
	if (rc) {
		request_leave_engine(r, OUTCOME_CANCELED);
		request_fail(r, rc, bb_buf_str(&message),
			     prompt > context_tokens ? "messages" : "max_tokens");
	}
	bb_buf_fini(&message);
	return !rc;
}
