/*
 * sim_fleet_inner.h: the inside of sim_fleet, shared by its files.
 *
 * For: sim_fleet.c (a run and its clock), sim_fleet_trip.c (a request's way), sim_fleet_engine.c
 * (engines, what they tell, what befalls them). Threads: as sim_fleet. Memory: owned by the run.
 * Errors: the first one ends the run (`rc`).
 */
#pragma once

#include "base/hash.h"
#include "base/pool.h"
#include "brain/brain.h"
#include "sim/event_heap.h"
#include "sim/sim_fleet.h"

enum fleet_event { AT_DUE, AT_TICK, AT_REPORT, AT_REPORTED, AT_FAULT, AT_FAULT_END, AT_LEAVE };

/* What a callback of an engine noted. */
enum fleet_note { NOTE_NONE, NOTE_FIRST, NOTE_PROGRESS, NOTE_END };

/* A request on its way, from its arrival at the gateway to its end. */
struct trip {
	struct step_job job; /* the first member */
	uint32_t request;
	uint32_t engine; /* UINT32_MAX: at none */
	struct request_id id;
	uint64_t *hashes; /* for its engine */
	uint32_t reported;
	uint8_t attempts, exclude_count;
	bool has_left, is_done;
	struct engine_id exclude[FLEET_ATTEMPTS];
};

struct fleet_unit {
	struct fleet_run *run;
	struct step_engine *engine;
	struct step_profile profile;
	struct engine_id id;
	char name[24];
	uint32_t heap_at; /* UINT32_MAX: nothing is due */
	uint64_t next_ns;
	bool is_down, loses_events, lies;
	struct engine_report report; /* on its way */
	uint64_t requests;
};

struct kv_note {
	uint64_t due_ns, hash;
	uint32_t engine, depth; /* UINT32_MAX: removed; UINT32_MAX − 1: all forgotten */
};
#define KV_NOTE_REMOVED UINT32_MAX
#define KV_NOTE_CLEARED (UINT32_MAX - 1)

struct fleet_run {
	const struct fleet_config *c;
	struct fleet_result *out;
	struct brain *brain;
	int rc;
	uint64_t now_ns;
	struct event_heap events;
	/* engines; those with something under way in a heap by next_ns, then their number */
	struct fleet_unit *units;
	uint32_t unit_count;
	uint32_t *due_units;
	uint32_t due_count;
	/* the workload */
	uint32_t next_arrival;
	uint32_t *first_follower, *next_follower; /* of each request; NULL: none follows another */
	uint64_t ended;
	struct trip **trips; /* of each request that is on its way */
	struct bb_pool pool;
	uint64_t *scratch;
	uint32_t scratch_room;
	struct bb_rng rng;
	/* what engines' callbacks noted, until the engine is done */
	struct fleet_noted {
		struct trip *trip;
		uint64_t at_ns;
		uint32_t generated;
		enum fleet_note kind;
	} * notes;
	uint32_t note_count, note_room;
	/* KV events on their way: a ring */
	struct kv_note *kv;
	uint32_t kv_first, kv_count, kv_room;
	uint64_t told_tokens; /* generated, as engines said */
};

static inline void fleet_fail(struct fleet_run *r, int rc)
{
	if (!r->rc)
		r->rc = rc;
}
void fleet_found(struct fleet_run *r, const char *what, uint64_t value);

/* ---- sim_fleet_trip.c ---- */

void trip_arrive(struct fleet_run *r, uint32_t request);
/* Its client goes away. */
void trip_cancel(struct fleet_run *r, uint32_t request);
/* Hears what engines noted, and sends on whom the brain has released, until there is no more. */
void trips_settle(struct fleet_run *r);
void trip_note(struct fleet_run *r, struct trip *t, enum fleet_note kind, uint64_t at_ns,
	       uint32_t generated);

/* ---- sim_fleet_engine.c ---- */

BB_MUST int units_create(struct fleet_run *r);
void units_destroy(struct fleet_run *r);
/* It may have something else to do, or nothing. */
void unit_rearm(struct fleet_run *r, struct fleet_unit *u);
static inline uint64_t units_next_ns(const struct fleet_run *r)
{
	return r->due_count ? r->units[r->due_units[0]].next_ns : UINT64_MAX;
}
void unit_report(struct fleet_run *r, struct fleet_unit *u);
void unit_reported(struct fleet_run *r, struct fleet_unit *u);
void fault_begin(struct fleet_run *r, const struct fleet_fault *f);
void fault_finish(struct fleet_run *r, const struct fleet_fault *f);
static inline uint64_t kv_next_ns(const struct fleet_run *r)
{
	return r->kv_count ? r->kv[r->kv_first].due_ns : UINT64_MAX;
}
/* The oldest KV event reaches the brain. */
void kv_deliver(struct fleet_run *r);
