/*
 * decode_steps.h: the single steps of decoding that look at one token.
 *
 * For: decoder.c. Each appends what a token becomes to a buffer.
 * Threads: pure functions. Memory: the caller's buffers. Errors: -BB_ENOMEM, -BB_ELIMIT.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct regex;

/* All `from`, which is not empty, to `to`. */
BB_MUST int decode_replace(struct bb_str s, struct bb_str from, struct bb_str to,
			   struct bb_buf *out);
BB_MUST int decode_replace_regex(struct bb_str s, const struct regex *from, struct bb_str to,
				 struct bb_buf *out);
/* Without spaces before punctuation and English short forms, as BERT's decoder cleans up. */
BB_MUST int decode_cleanup(struct bb_str s, struct bb_buf *out);
/* Without up to `start` characters `content` at the start and `stop` at the end. */
struct bb_str decode_strip(struct bb_str s, struct bb_str content, uint64_t start, uint64_t stop);
/* Is the token <0xXX>? */
bool decode_is_byte(struct bb_str s, uint8_t *byte);
/*
 * Appends well-formed text and U+FFFD for malformed sequences. Returns the bytes at the end of `s`
 * that may be the start of a character, which are not appended.
 */
BB_MUST int decode_utf8(struct bb_str s, struct bb_buf *out, size_t *left);
