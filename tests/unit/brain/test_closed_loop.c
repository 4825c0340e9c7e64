/*
 * Goal: the orderings of the study behind docs/policies.md hold for the policies as they are built,
 * with rates that they learn as they go: multi-turn chat, one hot prompt, prompts of mixed length,
 * unequal engines, wrong start values, an engine that stalls. Each request is sent at once; the
 * whole brain with its queue is tested before clusters (sim/test_fleet_policy). Ratios of virtual
 * time: the same in every run.
 */
#include "closed_loads.h"

static struct loop_result finish(struct loop *s)
{
	loop_run(s);
	const struct loop_result r = loop_result(s);
	loop_destroy(s);
	return r;
}

static struct loop_result run_chat(const char *policy)
{
	struct loop *s = loop_create(policy, 1);

	chat(s, (struct loads){ 250, 6000 });
	return finish(s);
}

static struct loop_result run(const char *policy, struct loads load,
			      void (*fill)(struct loop *s, struct loop_job *j))
{
	struct loop *s = loop_create(policy, 1);

	arrive(s, load, fill);
	return finish(s);
}

/* a <= share × b, and says by how much when not. */
static void assert_share(double a, double share, double b)
{
	if (!(a <= share * b))
		fail_msg("%.1f is %.2f of %.1f, more than %.2f", a, a / b, b, share);
}

static void conversations_stay_where_their_cache_is(void **state)
{
	const struct loop_result rr = run_chat("round_robin"), look = run_chat("lookahead");
	const struct loop_result least = run_chat("least_requests");

	assert_share(look.mean, 0.35, rr.mean);
	assert_share(look.p90, 0.30, rr.p90);
	assert_share(look.p99, 0.60, rr.p99);
	assert_share(look.e2e, 0.70, rr.e2e);
	assert_share(look.mean, 0.35, least.mean);
	assert_true(look.reuse > 0.85 && rr.reuse < 0.5);
	const char *const aware[] = { "cost_ms", "pending", "llmd", "lmetric" };
	for (unsigned i = 0; i < UNIT_COUNT(aware); i++)
		assert_share(run_chat(aware[i]).mean, 0.40, rr.mean);
	assert_share(run_chat("dynamo_cost").mean, 0.85, rr.mean);
	assert_share(run_chat("session").mean, 0.60, rr.mean);
}

static void customers_prefixes_are_reused(void **state)
{
	const struct loads load = { 18, 3000 };
	const struct loop_result rr = run("round_robin", load, customer_job);
	const struct loop_result look = run("lookahead", load, customer_job);

	assert_share(look.mean, 0.40, rr.mean);
	assert_share(look.e2e, 0.65, rr.e2e);
}

/* The one that no cache-aware rule may make slow: everybody asks for the same. */
static void a_hot_prompt_is_spread(void **state)
{
	const struct loads busy = { 200, 6000 }, calm = { 80, 4000 };
	const struct loop_result rr = run("round_robin", busy, hot_job);
	const struct loop_result look = run("lookahead", busy, hot_job);

	assert_share(look.mean, 1.05, rr.mean);
	assert_share(look.e2e, 1.02, rr.e2e);
	assert_true(look.least_served > look.most_served * 3 / 4);
	const struct loop_result calm_rr = run("round_robin", calm, hot_job);
	const struct loop_result calm_look = run("lookahead", calm, hot_job);
	assert_share(calm_look.mean, 1.10, calm_rr.mean);
	assert_share(calm_look.e2e, 1.02, calm_rr.e2e);
	assert_true(calm_look.least_served > 0);
}

static void short_prompts_do_not_wait_behind_long_ones(void **state)
{
	const struct loads load = { 80, 4000 };
	const struct loop_result rr = run("round_robin", load, mixed_job);
	const struct loop_result look = run("lookahead", load, mixed_job);
	const struct loop_result least = run("least_requests", load, mixed_job);

	assert_share(look.mean, 0.35, rr.mean);
	assert_share(look.mean, 0.60, least.mean);
	assert_share(look.e2e, 0.85, rr.e2e);
}

static void without_caches_load_is_balanced(void **state)
{
	const struct loads load = { 105, 4000 };
	const struct loop_result rr = run("round_robin", load, cold_job);

	assert_share(run("lookahead", load, cold_job).mean, 0.75, rr.mean);
	for (unsigned n = 0; policy_at(n); n++) {
		const struct loop_result r = run(policy_at(n)->name, load, cold_job);
		assert_true(r.least_served > 4000 / 8 / 4);
	}
}

static void slow_engines_get_their_share(void **state)
{
	struct loop_result r[2];
	const char *const policies[] = { "round_robin", "lookahead" };

	for (int p = 0; p < 2; p++) {
		struct loop *s = loop_create(policies[p], 1);
		s->engines[2].slowness = s->engines[6].slowness = 2.5;
		arrive(s, (struct loads){ 80, 8000 }, cold_job);
		loop_run(s);
		r[p] = loop_result(s);
		if (p == 1) {
			const uint64_t fast = s->engines[0].tokens_prompt;
			assert_in_range(kinds_count(s->kinds), 2, 3);
			assert_true(s->lanes[2].rates != s->lanes[0].rates);
			assert_in_range(s->engines[2].tokens_prompt, fast / 8, fast * 3 / 4);
			assert_in_range(s->engines[6].tokens_prompt, fast / 8, fast * 3 / 4);
		}
		loop_destroy(s);
	}
	assert_share(r[1].mean, 0.60, r[0].mean);
	assert_share(r[1].e2e, 0.85, r[0].e2e);
}

static void start_values_do_not_matter_for_long(void **state)
{
	const struct loads load = { 100, 4000 };
	const double right = run("lookahead", load, cold_job).mean;

	for (double wrong = 0.2; wrong < 6; wrong *= 25) {
		struct loop *s = loop_create("lookahead", 1);
		struct rates *r = s->lanes[0].rates;
		r->base_ms *= wrong, r->token_ms *= wrong;
		r->step_ms *= wrong, r->kv_token_ms *= wrong;
		arrive(s, load, cold_job);
		assert_share(finish(s).mean, 1.12, right);
	}
}

/* An engine that does nothing for 20 s: what it is sent waits, and then it is as good as before. */
static void a_stall_is_no_lesson(void **state)
{
	struct loop *s = loop_create("lookahead", 1);

	arrive(s, (struct loads){ 80, 6000 }, cold_job);
	s->stall = (struct loop_stall){ .engine = 4, .at_ms = 30000, .ms = 20000 };
	loop_run(s);
	assert_int_equal(kinds_count(s->kinds), 1);
	assert_true(s->lanes[0].rates->token_ms > 0.02 && s->lanes[0].rates->token_ms < 0.04);
	assert_true(s->lanes[4].factors.ttft < 1.3);
	const struct loop_result r = loop_result(s);
	assert_true(r.p90 < 400); /* those who did not meet it noticed nothing */
	assert_true(r.least_served > r.most_served / 5);
	loop_destroy(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversations_stay_where_their_cache_is),
		cmocka_unit_test(customers_prefixes_are_reused),
		cmocka_unit_test(a_hot_prompt_is_spread),
		cmocka_unit_test(short_prompts_do_not_wait_behind_long_ones),
		cmocka_unit_test(without_caches_load_is_balanced),
		cmocka_unit_test(slow_engines_get_their_share),
		cmocka_unit_test(start_values_do_not_matter_for_long),
		cmocka_unit_test(a_stall_is_no_lesson),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
