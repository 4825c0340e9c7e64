#include "text/bpe_reduce.h"

#include "base/alloc.h"
#include "text/unicode.h"

/* Merges of the rest that are kept are few, or it is not worth it. */
#define KEPT_MAX 16384u

enum bpe_mark {
	MARK_DOUBT = 1,
	MARK_LEFT = 2, /* the left part of a merge of the rest that is kept */
	MARK_RIGHT = 4,
	MARK_MADE = 8, /* by a merge of the rest */
};

/* ---- first symbols ---- */

static bool is_char(struct bb_str content)
{
	size_t len;

	if (!content.len)
		return false;
	unicode_at(content.p, &len);
	return len == content.len;
}

/* Tokens of one character, those that stand for a byte, and the unknown. */
static bool is_first(const struct bpe *b, uint32_t id)
{
	const struct bb_str content = vocab_content(&b->vocab, id);

	return is_char(content) || bpe_is_special(b, content) || id == b->unk;
}

static void find_firsts(struct bpe_reduction *r)
{
	const struct bpe *const b = r->b;

	if (b->is_byte_level) {
		for (unsigned i = 0; i < 256; i++)
			r->birth[b->byte_ids[i]] = 0;
		return;
	}
	for (uint32_t id = 0; id < b->vocab.id_end; id++)
		if (is_first(b, id))
			r->birth[id] = 0;
}

int bpe_reduction_init(struct bpe_reduction *r, struct bpe *b)
{
	const size_t ids = (size_t)b->vocab.id_end + 1;

	*r = (struct bpe_reduction){ .b = b };
	if (b->prefix || b->suffix || (b->is_byte_level && !b->has_all_bytes))
		return 0;
	r->birth = bb_alloc(ids * sizeof(*r->birth));
	r->left = bb_alloc(ids * sizeof(*r->left));
	r->right = bb_alloc(ids * sizeof(*r->right));
	r->order = bb_alloc(ids * sizeof(*r->order));
	r->left_len = bb_alloc(ids * sizeof(*r->left_len));
	r->marks = bb_alloc_zero(ids, sizeof(*r->marks));
	if (!r->birth || !r->left || !r->right || !r->order || !r->left_len || !r->marks)
		return -BB_ENOMEM;
	memset(r->birth, 0xff, ids * sizeof(*r->birth));
	find_firsts(r);
	r->is_possible = true;
	return bpe_pairs_init(&b->pairs, b->vocab.count);
}

void bpe_reduction_fini(struct bpe_reduction *r)
{
	bb_free(r->birth);
	bb_free(r->left);
	bb_free(r->right);
	bb_free(r->order);
	bb_free(r->left_len);
	bb_free(r->marks);
	bb_free(r->rest);
	bpe_pairs_fini(&r->met);
}

/* ---- seams ---- */

/*
 * Takes the one of two neighbours apart that was made later, and gives the neighbours of before.
 * Returns the birth of what was taken apart, 0 when both are first symbols. Of equal ones the left
 * was made first. *is_left: it was the left one.
 */
static uint32_t step_back(const struct bpe_reduction *r, uint32_t *x, uint32_t *y, bool *is_left)
{
	const uint32_t x_birth = r->birth[*x], y_birth = r->birth[*y];

	*is_left = x_birth > y_birth;
	if (*is_left)
		*x = r->right[*x];
	else if (y_birth)
		*y = r->left[*y];
	return *is_left ? x_birth : y_birth;
}

/*
 * Does the core arrive at x and y side by side? Not when the pair over the seam, at any time, came
 * before the merge that made one of the two. Of equal ranks the left one comes first.
 */
static bool seam_holds(const struct bpe_reduction *r, uint32_t x, uint32_t y)
{
	bool is_left;
	uint32_t birth;

	while ((birth = step_back(r, &x, &y, &is_left))) {
		const uint32_t rank = bpe_pairs_join(&r->b->pairs, x, y).rank;
		if (rank + 1 < birth || (rank + 1 == birth && !is_left))
			return false;
	}
	return true;
}

/* May a merge of the rest join what stands on the seam of x and y, now or before? */
static bool seam_is_met(const struct bpe_reduction *r, uint32_t x, uint32_t y)
{
	bool is_left;

	do {
		if (r->marks[x] & MARK_LEFT && r->marks[y] & MARK_RIGHT &&
		    bpe_pairs_join(&r->met, x, y).rank != BPE_NO_RANK)
			return true;
	} while (step_back(r, &x, &y, &is_left));
	return false;
}

/* ---- the core ---- */

bool bpe_reduction_has(const struct bpe_reduction *r, uint32_t whole)
{
	return r->birth[whole] != BPE_NONE;
}

int bpe_reduction_add_other(struct bpe_reduction *r, uint32_t whole, uint32_t rank, size_t left_len)
{
	/* A pair that comes again has its last rank; what makes a first symbol is strange. */
	if (r->birth[whole] == 0 || (r->birth[whole] != BPE_NONE && r->left_len[whole] == left_len))
		r->is_possible = false;
	if (r->rest_count == r->rest_cap) {
		const size_t cap = r->rest_cap ? r->rest_cap * 2 : 4096;
		struct bpe_rest *const rest = bb_realloc(r->rest, cap * sizeof(*rest));
		if (!rest)
			return -BB_ENOMEM;
		r->rest = rest;
		r->rest_cap = cap;
	}
	r->rest[r->rest_count++] = (struct bpe_rest){ rank, whole, (uint16_t)left_len, false };
	return 0;
}

int bpe_reduction_add(struct bpe_reduction *r, const struct bpe_merge *m, size_t left_len)
{
	if (r->birth[m->left] == BPE_NONE || r->birth[m->right] == BPE_NONE ||
	    !seam_holds(r, m->left, m->right))
		return bpe_reduction_add_other(r, m->whole, m->rank, left_len);
	r->birth[m->whole] = m->rank + 1;
	r->left[m->whole] = m->left;
	r->right[m->whole] = m->right;
	r->left_len[m->whole] = (uint16_t)left_len;
	r->order[r->count++] = m->whole;
	bpe_pairs_put(&r->b->pairs, m);
	return 0;
}

/* ---- the rest ---- */

static void doubt_tokens(struct bpe_reduction *r)
{
	for (uint32_t i = 0; i < r->count; i++) {
		const uint32_t id = r->order[i], left = r->left[id], right = r->right[id];
		if ((r->marks[left] | r->marks[right]) & MARK_DOUBT || seam_is_met(r, left, right))
			r->marks[id] |= MARK_DOUBT;
	}
}

static struct bpe_merge merge_of(const struct bpe_reduction *r, const struct bpe_rest *rest)
{
	const struct vocab *const v = &r->b->vocab;
	const struct bb_str whole = vocab_content(v, rest->whole);
	const struct bb_str left = { whole.p, rest->left_len };

	return (struct bpe_merge){ vocab_find_text(v, left),
				   vocab_find_text(v, bb_str_skip(whole, rest->left_len)),
				   rest->whole, rest->rank };
}

static bool is_made(const struct bpe_reduction *r, uint32_t id)
{
	return r->birth[id] != BPE_NONE || r->marks[id] & MARK_MADE;
}

/* Can a merge of a token that is in doubt, or not of the core, happen? */
static bool can_happen(const struct bpe_reduction *r, const struct bpe_merge *m)
{
	if (m->left == BPE_NONE || m->right == BPE_NONE || !is_made(r, m->left) ||
	    !is_made(r, m->right))
		return false;
	if (r->birth[m->left] == BPE_NONE || r->birth[m->right] == BPE_NONE ||
	    (r->marks[m->left] | r->marks[m->right]) & MARK_DOUBT)
		return true;
	return seam_holds(r, m->left, m->right) || seam_is_met(r, m->left, m->right);
}

static void keep(struct bpe_reduction *r, struct bpe_rest *rest, const struct bpe_merge *m)
{
	rest->is_kept = true;
	r->kept_count++;
	r->marks[m->left] |= MARK_LEFT;
	r->marks[m->right] |= MARK_RIGHT;
	if (r->birth[m->whole] == BPE_NONE)
		r->marks[m->whole] |= MARK_MADE;
	bpe_pairs_put(&r->met, m);
}

/* Returns whether there were any. */
static bool keep_more(struct bpe_reduction *r)
{
	const size_t before = r->kept_count;

	for (size_t i = 0; i < r->rest_count && r->kept_count < KEPT_MAX; i++) {
		struct bpe_rest *const rest = r->rest + i;
		if (rest->is_kept ||
		    (r->birth[rest->whole] != BPE_NONE && !(r->marks[rest->whole] & MARK_DOUBT)))
			continue;
		const struct bpe_merge m = merge_of(r, rest);
		if (can_happen(r, &m))
			keep(r, rest, &m);
	}
	return r->kept_count > before;
}

bool bpe_reduction_is_whole(const void *reduction, uint32_t id)
{
	const struct bpe_reduction *const r = reduction;

	if (r->birth[id] == BPE_NONE || r->marks[id] & MARK_DOUBT)
		return false;
	/* A token that stands for a byte, or the unknown, is none of its own content. */
	return r->birth[id] > 0 || r->b->is_byte_level || is_char(vocab_content(&r->b->vocab, id));
}

int bpe_reduction_finish(struct bpe_reduction *r)
{
	struct bpe_pairs *const pairs = &r->b->pairs;
	const int rc = bpe_pairs_init(&r->met, KEPT_MAX);

	if (rc)
		return rc;
	while (keep_more(r))
		doubt_tokens(r);
	if (r->kept_count == KEPT_MAX || !bpe_pairs_fit(pairs, r->count + r->kept_count))
		r->is_possible = false;
	for (size_t i = 0; r->is_possible && i < r->rest_count; i++) {
		if (!r->rest[i].is_kept)
			continue;
		const struct bpe_merge m = merge_of(r, r->rest + i);
		bpe_pairs_put(pairs, &m);
	}
	return 0;
}
