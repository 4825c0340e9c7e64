/*
 * charsmap.h: the precompiled character map of SentencePiece models.
 *
 * For: the normalizer Precompiled, and GGUF's tokenizer.ggml.precompiled_charsmap.
 * Format: a 32-bit little-endian length, a double-array trie (Darts) of that many bytes whose
 * values are offsets, and the replacements, each ended by a NUL.
 * Applied as `tokenizers` does: to grapheme clusters of less than six bytes as wholes where the
 * trie has a prefix of them (the shortest one counts), otherwise to each character.
 * Threads: never changes once made. Memory: owns a copy of the map.
 * Errors: -BB_EINVALID with a message for a map that cannot be; -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "text/rewrite.h"
#include "text/text_error.h"

#define CHARSMAP_SIZE_MAX (16u << 20)

struct charsmap;

BB_MUST int charsmap_create(struct bb_str map, struct charsmap **out, struct text_error *e);
/* From base64, as tokenizer.json has it. */
BB_MUST int charsmap_create_base64(struct bb_str text, struct charsmap **out, struct text_error *e);
void charsmap_destroy(struct charsmap *c);
/* True when the text is surely left as it is. */
bool charsmap_keeps(const struct charsmap *c, struct bb_str text);
/* The replacement for the shortest prefix of `key` that the trie has. */
bool charsmap_find(const struct charsmap *c, struct bb_str key, struct bb_str *replacement);
/* The longest prefix instead, and its length: as SentencePiece and llama.cpp apply the map. */
bool charsmap_find_longest(const struct charsmap *c, struct bb_str key, size_t *len,
			   struct bb_str *replacement);
/* Rewrites r->old from its start to its end. */
void charsmap_run(const struct charsmap *c, struct rewrite *r);
