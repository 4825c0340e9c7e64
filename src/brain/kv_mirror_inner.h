/*
 * kv_mirror_inner.h: a mirror as the readers of its two forms of events see it.
 *
 * For: kv_mirror.c, kv_mirror_json.c. A run is a chain of an engine's blocks that are stored.
 * Threads: as kv_mirror.h. Memory: a run owns nothing. Errors: counted.
 */
#pragma once

#include "brain/kv_tree.h"
#include "wire/kv_events.h"

struct kv_mirror {
	struct kv_tree tree;
	struct kv_mirror_stats stats;
	bool is_mismatched;
	int64_t group;	 /* the one whose blocks count, or KV_ABSENT */
	uint64_t window; /* the same of the JSON form: the widest seen */
	uint32_t dp_rank;
	uint32_t tokens[KV_ENGINE_TOKENS_MAX];
};

struct kv_run {
	/* Set before it begins. */
	enum index_tier tier;
	struct bb_str salt, lora; /* of a chain without parent */
	uint64_t parent;
	bool has_parent;

	uint32_t node; /* the last block so far */
	uint32_t clears;
};

enum kv_step {
	KV_STEP_GOES_ON,
	KV_STEP_ODD,  /* the engine has told of this block with another parent */
	KV_STEP_FULL, /* no room */
	KV_STEP_GONE, /* the mirror had to forget everything */
};

/* False: nothing of the run can be followed; its blocks are counted. */
bool kv_run_begin(struct kv_mirror *m, struct kv_run *run, uint32_t engine_tokens, uint32_t count);
enum kv_step kv_run_add(struct kv_mirror *m, struct kv_run *run, uint64_t name,
			const uint32_t *tokens);
/* After the last step; so many blocks of the run were not added. */
void kv_run_end(struct kv_mirror *m, const struct kv_run *run, enum kv_step step, uint32_t left);
/* A block is no longer in a tier; in any. */
void kv_mirror_drop(struct kv_mirror *m, uint64_t name, enum index_tier tier);
void kv_mirror_drop_all(struct kv_mirror *m, uint64_t name);
/* Work on behalf of blocks that are not named in a payload is paid for by its size. */
void kv_mirror_credit(struct kv_mirror *m, size_t size);
