/*
 * split_behavior.h: what becomes of the delimiters when a text is split.
 *
 * For: pre-tokenizers. The ranges of a piece, in order and without gaps, each a match or not, go
 * in one by one; pieces come out as `tokenizers` makes them.
 * Threads: one owner. Memory: the list's. Errors: -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "text/pieces.h"

enum split_behavior {
	SPLIT_REMOVED,	  /* the-final--countdown: the final countdown */
	SPLIT_ISOLATED,	  /* the - final - - countdown */
	SPLIT_PREVIOUS,	  /* the- final- - countdown */
	SPLIT_NEXT,	  /* the -final - -countdown */
	SPLIT_CONTIGUOUS, /* the - final -- countdown */
};

enum split_part { SPLIT_GAP, SPLIT_MATCH };

struct split_state {
	enum split_behavior behavior;
	struct piece_list *out;
	struct piece held; /* may still grow */
	bool has_held;
	enum split_part held_part;
};

/* "MergedWithPrevious" and so on. False for another name. */
bool split_behavior_of(struct bb_str name, enum split_behavior *out);
void split_behavior_begin(struct split_state *s, enum split_behavior behavior,
			  struct piece_list *out);
BB_MUST int split_behavior_put(struct split_state *s, size_t begin, size_t end,
			       enum split_part part);
BB_MUST int split_behavior_end(struct split_state *s);
