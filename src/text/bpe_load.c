/*
 * bpe_load.c: a BPE model made of its JSON: members, merges, and the tables that encoding looks
 * into.
 */
#include "text/model_bpe.h"

#include "base/alloc.h"
#include "text/tokenizer.h"
#include "wire/json.h"

/* A merge's two contents, decoded. */
#define MERGE_TEXT_MAX (2 * TOKENIZER_TOKEN_MAX)

static const char metaspace[] = "\xe2\x96\x81";

/* ---- reading: members ---- */

struct bpe_members {
	struct bb_str vocab, merges, unk, prefix, suffix;
};

static int take_flag(struct bb_str key, struct bb_str raw, enum json_type type, bool *out,
		     struct text_error *e)
{
	if (type == JSON_NULL) {
		*out = false;
		return 0;
	}
	if (json_bool(raw, out))
		return text_error_invalid(e, "tokenizer.json: model: %.*s: must be true or false",
					  BB_ARG(key));
	return 0;
}

static int take_member(struct bpe *b, struct bpe_members *m, struct bb_str key, struct bb_str raw,
		       enum json_type type, struct text_error *e)
{
	if (bb_str_eq(key, BB_STR("vocab")))
		m->vocab = raw;
	else if (bb_str_eq(key, BB_STR("merges")))
		m->merges = raw;
	else if (bb_str_eq(key, BB_STR("unk_token")) && type == JSON_STRING)
		m->unk = raw;
	else if (bb_str_eq(key, BB_STR("continuing_subword_prefix")) && type == JSON_STRING)
		m->prefix = raw;
	else if (bb_str_eq(key, BB_STR("end_of_word_suffix")) && type == JSON_STRING)
		m->suffix = raw;
	else if (bb_str_eq(key, BB_STR("fuse_unk")))
		return take_flag(key, raw, type, &b->fuse_unk, e);
	else if (bb_str_eq(key, BB_STR("byte_fallback")))
		return take_flag(key, raw, type, &b->byte_fallback, e);
	else if (bb_str_eq(key, BB_STR("ignore_merges")))
		return take_flag(key, raw, type, &b->ignore_merges, e);
	return 0;
}

static int read_members(struct bpe *b, struct bb_str model, struct bpe_members *m,
			struct text_error *e)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;

	json_pull_init(&j, model);
	if (!json_pull_object(&j))
		return text_error_invalid(e, "tokenizer.json: model: must be an object");
	while (json_pull_key(&j, &key)) {
		if (!json_pull_value(&j, &raw, &type))
			break;
		const int rc = take_member(b, m, key, raw, type, e);
		if (rc)
			return rc;
	}
	if (j.failed || !m->vocab.p || !m->merges.p)
		return text_error_invalid(e,
					  "tokenizer.json: model: BPE needs 'vocab' and 'merges'");
	return 0;
}

/* A raw JSON string as a C string; NULL stays for an empty one. */
static int take_text(struct bb_str raw, char **out)
{
	struct bb_buf text;

	if (json_string_inner(raw).len == 0)
		return 0;
	bb_buf_init(&text, TOKENIZER_TOKEN_MAX);
	int rc = json_string_decode_buf(raw, &text);
	if (!rc) {
		*out = bb_strndup(text.p, text.len);
		rc = *out ? 0 : -BB_ENOMEM;
	}
	bb_buf_fini(&text);
	return rc;
}

static int take_unk(struct bpe *b, struct bb_str raw, struct text_error *e)
{
	struct bb_buf text;

	if (!raw.p)
		return 0;
	bb_buf_init(&text, TOKENIZER_TOKEN_MAX);
	const int rc = json_string_decode_buf(raw, &text);
	if (!rc)
		b->unk = vocab_find_content(&b->vocab, bb_buf_str(&text));
	bb_buf_fini(&text);
	if (!rc && b->unk == BPE_NONE && json_string_inner(raw).len)
		return text_error_invalid(
			e, "tokenizer.json: model: unk_token %.*s is not in the vocab",
			BB_ARG(raw));
	return rc;
}

/* ---- reading: merges ---- */

struct merge_reading {
	struct bpe *b;
	struct bb_buf text;
	size_t prefix_len;
	struct text_error *e;
};

static int merge_invalid(struct merge_reading *r, struct bb_str raw, const char *why)
{
	return text_error_invalid(r->e, "tokenizer.json: model: merges: number %u, %.*s: %s",
				  r->b->merge_count, (int)(raw.len < 100 ? raw.len : 100), raw.p,
				  why);
}

static int merge_undecoded(struct merge_reading *r, struct bb_str raw, int rc)
{
	return rc == -BB_ENOMEM ? rc : merge_invalid(r, raw, "too long or malformed");
}

/* Decodes both contents to r->text, the right one behind the left; *left_len is the left's. */
static int merge_contents(struct merge_reading *r, struct bb_str raw, enum json_type type,
			  size_t *left_len)
{
	struct json_pull j;
	struct bb_str part;
	enum json_type part_type;

	bb_buf_clear(&r->text);
	if (type == JSON_STRING) {
		const int rc = json_string_decode_buf(raw, &r->text);
		if (rc)
			return merge_undecoded(r, raw, rc);
		char *const space = memchr(r->text.p ? r->text.p : "", ' ', r->text.len);
		if (!space || memchr(space + 1, ' ', r->text.len - (size_t)(space - r->text.p) - 1))
			return merge_invalid(r, raw,
					     "must be two tokens with one space between them");
		*left_len = (size_t)(space - r->text.p);
		memmove(space, space + 1, r->text.len - *left_len - 1);
		r->text.len--;
		return 0;
	}
	json_pull_init(&j, raw);
	int n = 0;
	for (bool ok = json_pull_array(&j); ok && json_pull_more(&j); n++) {
		if (!json_pull_value(&j, &part, &part_type) || part_type != JSON_STRING || n == 2)
			return merge_invalid(r, raw, "must be two tokens");
		const int rc = json_string_decode_buf(part, &r->text);
		if (rc)
			return merge_undecoded(r, raw, rc);
		if (n == 0)
			*left_len = r->text.len;
	}
	return n == 2 ? 0 : merge_invalid(r, raw, "must be two tokens");
}

/* Turns the contents into bytes, where the alphabet asks for it. */
static int merge_bytes(struct merge_reading *r, struct bb_str raw, size_t *left_len)
{
	struct bb_buf *const t = &r->text;

	if (r->b->vocab.alphabet == VOCAB_CHARS)
		return 0;
	const ptrdiff_t left = vocab_content_bytes((struct bb_str){ t->p, *left_len }, t->p);
	if (left < 0)
		return merge_invalid(r, raw, "a character is none of the byte-level alphabet");
	const ptrdiff_t right = vocab_content_bytes(
		(struct bb_str){ t->p + *left_len, t->len - *left_len }, t->p + left);
	if (right < 0)
		return merge_invalid(r, raw, "a character is none of the byte-level alphabet");
	*left_len = (size_t)left;
	t->len = (size_t)(left + right);
	return 0;
}

/* A pair that comes again replaces the one before. */
static void insert_pair(struct bpe *b, uint32_t left, uint32_t right, uint32_t rank)
{
	const uint64_t key = bpe_pair_key(left, right);
	const uint64_t hash = bpe_pair_hash(key), bit = hash >> (64 - BPE_FILTER_BITS);
	uint64_t i = hash >> b->pair_shift;

	b->pair_filter[bit >> 6] |= (uint64_t)1 << (bit & 63);
	while (b->pairs[i] != UINT64_MAX && b->pairs[i] >> 24 != key)
		i = (i + 1) & b->pair_mask;
	b->pairs[i] = key << 24 | rank;
}

static int take_merge(struct merge_reading *r, struct bb_str raw, enum json_type type)
{
	struct bpe *const b = r->b;
	size_t left_len = 0;

	int rc = merge_contents(r, raw, type, &left_len);
	if (!rc)
		rc = merge_bytes(r, raw, &left_len);
	if (rc)
		return rc;
	const struct bb_str whole = bb_buf_str(&r->text);
	const struct bb_str right = bb_str_skip(whole, left_len);
	const uint32_t left_id = vocab_find(&b->vocab, (struct bb_str){ whole.p, left_len });
	const uint32_t right_id = vocab_find(&b->vocab, right);
	if (left_id == BPE_NONE || right_id == BPE_NONE)
		return merge_invalid(r, raw, "a part is not in the vocab");
	if (r->prefix_len) {
		if (right.len < r->prefix_len)
			return merge_invalid(r, raw, "the second part has no prefix");
		memmove(r->text.p + left_len, right.p + r->prefix_len, right.len - r->prefix_len);
		r->text.len -= r->prefix_len;
	}
	const uint32_t id = vocab_find(&b->vocab, bb_buf_str(&r->text));
	if (id == BPE_NONE)
		return merge_invalid(r, raw, "what it makes is not in the vocab");
	insert_pair(b, left_id, right_id, b->merge_count);
	b->merge_result[b->merge_count++] = id;
	return 0;
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

static int make_pairs(struct bpe *b, size_t count)
{
	unsigned bits = 10;

	while ((uint64_t)2 << bits < count * 3)
		bits++;
	b->pair_shift = 64 - bits;
	b->pair_mask = ((uint64_t)1 << bits) - 1;
	b->pair_filter = bb_alloc_zero(1 << (BPE_FILTER_BITS - 6), sizeof(*b->pair_filter));
	b->pairs = bb_alloc(sizeof(*b->pairs) << bits);
	b->merge_result = bb_alloc((count + 1) * sizeof(*b->merge_result));
	if (!b->pair_filter || !b->pairs || !b->merge_result)
		return -BB_ENOMEM;
	memset(b->pairs, 0xff, sizeof(*b->pairs) << bits);
	return 0;
}

static int read_merges(struct bpe *b, struct bb_str merges, struct text_error *e)
{
	struct merge_reading r = { .b = b,
				   .e = e,
				   .prefix_len = b->prefix ? strlen(b->prefix) : 0 };
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;
	const size_t count = count_elements(merges);

	if (json_type_of(merges) != JSON_ARRAY)
		return text_error_invalid(e, "tokenizer.json: model: merges: must be an array");
	if (count > BPE_MERGES_MAX)
		return text_error_invalid(e, "tokenizer.json: model: merges: more than %u",
					  BPE_MERGES_MAX);
	int rc = make_pairs(b, count);
	bb_buf_init(&r.text, MERGE_TEXT_MAX);
	json_pull_init(&j, merges);
	for (bool ok = !rc && json_pull_array(&j); ok && json_pull_more(&j);) {
		ok = json_pull_value(&j, &raw, &type);
		if (ok)
			rc = take_merge(&r, raw, type);
		ok = ok && !rc;
	}
	bb_buf_fini(&r.text);
	return rc;
}

/* ---- what encoding looks up ---- */

static void find_byte_fallback(struct bpe *b)
{
	static const char hex[] = "0123456789ABCDEF";

	b->has_byte_fallback = b->byte_fallback;
	for (unsigned i = 0; i < 256; i++) {
		const char content[] = { '<', '0', 'x', hex[i >> 4], hex[i & 15], '>' };
		b->byte_ids[i] =
			vocab_find_content(&b->vocab, (struct bb_str){ content, sizeof(content) });
	}
}

static int fill_byte_tables(struct bpe *b)
{
	b->has_all_bytes = true;
	for (unsigned i = 0; i < 256; i++) {
		const char byte = (char)i;
		b->byte_ids[i] = vocab_find(&b->vocab, (struct bb_str){ &byte, 1 });
		b->has_all_bytes = b->has_all_bytes && b->byte_ids[i] != BPE_NONE;
	}
	if (!b->has_all_bytes)
		return 0;
	b->byte_pairs = bb_alloc(65536 * sizeof(*b->byte_pairs));
	if (!b->byte_pairs)
		return -BB_ENOMEM;
	for (unsigned i = 0; i < 65536; i++)
		b->byte_pairs[i] = bpe_rank(b, b->byte_ids[i >> 8], b->byte_ids[i & 255]);
	return 0;
}

/* Does a token have the metaspace behind something else? */
static bool has_inner_metaspace(struct bb_str content)
{
	bool is_behind = false;

	while (content.len) {
		const bool is_space = bb_str_starts(content, BB_STR(metaspace));
		if (is_space && is_behind)
			return true;
		is_behind = is_behind || !is_space;
		content = bb_str_skip(content, is_space ? sizeof(metaspace) - 1 : 1);
	}
	return false;
}

static bool can_cut_metaspace(const struct bpe *b)
{
	if (b->is_byte_level || b->ignore_merges || b->prefix || b->suffix ||
	    vocab_find(&b->vocab, BB_STR(metaspace)) == BPE_NONE)
		return false;
	for (uint32_t rank = 0; rank < b->merge_count; rank++)
		if (has_inner_metaspace(vocab_bytes(&b->vocab, b->merge_result[rank])))
			return false;
	return true;
}

static int make(struct bpe *b, struct bb_str model, enum vocab_alphabet alphabet,
		struct text_error *e)
{
	struct bpe_members m = { 0 };

	int rc = read_members(b, model, &m, e);
	if (!rc)
		rc = vocab_init(&b->vocab, m.vocab, alphabet, e);
	if (!rc)
		rc = take_unk(b, m.unk, e);
	if (!rc && m.prefix.p)
		rc = take_text(m.prefix, &b->prefix);
	if (!rc && m.suffix.p)
		rc = take_text(m.suffix, &b->suffix);
	if (!rc && alphabet == VOCAB_BYTES && (b->prefix || b->suffix))
		rc = text_error_invalid(e, "tokenizer.json: model: continuing_subword_prefix and "
					   "end_of_word_suffix are not supported with ByteLevel");
	if (!rc)
		rc = read_merges(b, m.merges, e);
	if (!rc && alphabet == VOCAB_BYTES)
		rc = fill_byte_tables(b);
	if (!rc && alphabet == VOCAB_BYTES && b->byte_fallback && !b->has_all_bytes)
		rc = text_error_invalid(
			e, "tokenizer.json: model: byte_fallback with ByteLevel is not "
			   "supported unless the vocab has all 256 bytes");
	if (!rc && alphabet == VOCAB_CHARS)
		find_byte_fallback(b);
	b->cuts_metaspace = !rc && can_cut_metaspace(b);
	return rc;
}

int bpe_create(struct bb_str model, enum vocab_alphabet alphabet, struct bpe **out,
	       struct text_error *e)
{
	struct bpe *b = bb_alloc_zero(1, sizeof(*b));

	if (!b)
		return -BB_ENOMEM;
	b->unk = BPE_NONE;
	b->is_byte_level = alphabet == VOCAB_BYTES;
	b->merge = bpe_has_avx2() ? bpe_merge_avx2 : bpe_merge_plain;
	const int rc = make(b, model, alphabet, e);
	if (rc)
		bpe_destroy(b);
	else
		*out = b;
	return rc;
}

void bpe_destroy(struct bpe *b)
{
	if (!b)
		return;
	vocab_fini(&b->vocab);
	bb_free(b->pair_filter);
	bb_free(b->pairs);
	bb_free(b->merge_result);
	bb_free(b->byte_pairs);
	bb_free(b->prefix);
	bb_free(b->suffix);
	bb_free(b);
}

size_t bpe_size(const struct bpe *b)
{
	return sizeof(*b) + (1 << (BPE_FILTER_BITS - 3)) + vocab_size(&b->vocab) +
	       (b->pair_mask + 1) * sizeof(*b->pairs) + b->merge_count * sizeof(*b->merge_result) +
	       (b->byte_pairs ? 65536 * sizeof(*b->byte_pairs) : 0);
}
