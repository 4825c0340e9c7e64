/*
 * engine_model.h: when an engine answers, and what its KV cache does: the pure half of the
 * simulated engine.
 *
 * For: the HTTP half (sim_server) and simulations on virtual time. It has no clock, no socket and
 * no random source: the time comes in, events go out, and the same calls give the same events.
 *
 * The model. Requests wait in order of arrival until one of `seqs_max` places is free and their
 * tokens fit into free KV blocks. The prefix cache is looked up then (never the whole prompt: its
 * last token is always computed). The first token comes ttft + uncached tokens / prefill rate
 * later, and one more each itl. A block is full when its block_size tokens are computed; a full
 * block is named by the hash of its chain and can be found by later requests. When a running
 * request needs a block and none is free, the one that was scheduled last goes back to the head of
 * the queue and loses its blocks; what it had is computed again (vLLM's recomputation).
 * Threads: one owner. Memory: the engine owns copies of all tokens; at most `requests_max` at once.
 * Callbacks must not call back into the engine.
 * Errors: -BB_ELIMIT for a request that can never fit, -BB_EBUSY at requests_max, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "sim/sim_text.h"

struct sim_engine;

struct sim_engine_params {
	uint64_t ttft_ns;
	uint64_t itl_ns;
	double prefill_tokens_per_s; /* 0: prompts of every length take ttft */
	uint32_t kv_blocks;	     /* one of them is never used, as in vLLM */
	uint32_t block_size;	     /* tokens */
	uint32_t seqs_max;
	uint32_t requests_max; /* running and waiting */
};

#define SIM_ENGINE_TIME UINT64_MAX /* the engine's own ttft or itl */

struct sim_engine_request {
	const uint32_t *tokens; /* the prompt; copied */
	uint32_t token_count;	/* at least 1 */
	uint32_t natural_count; /* the model stops by itself after so many tokens */
	uint32_t output_max;	/* it is stopped after so many */
	struct sim_writer
		writer;	    /* which has read the prompt: says the ids of the answer's tokens */
	uint64_t cache_key; /* only requests with the same key share cached blocks */
	uint64_t ttft_ns;   /* or SIM_ENGINE_TIME */
	uint64_t itl_ns;
	double slowness; /* times are multiplied by it; 1 is normal */
	void *user;	 /* handed to the callbacks */
};

enum sim_finish { SIM_FINISH_STOP, SIM_FINISH_LENGTH };

/* Full blocks that can be found from now on: a chain. Valid during the callback only. */
struct sim_stored {
	const uint64_t *hashes;
	uint32_t hash_count;
	const uint32_t *tokens; /* hash_count × block_size */
	uint64_t parent;	/* the block before the first */
	bool has_parent;
};

struct sim_engine_ops {
	/* It left the queue (again, after a preemption); `cached` of its tokens were found. */
	void (*on_scheduled)(void *ctx, void *user, uint64_t at_ns, uint32_t cached);
	/* Tokens `first` … `first + count − 1` of the answer are there; those due together come
	 * together. */
	void (*on_tokens)(void *ctx, void *user, uint64_t at_ns, uint32_t first, uint32_t count);
	/* It is over and forgotten. */
	void (*on_finished)(void *ctx, void *user, uint64_t at_ns, enum sim_finish reason);
	void (*on_stored)(void *ctx, void *user, const struct sim_stored *s);
	void (*on_removed)(void *ctx, uint64_t hash);
};

struct sim_engine_stats {
	uint32_t running, waiting;
	uint32_t blocks, blocks_held; /* usable ones; those of running requests */
	uint32_t blocks_named;        /* that a prompt can find */
	uint64_t prompt_tokens, prompt_tokens_cached, generation_tokens;
	uint64_t finished[2]; /* by enum sim_finish */
	uint64_t aborted;
	uint64_t preemptions;
};

BB_MUST int sim_engine_create(const struct sim_engine_params *params,
			      const struct sim_engine_ops *ops, void *ctx, struct sim_engine **out);
void sim_engine_destroy(struct sim_engine *e);

/* `*id` is never 0. The first events of the request come with the next sim_engine_advance. */
BB_MUST int sim_engine_arrive(struct sim_engine *e, uint64_t now_ns,
			      const struct sim_engine_request *r, uint64_t *id);
/* No more callbacks for it. Unknown and finished ids are passed over. */
void sim_engine_abort(struct sim_engine *e, uint64_t now_ns, uint64_t id);
/* When sim_engine_advance has something to do; UINT64_MAX when nothing is under way. */
uint64_t sim_engine_next_ns(const struct sim_engine *e);
/* Does everything that is due up to `now_ns`, in the order of its time. */
void sim_engine_advance(struct sim_engine *e, uint64_t now_ns);
/* Forgets the prefix cache. -BB_EBUSY while requests hold blocks. */
BB_MUST int sim_engine_reset_cache(struct sim_engine *e);
void sim_engine_stats(const struct sim_engine *e, struct sim_engine_stats *out);
/* Tokens that one request may hold at most. */
uint64_t sim_engine_tokens_max(const struct sim_engine *e);
