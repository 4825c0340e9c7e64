/*
 * kv_events.h: the batches in which engines tell which KV blocks they hold.
 *
 * For: the gateway reads them (from vLLM, SGLang and our own engines), the embedded and the
 * simulated engine write them. A batch is a MessagePack array [ts, [event…], data_parallel_rank]. Events are
 * read as maps with a key `type` (vLLM 0.3x, SGLang 0.5) and as tagged arrays (vLLM up to 0.16),
 * and written as maps with the fields of vLLM 0.32 in its order, or as arrays with those of 0.16.
 * Threads: pure functions. Memory: nothing is allocated; slices and lists point into the payload
 * and are valid during the callback. Work is linear in the payload's size, whatever it claims.
 * Errors: -BB_ESYNTAX or -BB_ELIMIT (msgpack.h) for a payload that is no batch: then no callback
 * has run. Events of an unknown type, and events whose needed fields are absent or of a wrong
 * type, are passed over and counted; an optional field of a wrong type counts as absent.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/msgpack.h"

/* ---- reading ---- */

/* Elements of one array; already checked, so that the walkers below cannot fail. */
struct kv_list {
	struct msgpack_reader at;
	uint32_t count; /* elements left */
};

/* Block hashes are 64 bits: integers as they are (negative ones as two's complement), byte strings
 * by their last 8 bytes, big-endian: what vLLM itself does when it publishes integers. */
bool kv_hash_next(struct kv_list *hashes, uint64_t *out);
bool kv_token_next(struct kv_list *tokens, uint32_t *out);
/* Up to `max` token ids into `out`; returns how many. */
uint32_t kv_tokens_copy(struct kv_list *tokens, uint32_t *out, uint32_t max);
/* What besides the tokens makes a block: raw MessagePack (an array of LoRA name,
 * [image id, offset], cache salt, …), empty for nil. */
bool kv_extra_next(struct kv_list *extra_keys, struct bb_str *raw);

#define KV_ABSENT (-1)

/* Fields that are absent are empty slices, lists of count 0, or KV_ABSENT. */
struct kv_stored {
	struct kv_list block_hashes; /* a chain: each block is the parent of the next */
	struct kv_list token_ids;
	uint64_t parent; /* hash of the block before the first */
	bool has_parent;
	uint32_t block_size; /* tokens, at least 1 */
	struct bb_str medium; /* "GPU", "CPU", "CPU_PINNED", "STORAGE", "DISK", … */
	struct bb_str lora_name;
	struct bb_str cache_salt;
	struct bb_str session_id;
	struct bb_str spec_kind; /* "full_attention", "sliding_window", … */
	struct bb_str locality;
	struct bb_str ownership;
	struct kv_list extra_keys; /* one entry per block, where given */
	int64_t lora_id;
	int64_t group_index;
	int64_t sliding_window; /* tokens */
};

struct kv_removed {
	struct kv_list block_hashes;
	struct bb_str medium;
	struct bb_str locality;
	struct bb_str ownership;
	int64_t group_index;
};

/* Has every block its block_size tokens? (Some engines store partial or token-less blocks.) */
static inline bool kv_stored_is_whole(const struct kv_stored *s)
{
	return (uint64_t)s->block_hashes.count * s->block_size == s->token_ids.count;
}

struct kv_batch {
	double ts_seconds;    /* the engine's clock, seconds since 1970 */
	int64_t dp_rank;      /* KV_ABSENT where not said */
	uint32_t event_count; /* with those passed over */
	uint32_t odd_count;   /* passed over */
};

/* Any of the callbacks may be NULL. */
struct kv_handler {
	void (*on_stored)(void *user, const struct kv_batch *batch, const struct kv_stored *s);
	void (*on_removed)(void *user, const struct kv_batch *batch, const struct kv_removed *r);
	void (*on_cleared)(void *user, const struct kv_batch *batch);
};

/* Calls the handler for each event in order. `out` (may be NULL) is the batch's head. */
BB_MUST int kv_batch_decode(struct bb_str payload, const struct kv_handler *handler, void *user,
			    struct kv_batch *out);

/* ---- writing ---- */

enum kv_form {
	KV_FORM_MAP,   /* vLLM 0.3x, SGLang 0.5 */
	KV_FORM_ARRAY, /* vLLM up to 0.16: neither salts nor groups */
};

struct kv_encoder {
	enum kv_form form; /* KV_FORM_MAP; to be set after the beginning */
	struct bb_buf *buf;
	size_t count_at; /* offset of the event array's head */
	uint32_t event_count;
};

/* A chain of new blocks. Token ids may come from an int32_t array: none is negative. */
struct kv_store {
	const uint64_t *hashes;
	uint32_t hash_count;
	uint32_t block_size;    /* tokens */
	const uint32_t *tokens; /* hash_count × block_size */
	uint64_t parent;
	bool has_parent;
	struct bb_str medium;     /* "GPU" or "CPU" */
	struct bb_str lora_name;  /* empty: none */
	struct bb_str cache_salt; /* empty: none; written with the first block of a chain without parent */
};

/* Appends a batch to `buf`: begin, any number of events, end. */
void kv_batch_begin(struct kv_encoder *e, struct bb_buf *buf, double ts_seconds);
void kv_add_stored(struct kv_encoder *e, const struct kv_store *s);
void kv_add_removed(struct kv_encoder *e, const uint64_t *hashes, uint32_t hash_count,
		    struct bb_str medium);
void kv_add_cleared(struct kv_encoder *e);
/* `dp_rank` is 0 for an engine alone. Returns 0 or the buffer's first error. */
BB_MUST int kv_batch_end(struct kv_encoder *e, uint32_t dp_rank);
