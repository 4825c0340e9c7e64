/*
 * bpe_pairs.h: what two neighbours become, and when.
 *
 * For: the model BPE. A table of pairs of ids with open addressing, before it a filter of bits in
 * which most look-ups end. Threads: read by any once it is filled. Memory: the owner calls
 * bpe_pairs_fini; 16 bytes a pair at a load of at most 2/3, and a byte or two. Errors: -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What ranks go up to; this and above: no such pair. */
#define BPE_NO_RANK 0xffffffu

struct bpe_pair {
	uint64_t key; /* left 20 bits, right 20 bits, rank 24 bits; all ones: free */
	uint32_t whole;
};

struct bpe_pairs {
	struct bpe_pair *at;
	uint64_t *filter;
	uint64_t mask;
	unsigned shift, filter_shift;
};

struct bpe_merge {
	uint32_t left, right, whole, rank;
};

/* What two neighbours become. */
struct bpe_joint {
	uint32_t rank, whole; /* BPE_NO_RANK: nothing */
};

/* Empty, with room for `count`. */
BB_MUST int bpe_pairs_init(struct bpe_pairs *p, size_t count);
void bpe_pairs_fini(struct bpe_pairs *p);
/* Is there room for `count` in all? */
bool bpe_pairs_fit(const struct bpe_pairs *p, size_t count);
/* A pair that comes again replaces the one before. */
void bpe_pairs_put(struct bpe_pairs *p, const struct bpe_merge *m);
size_t bpe_pairs_size(const struct bpe_pairs *p);

static inline uint64_t bpe_pairs_hash(uint64_t key)
{
	return key * 0x9e3779b97f4a7c15u;
}

/* Has what bpe_pairs_join and bpe_pairs_put look at fetched. */
static inline void bpe_pairs_fetch(const struct bpe_pairs *p, uint32_t left, uint32_t right)
{
	const uint64_t hash = bpe_pairs_hash((uint64_t)left << 20 | right);

	__builtin_prefetch(p->filter + (hash >> p->filter_shift >> 6));
	__builtin_prefetch(p->at + (hash >> p->shift));
}

static inline struct bpe_joint bpe_pairs_join(const struct bpe_pairs *p, uint32_t left,
					      uint32_t right)
{
	const uint64_t key = (uint64_t)left << 20 | right, hash = bpe_pairs_hash(key);
	const uint64_t bit = hash >> p->filter_shift;

	if (!(p->filter[bit >> 6] >> (bit & 63) & 1))
		return (struct bpe_joint){ BPE_NO_RANK, 0 };
	for (uint64_t i = hash >> p->shift;; i = (i + 1) & p->mask) {
		const struct bpe_pair *const pair = p->at + i;
		if (pair->key >> 24 == key)
			return (struct bpe_joint){ pair->key & 0xffffff, pair->whole };
		if (pair->key == UINT64_MAX)
			return (struct bpe_joint){ BPE_NO_RANK, 0 };
	}
}
