#include "text/pretokenize_steps.h"

#include <string.h>

#include "text/char_set.h"
#include "text/normalize_steps.h"
#include "text/regex.h"
#include "text/split_known.h"
#include "text/unicode.h"
#include "wire/utf8.h"

#define ENDS_AT_ONCE 256

/* ---- splitting ---- */

static bool is_match(const struct pretokenize_step *s, uint32_t cp)
{
	switch (s->kind) {
	case PRETOKENIZE_SPACES: return unicode_is_space(cp);
	case PRETOKENIZE_NUMBERS:
		return cp < 0x80 ? cp - '0' < 10 : char_set_has(UNICODE_SET_NUMERIC, cp);
	case PRETOKENIZE_PUNCTUATION:
		if (cp < 0x80)
			return cp > ' ' && cp < 0x7f && cp - '0' >= 10 && (cp | 32) - 'a' >= 26;
		return char_set_has(UNICODE_SET_PUNCTUATION, cp);
	default: return cp == s->character;
	}
}

/* Each matching character is a match of its own. */
static int split_chars(const struct pretokenize_input *in, struct piece piece,
		       struct split_state *state)
{
	const struct pretokenize_step *const s = in->step;
	const enum split_part match = s->is_inverted ? SPLIT_GAP : SPLIT_MATCH;
	const enum split_part gap = s->is_inverted ? SPLIT_MATCH : SPLIT_GAP;
	const char *const text = in->in->text.p;
	size_t done = piece.begin, len;
	int rc = 0;

	for (size_t at = piece.begin; at < piece.end && !rc; at += len) {
		if (!is_match(s, unicode_at(text + at, &len)))
			continue;
		if (done < at)
			rc = split_behavior_put(state, done, at, gap);
		done = at + len;
		if (!rc)
			rc = split_behavior_put(state, at, done, match);
	}
	if (!rc && done < piece.end)
		rc = split_behavior_put(state, done, piece.end, gap);
	return rc;
}

static int split_text(const struct pretokenize_input *in, struct piece piece,
		      struct split_state *state)
{
	const struct pretokenize_step *const s = in->step;
	const enum split_part match = s->is_inverted ? SPLIT_GAP : SPLIT_MATCH;
	const enum split_part gap = s->is_inverted ? SPLIT_MATCH : SPLIT_GAP;
	const char *const text = in->in->text.p;
	size_t done = piece.begin;
	int rc = 0;

	while (!rc) {
		const char *const hit =
			memmem(text + done, piece.end - done, s->text.p, s->text.len);
		if (!hit)
			break;
		const size_t at = (size_t)(hit - text);
		if (done < at)
			rc = split_behavior_put(state, done, at, gap);
		done = at + s->text.len;
		if (!rc)
			rc = split_behavior_put(state, at, done, match);
	}
	if (!rc && done < piece.end)
		rc = split_behavior_put(state, done, piece.end, gap);
	return rc;
}

static int split_regex(const struct pretokenize_input *in, struct piece piece,
		       struct regex_find *find, struct split_state *state)
{
	const struct pretokenize_step *const s = in->step;
	const enum split_part match = s->is_inverted ? SPLIT_GAP : SPLIT_MATCH;
	const enum split_part gap = s->is_inverted ? SPLIT_MATCH : SPLIT_GAP;
	const size_t base = piece.begin;
	size_t done = 0, begin, end;
	int rc;

	regex_find_text(find, (struct bb_str){ in->in->text.p + base, piece.end - base });
	while ((rc = regex_find_next(find, &begin, &end)) == 1) {
		rc = 0;
		if (done != begin)
			rc = split_behavior_put(state, base + done, base + begin, gap);
		if (!rc)
			rc = split_behavior_put(state, base + begin, base + end, match);
		if (rc)
			break;
		done = end;
	}
	if (!rc && base + done != piece.end)
		rc = split_behavior_put(state, base + done, piece.end, gap);
	return rc;
}

static int split_words(const struct pretokenize_input *in, struct piece piece)
{
	const char *const text = in->in->text.p;
	size_t begin = piece.begin, len;
	int last = 0, rc = 0; /* 0 white space, 1 word, 2 other */

	for (size_t at = piece.begin; at < piece.end && !rc; at += len) {
		const uint32_t cp = unicode_at(text + at, &len);
		const int now = unicode_is_word(cp) ? 1 : unicode_is_space(cp) ? 0 : 2;
		if (now == last)
			continue;
		if (last)
			rc = piece_list_add(in->out, begin, at);
		begin = at;
		last = now;
	}
	return rc || !last ? rc : piece_list_add(in->out, begin, piece.end);
}

static int split_gpt2(const struct pretokenize_input *in, struct piece piece)
{
	const struct bb_str text = { in->in->text.p + piece.begin, piece.end - piece.begin };
	size_t ends[ENDS_AT_ONCE], at = 0, begin = 0;

	for (;;) {
		const size_t n = split_run(SPLIT_GPT2, text, &at, ends, ENDS_AT_ONCE);
		if (!n)
			return 0;
		for (size_t i = 0; i < n; begin = ends[i++]) {
			const int rc =
				piece_list_add(in->out, piece.begin + begin, piece.begin + ends[i]);
			if (rc)
				return rc;
		}
	}
}

static int split_fixed(const struct pretokenize_input *in, struct piece piece)
{
	size_t begin = piece.begin, len;
	uint64_t chars = 0;
	int rc = 0;

	for (size_t at = piece.begin; at < piece.end && !rc; at += len) {
		unicode_at(in->in->text.p + at, &len);
		if (++chars % in->step->length)
			continue;
		rc = piece_list_add(in->out, begin, at + len);
		begin = at + len;
	}
	return rc ? rc : piece_list_add(in->out, begin, piece.end);
}

static int split_piece(const struct pretokenize_input *in, struct piece piece,
		       struct regex_find *find)
{
	struct split_state state;
	int rc;

	switch (in->step->kind) {
	case PRETOKENIZE_WORDS: return split_words(in, piece);
	case PRETOKENIZE_GPT2: return split_gpt2(in, piece);
	case PRETOKENIZE_FIXED: return split_fixed(in, piece);
	default: break;
	}
	split_behavior_begin(&state, in->step->behavior, in->out);
	if (in->step->kind == PRETOKENIZE_REGEX)
		rc = split_regex(in, piece, find, &state);
	else if (in->step->kind == PRETOKENIZE_TEXT)
		rc = split_text(in, piece, &state);
	else
		rc = split_chars(in, piece, &state);
	return rc ? rc : split_behavior_end(&state);
}

static int split(const struct pretokenize_input *in)
{
	struct regex_find find = { 0 };
	int rc = 0;

	if (in->step->kind == PRETOKENIZE_REGEX)
		rc = regex_find_init(&find, in->step->regex, BB_STR(""));
	for (size_t i = 0; !rc && i < in->in->count; i++)
		rc = split_piece(in, in->in->at[i], &find);
	if (in->step->kind == PRETOKENIZE_REGEX)
		regex_find_fini(&find);
	return rc;
}

/* ---- rewriting ---- */

static struct text_origin origin_at(const struct pretokenize_input *in, size_t at)
{
	if (in->in->keeps_origins)
		return in->in->origins.at[at];
	return (struct text_origin){ (uint32_t)at, (uint32_t)at + 1 };
}

static int put(const struct pretokenize_input *in, const char *p, size_t len,
	       struct text_origin origin)
{
	const int rc = bb_buf_put(&in->out->own, p, len);

	if (rc || !in->out->keeps_origins)
		return rc;
	return text_origins_add(&in->out->origins, origin, len);
}

static int copy(const struct pretokenize_input *in, size_t begin, size_t end)
{
	const int rc =
		begin == end ? 0 : bb_buf_put(&in->out->own, in->in->text.p + begin, end - begin);

	if (rc || !in->out->keeps_origins)
		return rc;
	return text_origins_copy(&in->out->origins, in->in->origins.at + begin, end - begin);
}

static bool prepends(const struct pretokenize_input *in, struct piece piece)
{
	const struct pretokenize_step *const s = in->step;

	if (s->prepend == PREPEND_FIRST && (!in->is_start || origin_at(in, piece.begin).begin != 0))
		return false;
	return s->prepend != PREPEND_NEVER;
}

static bool starts_with_char(const struct pretokenize_input *in, struct piece piece)
{
	const struct pretokenize_step *const s = in->step;

	return piece.end - piece.begin >= s->character_len &&
	       memcmp(in->in->text.p + piece.begin, s->character_bytes, s->character_len) == 0;
}

static int metaspace(const struct pretokenize_input *in, struct piece piece)
{
	const struct pretokenize_step *const s = in->step;
	const char *const text = in->in->text.p;
	const size_t begin = in->out->own.len;
	int rc = 0;

	/* A space there becomes the character, and then it is there already. */
	if (prepends(in, piece) && text[piece.begin] != ' ' && !starts_with_char(in, piece))
		rc = put(in, s->character_bytes, s->character_len, origin_at(in, piece.begin));
	for (size_t at = piece.begin; at < piece.end && !rc;) {
		const char *const space = memchr(text + at, ' ', piece.end - at);
		const size_t end = space ? (size_t)(space - text) : piece.end;
		rc = copy(in, at, end);
		if (!rc && space)
			rc = put(in, s->character_bytes, s->character_len, origin_at(in, end));
		at = end + 1;
	}
	return rc ? rc : piece_list_add(in->out, begin, in->out->own.len);
}

static int prefix(const struct pretokenize_input *in, struct piece piece)
{
	const size_t begin = in->out->own.len;
	int rc = 0;

	if (in->in->text.p[piece.begin] != ' ')
		rc = put(in, " ", 1, origin_at(in, piece.begin));
	if (!rc)
		rc = copy(in, piece.begin, piece.end);
	return rc ? rc : piece_list_add(in->out, begin, in->out->own.len);
}

static int to_chars(const struct pretokenize_input *in, struct piece piece)
{
	const size_t begin = in->out->own.len;
	char bytes[4];
	int rc = 0;

	for (size_t at = piece.begin; at < piece.end && !rc; at++) {
		const size_t len =
			utf8_encode(normalize_byte_char((uint8_t)in->in->text.p[at]), bytes);
		rc = put(in, bytes, len, origin_at(in, at));
	}
	return rc ? rc : piece_list_add(in->out, begin, in->out->own.len);
}

static int to_bytes(const struct pretokenize_input *in, struct piece piece)
{
	const size_t begin = in->out->own.len;
	size_t len;
	int rc = 0;

	for (size_t at = piece.begin; at < piece.end && !rc; at += len) {
		const uint8_t byte = normalize_char_byte(unicode_at(in->in->text.p + at, &len));
		rc = put(in, (const char *)&byte, 1, origin_at(in, at));
	}
	return rc ? rc : piece_list_add(in->out, begin, in->out->own.len);
}

bool pretokenize_step_rewrites(const struct pretokenize_step *s)
{
	switch (s->kind) {
	case PRETOKENIZE_PREFIX:
	case PRETOKENIZE_METASPACE:
	case PRETOKENIZE_TO_CHARS:
	case PRETOKENIZE_TO_BYTES: return true;
	default: return false;
	}
}

int pretokenize_step_run(const struct pretokenize_input *in)
{
	int rc = 0;

	if (!pretokenize_step_rewrites(in->step))
		return split(in);
	for (size_t i = 0; !rc && i < in->in->count; i++) {
		const struct piece piece = in->in->at[i];
		switch (in->step->kind) {
		case PRETOKENIZE_PREFIX: rc = prefix(in, piece); break;
		case PRETOKENIZE_METASPACE: rc = metaspace(in, piece); break;
		case PRETOKENIZE_TO_CHARS: rc = to_chars(in, piece); break;
		default: rc = to_bytes(in, piece); break;
		}
	}
	return rc;
}
