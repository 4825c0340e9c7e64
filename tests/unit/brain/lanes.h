/*
 * lanes.h: a few lanes and the columns over them, for tests of lanes and policies.
 *
 * For: test_lane, test_play, test_policy. Rows are given out in turn; times are in milliseconds.
 */
#pragma once

#include "unit.h"

#include "brain/policy/policy.h"

#define LANES 16
#define LANE_ROWS 4096

static struct lane_request rows[LANE_ROWS];
static uint32_t row_count;
static struct lane lanes[LANES];
static struct rates rates;
static struct lane_lengths lengths;
static double now_ms;

static inline struct lane_request *lanes_row(void *table, uint32_t row)
{
	return &((struct lane_request *)table)[row];
}

static const struct lane_table lanes_table = { lanes_row, rows };

static inline uint64_t lanes_ns(void)
{
	return 1000000000ull + (uint64_t)(now_ms * 1e6);
}

static inline int lanes_open(void **state)
{
	rates_init(&rates);
	lane_lengths_init(&lengths);
	for (int i = 0; i < LANES; i++)
		lane_init(&lanes[i], &rates, &lengths);
	row_count = 0;
	now_ms = 0;
	return 0;
}

/* A request that waits there; its row. */
static inline uint32_t lanes_add(int lane, uint32_t prompt, uint32_t uncached)
{
	const uint32_t row = row_count++ % LANE_ROWS;

	rows[row] = (struct lane_request){ .prompt_tokens = prompt,
					   .uncached = uncached,
					   .pinned = prompt,
					   .output_max = UINT32_MAX };
	lane_add(&lanes[lane], &lanes_table, row, lanes_ns());
	return row;
}

static inline void lanes_first(int lane, uint32_t row)
{
	lane_first_token(&lanes[lane], &lanes_table, row, lanes_ns());
}

/* A request that generates there, with so many tokens already. */
static inline uint32_t lanes_stream(int lane, uint32_t prompt, uint32_t generated)
{
	const uint32_t row = lanes_add(lane, prompt, 1);

	lanes_first(lane, row);
	lane_progress(&lanes[lane], &lanes_table, row, lanes_ns(), generated);
	return row;
}

static inline void lanes_remove(int lane, uint32_t row, enum lane_end how)
{
	lane_remove(&lanes[lane], &lanes_table, row, lanes_ns(), how);
}

static inline void lanes_assert_empty(const struct lane *l)
{
	assert_int_equal(l->requests, 0);
	assert_int_equal(l->generating, 0);
	assert_int_equal(l->pending, 0);
	assert_int_equal(l->kv_tokens, 0);
	assert_int_equal(l->waiting_prompts, 0);
	assert_int_equal(l->unique_tokens, 0);
	assert_int_equal(l->generated, 0);
	assert_int_equal(l->residual, 0);
	assert_int_equal(l->head_uncached, 0);
	assert_int_equal(l->waiting_head, LANE_NONE);
	assert_int_equal(l->waiting_tail, LANE_NONE);
	for (int i = 0; i < LANE_BUCKETS; i++)
		assert_int_equal(l->bucket_count[i] + l->bucket_residual[i], 0);
}

/* ---- columns ---- */

static struct {
	struct candidates c;
	uint32_t slot[LANES], requests[LANES], cached[LANES], promised[LANES], lora_ms[LANES];
	uint64_t tokens[LANES], pending[LANES], identity[LANES];
	struct lane *lane[LANES];
	double ttft_ms[LANES], total_ms[LANES];
	double cost[LANES];
} columns;

static struct bb_rng rng;

/* Columns over the first lanes, with nothing cached; engines are told apart by name. */
static inline void columns_set(uint32_t count)
{
	columns.c = (struct candidates){
		.count = count,
		.slot = columns.slot,
		.lane = columns.lane,
		.requests = columns.requests,
		.tokens = columns.tokens,
		.pending_prefill = columns.pending,
		.cached = columns.cached,
		.promised = columns.promised,
		.lora_ms = columns.lora_ms,
		.identity = columns.identity,
		.ttft_ms = columns.ttft_ms,
		.total_ms = columns.total_ms,
	};
	for (uint32_t i = 0; i < count; i++) {
		columns.slot[i] = i;
		columns.lane[i] = &lanes[i];
		columns.requests[i] = lanes[i].requests;
		columns.tokens[i] = lanes[i].kv_tokens + lanes[i].residual;
		columns.pending[i] = lanes[i].pending;
		columns.cached[i] = columns.promised[i] = columns.lora_ms[i] = 0;
		columns.identity[i] = bb_hash(&i, sizeof(i), 7);
	}
}

static inline struct policy_input columns_input(uint64_t prompt_tokens)
{
	return (struct policy_input){ .now_ns = lanes_ns(),
				      .prompt_tokens = prompt_tokens,
				      .output_max = UINT32_MAX,
				      .rng = &rng };
}

static inline uint32_t columns_choose(const struct policy *p, const struct policy_input *in)
{
	double next_cost;

	p->score(&columns.c, in, columns.cost);
	return policy_pick(columns.cost, columns.c.count, &rng, &next_cost);
}
