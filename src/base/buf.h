/*
 * buf.h: a growable byte buffer with a hard maximum.
 *
 * For: building text and holding bytes whose number is not known beforehand.
 * Threads: one owner. Memory: the buffer owns `p`; fini gives it back. `max` is set at init and
 * never exceeded.
 * Errors: -BB_ELIMIT when the maximum would be passed, -BB_ENOMEM when there is no memory; the
 * contents are untouched then. The first error sticks in `err`, so a series of appends may be
 * checked once at its end.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct bb_buf {
	char *p;
	size_t len;
	size_t cap;
	size_t max;
	int err; /* 0 or the first -BB_E… of a failed append */
};

void bb_buf_init(struct bb_buf *b, size_t max);
void bb_buf_fini(struct bb_buf *b);
/* Empties it and keeps the memory. */
void bb_buf_clear(struct bb_buf *b);
/* Room for `more` bytes behind the contents. */
BB_MUST int bb_buf_reserve(struct bb_buf *b, size_t more);
int bb_buf_add(struct bb_buf *b, const void *data, size_t len);
int bb_buf_add_str(struct bb_buf *b, struct bb_str s);
int bb_buf_printf(struct bb_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
int bb_buf_add_u64(struct bb_buf *b, uint64_t value);
/* A JSON string with its quotes: the two-character escapes and \u00XX for controls; other bytes as they are. */
int bb_buf_add_json(struct bb_buf *b, struct bb_str s);
/* Drops the first `n` bytes. */
void bb_buf_consume(struct bb_buf *b, size_t n);

static inline struct bb_str bb_buf_str(const struct bb_buf *b)
{
	return (struct bb_str){ b->p, b->len };
}

/* The same for short texts on the hot path: no call when there is room. */
static inline int bb_buf_put(struct bb_buf *b, const char *p, size_t len)
{
	if (__builtin_expect(len > b->cap - b->len || b->p == NULL, 0))
		return bb_buf_add(b, p, len);
	memcpy(b->p + b->len, p, len);
	b->len += len;
	return 0;
}

static inline int bb_buf_put_str(struct bb_buf *b, struct bb_str s)
{
	return s.len ? bb_buf_put(b, s.p, s.len) : 0;
}

#define bb_buf_lit(b, literal) bb_buf_put((b), (literal), sizeof(literal) - 1)
