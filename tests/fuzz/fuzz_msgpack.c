/*
 * Goal: any bytes are read without a step past their end; skipping a value and walking through it
 * agree; what was read is read the same again from its shortest form.
 */
#include <stdint.h>
#include <stdlib.h>

#include "wire/msgpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(struct bb_buf *b, const struct msgpack_value *v)
{
	switch (v->kind) {
	case MSGPACK_NIL: msgpack_add_nil(b); break;
	case MSGPACK_UINT: msgpack_add_uint(b, v->u); break;
	case MSGPACK_INT: msgpack_add_int(b, v->i); break;
	case MSGPACK_FLOAT: msgpack_add_double(b, v->f); break;
	case MSGPACK_STR: msgpack_add_str(b, v->bytes); break;
	case MSGPACK_BIN: msgpack_add_bin(b, v->bytes); break;
	case MSGPACK_BOOL: /* not written by us */
	case MSGPACK_EXT:
	case MSGPACK_ARRAY:
	case MSGPACK_MAP: break;
	}
}

static void check_again(struct bb_buf *b, const struct msgpack_value *v)
{
	struct msgpack_reader r;
	struct msgpack_value w;

	bb_buf_clear(b);
	write_again(b, v);
	if (b->len == 0)
		return;
	msgpack_reader_init(&r, bb_buf_str(b));
	if (msgpack_read(&r, &w) || msgpack_left(&r) || w.kind != v->kind)
		abort();
	if (v->kind == MSGPACK_STR || v->kind == MSGPACK_BIN) {
		if (!bb_str_eq(w.bytes, v->bytes))
			abort();
	} else if (v->kind != MSGPACK_NIL && w.u != v->u) {
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct msgpack_reader skip, walk;
	struct msgpack_value v;
	struct bb_buf b;
	uint64_t left = 1;

	bb_buf_init(&b, size + 16);
	msgpack_reader_init(&walk, (struct bb_str){ (const char *)data, size });
	skip = walk;
	const int rc = msgpack_skip(&skip);
	while (left && !msgpack_read(&walk, &v)) {
		check_again(&b, &v);
		left--;
		if (v.kind == MSGPACK_ARRAY)
			left += v.count;
		else if (v.kind == MSGPACK_MAP)
			left += (uint64_t)v.count * 2;
	}
	if (rc == 0 && (left || walk.p != skip.p))
		abort();
	if (rc == -BB_ESYNTAX && left == 0)
		abort();
	bb_buf_fini(&b);
	return 0;
}
