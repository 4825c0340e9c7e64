#include "answer.h"
#include "os/process.h"
#include "prompts.h"

/* How long the answer to a prompt may become; refuses what can never fit, in vLLM's words. */
static int answer_room(const struct model *m, const struct request_params *p, uint32_t prompt_len,
		       uint32_t *out, struct api_error *e)
{
	const uint32_t max = m->ctx_tokens;
	int rc = 0;

	if (prompt_len >= max)
		rc = api_error_bad(
			e, "input_tokens",
			"This model's maximum context length is %u tokens. However, your "
			"prompt contains %u input tokens, which exceeds this limit even "
			"without any output tokens. Please reduce the length of the input "
			"prompt. (parameter=input_tokens, value=%u)",
			max, prompt_len, prompt_len);
	else if (p->has_max_tokens && p->max_tokens > max)
		rc = api_error_bad(e, "max_tokens",
				   "max_tokens=%u cannot be greater than max_model_len=%u. Please "
				   "request fewer output tokens. (parameter=max_tokens, value=%u)",
				   p->max_tokens, max, p->max_tokens);
	else if (p->has_max_tokens && p->max_tokens > max - prompt_len)
		rc = api_error_bad(
			e, "input_tokens",
			"This model's maximum context length is %u tokens. However, you "
			"requested %u output tokens and your prompt contains %u input "
			"tokens, for a total of %u tokens. Please reduce the length of the "
			"input prompt or the number of requested output tokens. "
			"(parameter=input_tokens, value=%u)",
			max, p->max_tokens, prompt_len, prompt_len + p->max_tokens, prompt_len);
	if (rc) {
		e->code = "context_length_exceeded";
		return rc;
	}
	*out = p->has_max_tokens ? p->max_tokens : max - prompt_len;
	return 0;
}

static int check_stop_tokens(const struct model *m, const struct request_params *p,
			     struct api_error *e)
{
	for (uint32_t i = 0; i < p->stop_token_count; i++)
		if ((uint32_t)p->stop_tokens[i] >= m->vocab_size)
			return api_error_bad(e, "stop_token_ids",
					     "token id %d is not in the model's "
					     "vocabulary of %u tokens.",
					     p->stop_tokens[i], m->vocab_size);
	return 0;
}

/* vLLM's member that keeps tenants' prefixes apart. */
static int read_salt(yyjson_val *request, struct bb_str *out, struct api_error *e)
{
	yyjson_val *v = yyjson_obj_get(request, "cache_salt");

	*out = (struct bb_str){ 0 };
	if (!v || yyjson_is_null(v))
		return 0;
	if (!yyjson_is_str(v) || !yyjson_get_len(v) || yyjson_get_len(v) > KV_SALT_MAX)
		return api_error_bad(e, "cache_salt",
				     "cache_salt must be a string of 1 to %d bytes.", KV_SALT_MAX);
	*out = (struct bb_str){ yyjson_get_str(v), yyjson_get_len(v) };
	return 0;
}

static int add_choices(struct answer *a, const struct prompt *prompt, struct bb_str salt,
		       struct api_error *e)
{
	struct sequence_config config = {
		.loop = a->api->loop,
		.params = a->params,
		.prompt = prompt->tokens,
		.prompt_len = prompt->count,
		.salt = salt,
		.seed = a->params->seed,
	};
	int rc = answer_room(a->api->model, a->params, prompt->count, &config.answer_max, e);

	for (uint32_t i = 0; !rc && i < a->params->choice_count; i++) {
		if (!a->params->has_seed)
			entropy_fill(&config.seed, sizeof(config.seed));
		rc = answer_add(a, &config);
		if (rc)
			return api_error_internal(e, rc);
		config.seed++; /* the choices of one request shall differ, and again in the same way
				*/
	}
	return rc;
}

static int start(struct api_request *r, struct request_params *params, enum request_kind kind,
		 const struct prompts *prompts, struct api_error *e)
{
	struct bb_str salt;
	struct answer *a;
	int rc = check_stop_tokens(r->api->model, params, e);

	if (!rc)
		rc = read_salt(r->body, &salt, e);
	if (rc)
		return rc;
	if (prompts->count * params->choice_count > ANSWER_CHOICES_MAX)
		return api_error_bad(e, "n",
				     "%u prompts with n=%u are more than the %d answers that "
				     "one request may ask for.",
				     prompts->count, params->choice_count, ANSWER_CHOICES_MAX);
	rc = answer_create(r, params, kind, &a);
	if (rc)
		return api_error_internal(e, rc);
	for (uint32_t i = 0; !rc && i < prompts->count; i++)
		rc = add_choices(a, &prompts->items[i], salt, e);
	if (!rc) {
		rc = answer_start(a);
		if (rc)
			api_error_busy(rc, e);
	}
	if (rc)
		answer_destroy(a);
	return rc;
}

static void generate(struct api_request *r, enum request_kind kind)
{
	struct request_params *params = NULL;
	struct prompts prompts = { 0 };
	struct api_error e;
	int rc = api_check_model(r, &e);

	if (!rc && r->api->model->embeds)
		rc = api_error_bad(&e, "model",
				   "The model does not generate text: it makes embeddings. "
				   "Use /v1/embeddings.");
	if (!rc)
		rc = request_params_parse(r->body, kind, &params, &e);
	if (!rc)
		rc = kind == REQUEST_CHAT ? prompts_from_chat(r->api->model, r->body, &prompts, &e)
					  : prompts_from_member(r->api->model, r->body, "prompt",
								MODEL_BOS_AS_USUAL, &prompts, &e);
	if (!rc)
		rc = start(r, params, kind, &prompts, &e);
	if (rc)
		api_reply_error(r, &e);
	prompts_fini(&prompts);
	request_params_put(params);
}

void api_chat(struct api_request *r)
{
	generate(r, REQUEST_CHAT);
}

void api_completion(struct api_request *r)
{
	generate(r, REQUEST_COMPLETION);
}
