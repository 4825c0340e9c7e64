/*
 * kv_changes.h: changes of what an engine holds, collected, so that whoever takes them needs its
 * lock once for some hundred blocks.
 *
 * For: kv_rank.c and kv_poll.c, between a mirror and the gateway.
 * Threads: the owner's. Memory: embedded; hashes are copied. Errors: none: what does not fit goes
 * out at once.
 */
#pragma once

#include <stdint.h>

#include "brain/kv_mirror.h"

#define KV_CHANGES_MAX 64
#define KV_CHANGES_HASHES (2 * KV_CHANGE_MAX)

/* Valid during the call. */
typedef void kv_changes_fn(void *user, const struct kv_change *list, uint32_t count);

struct kv_changes {
	kv_changes_fn *on_flush;
	void *user;
	uint32_t count, hash_count;
	uint64_t told; /* blocks that were stored, since the start */
	struct kv_change list[KV_CHANGES_MAX];
	uint64_t hashes[KV_CHANGES_HASHES];
};

void kv_changes_init(struct kv_changes *c, kv_changes_fn *on_flush, void *user);
void kv_changes_add(struct kv_changes *c, const struct kv_change *change);
void kv_changes_flush(struct kv_changes *c);
/* Forgets what has not gone out. */
void kv_changes_drop(struct kv_changes *c);
