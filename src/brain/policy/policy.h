/*
 * policy.h: what a routing policy is, and the table of them.
 *
 * For: brain.c. A policy is a scorer over columns: it fills in one cost per candidate, the least
 * cost wins, ties are broken by the brain's seeded generator. It allocates nothing and knows no
 * clock. Adding one is one file, one row in the table of policy.c, one test, one paragraph.
 * Threads: as the brain. Memory: none. Errors: none; costs are finite, or POLICY_NEVER for a
 * candidate that is out (never for all of them).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "brain/lane.h"

#define POLICY_NEVER __builtin_inf()

/* Why a candidate costs what it does, in milliseconds where not said otherwise; for explaining. */
struct policy_terms {
	double wait_ms;	   /* half a step, and prefills ahead */
	double prefill_ms; /* its own */
	double limit_ms;   /* for a sequence, or for room in the KV cache */
	double ttft_ms;	   /* the sum of these */
	double total_ms;   /* what it adds to everybody's finish; 0: not computed */
};

/* One row of each column is one lane that may take the request. */
struct candidates {
	uint32_t count;
	uint32_t *slot; /* engine slot */
	struct lane **lane;
	/* Only for policies that read the load (`reads_load`). */
	uint32_t *requests;	   /* in flight there from this gateway */
	uint64_t *tokens;	   /* in flight: prompts and expected output, tokens */
	uint64_t *pending_prefill; /* uncached tokens that wait for a first token */
	uint32_t *cached; /* tokens of this prompt that it holds or will, as far as it is trusted */
	uint32_t *promised; /* uncached tokens promised in this walk of the queue (late binding) */
	uint32_t *lora_ms;  /* to load the adapter there; 0: resident, or none is asked for */
	uint64_t *identity; /* stable for an engine over restarts of the gateway: hash of its URL
			       and rank */
	/* Filled in by policies that predict; zeroed before. */
	double *ttft_ms;
	double *total_ms; /* what it adds to everybody's finish; 0: not computed */
};

/* Columns of so many rows, zeroed. On failure nothing is left. */
BB_MUST int candidates_create(struct candidates *c, uint32_t rows);
void candidates_destroy(struct candidates *c);

struct policy_input {
	uint64_t now_ns;
	uint64_t prompt_tokens;
	uint32_t output_max;	 /* UINT32_MAX: not limited */
	uint64_t model_sequence; /* how many requests of this model came before */
	const uint64_t *hashes;	 /* of the prompt's blocks; NULL: not known */
	uint32_t hash_count;
	uint32_t block_tokens;
	uint64_t session;   /* hash of a session's name; 0: none */
	uint64_t beginning; /* hash of the prompt's first bytes, where `hashes` is NULL; 0: none */
	struct bb_rng *rng;
};

struct policy {
	const char *name;
	const char *text; /* one sentence for --help and the docs */
	bool holds;	  /* late binding: requests wait in the gateway for an open engine */
	bool predicts;	  /* sets ttft_ms of every candidate, and total_ms of some */
	bool reads_load;  /* wants the columns of requests and tokens */
	bool uses_cache;  /* wants block hashes */
	void (*score)(const struct candidates *c, const struct policy_input *in, double *cost);
};

extern const struct policy policy_lookahead, policy_cost_ms, policy_pending;
extern const struct policy policy_round_robin, policy_random, policy_least_requests,
	policy_least_tokens, policy_power_of_two, policy_session, policy_chwbl, policy_prefix_hash,
	policy_dynamo_cost, policy_llmd, policy_lmetric;

#define POLICY_DEFAULT "lookahead"

/* NULL when there is no policy of that name. */
const struct policy *policy_find(const char *name);
/* The n-th of the table; NULL behind the last. */
const struct policy *policy_at(unsigned n);

/*
 * The least cost; among equals any, evenly. *next_cost: that of the next best, which may be equal
 * (the same when there is one candidate only). count > 0, and not all costs are POLICY_NEVER.
 */
uint32_t policy_pick(const double *cost, uint32_t count, struct bb_rng *rng, double *next_cost);
