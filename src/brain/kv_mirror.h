/*
 * kv_mirror.h: what one engine (or rank) says that it holds, under our own names for blocks.
 *
 * For: the gateway's readers of KV events; the simulator. An engine names blocks by hashes of its
 * own, of a block size of its own. A mirror takes its events (wire/kv_events), hashes the token ids
 * again (text/block_hash, in blocks of `block_tokens`), and gives the changes for the index:
 * prefix-closed (a block whose parent the engine dropped is not told until the parent is back),
 * each store told once and each removal of a told block once per tier. An engine's block may be a
 * multiple of ours (it becomes several), or a divisor (ours is told when its last part has come).
 * Blocks of layers that cannot be reused alone (sliding windows, Mamba), of remote locality, or
 * with images or unknown extra keys are passed over and counted.
 * Threads: one owner. Pure. Memory: at most `bytes_max`; beyond it further blocks are not followed.
 * Errors: -BB_ESYNTAX for a payload that is no batch: nothing was changed. All else is counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "brain/index.h"

struct kv_mirror;

enum kv_change_kind { KV_CHANGE_STORE, KV_CHANGE_REMOVE, KV_CHANGE_CLEAR };

/* A run of blocks of one chain; on CLEAR nothing else is set. */
struct kv_change {
	enum kv_change_kind kind;
	enum index_tier tier;
	uint32_t depth; /* STORE: of the first */
	const uint64_t *hashes;
	uint32_t count; /* at most KV_CHANGE_MAX */
};
#define KV_CHANGE_MAX 512
#define KV_MIRROR_BYTES_MIN ((size_t)1 << 18)

struct kv_mirror_config {
	uint32_t block_tokens; /* of the index */
	uint64_t secret;       /* of the process: text/block_hash */
	size_t bytes_max;      /* 0: 256 MiB; at least KV_MIRROR_BYTES_MIN */
	uint32_t dp_rank;      /* JSON form: events of other ranks are passed over */
	/* Called during kv_mirror_apply, in order. */
	void (*on_change)(void *user, const struct kv_change *change);
	void *user;
};

struct kv_mirror_stats {
	uint64_t bytes;
	uint64_t blocks;		   /* the engine's, followed now */
	uint64_t stored, removed, cleared; /* the engine's blocks, since the start */
	uint64_t orphans;      /* stored under a parent that is not known, or whose parent went */
	uint64_t passed_over;  /* of other groups, remote, with images, malformed */
	uint64_t unknown;      /* removals of blocks that are not held there */
	uint64_t odd;	       /* events that could not be read */
	uint64_t refused;      /* no room */
	uint32_t block_tokens; /* of the engine's blocks; 0: not seen yet */
	bool is_mismatched;    /* neither multiple nor divisor of ours: nothing can be told */
};

BB_MUST int kv_mirror_create(const struct kv_mirror_config *config, struct kv_mirror **out);
void kv_mirror_destroy(struct kv_mirror *m);
/* One batch as an engine published it. `ts_seconds` (or NULL) gets the time stamp of the engine. */
BB_MUST int kv_mirror_apply(struct kv_mirror *m, struct bb_str payload, double *ts_seconds);
/*
 * TensorRT-LLM's form: the JSON array that /kv_cache_events answers. `next_event_id` is 0 at first,
 * and is then the id behind the last event; when another one comes, the engine has restarted or
 * events are lost, and what was known is forgotten first. Only blocks of the widest attention
 * window and of the most tokens count (it also tells of blocks that are filled in part).
 */
BB_MUST int kv_mirror_apply_json(struct kv_mirror *m, struct bb_str body, uint64_t *next_event_id);
/* The engine has restarted or events were lost for good: everything is forgotten (and told). */
void kv_mirror_clear(struct kv_mirror *m);
void kv_mirror_stats(const struct kv_mirror *m, struct kv_mirror_stats *out);
/* For tests: its parts agree with each other. Walks over all blocks. */
bool kv_mirror_is_sound(const struct kv_mirror *m);
