/*
 * Goal: a simulated cluster is what its parts are: times add up to the microsecond, followers wait,
 * what breaks is sent elsewhere or fails; figures are counted right; memory that runs out ends it
 * in good order.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "sim/event_heap.h"
#include "sim/fleet_report.h"

#define MS 1000000ull
#define START_NS 1000000000ull

struct bench {
	struct workload work;
	struct fleet_group group;
	struct fleet_config c;
	struct fleet_result r;
};

/* A step of 10 ms and 0.01 ms a token; 1,000 blocks of 16. */
static struct bench *bench_create(uint32_t engines)
{
	struct bench *b = test_calloc(1, sizeof(*b));

	workload_init(&b->work);
	b->group = (struct fleet_group){
		.count = engines,
		.profile = { .name = "test",
			     .gpus = 1,
			     .params = { .cost = { .kind = STEP_ROOFLINE,
						   .roofline = { .flops_token = 1,
								 .flops_ms = 100,
								 .bytes_ms = 1,
								 .step_ms = 10 } },
					 .block_tokens = 16,
					 .blocks = 1000,
					 .sequences_max = 8,
					 .step_tokens = 1000 } },
	};
	fleet_config_init(&b->c);
	b->c.work = &b->work;
	b->c.groups = &b->group;
	b->c.group_count = 1;
	b->c.policy = "round_robin";
	b->c.is_checked = true;
	return b;
}

static void bench_destroy(struct bench *b)
{
	fleet_result_fini(&b->r);
	workload_fini(&b->work);
	test_free(b);
}

static void add(struct bench *b, uint64_t due_ms, uint32_t after, uint64_t stream, uint32_t prompt,
		uint32_t output)
{
	const struct work_request q = { .due_ns = due_ms * MS,
					.after = after,
					.output_tokens = output };

	if (after != WORK_NONE)
		assert_int_equal(workload_turns(&b->work, after), 0);
	assert_int_equal(workload_span(&b->work, stream, 0, prompt), 0);
	assert_int_equal(workload_add(&b->work, &q), 0);
}

static void play(struct bench *b)
{
	assert_int_equal(workload_seal(&b->work), 0);
	assert_int_equal(fleet_run(&b->c, &b->r), 0);
	if (b->r.faults_found)
		fail_msg("%s", b->r.fault);
}

static uint64_t us(uint64_t ns)
{
	return (ns - START_NS) / 1000;
}

static void test_a_conversation(void **state)
{
	struct bench *b = bench_create(1);

	add(b, 5, WORK_NONE, 1, 100, 11);
	add(b, 500, 0, 2, 50, 1);
	play(b);
	const struct fleet_record *a = &b->r.records[0], *c = &b->r.records[1];
	assert_int_equal(us(a->due_ns), 5000);
	assert_int_equal(us(a->first_ns), 5000 + 11000);
	assert_int_equal(us(a->end_ns), 16000 + 10 * 10010);
	assert_int_equal(us(c->due_ns), us(a->end_ns) + 500000);
	/* 161 tokens, of which 110 were computed before: 6 whole blocks. */
	assert_int_equal(c->cached, 96);
	assert_int_equal(us(c->first_ns), us(c->due_ns) + 10000 + 65 * 10);
	assert_int_equal(c->outcome, FLEET_OK);
	assert_int_equal(b->r.decisions, 2);
	struct fleet_figures f;
	const struct fleet_objectives slo = { .ttft_ms = 10.9, .itl_ms = 20 };
	struct fleet_curve curve;
	assert_int_equal(fleet_report(&b->r, 0, &slo, &f, &curve), 0);
	assert_int_equal(curve.count, REPORT_CDF_POINTS);
	assert_true(f.ttft.mean > 10.82 && f.ttft.mean < 10.83);
	assert_true(f.itl.mean > 10.009 && f.itl.mean < 10.011);
	assert_true(f.goodput == 0.5 && f.failed == 0 && f.requests == 2);
	assert_true(f.cache_hit > 0.36 && f.cache_hit < 0.37);
	double possible;
	assert_int_equal(fleet_possible_hit(&b->work, 16, 0, &possible), 0);
	assert_true(possible > 0.36 && possible < 0.37); /* 96 of 261 */
	bench_destroy(b);
}

static void test_round_robin(void **state)
{
	struct bench *b = bench_create(3);

	for (uint32_t i = 0; i < 9; i++)
		add(b, 100 * i, WORK_NONE, 10 + i, 100, 2);
	play(b);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(b->r.engines[i].requests, 3);
	bench_destroy(b);
}

static void test_the_brain_knows_caches(void **state)
{
	struct bench *b = bench_create(4);

	b->c.policy = "lookahead";
	for (uint32_t i = 0; i < 12; i++)
		add(b, 1000 * i, WORK_NONE, 1, 640, 2);
	play(b);
	for (uint32_t i = 1; i < 12; i++)
		assert_int_equal(b->r.records[i].cached, 624);
	bench_destroy(b);
	/* Without its events what was sent there is taken to be there. */
	b = bench_create(4);
	b->c.policy = "lookahead";
	b->c.has_kv_events = false;
	for (uint32_t i = 0; i < 12; i++)
		add(b, 1000 * i, WORK_NONE, 1, 640, 2);
	play(b);
	for (uint32_t i = 1; i < 12; i++)
		assert_int_equal(b->r.records[i].cached, 624);
	bench_destroy(b);
}

static void test_a_crash(void **state)
{
	struct bench *b = bench_create(2);
	const struct fleet_fault faults[] = {
		{ .kind = FLEET_CRASH, .engine = 0, .at_ns = 30 * MS, .for_ns = 1000 * MS },
	};

	b->c.faults = faults;
	b->c.fault_count = 1;
	add(b, 5, WORK_NONE, 1, 100, 50);    /* at engine 0: streams when it dies */
	add(b, 6, WORK_NONE, 2, 100, 5);     /* at engine 1 */
	add(b, 27, WORK_NONE, 3, 100, 5);    /* at engine 0: has no first token yet */
	add(b, 100, WORK_NONE, 4, 100, 5);   /* refused, or it goes to engine 1 */
	add(b, 20000, WORK_NONE, 5, 100, 5); /* all is well again */
	add(b, 20001, WORK_NONE, 5, 100, 5);
	play(b);
	assert_int_equal(b->r.records[0].outcome, FLEET_BROKEN);
	assert_in_range(b->r.records[0].generated, 1, 3);
	for (uint32_t i = 1; i < 6; i++)
		assert_int_equal(b->r.records[i].outcome, FLEET_OK);
	assert_int_equal(b->r.records[2].attempts, 2);
	assert_int_equal(b->r.records[2].engine, 1);
	assert_int_equal(b->r.records[3].engine, 1);
	assert_int_not_equal(b->r.records[4].engine, b->r.records[5].engine);
	bench_destroy(b);
}

static void test_a_slow_start_and_other_faults(void **state)
{
	struct bench *b = bench_create(2);
	const struct fleet_fault faults[] = {
		{ .kind = FLEET_CRASH, .engine = 0, .at_ns = 0, .for_ns = 500 * MS },
		{ .kind = FLEET_SLOW, .engine = 1, .at_ns = 50 * MS, .for_ns = 100 * MS, .arg = 3 },
		{ .kind = FLEET_HANG, .engine = 1, .at_ns = 3000 * MS, .for_ns = 100 * MS },
	};

	b->c.faults = faults;
	b->c.fault_count = 3;
	add(b, 10, WORK_NONE, 1, 100, 1);
	add(b, 60, WORK_NONE, 2, 100, 1);
	add(b, 3000, WORK_NONE, 3, 100, 1);
	add(b, 3000, WORK_NONE, 4, 100, 1);
	play(b);
	assert_int_equal(b->r.records[0].engine, 1);
	assert_int_equal(us(b->r.records[0].first_ns), 21000);
	assert_int_equal(us(b->r.records[1].first_ns), 60000 + 33000);
	const struct fleet_record *x = &b->r.records[2], *y = &b->r.records[3];
	const struct fleet_record *hung = x->engine == 1 ? x : y, *other = x->engine == 1 ? y : x;
	assert_int_equal(us(other->first_ns), 3011000);
	assert_int_equal(us(hung->first_ns), 3111000);
	bench_destroy(b);
}

static void test_too_long(void **state)
{
	struct bench *b = bench_create(1);

	add(b, 0, WORK_NONE, 1, 16000, 2);
	add(b, 0, WORK_NONE, 2, 15999, 2);
	play(b);
	assert_int_equal(b->r.records[0].outcome, FLEET_TOO_LONG);
	assert_int_equal(b->r.records[1].outcome, FLEET_OK);
	bench_destroy(b);
}

static void test_wrong_configs(void **state)
{
	struct bench *b = bench_create(1);

	add(b, 0, WORK_NONE, 1, 100, 2);
	assert_int_equal(workload_seal(&b->work), 0);
	b->c.policy = "oracle of Delphi";
	assert_int_equal(fleet_run(&b->c, &b->r), -BB_EINVALID);
	b->c.policy = "round_robin";
	b->group.profile.params.block_tokens = 24;
	assert_int_equal(fleet_run(&b->c, &b->r), -BB_EINVALID);
	bench_destroy(b);
}

/* Each allocation fails in turn: an error, or (where the brain lives without it) a whole result. */
static void test_no_memory(void **state)
{
	struct bench *b = bench_create(2);

	b->c.policy = "lookahead";
	for (uint32_t i = 0; i < 6; i++)
		add(b, 10 * i, WORK_NONE, 1 + i / 2, 200, 3);
	add(b, 50, 0, 9, 50, 3);
	assert_int_equal(workload_seal(&b->work), 0);
	uint32_t failed = 0;
	for (uint64_t n = 1;; n++) {
		const uint64_t before = bb_alloc_failed_count();
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		const int rc = fleet_run(&b->c, &b->r);
		const bool was_reached = bb_alloc_failed_count() > before;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (rc)
			assert_int_equal(rc, -BB_ENOMEM);
		else
			assert_int_equal(b->r.faults_found, 0);
		failed += rc != 0;
		fleet_result_fini(&b->r);
		if (!was_reached)
			break;
	}
	assert_true(failed > 20);
	bench_destroy(b);
}

static void test_heap(void **state)
{
	struct event_heap h;
	struct bb_rng rng;
	uint64_t last_ns = 0, last_number = 0;

	bb_rng_seed(&rng, 3);
	event_heap_init(&h);
	assert_true(event_heap_next_ns(&h) == UINT64_MAX);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(event_heap_put(&h, bb_rng_below(&rng, 50), i % 3, i), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		const struct event_entry e = event_heap_take(&h);
		assert_true(e.at_ns > last_ns || (e.at_ns == last_ns && e.number >= last_number));
		assert_int_equal(e.kind, e.index % 3);
		last_ns = e.at_ns;
		last_number = e.number;
	}
	event_heap_fini(&h);
}

static void test_means_of_seeds(void **state)
{
	struct fleet_figures runs[3] = { { .ttft = { .mean = 10 } },
					 { .ttft = { .mean = 12 } },
					 { .ttft = { .mean = 14 } } };
	struct fleet_figures mean, margin;

	fleet_figures_mean(runs, 3, &mean, &margin);
	assert_true(mean.ttft.mean == 12);
	/* 4.303 × 2 ÷ √3 */
	assert_true(margin.ttft.mean > 4.96 && margin.ttft.mean < 4.98);
	fleet_figures_mean(runs, 1, &mean, &margin);
	assert_true(mean.ttft.mean == 10 && margin.ttft.mean == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_conversation),
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_the_brain_knows_caches),
		cmocka_unit_test(test_a_crash),
		cmocka_unit_test(test_a_slow_start_and_other_faults),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_wrong_configs),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_heap),
		cmocka_unit_test(test_means_of_seeds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
