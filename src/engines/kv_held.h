/*
 * kv_held.h: live batches that wait for the end of a replay, in order.
 *
 * For: kv_rank.c. Threads: the owner's. Memory: at most KV_HELD_MAX bytes, given back when empty.
 * Errors: none: a batch that there is no room for is left out, and asked for again later.
 */
#pragma once

#include "base/buf.h"
#include "net/zmq_sub.h"

#define KV_HELD_MAX ((size_t)4 << 20)

struct kv_held {
	struct bb_buf bytes;
	size_t at; /* of the first that is left */
};

void kv_held_init(struct kv_held *h);
/* Drops all. */
void kv_held_clear(struct kv_held *h);
void kv_held_add(struct kv_held *h, const struct zmq_batch *b);
/* The first; false when none is left. Its payload is valid until the next call of any of these. */
bool kv_held_first(const struct kv_held *h, struct zmq_batch *out);
void kv_held_pop(struct kv_held *h);
