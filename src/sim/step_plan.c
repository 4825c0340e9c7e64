/* step_plan.c: what a step of a step engine does, and how long it takes. */
#include <stddef.h>

#include "base/log.h"
#include "sim/step_inner.h"

/* The step in the making. */
struct plan {
	uint32_t budget;
	uint32_t prompts, prompt_tokens;
	double prompt_contexts, prompt_kv;
	bool has_preempted;
};

/* The job that started last goes back to the queue; false: nothing runs. */
static bool preempt(struct step_engine *e, struct plan *p)
{
	if (e->running_count == 0)
		return false;
	struct step_job *const j = e->running[e->running_count - 1];
	step_leave(e, j);
	j->computed = 0;
	j->preemptions++;
	e->stats.preemptions++;
	p->has_preempted = true;
	step_wait(e, j, STEP_HEAD);
	return true;
}

/* `chunk` more tokens of a prompt; its blocks are there. */
static void take_chunk(struct step_engine *e, struct plan *p, struct step_job *j, uint32_t chunk)
{
	const double before = j->computed;

	step_fill(e, j, j->computed + chunk);
	j->chunk = chunk;
	e->chunks[e->chunk_count++] = j;
	e->partial = j->computed + chunk < j->target ? j : NULL;
	p->budget -= chunk;
	p->prompts++;
	p->prompt_tokens += chunk;
	p->prompt_contexts += chunk * (before + 0.5 * chunk);
	p->prompt_kv += before + chunk;
}

/* ---- starting ---- */

/* Whole blocks of it that are there, and how many of these nobody holds. */
static uint32_t find_prefix(const struct step_engine *e, const struct step_job *j,
			    uint32_t *evictable)
{
	uint32_t most = (j->target - 1) / e->params.block_tokens, n = 0;

	*evictable = 0;
	if (most > j->hash_count)
		most = j->hash_count;
	for (; n < most; n++) {
		const uint32_t block = sim_blocks_find(e->pool, j->hashes[n]);
		if (block == SIM_NO_BLOCK)
			break;
		j->blocks[n] = block; /* not held yet */
		*evictable += !sim_blocks_is_held(e->pool, block);
	}
	return n;
}

/* Blocks that running jobs may yet need for their answers. */
static uint64_t growth(const struct step_engine *e)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < e->running_count; i++) {
		const struct step_job *j = e->running[i];
		sum += step_blocks_of(e, (uint64_t)j->prompt_tokens + j->output_tokens - 1);
		sum -= j->state == STEP_JOB_STREAM ? step_blocks_of(e, step_computed(e, j))
						   : j->block_count;
	}
	return sum;
}

static uint64_t room_for_start(const struct step_engine *e, uint32_t spoken_for)
{
	const uint32_t free = step_blocks_free(e);
	uint64_t kept = spoken_for;

	if (e->running_count == 0)
		return free;
	if (e->params.variant == STEP_TRTLLM)
		kept = growth(e);
	else
		kept += (uint64_t)(e->params.watermark * e->params.blocks);
	/* The one prompt that is begun has yet to take its blocks. */
	if (e->partial && e->params.variant != STEP_TRTLLM)
		kept += step_blocks_of(e, e->partial->target) - e->partial->block_count;
	return free > kept ? free - kept : 0;
}

/* Starts the first of those that wait; false: it cannot. */
static bool start(struct step_engine *e, struct plan *p, uint32_t spoken_for)
{
	struct step_job *const j = e->waiting_head;
	uint32_t evictable;

	j->target = j->prompt_tokens + j->generated;
	const uint32_t cached = find_prefix(e, j, &evictable);
	const uint64_t all = e->params.variant == STEP_TRTLLM
				     ? (uint64_t)j->prompt_tokens + j->output_tokens - 1
				     : j->target;
	if (step_blocks_of(e, all) - cached + evictable > room_for_start(e, spoken_for))
		return false;
	step_wait_leave(e, j);
	for (uint32_t i = 0; i < cached; i++)
		sim_blocks_hold(e->pool, j->blocks[i]);
	j->block_count = j->named = cached;
	j->computed = cached * e->params.block_tokens;
	j->state = STEP_JOB_PROMPT;
	if (!j->started_ns) {
		j->started_ns = e->now_ns ? e->now_ns : 1;
		j->cached = j->computed;
		e->stats.prompt_tokens += j->prompt_tokens;
		e->stats.cached_tokens += j->cached;
	}
	e->running[e->running_count++] = j;
	const uint32_t left = j->target - j->computed;
	take_chunk(e, p, j, left < p->budget ? left : p->budget);
	return true;
}

static void settle_all(struct step_engine *e)
{
	for (uint32_t i = 0; e->owed && i < e->stream_count; i++)
		step_settle(e, e->heap[i]);
}

/* ---- a step ---- */

/* Prompts: the one that is begun, then those that wait. */
static void plan_prompts(struct step_engine *e, struct plan *p, uint32_t spoken_for)
{
	struct step_job *const j = e->partial;

	if (j && p->budget) {
		const uint32_t left = j->target - j->computed;
		const uint32_t chunk = left < p->budget ? left : p->budget;
		const uint32_t need =
			step_blocks_of(e, (uint64_t)j->computed + chunk) - j->block_count;
		while (e->partial && need + spoken_for > step_blocks_free(e))
			preempt(e, p);
		if (e->partial)
			take_chunk(e, p, j, chunk);
	}
	if (p->has_preempted || !e->waiting_head || !p->budget ||
	    e->running_count >= e->params.sequences_max)
		return;
	settle_all(e); /* what is evicted by streams must not be found */
	while (p->budget && e->waiting_head && e->running_count < e->params.sequences_max)
		if (!start(e, p, spoken_for))
			break;
}

/* Streams: those that started last make room for the others. Returns the blocks they take. */
static uint32_t plan_streams(struct step_engine *e, struct plan *p)
{
	while (e->stream_count && step_needed(e, 0) > step_blocks_free(e))
		preempt(e, p);
	return e->stream_count ? step_needed(e, 0) : 0;
}

/* Of streams alone: until one ends, or blocks run out. */
static uint32_t run_length(const struct step_engine *e)
{
	uint64_t most = e->heap[0]->last - e->clock;
	uint32_t free = step_blocks_free(e), n = 0;

	if (most > STEP_RUN_MAX)
		most = STEP_RUN_MAX;
	for (; n < most; n++) {
		const uint32_t need = step_needed(e, n);
		if (need > free)
			break;
		free -= need;
	}
	BB_ASSERT(n > 0);
	return n;
}

static uint64_t duration_ns(const struct step_engine *e, const struct plan *p)
{
	struct step_load l = { .prompts = p->prompts,
			       .prompt_tokens = p->prompt_tokens,
			       .prompt_contexts = p->prompt_contexts,
			       .kv_tokens = p->prompt_kv };
	double held = (double)(e->params.blocks - step_blocks_free(e));

	if (e->streams_move) {
		/* In the middle of the run. */
		const double more = 0.5 * (e->steps + 1) * e->stream_count;
		l.streams = e->stream_count;
		l.stream_contexts = (double)e->stream_tokens + more;
		l.kv_tokens += l.stream_contexts;
		held += (more - e->stream_count) / e->params.block_tokens;
	}
	l.kv_share = held / e->params.blocks;
	const double ns = step_cost_ms(&e->params.cost, &l) * e->slowness * 1e6;
	return ns > 1 ? (uint64_t)ns : 1;
}

void step_plan(struct step_engine *e, uint64_t now_ns)
{
	const bool is_split = e->params.variant == STEP_SGLANG;
	struct plan p = { .budget = e->params.step_tokens };

	e->now_ns = now_ns;
	e->chunk_count = 0;
	e->steps = 1;
	uint32_t taken = 0;
	if (!is_split) {
		taken = plan_streams(e, &p);
		p.budget -= e->stream_count;
	}
	const uint32_t streams = e->stream_count;
	plan_prompts(e, &p, taken);
	if (is_split && p.prompts == 0)
		plan_streams(e, &p);
	/* Streams may have been preempted for the prompt that is begun. */
	BB_ASSERT(e->stream_count <= streams);
	e->streams_move = e->stream_count && !(is_split && p.prompts);
	e->is_busy = e->streams_move || p.prompts;
	if (!e->is_busy)
		return;
	if (p.prompts == 0 && !(e->waiting_head && p.has_preempted))
		e->steps = run_length(e);
	e->begun_ns = now_ns;
	e->step_ns = duration_ns(e, &p);
	e->end_ns = now_ns + e->steps * e->step_ns;
}
