/*
 * scheduler.h: the engine thread: loads the model, then runs sequences in steps.
 *
 * For: engine_api submits sequences and cancels them; main starts and stops it.
 * A step takes what was cancelled out, admits waiting sequences in order while there is room,
 * computes one batch (first a token of every sequence that generates, then prompts in chunks up to
 * the batch size), and draws the next tokens. A sequence with max_tokens gets room for its whole
 * answer before it starts; one without grows as it goes, and when the cache is full, the youngest
 * of these is put back in front of the queue and computed again later. So nothing that runs is
 * ever ended for want of room, and the loop never waits for the model.
 * Threads: submit, cancel and stop from the loop's thread; the rest inside.
 * Memory: the queue is bounded; the sequences are their makers'.
 * Errors: -BB_EBUSY: the queue is full; -BB_ELIMIT: more than the queue can ever take;
 * -BB_EDRAINING: it is stopping.
 */
#pragma once

#include "engine_metrics.h"
#include "engine_options.h"
#include "kv_publisher.h"
#include "model.h"
#include "os/loop.h"
#include "sequence.h"

struct scheduler;

struct scheduler_config {
	struct loop *loop;
	const struct engine_options *options;
	struct engine_metrics *metrics;
	struct kv_publisher *publisher; /* NULL: no KV events */
	void *user;
	/* On the loop's thread: the model is ready (why NULL), or it cannot be loaded. */
	void (*on_loaded)(void *user, const struct model *model, const char *why);
};

BB_MUST int scheduler_create(const struct scheduler_config *config, struct scheduler **out);
/* Starts the thread, which loads the model first. */
BB_MUST int scheduler_start(struct scheduler *s);
/* All of them or none. Each gets a holder for the scheduler. */
BB_MUST int scheduler_submit(struct scheduler *s, struct sequence *const *sequences,
			     uint32_t count);
/* It ends within a step; no news come for its owner, who has left. */
void scheduler_cancel(struct scheduler *s, struct sequence *sequence);
/* Forget all cached prefixes before the next step. */
void scheduler_reset_cache(struct scheduler *s);
/* Ends everything with FINISH_ERROR and waits for the thread. */
void scheduler_stop(struct scheduler *s);
/* After scheduler_stop, or when it was never started. Frees the model. */
void scheduler_destroy(struct scheduler *s);
