/* step_jobs.c: the jobs of a step engine: who waits, runs, streams, and which blocks they hold. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "sim/step_inner.h"

uint32_t step_blocks_of(const struct step_engine *e, uint64_t tokens)
{
	return (uint32_t)((tokens + e->params.block_tokens - 1) / e->params.block_tokens);
}

uint32_t step_blocks_free(const struct step_engine *e)
{
	return sim_blocks_free_count(e->pool) - e->owed;
}

/* Stream steps since it became a stream. */
static uint32_t moved(const struct step_engine *e, const struct step_job *j)
{
	return j->state == STEP_JOB_STREAM ? (uint32_t)(e->clock - j->base) : 0;
}

uint32_t step_computed(const struct step_engine *e, const struct step_job *j)
{
	return j->computed + moved(e, j);
}

uint32_t step_generated(const struct step_engine *e, const struct step_job *j)
{
	return j->generated + moved(e, j);
}

/* ---- who waits ---- */

void step_wait(struct step_engine *e, struct step_job *j, enum step_end where)
{
	struct step_job *const prev = where == STEP_HEAD ? NULL : e->waiting_tail;
	struct step_job *const next = where == STEP_HEAD ? e->waiting_head : NULL;

	j->prev = prev;
	j->next = next;
	*(prev ? &prev->next : &e->waiting_head) = j;
	*(next ? &next->prev : &e->waiting_tail) = j;
	j->state = STEP_JOB_WAITING;
	e->waiting_count++;
}

void step_wait_leave(struct step_engine *e, struct step_job *j)
{
	BB_ASSERT(j->state == STEP_JOB_WAITING && e->waiting_count > 0);
	*(j->prev ? &j->prev->next : &e->waiting_head) = j->next;
	*(j->next ? &j->next->prev : &e->waiting_tail) = j->prev;
	j->next = j->prev = NULL;
	e->waiting_count--;
}

/* ---- who streams: a heap by the step that each ends with ---- */

static void heap_put(struct step_engine *e, uint32_t at, struct step_job *j)
{
	e->heap[at] = j;
	j->heap_at = at;
}

static void heap_up(struct step_engine *e, uint32_t at, struct step_job *j)
{
	for (; at && e->heap[(at - 1) / 2]->last > j->last; at = (at - 1) / 2)
		heap_put(e, at, e->heap[(at - 1) / 2]);
	heap_put(e, at, j);
}

static void heap_down(struct step_engine *e, uint32_t at, struct step_job *j)
{
	for (uint32_t k = 2 * at + 1; k < e->stream_count; k = 2 * at + 1) {
		k += k + 1 < e->stream_count && e->heap[k + 1]->last < e->heap[k]->last;
		if (e->heap[k]->last >= j->last)
			break;
		heap_put(e, at, e->heap[k]);
		at = k;
	}
	heap_put(e, at, j);
}

static void heap_remove(struct step_engine *e, struct step_job *j)
{
	const uint32_t at = j->heap_at;
	struct step_job *const moved_job = e->heap[--e->stream_count];

	if (moved_job == j)
		return;
	if (at && e->heap[(at - 1) / 2]->last > moved_job->last)
		heap_up(e, at, moved_job);
	else
		heap_down(e, at, moved_job);
}

static uint32_t *residue_of(struct step_engine *e, const struct step_job *j)
{
	const uint64_t b = e->params.block_tokens;

	return &e->residues[(j->computed + (b - j->base % b)) % b];
}

void step_stream_begin(struct step_engine *e, struct step_job *j)
{
	BB_ASSERT(j->state == STEP_JOB_PROMPT && j->computed == j->target);
	j->generated++;
	if (!j->has_first) {
		j->has_first = true;
		e->ops.on_first(e->ctx, j, e->now_ns);
	}
	j->reported = j->generated;
	if (j->generated >= j->output_tokens || j->is_aborted) {
		step_leave(e, j);
		step_end(e, j);
		return;
	}
	j->state = STEP_JOB_STREAM;
	j->base = e->clock;
	j->last = e->clock + (j->output_tokens - j->generated);
	++*residue_of(e, j);
	e->stream_tokens += j->computed;
	e->stream_count++;
	heap_up(e, e->stream_count - 1, j);
}

/* ---- what they hold ---- */

static void name_blocks(struct step_engine *e, struct step_job *j, uint32_t full)
{
	uint32_t from = j->named; /* of the run that is told at once */

	if (full > j->hash_count)
		full = j->hash_count;
	for (; j->named < full; j->named++) {
		if (sim_blocks_name(e->pool, j->blocks[j->named], j->hashes[j->named]))
			continue;
		if (e->ops.on_stored && from < j->named)
			e->ops.on_stored(e->ctx, e->now_ns, from, j->hashes + from,
					 j->named - from);
		from = j->named + 1;
	}
	if (e->ops.on_stored && from < j->named)
		e->ops.on_stored(e->ctx, e->now_ns, from, j->hashes + from, j->named - from);
}

void step_fill(struct step_engine *e, struct step_job *j, uint32_t tokens)
{
	const uint32_t blocks = step_blocks_of(e, tokens);

	for (; j->block_count < blocks; j->block_count++) {
		const uint32_t block = sim_blocks_take(e->pool);
		BB_ASSERT(block != SIM_NO_BLOCK);
		j->blocks[j->block_count] = block;
	}
	name_blocks(e, j, tokens / e->params.block_tokens);
}

void step_settle(struct step_engine *e, struct step_job *j)
{
	const uint32_t before = j->block_count;

	step_fill(e, j, step_computed(e, j));
	BB_ASSERT(e->owed >= j->block_count - before);
	e->owed -= j->block_count - before;
}

void step_leave(struct step_engine *e, struct step_job *j)
{
	uint32_t at = e->running_count;

	if (j->state == STEP_JOB_STREAM) {
		step_settle(e, j);
		heap_remove(e, j);
		--*residue_of(e, j);
		j->computed += moved(e, j);
		j->generated += moved(e, j);
		e->stream_tokens -= j->computed;
	}
	while (e->running[--at] != j)
		BB_ASSERT(at > 0);
	memmove(&e->running[at], &e->running[at + 1],
		(--e->running_count - at) * sizeof(struct step_job *));
	if (e->partial == j)
		e->partial = NULL;
	while (j->block_count)
		sim_blocks_put(e->pool, j->blocks[--j->block_count]);
	j->named = 0;
	j->state = STEP_JOB_NONE;
}

void step_end(struct step_engine *e, struct step_job *j)
{
	const uint32_t generated = j->generated;

	j->state = STEP_JOB_NONE;
	BB_FREE(j->blocks);
	if (generated >= j->output_tokens)
		e->stats.ended++;
	else
		e->stats.aborted++;
	e->stats.generated_tokens += generated;
	e->ops.on_end(e->ctx, j, e->now_ns, generated);
}
