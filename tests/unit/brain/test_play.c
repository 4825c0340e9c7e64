/*
 * Goal: the lookahead says what a plain simulation says that goes step by step and stream by
 * stream, for idle, decoding, queueing and full lanes, and costs the same for a thousand streams.
 */
#include "lanes.h"

#include <math.h>

#include "brain/play.h"

#define PLAIN_MAX 2048

struct plain_request {
	double left;	 /* of the prompt */
	double residual; /* tokens of the answer */
	double kv;
};

struct plain {
	struct plain_request list[PLAIN_MAX]; /* in order of arrival */
	uint32_t count;
};

/* The sum of all finish times, step by step. */
static double plain_run(struct plain p, const struct lane *l)
{
	const double max = l->sequences_max ? l->sequences_max : INFINITY;
	double ms = 0, sum = 0;

	while (p.count) {
		double streams = 0, kv = 0, prompt = 0, taken = 0;
		uint32_t kept = 0;
		for (uint32_t i = 0; i < p.count; i++) {
			if (p.list[i].left > 0)
				continue;
			streams++;
			kv += p.list[i].kv;
		}
		double budget = l->step_tokens - streams;
		for (uint32_t i = 0; i < p.count && budget > 0; i++) {
			struct plain_request *r = &p.list[i];
			if (r->left <= 0)
				continue;
			if (streams + ++taken > max)
				break;
			const double chunk = r->left < budget ? r->left : budget;
			r->left -= chunk;
			r->left = r->left > 0 ? r->left : -1; /* its first token is this step's */
			budget -= chunk;
			prompt += chunk;
		}
		const double gap = streams ? rates_gap_ms(&rates, 1, kv) : 0;
		ms += prompt * rates.token_ms +
		      gap * (1 - 0.5 * prompt / (l->step_tokens - streams));
		for (uint32_t i = 0; i < p.count; i++) {
			struct plain_request *r = &p.list[i];
			if (r->left == -1)
				r->left = 0;
			else if (r->left == 0)
				r->residual--, r->kv++;
			if (r->left == 0 && r->residual <= 0)
				sum += ms;
			else
				p.list[kept++] = *r;
		}
		p.count = kept;
	}
	return sum;
}

static struct plain plain;

static void stream(uint32_t prompt, uint32_t generated, uint32_t output_max)
{
	const uint32_t row = lanes_add(0, prompt, 1);

	rows[row].output_max = output_max;
	lanes_first(0, row);
	lane_progress(&lanes[0], &lanes_table, row, lanes_ns(), generated);
	plain.list[plain.count++] =
		(struct plain_request){ .residual = rows[row].residual, .kv = prompt + generated };
}

static void waits(uint32_t prompt, uint32_t uncached)
{
	lanes_add(0, prompt, uncached);
	plain.list[plain.count++] = (struct plain_request){ .left = uncached,
							    .residual = lengths.further[0],
							    .kv = prompt };
}

/* Both for one more request; as a difference of the plain one's share. */
static double off_by(uint32_t prompt, uint32_t uncached, uint32_t output)
{
	const struct play_request r = { .uncached = uncached,
					.prompt_tokens = prompt,
					.output_tokens = output };
	struct plain with = plain;

	with.list[with.count++] =
		(struct plain_request){ .left = uncached, .residual = output, .kv = prompt };
	const double should = plain_run(with, &lanes[0]) - plain_run(plain, &lanes[0]);
	const double way_ms =
		rates.base_ms + (lanes[0].generating ? 0.5 * lane_gap_ms(&lanes[0]) : 0);
	const double is = play_added_ms(&lanes[0], lanes_ns(), &r) - way_ms;
	if (fabs(is - should) > 0.05 * fabs(should))
		print_message("%u/%u waits %u prompt %u: %.0f ms, step by step %.0f ms\n",
			      lanes[0].requests, lanes[0].generating,
			      lanes[0].requests - lanes[0].generating, prompt, is, should);
	return fabs(is / should - 1);
}

static int begin(void **state)
{
	plain.count = 0;
	lanes_open(state);
	rates.kv_token_ms = 5e-5;
	return 0;
}

static void an_idle_engine(void **state)
{
	assert_true(off_by(1000, 1000, 200) < 0.01);
	assert_true(off_by(30000, 30000, 500) < 0.01);
	assert_true(off_by(30000, 100, 1) < 0.01);
}

static void running_streams_are_stalled_and_slowed_down(void **state)
{
	for (uint32_t i = 0; i < 60; i++)
		stream(1000 + 50 * i, 1 + 3 * i, i % 3 ? UINT32_MAX : 200 + i);
	assert_true(off_by(200, 200, 250) < 0.05);
	assert_true(off_by(8000, 8000, 250) < 0.05);
	assert_true(off_by(8000, 100, 250) < 0.05);
	assert_true(off_by(20000, 20000, 2000) < 0.05);
}

static void a_queue_of_prompts(void **state)
{
	for (uint32_t i = 0; i < 20; i++)
		stream(2000, 1 + 10 * i, UINT32_MAX);
	for (uint32_t i = 0; i < 12; i++)
		waits(3000, 2000 + 150 * i);
	assert_true(off_by(500, 500, 250) < 0.06);
	assert_true(off_by(9000, 6000, 250) < 0.06);
}

static void many_streams_of_all_lengths(void **state)
{
	struct bb_rng random;

	bb_rng_seed(&random, 9);
	for (int n = 0; n < 30; n++) {
		begin(state);
		const uint64_t streams = bb_rng_below(&random, 250);
		const uint64_t queue = bb_rng_below(&random, 9) * bb_rng_below(&random, 2);
		for (uint64_t i = 0; i < streams; i++)
			stream((uint32_t)bb_rng_below(&random, 4000),
			       1 + (uint32_t)bb_rng_below(&random, 300),
			       (uint32_t)(300 + bb_rng_below(&random, 1500)));
		for (uint64_t i = 0; i < queue; i++)
			waits(1500, 500 + (uint32_t)bb_rng_below(&random, 2000));
		const uint32_t prompt = 50 + (uint32_t)bb_rng_below(&random, 8000);
		assert_true(off_by(prompt, prompt, 50 + (uint32_t)bb_rng_below(&random, 800)) <
			    0.12);
	}
}

static void a_full_engine(void **state)
{
	lane_set_limits(&lanes[0], 40, 0, 0);
	for (uint32_t i = 0; i < 40; i++)
		stream(1000, 1 + 5 * i, UINT32_MAX);
	for (uint32_t i = 0; i < 8; i++)
		waits(1000, 1000);
	assert_true(off_by(1000, 1000, 200) < 0.25);
}

static void more_load_costs_more(void **state)
{
	const struct play_request r = { .uncached = 1000,
					.prompt_tokens = 1000,
					.output_tokens = 200 };
	double last = play_added_ms(&lanes[0], lanes_ns(), &r);

	for (int i = 0; i < 300; i++) {
		stream(1000, 1, UINT32_MAX);
		const double more = play_added_ms(&lanes[0], lanes_ns(), &r);
		assert_true(isfinite(more) && more > last);
		last = more;
	}
	const struct play_request late = {
		.uncached = 1000, .prompt_tokens = 1000, .output_tokens = 200, .promised = 5000
	};
	assert_true(play_added_ms(&lanes[0], lanes_ns(), &late) > last);
}

/* Whatever is in there: the result is a number and comes at once. */
static void it_ends(void **state)
{
	struct bb_rng random;

	bb_rng_seed(&random, 4);
	for (int n = 0; n < 20000; n++) {
		lanes_open(state);
		lane_set_limits(&lanes[0], (uint32_t)bb_rng_below(&random, 5), 0,
				1 + (uint32_t)bb_rng_below(&random, 600));
		for (uint64_t i = bb_rng_below(&random, 40); i; i--)
			stream((uint32_t)bb_rng_below(&random, 5000000),
			       1 + (uint32_t)bb_rng_below(&random, 100000),
			       n % 2 ? UINT32_MAX : (uint32_t)bb_rng_below(&random, 100));
		for (uint64_t i = bb_rng_below(&random, 10); i; i--)
			waits(1000, (uint32_t)bb_rng_below(&random, 1000000));
		plain.count = 0;
		const struct play_request r = { .uncached = (double)bb_rng_below(&random, 1000000),
						.prompt_tokens = 1e6,
						.output_tokens =
							1 + (double)bb_rng_below(&random, 9999),
						.promised = n % 3 ? 0 : 77777 };
		assert_true(isfinite(play_added_ms(&lanes[0], lanes_ns(), &r)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_idle_engine, begin),
		cmocka_unit_test_setup(running_streams_are_stalled_and_slowed_down, begin),
		cmocka_unit_test_setup(a_queue_of_prompts, begin),
		cmocka_unit_test_setup(many_streams_of_all_lengths, begin),
		cmocka_unit_test_setup(a_full_engine, begin),
		cmocka_unit_test_setup(more_load_costs_more, begin),
		cmocka_unit_test_setup(it_ends, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
