#include "brain/kv_assumed.h"

#include "base/alloc.h"
#include "base/log.h"
#include "brain/pack.h"

#define NONE UINT32_MAX
#define GROWTH_MIN 64
#define EVICT_AT_ONCE 64

struct mark {
	uint64_t hash;
	uint32_t tokens;
	uint32_t newer, older; /* NONE: the end; of a free one `older` is the next free */
};

struct kv_assumed {
	struct index *index;
	uint32_t row;
	uint64_t capacity, tokens;
	uint32_t count;
	struct mark *marks;
	uint32_t marks_cap, marks_used;
	uint32_t free_head;
	uint32_t newest, oldest;
	uint32_t *table; /* mark + 1; 0: empty. Twice as long as there are marks */
	uint32_t mask;
};

struct kv_assumed *kv_assumed_create(struct index *x, uint32_t row, uint64_t capacity)
{
	struct kv_assumed *a = bb_alloc_zero(1, sizeof(*a));

	if (!a)
		return NULL;
	a->index = x;
	a->row = row;
	a->capacity = capacity;
	a->free_head = a->newest = a->oldest = NONE;
	return a;
}

void kv_assumed_destroy(struct kv_assumed *a)
{
	if (!a)
		return;
	bb_free(a->marks);
	bb_free(a->table);
	bb_free(a);
}

uint32_t kv_assumed_count(const struct kv_assumed *a)
{
	return a->count;
}

uint64_t kv_assumed_tokens(const struct kv_assumed *a)
{
	return a->tokens;
}

/* ---- the table ---- */

/* Hashes are keyed and even already: their low bits do. */
static uint32_t *place_of(struct kv_assumed *a, uint64_t hash)
{
	uint32_t i = (uint32_t)hash & a->mask;

	while (a->table[i] && a->marks[a->table[i] - 1].hash != hash)
		i = (i + 1) & a->mask;
	return &a->table[i];
}

/* Closes the hole by moving back what had been pushed on. */
static void place_free(struct kv_assumed *a, uint32_t *place)
{
	uint32_t hole = (uint32_t)(place - a->table);
	uint32_t i = hole;

	for (;;) {
		i = (i + 1) & a->mask;
		if (!a->table[i])
			break;
		const uint32_t home = (uint32_t)a->marks[a->table[i] - 1].hash & a->mask;
		if (((i - home) & a->mask) >= ((i - hole) & a->mask)) {
			a->table[hole] = a->table[i];
			hole = i;
		}
	}
	a->table[hole] = 0;
}

static bool grow(struct kv_assumed *a)
{
	const uint32_t cap = a->marks_cap ? a->marks_cap * 2 : GROWTH_MIN;
	struct mark *marks = bb_realloc(a->marks, cap * sizeof(*marks));

	if (!marks)
		return false;
	a->marks = marks;
	uint32_t *table = bb_alloc_zero(2 * (size_t)cap, sizeof(*table));
	if (!table)
		return false;
	bb_free(a->table);
	a->table = table;
	a->mask = 2 * cap - 1;
	a->marks_cap = cap;
	for (uint32_t i = a->oldest; i != NONE; i = a->marks[i].newer)
		*place_of(a, a->marks[i].hash) = i + 1;
	return true;
}

/* ---- the order of use ---- */

static void unlink_mark(struct kv_assumed *a, uint32_t i)
{
	const struct mark *m = &a->marks[i];

	if (m->newer != NONE)
		a->marks[m->newer].older = m->older;
	else
		a->newest = m->older;
	if (m->older != NONE)
		a->marks[m->older].newer = m->newer;
	else
		a->oldest = m->newer;
}

static void link_newest(struct kv_assumed *a, uint32_t i)
{
	a->marks[i].newer = NONE;
	a->marks[i].older = a->newest;
	if (a->newest != NONE)
		a->marks[a->newest].newer = i;
	else
		a->oldest = i;
	a->newest = i;
}

/* Its hash, for the index. */
static uint64_t forget_oldest(struct kv_assumed *a)
{
	const uint32_t i = a->oldest;
	struct mark *m = &a->marks[i];

	place_free(a, place_of(a, m->hash));
	unlink_mark(a, i);
	m->older = a->free_head;
	a->free_head = i;
	a->count--;
	a->tokens -= m->tokens;
	return m->hash;
}

static bool add(struct kv_assumed *a, uint64_t hash, uint32_t tokens)
{
	uint32_t i = a->free_head;

	if (i != NONE) {
		a->free_head = a->marks[i].older;
	} else {
		if (a->marks_used == a->marks_cap && !grow(a))
			return false;
		i = a->marks_used++;
	}
	a->marks[i].hash = hash;
	a->marks[i].tokens = tokens;
	a->tokens += tokens;
	*place_of(a, hash) = i + 1;
	link_newest(a, i);
	a->count++;
	return true;
}

/* Many at once, so that the index can fetch the next ones from memory meanwhile. */
static void evict(struct kv_assumed *a)
{
	uint64_t hashes[EVICT_AT_ONCE];

	while (a->tokens > a->capacity) {
		uint32_t n = 0;
		while (a->tokens > a->capacity && n < EVICT_AT_ONCE)
			hashes[n++] = forget_oldest(a);
		index_remove(a->index, a->row, INDEX_DEVICE, hashes, n);
	}
}

void kv_assumed_use(struct kv_assumed *a, enum prompt_hashes hashed, const uint64_t *marks,
		    uint32_t count)
{
	while (count && marks_tokens(hashed, count) > a->capacity)
		count--;
	/* The deepest first, so that the beginning is the newest. */
	uint32_t known = 0; /* marks from the beginning on that were there */
	for (uint32_t i = count; i-- > 0;) {
		uint32_t *place = a->table ? place_of(a, marks[i]) : NULL;
		if (place && *place) {
			const uint32_t k = *place - 1;
			unlink_mark(a, k);
			link_newest(a, k);
			known = known ? known : i + 1;
		} else if (!add(a, marks[i],
				(uint32_t)(marks_tokens(hashed, i + 1) - marks_tokens(hashed, i)))) {
			return;
		} else {
			known = 0;
		}
	}
	/* An index at its cap may have evicted what is assumed: all of it goes in again. */
	if (index_eviction_count(a->index))
		known = 0;
	marks_store_from(a->index, a->row, INDEX_DEVICE, marks, known, count);
	evict(a);
}

void kv_assumed_set_capacity(struct kv_assumed *a, uint64_t capacity)
{
	a->capacity = capacity;
	evict(a);
}

void kv_assumed_pack(struct kv_assumed *a, struct pack *k)
{
	const uint32_t count = pack_count(k, a->count, UINT32_MAX, sizeof(uint64_t));
	uint32_t at = a->oldest;

	pack_u64(k, &a->capacity);
	for (uint32_t i = 0; i < count && !k->err; i++) {
		uint64_t hash = pack_is_reading(k) ? 0 : a->marks[at].hash;
		uint32_t tokens = pack_is_reading(k) ? 0 : a->marks[at].tokens;
		pack_fixed(k, &hash);
		pack_u32(k, &tokens, UINT32_MAX);
		if (!pack_is_reading(k))
			at = a->marks[at].newer;
		else if (a->table && *place_of(a, hash))
			pack_fail(k, -BB_ESYNTAX); /* it is there already */
		else if (!add(a, hash, tokens))
			pack_fail(k, -BB_ENOMEM);
	}
}
