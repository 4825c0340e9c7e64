/*
 * origins.h: which bytes of the given text each byte of a rewritten one comes from.
 *
 * For: the spans of tokens, where a normalizer or a pre-tokenizer rewrites. One entry a byte of
 * the rewritten text; all bytes of a character have the same. Kept only when spans are wanted.
 * Threads: one owner. Memory: owns `at`. Errors: -BB_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct text_origin {
	uint32_t begin, end;
};

struct text_origins {
	struct text_origin *at;
	size_t count, cap;
};

void text_origins_init(struct text_origins *o);
void text_origins_fini(struct text_origins *o);
/* `times` bytes with the same origin. */
BB_MUST int text_origins_add(struct text_origins *o, struct text_origin origin, size_t times);
BB_MUST int text_origins_copy(struct text_origins *o, const struct text_origin *from, size_t count);
/* Each character of `len` bytes at text stands for itself; the first byte has offset `at`. */
BB_MUST int text_origins_identity(struct text_origins *o, const char *text, size_t len, size_t at);
