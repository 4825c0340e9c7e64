/*
 * split_scan.h: what the hand-written scanners share: classes of characters and runs of letters.
 *
 * For: split_*.c. A scanner is given the bytes of one text, well-formed UTF-8, and stands at the
 * start of a piece; it returns the piece's end. Runs of ASCII letters are found 16 bytes at a time
 * where the processor's base instruction set can (x86-64, AArch64), one by one elsewhere.
 * Threads: pure functions; any. Memory: none. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/unicode.h"

#if defined(__SSE2__) && !defined(SPLIT_SCALAR)
#include <emmintrin.h>
#define SPLIT_SIMD 1
#elif defined(__aarch64__) && !defined(SPLIT_SCALAR)
#include <arm_neon.h>
#define SPLIT_SIMD 1
#endif

#define SPLIT_INLINE static inline __attribute__((always_inline))

/* Class bits of a character. Every character has exactly one of the first five. */
enum split_class {
	CLASS_LETTER = 1,
	CLASS_NUMBER = 2,
	CLASS_NEWLINE = 4, /* \r \n */
	CLASS_SPACE = 8,   /* other white space */
	CLASS_OTHER = 16,
	CLASS_UPPER = 32, /* Lu Lt Lm Lo M: what may begin a word in the o200k family */
	CLASS_LOWER = 64, /* Ll Lm Lo M */
	CLASS_MARK = 128,
};

#define CLASS_WHITE (CLASS_NEWLINE | CLASS_SPACE)

extern const uint8_t split_ascii[128];
/* By unicode_table's value: category and white space bit. */
extern const uint8_t split_category[64];

/* The class of the character at p < end, and its length. */
SPLIT_INLINE uint8_t split_class(const char *p, size_t *len)
{
	const uint8_t c = (uint8_t)*p;

	if (__builtin_expect(c < 0x80, 1)) {
		*len = 1;
		return split_ascii[c];
	}
	return split_category[unicode_table[unicode_at(p, len)] &
			      (UNICODE_CATEGORY_MASK | UNICODE_SPACE_BIT)];
}

/* The class at p, or 0 at the end. */
SPLIT_INLINE uint8_t split_peek(const char *p, const char *end, size_t *len)
{
	if (p < end)
		return split_class(p, len);
	*len = 0;
	return 0;
}

#if defined(SPLIT_SIMD) && defined(__SSE2__)
/* How many of the 16 bytes at p are ASCII letters, from the first on. */
SPLIT_INLINE unsigned split_letters16(const char *p)
{
	const __m128i v = _mm_loadu_si128((const __m128i *)p);
	const __m128i lower = _mm_or_si128(v, _mm_set1_epi8(0x20));
	/* 'a' … 'z' moved to the lowest 26 signed values */
	const __m128i moved = _mm_add_epi8(lower, _mm_set1_epi8((char)(0x80 - 'a')));
	const __m128i is_letter = _mm_cmplt_epi8(moved, _mm_set1_epi8((char)(0x80 + 26)));
	const unsigned mask = (unsigned)_mm_movemask_epi8(is_letter);

	return (unsigned)__builtin_ctz(~mask);
}
#elif defined(SPLIT_SIMD)
SPLIT_INLINE unsigned split_letters16(const char *p)
{
	const uint8x16_t v = vld1q_u8((const uint8_t *)p);
	const uint8x16_t moved = vsubq_u8(vorrq_u8(v, vdupq_n_u8(0x20)), vdupq_n_u8('a'));
	const uint8x16_t is_other = vcgeq_u8(moved, vdupq_n_u8(26));
	const uint64_t mask = vget_lane_u64(
		vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(is_other), 4)), 0);

	return mask ? (unsigned)__builtin_ctzll(mask) / 4 : 16;
}
#endif

/* Behind the ASCII letters that begin at p. */
SPLIT_INLINE const char *split_ascii_letters(const char *p, const char *end)
{
#if defined(SPLIT_SIMD)
	while (end - p >= 16) {
		const unsigned n = split_letters16(p);
		p += n;
		if (__builtin_expect(n < 16, 1))
			return p;
	}
#endif
	while (p < end && (uint8_t)*p < 0x80 && split_ascii[(uint8_t)*p] & CLASS_LETTER)
		p++;
	return p;
}

/* Behind the run of characters with one of `classes`. */
SPLIT_INLINE const char *split_run_of(const char *p, const char *end, unsigned classes)
{
	size_t len;

	while (p < end && split_class(p, &len) & classes)
		p += len;
	return p;
}

/* The same for letters, or letters and marks. */
SPLIT_INLINE const char *split_letters(const char *p, const char *end, unsigned classes)
{
	for (;;) {
		if (p < end && (uint8_t)*p < 0x80)
			p = split_ascii_letters(p, end);
		if (p == end || (uint8_t)*p < 0x80)
			return p;
		size_t len;
		while (p < end && (uint8_t)*p >= 0x80) {
			if (!(split_class(p, &len) & classes))
				return p;
			p += len;
		}
	}
}

/* `\s*[\r\n]+|\s+(?!\S)|\s+` at white space; with `newlines` false without its first branch. */
SPLIT_INLINE const char *split_white(const char *p, const char *end, const unsigned newlines)
{
	const char *after_newline = NULL, *last = p;
	size_t len;
	uint8_t class;

	for (const char *q = p;; q += len) {
		class = split_peek(q, end, &len);
		if (!(class & CLASS_WHITE)) {
			if (newlines && after_newline)
				return after_newline;
			return class && last > p ? last : q;
		}
		if (class & CLASS_NEWLINE)
			after_newline = q + len;
		last = q;
	}
}

/*
 * The end of `'s 't 're 've 'm 'll 'd` at an apostrophe, or p. With `fold` in either case; then the
 * long s counts as an s, as case folding has it.
 */
SPLIT_INLINE const char *split_contraction(const char *p, const char *end, const unsigned fold)
{
	if (end - p < 2)
		return p;
	const uint8_t bit = fold ? 0x20 : 0;
	const uint8_t a = (uint8_t)p[1] | bit;
	if (a == 's' || a == 't' || a == 'm' || a == 'd')
		return p + 2;
	if (end - p < 3)
		return p;
	if (fold && (uint8_t)p[1] == 0xc5 && (uint8_t)p[2] == 0xbf)
		return p + 3;
	const uint8_t b = (uint8_t)p[2] | bit;
	if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
		return p + 3;
	return p;
}

/* Each takes `text` from *at on, as split_run does. */
size_t split_run_gpt2(struct bb_str text, size_t *at, size_t *ends, size_t max);
size_t split_run_llama3(struct bb_str text, size_t *at, size_t *ends, size_t max);
size_t split_run_qwen2(struct bb_str text, size_t *at, size_t *ends, size_t max);
size_t split_run_qwen35(struct bb_str text, size_t *at, size_t *ends, size_t max);
size_t split_run_o200k(struct bb_str text, size_t *at, size_t *ends, size_t max);
size_t split_run_tekken(struct bb_str text, size_t *at, size_t *ends, size_t max);
size_t split_run_deepseek(struct bb_str text, size_t *at, size_t *ends, size_t max);
