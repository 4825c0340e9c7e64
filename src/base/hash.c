#include "base/hash.h"

#include "base/hash_wide.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* From here on XXH3 goes through its input in stripes. */
#define STRIPES_MIN 241

static bool has_avx2(void)
{
#if defined(__x86_64__)
	return bb_hash_is_wide && __builtin_cpu_supports("avx2");
#else
	return false;
#endif
}

uint64_t bb_hash(const void *data, size_t size, uint64_t key)
{
	if (size >= STRIPES_MIN && has_avx2())
		return bb_hash_wide(data, size, key);
	return XXH3_64bits_withSeed(data, size, key);
}

static uint64_t splitmix64(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void bb_rng_seed(struct bb_rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->s[i] = splitmix64(&seed);
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

uint64_t bb_rng_next(struct bb_rng *r)
{
	uint64_t *const s = r->s;
	const uint64_t result = rotl(s[1] * 5, 7) * 9;
	const uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

uint64_t bb_rng_below(struct bb_rng *r, uint64_t bound)
{
	/* Multiplication by a fraction (Lemire, 2019); the bias below 2^-64 × bound is of no matter here. */
	return (uint64_t)(((__uint128_t)bb_rng_next(r) * bound) >> 64);
}

double bb_rng_unit(struct bb_rng *r)
{
	return (double)(bb_rng_next(r) >> 11) * 0x1.0p-53;
}
