/*
 * char_set.h: is a character in a set; lower case.
 *
 * For: normalizers and pre-tokenizers. The sets are those of unicode_sets.h.
 * Threads: pure functions; unicode_init must have been called. Memory: none. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "text/unicode_sets.h"

bool char_set_has(enum unicode_set set, uint32_t cp);
/* The lower case, one character for one. U+0130 is itself here: it becomes "i" and U+0307. */
uint32_t char_set_lower(uint32_t cp);
/* Han as BertNormalizer sees it. */
bool char_set_is_bert_han(uint32_t cp);
