#include "brain/policy/policy.h"

#include <string.h>

static const struct policy *const table[] = {
	&policy_least_tokens,
	&policy_least_requests,
	&policy_round_robin,
	&policy_random,
};

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
