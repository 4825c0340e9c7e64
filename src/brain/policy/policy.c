#include "brain/policy/policy.h"

#include <string.h>

/* clang-format off */
static const struct policy *const table[] = {
	/* ours */
	&policy_lookahead, &policy_cost_ms, &policy_pending, &policy_least_tokens,
	/* well known */
	&policy_least_requests, &policy_power_of_two, &policy_session, &policy_round_robin, &policy_random,
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
