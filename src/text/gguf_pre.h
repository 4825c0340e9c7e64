/*
 * gguf_pre.h: what `tokenizer.ggml.pre` of a GGUF file means.
 *
 * For: tokenizer_gguf. The names and what they stand for are llama.cpp's (build of July 2026,
 * src/llama-vocab.cpp); patterns are written in the syntax of tokenizer.json, in the form that
 * split_known recognises where there is one.
 * Threads: constant data. Memory: static. Errors: none.
 */
#pragma once

#include <stddef.h>

#include "base/str.h"

#define GGUF_PRE_PATTERNS_MAX 6

enum gguf_pre_flags {
	GGUF_PRE_IGNORE_MERGES = 1, /* a word that is an entry is one token */
	GGUF_PRE_ADD_BOS = 2,	    /* unless the file says otherwise */
	GGUF_PRE_CHARS = 4,	 /* no byte-level alphabet: U+2581 for spaces, <0xXX> for bytes */
	GGUF_PRE_ALWAYS_BOS = 8, /* whatever the file says */
};

struct gguf_pre {
	const char *names; /* between spaces: " llama3 llama-bpe " */
	unsigned flags;
	const char *patterns[GGUF_PRE_PATTERNS_MAX]; /* one after the other, each isolates */
};

/* NULL when the name is not known. An empty one is "default". */
const struct gguf_pre *gguf_pre_find(struct bb_str name);
