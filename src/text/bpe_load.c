/*
 * bpe_load.c: a BPE model made of its JSON: members, and the tables that encoding looks into.
 */
#include "text/model_bpe.h"

#include "base/alloc.h"
#include "text/tokenizer.h"
#include "wire/json.h"

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

bool bpe_is_special(const struct bpe *b, struct bb_str content)
{
	return b->byte_fallback && content.len == 6 && bb_str_starts(content, BB_STR("<0x"));
}

static void find_bytes(struct bpe *b)
{
	b->has_all_bytes = true;
	for (unsigned i = 0; i < 256; i++) {
		const char byte = (char)i;
		b->byte_ids[i] = vocab_find(&b->vocab, (struct bb_str){ &byte, 1 });
		b->has_all_bytes = b->has_all_bytes && b->byte_ids[i] != BPE_NONE;
	}
}

static int fill_byte_pairs(struct bpe *b)
{
	b->byte_pairs = bb_alloc(65536 * sizeof(*b->byte_pairs));
	if (!b->byte_pairs)
		return -BB_ENOMEM;
	for (unsigned i = 0; i < 65536; i++)
		b->byte_pairs[i] =
			bpe_pairs_join(&b->pairs, b->byte_ids[i >> 8], b->byte_ids[i & 255]);
	return 0;
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
	if (!rc && alphabet == VOCAB_BYTES)
		find_bytes(b);
	if (!rc && alphabet == VOCAB_CHARS)
		find_byte_fallback(b);
	if (!rc)
		rc = bpe_merges_read(b, m.merges, e);
	if (!rc && b->has_all_bytes)
		rc = fill_byte_pairs(b);
	if (!rc && alphabet == VOCAB_BYTES && b->byte_fallback && !b->has_all_bytes)
		rc = text_error_invalid(
			e, "tokenizer.json: model: byte_fallback with ByteLevel is not "
			   "supported unless the vocab has all 256 bytes");
	return rc ? rc : bpe_cuts_create(b, &b->cuts);
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
	bpe_pairs_fini(&b->pairs);
	bpe_cuts_destroy(b->cuts);
	bb_free(b->byte_pairs);
	bb_free(b->prefix);
	bb_free(b->suffix);
	bb_free(b);
}

size_t bpe_size(const struct bpe *b)
{
	return sizeof(*b) + vocab_size(&b->vocab) + bpe_pairs_size(&b->pairs) +
	       (b->cuts ? sizeof(*b->cuts) : 0) +
	       (b->byte_pairs ? 65536 * sizeof(*b->byte_pairs) : 0);
}
