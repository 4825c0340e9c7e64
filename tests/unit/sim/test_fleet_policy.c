/*
 * Goal: the default policy with the whole brain, its queue and its events, before eight simulated
 * engines of an 8B model: near and above what they carry it is what docs/proof.md says, beside
 * dispatching at once and beside least_requests. Ratios of virtual time: the same in every run.
 */
#include "unit.h"

#include "sim/fleet_report.h"
#include "sim/work_make.h"

#define ENGINES 8
#define REQUESTS 4000

struct load {
	const char *name;
	double rate; /* requests a second */
};

static struct fleet_figures run(struct load load, const char *policy, bool is_at_once)
{
	const struct work_options o = { .requests = REQUESTS, .rate = load.rate, .seed = 1 };
	const struct fleet_objectives slo = { .ttft_ms = 2000, .itl_ms = 50 };
	struct fleet_group group = { .count = ENGINES };
	struct fleet_figures figures;
	struct fleet_config c;
	struct fleet_result r;
	struct workload w;

	workload_init(&w);
	assert_int_equal(work_make(bb_str_of(load.name), &o, &w), 0);
	assert_int_equal(step_profile_named(BB_STR("8b"), &group.profile), 0);
	fleet_config_init(&c);
	c.work = &w;
	c.groups = &group;
	c.group_count = 1;
	c.policy = policy;
	c.is_at_once = is_at_once;
	c.seed = 1;
	assert_int_equal(fleet_run(&c, &r), 0);
	if (r.faults_found)
		fail_msg("%s", r.fault);
	assert_int_equal(fleet_report(&r, 0.1, &slo, &figures, NULL), 0);
	assert_true(figures.failed == 0);
	fleet_result_fini(&r);
	workload_fini(&w);
	return figures;
}

/* a <= share × b, and says by how much when not. */
static void assert_share(double a, double share, double b)
{
	if (!(a <= share * b))
		fail_msg("%.1f is %.2f of %.1f, more than %.2f", a, a / b, b, share);
}

static void in_overload_the_order_of_the_queue_decides(void **state)
{
	const struct load mixed = { "mixed", 76 };
	const struct fleet_figures now = run(mixed, "lookahead", true);
	const struct fleet_figures late = run(mixed, "lookahead", false);

	assert_share(late.ttft.mean, 0.40, now.ttft.mean);
	assert_share(late.ttft.p90, 0.40, now.ttft.p90);
	assert_share(late.ttft.p99, 1.00, now.ttft.p99);
	assert_share(late.e2e.mean, 0.95, now.e2e.mean);
	assert_share(late.preemptions, 0.40, now.preemptions);
}

/* All prompts are alike: what one does not wait another does. */
static void nobody_waits_much_longer_than_in_order(void **state)
{
	const struct load cold = { "cold", 145 };
	const struct fleet_figures now = run(cold, "lookahead", true);
	const struct fleet_figures late = run(cold, "lookahead", false);
	const struct fleet_figures least = run(cold, "least_requests", false);

	assert_share(late.ttft.mean, 0.85, now.ttft.mean);
	assert_share(late.ttft.p99, 1.15, now.ttft.p99);
	assert_share(late.ttft.p99, 1.10, least.ttft.p99);
	assert_share(late.preemptions, 0.05, now.preemptions);
}

static void where_sequences_are_short_order_is_that_of_arrival(void **state)
{
	const struct load loads[] = { { "hot", 480 }, { "decode", 295 } };

	for (size_t i = 0; i < UNIT_COUNT(loads); i++) {
		const struct fleet_figures late = run(loads[i], "lookahead", false);
		const struct fleet_figures least = run(loads[i], "least_requests", false);
		assert_share(late.ttft.mean, 1.02, least.ttft.mean);
		assert_share(late.ttft.p90, 1.02, least.ttft.p90);
		assert_share(late.ttft.p99, 1.05, least.ttft.p99);
	}
}

/* 150 prompts of 6,000 tokens do not fit into one cache; answers grow, and others end meanwhile. */
static void full_caches_hold_nobody_up(void **state)
{
	const struct load b2b = { "b2b", 17.6 };
	const struct fleet_figures now = run(b2b, "lookahead", true);
	const struct fleet_figures late = run(b2b, "lookahead", false);

	assert_share(late.ttft.mean, 1.05, now.ttft.mean);
	assert_share(late.ttft.p99, 1.10, now.ttft.p99);
	assert_share(late.preemptions, 0.001, REQUESTS);
}

static void below_saturation_nothing_waits(void **state)
{
	const struct load calm = { "cold", 78 };

	assert_share(run(calm, "lookahead", false).ttft.mean, 1.02,
		     run(calm, "lookahead", true).ttft.mean);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_overload_the_order_of_the_queue_decides),
		cmocka_unit_test(nobody_waits_much_longer_than_in_order),
		cmocka_unit_test(where_sequences_are_short_order_is_that_of_arrival),
		cmocka_unit_test(full_caches_hold_nobody_up),
		cmocka_unit_test(below_saturation_nothing_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
