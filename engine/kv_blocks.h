/*
 * kv_blocks.h: who holds which part of the KV cache.
 *
 * For: the scheduler. The cache is counted in blocks of `block_size` tokens. A slot is one
 * sequence id of libllama: free, running, or cached (finished, its full blocks kept for others).
 * A running sequence whose tokens begin as those of any slot gets the common full blocks for
 * nothing: the slot's cells are shared, not copied. Blocks of cached slots are dropped from the
 * least recently used slot's end when room is needed.
 *
 * Invariants: a block is free or has as many holders as slots list it. Blocks promised to running
 * slots but not yet taken are never more than the free ones, so what is promised is always there.
 * What the sink was told is exactly the set of full blocks that some slot holds.
 *
 * Threads: the engine thread. Memory: fixed at creation: per slot 4 bytes a token of the cache and
 * 12 bytes a block. Errors: -BB_EBUSY when there is no room now, -BB_ENOMEM at creation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define KV_NO_SLOT UINT32_MAX

struct kv_blocks;

/* What happens to the cells: libllama's memory, or a test's. */
struct kv_cells {
	void *user;
	void (*share)(void *user, uint32_t from, uint32_t to, uint32_t token_count);
	/* Cells of a sequence from position `token_from` on are given back. */
	void (*drop)(void *user, uint32_t slot, uint32_t token_from);
};

/* Who wants to know which blocks there are. Hashes are chained: one stands for all before it, too.
 */
struct kv_sink {
	void *user;
	/* `parent` NULL: the chain begins here. */
	void (*stored)(void *user, const uint64_t *hashes, uint32_t count, const int32_t *tokens,
		       const uint64_t *parent, struct bb_str salt);
	void (*removed)(void *user, uint64_t hash);
};

enum kv_sharing { KV_SHARED, KV_NEVER_SHARED };

struct kv_config {
	uint32_t block_count;
	uint32_t block_size;
	uint32_t slot_count;
	enum kv_sharing sharing; /* KV_NEVER_SHARED: models whose state cannot be cut */
	struct kv_cells cells;
	struct kv_sink sink;
};

BB_MUST int kv_blocks_create(const struct kv_config *config, struct kv_blocks **out);
void kv_blocks_destroy(struct kv_blocks *b);

/* Sequences share blocks only with those of the same salt; the empty one is everybody's. */
#define KV_SALT_MAX 128

/*
 * Makes room for a sequence that begins with `tokens` and is promised room for `promised_tokens`
 * in total. `*shared_tokens` of it are there already: always less than token_count, since the last
 * token must be computed to go on from it. -BB_EBUSY: not now, nothing has changed.
 */
BB_MUST int kv_admit(struct kv_blocks *b, const int32_t *tokens, uint32_t token_count,
		     uint32_t promised_tokens, struct bb_str salt, uint32_t *slot,
		     uint32_t *shared_tokens);
/* How many tokens of such a sequence are there for nothing now. */
uint32_t kv_match(const struct kv_blocks *b, const int32_t *tokens, uint32_t token_count,
		  struct bb_str salt);
/* Room for `count` more tokens; beyond what was promised it may be -BB_EBUSY. */
BB_MUST int kv_take(struct kv_blocks *b, uint32_t slot, uint32_t count);
/* These tokens were computed; room was taken before. */
void kv_filled(struct kv_blocks *b, uint32_t slot, const int32_t *tokens, uint32_t count);
/* Tokens of the slot that are in the cache. */
uint32_t kv_token_count(const struct kv_blocks *b, uint32_t slot);

enum kv_keep { KV_KEEP, KV_FORGET };
/* The sequence is over. KV_KEEP: its full blocks stay for others until room is needed. */
void kv_finish(struct kv_blocks *b, uint32_t slot, enum kv_keep keep);
/* Forgets everything that no running sequence holds. */
void kv_drop_cached(struct kv_blocks *b);

uint32_t kv_blocks_total(const struct kv_blocks *b);
/* Blocks that running sequences hold, each counted once. */
uint32_t kv_blocks_running(const struct kv_blocks *b);
