/*
 * split_known.h: the split patterns of well-known models, compiled by hand.
 *
 * For: pre-tokenization at full speed. A pattern is recognised by its exact text, as it stands in
 * a tokenizer.json; every other pattern goes to the general regular expressions.
 * Threads: pure functions; any. unicode_init must have run. Memory: none.
 * Errors: none; SPLIT_NONE means that the text is not one of these.
 */
#pragma once

#include <stddef.h>

#include "base/str.h"

enum split_pattern {
	SPLIT_NONE,
	SPLIT_GPT2,
	SPLIT_LLAMA3, /* also cl100k as tokenizer.json files write it */
	SPLIT_QWEN2,
	SPLIT_QWEN35, /* also Qwen 3-Next: marks belong to words */
	SPLIT_O200K,
	SPLIT_TEKKEN,
	SPLIT_DEEPSEEK_V3, /* a sequence of three patterns */
	SPLIT_COUNT,
};

/* The pattern with this text, used by a Split with behavior Isolated; SPLIT_NONE otherwise. */
enum split_pattern split_recognise(struct bb_str pattern);
/*
 * The same for a Sequence of Splits, all Isolated and by regular expression. `count` patterns in
 * their order; one pattern gives what split_recognise gives.
 */
enum split_pattern split_recognise_sequence(const struct bb_str *patterns, size_t count);
/* A name for people: "GPT-2", "Llama 3". */
const char *split_name(enum split_pattern pattern);

/*
 * Cuts `text` (well-formed UTF-8) into pieces from `*at` on. Writes the ends of up to `max` pieces
 * to `ends` and moves `*at` to the last end. Returns how many; 0 only at the end of the text.
 */
size_t split_run(enum split_pattern pattern, struct bb_str text, size_t *at, size_t *ends,
		 size_t max);
