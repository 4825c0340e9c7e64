/*
 * kv_rank.h: the KV events of one data-parallel rank: its sockets, the order of batches, the
 * mirror.
 *
 * For: kv_feed.c. A subscription (net/zmq_sub), replays where kv_sequence asks for them, and what
 * comes applied to a mirror (brain/kv_mirror), whose changes go out in bundles. The rank is exact
 * once the first block could be told, and no longer when its events cannot be had for
 * KV_RANK_GRACE_NS or its blocks do not fit ours.
 * Threads: the loop's. A rank must not be destroyed inside its callbacks.
 * Memory: the mirror up to mirror_bytes; live batches held during a replay up to KV_HELD_MAX
 * (kv_held.h); one message of at most KV_RANK_MESSAGE_MAX for each connection. Errors: -BB_ENOMEM,
 * -BB_EINVALID, -BB_ESYSTEM at creation. Later ones are counted and said.
 */
#pragma once

#include "brain/brain.h"
#include "brain/kv_mirror.h"
#include "engines/kv_budget.h"
#include "engines/kv_discover.h"
#include "os/loop.h"

#define KV_RANK_GRACE_NS 5000000000ull
#define KV_RANK_MESSAGE_MAX ((size_t)8 << 20)

struct kv_rank;

struct kv_rank_config {
	struct loop *loop;
	const char *name; /* of the engine, in log lines; the caller keeps it */
	uint32_t rank;
	const struct kv_source *source;
	const char *topic;
	size_t mirror_bytes;
	uint32_t block_tokens;
	uint64_t secret;
	struct kv_budget *budget; /* the engine's; the caller keeps it */
	void *user;
	void (*on_changes)(void *user, uint32_t rank, const struct kv_change *list, uint32_t count);
	/* Called when it changes, and before the first changes of an exact rank. */
	void (*on_mode)(void *user, uint32_t rank, enum kv_mode mode, const char *why);
};

/* What has happened since the start, and how it is now. */
struct kv_figures {
	uint64_t batches;		   /* applied */
	uint64_t stored, removed, cleared; /* the engine's blocks, by its events */
	uint64_t blocks;		   /* that it holds now, of its own size */
	uint64_t told_blocks;		   /* of ours that were told as stored */
	uint32_t block_tokens;		   /* of its blocks; 0: not known yet */
	uint64_t bytes;			   /* of the mirror */
	uint64_t refused, passed_over, orphans;
	uint64_t odd; /* messages that were no batch, events that could not be read */
	uint64_t gaps, lost_gaps, replays, replays_failed, restarts, throttled;
	uint64_t last_event_ns; /* 0: none has come */
	double lag_s, lag_max_s;
};

BB_MUST int kv_rank_create(const struct kv_rank_config *config, struct kv_rank **out);
void kv_rank_destroy(struct kv_rank *r);
enum kv_mode kv_rank_mode(const struct kv_rank *r, const char **why);
/* Adds to `f`; times are the worst of all. */
void kv_rank_figures(const struct kv_rank *r, struct kv_figures *f);
