/*
 * kv_assumed.h: what an engine that tells nothing probably holds: the prompts that were sent there.
 *
 * For: kv_lane.c. Prompts' marks (every 4th block hash) in the order of their last use, up to the
 * engine's capacity; the least recently used go first, and of one prompt the deepest, as engines
 * evict. So what is assumed is prefix-closed. Every change goes to the index as INDEX_DEVICE.
 * Threads: as the brain. Memory: 16 bytes and a place in a table for each mark, up to the capacity.
 * Errors: without memory nothing further is assumed.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "brain/index.h"

struct kv_assumed;

/* NULL without memory. `capacity`: marks. */
struct kv_assumed *kv_assumed_create(struct index *x, uint32_t row, uint32_t capacity);
/* The index is not told. */
void kv_assumed_destroy(struct kv_assumed *a);
void kv_assumed_set_capacity(struct kv_assumed *a, uint32_t capacity);
/* A prompt with these marks, from its beginning on, was sent there. */
void kv_assumed_use(struct kv_assumed *a, const uint64_t *marks, uint32_t count);
uint32_t kv_assumed_count(const struct kv_assumed *a);
