#include "sim/step_engine.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "sim/step_inner.h"

static void on_removed(void *ctx, uint64_t hash)
{
	struct step_engine *e = ctx;

	if (e->ops.on_removed)
		e->ops.on_removed(e->ctx, e->now_ns, hash);
}

int step_engine_create(const struct step_params *params, const struct step_ops *ops, void *ctx,
		       struct step_engine **out)
{
	BB_ASSERT(params->block_tokens > 0 && params->block_tokens <= STEP_BLOCK_MAX);
	BB_ASSERT(params->sequences_max > 0 && params->step_tokens >= params->sequences_max);
	const uint32_t places = params->sequences_max;
	struct step_engine *e = bb_alloc_zero(1, sizeof(*e));
	if (!e)
		return -BB_ENOMEM;
	e->params = *params;
	e->ops = *ops;
	e->ctx = ctx;
	e->slowness = 1;
	e->stats.blocks = params->blocks;
	e->running = bb_alloc_zero(places, sizeof(struct step_job *));
	e->heap = bb_alloc_zero(places, sizeof(struct step_job *));
	e->chunks = bb_alloc_zero(places, sizeof(struct step_job *));
	e->residues = bb_alloc_zero(params->block_tokens, sizeof(*e->residues));
	int rc = e->running && e->heap && e->chunks && e->residues ? 0 : -BB_ENOMEM;
	if (!rc)
		rc = sim_blocks_create(params->blocks, on_removed, e, &e->pool);
	if (rc) {
		step_engine_destroy(e);
		return rc;
	}
	*out = e;
	return 0;
}

void step_engine_destroy(struct step_engine *e)
{
	if (!e)
		return;
	for (struct step_job *j = e->waiting_head; j; j = j->next)
		BB_FREE(j->blocks);
	for (uint32_t i = 0; i < e->running_count; i++)
		BB_FREE(e->running[i]->blocks);
	sim_blocks_destroy(e->pool);
	bb_free(e->running);
	bb_free(e->heap);
	bb_free(e->chunks);
	bb_free(e->residues);
	bb_free(e);
}

/* While streams run alone, what comes need not wait for more than the step under way. */
static void interrupt(struct step_engine *e, uint64_t now_ns)
{
	if (!e->is_busy || e->steps == 1 || now_ns >= e->end_ns)
		return;
	const uint64_t since_ns = now_ns > e->begun_ns ? now_ns - e->begun_ns : 0;
	const uint64_t done = (since_ns + e->step_ns - 1) / e->step_ns;
	if (done < e->steps) {
		e->steps = done ? (uint32_t)done : 1;
		e->end_ns = e->begun_ns + e->steps * e->step_ns;
	}
}

int step_engine_arrive(struct step_engine *e, uint64_t now_ns, struct step_job *j)
{
	const uint64_t most = (uint64_t)j->prompt_tokens + j->output_tokens - 1;

	BB_ASSERT(j->state == STEP_JOB_NONE && j->prompt_tokens > 0 && j->output_tokens > 0);
	if (most > (uint64_t)e->params.blocks * e->params.block_tokens)
		return -BB_ELIMIT;
	uint32_t *const blocks = bb_alloc(step_blocks_of(e, most) * sizeof(*blocks));
	if (!blocks)
		return -BB_ENOMEM;
	j->blocks = blocks;
	j->cached = j->preemptions = 0;
	j->started_ns = 0;
	j->is_aborted = j->has_first = false;
	j->computed = j->generated = j->block_count = j->named = 0;
	step_wait(e, j, STEP_TAIL);
	if (e->is_busy && e->running_count < e->params.sequences_max)
		interrupt(e, now_ns);
	else if (!e->is_busy)
		step_plan(e, now_ns > e->stalled_ns ? now_ns : e->stalled_ns);
	return 0;
}

void step_engine_abort(struct step_engine *e, uint64_t now_ns, struct step_job *j)
{
	if (j->state == STEP_JOB_NONE)
		return;
	if (j->state == STEP_JOB_WAITING) {
		e->now_ns = now_ns;
		step_wait_leave(e, j);
		step_end(e, j);
		return;
	}
	j->is_aborted = e->is_abort_due = true;
	interrupt(e, now_ns);
}

uint64_t step_engine_next_ns(const struct step_engine *e)
{
	if (!e->is_busy)
		return STEP_NEVER;
	return e->end_ns > e->stalled_ns ? e->end_ns : e->stalled_ns;
}

/* ---- what a step has brought ---- */

static void end_prompts(struct step_engine *e)
{
	for (uint32_t i = 0; i < e->chunk_count; i++) {
		struct step_job *const j = e->chunks[i];
		j->computed += j->chunk;
		e->stats.computed_tokens += j->chunk;
		j->chunk = 0;
		if (j->computed == j->target)
			step_stream_begin(e, j);
	}
	e->chunk_count = 0;
}

static void end_streams(struct step_engine *e)
{
	for (uint32_t i = 0; i < e->steps; i++) {
		e->owed += step_needed(e, 0);
		e->clock++;
	}
	e->stream_tokens += (uint64_t)e->steps * e->stream_count;
	while (e->stream_count && e->heap[0]->last <= e->clock) {
		struct step_job *const j = e->heap[0];
		step_leave(e, j);
		step_end(e, j);
	}
}

static void report_progress(struct step_engine *e)
{
	if (e->clock - e->scanned < STEP_PROGRESS / 2)
		return;
	e->scanned = e->clock;
	for (uint32_t i = 0; i < e->stream_count; i++) {
		struct step_job *const j = e->heap[i];
		const uint32_t generated = step_generated(e, j);
		if (generated - j->reported < STEP_PROGRESS)
			continue;
		j->reported = generated;
		e->ops.on_progress(e->ctx, j, e->now_ns, generated);
	}
}

static void end_aborted(struct step_engine *e)
{
	if (!e->is_abort_due)
		return;
	e->is_abort_due = false;
	for (uint32_t i = e->running_count; i-- > 0;) {
		struct step_job *const j = e->running[i];
		if (!j->is_aborted)
			continue;
		step_leave(e, j);
		step_end(e, j);
	}
}

void step_engine_advance(struct step_engine *e, uint64_t now_ns)
{
	const uint64_t end_ns = step_engine_next_ns(e);

	if (end_ns > now_ns)
		return;
	e->now_ns = end_ns;
	e->stats.busy_ns += e->steps * e->step_ns;
	e->stats.steps += e->steps;
	e->is_busy = false;
	if (e->streams_move)
		end_streams(e);
	end_prompts(e);
	end_aborted(e);
	report_progress(e);
	step_plan(e, end_ns);
}

/* ---- what goes wrong ---- */

void step_engine_set_slowness(struct step_engine *e, double slowness)
{
	BB_ASSERT(slowness > 0);
	e->slowness = slowness;
}

void step_engine_stall(struct step_engine *e, uint64_t until_ns)
{
	if (until_ns > e->stalled_ns)
		e->stalled_ns = until_ns;
}

void step_engine_crash(struct step_engine *e, uint64_t now_ns)
{
	e->now_ns = now_ns;
	e->chunk_count = 0;
	while (e->running_count) {
		struct step_job *const j = e->running[e->running_count - 1];
		step_leave(e, j);
		step_end(e, j);
	}
	while (e->waiting_head) {
		struct step_job *const j = e->waiting_head;
		step_wait_leave(e, j);
		step_end(e, j);
	}
	e->is_busy = e->is_abort_due = false;
	e->stalled_ns = 0;
	(void)sim_blocks_forget(e->pool);
}

/* ---- views ---- */

void step_engine_stats(const struct step_engine *e, struct step_stats *out)
{
	*out = e->stats;
	out->running = e->running_count;
	out->waiting = e->waiting_count;
	out->blocks_held = e->params.blocks - step_blocks_free(e);
}

bool step_engine_is_sound(const struct step_engine *e)
{
	uint64_t tokens = 0;
	uint32_t streams = 0, owed = 0, waiting = 0;

	for (uint32_t i = 0; i < e->running_count; i++) {
		const struct step_job *j = e->running[i];
		if (j->state == STEP_JOB_WAITING || j->block_count < j->named)
			return false;
		if (j->state != STEP_JOB_STREAM)
			continue;
		streams++;
		tokens += step_computed(e, j);
		owed += step_blocks_of(e, step_computed(e, j)) - j->block_count;
		if (e->heap[j->heap_at] != j || j->last < e->clock)
			return false;
	}
	for (const struct step_job *j = e->waiting_head; j; j = j->next)
		waiting += j->block_count == 0 && j->state == STEP_JOB_WAITING;
	return streams == e->stream_count && tokens == e->stream_tokens && owed == e->owed &&
	       waiting == e->waiting_count && e->owed <= sim_blocks_free_count(e->pool) &&
	       e->running_count <= e->params.sequences_max;
}
