/*
 * Goal: a decision says why: its reason, the next best with their terms, who could not take the
 * request; and shadow policies are judged beside it without changing anything.
 */
#include "world.h"

#include "base/alloc.h"
#include "base/hash.h"

#include "brain/index.h"
#include "brain/kv_mirror.h"

#define BLOCKS 64u

static uint64_t hashes[BLOCKS];

static void hashes_of(uint64_t prompt)
{
	for (uint64_t i = 0; i < BLOCKS; i++) {
		const uint64_t name[2] = { prompt, i };
		hashes[i] = bb_hash(name, sizeof(name), 5);
	}
}

static struct brain_request ask_of(uint32_t blocks, bool can_wait)
{
	return (struct brain_request){ .model = BB_STR("m"),
				       .api = CHAT,
				       .prompt_tokens = blocks * BRAIN_BLOCK_TOKENS + 5,
				       .output_tokens_max = 20,
				       .hashed = HASHES_TOKENS,
				       .hashes = hashes,
				       .hash_count = blocks,
				       .teaches = true,
				       .can_wait = can_wait };
}

static struct decision ask(uint32_t blocks)
{
	const struct brain_request r = ask_of(blocks, false);
	struct decision d;

	brain_request_arrived(brain, now_ns, &r, &d);
	assert_int_equal(d.action, DECISION_DISPATCH);
	return d;
}

static void reasons(void **state)
{
	hashes_of(1);
	world_open("lookahead");
	world_ready(1);
	assert_int_equal(ask(BLOCKS).reason, REASON_ONLY);
	world_close(NULL);

	world_open("lookahead");
	world_ready(3);
	struct decision d = ask(BLOCKS);
	const struct engine_id warm = d.engine;
	assert_int_equal(d.reason, REASON_COLD);
	assert_int_equal(d.possible_tokens, 0);
	world_end(d.request, OUTCOME_OK);
	d = ask(BLOCKS);
	assert_int_equal(d.reason, REASON_WARM);
	assert_true(engine_id_is(d.engine, warm));
	assert_int_equal(d.cached_tokens, d.possible_tokens);
	assert_true(d.cached_tokens > BLOCKS * BRAIN_BLOCK_TOKENS / 2);
	world_end(d.request, OUTCOME_OK);
	/* The warm one gets far more to do than that is worth. */
	for (uint64_t i = 0; i < 30; i++) {
		hashes_of(100 + i);
		const struct engine_id exclude[2] = { ids[warm.slot == 0 ? 1 : 0],
						      ids[warm.slot == 2 ? 1 : 2] };
		struct brain_request r = ask_of(BLOCKS, false);
		r.prompt_tokens = 50000;
		r.exclude = exclude;
		r.exclude_count = 2;
		brain_request_arrived(brain, now_ns, &r, &d);
		assert_true(engine_id_is(d.engine, warm));
	}
	hashes_of(1);
	d = ask(BLOCKS);
	assert_int_equal(d.reason, REASON_LOAD);
	assert_false(engine_id_is(d.engine, warm));
	assert_int_equal(d.cached_tokens, 0);
	assert_true(d.possible_tokens > 0);
	world_close(NULL);

	world_open("round_robin");
	world_ready(2);
	assert_int_equal(ask(BLOCKS).reason, REASON_POLICY);
}

static void the_next_best_come_in_order(void **state)
{
	struct decision d;

	world_open("least_tokens");
	world_ready(6);
	hashes_of(2);
	for (int i = 0; i < 40; i++) {
		d = ask(1 + (uint32_t)i * 7 % BLOCKS);
		assert_int_equal(d.candidates, 6);
		assert_int_equal(d.best_count, DECISION_BEST_MAX);
		assert_true(engine_id_is(d.best[0].engine, d.engine));
		assert_true(d.best[0].cost == d.cost && d.best[1].cost == d.next_cost);
		assert_true(d.best[0].cost <= d.best[1].cost && d.best[1].cost <= d.best[2].cost);
		for (int k = 0; k < 3; k++)
			assert_false(engine_id_is(d.best[k].engine, d.best[(k + 1) % 3].engine));
	}
	world_close(NULL);
	world_open("lookahead");
	world_ready(2);
	d = ask(BLOCKS);
	assert_int_equal(d.best_count, 2);
	for (int k = 0; k < 2; k++) {
		const struct decision_candidate *c = &d.best[k];
		const double sum = c->wait_ms + c->prefill_ms + c->limit_ms;
		assert_true(c->ttft_ms > 0 && c->ttft_ms > sum - 1e-6 && c->ttft_ms < sum + 1e-6);
		assert_true(c->total_ms > 0);
	}
}

static void who_could_not_take_it(void **state)
{
	const struct engine_report embeds = { .state = ENGINE_READY, .api_mask = 1u << 3 };
	struct decision d;

	world_open("least_requests");
	world_ready(6);
	world_report(ids[0], ENGINE_DOWN, NULL);
	brain_engine_report(brain, now_ns, ids[1], &embeds);
	struct brain_request r = ask_of(1, false);
	r.exclude = &ids[2];
	r.exclude_count = 1;
	brain_request_arrived(brain, now_ns, &r, &d);
	assert_int_equal(d.candidates, 3);
	assert_int_equal(d.engines, 6);
	assert_int_equal(d.left_out[LEFT_OUT_NOT_READY], 1);
	assert_int_equal(d.left_out[LEFT_OUT_LACKS], 1);
	assert_int_equal(d.left_out[LEFT_OUT_FAILED], 1);
	assert_int_equal(d.left_count, 3);
	assert_true(engine_id_is(d.left[0].engine, ids[0]) && d.left[0].why == LEFT_OUT_NOT_READY);
	assert_true(engine_id_is(d.left[1].engine, ids[1]) && d.left[1].why == LEFT_OUT_LACKS);
	assert_true(engine_id_is(d.left[2].engine, ids[2]) && d.left[2].why == LEFT_OUT_FAILED);
	assert_string_equal(decision_left_out_name(LEFT_OUT_LACKS), "lacks the endpoint");
	/* More than there is room for are counted. */
	for (int i = 1; i < 6; i++)
		world_report(ids[i], ENGINE_STARTING, NULL);
	brain_request_arrived(brain, now_ns, &r, &d);
	assert_int_equal(d.action, DECISION_REJECT);
	assert_int_equal(d.left_out[LEFT_OUT_NOT_READY],
			 5); /* the other has no such endpoint anyway */
	assert_int_equal(d.left_count, DECISION_LEFT_MAX);
	/* The next one starts anew. */
	world_report(ids[5], ENGINE_READY, NULL);
	brain_request_arrived(brain, now_ns, &r, &d);
	assert_int_equal(d.left_out[LEFT_OUT_FAILED], 0);
	assert_int_equal(d.left_out[LEFT_OUT_NOT_READY], 4);
}

/* ---- shadows ---- */

static int shadows(const char *a, const char *b)
{
	const char *const names[2] = { a, b };

	return brain_set_shadows(brain, names, b ? 2 : a ? 1 : 0);
}

static struct shadow_view shadow(uint32_t n)
{
	struct shadow_view v = { 0 };

	assert_true(brain_shadow_at(brain, n, &v));
	return v;
}

static void shadows_are_checked(void **state)
{
	static const char *const many[5] = { "random", "session", "llmd", "lmetric", "pending" };
	struct shadow_view v;

	world_open("lookahead");
	world_ready(2);
	assert_int_equal(shadows("random", "best"), -BB_EINVALID);
	assert_int_equal(brain_set_shadows(brain, many, 5), -BB_ELIMIT);
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	assert_int_equal(shadows("random", NULL), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_false(brain_shadow_at(brain, 0, &v)); /* nothing was changed */
	assert_int_equal(shadows("random", "random"), 0);
	assert_false(brain_shadow_at(brain, 1, &v)); /* named twice, there once */
	hashes_of(3);
	ask(BLOCKS);
	assert_int_equal(shadow(0).agreed + shadow(0).differed, 1);
	assert_int_equal(brain_set_shadows(brain, many, 4), 0); /* one stays, with its counts */
	assert_string_equal(shadow(0).policy, "random");
	assert_int_equal(shadow(0).agreed + shadow(0).differed, 1);
	assert_int_equal(shadow(3).agreed + shadow(3).differed, 0);
	assert_int_equal(shadows(NULL, NULL), 0);
	assert_false(brain_shadow_at(brain, 0, &v));
	ask(BLOCKS);
}

static void a_shadow_says_by_how_much_it_differs(void **state)
{
	world_open("round_robin");
	world_ready(2);
	assert_int_equal(shadows("lookahead", "least_requests"), 0);
	hashes_of(4);
	struct decision d = ask(BLOCKS);
	assert_int_equal(shadow(0).agreed, 1); /* two that are idle are alike, whichever is taken */
	assert_int_equal(shadow(1).agreed, 1);
	world_end(d.request, OUTCOME_OK);
	d = ask(BLOCKS); /* the other one's turn, and the first one holds it */
	world_end(d.request, OUTCOME_OK);
	const struct shadow_view v = shadow(0);
	assert_int_equal(v.differed, 1);
	assert_true(v.real_ttft_ms - v.ttft_ms > 10); /* a thousand tokens at 0.03 ms */
	assert_true(v.real_total_ms > v.total_ms && v.total_ms > 0);
	assert_int_equal(shadow(1).agreed, 2);
	assert_true(shadow(1).ttft_ms == 0);
	/* Where there is no choice nothing is counted. */
	world_report(ids[0], ENGINE_DOWN, NULL);
	ask(BLOCKS);
	assert_int_equal(shadow(0).agreed + shadow(0).differed, 2);
}

#define LIVE_MAX 64

/* Random traffic, some of it held; a digest of everything that was decided. */
static uint64_t live(const char *policy, const char *const *shadow_names, uint32_t count)
{
	struct request_id open[LIVE_MAX];
	struct bb_rng rng;
	struct decision d;
	uint64_t digest = 0, cookie;
	uint32_t n = 0;

	now_ns = 1000;
	world_open(policy);
	world_ready(5);
	assert_int_equal(brain_set_shadows(brain, shadow_names, count), 0);
	bb_rng_seed(&rng, 99);
	for (uint32_t i = 0; i < 20000; i++) {
		now_ns += bb_rng_below(&rng, 20000000);
		hashes_of(bb_rng_below(&rng, 40));
		struct brain_request r =
			ask_of(1 + (uint32_t)bb_rng_below(&rng, BLOCKS), i % 3 != 0);
		r.session = bb_rng_below(&rng, 20);
		struct request_id id;
		if (n < LIVE_MAX && bb_rng_below(&rng, 2)) {
			brain_request_arrived(brain, now_ns, &r, &d);
			if (d.action != DECISION_REJECT)
				open[n++] = d.request;
		} else if (n) {
			const uint32_t k = (uint32_t)bb_rng_below(&rng, n);
			brain_first_token(brain, now_ns, open[k]);
			if (i % 2) {
				world_end(open[k], OUTCOME_OK);
				open[k] = open[--n];
			}
			continue;
		}
		const double numbers[6] = { d.cost,
					    (double)d.engine.slot,
					    (double)d.action,
					    (double)d.cached_tokens,
					    d.best[0].ttft_ms,
					    d.next_cost };
		digest = bb_hash(numbers, sizeof(numbers), digest);
		while (brain_released(brain, &id, &cookie))
			if (brain_request_decision(brain, id, &d))
				digest = bb_hash(&d.engine, sizeof(d.engine), digest);
	}
	world_close(NULL);
	return digest;
}

static void shadows_change_no_decision(void **state)
{
	static const char *const policies[] = { "lookahead", "random", "power_of_two",
						"round_robin", "pending" };
	static const char *const names[] = { "random", "power_of_two", "lookahead", "dynamo_cost" };

	for (size_t i = 0; i < UNIT_COUNT(policies); i++)
		assert_true(live(policies[i], NULL, 0) == live(policies[i], names, 4));
}

/* ---- views ---- */

static void on_kind(void *user, const struct kind_view *v)
{
	uint32_t *lanes = user;

	assert_string_equal(v->model, "m");
	assert_true(v->base_ms > 0 && v->token_ms > 0 && v->step_ms > 0);
	*lanes += v->lanes;
}

static void on_model(void *user, const struct model_view *v)
{
	*(uint32_t *)user += v->held;
}

static void views(void **state)
{
	uint32_t lanes = 0, held = 0;
	struct decision d;

	world_open("lookahead");
	world_ready(3);
	hashes_of(6);
	for (int i = 0; i < 6; i++) { /* at each a prefill that runs and one behind it */
		struct brain_request r = ask_of(BLOCKS, false);
		r.prompt_tokens = 20000;
		brain_request_arrived(brain, now_ns, &r, &d);
	}
	brain_kinds_each(brain, on_kind, &lanes);
	assert_int_equal(lanes, 3);
	assert_true(world_view(ids[0]).kind == world_view(ids[1]).kind);
	const struct brain_request r = ask_of(BLOCKS, true);
	brain_request_arrived(brain, now_ns, &r, &d);
	assert_int_equal(d.action, DECISION_HOLD);
	brain_models_each(brain, on_model, &held);
	assert_int_equal(held, 1);
	assert_string_equal(brain_model_name(brain, d.model), "m");
	assert_null(brain_model_name(brain, UINT32_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(reasons, world_close),
		cmocka_unit_test_teardown(the_next_best_come_in_order, world_close),
		cmocka_unit_test_teardown(who_could_not_take_it, world_close),
		cmocka_unit_test_teardown(shadows_are_checked, world_close),
		cmocka_unit_test_teardown(a_shadow_says_by_how_much_it_differs, world_close),
		cmocka_unit_test(shadows_change_no_decision),
		cmocka_unit_test_teardown(views, world_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
