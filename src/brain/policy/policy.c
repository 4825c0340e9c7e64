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

/* The least of a stripe of the costs and its second, which may be equal. */
struct two {
	double least, second;
};

static inline void two_add(struct two *t, double cost)
{
	const double more = cost > t->least ? cost : t->least;

	t->second = more < t->second ? more : t->second;
	t->least = cost < t->least ? cost : t->least;
}

/* In three stripes: one comparison after the other would wait for the last. */
static struct two least_of(const double *cost, uint32_t count)
{
	const struct two none = { POLICY_NEVER, POLICY_NEVER };
	struct two a = none, b = none, c = none;
	uint32_t i = 0;

	for (; i + 3 <= count; i += 3) {
		two_add(&a, cost[i]);
		two_add(&b, cost[i + 1]);
		two_add(&c, cost[i + 2]);
	}
	for (; i < count; i++)
		two_add(&a, cost[i]);
	two_add(&a, b.least);
	two_add(&a, b.second);
	two_add(&a, c.least);
	two_add(&a, c.second);
	return a;
}

uint32_t policy_pick(const double *cost, uint32_t count, struct bb_rng *rng, double *next_cost)
{
	const struct two two = least_of(cost, count);
	const double least = two.least;
	uint32_t best = 0, equals = 0;

	for (uint32_t i = 0; i < count; i++)
		if (cost[i] <= least && (++equals == 1 || bb_rng_below(rng, equals) == 0))
			best = i;
	*next_cost = count == 1 ? least : two.second;
	return best;
}
