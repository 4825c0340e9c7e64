/*
 * split_block.h: the scanners for ASCII, 64 bytes at a time.
 *
 * For: split_words, split_cased, split_deepseek. A block begins where a piece begins. Each class of
 * characters is a mask with a bit for each byte; where pieces begin is computed for all of the
 * block at once. What cannot be known from the block alone (its last piece, what is not ASCII and
 * what touches it) is left to the scanner that goes from character to character, whose result this
 * equals. Threads: pure functions; any. Memory: none. Errors: none.
 */
#pragma once

#include <string.h>

#include "text/split_scan.h"

/* What distinguishes the patterns; always a constant, so that each scanner has its own code. */
enum split_rules {
	RULE_GPT2 = 1,		 /* a blank before numbers too, nothing else before letters */
	RULE_DIGITS_3 = 2,	 /* numbers in threes; else one by one, with GPT2 whole */
	RULE_CONTRACTION = 4,	 /* a piece of its own: 's */
	RULE_SUFFIX = 8,	 /* the contraction belongs to the word before it */
	RULE_CASED = 16,	 /* a capital behind a small letter begins a piece */
	RULE_SLASH = 32,	 /* slashes behind line ends behind punctuation belong to it */
	RULE_NUMBERS_APART = 64, /* white space before a number stays whole */
};

/* Room that the ends of a block's pieces need. */
#define SPLIT_BLOCK_PIECES 68
/* Known bytes for which a block pays. */
#define SPLIT_BLOCK_LEAST 20

typedef const char *split_piece_function(const char *p, const char *end);

#if defined(SPLIT_SIMD) && defined(__SSE2__)

struct split_block {
	uint64_t letter, upper, digit, blank, white, newline, apostrophe, slash;
	uint64_t strange; /* not ASCII; with NUMBERS_APART also control characters */
};

/* Bytes of v from `low` on, `count` of them, as signed values compare. */
SPLIT_INLINE uint64_t split_range16(__m128i v, char low, int count)
{
	const __m128i moved = _mm_add_epi8(v, _mm_set1_epi8((char)(0x80 - low)));

	return (uint64_t)_mm_movemask_epi8(
		_mm_cmplt_epi8(moved, _mm_set1_epi8((char)(0x80 + count))));
}

SPLIT_INLINE uint64_t split_equal16(__m128i v, char c)
{
	return (uint64_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(c)));
}

/* The 16 bytes at p + i, as bits from i on. */
SPLIT_INLINE void split_block_add(const char *p, unsigned i, struct split_block *b,
				  const unsigned rules)
{
	const __m128i v = _mm_loadu_si128((const __m128i *)(p + i));
	const __m128i newline = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\n')),
					     _mm_cmpeq_epi8(v, _mm_set1_epi8('\r')));

	b->letter |= split_range16(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 26) << i;
	b->digit |= split_range16(v, '0', 10) << i;
	b->blank |= split_equal16(v, ' ') << i;
	b->white |= split_range16(v, '\t', 5) << i;
	b->newline |= (uint64_t)_mm_movemask_epi8(newline) << i;
	b->strange |= (uint64_t)_mm_movemask_epi8(v) << i;
	if (rules & RULE_CASED)
		b->upper |= split_range16(v, 'A', 26) << i;
	if (rules & (RULE_CONTRACTION | RULE_SUFFIX))
		b->apostrophe |= split_equal16(v, '\'') << i;
	if (rules & RULE_SLASH)
		b->slash |= split_equal16(v, '/') << i;
	if (rules & RULE_NUMBERS_APART)
		b->strange |= (split_range16(v, 0, ' ') | split_equal16(v, 0x7f)) << i;
}

SPLIT_INLINE void split_block_load(const char *p, struct split_block *b, const unsigned rules)
{
	*b = (struct split_block){ 0 };
	split_block_add(p, 0, b, rules);
	split_block_add(p, 16, b, rules);
	split_block_add(p, 32, b, rules);
	split_block_add(p, 48, b, rules);
	b->strange &= ~b->white;
	b->white |= b->blank;
}

SPLIT_INLINE uint64_t split_below(unsigned n)
{
	return n < 64 ? ((uint64_t)1 << n) - 1 : UINT64_MAX;
}

/* Numbers of a run in threes: where each three begins. */
SPLIT_INLINE uint64_t split_threes(uint64_t digit)
{
	const uint64_t four = digit & digit << 1 & digit << 2 & digit << 3;
	uint64_t begin = digit & ~(digit << 1), all = begin;

	while ((begin = begin << 3 & four))
		all |= begin;
	return all;
}

/*
 * Contractions whose apostrophes are `at`: the pieces' new begins. With RULE_SUFFIX an apostrophe
 * that ends a contraction begins a piece.
 */
SPLIT_INLINE uint64_t split_contractions(uint64_t begins, uint64_t at, const char *p,
					 const unsigned rules)
{
	unsigned last = 0;

	for (; at; at &= at - 1) {
		const unsigned i = (unsigned)__builtin_ctzll(at);
		const char *const q = split_contraction(p + i, p + 64, !(rules & RULE_GPT2));
		const unsigned end = (unsigned)(q - p);
		if (end == i || (rules & RULE_SUFFIX && i == last))
			continue;
		begins &= ~((split_below(end - i) << i) &
			    (rules & RULE_SUFFIX ? UINT64_MAX : ~((uint64_t)1 << i)));
		begins |= (uint64_t)1 << (end & 63);
		last = end;
	}
	return begins;
}

/* White space behind line ends that begins a piece: no line end follows in the same run. */
SPLIT_INLINE uint64_t split_indents(uint64_t space, uint64_t newline)
{
	const uint64_t begins = space & newline << 1;
	uint64_t kept = begins;

	if (!((space + begins) & ~space & newline))
		return begins;
	for (uint64_t rest = begins; rest; rest &= rest - 1) {
		const uint64_t first = rest & -rest;
		if ((space + first) & ~space & newline)
			kept &= ~first;
	}
	return kept;
}

/*
 * Where pieces begin in the first n bytes of the block at p, as far as it is certain; bit 0 is one
 * of the places.
 */
SPLIT_INLINE uint64_t split_block_begins(const struct split_block *b, const char *p, unsigned n,
					 const unsigned rules)
{
	const uint64_t valid = split_below(n), letter = b->letter & valid, digit = b->digit & valid;
	const uint64_t blank = b->blank & valid, all_white = b->white & valid;
	const uint64_t other = valid & ~(letter | digit | all_white);
	/* Line ends behind punctuation are its own; a carry takes them out of their mask. */
	const uint64_t lines = rules & RULE_GPT2 ? 0 : b->newline & valid;
	const uint64_t newline = lines & (lines + (other << 1 & lines));
	const uint64_t white = all_white & ~(lines ^ newline), space = white & ~newline;
	const uint64_t behind_space = rules & RULE_NUMBERS_APART ? letter | other : valid & ~white;
	/* Punctuation that no blank takes; one alone before letters belongs to them. */
	const uint64_t mark = other & ~(other << 1) & ~(blank << 1), lead = mark & letter >> 1;
	const uint64_t word = letter & ~(letter << 1);
	uint64_t begins = mark | (white & ~(white << 1)) | (space & behind_space >> 1);

	if (rules & RULE_GPT2)
		begins |= (word | (digit & ~(digit << 1))) & ~(blank << 1);
	else
		begins |= (word & ~(space << 1) & ~(lead << 1)) |
			  (rules & RULE_DIGITS_3 ? split_threes(digit) : digit) |
			  split_indents(space, newline);
	if (rules & RULE_CASED)
		begins |= b->upper & (letter & ~b->upper) << 1;
	if (rules & (RULE_CONTRACTION | RULE_SUFFIX)) {
		const uint64_t at =
			b->apostrophe & lead & (rules & RULE_SUFFIX ? letter << 1 : valid);
		if (at)
			begins = split_contractions(begins, at, p, rules);
	}
	/* White space at the end, and what looks like the begin of a contraction there, is open. */
	const uint64_t open = ~(white << (64 - n));
	unsigned sure = open ? n - (unsigned)__builtin_clzll(open) : 0;
	if (rules & (RULE_GPT2 | RULE_SUFFIX)) {
		const uint64_t late = b->apostrophe & valid & ~split_below(n > 2 ? n - 2 : 0);
		if (late && (unsigned)__builtin_ctzll(late) <= sure)
			sure = (unsigned)__builtin_ctzll(late) - 1;
	}
	return begins & split_below(sure + 1);
}

/* Up to where the block at p, of which `len` bytes are text, is what split_block_begins knows. */
SPLIT_INLINE unsigned split_block_known(const struct split_block *b, size_t len,
					const unsigned rules)
{
	uint64_t stop = b->strange;

	if (rules & RULE_SLASH)
		stop |= b->slash & b->newline << 1;
	const unsigned n = stop ? (unsigned)__builtin_ctzll(stop) : 64;
	return len < n ? (unsigned)len : n;
}

/*
 * Writes the places that `begins` has behind the first, counted from `at`. Four at a time, since a
 * branch for each is foreseen worse: what is written too much is written over.
 */
SPLIT_INLINE size_t split_block_write(uint64_t begins, size_t at, size_t *ends)
{
	const uint64_t guard = (uint64_t)1 << 63;
	size_t n = 0;

	begins &= begins - 1;
	const size_t count = (size_t)__builtin_popcountll(begins);
	for (; n < count; n += 4) {
		for (unsigned i = 0; i < 4; i++) {
			ends[n + i] = at + (unsigned)__builtin_ctzll(begins | guard);
			begins &= begins - 1;
		}
	}
	return count;
}

/*
 * Writes the ends of pieces in the text from p on, as far as 64 bytes tell them, and returns how
 * many. *strange: where the first character stands that blocks do not know.
 */
SPLIT_INLINE size_t split_block(const char *p, const char *end, size_t at, size_t *ends,
				const char **strange, const unsigned rules)
{
	struct split_block b;
	char padded[64];
	const size_t len = (size_t)(end - p);
	const char *block = p;

	if (len < 64) {
		memset(padded, 0, sizeof(padded));
		memcpy(padded, p, len);
		block = padded;
	}
	split_block_load(block, &b, rules);
	const unsigned n = split_block_known(&b, len, rules);
	*strange = p + n;
	if (n < SPLIT_BLOCK_LEAST && n < len)
		return 0;
	return split_block_write(split_block_begins(&b, block, n, rules), at, ends);
}

#else

SPLIT_INLINE size_t split_block(const char *p, const char *end, size_t at, size_t *ends,
				const char **strange, const unsigned rules)
{
	*strange = end;
	return 0;
}

#endif

/* split_run of one pattern: blocks where they do, piece by piece elsewhere. */
SPLIT_INLINE size_t split_by_blocks(struct bb_str text, size_t *at, size_t *ends, size_t max,
				    split_piece_function *piece, const unsigned rules)
{
	const char *const begin = text.p, *const end = text.p + text.len;
	const char *p = text.p + *at, *strange = p;
	size_t n = 0;

	while (n < max && p < end) {
		if (p >= strange && (uint8_t)*p < 0x80 && max >= SPLIT_BLOCK_PIECES) {
			if (max - n < SPLIT_BLOCK_PIECES)
				break;
			const size_t more =
				split_block(p, end, (size_t)(p - begin), ends + n, &strange, rules);
			n += more;
			if (more) {
				p = begin + ends[n - 1];
				if (strange - p > SPLIT_BLOCK_LEAST)
					strange = p;
				continue;
			}
		}
		p = piece(p, end);
		ends[n++] = (size_t)(p - begin);
	}
	*at = (size_t)(p - begin);
	return n;
}
