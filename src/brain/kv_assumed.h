/*
 * kv_assumed.h: what an engine that tells nothing probably holds: the prompts that were sent there.
 *
 * For: kv_lane.c. Prompts' marks (marks.h) in the order of their last use, up to the engine's
 * capacity; the least recently used go first, and of one prompt the deepest, as engines evict. So what is assumed is prefix-closed. Every change goes to the index as INDEX_DEVICE.
 * Threads: as the brain. Memory: 24 bytes and a place in a table for each mark, up to the capacity.
 * Errors: without memory nothing further is assumed.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "brain/marks.h"

struct kv_assumed;

/* NULL without memory. `capacity`: tokens. */
struct kv_assumed *kv_assumed_create(struct index *x, uint32_t row, uint64_t capacity);
/* The index is not told. */
void kv_assumed_destroy(struct kv_assumed *a);
void kv_assumed_set_capacity(struct kv_assumed *a, uint64_t capacity);
/* A prompt with these marks, from its beginning on, was sent there. */
void kv_assumed_use(struct kv_assumed *a, enum prompt_hashes hashed, const uint64_t *marks,
		    uint32_t count);
/* All of it in the order of use as bytes; reading, into one that has none. The index is not told. */
struct pack;
void kv_assumed_pack(struct kv_assumed *a, struct pack *k);
/* What is assumed: marks, and tokens that they stand for. */
uint32_t kv_assumed_count(const struct kv_assumed *a);
uint64_t kv_assumed_tokens(const struct kv_assumed *a);
