/*
 * unicode_sets.h: sets of characters as Hugging Face `tokenizers` has them.
 *
 * For: the components that do not go by the Unicode version of everything else. `tokenizers` 0.23
 * takes numbers from Unicode 17, punctuation and accents of BERT from 8, normal forms from 9; its
 * regular expressions have 16. The data is written by tools/unicode_sets.py, which asks
 * `tokenizers` about every code point.
 * Threads: constant data. Memory: static. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/unicode.h"

struct unicode_range {
	uint32_t first, last;
};

enum unicode_set {
	UNICODE_SET_NUMERIC,	  /* Digits */
	UNICODE_SET_PUNCTUATION,  /* Punctuation, BertPreTokenizer */
	UNICODE_SET_BERT_REMOVED, /* BertNormalizer's clean_text; U+0000 and U+FFFD among them */
	UNICODE_SET_BERT_ACCENT,  /* BertNormalizer's strip_accents */
	UNICODE_SET_ACCENT,	  /* StripAccents */
	UNICODE_SET_NORMAL_LATE,  /* no decomposition and no combining class, whatever Unicode says
				   */
	UNICODE_SET_COUNT,
};

struct unicode_set_ranges {
	const struct unicode_range *at;
	size_t count;
};

extern const struct unicode_set_ranges unicode_sets[UNICODE_SET_COUNT];

/* Where general categories of Unicode 14 or newer differ from those of the regular expressions. */
struct unicode_late {
	uint32_t first, last;
	enum unicode_category category;
};
extern const struct unicode_late unicode_lates[];
extern const size_t unicode_late_count;

/* Every stride-th character of first…last has the lower case `c + delta`. Sorted. */
struct unicode_lower {
	uint32_t first, last, stride;
	int32_t delta;
};
extern const struct unicode_lower unicode_lowers[];
extern const size_t unicode_lower_count;
