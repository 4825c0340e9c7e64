/*
 * Goal: plans, what engines list, aliases and "*" give the right bindings; plans come into force as
 * a whole or not at all; ids of engines that left are harmless.
 */
#include "world.h"

#include "base/alloc.h"

static struct model_view found;
static bool is_found;
static const char *wanted;

static void look(void *user, const struct model_view *v)
{
	if (strcmp(v->name, wanted) == 0) {
		found = *v;
		is_found = true;
	}
}

static bool has_model(const char *name)
{
	wanted = name;
	is_found = false;
	brain_models_each(brain, look, NULL);
	return is_found && found.is_listed;
}

static void count_engine(void *user, const struct engine_view *v)
{
	++*(unsigned *)user;
}

static unsigned engines_shown(void)
{
	unsigned n = 0;

	brain_engines_each(brain, count_engine, &n);
	return n;
}

/* Two engines of the plan: "m" on both with an alias, "n" on the second under another name. */
static int plan_two_models(void)
{
	static const uint32_t both[] = { 0, 1 }, second[] = { 1 };
	static const struct bb_str aliases[] = { BB_STR_INIT("gpt-4o"), BB_STR_INIT("big") };
	static const struct plan_engine engines[] = { { .name = BB_STR_INIT("http://a") },
						      { .name = BB_STR_INIT("http://b") } };
	static const struct plan_model models[] = {
		{ .name = BB_STR_INIT("m"), .aliases = aliases, .alias_count = 2, .engines = both,
		  .engine_count = 2 },
		{ .name = BB_STR_INIT("n"), .engines = second, .engine_count = 1,
		  .served_name = BB_STR_INIT("org/n-fp8") },
	};
	const struct plan p = { engines, 2, models, 2, NULL };

	return brain_configure(brain, now_ns, &p, ids);
}

static void planned_models_and_their_names(void **state)
{
	world_open("round_robin");
	assert_int_equal(plan_two_models(), 0);
	assert_int_equal(world_ask("m", 1).error, -BB_ENOENGINE); /* known, nobody is ready */
	world_report(ids[0], ENGINE_READY, "m");
	world_report(ids[1], ENGINE_READY, "other");
	struct decision d = world_ask("gpt-4o", 1);
	assert_string_equal(d.model_name, "m");
	assert_int_equal(d.engines, 2);
	/* the engine's only model is taken to be the planned one, under the engine's name */
	const char *served[2] = { d.served_name, NULL };
	struct decision e = world_ask("big", 1);
	served[1] = e.served_name;
	const bool a_first = engine_id_is(d.engine, ids[0]);
	assert_string_equal(served[!a_first], "m");
	assert_string_equal(served[a_first], "other");
	d = world_ask("n", 1);
	assert_true(engine_id_is(d.engine, ids[1]));
	assert_string_equal(d.served_name, "org/n-fp8");
	/* not from `engines:`: what it lists cannot be asked for */
	assert_int_equal(world_ask("other", 1).error, -BB_ENOMODEL);
	assert_true(has_model("m") && found.alias_count == 2);
	assert_int_equal(found.engines, 2);
	assert_int_equal(found.context_tokens, 4096);
	assert_false(has_model("other"));
	assert_string_equal(brain_model_engine(brain, found.index, 0), "http://a");
	assert_null(brain_model_engine(brain, found.index, 99));
	assert_null(brain_model_engine(brain, 9999, 0));
}

static void listed_models_come_and_go(void **state)
{
	world_open(NULL);
	assert_int_equal(world_listed(2), 0);
	assert_true(world_report(ids[0], ENGINE_READY, "a"));
	assert_true(world_report(ids[1], ENGINE_READY, "b"));
	assert_true(engine_id_is(world_ask("a", 1).engine, ids[0]));
	assert_true(engine_id_is(world_ask("b", 1).engine, ids[1]));
	assert_true(world_report(ids[0], ENGINE_READY, "b"));
	assert_int_equal(world_ask("a", 1).error, -BB_ENOMODEL);
	assert_false(has_model("a"));
	assert_true(has_model("b") && found.engines == 2);
	assert_true(world_report(ids[0], ENGINE_READY, "a"));
	assert_true(has_model("a"));
	const struct engine_report nothing = { .state = ENGINE_READY, .has_models = true };
	assert_true(brain_engine_report(brain, now_ns, ids[0], &nothing));
	assert_false(has_model("a"));
}

static void an_engine_may_be_limited_to_some_models(void **state)
{
	static const struct bb_str only[] = { BB_STR_INIT("a"), BB_STR_INIT("c") };
	static const struct plan_engine engine = { .name = BB_STR_INIT("http://a"), .models = only,
						   .model_count = 2, .serves_listed = true };
	const struct plan p = { .engines = &engine, .engine_count = 1 };
	const struct report_model listed[] = { { .name = BB_STR("a"), .context_tokens = 0 }, { .name = BB_STR("b"), .context_tokens = 0 }, { .name = BB_STR("c"), .context_tokens = 7 } };
	const struct engine_report r = { .state = ENGINE_READY, .has_models = true, .models = listed,
					 .model_count = 3 };

	world_open(NULL);
	assert_int_equal(brain_configure(brain, now_ns, &p, ids), 0);
	assert_true(brain_engine_report(brain, now_ns, ids[0], &r));
	assert_int_equal(world_ask("a", 1).action, DECISION_DISPATCH);
	assert_int_equal(world_ask("b", 1).error, -BB_ENOMODEL);
	assert_int_equal(world_ask("c", 1).action, DECISION_DISPATCH);
}

static void a_star_catches_every_other_name(void **state)
{
	static const uint32_t zero[] = { 0 };
	static const struct bb_str star[] = { BB_STR_INIT("*") };
	static const struct plan_engine engine = { .name = BB_STR_INIT("http://a"), .serves_listed = true };
	static const struct plan_model model = { .name = BB_STR_INIT("m"), .aliases = star,
						 .alias_count = 1, .engines = zero, .engine_count = 1 };
	const struct plan p = { &engine, 1, &model, 1, NULL };
	const struct report_model listed[] = { { .name = BB_STR("m"), .context_tokens = 0 }, { .name = BB_STR("b"), .context_tokens = 0 } };
	const struct engine_report r = { .state = ENGINE_READY, .has_models = true, .models = listed,
					 .model_count = 2 };

	world_open(NULL);
	assert_int_equal(brain_configure(brain, now_ns, &p, ids), 0);
	brain_engine_report(brain, now_ns, ids[0], &r);
	assert_string_equal(world_ask("gpt-9", 1).model_name, "m");
	assert_string_equal(world_ask("b", 1).model_name, "b");
	assert_string_equal(world_ask("", 1).model_name, "m");
}

static void a_name_wins_over_an_alias(void **state)
{
	static const uint32_t zero[] = { 0 };
	static const struct bb_str alias[] = { BB_STR_INIT("b") };
	static const struct plan_engine engine = { .name = BB_STR_INIT("http://a"), .serves_listed = true };
	static const struct plan_model model = { .name = BB_STR_INIT("m"), .aliases = alias,
						 .alias_count = 1, .engines = zero, .engine_count = 1,
						 .served_name = BB_STR_INIT("m") };
	const struct plan p = { &engine, 1, &model, 1, NULL };

	world_open(NULL);
	assert_int_equal(brain_configure(brain, now_ns, &p, ids), 0);
	world_report(ids[0], ENGINE_READY, "m");
	assert_string_equal(world_ask("b", 1).model_name, "m");
	world_report(ids[0], ENGINE_READY, "b");
	assert_string_equal(world_ask("b", 1).model_name, "b");
}

static void a_new_plan_leaves_requests_alone(void **state)
{
	struct engine_id old[2];

	world_open(NULL);
	world_ready(2);
	old[0] = ids[0];
	old[1] = ids[1];
	const struct decision d = world_ask("m", 10), e = world_ask("m", 10);
	assert_int_equal(world_listed(1), 0); /* e1 leaves */
	assert_true(engine_id_is(ids[0], old[0])); /* e0 stays who it was, with its load */
	assert_int_equal(world_view(old[0]).requests, 1);
	assert_int_equal(world_view(old[1]).state, ENGINE_GONE);
	assert_int_equal(engines_shown(), 2); /* until its request ends */
	for (int i = 0; i < 5; i++)
		assert_true(engine_id_is(world_ask("m", 1).engine, ids[0]));
	world_report(old[1], ENGINE_READY, "m"); /* a late probe does not bring it back */
	assert_int_equal(world_view(old[1]).state, ENGINE_GONE);
	world_end(d.request, OUTCOME_OK);
	world_end(e.request, OUTCOME_REFUSED);
	assert_int_equal(engines_shown(), 1);
	assert_int_equal(world_listed(2), 0); /* it returns: same name, same slot, unproved */
	assert_true(engine_id_is(ids[1], old[1]));
	assert_int_equal(world_view(ids[1]).state, ENGINE_STARTING);
}

static void slots_of_gone_engines_are_reused_and_old_ids_are_stale(void **state)
{
	static char name[32];
	struct engine_view v;
	struct engine_id first = { 0 }, busy = { 0 };
	struct request_id in_flight = { 0 };

	world_open(NULL);
	for (unsigned i = 0; i < 200; i++) { /* 16 slots, 200 names */
		snprintf(name, sizeof(name), "http://%u", i);
		const struct plan_engine engine = { .name = bb_str_of(name), .serves_listed = true };
		const struct plan p = { .engines = &engine, .engine_count = 1 };
		assert_int_equal(brain_configure(brain, now_ns, &p, ids), 0);
		world_report(ids[0], ENGINE_READY, "m");
		const struct decision d = world_ask("m", 5);
		assert_true(engine_id_is(d.engine, ids[0]));
		if (i == 3) { /* this one keeps its request, so its slot must not be taken */
			busy = ids[0];
			in_flight = d.request;
		} else {
			world_end(d.request, OUTCOME_OK);
		}
		if (i == 0)
			first = ids[0];
	}
	assert_false(brain_engine_view(brain, first, &v));
	assert_false(world_report(first, ENGINE_READY, "ghost"));
	brain_engine_lacks(brain, first, CHAT);
	assert_true(brain_engine_view(brain, busy, &v));
	assert_int_equal(v.requests, 1);
	assert_string_equal(v.name, "http://3");
	world_end(in_flight, OUTCOME_OK);
	assert_int_equal(brain_requests_in_flight(brain), 0);
	assert_false(brain_engine_view(brain, (struct engine_id){ UINT32_MAX, 1 }, &v));
	assert_false(brain_engine_view(brain, (struct engine_id){ 0 }, &v));
}

static void a_plan_that_does_not_fit_changes_nothing(void **state)
{
	static struct plan_engine engines[20];
	static char names[20][16];
	const struct plan p = { .engines = engines, .engine_count = 20, .policy = "random" };
	struct engine_id too_many[20];

	world_open("round_robin");
	assert_int_equal(plan_two_models(), 0);
	world_report(ids[0], ENGINE_READY, "m");
	for (unsigned i = 0; i < 20; i++) {
		snprintf(names[i], sizeof(names[i]), "http://n%u", i);
		engines[i] = (struct plan_engine){ .name = bb_str_of(names[i]) };
	}
	assert_int_equal(brain_configure(brain, now_ns, &p, too_many), -BB_ELIMIT);
	assert_string_equal(brain_policy(brain), "round_robin");
	assert_int_equal(engines_shown(), 2);
	assert_int_equal(world_view(ids[0]).state, ENGINE_READY);
	assert_int_equal(world_ask("gpt-4o", 1).action, DECISION_DISPATCH);
	assert_true(has_model("n"));
	/* and a plan that fits has room: what was claimed was given back */
	const struct plan fits = { .engines = engines, .engine_count = 14 };
	assert_int_equal(brain_configure(brain, now_ns, &fits, too_many), 0);
	assert_int_equal(engines_shown(), 15); /* one still has its request */
}

/* An empty name is that of the only model; of several it is none's. */
static void the_only_model_needs_no_name(void **state)
{
	world_open("round_robin");
	assert_int_equal(world_ask("", 1).error, -BB_ENOMODEL);
	assert_int_equal(world_listed(2), 0);
	world_ready(2);
	assert_string_equal(world_ask("", 1).model_name, "m");
	assert_int_equal(plan_two_models(), 0);
	world_report(ids[0], ENGINE_READY, "m");
	assert_int_equal(world_ask("", 1).error, -BB_ENOMODEL);
}

/* Every allocation of a change of plans fails in turn: the old plan is in force, to the last alias. */
static void no_memory_for_a_plan_changes_nothing(void **state)
{
	static const uint32_t zero[] = { 0 };
	static const struct bb_str only[] = { BB_STR_INIT("x"), BB_STR_INIT("y") };
	static const struct bb_str aliases[] = { BB_STR_INIT("z") };
	static const struct plan_engine engines[] = {
		{ .name = BB_STR_INIT("http://c"), .models = only, .model_count = 2, .serves_listed = true },
		{ .name = BB_STR_INIT("http://a"), .models = only, .model_count = 2, .serves_listed = true },
	};
	static const struct plan_model models[] = {
		{ .name = BB_STR_INIT("q"), .aliases = aliases, .alias_count = 1, .engines = zero,
		  .engine_count = 1, .served_name = BB_STR_INIT("qq") },
		{ .name = BB_STR_INIT("m"), .engines = zero, .engine_count = 1 },
	};
	const struct plan p = { engines, 2, models, 2, NULL };
	uint64_t nth = 1;

	world_open("round_robin");
	assert_int_equal(plan_two_models(), 0);
	world_report(ids[0], ENGINE_READY, "m");
	world_report(ids[1], ENGINE_READY, "m");
	for (;; nth++) {
		struct engine_id other[2];
		bb_alloc_fail_at(nth, BB_FAIL_FOREVER);
		const int rc = brain_configure(brain, now_ns, &p, other);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (rc == 0)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
		assert_int_equal(engines_shown(), 2);
		const struct decision d = world_ask("gpt-4o", 1);
		assert_string_equal(d.model_name, "m");
		assert_int_equal(d.candidates, 2);
		world_end(d.request, OUTCOME_OK);
		assert_string_equal(world_ask("n", 1).served_name, "org/n-fp8");
		assert_int_equal(world_ask("q", 1).error, -BB_ENOMODEL);
		assert_int_equal(world_ask("z", 1).error, -BB_ENOMODEL);
	}
	assert_true(nth > 10);
	assert_string_equal(world_ask("z", 1).model_name, "q");
	assert_int_equal(world_ask("gpt-4o", 1).error, -BB_ENOENGINE); /* c has not said what it serves */
}

/* A report whose list could not be taken over is not lost: the next one makes it good. */
static void no_memory_for_a_report_is_made_good(void **state)
{
	for (uint64_t nth = 1; nth < 20; nth++) {
		world_open(NULL);
		assert_int_equal(world_listed(2), 0);
		world_report(ids[0], ENGINE_READY, "a");
		world_report(ids[1], ENGINE_READY, "b");
		bb_alloc_fail_at(nth, BB_FAIL_FOREVER);
		world_report(ids[0], ENGINE_READY, "c");
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		assert_int_equal(world_ask("b", 1).action, DECISION_DISPATCH);
		world_report(ids[0], ENGINE_READY, "c");
		assert_int_equal(world_ask("c", 1).action, DECISION_DISPATCH);
		assert_int_equal(world_ask("a", 1).error, -BB_ENOMODEL);
		world_close(NULL);
	}
}

/* An engine that lists more names than there is room for must not take the others' away. */
static void a_flood_of_names_harms_nobody_else(void **state)
{
	static struct report_model flood[100];
	static char names[100][16];
	const struct engine_report r = { .state = ENGINE_READY, .has_models = true, .models = flood,
					 .model_count = 100 };

	world_open(NULL); /* room for 32 models */
	assert_int_equal(world_listed(2), 0);
	world_report(ids[1], ENGINE_READY, "good");
	for (unsigned i = 0; i < 100; i++) {
		snprintf(names[i], sizeof(names[i]), "flood-%u", i);
		flood[i] = (struct report_model){ .name = bb_str_of(names[i]) };
	}
	brain_engine_report(brain, now_ns, ids[0], &r);
	assert_true(engine_id_is(world_ask("good", 1).engine, ids[1]));
	assert_int_equal(world_ask("flood-0", 1).action, DECISION_DISPATCH);
	assert_int_equal(world_ask("flood-99", 1).error, -BB_ENOMODEL);
	world_report(ids[1], ENGINE_READY, "good"); /* and reports still come through */
	assert_int_equal(world_ask("good", 1).action, DECISION_DISPATCH);
}

static void load_figures_are_dropped_when_stale(void **state)
{
	const struct engine_report r = { .state = ENGINE_READY, .has_load = true, .running = 3,
					 .waiting = 2, .kv_usage = 0.5, .sequences_max = 64,
					 .kv_tokens_max = 9000 };

	world_open(NULL);
	world_ready(1);
	brain_engine_report(brain, now_ns, ids[0], &r);
	struct engine_view v = world_view(ids[0]);
	assert_true(v.has_load && v.running == 3 && v.waiting == 2 && v.kv_usage == 0.5);
	assert_int_equal(v.sequences_max, 64);
	assert_int_equal(v.kv_tokens_max, 9000);
	now_ns += 5;
	world_report(ids[0], ENGINE_DOWN, NULL);
	v = world_view(ids[0]);
	assert_false(v.has_load);
	assert_int_equal(v.state_since_ns, now_ns);
	assert_string_equal(engine_state_name(v.state), "down");
	assert_string_equal(request_outcome_name(OUTCOME_SILENT), "silent");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(planned_models_and_their_names, world_close),
		cmocka_unit_test_teardown(listed_models_come_and_go, world_close),
		cmocka_unit_test_teardown(an_engine_may_be_limited_to_some_models, world_close),
		cmocka_unit_test_teardown(a_star_catches_every_other_name, world_close),
		cmocka_unit_test_teardown(a_name_wins_over_an_alias, world_close),
		cmocka_unit_test_teardown(a_new_plan_leaves_requests_alone, world_close),
		cmocka_unit_test_teardown(slots_of_gone_engines_are_reused_and_old_ids_are_stale,
					  world_close),
		cmocka_unit_test_teardown(a_plan_that_does_not_fit_changes_nothing, world_close),
		cmocka_unit_test_teardown(no_memory_for_a_plan_changes_nothing, world_close),
		cmocka_unit_test_teardown(the_only_model_needs_no_name, world_close),
		cmocka_unit_test(no_memory_for_a_report_is_made_good),
		cmocka_unit_test_teardown(a_flood_of_names_harms_nobody_else, world_close),
		cmocka_unit_test_teardown(load_figures_are_dropped_when_stale, world_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
