/*
 * event_heap.h: what is due when.
 *
 * For: sim_fleet, on virtual time; load_play. Entries with equal times come in the order in which they were put in.
 * Threads: one owner. Memory: grows. Errors: -BB_ENOMEM: nothing was put in.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct event_entry {
	uint64_t at_ns, number;
	uint32_t kind, index;
};

struct event_heap {
	struct event_entry *entries;
	uint32_t count, room;
	uint64_t number;
};

void event_heap_init(struct event_heap *h);
void event_heap_fini(struct event_heap *h);
BB_MUST int event_heap_put(struct event_heap *h, uint64_t at_ns, uint32_t kind, uint32_t index);
/* count > 0 */
struct event_entry event_heap_take(struct event_heap *h);
static inline uint64_t event_heap_next_ns(const struct event_heap *h)
{
	return h->count ? h->entries[0].at_ns : UINT64_MAX;
}
