/*
 * tokenizer_decode.c: ids to text, all at once and one by one.
 *
 * Byte-level tokenizers, which are most, go without the decoder: the bytes of all tokens one behind
 * the other, malformed sequences replaced.
 */
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "wire/utf8.h"

#define STREAM_TEXT_MAX (1u << 30)

static bool is_left_out(const struct tokenizer *t, uint32_t id, unsigned flags)
{
	return id >= t->id_end || (flags & TOKENIZER_SKIP_SPECIAL && t->kinds[id] == KIND_SPECIAL);
}

/* ---- bytes ---- */

static int add_bytes(const struct tokenizer *t, uint32_t id, struct bb_buf *out)
{
	char bytes[TOKENIZER_TOKEN_MAX];
	const struct vocab *const v = &t->model.bpe->vocab;

	if (t->kinds[id] == KIND_MODEL)
		return id < v->id_end ? bb_buf_put_str(out, vocab_bytes(v, id)) : 0;
	const struct bb_str content = tokenizer_token(t, id);
	const ptrdiff_t len = vocab_content_bytes(content, bytes);
	return len < 0 ? bb_buf_put_str(out, content) : bb_buf_put(out, bytes, (size_t)len);
}

/* Replaces malformed sequences in what stands behind `from`. */
static int repair(struct bb_buf *out, size_t from)
{
	struct bb_buf copy;

	if (out->len == from)
		return 0;
	const struct bb_str added = { out->p + from, out->len - from };
	if (utf8_check(added) == added.len)
		return 0;
	bb_buf_init(&copy, added.len);
	int rc = bb_buf_add_str(&copy, added);
	out->len = from;
	if (!rc)
		rc = unicode_add_replaced(out, bb_buf_str(&copy));
	bb_buf_fini(&copy);
	return rc;
}

static int decode_bytes(const struct tokenizer *t, const uint32_t *ids, size_t count,
			unsigned flags, struct bb_buf *out)
{
	const size_t from = out->len;
	int rc = 0;

	for (size_t i = 0; !rc && i < count; i++)
		if (!is_left_out(t, ids[i], flags))
			rc = add_bytes(t, ids[i], out);
	return rc ? rc : repair(out, from);
}

/* ---- all at once ---- */

int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count, unsigned flags,
		     struct bb_buf *out)
{
	struct decoder_run *run;
	struct bb_str token;

	if (t->is_byte_decoder)
		return decode_bytes(t, ids, count, flags, out);
	int rc = decoder_run_create(t->decoder, out, &run);
	if (rc)
		return rc;
	for (size_t i = 0; !rc && i < count; i++) {
		if (is_left_out(t, ids[i], flags))
			continue;
		token = tokenizer_token(t, ids[i]);
		if (token.p)
			rc = decoder_run_push(run, token);
	}
	if (!rc)
		rc = decoder_run_end(run);
	decoder_run_destroy(run);
	return rc;
}

/* ---- one by one ---- */

void tokenizer_stream_init(struct tokenizer_stream *s, const struct tokenizer *t, unsigned flags)
{
	*s = (struct tokenizer_stream){ .t = t, .flags = flags };
	bb_buf_init(&s->text, STREAM_TEXT_MAX);
}

void tokenizer_stream_fini(struct tokenizer_stream *s)
{
	decoder_run_destroy(s->run);
	s->run = NULL;
	bb_buf_fini(&s->text);
}

/* How many bytes at the end begin a character that further bytes may complete. */
static size_t incomplete_len(struct bb_str text)
{
	for (size_t len = 1; len <= 3 && len <= text.len; len++) {
		const struct bb_str rest = { text.p + text.len - len, len };
		const uint8_t lead = (uint8_t)rest.p[0];
		if (lead >= 0xc2 && lead <= 0xf4)
			return unicode_malformed(rest) == len ? len : 0;
	}
	return 0;
}

/* Gives out the first `len` bytes of what was collected. */
static int give(struct tokenizer_stream *s, size_t len, struct bb_buf *out)
{
	const int rc = unicode_add_replaced(out, (struct bb_str){ s->text.p, len });

	bb_buf_consume(&s->text, len);
	return rc;
}

int tokenizer_stream_push(struct tokenizer_stream *s, uint32_t id, struct bb_buf *out)
{
	const struct tokenizer *const t = s->t;
	int rc = 0;

	if (is_left_out(t, id, s->flags))
		return 0;
	if (t->is_byte_decoder) {
		rc = add_bytes(t, id, &s->text);
		return rc ? rc : give(s, s->text.len - incomplete_len(bb_buf_str(&s->text)), out);
	}
	const struct bb_str token = tokenizer_token(t, id);
	if (!token.p)
		return 0;
	if (!s->run)
		rc = decoder_run_create(t->decoder, &s->text, &s->run);
	if (!rc)
		rc = decoder_run_push(s->run, token);
	return rc ? rc : give(s, s->text.len, out);
}

int tokenizer_stream_end(struct tokenizer_stream *s, struct bb_buf *out)
{
	const int rc = s->run ? decoder_run_end(s->run) : 0;

	return rc ? rc : give(s, s->text.len, out);
}
