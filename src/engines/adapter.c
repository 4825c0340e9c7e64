#include "engines/adapter.h"

#include "base/log.h"
#include "engines/adapter_table.h"

static const char *const kind_names[ENGINE_KIND_COUNT] = {
#define X(name, text) [ENGINE_KIND_##name] = text,
	ENGINE_KINDS(X)
#undef X
};

static const struct adapter *const adapters[ENGINE_KIND_COUNT] = {
	[ENGINE_KIND_VLLM] = &adapter_vllm,
	[ENGINE_KIND_SGLANG] = &adapter_sglang,
	[ENGINE_KIND_TRTLLM] = &adapter_trtllm,
	[ENGINE_KIND_LLAMACPP] = &adapter_llamacpp,
	[ENGINE_KIND_BUSBAR] = &adapter_busbar_engine,
	[ENGINE_KIND_OPENAI] = &adapter_openai_server,
};

const char *engine_kind_name(enum engine_kind kind)
{
	BB_ASSERT(kind < ENGINE_KIND_COUNT);
	return kind_names[kind];
}

bool engine_kind_parse(struct bb_str text, enum engine_kind *out)
{
	for (enum engine_kind k = 0; k < ENGINE_KIND_COUNT; k++) {
		if (!bb_str_eq(text, bb_str_of(kind_names[k])))
			continue;
		*out = k;
		return true;
	}
	return false;
}

const struct adapter *adapter_find(enum engine_kind kind)
{
	BB_ASSERT(kind > ENGINE_KIND_AUTO && kind < ENGINE_KIND_COUNT);
	return adapters[kind];
}

const struct adapter *adapter_by_name(struct bb_str name)
{
	enum engine_kind kind;

	return engine_kind_parse(name, &kind) ? adapters[kind] : NULL;
}

struct bb_str adapter_path(const struct adapter *a, enum api api)
{
	BB_ASSERT(api > API_NONE && api < API_COUNT);
	return a->paths && a->paths[api].len ? a->paths[api] : api_info(api)->path;
}
