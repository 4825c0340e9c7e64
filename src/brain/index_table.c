#include "brain/index_table.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

/* Of a page's slots: how many are in use when it grows, and below which it gives a block back. */
#define FILL_MAX_PERCENT 85
#define FILL_MIN_PERCENT 60
/* Of the hash that the directory may look at: what is left still spreads slots over a page. */
#define DIRECTORY_BITS_MAX 24

static uint32_t slots_of(uint32_t parts, uint32_t percent)
{
	return parts * INDEX_PART_SLOTS * percent / 100;
}

/* ---- one page ---- */

static struct index_slot *line_at(const struct index_page *p, uint32_t line)
{
	return p->parts[line / INDEX_PART_LINES] + line % INDEX_PART_LINES * INDEX_LINE_SLOTS;
}

static uint32_t line_behind(const struct index_page *p, uint32_t line)
{
	return line + 1 == p->part_count * INDEX_PART_LINES ? 0 : line + 1;
}

/* Which slots of a line hold a hash, as bits. Without branches: where it is cannot be guessed. */
static inline uint32_t line_holds(const struct index_slot *s, uint64_t hash)
{
	return (uint32_t)(s[0].hash == hash) | (uint32_t)(s[1].hash == hash) << 1 |
	       (uint32_t)(s[2].hash == hash) << 2 | (uint32_t)(s[3].hash == hash) << 3;
}

/* Slots in use: in a line the free ones are the last. */
static inline uint32_t line_count(const struct index_slot *s)
{
	return (uint32_t)(s[0].value != 0) + (s[1].value != 0) + (s[2].value != 0) +
	       (s[3].value != 0);
}
_Static_assert(INDEX_LINE_SLOTS == 4, "a line");

/*
 * Where a hash is, or is to be: a line with a free slot ends every search, since nothing was ever
 * put past it. What a free slot holds for a hash means nothing.
 */
static struct index_slot *find_in(const struct index_page *p, uint64_t mixed, uint64_t hash,
				  uint32_t *line)
{
	uint32_t at = index_page_home(p, mixed);

	for (;;) {
		struct index_slot *const s = line_at(p, at);
		const uint32_t count = line_count(s);
		const uint32_t holds = line_holds(s, hash) & ((1u << count) - 1);
		*line = at;
		if (holds)
			return &s[__builtin_ctz(holds)];
		if (count < INDEX_LINE_SLOTS)
			return &s[count];
		at = line_behind(p, at);
	}
}

static bool is_full(const struct index_slot *line)
{
	return line[INDEX_LINE_SLOTS - 1].value != 0;
}

static struct index_slot *last_of(struct index_slot *line)
{
	uint32_t i = INDEX_LINE_SLOTS - 1;

	while (i > 0 && !line[i].value)
		i--;
	return &line[i];
}

/* For a hash that is not in the page. */
static struct index_slot *free_slot(const struct index_page *p, uint64_t mixed)
{
	uint32_t at = index_page_home(p, mixed);
	struct index_slot *s = line_at(p, at);

	for (; is_full(s); s = line_at(p, at))
		at = line_behind(p, at);
	while (s->value)
		s++;
	return s;
}

uint32_t index_page_gather(struct index_table *t, const struct index_page *p)
{
	struct index_slot *to = t->scratch;

	for (uint32_t i = 0; i < p->part_count; i++) {
		const struct index_slot *const part = p->parts[i];
		for (uint32_t k = 0; k < INDEX_PART_SLOTS; k++) {
			*to = part[k];
			to += part[k].value != 0;
		}
	}
	BB_ASSERT(to == t->scratch + p->slot_count);
	return p->slot_count;
}

/* Makes the page of what lies in scratch. */
static void fill(struct index_table *t, struct index_page *p, uint32_t count)
{
	const uint32_t lines = p->part_count * INDEX_PART_LINES;
	const struct index_table mix = { .seed = t->seed };
	const struct index_slot *const from = t->scratch;
	struct index_slot *parts[INDEX_PARTS_MAX];
	uint8_t used[INDEX_PARTS_MAX * INDEX_PART_LINES];

	memset(used, 0, lines);
	memcpy(parts, p->parts, sizeof(parts));
	for (uint32_t i = 0; i < p->part_count; i++)
		memset(p->parts[i], 0, INDEX_BLOCK_SIZE);
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t mixed = index_table_mix(&mix, from[i].hash);
		uint32_t line = (uint32_t)((mixed & UINT32_MAX) * lines >> 32);
		while (used[line] == INDEX_LINE_SLOTS)
			line = line + 1 == lines ? 0 : line + 1;
		parts[line / INDEX_PART_LINES]
		     [line % INDEX_PART_LINES * INDEX_LINE_SLOTS + used[line]++] = from[i];
	}
	p->slot_count = count;
}

static bool add_part(struct index_table *t, struct index_page *p)
{
	struct index_slot *const part = index_block_get(t->blocks, &p->blocks[p->part_count]);

	if (!part)
		return false;
	p->parts[p->part_count++] = part;
	return true;
}

static void drop_part(struct index_table *t, struct index_page *p)
{
	index_block_put(t->blocks, p->blocks[--p->part_count]);
	p->parts[p->part_count] = NULL;
}

void index_page_rebuild(struct index_table *t, struct index_page *p, uint32_t count, uint32_t parts)
{
	BB_ASSERT(count <= p->slot_count && count < parts * INDEX_PART_SLOTS);
	t->slot_count -= p->slot_count - count;
	while (p->part_count > parts)
		drop_part(t, p);
	fill(t, p, count);
}

/* ---- growth ---- */

static void page_destroy(struct index_table *t, struct index_page *p)
{
	while (p->part_count)
		drop_part(t, p);
	bb_free(p);
	t->page_count--;
}

static struct index_page *page_create(struct index_table *t, uint32_t parts, uint32_t bits)
{
	struct index_page *const p =
		t->page_count < t->page_max ? bb_alloc_zero(1, sizeof(*p)) : NULL;

	if (!p)
		return NULL;
	t->page_count++;
	p->bits = (uint8_t)bits;
	while (p->part_count < parts)
		if (!add_part(t, p)) {
			page_destroy(t, p);
			return NULL;
		}
	fill(t, p, 0);
	return p;
}

static int double_directory(struct index_table *t)
{
	const size_t count = (size_t)1 << t->directory_bits;

	if (t->directory_bits == t->directory_bits_max)
		return -BB_ELIMIT;
	struct index_page **const twice = bb_alloc(2 * count * sizeof(struct index_page *));
	if (!twice)
		return -BB_ENOMEM;
	for (size_t i = 0; i < count; i++)
		twice[2 * i] = twice[2 * i + 1] = t->directory[i];
	bb_free(t->directory);
	t->directory = twice;
	t->directory_bits++;
	return 0;
}

/* Half of the page's hashes go to a new one: those whose next bit is 1. */
static int cut_in_two(struct index_table *t, struct index_page *p, uint64_t mixed)
{
	const uint32_t parts = (INDEX_PARTS_MAX + 1) / 2;
	uint32_t low = 0, high = 0;

	if (p->bits == t->directory_bits) {
		const int rc = double_directory(t);
		if (rc)
			return rc;
	}
	struct index_page *const other = page_create(t, parts, p->bits + 1);
	if (!other)
		return -BB_ENOMEM;
	const uint32_t count = index_page_gather(t, p);
	for (uint32_t i = 0; i < count; i++)
		high += index_table_mix(t, t->scratch[i].hash) >> (63 - p->bits) & 1;
	if (high > slots_of(parts, 95) || count - high > slots_of(parts, 95)) {
		page_destroy(t, other); /* so uneven are no hashes of blocks */
		return -BB_ELIMIT;
	}
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t m = index_table_mix(t, t->scratch[i].hash);
		if (m >> (63 - p->bits) & 1)
			*free_slot(other, m) = t->scratch[i];
		else
			t->scratch[low++] = t->scratch[i];
	}
	other->slot_count = high;
	while (p->part_count > parts)
		drop_part(t, p);
	fill(t, p, low);
	p->bits++;
	other->bits = p->bits;
	const uint32_t shift = t->directory_bits - p->bits;
	const size_t first = (size_t)(mixed >> 1 >> (63 - p->bits) | 1) << shift;
	for (size_t i = 0; i < (size_t)1 << shift; i++)
		t->directory[first + i] = other;
	return 0;
}

static int grow(struct index_table *t, struct index_page *p, uint64_t mixed)
{
	if (p->part_count == INDEX_PARTS_MAX)
		return cut_in_two(t, p, mixed);
	const uint32_t count = index_page_gather(t, p);
	if (!add_part(t, p))
		return -BB_ENOMEM;
	fill(t, p, count);
	return 0;
}

/* ---- the table ---- */

static uint32_t page_max_for(uint64_t bytes_max)
{
	return (uint32_t)(bytes_max / (INDEX_PARTS_MAX / 2 * INDEX_BLOCK_SIZE)) + 1;
}

static uint32_t directory_bits_for(uint64_t bytes_max)
{
	uint32_t bits = 0;

	while (bits < DIRECTORY_BITS_MAX && (1ull << bits) < 2ull * page_max_for(bytes_max))
		bits++;
	return bits;
}

uint64_t index_table_bytes_max(uint64_t bytes_max)
{
	const uint64_t entries = 1ull << directory_bits_for(bytes_max);

	/* While a directory is doubled the old one stands beside it. */
	return entries * sizeof(struct index_page *) * 3 / 2 +
	       page_max_for(bytes_max) * sizeof(struct index_page) +
	       INDEX_PAGE_SLOTS_MAX * sizeof(struct index_slot);
}

uint64_t index_table_bytes(const struct index_table *t)
{
	return ((uint64_t)1 << t->directory_bits) * sizeof(struct index_page *) +
	       t->page_count * sizeof(struct index_page) +
	       INDEX_PAGE_SLOTS_MAX * sizeof(struct index_slot);
}

int index_table_init(struct index_table *t, struct index_blocks *blocks, uint64_t bytes_max,
		     uint64_t seed)
{
	*t = (struct index_table){ .blocks = blocks,
				   .seed = seed,
				   .page_max = page_max_for(bytes_max),
				   .directory_bits_max = directory_bits_for(bytes_max) };
	t->scratch = bb_alloc(INDEX_PAGE_SLOTS_MAX * sizeof(*t->scratch));
	t->directory = bb_alloc(sizeof(struct index_page *));
	if (t->scratch && t->directory)
		t->directory[0] = page_create(t, 1, 0);
	if (t->scratch && t->directory && t->directory[0])
		return 0;
	BB_FREE(t->scratch);
	BB_FREE(t->directory);
	return -BB_ENOMEM;
}

void index_table_fini(struct index_table *t)
{
	const size_t count = (size_t)1 << t->directory_bits;
	struct index_page *before = NULL;

	for (size_t i = 0; t->directory && i < count; i++) {
		struct index_page *const p = t->directory[i];
		if (p != before) /* entries of one page stand together */
			bb_free(p);
		before = p;
	}
	BB_FREE(t->directory);
	BB_FREE(t->scratch);
}

struct index_slot *index_table_find(const struct index_table *t, uint64_t hash)
{
	const uint64_t mixed = index_table_mix(t, hash);
	uint32_t line;
	struct index_slot *const s = find_in(index_table_page(t, mixed), mixed, hash, &line);

	return s->value ? s : NULL;
}

struct index_slot *index_table_put(struct index_table *t, uint64_t hash)
{
	const uint64_t mixed = index_table_mix(t, hash);
	struct index_page *p = index_table_page(t, mixed);
	uint32_t line;
	struct index_slot *s = find_in(p, mixed, hash, &line);

	if (s->value)
		return s;
	if (p->slot_count >= slots_of(p->part_count, FILL_MAX_PERCENT)) {
		if (grow(t, p, mixed))
			return NULL;
		p = index_table_page(t, mixed);
		s = free_slot(p, mixed);
	}
	*s = (struct index_slot){ .hash = hash };
	p->slot_count++;
	t->slot_count++;
	return s;
}

/* Forward, from the last line on to the first. */
static uint32_t lines_between(const struct index_page *p, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : to + p->part_count * INDEX_PART_LINES - from;
}

/* A slot of `line` that was put past `full` while that line was. */
static struct index_slot *passer(const struct index_table *t, const struct index_page *p,
				 uint32_t line, uint32_t full)
{
	const uint32_t from_full = lines_between(p, full, line);
	struct index_slot *const s = line_at(p, line);

	for (uint32_t i = 0; i < INDEX_LINE_SLOTS && s[i].value; i++) {
		const uint32_t home = index_page_home(p, index_table_mix(t, s[i].hash));
		if (lines_between(p, home, line) >= from_full)
			return &s[i];
	}
	return NULL;
}

/* A slot of a line goes. What was put past that line is drawn back, and so on from there. */
static void close_hole(struct index_table *t, struct index_page *p, struct index_slot *hole,
		       uint32_t hole_line)
{
	bool is_last = !is_full(line_at(p, hole_line));
	uint32_t line = hole_line;

	for (;;) {
		/* The hole is where the line's last was. */
		struct index_slot *const last = last_of(line_at(p, hole_line));
		*hole = *last;
		last->value = 0;
		hole = last;
		struct index_slot *moved = NULL;
		while (!is_last && !moved) {
			line = line_behind(p, line);
			is_last = !is_full(line_at(p, line)) || line == hole_line;
			moved = passer(t, p, line, hole_line);
		}
		if (!moved)
			return;
		*hole = *moved;
		hole = moved;
		hole_line = line;
	}
}

void index_table_erase(struct index_table *t, uint64_t hash)
{
	const uint64_t mixed = index_table_mix(t, hash);
	struct index_page *const p = index_table_page(t, mixed);
	uint32_t line;
	struct index_slot *const slot = find_in(p, mixed, hash, &line);

	BB_ASSERT(slot->value);
	close_hole(t, p, slot, line);
	p->slot_count--;
	t->slot_count--;
	if (p->part_count > 1 && p->slot_count < slots_of(p->part_count - 1u, FILL_MIN_PERCENT))
		index_page_rebuild(t, p, index_page_gather(t, p), p->part_count - 1u);
}

uint32_t index_page_parts_for(const struct index_page *p, uint32_t count)
{
	uint32_t parts = p->part_count;

	while (parts > 1 && count < slots_of(parts - 1, FILL_MIN_PERCENT))
		parts--;
	return parts;
}
