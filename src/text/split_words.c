/*
 * split_words.c: the scanners of GPT-2 and of the family that began with cl100k: Llama 3, Qwen 2.
 */
#include "text/split_block.h"

/*
 * 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 */
SPLIT_INLINE const char *gpt2_piece(const char *p, const char *end)
{
	size_t len, next_len;
	uint8_t class = split_class(p, &len);

	if (*p == ' ') {
		const uint8_t next = split_peek(p + 1, end, &next_len);
		if (!next || next & CLASS_WHITE)
			return split_white(p, end, 0);
		p++;
		len = next_len;
		class = next;
	} else if (*p == '\'') {
		const char *const q = split_contraction(p, end, 0);
		if (q != p)
			return q;
	}
	if (class & CLASS_LETTER)
		return split_letters(p, end, CLASS_LETTER);
	if (class & CLASS_WHITE)
		return split_white(p, end, 0);
	return split_run_of(p + len, end, class & CLASS_NUMBER ? CLASS_NUMBER : CLASS_OTHER);
}

/* Up to `max` numbers. */
SPLIT_INLINE const char *numbers(const char *p, const char *end, unsigned max)
{
	size_t len;

	for (; max > 0 && split_peek(p, end, &len) & CLASS_NUMBER; max--)
		p += len;
	return p;
}

/*
 * (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+
 * With `marks`, combining marks count as letters in the second and the fourth branch.
 */
SPLIT_INLINE const char *cl100k_piece(const char *p, const char *end, const unsigned digits,
				      const unsigned marks)
{
	const unsigned letters = CLASS_LETTER | (marks ? CLASS_MARK : 0);
	size_t len, next_len;
	const uint8_t class = split_class(p, &len);

	if (class & letters) {
		/* A mark may be the one character before the letters, or one of them: all the same.
		 */
		return split_letters(p + len, end, letters);
	}
	if (class & CLASS_NUMBER)
		return numbers(p + len, end, digits - 1);
	if (*p == '\'') {
		const char *const q = split_contraction(p, end, 1);
		if (q != p)
			return q;
	}
	const uint8_t next = split_peek(p + len, end, &next_len);
	if (next & letters && !(class & CLASS_NEWLINE))
		return split_letters(p + len + next_len, end, letters);
	if (class & CLASS_OTHER || (*p == ' ' && next & CLASS_OTHER)) {
		p += len;
		for (;;) {
			const uint8_t c = split_peek(p, end, &len);
			if (!(c & CLASS_OTHER) || c & letters)
				break;
			p += len;
		}
		return split_run_of(p, end, CLASS_NEWLINE);
	}
	return split_white(p, end, 1);
}

static inline const char *llama3_piece(const char *p, const char *end)
{
	return cl100k_piece(p, end, 3, 0);
}

static inline const char *qwen2_piece(const char *p, const char *end)
{
	return cl100k_piece(p, end, 1, 0);
}

static inline const char *qwen35_piece(const char *p, const char *end)
{
	return cl100k_piece(p, end, 1, 1);
}

size_t split_run_gpt2(struct bb_str text, size_t *at, size_t *ends, size_t max)
{
	return split_by_blocks(text, at, ends, max, gpt2_piece, RULE_GPT2 | RULE_CONTRACTION);
}

size_t split_run_llama3(struct bb_str text, size_t *at, size_t *ends, size_t max)
{
	return split_by_blocks(text, at, ends, max, llama3_piece, RULE_DIGITS_3 | RULE_CONTRACTION);
}

size_t split_run_qwen2(struct bb_str text, size_t *at, size_t *ends, size_t max)
{
	return split_by_blocks(text, at, ends, max, qwen2_piece, RULE_CONTRACTION);
}

size_t split_run_qwen35(struct bb_str text, size_t *at, size_t *ends, size_t max)
{
	return split_by_blocks(text, at, ends, max, qwen35_piece, RULE_CONTRACTION);
}
