/*
 * step_engine.h: an engine that works in steps, as vLLM's V1 scheduler does, on virtual time.
 *
 * For: fleet (whole clusters on virtual time). Where sim/engine_model gives each request its own
 * pace, here requests share steps: what one of them costs slows the others.
 *
 * The model. A step gives each stream its next token, then spends what is left of `step_tokens` on
 * prompts: first on the one that is begun, then on those that wait, in order, the last of them in
 * part (chunked prefill). A prompt starts when one of `sequences_max` places is free and all of its
 * blocks fit, with `watermark` to spare; nobody overtakes it. Its prefix is looked up then, its
 * last token is always computed. A block is named (by the hash of its chain, given by the caller)
 * in the step that fills it, so that a prompt in the same step may already share it; answers'
 * blocks too. Blocks that nobody holds keep their names until they are needed; the one free for
 * longest goes first, of one request the last before the first. When a stream needs a block and
 * there is none, the request that started last goes back to the head of the queue and is computed
 * again. How long a step takes says step_cost. While only streams run, many steps are one event.
 *
 * Other engines: SGLANG computes prompts and streams in different steps, prompts first. TRTLLM
 * starts a request only when all that it and the others may yet need fits (nothing is preempted).
 * Not modelled: sliding windows, speculation, prompts' multimodal parts, encoder budgets.
 *
 * Simplified, for speed: blocks that streams have filled are named when a prompt starts or the
 * stream ends, not in the very step; up to STEP_RUN_MAX steps of streams alone share one duration.
 * Threads: one owner. Memory: tables of its limits at creation; for each job its list of blocks.
 * Callbacks must not call back. Errors: -BB_ENOMEM; -BB_ELIMIT for a job that can never fit.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "sim/step_cost.h"

#define STEP_RUN_MAX 64
#define STEP_PROGRESS 32 /* tokens between two reports of a stream */
#define STEP_NEVER UINT64_MAX
#define STEP_BLOCK_MAX 1024

enum step_variant { STEP_VLLM, STEP_SGLANG, STEP_TRTLLM };

struct step_params {
	enum step_variant variant;
	struct step_cost cost;
	uint32_t block_tokens; /* 1 … STEP_BLOCK_MAX */
	uint32_t blocks;
	uint32_t sequences_max; /* running at once */
	uint32_t step_tokens;	/* in one step; at least sequences_max */
	double watermark;	/* of the blocks: kept free when a prompt starts */
};

enum step_job_state { STEP_JOB_NONE, STEP_JOB_WAITING, STEP_JOB_PROMPT, STEP_JOB_STREAM };

/* A request at an engine: a part of the caller's own. It stays where it is until it has ended. */
struct step_job {
	/* set by the caller */
	const uint64_t *hashes; /* chained, of the engine's blocks of prompt and answer; or fewer */
	uint32_t hash_count;
	uint32_t prompt_tokens, output_tokens; /* at least 1 of each */
	/* to be read */
	uint32_t cached; /* tokens of the prompt that were found when it first started */
	uint32_t preemptions;
	uint64_t started_ns; /* when it first started; 0: not yet */
	/* the engine's */
	uint8_t state;
	bool is_aborted; /* leaves at the end of the step */
	bool has_first;
	uint32_t computed, generated; /* of a stream: when `base` was the number of stream steps */
	uint32_t target;	      /* tokens to compute before the next one is made */
	uint32_t chunk;		      /* of these in the step under way */
	uint32_t block_count, named;
	uint32_t heap_at, reported;
	uint64_t base, last; /* number of the stream step it began with; that it ends with */
	uint32_t *blocks;
	struct step_job *next, *prev;
};

struct step_ops {
	void (*on_first)(void *ctx, struct step_job *j, uint64_t at_ns);
	void (*on_progress)(void *ctx, struct step_job *j, uint64_t at_ns, uint32_t generated);
	/* It is forgotten now. `generated` is less than asked for when it was aborted. */
	void (*on_end)(void *ctx, struct step_job *j, uint64_t at_ns, uint32_t generated);
	/* Blocks that can be found from now on; the first is block number `depth` of its chain. May
	 * be NULL, as the next. */
	void (*on_stored)(void *ctx, uint64_t at_ns, uint32_t depth, const uint64_t *hashes,
			  uint32_t count);
	void (*on_removed)(void *ctx, uint64_t at_ns, uint64_t hash);
};

struct step_stats {
	uint32_t running, waiting;
	uint32_t blocks, blocks_held;
	uint64_t prompt_tokens, cached_tokens; /* of jobs when they first started */
	uint64_t computed_tokens;	       /* of prompts, also those computed again */
	uint64_t generated_tokens;	       /* of jobs that have ended */
	uint64_t preemptions, ended, aborted, steps;
	uint64_t busy_ns;
};

struct step_engine;

BB_MUST int step_engine_create(const struct step_params *params, const struct step_ops *ops,
			       void *ctx, struct step_engine **out);
/* Jobs that are there are forgotten without a word. */
void step_engine_destroy(struct step_engine *e);
/* Events come with a later step_engine_advance. */
BB_MUST int step_engine_arrive(struct step_engine *e, uint64_t now_ns, struct step_job *j);
/* A job that waits ends at once, in this call; one that runs at the end of the step. */
void step_engine_abort(struct step_engine *e, uint64_t now_ns, struct step_job *j);
/* When the step under way ends; STEP_NEVER when there is nothing to do. */
uint64_t step_engine_next_ns(const struct step_engine *e);
/* Ends the step, if it is due, and begins the next one. */
void step_engine_advance(struct step_engine *e, uint64_t now_ns);
/* From the next step on each takes `slowness` times as long; 1 is normal. */
void step_engine_set_slowness(struct step_engine *e, double slowness);
/* Nothing is done until then. */
void step_engine_stall(struct step_engine *e, uint64_t until_ns);
/* The process dies: all jobs end here, without having finished, and its cache is empty. */
void step_engine_crash(struct step_engine *e, uint64_t now_ns);
void step_engine_stats(const struct step_engine *e, struct step_stats *out);
/* For tests: its counts agree with its jobs. */
bool step_engine_is_sound(const struct step_engine *e);
