/*
 * record_inner.h: how the brain's own files say what happens; only when b->record is there.
 *
 * For: brain.c, hold.c, decide.c. What went in is said before it takes effect.
 * Threads: as the brain. Memory: none is kept. Errors: none here: see record.h.
 */
#pragma once

#include "brain/brain_core.h"
#include "brain/event.h"

void record_plan(struct brain *b, uint64_t now_ns, const struct plan *plan);
void record_report(struct brain *b, uint64_t now_ns, struct engine_id id,
		   const struct engine_report *report);
void record_change(struct brain *b, uint64_t now_ns, struct engine_id id, uint32_t rank,
		   const struct kv_change *change);
void record_mode(struct brain *b, uint64_t now_ns, struct engine_id id, uint32_t rank,
		 enum kv_mode mode);
/* `m` NULL: there is no such model. */
void record_arrived(struct brain *b, uint64_t now_ns, const struct model *m,
		    const struct brain_request *ask);
void record_request(struct brain *b, enum brain_event_kind kind, uint64_t now_ns,
		    struct request_id id);
/* The same for calls that have no time. */
void record_fetch(struct brain *b, enum brain_event_kind kind, struct request_id id);
void record_progress(struct brain *b, uint64_t now_ns, struct request_id id, uint64_t generated);
void record_ended(struct brain *b, uint64_t now_ns, struct request_id id,
		  const struct request_result *result);
void record_lacks(struct brain *b, struct engine_id id, uint32_t api);
void record_tick(struct brain *b, uint64_t now_ns);
void record_made(struct brain *b, uint64_t now_ns, struct request_id id, const struct decision *d);
/* With the brain. */
void record_destroy(struct brain *b);
