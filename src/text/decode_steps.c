#include "text/decode_steps.h"

#include <string.h>

#include "text/regex.h"
#include "text/unicode.h"
#include "wire/utf8.h"

int decode_replace(struct bb_str s, struct bb_str from, struct bb_str to, struct bb_buf *out)
{
	for (;;) {
		const char *const hit = s.len ? memmem(s.p, s.len, from.p, from.len) : NULL;
		if (!hit)
			break;
		bb_buf_add(out, s.p, (size_t)(hit - s.p));
		bb_buf_add_str(out, to);
		s = bb_str_skip(s, (size_t)(hit - s.p) + from.len);
	}
	bb_buf_add_str(out, s);
	return out->err;
}

int decode_replace_regex(struct bb_str s, const struct regex *from, struct bb_str to,
			 struct bb_buf *out)
{
	struct regex_find find;
	size_t done = 0, begin, end;

	if (!s.len)
		return 0;
	int rc = regex_find_init(&find, from, s);
	if (rc)
		return rc;
	while ((rc = regex_find_next(&find, &begin, &end)) == 1) {
		bb_buf_add(out, s.p + done, begin - done);
		bb_buf_add_str(out, to);
		done = end;
	}
	regex_find_fini(&find);
	bb_buf_add(out, s.p + done, s.len - done);
	return rc ? rc : out->err;
}

int decode_cleanup(struct bb_str s, struct bb_buf *out)
{
	static const struct {
		struct bb_str from, to;
	} pairs[] = {
		{ BB_STR_INIT(" ."), BB_STR_INIT(".") },
		{ BB_STR_INIT(" ?"), BB_STR_INIT("?") },
		{ BB_STR_INIT(" !"), BB_STR_INIT("!") },
		{ BB_STR_INIT(" ,"), BB_STR_INIT(",") },
		{ BB_STR_INIT(" ' "), BB_STR_INIT("'") },
		{ BB_STR_INIT(" n't"), BB_STR_INIT("n't") },
		{ BB_STR_INIT(" 'm"), BB_STR_INIT("'m") },
		{ BB_STR_INIT(" do not"), BB_STR_INIT(" don't") },
		{ BB_STR_INIT(" 's"), BB_STR_INIT("'s") },
		{ BB_STR_INIT(" 've"), BB_STR_INIT("'ve") },
		{ BB_STR_INIT(" 're"), BB_STR_INIT("'re") },
	};
	struct bb_buf turn[2];
	unsigned in = 0;
	int rc = 0;

	for (int i = 0; i < 2; i++)
		bb_buf_init(&turn[i], out->max);
	for (size_t i = 0; !rc && i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (!s.len || !memmem(s.p, s.len, pairs[i].from.p, pairs[i].from.len))
			continue;
		bb_buf_clear(&turn[in]);
		rc = decode_replace(s, pairs[i].from, pairs[i].to, &turn[in]);
		s = bb_buf_str(&turn[in]);
		in = !in;
	}
	if (!rc)
		rc = bb_buf_add_str(out, s);
	for (int i = 0; i < 2; i++)
		bb_buf_fini(&turn[i]);
	return rc;
}

struct bb_str decode_strip(struct bb_str s, struct bb_str content, uint64_t start, uint64_t stop)
{
	for (; start && bb_str_starts(s, content); start--)
		s = bb_str_skip(s, content.len);
	for (; stop && bb_str_ends(s, content); stop--)
		s.len -= content.len;
	return s;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool decode_is_byte(struct bb_str s, uint8_t *byte)
{
	if (s.len != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>')
		return false;
	/* "+5" is a number too. */
	const int high = s.p[3] == '+' ? 0 : hex_digit(s.p[3]);
	const int low = hex_digit(s.p[4]);
	if (high < 0 || low < 0)
		return false;
	*byte = (uint8_t)(high << 4 | low);
	return true;
}

/* Could `s`, which is malformed as it ends, become a character? */
static bool is_incomplete(struct bb_str s)
{
	static const char *const tails[] = {
		"\x80", "\x80\x80", "\x80\x80\x80", "\xbf\xbf", "\xbf\xbf\xbf",
	};
	char text[8];

	if (!s.len || s.len > 3)
		return false;
	/* After each lead byte one of these makes it whole. */
	memcpy(text, s.p, s.len);
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		const size_t len = strlen(tails[i]);
		memcpy(text + s.len, tails[i], len);
		if (utf8_check((struct bb_str){ text, s.len + len }) == s.len + len)
			return true;
	}
	return false;
}

int decode_utf8(struct bb_str s, struct bb_buf *out, size_t *left)
{
	while (s.len) {
		const size_t good = utf8_check(s);
		bb_buf_add(out, s.p, good);
		s = bb_str_skip(s, good);
		if (!s.len || is_incomplete(s))
			break;
		bb_buf_lit(out, "\xef\xbf\xbd");
		s = bb_str_skip(s, unicode_malformed(s));
	}
	*left = s.len;
	return out->err;
}
