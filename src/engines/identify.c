#include "engines/identify.h"

#include "base/log.h"
#include "wire/json.h"
#include "wire/prometheus.h"

static const struct {
	struct bb_str owned_by;
	enum engine_kind kind;
} owners[] = {
	{ BB_STR_INIT("vllm"), ENGINE_KIND_VLLM },
	{ BB_STR_INIT("sglang"), ENGINE_KIND_SGLANG },
	{ BB_STR_INIT("tensorrt_llm"), ENGINE_KIND_TRTLLM },
	{ BB_STR_INIT("llamacpp"), ENGINE_KIND_LLAMACPP },
};

enum engine_kind identify_owner(struct bb_str owned_by)
{
	for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++)
		if (bb_str_eq(owned_by, owners[i].owned_by))
			return owners[i].kind;
	return ENGINE_KIND_AUTO;
}

static bool has_member(struct bb_str body, struct bb_str key)
{
	struct json_member m;

	return json_get(body, key, &m);
}

/* busbar's gateway and its engine list models under the same owner. */
static enum engine_kind version_clue(struct bb_str body)
{
	struct json_member m;

	return json_get(body, BB_STR("engine"), &m) &&
			       json_string_eq(m.value, BB_STR("busbar-engine"))
		       ? ENGINE_KIND_BUSBAR
		       : ENGINE_KIND_AUTO;
}

static enum engine_kind props_clue(struct bb_str body)
{
	return has_member(body, BB_STR("default_generation_settings")) ? ENGINE_KIND_LLAMACPP
								       : ENGINE_KIND_AUTO;
}

static enum engine_kind server_info_clue(struct bb_str body)
{
	return has_member(body, BB_STR("internal_states")) ||
			       has_member(body, BB_STR("max_total_num_tokens"))
		       ? ENGINE_KIND_SGLANG
		       : ENGINE_KIND_AUTO;
}

/* Only TensorRT-LLM answers with JSON here; of the others the names' prefix tells. */
static enum engine_kind metrics_clue(struct bb_str body)
{
	static const struct {
		struct bb_str prefix;
		enum engine_kind kind;
	} prefixes[] = {
		{ BB_STR_INIT("vllm:"), ENGINE_KIND_VLLM },
		{ BB_STR_INIT("sglang:"), ENGINE_KIND_SGLANG },
		{ BB_STR_INIT("llamacpp:"), ENGINE_KIND_LLAMACPP },
	};
	const struct bb_str text = bb_str_trim(body);
	struct bb_str rest = body;
	struct prom_sample s;

	if (text.len >= 2 && text.p[0] == '[' && text.p[text.len - 1] == ']')
		return ENGINE_KIND_TRTLLM;
	while (prom_next(&rest, &s))
		for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
			if (bb_str_starts(s.name, prefixes[i].prefix))
				return prefixes[i].kind;
	return ENGINE_KIND_OPENAI;
}

static const struct {
	struct bb_str path;
	enum engine_kind (*read)(struct bb_str body);
	enum engine_kind otherwise; /* when the path is not there */
} clues[IDENTIFY_CLUES] = {
	{ BB_STR_INIT("/version"), version_clue, ENGINE_KIND_AUTO },
	{ BB_STR_INIT("/props"), props_clue, ENGINE_KIND_AUTO },
	{ BB_STR_INIT("/get_server_info"), server_info_clue, ENGINE_KIND_AUTO },
	{ BB_STR_INIT("/metrics"), metrics_clue, ENGINE_KIND_OPENAI },
};

struct bb_str identify_clue_path(uint32_t clue)
{
	BB_ASSERT(clue < IDENTIFY_CLUES);
	return clues[clue].path;
}

enum engine_kind identify_clue(uint32_t clue, int status, struct bb_str body)
{
	BB_ASSERT(clue < IDENTIFY_CLUES);
	return status == 200 ? clues[clue].read(body) : clues[clue].otherwise;
}

static uint64_t path_bit(const struct adapter *a, struct bb_str key)
{
	for (enum api api = API_NONE + 1; api < API_COUNT; api++)
		if (json_inner_eq(key, adapter_path(a, api)))
			return 1ull << api;
	return 0;
}

uint64_t identify_endpoints(const struct adapter *a, struct bb_str openapi)
{
	struct json_member paths;
	struct json_pull j;
	struct bb_str key;
	uint64_t mask = 0;

	if (!json_get(openapi, BB_STR("paths"), &paths))
		return 0;
	json_pull_init(&j, paths.value);
	if (!json_pull_object(&j))
		return 0;
	while (json_pull_key(&j, &key)) {
		mask |= path_bit(a, key);
		if (!json_pull_skip(&j))
			break;
	}
	return j.failed ? 0 : mask;
}
