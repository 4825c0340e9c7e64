/*
 * Goal: a lane's sums are those of its requests at every moment and zero when all is over; what a
 * request waits behind, whether a lane is full or open, and how long answers are follow from them;
 * learning takes only what teaches something.
 */
#include "lanes.h"

#include <math.h>

static void assert_near(double a, double b)
{
	if (!(fabs(a - b) <= 1e-6 * (1 + fabs(b))))
		fail_msg("%.9g is not %.9g", a, b);
}

static void what_waits_is_in_order(void **state)
{
	struct lane *l = &lanes[0];
	const uint32_t a = lanes_add(0, 1000, 800), b = lanes_add(0, 2000, 2000);
	const uint32_t c = lanes_add(0, 300, 100);

	assert_int_equal(l->pending, 2900);
	assert_int_equal(l->head_uncached, 800);
	assert_int_equal(l->waiting_prompts, 3300);
	assert_near(rows[a].ahead, 800);
	assert_near(rows[b].ahead, 2800);
	assert_near(rows[c].ahead, 2900);
	lanes_first(0, b); /* out of order: its neighbours meet */
	assert_int_equal(rows[a].next, c);
	assert_int_equal(rows[c].prev, a);
	assert_int_equal(l->pending, 900);
	lanes_first(0, b); /* again: nothing */
	assert_int_equal(l->generating, 1);
	lanes_remove(0, a, LANE_BROKEN_OFF);
	assert_int_equal(l->head_uncached, 100);
	assert_int_equal(l->waiting_head, c);
	assert_int_equal(l->kv_tokens, 2000 + 1 + 300);
	lanes_first(0, c);
	lane_progress(l, &lanes_table, c, lanes_ns(), 50);
	lane_progress(l, &lanes_table, c, lanes_ns(), 20); /* late news: nothing */
	assert_int_equal(l->generated, 51);
	lanes_remove(0, b, LANE_FINISHED);
	lanes_remove(0, c, LANE_FINISHED);
	lanes_assert_empty(l);
}

static void a_running_prefill_makes_progress(void **state)
{
	struct lane *l = &lanes[0];

	lanes_add(0, 1000, 1000);
	lanes_add(0, 500, 500);
	now_ms = 15; /* 500 tokens at 0.03 ms */
	assert_near(lane_pending(l, lanes_ns()), 1000);
	now_ms = 500; /* never more than 95 % of the head's */
	assert_near(lane_pending(l, lanes_ns()), 1500 - 950);
	lane_set_limits(l, 1, 0, 0); /* waits for a sequence: time is no progress */
	assert_near(lane_pending(l, lanes_ns()), 1500);
	lane_set_limits(l, 0, 1400, 0); /* nor for memory */
	assert_near(lane_pending(l, lanes_ns()), 1500);
	lane_set_limits(l, 0, 1500, 0); /* which is not short after all */
	assert_near(lane_pending(l, lanes_ns()), 550);
}

static void a_lane_is_open_while_there_is_room(void **state)
{
	struct lane *l = &lanes[0];

	lane_set_limits(l, 1, 40000, 0);
	assert_true(lane_is_open(l, lanes_ns(), 100000)); /* it must go somewhere */
	lanes_add(0, 8191, 8191);
	assert_true(lane_is_open(l, lanes_ns(), 500));
	assert_false(lane_is_open(l, lanes_ns(), 40000)); /* no room in memory */
	const uint32_t second = lanes_add(0, 1, 1);
	assert_false(lane_is_open(l, lanes_ns(), 1)); /* one runs, one waits for its sequence */
	assert_true(lane_is_full(l));
	lane_set_limits(l, 2, 40000, 0);
	assert_true(lane_is_open(l, lanes_ns(), 1)); /* little behind the running prefill */
	lanes_remove(0, second, LANE_BROKEN_OFF);
	const uint32_t third = lanes_add(0, 8192, 8192);
	assert_false(lane_is_open(l, lanes_ns(), 1)); /* the next step is full */
	l->rates->token_ms = 9.0 / 8192;	      /* in 9 ms it is over */
	assert_true(lane_is_open(l, lanes_ns(), 1));
	lanes_remove(0, third, LANE_BROKEN_OFF);
	assert_true(lane_is_open(l, lanes_ns(), 1));
	/* Two answers of 256 tokens: √2 × 256, and 40 for each. */
	lane_set_limits(l, 3, 8191 + 1000 + 443, 0);
	assert_true(lane_is_open(l, lanes_ns(), 1000));
	assert_false(lane_is_open(l, lanes_ns(), 1001));
}

/* The most that streams will hold if no further one comes. */
static void growth_is_pooled(void **state)
{
	struct lane *l = &lanes[0];
	uint32_t rows_of[100];

	lane_set_limits(l, 0, 1000000, 0);
	for (int i = 0; i < 99; i++)
		rows_of[i] = lanes_stream(0, 1, 1);
	/* 256 tokens to come of each of a hundred: at most half of these at once, or 64 × 2; and 10
	 * × 256 */
	const double near_nothing = 1000000 - 198 - l->kv_free;
	assert_in_range(near_nothing, 12000 + 2560 + 4000, 12800 + 2570 + 4000);
	for (int i = 0; i < 99; i++)
		lanes_remove(0, rows_of[i], LANE_BROKEN_OFF);
	for (int i = 0; i < 99; i++)
		rows_of[i] = lanes_stream(0, 1000, 1);
	/* Each that ends gives back more than the others grow by. */
	assert_in_range(1000000 - 99 * 1001 - l->kv_free, 2500 + 4000, 2570 + 4000);
}

static void shared_prompts_lie_in_memory_once(void **state)
{
	const struct lane_request twin = {
		.prompt_tokens = 4000, .uncached = 100, .pinned = 100, .output_max = UINT32_MAX
	};
	struct lane *l = &lanes[0];

	const uint32_t first = lanes_add(0, 4000, 4000);
	const uint32_t row = row_count++;
	rows[row] = twin;
	lane_add(l, &lanes_table, row, lanes_ns());
	assert_int_equal(l->kv_tokens, 8000);
	assert_int_equal(l->unique_tokens, 4100);
	lane_report_kv(l, 2050); /* nothing is known of a limit: nothing to correct */
	assert_near(l->kv_scale, 1);
	lane_set_limits(l, 0, 10000, 0);
	lane_report_kv(l, 2050); /* prompts that wait need not be there yet */
	assert_near(l->kv_scale, 1);
	lanes_first(0, first);
	lanes_first(0, row);
	for (int i = 0; i < 60; i++)
		lane_report_kv(l, 2051);
	assert_near(l->kv_scale, 0.5);
	for (int i = 0; i < 60; i++)
		lane_report_kv(l, 1e9);
	assert_near(l->kv_scale, 4);
}

static void lengths_are_learned(void **state)
{
	assert_near(lane_residual(&lengths, 0, UINT32_MAX), 256);
	assert_near(lane_residual(&lengths, 0, 10), 10);
	assert_near(lane_residual(&lengths, 10, 10), 1);
	assert_near(lane_residual(&lengths, UINT32_MAX, UINT32_MAX), 1);
	for (int i = 0; i < 400; i++) {
		const uint32_t row = lanes_stream(0, 10, i % 2 ? 40 : 1000);
		lanes_remove(0, row, LANE_FINISHED);
	}
	const uint32_t cut = lanes_stream(0, 10, 500);
	lanes_remove(0, cut, LANE_BROKEN_OFF); /* says nothing of its end */
	const double mean = lane_residual(&lengths, 0, UINT32_MAX);
	assert_true(mean > 450 && mean < 590);
	/* Only the long ones get here; one in so many may go on beyond what has been seen. */
	assert_in_range(lane_residual(&lengths, 200, UINT32_MAX), 790, 810);
	assert_in_range(lane_residual(&lengths, 64, UINT32_MAX), 925, 945);
	lanes_assert_empty(&lanes[0]);
}

/* ---- what teaches ---- */

static void first_tokens_teach_unless_odd(void **state)
{
	uint32_t row = lanes_add(0, 1000, 1000);

	now_ms += 500;
	lanes_first(0, row);
	assert_int_equal(rates.ttft_samples, 1);
	lane_set_limits(&lanes[0], 1, 0, 0); /* full: it will wait for a sequence */
	row = lanes_add(0, 1000, 1000);
	assert_true(rows[row].was_at_limit);
	now_ms += 500;
	lanes_first(0, row);
	lane_set_limits(&lanes[0], 0, 500, 0);
	row = lanes_add(0, 1000, 1000);
	assert_true(rows[row].was_at_limit);
	lane_set_limits(&lanes[0], 0, 0, 0);
	/* One that was ahead leaves: the prediction was about something else. */
	const uint32_t leaves = lanes_add(1, 1000, 1000);
	row = lanes_add(1, 1000, 1000);
	lanes_remove(1, leaves, LANE_BROKEN_OFF);
	now_ms += 500;
	lanes_first(1, row);
	assert_int_equal(rates.ttft_samples, 1);
}

static void gaps_teach_when_no_prefill_is_between(void **state)
{
	const uint32_t row = lanes_stream(0, 100, 2);
	uint32_t tokens = 2;

	for (int i = 0; i < 4; i++) {
		now_ms += 20;
		lane_progress(&lanes[0], &lanes_table, row, lanes_ns(), ++tokens);
	}
	assert_int_equal(rates.gap_samples, 1); /* four tokens at least */
	const uint32_t other = lanes_add(0, 500, 500);
	now_ms += 200;
	lane_progress(&lanes[0], &lanes_table, row, lanes_ns(), tokens += 5);
	now_ms += 20;
	lanes_first(0, other);
	now_ms += 100;
	lane_progress(&lanes[0], &lanes_table, row, lanes_ns(), tokens += 5); /* partly before it */
	assert_int_equal(rates.gap_samples, 1);
	now_ms += 100;
	lane_progress(&lanes[0], &lanes_table, row, lanes_ns(), tokens += 5);
	assert_int_equal(rates.gap_samples, 2);
	assert_true(rates.step_ms > 8);
}

static void blind_requests_do_not_stay_pending(void **state)
{
	struct lane *l = &lanes[0];
	uint32_t blind[3];

	for (int i = 0; i < 3; i++) {
		const uint32_t row = row_count++;
		rows[row] = (struct lane_request){ .prompt_tokens = 1000,
						   .uncached = 1000,
						   .pinned = 1000,
						   .output_max = UINT32_MAX,
						   .is_blind = true };
		lane_add(l, &lanes_table, row, lanes_ns());
		blind[i] = row;
	}
	now_ms = 50; /* 15 ms + 1000 × 0.03 ms */
	lane_settle(l, &lanes_table, lanes_ns());
	assert_int_equal(l->generating, 1);
	assert_int_equal(l->pending, 2000);
	const uint32_t seen = lanes_add(0, 100, 100);
	lanes_first(0, seen); /* engines take them in order */
	assert_int_equal(l->generating, 4);
	assert_int_equal(l->pending, 0);
	assert_int_equal(rates.ttft_samples, 0);
	for (int i = 0; i < 3; i++)
		lanes_remove(0, blind[i], LANE_FINISHED);
	assert_int_equal(lengths.samples, 0); /* how long they were was not told */
	lanes_remove(0, seen, LANE_FINISHED);
	lanes_assert_empty(l);
}

/* Each alone at the engine: 5 ms + 0.002 ms a token, then `further` tokens, 8 ms each. */
static double learned_from_whole_answers(uint32_t further, double first_ms)
{
	struct lane *l = &lanes[0];

	for (int i = 0; i < 600; i++) {
		const uint32_t row = lanes_add(0, 8000, 8000);
		rows[row].is_blind = true;
		now_ms += first_ms + 8 * further;
		if (further)
			lane_progress(l, &lanes_table, row, lanes_ns(), 1 + further);
		lanes_remove(0, row, LANE_FINISHED);
		now_ms += 1;
	}
	lanes_assert_empty(l);
	return rates_ttft_ms(&rates, l->factors.ttft, 8000, 1.0 / LANE_STEP_TOKENS, 0);
}

static void answers_in_one_piece_teach(void **state)
{
	assert_in_range(learned_from_whole_answers(0, 21), 19, 23);
	assert_in_range(learned_from_whole_answers(2, 60), 55, 65);
	/* Most of the time is not the first token's: all that is sure is that it came before. */
	const uint64_t samples = rates.ttft_samples;
	learned_from_whole_answers(100, 21);
	assert_int_equal(rates.ttft_samples, samples);
	rates.token_ms = 1;
	assert_in_range(learned_from_whole_answers(100, 21), 700, 900);
}

/* ---- a million random events ---- */

struct ticket {
	uint32_t row, lane;
	bool is_live;
};

static uint32_t claim_row(struct ticket *tickets, const uint32_t *free_rows, uint32_t *free_count,
			  uint32_t at)
{
	tickets[at].row = free_rows[--*free_count];
	return tickets[at].row;
}

static void sums_are_zero_when_all_is_over(void **state)
{
	static struct ticket tickets[LANE_ROWS];
	static uint32_t free_rows[LANE_ROWS];
	uint32_t free_count = LANE_ROWS;
	struct bb_rng random;

	bb_rng_seed(&random, 5);
	for (uint32_t i = 0; i < LANE_ROWS; i++)
		free_rows[i] = i;
	for (int i = 0; i < LANES; i++) {
		lane_set_limits(&lanes[i], i % 3 ? 64 : 0, i % 2 ? 100000 : 0, 0);
	}
	for (int n = 0; n < 1000000; n++) {
		const uint32_t at = (uint32_t)bb_rng_below(&random, LANE_ROWS);
		struct ticket *t = &tickets[at];
		now_ms += bb_rng_unit(&random) - 0.1; /* threads read the clock one after another */
		if (!t->is_live) {
			if (bb_rng_below(&random, 4))
				continue;
			const uint32_t prompt = (uint32_t)bb_rng_below(&random, 9000);
			t->lane = (uint32_t)bb_rng_below(&random, LANES);
			t->is_live = true;
			rows[claim_row(tickets, free_rows, &free_count, at)] =
				(struct lane_request){
					.prompt_tokens = prompt,
					.uncached = (uint32_t)bb_rng_below(&random, prompt + 1),
					.pinned = (uint32_t)bb_rng_below(&random, prompt + 1),
					.output_max = n % 3 ? UINT32_MAX : 50,
					.is_blind = n % 5 == 0,
				};
			lane_add(&lanes[t->lane], &lanes_table, t->row, lanes_ns());
			continue;
		}
		struct lane *l = &lanes[t->lane];
		switch (bb_rng_below(&random, 4)) {
		case 0: lane_first_token(l, &lanes_table, t->row, lanes_ns()); break;
		case 1:
			lane_progress(l, &lanes_table, t->row, lanes_ns(),
				      (uint32_t)bb_rng_below(&random, 3000));
			break;
		case 2: lane_settle(l, &lanes_table, lanes_ns()); break;
		default:
			lane_remove(l, &lanes_table, t->row, lanes_ns(),
				    n % 2 ? LANE_FINISHED : LANE_BROKEN_OFF);
			t->is_live = false;
			free_rows[free_count++] = t->row;
		}
		const double pending = lane_pending(l, lanes_ns());
		assert_true(pending >= 0 && pending <= (double)l->pending);
	}
	for (uint32_t i = 0; i < LANE_ROWS; i++)
		if (tickets[i].is_live)
			lanes_remove((int)tickets[i].lane, tickets[i].row, LANE_FINISHED);
	for (int i = 0; i < LANES; i++) {
		lanes_assert_empty(&lanes[i]);
		assert_true(isfinite(lanes[i].freed_per_ms) && isfinite(lanes[i].factors.ttft));
	}
	assert_true(rates.base_ms > 0 && rates.token_ms > 0 && rates.step_ms > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_waits_is_in_order, lanes_open),
		cmocka_unit_test_setup(a_running_prefill_makes_progress, lanes_open),
		cmocka_unit_test_setup(a_lane_is_open_while_there_is_room, lanes_open),
		cmocka_unit_test_setup(growth_is_pooled, lanes_open),
		cmocka_unit_test_setup(shared_prompts_lie_in_memory_once, lanes_open),
		cmocka_unit_test_setup(lengths_are_learned, lanes_open),
		cmocka_unit_test_setup(first_tokens_teach_unless_odd, lanes_open),
		cmocka_unit_test_setup(gaps_teach_when_no_prefill_is_between, lanes_open),
		cmocka_unit_test_setup(blind_requests_do_not_stay_pending, lanes_open),
		cmocka_unit_test_setup(answers_in_one_piece_teach, lanes_open),
		cmocka_unit_test_setup(sums_are_zero_when_all_is_over, lanes_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
