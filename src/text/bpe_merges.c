/*
 * bpe_merges.c: the merges of a BPE model, read into the table of pairs. See bpe_reduce.h for what
 * is left out.
 */
#include "base/alloc.h"
#include "text/bpe_reduce.h"
#include "text/tokenizer.h"
#include "wire/json.h"

/* A merge's two contents, decoded. */
#define MERGE_TEXT_MAX (2 * TOKENIZER_TOKEN_MAX)
/* Bytes that are looked at one by one. */
#define MERGE_SHORT_MAX 24

/* ---- one merge ---- */

struct reading {
	struct bpe *b;
	struct bpe_reduction *reduction; /* or NULL: all merges, with ids as symbols */
	struct text_error *e;
	struct bb_buf text; /* of parts with escapes */
	struct bb_str raw, unk;
	size_t prefix_len;
	uint32_t number, last; /* last: what the merge before makes */
};

static int invalid(struct reading *r, const char *why)
{
	return text_error_invalid(r->e, "tokenizer.json: model: merges: number %u, %.*s: %s",
				  r->number, (int)(r->raw.len < 100 ? r->raw.len : 100), r->raw.p,
				  why);
}

/* A string's content: in the file, or behind what r->text holds. */
static int decode(struct reading *r, struct bb_str raw, struct bb_str *out)
{
	const struct bb_str inner = json_string_inner(raw);
	const size_t at = r->text.len;

	*out = inner;
	if (!memchr(inner.p, '\\', inner.len))
		return 0;
	const int rc = json_string_decode_buf(raw, &r->text);
	*out = (struct bb_str){ r->text.p + at, r->text.len - at };
	return rc && rc != -BB_ENOMEM ? invalid(r, "too long or malformed") : rc;
}

/* The usual merge, which is short, in one pass. False: not so, which need not be wrong. */
static bool split_short(struct bb_str both, struct bb_str *left, struct bb_str *right)
{
	size_t space = 0, count = 0;

	for (size_t i = 0; i < both.len; i++) {
		if (both.p[i] == '\\')
			return false;
		if (both.p[i] == ' ') {
			space = i;
			count++;
		}
	}
	*left = (struct bb_str){ both.p, space };
	*right = bb_str_skip(both, space + 1);
	return count == 1;
}

static int split_parts(struct reading *r, struct bb_str *left, struct bb_str *right)
{
	struct bb_str both = json_string_inner(r->raw);

	if (both.len <= MERGE_SHORT_MAX && split_short(both, left, right))
		return 0;
	const int rc = decode(r, r->raw, &both);

	if (rc)
		return rc;
	const char *const space = memchr(both.p, ' ', both.len);
	*left = (struct bb_str){ both.p, space ? (size_t)(space - both.p) : 0 };
	if (!space || memchr(space + 1, ' ', both.len - left->len - 1))
		return invalid(r, "must be two tokens with one space between them");
	*right = bb_str_skip(both, left->len + 1);
	return 0;
}

static int parts(struct reading *r, enum json_type type, struct bb_str *left, struct bb_str *right)
{
	struct json_pull j;
	struct bb_str part[2] = { 0 }, raw;
	int n = 0;

	bb_buf_clear(&r->text);
	if (type == JSON_STRING)
		return split_parts(r, left, right);
	json_pull_init(&j, r->raw);
	for (bool ok = json_pull_array(&j); ok && json_pull_more(&j); n++) {
		if (!json_pull_value(&j, &raw, &type) || type != JSON_STRING || n == 2)
			return invalid(r, "must be two tokens");
		const int rc = decode(r, raw, part + n);
		if (rc)
			return rc;
	}
	*left = part[0];
	*right = part[1];
	return n == 2 ? 0 : invalid(r, "must be two tokens");
}

/* The id of two contents one behind the other. Most often it is the one before, or the next. */
static uint32_t find_whole(struct reading *r, struct bb_str left, struct bb_str right)
{
	const struct vocab *const v = &r->b->vocab;
	char whole[2 * TOKENIZER_TOKEN_MAX];

	for (uint32_t id = r->last; id < r->last + 2; id++) {
		const struct bb_str content = vocab_content(v, id);
		if (content.len == left.len + right.len &&
		    vocab_same(content.p, left.p, left.len) &&
		    vocab_same(content.p + left.len, right.p, right.len))
			return id;
	}
	if (left.len + right.len > TOKENIZER_TOKEN_MAX)
		return BPE_NONE;
	memcpy(whole, left.p, left.len);
	memcpy(whole + left.len, right.p, right.len);
	return vocab_find_text(v, (struct bb_str){ whole, left.len + right.len });
}

static const char not_in_vocab[] = "a part is not in the vocab, or not of the byte-level alphabet";

static int unknown(struct reading *r, struct bb_str left, struct bb_str right)
{
	const struct vocab *const v = &r->b->vocab;

	if (vocab_find_text(v, left) == BPE_NONE || vocab_find_text(v, right) == BPE_NONE)
		return invalid(r, not_in_vocab);
	return invalid(r, "what it makes is not in the vocab");
}

static bool is_odd(const struct reading *r, struct bb_str content)
{
	return bpe_is_special(r->b, content) || (r->unk.len && bb_str_eq(content, r->unk));
}

static int take_merge(struct reading *r, enum json_type type)
{
	struct bpe *const b = r->b;
	struct bb_str left, right, rest;

	const int rc = parts(r, type, &left, &right);
	if (rc)
		return rc;
	if (right.len < r->prefix_len)
		return invalid(r, "the second part has no prefix");
	rest = bb_str_skip(right, r->prefix_len);
	const uint32_t whole = find_whole(r, left, rest);
	if (whole == BPE_NONE)
		return unknown(r, left, right);
	r->last = whole;
	if (r->reduction) {
		/* What stands for a byte or for the unknown has more than one spelling. */
		if (!left.len || !right.len || is_odd(r, left) || is_odd(r, right) ||
		    whole == b->unk)
			r->reduction->is_possible = false;
		if (bpe_reduction_has(r->reduction, whole))
			return bpe_reduction_add_other(r->reduction, whole, r->number, left.len);
	}
	const struct bpe_merge m = { vocab_find_text(&b->vocab, left),
				     vocab_find_text(&b->vocab, right), whole, r->number };
	if (m.left == BPE_NONE || m.right == BPE_NONE)
		return unknown(r, left, right);
	if (r->reduction)
		return bpe_reduction_add(r->reduction, &m, left.len);
	bpe_pairs_put(&b->pairs, &m);
	return 0;
}

/* ---- many merges ---- */

/*
 * What a merge needs of memory is seldom near, and the tables are larger than the processor's
 * caches. So merges wait for each other, and each step of all of them fetches what the next step
 * looks at. Only plain merges wait; before any other one all that wait are taken.
 */
#define WAITING_MAX 32

struct waiting {
	struct bb_str raw;
	uint32_t whole, number, left_len, left, right;
	struct bb_str left_bytes, right_bytes;
	uint64_t left_hash, right_hash;
};

/* Characters of well-formed UTF-8. */
static size_t count_chars(struct bb_str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* Where the parts' bytes are, which stand one behind the other in those of the whole. */
static void find_bytes(const struct vocab *v, struct bb_str left, struct waiting *w)
{
	const struct bb_str bytes = vocab_bytes(v, w->whole);
	const size_t cut = v->alphabet == VOCAB_BYTES ? count_chars(left) : left.len;

	w->left_bytes = (struct bb_str){ bytes.p, cut };
	w->right_bytes = bb_str_skip(bytes, cut);
	w->left_hash = vocab_hash(w->left_bytes.p, w->left_bytes.len);
	w->right_hash = vocab_hash(w->right_bytes.p, w->right_bytes.len);
	vocab_fetch(v, w->left_hash);
	vocab_fetch(v, w->right_hash);
}

/* Two short strings without escapes, as an array has them. */
static bool array_short(struct bb_str array, struct bb_str *left, struct bb_str *right)
{
	struct json_pull j;
	struct bb_str raw[2];
	enum json_type type;
	int n = 0;

	json_pull_init(&j, array);
	for (bool ok = json_pull_array(&j); ok && json_pull_more(&j); n++) {
		if (n == 2 || !json_pull_value(&j, raw + n, &type) || type != JSON_STRING ||
		    raw[n].len > MERGE_SHORT_MAX)
			return false;
		for (size_t i = 0; i < raw[n].len; i++)
			if (raw[n].p[i] == '\\')
				return false;
	}
	if (n != 2 || j.failed)
		return false;
	*left = json_string_inner(raw[0]);
	*right = json_string_inner(raw[1]);
	return true;
}

/* One short string without escapes, or an array of two. */
static bool are_short(struct bb_str raw, enum json_type type, struct bb_str *left,
		      struct bb_str *right)
{
	if (type == JSON_ARRAY)
		return array_short(raw, left, right);
	const struct bb_str both = json_string_inner(raw);
	return type == JSON_STRING && both.len <= MERGE_SHORT_MAX && split_short(both, left, right);
}

/* Takes the merge r->raw in. False: it is no plain one, and nothing has happened. */
static bool wait_for_others(struct reading *r, enum json_type type, struct waiting *w)
{
	const struct vocab *const v = &r->b->vocab;
	struct bb_str left, right;

	if (!are_short(r->raw, type, &left, &right) || !left.len || !right.len || is_odd(r, left) ||
	    is_odd(r, right))
		return false;
	const uint32_t whole = find_whole(r, left, right);
	if (whole == BPE_NONE || whole == r->b->unk || !vocab_is_text(v, whole))
		return false;
	*w = (struct waiting){
		.raw = r->raw, .whole = whole, .number = r->number, .left_len = (uint32_t)left.len
	};
	r->last = whole;
	if (!bpe_reduction_has(r->reduction, whole))
		find_bytes(v, left, w);
	return true;
}

static int take_one(struct reading *r, const struct waiting *w)
{
	if (bpe_reduction_has(r->reduction, w->whole))
		return bpe_reduction_add_other(r->reduction, w->whole, w->number, w->left_len);
	r->raw = w->raw;
	r->number = w->number;
	if (w->left == BPE_NONE || w->right == BPE_NONE)
		return invalid(r, not_in_vocab);
	const struct bpe_merge m = { w->left, w->right, w->whole, w->number };
	return bpe_reduction_add(r->reduction, &m, w->left_len);
}

static int take_waiting(struct reading *r, struct waiting *list, size_t count)
{
	const struct vocab *const v = &r->b->vocab;
	const struct bb_str raw = r->raw;
	const uint32_t number = r->number;
	int rc = 0;

	for (size_t i = 0; i < count; i++) {
		if (!list[i].left_bytes.p)
			continue;
		vocab_fetch_bytes(v, list[i].left_hash);
		vocab_fetch_bytes(v, list[i].right_hash);
	}
	for (size_t i = 0; i < count; i++) {
		struct waiting *const w = list + i;
		if (!w->left_bytes.p)
			continue;
		w->left = vocab_find_hashed(v, w->left_bytes, w->left_hash);
		w->right = vocab_find_hashed(v, w->right_bytes, w->right_hash);
		bpe_pairs_fetch(&r->b->pairs, w->left, w->right);
	}
	for (size_t i = 0; !rc && i < count; i++)
		rc = take_one(r, list + i);
	if (!rc) {
		r->raw = raw;
		r->number = number;
	}
	return rc;
}

/* ---- all merges ---- */

static int read_all(struct bpe *b, struct bb_str merges, struct bpe_reduction *reduction,
		    struct text_error *e)
{
	struct reading r = { .b = b,
			     .reduction = reduction,
			     .e = e,
			     .unk = b->unk == BPE_NONE ? (struct bb_str){ 0 }
						       : vocab_content(&b->vocab, b->unk),
			     .prefix_len = b->prefix ? strlen(b->prefix) : 0 };
	struct json_pull j;
	struct waiting waiting[WAITING_MAX];
	size_t count = 0;
	enum json_type type;
	int rc = 0;

	bb_buf_init(&r.text, MERGE_TEXT_MAX);
	json_pull_init(&j, merges);
	for (bool ok = json_pull_array(&j); ok && json_pull_more(&j); r.number++) {
		ok = json_pull_value(&j, &r.raw, &type);
		const bool waits = ok && reduction && wait_for_others(&r, type, waiting + count);
		count += waits;
		if (count == WAITING_MAX || (count && !waits)) {
			rc = take_waiting(&r, waiting, count);
			count = 0;
		}
		if (ok && !rc && !waits)
			rc = take_merge(&r, type);
		if (reduction && r.number == BPE_MERGES_MAX)
			reduction->is_possible = false;
		ok = ok && !rc && !(reduction && !reduction->is_possible);
	}
	if (!rc && count)
		rc = take_waiting(&r, waiting, count);
	bb_buf_fini(&r.text);
	return rc;
}

/* How many elements, without looking into them. */
static size_t count_elements(struct bb_str array)
{
	struct json_pull j;
	size_t n = 0;

	json_pull_init(&j, array);
	for (bool ok = json_pull_array(&j); ok && json_pull_more(&j); n++)
		ok = json_pull_skip(&j);
	return n;
}

static int read_unreduced(struct bpe *b, struct bb_str merges, struct text_error *e)
{
	const size_t count = count_elements(merges);

	if (count > BPE_MERGES_MAX)
		return text_error_invalid(e, "tokenizer.json: model: merges: more than %u",
					  BPE_MERGES_MAX);
	bpe_pairs_fini(&b->pairs);
	const int rc = bpe_pairs_init(&b->pairs, count);
	return rc ? rc : read_all(b, merges, NULL, e);
}

static bool every(const void *user, uint32_t id)
{
	return true;
}

int bpe_merges_read(struct bpe *b, struct bb_str merges, struct text_error *e)
{
	struct bpe_reduction reduction;

	if (json_type_of(merges) != JSON_ARRAY)
		return text_error_invalid(e, "tokenizer.json: model: merges: must be an array");
	int rc = bpe_reduction_init(&reduction, b);
	if (!rc && reduction.is_possible)
		rc = read_all(b, merges, &reduction, e);
	if (!rc && reduction.is_possible)
		rc = bpe_reduction_finish(&reduction);
	if (!rc && !reduction.is_possible)
		rc = read_unreduced(b, merges, e);
	if (!rc && b->ignore_merges)
		vocab_mark_whole(&b->vocab, every, NULL);
	else if (!rc && reduction.is_possible)
		vocab_mark_whole(&b->vocab, bpe_reduction_is_whole, &reduction);
	bpe_reduction_fini(&reduction);
	return rc;
}
