/*
 * vLLM. Seen on 0.32; the metrics' names since 0.6.
 * /health is a look at the engine core (1 ms; 503 when it is dead). /metrics is 55 to 60 KB in
 * 10 to 20 ms, and its gauges are up to a quarter of a second late. A request of either form
 * leaves the batch within 150 ms after its connection closes.
 */
#include "engines/adapter_table.h"
#include "engines/figures.h"

const struct adapter adapter_vllm = {
	.name = "vllm",
	.kind = ENGINE_KIND_VLLM,
	.stops_plain = true,
	.takes_cache_salt = true,
	.takes_rank = true,
	.refuses_overrun = true,
	.messages = TEMPLATE_AS_VLLM,
	.api_mask = ADAPTER_API(CHAT) | ADAPTER_API(COMPLETIONS) | ADAPTER_API(EMBEDDINGS) |
		    ADAPTER_API(RESPONSES) | ADAPTER_API(MESSAGES) | ADAPTER_API(COUNT_TOKENS) |
		    ADAPTER_API(RERANK) | ADAPTER_API(SCORE) | ADAPTER_API(TRANSCRIPTIONS) |
		    ADAPTER_API(TRANSLATIONS) | ADAPTER_API(TOKENIZE) | ADAPTER_API(DETOKENIZE),
	.has_openapi = true,
	.health = BB_STR_INIT("/health"),
	.metrics = { { .path = BB_STR_INIT("/metrics"), .read = figures_read_vllm } },
};
