/*
 * utf8.h: is it well-formed UTF-8?
 *
 * For: JSON strings and other text from outside.
 * Format: RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
 * Threads: pure functions. Memory: none. Errors: none; the result is an offset.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* The offset of the first byte of the first malformed or cut-off sequence; s.len when all is well.
 */
size_t utf8_check(struct bb_str s);
/* The same one byte after the other: what utf8_check is tested against. */
size_t utf8_check_scalar(struct bb_str s);
/* Writes a code point (not a surrogate, <= U+10FFFF) and returns its 1 to 4 bytes. */
size_t utf8_encode(uint32_t code_point, char out[4]);
