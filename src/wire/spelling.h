/*
 * spelling.h: the "did you mean" of messages.
 *
 * For: unknown keys and values in the configuration.
 * Threads: pure. Memory: the caller's; candidates must outlive the search. Errors: none.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"

#define SPELLING_LEN_MAX 63 /* longer words have no likeness */

struct spelling {
	struct bb_str word;
	struct bb_str best; /* p == NULL: nothing is near enough */
	uint32_t best_distance;
};

void spelling_init(struct spelling *s, struct bb_str word);
void spelling_offer(struct spelling *s, struct bb_str candidate);
/*
 * Insertions, deletions, replacements and swaps of neighbours between two words (optimal string
 * alignment), without regard to case; UINT32_MAX for words that are too long.
 */
uint32_t spelling_distance(struct bb_str a, struct bb_str b);
