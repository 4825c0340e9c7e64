/*
 * prompt_cache.h: the tokens of prompts, kept by their beginnings.
 *
 * For: conversations, whose next turn begins with all turns before it: only what is new is
 * tokenized. A text is cut into segments where an added token begins that no merge can cross
 * (tokenizer_cut), at PROMPT_SEGMENT_MIN bytes from each other at least, so where a cut is depends
 * on nothing that follows it. A segment is found by the keyed, chained hash of all text up to its
 * end and compared byte by byte before it is believed: what comes out equals tokenizer_encode of
 * the whole, whatever collides. Entries of one owner (a tenant) or tokenizer are never given to
 * another. When the cache is full, ends of prompts that were not used for the longest time go
 * first; a segment never goes before those that continue it. Threads: any; a lock of its own is
 * held for the look-up and the insertion, not while text is compared or tokenized. Memory: never
 * more than `bytes_max`, entries and table together. Errors: those of tokenizer_encode; that there
 * is no memory for an entry is none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/tokenizer.h"

#define PROMPT_SEGMENT_MIN 256
#define PROMPT_CACHE_MIN (64u << 10)

struct prompt_cache;

struct prompt_cache_stats {
	uint64_t bytes, bytes_max; /* taken now, the limit */
	uint64_t entries;
	uint64_t evictions;
	uint64_t text_bytes;   /* asked for since the start … */
	uint64_t reused_bytes; /* … and found */
};

/* `bytes_max` is at least PROMPT_CACHE_MIN; `secret` keys the hashes. */
BB_MUST int prompt_cache_create(size_t bytes_max, uint64_t secret, struct prompt_cache **out);
void prompt_cache_destroy(struct prompt_cache *c);
/*
 * Appends what tokenizer_encode(t, w, text, flags, out) would; `c` may be NULL. `owner` names whose
 * text it is. `reused` (or NULL) gets the bytes of text
 * whose tokens were there. Spans, and texts under TOKENIZER_NO_ADDED, are not cached.
 */
BB_MUST int prompt_cache_encode(struct prompt_cache *c, const struct tokenizer *t,
				struct tokenizer_work *w, uint64_t owner, struct bb_str text,
				unsigned flags, struct token_list *out, size_t *reused);
void prompt_cache_stats(struct prompt_cache *c, struct prompt_cache_stats *out);
