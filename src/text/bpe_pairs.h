/*
 * bpe_pairs.h: what two neighbours become, and when.
 *
 * For: the model BPE. A table of pairs of ids with open addressing, before it a filter of bits in
 * which most look-ups end. Threads: read by any once it is filled. Memory: the owner calls
 * bpe_pairs_fini; 12 bytes a pair at a load of at most 2/3, and a byte or two. Errors: -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What ranks go up to; this and above: no such pair. */
#define BPE_NO_RANK 0xffffffu

struct bpe_pairs {
	uint64_t *keys;	  /* left 20 bits, right 20 bits, rank 24 bits; all ones: free */
	uint32_t *wholes; /* beside the keys, since most look-ups end without */
	uint64_t *filter;
	uint64_t mask;
	unsigned shift, filter_shift;
};

struct bpe_merge {
	uint32_t left, right, whole, rank;
};

/* What two neighbours become: a rank, and where bpe_pairs_whole finds the token. */
struct bpe_joint {
	uint32_t rank, at; /* BPE_NO_RANK: nothing */
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

/* Two bits of one word of the filter for each pair: most pairs that are none lack one of them. */
static inline uint64_t bpe_pairs_bits(const struct bpe_pairs *p, uint64_t hash)
{
	return (uint64_t)1 << (hash >> p->filter_shift & 63) |
	       (uint64_t)1 << (hash >> (p->filter_shift - 6) & 63);
}

static inline uint64_t *bpe_pairs_filter(const struct bpe_pairs *p, uint64_t hash)
{
	return p->filter + (hash >> p->filter_shift >> 6);
}

/* Has what bpe_pairs_join and bpe_pairs_put look at fetched. */
static inline void bpe_pairs_fetch(const struct bpe_pairs *p, uint32_t left, uint32_t right)
{
	const uint64_t hash = bpe_pairs_hash((uint64_t)left << 20 | right);

	__builtin_prefetch(bpe_pairs_filter(p, hash));
	__builtin_prefetch(p->keys + (hash >> p->shift));
	__builtin_prefetch(p->wholes + (hash >> p->shift));
}

/* The same for bpe_pairs_join alone, where the filter does not say that there is no such pair. */
static inline void bpe_pairs_fetch_key(const struct bpe_pairs *p, uint32_t left, uint32_t right)
{
	const uint64_t hash = bpe_pairs_hash((uint64_t)left << 20 | right);
	const bool may_be = !(~*bpe_pairs_filter(p, hash) & bpe_pairs_bits(p, hash));

	/* No branch, which would be foreseen badly: where there is none the first key is fetched.
	 */
	__builtin_prefetch(p->keys + (hash >> p->shift) * may_be);
}

static inline struct bpe_joint bpe_pairs_join(const struct bpe_pairs *p, uint32_t left,
					      uint32_t right)
{
	const uint64_t key = (uint64_t)left << 20 | right, hash = bpe_pairs_hash(key);

	if (~*bpe_pairs_filter(p, hash) & bpe_pairs_bits(p, hash))
		return (struct bpe_joint){ BPE_NO_RANK, 0 };
	for (uint64_t i = hash >> p->shift;; i = (i + 1) & p->mask) {
		const uint64_t found = p->keys[i];
		if (found >> 24 == key) {
			__builtin_prefetch(p->wholes + i);
			return (struct bpe_joint){ found & 0xffffff, (uint32_t)i };
		}
		if (found == UINT64_MAX)
			return (struct bpe_joint){ BPE_NO_RANK, 0 };
	}
}

static inline uint32_t bpe_pairs_whole(const struct bpe_pairs *p, uint32_t at)
{
	return p->wholes[at];
}
