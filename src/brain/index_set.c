#include "brain/index_set.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define UNIT 16u
#define UNITS_PER_BLOCK (INDEX_BLOCK_SIZE / UNIT)
#define HEAD_SIZE 16u
#define RECENT_MIN 1024u

_Static_assert(UNITS_PER_BLOCK == 512, "values are made of it");
_Static_assert(offsetof(struct index_set, list) == HEAD_SIZE, "sizes are made of it");

/* The begin of a block that is cut into pieces. */
struct slab {
	uint32_t next, before; /* of those of this size with a free piece */
	uint16_t free;	       /* unit of the first, 0: none */
	uint16_t used, size_class, unused;
};
#define SLAB_HEAD_UNITS 1u
_Static_assert(sizeof(struct slab) <= SLAB_HEAD_UNITS * UNIT, "it stands before the pieces");

/* ---- pieces ---- */

static struct slab *slab_at(const struct index_sets *s, uint32_t number)
{
	return index_block_at(s->blocks, number);
}

static void slab_link(struct index_sets *s, uint32_t number)
{
	struct slab *const b = slab_at(s, number);

	b->before = INDEX_BLOCK_NONE;
	b->next = s->partial[b->size_class];
	if (b->next != INDEX_BLOCK_NONE)
		slab_at(s, b->next)->before = number;
	s->partial[b->size_class] = number;
}

static void slab_unlink(struct index_sets *s, const struct slab *b)
{
	if (b->next != INDEX_BLOCK_NONE)
		slab_at(s, b->next)->before = b->before;
	if (b->before != INDEX_BLOCK_NONE)
		slab_at(s, b->before)->next = b->next;
	else
		s->partial[b->size_class] = b->next;
}

/* A free piece holds the unit of the next. */
static uint16_t *piece_at(struct slab *b, uint32_t unit)
{
	return (uint16_t *)((char *)b + unit * UNIT);
}

static bool slab_create(struct index_sets *s, uint32_t size_class)
{
	const uint32_t units = s->sizes[size_class] / UNIT;
	uint32_t number, unit = SLAB_HEAD_UNITS;
	struct slab *const b = index_block_get(s->blocks, &number);

	if (!b)
		return false;
	*b = (struct slab){ .free = SLAB_HEAD_UNITS, .size_class = (uint16_t)size_class };
	for (; unit + units <= UNITS_PER_BLOCK; unit += units)
		*piece_at(b, unit) =
			(uint16_t)(unit + 2 * units <= UNITS_PER_BLOCK ? unit + units : 0);
	slab_link(s, number);
	return true;
}

/* A set's value, or INDEX_VALUE_NONE. */
static uint32_t piece_get(struct index_sets *s, uint32_t size)
{
	uint32_t c = 0;

	while (s->sizes[c] < size)
		c++;
	if (s->partial[c] == INDEX_BLOCK_NONE && !slab_create(s, c))
		return INDEX_VALUE_NONE;
	const uint32_t number = s->partial[c];
	struct slab *const b = slab_at(s, number);
	const uint32_t unit = b->free;
	b->free = *piece_at(b, unit);
	b->used++;
	if (!b->free)
		slab_unlink(s, b);
	const uint32_t value = (number * UNITS_PER_BLOCK + unit) << 4;
	index_set_at(s, value)->size_class = (uint8_t)c;
	return value;
}

static void piece_put(struct index_sets *s, uint32_t value)
{
	const uint32_t number = (value >> 4) / UNITS_PER_BLOCK,
		       unit = (value >> 4) % UNITS_PER_BLOCK;
	struct slab *const b = slab_at(s, number);
	const bool was_full = !b->free;

	*piece_at(b, unit) = b->free;
	b->free = (uint16_t)unit;
	if (was_full)
		slab_link(s, number);
	if (--b->used)
		return;
	slab_unlink(s, b);
	index_block_put(s->blocks, number);
}

/* ---- sums ---- */

static uint64_t sum_of(const struct index_sets *s, uint32_t member)
{
	uint64_t z = s->seed + (uint64_t)member * 0x9e3779b97f4a7c15u;

	if (!(member & 0xf))
		return 0;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint32_t *recent_of(const struct index_sets *s, uint64_t sum)
{
	return &s->recent[sum & s->recent_mask];
}

/* ---- one set ---- */

static uint64_t *bitmap_of(const struct index_sets *s, const struct index_set *set, uint32_t tier)
{
	return (uint64_t *)set->bits + (size_t)tier * s->words;
}

/* Where a row is in a list, or should be. */
static uint32_t list_find(const uint16_t *list, uint32_t count, uint32_t row)
{
	uint32_t low = 0;

	while (low < count) {
		const uint32_t middle = (low + count) / 2;
		if (list[middle] >> 4 < row)
			low = middle + 1;
		else
			count = middle;
	}
	return low;
}

static uint32_t set_tiers(const struct index_sets *s, const struct index_set *set, uint32_t row)
{
	uint32_t tiers = 0;

	if (!set->is_bitmap) {
		const uint32_t at = list_find(set->list, set->count, row);
		return at < set->count && set->list[at] >> 4 == row ? set->list[at] & 0xf : 0;
	}
	for (uint32_t i = 0; i < INDEX_TIERS; i++)
		tiers |= (uint32_t)(bitmap_of(s, set, i)[row / 64] >> row % 64 & 1) << i;
	return tiers;
}

static void bitmap_put(const struct index_sets *s, struct index_set *set, uint32_t row,
		       uint32_t tiers)
{
	for (uint32_t i = 0; i < INDEX_TIERS; i++) {
		uint64_t *const word = &bitmap_of(s, set, i)[row / 64];
		*word = (*word & ~(1ull << row % 64)) | (uint64_t)(tiers >> i & 1) << row % 64;
	}
}

/* Returns how many the list has then. */
static uint32_t list_put(uint16_t *list, uint32_t count, uint32_t row, uint32_t tiers)
{
	const uint32_t at = list_find(list, count, row);
	uint16_t *const here = list + at;
	const bool is_there = at < count && *here >> 4 == row;
	const size_t behind = count - at - is_there;

	if (tiers && !is_there)
		memmove(here + 1, here, behind * sizeof(*here));
	else if (!tiers && is_there)
		memmove(here, here + 1, behind * sizeof(*here));
	if (tiers)
		*here = (uint16_t)INDEX_MEMBER(row, tiers);
	return count + (tiers && !is_there) - (!tiers && is_there);
}

/* The members as a sorted list. */
static uint32_t members_of(const struct index_sets *s, const struct index_set *set, uint16_t *out)
{
	uint32_t count = 0;

	if (!set->is_bitmap) {
		memcpy(out, set->list, set->count * sizeof(*out));
		return set->count;
	}
	for (uint32_t w = 0; w < s->words; w++) {
		uint64_t bits = 0;
		for (uint32_t i = 0; i < INDEX_TIERS; i++)
			bits |= bitmap_of(s, set, i)[w];
		for (; bits; bits &= bits - 1) {
			const uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(bits);
			out[count++] = (uint16_t)INDEX_MEMBER(row, set_tiers(s, set, row));
		}
	}
	return count;
}

static size_t set_size(const struct index_sets *s, uint32_t count)
{
	return HEAD_SIZE + (count <= s->list_max
				    ? count * sizeof(uint16_t)
				    : (size_t)s->words * sizeof(uint64_t) * INDEX_TIERS);
}

/* ---- changes ---- */

static uint32_t list_of_value(uint32_t value, uint16_t *out)
{
	out[0] = (uint16_t)(value & 0xffff);
	out[1] = (uint16_t)(value >> 16);
	return !!out[0] + !!out[1];
}

/* Of up to two. */
static uint32_t value_of_list(const uint16_t *list, uint32_t count)
{
	return (count > 0 ? list[0] : 0u) | (count > 1 ? (uint32_t)list[1] << 16 : 0u);
}

/* A set of these members, with one reference. */
static uint32_t set_create(struct index_sets *s, const uint16_t *list, uint32_t count, uint64_t sum)
{
	const uint32_t value = piece_get(s, (uint32_t)set_size(s, count));

	if (value == INDEX_VALUE_NONE)
		return value;
	struct index_set *const set = index_set_at(s, value);
	set->sum = sum;
	set->references = 1;
	set->count = (uint16_t)count;
	set->is_bitmap = count > s->list_max;
	if (set->is_bitmap) {
		memset(set->bits, 0, (size_t)s->words * sizeof(uint64_t) * INDEX_TIERS);
		for (uint32_t i = 0; i < count; i++)
			bitmap_put(s, set, list[i] >> 4, list[i] & 0xf);
	} else {
		memcpy(set->list, list, count * sizeof(*list));
	}
	*recent_of(s, sum) = value;
	return value;
}

/* The same, or the one that is there already. */
static uint32_t set_for(struct index_sets *s, const uint16_t *list, uint32_t count, uint64_t sum)
{
	const uint32_t recent = *recent_of(s, sum);

	if (!recent || index_set_at(s, recent)->sum != sum)
		return set_create(s, list, count, sum);
	index_set_at(s, recent)->references++;
	return recent;
}

static void forget(struct index_sets *s, uint32_t value)
{
	uint32_t *const recent = recent_of(s, index_set_at(s, value)->sum);

	if (*recent == value)
		*recent = 0;
	if (s->last.from == value || s->last.to == value)
		s->last.from = 0;
}

void index_value_release(struct index_sets *s, uint32_t value, uint32_t references)
{
	if (!index_value_is_set(value))
		return;
	struct index_set *const set = index_set_at(s, value);
	BB_ASSERT(set->references >= references);
	set->references -= references;
	if (set->references)
		return;
	forget(s, value);
	piece_put(s, value);
}

/* A set that only one value refers to is changed where it stands, if it has the room. */
static bool change_in_place(struct index_sets *s, uint32_t value, uint32_t count, uint64_t sum,
			    uint32_t row, uint32_t tiers)
{
	struct index_set *const set = index_set_at(s, value);

	if (set->references > 1)
		return false;
	if (set->is_bitmap ? count < s->list_max / 2
			   : count > s->list_max || set_size(s, count) > s->sizes[set->size_class])
		return false;
	forget(s, value);
	if (set->is_bitmap)
		bitmap_put(s, set, row, tiers);
	else
		list_put(set->list, set->count, row, tiers);
	set->count = (uint16_t)count;
	set->sum = sum;
	*recent_of(s, sum) = value;
	return true;
}

/* What a set becomes that has changed so: a list, which is then short, one of the recent, or new.
 */
static uint32_t changed_set(struct index_sets *s, uint32_t value, uint32_t old, uint32_t row,
			    uint32_t tiers)
{
	const struct index_set *const set = index_set_at(s, value);
	const uint32_t count = (uint32_t)set->count + (!old && tiers) - (old && !tiers);
	const uint64_t sum =
		set->sum ^ sum_of(s, INDEX_MEMBER(row, old)) ^ sum_of(s, INDEX_MEMBER(row, tiers));

	if (count > 2) {
		const uint32_t recent = *recent_of(s, sum);
		if (recent && index_set_at(s, recent)->sum == sum) {
			index_set_at(s, recent)->references++;
			return recent;
		}
		if (change_in_place(s, value, count, sum, row, tiers))
			return value;
	}
	uint32_t n = members_of(s, set, s->members);
	n = list_put(s->members, n, row, tiers);
	return count > 2 ? set_create(s, s->members, n, sum) : value_of_list(s->members, n);
}

uint32_t index_value_change(struct index_sets *s, uint32_t value, uint32_t row, uint32_t tiers)
{
	const uint32_t member = INDEX_MEMBER(row, tiers);
	uint32_t to;

	if (!index_value_is_set(value)) {
		uint16_t list[3];
		const uint32_t n = list_put(list, list_of_value(value, list), row, tiers);
		if (n <= 2)
			return value_of_list(list, n);
		return set_for(s, list, n,
			       sum_of(s, list[0]) ^ sum_of(s, list[1]) ^ sum_of(s, list[2]));
	}
	if (s->last.from == value && s->last.member == member) {
		to = s->last.to;
		if (index_value_is_set(to))
			index_set_at(s, to)->references++;
	} else {
		const uint32_t old = set_tiers(s, index_set_at(s, value), row);
		if (old == tiers)
			return value;
		to = changed_set(s, value, old, row, tiers);
		if (to == INDEX_VALUE_NONE || to == value)
			return to;
		s->last.from = value;
		s->last.to = to;
		s->last.member = member;
	}
	index_value_release(s, value, 1);
	return to;
}

uint32_t index_value_without(struct index_sets *s, uint32_t value, const uint64_t *rows)
{
	uint64_t sum = 0;
	uint32_t count, kept = 0, to;

	if (s->last.from == value && s->last.member == 0) {
		to = s->last.to;
		if (index_value_is_set(to))
			index_set_at(s, to)->references++;
		index_value_release(s, value, 1);
		return to;
	}
	if (index_value_is_set(value))
		count = members_of(s, index_set_at(s, value), s->members);
	else
		count = list_of_value(value, s->members);
	for (uint32_t i = 0; i < count; i++) {
		const uint16_t member = s->members[i];
		if (rows[member >> 10] >> (member >> 4) % 64 & 1)
			continue;
		s->members[kept++] = member;
		sum ^= sum_of(s, member);
	}
	to = kept > 2 ? set_for(s, s->members, kept, sum) : value_of_list(s->members, kept);
	if (to == INDEX_VALUE_NONE || !index_value_is_set(value))
		return to;
	s->last.from = value;
	s->last.to = to;
	s->last.member = 0;
	index_value_release(s, value, 1);
	return to;
}

void index_sets_forget_last(struct index_sets *s)
{
	s->last.from = 0;
}

/* ---- values ---- */

uint32_t index_value_tiers(const struct index_sets *s, uint32_t value, uint32_t row)
{
	if (index_value_is_set(value))
		return set_tiers(s, index_set_at(s, value), row);
	if ((value & 0xffff) >> 4 == row)
		return value & 0xf;
	return value >> 20 == row ? value >> 16 & 0xf : 0;
}

bool index_value_equal(const struct index_sets *s, uint32_t a, uint32_t b)
{
	return a == b || (index_value_is_set(a) && index_value_is_set(b) &&
			  index_set_at(s, a)->sum == index_set_at(s, b)->sum);
}

void index_value_rows(const struct index_sets *s, uint32_t value, uint32_t tiers, uint64_t *rows)
{
	uint16_t pair[2];
	const uint16_t *list = pair;
	uint32_t count;

	if (!index_value_is_set(value)) {
		count = list_of_value(value, pair);
	} else {
		const struct index_set *const set = index_set_at(s, value);
		if (set->is_bitmap) {
			for (uint32_t i = 0; i < INDEX_TIERS; i++)
				for (uint32_t w = 0; tiers >> i & 1 && w < s->words; w++)
					rows[w] |= bitmap_of(s, set, i)[w];
			return;
		}
		list = set->list;
		count = set->count;
	}
	for (uint32_t i = 0; i < count; i++)
		if (list[i] & tiers)
			rows[list[i] >> 10] |= 1ull << (list[i] >> 4) % 64;
}

/* ---- the whole ---- */

static uint32_t recent_count(uint64_t bytes_max)
{
	uint32_t count = RECENT_MIN;

	while (count < bytes_max / 4096 && count < 1u << 16)
		count *= 2;
	return count;
}

uint64_t index_sets_bytes(uint64_t bytes_max, uint32_t id_count)
{
	return recent_count(bytes_max) * sizeof(uint32_t) + (id_count + 1) * sizeof(uint16_t);
}

static void make_sizes(struct index_sets *s)
{
	uint32_t size = 2 * UNIT;
	const uint32_t max = HEAD_SIZE + s->words * (uint32_t)sizeof(uint64_t) * INDEX_TIERS;

	while (size < max) {
		BB_ASSERT(s->size_count < INDEX_SET_SIZES_MAX - 1);
		s->sizes[s->size_count++] = (uint16_t)size;
		size = (size * 5 / 4 + UNIT - 1) / UNIT * UNIT;
	}
	s->sizes[s->size_count++] = (uint16_t)((max + UNIT - 1) / UNIT * UNIT);
	for (uint32_t i = 0; i < s->size_count; i++)
		s->partial[i] = INDEX_BLOCK_NONE;
}

int index_sets_init(struct index_sets *s, struct index_blocks *blocks, uint64_t bytes_max,
		    uint32_t id_count, uint64_t seed)
{
	const uint32_t recent = recent_count(bytes_max);

	BB_ASSERT(id_count % 64 == 0 && id_count <= INDEX_IDS_MAX);
	*s = (struct index_sets){ .blocks = blocks,
				  .seed = seed,
				  .words = id_count / 64,
				  .list_max = id_count / 8,
				  .recent_mask = recent - 1 };
	make_sizes(s);
	s->recent = bb_alloc_zero(recent, sizeof(*s->recent));
	s->members = bb_alloc((id_count + 1) * sizeof(*s->members));
	if (s->recent && s->members)
		return 0;
	index_sets_fini(s);
	return -BB_ENOMEM;
}

void index_sets_fini(struct index_sets *s)
{
	BB_FREE(s->recent);
	BB_FREE(s->members);
}
