/*
 * bpe_cut.h: where a text may be cut that no pre-tokenizer cuts.
 *
 * For: models of the kind of Llama 2 and Gemma, whose words would be whole texts. Between two
 * characters that no merge brings together (none whose left part ends with the one and whose right
 * part begins with the other) no merge goes over, so both sides are encoded for themselves.
 * Characters are told apart by their bytes at the seam, and U+2581, which stands for a blank, by a
 * code of its own. Threads: a table is read by any. Memory: 8 KiB. Errors: -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct bpe;

struct bpe_cuts {
	uint64_t joined[256][4]; /* by the left character's code, a bit for the right one's */
};

/* *out is NULL where texts cannot be cut so. After the pairs are read. */
BB_MUST int bpe_cuts_create(const struct bpe *b, struct bpe_cuts **out);
void bpe_cuts_destroy(struct bpe_cuts *c);

/*
 * Cuts `text` (well-formed UTF-8) into words from `*at` on. Writes the ends of up to `max` words to
 * `ends` and moves `*at` to the last end. Returns how many; 0 only at the end of the text.
 */
size_t bpe_cut(const struct bpe_cuts *c, struct bb_str text, size_t *at, size_t *ends, size_t max);
