#include "sim/event_heap.h"

#include <stdbool.h>

#include "base/alloc.h"
#include "base/log.h"

void event_heap_init(struct event_heap *h)
{
	*h = (struct event_heap){ 0 };
}

void event_heap_fini(struct event_heap *h)
{
	BB_FREE(h->entries);
	event_heap_init(h);
}

static bool is_before(const struct event_entry *a, const struct event_entry *b)
{
	return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->number < b->number);
}

static int grow(struct event_heap *h)
{
	const uint32_t room = h->room ? 2 * h->room : 64;
	struct event_entry *const more = bb_realloc(h->entries, room * sizeof(*more));

	if (!more)
		return -BB_ENOMEM;
	h->entries = more;
	h->room = room;
	return 0;
}

int event_heap_put(struct event_heap *h, uint64_t at_ns, uint32_t kind, uint32_t index)
{
	if (h->count == h->room && grow(h))
		return -BB_ENOMEM;
	const struct event_entry entry = { at_ns, h->number++, kind, index };
	uint32_t at = h->count++;
	for (; at && is_before(&entry, &h->entries[(at - 1) / 2]); at = (at - 1) / 2)
		h->entries[at] = h->entries[(at - 1) / 2];
	h->entries[at] = entry;
	return 0;
}

struct event_entry event_heap_take(struct event_heap *h)
{
	BB_ASSERT(h->count > 0);
	const struct event_entry top = h->entries[0], last = h->entries[--h->count];
	uint32_t at = 0;

	for (uint32_t k = 1; k < h->count; k = 2 * at + 1) {
		k += k + 1 < h->count && is_before(&h->entries[k + 1], &h->entries[k]);
		if (!is_before(&h->entries[k], &last))
			break;
		h->entries[at] = h->entries[k];
		at = k;
	}
	if (h->count)
		h->entries[at] = last;
	return top;
}
