/*
 * vLLM. Seen on 0.32; the metrics' names since 0.6.
 * /health is a look at the engine core (1 ms; 503 when it is dead). /metrics is 55 to 60 KB in
 * 10 to 20 ms, and its gauges are up to a quarter of a second late. A request of either form
 * leaves the batch within 150 ms after its connection closes. /server_info is there with
 * VLLM_SERVER_DEV_MODE=1 only, and the one place that tells the budget of a step.
 */
#include "engines/adapter_table.h"
#include "engines/figures.h"
#include "wire/json.h"

static int info_read(struct bb_str body, struct engine_figures *f)
{
	struct json_member config, part;

	if (!json_get(body, BB_STR("vllm_config"), &config) || config.type != JSON_OBJECT)
		return -BB_ESYNTAX;
	if (json_get(config.value, BB_STR("scheduler_config"), &part)) {
		f->step_tokens = figure_member_u32(part.value, BB_STR("max_num_batched_tokens"));
		f->sequences_max = figure_member_u32(part.value, BB_STR("max_num_seqs"));
	}
	if (json_get(config.value, BB_STR("cache_config"), &part))
		f->block_tokens = figure_member_u32(part.value, BB_STR("block_size"));
	if (json_get(config.value, BB_STR("parallel_config"), &part))
		f->dp_ranks = figure_member_u32(part.value, BB_STR("data_parallel_size"));
	if (json_get(config.value, BB_STR("lora_config"), &part))
		f->adapters_max = figure_member_u32(part.value, BB_STR("max_loras"));
	return 0;
}

const struct adapter adapter_vllm = {
	.name = "vllm",
	.kind = ENGINE_KIND_VLLM,
	.stops_plain = true,
	.takes_cache_salt = true,
	.tells_load = true,
	.takes_rank = true,
	.refuses_overrun = true,
	.messages = TEMPLATE_AS_VLLM,
	.api_mask = ADAPTER_API(CHAT) | ADAPTER_API(COMPLETIONS) | ADAPTER_API(EMBEDDINGS) |
		    ADAPTER_API(RESPONSES) | ADAPTER_API(MESSAGES) | ADAPTER_API(COUNT_TOKENS) |
		    ADAPTER_API(RERANK) | ADAPTER_API(SCORE) | ADAPTER_API(TRANSCRIPTIONS) |
		    ADAPTER_API(TRANSLATIONS) | ADAPTER_API(TOKENIZE) | ADAPTER_API(DETOKENIZE),
	.has_openapi = true,
	.health = BB_STR_INIT("/health"),
	.info = { { .path = BB_STR_INIT("/server_info?config_format=json"), .read = info_read } },
	.metrics = { { .path = BB_STR_INIT("/metrics"), .read = figures_read_vllm } },
};
