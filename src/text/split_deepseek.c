/*
 * split_deepseek.c: the scanner of DeepSeek V3 and R1, whose pre-tokenizer is three Splits in a
 * row:
 *
 *   1. \p{N}{1,3}
 *   2. [一-龥぀-ゟ゠-ヿ]+
 *   3. [!-/:-~ without digits and letters][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
 *      | ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * The third sees only what lies between two cuts of the first two. Here that is done in one pass: a
 * character that belongs to another segment counts as the end of the text. What the third does not
 * match (control characters, say) becomes a piece as it stands.
 */
#include "text/split_block.h"

enum {
	IS_LETTER = 1, /* L or M */
	IS_PUNCT = 2,  /* P or S */
	IS_NEWLINE = 4,
	IS_SPACE = 8,
	IS_REST = 16, /* none of these: nothing but the one character before letters */
	IS_NUMBER = 32,
	IS_CJK = 64, /* beside the others */
};

#define IS_WHITE (IS_NEWLINE | IS_SPACE)

static inline bool is_cjk(uint32_t cp)
{
	return (cp >= 0x4e00 && cp <= 0x9fa5) || (cp >= 0x3040 && cp <= 0x30ff);
}

static inline unsigned class_of(const char *p, size_t *len)
{
	const uint32_t cp = unicode_at(p, len);

	if (unicode_is(cp, UNICODE_N))
		return IS_NUMBER;
	const unsigned cjk = is_cjk(cp) ? IS_CJK : 0;
	if (unicode_is(cp, UNICODE_L | UNICODE_M))
		return IS_LETTER | cjk;
	if (unicode_is(cp, UNICODE_P | UNICODE_S))
		return IS_PUNCT | cjk;
	if (cp == '\r' || cp == '\n')
		return IS_NEWLINE;
	return (unicode_is_space(cp) ? IS_SPACE : IS_REST) | cjk;
}

/* The class at p, or 0 at the end of the segment, whose characters have `cjk` as their IS_CJK. */
static inline unsigned peek(const char *p, const char *end, unsigned cjk, size_t *len)
{
	if (p >= end)
		return *len = 0;
	const unsigned class = class_of(p, len);
	return class & IS_NUMBER || (class & IS_CJK) != cjk ? 0 : class;
}

static const char *run_of(const char *p, const char *end, unsigned cjk, unsigned classes)
{
	size_t len;

	while (peek(p, end, cjk, &len) & classes)
		p += len;
	return p;
}

static inline const char *letters(const char *p, const char *end, unsigned cjk)
{
	if (!cjk)
		p = split_ascii_letters(p, end);
	return p < end && (uint8_t)*p < 0x80 ? p : run_of(p, end, cjk, IS_LETTER);
}

static const char *white(const char *p, const char *end, unsigned cjk)
{
	const char *after_newline = NULL, *last = p;
	size_t len;

	for (const char *q = p;; q += len) {
		const unsigned class = peek(q, end, cjk, &len);
		if (!(class & IS_WHITE)) {
			if (after_newline)
				return after_newline;
			return class && last > p ? last : q;
		}
		if (class & IS_NEWLINE)
			after_newline = q + len;
		last = q;
	}
}

static const char *punctuation(const char *p, const char *end, unsigned cjk)
{
	return run_of(run_of(p, end, cjk, IS_PUNCT), end, cjk, IS_NEWLINE);
}

/* What nothing matches, up to where something does. */
static const char *unmatched(const char *p, const char *end, unsigned cjk)
{
	size_t len, next_len;

	while (peek(p, end, cjk, &len) & IS_REST) {
		if (peek(p + len, end, cjk, &next_len) & IS_LETTER)
			break;
		p += len;
	}
	return p;
}

static const char *piece(const char *p, const char *end)
{
	size_t len, next_len;
	const unsigned class = class_of(p, &len), cjk = class & IS_CJK;

	if (class & IS_NUMBER) {
		for (unsigned i = 0; i < 3 && p < end && class_of(p, &len) & IS_NUMBER; i++)
			p += len;
		return p;
	}
	if (class & IS_LETTER)
		return letters(p + len, end, cjk);
	p += len;
	if (class & IS_PUNCT) {
		if (len == 1 && p < end && (uint8_t)((*p | 0x20) - 'a') < 26)
			return split_ascii_letters(p, end);
		return punctuation(p, end, cjk);
	}
	const unsigned next = peek(p, end, cjk, &next_len);
	if (next & IS_LETTER && !(class & IS_NEWLINE))
		return letters(p + next_len, end, cjk);
	if (class & IS_REST)
		return unmatched(p, end, cjk);
	if (p[-1] == ' ' && next & IS_PUNCT)
		return punctuation(p, end, cjk);
	return white(p - len, end, cjk);
}

size_t split_run_deepseek(struct bb_str text, size_t *at, size_t *ends, size_t max)
{
	return split_by_blocks(text, at, ends, max, piece, RULE_DIGITS_3 | RULE_NUMBERS_APART);
}
