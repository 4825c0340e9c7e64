#include "engines/figures.h"

#include <math.h>

#include "wire/json.h"
#include "wire/prometheus.h"

/* No engine has more tokens of cache than this; whoever says so is mistaken. */
#define FIGURE_TOKENS_MAX (1ull << 48)

uint64_t figure_product(uint64_t a, uint64_t b)
{
	uint64_t product;

	if (__builtin_mul_overflow(a, b, &product) || product > FIGURE_TOKENS_MAX)
		return 0;
	return product;
}

double figure_share(double used, double all)
{
	if (!(all > 0) || !(used > 0))
		return 0;
	return used < all ? used / all : 1;
}

uint64_t figure_member(struct bb_str object, struct bb_str key)
{
	struct json_member m;
	uint64_t value;

	if (!json_get(object, key, &m) || m.type != JSON_NUMBER || json_u64(m.value, &value))
		return 0;
	return value;
}

uint32_t figure_member_u32(struct bb_str object, struct bb_str key)
{
	const uint64_t value = figure_member(object, key);

	return value <= UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

/* A gauge that counts something: what is no such number counts as 0. */
static uint64_t count_of(double value)
{
	if (!(value > 0))
		return 0;
	return value < (double)FIGURE_TOKENS_MAX ? (uint64_t)value : FIGURE_TOKENS_MAX;
}

static bool is_first_rank(struct bb_str labels, const char *rank)
{
	struct bb_str value;

	return !prom_label(labels, rank, &value) || bb_str_eq(value, BB_STR("0"));
}

int figures_read(struct bb_str text, const struct figure_names *n, struct engine_figures *f)
{
	double sum[FIGURE_COUNT] = { 0 };
	uint32_t seen[FIGURE_COUNT] = { 0 };
	struct prom_sample s;
	int i;

	while ((i = prom_next_of(&text, n->names, n->count, &s)) >= 0) {
		const enum figure figure = n->figures[i];
		if (isnan(s.value) || !is_first_rank(s.labels, "tp_rank") ||
		    !is_first_rank(s.labels, "pp_rank"))
			continue;
		sum[figure] += s.value;
		seen[figure]++;
	}
	if (!seen[FIGURE_RUNNING] && !seen[FIGURE_WAITING])
		return -BB_ESYNTAX;
	const uint64_t running = count_of(sum[FIGURE_RUNNING]);
	const uint64_t waiting = count_of(sum[FIGURE_WAITING]);
	f->has_load = true;
	f->running = running < UINT32_MAX ? (uint32_t)running : UINT32_MAX;
	f->waiting = waiting < UINT32_MAX ? (uint32_t)waiting : UINT32_MAX;
	f->kv_usage = figure_share(sum[FIGURE_KV_USAGE], seen[FIGURE_KV_USAGE]);
	f->preemptions = count_of(sum[FIGURE_PREEMPTIONS]);
	uint64_t capacity = count_of(sum[FIGURE_KV_TOKENS]);
	if (seen[FIGURE_BLOCK_SIZE]) {
		const uint64_t block =
			count_of(sum[FIGURE_BLOCK_SIZE] / seen[FIGURE_BLOCK_SIZE]);
		f->block_tokens = block <= UINT32_MAX ? (uint32_t)block : 0;
		if (!capacity)
			capacity = figure_product(count_of(sum[FIGURE_KV_BLOCKS]), block);
	}
	if (capacity)
		f->kv_tokens_max = capacity;
	return 0;
}

/* A number in a label. vLLM writes "None" where it has none. */
static uint64_t label_u64(struct bb_str labels, const char *name)
{
	struct bb_str text;
	uint64_t value;

	if (!prom_label(labels, name, &text) || bb_parse_u64(text, &value))
		return 0;
	return value;
}

static uint32_t label_u32(struct bb_str labels, const char *name)
{
	const uint64_t value = label_u64(labels, name);

	return value <= UINT32_MAX ? (uint32_t)value : 0;
}

/* Of all data-parallel engines behind this address: one sample for each. */
static void vllm_cache(struct bb_str text, struct engine_figures *f)
{
	static const struct bb_str names[] = { BB_STR_INIT("vllm:cache_config_info"),
					       BB_STR_INIT("vllm:lora_requests_info") };
	struct prom_sample s;
	uint64_t sum = 0;
	uint32_t ranks = 0;
	int which;

	while ((which = prom_next_of(&text, names, 2, &s)) >= 0) {
		if (which == 1) {
			f->adapters_max = label_u32(s.labels, "max_lora");
			continue;
		}
		ranks++;
		f->block_tokens = label_u32(s.labels, "block_size");
		/* Newer ones say it; it is less than the product where layers need blocks of their
		 * own. */
		uint64_t tokens = figure_product(label_u64(s.labels, "kv_cache_size_tokens"), 1);
		if (!tokens)
			tokens = figure_product(label_u64(s.labels, "num_gpu_blocks"),
						label_u64(s.labels, "block_size"));
		sum = figure_product(sum + tokens, 1);
	}
	if (sum)
		f->kv_tokens_max = sum;
	if (ranks)
		f->dp_ranks = ranks;
}

int figures_read_vllm(struct bb_str text, struct engine_figures *f)
{
	static const struct bb_str names[] = {
		BB_STR_INIT("vllm:num_requests_running"), BB_STR_INIT("vllm:num_requests_waiting"),
		BB_STR_INIT("vllm:kv_cache_usage_perc"),
		BB_STR_INIT("vllm:gpu_cache_usage_perc"), /* until 0.10 */
		BB_STR_INIT("vllm:num_preemptions_total"),
	};
	static const enum figure figures[] = { FIGURE_RUNNING, FIGURE_WAITING, FIGURE_KV_USAGE,
					       FIGURE_KV_USAGE, FIGURE_PREEMPTIONS };
	const struct figure_names n = { names, figures, sizeof(names) / sizeof(names[0]) };
	const int rc = figures_read(text, &n, f);

	if (rc)
		return rc;
	vllm_cache(text, f);
	return 0;
}
