/*
 * kv_sequence.h: may this batch of KV events be applied now? One publisher's numbers, watched.
 *
 * For: kv_rank.c, which has the sockets and does what is said here. Batches are numbered from 0 by
 * an engine that has just started. Nothing is ever applied out of order or twice: after a gap or a
 * new connection the engine is asked for what came since the last batch that was applied, that one
 * included: if it sends the same bytes again it is the same engine with nothing lost; if it has
 * another batch of that number, or none, it has started anew. What cannot be had any more is a lost
 * gap: everything is forgotten and told anew from what comes. A replay that failed is not tried
 * again for KV_SEQUENCE_COOL_NS.
 * Threads: pure; one owner. Memory: embedded. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define KV_SEQUENCE_COOL_NS 30000000000ull
/* Replays in a row that end behind what has come meanwhile; after so many the gap is lost. */
#define KV_SEQUENCE_ROUNDS_MAX 8

/* What is to be done, in this order; a mask. */
enum kv_step {
	KV_STEP_CLEAR = 1,  /* forget everything that was applied */
	KV_STEP_DROP = 2,   /* forget the batches that are held, break off a replay that runs */
	KV_STEP_REPLAY = 4, /* break off a replay that runs and start one at replay_from */
	KV_STEP_HOLD = 8,   /* keep this batch (where there is room) for kv_sequence_held */
	KV_STEP_APPLY = 16, /* apply this batch */
};

enum kv_sequence_state {
	KV_SEQUENCE_DOWN,      /* not connected */
	KV_SEQUENCE_LIVE,      /* what comes is applied */
	KV_SEQUENCE_REPLAYING, /* what comes live is held until the replay has ended */
};

struct kv_sequence {
	enum kv_sequence_state state;
	bool can_replay;  /* the engine has a replay endpoint */
	bool has_last;	  /* some batch is applied */
	bool is_verified; /* the running replay has shown that it is the same engine */
	bool has_held;
	uint64_t last;	    /* number of the batch that was applied last */
	uint64_t last_hash; /* of its payload */
	uint64_t held_last; /* newest live batch during the replay */
	uint64_t replay_from;
	uint64_t cool_until_ns;
	uint32_t rounds;
	/* since the start */
	uint64_t gaps, replays, replays_failed, lost, restarts;
};

enum kv_replay { KV_REPLAY_NONE, KV_REPLAY_OFFERED };

void kv_sequence_init(struct kv_sequence *s, enum kv_replay replay);
/* Everything was forgotten for another reason: begin as with a new engine. */
void kv_sequence_forget(struct kv_sequence *s);

/* Each returns a mask of enum kv_step. `hash`: of the payload. */
unsigned kv_sequence_up(struct kv_sequence *s, uint64_t now_ns);
unsigned kv_sequence_down(struct kv_sequence *s);
unsigned kv_sequence_live(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence, uint64_t hash);
/* A batch of the replay that runs. */
unsigned kv_sequence_replayed(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence,
			      uint64_t hash);
/* It is over; `err` 0: with everything that the engine still has. Held batches come next. */
unsigned kv_sequence_replay_ended(struct kv_sequence *s, uint64_t now_ns, int err);
/* A batch that was held; as long as the state is KV_SEQUENCE_LIVE, in the order they came. */
unsigned kv_sequence_held(struct kv_sequence *s, uint64_t now_ns, uint64_t sequence, uint64_t hash);
/* None is left: those that there was no room for are asked for again. */
unsigned kv_sequence_drained(struct kv_sequence *s, uint64_t now_ns);
