/*
 * step_inner.h: the inside of step_engine, shared by its files.
 *
 * For: step_engine.c (its interface), step_jobs.c (who is where and holds what), step_plan.c (what
 * a step does). Threads: as step_engine. Memory: as step_engine.
 * Errors: see each.
 *
 * Streams are not touched step by step. `clock` counts steps of streams; a stream has computed
 * `computed` + (clock − base) tokens, and ends when the clock is `last`. Those that need a block at
 * a step have one residue of `residues` (their count by (computed − base) mod block_tokens); the
 * blocks that streams have come to need and not yet taken are `owed`, always free in the pool.
 */
#pragma once

#include "sim/sim_blocks.h"
#include "sim/step_engine.h"

struct step_engine {
	struct step_params params;
	struct step_ops ops;
	void *ctx;
	struct sim_blocks *pool;
	uint64_t now_ns; /* of the callbacks under way */
	/* who waits, in order; who runs, in the order in which they started */
	struct step_job *waiting_head, *waiting_tail;
	uint32_t waiting_count;
	struct step_job **running;
	uint32_t running_count;
	struct step_job *partial; /* the one prompt that is computed in part; NULL */
	/* streams */
	struct step_job **heap; /* by `last` */
	uint32_t stream_count;
	uint64_t clock, scanned;
	uint32_t *residues; /* block_tokens of them */
	uint32_t owed;
	uint64_t stream_tokens; /* computed, of all streams, at `clock` */
	/* the step under way */
	bool is_busy, streams_move, is_abort_due;
	struct step_job **chunks;
	uint32_t chunk_count;
	uint32_t steps; /* at once: streams alone */
	uint64_t begun_ns, step_ns, end_ns, stalled_ns;
	double slowness;
	struct step_stats stats;
};

/* ---- step_jobs.c ---- */

uint32_t step_blocks_of(const struct step_engine *e, uint64_t tokens);
/* Free ones that streams do not yet need. */
uint32_t step_blocks_free(const struct step_engine *e);
/* Streams that need a block `ahead` steps from now. */
static inline uint32_t step_needed(const struct step_engine *e, uint32_t ahead)
{
	const uint32_t b = e->params.block_tokens;
	const uint32_t at = (uint32_t)((e->clock + ahead) % b);

	return e->residues[at ? b - at : 0];
}
uint32_t step_computed(const struct step_engine *e, const struct step_job *j);
uint32_t step_generated(const struct step_engine *e, const struct step_job *j);

enum step_end { STEP_HEAD, STEP_TAIL };
void step_wait(struct step_engine *e, struct step_job *j, enum step_end where);
void step_wait_leave(struct step_engine *e, struct step_job *j);
/* Takes and names blocks up to `tokens`: there are enough. */
void step_fill(struct step_engine *e, struct step_job *j, uint32_t tokens);
/* A stream takes the blocks that it owes. */
void step_settle(struct step_engine *e, struct step_job *j);
/* A running job whose prompt is computed: makes its next token, and is a stream. */
void step_stream_begin(struct step_engine *e, struct step_job *j);
/* Leaves what runs; what it holds is free again. */
void step_leave(struct step_engine *e, struct step_job *j);
/* Says that it has ended. */
void step_end(struct step_engine *e, struct step_job *j);

/* ---- step_plan.c ---- */

/* Begins a step at `now_ns`, if there is anything to do. */
void step_plan(struct step_engine *e, uint64_t now_ns);
