/*
 * kv_tree.h: the blocks that one engine holds, as a forest.
 *
 * For: kv_mirror. A node is an engine's block under the engine's name for it. A block is told (to
 * the index) while it and all before it are held. One that is dropped stays as a ghost as long as
 * something hangs below it, so that what follows is told again when it comes back. Above the first
 * block of a chain stands an origin, one for each salt and adapter. Parents are set once, when a
 * node is made, so there are no loops.
 * Threads: one owner. Memory: 40 bytes a block and 4 to 8 of the table (an engine's block of n of
 * ours: 8 × (n − 1) more; one of less than ours and k tokens: 32 + 4k, at least 40); never more
 * than bytes_max. Errors: KV_NODE_NONE when there is no room.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "brain/kv_mirror.h"
#include "text/block_hash.h"

#define KV_NODE_NONE UINT32_MAX
#define KV_ENGINE_TOKENS_MAX 4096u /* of an engine's block */

struct kv_node {
	uint64_t name;
	uint32_t chained; /* the next with the same place in the table; or in the free list */
	uint32_t parent;
	uint32_t child;	       /* the first of those below */
	uint32_t next, before; /* others below the same parent */
	uint32_t depth : 26;   /* an origin has 0, its first block 1 */
	uint32_t tiers : 4;
	uint32_t is_told : 1;
	uint32_t is_origin : 1;
	uint64_t hashes[]; /* ours; or, in a part of a block of ours, tokens */
};

struct kv_tree {
	/* Set by the owner. */
	void (*on_change)(void *user, const struct kv_change *change);
	void *user;
	size_t bytes_max;
	uint32_t block_tokens; /* of the index */
	uint64_t secret;

	uint32_t engine_tokens;
	uint32_t ours;	/* our blocks in one of the engine's, or 0 */
	uint32_t parts; /* the engine's blocks in one of ours; 1 when `ours` is not 0 */
	size_t node_size;
	char **chunks;
	uint32_t chunk_count, chunk_max, chunk_shift; /* 2^shift nodes each */
	uint32_t made;				      /* nodes ever made, of which some are free */
	uint32_t free;
	uint32_t *table;
	uint32_t table_mask;
	uint32_t node_count;	/* all */
	uint32_t held_count;	/* in some tier */
	uint64_t cleared_count; /* of those, at all clears */
	uint64_t orphan_count;	/* taken back for what happened above them */
	size_t bytes;
	uint32_t clears; /* grows with each: nodes of before are gone */
	uint64_t
		credit; /* how many blocks may be told or taken back for what happened above them */

	struct kv_change pending; /* its hashes are `hashes` */
	uint32_t pending_node;	  /* of the last */
	uint64_t hashes[KV_CHANGE_MAX];
};

/* The engine's blocks have so many tokens: false if nothing can be made of them. */
bool kv_tree_set_size(struct kv_tree *t, uint32_t engine_tokens);
void kv_tree_fini(struct kv_tree *t);
/* All nodes go; a CLEAR is told. */
void kv_tree_clear(struct kv_tree *t);
/* What was not told yet. */
void kv_tree_flush(struct kv_tree *t);

static inline struct kv_node *kv_tree_at(const struct kv_tree *t, uint32_t node)
{
	const uint32_t within = node & ((1u << t->chunk_shift) - 1);

	return (struct kv_node *)(t->chunks[node >> t->chunk_shift] + within * t->node_size);
}

uint32_t kv_tree_find(const struct kv_tree *t, uint64_t name);
/* For a run of look-ups: up to 16 names that are about to be looked up. */
void kv_tree_prefetch(const struct kv_tree *t, const uint64_t *names, uint32_t count);
/* The origin of chains that start with this hash (block_hasher.start). */
uint32_t kv_tree_origin(struct kv_tree *t, uint64_t start);
/* A new block behind `parent`, not held yet. */
uint32_t kv_tree_add(struct kv_tree *t, uint32_t parent, uint64_t name, const uint32_t *tokens);
/* It is held in this tier from now on. */
void kv_tree_store(struct kv_tree *t, uint32_t node, enum index_tier tier);
/* False: it was not held there. */
bool kv_tree_remove(struct kv_tree *t, uint32_t node, enum index_tier tier);
/* An origin or ghost without anything below it goes. */
void kv_tree_prune(struct kv_tree *t, uint32_t node);
/* For tests: everything hangs together. */
bool kv_tree_is_sound(const struct kv_tree *t);
