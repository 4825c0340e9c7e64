/*
 * event.h: what happens to a brain, and what it decides, as bytes.
 *
 * For: record.c, which writes events; journals and `busbar replay`, which read them. An event is a
 * byte (its kind; EVENT_ABSOLUTE added where its time stands for itself), its time (else as the
 * difference to the event before), and its fields (docs/journal.md). Of a request there are numbers
 * and hashes of blocks, which are keyed with a secret of the process; a name that a client wrote
 * and that means no model here is not kept.
 * Threads: pure; a coder has one owner. Memory: what is read lies in the arena and in the bytes.
 * Errors: -BB_ESYNTAX, -BB_ENOMEM, -BB_ELIMIT.
 */
#pragma once

#include "brain/brain.h"
#include "brain/index_part.h"
#include "brain/kv_mirror.h"
#include "brain/pack.h"

#define EVENT_ABSOLUTE 0x80

/* clang-format off */
#define BRAIN_EVENTS(X)                                                                            \
	X(START, "start")             /* a new brain: seed, limits, policy */                      \
	X(CHECKPOINT, "checkpoint")   /* begins: INDEX and INDEX_OP follow, then STATE */          \
	X(INDEX, "index")             /* what the index holds in a part of the hashes, at this place */ \
	X(INDEX_OP, "index op")       /* what changed in the index during a checkpoint */          \
	X(STATE, "state")             /* all else, at this place */                                \
	X(GAP, "gap")                 /* why what follows cannot be reproduced */                  \
	X(CONFIGURE, "configure")                                                                  \
	X(REPORT, "report")                                                                        \
	X(KV_CHANGE, "kv change")                                                                  \
	X(KV_MODE, "kv mode")                                                                      \
	X(ARRIVED, "arrived")                                                                      \
	X(RELEASED, "released")       /* brain_released gave one */                                \
	X(FETCHED, "fetched")         /* its decision was asked for */                             \
	X(FIRST_TOKEN, "first token")                                                              \
	X(PROGRESS, "progress")                                                                    \
	X(ENDED, "ended")                                                                          \
	X(LACKS, "lacks")                                                                          \
	X(TICK, "tick")                                                                            \
	X(MADE, "decision")           /* what came out; all others are what went in */
/* clang-format on */
enum brain_event_kind {
#define X(name, text) EVENT_##name,
	BRAIN_EVENTS(X)
#undef X
		EVENT_KINDS,
};
const char *brain_event_name(enum brain_event_kind kind);

#define EVENT_POLICY_MAX 63

/* Of what a brain was made. */
struct event_start {
	uint64_t seed;
	struct brain_limits limits; /* as they are in effect */
	struct bb_str policy;
};

struct event_index {
	bool is_left_out; /* the index is too large: nothing of it is here */
	struct index_part part;
};

struct event_index_op {
	enum index_change change;
	uint32_t row;
	enum index_tier tier;
	uint32_t depth, stride;
	const uint64_t *hashes;
	uint32_t hash_count;
};

enum gap_cause {
	GAP_LOST,    /* events were not written: the journal could not follow */
	GAP_MEMORY,  /* memory ran out in the brain: what it did then depends on that */
	GAP_EVICTED, /* the index evicted: what, depends on how it came to be, not only on what it
			holds */
	GAP_CAUSES,
};
const char *gap_cause_text(enum gap_cause cause);

/* A request, without its text: its model by its place in the table. */
struct event_arrived {
	uint32_t model; /* UINT32_MAX: no such model */
	struct brain_request ask;
};

struct event_made {
	enum decision_action action;
	int error;
	struct engine_id engine;
	uint32_t rank;
	enum decision_reason reason;
	uint32_t candidates;
	uint64_t cached_tokens, possible_tokens;
	double cost, next_cost;
	uint64_t held_ns;
	uint64_t digest; /* of all else in the decision */
};

struct brain_event {
	enum brain_event_kind kind;
	uint64_t now_ns;
	struct engine_id engine;   /* REPORT, KV_CHANGE, KV_MODE, LACKS */
	uint32_t rank;		   /* KV_CHANGE, KV_MODE */
	struct request_id request; /* RELEASED, FETCHED, FIRST_TOKEN, PROGRESS, ENDED, MADE */
	union {
		struct event_start start; /* START, CHECKPOINT */
		struct event_index index;
		struct event_index_op index_op;
		struct bb_str state; /* for state.c */
		struct {
			enum gap_cause cause;
			uint64_t count; /* LOST: of events */
		} gap;
		struct plan plan;
		struct engine_report report;
		struct kv_change change;
		enum kv_mode mode;
		struct event_arrived arrived;
		uint64_t generated;
		struct request_result result;
		uint32_t api;
		struct event_made made;
	};
};

/* What the times of a stream of events refer to. */
struct event_coder {
	bool has_time;
	uint64_t now_ns;
};

/* Appends one event; the first of a stream, or after one was lost (has_time false), absolute. */
BB_MUST int brain_event_write(struct event_coder *c, const struct brain_event *e,
			      struct bb_buf *out);
/* One event that fills all of `bytes`. It is valid as long as these and the arena are. */
BB_MUST int brain_event_read(struct event_coder *c, struct bb_str bytes, struct bb_arena *arena,
			     struct brain_event *out);
