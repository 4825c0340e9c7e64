/*
 * rerun.h: a stream of recorded events told to a brain again, and its decisions compared.
 *
 * For: `busbar replay`; tests. From a START on, or from the end of a checkpoint on, a brain is told
 * what the recorded one was told, and each of its decisions must be the recorded one, bit for bit.
 * Where that cannot be, the decision is said to be not comparable, and why. Later checkpoints of a
 * stream are compared with the brain's state.
 * Threads: one owner; pure. Memory: a brain, and one event. Errors: -BB_ESYNTAX (no event, or one
 * that cannot have happened), -BB_ENOMEM, -BB_EINVALID (a policy that this build does not have).
 */
#pragma once

#include "brain/event.h"
#include "brain/record.h"

struct rerun;

enum rerun_verdict {
	RERUN_EQUAL,
	RERUN_DIFFERENT,
	RERUN_BLIND,	/* no beginning or checkpoint has been read yet, or events were lost */
	RERUN_NO_INDEX, /* the checkpoint left the index out */
	RERUN_EVICTED,	/* the index has evicted since the checkpoint */
	RERUN_VERDICTS,
};
const char *rerun_verdict_text(enum rerun_verdict v);

struct rerun_decision {
	uint64_t request_number; /* the n-th that arrived, in what was read; 0: before it */
	const struct brain_event *recorded, *made; /* NULL: there was none on that side */
	enum rerun_verdict verdict;
};

struct rerun_counts {
	uint64_t events, arrived;
	uint64_t decisions[RERUN_VERDICTS];
	uint64_t starts, checkpoints;		 /* begun from */
	uint64_t states_equal, states_different; /* checkpoints that were compared */
	uint64_t gaps[GAP_CAUSES];
	uint64_t first_ns, last_ns; /* times of events */
};

struct rerun_config {
	void (*on_decision)(void *user, const struct rerun_decision *d); /* or NULL */
	/* Both or none: a choice among candidates, and then, when it was one, what was decided;
	 * while the brain is told the event, so before on_decision. */
	brain_watch_fn *watch;
	void (*on_made)(void *user, const struct brain_event *made);
	void *user;
};

BB_MUST int rerun_create(const struct rerun_config *config, struct rerun **out);
void rerun_destroy(struct rerun *r);
BB_MUST int rerun_event(struct rerun *r, struct bb_str event);
/* What comes next does not follow on what was read: nothing is known until it begins anew. */
void rerun_cut(struct rerun *r);
const struct rerun_counts *rerun_counts(const struct rerun *r);
/* False: what an event's time refers to was not read; -BB_ESYNTAX may be for that alone. */
bool rerun_is_placed(const struct rerun *r);
/* NULL: none now. */
const struct brain *rerun_brain(const struct rerun *r);
