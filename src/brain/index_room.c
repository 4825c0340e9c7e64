/*
 * index_room.c: what is thrown out when the memory is used up, and what clears left behind.
 *
 * A page is a random sample of all blocks, so evicting from a page what is least useful in it is
 * nearly as good as evicting from the whole, and it is bounded work: one page, 3,584 slots at most.
 */
#include <string.h>

#include "brain/index_inner.h"

/* ---- accounts ---- */

void index_pairs_gone(struct index *x, uint32_t id, uint64_t count, enum index_gone how)
{
	x->pairs_of_id[id] -= count;
	if (!index_is_dead(x, id)) {
		x->stats.pairs -= count;
		*(how == INDEX_GONE_EVICTED ? &x->stats.evictions : &x->stats.removals) += count;
		return;
	}
	x->dead_pairs -= count;
	if (x->pairs_of_id[id])
		return;
	x->dead[id / 64] &= ~(1ull << id % 64);
	x->free_ids[x->free_id_count++] = (uint16_t)id;
}

void index_value_gone(struct index *x, uint32_t value, uint32_t slots)
{
	memset(x->rows, 0, x->id_count / 8);
	index_value_rows(&x->sets, value, 0xf, x->rows);
	for (uint32_t w = 0; w < x->id_count / 64; w++)
		for (uint64_t bits = x->rows[w]; bits; bits &= bits - 1)
			index_pairs_gone(x, w * 64 + (uint32_t)__builtin_ctzll(bits), slots,
					 INDEX_GONE_EVICTED);
	index_value_release(&x->sets, value, slots);
}

/* ---- eviction ---- */

#define AGES 256u
#define DEPTHS 256u

/* In epochs; those that only cleared rows held are older than all others. */
static uint32_t age_of(const struct index *x, const struct index_slot *s)
{
	const uint16_t age = (uint16_t)(x->epoch - s->epoch);

	if (s->value <= UINT16_MAX && !index_value_is_set(s->value) &&
	    index_is_dead(x, s->value >> 4))
		return AGES - 1;
	return age < AGES - 2 ? age : AGES - 2;
}

/* Exact where it is shallow, sixteen classes for each doubling where it is deep. */
static uint32_t depth_class(uint32_t depth)
{
	if (depth < 32)
		return depth;
	const uint32_t log = 31 - (uint32_t)__builtin_clz(depth);
	return 32 + (log - 5) * 16 + (depth >> (log - 4) & 15);
}

struct victims {
	uint32_t age;	/* all that are older go, */
	uint32_t depth; /* of this age those that are deeper, */
	uint32_t more;	/* and so many of this age and depth */
};

/* From which class on `count` go, counted from the highest; what is left of `count` is for that
 * one. */
static uint32_t cut(const uint32_t *classes, uint32_t class_count, uint32_t *count)
{
	uint32_t c = class_count - 1;

	while (c > 0 && classes[c] <= *count)
		*count -= classes[c--];
	return c;
}

/* Oldest first; of one age the deepest first, as the engines do themselves. */
static void choose(const struct index *x, uint32_t slots, uint32_t count, struct victims *v)
{
	const struct index_slot *const s = x->table.scratch;
	uint32_t ages[AGES] = { 0 }, depths[DEPTHS] = { 0 };

	for (uint32_t i = 0; i < slots; i++)
		ages[age_of(x, &s[i])]++;
	v->age = cut(ages, AGES, &count);
	for (uint32_t i = 0; i < slots; i++)
		if (age_of(x, &s[i]) == v->age)
			depths[depth_class(s[i].depth)]++;
	v->depth = cut(depths, DEPTHS, &count);
	v->more = count;
}

static bool is_victim(const struct index *x, const struct index_slot *s, struct victims *v)
{
	const uint32_t age = age_of(x, s), depth = depth_class(s->depth);

	if (age != v->age)
		return age > v->age;
	if (depth != v->depth)
		return depth > v->depth;
	if (!v->more)
		return false;
	v->more--;
	return true;
}

/* Blocks of one chain share sets: what goes of a set is added up first. */
#define HEAPS 64u

struct heap {
	uint32_t value, slots;
};

static void heap_up(struct index *x, struct heap *heaps, uint32_t value)
{
	struct heap *const h = &heaps[(value >> 4 ^ value >> 12) % HEAPS];

	if (h->value != value) {
		if (h->slots)
			index_value_gone(x, h->value, h->slots);
		*h = (struct heap){ .value = value };
	}
	h->slots++;
}

static void evict(struct index *x, struct index_page *p, uint32_t keep, uint32_t parts)
{
	struct index_slot *const s = x->table.scratch;
	const uint32_t count = index_page_gather(&x->table, p);
	struct heap heaps[HEAPS] = { 0 };
	struct victims v;
	uint32_t kept = 0;

	if (keep < count) {
		choose(x, count, count - keep, &v);
		for (uint32_t i = 0; i < count; i++)
			if (is_victim(x, &s[i], &v))
				heap_up(x, heaps, s[i].value);
			else
				s[kept++] = s[i];
		for (uint32_t i = 0; i < HEAPS; i++)
			if (heaps[i].slots)
				index_value_gone(x, heaps[i].value, heaps[i].slots);
	} else {
		kept = count;
	}
	index_page_rebuild(&x->table, p, kept, parts);
}

void index_make_slots(struct index *x, uint64_t hash)
{
	struct index_page *const p = index_table_page(&x->table, index_table_mix(&x->table, hash));

	evict(x, p, p->slot_count - p->slot_count / 8 - 1, p->part_count);
}

#define TRIES 16

bool index_make_block(struct index *x)
{
	for (int i = 0; i < TRIES; i++) {
		struct index_page *const p = index_table_page(&x->table, bb_rng_next(&x->rng));
		const uint32_t parts = p->part_count - 1u;
		if (!parts)
			continue;
		evict(x, p, parts * INDEX_PART_SLOTS * 3 / 4, parts);
		return true;
	}
	return false;
}

/* ---- the sweep ---- */

/* What is left of a value when the dead are out of it; 0: nothing. */
static uint32_t without_dead(struct index *x, uint32_t value)
{
	uint64_t any = 0;

	memset(x->rows, 0, x->id_count / 8);
	index_value_rows(&x->sets, value, 0xf, x->rows);
	for (uint32_t w = 0; w < x->id_count / 64; w++)
		any |= x->rows[w] &= x->dead_now[w];
	if (!any)
		return value;
	const uint32_t to = index_value_without(&x->sets, value, x->dead_now);
	if (to == INDEX_VALUE_NONE) { /* no memory to say who is left: then nobody is */
		index_value_gone(x, value, 1);
		return 0;
	}
	for (uint32_t w = 0; w < x->id_count / 64; w++)
		for (uint64_t bits = x->rows[w]; bits; bits &= bits - 1)
			index_pairs_gone(x, w * 64 + (uint32_t)__builtin_ctzll(bits), 1,
					 INDEX_GONE_REMOVED);
	return to;
}

bool index_sweep(struct index *x)
{
	if (!x->dead_pairs)
		return false;
	struct index_page *const p = index_table_page(&x->table, x->sweep_at);
	struct index_slot *const s = x->table.scratch;
	const uint32_t count = index_page_gather(&x->table, p);
	uint32_t kept = 0;

	/* Who is dead changes while the last of their pairs go. */
	memcpy(x->dead_now, x->dead, x->id_count / 8);
	index_sets_forget_last(&x->sets);
	for (uint32_t i = 0; i < count; i++) {
		s[i].value = without_dead(x, s[i].value);
		s[kept] = s[i];
		kept += s[i].value != 0;
	}
	index_page_rebuild(&x->table, p, kept, index_page_parts_for(p, kept));
	/* The next page: the hash behind the last that begins like this one's. */
	x->sweep_at = p->bits ? ((x->sweep_at >> (64 - p->bits)) + 1) << (64 - p->bits) : 0;
	return x->dead_pairs != 0;
}
