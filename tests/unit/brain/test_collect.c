/*
 * Goal: who may take a request is kept from one decision to the next, and whatever changes it is
 * seen: states, endpoints, ranks, bindings, plans, exclusions, models. A brain that keeps nothing
 * decides the same.
 */
#include "brain/brain_core.h" /* before the names of the world */

#include "world.h"

#include "base/hash.h"

#define ENGINES 8u
#define LIVE_MAX 40u
#define STEPS 60000u

enum keeping { KEEPS, KEEPS_NOTHING };

static struct request_id live[LIVE_MAX];
static uint32_t live_count;
static uint64_t digest, rejected, held_back;

static uint32_t below(struct bb_rng *rng, uint32_t bound)
{
	return (uint32_t)bb_rng_below(rng, bound);
}

static struct engine_id any_id(struct bb_rng *rng)
{
	return ids[below(rng, ENGINES)];
}

static void note(const void *what, size_t size)
{
	digest = bb_hash(what, size, digest);
}

static void report(struct bb_rng *rng)
{
	static const char *const names[] = { "m", "n" };
	const struct report_model m[2] = {
		{ .name = bb_str_of(names[below(rng, 2)]), .context_tokens = 4096 },
		{ .name = BB_STR("lora"), .context_tokens = 4096, .is_adapter = true },
	};
	const struct engine_report r = { .state = below(rng, 8) ? ENGINE_READY : ENGINE_DOWN,
					 .has_models = below(rng, 4) == 0,
					 .models = m,
					 .model_count = 1 + below(rng, 2),
					 .api_mask = below(rng, 4) ? 0 : 1 + below(rng, 7),
					 .dp_ranks = below(rng, 16) ? 0 : below(rng, 4),
					 .sequences_max = below(rng, 4) ? 16 : 0 };

	brain_engine_report(brain, now_ns, any_id(rng), &r);
}

static void plan(struct bb_rng *rng)
{
	assert_int_equal(world_listed(ENGINES - below(rng, 3)), 0);
	assert_int_equal(world_listed(ENGINES), 0);
}

static void decided(const struct decision *d)
{
	note(&d->action, sizeof(d->action));
	note(&d->engine, sizeof(d->engine));
	note(&d->rank, sizeof(d->rank));
	note(&d->candidates, sizeof(d->candidates));
	note(&d->cost, sizeof(d->cost));
	note(&d->next_cost, sizeof(d->next_cost));
	note(d->left_out, sizeof(d->left_out));
	note(&d->left_count, sizeof(d->left_count));
	for (uint32_t i = 0; i < d->left_count; i++)
		note(&d->left[i].engine, sizeof(d->left[i].engine));
	for (uint32_t i = 0; i < d->best_count; i++)
		note(&d->best[i].ttft_ms, sizeof(d->best[i].ttft_ms));
	note(d->served_name, strlen(d->served_name));
	rejected += d->action == DECISION_REJECT;
	held_back += d->action == DECISION_HOLD;
}

static void ask(struct bb_rng *rng)
{
	static const char *const names[] = { "m", "m", "m", "n", "lora" };
	const struct engine_id failed = any_id(rng);
	const struct brain_request r = { .model = bb_str_of(names[below(rng, 5)]),
					 .api = below(rng, 3),
					 .prompt_tokens = 10 + below(rng, 20000),
					 .output_tokens_max = 100,
					 .exclude = &failed,
					 .exclude_count = below(rng, 8) == 0,
					 .can_wait = below(rng, 2) == 0 };
	struct decision d;

	brain_request_arrived(brain, now_ns, &r, &d);
	decided(&d);
	if (d.action != DECISION_REJECT)
		live[live_count++] = d.request;
}

static void end(struct bb_rng *rng)
{
	const uint32_t k = below(rng, live_count);

	brain_first_token(brain, now_ns, live[k]);
	world_end(live[k], below(rng, 16) ? OUTCOME_OK : OUTCOME_REFUSED);
	live[k] = live[--live_count];
}

static void take_released(void)
{
	struct request_id id;
	struct decision d;
	uint64_t cookie;

	while (brain_released(brain, &id, &cookie)) {
		if (!brain_request_decision(brain, id, &d))
			continue;
		decided(&d);
		for (uint32_t i = 0; i < live_count && d.action == DECISION_REJECT; i++)
			if (live[i].slot == id.slot)
				live[i] = live[--live_count];
	}
}

static uint64_t run(const char *policy, enum keeping keeping)
{
	struct bb_rng rng;

	now_ns = 1000;
	live_count = 0;
	digest = rejected = held_back = 0;
	world_open(policy);
	world_ready(ENGINES);
	bb_rng_seed(&rng, 7);
	for (uint32_t i = 0; i < STEPS; i++) {
		const uint32_t what = below(&rng, 100);
		now_ns += below(&rng, 4000000);
		if (keeping == KEEPS_NOTHING)
			brain->fleet.version++;
		if (what < 4)
			report(&rng);
		else if (what == 4)
			brain_engine_lacks(brain, any_id(&rng), below(&rng, 3));
		else if (what == 5 && below(&rng, 8) == 0)
			plan(&rng);
		else if (what < 55 && live_count < LIVE_MAX)
			ask(&rng);
		else if (live_count)
			end(&rng);
		take_released();
	}
	world_close(NULL);
	return digest;
}

static void what_is_kept_is_what_holds(void **state)
{
	static const char *const policies[] = { "lookahead", "least_requests", "session" };

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		const uint64_t kept = run(policies[i], KEEPS);
		assert_true(kept == run(policies[i], KEEPS_NOTHING));
		assert_true(rejected > 0 && rejected < STEPS / 4);
	}
	assert_true(run("lookahead", KEEPS) && held_back > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_kept_is_what_holds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
