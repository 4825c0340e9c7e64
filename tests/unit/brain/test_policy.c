/* Goal: each policy scores as its sentence says, over columns, with finite costs, and is found by its name. */
#include "unit.h"

#include <math.h>

#include "brain/policy/policy.h"

static uint32_t slots[4] = { 0, 1, 2, 3 };
static uint32_t requests[4];
static uint64_t tokens[4], pending[4];
static struct candidates columns = { 4, slots, requests, tokens, pending };
static struct bb_rng rng;

static void names_are_found_and_unique(void **state)
{
	unsigned count = 0;

	for (; policy_at(count); count++) {
		const struct policy *p = policy_at(count);
		assert_ptr_equal(policy_find(p->name), p);
		assert_true(p->text[0] && p->text[strlen(p->text) - 1] != '.');
		for (unsigned i = 0; i < count; i++)
			assert_string_not_equal(policy_at(i)->name, p->name);
	}
	assert_int_equal(count, 4);
	assert_non_null(policy_find(POLICY_DEFAULT));
	assert_null(policy_find("least_token"));
	assert_null(policy_find(""));
}

static void least_tokens_counts_tokens_and_then_requests(void **state)
{
	const struct policy_input in = { .rng = &rng };
	double cost[4];

	tokens[0] = 100, requests[0] = 50;
	tokens[1] = 101, requests[1] = 0;
	tokens[2] = 100, requests[2] = 49;
	tokens[3] = 1ull << 50, requests[3] = 1;
	policy_least_tokens.score(&columns, &in, cost);
	assert_true(cost[2] < cost[0] && cost[0] < cost[1] && cost[1] < cost[3]);
	assert_true(isfinite(cost[3]));
}

static void least_requests_counts_requests(void **state)
{
	const struct policy_input in = { .rng = &rng };
	double cost[4];

	for (uint32_t i = 0; i < 4; i++) {
		requests[i] = 9 - i;
		tokens[i] = i * 1000;
	}
	policy_least_requests.score(&columns, &in, cost);
	assert_true(cost[3] < cost[2] && cost[2] < cost[1] && cost[1] < cost[0]);
}

static void round_robin_takes_turns(void **state)
{
	double cost[4];

	for (uint64_t turn = 0; turn < 12; turn++) {
		const struct policy_input in = { .model_sequence = turn, .rng = &rng };
		policy_round_robin.score(&columns, &in, cost);
		for (uint64_t i = 0; i < 4; i++)
			assert_true((cost[i] == 0) == (i == turn % 4));
	}
}

static void random_is_even_and_seeded(void **state)
{
	const struct policy_input in = { .rng = &rng };
	double cost[4], again[4];
	unsigned wins[4] = { 0 };

	bb_rng_seed(&rng, 11);
	for (int i = 0; i < 40000; i++) {
		uint32_t best = 0;
		policy_random.score(&columns, &in, cost);
		for (uint32_t k = 1; k < 4; k++)
			best = cost[k] < cost[best] ? k : best;
		wins[best]++;
	}
	for (int k = 0; k < 4; k++)
		assert_in_range(wins[k], 9600, 10400);
	bb_rng_seed(&rng, 12);
	policy_random.score(&columns, &in, cost);
	bb_rng_seed(&rng, 12);
	policy_random.score(&columns, &in, again);
	assert_memory_equal(cost, again, sizeof(cost));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_found_and_unique),
		cmocka_unit_test(least_tokens_counts_tokens_and_then_requests),
		cmocka_unit_test(least_requests_counts_requests),
		cmocka_unit_test(round_robin_takes_turns),
		cmocka_unit_test(random_is_even_and_seeded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
