/*
 * closed_loop.h: lanes and policies before simulated engines on virtual time, for tests.
 *
 * For: test_closed_loop. An engine works as vLLM's V1 scheduler does: a step gives each stream a
 * token and spends what is left of its budget on prompts, in order, in chunks; prompts start when a
 * sequence and memory are free; whole blocks of prompts and answers stay cached until memory is
 * needed (least recently used first, tails before heads). Times are those of an 8B model on one
 * H100: a step takes max(compute of its tokens, reading weights and KV) + overhead. Clients are
 * arrivals in the open, or conversations whose next turn comes after the answer. The router knows
 * caches exactly. Not modelled: preemption, networks, delays of events.
 */
#pragma once

#include <math.h>
#include <stdlib.h>

#include "unit.h"

#include "brain/kinds.h"
#include "brain/policy/policy.h"
#include "brain/shares.h"

#define LOOP_ENGINES 8
#define LOOP_JOBS 8192
#define LOOP_SEQUENCES 256
#define LOOP_BUDGET 8192
#define LOOP_BLOCK 128
#define LOOP_BLOCKS 3125 /* 400,000 tokens */
#define LOOP_BUCKETS 4096
#define LOOP_PREFIXES 1024
#define LOOP_NONE UINT32_MAX

/* One prompt: `shared` tokens of prefix number `prefix`, then tokens of conversation `conv`. */
struct loop_job {
	struct lane_request row; /* the router's part */
	struct share_refs shares;
	double due_ms, first_ms, end_ms;
	uint32_t prefix, shared, conv, prompt, output;
	uint32_t engine, left, generated, pinned_blocks, cached;
	uint32_t turns_left; /* of the conversation */
};

struct loop_block {
	uint64_t hash;
	uint32_t next, older, newer; /* of the bucket; of the free ones by age */
	uint32_t pins;
};

struct loop_engine {
	struct loop_block blocks[LOOP_BLOCKS];
	uint32_t bucket[LOOP_BUCKETS], used, oldest, newest, pinned;
	uint32_t waiting[LOOP_JOBS], waiting_from, waiting_to;
	uint32_t running[LOOP_SEQUENCES],
		running_count; /* prompts first come first, then streams */
	uint32_t chunk[LOOP_SEQUENCES];
	bool is_busy;
	double begun_ms, step_ms, slowness;
	uint32_t steps;
	uint32_t coming[LOOP_PREFIXES]; /* requests that wait, by prefix: what will be cached */
	uint64_t tokens_cached, tokens_prompt, served;
};

struct loop_result {
	double mean, p50, p90, p99, e2e, reuse;
	uint32_t least_served, most_served;
};

/* An engine that does nothing for a while. */
struct loop_stall {
	uint32_t engine;
	double at_ms, ms;
};

struct loop {
	const struct policy *policy;
	struct loop_engine engines[LOOP_ENGINES];
	struct lane lanes[LOOP_ENGINES];
	uint32_t kind[LOOP_ENGINES];
	struct kinds *kinds;
	struct shares *shares;
	struct lane_lengths lengths;
	struct loop_job jobs[LOOP_JOBS];
	uint32_t job_count, jobs_max;
	uint32_t future[LOOP_JOBS], future_count; /* a heap by due_ms */
	uint32_t conv_count;
	uint64_t sequence;
	struct loop_stall stall;
	double now_ms;
	struct bb_rng rng, policy_rng;
};

static inline struct lane_request *loop_row(void *table, uint32_t row)
{
	return &((struct loop *)table)->jobs[row].row;
}

static inline struct lane_table loop_table(struct loop *s)
{
	return (struct lane_table){ loop_row, s };
}

static inline uint64_t loop_ns(double ms)
{
	return 1000000000ull + (uint64_t)(ms * 1e6);
}

static inline double loop_exp(struct loop *s, double mean)
{
	return -mean * log(1 - bb_rng_unit(&s->rng));
}

/* ---- the prefix cache ---- */

static inline uint64_t loop_hash(const struct loop_job *j, uint32_t block)
{
	const uint64_t end = (uint64_t)(block + 1) * LOOP_BLOCK;
	const uint64_t of = end <= j->shared ? j->prefix * 2ull + 1 : j->conv * 2ull + (1ull << 40);

	return (of * 0x9e3779b97f4a7c15 + block) * 0xff51afd7ed558ccd | 1;
}

static inline uint32_t loop_find(const struct loop_engine *e, uint64_t hash)
{
	uint32_t i = e->bucket[hash >> 52];

	while (i != LOOP_NONE && e->blocks[i].hash != hash)
		i = e->blocks[i].next;
	return i;
}

static inline void loop_age_unlink(struct loop_engine *e, uint32_t i)
{
	struct loop_block *b = &e->blocks[i];

	*(b->older == LOOP_NONE ? &e->oldest : &e->blocks[b->older].newer) = b->newer;
	*(b->newer == LOOP_NONE ? &e->newest : &e->blocks[b->newer].older) = b->older;
}

static inline void loop_age_append(struct loop_engine *e, uint32_t i)
{
	e->blocks[i].older = e->newest;
	e->blocks[i].newer = LOOP_NONE;
	*(e->newest == LOOP_NONE ? &e->oldest : &e->blocks[e->newest].newer) = i;
	e->newest = i;
}

static inline void loop_unpin(struct loop_engine *e, uint64_t hash)
{
	const uint32_t i = loop_find(e, hash);

	if (--e->blocks[i].pins)
		return;
	e->pinned--;
	loop_age_append(e, i);
}

/* Finds or makes the block and holds it; false when all memory is held. */
static inline bool loop_pin(struct loop_engine *e, uint64_t hash)
{
	uint32_t i = loop_find(e, hash);

	if (i != LOOP_NONE) {
		if (!e->blocks[i].pins++) {
			loop_age_unlink(e, i);
			e->pinned++;
		}
		return true;
	}
	if (e->used < LOOP_BLOCKS) {
		i = e->used++;
	} else {
		i = e->oldest;
		if (i == LOOP_NONE)
			return false;
		loop_age_unlink(e, i);
		uint32_t *link = &e->bucket[e->blocks[i].hash >> 52];
		while (*link != i)
			link = &e->blocks[*link].next;
		*link = e->blocks[i].next;
	}
	e->blocks[i] =
		(struct loop_block){ .hash = hash, .pins = 1, .next = e->bucket[hash >> 52] };
	e->bucket[hash >> 52] = i;
	e->pinned++;
	return true;
}

static inline uint32_t loop_cached(const struct loop_engine *e, const struct loop_job *j)
{
	uint32_t n = 0;

	while ((n + 1) * LOOP_BLOCK < j->prompt && loop_find(e, loop_hash(j, n)) != LOOP_NONE)
		n++;
	return n * LOOP_BLOCK;
}

/* What the router counts as cached: what is there, and what a request under way will leave. */
static inline uint32_t loop_known(const struct loop_engine *e, const struct loop_job *j)
{
	const uint32_t cached = loop_cached(e, j), coming = j->shared / LOOP_BLOCK * LOOP_BLOCK;

	return cached < coming && e->coming[j->prefix % LOOP_PREFIXES] ? coming : cached;
}

/* ---- an engine ---- */

static inline bool loop_admit(struct loop *s, struct loop_engine *e, uint32_t job)
{
	struct loop_job *j = &s->jobs[job];
	const uint32_t blocks = j->prompt / LOOP_BLOCK;

	if (e->pinned && e->pinned + blocks + e->running_count * 2 > LOOP_BLOCKS)
		return false;
	j->cached = loop_cached(e, j);
	j->left = j->prompt - j->cached;
	for (j->pinned_blocks = 0; j->pinned_blocks < blocks; j->pinned_blocks++)
		if (!loop_pin(e, loop_hash(j, j->pinned_blocks)))
			break;
	e->tokens_cached += j->cached;
	e->tokens_prompt += j->prompt;
	e->running[e->running_count++] = job;
	return true;
}

/* Begins the next step, or as many as give only tokens to streams. */
static inline void loop_step(struct loop *s, struct loop_engine *e)
{
	uint32_t streams = 0, prompts = 0, fewest = UINT32_MAX;
	double kv = 0;

	for (uint32_t i = 0; i < e->running_count; i++) {
		const struct loop_job *j = &s->jobs[e->running[i]];
		if (j->left)
			continue;
		streams++;
		kv += j->prompt + j->generated;
		if (j->output - j->generated < fewest)
			fewest = j->output - j->generated;
	}
	uint32_t budget = LOOP_BUDGET - streams;
	for (uint32_t i = 0; budget; i++) {
		if (i == e->running_count) {
			if (e->waiting_from == e->waiting_to || i == LOOP_SEQUENCES ||
			    !loop_admit(s, e, e->waiting[e->waiting_from % LOOP_JOBS]))
				break;
			e->coming[s->jobs[e->running[i]].prefix % LOOP_PREFIXES]--;
			e->waiting_from++;
		}
		const uint32_t left = s->jobs[e->running[i]].left;
		e->chunk[i] = left < budget ? left : budget;
		budget -= e->chunk[i];
		prompts += e->chunk[i];
		if (left)
			kv += s->jobs[e->running[i]].prompt - left;
	}
	e->is_busy = e->running_count > 0;
	if (!e->is_busy)
		return;
	e->steps = prompts ? 1 : fewest;
	kv += 0.5 * e->steps * streams;
	const double compute = 0.0295 * (prompts + streams), memory = 6.0 + 4.9e-5 * kv;
	e->step_ms =
		((compute > memory ? compute : memory) + 2.5 + 0.01 * (streams + 1)) * e->slowness;
	e->begun_ms = s->now_ms;
	if (s->stall.ms && s->now_ms >= s->stall.at_ms && e == &s->engines[s->stall.engine]) {
		e->begun_ms += s->stall.ms;
		s->stall.ms = 0;
	}
}

static inline double loop_end_ms(const struct loop_engine *e)
{
	return e->is_busy ? e->begun_ms + e->steps * e->step_ms : INFINITY;
}

/* A new prompt need not wait for more than the step under way. */
static inline void loop_interrupt(const struct loop *s, struct loop_engine *e)
{
	const double done = ceil((s->now_ms - e->begun_ms) / e->step_ms);

	if (e->is_busy && done < e->steps)
		e->steps = done < 1 ? 1 : (uint32_t)done;
}

static inline void loop_due(struct loop *s, uint32_t job, double due_ms)
{
	uint32_t at = s->future_count++;

	s->jobs[job].due_ms = due_ms;
	for (; at && s->jobs[s->future[(at - 1) / 2]].due_ms > due_ms; at = (at - 1) / 2)
		s->future[at] = s->future[(at - 1) / 2];
	s->future[at] = job;
}

static inline uint32_t loop_pop(struct loop *s)
{
	const uint32_t top = s->future[0], last = s->future[--s->future_count];
	const double due_ms = s->jobs[last].due_ms;
	uint32_t at = 0;

	for (uint32_t k = 1; k < s->future_count; k = 2 * at + 1) {
		k += k + 1 < s->future_count &&
		     s->jobs[s->future[k + 1]].due_ms < s->jobs[s->future[k]].due_ms;
		if (s->jobs[s->future[k]].due_ms >= due_ms)
			break;
		s->future[at] = s->future[k];
		at = k;
	}
	s->future[at] = last;
	return top;
}

static inline uint32_t loop_new_job(struct loop *s, struct loop_job j, double due_ms)
{
	if (s->job_count == s->jobs_max)
		return LOOP_NONE;
	s->jobs[s->job_count] = j;
	loop_due(s, s->job_count, due_ms);
	return s->job_count++;
}

/* The answer is there: it stays cached, and in a while the conversation goes on. */
static inline void loop_finish(struct loop *s, struct loop_engine *e, uint32_t job)
{
	struct loop_job *j = &s->jobs[job];
	struct loop_job whole = *j;
	const struct lane_table t = loop_table(s);
	uint32_t blocks = j->pinned_blocks;

	whole.prompt += j->output;
	while (blocks < whole.prompt / LOOP_BLOCK && loop_pin(e, loop_hash(&whole, blocks)))
		blocks++;
	while (blocks)
		loop_unpin(e, loop_hash(&whole, --blocks));
	j->end_ms = s->now_ms;
	e->served++;
	lane_progress(&s->lanes[j->engine], &t, job, loop_ns(s->now_ms), j->output);
	lane_remove(&s->lanes[j->engine], &t, job, loop_ns(s->now_ms), LANE_FINISHED);
	lane_hold(&s->lanes[j->engine], -(int64_t)shares_give(s->shares, &j->shares));
	if (!j->turns_left)
		return;
	struct loop_job next = { .prefix = j->prefix, .shared = j->shared, .conv = j->conv };
	next.turns_left = j->turns_left - 1;
	next.prompt = whole.prompt + 30 + (uint32_t)loop_exp(s, 150);
	next.output = 1 + (uint32_t)fmin(loop_exp(s, 250), 1500);
	loop_new_job(s, next, s->now_ms + 1000 + loop_exp(s, 3000));
}

/* What the step has brought. */
static inline void loop_stepped(struct loop *s, uint32_t at)
{
	struct loop_engine *e = &s->engines[at];
	const struct lane_table t = loop_table(s);
	struct lane *l = &s->lanes[at];
	uint32_t kept = 0;

	for (uint32_t i = 0; i < e->running_count; i++) {
		const uint32_t job = e->running[i];
		struct loop_job *j = &s->jobs[job];
		const uint32_t chunk = j->left ? e->chunk[i] : 0;
		if (j->left && (j->left -= chunk) == 0) {
			j->first_ms = s->now_ms;
			j->generated = 1;
			lane_first_token(l, &t, job, loop_ns(s->now_ms));
			s->kind[at] = kinds_review(s->kinds, l, s->kind[at]);
		} else if (!j->left) {
			j->generated += e->steps;
			if (j->generated - j->row.generated >= 16)
				lane_progress(l, &t, job, loop_ns(s->now_ms), j->generated);
		}
		e->chunk[i] = 0;
		if (!j->left && j->generated >= j->output)
			loop_finish(s, e, job);
		else
			e->running[kept++] = job;
	}
	e->running_count = kept;
	loop_step(s, e);
}

/* ---- the router ---- */

static inline void loop_send(struct loop *s, uint32_t job, uint32_t at, uint32_t cached)
{
	struct loop_job *j = &s->jobs[job];
	struct loop_engine *e = &s->engines[at];
	const struct lane_table t = loop_table(s);
	static uint64_t hashes[LOOP_BLOCKS];

	j->engine = at;
	j->row = (struct lane_request){ .prompt_tokens = j->prompt,
					.uncached = j->prompt - cached,
					.pinned = j->prompt - cached,
					.output_max = UINT32_MAX };
	for (uint32_t i = 0; i < cached / LOOP_BLOCK; i++)
		hashes[i] = loop_hash(j, i);
	lane_hold(&s->lanes[at],
		  shares_take(s->shares, at, hashes, cached / LOOP_BLOCK, cached, &j->shares));
	lane_add(&s->lanes[at], &t, job, loop_ns(s->now_ms));
	e->waiting[e->waiting_to++ % LOOP_JOBS] = job;
	e->coming[j->prefix % LOOP_PREFIXES]++;
	s->sequence++;
	if (e->is_busy)
		loop_interrupt(s, e);
	else
		loop_step(s, e);
}

/* The engine that the policy takes. */
static inline uint32_t loop_choose(struct loop *s, uint32_t job, uint32_t *promised,
				   uint32_t *cached)
{
	static double ttft_ms[LOOP_ENGINES], total_ms[LOOP_ENGINES];
	struct lane *lane[LOOP_ENGINES];
	uint32_t slot[LOOP_ENGINES], requests[LOOP_ENGINES], lora[LOOP_ENGINES] = { 0 };
	uint64_t tokens[LOOP_ENGINES], pending[LOOP_ENGINES], identity[LOOP_ENGINES];
	double cost[LOOP_ENGINES];
	const struct loop_job *j = &s->jobs[job];
	const uint64_t prefix = loop_hash(j, 0);
	double next_cost;

	for (uint32_t i = 0; i < LOOP_ENGINES; i++) {
		const struct lane *l = lane[i] = &s->lanes[i];
		slot[i] = i;
		requests[i] = l->requests;
		tokens[i] = l->kv_tokens + (uint64_t)l->residual;
		pending[i] = l->pending;
		cached[i] = s->policy->uses_cache ? loop_known(&s->engines[i], j) : 0;
		identity[i] = (i + 1) * 0x9e3779b97f4a7c15;
	}
	const struct candidates c = { LOOP_ENGINES, slot,     lane, requests, tokens, pending,
				      cached,	    promised, lora, identity, ttft_ms, total_ms };
	const struct policy_input in = { .now_ns = loop_ns(s->now_ms),
					 .prompt_tokens = j->prompt,
					 .output_max = UINT32_MAX,
					 .model_sequence = s->sequence,
					 .hashes = &prefix,
					 .hash_count = 1,
					 .block_tokens = LOOP_BLOCK,
					 .session = j->conv + 1,
					 .rng = &s->policy_rng };
	s->policy->score(&c, &in, cost);
	return policy_pick(cost, LOOP_ENGINES, &s->policy_rng, &next_cost);
}

static inline void loop_arrived(struct loop *s, uint32_t job)
{
	uint32_t promised[LOOP_ENGINES] = { 0 }, cached[LOOP_ENGINES];

	const uint32_t at = loop_choose(s, job, promised, cached);
	loop_send(s, job, at, loop_known(&s->engines[at], &s->jobs[job]));
}

/* ---- a run ---- */

static inline struct loop *loop_create(const char *policy, uint64_t seed)
{
	struct loop *s = test_calloc(1, sizeof(*s));

	s->policy = policy_find(policy);
	s->jobs_max = LOOP_JOBS;
	bb_rng_seed(&s->rng, seed);
	bb_rng_seed(&s->policy_rng, seed + 1);
	lane_lengths_init(&s->lengths);
	assert_int_equal(kinds_create(&s->kinds), 0);
	assert_int_equal(shares_create(&s->shares), 0);
	for (uint32_t i = 0; i < LOOP_ENGINES; i++) {
		struct loop_engine *e = &s->engines[i];
		const struct kind_key key = { .sequences_max = LOOP_SEQUENCES };
		memset(e->bucket, 0xff, sizeof(e->bucket));
		e->oldest = e->newest = LOOP_NONE;
		e->slowness = 1;
		s->kind[i] = kinds_get(s->kinds, &key);
		lane_init(&s->lanes[i], kinds_rates(s->kinds, s->kind[i]), &s->lengths);
		lane_set_limits(&s->lanes[i], LOOP_SEQUENCES, LOOP_BLOCKS * LOOP_BLOCK, 0);
	}
	return s;
}

static inline void loop_run(struct loop *s)
{
	for (;;) {
		uint32_t at = LOOP_NONE;
		double next_ms = s->future_count ? s->jobs[s->future[0]].due_ms : INFINITY;
		for (uint32_t i = 0; i < LOOP_ENGINES; i++) {
			if (loop_end_ms(&s->engines[i]) < next_ms) {
				next_ms = loop_end_ms(&s->engines[i]);
				at = i;
			}
		}
		if (next_ms == INFINITY)
			return;
		s->now_ms = next_ms;
		if (at == LOOP_NONE)
			loop_arrived(s, loop_pop(s));
		else
			loop_stepped(s, at);
	}
}

static inline int loop_compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Over all but the first tenth; everything must have ended. */
static inline struct loop_result loop_result(struct loop *s)
{
	static double ttft[LOOP_JOBS];
	struct loop_result r = { .least_served = UINT32_MAX };
	uint64_t cached = 0, prompt = 0;
	uint32_t n = 0;

	for (uint32_t i = s->job_count / 10; i < s->job_count; i++) {
		assert_true(s->jobs[i].end_ms > 0);
		ttft[n] = s->jobs[i].first_ms - s->jobs[i].due_ms;
		r.mean += ttft[n++];
		r.e2e += s->jobs[i].end_ms - s->jobs[i].due_ms;
	}
	qsort(ttft, n, sizeof(*ttft), loop_compare);
	for (uint32_t i = 0; i < LOOP_ENGINES; i++) {
		const struct loop_engine *e = &s->engines[i];
		cached += e->tokens_cached;
		prompt += e->tokens_prompt;
		r.least_served = e->served < r.least_served ? (uint32_t)e->served : r.least_served;
		r.most_served = e->served > r.most_served ? (uint32_t)e->served : r.most_served;
	}
	r.mean /= n, r.e2e /= n;
	r.p50 = ttft[n / 2], r.p90 = ttft[n * 9 / 10], r.p99 = ttft[n * 99 / 100];
	r.reuse = (double)cached / (double)prompt;
	return r;
}

static inline void loop_destroy(struct loop *s)
{
	for (uint32_t i = 0; i < LOOP_ENGINES; i++) {
		const struct lane *l = &s->lanes[i];
		assert_int_equal(l->requests + l->pending + l->kv_tokens + l->unique_tokens, 0);
		assert_int_equal(l->residual + l->generated + l->waiting_prompts, 0);
	}
	kinds_destroy(s->kinds);
	shares_destroy(s->shares);
	test_free(s);
}
