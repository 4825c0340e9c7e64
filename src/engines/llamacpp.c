/*
 * llama.cpp's llama-server. Seen on 0.5.0 and its neighbours.
 * /health is 503 while a model is loaded, also when a router loads one later. A request without
 * stream goes on after its client has left (7.9 s were measured), one with a stream stops within
 * 18 ms. /metrics needs --metrics and has no gauge of the KV cache; /slots is on by default.
 */
#include "engines/adapter_table.h"
#include "engines/figures.h"
#include "wire/json.h"

#define SLOTS_MAX 4096

static int props_read(struct bb_str body, struct engine_figures *f)
{
	const uint32_t slots = figure_member_u32(body, BB_STR("total_slots"));
	struct json_member settings;
	uint64_t context = 0;

	if (json_get(body, BB_STR("default_generation_settings"), &settings))
		context = figure_member(settings.value, BB_STR("n_ctx"));
	if (!slots || !context)
		return -BB_ESYNTAX;
	f->sequences_max = slots;
	f->context_tokens = context;
	f->kv_tokens_max = figure_product(context, slots);
	return 0;
}

static int metrics_read(struct bb_str body, struct engine_figures *f)
{
	static const struct bb_str names[] = { BB_STR_INIT("llamacpp:requests_processing"),
					       BB_STR_INIT("llamacpp:requests_deferred"),
					       /* until 2025 */
					       BB_STR_INIT("llamacpp:kv_cache_usage_ratio") };
	static const enum figure figures[] = { FIGURE_RUNNING, FIGURE_WAITING, FIGURE_KV_USAGE };
	const struct figure_names n = { names, figures, sizeof(names) / sizeof(names[0]) };

	return figures_read(body, &n, f);
}

/* Tokens that a busy slot holds: its prompt, and what it has written so far. */
static uint64_t slot_tokens(struct bb_str slot)
{
	struct json_member next;
	struct json_pull j;
	struct bb_str first;
	enum json_type type;
	uint64_t tokens = figure_member_u32(slot, BB_STR("n_prompt_tokens"));

	if (!json_get(slot, BB_STR("next_token"), &next))
		return tokens;
	json_pull_init(&j, next.value);
	if (json_pull_array(&j) && json_pull_more(&j) && json_pull_value(&j, &first, &type))
		tokens += figure_member_u32(first, BB_STR("n_decoded"));
	return tokens;
}

/* How many wait is not said here. */
static int slots_read(struct bb_str body, struct engine_figures *f)
{
	struct json_pull j;
	struct json_member busy;
	struct bb_str slot;
	enum json_type type;
	uint32_t slots = 0, running = 0;
	uint64_t used = 0, all = 0;

	json_pull_init(&j, body);
	if (!json_pull_array(&j))
		return -BB_ESYNTAX;
	while (slots < SLOTS_MAX && json_pull_more(&j) && json_pull_value(&j, &slot, &type)) {
		if (!json_get(slot, BB_STR("is_processing"), &busy))
			return -BB_ESYNTAX;
		slots++;
		all += figure_member_u32(slot, BB_STR("n_ctx"));
		if (busy.type != JSON_TRUE)
			continue;
		running++;
		used += slot_tokens(slot);
	}
	if (j.failed || !slots)
		return -BB_ESYNTAX;
	f->has_load = true;
	f->running = running;
	f->waiting = 0;
	f->kv_usage = figure_share((double)used, (double)all);
	return 0;
}

const struct adapter adapter_llamacpp = {
	.name = "llamacpp",
	.kind = ENGINE_KIND_LLAMACPP,
	.stops_plain = false,
	.messages = TEMPLATE_AS_VLLM,
	.chat_begin = CHAT_BEGIN_WITH_TOKEN,
	.api_mask = ADAPTER_API(CHAT) | ADAPTER_API(COMPLETIONS) | ADAPTER_API(EMBEDDINGS) |
		    ADAPTER_API(RESPONSES) | ADAPTER_API(MESSAGES) | ADAPTER_API(COUNT_TOKENS) |
		    ADAPTER_API(RERANK) | ADAPTER_API(TOKENIZE) | ADAPTER_API(DETOKENIZE),
	.health = BB_STR_INIT("/health"),
	.loads_in_503 = true,
	.info = { { .path = BB_STR_INIT("/props"), .read = props_read } },
	.metrics = { { .path = BB_STR_INIT("/metrics"), .read = metrics_read },
		     { .path = BB_STR_INIT("/slots"), .read = slots_read } },
};
