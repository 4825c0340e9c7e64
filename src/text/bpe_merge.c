/*
 * bpe_merge.c: the merging of symbols: a few at once, and any number in windows. See model_bpe.h.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "text/model_bpe.h"
#include "text/tokenizer.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* New symbols taken into a window. */
#define WINDOW 192
/* Symbols of two tokens. */
#define PAIR_MAX (2 * TOKENIZER_TOKEN_MAX + 2)
#define KEY_NONE UINT32_MAX
#define KEY_END (BPE_NO_RANK << 8)
#define RUN_FIELDS 7
/* Each merge takes one entry and adds five at the most, each symbol begins with one. */
#define HEAP_PER_SYMBOL 6

/* ---- up to BPE_SHORT_MAX symbols ---- */

static inline uint32_t smallest_plain(const uint32_t *keys, uint32_t count)
{
	uint32_t smallest = KEY_NONE;

	for (uint32_t i = 0; i < count; i++)
		smallest = keys[i] < smallest ? keys[i] : smallest;
	return smallest;
}

/*
 * The two variants differ in how the smallest key is found. `keys` is filled up with KEY_NONE to a
 * multiple of 8. Both look-ups of a merge are fetched ahead of the first, to wait for memory at the
 * same time.
 */
#define MERGE_BODY(smallest)                                                                       \
	uint16_t next[BPE_SHORT_MAX + 1], prev[BPE_SHORT_MAX + 1];                                 \
	BB_ASSERT(count > 0 && count <= BPE_SHORT_MAX);                                            \
	for (uint32_t i = 0; i < count; i++) {                                                     \
		next[i] = (uint16_t)(i + 1);                                                       \
		prev[i] = (uint16_t)(i - 1);                                                       \
	}                                                                                          \
	for (uint32_t i = count - 1; i < ((count + 7) & ~7u); i++)                                 \
		keys[i] = KEY_NONE;                                                                \
	for (;;) {                                                                                 \
		const uint32_t key = smallest(keys, count);                                        \
		if (key >= KEY_END)                                                                \
			break;                                                                     \
		const uint32_t i = key & 0xff, j = next[i], after = next[j];                       \
		const uint32_t id = bpe_pairs_whole(&b->pairs, joints[i]),                         \
			       before = i ? prev[i] : 0;                                           \
		if (after < count)                                                                 \
			bpe_pairs_fetch_key(&b->pairs, id, ids[after]);                            \
		if (i > 0)                                                                         \
			bpe_pairs_fetch_key(&b->pairs, ids[before], id);                           \
		ids[i] = id;                                                                       \
		next[i] = (uint16_t)after;                                                         \
		prev[after] = (uint16_t)i;                                                         \
		keys[j] = keys[i] = KEY_NONE;                                                      \
		if (after < count) {                                                               \
			const struct bpe_joint joint = bpe_pairs_join(&b->pairs, id, ids[after]);  \
			keys[i] = joint.rank << 8 | i;                                             \
			joints[i] = joint.at;                                                      \
		}                                                                                  \
		if (i > 0) {                                                                       \
			const struct bpe_joint joint = bpe_pairs_join(&b->pairs, ids[before], id); \
			keys[before] = joint.rank << 8 | before;                                   \
			joints[before] = joint.at;                                                 \
		}                                                                                  \
	}                                                                                          \
	uint32_t n = 0;                                                                            \
	for (uint32_t i = 0; i < count; i = next[i]) {                                             \
		ids[n] = ids[i];                                                                   \
		from[n++] = (uint16_t)i;                                                           \
	}                                                                                          \
	return n

uint32_t bpe_merge_plain(const struct bpe *b, uint32_t *ids, uint32_t *keys, uint32_t *joints,
			 uint32_t count, uint16_t *from)
{
	MERGE_BODY(smallest_plain);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline uint32_t smallest_avx2(const uint32_t *keys,
								     uint32_t count)
{
	__m256i low = _mm256_loadu_si256((const __m256i *)keys);

	for (uint32_t i = 8; i < count; i += 8)
		low = _mm256_min_epu32(low, _mm256_loadu_si256((const __m256i *)(keys + i)));
	__m128i four = _mm_min_epu32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
	four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0x4e));
	four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0xb1));
	return (uint32_t)_mm_cvtsi128_si32(four);
}

__attribute__((target("avx2"))) uint32_t bpe_merge_avx2(const struct bpe *b, uint32_t *ids,
							uint32_t *keys, uint32_t *joints,
							uint32_t count, uint16_t *from)
{
	MERGE_BODY(smallest_avx2);
}

bool bpe_has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}
#else
uint32_t bpe_merge_avx2(const struct bpe *b, uint32_t *ids, uint32_t *keys, uint32_t count,
			uint16_t *from)
{
	return bpe_merge_plain(b, ids, keys, joints, count, from);
}

bool bpe_has_avx2(void)
{
	return false;
}
#endif

/* ---- any number: runs, and a heap of rank and place ---- */

static void heap_push(uint64_t *heap, size_t *size, uint64_t value)
{
	size_t i = (*size)++;

	for (; i > 0 && heap[(i - 1) / 2] > value; i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = value;
}

static uint64_t heap_pop(uint64_t *heap, size_t *size)
{
	const uint64_t top = heap[0], value = heap[--*size];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < *size; i = child) {
		if (child + 1 < *size && heap[child + 1] < heap[child])
			child++;
		if (heap[child] >= value)
			break;
		heap[i] = heap[child];
	}
	heap[i] = value;
	return top;
}

static int window_reserve(struct bpe_work *w, size_t count)
{
	if (count <= w->window_cap)
		return 0;
	uint32_t *const links = bb_realloc(w->links, count * RUN_FIELDS * sizeof(*links));
	if (!links)
		return -BB_ENOMEM;
	w->links = links;
	uint64_t *const heap = bb_realloc(w->heap, count * HEAP_PER_SYMBOL * sizeof(*heap));
	if (!heap)
		return -BB_ENOMEM;
	w->heap = heap;
	w->window_cap = count;
	return 0;
}

/*
 * The symbols as runs of equal tokens, each at the place of its first symbol: of a long row of
 * blanks or hyphens, half are merged at once. In the heap are the ranks of neighbours within a run
 * and of neighbours at a run's end; an entry whose rank is no longer the run's is stale.
 */
struct runs {
	const struct bpe *b;
	uint32_t *ids, *next, *prev, *times, *width; /* width: symbols of one token */
	uint32_t *inner, *outer;		     /* ranks */
	uint64_t *heap;
	size_t heap_size;
	uint32_t count; /* of symbols */
};

enum { AT_INNER, AT_OUTER };

static uint32_t rank_of(const struct bpe *b, uint32_t left, uint32_t right)
{
	return bpe_pairs_join(&b->pairs, left, right).rank;
}

static void set_inner(struct runs *g, uint32_t i)
{
	g->inner[i] = g->times[i] > 1 ? rank_of(g->b, g->ids[i], g->ids[i]) : BPE_NO_RANK;
	if (g->inner[i] != BPE_NO_RANK)
		heap_push(g->heap, &g->heap_size, (uint64_t)g->inner[i] << 32 | i << 1 | AT_INNER);
}

static void set_outer(struct runs *g, uint32_t i)
{
	const uint32_t next = g->next[i];

	g->outer[i] = next < g->count ? rank_of(g->b, g->ids[i], g->ids[next]) : BPE_NO_RANK;
	if (g->outer[i] != BPE_NO_RANK)
		heap_push(g->heap, &g->heap_size, (uint64_t)g->outer[i] << 32 | i << 1 | AT_OUTER);
}

static void put_run(struct runs *g, uint32_t i, uint32_t id, uint32_t times, uint32_t width)
{
	g->ids[i] = id;
	g->times[i] = times;
	g->width[i] = width;
	g->inner[i] = g->outer[i] = BPE_NO_RANK;
}

static void link_runs(struct runs *g, uint32_t i, uint32_t next)
{
	g->next[i] = next;
	if (next < g->count)
		g->prev[next] = i;
}

/* Within run i: two and two from the left, as long as nothing new comes ahead of them. */
static void merge_inner(struct runs *g, uint32_t i)
{
	const struct bpe *const b = g->b;
	const uint32_t rank = g->inner[i], old = g->ids[i];
	const uint32_t id = bpe_pairs_whole(&b->pairs, bpe_pairs_join(&b->pairs, old, old).at);
	const uint32_t next = g->next[i], width = g->width[i], times = g->times[i];
	const bool all = rank < rank_of(b, id, old) && rank < rank_of(b, id, id) &&
			 (i == 0 || rank < rank_of(b, g->ids[g->prev[i]], id));
	const uint32_t merged = all ? times / 2 : 1, rest = i + 2 * merged * width;

	put_run(g, i, id, merged, 2 * width);
	if (times > 2 * merged) {
		put_run(g, rest, old, times - 2 * merged, width);
		link_runs(g, i, rest);
		link_runs(g, rest, next);
		set_inner(g, rest);
		set_outer(g, rest);
	}
	set_inner(g, i);
	set_outer(g, i);
	if (i > 0)
		set_outer(g, g->prev[i]);
}

/* The last token of run i with the first one of the next run. */
static void merge_outer(struct runs *g, uint32_t i)
{
	const uint32_t j = g->next[i];
	const struct bpe_joint joint = bpe_pairs_join(&g->b->pairs, g->ids[i], g->ids[j]);
	const uint32_t id = bpe_pairs_whole(&g->b->pairs, joint.at);
	const uint32_t at = i + (g->times[i] - 1) * g->width[i];
	const uint32_t width = g->width[i] + g->width[j], rest = j + g->width[j];
	const uint32_t more = g->times[j] - 1;

	link_runs(g, at, g->next[j]);
	if (more) {
		const uint32_t next = g->next[j];
		put_run(g, rest, g->ids[j], more, g->width[j]);
		link_runs(g, at, rest);
		link_runs(g, rest, next);
	}
	g->inner[j] = g->outer[j] = BPE_NO_RANK;
	if (at != i) {
		link_runs(g, i, at);
		if (--g->times[i] == 1)
			g->inner[i] = BPE_NO_RANK;
	}
	put_run(g, at, id, 1, width);
	set_outer(g, at);
	if (more) {
		set_inner(g, rest);
		set_outer(g, rest);
	}
	if (at > 0)
		set_outer(g, g->prev[at]);
}

static void make_runs(struct runs *g, const uint32_t *symbols)
{
	for (uint32_t i = 0, end, last = 0; i < g->count; last = i, i = end) {
		for (end = i + 1; end < g->count && symbols[end] == symbols[i];)
			end++;
		put_run(g, i, symbols[i], end - i, 1);
		g->prev[i] = last;
		g->next[i] = end;
	}
	for (uint32_t i = 0; i < g->count; i = g->next[i]) {
		set_inner(g, i);
		set_outer(g, i);
	}
}

static int merge_big(const struct bpe *b, struct bpe_work *w, const uint32_t *symbols,
		     uint32_t count, uint32_t *out, uint32_t *from, uint32_t *out_count)
{
	const int rc = window_reserve(w, count);

	if (rc)
		return rc;
	uint32_t *const f = w->links;
	const size_t n = count;
	struct runs g = { b,	     f,		f + n,	 f + 2 * n, f + 3 * n, f + 4 * n,
			  f + 5 * n, f + 6 * n, w->heap, 0,	    count };
	make_runs(&g, symbols);
	while (g.heap_size) {
		const uint64_t top = heap_pop(g.heap, &g.heap_size);
		const uint32_t i = (uint32_t)top >> 1, rank = (uint32_t)(top >> 32);
		if ((top & 1) == AT_INNER && g.inner[i] == rank)
			merge_inner(&g, i);
		else if ((top & 1) == AT_OUTER && g.outer[i] == rank)
			merge_outer(&g, i);
	}
	uint32_t tokens = 0;
	for (uint32_t i = 0; i < count; i = g.next[i])
		for (uint32_t k = 0; k < g.times[i]; k++) {
			out[tokens] = g.ids[i];
			from[tokens++] = i + k * g.width[i];
		}
	*out_count = tokens;
	return 0;
}

/* ---- windows ---- */

/* Do they look like a row of one and the same? */
static bool are_equal(const uint32_t *symbols, uint32_t count)
{
	return count >= 64 && symbols[0] == symbols[1] && symbols[0] == symbols[count / 2] &&
	       symbols[0] == symbols[count - 1];
}

/* Merges symbols [begin, end) of the word to out; from[] counts symbols of the word. */
static int merge_range(const struct bpe *b, struct bpe_work *w, uint32_t begin, uint32_t end,
		       uint32_t *out, uint32_t *from, uint32_t *out_count)
{
	const uint32_t count = end - begin;
	uint32_t ids[BPE_SHORT_MAX], keys[BPE_SHORT_MAX], joints[BPE_SHORT_MAX];
	uint16_t short_from[BPE_SHORT_MAX];

	if (count > BPE_SHORT_MAX || are_equal(w->ids + begin, count)) {
		const int rc = merge_big(b, w, w->ids + begin, count, out, from, out_count);
		for (uint32_t i = 0; !rc && i < *out_count; i++)
			from[i] += begin;
		return rc;
	}
	for (uint32_t i = 0; i < count; i++)
		ids[i] = w->ids[begin + i];
	for (uint32_t i = 0; i + 1 < count; i++) {
		const struct bpe_joint joint = bpe_pairs_join(&b->pairs, ids[i], ids[i + 1]);
		keys[i] = joint.rank << 8 | i;
		joints[i] = joint.at;
	}
	*out_count = b->merge(b, ids, keys, joints, count, short_from);
	for (uint32_t i = 0; i < *out_count; i++) {
		out[i] = ids[i];
		from[i] = begin + short_from[i];
	}
	return 0;
}

/*
 * Tokens `done` are settled but for the last `again`, behind which the window [.., end) was encoded
 * again to `n` tokens that stand behind `done` in out and out_at. Does the seam hold?
 */
static int seam_holds(const struct bpe *b, struct bpe_work *w, size_t done, size_t again, size_t n,
		      uint32_t end, bool *holds)
{
	uint32_t *const tokens = w->out + done, *const from = w->out_at + done;
	const size_t left = done - again - 1;

	*holds = true;
	if (again == done)
		return 0;
	/* The same first token as before: then the seam is one that held before. */
	const uint32_t first_end = n > 1 ? from[1] : end;
	if (tokens[0] == w->out[left + 1] && first_end == w->out_at[left + 2])
		return 0;
	uint32_t pair_count;
	uint32_t *const pair = tokens + n, *const pair_from = from + n;
	const int rc = merge_range(b, w, w->out_at[left], first_end, pair, pair_from, &pair_count);
	*holds = !rc && pair_count == 2 && pair_from[1] == from[0];
	return rc;
}

/* Takes symbols [pos, end) in behind the `*done` tokens. */
static int take_window(const struct bpe *b, struct bpe_work *w, uint32_t pos, uint32_t end,
		       size_t *done)
{
	size_t again = *done < 2 ? *done : 2;

	/* Here again < 2 means that all is encoded again: the seam has no left side then. */
	for (;;) {
		const uint32_t begin = again ? w->out_at[*done - again] : pos;
		uint32_t n;
		bool holds;
		int rc = bpe_out_reserve(w, *done + 2 * (size_t)(end - begin) + PAIR_MAX);
		if (rc)
			return rc;
		rc = merge_range(b, w, begin, end, w->out + *done, w->out_at + *done, &n);
		if (!rc)
			rc = seam_holds(b, w, *done, again, n, end, &holds);
		if (rc)
			return rc;
		if (holds) {
			const size_t to = *done - again;
			memmove(w->out + to, w->out + *done, n * sizeof(*w->out));
			memmove(w->out_at + to, w->out_at + *done, n * sizeof(*w->out_at));
			*done = to + n;
			return 0;
		}
		again = again * 2 < *done ? again * 2 : *done;
	}
}

int bpe_merge_long(const struct bpe *b, struct bpe_work *w, size_t count, size_t *out_count)
{
	size_t done = 0;

	for (size_t pos = 0; pos < count; pos += WINDOW) {
		const size_t end = pos + WINDOW < count ? pos + WINDOW : count;
		const int rc = take_window(b, w, (uint32_t)pos, (uint32_t)end, &done);
		if (rc)
			return rc;
	}
	for (size_t i = 0; i < done; i++)
		w->out_at[i] = w->at[w->out_at[i]];
	w->out_at[done] = w->at[count];
	*out_count = done;
	return 0;
}
