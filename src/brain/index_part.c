#include "brain/index_part.h"

#include <string.h>

#include "base/alloc.h"
#include "brain/index_inner.h"

#define SEEN 8192u /* values of one page, by their hash: more than a page has slots */
_Static_assert(SEEN > INDEX_PAGE_SLOTS_MAX, "one place for each slot, and one free");

void index_part_fini(struct index_part *p)
{
	bb_free(p->blocks);
	bb_free(p->sets);
	bb_free(p->holders);
	*p = (struct index_part){ 0 };
}

/* Room for one more in a list. */
static bool has_room(void *list, uint32_t *room, uint32_t count, size_t size)
{
	void *old;

	if (count < *room)
		return true;
	const uint32_t grown = *room ? *room * 2 : 1024;
	memcpy(&old, list, sizeof(old));
	void *fresh = bb_realloc(old, grown * size);
	if (!fresh)
		return false;
	memcpy(list, &fresh, sizeof(fresh));
	*room = grown;
	return true;
}

static int add_holder(struct index_part *p, uint32_t row, uint32_t tiers)
{
	if (p->holder_count == INDEX_PART_HOLDERS_MAX)
		return -BB_ELIMIT;
	if (!has_room(&p->holders, &p->holder_room, p->holder_count, sizeof(*p->holders)))
		return -BB_ENOMEM;
	p->holders[p->holder_count++] = (struct index_holder){ row, tiers };
	return 0;
}

/* The rows of a value that have not been cleared, as one more set. */
static int add_set(struct index *x, struct index_part *p, uint32_t value)
{
	const uint32_t first = p->holder_count;
	int rc = 0;

	if (!has_room(&p->sets, &p->set_room, p->set_count, sizeof(*p->sets)))
		return -BB_ENOMEM;
	memset(x->rows, 0, x->id_count / 8);
	index_value_rows(&x->sets, value, 0xf, x->rows);
	for (uint32_t w = 0; w < x->id_count / 64 && !rc; w++)
		for (uint64_t bits = x->rows[w] & ~x->dead[w]; bits && !rc; bits &= bits - 1) {
			const uint32_t id = w * 64 + (uint32_t)__builtin_ctzll(bits);
			rc = add_holder(p, x->row_of_id[id],
					index_value_tiers(&x->sets, value, id));
		}
	p->sets[p->set_count++] = (struct index_part_set){ first, p->holder_count - first };
	return rc;
}

struct seen {
	uint32_t value[SEEN], set[SEEN];
};

/* The set of a value, made when it is new. */
static int set_of(struct index *x, struct index_part *p, struct seen *seen, uint32_t value,
		  uint32_t *set)
{
	uint32_t i = (value * 2654435761u) >> 16 & (SEEN - 1);

	while (seen->value[i] && seen->value[i] != value)
		i = (i + 1) & (SEEN - 1);
	if (!seen->value[i]) {
		const int rc = add_set(x, p, value);
		if (rc)
			return rc;
		seen->value[i] = value;
		seen->set[i] = p->set_count - 1;
	}
	*set = seen->set[i];
	return 0;
}

static int add_block(struct index *x, struct index_part *p, struct seen *seen,
		     const struct index_slot *s)
{
	uint32_t set;

	if (!has_room(&p->blocks, &p->block_room, p->block_count, sizeof(*p->blocks)))
		return -BB_ENOMEM;
	const int rc = set_of(x, p, seen, s->value, &set);
	if (!rc && p->sets[set].count)
		p->blocks[p->block_count++] = (struct index_part_block){ s->hash, s->depth, set };
	return rc;
}

/* Where the page ends that a place is in; 0: it is the last. */
static uint64_t page_end(const struct index *x, uint64_t at)
{
	const struct index_page *p = index_table_page(&x->table, at);

	return p->bits ? ((at >> (64 - p->bits)) + 1) << (64 - p->bits) : 0;
}

int index_part_get(struct index *x, uint64_t from, struct index_part *p)
{
	struct seen *seen = bb_alloc(sizeof(*seen));
	int rc = 0;

	if (!seen)
		return -BB_ENOMEM;
	memset(seen->value, 0, sizeof(seen->value));
	p->from = from;
	p->to = page_end(x, from);
	p->block_count = p->set_count = p->holder_count = 0;
	const uint32_t count = index_page_gather(&x->table, index_table_page(&x->table, from));
	for (uint32_t i = 0; i < count && !rc; i++)
		/* The page may have grown to both sides since the part before. */
		if (index_table_mix(&x->table, x->table.scratch[i].hash) >= from)
			rc = add_block(x, p, seen, &x->table.scratch[i]);
	bb_free(seen);
	return rc;
}

void index_part_put(struct index *x, const struct index_part *p)
{
	for (uint32_t i = 0; i < p->block_count; i++) {
		const struct index_part_block *b = &p->blocks[i];
		const struct index_part_set *s = &p->sets[b->set];
		for (uint32_t k = s->first; k < s->first + s->count; k++)
			for (uint32_t tier = INDEX_DEVICE; tier <= INDEX_PROMISED; tier <<= 1)
				if (p->holders[k].tiers & tier)
					index_store(x, p->holders[k].row, (enum index_tier)tier,
						    b->depth, &b->hash, 1, 1);
	}
}

static uint64_t digest_of(uint64_t hash, const struct index_holder *h)
{
	const uint64_t three[] = { hash, h->row, h->tiers };

	return bb_hash(three, sizeof(three), 0);
}

uint64_t index_part_digest(const struct index_part *p)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < p->block_count; i++) {
		const struct index_part_set *s = &p->sets[p->blocks[i].set];
		for (uint32_t k = s->first; k < s->first + s->count; k++)
			sum += digest_of(p->blocks[i].hash, &p->holders[k]);
	}
	return sum;
}

static uint64_t slot_digest(struct index *x, const struct index_slot *s)
{
	uint64_t sum = 0;

	memset(x->rows, 0, x->id_count / 8);
	index_value_rows(&x->sets, s->value, 0xf, x->rows);
	for (uint32_t w = 0; w < x->id_count / 64; w++)
		for (uint64_t bits = x->rows[w] & ~x->dead[w]; bits; bits &= bits - 1) {
			const uint32_t id = w * 64 + (uint32_t)__builtin_ctzll(bits);
			const struct index_holder h = {
				.row = x->row_of_id[id],
				.tiers = index_value_tiers(&x->sets, s->value, id),
			};
			sum += digest_of(s->hash, &h);
		}
	return sum;
}

uint64_t index_digest(struct index *x, uint64_t from, uint64_t to)
{
	uint64_t sum = 0, at = from;

	do {
		const uint32_t count =
			index_page_gather(&x->table, index_table_page(&x->table, at));
		for (uint32_t i = 0; i < count; i++) {
			const struct index_slot *s = &x->table.scratch[i];
			const uint64_t mixed = index_table_mix(&x->table, s->hash);
			if (mixed >= from && (to == 0 || mixed < to))
				sum += slot_digest(x, s);
		}
		at = page_end(x, at);
	} while (at && (to == 0 || at < to));
	return sum;
}

uint64_t index_losses(const struct index *x)
{
	return x->stats.evictions + x->stats.refused;
}

void index_watch(struct index *x, index_watch_fn *fn, void *user)
{
	x->watch = fn;
	x->watch_user = user;
}
