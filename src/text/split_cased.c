/*
 * split_cased.c: the scanners of o200k (gpt-4o, gpt-oss) and Tekken (Mistral), which see case.
 *
 * [^\r\n\p{L}\p{N}]?U*V+S?|[^\r\n\p{L}\p{N}]?U+V*S?|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+
 * with U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], V = [\p{Ll}\p{Lm}\p{Lo}\p{M}] and S = the contractions
 * in either case (o200k only).
 */
#include "text/split_block.h"

/*
 * U*V+ at p, with the backtracking of the expression: the end, or NULL. Behind the run of U either
 * a small letter goes on, or the last character that is in both U and V has to serve as the V+;
 * *run gets the end of the run of U.
 */
SPLIT_INLINE const char *cased_word(const char *p, const char *end, const char **run)
{
	const char *last_both = NULL;
	size_t len;
	uint8_t class;

	for (;;) {
		class = split_peek(p, end, &len);
		if (!(class & CLASS_UPPER))
			break;
		p += len;
		if (class & CLASS_LOWER)
			last_both = p;
	}
	*run = p;
	if (!(class & CLASS_LOWER))
		return last_both;
	p += len;
	/* Most words are small ASCII letters to their end. */
	for (;;) {
		while (p < end && (uint8_t)(*p - 'a') < 26)
			p++;
		if (p == end || (uint8_t)*p < 0x80)
			return p;
		class = split_class(p, &len);
		if (!(class & CLASS_LOWER))
			return p;
		p += len;
	}
}

SPLIT_INLINE const char *suffix(const char *p, const char *end, const unsigned contractions)
{
	return contractions && p < end && *p == '\'' ? split_contraction(p, end, 1) : p;
}

/* The first two branches at p, whose class is known; NULL when neither matches. */
SPLIT_INLINE const char *cased_piece_word(const char *p, const char *end, uint8_t class, size_t len,
					  const unsigned contractions)
{
	const bool may_prefix = !(class & (CLASS_NEWLINE | CLASS_LETTER | CLASS_NUMBER));
	const char *run_prefixed = p + len, *run = p, *q;

	if (may_prefix) {
		size_t next_len;
		const uint8_t next = split_peek(p + len, end, &next_len);
		if (!(next & (CLASS_UPPER | CLASS_LOWER)) && !(class & CLASS_MARK))
			return NULL;
		q = cased_word(p + len, end, &run_prefixed);
		if (q)
			return suffix(q, end, contractions);
	}
	if (class & (CLASS_UPPER | CLASS_LOWER)) {
		q = cased_word(p, end, &run);
		if (q)
			return suffix(q, end, contractions);
	}
	/* U+V*: there is no V behind the run, or the first branch would have matched. */
	if (may_prefix && run_prefixed > p + len)
		return suffix(run_prefixed, end, contractions);
	return run > p ? suffix(run, end, contractions) : NULL;
}

SPLIT_INLINE const char *cased_piece(const char *p, const char *end, const unsigned digits,
				     const unsigned contractions)
{
	size_t len, next_len;
	const uint8_t class = split_class(p, &len);

	if (class & CLASS_NUMBER) {
		p += len;
		for (unsigned i = 1; i < digits && split_peek(p, end, &len) & CLASS_NUMBER; i++)
			p += len;
		return p;
	}
	const char *const word = cased_piece_word(p, end, class, len, contractions);
	if (word)
		return word;
	if (class & CLASS_OTHER || (*p == ' ' && split_peek(p + 1, end, &next_len) & CLASS_OTHER)) {
		p = split_run_of(p + len, end, CLASS_OTHER);
		while (p < end && (*p == '\r' || *p == '\n' || *p == '/'))
			p++;
		return p;
	}
	return split_white(p, end, 1);
}

static inline const char *o200k_piece(const char *p, const char *end)
{
	return cased_piece(p, end, 3, 1);
}

static inline const char *tekken_piece(const char *p, const char *end)
{
	return cased_piece(p, end, 1, 0);
}

size_t split_run_o200k(struct bb_str text, size_t *at, size_t *ends, size_t max)
{
	return split_by_blocks(text, at, ends, max, o200k_piece,
			       RULE_DIGITS_3 | RULE_SUFFIX | RULE_CASED | RULE_SLASH);
}

size_t split_run_tekken(struct bb_str text, size_t *at, size_t *ends, size_t max)
{
	return split_by_blocks(text, at, ends, max, tekken_piece, RULE_CASED | RULE_SLASH);
}
