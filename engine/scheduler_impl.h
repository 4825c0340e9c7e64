/*
 * scheduler_impl.h: what scheduler.c (queue, admission, thread) and step.c (one batch) share.
 *
 * For: these two files only. Threads: members say who. Memory: scheduler_destroy frees it.
 * Errors: as in scheduler.h.
 */
#pragma once

#include "os/process.h"
#include "scheduler.h"

/* What one sequence has in the batch. */
struct batch_part {
	struct sequence *sequence;
	uint32_t count;	      /* tokens */
	int32_t output_index; /* in the batch, where its logits are; -1: a prompt's middle */
};

struct scheduler {
	struct scheduler_config config;
	struct thread thread;
	bool has_thread;
	struct model model;
	char why[MODEL_WHY_SIZE];
	struct loop_message loaded;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct bb_list waiting; /* under the lock, as the next three */
	uint32_t waiting_count;
	bool is_stopping;
	bool resets_cache;

	/* The engine thread's. */
	struct kv_blocks *kv;
	struct bb_list running; /* in order of admission */
	uint32_t running_count;
	struct llama_batch batch;
	bool has_batch;
	struct batch_part *parts;
	uint32_t part_count;
	struct llama_token_data *candidates; /* room for one draw */
	float *raw_logits;
};

/* step.c: computes one batch of the running sequences; some may be over after it. */
void step_generate(struct scheduler *s);
/* step.c, for models that make embeddings: all running sequences at once. */
void step_embed(struct scheduler *s);
/* A sequence leaves the batch for good. `keep`: what of its KV was computed may be shared. */
void scheduler_finish(struct scheduler *s, struct sequence *sequence, enum finish_reason why,
		      enum kv_keep keep);
/* Makes room: the youngest running sequence without promise goes back in front of the queue. */
bool scheduler_preempt_youngest(struct scheduler *s);
