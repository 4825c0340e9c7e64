/*
 * rendezvous.h: which candidate a key prefers, and which next: highest random weight.
 *
 * For: session, chwbl, prefix_hash. A key orders all engines, by hash(key, engine); it keeps its
 * first as long as that is there, and only keys whose engine went move (Thaler and Ravishankar,
 * 1998). A ring of virtual nodes has the same two properties; this one needs no ring.
 * Threads: pure. Memory: none. Errors: none.
 */
#pragma once

#include "brain/policy/policy.h"

#define RENDEZVOUS_NONE UINT32_MAX

static inline uint64_t rendezvous_weight(uint64_t key, uint64_t identity)
{
	/* The finisher of MurmurHash3 over both. */
	uint64_t x = key ^ (identity * 0x9e3779b97f4a7c15);

	x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
	x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
	return x ^ (x >> 33);
}

/* The first of the key's order among those with at most so many requests; or none. */
static inline uint32_t rendezvous_first(const struct candidates *c, uint64_t key,
					double requests_max)
{
	uint32_t best = RENDEZVOUS_NONE;
	uint64_t most = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		const uint64_t weight = rendezvous_weight(key, c->identity[i]);
		if (c->requests[i] <= requests_max && (best == RENDEZVOUS_NONE || weight > most)) {
			best = i;
			most = weight;
		}
	}
	return best;
}

/* Hash of the prompt up to a block that holds the n-th token, or of its beginning; 0: not known. */
static inline uint64_t rendezvous_prefix(const struct policy_input *in, uint32_t tokens)
{
	if (!in->hashes || !in->hash_count || !in->block_tokens)
		return in->beginning;
	const uint32_t block = (tokens - 1) / in->block_tokens;
	return in->hashes[block < in->hash_count ? block : in->hash_count - 1];
}

static inline double rendezvous_average(const struct candidates *c)
{
	uint64_t total = 1; /* the request that is to be placed */

	for (uint32_t i = 0; i < c->count; i++)
		total += c->requests[i];
	return (double)total / c->count;
}
