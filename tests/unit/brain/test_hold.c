/*
 * Goal: late binding: a request waits while no engine is open for it, goes on as soon as one is, in
 * the order of aged shortest-uncached-first; it may leave at any time, and nobody waits for ever.
 */
#include "world.h"

#include "base/alloc.h"
#include "base/hash.h"

#define SECOND 1000000000ull

static struct decision ask_waiting(uint64_t prompt_tokens, uint64_t cookie)
{
	struct decision d;
	const struct brain_request r = { .model = BB_STR("m"),
					 .api = CHAT,
					 .prompt_tokens = prompt_tokens,
					 .output_tokens_max = 10,
					 .teaches = true,
					 .can_wait = true,
					 .cookie = cookie };

	brain_request_arrived(brain, now_ns, &r, &d);
	return d;
}

/* A prefill that runs, and behind it a whole step's budget: the only engine is closed until either
 * has its first token. */
static struct decision close_engine(void)
{
	const struct decision runs = ask_waiting(9000, 1);

	assert_int_equal(runs.action, DECISION_DISPATCH); /* an idle engine is always open */
	assert_int_equal(ask_waiting(9000, 1).action, DECISION_DISPATCH);
	return runs;
}

/* The next that was released: its cookie, and what was decided; 0: nobody. */
static uint64_t released(struct decision *d)
{
	struct request_id id;
	uint64_t cookie;

	if (!brain_released(brain, &id, &cookie))
		return 0;
	assert_true(brain_request_decision(brain, id, d));
	assert_false(brain_request_decision(brain, id, d)); /* once */
	return cookie;
}

static void first_token_of(struct request_id id)
{
	now_ns += SECOND / 100;
	brain_first_token(brain, now_ns, id);
}

static void it_waits_until_a_prefill_is_done(void **state)
{
	struct decision d;

	world_open(NULL);
	world_ready(1);
	const struct decision first = close_engine();
	const struct decision second = ask_waiting(500, 2);
	assert_int_equal(second.action, DECISION_HOLD);
	assert_true(second.request.generation != 0);
	assert_int_equal(brain_held(brain), 1);
	assert_int_equal(released(&d), 0);
	first_token_of(first.request);
	assert_int_equal(released(&d), 2);
	assert_int_equal(d.action, DECISION_DISPATCH);
	assert_int_equal(d.request.slot, second.request.slot);
	assert_int_equal(d.held_ns, SECOND / 100);
	assert_string_equal(d.model_name, "m");
	assert_string_equal(d.served_name, "m");
	assert_int_equal(brain_held(brain), 0);
	assert_int_equal(world_view(ids[0]).requests, 3);
	world_end(first.request, OUTCOME_OK);
	world_end(second.request, OUTCOME_OK);
	assert_int_equal(brain_requests_in_flight(brain), 1);
}

static void another_engine_takes_it_at_once(void **state)
{
	world_open(NULL);
	world_ready(2);
	const struct decision first = ask_waiting(9000, 1);
	const struct decision second = ask_waiting(500, 2);
	assert_int_equal(second.action, DECISION_DISPATCH);
	assert_false(engine_id_is(first.engine, second.engine));
}

static void who_cannot_wait_goes_at_once(void **state)
{
	world_open(NULL);
	world_ready(1);
	close_engine();
	assert_int_equal(world_ask("m", 500).action, DECISION_DISPATCH);
	world_close(NULL);
	world_open("least_tokens"); /* a policy that does not hold */
	world_ready(1);
	close_engine();
	assert_int_equal(ask_waiting(500, 2).action, DECISION_DISPATCH);
}

static void the_shortest_goes_first_and_age_counts(void **state)
{
	struct decision d;

	world_open(NULL);
	world_ready(1);
	const struct decision first = close_engine();
	assert_int_equal(ask_waiting(9000, 2).action, DECISION_HOLD);
	assert_int_equal(ask_waiting(8500, 3).action, DECISION_HOLD);
	assert_int_equal(ask_waiting(20000, 4).action, DECISION_HOLD);
	first_token_of(first.request);
	assert_int_equal(released(&d), 3);
	assert_int_equal(released(&d), 0); /* it fills the engine by itself */
	now_ns += 5 * SECOND; /* nobody has waited for long so far: 2 and 4 are overdue now */
	const struct decision late = ask_waiting(8200, 5);
	assert_int_equal(late.action, DECISION_HOLD);
	first_token_of(d.request);
	assert_in_range(released(&d), 2, 4);
	first_token_of(d.request);
	assert_in_range(released(&d), 2, 4); /* 20,000 tokens, and old: before 8,200 of just now */
	first_token_of(d.request);
	assert_int_equal(released(&d), 5);
	assert_int_equal(released(&d), 0);
}

static void an_engine_at_its_sequence_limit_is_closed(void **state)
{
	const struct engine_report r = { .state = ENGINE_READY, .sequences_max = 2 };
	struct decision d;

	world_open(NULL);
	world_ready(1);
	brain_engine_report(brain, now_ns, ids[0], &r);
	const struct decision a = ask_waiting(10, 1), b = ask_waiting(10, 2);
	assert_int_equal(b.action, DECISION_DISPATCH);
	first_token_of(a.request);
	first_token_of(b.request);
	/* The next one is there when one of them ends; further ones are not needed yet. */
	const struct decision next = ask_waiting(10, 3), c = ask_waiting(10, 4);
	assert_int_equal(next.action, DECISION_DISPATCH);
	assert_int_equal(c.action, DECISION_HOLD);
	world_end(a.request, OUTCOME_OK);
	assert_int_equal(released(&d), 4);
	world_end(b.request, OUTCOME_OK);
	world_end(next.request, OUTCOME_OK);
	world_end(c.request, OUTCOME_OK);
}

static void it_may_leave_at_any_time(void **state)
{
	struct request_id id;
	struct decision d;
	uint64_t cookie;

	world_open(NULL);
	world_ready(1);
	const struct decision first = close_engine();
	const struct decision waits = ask_waiting(500, 2), listed = ask_waiting(600, 3),
			      told = ask_waiting(700, 4), last = ask_waiting(800, 5);
	world_end(waits.request, OUTCOME_CANCELED); /* while it waits */
	assert_int_equal(brain_held(brain), 3);
	first_token_of(first.request);
	assert_int_equal(brain_held(brain), 0);
	world_end(listed.request, OUTCOME_CANCELED); /* decided, and nobody knows yet */
	assert_true(brain_released(brain, &id, &cookie));
	assert_int_equal(cookie, 4);
	world_end(told.request, OUTCOME_CANCELED); /* told, and not fetched */
	assert_false(brain_request_decision(brain, id, &d));
	assert_int_equal(released(&d), 5);
	assert_int_equal(world_view(ids[0]).requests, 3);
	world_end(last.request, OUTCOME_OK);
	world_end(first.request, OUTCOME_OK);
	assert_int_equal(world_view(ids[0]).requests, 1);
	assert_int_equal(brain_requests_in_flight(brain), 1);
}

static void nobody_waits_for_ever(void **state)
{
	const struct engine_report one_at_once = { .state = ENGINE_READY, .sequences_max = 1 };
	struct decision d;
	struct brain_limits limits = WORLD_LIMITS(16, 16, 1000);

	limits.held_max = 2;
	limits.held_ns_max = SECOND;
	assert_int_equal(world_open_with(1, NULL, limits), 0);
	world_ready(1);
	brain_engine_report(brain, now_ns, ids[0], &one_at_once);
	const struct decision first = close_engine();
	assert_int_equal(ask_waiting(500, 2).action, DECISION_HOLD);
	assert_int_equal(ask_waiting(600, 3).action, DECISION_HOLD);
	const struct decision over = ask_waiting(700, 4);
	assert_int_equal(over.action, DECISION_REJECT);
	assert_int_equal(over.error, -BB_EBUSY);
	assert_true(over.retry_after_ms > 0);
	assert_int_equal(over.request.generation, 0);
	now_ns += SECOND - 1;
	brain_tick(brain, now_ns);
	assert_int_equal(released(&d), 0);
	now_ns += 1;
	brain_tick(brain, now_ns);
	for (int i = 0; i < 2; i++) {
		assert_in_range(released(&d), 2, 3);
		assert_int_equal(d.action, DECISION_REJECT);
		assert_int_equal(d.error, -BB_EBUSY);
		assert_int_equal(d.held_ns, SECOND);
		assert_string_equal(d.model_name, "m");
		assert_string_equal(d.policy, "lookahead");
		assert_int_equal(d.engines, 1);
		assert_int_equal(d.request.generation, 0);
	}
	assert_int_equal(brain_requests_in_flight(brain), 2);
	world_end(first.request, OUTCOME_OK);
}

static void engines_that_go_or_come_change_it(void **state)
{
	struct decision d;

	world_open(NULL);
	world_ready(2);
	struct decision sent[4];
	for (int i = 0; i < 4; i++)
		sent[i] = ask_waiting(9000, 1);
	assert_int_equal(ask_waiting(9000, 3).action, DECISION_HOLD);
	world_report(ids[0], ENGINE_DOWN, NULL);
	world_report(ids[1], ENGINE_DOWN, NULL);
	world_end(sent[0].request, OUTCOME_BROKEN);
	assert_int_equal(released(&d), 3); /* nobody is left to wait for */
	assert_int_equal(d.action, DECISION_REJECT);
	assert_int_equal(d.error, -BB_ENOENGINE);
	for (int i = 1; i < 4; i++)
		world_end(sent[i].request, OUTCOME_BROKEN);
	world_report(ids[0], ENGINE_READY, "m");
	close_engine();
	assert_int_equal(ask_waiting(9000, 5).action, DECISION_HOLD);
	world_report(ids[1], ENGINE_READY, "m"); /* and here is somebody new */
	assert_int_equal(released(&d), 5);
	assert_true(engine_id_is(d.engine, ids[1]));
}

static void a_policy_that_does_not_hold_lets_them_go(void **state)
{
	const struct plan p = { .policy = "random" };
	struct decision d;

	world_open(NULL);
	world_ready(1);
	close_engine();
	assert_int_equal(ask_waiting(9000, 2).action, DECISION_HOLD);
	assert_int_equal(brain_configure(brain, now_ns, &p, ids), 0);
	assert_int_equal(released(&d), 2);
	assert_int_equal(d.action, DECISION_REJECT); /* the plan has no engine any more */
}

/* Any order of events: everybody is decided for in the end, once. */
static void everybody_comes_to_an_end(void **state)
{
	struct request_id sent[512], id;
	uint32_t sent_count = 0, asked = 0, dispatched = 0, rejected = 0, canceled = 0, held = 0;
	struct bb_rng rng;
	struct decision d;
	uint64_t cookie;
	struct brain_limits limits = WORLD_LIMITS(16, 16, 512);

	limits.held_max = 100;
	limits.held_ns_max = 3 * SECOND;
	assert_int_equal(world_open_with(5, NULL, limits), 0);
	world_ready(4);
	bb_rng_seed(&rng, 77);
	for (int i = 0; i < 100000; i++) {
		now_ns += bb_rng_below(&rng, SECOND / 200);
		if (bb_rng_below(&rng, 3) == 0) {
			d = ask_waiting(1 + bb_rng_below(&rng, 12000), 1);
			asked++;
			held += d.action == DECISION_HOLD;
			rejected += d.action == DECISION_REJECT;
			if (d.action == DECISION_DISPATCH)
				sent[sent_count++] = d.request, dispatched++;
			else if (d.action == DECISION_HOLD && bb_rng_below(&rng, 20) == 0) {
				world_end(d.request, OUTCOME_CANCELED);
				canceled++;
			}
		} else if (sent_count) {
			const uint32_t k = (uint32_t)bb_rng_below(&rng, sent_count);
			brain_first_token(brain, now_ns, sent[k]);
			if (bb_rng_below(&rng, 2)) {
				world_end(sent[k], OUTCOME_OK);
				sent[k] = sent[--sent_count];
			}
		}
		if (bb_rng_below(&rng, 200) == 0)
			brain_tick(brain, now_ns);
		while (brain_released(brain, &id, &cookie)) {
			if (!brain_request_decision(brain, id, &d))
				continue;
			held--;
			if (d.action == DECISION_DISPATCH)
				sent[sent_count++] = d.request, dispatched++;
			else
				rejected++;
		}
		assert_int_equal(brain_requests_in_flight(brain), sent_count + brain_held(brain));
	}
	assert_int_equal(asked, dispatched + rejected + canceled + brain_held(brain));
	assert_int_equal(held, brain_held(brain) + canceled);
	assert_true(dispatched > 10000 && canceled > 100);
}

static void memory_that_runs_out_refuses_and_nothing_else(void **state)
{
	world_open(NULL);
	world_ready(1);
	close_engine();
	for (unsigned n = 1; n < 6; n++) {
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		const struct decision d = ask_waiting(100, 2);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (d.action == DECISION_REJECT)
			assert_int_equal(d.error, -BB_EBUSY);
		else
			world_end(d.request, OUTCOME_CANCELED);
		assert_int_equal(brain_requests_in_flight(brain), 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(it_waits_until_a_prefill_is_done, world_close),
		cmocka_unit_test_teardown(another_engine_takes_it_at_once, world_close),
		cmocka_unit_test_teardown(who_cannot_wait_goes_at_once, world_close),
		cmocka_unit_test_teardown(the_shortest_goes_first_and_age_counts, world_close),
		cmocka_unit_test_teardown(an_engine_at_its_sequence_limit_is_closed, world_close),
		cmocka_unit_test_teardown(it_may_leave_at_any_time, world_close),
		cmocka_unit_test_teardown(nobody_waits_for_ever, world_close),
		cmocka_unit_test_teardown(engines_that_go_or_come_change_it, world_close),
		cmocka_unit_test_teardown(a_policy_that_does_not_hold_lets_them_go, world_close),
		cmocka_unit_test_teardown(everybody_comes_to_an_end, world_close),
		cmocka_unit_test_teardown(memory_that_runs_out_refuses_and_nothing_else, world_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
