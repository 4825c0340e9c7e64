/*
 * record.h: a brain that says all that happens to it, and one that is told it again.
 *
 * For: the journal (records/journal), `busbar replay`, tests. Every call that changes something is
 * an event with its time; every decision is one more. The same events put into a brain of the same
 * start make the same decisions, so what a brain says while it is told a journal again is compared
 * with what the journal says.
 * Threads: as the brain; the callback is called inside of the brain's calls, so it must be quick.
 * Memory: one buffer of at most RECORD_EVENT_MAX bytes. Errors: an event that does not fit or that
 * the callback does not take is lost; a GAP stands in its place as soon as one is taken.
 */
#pragma once

#include "brain/brain.h"
#include "brain/event.h"
#include "brain/policy/policy.h"

#define RECORD_EVENT_MAX (16u << 20)

/* One event, as brain_event_write made it. False: it is lost. */
typedef bool brain_record_fn(void *user, struct bb_str event);

enum brain_record_what {
	BRAIN_RECORD_ALL,
	BRAIN_RECORD_DECISIONS, /* only what came out */
};

/* From now on. A brain to which nothing has happened yet says START first. */
BB_MUST int brain_record_to(struct brain *b, enum brain_record_what what, brain_record_fn *fn,
			    void *user);

enum checkpoint_step { CHECKPOINT_MORE, CHECKPOINT_DONE, CHECKPOINT_FAILED };
/*
 * One step of a checkpoint, each a bounded part of the index, at the end all else: the calls
 * between two steps are events like others. When the index would take more than `index_bytes_max`
 * it is left out, and the stream says so. After FAILED (something was lost) the next call begins
 * anew.
 */
enum checkpoint_step brain_checkpoint(struct brain *b, uint64_t now_ns, size_t index_bytes_max);
void brain_checkpoint_abandon(struct brain *b);

/* ---- telling it again ---- */

/* A brain as START (and all but it) says. -BB_EINVALID: there is no such policy here. */
BB_MUST int brain_of_start(const struct event_start *start, struct brain **out);
/* Tells it what happened; events that are no calls do nothing. */
BB_MUST int brain_apply(struct brain *b, const struct brain_event *e);

/* A brain as a checkpoint says: the parts of its index, then the rest. */
struct index;
BB_MUST int checkpoint_index(const struct event_start *start, struct index **out);
void checkpoint_index_apply(struct index *x, const struct event_index_op *op);
/* Takes the index over in any case. -BB_ESYNTAX: the state contradicts itself. */
BB_MUST int brain_of_checkpoint(const struct event_start *start, struct index *x,
				struct bb_str state, struct brain **out);
/* Is this the state that the brain is in, and what its index holds there? */
bool brain_state_is(struct brain *b, struct bb_str state);
bool brain_index_is(struct brain *b, const struct index_part *part);

/*
 * Called for every choice among candidates, with what it rests on, before anything is reserved.
 * For policies that are looked at beside the one in force.
 */
typedef void brain_watch_fn(void *user, const struct candidates *c, const struct policy_input *in,
			    const double *cost, uint32_t chosen);
void brain_watch(struct brain *b, brain_watch_fn *fn, void *user);
