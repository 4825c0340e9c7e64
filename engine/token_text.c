#include "token_text.h"

#define UTF8_INCOMPLETE (-1)
#define UTF8_INVALID 0

void token_text_init(struct token_text *t)
{
	*t = (struct token_text){ 0 };
	bb_buf_init(&t->held, TOKEN_TEXT_MAX);
}

void token_text_fini(struct token_text *t)
{
	bb_buf_fini(&t->held);
}

/*
 * Length of the character at the front (RFC 3629), UTF8_INVALID, or UTF8_INCOMPLETE when the bytes
 * end inside of what may still become one.
 */
static int utf8_at(struct bb_str s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	const unsigned char c = p[0];
	unsigned char low = 0x80, high = 0xBF;
	size_t need;

	if (c < 0x80)
		return 1;
	if (c >= 0xC2 && c <= 0xDF)
		need = 2;
	else if (c >= 0xE0 && c <= 0xEF)
		need = 3;
	else if (c >= 0xF0 && c <= 0xF4)
		need = 4;
	else
		return UTF8_INVALID;
	if (c == 0xE0)
		low = 0xA0; /* no overlong forms */
	else if (c == 0xED)
		high = 0x9F; /* no surrogates */
	else if (c == 0xF0)
		low = 0x90;
	else if (c == 0xF4)
		high = 0x8F; /* not above U+10FFFF */
	for (size_t i = 1; i < need; i++) {
		if (i == s.len)
			return UTF8_INCOMPLETE;
		if (p[i] < low || p[i] > high)
			return UTF8_INVALID;
		low = 0x80;
		high = 0xBF;
	}
	return (int)need;
}

enum tail { TAIL_KEPT, TAIL_REPLACED };

/* Appends the bytes; returns how many were consumed (all, but for an incomplete tail that is kept).
 */
static size_t utf8_release(struct bb_str bytes, enum tail tail, struct bb_buf *out)
{
	static const char replacement[] = "\xEF\xBF\xBD";
	size_t i = 0, from = 0;

	while (i < bytes.len) {
		const int n = utf8_at(bb_str_skip(bytes, i));
		if (n > 0) {
			i += (size_t)n;
			continue;
		}
		bb_buf_add(out, bytes.p + from, i - from);
		from = i;
		if (n == UTF8_INCOMPLETE && tail == TAIL_KEPT)
			return i;
		bb_buf_add(out, replacement, 3);
		i = n == UTF8_INCOMPLETE ? bytes.len : i + 1;
		from = i;
	}
	bb_buf_add(out, bytes.p + from, i - from);
	return i;
}

int token_text_clean(struct bb_str bytes, struct bb_buf *out)
{
	utf8_release(bytes, TAIL_REPLACED, out);
	return out->err;
}

/* Length of the longest end of `text` that begins the stop string without completing it. */
static size_t stop_begun(struct bb_str text, struct bb_str stop)
{
	size_t n = stop.len - 1 < text.len ? stop.len - 1 : text.len;

	while (n && memcmp(text.p + text.len - n, stop.p, n) != 0)
		n--;
	return n;
}

static size_t stops_begun(struct bb_str text, const struct token_stops *stops)
{
	size_t most = 0;

	for (uint32_t i = 0; i < stops->count; i++) {
		const size_t n = stop_begun(text, stops->strings[i]);
		if (n > most)
			most = n;
	}
	return most;
}

/* The stop string that stands first in the text: 1 + its index, 0 when there is none. */
static int stops_find(struct bb_str text, const struct token_stops *stops, size_t *at)
{
	int found = 0;

	for (uint32_t i = 0; i < stops->count; i++) {
		const ptrdiff_t p = bb_str_find(text, stops->strings[i]);
		if (p >= 0 && (!found || (size_t)p < *at)) {
			found = (int)i + 1;
			*at = (size_t)p;
		}
	}
	return found;
}

static int release(struct token_text *t, size_t len, enum tail tail, struct bb_buf *out)
{
	const size_t used = utf8_release((struct bb_str){ t->held.p, len }, tail, out);

	bb_buf_consume(&t->held, used);
	t->search_from = t->search_from > used ? t->search_from - used : 0;
	return out->err;
}

int token_text_push(struct token_text *t, const struct token_stops *stops, struct bb_str piece,
		    struct bb_buf *out)
{
	size_t at = 0;
	int rc = bb_buf_add_str(&t->held, piece);

	if (rc)
		return rc;
	if (!stops || stops->count == 0) {
		t->search_from = t->held.len;
		return release(t, t->held.len, TAIL_KEPT, out);
	}
	const struct bb_str text = bb_str_skip(bb_buf_str(&t->held), t->search_from);
	const int found = stops_find(text, stops, &at);
	if (!found)
		return release(t, t->held.len - stops_begun(text, stops), TAIL_KEPT, out);
	at += t->search_from;
	if (stops->shown == STOP_SHOWN)
		at += stops->strings[found - 1].len;
	rc = release(t, at, TAIL_REPLACED, out);
	bb_buf_clear(&t->held);
	return rc ? rc : found;
}

int token_text_finish(struct token_text *t, struct bb_buf *out)
{
	return release(t, t->held.len, TAIL_REPLACED, out);
}
