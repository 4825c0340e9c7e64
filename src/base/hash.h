/*
 * hash.h: XXH3 (xxhash 0.8) and the seeded generator of pseudo-random numbers.
 *
 * For: bb_hash is a fast keyed hash, not a cryptographic one. bb_rng is xoshiro256** (Blackman and
 * Vigna, 2018) seeded by splitmix64: same seed, same numbers, on every machine.
 * Threads: pure functions; a generator has one owner. Memory: none. Errors: none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t bb_hash(const void *data, size_t size, uint64_t key);

struct bb_rng {
	uint64_t s[4];
};

void bb_rng_seed(struct bb_rng *r, uint64_t seed);
uint64_t bb_rng_next(struct bb_rng *r);
/* Evenly from 0 … bound−1; bound > 0. */
uint64_t bb_rng_below(struct bb_rng *r, uint64_t bound);
/* In [0, 1). */
double bb_rng_unit(struct bb_rng *r);
