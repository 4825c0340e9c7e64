/*
 * hash_wide.c: XXH3 of long inputs with AVX2; the same values as without.
 *
 * The Makefile compiles this file for AVX2 on x86-64; hash.c asks the processor before it calls it.
 */
#include "base/hash_wide.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#ifdef __AVX2__
const bool bb_hash_is_wide = true;
#else
const bool bb_hash_is_wide = false;
#endif

uint64_t bb_hash_wide(const void *data, size_t size, uint64_t key)
{
	return XXH3_64bits_withSeed(data, size, key);
}
