#include "text/model_bpe.h"

#include "base/alloc.h"
#include "base/log.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

/* ---- a work ---- */

void bpe_work_init(struct bpe_work *w)
{
	*w = (struct bpe_work){ 0 };
}

void bpe_work_fini(struct bpe_work *w)
{
	bb_free(w->ids);
	bb_free(w->at);
	bb_free(w->out);
	bb_free(w->out_at);
	bb_free(w->links);
	bb_free(w->heap);
	*w = (struct bpe_work){ 0 };
}

static int grow(uint32_t **array, size_t count)
{
	uint32_t *const p = bb_realloc(*array, count * sizeof(*p));

	if (!p)
		return -BB_ENOMEM;
	*array = p;
	return 0;
}

int bpe_out_reserve(struct bpe_work *w, size_t count)
{
	if (count <= w->out_cap)
		return 0;
	count += count / 2;
	if (grow(&w->out, count) || grow(&w->out_at, count))
		return -BB_ENOMEM;
	w->out_cap = count;
	return 0;
}

static int symbols_reserve(struct bpe_work *w, size_t count)
{
	if (count <= w->cap)
		return 0;
	if (count < 1024)
		count = 1024;
	if (grow(&w->ids, count) || grow(&w->at, count + 1))
		return -BB_ENOMEM;
	w->cap = count;
	return 0;
}

/* ---- symbols ---- */

struct symbols {
	struct bpe_work *w;
	size_t count;
	size_t unk_at; /* where the unknown that waits begins; only with is_unk */
	size_t unk_end;
	bool is_unk;
};

static void add_symbol(struct symbols *s, uint32_t id, size_t at)
{
	s->w->ids[s->count] = id;
	s->w->at[s->count++] = (uint32_t)at;
}

static void flush_unk(const struct bpe *b, struct symbols *s)
{
	if (s->is_unk)
		add_symbol(s, b->unk, s->unk_at);
	s->is_unk = false;
}

/* The id of one character, with what is put around it at the word's ends. */
static uint32_t char_id(const struct bpe *b, struct bb_str c, bool is_first, bool is_last)
{
	char text[2 * TOKENIZER_TOKEN_MAX + 8];
	struct bb_buf out = { .p = text, .cap = sizeof(text), .max = sizeof(text) };
	const char *const prefix = is_first ? NULL : b->prefix;
	const char *const suffix = is_last ? b->suffix : NULL;

	if (!prefix && !suffix)
		return vocab_find(&b->vocab, c);
	if (prefix)
		bb_buf_add_str(&out, bb_str_of(prefix));
	bb_buf_add_str(&out, c);
	if (suffix)
		bb_buf_add_str(&out, bb_str_of(suffix));
	return vocab_find(&b->vocab, bb_buf_str(&out));
}

/* "<0x..>" for each byte, when all of them are there. An unknown that waits goes on waiting. */
static bool fall_back(const struct bpe *b, struct symbols *s, struct bb_str c, size_t at)
{
	if (!b->has_byte_fallback)
		return false;
	for (size_t i = 0; i < c.len; i++)
		if (b->byte_ids[(uint8_t)c.p[i]] == BPE_NONE)
			return false;
	for (size_t i = 0; i < c.len; i++)
		add_symbol(s, b->byte_ids[(uint8_t)c.p[i]], at + i);
	return true;
}

static void add_char(const struct bpe *b, struct symbols *s, struct bb_str word, size_t at,
		     size_t len)
{
	const struct bb_str c = { word.p + at, len };
	const uint32_t id = char_id(b, c, at == 0, at + len == word.len);

	if (id != BPE_NONE) {
		flush_unk(b, s);
		add_symbol(s, id, at);
		return;
	}
	if (fall_back(b, s, c, at) || b->unk == BPE_NONE)
		return;
	if (s->is_unk && b->fuse_unk)
		return;
	flush_unk(b, s);
	s->is_unk = true;
	s->unk_at = at;
}

/* A byte-level model's characters are bytes; with a byte missing from it they may be unknown. */
static size_t make_symbols(const struct bpe *b, struct bpe_work *w, struct bb_str word)
{
	struct symbols s = { .w = w };

	if (b->has_all_bytes) {
		for (size_t i = 0; i < word.len; i++)
			add_symbol(&s, b->byte_ids[(uint8_t)word.p[i]], i);
	} else {
		size_t len = 1;
		for (size_t at = 0; at < word.len; at += len) {
			if (!b->is_byte_level)
				unicode_at(word.p + at, &len);
			add_char(b, &s, word, at, len);
		}
		flush_unk(b, &s);
	}
	w->at[s.count] = (uint32_t)word.len;
	return s.count;
}

/* ---- words ---- */

uint32_t bpe_encode_short(const struct bpe *b, const char *word, uint32_t len, uint64_t hash,
			  uint32_t *ids)
{
	uint32_t keys[BPE_SHORT_MAX], joints[BPE_SHORT_MAX];
	uint16_t from[BPE_SHORT_MAX];
	const uint8_t *const p = (const uint8_t *)word;

	BB_ASSERT(len > 0 && len <= BPE_SHORT_MAX && b->has_all_bytes);
	ids[0] = vocab_find_whole(&b->vocab, (struct bb_str){ word, len }, hash);
	if (ids[0] != BPE_NONE)
		return 1;
	for (uint32_t i = 0; i < len; i++)
		ids[i] = b->byte_ids[p[i]];
	for (uint32_t i = 0; i + 1 < len; i++) {
		const struct bpe_joint joint = b->byte_pairs[p[i] << 8 | p[i + 1]];
		keys[i] = joint.rank << 8 | i;
		joints[i] = joint.at;
	}
	return b->merge(b, ids, keys, joints, len, from);
}

int bpe_encode(const struct bpe *b, struct bpe_work *w, struct bb_str word, size_t *count)
{
	/* Symbols of a fallback are as many as bytes, and an unknown may come on top. */
	int rc = symbols_reserve(w, word.len + 1);
	if (!rc)
		rc = bpe_out_reserve(w, 2);
	if (rc)
		return rc;
	if (word.len <= b->vocab.len_max) {
		w->out[0] = vocab_find_whole(&b->vocab, word, vocab_hash(word.p, word.len));
		if (w->out[0] != BPE_NONE) {
			w->out_at[0] = 0;
			w->out_at[1] = (uint32_t)word.len;
			*count = 1;
			return 0;
		}
	}
	return bpe_merge_long(b, w, make_symbols(b, w, word), count);
}
