/*
 * record_write.h: members of JSON records, put together without printf.
 *
 * For: settle.c and explanation_write.c: each request has a record. A key brings its comma, quotes
 * and colon. Threads: the buffer's owner. Memory: the buffer's. Errors: as bb_buf's.
 */
#pragma once

#include "base/buf.h"

static inline void record_u64(struct bb_buf *b, uint64_t value)
{
	char digits[20], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	bb_buf_put(b, p, (size_t)(digits + sizeof(digits) - p));
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

/* A float with one decimal; what is below zero, or no number, is 0. */
static inline void record_tenths(struct bb_buf *b, struct bb_str key, float value)
{
	const uint64_t tenths = value > 0 && value < 1e17f ? (uint64_t)(value * 10 + 0.5f) : 0;
	const char decimal[2] = { '.', (char)('0' + tenths % 10) };

	bb_buf_put_str(b, key);
	record_u64(b, tenths / 10);
	bb_buf_put(b, decimal, sizeof(decimal));
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
