/*
 * world.h: a brain with a few engines, for tests.
 *
 * For: tests of the brain: short ways to make plans, let engines report, send and end requests.
 */
#pragma once

#include "unit.h"

#include "brain/brain.h"

#define WORLD_ENGINES 16
#define CHAT 0u

#define WORLD_LIMITS(engines, models, requests)                                                    \
	((struct brain_limits){ .engines_max = (engines),                                          \
				.models_max = (models),                                            \
				.requests_max = (requests) })

static struct brain *brain;
static struct engine_id ids[WORLD_ENGINES];
static uint64_t now_ns = 1000;

static inline int world_open_with(uint64_t seed, const char *policy, struct brain_limits limits)
{
	const struct brain_config c = { .seed = seed, .policy = policy, .limits = limits };

	memset(ids, 0, sizeof(ids));
	return brain_create(&c, &brain);
}

static inline void world_open(const char *policy)
{
	assert_int_equal(world_open_with(1, policy, WORLD_LIMITS(16, 32, 1000)), 0);
}

static inline int world_close(void **state)
{
	brain_destroy(brain);
	brain = NULL;
	return 0;
}

/* A plan of engines "e0" … that serve whatever they list. */
static inline int world_listed(uint32_t count)
{
	static char names[WORLD_ENGINES][16];
	static struct plan_engine engines[WORLD_ENGINES];

	for (uint32_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "e%u", i);
		engines[i] = (struct plan_engine){ .name = bb_str_of(names[i]), .serves_listed = true };
	}
	const struct plan p = { .engines = engines, .engine_count = count };
	return brain_configure(brain, now_ns, &p, ids);
}

static inline bool world_report(struct engine_id id, enum engine_state s, const char *model)
{
	const struct report_model m = { .name = bb_str_of(model), .context_tokens = 4096 };
	const struct engine_report r = {
		.state = s, .has_models = model != NULL, .models = &m, .model_count = 1
	};

	return brain_engine_report(brain, now_ns, id, &r);
}

/* `count` ready engines, all of which serve "m". */
static inline void world_ready(uint32_t count)
{
	assert_int_equal(world_listed(count), 0);
	for (uint32_t i = 0; i < count; i++)
		world_report(ids[i], ENGINE_READY, "m");
}

static inline struct decision world_ask(const char *model, uint64_t prompt_tokens)
{
	struct decision d;
	const struct brain_request r = { .model = bb_str_of(model),
					 .api = CHAT,
					 .prompt_tokens = prompt_tokens,
					 .output_tokens_max = 100 };

	memset(&d, 0xa5, sizeof(d)); /* whatever it says must have been written */
	brain_request_arrived(brain, now_ns, &r, &d);
	return d;
}

static inline void world_end(struct request_id id, enum request_outcome o)
{
	const struct request_result r = { .outcome = o };

	brain_request_ended(brain, now_ns, id, &r);
}

static inline struct engine_view world_view(struct engine_id id)
{
	struct engine_view v = { 0 };

	assert_true(brain_engine_view(brain, id, &v));
	return v;
}
