/*
 * Goal: a trace of any bytes is refused with a sentence, or gives a workload that is whole: what
 * follows stands behind what it follows, and prompts are as long as their spans.
 */
#include <stdint.h>
#include <stdlib.h>

#include "sim/work_read.h"

#define BLOCKS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct workload *w)
{
	uint64_t hashes[BLOCKS], tokens = 0;

	for (uint32_t i = 0; i < w->count; i++) {
		const struct work_request *const r = &w->requests[i];
		uint64_t sum = 0;
		if (r->after != WORK_NONE && r->after >= i)
			abort();
		for (uint32_t k = 0; k < r->span_count; k++)
			sum += w->spans[r->span_first + k].count;
		if (sum != r->prompt_tokens || !sum || !r->output_tokens)
			abort();
		const uint64_t blocks = sum / 16;
		if (work_hashes(w, i, 0, 16, 0, hashes, BLOCKS) !=
		    (blocks < BLOCKS ? blocks : BLOCKS))
			abort();
		tokens += sum;
	}
	if (!w->count || tokens != w->prompt_tokens)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct workload w;
	char why[WORK_WHY_SIZE];

	if (work_read_text((struct bb_str){ (const char *)data, size }, &w, why)) {
		if (!why[0] || w.requests)
			abort();
		return 0;
	}
	check(&w);
	if (workload_jitter(&w, w.grain_ns, 1) == 0)
		check(&w);
	workload_fini(&w);
	return 0;
}
