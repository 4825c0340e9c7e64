/*
 * sim_metrics.h: what the simulated engine counts, and how each kind of engine publishes it.
 *
 * For: /metrics. Names, labels and bucket bounds are those of vLLM 0.32, llama-server,
 * SGLang 0.5 and trtllm-serve; only what routers read is there.
 * Threads: one owner. Memory: values. Errors: none; text goes into the caller's buffer.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "sim/engine_model.h"

#define SIM_BUCKETS_MAX 24

struct sim_histogram {
	const double *bounds; /* ascending; +Inf is not among them */
	uint32_t bound_count;
	uint64_t counts[SIM_BUCKETS_MAX + 1];
	double sum;
};

struct sim_metrics {
	struct sim_histogram ttft, itl, e2e, queue, prefill, decode;
	uint64_t busy_ns; /* llama.cpp: time spent on answers, all together */
};

void sim_metrics_init(struct sim_metrics *m);
/* `count` observations of the same value. */
void sim_histogram_add(struct sim_histogram *h, double value, uint32_t count);

/* What stands in the text besides the counts. */
struct sim_metrics_info {
	struct bb_str model; /* as the inside of a quoted label */
	uint32_t kv_blocks, block_size, seqs_max;
	uint32_t ranks; /* vLLM: data-parallel ones, with a part of the blocks each */
};
void sim_metrics_vllm(const struct sim_metrics *m, const struct sim_engine_stats *s,
		      const struct sim_metrics_info *i, struct bb_buf *out);
void sim_metrics_sglang(const struct sim_metrics *m, const struct sim_engine_stats *s,
			const struct sim_metrics_info *i, struct bb_buf *out);
void sim_metrics_llamacpp(const struct sim_metrics *m, const struct sim_engine_stats *s,
			  struct bb_buf *out);
/* JSON: a list of one iteration record. */
void sim_metrics_trtllm(const struct sim_engine_stats *s, const struct sim_metrics_info *i,
			struct bb_buf *out);
