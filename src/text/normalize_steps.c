#include "text/normalize_steps.h"

#include <string.h>

#include "text/char_set.h"
#include "text/charsmap.h"
#include "text/regex.h"
#include "text/rewrite.h"
#include "text/unicode.h"

struct input {
	const struct normalize_step *step;
	struct bb_str old;
	const struct text_origins *from;
	struct bb_buf *out;
	struct text_origins *origins;
};

uint32_t normalize_byte_char(uint8_t byte)
{
	if ((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad))
		return byte;
	/* The others get U+0100 and up in their order: 0…32, 127…160, 173. */
	if (byte <= 32)
		return 256u + byte;
	return byte == 0xad ? 323 : 256u + 33 + (byte - 127u);
}

uint8_t normalize_char_byte(uint32_t cp)
{
	if (cp >= 256 + 33)
		return cp == 323 ? 0xad : cp < 323 ? (uint8_t)(cp - 256 - 33 + 127) : 0;
	return cp >= 256 ? (uint8_t)(cp - 256) : (uint8_t)cp;
}

/* ---- is anything to be done? ---- */

static bool is_nmt_dropped(uint32_t cp)
{
	return (cp >= 1 && cp <= 8) || cp == 0xb || (cp >= 0xe && cp <= 0x1f) || cp == 0x7f ||
	       cp == 0x8f || cp == 0x9f;
}

static bool is_nmt_space(uint32_t cp)
{
	switch (cp) {
	case 0x9:
	case 0xa:
	case 0xc:
	case 0xd:
	case 0x1680:
	case 0x2028:
	case 0x2029:
	case 0x2581:
	case 0xfeff:
	case 0xfffd: return true;
	default: return cp >= 0x200b && cp <= 0x200f;
	}
}

static bool changes(const struct normalize_step *s, uint32_t cp)
{
	switch (s->kind) {
	case NORMALIZE_LOWER: return cp == 0x130 || char_set_lower(cp) != cp;
	case NORMALIZE_DROP: return char_set_has(s->set, cp);
	case NORMALIZE_SPACES: return cp != ' ' && unicode_is_space(cp);
	case NORMALIZE_HAN: return char_set_is_bert_han(cp);
	case NORMALIZE_NMT: return is_nmt_dropped(cp) || is_nmt_space(cp);
	case NORMALIZE_BYTES: return cp >= 0x80 || normalize_byte_char((uint8_t)cp) != cp;
	case NORMALIZE_FORM:
	case NORMALIZE_STRIP:
	case NORMALIZE_TEXT:
	case NORMALIZE_REGEX:
	case NORMALIZE_PREPEND:
	case NORMALIZE_CHARSMAP:
	case NORMALIZE_GGUF_BERT: break;
	}
	return true;
}

/* Where the first character is that the step changes. */
static size_t find_change(const struct normalize_step *s, struct bb_str text, size_t at)
{
	size_t len;

	for (; at < text.len; at += len)
		if (changes(s, unicode_at(text.p + at, &len)))
			break;
	return at;
}

static size_t leading_space(struct bb_str text)
{
	size_t at = 0, len;

	while (at < text.len && unicode_is_space(unicode_at(text.p + at, &len)))
		at += len;
	return at;
}

static size_t trailing_space(struct bb_str text)
{
	size_t end = text.len, len;

	while (end && unicode_is_space(unicode_before(text.p, text.p + end, &len)))
		end -= len;
	return text.len - end;
}

bool normalize_step_keeps(const struct normalize_step *s, struct bb_str text)
{
	if (!text.len)
		return true;
	switch (s->kind) {
	case NORMALIZE_FORM: return normal_forms_holds(s->forms, s->form, text);
	case NORMALIZE_STRIP:
		return !(s->strip_left && leading_space(text)) &&
		       !(s->strip_right && trailing_space(text));
	case NORMALIZE_TEXT: return memmem(text.p, text.len, s->text.p, s->text.len) == NULL;
	case NORMALIZE_PREPEND: return s->content.len == 0;
	case NORMALIZE_CHARSMAP: return charsmap_keeps(s->charsmap, text);
	case NORMALIZE_GGUF_BERT:
	case NORMALIZE_REGEX: return false;
	case NORMALIZE_HAN:
		if (normal_forms_ascii(text.p, text.len) == text.len)
			return true;
		break;
	case NORMALIZE_LOWER:
	case NORMALIZE_DROP:
	case NORMALIZE_SPACES:
	case NORMALIZE_NMT:
	case NORMALIZE_BYTES: break;
	}
	return find_change(s, text, 0) == text.len;
}

/* ---- character for character ---- */

static void put_changed(const struct normalize_step *s, struct rewrite *r, uint32_t cp)
{
	switch (s->kind) {
	case NORMALIZE_LOWER:
		rewrite_put(r, cp == 0x130 ? 'i' : char_set_lower(cp), 0);
		if (cp == 0x130)
			rewrite_put(r, 0x307, 1);
		break;
	case NORMALIZE_HAN:
		rewrite_put(r, ' ', 0);
		rewrite_put(r, cp, 1);
		rewrite_put(r, ' ', 1);
		break;
	default: rewrite_put(r, ' ', 0); break; /* the two that make spaces */
	}
}

static bool is_dropped(const struct normalize_step *s, uint32_t cp)
{
	return s->kind == NORMALIZE_DROP || (s->kind == NORMALIZE_NMT && is_nmt_dropped(cp));
}

static int run_chars(const struct input *in)
{
	const struct normalize_step *const s = in->step;
	struct rewrite r;
	size_t at = 0, len, gone = 0;

	/* What goes at the start has no character before it that could tell of it. */
	for (; at < in->old.len; at += len, gone++) {
		const uint32_t cp = unicode_at(in->old.p + at, &len);
		if (!changes(s, cp) || !is_dropped(s, cp))
			break;
	}
	rewrite_begin(&r, in->old, in->from, in->out, in->origins, gone);
	while (at < in->old.len && !r.err) {
		const size_t change = find_change(s, in->old, at);
		rewrite_keep(&r, at, change);
		at = change;
		if (at == in->old.len)
			break;
		const uint32_t cp = unicode_at(in->old.p + at, &len);
		if (is_dropped(s, cp))
			rewrite_adjust(&r, -1);
		else
			put_changed(s, &r, cp);
		at += len;
	}
	return rewrite_end(&r);
}

static int run_bytes(const struct input *in)
{
	struct rewrite r;

	rewrite_begin(&r, in->old, in->from, in->out, in->origins, 0);
	for (size_t i = 0; i < in->old.len && !r.err; i++) {
		const uint8_t byte = (uint8_t)in->old.p[i];
		rewrite_put(&r, normalize_byte_char(byte), (byte & 0xc0) == 0x80);
	}
	return rewrite_end(&r);
}

static bool is_alone(uint32_t cp)
{
	if (cp < 0x7f)
		return unicode_is(cp, UNICODE_P | UNICODE_S);
	return unicode_is(cp, UNICODE_P) || char_set_is_bert_han(cp);
}

static bool is_gguf_bert_dropped(const struct normalize_step *s, uint32_t cp)
{
	const uint32_t control = UNICODE_BIT(UNICODE_CC) | UNICODE_BIT(UNICODE_CF) |
				 UNICODE_BIT(UNICODE_CS) | UNICODE_BIT(UNICODE_CO);

	return cp == UNICODE_REPLACEMENT || unicode_is(cp, control) ||
	       (s->strips_accents && unicode_is(cp, UNICODE_M));
}

/* A word begins with U+2581; what is a word of its own gets spaces on both sides. */
static void put_word_char(struct rewrite *r, uint32_t cp, bool alone, bool is_start)
{
	if (alone)
		rewrite_put(r, ' ', 0);
	if (alone || is_start)
		rewrite_put(r, 0x2581, alone ? 1 : 0);
	rewrite_put(r, cp, alone || is_start ? 1 : 0);
	if (alone)
		rewrite_put(r, ' ', 1);
}

/* Of a character that decomposes only the first one stays, in Hangul too. */
static int run_gguf_bert(const struct input *in)
{
	const struct normalize_step *const s = in->step;
	struct rewrite r;
	size_t len;
	bool is_start = true;

	rewrite_begin(&r, in->old, in->from, in->out, in->origins, 0);
	for (size_t at = 0; at < in->old.len && !r.err; at += len) {
		uint32_t cp = unicode_at(in->old.p + at, &len);
		if (s->strips_accents)
			cp = normal_forms_base(cp);
		if (unicode_is_space(cp)) {
			rewrite_put(&r, ' ', 0);
			is_start = true;
		} else if (is_gguf_bert_dropped(s, cp)) {
			rewrite_skip(&r);
		} else {
			const uint32_t low = !s->lowers	   ? cp
					     : cp == 0x130 ? 'i'
							   : char_set_lower(cp);
			put_word_char(&r, low, is_alone(cp), is_start);
			is_start = is_alone(cp);
		}
	}
	return rewrite_end(&r);
}

static int run_form(const struct input *in)
{
	struct rewrite r;

	rewrite_begin(&r, in->old, in->from, in->out, in->origins, 0);
	const int rc = normal_forms_run(in->step->forms, in->step->form, &r);
	return rc ? rc : rewrite_end(&r);
}

static int run_charsmap(const struct input *in)
{
	struct rewrite r;

	rewrite_begin(&r, in->old, in->from, in->out, in->origins, 0);
	charsmap_run(in->step->charsmap, &r);
	return rewrite_end(&r);
}

/* ---- parts of the text ---- */

static int copy(const struct input *in, size_t begin, size_t end)
{
	const int rc = bb_buf_add(in->out, in->old.p + begin, end - begin);

	if (rc || !in->from)
		return rc;
	return text_origins_copy(in->origins, in->from->at + begin, end - begin);
}

static int insert(const struct input *in, struct bb_str text, struct text_origin origin)
{
	const int rc = bb_buf_add_str(in->out, text);

	return rc || !in->from ? rc : text_origins_add(in->origins, origin, text.len);
}

static int run_strip(const struct input *in)
{
	size_t begin = in->step->strip_left ? leading_space(in->old) : 0;
	size_t end = in->old.len;

	if (in->step->strip_right && begin < end)
		end -= trailing_space(in->old);
	return copy(in, begin, end);
}

static int run_prepend(const struct input *in)
{
	const struct text_origin none = { 0, 0 };
	int rc = insert(in, in->step->content, in->from ? in->from->at[0] : none);

	return rc ? rc : copy(in, 0, in->old.len);
}

/* A match's content has the origin of the match's last byte; of what is before an empty match. */
static int replace(const struct input *in, size_t *done, size_t begin, size_t end)
{
	struct text_origin origin = { 0, 0 };
	int rc = copy(in, *done, begin);

	if (in->from && end)
		origin = in->from->at[end - 1];
	*done = end;
	return rc ? rc : insert(in, in->step->content, origin);
}

/* One byte by a few, without origins: most often the blank, which is every fifth byte. */
static int run_byte(const struct input *in)
{
	const struct bb_str content = in->step->content;
	const char byte = in->step->text.p[0];
	size_t count = 0;

	for (size_t i = 0; i < in->old.len; i++)
		count += in->old.p[i] == byte;
	const int rc = bb_buf_reserve(in->out, in->old.len + count * content.len);
	if (rc)
		return rc;
	char *to = in->out->p + in->out->len;
	for (size_t i = 0; i < in->old.len; i++) {
		if (in->old.p[i] != byte) {
			*to++ = in->old.p[i];
			continue;
		}
		memcpy(to, content.p, content.len);
		to += content.len;
	}
	in->out->len = (size_t)(to - in->out->p);
	return 0;
}

static int run_text(const struct input *in)
{
	const struct bb_str text = in->step->text;
	const char *const end = in->old.p + in->old.len;

	if (text.len == 1 && !in->from)
		return run_byte(in);
	size_t done = 0;
	int rc = 0;

	while (!rc) {
		const char *const p = in->old.p + done;
		const char *const hit = memmem(p, (size_t)(end - p), text.p, text.len);
		if (!hit)
			break;
		const size_t at = (size_t)(hit - in->old.p);
		rc = replace(in, &done, at, at + text.len);
	}
	return rc ? rc : copy(in, done, in->old.len);
}

static int run_regex(const struct input *in)
{
	struct regex_find find;
	size_t done = 0, begin, end;
	int rc = regex_find_init(&find, in->step->regex, in->old);

	if (rc)
		return rc;
	while ((rc = regex_find_next(&find, &begin, &end)) == 1) {
		rc = replace(in, &done, begin, end);
		if (rc)
			break;
	}
	regex_find_fini(&find);
	return rc ? rc : copy(in, done, in->old.len);
}

int normalize_step_run(const struct normalize_step *s, struct bb_str old,
		       const struct text_origins *from, struct bb_buf *out,
		       struct text_origins *origins)
{
	const struct input in = { s, old, from, out, origins };

	if (!old.len)
		return 0;
	switch (s->kind) {
	case NORMALIZE_FORM: return run_form(&in);
	case NORMALIZE_STRIP: return run_strip(&in);
	case NORMALIZE_TEXT: return run_text(&in);
	case NORMALIZE_REGEX: return run_regex(&in);
	case NORMALIZE_PREPEND: return run_prepend(&in);
	case NORMALIZE_CHARSMAP: return run_charsmap(&in);
	case NORMALIZE_GGUF_BERT: return run_gguf_bert(&in);
	case NORMALIZE_BYTES: return run_bytes(&in);
	case NORMALIZE_LOWER:
	case NORMALIZE_DROP:
	case NORMALIZE_SPACES:
	case NORMALIZE_HAN:
	case NORMALIZE_NMT: break;
	}
	return run_chars(&in);
}
