/*
 * template_chars.h: characters as Python's str sees them.
 *
 * For: the parts of template.h. Unicode data come from utf8proc, the cases of more than one
 * character from a table.
 * Threads: pure functions. Memory: results are appended to the caller's buffer.
 * Errors: those of the buffer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

/* The code point at *p, which moves behind it; a byte that is no UTF-8 stands for itself. */
uint32_t chars_next(const char **p, const char *end);
/* The code point that ends at *end, which moves in front of it. */
uint32_t chars_before(const char *begin, const char **end);

static inline size_t chars_size(char first)
{
	const unsigned char c = (unsigned char)first;

	return c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* str.isspace() of one character. */
bool chars_is_space(uint32_t code);
/* \w of Python's re. */
bool chars_is_word(uint32_t code);
bool chars_is_alpha(uint32_t code);
bool chars_is_digit(uint32_t code);
bool chars_is_decimal(uint32_t code);
bool chars_is_numeric(uint32_t code);
bool chars_is_upper(uint32_t code);
bool chars_is_lower(uint32_t code);
bool chars_is_title(uint32_t code);
/* Does repr() show it as it is? */
bool chars_is_printable(uint32_t code);

enum chars_case { CHARS_UPPER, CHARS_LOWER, CHARS_TITLE, CHARS_FOLD };
/* One character in that case: one to three code points. */
uint32_t chars_map(uint32_t code, enum chars_case to, uint32_t out[3]);

/* s without white space at its ends. */
struct bb_str chars_strip_left(struct bb_str s);
struct bb_str chars_strip_right(struct bb_str s);

/* The offset of character `index` (0 ... length). */
size_t chars_offset(struct bb_str s, size_t index);

/* str.upper() and so on. */
void chars_write_upper(struct bb_str s, struct bb_buf *out);
void chars_write_lower(struct bb_str s, struct bb_buf *out);
void chars_write_title(struct bb_str s, struct bb_buf *out);
void chars_write_capital(struct bb_str s, struct bb_buf *out);
void chars_write_swapped(struct bb_str s, struct bb_buf *out);
void chars_write_folded(struct bb_str s, struct bb_buf *out);
void chars_put(struct bb_buf *out, uint32_t code);
