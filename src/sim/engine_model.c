#include "sim/engine_model.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "sim/sim_blocks.h"

#define NO_INDEX UINT32_MAX

struct engine_request {
	struct bb_list link;    /* in `waiting`, or in `running` in the order of scheduling */
	struct bb_list touched; /* has tokens to tell at the end of this advance */
	uint64_t id;
	uint64_t due_ns;                       /* of its next token, while it runs */
	uint64_t turn;                         /* breaks ties of due_ns */
	uint64_t ready_ns;                     /* of the newest token */
	uint32_t heap_index;                   /* NO_INDEX: it waits */
	uint32_t prompt, output, output_count; /* tokens: of the prompt, made so far, to be made */
	uint32_t told;                         /* of `output`, by on_tokens */
	uint32_t block_count;                  /* held */
	uint32_t hashed;                       /* blocks with a hash */
	uint32_t published; /* of these, told by on_stored or found in the cache */
	enum sim_finish reason;
	double slowness;
	uint64_t ttft_ns, itl_ns;
	uint64_t cache_key;
	struct sim_writer writer;
	void *user;
	uint64_t *hashes; /* of full blocks; `blocks` and `tokens` are in the same allocation */
	uint32_t *blocks;
	uint32_t *tokens;
};

struct sim_engine {
	struct sim_engine_params params;
	const struct sim_engine_ops *ops;
	void *ctx;
	struct sim_blocks *kv;
	struct engine_request **slots; /* by the lower half of an id, less 1 */
	uint32_t *free_slots;
	uint32_t free_slot_count;
	uint32_t generation;
	struct engine_request **heap; /* running ones, the earliest due first */
	uint32_t running_count;
	uint32_t waiting_count;
	uint64_t turns;
	uint64_t prefill_free_ns; /* when the prompts before this one have been computed */
	struct bb_list waiting, running, touched;
	struct sim_engine_stats stats;
};

/* ---- running requests by due time ---- */

static bool is_earlier(const struct engine_request *a, const struct engine_request *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->turn < b->turn;
}

static void heap_set(struct sim_engine *e, uint32_t i, struct engine_request *r)
{
	e->heap[i] = r;
	r->heap_index = i;
}

static void heap_up(struct sim_engine *e, uint32_t i)
{
	struct engine_request *r = e->heap[i];

	while (i > 0 && is_earlier(r, e->heap[(i - 1) / 2])) {
		heap_set(e, i, e->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_set(e, i, r);
}

static void heap_down(struct sim_engine *e, uint32_t i)
{
	struct engine_request *r = e->heap[i];

	for (;;) {
		uint32_t child = 2 * i + 1;
		if (child >= e->running_count)
			break;
		if (child + 1 < e->running_count && is_earlier(e->heap[child + 1], e->heap[child]))
			child++;
		if (!is_earlier(e->heap[child], r))
			break;
		heap_set(e, i, e->heap[child]);
		i = child;
	}
	heap_set(e, i, r);
}

static void run_add(struct sim_engine *e, struct engine_request *r)
{
	heap_set(e, e->running_count++, r);
	heap_up(e, r->heap_index);
	bb_list_append(&e->running, &r->link);
}

static void run_remove(struct sim_engine *e, struct engine_request *r)
{
	const uint32_t i = r->heap_index;
	struct engine_request *last = e->heap[--e->running_count];

	if (last != r) {
		heap_set(e, i, last);
		heap_up(e, i);
		heap_down(e, last->heap_index);
	}
	r->heap_index = NO_INDEX;
	bb_list_remove(&r->link);
}

/* ---- blocks ---- */

static uint32_t blocks_for(const struct sim_engine *e, uint32_t tokens)
{
	return (uint32_t)(((uint64_t)tokens + e->params.block_size - 1) / e->params.block_size);
}

/* Hashes of all blocks that the first `tokens` tokens fill. */
static void hash_blocks(const struct sim_engine *e, struct engine_request *r, uint32_t tokens)
{
	const uint32_t size = e->params.block_size;

	for (; r->hashed < tokens / size; r->hashed++) {
		const uint64_t parent = r->hashed ? r->hashes[r->hashed - 1] : r->cache_key;
		r->hashes[r->hashed] = bb_hash(r->tokens + (size_t)r->hashed * size,
					       size * sizeof(*r->tokens), parent);
	}
}

/* Names the held blocks `from` … `to` − 1. One that another request named first stays nameless. */
static void name_blocks(struct sim_engine *e, const struct engine_request *r, uint32_t from,
			uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		(void)!sim_blocks_name(e->kv, r->blocks[i], r->hashes[i]);
}

/* Tells of the blocks that this request named, as chains without a gap. */
static void publish(struct sim_engine *e, struct engine_request *r)
{
	const uint32_t size = e->params.block_size;

	while (r->published < r->hashed) {
		uint32_t from = r->published, to;
		for (to = from; to < r->hashed; to++)
			if (sim_blocks_find(e->kv, r->hashes[to]) != r->blocks[to])
				break;
		r->published = to < r->hashed ? to + 1 : to;
		if (to == from)
			continue;
		const struct sim_stored s = {
			.hashes = r->hashes + from,
			.hash_count = to - from,
			.tokens = r->tokens + (size_t)from * size,
			.parent = from ? r->hashes[from - 1] : 0,
			.has_parent = from > 0,
		};
		e->ops->on_stored(e->ctx, r->user, &s);
	}
}

/* The end of a chain is of use only with its beginning: it goes first when room is needed. */
static void drop_blocks(struct sim_engine *e, struct engine_request *r)
{
	while (r->block_count > 0)
		sim_blocks_put(e->kv, r->blocks[--r->block_count]);
}

/* ---- scheduling ---- */

static uint64_t scaled_ns(const struct engine_request *r, double ns)
{
	ns *= r->slowness;
	return ns < 1e18 ? (uint64_t)ns : (uint64_t)1e18;
}

/* Blocks for everything the request has so far; false when they are not free. */
static bool allocate(struct sim_engine *e, struct engine_request *r, uint32_t *cached)
{
	const uint32_t tokens = r->prompt + r->output;
	const uint32_t needed = blocks_for(e, tokens);
	uint32_t hits = 0, hits_unheld = 0;

	hash_blocks(e, r, tokens);
	while (hits < (tokens - 1) / e->params.block_size) {
		const uint32_t block = sim_blocks_find(e->kv, r->hashes[hits]);
		if (block == SIM_NO_BLOCK)
			break;
		hits_unheld += !sim_blocks_is_held(e->kv, block);
		r->blocks[hits++] = block;
	}
	if (needed - hits + hits_unheld > sim_blocks_free_count(e->kv))
		return false;
	for (uint32_t i = 0; i < hits; i++)
		sim_blocks_hold(e->kv, r->blocks[i]);
	for (uint32_t i = hits; i < needed; i++)
		r->blocks[i] = sim_blocks_take(e->kv);
	r->block_count = needed;
	r->published = hits;
	name_blocks(e, r, hits, r->hashed);
	*cached = hits * e->params.block_size;
	return true;
}

/* One prompt after the other: the engine's prefill rate is that of all of them together. */
static uint64_t prefill_end_ns(struct sim_engine *e, const struct engine_request *r, uint64_t at_ns,
			       uint32_t uncached)
{
	const double rate = e->params.prefill_tokens_per_s;

	if (rate > 0) {
		if (e->prefill_free_ns < at_ns)
			e->prefill_free_ns = at_ns;
		e->prefill_free_ns += scaled_ns(r, uncached / rate * 1e9);
		at_ns = e->prefill_free_ns;
	}
	return at_ns + scaled_ns(r, (double)r->ttft_ns);
}

static void schedule(struct sim_engine *e, uint64_t at_ns)
{
	while (e->waiting_count > 0 && e->running_count < e->params.seqs_max) {
		struct engine_request *r =
			BB_CONTAINER(e->waiting.next, struct engine_request, link);
		uint32_t cached;
		if (!allocate(e, r, &cached))
			return; /* in order: those behind it wait too */
		bb_list_remove(&r->link);
		e->waiting_count--;
		const uint32_t uncached = r->prompt + r->output - cached;
		r->due_ns = prefill_end_ns(e, r, at_ns, uncached);
		r->turn = e->turns++;
		run_add(e, r);
		if (r->output == 0) {
			e->stats.prompt_tokens += r->prompt;
			e->stats.prompt_tokens_cached += cached;
		}
		e->ops->on_scheduled(e->ctx, r->user, at_ns, cached);
	}
}

static void preempt(struct sim_engine *e, struct engine_request *r)
{
	run_remove(e, r);
	publish(e, r);
	drop_blocks(e, r);
	bb_list_push(&e->waiting, &r->link);
	e->waiting_count++;
	e->stats.preemptions++;
}

/* Room for the KV of all tokens so far. False: `r` itself had to go back to the queue. */
static bool grow(struct sim_engine *e, struct engine_request *r)
{
	const uint32_t tokens = r->prompt + r->output;

	while (r->block_count < blocks_for(e, tokens)) {
		const uint32_t block = sim_blocks_take(e->kv);
		if (block != SIM_NO_BLOCK) {
			r->blocks[r->block_count++] = block;
			continue;
		}
		struct engine_request *last =
			BB_CONTAINER(e->running.prev, struct engine_request, link);
		preempt(e, last);
		if (last == r)
			return false;
	}
	const uint32_t from = r->hashed;
	hash_blocks(e, r, tokens);
	name_blocks(e, r, from, r->hashed);
	return true;
}

/* ---- tokens ---- */

static void tell_tokens(struct sim_engine *e, struct engine_request *r)
{
	bb_list_remove(&r->touched);
	if (r->told == r->output)
		return;
	const uint32_t first = r->told;
	r->told = r->output;
	e->ops->on_tokens(e->ctx, r->user, r->ready_ns, first, r->output - first);
}

static void forget(struct sim_engine *e, struct engine_request *r)
{
	const uint32_t slot = (uint32_t)r->id - 1;

	bb_list_remove(&r->touched);
	e->slots[slot] = NULL;
	e->free_slots[e->free_slot_count++] = slot;
	bb_free(r->hashes);
	bb_free(r);
}

static void finish(struct sim_engine *e, struct engine_request *r, uint64_t at_ns)
{
	tell_tokens(e, r);
	publish(e, r);
	run_remove(e, r);
	drop_blocks(e, r);
	e->stats.finished[r->reason]++;
	void *user = r->user;
	const enum sim_finish reason = r->reason;
	forget(e, r);
	e->ops->on_finished(e->ctx, user, at_ns, reason);
}

/* One token of the request that is due; with itl 0 all of them, since they are due together. */
static void step(struct sim_engine *e, struct engine_request *r)
{
	const uint64_t at_ns = r->due_ns;

	do {
		if (!grow(e, r)) {
			schedule(e, at_ns);
			return;
		}
		if (r->output == r->output_count) /* a prompt only: nothing is generated */
			break;
		sim_writer_next(&r->writer, &r->tokens[r->prompt + r->output]);
		r->output++;
		e->stats.generation_tokens++;
		r->ready_ns = at_ns;
		if (r->output == r->output_count)
			break;
		r->due_ns += scaled_ns(r, (double)r->itl_ns);
	} while (r->due_ns == at_ns);
	if (r->published < r->hashed)
		publish(e, r);
	if (r->output == r->output_count) {
		finish(e, r, at_ns);
		schedule(e, at_ns);
		return;
	}
	if (bb_list_is_empty(&r->touched))
		bb_list_append(&e->touched, &r->touched);
	heap_down(e, r->heap_index);
}

void sim_engine_advance(struct sim_engine *e, uint64_t now_ns)
{
	while (e->running_count > 0 && e->heap[0]->due_ns <= now_ns)
		step(e, e->heap[0]);
	BB_LIST_EACH (it, safe, &e->touched)
		tell_tokens(e, BB_CONTAINER(it, struct engine_request, touched));
}

uint64_t sim_engine_next_ns(const struct sim_engine *e)
{
	return e->running_count > 0 ? e->heap[0]->due_ns : UINT64_MAX;
}

/* ---- arrival and departure ---- */

static struct engine_request *request_create(const struct sim_engine *e,
					     const struct sim_engine_request *in,
					     uint32_t output_count)
{
	const size_t tokens = (size_t)in->token_count + output_count;
	const size_t blocks = tokens / e->params.block_size + 1;
	struct engine_request *r = bb_alloc_zero(1, sizeof(*r));

	if (!r)
		return NULL;
	r->hashes = bb_alloc(blocks * (sizeof(*r->hashes) + sizeof(*r->blocks)) +
			     tokens * sizeof(*r->tokens));
	if (!r->hashes) {
		bb_free(r);
		return NULL;
	}
	r->blocks = (uint32_t *)(r->hashes + blocks);
	r->tokens = r->blocks + blocks;
	memcpy(r->tokens, in->tokens, in->token_count * sizeof(*r->tokens));
	bb_list_init(&r->touched);
	r->heap_index = NO_INDEX;
	r->prompt = in->token_count;
	r->output_count = output_count;
	r->reason = in->natural_count <= in->output_max ? SIM_FINISH_STOP : SIM_FINISH_LENGTH;
	r->slowness = in->slowness;
	r->ttft_ns = in->ttft_ns == SIM_ENGINE_TIME ? e->params.ttft_ns : in->ttft_ns;
	r->itl_ns = in->itl_ns == SIM_ENGINE_TIME ? e->params.itl_ns : in->itl_ns;
	r->cache_key = in->cache_key;
	r->writer = in->writer;
	r->user = in->user;
	return r;
}

int sim_engine_arrive(struct sim_engine *e, uint64_t now_ns, const struct sim_engine_request *in,
		      uint64_t *id)
{
	const uint32_t output_count =
		in->natural_count < in->output_max ? in->natural_count : in->output_max;

	BB_ASSERT(in->token_count > 0 && in->slowness >= 0);
	if ((uint64_t)in->token_count + output_count > sim_engine_tokens_max(e))
		return -BB_ELIMIT;
	if (e->free_slot_count == 0)
		return -BB_EBUSY;
	struct engine_request *r = request_create(e, in, output_count);
	if (!r)
		return -BB_ENOMEM;
	const uint32_t slot = e->free_slots[--e->free_slot_count];
	r->id = (uint64_t)++e->generation << 32 | (slot + 1);
	e->slots[slot] = r;
	bb_list_append(&e->waiting, &r->link);
	e->waiting_count++;
	*id = r->id;
	schedule(e, now_ns);
	return 0;
}

void sim_engine_abort(struct sim_engine *e, uint64_t now_ns, uint64_t id)
{
	const uint32_t slot = (uint32_t)id - 1;

	if (id == 0 || slot >= e->params.requests_max || !e->slots[slot] ||
	    e->slots[slot]->id != id)
		return;
	struct engine_request *r = e->slots[slot];
	if (r->heap_index != NO_INDEX) {
		publish(e, r);
		run_remove(e, r);
		drop_blocks(e, r);
	} else {
		bb_list_remove(&r->link);
		e->waiting_count--;
	}
	e->stats.aborted++;
	forget(e, r);
	schedule(e, now_ns);
}

int sim_engine_reset_cache(struct sim_engine *e)
{
	return sim_blocks_forget(e->kv) ? 0 : -BB_EBUSY;
}

/* ---- the engine ---- */

static void on_block_removed(void *ctx, uint64_t hash)
{
	struct sim_engine *e = ctx;

	e->ops->on_removed(e->ctx, hash);
}

int sim_engine_create(const struct sim_engine_params *params, const struct sim_engine_ops *ops,
		      void *ctx, struct sim_engine **out)
{
	BB_ASSERT(params->kv_blocks > 1 && params->block_size > 0);
	BB_ASSERT(params->seqs_max > 0 && params->requests_max > 0);
	struct sim_engine *e = bb_alloc_zero(1, sizeof(*e));
	if (!e)
		return -BB_ENOMEM;
	e->params = *params;
	e->ops = ops;
	e->ctx = ctx;
	bb_list_init(&e->waiting);
	bb_list_init(&e->running);
	bb_list_init(&e->touched);
	e->slots = bb_alloc_zero(params->requests_max, sizeof(*e->slots));
	e->free_slots = bb_alloc(params->requests_max * sizeof(*e->free_slots));
	e->heap = bb_alloc(params->seqs_max * sizeof(*e->heap));
	if (!e->slots || !e->free_slots || !e->heap)
		goto fail;
	if (sim_blocks_create(params->kv_blocks - 1, on_block_removed, e, &e->kv))
		goto fail;
	for (uint32_t i = params->requests_max; i-- > 0;)
		e->free_slots[e->free_slot_count++] = i;
	*out = e;
	return 0;

fail:
	sim_engine_destroy(e);
	return -BB_ENOMEM;
}

void sim_engine_destroy(struct sim_engine *e)
{
	if (!e)
		return;
	for (uint32_t i = 0; e->slots && e->free_slots && i < e->params.requests_max; i++)
		if (e->slots[i]) {
			bb_free(e->slots[i]->hashes);
			bb_free(e->slots[i]);
		}
	sim_blocks_destroy(e->kv);
	bb_free(e->slots);
	bb_free(e->free_slots);
	bb_free(e->heap);
	bb_free(e);
}

void sim_engine_stats(const struct sim_engine *e, struct sim_engine_stats *out)
{
	*out = e->stats;
	out->running = e->running_count;
	out->waiting = e->waiting_count;
	out->blocks = sim_blocks_count(e->kv);
	out->blocks_held = out->blocks - sim_blocks_free_count(e->kv);
	out->blocks_named = sim_blocks_named_count(e->kv);
}

uint64_t sim_engine_tokens_max(const struct sim_engine *e)
{
	return (uint64_t)sim_blocks_count(e->kv) * e->params.block_size;
}
