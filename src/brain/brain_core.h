/*
 * brain_core.h: the inside of the brain, shared by its files.
 *
 * For: brain.c (life, plan, reports), flights.c (requests in flight), lane_list.c (lanes of
 * engines), collect.c (who may take a request), decide.c (a choice), hold.c (requests that wait), shadow.c (other policies' choices), brain_view.c.
 * Threads: as the brain. Memory: owned by the brain. Errors: see each.
 */
#pragma once

#include "brain/brain.h"
#include "brain/fleet.h"
#include "brain/index.h"
#include "brain/kinds.h"
#include "brain/kv_lane.h"
#include "brain/lane.h"
#include "brain/marks.h"
#include "brain/policy/policy.h"
#include "brain/record.h"
#include "brain/shares.h"

#define RETRY_AFTER_MS 1000
/* Blocks that engines' slower tiers hold are worth less than the device's (Dynamo's constant). */
#define LOWER_TIER_CREDIT 0.75

enum flight_state {
	FLIGHT_FREE,
	FLIGHT_HELD,     /* waits for an engine that is open */
	FLIGHT_RELEASED, /* decided, not yet fetched */
	FLIGHT_SENT,
};

/* What a request that waits needs to be decided later. */
struct held {
	struct brain_request ask; /* `hashes` is the flight's; `model` is not kept */
	struct engine_id exclude[BRAIN_EXCLUDE_MAX];
	uint32_t model;
	uint64_t since_ns;
	uint32_t visit;           /* number of the latest walk that looked at it */
	bool is_dispatched;       /* RELEASED: it has an engine */
	bool is_listed;           /* RELEASED: nobody has been told yet */
	struct decision decision; /* RELEASED */
};

struct flight {
	uint32_t generation; /* odd: in use */
	uint32_t next_free;  /* also the next one released */
	uint8_t state;       /* enum flight_state */
	uint8_t hashed;      /* enum prompt_hashes */
	bool is_promised;    /* its marks are in the index as promised */
	struct lane_request lane;
	struct share_refs shares;
	uint32_t lane_index;
	struct engine_id engine;
	uint64_t tokens;     /* counted at its engine */
	uint64_t pending_prefill;
	uint64_t predicted;  /* cached tokens, as the index says, trusted or not */
	/* HELD: all block hashes; SENT: the marks among them */
	uint64_t *hashes;
	uint32_t hash_count, hash_room;
	struct held *held;   /* HELD, RELEASED */
};

/* Who has a lane. It is free when the engine has another one now and nothing is in flight there. */
struct lane_owner {
	struct engine_id engine;
	uint32_t rank;
	uint32_t kind;     /* row of the table of kinds */
	struct kind_key key; /* what that was chosen by */
};

struct shadow {
	const struct policy *policy;
	struct shadow_view counts;
	uint32_t choice; /* scratch: row of the columns */
};

/* What the columns of the last decision were made of; no part of the state, for it follows from it. */
struct roll {
	bool holds; /* false: they are good for that one only */
	uint32_t model, api;
	uint64_t version; /* of the fleet */
	uint64_t api_all; /* endpoints that all its engines have */
	uint32_t left_out[LEFT_OUT_COUNT], left_count;
	struct decision_left left[DECISION_LEFT_MAX];
};

struct record;

struct brain {
	struct fleet fleet;
	const struct policy *policy;
	uint32_t policy_row; /* of policy_at */
	struct bb_rng rng;
	struct flight *flights;
	uint32_t flights_cap, flights_max, flights_used, flights_live;
	uint32_t free_head; /* UINT32_MAX: none */
	size_t hash_bytes, hash_bytes_max;
	/* lanes are the rows of the index */
	struct lane *lanes;     /* each begins on a cache line */
	void *lanes_memory;
	struct lane_owner *owners;
	uint64_t *identities; /* of each lane: of its engine's name and its rank */
	struct kv_lane *kv_lanes;
	uint32_t lane_count; /* ever used */
	struct index *index;
	struct kinds *kinds;
	struct shares *shares;
	struct lane_lengths *lengths; /* of each model */
	/* requests that wait, in no order */
	uint32_t *held; /* rows of flights */
	uint32_t held_count, held_max;
	uint64_t held_ns_max;
	uint32_t walk;          /* number of the latest walk of the queue */
	uint32_t released_head, released_tail; /* UINT32_MAX: none */
	/* columns of the candidates and scratch, INDEX_ROWS_MAX long */
	struct candidates columns;
	struct roll roll;
	bool has_promises;      /* in their column */
	uint32_t *binding;
	double *cost;
	struct index_depth *depths;
	uint32_t *raw_cached;   /* of each candidate, before trust */
	uint32_t *row_of_lane;  /* of the columns, where it is a candidate */
	uint32_t cached_most;   /* of all candidates, as far as trusted */
	uint32_t *promised;     /* of each lane, in a walk of the queue */
	struct shadow shadows[BRAIN_SHADOWS_MAX];
	uint32_t shadow_count;
	struct bb_rng shadow_rng; /* their own, so that real decisions stay as they are */
	double *shadow_cost;      /* NULL until there are shadows */
	double *shadow_ms;        /* two columns */
	/* for journals */
	struct event_start origin;
	struct record *record;  /* NULL: nobody listens */
	brain_watch_fn *watch;  /* NULL: nobody watches */
	void *watch_user;
};

/* ---- brain.c, for retell.c ---- */

/* brain_request_arrived for a model that is known (or NULL). */
void brain_arrive(struct brain *b, uint64_t now_ns, struct model *m, const struct brain_request *r,
		  struct decision *out);
void brain_use_policy(struct brain *b, const struct policy *policy);
/* What the index's hashes are mixed with, in a brain of this seed. */
uint64_t brain_index_seed(uint64_t seed);

/* ---- flights.c ---- */

struct flight *flight_get(const struct brain *b, struct request_id id);
/* -BB_EBUSY: the table is full. -BB_ENOMEM. */
BB_MUST int flight_claim(struct brain *b, struct request_id *id);
void flight_release(struct brain *b, uint32_t slot);
/* Keeps a copy of the hashes, unless there is no room: then the prompt counts as unknown. */
void flight_keep_hashes(struct brain *b, struct flight *f, const uint64_t *hashes, uint32_t count);
/* Of all hashes only the marks are kept: from now on it is sent. */
void flight_thin_hashes(struct brain *b, struct flight *f);
struct lane_table flight_table(struct brain *b);

/* ---- lane_list.c ---- */

/* Gives an engine as many lanes as it has ranks. False: there are none left. */
bool lanes_assign(struct brain *b, struct engine *e);
static inline bool lanes_are_assigned(const struct engine *e)
{
	return e->lane_count && e->lane_count == (e->dp_ranks ? e->dp_ranks : 1);
}
/* A lane of a living engine; UINT32_MAX: it has no such rank. */
uint32_t lane_of(const struct brain *b, struct engine_id id, uint32_t rank);
/* What the engine says about its limits, also to lanes, and of which kind they are then. */
void lanes_set_limits(struct brain *b, const struct engine *e);
/* Its load, as the engine says. */
void lanes_report_load(struct brain *b, const struct engine *e);

/* ---- collect.c ---- */

/* Fills in the columns with the lanes of `m` that may take the request; `d` with the others. */
void collect(struct brain *b, const struct model *m, const struct brain_request *r,
	     struct decision *d);

/* ---- decide.c ---- */

/* A choice among the lanes that may take it. */
struct choice {
	uint32_t candidate; /* row of the columns */
	uint32_t lane;
	bool is_open;       /* it can go there now */
};

/* What a policy is told. */
struct policy_input decision_input(struct bb_rng *rng, uint64_t now_ns, const struct model *m,
				   const struct brain_request *r);
/* `d` was begun with this. */
void decision_begin(const struct brain *b, struct decision *d);
/* Of which model it is. */
void decision_name(const struct brain *b, const struct model *m, struct decision *d);
void decision_reject(struct decision *d, int error, uint32_t retry_after_ms);
/* Fills in the columns and `d`; false: `d` is a rejection. `now_ns` is when, `out` what was chosen. */
bool decide(struct brain *b, uint64_t now_ns, struct model *m, const struct brain_request *r,
	    struct choice *out, struct decision *d);
/* Reserves what was chosen for a claimed flight. Right after decide. */
void dispatch(struct brain *b, uint64_t now_ns, struct model *m, const struct brain_request *r,
	      const struct choice *c, struct request_id id, struct decision *d);
/* Takes back what dispatch has reserved. */
void flight_leave(struct brain *b, uint64_t now_ns, struct flight *f,
		  const struct request_result *result);

/* ---- shadow.c ---- */

/* What the shadows would have chosen of the columns as they are. Between decide and reserving. */
void shadows_judge(struct brain *b, uint64_t now_ns, const struct model *m,
		   const struct brain_request *r, uint32_t chosen);
void shadows_free(struct brain *b);

/* ---- hold.c ---- */

/* Puts a claimed flight into the queue. -BB_EBUSY: it is full. -BB_ENOMEM. */
BB_MUST int hold(struct brain *b, uint64_t now_ns, const struct model *m,
		 const struct brain_request *r, struct request_id id);
/* It ends while it waits, or before its decision was fetched. */
void held_forget(struct brain *b, uint32_t slot);
/* A request goes to an engine after so long: what the order of the queue is made of. */
void held_learn(struct model *m, uint64_t uncached, uint64_t waited_ns);
/* Sends those on for whom an engine is open now. */
void held_walk(struct brain *b, uint64_t now_ns);
void held_expire(struct brain *b, uint64_t now_ns);
