/*
 * hash_wide.h: the hash of long inputs where the processor has AVX2.
 *
 * For: hash.c only. Threads: pure functions. Memory: none. Errors: none; to be called only where
 * bb_hash_is_wide is true and the processor has AVX2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern const bool bb_hash_is_wide; /* it was compiled for AVX2 */
uint64_t bb_hash_wide(const void *data, size_t size, uint64_t key);
