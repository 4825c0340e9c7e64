/*
 * closed_loads.h: the workloads of the closed loop.
 *
 * For: test_closed_loop. Requests arrive in the open at a mean rate, or as conversations.
 */
#pragma once

#include "closed_loop.h"

struct loads {
	double per_s;
	uint32_t jobs;
};

/* Conversations of 6 turns on average with one system prompt; `per_s` turns a second at first. */
static inline void chat(struct loop *s, struct loads load)
{
	double at_ms = 0;

	s->jobs_max = load.jobs;
	for (uint32_t i = 0; i < load.jobs / 6 + 1; i++) {
		struct loop_job j = { .shared = 1024, .conv = i + 1 };
		at_ms += loop_exp(s, 6000 / load.per_s);
		j.turns_left = (uint32_t)loop_exp(s, 5.5);
		j.prompt = 1224 + (uint32_t)loop_exp(s, 2000);
		j.output = 1 + (uint32_t)fmin(loop_exp(s, 250), 1500);
		loop_new_job(s, j, at_ms);
	}
	s->jobs_max = LOOP_JOBS;
}

static inline void arrive(struct loop *s, struct loads load,
			  void (*fill)(struct loop *s, struct loop_job *j))
{
	double at_ms = 0;

	for (uint32_t i = 0; i < load.jobs; i++) {
		struct loop_job j = { .conv = i + 1 };
		at_ms += loop_exp(s, 1000 / load.per_s);
		fill(s, &j);
		loop_new_job(s, j, at_ms);
	}
}

static inline void hot_job(struct loop *s, struct loop_job *j)
{
	j->shared = 4096;
	j->prompt = 4196 + (uint32_t)loop_exp(s, 200);
	j->output = 1 + (uint32_t)fmin(loop_exp(s, 200), 1000);
}

static inline void cold_job(struct loop *s, struct loop_job *j)
{
	j->prompt = 100 + (uint32_t)fmin(loop_exp(s, 1900), 30000);
	j->output = 1 + (uint32_t)fmin(loop_exp(s, 200), 1500);
}

static inline void mixed_job(struct loop *s, struct loop_job *j)
{
	const double u = bb_rng_unit(&s->rng);

	j->prompt = u < 0.85   ? 100 + (uint32_t)loop_exp(s, 200)
		    : u < 0.95 ? 15000 + (uint32_t)loop_exp(s, 5000)
			       : 300;
	j->output = u < 0.95 ? 1 + (uint32_t)loop_exp(s, 150) : 1500 + (uint32_t)loop_exp(s, 500);
}

/* 150 customers with a prefix of 6,000 tokens each. */
static inline void customer_job(struct loop *s, struct loop_job *j)
{
	j->prefix = 1 + (uint32_t)bb_rng_below(&s->rng, 150);
	j->shared = 6016;
	j->prompt = 6216 + (uint32_t)loop_exp(s, 1000);
	j->output = 1 + (uint32_t)fmin(loop_exp(s, 500), 4000);
}

/* Short questions, long answers. */
static inline void talk_job(struct loop *s, struct loop_job *j)
{
	j->prompt = 100 + (uint32_t)loop_exp(s, 150);
	j->output = 1 + (uint32_t)fmin(loop_exp(s, 900), 4000);
}

/* Among unique prompts now and then 32 to 95 within half a second that share a prefix new to all.
 */
static inline void bursts(struct loop *s, struct loads load)
{
	double at_ms = 0;
	uint32_t prefix = 100;

	while (s->job_count < load.jobs) {
		if (bb_rng_unit(&s->rng) >= 0.03) {
			struct loop_job j = { .conv = s->job_count + 1 };
			at_ms += loop_exp(s, 1000 / load.per_s);
			j.prompt = 100 + (uint32_t)loop_exp(s, 1400);
			j.output = 1 + (uint32_t)fmin(loop_exp(s, 200), 1500);
			loop_new_job(s, j, at_ms);
			continue;
		}
		const uint64_t count = 32 + bb_rng_below(&s->rng, 64);
		prefix++;
		for (uint64_t k = 0; k < count && s->job_count < load.jobs; k++) {
			struct loop_job j = { .prefix = prefix, .shared = 3072 };
			j.conv = s->job_count + 1;
			j.prompt = 3122 + (uint32_t)loop_exp(s, 200);
			j.output = 1 + (uint32_t)fmin(loop_exp(s, 150), 1500);
			loop_new_job(s, j, at_ms + 500 * bb_rng_unit(&s->rng));
		}
		at_ms += (double)count * 700 / load.per_s;
	}
}
