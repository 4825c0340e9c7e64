/* flights.c: the table of requests that the brain knows: waiting, or at an engine. */
#include "base/alloc.h"
#include "base/log.h"
#include "brain/brain_core.h"

struct flight *flight_get(const struct brain *b, struct request_id id)
{
	if (id.generation == 0 || id.slot >= b->flights_used)
		return NULL;
	struct flight *f = &b->flights[id.slot];
	return f->generation == id.generation ? f : NULL;
}

static int flights_grow(struct brain *b)
{
	const uint32_t cap = b->flights_cap ? b->flights_cap * 2 : 256;
	struct flight *grown = bb_realloc(b->flights, cap * sizeof(*grown));

	if (!grown)
		return -BB_ENOMEM;
	b->flights = grown;
	b->flights_cap = cap;
	return 0;
}

int flight_claim(struct brain *b, struct request_id *id)
{
	uint32_t slot = b->free_head;
	uint32_t generation = 0;

	if (slot != UINT32_MAX) {
		b->free_head = b->flights[slot].next_free;
		generation = b->flights[slot].generation;
	} else {
		if (b->flights_used == b->flights_max)
			return -BB_EBUSY;
		if (b->flights_used == b->flights_cap && flights_grow(b))
			return -BB_ENOMEM;
		slot = b->flights_used++;
	}
	b->flights_live++;
	b->flights[slot] = (struct flight){ .generation = generation + 1, /* even → odd */
					    .next_free = UINT32_MAX,
					    .lane_index = UINT32_MAX };
	*id = (struct request_id){ slot, generation + 1 };
	return 0;
}

static void hashes_drop(struct brain *b, struct flight *f)
{
	b->hash_bytes -= f->hash_room * sizeof(*f->hashes);
	BB_FREE(f->hashes);
	f->hash_count = f->hash_room = 0;
}

void flight_release(struct brain *b, uint32_t slot)
{
	struct flight *f = &b->flights[slot];

	hashes_drop(b, f);
	BB_FREE(f->held);
	f->generation++;
	f->state = FLIGHT_FREE;
	f->next_free = b->free_head;
	b->free_head = slot;
	b->flights_live--;
}

void flight_keep_hashes(struct brain *b, struct flight *f, const uint64_t *hashes, uint32_t count)
{
	const size_t size = count * sizeof(*hashes);

	BB_ASSERT(!f->hashes);
	if (count == 0 || size > b->hash_bytes_max - b->hash_bytes)
		return;
	f->hashes = bb_alloc(size);
	if (!f->hashes)
		return;
	memcpy(f->hashes, hashes, size);
	f->hash_count = f->hash_room = count;
	b->hash_bytes += size;
}

void flight_thin_hashes(struct brain *b, struct flight *f)
{
	const uint32_t count = marks_of_blocks(f->hash_count);

	if (count == 0) {
		hashes_drop(b, f);
		return;
	}
	if (count == f->hash_count)
		return;
	for (uint32_t i = 0; i < count; i++)
		f->hashes[i] = f->hashes[mark_block(i)];
	uint64_t *less = bb_realloc(f->hashes, count * sizeof(*less));
	if (less) {
		b->hash_bytes -= (f->hash_room - count) * sizeof(*less);
		f->hashes = less;
		f->hash_room = count;
	}
	f->hash_count = count;
}

static struct lane_request *row(void *table, uint32_t i)
{
	struct brain *b = table;

	return &b->flights[i].lane;
}

struct lane_table flight_table(struct brain *b)
{
	return (struct lane_table){ row, b };
}
