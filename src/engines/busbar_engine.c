/*
 * busbar-engine: the embedded engine. It listens before its model is loaded and says 503 until
 * then; its metrics have vLLM's names.
 */
#include "engines/adapter_table.h"
#include "engines/figures.h"

const struct adapter adapter_busbar_engine = {
	.name = "busbar",
	.kind = ENGINE_KIND_BUSBAR,
	.stops_plain = true,
	.messages = TEMPLATE_AS_VLLM,
	.chat_begin = CHAT_BEGIN_WITH_TOKEN,
	.api_mask = ADAPTER_API(CHAT) | ADAPTER_API(COMPLETIONS) | ADAPTER_API(EMBEDDINGS) |
		    ADAPTER_API(TOKENIZE) | ADAPTER_API(DETOKENIZE),
	.health = BB_STR_INIT("/health"),
	.loads_in_503 = true,
	.metrics = { { .path = BB_STR_INIT("/metrics"), .read = figures_read_vllm } },
};
