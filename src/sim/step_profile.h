/*
 * step_profile.h: which engine is simulated: its scheduler's limits, its memory, how long steps
 * take.
 *
 * For: `busbar replay`, `busbar sim serve`, tests. By name:
 *   mock  Dynamo's mocker: its two polynomials, 16,384 blocks of 64 tokens
 *   8b    an 8B model (llama-3.1-8b) in bf16 on one H100, 400,000 tokens of KV cache
 *   70b   a 70B model (llama-3.1-70b) on four H100 (tensor parallel), 410,000 tokens
 * or as GPU[xTP]:MODEL from the catalogue ("A100:qwen3-4b", "H100x4:llama-3.1-70b"), where a
 * roofline says how fast it is, or a file (step_profile_read).
 *
 * Sources: Dynamo's constants from its open source (lib/mocker); GPUs' figures from vendors' data
 * sheets; models' from their config.json. What of them is reached in earnest (the shares below) are
 * usual values and no measurement: fit them to yours with a file.
 * Threads: pure. Memory: values. Errors: -BB_EABSENT: there is no such name; -BB_ELIMIT: the model
 * does not fit into the GPUs' memory.
 */
#pragma once

#include "base/str.h"
#include "sim/step_engine.h"

#define STEP_NAME_SIZE 96

struct step_profile {
	char name[STEP_NAME_SIZE];
	struct step_params params;
	uint32_t gpus; /* of one engine */
};

BB_MUST int step_profile_named(struct bb_str name, struct step_profile *out);

#define STEP_WHY_SIZE 256
/*
 * A profile as JSON: {"base": NAME, and what differs: "engine": "vllm"|"sglang"|"trtllm",
 * "block_tokens", "blocks" or "kv_tokens", "sequences_max", "step_tokens", "watermark", "gpus",
 * "prompt": [[tokens, ms], …] and "stream": {"streams": […], "kv_tokens": […], "ms": [[…], …]}:
 * what was measured, a row of "ms" for each number of streams; or "speed": how many times as fast}.
 * -BB_EINVALID, -BB_ESYNTAX with a sentence in `why`.
 */
BB_MUST int step_profile_read(struct bb_str json, struct step_profile *out,
			      char why[STEP_WHY_SIZE]);

/* The n-th named profile, GPU and model; NULL behind the last. For help texts. */
const char *step_profile_name_at(uint32_t n);
const char *step_gpu_name_at(uint32_t n);
const char *step_model_name_at(uint32_t n);
