/*
 * str.h: slices of bytes, and parsing of numbers from them.
 *
 * For: text that is not NUL-terminated and not owned. Lengths are bytes.
 * Threads: pure functions. Memory: a slice owns nothing; it is valid as long as what it points to.
 * Errors: parsers return -BB_EINVALID (not a number, empty) or -BB_ELIMIT (overflow) and leave
 * the output untouched.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct bb_str {
	const char *p;
	size_t len;
};

#define BB_STR(literal) ((struct bb_str){ (literal), sizeof(literal) - 1 })
#define BB_STR_INIT(literal) { (literal), sizeof(literal) - 1 }
/* For printf: "%.*s", BB_ARG(slice) */
#define BB_ARG(s) (int)(s).len, (s).p

static inline struct bb_str bb_str_of(const char *text)
{
	return (struct bb_str){ text, text ? strlen(text) : 0 };
}

static inline bool bb_str_eq(struct bb_str a, struct bb_str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool bb_str_starts(struct bb_str s, struct bb_str prefix)
{
	return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.p, prefix.p, prefix.len) == 0);
}

static inline bool bb_str_ends(struct bb_str s, struct bb_str suffix)
{
	return s.len >= suffix.len &&
	       (suffix.len == 0 || memcmp(s.p + s.len - suffix.len, suffix.p, suffix.len) == 0);
}

static inline struct bb_str bb_str_skip(struct bb_str s, size_t n)
{
	if (n > s.len)
		n = s.len;
	return (struct bb_str){ n ? s.p + n : s.p, s.len - n };
}

/* ASCII case-insensitive. */
bool bb_str_eq_nocase(struct bb_str a, struct bb_str b);
/* Offset of `needle` in `s`, or -1. */
ptrdiff_t bb_str_find(struct bb_str s, struct bb_str needle);
/* Without spaces, tabs, CR and LF at both ends. */
struct bb_str bb_str_trim(struct bb_str s);
/* Cuts `*rest` at the first `sep`: returns what stands before it; `*rest` is what follows (empty at the end). */
struct bb_str bb_str_cut(struct bb_str *rest, char sep);
/* Shell-style pattern with `*` only. */
bool bb_str_matches(struct bb_str s, struct bb_str pattern);

/* Copies what fits of a NUL-terminated text; the copy is NUL-terminated. size > 0. */
void bb_text_copy(char *out, size_t size, const char *text);

/* Decimal digits only, whole slice. */
BB_MUST int bb_parse_u64(struct bb_str s, uint64_t *out);
/* A decimal number with fraction and exponent, whole slice. */
BB_MUST int bb_parse_double(struct bb_str s, double *out);
/* "250us" "20ms" "5s" "10m" "2h" "1d": nanoseconds. A bare "0" is allowed, other bare numbers are not. */
BB_MUST int bb_parse_duration_ns(struct bb_str s, uint64_t *out);
/* "64" (bytes) "16KiB" "1MiB" "2GiB" "10KB" "5MB": bytes. */
BB_MUST int bb_parse_size(struct bb_str s, uint64_t *out);
