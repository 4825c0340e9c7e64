/*
 * tokenizer_encode.c: a text's way through added tokens, normalizer, pre-tokenizer and model.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "wire/utf8.h"

#define CACHE_LINE 64

int tokenizer_work_create(const struct tokenizer *t, struct tokenizer_work **out)
{
	struct tokenizer_work *const w = bb_alloc_zero(1, sizeof(*w));

	BB_ASSERT(t->magic == TOKENIZER_MAGIC);
	if (!w)
		return -BB_ENOMEM;
	w->cache_block = bb_alloc_zero(1, WORD_CACHE_SIZE + CACHE_LINE);
	if (!w->cache_block) {
		bb_free(w);
		return -BB_ENOMEM;
	}
	w->cache = (struct word_cache *)(((uintptr_t)w->cache_block + CACHE_LINE - 1) &
					 ~(uintptr_t)(CACHE_LINE - 1));
	w->magic = TOKENIZER_WORK_MAGIC;
	w->t = t;
	token_model_work_init(&w->model);
	bb_buf_init(&w->valid, 3 * (size_t)TOKENIZER_TEXT_MAX);
	bb_buf_init(&w->normalized, TOKENIZER_NORMALIZED_MAX);
	text_origins_init(&w->valid_origins);
	text_origins_init(&w->normalized_origins);
	piece_list_init(&w->pieces, TOKENIZER_NORMALIZED_MAX);
	token_list_init(&w->scratch, SIZE_MAX, TOKEN_IDS);
	*out = w;
	return 0;
}

void tokenizer_work_destroy(struct tokenizer_work *w)
{
	if (!w)
		return;
	BB_ASSERT(w->magic == TOKENIZER_WORK_MAGIC);
	w->magic = 0;
	token_model_work_fini(&w->model);
	bb_buf_fini(&w->valid);
	bb_buf_fini(&w->normalized);
	text_origins_fini(&w->valid_origins);
	text_origins_fini(&w->normalized_origins);
	piece_list_fini(&w->pieces);
	token_list_fini(&w->scratch);
	bb_free(w->cache_block);
	bb_free(w);
}

static bool wants_spans(const struct encoder *e)
{
	return e->out->want == TOKEN_IDS_AND_SPANS;
}

/* ---- a segment: text between added tokens ---- */

/* Normalized text without added tokens in it. `origins`: of its first byte, or NULL. */
static int encode_plain(struct encoder *e, struct bb_str text, const struct text_origin *origins)
{
	const struct tokenizer *const t = e->t;
	struct piece_list *const pieces = &e->w->pieces;

	e->origins = origins;
	if (t->split != SPLIT_NONE || t->is_cut_by_model)
		return encoder_scan(e, text);
	if (!t->pretokenizer) {
		const struct piece whole = { 0, (uint32_t)text.len };
		return encoder_pieces(e, text, &whole, 1);
	}
	const struct text_origins view = { (struct text_origin *)origins, text.len, 0 };
	const bool continues = e->segment_at > 0 || e->flags & TOKENIZER_CONTINUES;
	const int rc = pretokenizer_run(
		t->pretokenizer, text, origins ? &view : NULL,
		continues ? PRETOKENIZE_CONTINUES : PRETOKENIZE_START,
		wants_spans(e) ? PRETOKENIZE_PIECES_AND_ORIGINS : PRETOKENIZE_PIECES, pieces);
	if (rc)
		return rc;
	if (wants_spans(e))
		e->origins = pieces->origins.at;
	return encoder_pieces(e, pieces->text, pieces->at, pieces->count);
}

/* A part of the segment's normalized text. */
static int encode_part(struct encoder *e, struct bb_str text, size_t begin, size_t end,
		       const struct text_origin *origins)
{
	const size_t segment_at = e->segment_at;

	if (begin == end)
		return 0;
	if (!origins)
		e->segment_at += begin;
	const int rc = encode_plain(e, (struct bb_str){ text.p + begin, end - begin },
				    origins ? origins + begin : NULL);
	e->segment_at = segment_at;
	return rc;
}

/* Cuts normalized text at the added tokens that are looked for there. */
static int encode_normalized(struct encoder *e, struct bb_str text,
			     const struct text_origin *origins)
{
	struct added_search search;
	struct added_match m;
	size_t at = 0;
	int rc = 0;

	if (!e->t->added.normalized || e->flags & TOKENIZER_NO_ADDED)
		return encode_part(e, text, 0, text.len, origins);
	added_search_init(&search, &e->t->added, e->t->added.normalized, text);
	while (!rc && added_search_next(&search, &m)) {
		rc = encode_part(e, text, at, m.begin, origins);
		e->origins = origins;
		if (!rc)
			rc = encoder_add(e, m.token->id, m.begin, m.end);
		at = m.end;
	}
	return rc ? rc : encode_part(e, text, at, text.len, origins);
}

static int encode_segment(struct encoder *e, struct bb_str text, size_t at)
{
	struct tokenizer_work *const w = e->w;
	const struct tokenizer *const t = e->t;

	e->segment_at = at;
	if (normalizer_keeps(t->normalizer, text))
		return encode_normalized(e, text, NULL);
	const bool with_origins = wants_spans(e) || pretokenizer_wants_origins(t->pretokenizer);
	bb_buf_clear(&w->normalized);
	w->normalized_origins.count = 0;
	const int rc = normalizer_run(t->normalizer, text, &w->normalized,
				      with_origins ? &w->normalized_origins : NULL);
	return rc ? rc
		  : encode_normalized(e, bb_buf_str(&w->normalized),
				      with_origins ? w->normalized_origins.at : NULL);
}

/* ---- the whole ---- */

static int encode_valid(struct encoder *e, struct bb_str text)
{
	struct added_search search;
	struct added_match m;
	size_t at = 0;
	int rc = 0;

	if (!e->t->added.raw || e->flags & TOKENIZER_NO_ADDED)
		return text.len ? encode_segment(e, text, 0) : 0;
	added_search_init(&search, &e->t->added, e->t->added.raw, text);
	while (!rc && added_search_next(&search, &m)) {
		if (m.begin > at)
			rc = encode_segment(e, (struct bb_str){ text.p + at, m.begin - at }, at);
		e->segment_at = 0;
		e->origins = NULL;
		if (!rc)
			rc = encoder_add(e, m.token->id, m.begin, m.end);
		at = m.end;
	}
	if (!rc && at < text.len)
		rc = encode_segment(e, bb_str_skip(text, at), at);
	return rc;
}

static int add_replaced_origins(struct text_origins *o, struct bb_str text)
{
	int rc = 0;

	for (size_t at = 0; !rc && at < text.len;) {
		const struct bb_str rest = bb_str_skip(text, at);
		size_t good;
		const size_t bad = unicode_find_malformed(rest, &good);
		rc = text_origins_identity(o, rest.p, good, at);
		at += good;
		if (!rc && bad)
			rc = text_origins_add(
				o, (struct text_origin){ (uint32_t)at, (uint32_t)(at + bad) }, 3);
		at += bad;
	}
	return rc;
}

/* The text with each malformed sequence replaced. */
static int make_valid(struct encoder *e, struct bb_str *text)
{
	struct tokenizer_work *const w = e->w;

	bb_buf_clear(&w->valid);
	int rc = unicode_add_replaced(&w->valid, *text);
	if (!rc && wants_spans(e)) {
		w->valid_origins.count = 0;
		rc = add_replaced_origins(&w->valid_origins, *text);
		e->valid = &w->valid_origins;
	}
	*text = bb_buf_str(&w->valid);
	return rc;
}

static int add_post(struct encoder *e, const uint32_t *ids, uint32_t count)
{
	int rc = 0;

	e->origins = NULL;
	e->segment_at = 0;
	for (uint32_t i = 0; !rc && i < count; i++)
		rc = encoder_add(e, ids[i], 0, 0);
	return rc;
}

static int encode(struct encoder *e, struct bb_str text)
{
	const struct post_process *const post = &e->t->post;
	int rc = 0;

	BB_ASSERT(e->w->magic == TOKENIZER_WORK_MAGIC && e->w->t == e->t);
	if (text.len > TOKENIZER_TEXT_MAX)
		return -BB_ELIMIT;
	if (e->flags & TOKENIZER_SPECIAL && !(e->flags & TOKENIZER_CONTINUES))
		rc = add_post(e, post->before, post->before_count);
	if (!rc && utf8_check(text) != text.len)
		rc = make_valid(e, &text);
	if (!rc)
		rc = encode_valid(e, text);
	if (!rc && e->flags & TOKENIZER_SPECIAL && !(e->flags & TOKENIZER_MORE))
		rc = add_post(e, post->behind, post->behind_count);
	return rc ? rc : encoder_settle(e);
}

int tokenizer_encode(const struct tokenizer *t, struct tokenizer_work *w, struct bb_str text,
		     unsigned flags, struct token_list *out)
{
	struct encoder e = { .t = t, .w = w, .flags = flags, .out = out, .max = out->max };
	const size_t count = out->count;
	const int rc = encode(&e, text);

	if (rc)
		out->count = count;
	return rc;
}

int tokenizer_count(const struct tokenizer *t, struct tokenizer_work *w, struct bb_str text,
		    unsigned flags, uint64_t *out)
{
	struct encoder e = { .t = t,
			     .w = w,
			     .flags = flags,
			     .out = &w->scratch,
			     .is_count = true,
			     .max = UINT64_MAX };

	token_list_clear(&w->scratch);
	const int rc = encode(&e, text);
	if (!rc)
		*out = e.counted;
	return rc;
}

int tokenizer_cut(const struct tokenizer *t, struct bb_str text, size_t from, size_t *at)
{
	struct added_search search;
	struct added_match m;

	if (!t->added.raw)
		return -BB_EABSENT;
	/* Where characters around a token count, they must be characters. */
	if (t->added.raw_flags & (ADDED_SINGLE_WORD | ADDED_LSTRIP | ADDED_RSTRIP) &&
	    utf8_check(text) != text.len)
		return -BB_EABSENT;
	added_search_init(&search, &t->added, t->added.raw, text);
	search.at = search.settled = from;
	while (added_search_next(&search, &m)) {
		if (m.begin > from && added_is_cut(&t->added, text, &m)) {
			*at = m.begin;
			return 0;
		}
	}
	return -BB_EABSENT;
}
