/*
 * SGLang. By the source of 0.5.23.
 * /health and /health_generate wait for the scheduler in steps of a second, so the list of models
 * is its health here. /server_info is the newer name of /get_server_info. The metrics need
 * --enable-metrics.
 */
#include "engines/adapter_table.h"
#include "engines/figures.h"
#include "wire/json.h"

/* The scheduler's own view, of the first data-parallel rank; all have the same configuration. */
static struct bb_str first_state(struct bb_str info)
{
	struct json_member states;
	struct json_pull j;
	struct bb_str state;
	enum json_type type;

	if (!json_get(info, BB_STR("internal_states"), &states))
		return BB_STR("");
	json_pull_init(&j, states.value);
	if (!json_pull_array(&j) || !json_pull_more(&j) || !json_pull_value(&j, &state, &type))
		return BB_STR("");
	return state;
}

static int info_read(struct bb_str body, struct engine_figures *f)
{
	const struct bb_str state = first_state(body);
	struct json_member memory;
	uint64_t ranks = figure_member(body, BB_STR("dp_size"));
	uint64_t tokens = figure_member(body, BB_STR("max_total_num_tokens"));
	uint32_t sequences =
		figure_member_u32(state, BB_STR("effective_max_running_requests_per_dp"));

	if (ranks == 0 || ranks > 4096)
		ranks = 1;
	if (!tokens && json_get(state, BB_STR("memory_usage"), &memory))
		tokens = figure_member(memory.value, BB_STR("token_capacity"));
	if (!tokens)
		return -BB_ESYNTAX;
	f->kv_tokens_max = figure_product(tokens, ranks);
	if (sequences && sequences <= UINT32_MAX / ranks)
		f->sequences_max = sequences * (uint32_t)ranks;
	else
		f->sequences_max = figure_member_u32(body, BB_STR("max_running_requests"));
	f->context_tokens = figure_member(body, BB_STR("context_length"));
	f->block_tokens = figure_member_u32(body, BB_STR("page_size"));
	f->dp_ranks = (uint32_t)ranks;
	f->adapters_max = figure_member_u32(body, BB_STR("max_loras_per_batch"));
	/* -1: prompts are not cut into chunks. */
	f->step_tokens = figure_member_u32(body, BB_STR("chunked_prefill_size"));
	if (!f->step_tokens)
		f->step_tokens = figure_member_u32(body, BB_STR("max_prefill_tokens"));
	return 0;
}

static int metrics_read(struct bb_str body, struct engine_figures *f)
{
	static const struct bb_str names[] = {
		BB_STR_INIT("sglang:num_running_reqs"),
		BB_STR_INIT("sglang:num_queue_reqs"),
		BB_STR_INIT("sglang:token_usage"),
		BB_STR_INIT("sglang:max_total_num_tokens"),
		BB_STR_INIT("sglang:num_retracted_reqs"),
	};
	static const enum figure figures[] = { FIGURE_RUNNING, FIGURE_WAITING, FIGURE_KV_USAGE,
					       FIGURE_KV_TOKENS, FIGURE_PREEMPTIONS };
	const struct figure_names n = { names, figures, sizeof(names) / sizeof(names[0]) };

	return figures_read(body, &n, f);
}

const struct adapter adapter_sglang = {
	.name = "sglang",
	.kind = ENGINE_KIND_SGLANG,
	.stops_plain = true,
	.takes_cache_salt = true,
	.takes_rank = true,
	.refuses_overrun = true,
	.messages = TEMPLATE_AS_SGLANG,
	.api_mask = ADAPTER_API(CHAT) | ADAPTER_API(COMPLETIONS) | ADAPTER_API(EMBEDDINGS) |
		    ADAPTER_API(RESPONSES) | ADAPTER_API(MESSAGES) | ADAPTER_API(RERANK) |
		    ADAPTER_API(SCORE) | ADAPTER_API(TRANSCRIPTIONS) | ADAPTER_API(TOKENIZE) |
		    ADAPTER_API(DETOKENIZE),
	.has_openapi = true,
	.info = { { .path = BB_STR_INIT("/server_info"), .read = info_read },
		  { .path = BB_STR_INIT("/get_server_info"), .read = info_read } },
	.metrics = { { .path = BB_STR_INIT("/metrics"), .read = metrics_read } },
};
