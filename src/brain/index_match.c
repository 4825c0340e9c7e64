/*
 * index_match.c: how much of a prompt each row holds.
 *
 * Who holds the first n blocks, for growing n, is a shrinking set. It is looked up at every 1,024th
 * n, then between two that differ at every 256th, and so on down to each single one. The n are the
 * same for every prompt, whatever its length, so that what is looked up is what is in the cache;
 * they are multiples of INDEX_STRIDE but for the last step, so that rows are found that hold blocks
 * at strides only. All look-ups of one step are asked for ahead of use.
 */
#include <string.h>

#include "base/log.h"
#include "brain/index_inner.h"

#define AHEAD 32u
#define DEVICE (INDEX_DEVICE | INDEX_PROMISED)

static const uint32_t steps[] = { 16384, 4096, 1024, 256, 64, 16, 4, 1 };
#define STEPS (sizeof(steps) / sizeof(steps[0]))
_Static_assert(INDEX_STRIDE == 4, "a step");

static uint32_t look_up(struct index *x, uint64_t hash)
{
	struct index_slot *const slot = index_table_find(&x->table, hash);

	if (!slot)
		return 0;
	if (slot->epoch != x->epoch)
		slot->epoch = x->epoch;
	return slot->value;
}

/* Is it worth to look between two points? The first stands for all rows, as 0 blocks are held by
 * all. */
static bool differs(const struct index *x, const struct index_point *a, const struct index_point *b)
{
	if (a->count == 0)
		return true;
	return a->value && !index_value_equal(&x->sets, a->value, b->value);
}

/* The points with those of a step between them; new ones have no value yet. Returns their number.
 */
static uint32_t spread(struct index *x, const struct index_point *from, uint32_t from_count,
		       uint32_t step, struct index_point *to)
{
	uint32_t n = 0, left = INDEX_POINTS_MAX - from_count;

	for (uint32_t i = 0; i < from_count; i++) {
		to[n++] = from[i];
		if (i + 1 == from_count || !differs(x, &from[i], &from[i + 1]))
			continue;
		uint32_t at = (from[i].count / step + 1) * step;
		for (; at < from[i + 1].count && left; at += step, left--)
			to[n++] = (struct index_point){ at, INDEX_VALUE_NONE };
	}
	return n;
}

static void fill_in(struct index *x, const uint64_t *hashes, struct index_point *points,
		    uint32_t count)
{
	uint32_t ahead = 0;

	for (uint32_t i = 0; i < count; i++) {
		for (; ahead < count && ahead < i + AHEAD; ahead++)
			if (points[ahead].value == INDEX_VALUE_NONE)
				index_table_prefetch(&x->table, hashes[points[ahead].count - 1]);
		if (points[i].value == INDEX_VALUE_NONE)
			points[i].value = look_up(x, hashes[points[i].count - 1]);
	}
}

/* Rows that hold a block and are not done yet have their depth here. */
static void settle(struct index *x, const struct index_point *p, uint64_t *done,
		   struct index_depth *depths, uint32_t row_count, uint32_t tiers)
{
	memset(x->rows, 0, x->id_count / 8);
	index_value_rows(&x->sets, p->value, tiers, x->rows);
	for (uint32_t w = 0; w < x->id_count / 64; w++) {
		uint64_t bits = x->rows[w] & ~done[w];
		done[w] |= bits;
		for (; bits; bits &= bits - 1) {
			const uint32_t row = x->row_of_id[w * 64 + (uint32_t)__builtin_ctzll(bits)];
			if (row >= row_count) /* cleared, or not asked for */
				continue;
			if (tiers == DEVICE)
				depths[row].device = p->count;
			else
				depths[row].held = p->count;
		}
	}
}

void index_match(struct index *x, const uint64_t *hashes, uint32_t count,
		 struct index_depth *depths, uint32_t row_count)
{
	struct index_point *points = x->points[0], *next = x->points[1];
	const uint32_t words = x->id_count / 64;
	uint32_t n = 2, step = 0;

	BB_ASSERT(row_count <= x->row_count && count < UINT32_MAX - steps[0]);
	memset(depths, 0, row_count * sizeof(*depths));
	memset(x->done, 0, 2 * words * sizeof(*x->done));
	points[0] = (struct index_point){ 0, 0 };
	points[1] = (struct index_point){ count + 1, 0 };
	while (step + 2 < STEPS && steps[step] > count)
		step++;
	for (; step < STEPS; step++) {
		n = spread(x, points, n, steps[step], next);
		fill_in(x, hashes, next, n);
		struct index_point *const swap = points;
		points = next;
		next = swap;
	}
	for (uint32_t i = n - 1; i > 0; i--) {
		if (!points[i].value || points[i].value == points[i + 1].value)
			continue;
		settle(x, &points[i], x->done, depths, row_count, 0xf);
		settle(x, &points[i], x->done + words, depths, row_count, DEVICE);
	}
}
