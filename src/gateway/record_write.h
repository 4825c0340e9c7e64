/*
 * record_write.h: members of JSON records, put together without printf.
 *
 * For: settle.c and explanation_write.c: each request has a record. A key brings its comma, quotes
 * and colon. Threads: the buffer's owner. Memory: the buffer's. Errors: as bb_buf's.
 */
#pragma once

#include <string.h>

#include "base/buf.h"

#define RECORD_U64_MAX 20 /* characters */

/* To a place with room; returns what is behind. */
static inline char *record_digits(char *to, uint64_t value)
{
	char digits[RECORD_U64_MAX], *p = digits + sizeof(digits);

	if (value < 10) {
		*to = (char)('0' + value);
		return to + 1;
	}
	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	const size_t len = (size_t)(digits + sizeof(digits) - p);
	memcpy(to, p, len);
	return to + len;
}

/* A float with one decimal; what is below zero, or no number, is 0. At most RECORD_U64_MAX. */
static inline char *record_decimal(char *to, float value)
{
	const uint64_t tenths = value > 0 && value < 1e17f ? (uint64_t)(value * 10 + 0.5f) : 0;

	to = record_digits(to, tenths / 10);
	to[0] = '.';
	to[1] = (char)('0' + tenths % 10);
	return to + 2;
}

/* For many members at a time: the room is taken once. */
#define RECORD_LIT(to, literal)                                                                    \
	((to) = (char *)memcpy((to), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)

static inline void record_u64(struct bb_buf *b, uint64_t value)
{
	char digits[RECORD_U64_MAX];

	bb_buf_put(b, digits, (size_t)(record_digits(digits, value) - digits));
}

/* Milliseconds with three decimals. */
static inline void record_ms(struct bb_buf *b, struct bb_str key, uint64_t ns)
{
	const unsigned us = (unsigned)(ns / 1000 % 1000);
	const char decimals[4] = { '.', (char)('0' + us / 100), (char)('0' + us / 10 % 10),
				   (char)('0' + us % 10) };

	bb_buf_put_str(b, key);
	record_u64(b, ns / 1000000);
	bb_buf_put(b, decimals, sizeof(decimals));
}

static inline void record_tenths(struct bb_buf *b, struct bb_str key, float value)
{
	char text[RECORD_U64_MAX];

	bb_buf_put_str(b, key);
	bb_buf_put(b, text, (size_t)(record_decimal(text, value) - text));
}

static inline void record_count(struct bb_buf *b, struct bb_str key, uint64_t value)
{
	bb_buf_put_str(b, key);
	record_u64(b, value);
}

static inline void record_text(struct bb_buf *b, struct bb_str key, struct bb_str value)
{
	bb_buf_put_str(b, key);
	bb_buf_add_json(b, value);
}
