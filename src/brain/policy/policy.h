/*
 * policy.h: what a routing policy is, and the table of them.
 *
 * For: brain.c. A policy is a scorer over columns: it fills in one cost per candidate, the least
 * cost wins, ties are broken by the brain's seeded generator. It allocates nothing and knows no
 * clock. Adding one is one file, one row in the table of policy.c, one test, one paragraph.
 * Threads: as the brain. Memory: none. Errors: none; all costs must be finite.
 */
#pragma once

#include <stdint.h>

#include "base/hash.h"

/* One row of each column is one engine that may take the request. */
struct candidates {
	uint32_t count;
	uint32_t *slot;           /* engine slot */
	uint32_t *requests;       /* in flight there from this gateway */
	uint64_t *tokens;         /* in flight: prompts and expected output, tokens */
	uint64_t *pending_prefill; /* tokens */
};

struct policy_input {
	uint64_t prompt_tokens;
	uint64_t model_sequence; /* how many requests of this model came before */
	struct bb_rng *rng;
};

struct policy {
	const char *name;
	const char *text; /* one sentence for --help and the docs */
	void (*score)(const struct candidates *c, const struct policy_input *in, double *cost);
};

extern const struct policy policy_round_robin;
extern const struct policy policy_random;
extern const struct policy policy_least_requests;
extern const struct policy policy_least_tokens;

#define POLICY_DEFAULT "least_tokens"

/* NULL when there is no policy of that name. */
const struct policy *policy_find(const char *name);
/* The n-th of the table; NULL behind the last. */
const struct policy *policy_at(unsigned n);
