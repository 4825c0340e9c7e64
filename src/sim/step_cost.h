/*
 * step_cost.h: how long one step of an engine takes.
 *
 * For: step_engine. Three ways to say it:
 * ROOFLINE: the larger of computing (2 FLOP a parameter and token, and attention) and reading
 * (weights once, the KV cache of all that take part) at a share of what the GPU can do, plus what
 * each step and each sequence costs anyhow.
 * POLYNOMIAL: Dynamo's mocker: a quadratic in the new tokens of the step for its prompts, plus a
 * quadratic in the share of KV blocks that is in use for its streams.
 * TABLE: what was measured: piecewise linear in the new tokens, plus bilinear in streams and KV
 * tokens. Beyond its ends a table goes on as its last piece does; below its first point it is flat.
 * Threads: pure. Memory: none; a table lies in the struct. Errors: none.
 */
#pragma once

#include <stdint.h>

#define STEP_POINTS_MAX 32
#define STEP_GRID_MAX 16

enum step_cost_kind { STEP_ROOFLINE, STEP_POLYNOMIAL, STEP_TABLE };

struct step_roofline {
	double flops_token;   /* FLOP to compute a token: 2 × parameters that take part */
	double flops_context; /* FLOP more for each token before it: 4 × layers × heads × head size
			       */
	double weight_bytes;	   /* read in each step */
	double kv_bytes;	   /* of the KV cache, a token */
	double flops_ms, bytes_ms; /* what the GPUs do in a millisecond, in earnest */
	double step_ms, sequence_ms;
};

struct step_polynomial {
	double prompt[3]; /* ms = [0] + [1] t + [2] t², t new tokens of prompts, when there are any
			   */
	double stream[3]; /* ms = [0] + [1] p + [2] p², p 0…1 of the KV blocks in use */
	double stream_ms_min;
};

struct step_table {
	uint32_t prompt_count;
	double prompt_tokens[STEP_POINTS_MAX], prompt_ms[STEP_POINTS_MAX];
	uint32_t stream_count, kv_count;
	double streams[STEP_GRID_MAX], kv_tokens[STEP_GRID_MAX];
	double stream_ms[STEP_GRID_MAX][STEP_GRID_MAX]; /* [streams][KV tokens] */
};

struct step_cost {
	enum step_cost_kind kind;
	struct step_roofline roofline;
	struct step_polynomial polynomial;
	struct step_table table;
};

/* What is done in a step. */
struct step_load {
	uint32_t prompts, prompt_tokens; /* new tokens of so many prompts */
	double prompt_contexts;		 /* for each of these tokens those before it, summed up */
	uint32_t streams;		 /* a token for each */
	double kv_tokens;	/* that are read: of the streams, and of prompts' earlier parts */
	double stream_contexts; /* of the streams alone */
	double kv_share;	/* of the blocks, in use */
};

double step_cost_ms(const struct step_cost *c, const struct step_load *l);
