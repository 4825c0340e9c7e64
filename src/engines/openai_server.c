/*
 * Any other server with an OpenAI API: Ollama, TGI, LMDeploy, a gateway, a hosted service. Nothing
 * is known but its list of models, which is its health as well. Where /metrics has the names of
 * TGI or LMDeploy, they are read.
 */
#include "engines/adapter_table.h"
#include "engines/figures.h"

static int metrics_read(struct bb_str body, struct engine_figures *f)
{
	static const struct bb_str names[] = {
		BB_STR_INIT("tgi_batch_current_size"),
		BB_STR_INIT("tgi_queue_size"),
		BB_STR_INIT("lmdeploy:num_requests_running"),
		BB_STR_INIT("lmdeploy:num_requests_waiting"),
		BB_STR_INIT("lmdeploy:gpu_cache_usage_perc"),
	};
	static const enum figure figures[] = { FIGURE_RUNNING, FIGURE_WAITING, FIGURE_RUNNING,
					       FIGURE_WAITING, FIGURE_KV_USAGE };
	const struct figure_names n = { names, figures, sizeof(names) / sizeof(names[0]) };

	return figures_read(body, &n, f);
}

const struct adapter adapter_openai_server = {
	.name = "openai",
	.kind = ENGINE_KIND_OPENAI,
	/* Unknown; a stream is not forced on a server that may not have one. */
	.stops_plain = true,
	.messages = TEMPLATE_AS_VLLM,
	.api_mask = ADAPTER_API_ALL,
	.metrics = { { .path = BB_STR_INIT("/metrics"), .read = metrics_read } },
};
