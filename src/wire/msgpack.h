/*
 * msgpack.h: MessagePack, read from a span and written onto a buffer.
 *
 * For: KV events and load reports of engines. Format: msgpack/spec.md of 2017 (str8, bin, ext).
 * Threads: pure functions. Memory: the reader allocates nothing; its slices point into the input.
 * Errors: -BB_ESYNTAX for bytes that are no MessagePack, are cut off, or claim more elements than
 * bytes are left; -BB_ELIMIT for nesting deeper than MSGPACK_DEPTH_MAX. The writer's errors stick
 * in the buffer (buf->err) and are looked at once, at the end.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define MSGPACK_DEPTH_MAX 32

enum msgpack_kind {
	MSGPACK_NIL,
	MSGPACK_BOOL,
	MSGPACK_UINT,  /* u */
	MSGPACK_INT,   /* i, always below 0: other integers are MSGPACK_UINT */
	MSGPACK_FLOAT, /* f */
	MSGPACK_STR,   /* bytes; UTF-8 is not checked */
	MSGPACK_BIN,   /* bytes */
	MSGPACK_EXT,   /* bytes, ext_type */
	MSGPACK_ARRAY, /* count elements follow */
	MSGPACK_MAP,   /* count pairs follow */
};

struct msgpack_value {
	enum msgpack_kind kind;
	int8_t ext_type;
	uint32_t count;
	union {
		bool truth;
		uint64_t u;
		int64_t i;
		double f;
		struct bb_str bytes;
	};
};

struct msgpack_reader {
	const uint8_t *p;
	const uint8_t *end;
};

void msgpack_reader_init(struct msgpack_reader *r, struct bb_str in);
static inline size_t msgpack_left(const struct msgpack_reader *r)
{
	return (size_t)(r->end - r->p);
}
/* The next value, or the head of the next array or map. On failure the reader does not move. */
BB_MUST int msgpack_read(struct msgpack_reader *r, struct msgpack_value *out);
/* Passes over one value with all that is in it. On failure the reader does not move. */
BB_MUST int msgpack_skip(struct msgpack_reader *r);
/* The same, and where it stood. */
BB_MUST int msgpack_take(struct msgpack_reader *r, struct bb_str *raw);

/* Always the shortest form of a value. */
void msgpack_add_nil(struct bb_buf *b);
void msgpack_add_uint(struct bb_buf *b, uint64_t value);
void msgpack_add_int(struct bb_buf *b, int64_t value);
void msgpack_add_double(struct bb_buf *b, double value);
void msgpack_add_str(struct bb_buf *b, struct bb_str s);
void msgpack_add_bin(struct bb_buf *b, struct bb_str s);
/* Heads: the elements (for a map: key, value, key, …) are added by the caller. */
void msgpack_add_array(struct bb_buf *b, uint32_t count);
void msgpack_add_map(struct bb_buf *b, uint32_t count);
