/*
 * TensorRT-LLM's trtllm-serve. By its source of 2025 and 2026.
 * /metrics is a JSON array of iteration records that reading takes away from whoever reads next,
 * so the Prometheus text (there with return_perf_metrics) is preferred. Never asked:
 * /health_generate generates, /steady_clock_offset sleeps, /perf_metrics and /kv_cache_events are
 * drained by reading.
 */
#include "engines/adapter_table.h"
#include "engines/figures.h"
#include "wire/json.h"

static int prometheus_read(struct bb_str body, struct engine_figures *f)
{
	static const struct bb_str names[] = {
		BB_STR_INIT("trtllm_num_requests_running"),
		BB_STR_INIT("trtllm_num_requests_waiting"),
		BB_STR_INIT("trtllm_kv_cache_utilization"),
		BB_STR_INIT("trtllm_kv_cache_max_blocks"),
		BB_STR_INIT("trtllm_kv_cache_tokens_per_block"),
	};
	static const enum figure figures[] = { FIGURE_RUNNING, FIGURE_WAITING, FIGURE_KV_USAGE,
					       FIGURE_KV_BLOCKS, FIGURE_BLOCK_SIZE };
	const struct figure_names n = { names, figures, sizeof(names) / sizeof(names[0]) };

	return figures_read(body, &n, f);
}

static int record_read(struct bb_str record, struct engine_figures *f)
{
	struct json_member m;

	if (!json_get(record, BB_STR("numActiveRequests"), &m))
		return -BB_ESYNTAX;
	f->has_load = true;
	f->running = figure_member_u32(record, BB_STR("numActiveRequests"));
	f->waiting = figure_member_u32(record, BB_STR("numQueuedRequests"));
	f->sequences_max = figure_member_u32(record, BB_STR("maxNumActiveRequests"));
	f->step_tokens = figure_member_u32(record, BB_STR("maxNumTokensRuntime"));
	if (json_get(record, BB_STR("kvCacheStats"), &m)) {
		const uint64_t blocks = figure_member(m.value, BB_STR("maxNumBlocks"));
		f->block_tokens = figure_member_u32(m.value, BB_STR("tokensPerBlock"));
		f->kv_tokens_max = figure_product(blocks, f->block_tokens);
		f->kv_usage = figure_share((double)figure_member(m.value, BB_STR("usedNumBlocks")),
					   (double)blocks);
	}
	return 0;
}

/*
 * The newest record is the last one. An empty list means that nothing ran since the last reading,
 * but only where records have been seen: without enable_iter_perf_stats it is always empty.
 */
static int iterations_read(struct bb_str body, struct engine_figures *f)
{
	struct json_pull j;
	struct bb_str record = { 0 };
	enum json_type type;

	json_pull_init(&j, body);
	if (!json_pull_array(&j))
		return -BB_ESYNTAX;
	while (json_pull_more(&j))
		if (!json_pull_value(&j, &record, &type))
			return -BB_ESYNTAX;
	if (j.failed)
		return -BB_ESYNTAX;
	if (record.len)
		return record_read(record, f);
	if (f->kv_tokens_max) {
		f->has_load = true;
		f->running = f->waiting = 0;
	}
	return 0;
}

const struct adapter adapter_trtllm = {
	.name = "trtllm",
	.kind = ENGINE_KIND_TRTLLM,
	.stops_plain = true,
	.refuses_overrun = true,
	.messages = TEMPLATE_AS_GIVEN,
	.api_mask = ADAPTER_API(CHAT) | ADAPTER_API(COMPLETIONS) | ADAPTER_API(RESPONSES),
	.has_openapi = true,
	.health = BB_STR_INIT("/health"),
	.metrics = { { .path = BB_STR_INIT("/prometheus/metrics"), .read = prometheus_read },
		     { .path = BB_STR_INIT("/metrics"), .read = iterations_read, .drains = true } },
};
