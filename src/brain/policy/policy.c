#include "brain/policy/policy.h"

#include <string.h>

/* clang-format off */
static const struct policy *const table[] = {
	/* ours */
	&policy_lookahead, &policy_cost_ms, &policy_pending, &policy_least_tokens,
	/* well known */
	&policy_least_requests, &policy_power_of_two, &policy_session, &policy_round_robin,
	&policy_random,
	/* what others do */
	&policy_chwbl, &policy_prefix_hash, &policy_dynamo_cost, &policy_llmd, &policy_lmetric,
};
/* clang-format on */

const struct policy *policy_at(unsigned n)
{
	return n < sizeof(table) / sizeof(table[0]) ? table[n] : NULL;
}

const struct policy *policy_find(const char *name)
{
	for (unsigned i = 0; policy_at(i); i++)
		if (strcmp(policy_at(i)->name, name) == 0)
			return policy_at(i);
	return NULL;
}

#define WAYS 4u

/* The least cost and the second, which may be equal. Four at a time: one would wait for the last. */
static double least_of(const double *cost, uint32_t count, double *second)
{
	double least[WAYS], next[WAYS];
	uint32_t i = 0;

	for (uint32_t k = 0; k < WAYS; k++)
		least[k] = next[k] = POLICY_NEVER;
	for (; i + WAYS <= count; i += WAYS)
		for (uint32_t k = 0; k < WAYS; k++) {
			const double more = cost[i + k] > least[k] ? cost[i + k] : least[k];
			next[k] = more < next[k] ? more : next[k];
			least[k] = cost[i + k] < least[k] ? cost[i + k] : least[k];
		}
	for (; i < count; i++) {
		const double more = cost[i] > least[0] ? cost[i] : least[0];
		next[0] = more < next[0] ? more : next[0];
		least[0] = cost[i] < least[0] ? cost[i] : least[0];
	}
	for (uint32_t k = 1; k < WAYS; k++) {
		const double more = least[k] > least[0] ? least[k] : least[0];
		next[0] = next[k] < next[0] ? next[k] : next[0];
		next[0] = more < next[0] ? more : next[0];
		least[0] = least[k] < least[0] ? least[k] : least[0];
	}
	*second = next[0];
	return least[0];
}

uint32_t policy_pick(const double *cost, uint32_t count, struct bb_rng *rng, double *next_cost)
{
	const double least = least_of(cost, count, next_cost);
	uint32_t best = 0, equals = 0;

	for (uint32_t i = 0; i < count; i++)
		if (cost[i] <= least && (++equals == 1 || bb_rng_below(rng, equals) == 0))
			best = i;
	if (count == 1)
		*next_cost = least;
	return best;
}
