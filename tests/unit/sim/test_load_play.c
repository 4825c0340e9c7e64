/*
 * Goal: a workload that nobody answers ends, with each request failed or skipped as what it follows
 * was; no allocation that fails harms; a summary's figures are those of the records.
 */
#include "unit.h"

#include <math.h>

#include "base/alloc.h"
#include "sim/load_answer.h"
#include "sim/play_report.h"

/* A port that nobody listens at: bound, and not listened on. */
static void nowhere(struct sock_addr *to)
{
	const char *why = "";

	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:1"), to, &why), 0);
}

static void add(struct workload *w, uint32_t after, bool with_answer)
{
	const struct work_request r = { .after = after, .output_tokens = 5 };

	if (with_answer)
		assert_int_equal(workload_turns(w, after), 0);
	assert_int_equal(workload_span(w, work_own(w->count), 0, 20), 0);
	assert_int_equal(workload_add(w, &r), 0);
}

/* 0; 1 and 2 are turns behind it, 3 only waits for its end; 4 follows 2. */
static void make_work(struct workload *w)
{
	workload_init(w);
	add(w, WORK_NONE, false);
	add(w, 0, true);
	add(w, 1, true);
	add(w, 0, false);
	add(w, 2, true);
}

static int play(const struct workload *w, struct play_record *records, struct load_meter *meter,
		struct play_outcome *outcome)
{
	static const struct bb_str model = BB_STR_INIT("m");
	struct load_prompt prompt;
	struct play_plan plan = {
		.host = BB_STR("x"), .path = BB_STR("/"), .prompt = &prompt, .connections = 2
	};

	nowhere(&plan.to);
	load_prompt_init(&prompt, w, &model);
	*meter = (struct load_meter){ 0 };
	return load_play(&plan, meter, records, outcome);
}

static void test_nobody_answers(void **state)
{
	struct load_meter *const meter = bb_alloc(sizeof(*meter));
	struct play_record records[5];
	struct play_outcome outcome;
	struct workload w;

	make_work(&w);
	assert_int_equal(play(&w, records, meter, &outcome), 0);
	assert_int_equal(records[0].state, PLAY_FAILED);
	assert_int_equal(records[0].error, LOAD_ERROR_CONNECT);
	assert_int_equal(records[1].state, PLAY_SKIPPED);
	assert_int_equal(records[2].state, PLAY_SKIPPED);
	assert_int_equal(records[3].state, PLAY_FAILED);
	assert_int_equal(records[4].state, PLAY_SKIPPED);
	int rc = -BB_ENOMEM;
	uint64_t n = 0;
	while (rc) {
		bb_alloc_fail_at(++n, BB_FAIL_ONCE);
		rc = play(&w, records, meter, &outcome);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_true(n > 8);
	workload_fini(&w);
	bb_free(meter);
}

#define MS 1000000ull

static void test_summary(void **state)
{
	struct load_meter *const meter = bb_alloc_zero(1, sizeof(*meter));
	const struct play_outcome outcome = { .length_ns = 2000 * MS,
					      .cpu_ns = 500 * MS,
					      .in_flight_max = 3 };
	const struct play_objectives slo = { 150, 20 };
	struct play_record records[5] = {
		{ .state = PLAY_OK,
		  .ttft_ns = 100 * MS,
		  .e2e_ns = 200 * MS,
		  .span_ns = 40 * MS,
		  .events = 5,
		  .prompt_tokens = 20,
		  .cached_tokens = 10,
		  .output_tokens = 5 },
		{ .state = PLAY_OK,
		  .ttft_ns = 200 * MS,
		  .e2e_ns = 300 * MS,
		  .span_ns = 40 * MS,
		  .events = 3,
		  .prompt_tokens = 45,
		  .cached_tokens = LOAD_UNKNOWN,
		  .output_tokens = LOAD_UNKNOWN,
		  .due_ns = 1000 * MS },
		{ .state = PLAY_FAILED, .error = LOAD_ERROR_CUT, .prompt_tokens = LOAD_UNKNOWN },
		{ .state = PLAY_OK,
		  .ttft_ns = 0,
		  .e2e_ns = 50 * MS,
		  .events = 0,
		  .prompt_tokens = LOAD_UNKNOWN,
		  .output_tokens = 0 },
		{ .state = PLAY_SKIPPED },
	};
	struct play_summary s;
	struct workload w;

	make_work(&w);
	assert_int_equal(play_summary(&w, records, &outcome, meter, &slo, 0, &s), 0);
	assert_true(s.run.requests == 5 && s.run.failed == 2 && s.skipped == 1);
	assert_int_equal(s.errors[LOAD_ERROR_CUT], 1);
	assert_true(s.run.ttft_ms.count == 2 && s.run.ttft_ms.mean == 150);
	assert_true(s.run.itl_ms.count == 2 && s.run.itl_ms.mean == 10); /* 40 ms by 4 gaps, both */
	assert_true(s.run.e2e_ms.count == 3 && s.run.e2e_ms.max == 300);
	assert_true(fabs(s.run.goodput - 0.2) < 1e-9); /* only the first was in time */
	assert_true(s.run.cache_hit == 0.5);	       /* of those that said so */
	assert_true(s.run.output_tokens_per_s == 5 && s.run.requests_per_s == 1.5);
	assert_true(fabs(s.prompt_error - 0) < 1e-9 && s.cores == 0.25 && s.in_flight_max == 3);
	assert_int_equal(s.run.ttft_p50.count, 2);
	assert_int_equal(play_summary(&w, records, &outcome, meter, &slo, 0.4, &s), 0);
	assert_true(s.run.ttft_ms.count == 0 && s.run.goodput == 0 && s.run.failed == 2);
	int rc = -BB_ENOMEM;
	for (uint64_t n = 1; rc; n++) {
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		rc = play_summary(&w, records, &outcome, meter, &slo, 0, &s);
		assert_true(rc == 0 || rc == -BB_ENOMEM);
	}
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	workload_fini(&w);
	bb_free(meter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_answers),
		cmocka_unit_test(test_summary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
