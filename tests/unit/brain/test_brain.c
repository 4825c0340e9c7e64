/*
 * Goal: requests go where the policy and the filters say, load is reserved and given back exactly,
 * refusals name their reason, and the same events give the same decisions.
 */
#include "world.h"

#include "base/alloc.h"
#include "base/hash.h"

static void a_dispatch_says_why(void **state)
{
	world_open("least_tokens");
	world_ready(3);
	const struct decision d = world_ask("m", 50);
	assert_int_equal(d.action, DECISION_DISPATCH);
	assert_int_equal(d.error, 0);
	assert_string_equal(d.model_name, "m");
	assert_string_equal(d.served_name, "m");
	assert_string_equal(d.policy, "least_tokens");
	assert_int_equal(d.candidates, 3);
	assert_int_equal(d.engines, 3);
	assert_int_equal(d.engine_requests, 0);
	assert_true(d.cost == 0 && d.next_cost == 0);
	const struct engine_view v = world_view(d.engine);
	assert_int_equal(v.requests, 1);
	assert_int_equal(v.tokens, 150);
	assert_int_equal(v.pending_prefill, 50);
	const struct decision e = world_ask("m", 50);
	assert_false(engine_id_is(d.engine, e.engine));
	world_ask("m", 50);
	const struct decision f = world_ask("m", 50); /* the second on one of them */
	assert_int_equal(f.engine_requests, 1);
	assert_int_equal(f.engine_tokens, 150);
	assert_true(f.cost >= 150);
}

static void names_lead_to_models(void **state)
{
	char name[BRAIN_NAME_MAX + 1] = "";

	world_open(NULL);
	world_ready(1);
	assert_true(brain_model_named(brain, BB_STR("m"), name));
	assert_string_equal(name, "m");
	name[0] = '\0';
	assert_false(brain_model_named(brain, BB_STR("M"), name));
	assert_string_equal(name, "");
	assert_true(brain_model_named(brain, BB_STR(""), name)); /* the only one */
	assert_string_equal(name, "m");
}

static void load_is_given_back(void **state)
{
	world_open(NULL);
	world_ready(1);
	const struct decision d = world_ask("m", 70);
	brain_first_token(brain, now_ns, d.request);
	assert_int_equal(world_view(ids[0]).pending_prefill, 0);
	assert_int_equal(world_view(ids[0]).tokens, 170);
	brain_first_token(brain, now_ns, d.request); /* a second first token changes nothing */
	world_end(d.request, OUTCOME_OK);
	const struct engine_view v = world_view(ids[0]);
	assert_int_equal(v.requests, 0);
	assert_int_equal(v.tokens, 0);
	assert_int_equal(v.served, 1);
	assert_int_equal(v.failed, 0);
	world_end(d.request, OUTCOME_BROKEN); /* stale: harmless */
	brain_first_token(brain, now_ns, d.request);
	brain_first_token(brain, now_ns, (struct request_id){ 999, 1 });
	world_end((struct request_id){ 0 }, OUTCOME_OK);
	assert_int_equal(world_view(ids[0]).served, 1);
	assert_int_equal(brain_requests_in_flight(brain), 0);
}

static void unlimited_output_is_a_bounded_guess(void **state)
{
	struct decision d;
	const struct brain_request r = { .model = BB_STR("m"), .prompt_tokens = 10,
					 .output_tokens_max = UINT64_MAX };

	world_open(NULL);
	world_ready(1);
	brain_request_arrived(brain, now_ns, &r, &d);
	assert_in_range(world_view(ids[0]).tokens, 11, 10000);
	world_end(d.request, OUTCOME_CANCELED);
	assert_int_equal(world_view(ids[0]).tokens, 0);
}

static void refusals_name_their_reason(void **state)
{
	world_open(NULL);
	struct decision d = world_ask("m", 1); /* no plan at all */
	assert_int_equal(d.action, DECISION_REJECT);
	assert_int_equal(d.error, -BB_ENOMODEL);
	assert_int_equal(d.retry_after_ms, 0);
	assert_int_equal(d.request.generation, 0);
	assert_int_equal(d.model, UINT32_MAX);
	assert_int_equal(world_listed(2), 0);
	d = world_ask("m", 1); /* it may be one of those that have said nothing yet */
	assert_int_equal(d.error, -BB_ENOENGINE);
	assert_true(d.retry_after_ms > 0);
	assert_true(world_report(ids[0], ENGINE_READY, "m"));
	assert_true(world_report(ids[1], ENGINE_READY, "m"));
	assert_false(world_report(ids[1], ENGINE_READY, "m")); /* nothing new */
	assert_int_equal(world_ask("other", 1).error, -BB_ENOMODEL);
	world_report(ids[0], ENGINE_DOWN, NULL);
	world_report(ids[1], ENGINE_STARTING, NULL);
	d = world_ask("m", 1);
	assert_int_equal(d.error, -BB_ENOENGINE);
	assert_true(d.retry_after_ms > 0);
	assert_string_equal(d.model_name, "m");
	assert_int_equal(d.engines, 2);
	assert_int_equal(d.candidates, 0);
	assert_int_equal(brain_ready_count(brain), 0);
}

static void endpoints_that_an_engine_lacks(void **state)
{
	const struct engine_report embeds = { .state = ENGINE_READY, .api_mask = 1u << 3 };

	world_open(NULL);
	world_ready(2);
	brain_engine_report(brain, now_ns, ids[0], &embeds);
	for (int i = 0; i < 4; i++)
		assert_true(engine_id_is(world_ask("m", 1).engine, ids[1]));
	brain_engine_lacks(brain, ids[1], CHAT);
	brain_engine_lacks(brain, (struct engine_id){ 77, 1 }, CHAT);
	struct decision d = world_ask("m", 1);
	assert_int_equal(d.error, -BB_ENOENDPOINT);
	assert_int_equal(d.retry_after_ms, 0);
	world_report(ids[1], ENGINE_DOWN, NULL);
	world_report(ids[1], ENGINE_READY, NULL); /* it came back, perhaps as another program */
	assert_int_equal(world_ask("m", 1).action, DECISION_DISPATCH);
}

static void engines_that_failed_this_request_are_left_out(void **state)
{
	struct engine_id excluded[2];
	struct decision d;
	struct brain_request r = { .model = BB_STR("m"), .exclude = excluded };

	world_open("round_robin");
	world_ready(3);
	excluded[0] = ids[0];
	excluded[1] = ids[2];
	r.exclude_count = 2;
	for (int i = 0; i < 10; i++) {
		brain_request_arrived(brain, now_ns, &r, &d);
		assert_true(engine_id_is(d.engine, ids[1]));
		assert_int_equal(d.candidates, 1);
	}
	world_report(ids[1], ENGINE_DOWN, NULL);
	brain_request_arrived(brain, now_ns, &r, &d);
	assert_int_equal(d.error, -BB_ENOENGINE);
}

static void a_refused_connection_takes_an_engine_out_but_not_the_last(void **state)
{
	world_open("round_robin");
	world_ready(2);
	struct decision d = world_ask("m", 1);
	world_end(d.request, OUTCOME_REFUSED);
	assert_int_equal(world_view(d.engine).state, ENGINE_DOWN);
	assert_int_equal(world_view(d.engine).failed, 1);
	for (int i = 1; i <= 5; i++) {
		d = world_ask("m", 1);
		assert_int_equal(d.action, DECISION_DISPATCH);
		world_end(d.request, OUTCOME_REFUSED);
		assert_int_equal(world_view(d.engine).state, ENGINE_READY);
		assert_int_equal(world_view(d.engine).failed_in_row, i);
	}
	d = world_ask("m", 1);
	world_end(d.request, OUTCOME_OK);
	assert_int_equal(world_view(d.engine).failed_in_row, 0);
	d = world_ask("m", 1);
	world_end(d.request, OUTCOME_CANCELED); /* the client's doing */
	assert_int_equal(world_view(d.engine).failed, 5);
}

/* Another model's engines are no help to this one's clients. */
static void the_last_of_its_model_stays(void **state)
{
	world_open("round_robin");
	assert_int_equal(world_listed(3), 0);
	world_report(ids[0], ENGINE_READY, "lonely");
	world_report(ids[1], ENGINE_READY, "m");
	world_report(ids[2], ENGINE_READY, "m");
	struct decision d = world_ask("lonely", 1);
	world_end(d.request, OUTCOME_REFUSED);
	assert_int_equal(world_view(ids[0]).state, ENGINE_READY);
	d = world_ask("m", 1);
	world_end(d.request, OUTCOME_REFUSED);
	assert_int_equal(world_view(d.engine).state, ENGINE_DOWN);
}

/* ---- policies, through the brain ---- */

static void least_tokens_spreads_a_burst(void **state)
{
	unsigned share[8] = { 0 };

	world_open("least_tokens");
	world_ready(8);
	for (int i = 0; i < 80; i++)
		share[world_ask("m", 100).engine.slot]++;
	for (int i = 0; i < 8; i++)
		assert_int_equal(share[i], 10);
}

static void least_tokens_sees_that_one_prompt_is_long(void **state)
{
	world_open("least_tokens");
	world_ready(2);
	const struct decision big = world_ask("m", 100000);
	for (int i = 0; i < 50; i++)
		assert_false(engine_id_is(world_ask("m", 100).engine, big.engine));
}

static void round_robin_takes_exact_turns(void **state)
{
	world_open("round_robin");
	world_ready(5);
	const uint32_t first = world_ask("m", 1).engine.slot;
	for (uint32_t i = 1; i < 50; i++)
		assert_int_equal(world_ask("m", 1 + i % 7 * 100).engine.slot, (first + i) % 5);
}

static void random_is_even(void **state)
{
	unsigned share[4] = { 0 };

	assert_int_equal(world_open_with(9, "random", (struct brain_limits){ 0 }), 0);
	world_ready(4);
	for (int i = 0; i < 40000; i++) {
		const struct decision d = world_ask("m", 1);
		share[d.engine.slot]++;
		world_end(d.request, OUTCOME_OK);
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(share[i], 9600, 10400);
}

static void the_policy_can_be_changed_and_is_checked(void **state)
{
	const struct plan good = { .policy = "random" }, bad = { .policy = "best" };

	assert_int_equal(world_open_with(1, "no_such", (struct brain_limits){ 0 }), -BB_EINVALID);
	world_open(NULL);
	assert_string_equal(brain_policy(brain), "lookahead");
	assert_int_equal(brain_configure(brain, now_ns, &bad, ids), -BB_EINVALID);
	assert_string_equal(brain_policy(brain), "lookahead");
	assert_int_equal(brain_configure(brain, now_ns, &good, ids), 0);
	assert_string_equal(brain_policy(brain), "random");
}

/* ---- exhaustion ---- */

static void the_table_of_requests_has_an_end(void **state)
{
	struct decision d[20];

	assert_int_equal(world_open_with(1, NULL, WORLD_LIMITS(4, 4, 20)), 0);
	world_ready(2);
	for (int i = 0; i < 20; i++) {
		d[i] = world_ask("m", 1);
		assert_int_equal(d[i].action, DECISION_DISPATCH);
	}
	const struct decision over = world_ask("m", 1);
	assert_int_equal(over.error, -BB_EBUSY);
	assert_true(over.retry_after_ms > 0);
	assert_int_equal(over.request.generation, 0);
	world_end(d[7].request, OUTCOME_OK);
	const struct decision again = world_ask("m", 1);
	assert_int_equal(again.action, DECISION_DISPATCH);
	assert_int_equal(again.request.slot, d[7].request.slot);
	world_end(d[7].request, OUTCOME_OK); /* the old id does not mean the new request */
	assert_int_equal(brain_requests_in_flight(brain), 20);
}

static void no_memory_for_a_brain_or_a_request(void **state)
{
	for (uint64_t nth = 1;; nth++) {
		bb_alloc_fail_at(nth, BB_FAIL_FOREVER);
		const int rc = world_open_with(1, NULL, WORLD_LIMITS(4, 4, 1000));
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (rc == 0)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
		assert_true(nth < 100);
	}
	world_ready(1);
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	const struct decision d = world_ask("m", 1);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_int_equal(d.error, -BB_EBUSY);
	assert_int_equal(world_view(ids[0]).requests, 0);
	assert_int_equal(world_ask("m", 1).action, DECISION_DISPATCH);
}

/* ---- a long life ---- */

#define LIVE_MAX 300

struct life {
	struct bb_rng rng;
	struct request_id live[LIVE_MAX];
	uint32_t live_count;
	uint64_t digest; /* of all decisions */
};

static void check_sums(void *user, const struct engine_view *v)
{
	uint32_t *requests = user;

	*requests += v->requests;
	assert_true(v->pending_prefill <= v->tokens);
	assert_true(v->requests || (v->tokens == 0 && v->pending_prefill == 0));
}

static void life_step(struct life *l)
{
	const uint64_t dice = bb_rng_below(&l->rng, 100);
	const struct engine_id engine = ids[bb_rng_below(&l->rng, 8)];

	now_ns += bb_rng_below(&l->rng, 1000000);
	if (dice < 45 && l->live_count < LIVE_MAX) {
		const struct decision d =
			world_ask(bb_rng_below(&l->rng, 10) ? "m" : "x", bb_rng_below(&l->rng, 5000));
		l->digest = bb_hash(&d.engine, sizeof(d.engine), l->digest + (uint64_t)d.action);
		if (d.action == DECISION_DISPATCH)
			l->live[l->live_count++] = d.request;
	} else if (dice < 90 && l->live_count) {
		const uint32_t k = (uint32_t)bb_rng_below(&l->rng, l->live_count);
		if (bb_rng_below(&l->rng, 2))
			brain_first_token(brain, now_ns, l->live[k]);
		world_end(l->live[k], (enum request_outcome)bb_rng_below(&l->rng, 5));
		l->live[k] = l->live[--l->live_count];
	} else if (dice < 99) {
		world_report(engine, (enum engine_state)bb_rng_below(&l->rng, 3),
			     bb_rng_below(&l->rng, 3) ? "m" : bb_rng_below(&l->rng, 2) ? "x" : NULL);
	} else {
		assert_int_equal(world_listed(4 + (uint32_t)bb_rng_below(&l->rng, 5)), 0);
	}
}

static uint64_t live_through(uint64_t seed, const char *policy, uint32_t steps)
{
	static struct life l;

	l = (struct life){ 0 };
	now_ns = 1000;
	bb_rng_seed(&l.rng, seed);
	assert_int_equal(world_open_with(seed, policy, WORLD_LIMITS(64, 64, 1000)), 0);
	assert_int_equal(world_listed(8), 0);
	for (uint32_t i = 0; i < steps; i++) {
		life_step(&l);
		if (i % 1000 == 0) {
			uint32_t requests = 0;
			brain_engines_each(brain, check_sums, &requests);
			assert_int_equal(requests, l.live_count);
			assert_int_equal(brain_requests_in_flight(brain), l.live_count);
		}
	}
	while (l.live_count)
		world_end(l.live[--l.live_count], OUTCOME_OK);
	uint32_t requests = 0;
	brain_engines_each(brain, check_sums, &requests);
	assert_int_equal(requests, 0);
	assert_int_equal(brain_requests_in_flight(brain), 0);
	world_close(NULL);
	return l.digest;
}

/* A million random events: reports, reloads, requests in any order; every sum returns to zero. */
static void a_million_events_leave_nothing_behind(void **state)
{
	live_through(1, "least_tokens", 1000000);
}

static void same_events_same_decisions(void **state)
{
	static const char *const policies[] = { "least_tokens", "least_requests", "round_robin", "random" };

	for (size_t i = 0; i < UNIT_COUNT(policies); i++) {
		const uint64_t once = live_through(7, policies[i], 50000);
		assert_true(once == live_through(7, policies[i], 50000));
		assert_true(once != live_through(8, policies[i], 50000));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_dispatch_says_why, world_close),
		cmocka_unit_test_teardown(names_lead_to_models, world_close),
		cmocka_unit_test_teardown(load_is_given_back, world_close),
		cmocka_unit_test_teardown(unlimited_output_is_a_bounded_guess, world_close),
		cmocka_unit_test_teardown(refusals_name_their_reason, world_close),
		cmocka_unit_test_teardown(endpoints_that_an_engine_lacks, world_close),
		cmocka_unit_test_teardown(engines_that_failed_this_request_are_left_out, world_close),
		cmocka_unit_test_teardown(a_refused_connection_takes_an_engine_out_but_not_the_last,
					  world_close),
		cmocka_unit_test_teardown(the_last_of_its_model_stays, world_close),
		cmocka_unit_test_teardown(least_tokens_spreads_a_burst, world_close),
		cmocka_unit_test_teardown(least_tokens_sees_that_one_prompt_is_long, world_close),
		cmocka_unit_test_teardown(round_robin_takes_exact_turns, world_close),
		cmocka_unit_test_teardown(random_is_even, world_close),
		cmocka_unit_test_teardown(the_policy_can_be_changed_and_is_checked, world_close),
		cmocka_unit_test_teardown(the_table_of_requests_has_an_end, world_close),
		cmocka_unit_test_teardown(no_memory_for_a_brain_or_a_request, world_close),
		cmocka_unit_test(a_million_events_leave_nothing_behind),
		cmocka_unit_test(same_events_same_decisions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
